//! The cases: one short function each, in a table per subject.

mod buildah;
mod checkpoint;
mod containerd;
mod docker;
mod errors;
mod exec;
mod image_build;
mod lifecycle;
mod live;
mod namespaces;
mod network;
mod podman;
mod pods;
mod resources;
mod rights;
mod rootless;
mod run;
mod storage;
mod swarm;
mod umoci;

use std::fs;
use std::panic::Location;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::engine::{Engine, Kind};

/// A named check against an engine that holds no container.
pub struct Case {
    pub name: &'static str,
    /// The engines that it runs with.
    pub by: &'static [Kind],
    pub check: fn(&dyn Engine) -> Result<()>,
}

const PODMAN: &[Kind] = &[Kind::Podman];
const PODMANS: &[Kind] = &[Kind::Podman, Kind::Rootless];
const DOCKER: &[Kind] = &[Kind::Docker];
const ROOTFUL: &[Kind] = &[Kind::Podman, Kind::Docker];
const EVERY: &[Kind] = &[Kind::Podman, Kind::Rootless, Kind::Docker];

/// Why a case cannot run on this machine; returned as an error.
#[derive(Debug)]
pub struct Skipped(&'static str);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Skipped {}

/// An engine's cases, in the order they run.
pub fn of(kind: Kind) -> impl Iterator<Item = &'static Case> {
    let tables = [
        run::CASES,
        lifecycle::CASES,
        live::CASES,
        checkpoint::CASES,
        exec::CASES,
        errors::CASES,
        rights::CASES,
        resources::CASES,
        namespaces::CASES,
        network::CASES,
        storage::CASES,
        pods::CASES,
        image_build::CASES,
        podman::CASES,
        rootless::CASES,
        docker::CASES,
        containerd::CASES,
        buildah::CASES,
        umoci::CASES,
        swarm::CASES,
    ];
    tables.into_iter().flatten().filter(move |case| case.by.contains(&kind))
}

/// Checks a text, naming the line that expected another one.
#[track_caller]
fn same(got: impl AsRef<str>, want: impl AsRef<str>) -> Result<()> {
    let (got, want, line) = (got.as_ref(), want.as_ref(), Location::caller());
    ensure!(got == want, "{line}: got {got:?}, want {want:?}");
    Ok(())
}

/// Checks that a text holds another one, whatever the case of its letters.
#[track_caller]
fn holds(got: impl AsRef<str>, want: &str) -> Result<()> {
    let (got, line) = (got.as_ref(), Location::caller());
    ensure!(got.to_lowercase().contains(&want.to_lowercase()), "{line}: got {got:?}, want {want:?} in it");
    Ok(())
}

/// Checks an exit code.
#[track_caller]
fn exits(outcome: &crate::process::Outcome, want: i32) -> Result<()> {
    let line = Location::caller();
    ensure!(outcome.code == want, "{line}: exit code {}, want {want}: {}{}", outcome.code, outcome.out, outcome.err);
    Ok(())
}

/// The value of a `Name:\tvalue` line, as /proc/PID/status has them.
fn field(text: &str, name: &str) -> Result<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name} in {text:?}"))?.trim().to_owned())
}

/// The value that the cgroup of `pid` holds: `v1` is a controller and its file, `v2` the file of the one hierarchy.
fn limit(pid: i32, v1: (&str, &str), v2: &str) -> Result<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    // cgroups(7): hierarchy-ID:controllers:path
    let of_v1 = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == v1.0).then(|| format!("/sys/fs/cgroup/{}{path}/{}", v1.0, v1.1))
    });
    let of_v2 = || Some(format!("/sys/fs/cgroup{}/{v2}", groups.lines().find_map(|line| line.strip_prefix("0::"))?));
    let file = of_v1.or_else(of_v2).with_context(|| groups.clone())?;
    Ok(fs::read_to_string(&file).with_context(|| file)?.trim().to_owned())
}

/// Checks a cgroup's share of the processor. On v2 it is a weight, and newer runtimes compute it otherwise than older
/// ones: half of the usual share was 20 and is 59.
fn has_shares(pid: i32, shares: u64) -> Result<()> {
    let weights = match shares {
        512 => ["20", "59"],
        256 => ["10", "35"],
        other => anyhow::bail!("no weights are known for {other} shares"),
    };
    let got = limit(pid, ("cpu", "cpu.shares"), "cpu.weight")?;
    ensure!(got == shares.to_string() || weights.contains(&got.as_str()), "{got} instead of {shares} shares");
    Ok(())
}

/// The time, as the engines' events are asked for.
fn seconds() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// A device whose opening changes nothing and that no container has by default.
fn harmless_device() -> Result<&'static str> {
    let known = ["/dev/fuse", "/dev/net/tun", "/dev/loop-control"];
    known.into_iter().find(|path| Path::new(path).exists()).context("no device to try")
}
