//! Load: many running containers, and eight workers that create, enter, kill and delete at once: soak MINUTES [CONTAINERS].
//!
//! An error of any command, or anything left on the host, fails it. Times are told and never judged: how long each command
//! took while there were ever more containers, then in the first and in the last minute. An interrupt (Ctrl-C, SIGTERM)
//! ends it early, with the same cleaning and the same comparison.
#![allow(missing_docs)]

mod figures;
#[path = "../cli/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use figures::Figures;
use support::guard::{self, Snapshot};
use support::{program, rootfs};
use worker::{Load, Stage, WORKERS, Worker};

/// No command takes a second by itself. One that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(60);

const BASE: &str = include_str!("../cli/support/config.json");

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (minutes, containers) = (numbers.first().copied().unwrap_or(10), numbers.get(1).copied().unwrap_or(500));
    // The commands inherit this: what is under way when an interrupt comes to all of a terminal's processes is finished.
    let interrupts = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    interrupts.thread_block().expect("sigprocmask");
    let interrupted =
        SignalFd::with_flags(&interrupts, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).expect("signalfd");
    nix::sys::prctl::set_child_subreaper(true).expect("prctl(PR_SET_CHILD_SUBREAPER)");
    guard::own_mounts();
    let dir = tempfile::Builder::new().prefix("minicon-soak-").tempdir().expect("a temporary directory");
    let tag = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (root, bundle) = (make(dir.path(), "root"), bundle(dir.path()));
    let before = Snapshot::take(&root, &tag);

    println!("{}: {containers} containers, {WORKERS} workers, {minutes} minutes", program().display());
    let load = Load::new(root.clone(), bundle, tag.clone(), containers as usize);
    let (figures, errors) = carry(&load, Duration::from_secs(60 * minutes), &interrupted);
    figures.print();
    errors.iter().take(20).for_each(|error| println!("error: {error}"));
    let leaks = guard::lasting_differences(&before, &root, &tag);
    leaks.iter().for_each(|leak| println!("leak: {leak}"));
    guard::clean_up(&tag);
    let (verdict, code) = match (errors.is_empty() && leaks.is_empty(), load.stage()) {
        (false, _) => ("FAILED", ExitCode::FAILURE),
        // As of a shell whose program an interrupt has ended.
        (true, Stage::Interrupted) => ("interrupted", ExitCode::from(130)),
        (true, _) => ("ok", ExitCode::SUCCESS),
    };
    println!("soak: {verdict}: {} operations, {} errors, {} leaks", figures.count(), errors.len(), leaks.len());
    code
}

fn make(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir(&path).expect("mkdir");
    path
}

/// One for all containers: nothing in it changes.
fn bundle(dir: &Path) -> PathBuf {
    let mut config: serde_json::Value = serde_json::from_str(BASE).expect("the base is JSON");
    // Not the one that the tests share: the next of them would make that anew.
    rootfs::make(&dir.join("rootfs"));
    config["root"]["path"] = serde_json::json!(dir.join("rootfs"));
    config["process"]["args"] = serde_json::json!(["sleep", "1000000"]);
    let bundle = make(dir, "bundle");
    fs::write(bundle.join("config.json"), config.to_string()).expect("write");
    bundle
}

/// Fills the machine, keeps it busy for so long, and empties it. This thread looks after time, signals and orphans.
fn carry(load: &Load, length: Duration, interrupted: &SignalFd) -> (Figures, Vec<String>) {
    let mut busy_since = None;
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..WORKERS).map(|number| scope.spawn(move || Worker::new(load, number).work())).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            if interrupted.read_signal().is_ok_and(|signal| signal.is_some()) {
                load.set(Stage::Interrupted);
            }
            if load.stage() == Stage::Busy {
                let since = *busy_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= length {
                    load.set(Stage::Done);
                }
            }
            load.kill_what_hangs(LIMIT);
            reap_orphans();
            std::thread::sleep(Duration::from_millis(5));
        }
        reap_orphans();
        let mut all = (Figures::default(), Vec::new());
        for worker in workers {
            let (figures, errors) = worker.join().expect("no worker panics");
            all.0.add(figures);
            all.1.extend(errors);
        }
        all.1.extend(
            (0..load.hung.load(SeqCst)).map(|_| format!("a command took longer than {LIMIT:?} and was killed")),
        );
        all
    })
}

/// What a runtime leaves becomes a child of this thread, the first one; what a worker has started is the worker's own.
fn reap_orphans() {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WNOTHREAD;
    while waitpid(None, Some(flags)).is_ok_and(|status| status != WaitStatus::StillAlive) {}
}
