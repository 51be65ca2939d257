//! Containers in the background: create, start, stop, kill, restart, remove, and what podman tells about them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Case, exits, holds, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "create_start_attach", check: create_start_attach },
    Case { name: "created_can_be_removed", check: created_can_be_removed },
    Case { name: "init_leaves_created", check: init_leaves_created },
    Case { name: "detached_logs_and_wait", check: detached_logs_and_wait },
    Case { name: "detached_terminal", check: detached_terminal },
    Case { name: "ps_and_inspect", check: ps_and_inspect },
    Case { name: "top", check: top },
    Case { name: "stop_graceful", check: stop_graceful },
    Case { name: "stop_timeout", check: stop_timeout },
    Case { name: "kill_caught", check: kill_caught },
    Case { name: "kill", check: kill },
    Case { name: "kill_stopped", check: kill_stopped },
    Case { name: "restart", check: restart },
    Case { name: "restart_policy", check: restart_policy },
    Case { name: "rm", check: rm },
    Case { name: "healthcheck", check: healthcheck },
    Case { name: "thirty_at_once", check: thirty_at_once },
];

/// A script that says so and leaves when told to.
const OBEDIENT: &str = "trap 'echo leaving; exit 9' TERM; echo ready; while :; do sleep 0.05; done";

fn create_start_attach(e: &Engine) -> Result<()> {
    e.ok_with(&format!("create --name two-steps --network none {NAME} sh -c"), &["echo started; exit 3"])?;
    same(e.ok("inspect --format {{.State.Status}} two-steps")?, "created")?;
    let outcome = e.podman("start --attach two-steps")?;
    same(&outcome.out, "started\n")?;
    exits(&outcome, 3)
}

fn created_can_be_removed(e: &Engine) -> Result<()> {
    e.ok(&format!("create --name unused --network none {NAME} true"))?;
    e.ok("rm unused").map(drop)
}

/// `podman container init` stops between the runtime's create and start.
fn init_leaves_created(e: &Engine) -> Result<()> {
    let id = e.ok_with(&format!("create --name half --network none {NAME} sh -c"), &["echo second half"])?;
    e.ok("container init half")?;
    same(e.ok("inspect --format {{.State.Status}} half")?, "initialized")?;
    let state = e.inside(&[&e.runtime.to_string_lossy(), "state", &id])?;
    let state: serde_json::Value = serde_json::from_str(&state.out)?;
    ensure!(state["status"] == "created", "{state}");
    same(e.ok("start --attach half")?, "second half")?;
    // Another one is removed while it still waits for its start.
    e.ok(&format!("create --name waiting --network none {NAME} true"))?;
    e.ok("container init waiting")?;
    e.ok("rm --force --time 0 waiting").map(drop)
}

fn detached_logs_and_wait(e: &Engine) -> Result<()> {
    e.start_sh("worker", "", "echo working; sleep 0.5; exit 4")?;
    same(e.ok("wait worker")?, "4")?;
    same(e.ok("logs worker")?, "working")?;
    same(e.ok("inspect --format {{.State.Status}},{{.State.ExitCode}} worker")?, "exited,4")
}

fn detached_terminal(e: &Engine) -> Result<()> {
    e.start_sh("console", "--tty", "tty; sleep 50")?;
    e.await_log("console", "/dev/pts/0")
}

fn ps_and_inspect(e: &Engine) -> Result<()> {
    let id = e.start_sh("listed", "", "exec sleep 50")?;
    let listed = e.ok("ps --no-trunc --filter status=running --format {{.ID}},{{.Names}}")?;
    same(listed, format!("{id},listed"))?;
    let pid = e.pid("listed")?;
    same(std::fs::read_to_string(format!("/proc/{pid}/comm"))?.trim(), "sleep")?;
    same(e.ok("inspect --format {{.OCIRuntime}} listed")?, e.runtime.display().to_string())
}

fn top(e: &Engine) -> Result<()> {
    e.start_sh("busy", "--init --user app", "sleep 49 & sleep 50; wait")?;
    let mut shown = String::new();
    crate::process::until(Duration::from_secs(10), || {
        shown = e.ok("top busy pid user args")?;
        Ok(shown.contains("sleep 49") && shown.contains("sleep 50"))
    })?;
    holds(&shown, "sleep 49")?;
    holds(shown.lines().nth(1).unwrap_or_default(), "app")
}

/// stop sends SIGTERM and reports the code the program left with.
fn stop_graceful(e: &Engine) -> Result<()> {
    e.start_sh("polite", "", OBEDIENT)?;
    e.await_log("polite", "ready")?;
    e.ok("stop --time 20 polite")?;
    same(e.ok("inspect --format {{.State.Status}},{{.State.ExitCode}} polite")?, "exited,9")?;
    holds(e.ok("logs polite")?, "leaving")
}

/// stop waits as long as asked before it kills.
fn stop_timeout(e: &Engine) -> Result<()> {
    e.start_sh("stubborn", "", "trap '' TERM; echo ready; while :; do sleep 0.05; done")?;
    e.await_log("stubborn", "ready")?;
    let started = Instant::now();
    e.ok("stop --time 2 stubborn")?;
    ensure!(started.elapsed() >= Duration::from_secs(2), "killed after {:?}", started.elapsed());
    same(e.ok("inspect --format {{.State.Status}},{{.State.ExitCode}} stubborn")?, "exited,137")
}

fn kill_caught(e: &Engine) -> Result<()> {
    e.start_sh("listener", "", "trap 'echo caught' USR1; echo ready; while :; do sleep 0.05; done")?;
    e.await_log("listener", "ready")?;
    e.ok("kill --signal USR1 listener")?;
    e.await_log("listener", "caught")?;
    same(e.ok("inspect --format {{.State.Status}} listener")?, "running")
}

fn kill(e: &Engine) -> Result<()> {
    e.start_sh("victim", "", "exec sleep 50")?;
    e.ok("kill victim")?;
    same(e.ok("wait victim")?, "137")
}

/// The runtime's refusal is in podman's words; the container is untouched.
fn kill_stopped(e: &Engine) -> Result<()> {
    e.start_sh("gone", "", "true")?;
    e.ok("wait gone")?;
    let outcome = e.podman("kill gone")?;
    ensure!(outcome.code != 0, "kill of a stopped container succeeded");
    holds(outcome.err, "can only kill running containers")
}

fn restart(e: &Engine) -> Result<()> {
    e.start_sh("phoenix", "", OBEDIENT)?;
    let first = e.pid("phoenix")?;
    e.await_log("phoenix", "ready")?;
    e.ok("restart --time 20 phoenix")?;
    ensure!(e.pid("phoenix")? != first, "still pid {first}");
    same(e.ok("exec phoenix echo again")?, "again")
}

/// The restarts come from conmon's exit command, where SIGUSR1 is blocked; the program must not inherit that.
fn restart_policy(e: &Engine) -> Result<()> {
    e.start_sh("retry", "--restart on-failure:2", "grep SigBlk /proc/self/status; exit 1")?;
    let done = || Ok(e.ok("logs retry")?.lines().count() == 3 && e.ok("ps --quiet")?.is_empty());
    ensure!(crate::process::until(Duration::from_secs(20), done)?, "log: {:?}", e.ok("logs retry")?);
    same(e.ok("inspect --format {{.RestartCount}} retry")?, "2")?;
    // runc hands the mask on.
    if e.is("runc") { Ok(()) } else { same(e.ok("logs retry")?, ["SigBlk:\t0000000000000000"; 3].join("\n")) }
}

/// A running container is removed only by force, a stopped one simply.
fn rm(e: &Engine) -> Result<()> {
    e.start_sh("keep", "", "exec sleep 50")?;
    let refused = e.podman("rm keep")?;
    ensure!(refused.code != 0, "removed while running");
    e.ok("rm --force --time 0 keep")?;
    e.start_sh("done", "", "true")?;
    e.ok("wait done")?;
    e.ok("rm done")?;
    same(e.ok("ps --all --quiet")?, "")
}

fn healthcheck(e: &Engine) -> Result<()> {
    e.start_sh("healthy", "--health-interval disable --health-cmd true", "exec sleep 50")?;
    exits(&e.podman("healthcheck run healthy")?, 0)?;
    e.start_sh("sick", "--health-interval disable --health-cmd false", "exec sleep 50")?;
    exits(&e.podman("healthcheck run sick")?, 1)
}

/// Many creates and starts side by side.
fn thirty_at_once(e: &Engine) -> Result<()> {
    for number in 0..30 {
        e.ok(&format!("create --name many{number} --network none {NAME} echo {number}"))?;
    }
    let names: Vec<_> = (0..30).map(|number| format!("many{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    e.ok_with("start", &names)?;
    let codes = e.ok_with("wait", &names)?;
    ensure!(codes.lines().count() == 30 && codes.lines().all(|code| code == "0"), "{codes}");
    e.ok_with("rm", &names).map(drop)
}
