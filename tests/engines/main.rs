//! Real engines driving the runtime: podman, through conmon, in a mount and network namespace of its own.
//!
//! Run as root by `cargo test --test engines [-- FILTER…]`. `RUNTIME=/usr/sbin/runc` runs the same cases against
//! another runtime; without it they run against minicon (`MINICON=PATH`, else the newest of target/release and
//! target/quick). libtest has no "after all tests", which podman's set-up needs, hence a `main` of our own that
//! prints what libtest prints.

mod cases;
mod engine;
mod image;
mod process;
mod runtime;
mod snapshot;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cases::Case;
use crate::engine::Engine;
use crate::snapshot::Snapshot;

fn main() -> ExitCode {
    let (selected, list_only) = selection(env::args().skip(1));
    if list_only {
        selected.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    if selected.is_empty() {
        return verdict(&Tally::default());
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: podman's tests need root (namespaces, cgroups, mounts)");
        return verdict(&Tally { ignored: selected.len(), ..Tally::default() });
    }
    match run_all(&selected) {
        Ok(tally) => verdict(&tally),
        Err(error) => {
            eprintln!("engines: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What became of the cases: how many passed, and each failure with its text.
#[derive(Default)]
struct Tally {
    passed: usize,
    ignored: usize,
    failures: Vec<(String, String)>,
    took: Duration,
}

impl Tally {
    fn record(&mut self, name: &str, result: Result<()>, started: Instant) {
        let seconds = started.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                println!("test {name} ... ok ({seconds:.2}s)");
                self.passed += 1;
            }
            Err(error) => {
                println!("test {name} ... FAILED ({seconds:.2}s)");
                self.failures.push((name.to_owned(), format!("{error:#}")));
            }
        }
    }
}

/// The whole suite: the host as it was, podman's world, the cases one after the other, the host as it is now.
fn run_all(selected: &[&Case]) -> Result<Tally> {
    let started = Instant::now();
    let mut tally = Tally::default();
    let runtime = runtime::find()?;
    process::adopt_orphans()?;
    let before = Snapshot::take()?;
    let engine = Engine::start(&runtime)?;
    println!("{}", engine.versions()?);
    println!("\nrunning {} tests", selected.len() + 1);
    for case in selected {
        let case_started = Instant::now();
        // The case's own failure says more than what it then failed to clean up, so it comes first.
        let result = (case.check)(&engine);
        let result = result.and(engine.settle());
        tally.record(case.name, result, case_started);
    }
    let teardown_started = Instant::now();
    let teardown = engine.end();
    tally.record("host_unchanged", teardown.and_then(|()| same_host(&before)), teardown_started);
    tally.took = started.elapsed();
    Ok(tally)
}

/// Compares the host with `before`, for a while: somebody else's short-lived mount or interface is not ours.
fn same_host(before: &Snapshot) -> Result<()> {
    let mut changes = Vec::new();
    process::until(Duration::from_secs(10), || {
        changes = before.changes(&Snapshot::take()?);
        Ok(changes.is_empty())
    })?;
    ensure!(changes.is_empty(), "the host changed:\n  {}", changes.join("\n  "));
    Ok(())
}

/// The cases that the arguments select: any whose name contains one of the words, all without words.
fn selection(arguments: impl Iterator<Item = String>) -> (Vec<&'static Case>, bool) {
    let (mut wanted, mut skipped, mut list_only) = (Vec::new(), Vec::new(), false);
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => list_only = true,
            "--skip" => skipped.extend(arguments.next()),
            // libtest's options that take a value; cargo hands the same arguments to every test binary.
            "--test-threads" | "--format" | "--color" => _ = arguments.next(),
            option if option.starts_with('-') => {}
            _ => wanted.push(argument),
        }
    }
    let selects = |case: &&Case| {
        (wanted.is_empty() || wanted.iter().any(|word| case.name.contains(word.as_str())))
            && !skipped.iter().any(|word| case.name.contains(word.as_str()))
    };
    (cases::all().filter(selects).collect(), list_only)
}

/// Prints the failures and libtest's last line, which `make test` sums.
fn verdict(tally: &Tally) -> ExitCode {
    for (name, error) in &tally.failures {
        println!("\n---- {name} ----\n{error}");
    }
    let word = if tally.failures.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        tally.passed,
        tally.failures.len(),
        tally.ignored,
        tally.took.as_secs_f32()
    );
    if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
