//! Published escapes from container runtimes, each tried on the runtime that `RUNTIME` names: is it open to them?
//!
//! A row has a deterministic proxy of the published attack, and a racer where the attack is a race. With `ESCAPES_RACE=1`
//! the racers run, and only they: they take time, and a proxy does not prove that a race is closed. What
//! could harm a machine runs in a virtual machine only (scripts/vm). All use a copy of the runtime, which must be the same
//! bytes afterwards. In the virtual machine the table in SECURITY.md is held against the verdicts.
#![allow(missing_docs)]

mod attacks;
mod decoy;
mod mounts;
mod process;
mod race;
mod racers;
mod rows;
#[path = "../cli/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rows::{ROWS, Row};

/// What came of trying.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Holds,
    Vulnerable(String),
    NotApplicable(&'static str),
    /// The attack itself went wrong, which says nothing.
    Broken(String),
    /// Not tried here.
    Skipped(&'static str),
}

/// Set for the process that tries, with the runtime's copy as `RUNTIME`.
const INSIDE: &str = "ESCAPES_INSIDE";

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if std::env::var_os(INSIDE).is_none() {
        return on_a_copy();
    }
    let wanted = |row: &&Row| filters.is_empty() || filters.iter().any(|filter| row.cve.contains(filter.as_str()));
    if race::length().is_some() {
        return run_races(ROWS.iter().filter(wanted));
    }
    let tried: Vec<_> = ROWS.iter().filter(wanted).map(|row| (row, attempt(row))).collect();
    let mut failed = tried.iter().filter(|(_, verdict)| verdict.fails()).count();
    println!("{}", table(&tried));
    let complete = filters.is_empty() && tried.iter().all(|(_, verdict)| !matches!(verdict, Verdict::Skipped(_)));
    if complete && support::is_minicon() && !is_documented(&table(&tried)) {
        println!("test escapes::documented ... FAILED: SECURITY.md has another table; `make test-escapes UPDATE=1`");
        failed += 1;
    }
    let skipped = tried.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Skipped(_))).count();
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    // A skipped one counts as passed here, and is taken off by scripts/count.awk.
    println!("test result: {verdict}. {} passed; {failed} failed; 0 ignored; {skipped} skipped", tried.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Races tried and won, a line for each.
fn run_races<'r>(rows: impl Iterator<Item = &'r Row>) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (row, racer) in rows.filter_map(|row| Some((row, row.racer?))) {
        let raced = catch_unwind(AssertUnwindSafe(racer)).unwrap_or_default();
        let verdict = if raced.fails() { "FAILED" } else { "ok" };
        let (naive, lost) = raced.naive.unwrap_or_default();
        println!(
            "test races::{} ... {verdict}: {} rounds, {} won; the naive reference lost {lost} of {naive}; {} swaps {}",
            row.cve, raced.rounds, raced.won, raced.swaps, raced.how
        );
        if raced.fails() { failed += 1 } else { passed += 1 }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs this program again with a copy of the runtime, and looks at the copy before and after.
fn on_a_copy() -> ExitCode {
    let directory = tempfile::Builder::new().prefix("minicon-escapes-").tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let copy = directory.path().join(support::runtime_name());
    fs::copy(support::program(), &copy).expect("a copy of the runtime");
    let before = checksum(&copy);
    let own = std::env::current_exe().expect("this program");
    let status = Command::new(own).args(std::env::args_os().skip(1)).env(INSIDE, "1").env("RUNTIME", &copy).status();
    let after = checksum(&copy);
    println!("sha256 of the runtime before: {before}\nsha256 of the runtime after:  {after}");
    let unchanged = before == after;
    if !unchanged {
        println!("test escapes::the_runtime_is_unchanged ... FAILED");
    }
    if unchanged && status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub fn checksum(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().expect("sha256sum of coreutils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn attempt(row: &Row) -> Verdict {
    let verdict = match row.attack {
        Err(reason) => Verdict::NotApplicable(reason),
        Ok(_) if row.dangerous && !in_virtual_machine() => Verdict::Skipped("it runs in a virtual machine only"),
        Ok(attack) => {
            let tried = catch_unwind(AssertUnwindSafe(attack));
            tried.unwrap_or_else(|cause| {
                let text = cause.downcast_ref::<String>().cloned();
                Verdict::Broken(text.unwrap_or_else(|| "a panic".to_owned()))
            })
        }
    };
    match &verdict {
        Verdict::Skipped(reason) => println!("test escapes::{} ... skipped: escapes::{}: {reason}", row.cve, row.cve),
        _ if verdict.fails() => println!("test escapes::{} ... FAILED: {verdict:?}", row.cve),
        _ => println!("test escapes::{} ... ok: {verdict:?}", row.cve),
    }
    verdict
}

impl Verdict {
    fn fails(&self) -> bool {
        matches!(self, Verdict::Vulnerable(_) | Verdict::Broken(_))
    }

    fn words(&self) -> String {
        match self {
            Verdict::Holds => "holds".to_owned(),
            Verdict::Vulnerable(_) => "**vulnerable**".to_owned(),
            Verdict::NotApplicable(reason) => format!("not applicable: {reason}"),
            Verdict::Broken(_) => "could not be tried".to_owned(),
            Verdict::Skipped(reason) => format!("not tried: {reason}"),
        }
    }
}

/// The kernel's command line that scripts/vm/run.sh gives.
fn in_virtual_machine() -> bool {
    fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains("vm.mode="))
}

fn table(tried: &[(&Row, Verdict)]) -> String {
    let mut table = "| published as | what goes wrong | verdict | rule |\n|---|---|---|---|\n".to_owned();
    for (row, verdict) in tried {
        table += &format!("| {} | {} | {} | {} |\n", row.cve, row.class, verdict.words(), row.rule);
    }
    table
}

fn is_documented(table: &str) -> bool {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("SECURITY.md");
    fs::read_to_string(path).is_ok_and(|text| text.contains(table))
}
