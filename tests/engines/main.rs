//! Real engines driving the runtime: podman (as root and as an ordinary user), dockerd, containerd, buildah, umoci, each
//! in a mount and network namespace of its own.
//!
//! Run as root by `cargo test --test engines [-- FILTER…]`: podman's cases, or those of the engines that `ENGINES`
//! names ("docker containerd", or "all", which is all but "swarm"). `RUNTIME=/usr/sbin/runc` runs the same cases against another runtime;
//! without it they run against minicon (`MINICON=PATH`, else the newest of target/release and target/quick). libtest
//! has no "after all tests", which an engine's set-up needs, hence a `main` of our own that prints what libtest prints.

mod buildah;
mod cases;
mod containerd;
mod docker;
mod engine;
mod image;
mod podman;
mod process;
mod runtime;
mod snapshot;
mod swarm;
mod umoci;
mod world;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cases::{Case, Skipped};
use crate::engine::{Engine, Kind};
use crate::snapshot::Snapshot;

/// What to run: the cases of an engine, in their order.
type Selection = Vec<(Kind, Vec<&'static Case>)>;

fn main() -> ExitCode {
    let (selected, list_only) = match engines() {
        Ok(engines) => selection(&engines, env::args().skip(1)),
        Err(error) => {
            eprintln!("engines: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    if list_only {
        for (kind, cases) in &selected {
            cases.iter().for_each(|case| println!("{}: test", full_name(*kind, case)));
        }
        return ExitCode::SUCCESS;
    }
    let count = selected.iter().map(|(_, cases)| cases.len()).sum();
    if count == 0 {
        return verdict(&Tally::default());
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: the engines' tests need root (namespaces, cgroups, mounts)");
        return verdict(&Tally { ignored: count, ..Tally::default() });
    }
    match run_all(&selected) {
        Ok(tally) => verdict(&tally),
        Err(error) => {
            eprintln!("engines: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The engines that the environment names, in our order; podman if it names none.
fn engines() -> Result<Vec<Kind>> {
    let named = env::var("ENGINES").unwrap_or_else(|_| Kind::Podman.name().to_owned());
    let words: Vec<_> = named.split_whitespace().collect();
    for word in &words {
        let known = *word == "all" || every().any(|kind| kind.name() == *word);
        let names: Vec<_> = every().map(Kind::name).collect();
        ensure!(known, "ENGINES: there is no engine {word:?}; there are {names:?}, and all");
    }
    let in_all = |kind: &Kind| words.contains(&"all") && Kind::ALL.contains(kind);
    Ok(every().filter(|kind| in_all(kind) || words.contains(&kind.name())).collect())
}

fn every() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().chain(Kind::LONG)
}

fn full_name(kind: Kind, case: &Case) -> String {
    format!("{}::{}", kind.name(), case.name)
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
            // As libtest prints it; `make test` repeats the line at its end.
            Err(error) if error.is::<Skipped>() => {
                println!("test {name} ... ignored, {error}");
                self.ignored += 1;
            }
            Err(error) => {
                println!("test {name} ... FAILED ({seconds:.2}s)");
                self.failures.push((name.to_owned(), format!("{error:#}")));
            }
        }
    }
}

/// One engine after the other. One that does not start is one failure.
fn run_all(selected: &Selection) -> Result<Tally> {
    let started = Instant::now();
    let mut tally = Tally::default();
    let runtime = runtime::find()?;
    process::adopt_orphans()?;
    for (kind, cases) in selected.iter().filter(|(_, cases)| !cases.is_empty()) {
        let engine_started = Instant::now();
        let result = run_engine(*kind, cases, &runtime, &mut tally);
        tally.record(&format!("{}::host_unchanged", kind.name()), result, engine_started);
    }
    tally.took = started.elapsed();
    Ok(tally)
}

/// One engine: the host as it was, the engine's world, the cases one after the other, the host as it is now.
fn run_engine(kind: Kind, cases: &[&Case], runtime: &Path, tally: &mut Tally) -> Result<()> {
    let before = Snapshot::take()?;
    let engine = match start(kind, runtime) {
        Ok(engine) => engine,
        Err(error) => {
            // Whatever had started already.
            process::kill_descendants(&|_| false)?;
            return Err(error.context("it does not start"));
        }
    };
    println!("\n{}: {}", kind.name(), engine.versions()?);
    println!("running {} tests", cases.len() + 1);
    for case in cases {
        let case_started = Instant::now();
        // The case's own failure says more than what it then failed to clean up, so it comes first.
        let result = (case.check)(engine.as_ref());
        let result = result.and(engine.settle());
        tally.record(&full_name(kind, case), result, case_started);
    }
    if let Err(error) = engine::end(engine) {
        process::kill_descendants(&|_| false)?;
        return Err(error);
    }
    same_host(&before)
}

fn start(kind: Kind, runtime: &Path) -> Result<Box<dyn Engine>> {
    match kind {
        Kind::Podman | Kind::Rootless => podman::Podman::start(kind, runtime),
        Kind::Docker => docker::Docker::start(runtime),
        Kind::Containerd => containerd::Containerd::start(runtime),
        Kind::Buildah => buildah::Buildah::start(runtime),
        Kind::Umoci => umoci::Umoci::start(runtime),
        Kind::Swarm => swarm::Swarm::start(runtime),
    }
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

/// The cases that the arguments select: any whose full name contains one of the words, all without words.
fn selection(engines: &[Kind], arguments: impl Iterator<Item = String>) -> (Selection, bool) {
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
    let selects = |name: &str| {
        (wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())))
            && !skipped.iter().any(|word| name.contains(word.as_str()))
    };
    let of = |kind: &Kind| cases::of(*kind).filter(|case| selects(&full_name(*kind, case))).collect();
    (engines.iter().map(|kind| (*kind, of(kind))).collect(), list_only)
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
