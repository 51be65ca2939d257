//! Propagation of the root, masked and read-only paths, and the mount label.

use std::fs;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::host;
use crate::judge::{holds, same, skip};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const PROPAGATION: &str = "config-linux.md#configLinuxRootfsMountPropagation";
const MASKED: &str = "config-linux.md#configLinuxMaskedPaths";
const READONLY: &str = "config-linux.md#configLinuxReadonlyPaths";
const LABEL: &str = "config-linux.md#configLinuxMountLabel";
const VALUE: &[&str] = &["**`rootfsPropagation`** (string, OPTIONAL)"];

pub const TESTS: &[Row] = &[
    must("linux.rootfsPropagation.shared", PROPAGATION, VALUE, shared).with(propagation, "shared"),
    must("linux.rootfsPropagation.slave", PROPAGATION, VALUE, shared).with(propagation, "slave"),
    must("linux.rootfsPropagation.private", PROPAGATION, VALUE, shared).with(propagation, "private"),
    must("linux.rootfsPropagation.unbindable", PROPAGATION, VALUE, shared).with(propagation, "unbindable"),
    must("linux.maskedPaths", MASKED, &["**`maskedPaths`** (array of strings, OPTIONAL)"], masked),
    must("linux.maskedPaths.missing", MASKED, &["**`maskedPaths`** (array of strings, OPTIONAL)"], masked_missing),
    must(
        "linux.maskedPaths.relative",
        MASKED,
        &["The values MUST be absolute paths in the [container"],
        masked_relative,
    ),
    must("linux.readonlyPaths", READONLY, &["**`readonlyPaths`** (array of strings, OPTIONAL)"], readonly),
    must("linux.readonlyPaths.missing", READONLY, &["**`readonlyPaths`** (array of strings"], readonly_missing),
    must(
        "linux.readonlyPaths.relative",
        READONLY,
        &["The values MUST be absolute paths in the [container"],
        readonly_relative,
    ),
    must("linux.mountLabel", LABEL, &["**`mountLabel`** (string, OPTIONAL)"], label),
];

/// The test's own file system is shared, so that there is something to be a slave of.
fn propagation(lab: &Lab, value: &'static str) -> Verdict {
    mount(None::<&str>, &lab.path(""), None::<&str>, MsFlags::MS_SHARED, None::<&str>)?;
    let root = lab.container()?.set("/linux/rootfsPropagation", value).mounted("/")?;
    let (shared, slave) = (!root["shared"].is_null(), !root["slave_of"].is_null());
    let is = match value {
        "shared" => shared,
        "slave" => slave && !shared,
        "unbindable" => root["unbindable"] == true,
        _ => !shared && !slave && root["unbindable"] == false,
    };
    holds(&format!("the root is {value}: {root}"), is)
}

fn masked(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/linux/maskedPaths", json!(["/place/file", "/place/directory"]));
    fs::create_dir_all(container.rootfs("place/directory"))?;
    fs::write(container.rootfs("place/directory/inside"), "secret")?;
    fs::write(container.rootfs("place/file"), "secret")?;
    let report = container.report(&["read=/place/file", "read=/place/directory"])?;
    let nothing = |value: &Value| value == "" || value == &json!([]) || value["error"].is_string();
    holds(&format!("nothing is read: {}", report["read"]["/place/file"]), nothing(&report["read"]["/place/file"]))?;
    holds(
        &format!("nothing is listed: {}", report["read"]["/place/directory"]),
        nothing(&report["read"]["/place/directory"]),
    )
}

fn masked_missing(lab: &Lab) -> Verdict {
    lab.container()?.set("/linux/maskedPaths", json!(["/no/such/path"])).runs()
}

fn masked_relative(lab: &Lab) -> Verdict {
    lab.container()?.set("/linux/maskedPaths", json!(["marker"])).is_refused()
}

fn readonly(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/linux/readonlyPaths", json!(["/place", "/marker", "/proc/sys"]));
    let report =
        container.report(&["write=/place", "write=/marker", "write=/proc/sys/kernel/hostname", "write=/tmp"])?;
    for path in ["/place", "/marker", "/proc/sys/kernel/hostname"] {
        let error = report["write"][path]["error"].as_str().unwrap_or_default();
        holds(&format!("{path} cannot be written to"), error.contains("EROFS") || error.contains("Read-only"))?;
    }
    same("another path can be written to", &report["write"]["/tmp"], true)
}

fn readonly_missing(lab: &Lab) -> Verdict {
    lab.container()?.set("/linux/readonlyPaths", json!(["/no/such/path"])).runs()
}

fn readonly_relative(lab: &Lab) -> Verdict {
    lab.container()?.set("/linux/readonlyPaths", json!(["marker"])).is_refused()
}

/// Where SELinux is not active, the property cannot be applied, which MUST be an error (runtime.md, Create).
fn label(lab: &Lab) -> Verdict {
    if host::has_lsm("selinux") {
        return skip("SELinux is active, but which labels its policy has is not known");
    }
    lab.container()?.set("/linux/mountLabel", "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811").is_refused()
}
