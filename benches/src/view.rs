//! What of the cgroup hierarchies is seen: a private mount namespace that shows those of v1 only, or cgroup2 only. crun
//! refuses a host that shows both, and refuses early, which would look fast.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

const TOP: &str = "/sys/fs/cgroup";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    V1,
    V2,
}

impl View {
    pub fn named(name: &str) -> Option<View> {
        [View::V1, View::V2].into_iter().find(|view| view.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            View::V1 => "v1",
            View::V2 => "v2",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            View::V1 => "cgroup v1 only",
            View::V2 => "cgroup2 only",
        }
    }

    /// Moves this process into a mount namespace with this view, or says why there can be none.
    pub fn enter(self) -> Result<(), String> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("unshare: {error}"))?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .map_err(|error| format!("mount --make-rprivate /: {error}"))?;
        match self {
            View::V1 => only_v1(),
            View::V2 => only_v2(),
        }
    }
}

fn is_cgroup2(path: &str) -> bool {
    statfs(path).is_ok_and(|it| it.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

fn only_v1() -> Result<(), String> {
    if is_cgroup2(TOP) {
        return Err("this machine has cgroup2 only".to_owned());
    }
    let unified = format!("{TOP}/unified");
    if is_cgroup2(&unified) {
        umount2(unified.as_str(), MntFlags::MNT_DETACH).map_err(|error| format!("umount {unified}: {error}"))?;
    }
    Ok(())
}

fn only_v2() -> Result<(), String> {
    if is_cgroup2(TOP) {
        return Ok(());
    }
    umount2(TOP, MntFlags::MNT_DETACH).map_err(|error| format!("umount {TOP}: {error}"))?;
    mount(Some("cgroup2"), TOP, Some("cgroup2"), MsFlags::empty(), None::<&str>)
        .map_err(|error| format!("mount cgroup2: {error}"))
}

/// Whether limits can be set in the cgroup2 tree: on a host that has them with v1, they are not there.
pub fn has_controllers_of_limits() -> bool {
    let controllers = std::fs::read_to_string(Path::new(TOP).join("cgroup.controllers")).unwrap_or_default();
    let found: Vec<_> = controllers.split_whitespace().collect();
    ["memory", "cpu", "pids"].iter().all(|controller| found.contains(controller))
}

/// The cgroups that are there now, to see afterwards whether somebody has left one.
pub fn cgroups() -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![std::path::PathBuf::from(TOP)];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let inside =
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
        open.extend(inside);
        found.push(directory);
    }
    found.sort();
    found
}
