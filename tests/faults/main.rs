//! A fault at every step (decision 0024): it fails, or a process dies just before or after it. Then `delete --force`, and
//! nothing else, must leave the host as it was. The steps are those that `explain` lists and `--trace` records, so a new
//! step is tried without anybody thinking of it, and one that is not reached fails the test.
//!
//! `make test-faults` builds the minicon that this needs; `FAULTS_SHORT=1` tries one fault a step instead of all.
#![allow(missing_docs)]

mod bundles;
mod executioner;
mod lab;
mod situations;
mod steps;
#[path = "../cli/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;
mod table;

use std::collections::BTreeSet;
use std::process::ExitCode;

use bundles::Variant;
use lab::Lab;
use steps::Step;
use support::{Cmd, Test};
use table::{Cell, Table};

/// What can happen at a step; see `src/fault.rs`.
pub const KINDS: [&str; 5] = ["error", "before", "after", "other", "both"];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if !has_faults() {
        println!("test faults ... skipped: faults: this build has none; make test-faults makes one that has");
        println!("test result: ok. 1 passed; 0 failed; 0 ignored");
        return ExitCode::SUCCESS;
    }
    // The devices that come and go are not the machine's. There is one thread.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("run as root: unshare(CLONE_NEWNET)");
    let failed = {
        let test = Test::new();
        try_all(&test, &filters)
    };
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {} passed; {failed} failed; 0 ignored", usize::from(failed == 0));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Only a build with faults minds a fault that makes no sense.
fn has_faults() -> bool {
    Cmd::new(support::program()).arg("list").env("MINICON_FAULT", "?").run().code != 0
}

/// Every variant, then the situations that are no fault of a step. How many have failed.
fn try_all(test: &Test, filters: &[String]) -> usize {
    let short = std::env::var_os("FAULTS_SHORT").is_some_and(|value| !value.is_empty());
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let holder = Cmd::new("/usr/bin/unshare")
        .args(["--user", "--map-root-user", "--net", "--ipc", "/bin/busybox", "sleep", "1000"])
        .spawn();
    let name = || std::fs::read_to_string(format!("/proc/{}/comm", holder.pid()));
    support::eventually("the holder holds", || name().is_ok_and(|name| name == "busybox\n"));
    let mut lab = Lab::new(test);
    let mut failed = 0;
    let mut totals = Table::default();
    for variant in bundles::variants(test, holder.pid()).iter().filter(|variant| wanted(variant.name)) {
        variant.prepare();
        lab.look();
        match steps::of(&mut lab, variant) {
            Err(why) => {
                println!("FAILED: {}: {why}", variant.name);
                failed += 1;
                lab.clean_up(variant);
            }
            Ok(steps) => {
                for command in variant.commands {
                    let table = try_command(&mut lab, variant, command, &steps, short);
                    println!("{}", table.text(variant.name, command, !short));
                    failed += table.failures();
                    totals.add_totals(variant.name, command, &table);
                }
            }
        }
    }
    lab.look();
    failed += situations::try_all(&mut lab, &wanted);
    println!("{}", totals.summary());
    failed
}

/// Every step of a command, with every kind of fault or with one of them.
fn try_command(lab: &mut Lab<'_>, variant: &Variant<'_>, command: &str, steps: &[Step], short: bool) -> Table {
    let mut table = Table::default();
    let own = steps.iter().filter(|step| step.command == command);
    for (index, step) in own.enumerate() {
        if step.is_skipped {
            table.skipped += 1;
            continue;
        }
        let mut row = KINDS.map(|_| Cell::NotTried);
        for round in 0..KINDS.len() {
            let kind = (index + round) % KINDS.len();
            row[kind] = try_one(lab, variant, step, KINDS[kind]);
            // One that cannot happen there does not count.
            if short && row[kind] != Cell::NotReached {
                break;
            }
        }
        table.rows.push((step.id.clone(), row));
    }
    table
}

fn try_one(lab: &mut Lab<'_>, variant: &Variant<'_>, step: &Step, kind: &str) -> Cell {
    lab.executioner.rest();
    variant.prepare();
    let mut leaks = live(lab, variant, step, kind);
    let reached = lab.executioner.reached;
    // A poststop hook runs when nothing else is left to remember it.
    let is_last = step.command == "delete" && (step.id.starts_with("hook:poststop") || step.id == "state:remove");
    let b = &variant.bundle;
    match lab.call(b.verb("delete", &["--force"])) {
        Some(output) if output.code == 0 => {}
        Some(output) => leaks.extend([format!("delete --force: {}", output.stderr.trim())]),
        None => leaks.extend(["delete --force does not end".to_owned()]),
    }
    lab.executioner.rest();
    leaks.extend(lab.leaks());
    leaks.extend(variant.leaks(false).into_iter().filter(|leak| !is_last || !leak.contains("poststop")));
    if !leaks.is_empty() {
        lab.clean_up(variant);
        return Cell::Leaks(leaks.into_iter().collect());
    }
    if reached { Cell::Clean } else { Cell::NotReached }
}

/// The container's life up to the command that has the fault in it. What is found here a failing create has left.
fn live(lab: &mut Lab<'_>, variant: &Variant<'_>, step: &Step, kind: &str) -> BTreeSet<String> {
    let b = &variant.bundle;
    let mut found = BTreeSet::new();
    let mut note = |what: &str| found.extend([what.to_owned()]);
    let _ = std::fs::remove_file(lab.test.path("console"));
    // It holds the terminal's other side to the end: without one, whoever has the terminal is hung up.
    let socket = variant.has_terminal.then(|| support::terminal::FdSocket::listen(lab.test, "console"));
    let flags = socket.as_ref().map_or(Vec::new(), |socket| vec!["--console-socket", socket.arg()]);
    let create = variant.planning(b.on_bundle("create", &flags));
    // Init goes on to the exec, and knows of a fault from its birth.
    let created = match step.command {
        "create" | "start" => lab.call_with(create, kind, &step.id),
        _ => lab.call(create),
    };
    let Some(created) = created else {
        note("create does not end");
        return found;
    };
    if step.command == "create" {
        if created.code == 0 && kind == "error" && lab.executioner.reached {
            note("create succeeds although a step has failed");
        }
        let is_killed = created.code == KILLED;
        if created.code != 0 && !is_killed {
            drop(created); // and its files
            let left = lab.leaks().into_iter().chain(variant.leaks(true));
            found.extend(left.map(|leak| format!("left by create itself: {leak}")));
        }
        return found;
    }
    if created.code == KILLED && lab.executioner.reached {
        return found; // init was at the gate before create had ended
    }
    if created.code != 0 {
        note(&format!("create: {}", created.stderr.trim()));
        return found;
    }
    let start = b.verb("start", &[]);
    let started = if step.command == "start" { lab.call_with(start, kind, &step.id) } else { lab.call(start) };
    match (step.command, started) {
        (_, None) => note("start does not end"),
        ("start", Some(output)) if output.code == 0 && kind == "error" && lab.executioner.reached => {
            note("start succeeds although a step has failed");
        }
        ("start", _) => {}
        (_, Some(output)) if output.code != 0 => note(&format!("start: {}", output.stderr.trim())),
        ("exec", _) => drop(lab.call_with(b.exec_with(&[], &["true"]), kind, &step.id)),
        ("update", _) => drop(lab.call_with(steps::update(lab.test, b), kind, &step.id)),
        (_, Some(_)) => drop(lab.call_with(b.verb("delete", &["--force"]), kind, &step.id)),
    }
    found
}

/// The exit status of what SIGKILL has ended.
pub const KILLED: i32 = 128 + 9;
