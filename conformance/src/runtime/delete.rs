//! Delete.

use std::fs;
use std::path::Path;

use crate::host;
use crate::judge::{holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const DELETE: &str = "runtime.md#runtimeDelete";
const NOT_STOPPED: &[&str] = &["Attempting to `delete` a container that is not [`stopped`]"];
const RESOURCES: &[&str] =
    &["Deleting a container MUST delete the resources that were created during the `create` step."];
const OTHERS: &[&str] =
    &["Note that resources associated with the container, but not created by this container, MUST NOT be deleted."];
const NO_ID: &[&str] = &["This operation MUST [generate an error](#errors) if it is not provided the container ID."];
const CUSTOM: &str = "every runtime deletes a created container, and clients rely on it";

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("delete", DELETE, RESOURCES, deletes),
    must("delete.no-id", DELETE, NO_ID, no_id),
    must("delete.unknown", DELETE, NOT_STOPPED, unknown),
    must("delete.running", DELETE, NOT_STOPPED, shared).with(alive, "running"),
    must("delete.created", DELETE, NOT_STOPPED, shared).with(alive, "created").deviates(CUSTOM),
    must("delete.resources", DELETE, RESOURCES, resources),
    must("delete.id-again", DELETE, RESOURCES, id_again),
    must("delete.others.cgroup", DELETE, OTHERS, cgroup_above),
    must("delete.others.namespace", DELETE, OTHERS, namespace_stays),
    must("delete.others.files", DELETE, OTHERS, files_stay),
    must("delete.others.container", DELETE, OTHERS, another_container),
];

fn deletes(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.up()?;
    container.stop()?;
    container.delete()?.ok()?;
    container.is_gone()
}

fn no_id(lab: &Lab) -> Verdict {
    lab.runtime(["delete"]).run()?.refused("delete without an id")
}

fn unknown(lab: &Lab) -> Verdict {
    lab.runtime(["delete", "no-such-container"]).run()?.refused("delete of a container that does not exist")
}

fn alive(lab: &Lab, status: &'static str) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    if status == "running" {
        container.start()?.ok()?;
    }
    let before = container.state()?;
    container.delete()?.refused(&format!("delete of a {status} container"))?;
    same("the state", &container.state()?, before)
}

fn resources(lab: &Lab) -> Verdict {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let container = lab.container()?.set("/linux/resources/pids/limit", 50);
    container.up()?;
    holds("there is a cgroup", !host::cgroups_with(&container.id).is_empty())?;
    container.stop()?;
    container.delete()?.ok()?;
    let cgroups = host::cgroups_with(&container.id);
    holds(&format!("no cgroup is left: {cgroups:?}"), cgroups.is_empty())?;
    same("processes left", &host::descendants().len(), 0)?;
    same("the mounts of the host", &fs::read_to_string("/proc/self/mountinfo")?, mounts)?;
    let state: Vec<_> = fs::read_dir(lab.path("root"))?
        .flatten()
        .filter(|entry| entry.path().join("..").exists() && entry.file_name().to_string_lossy().contains(&container.id))
        .map(|entry| entry.path())
        .collect();
    holds(&format!("no state is left: {state:?}"), state.is_empty())
}

fn id_again(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    for _ in 0..3 {
        container.up()?;
        container.stop()?;
        container.delete()?.ok()?;
    }
    Ok(())
}

/// A cgroup that was there before, above the container's.
fn cgroup_above(lab: &Lab) -> Verdict {
    let above = format!("{}-above", lab.tag());
    let tops: Vec<_> =
        ["memory", "pids", "cpu"].into_iter().filter_map(host::hierarchy).map(|top| top.join(&above)).collect();
    for top in &tops {
        fs::create_dir_all(top)?;
    }
    let container = lab.container()?;
    let container = container.clone().set("/linux/cgroupsPath", format!("/{above}/{}", container.id));
    container.up()?;
    container.stop()?;
    container.delete()?.ok()?;
    holds("the cgroup above is still there", tops.iter().all(|top| top.exists()))?;
    holds("the container's is not", tops.iter().all(|top| !top.join(&container.id).exists()))
}

/// A namespace that was joined by path lives on with its first container.
fn namespace_stays(lab: &Lab) -> Verdict {
    let holder = lab.container()?;
    holder.up()?;
    let path = holder.proc("ns/net")?;
    let before = fs::read_link(&path)?;
    let container = lab.container()?.join("network", &path);
    container.up()?;
    container.stop()?;
    container.delete()?.ok()?;
    holds("the namespace is still there", fs::read_link(path)? == before)?;
    same("the status of the first", &holder.status()?, "running")
}

fn files_stay(lab: &Lab) -> Verdict {
    let container = lab.container()?.share();
    fs::write(lab.path("share/file"), "of the host")?;
    container.up()?;
    container.stop()?;
    container.delete()?.ok()?;
    for path in [lab.path("share/file"), container.rootfs("marker"), container.dir.join("config.json")] {
        holds(&format!("{} is still there", path.display()), Path::new(&path).exists())?;
    }
    Ok(())
}

fn another_container(lab: &Lab) -> Verdict {
    let (one, other) = (lab.container()?, lab.container()?);
    one.up()?;
    other.up()?;
    one.stop()?;
    one.delete()?.ok()?;
    same("the status of the other", &other.status()?, "running")
}
