//! Settings of cgroup v2, file by file.

use std::fs;

use serde_json::json;

use crate::host::{self, Cgroups};
use crate::judge::{needs, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must};

const PLACE: &str = "config-linux.md#configLinuxUnified";
const ABSENT: &[&str] = &["when the configuration refers to a cgroup controller that is not present"];

pub const TESTS: &[Row] = &[
    must("resources.unified", PLACE, &["**`unified`** (object, OPTIONAL)"], written),
    must("resources.unified.enabled", PLACE, &["MUST ensure that the needed cgroup controllers are enabled"], enabled),
    must(
        "resources.unified.unknown-key",
        PLACE,
        &["Configuration unknown to the runtime MUST still be written"],
        unknown,
    ),
    must("resources.unified.absent-controller", PLACE, ABSENT, absent),
    must("resources.unified.absent-on-v1", PLACE, ABSENT, absent_on_v1),
];

/// One setting and what the file reads then.
fn setting(lab: &Lab, file: &str, value: &str) -> Verdict {
    needs(host::cgroups() == Cgroups::V2, "needs a pure cgroup v2 host")?;
    let container = lab.container()?.set("/linux/resources/unified", json!({file: value}));
    container.up()?;
    let found = fs::read_to_string(container.cgroup("memory")?.join(file))?;
    same(file, &found.trim().to_owned(), value)
}

fn written(lab: &Lab) -> Verdict {
    setting(lab, "memory.high", "67108864")
}

fn enabled(lab: &Lab) -> Verdict {
    for (file, value) in [("pids.max", "55"), ("cpu.weight", "77"), ("cpuset.cpus", "0"), ("memory.max", "67108864")] {
        setting(lab, file, value)?;
    }
    Ok(())
}

fn unknown(lab: &Lab) -> Verdict {
    for (file, value) in [("cgroup.max.depth", "7"), ("memory.oom.group", "1")] {
        setting(lab, file, value)?;
    }
    Ok(())
}

fn absent(lab: &Lab) -> Verdict {
    needs(host::cgroups() == Cgroups::V2, "needs a pure cgroup v2 host")?;
    lab.container()?.set("/linux/resources/unified", json!({"conformance.max": "1"})).is_refused()
}

/// On hosts with hierarchies of version 1, what they hold is not present on version 2.
fn absent_on_v1(lab: &Lab) -> Verdict {
    needs(host::cgroups() == Cgroups::V1, "every controller is on cgroup v2 here")?;
    lab.container()?.set("/linux/resources/unified", json!({"memory.high": "67108864"})).is_refused()
}
