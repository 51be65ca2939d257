//! What this machine offers, asked of the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::Process;

/// Where controllers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// Hierarchies of version 1, with or without one of version 2 beside them.
    V1,
    /// One hierarchy for all.
    V2,
}

/// Where cgroups are mounted by custom.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// The version that has the controllers here.
pub fn cgroups() -> Cgroups {
    if Path::new(CGROUPS).join("cgroup.controllers").exists() { Cgroups::V2 } else { Cgroups::V1 }
}

/// The root of a controller's hierarchy, if it is mounted.
pub fn hierarchy(controller: &str) -> Option<PathBuf> {
    let found = match cgroups() {
        Cgroups::V1 => Path::new(CGROUPS).join(controller),
        Cgroups::V2 => {
            let list = fs::read_to_string(format!("{CGROUPS}/cgroup.controllers")).unwrap_or_default();
            list.split_whitespace().find(|name| *name == controller).map(|_| PathBuf::from(CGROUPS))?
        }
    };
    found.exists().then_some(found)
}

/// Where a process is, in a controller's hierarchy.
pub fn cgroup_of(pid: i64, controller: &str) -> anyhow::Result<PathBuf> {
    let groups = Process::new(i32::try_from(pid)?)?.cgroups()?;
    let is_it = |group: &&procfs::ProcessCGroup| match cgroups() {
        Cgroups::V1 => group.controllers.iter().any(|name| name == controller),
        Cgroups::V2 => group.hierarchy == 0,
    };
    let Some(group) = groups.0.iter().find(is_it) else { anyhow::bail!("no {controller} hierarchy") };
    let top = hierarchy(controller).unwrap_or_else(|| CGROUPS.into());
    Ok(top.join(group.pathname.trim_start_matches('/')))
}

/// All cgroups whose path has this word in it, parents first.
pub fn cgroups_with(word: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(CGROUPS)];
    let mut next = 0;
    while next < found.len() {
        let entries = fs::read_dir(&found[next]).into_iter().flatten().flatten();
        found.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
        next += 1;
    }
    found.retain(|path| path.to_string_lossy().contains(word));
    found
}

/// Whether a security module is active.
pub fn has_lsm(name: &str) -> bool {
    match name {
        "apparmor" => {
            fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
        }
        _ => Path::new("/sys/fs/selinux/enforce").exists(),
    }
}

/// A program on the search path.
pub fn program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

/// The processes below this one.
pub fn descendants() -> Vec<i32> {
    let all: Vec<_> =
        procfs::process::all_processes().into_iter().flatten().flatten().filter_map(|p| p.stat().ok()).collect();
    let mut family = vec![std::process::id().cast_signed()];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(all.iter().filter(|stat| stat.ppid == parent).map(|stat| stat.pid));
        next += 1;
    }
    family.remove(0);
    family
}
