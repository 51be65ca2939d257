//! `podman build`, which calls the runtime itself, without conmon, and docker's classic builder.

use anyhow::{Result, ensure};

use super::{Case, EVERY, holds, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "build", by: EVERY, check: build },
    Case { name: "build_failing_step", by: EVERY, check: failing_step },
];

/// Builds an image whose second step runs `script`; what podman says.
fn build_with(e: &dyn Engine, name: &str, script: &str) -> Result<crate::process::Outcome> {
    let context = e.path(name);
    std::fs::create_dir(&context)?;
    std::fs::write(format!("{context}/Dockerfile"), format!("FROM {NAME}\nRUN {script}\n"))?;
    e.call(&format!("build --network none --tag localhost/{name} {context}"))
}

fn build(e: &dyn Engine) -> Result<()> {
    let outcome = build_with(e, "built", "echo built > /made && id -u && cat /proc/1/comm")?;
    super::exits(&outcome, 0)?;
    same(e.ok("run --rm --network none localhost/built cat /made")?, "built")?;
    e.ok("rmi localhost/built").map(drop)
}

fn failing_step(e: &dyn Engine) -> Result<()> {
    let outcome = build_with(e, "unbuilt", "exit 3")?;
    ensure!(outcome.code != 0, "built?");
    holds(outcome.err, if e.is_docker() { "non-zero code: 3" } else { "exit status 3" })
}
