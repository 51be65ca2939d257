//! What a container could leave behind on the host: mounts, cgroups, network devices, processes, changed devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process;

/// The cgroups that podman makes for its containers and keeps for the next one.
pub const PODMANS_PARENT: &str = "libpod_parent";

/// The host at one moment, as lines that can be compared.
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Takes stock of mounts, cgroups and network devices of this process's namespaces, and of its descendants.
    pub fn take() -> Result<Self> {
        process::reap(None)?;
        let mut lines = mounts("/proc/self/mountinfo")?;
        lines.extend(cgroups().into_iter().map(|path| format!("cgroup {path}")));
        lines.extend(interfaces()?);
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

/// The cgroups of every hierarchy that an engine's container can be in, but not the parents that podman keeps.
///
/// Others have cgroups too and make new ones while we run; an engine's are named after it or after a container's id.
pub fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_directories(Path::new("/sys/fs/cgroup"), &mut found);
    let kept = [format!("/{PODMANS_PARENT}"), format!("/{PODMANS_PARENT}/conmon")];
    found.retain(|path| is_an_engines(path) && !kept.iter().any(|end| path.ends_with(end)));
    found
}

fn is_an_engines(cgroup: &str) -> bool {
    let is_id = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroup.split('/').any(|name| is_id(name) || name.starts_with("libpod") || name.starts_with("buildah"))
}

/// The device nodes that a container's stdio can be, with owner, group and mode.
pub fn devices() -> BTreeMap<&'static str, (u32, u32, u32)> {
    let known = |path| fs::metadata(path).ok().map(|node| (path, (node.uid(), node.gid(), node.mode())));
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/tty"].into_iter().filter_map(known).collect()
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
