//! What each command does and takes, counted once: system calls, processes, threads, memory; and what init takes while it
//! waits to be started.

use std::collections::BTreeMap;
use std::fs;

use benches::tracer::{Counts, trace};

use super::lifecycle::{COMMANDS, ID, arguments};
use crate::bench::Bench;
use crate::bundle::Bundle;
use crate::report::Measure;
use crate::runtime::{Runtime, wait_for_end};

/// What the container's programs are, behind their names.
const PROGRAM: &str = "busybox";
const KIND: &str = "real";

pub fn measure(bench: &mut Bench) -> Result<(), String> {
    let plain = bench.makings.plain(KIND)?;
    let sleeping = bench.makings.sleeping(KIND)?;
    let mut found = Found::new();
    let mut gates = Vec::new();
    for runtime in bench.able(&plain)? {
        let mut keep = |name, counts| drop(found.entry(name).or_default().insert(runtime.name.clone(), counts));
        keep("run", trace(runtime.run(&plain, ID)?, PROGRAM)?);
        if !runtime.is_floor() {
            let gate = live(&runtime, &sleeping, &mut keep).inspect_err(|_| runtime.remove(ID))?;
            gates.push((runtime.name.clone(), gate));
        }
    }
    if let Some((command, runtime)) = failed(&found) {
        return Err(format!("{runtime} {command} fails under ptrace"));
    }
    add(bench, &found, "calls", "system calls", |counts| counts.calls as f64);
    add(bench, &found, "processes", "processes", |counts| counts.processes as f64);
    add(bench, &found, "threads", "threads", |counts| counts.threads as f64);
    add(bench, &found, "memory", "MB", |counts| counts.memory as f64 * 1024.0 / 1e6);
    bench.report.add(Measure::of(bench.view(), KIND, "memory", "init at the gate", "MB").with_values(gates));
    Ok(())
}

/// What was counted of each command of each runtime.
type Found = BTreeMap<&'static str, BTreeMap<String, Counts>>;

fn add(bench: &mut Bench, found: &Found, part: &str, unit: &str, of: impl Fn(&Counts) -> f64) {
    for name in std::iter::once("run").chain(COMMANDS) {
        let values = found.get(name).into_iter().flatten().map(|(runtime, counts)| (runtime.clone(), of(counts)));
        bench.report.add(Measure::of(bench.view(), KIND, part, name, unit).with_values(values));
    }
}

fn failed(found: &Found) -> Option<(&str, &String)> {
    let all =
        found.iter().flat_map(|(command, counts)| counts.iter().map(move |(runtime, it)| (*command, runtime, it)));
    all.filter(|(_, _, counts)| !counts.success).map(|(command, runtime, _)| (command, runtime)).next()
}

/// One container through its life, each command traced; what its init takes before it is started, in MB.
fn live(runtime: &Runtime, bundle: &Bundle, keep: &mut dyn FnMut(&'static str, Counts)) -> Result<f64, String> {
    let mut gate = 0.0;
    for name in COMMANDS {
        let pid = if name == "create" { 0 } else { runtime.pid(ID)? };
        if name == "state" {
            gate = resident(pid)?;
        }
        if name == "delete" {
            wait_for_end(pid)?;
        }
        keep(name, trace(runtime.command(&arguments(name, bundle))?, PROGRAM)?);
    }
    Ok(gate)
}

/// What of a process is in memory, pages that it shares with others included; in MB.
fn resident(pid: i32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0 / 1e6).ok_or_else(|| format!("{path} has no Rss"))
}
