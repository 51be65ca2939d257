//! What a container could leave behind on the host: mounts, cgroups, network devices, processes, changed devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;

/// The cgroups that engines make for their containers and keep for the next one: podman's, docker's, and that of the
/// containerd namespace which the cases use.
const PARENTS: [&str; 3] = ["libpod_parent", "docker", CONTAINERD_NAMESPACE];

/// The containerd namespace of the cases, and so the name of its parent cgroup.
pub const CONTAINERD_NAMESPACE: &str = "engines-test";

/// Where an engine would leave files that are not in the suite's own directory, apart from those that are its world's own.
const HOMES: [&str; 5] = ["/etc", "/opt", "/root", "/var/lib", "/var/tmp"];

/// What engines call their files there.
const FILES: [&str; 7] = ["buildah", "cni", "containerd", "containers", "docker", "libpod", "netns"];

/// The host at one moment, as lines that can be compared.
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Takes stock of mounts, cgroups and network devices of this process's namespaces, and of its descendants.
    pub fn take() -> Result<Self> {
        process::reap(None)?;
        let mut lines = mounts("/proc/self/mountinfo")?;
        lines.extend(cgroups().into_iter().map(|path| format!("cgroup {path}")));
        lines.extend(interfaces()?);
        lines.extend(files().into_iter().map(|path| format!("file {path}")));
        lines.extend(process::descendants()?.into_iter().map(|(pid, comm)| format!("process {pid} {comm}")));
        Ok(Self(lines))
    }

    /// What is different in `later`, one line each, `+` for new and `-` for gone.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let new = later.0.difference(&self.0).map(|line| format!("+ {line}"));
        new.chain(self.0.difference(&later.0).map(|line| format!("- {line}"))).collect()
    }
}

/// The mounts that a mountinfo file lists: type, source, mount point and options, without the ids.
pub fn mounts(mountinfo: &str) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(mountinfo).with_context(|| mountinfo.to_owned())?;
    let line = |line: &str| {
        // proc_pid_mountinfo(5): id parent major:minor root mountpoint options [optional…] - type source superoptions
        let (mount, filesystem) = line.split_once(" - ")?;
        let mount: Vec<_> = mount.split(' ').collect();
        let filesystem: Vec<_> = filesystem.split(' ').take(2).collect();
        Some(format!("mount {} {} {}", filesystem.join(" "), mount.get(4)?, mount.get(5)?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// The cgroups of every hierarchy that an engine's container can be in, but not the parents that engines keep.
///
/// Others have cgroups too and make new ones while we run; an engine's are named after it or after a container's id.
pub fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_directories(Path::new("/sys/fs/cgroup"), &mut found);
    let kept = |path: &str| PARENTS.iter().any(|name| path.ends_with(&format!("/{name}")));
    found.retain(|path| is_an_engines(path) && !kept(path) && !path.ends_with("/libpod_parent/conmon"));
    found
}

fn is_an_engines(cgroup: &str) -> bool {
    let is_id = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_named = |name: &str| name.starts_with("libpod") || name.starts_with("buildah") || PARENTS.contains(&name);
    cgroup.split('/').any(|name| is_id(name) || is_named(name))
}

/// Removes the engines' cgroups that are not among `idle`, those inside others first. One that is in use stays.
pub fn remove_cgroups(idle: &BTreeSet<String>) {
    for path in cgroups().iter().rev().filter(|path| !idle.contains(*path)) {
        fs::remove_dir(path).ok();
    }
}

/// The engines' parent cgroups that there are, in each hierarchy.
pub fn parents() -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let roots: Vec<_> = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).collect();
    let all = roots.iter().flat_map(|root| PARENTS.iter().map(|name| root.join(name)));
    all.filter(|parent| parent.is_dir()).collect()
}

/// Removes the parent cgroups that are not among `old`; one still in use (by another engine) stays.
pub fn remove_parents(old: &[PathBuf]) {
    for parent in parents().into_iter().filter(|parent| !old.contains(parent)) {
        fs::remove_dir(parent.join("conmon")).ok();
        fs::remove_dir(parent).ok();
    }
}

/// Removes the empty cgroups between podman's parent and its containers, as pods have them.
///
/// podman removes them where it made them, in the v1 controllers; in the others (name=systemd, cgroup2) the runtime
/// makes them on its way, and no runtime removes more than its container's own.
pub fn remove_inner_parents() {
    let parents = parents().into_iter().filter(|parent| parent.ends_with("libpod_parent"));
    for entry in parents.filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("libpod-") {
            fs::remove_dir(entry.path().join("conmon")).ok();
            fs::remove_dir(entry.path()).ok();
        }
    }
}

/// Files of engines outside the suite's own directory: those that are named after one, and in /etc those in them.
fn files() -> Vec<String> {
    let entries = HOMES.iter().filter_map(|home| fs::read_dir(home).ok()).flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut found: Vec<_> =
        paths.filter(|path| FILES.iter().any(|name| path.to_string_lossy().contains(name))).collect();
    let mut index = 0;
    while let Some(path) = found.get(index).cloned() {
        if path.starts_with("/etc") {
            found.extend(fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        index += 1;
    }
    found.iter().map(|path| path.display().to_string()).collect()
}

/// The device nodes that a container's stdio can be, in the mount namespace of a process, with owner, group and mode.
pub fn devices(pid: u32) -> BTreeMap<String, (u32, u32, u32)> {
    let known = |name| {
        let path = format!("/proc/{pid}/root/dev/{name}");
        fs::metadata(&path).ok().map(|node| (path, (node.uid(), node.gid(), node.mode())))
    };
    ["null", "zero", "full", "random", "tty"].into_iter().filter_map(known).collect()
}

/// Directories below `directory`. One that vanishes meanwhile is none.
fn collect_directories(directory: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.insert(entry.path().display().to_string());
            collect_directories(&entry.path(), found);
        }
    }
}

fn interfaces() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/net/dev")?;
    let names = text.lines().filter_map(|line| line.split_once(':'));
    Ok(names.map(|(name, _)| format!("interface {}", name.trim())).collect())
}
