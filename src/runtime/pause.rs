//! `pause` and `resume`: the freezer. Neither takes the container's lock, so that a hook may call them.

use super::Environment;
use crate::container::Container;
use crate::container::status::{self, Verb};
use crate::error::Result;

/// Stops every process of a container where it stands. One that was only created is paused at its gate.
pub fn pause(id: &str, environment: &Environment) -> Result<()> {
    let container = Container::open(&environment.root, id)?;
    status::permit(Verb::Pause, container.status()?, id)?;
    container.cgroup().freeze()
}

/// Lets them go on.
pub fn resume(id: &str, environment: &Environment) -> Result<()> {
    let container = Container::open(&environment.root, id)?;
    status::permit(Verb::Resume, container.status()?, id)?;
    container.cgroup().thaw()
}
