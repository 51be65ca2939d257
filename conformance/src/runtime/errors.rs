//! Errors leave nothing behind, warnings change nothing.

use std::fs;

use anyhow::Result;
use serde_json::json;

use crate::container::Container;
use crate::host;
use crate::judge::{holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const ERRORS: &str = "runtime.md#runtimeErrors";
const WARNINGS: &str = "runtime.md#runtimeWarnings";
const AS_BEFORE: &[&str] =
    &["generating an error MUST leave the state of the environment as if the operation were never attempted"];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("errors.mount", ERRORS, AS_BEFORE, shared).with(leaves_nothing, "mount"),
    must("errors.late-mount", ERRORS, AS_BEFORE, shared).with(leaves_nothing, "late mount"),
    must("errors.hook", ERRORS, AS_BEFORE, shared).with(leaves_nothing, "hook"),
    must("errors.sysctl", ERRORS, AS_BEFORE, shared).with(leaves_nothing, "sysctl"),
    must("errors.namespace", ERRORS, AS_BEFORE, shared).with(leaves_nothing, "namespace"),
    must("errors.resource", ERRORS, AS_BEFORE, shared).with(leaves_nothing, "resource"),
    must("errors.device", ERRORS, AS_BEFORE, shared).with(leaves_nothing, "device"),
    must("errors.id-again", ERRORS, AS_BEFORE, id_can_be_used),
    must("errors.start", ERRORS, AS_BEFORE, failed_start),
    must("warnings", WARNINGS, &["it MUST continue as if the warning had not been logged."], continues),
];

/// What there is on the host: mounts, processes, cgroups, states.
fn environment(lab: &Lab) -> Result<String> {
    crate::call::reap();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut states: Vec<_> = fs::read_dir(lab.path("root"))?.flatten().map(|entry| entry.file_name()).collect();
    states.retain(|name| name.to_string_lossy().contains(&lab.tag()));
    Ok(format!("{mounts}\n{:?}\n{:?}\n{states:?}", host::descendants(), host::cgroups_with(&lab.tag())))
}

fn broken<'l>(container: Container<'l>, what: &str) -> Container<'l> {
    match what {
        "mount" => container.mount("nosuchfs", "none", "/place", &[]),
        "late mount" => {
            container.mount("tmpfs", "tmpfs", "/tmp", &[]).mount("tmpfs", "x", "/place", &["conformance=1"])
        }
        "hook" => container.push("/hooks/createRuntime", json!({"path": "/bin/false"})),
        "sysctl" => container.set("/linux/sysctl", json!({"net.ipv4.conformance": "1"})),
        "namespace" => container.join("network", "/no/such/namespace"),
        "resource" => container.set("/linux/resources/cpu", json!({"cpus": "4000"})),
        _ => container.push("/linux/devices", json!({"type": "c", "path": "/proc/x/y", "major": 1, "minor": 3})),
    }
}

fn leaves_nothing(lab: &Lab, what: &'static str) -> Verdict {
    let container = broken(lab.container()?, what);
    let before = environment(lab)?;
    container.is_refused()?;
    // What was killed needs a moment to be gone.
    let gone = crate::judge::eventually("the environment is as before", std::time::Duration::from_secs(2), || {
        Ok(environment(lab)? == before)
    });
    gone.map_err(|error| {
        let now = environment(lab).unwrap_or_default();
        let new: Vec<&str> = now.lines().filter(|line| !before.contains(line)).collect();
        error.context(new.join("; "))
    })
}

fn id_can_be_used(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    for what in ["mount", "hook", "sysctl"] {
        broken(container.clone(), what).is_refused()?;
    }
    container.runs()
}

/// A start that fails because of the wrong state leaves the state.
fn failed_start(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.up()?;
    let before = environment(lab)?;
    container.start()?.refused("start of a running container")?;
    holds("the environment is as before", environment(lab)? == before)
}

/// A capability that the kernel does not know is to be logged as a warning.
fn continues(lab: &Lab) -> Verdict {
    let container = lab.container()?.push("/process/capabilities/bounding", "CAP_CONFORMANCE");
    let report = container.set("/hostname", "warned").report(&["uts", "capabilities"])?;
    same("the hostname", &report["uts"]["hostname"], "warned")?;
    same("the bounding set", &report["capabilities"]["bounding"]["names"], json!(["CAP_KILL", "CAP_MKNOD"]))
}
