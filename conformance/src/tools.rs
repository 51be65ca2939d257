//! Runs the validation programs of a built checkout of opencontainers/runtime-tools, each in mounts of its own and
//! within a time limit, beside what was recorded of other runtimes.
//!
//! A program prints TAP. Some print no assertion at all and tell a failure only in an `error` of a YAML block: those
//! verdicts have an S. The programs know no `--root`, so each has a `/run` of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkdtemp};

use crate::call::{self, Call};
use crate::host;
use crate::lab::Setup;

const RECORDED: &str = include_str!("../spec/runtime-tools.tsv");
const COLUMNS: [&str; 5] = ["runc-1.1.5", "runc-main", "crun-1.8.1", "crun-1.27", "youki-0.7"];

/// How long a program may take; some start dozens of containers.
const LIMIT: Duration = Duration::from_secs(90);

/// What a program came to.
struct Verdict {
    word: &'static str,
    ok: usize,
    not_ok: usize,
    /// What it complains of.
    said: Vec<String>,
}

/// All programs, or those named.
pub fn run(checkout: &Path, setup: &Setup, words: &[String]) -> Result<ExitCode> {
    prctl::set_child_subreaper(true)?;
    let programs = programs(checkout)?;
    let recorded = recorded();
    println!("{:<34} {:<12} {}", "program", "this", COLUMNS.map(|name| format!("{name:<11}")).join(" "));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, program) in programs.iter().filter(|(name, _)| words.is_empty() || words.contains(name)) {
        let verdict = one(checkout, program, setup)?;
        *counts.entry(verdict.word).or_default() += 1;
        let (peers, why) = recorded.get(name.as_str()).cloned().unwrap_or_default();
        let this = format!("{} {}/{}", verdict.word, verdict.ok, verdict.not_ok);
        let peers: Vec<_> = peers.iter().map(|peer| format!("{peer:<11}")).collect();
        println!("{name:<34} {this:<12} {} {why}", peers.join(" "));
        if !["PASS", "SPASS"].contains(&verdict.word) {
            verdict.said.iter().take(3).for_each(|line| println!("    {}", line.trim()));
        }
    }
    let passed = counts.get("PASS").unwrap_or(&0) + counts.get("SPASS").unwrap_or(&0);
    println!("{counts:?}\n{passed} passed, {} failed, 0 skipped", counts.values().sum::<usize>() - passed);
    Ok(ExitCode::SUCCESS)
}

/// By name: `validation/NAME/NAME.t`.
fn programs(checkout: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(checkout.join("validation")).context("a checkout of runtime-tools")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let program = entry.path().join(format!("{name}.t"));
        if program.exists() {
            found.insert(name, fs::canonicalize(program)?);
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "no programs: build the checkout first (make runtimetest validation-executables)"
    );
    Ok(found)
}

/// The peers' verdicts and the remark, by program.
fn recorded() -> BTreeMap<&'static str, (Vec<&'static str>, &'static str)> {
    let rows = RECORDED.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let row = |line: &'static str| {
        let cells: Vec<_> = line.split('\t').collect();
        (cells[0], (cells[1..6].to_vec(), cells.get(6).copied().unwrap_or_default()))
    };
    rows.map(row).collect()
}

/// One program, in a mount namespace with an empty `/run` and temporary directory.
fn one(checkout: &Path, program: &Path, setup: &Setup) -> Result<Verdict> {
    const SCRIPT: &str = "set -e; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs \"$1\"; export TMPDIR=$1 RUNTIME=$2\n\
        if [ \"$5\" = hide ]; then umount /sys/fs/cgroup/unified; fi; cd \"$3\"; exec \"$4\"";
    let dir = mkdtemp(&std::env::temp_dir().join("cf-XXXXXX"))?;
    let before = host::cgroups_with("");
    let hide = if setup.hide_cgroup2 { "hide" } else { "" };
    let call = Call::new(host::program("unshare").context("unshare(1)")?, LIMIT);
    let call = call.args(["--mount", "--propagation", "private", "/bin/sh", "-c", SCRIPT, "sh"]).arg(&dir);
    let output = call.arg(&setup.runtime).arg(checkout).arg(program).arg(hide).run();
    clean_up(&before);
    fs::remove_dir(&dir)?;
    let output = match output {
        Ok(output) => output,
        Err(error) => return Ok(Verdict { word: "HANG", ok: 0, not_ok: 0, said: vec![error.to_string()] }),
    };
    let text = output.stdout();
    let ok = text.lines().filter(|line| line.starts_with("ok ")).count();
    let mut said: Vec<String> = text.lines().filter(|line| line.starts_with("not ok ")).map(str::to_owned).collect();
    let not_ok = said.len();
    let silent = ok + not_ok == 0;
    let errors: Vec<String> =
        text.lines().filter(|line| line.trim().starts_with("\"error\":")).map(str::to_owned).collect();
    let word = match () {
        () if output.code != 0 => "ERR",
        () if not_ok > 0 => "FAIL",
        () if silent && errors.is_empty() => "SPASS",
        () if silent => "SFAIL",
        () => "PASS",
    };
    said.extend(errors);
    if word == "ERR" {
        said.extend(output.stderr().lines().rev().take(2).map(str::to_owned));
    }
    Ok(Verdict { word, ok, not_ok, said })
}

/// Ends what is left below this process, and removes the cgroups that came and have the programs' names.
fn clean_up(before: &[PathBuf]) {
    for pid in host::descendants() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    std::thread::sleep(Duration::from_millis(20));
    call::reap();
    for cgroup in host::cgroups_with("").into_iter().rev().filter(|cgroup| !before.contains(cgroup)) {
        let name = cgroup.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let uuid = name.len() == 36 && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if uuid || cgroup.to_string_lossy().contains("cgrouptest") {
            let _ = fs::remove_dir(cgroup);
        }
    }
}
