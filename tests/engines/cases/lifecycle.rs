//! Containers in the background: create, start, stop, kill, restart, remove, and what podman tells about them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Case, EVERY, PODMANS, ROOTFUL, exits, holds, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "create_start_attach", by: EVERY, check: create_start_attach },
    Case { name: "created_can_be_removed", by: EVERY, check: created_can_be_removed },
    Case { name: "init_leaves_created", by: PODMANS, check: init_leaves_created },
    Case { name: "detached_logs_and_wait", by: EVERY, check: detached_logs_and_wait },
    Case { name: "detached_terminal", by: EVERY, check: detached_terminal },
    Case { name: "ps_and_inspect", by: EVERY, check: ps_and_inspect },
    Case { name: "top", by: EVERY, check: top },
    Case { name: "stop_graceful", by: EVERY, check: stop_graceful },
    Case { name: "stop_timeout", by: EVERY, check: stop_timeout },
    Case { name: "kill_caught", by: EVERY, check: kill_caught },
    Case { name: "kill", by: EVERY, check: kill },
    Case { name: "kill_stopped", by: EVERY, check: kill_stopped },
    Case { name: "restart", by: EVERY, check: restart },
    Case { name: "restart_policy", by: EVERY, check: restart_policy },
    Case { name: "rm", by: EVERY, check: rm },
    Case { name: "healthcheck", by: PODMANS, check: healthcheck },
    Case { name: "thirty_at_once", by: ROOTFUL, check: thirty_at_once },
];

/// A script that says so and leaves when told to.
const OBEDIENT: &str = "trap 'echo leaving; exit 9' TERM; echo ready; while :; do sleep 0.05; done";

fn create_start_attach(e: &dyn Engine) -> Result<()> {
    e.ok_with(&format!("create --name two-steps --network none {NAME} sh -c"), &["echo started; exit 3"])?;
    same(e.ok("inspect --format {{.State.Status}} two-steps")?, "created")?;
    let outcome = e.call("start --attach two-steps")?;
    same(&outcome.out, "started\n")?;
    exits(&outcome, 3)
}

fn created_can_be_removed(e: &dyn Engine) -> Result<()> {
    e.ok(&format!("create --name unused --network none {NAME} true"))?;
    e.ok("rm unused").map(drop)
}

/// `podman container init` stops between the runtime's create and start.
fn init_leaves_created(e: &dyn Engine) -> Result<()> {
    let id = e.ok_with(&format!("create --name half --network none {NAME} sh -c"), &["echo second half"])?;
    e.ok("container init half")?;
    same(e.ok("inspect --format {{.State.Status}} half")?, "initialized")?;
    let state = e.runtime(&["state", &id])?;
    let state: serde_json::Value = serde_json::from_str(&state.out)?;
    ensure!(state["status"] == "created", "{state}");
    same(e.ok("start --attach half")?, "second half")?;
    // Another one is removed while it still waits for its start.
    e.ok(&format!("create --name waiting --network none {NAME} true"))?;
    e.ok("container init waiting")?;
    e.remove("waiting")
}

fn detached_logs_and_wait(e: &dyn Engine) -> Result<()> {
    e.start_sh("worker", "", "echo working; sleep 0.5; exit 4")?;
    same(e.ok("wait worker")?, "4")?;
    same(e.ok("logs worker")?, "working")?;
    same(e.ok("inspect --format {{.State.Status}},{{.State.ExitCode}} worker")?, "exited,4")
}

fn detached_terminal(e: &dyn Engine) -> Result<()> {
    e.start_sh("console", "--tty", "tty; sleep 50")?;
    e.await_log("console", "/dev/pts/0")
}

fn ps_and_inspect(e: &dyn Engine) -> Result<()> {
    let id = e.start_sh("listed", "", "exec sleep 50")?;
    let listed = e.ok("ps --no-trunc --filter status=running --format {{.ID}},{{.Names}}")?;
    same(listed, format!("{id},listed"))?;
    let pid = e.pid("listed")?;
    same(std::fs::read_to_string(format!("/proc/{pid}/comm"))?.trim(), "sleep")?;
    if e.is_docker() {
        return same(e.ok("inspect --format {{.HostConfig.Runtime}} listed")?, crate::documented::NAME);
    }
    let name = e.world().runtime.file_name().unwrap_or_default().display().to_string();
    same(e.ok("inspect --format {{.OCIRuntime}} listed")?, name)
}

fn top(e: &dyn Engine) -> Result<()> {
    e.start_sh("busy", "--init --user app", "sleep 49 & sleep 50; wait")?;
    // podman looks into the container's own /etc/passwd, docker runs the host's ps.
    let (columns, user) = if e.is_docker() { ("-eo pid,uid,args", "1000") } else { ("pid user args", "app") };
    let mut shown = String::new();
    crate::process::until(Duration::from_secs(10), || {
        shown = e.ok(&format!("top busy {columns}"))?;
        Ok(shown.contains("sleep 49") && shown.contains("sleep 50"))
    })?;
    holds(&shown, "sleep 49")?;
    holds(shown.lines().nth(1).unwrap_or_default(), user)
}

/// stop sends SIGTERM and reports the code the program left with.
fn stop_graceful(e: &dyn Engine) -> Result<()> {
    e.start_sh("polite", "", OBEDIENT)?;
    e.await_log("polite", "ready")?;
    e.ok("stop --time 20 polite")?;
    same(e.ok("inspect --format {{.State.Status}},{{.State.ExitCode}} polite")?, "exited,9")?;
    holds(e.ok("logs polite")?, "leaving")
}

/// stop waits as long as asked before it kills.
fn stop_timeout(e: &dyn Engine) -> Result<()> {
    e.start_sh("stubborn", "", "trap '' TERM; echo ready; while :; do sleep 0.05; done")?;
    e.await_log("stubborn", "ready")?;
    let started = Instant::now();
    e.ok("stop --time 2 stubborn")?;
    ensure!(started.elapsed() >= Duration::from_secs(2), "killed after {:?}", started.elapsed());
    same(e.ok("inspect --format {{.State.Status}},{{.State.ExitCode}} stubborn")?, "exited,137")
}

fn kill_caught(e: &dyn Engine) -> Result<()> {
    e.start_sh("listener", "", "trap 'echo caught' USR1; echo ready; while :; do sleep 0.05; done")?;
    e.await_log("listener", "ready")?;
    e.ok("kill --signal USR1 listener")?;
    e.await_log("listener", "caught")?;
    same(e.ok("inspect --format {{.State.Status}} listener")?, "running")
}

fn kill(e: &dyn Engine) -> Result<()> {
    e.start_sh("victim", "", "exec sleep 50")?;
    e.ok("kill victim")?;
    same(e.ok("wait victim")?, "137")
}

/// The runtime's refusal is in podman's words; the container is untouched.
fn kill_stopped(e: &dyn Engine) -> Result<()> {
    e.start_sh("gone", "", "true")?;
    e.ok("wait gone")?;
    let outcome = e.call("kill gone")?;
    ensure!(outcome.code != 0, "kill of a stopped container succeeded");
    holds(outcome.err, if e.is_docker() { "is not running" } else { "can only kill running containers" })
}

fn restart(e: &dyn Engine) -> Result<()> {
    e.start_sh("phoenix", "", OBEDIENT)?;
    let first = e.pid("phoenix")?;
    e.await_log("phoenix", "ready")?;
    e.ok("restart --time 20 phoenix")?;
    ensure!(e.pid("phoenix")? != first, "still pid {first}");
    same(e.ok("exec phoenix echo again")?, "again")
}

/// The restarts come from conmon's exit command, where SIGUSR1 is blocked; the program must not inherit that.
fn restart_policy(e: &dyn Engine) -> Result<()> {
    e.start_sh("retry", "--restart on-failure:2", "grep SigBlk /proc/self/status; exit 1")?;
    let done = || Ok(e.ok("logs retry")?.lines().count() == 3 && e.ok("ps --quiet")?.is_empty());
    ensure!(crate::process::until(Duration::from_secs(20), done)?, "log: {:?}", e.ok("logs retry")?);
    same(e.ok("inspect --format {{.RestartCount}} retry")?, "2")?;
    // runc hands the mask on.
    if e.is("runc") { Ok(()) } else { same(e.ok("logs retry")?, ["SigBlk:\t0000000000000000"; 3].join("\n")) }
}

/// A running container is removed only by force, a stopped one simply.
fn rm(e: &dyn Engine) -> Result<()> {
    e.start_sh("keep", "", "exec sleep 50")?;
    let refused = e.call("rm keep")?;
    ensure!(refused.code != 0, "removed while running");
    e.remove("keep")?;
    e.start_sh("done", "", "true")?;
    e.ok("wait done")?;
    e.ok("rm done")?;
    same(e.ok("ps --all --quiet")?, "")
}

fn healthcheck(e: &dyn Engine) -> Result<()> {
    e.start_sh("healthy", "--health-interval disable --health-cmd true", "exec sleep 50")?;
    exits(&e.call("healthcheck run healthy")?, 0)?;
    e.start_sh("sick", "--health-interval disable --health-cmd false", "exec sleep 50")?;
    exits(&e.call("healthcheck run sick")?, 1)
}

/// Many creates and starts side by side.
fn thirty_at_once(e: &dyn Engine) -> Result<()> {
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
