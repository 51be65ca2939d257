//! The state of a container.

use anyhow::{Context, ensure};
use serde_json::json;

use crate::judge::{eventually, holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must};

const STATE: &str = "runtime.md#runtimeState";
const QUERY: &str = "runtime.md#runtimeQueryState";

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("state.ociVersion", STATE, &["**`ociVersion`** (string, REQUIRED)"], version),
    must("state.id", STATE, &["**`id`** (string, REQUIRED)"], id),
    must("state.id.unique", STATE, &["This MUST be unique across all containers on this host."], unique),
    must("state.status", STATE, &["**`status`** (string, REQUIRED)", "they MUST be used to represent new runtime states"], statuses),
    must("state.status.stopped", STATE, &["**`status`** (string, REQUIRED)"], stopped_by_itself),
    must("state.pid", STATE, &["**`pid`** (int, REQUIRED when `status` is"], pid),
    must("state.bundle", STATE, &["**`bundle`** (string, REQUIRED)"], bundle),
    must("state.annotations", STATE, &["**`annotations`** (map, OPTIONAL)"], annotations),
    must("state.schema", STATE, &["the format MUST adhere to the JSON Schema"], schema),
    must("state.query", QUERY, &["This operation MUST return the state of a container as specified"], schema),
    must("state.no-id", QUERY, &["MUST [generate an error](#errors) if it is not provided the ID of a container."], no_id),
    must("state.unknown", QUERY, &["Attempting to query a container that does not exist MUST"], unknown),
];

fn version(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    let state = container.state()?;
    let version = state["ociVersion"].as_str().context("ociVersion")?.to_owned();
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers = core.split('.').filter(|part| part.parse::<u32>().is_ok()).count();
    holds(&format!("{version} is a version"), numbers == 3)
}

fn id(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    same("the id", &container.state()?["id"], container.id.clone())
}

/// Two containers of one bundle are two, and asking for one tells of that one.
fn unique(lab: &Lab) -> Verdict {
    let (first, second) = (lab.container()?, lab.container()?);
    first.up()?;
    second.up()?;
    let (one, two) = (first.state()?, second.state()?);
    ensure!(one["id"] != two["id"] && one["pid"] != two["pid"], "{one} and {two} are the same");
    Ok(())
}

fn statuses(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    same("the status after create", &container.status()?, "created")?;
    container.start()?.ok()?;
    same("the status after start", &container.status()?, "running")?;
    container.stop()?;
    same("the status after kill", &container.status()?, "stopped")
}

fn stopped_by_itself(lab: &Lab) -> Verdict {
    for words in [["exit", "0"], ["exit", "7"]] {
        let container = lab.container()?.probe(&words);
        container.up()?;
        eventually("the status is stopped", lab.setup.limit, || Ok(container.status()? == "stopped"))?;
    }
    Ok(())
}

fn pid(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    let created = container.pid()?;
    holds("the process exists", container.proc("")?.exists())?;
    container.start()?.ok()?;
    same("the pid when it runs", &container.pid()?, created)?;
    let command = std::fs::read_to_string(container.proc("cmdline")?)?;
    same("what that process is", &command.replace('\0', " "), "/bin/probe sleep ")
}

fn bundle(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.write()?;
    std::env::set_current_dir(&container.dir)?;
    lab.runtime(["create", "--bundle", ".", &container.id]).run()?.ok()?;
    same("the bundle", &container.state()?["bundle"], json!(container.dir))
}

fn annotations(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/annotations", json!({"a": "1", "b.c/d": "two"}));
    container.create()?.ok()?;
    let annotations = &container.state()?["annotations"];
    same("the first", &annotations["a"], "1")?;
    same("the second", &annotations["b.c/d"], "two")
}

fn schema(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    for status in ["created", "running", "stopped"] {
        match status {
            "running" => drop(container.start()?.ok()?),
            "stopped" => container.stop()?,
            _ => {}
        }
        let state = container.state()?;
        for name in ["ociVersion", "id", "status", "bundle"] {
            holds(&format!("{name} is text: {}", state[name]), state[name].is_string())?;
        }
        let pid = &state["pid"];
        holds(&format!("pid is a number: {pid}"), pid.is_u64() || pid.is_null() && status == "stopped")?;
        let annotations = &state["annotations"];
        holds("annotations are a map", annotations.is_object() || annotations.is_null())?;
    }
    Ok(())
}

fn no_id(lab: &Lab) -> Verdict {
    lab.runtime(["state"]).run()?.refused("state without an id")
}

fn unknown(lab: &Lab) -> Verdict {
    lab.runtime(["state", "no-such-container"]).run()?.refused("state of a container that does not exist")
}
