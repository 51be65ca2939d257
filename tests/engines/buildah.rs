//! buildah, which calls the runtime itself, without conmon.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::engine::{Engine, Kind};
use crate::image;
use crate::world::World;

/// Where the image is, in our own /run: buildah makes a name of the path, and a name has no capital letters.
pub const LAYOUT: &str = "/run/layout";

pub struct Buildah {
    world: World,
}

impl Buildah {
    /// Makes the namespaces and the configuration.
    ///
    /// # Errors
    /// When buildah is missing.
    pub fn start(runtime: &Path) -> Result<Box<dyn Engine>> {
        let mut world = World::make(runtime, &[("buildah", "buildah netavark")])?;
        let layout = image::oci_layout(world.directory.path())?.display().to_string();
        world.must(&["cp", "-a", &layout, LAYOUT])?;
        // As for podman: the limits that buildah has built in need CAP_SYS_RESOURCE.
        fs::write(
            world.path("containers.conf"),
            "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n\
             [network]\nnetwork_backend = \"netavark\"\n",
        )?;
        world.rest()?;
        Ok(Box::new(Self { world }))
    }
}

impl Engine for Buildah {
    fn kind(&self) -> Kind {
        Kind::Buildah
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn versions(&self) -> Result<String> {
        let runtime = self.world.must(&[&self.world.runtime.to_string_lossy(), "--version"])?;
        let runtime = runtime.lines().next().unwrap_or("unknown");
        Ok(format!("{}; {runtime} ({})", self.world.must(&["buildah", "--version"])?, self.world.runtime.display()))
    }

    fn client(&self) -> Vec<String> {
        let path = |option: &str, name: &str| format!("--{option}={}", self.world.path(name));
        vec!["buildah".to_owned(), path("root", "storage"), path("runroot", "runroot")]
    }

    fn enter(&self, wrapper: &[&str]) -> Command {
        let mut command = self.world.enter(wrapper);
        command.env("CONTAINERS_CONF", self.world.path("containers.conf"));
        command.env("BUILDAH_RUNTIME", &self.world.runtime);
        command
    }

    fn clear(&self) -> Result<()> {
        let engine: &dyn Engine = self;
        engine.ok("rm --all").map(drop)
    }

    fn owns_mount(&self, line: &str) -> bool {
        line.contains(&format!(" {} ", self.world.path("storage/overlay")))
    }

    fn stop(self: Box<Self>) -> Result<Vec<World>> {
        Ok(vec![self.world])
    }
}
