//! What podman makes of the runtime's failures: exit codes and texts.

use anyhow::{Result, ensure};

use super::{Case, EVERY, ROOTFUL, exits, holds, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "error_missing_program", by: EVERY, check: missing_program },
    Case { name: "error_not_executable", by: EVERY, check: not_executable },
    Case { name: "error_missing_interpreter", by: EVERY, check: missing_interpreter },
    Case { name: "error_start_reports_it", by: EVERY, check: start_reports_it },
    Case { name: "error_limit_that_cannot_be_set", by: ROOTFUL, check: limit_that_cannot_be_set },
    Case { name: "error_unknown_sysctl", by: EVERY, check: unknown_sysctl },
    Case { name: "error_leaves_no_container", by: EVERY, check: leaves_no_container },
    Case { name: "error_detached", by: EVERY, check: detached },
];

/// 127, with and without a slash in the name, and the name is in the message.
fn missing_program(e: &dyn Engine) -> Result<()> {
    for program in ["nowhere", "/bin/nowhere"] {
        let outcome = e.call(&format!("run --rm --network none {NAME} {program}"))?;
        exits(&outcome, 127)?;
        holds(&outcome.err, program)?;
        holds(outcome.err, "Error")?;
    }
    Ok(())
}

fn not_executable(e: &dyn Engine) -> Result<()> {
    for program in ["not-executable", "/bin/not-executable", "/etc"] {
        let outcome = e.call(&format!("run --rm --network none {NAME} {program}"))?;
        // runc looks `not-executable` up in PATH, where only executable files count, so podman gets 127 from it.
        if program == "not-executable" && outcome.code == 127 {
            continue;
        }
        exits(&outcome, 126)?;
        holds(&outcome.err, "permission denied")?;
    }
    Ok(())
}

/// Only execve can tell that `#!` names nothing; the failure must still reach podman, when it starts at the latest.
fn missing_interpreter(e: &dyn Engine) -> Result<()> {
    let outcome = e.call(&format!("run --rm --network none {NAME} /bin/no-interpreter"))?;
    ensure!(outcome.code != 0, "success?");
    holds(outcome.err, "no such file or directory")
}

fn start_reports_it(e: &dyn Engine) -> Result<()> {
    e.ok(&format!("create --name broken --network none {NAME} /bin/nowhere"))?;
    let outcome = e.call("start broken")?;
    ensure!(outcome.code != 0, "started?");
    holds(&outcome.err, "/bin/nowhere")?;
    holds(outcome.err, "no such file or directory")
}

/// Above fs.nr_open setrlimit(2) says EPERM whatever the capabilities are, and podman shows that text.
fn limit_that_cannot_be_set(e: &dyn Engine) -> Result<()> {
    let above: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open")?.trim().parse::<u64>()? + 1;
    let ulimits = format!("--ulimit nofile={above}:{above} --ulimit nproc=1000:1000");
    let outcome = e.call(&format!("run --rm --network none {ulimits} {NAME} true"))?;
    exits(&outcome, if e.is_docker() { 125 } else { 126 })?;
    holds(&outcome.err, "operation not permitted")?;
    holds(outcome.err, "rlimit")
}

fn unknown_sysctl(e: &dyn Engine) -> Result<()> {
    let outcome = e.call(&format!("run --rm --network none --sysctl net.ipv4.nowhere=1 {NAME} true"))?;
    ensure!(outcome.code != 0, "success?");
    holds(&outcome.err, "nowhere")?;
    holds(outcome.err, "no such file or directory")
}

/// A failed create leaves nothing that podman or the runtime would list.
fn leaves_no_container(e: &dyn Engine) -> Result<()> {
    e.call(&format!("run --rm --network none {NAME} /bin/nowhere"))?;
    same(e.ok("ps --all --quiet")?, "")?;
    same(e.runtime(&["list", "--quiet"])?.out, "")
}

fn detached(e: &dyn Engine) -> Result<()> {
    let outcome = e.call(&format!("run -d --network none {NAME} /bin/nowhere"))?;
    exits(&outcome, 127)?;
    holds(outcome.err, "/bin/nowhere")
}
