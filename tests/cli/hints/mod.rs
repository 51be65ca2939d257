//! Errors that teach: every row of the table in `src/hints.rs`, provoked for real. The first line alone, which is all that
//! an engine shows, says what was done and what failed; then come the place in `config.json` and the hint.

mod cgroups;
mod host;
mod mounts;
mod namespaces;
mod program;

use std::fs;
use std::path::Path;

use minicon::hints::{ROWS, Row};

use crate::support::{Output, Test};

/// A failure, and how it must be told.
struct Case {
    /// The name of the row.
    row: &'static str,
    /// Makes it happen.
    provoke: fn(&Test) -> Output,
    /// What the first line says, in this order: the step, the call, its errno; or what is wrong and where.
    first: &'static [&'static str],
    /// The place in `config.json`; empty for what is not asked for there.
    config: &'static str,
}

/// Rows that nothing here can provoke, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("too many open files on the host", "the limit is the whole machine's"),
    ("no more namespaces", "the limit is the whole machine's"),
    ("cannot move into the cgroup", "takes a user with cgroups of its own, on cgroup v2 alone"),
    ("too many cgroups", "takes 65536 of them"),
    ("no pivot_root in an initramfs", "takes a machine that runs from one"),
];

/// Rows that are provoked with cgroup v1 and v2 side by side.
const HYBRID: &[&str] = &[
    "no more processes",
    "frozen cgroup",
    "no cgroup delegated",
    "no right to enter the cgroup",
    "read-only cgroups",
    "too many cgroups below a parent",
    "threaded cgroup",
    "cgroup with controllers for its children",
    "memory limit below what is in use",
];

/// What a row takes that this machine does not have.
fn lacks(row: &str) -> Option<&'static str> {
    let reads = |file: &str, words: &str| fs::read_to_string(file).is_ok_and(|text| text.contains(words));
    let is_hybrid = || {
        reads("/sys/fs/cgroup/unified/cgroup.subtree_control", "hugetlb")
            && Path::new("/sys/fs/cgroup/pids/tasks").exists()
    };
    let is_single = || std::thread::available_parallelism().is_ok_and(|number| number.get() == 1);
    let has_apparmor = || reads("/sys/module/apparmor/parameters/enabled", "Y");
    match row {
        row if HYBRID.contains(&row) && !is_hybrid() => Some("takes cgroup v1 and v2 side by side"),
        "controller is missing" if reads("/proc/cgroups", "rdma") => Some("takes a kernel without the controller rdma"),
        "deadlines on some processors only" if is_single() => Some("takes two processors"),
        "no AppArmor" if has_apparmor() => Some("takes a kernel without AppArmor"),
        "no such AppArmor profile" if !has_apparmor() => Some("takes a kernel with AppArmor"),
        "no SELinux" if Path::new("/sys/fs/selinux/enforce").exists() => Some("takes a kernel without SELinux"),
        _ => None,
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    [host::CASES, namespaces::CASES, cgroups::CASES, mounts::CASES, program::CASES].into_iter().flatten()
}

fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("there is no row {name:?}"))
}

/// What is wrong with how a failure is told.
fn faults(case: &Case, output: &Output) -> Vec<String> {
    let mut faults = Vec::new();
    let lines: Vec<&str> = output.stderr.lines().collect();
    let mut rest = lines.first().copied().unwrap_or_default();
    for words in case.first {
        match rest.find(words) {
            Some(at) => rest = &rest[at + words.len()..],
            None => faults.push(format!("no {words:?} in its turn on the first line")),
        }
    }
    let after = |label: &str| lines.iter().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
    if after("  config: ") != case.config {
        faults.push(format!("not the place {:?}", case.config));
    }
    if !after("  hint:   ").contains(row(case.row).hint) {
        faults.push("not the hint of its row".to_owned());
    }
    // Of `exec` a 1 may be the program's.
    let expected = if output.stderr.starts_with("exec failed") { 255 } else { 1 };
    if output.code != expected {
        faults.push(format!("exit status {}", output.code));
    }
    faults
}

#[test]
fn every_failure_is_told_with_its_hint() {
    if Test::of_minicon("other runtimes give no hints").is_none() {
        return;
    }
    let mut wrong = Vec::new();
    for case in cases() {
        let missing = lacks(case.row);
        let reason = format!("{:?} {}", case.row, missing.unwrap_or_default());
        let Some(t) = Test::where_possible(missing.is_none(), &reason) else { continue };
        let output = (case.provoke)(&t);
        let faults = faults(case, &output);
        if !faults.is_empty() {
            wrong.push(format!("{}: {}\n{}", case.row, faults.join("; "), output.stderr));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(cases().count() >= 30);
}

#[test]
fn every_row_is_provoked_or_says_why_not() {
    for row in ROWS {
        let is_provoked = cases().any(|case| case.row == row.name);
        let is_excused = NOT_HERE.iter().any(|(name, _)| *name == row.name);
        assert!(is_provoked != is_excused, "{:?}: provoked {is_provoked}, excused {is_excused}", row.name);
    }
    assert!(NOT_HERE.iter().all(|(name, _)| ROWS.iter().any(|row| row.name == *name)));
}
