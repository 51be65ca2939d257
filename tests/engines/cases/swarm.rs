//! Services of a swarm: their tasks on both nodes, by this runtime, and what becomes of them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::network::fetch;
use super::{Case, Skipped, field, limit, same};
use crate::docker::RUNTIME;
use crate::engine::{Engine, Kind};
use crate::image::NAME;
use crate::process;
use crate::swarm::ADDRESSES;

const SWARM: &[Kind] = &[Kind::Swarm];

pub const CASES: &[Case] = &[
    Case { name: "replicas_on_both_nodes", by: SWARM, check: replicas_on_both_nodes },
    Case { name: "scale_up_and_down", by: SWARM, check: scale_up_and_down },
    Case { name: "killed_replica_is_replaced", by: SWARM, check: killed_replica_is_replaced },
    Case { name: "drained_node_moves_its_tasks", by: SWARM, check: drained_node_moves_its_tasks },
    Case { name: "limits_and_secrets", by: SWARM, check: limits_and_secrets },
    Case { name: "rolling_update", by: SWARM, check: rolling_update },
    Case { name: "global_service_with_ports", by: SWARM, check: global_service_with_ports },
    Case { name: "overlay_network", by: SWARM, check: overlay_network },
];

/// Creates a service of the image that every node has, which is in no registry.
fn create(e: &dyn Engine, options: &str, script: &str) -> Result<()> {
    let create = format!("service create --detach --name web --no-resolve-image {options} {NAME} sh -c");
    e.ok_with(&create, &[script]).map(drop)
}

const FOREVER: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

/// Both nodes, the manager first.
fn nodes(e: &dyn Engine) -> Result<[&dyn Engine; 2]> {
    Ok([e, e.worker().context("one node")?])
}

/// The ids of the running containers of a node.
fn running(node: &dyn Engine) -> Result<BTreeSet<String>> {
    Ok(node.ok("ps --quiet --no-trunc")?.lines().map(str::to_owned).collect())
}

/// Waits until the nodes run so many tasks, each; their containers, a set a node.
fn await_tasks(e: &dyn Engine, wanted: [usize; 2]) -> Result<[BTreeSet<String>; 2]> {
    let mut found = Default::default();
    let [manager, worker] = nodes(e)?;
    let there = process::until(process::LONG, || {
        found = [running(manager)?, running(worker)?];
        let states = e.ok("service ps --filter desired-state=running --format {{.CurrentState}} web")?;
        let count = states.lines().filter(|state| state.starts_with("Running")).count();
        Ok(found.each_ref().map(BTreeSet::len) == wanted && count == wanted[0] + wanted[1])
    })?;
    ensure!(there, "{wanted:?} are wanted: {found:?}\n{}", e.ok("service ps --no-trunc web")?);
    Ok(found)
}

/// Each node's runtime knows just the containers of its tasks, and docker says which runtime that is.
fn replicas_on_both_nodes(e: &dyn Engine) -> Result<()> {
    create(e, "--replicas 4", FOREVER)?;
    let found = await_tasks(e, [2, 2])?;
    for (node, containers) in nodes(e)?.into_iter().zip(found) {
        let listed = node.runtime(&["list", "--quiet"])?.out.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        ensure!(listed == containers, "the runtime has {listed:?}, docker {containers:?}");
        for id in containers {
            same(node.ok(&format!("inspect --format {{{{.HostConfig.Runtime}}}} {id}"))?, RUNTIME)?;
            let state: serde_json::Value = serde_json::from_str(&node.runtime(&["state", &id])?.out)?;
            ensure!(state["status"] == "running" && state["pid"] == node.pid(&id)?, "{state}");
            same(node.ok(&format!("exec {id} cat /proc/1/comm"))?, "sh")?;
        }
    }
    same(e.ok("service ls --format {{.Name}},{{.Replicas}}")?, "web,4/4")
}

fn scale_up_and_down(e: &dyn Engine) -> Result<()> {
    create(e, "--replicas 2", FOREVER)?;
    let two = await_tasks(e, [1, 1])?;
    e.ok("service scale --detach web=6")?;
    let six = await_tasks(e, [3, 3])?;
    ensure!(two.iter().zip(&six).all(|(few, many)| few.is_subset(many)), "{two:?} are not among {six:?}");
    e.ok("service scale --detach web=2")?;
    await_tasks(e, [1, 1]).map(drop)
}

/// Its first process dies of a signal, on the node that is not the manager.
fn killed_replica_is_replaced(e: &dyn Engine) -> Result<()> {
    create(e, "--replicas 4 --restart-delay 100ms", FOREVER)?;
    let before = await_tasks(e, [2, 2])?;
    let worker = nodes(e)?[1];
    let victim = before[1].first().context("no container")?;
    let pid = nix::unistd::Pid::from_raw(worker.pid(victim)?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?;
    let gone = process::until(process::LONG, || Ok(!running(worker)?.contains(victim)))?;
    ensure!(gone, "{victim} still runs");
    let after = await_tasks(e, [2, 2])?;
    ensure!(after[0] == before[0] && after[1] != before[1], "{before:?} became {after:?}");
    let failed = e.ok("service ps --filter desired-state=shutdown --format {{.CurrentState}},{{.Error}} web")?;
    ensure!(failed.starts_with("Failed") && failed.contains("137"), "{failed}");
    Ok(())
}

fn drained_node_moves_its_tasks(e: &dyn Engine) -> Result<()> {
    create(e, "--replicas 4", FOREVER)?;
    let before = await_tasks(e, [2, 2])?;
    let worker = nodes(e)?[1].ok("info --format {{.Swarm.NodeID}}")?;
    e.ok(&format!("node update --availability drain {worker}"))?;
    let moved = await_tasks(e, [4, 0]);
    e.ok(&format!("node update --availability active {worker}"))?;
    let moved = moved?;
    ensure!(before[0].is_subset(&moved[0]), "{before:?} became {moved:?}");
    same(nodes(e)?[1].runtime(&["list", "--quiet"])?.out, "")?;
    // It is there again for what is new.
    e.ok("service scale --detach web=8")?;
    await_tasks(e, [4, 4]).map(drop)
}

/// Read back where the kernel keeps them, on both nodes.
fn limits_and_secrets(e: &dyn Engine) -> Result<()> {
    process::run(&mut e.command(&[], "secret create word -", &[]), "swordfish")?;
    let options = "--replicas 2 --limit-memory 64M --limit-pids 50 --limit-cpu 0.5 --secret word --user 1000 \
        --cap-drop CHOWN --read-only --hostname node --env A=1";
    create(e, options, "trap 'exit 0' TERM; hostname; sleep 1000 & wait")?;
    let found = await_tasks(e, [1, 1])?;
    for (node, containers) in nodes(e)?.into_iter().zip(found) {
        let id = containers.first().context("no container")?;
        let pid = node.pid(id)?;
        same(limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max")?, "67108864")?;
        same(limit(pid, ("pids", "pids.max"), "pids.max")?, "50")?;
        let quota = limit(pid, ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
        ensure!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
        let script = "cat /run/secrets/word; echo; id -u; hostname; echo $A; touch /new 2>/dev/null || echo refused";
        same(node.ok_with(&format!("exec {id} sh -c"), &[script])?, "swordfish\n1000\nnode\n1\nrefused")?;
        same(field(&node.ok(&format!("exec --user 0 {id} cat /proc/self/status"))?, "CapEff")?, "00000000a80425fa")?;
        node.await_log(id, "node")?;
    }
    Ok(())
}

/// One after the other is stopped and made anew, none of the old ones stays.
fn rolling_update(e: &dyn Engine) -> Result<()> {
    create(e, "--replicas 4 --env A=old", FOREVER)?;
    let before = await_tasks(e, [2, 2])?;
    e.ok("service update --detach --env-add A=new --update-delay 0s web")?;
    let done = || Ok(e.ok("service inspect --format {{.UpdateStatus.State}} web")? == "completed");
    ensure!(process::until(process::LONG, done)?, "{}", e.ok("service ps web")?);
    let after = nodes(e)?.map(running);
    for ((node, before), after) in nodes(e)?.into_iter().zip(before).zip(after) {
        let after = after?;
        ensure!(before.is_disjoint(&after), "{before:?} became {after:?}");
        for id in after {
            same(node.ok_with(&format!("exec {id} sh -c"), &["echo $A"])?, "new")?;
        }
    }
    same(e.ok("service ls --format {{.Replicas}}")?, "4/4")
}

/// One on each node, with a port of that node. (The routing mesh, which is one port of all nodes, needs ip_vs.)
fn global_service_with_ports(e: &dyn Engine) -> Result<()> {
    let options = "--mode global --publish mode=host,target=80,published=8080 --env NODE={{.Node.ID}}";
    create(e, options, "echo $NODE > /tmp/f; exec httpd -f -p 80 -h /tmp")?;
    await_tasks(e, [1, 1])?;
    for (node, address) in nodes(e)?.into_iter().zip(ADDRESSES) {
        let id = node.ok("info --format {{.Swarm.NodeID}}")?;
        same(e.inside(&["sh", "-c", &fetch(&format!("{address}:8080"))])?.out.trim(), id)?;
    }
    Ok(())
}

/// Containers on both nodes in one network (VXLAN), found by name and reached.
fn overlay_network(e: &dyn Engine) -> Result<()> {
    let vxlan = "ip link add probe type vxlan id 1 dstport 4789";
    if e.inside(&["unshare", "--net", "sh", "-c", vxlan])?.code != 0 {
        return Err(Skipped("this kernel has no vxlan").into());
    }
    e.ok("network create --driver overlay --label case --subnet 10.99.0.0/24 inner")?;
    // Without a virtual address, which would need ip_vs.
    create(e, "--mode global --network inner --endpoint-mode dnsrr", FOREVER)?;
    let found = await_tasks(e, [1, 1])?;
    let mut addresses = Vec::new();
    for (node, containers) in nodes(e)?.into_iter().zip(&found) {
        let id = containers.first().context("no container")?;
        let format = "{{.NetworkSettings.Networks.inner.IPAddress}}";
        addresses.push(node.ok_with("inspect --format", &[format, id])?);
    }
    ensure!(addresses.iter().all(|address| address.starts_with("10.99.0.")), "{addresses:?}");
    for (node, containers) in nodes(e)?.into_iter().zip(&found) {
        let id = containers.first().context("no container")?;
        let names = node.ok(&format!("exec {id} nslookup -type=a web"))?;
        for address in &addresses {
            ensure!(names.contains(address.as_str()), "{address} is not in {names}");
            let ping = node.ok(&format!("exec {id} ping -c 1 -W 10 {address}"))?;
            super::holds(ping, "1 packets received")?;
        }
    }
    Ok(())
}
