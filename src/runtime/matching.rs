//! `kill --regex` and `delete --regex`: the same for every container whose name matches.

use super::Environment;
use crate::container;
use crate::error::Result;
use crate::sys::regex::Expression;

/// Acts on every container whose name the expression matches. One that refuses is told, and is no failure, as with crun.
pub fn each(expression: &str, environment: &Environment, act: impl Fn(&str) -> Result<()>) -> Result<()> {
    let expression = Expression::compile(expression)?;
    for id in container::ids(&environment.root)?.iter().filter(|id| expression.matches(id)) {
        if let Err(error) = act(id) {
            environment.log.warning(&format!("{id}: {}", error.headline()));
        }
    }
    Ok(())
}
