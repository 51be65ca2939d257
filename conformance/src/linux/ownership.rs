//! Who owns the container's cgroup.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use nix::mount::{MsFlags, mount};

use crate::container::Container;
use crate::host::{self, Cgroups};
use crate::judge::{needs, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared, should};

const PLACE: &str = "config-linux.md#configLinuxCgroupsPath";
const V1: &[&str] = &["Runtimes SHOULD NOT change the ownership of container cgroups when cgroups v1 is in use."];
const NAMESPACE: &[&str] = &["unless it will also create a new cgroup namespace for the container."];
const WRITABLE: &[&str] = &["Runtimes SHOULD change the cgroup ownership if and only if"];
const NO_MOUNT: &[&str] = &["If the configuration does not specify such a mount, the runtime SHOULD NOT"];
const ONLY: &[&str] = &[
    "A runtime that changes the cgroup ownership SHOULD only change the ownership of",
    "The runtime SHOULD NOT change the ownership of any other files.",
];
const LISTED: &[&str] = &["Runtimes MUST NOT fail in this scenario, and SHOULD change the ownership"];
const NO_LIST: &[&str] = &["If the `/sys/kernel/cgroup/delegate` file does not exist, the runtime MUST fall back"];

pub const TESTS: &[Row] = &[
    should("linux.cgroups.owner.v1", PLACE, V1, version_1),
    should("linux.cgroups.owner", PLACE, WRITABLE, changed),
    should("linux.cgroups.owner.read-only", PLACE, WRITABLE, shared).with(unchanged, "read-only"),
    should("linux.cgroups.owner.no-mount", PLACE, NO_MOUNT, shared).with(unchanged, "no mount"),
    should("linux.cgroups.owner.no-namespace", PLACE, NAMESPACE, shared).with(unchanged, "no namespace"),
    should("linux.cgroups.owner.files", PLACE, ONLY, files),
    must("linux.cgroups.owner.listed", PLACE, LISTED, listed),
    must("linux.cgroups.owner.no-list", PLACE, NO_LIST, no_list),
];

/// Root inside is this user outside.
const USER: u32 = 100_000;

/// A container that fulfils what delegation asks for.
fn delegated(lab: &Lab) -> Result<Container<'_>> {
    let mut container = lab.container()?.user_namespace(USER).unshare("cgroup");
    if !Path::new("/sys/kernel/cgroup/delegate").exists() {
        // In a user namespace the kernel mounts no sysfs where something is hidden in the host's.
        container = container.unmount("/sys").mount("tmpfs", "tmpfs", "/sys", &["mode=755"]);
    }
    Ok(container.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev"]))
}

fn version_1(lab: &Lab) -> Verdict {
    needs(host::cgroups() == Cgroups::V1, "the controllers are on cgroup v2 here")?;
    let container = delegated(lab)?;
    container.up()?;
    for name in ["memory", "pids", "cpu"] {
        same(&format!("the owner in {name}"), &fs::metadata(container.cgroup(name)?)?.uid(), 0)?;
    }
    Ok(())
}

fn version_2() -> Verdict {
    needs(host::cgroups() == Cgroups::V2, "needs a pure cgroup v2 host")
}

fn changed(lab: &Lab) -> Verdict {
    version_2()?;
    let container = delegated(lab)?;
    container.up()?;
    same("the owner", &fs::metadata(container.cgroup("memory")?)?.uid(), USER)
}

fn unchanged(lab: &Lab, why: &'static str) -> Verdict {
    version_2()?;
    let container = match why {
        "read-only" => {
            let container = lab.container()?.user_namespace(USER).unshare("cgroup");
            container.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "ro"])
        }
        "no mount" => lab.container()?.user_namespace(USER).unshare("cgroup"),
        _ => delegated(lab)?.inherit("cgroup"),
    };
    container.up()?;
    same("the owner", &fs::metadata(container.cgroup("memory")?)?.uid(), 0)
}

/// The names in /sys/kernel/cgroup/delegate, or what stands for them.
fn names() -> Vec<String> {
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate");
    list.unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into())
        .lines()
        .map(str::to_owned)
        .collect()
}

fn files(lab: &Lab) -> Verdict {
    version_2()?;
    let container = delegated(lab)?;
    container.up()?;
    let names = names();
    for entry in fs::read_dir(container.cgroup("memory")?)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !names.contains(&name) && entry.file_type()?.is_file() {
            same(&format!("the owner of {name}"), &entry.metadata()?.uid(), 0)?;
        }
    }
    Ok(())
}

fn listed(lab: &Lab) -> Verdict {
    version_2()?;
    let container = delegated(lab)?;
    container.up()?;
    for name in names() {
        if let Ok(metadata) = fs::metadata(container.cgroup("memory")?.join(&name)) {
            same(&format!("the owner of {name}"), &metadata.uid(), USER)?;
        }
    }
    Ok(())
}

/// With the file hidden, for this test alone.
fn no_list(lab: &Lab) -> Verdict {
    version_2()?;
    mount(Some("tmpfs"), "/sys/kernel/cgroup", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    listed(lab)?;
    files(lab)
}
