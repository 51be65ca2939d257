//! Mounts: their order, destinations, sources, types and id mappings. Their options are in `mount_options`.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::container::{Container, uppermost};
use crate::judge::{holds, listed, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, should};

const MOUNTS: &str = "config.md#configMounts";
const POSIX: &str = "config.md#configPOSIXMounts";
const SETATTR: &[&str] = &["This SHOULD be implemented using [`mount_setattr(MOUNT_ATTR_IDMAP)`]"];

pub const TESTS: &[Row] = &[
    must("mounts.order", MOUNTS, &["The runtime MUST mount entries in the listed order."], order),
    must("mounts.none", MOUNTS, &["**`mounts`** (array of objects, OPTIONAL)"], none),
    must(
        "mounts.destination",
        MOUNTS,
        &["**`destination`** (string, REQUIRED)", "This value SHOULD be an absolute"],
        made,
    ),
    must("mounts.destination.relative", MOUNTS, &["it MUST be interpreted as relative to \"/\"."], relative),
    must("mounts.source.file", MOUNTS, &["**`source`** (string, OPTIONAL)"], file),
    must("mounts.source.relative", MOUNTS, &["**`source`** (string, OPTIONAL)"], relative_source),
    must("mounts.source.missing", MOUNTS, &["**`source`** (string, OPTIONAL)"], missing_source),
    must("mounts.options", MOUNTS, &["**`options`** (array of strings, OPTIONAL)"], options),
    must("mounts.type", POSIX, &["**`type`** (string, OPTIONAL) The type of the filesystem"], kind),
    must("mounts.type.dummy", POSIX, &["**`type`** (string, OPTIONAL) The type of the filesystem"], dummy),
    must("mounts.type.unknown", POSIX, &["**`type`** (string, OPTIONAL) The type of the filesystem"], unknown_kind),
    must("mounts.idmap.uid", POSIX, &["**`uidMappings`** (array of type LinuxIDMapping, OPTIONAL)"], uids_are_mapped),
    must("mounts.idmap.gid", POSIX, &["**`gidMappings`** (array of type LinuxIDMapping, OPTIONAL)"], gids_are_mapped),
    should("mounts.idmap.setattr", POSIX, SETATTR, no_owner_changes),
    should("mounts.idmap.recursive", POSIX, &["SHOULD contain either `idmap` or `ridmap`"], recursive),
    must("mounts.idmap.no-gid", POSIX, &["it MUST be specified along with `gidMappings`."], uids_alone),
    must("mounts.idmap.no-uid", POSIX, &["it MUST be specified along with `uidMappings`."], gids_alone),
];

fn order(lab: &Lab) -> Verdict {
    // The second hides the first; the third is in the second.
    let container = lab.container()?.mount("tmpfs", "first", "/place", &[]).mount("tmpfs", "second", "/place", &[]);
    let container = container.mount("tmpfs", "third", "/place/sub", &[]);
    let mounts = container.mounts()?;
    let ours = mounts.iter().filter(|mount| mount["destination"].as_str().is_some_and(|to| to.starts_with("/place")));
    let sources: Vec<&Value> = ours.map(|mount| &mount["source"]).collect();
    ensure!(sources == ["first", "second", "third"], "the mounts are {sources:?}");
    Ok(())
}

fn none(lab: &Lab) -> Verdict {
    lab.container()?.set("/mounts", json!([])).runs()?;
    lab.container()?.unset("/mounts").runs()
}

fn made(lab: &Lab) -> Verdict {
    let mount = lab.container()?.mount("tmpfs", "here", "/new/deep/place", &[]).mounted("/new/deep/place")?;
    same("the source", &mount["source"], "here")
}

fn relative(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/process/cwd", "/tmp").mount("tmpfs", "here", "place", &[]);
    same("the source", &container.mounted("/place")?["source"], "here")
}

fn file(lab: &Lab) -> Verdict {
    let source = lab.file("file", "from the host\n")?;
    let report = lab.container()?.mount("bind", source, "/etc/file", &["bind"]).report(&["read=/etc/file"])?;
    same("the file", &report["read"]["/etc/file"], "from the host")
}

fn relative_source(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    fs::create_dir(container.dir.join("data"))?;
    fs::write(container.dir.join("data/file"), "of the bundle\n")?;
    let report = container.mount("bind", "data", "/place", &["bind"]).report(&["read=/place/file"])?;
    same("the file", &report["read"]["/place/file"], "of the bundle")
}

fn missing_source(lab: &Lab) -> Verdict {
    lab.container()?.mount("bind", lab.path("nowhere"), "/place", &["bind"]).is_refused()
}

fn options(lab: &Lab) -> Verdict {
    let mount = lab.container()?.mount("tmpfs", "tmpfs", "/place", &["noexec", "size=64k"]).mounted("/place")?;
    holds("the mount is noexec", listed(&mount["options"], "noexec"))?;
    holds("the file system has the size", listed(&mount["super_options"], "size=64k"))
}

fn kind(lab: &Lab) -> Verdict {
    let container = lab.container()?.mount("tmpfs", "a", "/place", &[]).mount("mqueue", "b", "/tmp", &[]);
    let mounts = container.mounts()?;
    same("the type on /place", &uppermost(&mounts, "/place")?["type"], "tmpfs")?;
    same("the type on /tmp", &uppermost(&mounts, "/tmp")?["type"], "mqueue")
}

fn dummy(lab: &Lab) -> Verdict {
    for kind in ["none", "bind", "whatever"] {
        let source = lab.directory("source")?;
        fs::write(source.join("file"), "here\n")?;
        let report = lab.container()?.mount(kind, source, "/place", &["rbind"]).report(&["read=/place/file"])?;
        same("the file", &report["read"]["/place/file"], "here")?;
    }
    let source = lab.directory("source")?;
    let mount = json!({"source": source, "destination": "/place", "options": ["bind"]});
    let report = lab.container()?.push("/mounts", mount).report(&["read=/place/file"])?;
    same("the file without a type", &report["read"]["/place/file"], "here")
}

fn unknown_kind(lab: &Lab) -> Verdict {
    lab.container()?.mount("nosuchfs", "none", "/place", &[]).is_refused()
}

/// A bind mount of a directory with a file of 1000:1000, whose ids are mapped so that 1000 is seen as 2000 is.
fn mapped<'l>(lab: &'l Lab, options: &[&str]) -> anyhow::Result<Container<'l>> {
    let source = lab.tmpfs("source", nix::mount::MsFlags::empty())?;
    fs::write(source.join("file"), "")?;
    chown(source.join("file"), Some(1000), Some(1000))?;
    let below = lab.tmpfs("source/below", nix::mount::MsFlags::empty())?;
    fs::write(below.join("file"), "")?;
    chown(below.join("file"), Some(1000), Some(1000))?;
    let map = json!([{"containerID": 1000, "hostID": 2000, "size": 10}]);
    Ok(lab.container()?.push(
        "/mounts",
        json!({"type": "bind", "source": source, "destination": "/place", "options": options,
               "uidMappings": map.clone(), "gidMappings": map}),
    ))
}

fn uids_are_mapped(lab: &Lab) -> Verdict {
    let report = mapped(lab, &["bind", "idmap"])?.report(&["stat=/place/file"])?;
    same("the owner", &report["stat"]["/place/file"]["uid"], 2000)
}

fn gids_are_mapped(lab: &Lab) -> Verdict {
    let report = mapped(lab, &["bind", "idmap"])?.report(&["stat=/place/file"])?;
    same("the group", &report["stat"]["/place/file"]["gid"], 2000)
}

fn no_owner_changes(lab: &Lab) -> Verdict {
    use std::os::unix::fs::MetadataExt;
    let mount = mapped(lab, &["bind", "idmap"])?.mounted("/place")?;
    holds("the kernel says that the mount is idmapped", listed(&mount["options"], "idmapped"))?;
    same("the owner outside", &fs::metadata(lab.path("source/file"))?.uid(), 1000)
}

fn recursive(lab: &Lab) -> Verdict {
    let report = mapped(lab, &["rbind", "ridmap"])?.report(&["stat=/place/below/file"])?;
    same("the owner below, with ridmap", &report["stat"]["/place/below/file"]["uid"], 2000)?;
    let _ = nix::mount::umount2(&lab.path("source"), nix::mount::MntFlags::MNT_DETACH);
    let report = mapped(lab, &["rbind", "idmap"])?.report(&["stat=/place/below/file", "stat=/place/file"])?;
    same("the owner, with idmap", &report["stat"]["/place/file"]["uid"], 2000)?;
    same("the owner below, with idmap", &report["stat"]["/place/below/file"]["uid"], 1000)
}

fn uids_alone(lab: &Lab) -> Verdict {
    let last = "/mounts/5";
    mapped(lab, &["bind", "idmap"])?.unset(&format!("{last}/gidMappings")).is_refused()
}

fn gids_alone(lab: &Lab) -> Verdict {
    mapped(lab, &["bind", "idmap"])?.unset("/mounts/5/uidMappings").is_refused()
}
