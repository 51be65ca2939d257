//! containerd with its shim io.containerd.runc.v2, and ctr.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::engine::{Engine, Kind};
use crate::image;
use crate::process;
use crate::snapshot::CONTAINERD_NAMESPACE;
use crate::world::{World, stop_daemon};

/// Where the daemon listens, in its own /run.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

pub struct Containerd {
    world: World,
    daemon: Child,
    /// Where images and containers are: overlayfs if that works in the world's directory, else copies.
    snapshotter: &'static str,
}

impl Containerd {
    /// Makes the namespaces, starts the daemon and imports the image.
    ///
    /// # Errors
    /// When a program is missing (the Debian package is named) or the daemon does not answer.
    pub fn start(runtime: &Path) -> Result<Box<dyn Engine>> {
        let world = World::make(runtime, &[("containerd", "containerd"), ("ctr", "containerd")])?;
        let daemon = start_daemon(&world)?;
        let archive = image::oci_archive(world.directory.path())?;
        let plugins = world.must(&["ctr", "--address", SOCKET, "plugins", "ls"])?;
        let overlay = plugins.lines().any(|line| line.contains(" overlayfs ") && line.trim_end().ends_with(" ok"));
        let mut containerd = Self { world, daemon, snapshotter: if overlay { "overlayfs" } else { "native" } };
        let engine: &dyn Engine = &containerd;
        engine.ok(&format!("images import {}", archive.display()))?;
        containerd.world.rest()?;
        Ok(Box::new(containerd))
    }
}

/// Starts containerd and waits until it answers.
pub fn start_daemon(world: &World) -> Result<Child> {
    let configuration = world.path("containerd.toml");
    let text = format!(
        r#"version = 2
root = "{}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{SOCKET}"
"#,
        world.path("containerd")
    );
    fs::write(&configuration, text)?;
    let daemon = world.daemon("containerd", &["--config", &configuration])?;
    let answers = || Ok(world.inside(&["ctr", "--address", SOCKET, "version"])?.code == 0);
    ensure!(process::until(Duration::from_secs(60), answers)?, "containerd: {}", world.log("containerd"));
    Ok(daemon)
}

impl Engine for Containerd {
    fn kind(&self) -> Kind {
        Kind::Containerd
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn versions(&self) -> Result<String> {
        let runtime = self.world.must(&[&self.world.runtime.to_string_lossy(), "--version"])?;
        let runtime = runtime.lines().next().unwrap_or("unknown");
        let (containerd, ctr) =
            (self.world.must(&["containerd", "--version"])?, self.world.must(&["ctr", "--version"])?);
        let (path, snapshotter) = (self.world.runtime.display(), self.snapshotter);
        Ok(format!("{containerd}; {ctr}; {runtime} ({path}); snapshots by {snapshotter}"))
    }

    fn client(&self) -> Vec<String> {
        ["ctr", "--address", SOCKET, "--namespace", CONTAINERD_NAMESPACE].map(str::to_owned).to_vec()
    }

    fn state_root(&self) -> Option<String> {
        Some(format!("/run/containerd/runc/{CONTAINERD_NAMESPACE}"))
    }

    fn enter(&self, wrapper: &[&str]) -> Command {
        let mut command = self.world.enter(wrapper);
        command.env("CONTAINERD_SNAPSHOTTER", self.snapshotter);
        command
    }

    fn clear(&self) -> Result<()> {
        let engine: &dyn Engine = self;
        for id in engine.ok("tasks ls --quiet")?.lines() {
            engine.ok(&format!("tasks delete --force {id}"))?;
        }
        for id in engine.ok("containers ls --quiet")?.lines() {
            engine.ok(&format!("containers delete {id}"))?;
        }
        Ok(())
    }

    fn stop(self: Box<Self>) -> Result<Vec<World>> {
        stop_daemon(&self.daemon)?;
        Ok(vec![self.world])
    }
}
