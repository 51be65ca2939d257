//! Control groups: where the container's is.

use std::fs;

use anyhow::{Context, Result};

use crate::host::{self, Cgroups};
use crate::judge::{holds, same, skip};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must};

const GROUPS: &str = "config-linux.md#configLinuxControlGroups";
const PATH: &str = "config-linux.md#configLinuxCgroupsPath";
const FORM: &[&str] = &["The value of `cgroupsPath` MUST be either an absolute path or a relative path."];
const FIT: &[&str] = &["check if the container cgroup is fit for purpose, and MUST [generate an error]"];

pub const TESTS: &[Row] = &[
    must("linux.cgroupsPath", PATH, &["**`cgroupsPath`** (string, OPTIONAL) path to the cgroups."], is_made),
    must(
        "linux.cgroupsPath.absolute",
        PATH,
        &["the runtime MUST take the path to be relative to the cgroups"],
        absolute,
    ),
    must("linux.cgroupsPath.relative", PATH, FORM, relative),
    must("linux.cgroupsPath.unset", PATH, FORM, unset),
    must("linux.cgroupsPath.same-place", PATH, &["the runtime MUST consistently attach to the same place"], same_place),
    must("linux.cgroupsPath.invalid", PATH, &["Runtimes MAY consider certain `cgroupsPath` values to be"], invalid),
    must("linux.cgroups.frozen", GROUPS, FIT, frozen),
    must("linux.cgroups.not-empty", GROUPS, FIT, not_empty),
];

/// A controller that every host has.
fn controller() -> Result<&'static str> {
    match ["memory", "pids", "cpu"].into_iter().find(|name| host::hierarchy(name).is_some()) {
        Some(name) => Ok(name),
        None => skip("no cgroup controller is mounted"),
    }
}

fn is_made(lab: &Lab) -> Verdict {
    let name = controller()?;
    let container = lab.container()?;
    container.up()?;
    let cgroup = container.cgroup(name)?;
    holds(&format!("{} exists", cgroup.display()), cgroup.is_dir())?;
    let procs = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    holds("the container process is in it", procs.lines().any(|pid| pid == container.pid().unwrap_or(0).to_string()))
}

fn absolute(lab: &Lab) -> Verdict {
    let name = controller()?;
    let container = lab.container()?;
    let path = format!("/{}-above/{}", lab.tag(), container.id);
    let container = container.set("/linux/cgroupsPath", path.clone());
    container.up()?;
    let wanted = host::hierarchy(name).context("the hierarchy")?.join(path.trim_start_matches('/'));
    same("the cgroup", &container.cgroup(name)?.display().to_string(), wanted.display().to_string())
}

fn relative(lab: &Lab) -> Verdict {
    let name = controller()?;
    let container = lab.container()?;
    let container = container.clone().set("/linux/cgroupsPath", format!("{}/inner", container.id));
    container.up()?;
    let cgroup = container.cgroup(name)?;
    holds(&format!("{} ends in the path", cgroup.display()), cgroup.ends_with(format!("{}/inner", container.id)))
}

/// The path is the runtime's to choose, but there are limits to put somewhere.
fn unset(lab: &Lab) -> Verdict {
    let container = lab.container()?.unset("/linux/cgroupsPath").set("/linux/resources/pids/limit", 99);
    container.up()?;
    holds("it has a cgroup", container.cgroup("pids")?.is_dir())
}

fn same_place(lab: &Lab) -> Verdict {
    let name = controller()?;
    let path = format!("/{}-again", lab.tag());
    let mut places = Vec::new();
    for _ in 0..2 {
        let container = lab.container()?.set("/linux/cgroupsPath", path.clone());
        container.up()?;
        places.push(container.cgroup(name)?);
        container.stop()?;
        container.delete()?.ok()?;
    }
    holds(&format!("{places:?} are one"), places[0] == places[1])
}

/// Whatever a runtime makes of it: an error, or a place within the hierarchy.
fn invalid(lab: &Lab) -> Verdict {
    let name = controller()?;
    let container = lab.container()?.set("/linux/cgroupsPath", format!("/../../../{}-out", lab.tag()));
    if container.create()?.code != 0 {
        return container.is_gone();
    }
    let cgroup = container.cgroup(name)?;
    holds(&format!("{} is a cgroup", cgroup.display()), cgroup.join("cgroup.procs").exists())
}

/// A runtime that checks must refuse; one that does not check must not hang.
fn frozen(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    let (dir, file, word) = match host::cgroups() {
        Cgroups::V1 => (host::hierarchy("freezer"), "freezer.state", "FROZEN"),
        Cgroups::V2 => (Some(host::CGROUPS.into()), "cgroup.freeze", "1"),
    };
    let Some(dir) = dir.map(|dir| dir.join(&container.id)) else { return skip("there is no freezer here") };
    fs::create_dir(&dir)?;
    fs::write(dir.join(file), word)?;
    let created = container.create().context("create in a frozen cgroup")?;
    if created.code == 0 { container.start().map(|_| ()) } else { created.refused("a frozen cgroup") }
}

fn not_empty(lab: &Lab) -> Verdict {
    let path = format!("/{}-shared", lab.tag());
    let first = lab.container()?.set("/linux/cgroupsPath", path.clone());
    first.up()?;
    let second = lab.container()?.set("/linux/cgroupsPath", path);
    let created = second.create()?;
    if created.code != 0 {
        created.refused("a cgroup that is in use")?;
        second.is_gone()?;
    }
    same("the status of the first", &first.status()?, "running")
}
