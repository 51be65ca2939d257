//! What watches or changes a container while it runs: pause, update, stats, events, diff, commit, attach, rename.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Case, EVERY, ROOTFUL, exits, has_shares, holds, limit, same, seconds};
use crate::engine::Engine;
use crate::image::NAME;
use crate::process;

pub const CASES: &[Case] = &[
    Case { name: "pause_and_unpause", by: ROOTFUL, check: pause_and_unpause },
    Case { name: "exec_in_paused", by: ROOTFUL, check: exec_in_paused },
    Case { name: "remove_paused", by: ROOTFUL, check: remove_paused },
    Case { name: "update_memory", by: ROOTFUL, check: update_memory },
    Case { name: "update_cpu", by: ROOTFUL, check: update_cpu },
    Case { name: "update_pids", by: ROOTFUL, check: update_pids },
    Case { name: "stats", by: ROOTFUL, check: stats },
    Case { name: "events", by: EVERY, check: events },
    Case { name: "diff", by: EVERY, check: diff },
    Case { name: "commit", by: EVERY, check: commit },
    Case { name: "attach", by: EVERY, check: attach },
    Case { name: "rename", by: EVERY, check: rename },
];

const FOREVER: &str = "exec sleep 50";

fn frozen(pid: i32) -> Result<bool> {
    let state = limit(pid, ("freezer", "freezer.state"), "cgroup.freeze")?;
    ensure!(["FROZEN", "1", "THAWED", "0"].contains(&state.as_str()), "the freezer says {state}");
    Ok(state == "FROZEN" || state == "1")
}

/// A paused container does nothing, and does it again when it is not.
fn pause_and_unpause(e: &dyn Engine) -> Result<()> {
    e.start_sh("napper", "", "while :; do echo tick; sleep 0.02; done")?;
    let pid = e.pid("napper")?;
    e.await_log("napper", "tick")?;
    e.ok("pause napper")?;
    same(e.ok("inspect --format {{.State.Status}} napper")?, "paused")?;
    ensure!(frozen(pid)?, "not frozen");
    e.ok("unpause napper")?;
    ensure!(!frozen(pid)?, "still frozen");
    same(e.ok("inspect --format {{.State.Status}} napper")?, "running")?;
    same(e.ok("exec napper echo awake")?, "awake")
}

fn exec_in_paused(e: &dyn Engine) -> Result<()> {
    e.start_sh("napper", "", FOREVER)?;
    e.ok("pause napper")?;
    let outcome = e.call("exec napper true")?;
    e.ok("unpause napper")?;
    ensure!(outcome.code != 0, "exec into a paused container");
    holds(outcome.err, if e.is_docker() { "is paused" } else { "container state improper" })
}

/// By force a paused container goes too, which means that it is killed frozen.
fn remove_paused(e: &dyn Engine) -> Result<()> {
    e.start_sh("napper", "", FOREVER)?;
    e.ok("pause napper")?;
    e.remove("napper")?;
    same(e.ok("ps --all --quiet")?, "")
}

/// Up and down, and what was not asked for stays as it was.
fn update_memory(e: &dyn Engine) -> Result<()> {
    e.start_sh("changing", "--memory 64m --memory-swap 128m --cpu-shares 512 --pids-limit 50", FOREVER)?;
    let pid = e.pid("changing")?;
    for (memory, bytes) in [("96m", "100663296"), ("48m", "50331648")] {
        e.ok(&format!("update --memory {memory} --memory-swap 128m changing"))?;
        same(limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max")?, bytes)?;
    }
    has_shares(pid, 512)?;
    same(limit(pid, ("pids", "pids.max"), "pids.max")?, "50")
}

fn update_cpu(e: &dyn Engine) -> Result<()> {
    e.start_sh("changing", "--memory 64m", FOREVER)?;
    let pid = e.pid("changing")?;
    e.ok("update --cpu-shares 256 --cpu-quota 25000 --cpu-period 50000 --cpuset-cpus 0 changing")?;
    has_shares(pid, 256)?;
    let quota = limit(pid, ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    ensure!(["25000", "25000 50000"].contains(&quota.as_str()), "{quota}");
    same(limit(pid, ("cpuset", "cpuset.cpus"), "cpuset.cpus")?, "0")?;
    same(limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max")?, "67108864")
}

fn update_pids(e: &dyn Engine) -> Result<()> {
    e.start_sh("changing", "--pids-limit 50", FOREVER)?;
    // podman 4.3 has no such option.
    if e.is_docker() {
        e.ok("update --pids-limit 70 changing")?;
        same(limit(e.pid("changing")?, ("pids", "pids.max"), "pids.max")?, "70")?;
    }
    Ok(())
}

fn stats(e: &dyn Engine) -> Result<()> {
    e.start_sh("measured", "--memory 64m", "sleep 49 & exec sleep 50")?;
    let mut shown = String::new();
    // Memory counts when the kernel has charged it, a moment after the start.
    let found = process::until(Duration::from_secs(10), || {
        shown = e.ok("stats --no-stream --format {{.PIDs}},{{.MemUsage}} measured")?;
        Ok(shown.starts_with("2,") && !shown.starts_with("2,0B"))
    })?;
    ensure!(found, "{shown}");
    holds(shown, "/ 6")
}

/// The engine's own record of a container's life, which comes from what the runtime reports.
fn events(e: &dyn Engine) -> Result<()> {
    let since = seconds()?;
    let outcome = e.call_with(&format!("run --name watched --network none {NAME} sh -c"), &["exit 3"])?;
    exits(&outcome, 3)?;
    // With an end in the future podman goes on reading its file, and may give up before it has shown a line.
    let until = if e.is_docker() { format!("--until {}", seconds()? + 1) } else { "--stream=false".into() };
    let events = format!("events --since {since} {until} --filter container=watched --format {{{{.Status}}}}");
    let shown = e.ok(&events)?;
    for event in ["create", "start", if e.is_docker() { "die" } else { "died" }] {
        ensure!(shown.lines().any(|line| line == event), "no {event} in {shown}");
    }
    Ok(())
}

/// Nothing but what the container did is new in its layer.
fn diff(e: &dyn Engine) -> Result<()> {
    e.start_sh("writer", "", "echo new > /made; rm /etc/group; echo ready; exec sleep 50")?;
    e.await_log("writer", "ready")?;
    let shown = e.ok("diff writer")?;
    ensure!(shown.lines().any(|line| line == "A /made"), "{shown}");
    ensure!(shown.lines().any(|line| line == "D /etc/group"), "{shown}");
    Ok(())
}

fn commit(e: &dyn Engine) -> Result<()> {
    e.start_sh("source", "", "echo kept > /made; echo ready; exec sleep 50")?;
    e.await_log("source", "ready")?;
    e.ok("commit source localhost/committed")?;
    same(e.ok("run --rm --network none localhost/committed cat /made")?, "kept")?;
    e.ok("rmi localhost/committed").map(drop)
}

/// The output since the attaching, and the exit code. The container ends when the client has heard of it.
fn attach(e: &dyn Engine) -> Result<()> {
    let (shared, heard) = (e.path("attached-to"), e.path("attached"));
    fs::create_dir(&shared)?;
    let ticking = "until test -e /shared/go; do echo tick; sleep 0.1; done; echo late; exit 3";
    e.start_sh("late", &format!("--volume {shared}:/shared"), ticking)?;
    let script = format!(
        "\"$@\" >{heard} 2>&1 & client=$!; for i in $(seq 200); do grep -q tick {heard} && break; sleep 0.1; done
        touch {shared}/go; wait $client"
    );
    let outcome = process::run(&mut e.command(&["sh", "-c", &script, "sh"], "attach --no-stdin late", &[]), "")?;
    let heard = fs::read_to_string(heard)?;
    // podman without root prints one more newline.
    ensure!(heard.starts_with("tick\n") && heard.trim_end().ends_with("\nlate"), "{heard:?}");
    // podman 4.3 does not hand the code on.
    exits(&outcome, if e.is_docker() { 3 } else { 0 })
}

fn rename(e: &dyn Engine) -> Result<()> {
    e.start_sh("before", "", FOREVER)?;
    e.ok("rename before after")?;
    same(e.ok("exec after echo same")?, "same")
}
