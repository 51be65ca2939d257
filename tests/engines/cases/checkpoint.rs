//! Containers that are saved by criu, and made again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::network::{fetch, needs_bridge};
use super::{Case, DOCKER, PODMAN, Skipped, exits, same};
use crate::engine::Engine;
use crate::image::NAME;
use crate::process;

pub const CASES: &[Case] = &[
    Case { name: "checkpoint_and_restore", by: PODMAN, check: checkpoint_and_restore },
    Case { name: "checkpoint_and_go_on", by: PODMAN, check: checkpoint_and_go_on },
    Case { name: "checkpoint_exported", by: PODMAN, check: checkpoint_exported },
    Case { name: "checkpoint_with_connections", by: PODMAN, check: checkpoint_with_connections },
    Case { name: "checkpoint", by: DOCKER, check: docker_checkpoint },
];

/// criu must be there and able to work with this kernel, which it says itself.
pub fn needs_criu(e: &dyn Engine) -> Result<()> {
    if e.inside(&["sh", "-c", "criu check"])?.code != 0 {
        return Err(Skipped("criu is not installed or cannot work on this kernel").into());
    }
    Ok(())
}

/// Starts a container that counts, and waits until it has begun to.
fn start_counter(e: &dyn Engine) -> Result<()> {
    e.start_sh("counter", "", "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done")?;
    e.await_log("counter", "3")
}

/// The numbers so far. That one follows the other shows that nothing was lost, and nothing begun again.
fn count(e: &dyn Engine) -> Result<usize> {
    let log = e.ok("logs counter")?;
    let numbers: Vec<usize> = log.lines().map(|line| line.trim().parse()).collect::<Result<_, _>>()?;
    ensure!(numbers.iter().enumerate().all(|(index, number)| *number == index + 1), "{log}");
    numbers.last().copied().context("no number")
}

fn goes_on(e: &dyn Engine) -> Result<()> {
    let before = count(e)?;
    ensure!(process::until(Duration::from_secs(10), || Ok(count(e)? > before + 3))?, "it stays at {before}");
    Ok(())
}

fn checkpoint_and_restore(e: &dyn Engine) -> Result<()> {
    needs_criu(e)?;
    start_counter(e)?;
    e.ok("container checkpoint counter")?;
    same(e.ok("inspect --format {{.State.Status}} counter")?, "exited")?;
    e.ok("container restore counter")?;
    same(e.ok("inspect --format {{.State.Status}} counter")?, "running")?;
    goes_on(e)
}

fn checkpoint_and_go_on(e: &dyn Engine) -> Result<()> {
    needs_criu(e)?;
    start_counter(e)?;
    e.ok("container checkpoint --leave-running counter")?;
    same(e.ok("inspect --format {{.State.Status}} counter")?, "running")?;
    goes_on(e)
}

/// As a file, out of which a container of another name is made.
fn checkpoint_exported(e: &dyn Engine) -> Result<()> {
    needs_criu(e)?;
    start_counter(e)?;
    let file = e.path("checkpoint.tar");
    e.ok(&format!("container checkpoint --export {file} counter"))?;
    ensure!(Path::new(&file).exists(), "no {file}");
    e.remove("counter")?;
    e.ok(&format!("container restore --import {file} --name other"))?;
    exits(&e.call("exec other true")?, 0)
}

/// A server on the bridge, with a connection open, answers again at its address.
fn checkpoint_with_connections(e: &dyn Engine) -> Result<()> {
    needs_criu(e)?;
    needs_bridge(e)?;
    let serve = "echo page > /tmp/f; (sleep 50 | nc 127.0.0.1 80 >/dev/null) & exec httpd -f -p 80 -h /tmp";
    e.ok_with(&format!("run -d --name server {NAME} sh -c"), &[serve])?;
    let address = e.ok("inspect --format {{.NetworkSettings.IPAddress}} server")?;
    same(e.inside(&["sh", "-c", &fetch(&address)])?.out, "page\n")?;
    e.ok("container checkpoint --tcp-established server")?;
    same(e.ok("inspect --format {{.State.Status}} server")?, "exited")?;
    e.ok("container restore --tcp-established server")?;
    same(e.ok("inspect --format {{.NetworkSettings.IPAddress}} server")?, &address)?;
    same(e.inside(&["sh", "-c", &fetch(&address)])?.out, "page\n")
}

fn docker_checkpoint(e: &dyn Engine) -> Result<()> {
    needs_criu(e)?;
    start_counter(e)?;
    e.ok("checkpoint create counter first")?;
    same(e.ok("inspect --format {{.State.Status}} counter")?, "exited")?;
    e.ok("start --checkpoint first counter")?;
    goes_on(e)
}
