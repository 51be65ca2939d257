//! bundle.md: what a bundle is.

use std::fs;

use crate::judge::same;
use crate::lab::Lab;
use crate::row::{Row, Verdict, must};

const PLACE: &str = "bundle.md#containerFormat";
const CONFIG: &[&str] = &["This REQUIRED file MUST reside in the root of the bundle directory and MUST be named"];

/// The tests of this chapter.
pub const TESTS: &[Row] = &[
    must("bundle.config", PLACE, CONFIG, found),
    must("bundle.config.missing", PLACE, CONFIG, missing),
    must("bundle.config.other-name", PLACE, CONFIG, other_name),
    must("bundle.directory", PLACE, &["When supplied, while these artifacts MUST all be present"], one_directory),
];

fn found(lab: &Lab) -> Verdict {
    lab.container()?.runs()
}

fn missing(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    lab.runtime(["create", "--bundle"]).arg(&container.dir).arg(&container.id).run()?.refused("no config.json")?;
    container.is_gone()
}

fn other_name(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    fs::create_dir(container.dir.join("sub"))?;
    for name in ["config.JSON", "Config.json", "sub/config.json", "spec.json"] {
        fs::write(container.dir.join(name), container.config.to_string())?;
    }
    lab.runtime(["create", "--bundle"]).arg(&container.dir).arg(&container.id).run()?.refused("no config.json")?;
    container.is_gone()
}

/// The directory is not part of the bundle: moved elsewhere it is the same.
fn one_directory(lab: &Lab) -> Verdict {
    let mut container = lab.container()?;
    let moved = lab.path("moved elsewhere");
    fs::rename(&container.dir, &moved)?;
    container.dir = moved;
    same("the marker", &container.report(&["read=/marker"])?["read"]["/marker"], "inside")
}
