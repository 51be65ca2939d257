//! Pods: an infra container (catatonit) holds the namespaces, the others join them by path.

use anyhow::{Result, ensure};

use super::network::needs_bridge;
use super::{Case, PODMAN, PODMANS, exits, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] =
    &[Case { name: "pod", by: PODMANS, check: pod }, Case { name: "pod_shared_pid", by: PODMAN, check: shared_pid }];

fn pod(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    e.ok("pod create --name pod --hostname podhost")?;
    e.ok(&format!("run -d --pod pod --name one {NAME} sleep 50"))?;
    let script = "hostname; for kind in net ipc uts pid; do readlink /proc/self/ns/$kind; done";
    let two = e.ok_with(&format!("run --rm --pod pod {NAME} sh -c"), &[script])?;
    let one = e.ok_with("exec one sh -c", &[script])?;
    let (one, two): (Vec<_>, Vec<_>) = (one.lines().collect(), two.lines().collect());
    same(one[0], "podhost")?;
    ensure!(one[..4] == two[..4], "not shared: {one:?} {two:?}");
    ensure!(one[4] != two[4], "the pid namespace is shared");
    e.ok("pod stop --time 0 pod")?;
    e.ok("pod start pod")?;
    exits(&e.call("exec one true")?, 0)?;
    e.ok("pod rm --force --time 0 pod").map(drop)
}

fn shared_pid(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    e.ok("pod create --name pod --share pid,net,ipc,uts")?;
    let first = e.ok(&format!("run --rm --pod pod {NAME} cat /proc/1/comm"))?;
    same(first, "catatonit")?;
    e.ok("pod rm --force --time 0 pod").map(drop)
}
