//! Default file systems, namespaces, user namespace mappings and time offsets.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::call::Call;
use crate::container::uppermost;
use crate::host;
use crate::judge::{eventually, holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared, should};

const PLACE: &str = "config-linux.md#configLinuxNamespaces";
const USERS: &str = "config-linux.md#configLinuxUserNamespaceMappings";
const TIME: &str = "config-linux.md#configLinuxTimeOffset";
const FILESYSTEMS: &[&str] = &["The following filesystems SHOULD be made available in each container's filesystem:"];
const NEW: &[&str] = &["If `path` is not specified, the runtime MUST create a new [container namespace]"];
const INHERIT: &[&str] = &["If a namespace type is not specified in the `namespaces` array"];
const JOIN: &[&str] = &["The runtime MUST place the container process in the namespace associated with that `path`."];
const WRONG: &[&str] = &["if `path` is not associated with a namespace of type `type`."];
const DUPLICATE: &[&str] = &["If a `namespaces` field contains duplicated namespaces with same `type`"];
const ABSOLUTE: &[&str] = &["This value MUST be an absolute path in the [runtime mount namespace]"];
const SUPPORTED: &[&str] = &["**`type`** *(string, REQUIRED)*", "The following namespace types SHOULD be supported:"];
const ENTRY: &[&str] = &["**`containerID`**", "**`hostID`**", "**`size`**"];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    should("default-filesystems", "config-linux.md#configLinuxDefaultFilesystems", FILESYSTEMS, filesystems),
    should("namespaces.supported", PLACE, SUPPORTED, all_are_supported),
    must("namespaces.new.pid", PLACE, NEW, shared).with(new, "pid"),
    must("namespaces.new.network", PLACE, NEW, shared).with(new, "network"),
    must("namespaces.new.mount", PLACE, NEW, shared).with(new, "mount"),
    must("namespaces.new.ipc", PLACE, NEW, shared).with(new, "ipc"),
    must("namespaces.new.uts", PLACE, NEW, shared).with(new, "uts"),
    must("namespaces.new.user", PLACE, NEW, shared).with(new, "user"),
    must("namespaces.new.cgroup", PLACE, NEW, shared).with(new, "cgroup"),
    must("namespaces.new.time", PLACE, NEW, shared).with(new, "time"),
    must("namespaces.inherit.pid", PLACE, INHERIT, shared).with(inherited, "pid"),
    must("namespaces.inherit.network", PLACE, INHERIT, shared).with(inherited, "network"),
    must("namespaces.inherit.mount", PLACE, INHERIT, shared).with(inherited, "mount"),
    must("namespaces.inherit.mount.with-mounts", PLACE, INHERIT, inherited_with_mounts),
    must("namespaces.inherit.ipc", PLACE, INHERIT, shared).with(inherited, "ipc"),
    must("namespaces.inherit.uts", PLACE, INHERIT, shared).with(inherited, "uts"),
    must("namespaces.inherit.user", PLACE, INHERIT, shared).with(inherited, "user"),
    must("namespaces.inherit.cgroup", PLACE, INHERIT, shared).with(inherited, "cgroup"),
    must("namespaces.inherit.time", PLACE, INHERIT, shared).with(inherited, "time"),
    must("namespaces.join", PLACE, &["**`path`** *(string, OPTIONAL)* - namespace file."], shared).with(joined, "uts"),
    must("namespaces.join.pid", PLACE, JOIN, shared).with(joined, "pid"),
    must("namespaces.join.network", PLACE, JOIN, shared).with(joined, "network"),
    must("namespaces.join.mount", PLACE, JOIN, joined_mount),
    must("namespaces.join.ipc", PLACE, JOIN, shared).with(joined, "ipc"),
    must("namespaces.join.uts", PLACE, JOIN, shared).with(joined, "uts"),
    must("namespaces.join.user", PLACE, JOIN, joined_user),
    must("namespaces.join.cgroup", PLACE, JOIN, shared).with(joined, "cgroup"),
    must("namespaces.join.time", PLACE, JOIN, shared).with(joined, "time"),
    must("namespaces.path.type", PLACE, WRONG, wrong_type),
    must("namespaces.path.no-namespace", PLACE, WRONG, no_namespace),
    must("namespaces.path.relative", PLACE, ABSOLUTE, relative),
    must("namespaces.duplicate", PLACE, DUPLICATE, duplicate),
    must("linux.uidMappings", USERS, &["**`uidMappings`** (array of objects", "**`containerID`**", "**`hostID`**", "**`size`**"], shared).with(mappings, "uid"),
    must("linux.gidMappings", USERS, &["**`gidMappings`** (array of objects", "**`containerID`**", "**`hostID`**", "**`size`**"], shared).with(mappings, "gid"),
    must("linux.uidMappings.several", USERS, ENTRY, several),
    should("linux.uidMappings.owners", USERS, &["The runtime SHOULD NOT modify the ownership"], owners),
    must("linux.timeOffsets", TIME, &["**`timeOffsets`** (object", "**`secs`** *(int64"], seconds),
    must("linux.timeOffsets.nanosecs", TIME, &["**`nanosecs`** *(uint32"], nanoseconds),
];

/// The name of a type's file in /proc/PID/ns.
fn file(kind: &str) -> &str {
    match kind {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    }
}

fn own(kind: &str) -> Result<Value> {
    Ok(json!(fs::read_link(format!("/proc/self/ns/{}", file(kind)))?))
}

fn filesystems(lab: &Lab) -> Verdict {
    let mounts = lab.container()?.mounts()?;
    for (path, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")] {
        same(&format!("the file system on {path}"), &uppermost(&mounts, path)?["type"], kind)?;
    }
    Ok(())
}

fn all_are_supported(lab: &Lab) -> Verdict {
    let container = lab.container()?.user_namespace(100_000).unshare("cgroup").unshare("time");
    let namespaces = container.report(&["namespaces"])?["namespaces"].clone();
    for kind in ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"] {
        holds(&format!("the {kind} namespace is new"), namespaces[file(kind)] != own(kind)?)?;
    }
    Ok(())
}

fn new(lab: &Lab, kind: &'static str) -> Verdict {
    let container = lab.container()?;
    let container = if kind == "user" { container.user_namespace(100_000) } else { container.unshare(kind) };
    let inside = container.report(&["namespaces"])?["namespaces"][file(kind)].clone();
    holds(&format!("the {kind} namespace is a link: {inside}"), inside.is_string())?;
    holds(&format!("the {kind} namespace is new"), inside != own(kind)?)
}

fn inherited(lab: &Lab, kind: &'static str) -> Verdict {
    let container = lab.container()?.inherit(kind);
    // Without a mount namespace of its own what a container mounts would stay: see the next test.
    let container = if kind == "mount" { container.set("/mounts", json!([])) } else { container };
    let own = own(kind)?;
    if kind == "mount" {
        container.up()?;
        return same("the mount namespace", &json!(fs::read_link(container.proc("ns/mnt")?)?), own);
    }
    same(&format!("the {kind} namespace"), &container.report(&["namespaces"])?["namespaces"][file(kind)], own)
}

fn joined(lab: &Lab, kind: &'static str) -> Verdict {
    let holder = lab.container()?.unshare(kind);
    holder.up()?;
    let path = holder.proc(&format!("ns/{}", file(kind)))?;
    let wanted = json!(fs::read_link(&path)?);
    let container = lab.container()?.join(kind, path);
    container.up()?;
    let got = json!(fs::read_link(container.proc(&format!("ns/{}", file(kind)))?)?);
    same(&format!("the {kind} namespace"), &got, wanted)
}

/// The mounts are then made where the runtime runs: here, in the namespace of this test, which ends with it.
fn inherited_with_mounts(lab: &Lab) -> Verdict {
    let container = lab.container()?.inherit("mount");
    container.up()?;
    same("the mount namespace", &json!(fs::read_link(container.proc("ns/mnt")?)?), own("mount")?)
}

/// One in which the bundle is seen.
fn joined_mount(lab: &Lab) -> Verdict {
    let unshare = host::program("unshare").context("unshare(1)")?;
    let holder =
        Call::new(unshare, lab.setup.limit).args(["-m", "--propagation", "unchanged", "sleep", "1000"]).spawn()?;
    let path = format!("/proc/{}/ns/mnt", holder.pid());
    eventually("there is another mount namespace", lab.setup.limit, || {
        Ok(fs::read_link(&path).is_ok_and(|link| Some(link) != fs::read_link("/proc/self/ns/mnt").ok()))
    })?;
    let wanted = json!(fs::read_link(&path)?);
    let container = lab.container()?.join("mount", path);
    container.up()?;
    same("the mount namespace", &json!(fs::read_link(container.proc("ns/mnt")?)?), wanted)
}

fn joined_user(lab: &Lab) -> Verdict {
    let holder = lab.container()?.user_namespace(100_000);
    holder.up()?;
    let path = holder.proc("ns/user")?;
    let wanted = json!(fs::read_link(&path)?);
    let container = lab.container()?.join("user", path);
    container.up()?;
    same("the user namespace", &json!(fs::read_link(container.proc("ns/user")?)?), wanted)
}

fn wrong_type(lab: &Lab) -> Verdict {
    for (kind, other) in [("network", "uts"), ("uts", "ipc"), ("ipc", "net"), ("pid", "mnt"), ("mount", "pid")] {
        lab.container()?.join(kind, format!("/proc/self/ns/{other}")).is_refused()?;
    }
    Ok(())
}

fn no_namespace(lab: &Lab) -> Verdict {
    let file = lab.file("file", "")?;
    lab.container()?.join("network", file).is_refused()?;
    lab.container()?.join("network", lab.path("nowhere")).is_refused()
}

fn relative(lab: &Lab) -> Verdict {
    // It is there, relative to the bundle and to where the runtime runs.
    let container = lab.container()?;
    let link = |dir: &std::path::Path| std::os::unix::fs::symlink("/proc/self/ns/net", dir.join("net"));
    link(&container.dir)?;
    std::env::set_current_dir(lab.path("share"))?;
    link(&lab.path("share"))?;
    container.join("network", "net").is_refused()
}

fn duplicate(lab: &Lab) -> Verdict {
    for kind in ["pid", "network", "mount", "ipc", "uts"] {
        lab.container()?.push("/linux/namespaces", json!({"type": kind})).is_refused()?;
    }
    Ok(())
}

fn mappings(lab: &Lab, which: &'static str) -> Verdict {
    let own = json!([{"containerID": 0, "hostID": 123_000, "size": 70_000}]);
    let other = json!([{"containerID": 0, "hostID": 456_000, "size": 50_000}]);
    let container = lab.container()?.user_namespace(1);
    let (uids, gids) = if which == "uid" { (own, other) } else { (other, own) };
    let container = container.set("/linux/uidMappings", uids).set("/linux/gidMappings", gids);
    same("the map", &container.report(&["id_maps"])?["id_maps"][which], json!([[0, 123_000, 70_000]]))
}

fn several(lab: &Lab) -> Verdict {
    let map = json!([
        {"containerID": 0, "hostID": 200_000, "size": 10},
        {"containerID": 10, "hostID": 300_000, "size": 1},
        {"containerID": 1000, "hostID": 400_000, "size": 5}
    ]);
    let container = lab.container()?.user_namespace(1);
    let container = container.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let maps = container.report(&["id_maps"])?["id_maps"].clone();
    let wanted = json!([[0, 200_000, 10], [10, 300_000, 1], [1000, 400_000, 5]]);
    same("the uids", &maps["uid"], wanted.clone())?;
    same("the gids", &maps["gid"], wanted)
}

fn owners(lab: &Lab) -> Verdict {
    let container = lab.container()?.user_namespace(100_000);
    container.runs()?;
    for name in ["", "marker", "bin", "bin/probe", "tmp"] {
        same(&format!("the owner of /{name}"), &fs::metadata(container.rootfs(name))?.uid(), 0)?;
    }
    Ok(())
}

fn seconds(lab: &Lab) -> Verdict {
    let offsets = json!({"monotonic": {"secs": 1337, "nanosecs": 0}, "boottime": {"secs": 7331}});
    let report = lab.container()?.unshare("time").set("/linux/timeOffsets", offsets).report(&["clocks"])?;
    let got = &report["clocks"]["offsets"];
    same("monotonic", &got["monotonic"]["secs"], 1337)?;
    same("boottime", &got["boottime"]["secs"], 7331)?;
    let own = uptime()?;
    ensure!(report["clocks"]["boottime"].as_f64().unwrap_or_default() > own + 7000.0, "the clock is not ahead");
    Ok(())
}

fn nanoseconds(lab: &Lab) -> Verdict {
    let offsets = json!({"monotonic": {"secs": 3, "nanosecs": 456_789}});
    let report = lab.container()?.unshare("time").set("/linux/timeOffsets", offsets).report(&["clocks"])?;
    same("monotonic", &report["clocks"]["offsets"]["monotonic"], json!({"secs": 3, "nanosecs": 456_789}))
}

/// CLOCK_BOOTTIME here, in seconds.
fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}
