//! Runs each test in a process with mounts of its own, within a time limit, and takes away what it left.
//!
//! The runner is a subreaper: whatever a runtime leaves behind is below it, and it ends only that.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, mkdtemp};
use serde::{Deserialize, Serialize};

use crate::host;
use crate::judge::Skipped;
use crate::lab::{Lab, Setup};
use crate::row::Row;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The runtime does what the sentences say.
    Passed,
    /// It does not.
    Failed,
    /// It does not, and nobody is expected to.
    Deviates,
    /// This machine cannot tell.
    Skipped,
}

/// The outcome with its reason, empty if it passed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// One test after another; `tell` is called for each.
pub fn run<'t>(
    tests: impl Iterator<Item = &'t Row>,
    setup: &Setup,
    mut tell: impl FnMut(&Row, &Ending),
) -> Result<Vec<(&'t Row, Ending)>> {
    prctl::set_child_subreaper(true)?;
    let mut results = Vec::new();
    for row in tests {
        let mut result = apart(row, setup)?;
        if let (Outcome::Failed, Some(why)) = (result.outcome, row.deviation.filter(|_| !setup.strict)) {
            result = Ending { outcome: Outcome::Deviates, why: format!("{why} ({})", result.why) };
        }
        tell(row, &result);
        results.push((row, result));
    }
    Ok(results)
}

/// One test in a process of its own.
fn apart(row: &Row, setup: &Setup) -> Result<Ending> {
    let dir = mkdtemp(&std::env::temp_dir().join("cf-XXXXXX"))?;
    // A user namespace's root must get through.
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--runtime").arg(&setup.runtime).arg("--probe").arg(&setup.probe);
    command.args(["--limit", &setup.limit.as_secs().to_string()]);
    command.args(setup.strict.then_some("--strict")).args(setup.hide_cgroup2.then_some("--hide-cgroup2"));
    command.args(["--one", row.id, "--dir"]).arg(&dir);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let start = Instant::now();
    let ended = loop {
        if child.try_wait()?.is_some() {
            break true;
        }
        if start.elapsed() > setup.limit * 8 {
            let _ = child.kill();
            let _ = child.wait();
            break false;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let tag = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    clean_up(&tag, &dir);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(match text.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        Some(result) if ended => result,
        _ => Ending { outcome: Outcome::Failed, why: "the test did not come to an end".into() },
    })
}

/// Ends what is below this process and removes what has the tag in its name.
fn clean_up(tag: &str, dir: &Path) {
    for _ in 0..200 {
        let left = host::descendants();
        if left.is_empty() {
            break;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        thaw(tag);
        std::thread::sleep(Duration::from_millis(2));
    }
    for cgroup in host::cgroups_with(tag).iter().rev() {
        let _ = fs::remove_dir(cgroup);
    }
    let _ = fs::remove_dir_all(dir);
}

/// A frozen process does not die.
fn thaw(tag: &str) {
    for cgroup in host::cgroups_with(tag) {
        let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
        let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
    }
}

/// In the process of one test: the mounts of its own, the test, and its result as a line of JSON.
pub fn one(row: &Row, setup: Setup, dir: PathBuf) -> Result<()> {
    prctl::set_child_subreaper(true)?;
    own_mounts(&dir, setup.hide_cgroup2)?;
    let lab = Lab::new(setup, dir.clone())?;
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(|| row.run(&lab)));
    lab.clean();
    let result = match outcome {
        Ok(Ok(())) => Ending { outcome: Outcome::Passed, why: String::new() },
        Ok(Err(error)) if error.is::<Skipped>() => Ending { outcome: Outcome::Skipped, why: error.to_string() },
        Ok(Err(error)) => Ending { outcome: Outcome::Failed, why: format!("{error:#}") },
        Err(_) => Ending { outcome: Outcome::Failed, why: "the test panicked".into() },
    };
    // So that two runs can be compared.
    let (program, tag) = (lab.setup.runtime.to_string_lossy().into_owned(), lab.tag());
    let why = result.why.replace(&format!("{program} --root {}/root ", dir.display()), "");
    let why = why.replace(&*dir.to_string_lossy(), "DIR").replace(&tag, "ID").replace(&program, "RUNTIME");
    let result = Ending { why, ..result };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&result)?)?;
    Ok(())
}

/// Mounts that nobody else sees or changes, and a file system for the test that goes with them.
fn own_mounts(dir: &Path, hide_cgroup2: bool) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("the tests must run as root: unshare(CLONE_NEWNS)")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    own_null_device(&dir.join("null"))?;
    if hide_cgroup2 { only_version_1(dir) } else { Ok(()) }
}

/// Some runtimes give the null device, which is where their output goes, to the container's user: then not the host's.
fn own_null_device(node: &Path) -> Result<()> {
    let none = None::<&str>;
    mknod(node, SFlag::S_IFCHR, Mode::empty(), makedev(1, 3))?;
    fs::set_permissions(node, fs::Permissions::from_mode(0o666))?;
    Ok(mount(Some(node), "/dev/null", none, MsFlags::MS_BIND, none)?)
}

/// Another view of the hierarchies, without that of version 2. Taking its mount away alone would bare the directory below,
/// in which a runtime may make directories that no one finds again.
fn only_version_1(dir: &Path) -> Result<()> {
    let none = None::<&str>;
    let top = Path::new(host::CGROUPS);
    let all = procfs::process::Process::myself()?.mountinfo()?;
    let hierarchies =
        all.into_iter().filter(|mount| mount.fs_type == "cgroup" && mount.mount_point.parent() == Some(top));
    let staged: Vec<(PathBuf, PathBuf)> = hierarchies
        .map(|mount| (dir.join("view").join(mount.mount_point.file_name().unwrap_or_default()), mount.mount_point))
        .collect();
    for (stage, point) in &staged {
        fs::create_dir_all(stage)?;
        mount(Some(point), stage, none, MsFlags::MS_BIND, none)?;
    }
    mount(Some("tmpfs"), top, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    for (stage, point) in &staged {
        fs::create_dir(point)?;
        mount(Some(stage), point, none, MsFlags::MS_BIND, none)?;
        umount2(stage, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}
