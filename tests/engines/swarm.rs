//! Two nodes of a Docker swarm, each a dockerd in namespaces of its own, with a cable between them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::docker::Docker;
use crate::engine::{Engine, Kind};
use crate::process;
use crate::world::World;

/// The nodes' addresses on the cable: the manager's, and that of the worker.
pub const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

pub struct Swarm {
    manager: Docker,
    worker: Docker,
}

impl Swarm {
    /// Starts two nodes, lays the cable and has the second join the first.
    ///
    /// # Errors
    /// When a program is missing, or what a swarm needs is not in this kernel.
    pub fn start(runtime: &Path) -> Result<Box<dyn Engine>> {
        let mut swarm = Self { manager: Docker::node(runtime)?, worker: Docker::node(runtime)? };
        ensure!(swarm.manager.world.has_bridges()?, "a swarm needs bridges, and iptables to make the rules for them");
        swarm.lay_cable()?;
        swarm.join()?;
        swarm.manager.world.rest()?;
        swarm.worker.world.rest()?;
        Ok(Box::new(swarm))
    }

    /// A pair of veth(4) devices, one end in each network namespace.
    fn lay_cable(&self) -> Result<()> {
        let (manager, worker) = (&self.manager.world, &self.worker.world);
        let peer = worker.namespace_pid().to_string();
        manager.must(&["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &peer])?;
        for (world, address) in [manager, worker].into_iter().zip(ADDRESSES) {
            world.must(&["ip", "address", "add", &format!("{address}/24"), "dev", "cable"])?;
            world.must(&["ip", "link", "set", "cable", "up"])?;
            // A swarm looks for the way out of a node.
            world.must(&["ip", "route", "add", "default", "dev", "cable"])?;
        }
        Ok(())
    }

    fn join(&self) -> Result<()> {
        let (manager, worker): (&dyn Engine, &dyn Engine) = (&self.manager, &self.worker);
        manager.ok(&format!("swarm init --advertise-addr {}", ADDRESSES[0]))?;
        let token = manager.ok("swarm join-token --quiet worker")?;
        worker.ok(&format!("swarm join --advertise-addr {} --token {token} {}:2377", ADDRESSES[1], ADDRESSES[0]))?;
        let ready = || Ok(manager.ok("node ls --format {{.Status}}")? == "Ready\nReady");
        ensure!(process::until(process::LONG, ready)?, "{}", manager.ok("node ls")?);
        Ok(())
    }
}

impl Engine for Swarm {
    fn kind(&self) -> Kind {
        Kind::Swarm
    }

    fn world(&self) -> &World {
        self.manager.world()
    }

    fn versions(&self) -> Result<String> {
        Ok(format!("2 nodes of {}", self.manager.versions()?))
    }

    fn client(&self) -> Vec<String> {
        self.manager.client()
    }

    fn state_root(&self) -> Option<String> {
        self.manager.state_root()
    }

    fn enter(&self, wrapper: &[&str]) -> Command {
        self.manager.enter(wrapper)
    }

    fn worker(&self) -> Option<&dyn Engine> {
        Some(&self.worker)
    }

    /// Removes services, then waits for their containers and networks to go, which the nodes do by themselves.
    fn clear(&self) -> Result<()> {
        let manager: &dyn Engine = self;
        for (kind, list) in [("service", "--quiet"), ("secret", "--quiet"), ("network", "--quiet --filter label=case")]
        {
            let left = manager.ok(&format!("{kind} ls {list}"))?.replace('\n', " ");
            if left.is_empty() {
                continue;
            }
            let mut said = String::new();
            let gone = process::until(process::LONG, || {
                let outcome = manager.call(&format!("{kind} rm {left}"))?;
                said = outcome.err;
                Ok(outcome.code == 0)
            });
            ensure!(gone?, "{kind} rm {left}: {said}");
        }
        for node in [&self.manager, &self.worker] {
            let engine: &dyn Engine = node;
            let empty = || Ok(engine.ok("ps --all --quiet")?.is_empty());
            ensure!(process::until(process::LONG, empty)?, "containers stay: {}", engine.ok("ps --all")?);
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.clear()?;
        for node in [&self.manager, &self.worker] {
            node.world.settle(&|line| node.owns_mount(line) || is_swarms(line))?;
        }
        Ok(())
    }

    fn stop(self: Box<Self>) -> Result<Vec<World>> {
        let manager: &dyn Engine = &self.manager;
        let worker: &dyn Engine = &self.worker;
        worker.ok("swarm leave")?;
        manager.ok("swarm leave --force").context("the manager")?;
        let mut worlds = Box::new(self.worker).stop()?;
        worlds.extend(Box::new(self.manager).stop()?);
        Ok(worlds)
    }
}

/// The namespaces of a swarm's own networks, which come with its first task on a node.
fn is_swarms(mount: &str) -> bool {
    mount.contains(" /run/docker/netns/")
}
