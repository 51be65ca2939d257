//! What only docker does: runtimes by name, its own health timer, restarts by the daemon, updates full of zeros.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::network::needs_bridge;
use super::{Case, DOCKER, has_shares, holds, limit, same};
use crate::docker::RUNTIME;
use crate::engine::Engine;
use crate::image::NAME;
use crate::process;

pub const CASES: &[Case] = &[
    Case { name: "runtime_by_default", by: DOCKER, check: runtime_by_default },
    Case { name: "runtime_by_flag", by: DOCKER, check: runtime_by_flag },
    Case { name: "health", by: DOCKER, check: health },
    Case { name: "update_restart", by: DOCKER, check: update_restart },
    Case { name: "oom_killed", by: DOCKER, check: oom_killed },
    Case { name: "restart_always", by: DOCKER, check: restart_always },
    Case { name: "network_alias_and_two_networks", by: DOCKER, check: two_networks },
];

/// It is the runtime under test that runs: its state is where dockerd has it keep it.
fn runtime_by_default(e: &dyn Engine) -> Result<()> {
    same(e.ok("info --format {{.DefaultRuntime}}")?, RUNTIME)?;
    let id = e.start_sh("plain", "", "exec sleep 50")?;
    same(e.runtime(&["list", "--quiet"])?.out.trim(), id)
}

/// The same program under the name that --add-runtime gave it.
fn runtime_by_flag(e: &dyn Engine) -> Result<()> {
    let name = format!("{RUNTIME}-by-flag");
    let id = e.start_sh("named", &format!("--runtime {name}"), "exec sleep 50")?;
    same(e.ok("inspect --format {{.HostConfig.Runtime}} named")?, &name)?;
    same(e.runtime(&["list", "--quiet"])?.out.trim(), id)?;
    same(e.ok("exec named echo in")?, "in")
}

fn await_health(e: &dyn Engine, name: &str, want: &str) -> Result<()> {
    let health = || e.ok(&format!("inspect --format {{{{.State.Health.Status}}}} {name}"));
    let there = process::until(Duration::from_secs(20), || Ok(health()? == want))?;
    ensure!(there, "{name} is {}", health()?);
    Ok(())
}

/// The daemon's own timer runs the command by exec.
fn health(e: &dyn Engine) -> Result<()> {
    let options = "--health-interval 200ms --health-retries 2 --health-cmd";
    e.start_sh("well", &format!("{options} true"), "exec sleep 50")?;
    e.start_sh("sick", &format!("{options} false"), "exec sleep 50")?;
    await_health(e, "well", "healthy")?;
    await_health(e, "sick", "unhealthy")
}

/// Only the policy is new, so every limit that dockerd sends is a zero, which means: as it was.
fn update_restart(e: &dyn Engine) -> Result<()> {
    e.start_sh("changing", "--memory 64m --cpu-shares 512 --pids-limit 50 --cpus 0.5", "exec sleep 50")?;
    let pid = e.pid("changing")?;
    e.ok("update --restart no changing")?;
    same(limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max")?, "67108864")?;
    has_shares(pid, 512)?;
    same(limit(pid, ("pids", "pids.max"), "pids.max")?, "50")?;
    let quota = limit(pid, ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    ensure!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    Ok(())
}

/// The shim hears of it, and dockerd tells it as an event and in what it knows of the container.
fn oom_killed(e: &dyn Engine) -> Result<()> {
    let since = super::seconds()?;
    let run = format!("run --name greedy --network none --memory 20m --memory-swap 20m {NAME} sh -c");
    e.call_with(&run, &["tail /dev/zero; code=$?; sleep 0.5; exit $code"])?;
    same(e.ok("inspect --format {{.State.OOMKilled}},{{.State.ExitCode}} greedy")?, "true,137")?;
    let until = super::seconds()? + 1;
    let events = format!("events --since {since} --until {until} --filter event=oom --format");
    same(e.ok_with(&events, &["{{.Status}} {{.Actor.Attributes.name}}"])?, "oom greedy")
}

/// A container that dies comes back, with a new first process, until it is stopped.
fn restart_always(e: &dyn Engine) -> Result<()> {
    e.start_sh("phoenix", "--restart always", "exec sleep 50")?;
    let first = e.pid("phoenix")?;
    e.ok("exec phoenix kill -KILL 1").ok();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL)?;
    let back = || Ok(!["0".to_owned(), first.to_string()].contains(&e.pid("phoenix")?.to_string()));
    ensure!(process::until(Duration::from_secs(20), back)?, "it did not come back");
    e.ok("stop --time 0 phoenix")?;
    same(e.ok("inspect --format {{.State.Status}} phoenix")?, "exited")
}

/// A second interface arrives in the namespace of the running container.
fn two_networks(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    e.ok("network create --subnet 10.97.0.0/24 second")?;
    e.ok_with(&format!("run -d --name server {NAME} sh -c"), &["exec sleep 50"])?;
    e.ok("network connect --alias other second server")?;
    same(e.ok("exec server ls /sys/class/net")?, "eth0\neth1\nlo")?;
    holds(e.ok("exec server ip -o -4 addr show eth1")?, "10.97.0.")?;
    let ping = format!("run --rm --network second {NAME} ping -c 1 -W 5 other");
    holds(e.ok(&ping)?, "1 packets received")
}
