//! umoci makes a bundle of an image; the runtime's own commands run it, with nothing in between.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::engine::{Engine, Kind};
use crate::image;
use crate::world::World;

pub struct Umoci {
    world: World,
}

impl Umoci {
    /// Makes the namespaces and the image.
    ///
    /// # Errors
    /// When umoci is missing.
    pub fn start(runtime: &Path) -> Result<Box<dyn Engine>> {
        let mut world = World::make(runtime, &[("umoci", "umoci")])?;
        image::oci_layout(world.directory.path())?;
        world.rest()?;
        Ok(Box::new(Self { world }))
    }
}

impl Engine for Umoci {
    fn kind(&self) -> Kind {
        Kind::Umoci
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn versions(&self) -> Result<String> {
        let runtime = self.world.must(&[&self.world.runtime.to_string_lossy(), "--version"])?;
        let runtime = runtime.lines().next().unwrap_or("unknown");
        Ok(format!("{}; {runtime} ({})", self.world.must(&["umoci", "--version"])?, self.world.runtime.display()))
    }

    fn client(&self) -> Vec<String> {
        vec!["umoci".to_owned()]
    }

    fn state_root(&self) -> Option<String> {
        Some(self.world.path("state"))
    }

    fn enter(&self, wrapper: &[&str]) -> Command {
        self.world.enter(wrapper)
    }

    fn clear(&self) -> Result<()> {
        let engine: &dyn Engine = self;
        for id in engine.runtime(&["list", "--quiet"])?.out.lines() {
            engine.runtime(&["delete", "--force", id])?;
        }
        Ok(())
    }

    fn stop(self: Box<Self>) -> Result<Vec<World>> {
        Ok(vec![self.world])
    }
}
