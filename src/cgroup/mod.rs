//! A container's cgroups: made, limited, joined, frozen, killed and removed as the plan says. Runs in the host process;
//! only [`Entrance::join`] runs in the container process, while that has one thread.
//!
//! ```text
//! probe.rs      what this machine offers         -> plan::cgroup::CgroupHost
//! cgroupfs.rs   makes the directories and removes them
//! systemd.rs    has systemd do so, as a unit of which the container's init is the first process
//! limits.rs     writes the files of a plan
//! devices.rs    device rules: an eBPF program on v2, changes of the list on v1
//! update.rs     the same for a container in use, which can be taken back
//! processes.rs  who is inside: list, freeze, kill
//! stats.rs      what is used; stats_v1.rs and stats_v2.rs read the files
//! oom.rs        tells when memory runs out
//! ```

mod cgroupfs;
mod devices;
mod files;
mod limits;
mod oom;
mod probe;
mod processes;
mod stats;
mod stats_v1;
mod stats_v2;
pub mod systemd;
mod update;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

pub use self::oom::OomWatch;
pub use self::probe::probe;
pub use self::stats::Stats;
use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::cgroup::{CgroupHost, CgroupPlan, Directory, Driver, Version};
use crate::plan::systemd::UnitName;
use crate::sys::Fd;
use crate::sys::descriptors::Spent;

/// The cgroups of one container, one directory in each hierarchy.
#[derive(Debug, Default)]
pub struct Cgroup {
    /// In the order of the plan's directories; absent ones keep their place.
    members: Vec<Member>,
    /// Directories above the container's that were made for it, outermost first.
    parents: Vec<PathBuf>,
    /// The systemd unit, where systemd makes the cgroup.
    unit: Option<UnitName>,
    /// The unit of a create that was killed; whose it is nobody knows.
    claimed_unit: Option<UnitName>,
    /// systemd may know the unit as the container's: it was asked to start it.
    is_started: bool,
}

#[derive(Debug)]
struct Member {
    path: PathBuf,
    version: Version,
    controllers: Vec<String>,
    presence: Presence,
    /// See [`Directory::required_by`].
    required: bool,
    /// It was there before the container, and is left when that goes.
    stays: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It was made for this container.
    New,
    /// It was there before, or comes from a record.
    Existing,
    /// It could not be made, and the container does without.
    Absent,
    /// systemd will make it, once there is an init.
    Awaited,
}

impl Presence {
    fn is_there(self) -> bool {
        matches!(self, Presence::New | Presence::Existing)
    }
}

/// Where a container's cgroups are, for its record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPaths {
    /// From controller to absolute path, as runc records them: `name=systemd` for the hierarchy of that name, and the
    /// empty name for cgroup v2. Who is in there is the container's. Empty as long as that is not certain.
    pub controllers: BTreeMap<String, PathBuf>,
    /// Directories above these that were made for the container, outermost first; removed with it if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<PathBuf>,
    /// Of the controllers' directories, those that were there before: "resources associated with the container, but not
    /// created by this container, MUST NOT be deleted" (runtime.md, Delete).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub existing: Vec<PathBuf>,
    /// The systemd unit that the cgroup is of, once it is; with it systemd removes what it has made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
    /// The unit that systemd is going to be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_unit: Option<UnitName>,
}

impl CgroupPaths {
    /// What will be made for a plan, for the record that is written before: the directories that are missing now. That is
    /// a claim and no more, as somebody else may be faster, and a create that is killed before it has found out leaves it so.
    /// What is only claimed is removed if nobody uses it, a unit as well; nobody in it is killed.
    pub fn planned(plan: &CgroupPlan) -> CgroupPaths {
        let mut paths = CgroupPaths { claimed_unit: unit_name(plan), ..CgroupPaths::default() };
        for directory in plan.directories.iter().filter(|directory| !plan.is_made_by_systemd(directory)) {
            let missing = directory.path.ancestors().take_while(|path| {
                *path != directory.mount_point && !path.exists() // what is mounted there is there
            });
            let missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
            paths.parents.extend(missing.into_iter().rev());
        }
        paths
    }
}

fn unit_name(plan: &CgroupPlan) -> Option<UnitName> {
    match &plan.driver {
        Driver::Systemd(unit) => Some(unit.id.clone()),
        Driver::Cgroupfs | Driver::Nobody => None,
    }
}

impl Cgroup {
    /// The cgroups of an existing container, from its record. Nothing is opened yet, and a directory that is gone is
    /// noticed only by what needs it.
    pub fn open(paths: &CgroupPaths) -> Cgroup {
        let mut members: Vec<Member> = Vec::new();
        for (controller, path) in &paths.controllers {
            if let Some(member) = members.iter_mut().find(|member| member.path == *path) {
                member.controllers.push(controller.clone());
                continue;
            }
            let (version, controllers) = match controller.as_str() {
                "" => (Version::V2, Vec::new()),
                name => (Version::V1, vec![name.to_owned()]),
            };
            members.push(Member {
                path: path.clone(),
                version,
                controllers,
                presence: Presence::Existing,
                required: true,
                stays: paths.existing.contains(path),
            });
        }
        Cgroup {
            members,
            parents: paths.parents.clone(),
            unit: paths.unit.clone(),
            claimed_unit: paths.claimed_unit.clone(),
            is_started: true,
        }
    }

    /// What a record stores.
    pub fn paths(&self) -> CgroupPaths {
        let mut controllers = BTreeMap::new();
        for member in self.present() {
            match member.version {
                Version::V1 => {
                    controllers.extend(member.controllers.iter().map(|name| (name.clone(), member.path.clone())));
                }
                Version::V2 => {
                    controllers.insert(String::new(), member.path.clone());
                }
            }
        }
        let existing = self.present().filter(|member| member.stays).map(|member| member.path.clone()).collect();
        let (unit, claimed_unit) = match self.is_started {
            true => (self.unit.clone(), None),
            false => (None, self.unit.clone()),
        };
        CgroupPaths { controllers, parents: self.parents.clone(), existing, unit, claimed_unit }
    }

    /// Takes away the unit, if systemd has one, then the directories that are left. What is gone already is fine.
    pub fn remove(&self) -> Result<()> {
        let directory = self.v2().map(|member| member.path.as_path());
        let unit = self.unit.as_ref().filter(|_| self.is_started);
        let stopped = unit.map_or(Ok(()), |unit| systemd::stop(unit, directory));
        let cleared = self.claimed_unit.as_ref().map_or(Ok(()), systemd::clear);
        self.remove_directories().and(stopped).and(cleared)
    }

    /// The directories as [`plan_update`](crate::plan::cgroup::plan_update) wants them. Reads which controllers are
    /// enabled on v2.
    pub fn directories(&self) -> Result<Vec<Directory>> {
        let describe = |member: &Member| {
            let controllers = match member.version {
                Version::V1 => member.controllers.clone(),
                Version::V2 => files::read(&member.path.join("cgroup.controllers"))?
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
            };
            let cpuset = member.version == Version::V1 && controllers.iter().any(|name| name == "cpuset");
            Ok(Directory {
                path: member.path.clone(),
                mount_point: PathBuf::new(),
                version: member.version,
                controllers,
                common_parent: None,
                cpuset,
                required_by: None,
            })
        };
        self.members.iter().map(describe).collect()
    }

    /// A cgroup below in the hierarchies of some controllers, in every one if none is named: what
    /// `exec --cgroup [CONTROLLER,…:]PATH` asks for. A path that leads out is an error.
    pub fn below(mut self, controllers: &[&str], path: &Path) -> Result<Cgroup> {
        use std::path::Component;
        let inner: PathBuf = path.components().filter(|c| matches!(c, Component::Normal(_))).collect();
        if path.components().any(|component| component == Component::ParentDir) {
            return Err(Error::new(format!("bad sub cgroup path: {}", path.display())));
        }
        let has = |member: &Member, name: &str| member.controllers.iter().any(|known| known == name);
        if let Some(name) = controllers.iter().find(|name| !self.members.iter().any(|member| has(member, name))) {
            return Err(Error::new(format!("unknown controller {name}")));
        }
        let meant = |member: &&mut Member| controllers.is_empty() || controllers.iter().any(|name| has(member, name));
        self.members.iter_mut().filter(meant).for_each(|member| member.path.push(&inner));
        Ok(self)
    }

    /// The same cgroups, but on v2 the one that a process of the container is in. Once the container has enabled
    /// controllers for its children, its own cgroup takes no process (EBUSY), and `exec` follows the init process. Where
    /// that one has left for another cgroup of the host's, its own may be gone.
    pub fn follow_v2(mut self, pid: i32, host: &CgroupHost) -> Result<Cgroup> {
        let text = files::read(Path::new(&format!("/proc/{pid}/cgroup"))).step(|| "find the container's cgroup")?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        for member in self.members.iter_mut().filter(|member| member.version == Version::V2) {
            let found = path.zip(host.v2.as_ref()).map(|(path, unified)| unified.mount_point.join(path));
            if let Some(found) = found.filter(|found| found.starts_with(&member.path) || !member.path.exists()) {
                member.path = found;
            }
        }
        Ok(self)
    }

    /// Opens the way in, for the process that will join.
    pub fn entrance(&self) -> Result<Entrance> {
        let mut entrance = Entrance { v1: Vec::new(), v2: None };
        for member in self.present() {
            let (path, flags) = match member.version {
                Version::V1 => (member.path.join("tasks"), OFlags::WRONLY),
                // clone3 takes no O_PATH descriptor.
                Version::V2 => (member.path.clone(), OFlags::RDONLY | OFlags::DIRECTORY),
            };
            match call!("open"(path.display()) => rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty())) {
                Ok(file) if member.version == Version::V1 => entrance.v1.push(file),
                Ok(directory) => entrance.v2 = Some(directory),
                Err(error) if !member.required && files::is_permission(&error) => {}
                Err(error) => return Err(error.step("open the cgroup")),
            }
        }
        Ok(entrance)
    }

    /// Whether the kernel has killed a process of it for want of memory.
    pub fn had_oom_kill(&self) -> bool {
        let counts = |path: PathBuf, name: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            values.any(|count| count > 0)
        };
        self.v1("memory").is_some_and(|member| counts(member.path.join("memory.oom_control"), "oom_kill "))
            || self.v2().is_some_and(|member| counts(member.path.join("memory.events"), "oom_kill "))
    }

    fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.presence.is_there())
    }

    /// An error if the container is in no cgroup of its own, and stayed in its creator's.
    pub fn must_exist(&self) -> Result<()> {
        match self.present().next() {
            Some(_) => Ok(()),
            None => Err(Error::new("the container has no cgroup of its own").hint(crate::hints::DELEGATE)),
        }
    }

    /// The directory of a v1 controller.
    fn v1(&self, controller: &str) -> Option<&Member> {
        let has = |member: &&Member| member.controllers.iter().any(|name| name == controller);
        self.present().filter(|member| member.version == Version::V1).find(has)
    }

    fn v2(&self) -> Option<&Member> {
        self.present().find(|member| member.version == Version::V2)
    }
}

/// The way into a container's cgroups: opened by the runtime before the clone, inherited by the new process, so that
/// neither needs a path or a right afterwards.
#[derive(Debug, Default)]
pub struct Entrance {
    v1: Vec<OwnedFd>,
    v2: Option<OwnedFd>,
}

impl Drop for Entrance {
    /// One file a hierarchy, opened in a row.
    fn drop(&mut self) {
        drop(self.v1.drain(..).collect::<Spent>());
    }
}

impl Entrance {
    /// The descriptors' numbers.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> {
        self.v1.iter().chain(&self.v2).map(AsRawFd::as_raw_fd)
    }

    /// The descriptors, for who does not go in.
    pub fn into_fds(mut self) -> impl Iterator<Item = OwnedFd> {
        let v2 = self.v2.take();
        std::mem::take(&mut self.v1).into_iter().chain(v2)
    }

    /// The v2 directory, for clone3(2) with CLONE_INTO_CGROUP.
    pub fn v2_directory(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(OwnedFd::as_fd)
    }

    /// Leaves the v2 cgroup to somebody who has the right to move the process there.
    pub fn leave_v2_to_others(&mut self) {
        self.v2 = None;
    }

    /// Moves the calling process into the v1 cgroups. It must have one thread: `tasks` moves one, and in return spares
    /// the kernel the grace period of about 10 ms that moving a whole process through `cgroup.procs` waits for.
    pub fn join(&self) -> Result<()> {
        for tasks in &self.v1 {
            call!("write"(Fd(tasks), "\"0\"") => rustix::io::write(tasks, b"0"))
                .map_err(explain_join)
                .step(|| "join the cgroup")?;
        }
        Ok(())
    }

    /// Moves the calling process into the v2 cgroup, where CLONE_INTO_CGROUP is not to be had (before Linux 5.7). The
    /// right to is checked when the file is opened, so not from inside a new user namespace: see [`admit_v2`].
    ///
    /// [`admit_v2`]: Entrance::admit_v2
    pub fn join_v2(&self) -> Result<()> {
        self.write_v2_procs("0")
    }

    /// Moves another process, all its threads, into the v2 cgroup.
    pub fn admit_v2(&self, pid: Pid) -> Result<()> {
        self.write_v2_procs(&pid.as_raw_nonzero().to_string())
    }

    fn write_v2_procs(&self, pid: &str) -> Result<()> {
        let Some(directory) = &self.v2 else { return Ok(()) };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = call!("openat"(Fd(directory), "cgroup.procs") => rustix::fs::openat(directory, "cgroup.procs", flags, Mode::empty()))
            .step(|| "join the cgroup")?;
        call!("write"(Fd(&procs), pid) => rustix::io::write(&procs, pid.as_bytes()))
            .map_err(explain_join)
            .step(|| "join the cgroup")?;
        Ok(())
    }
}

fn explain_join(error: Error) -> Error {
    let hint = match error.errno() {
        Some(Errno::NOSPC) => "the cpuset has no processors or memory nodes",
        Some(Errno::INVAL) => {
            "a process with a realtime policy needs realtime bandwidth in the cgroup (cpu.realtimeRuntime)"
        }
        Some(Errno::BUSY) => "the cgroup has controllers enabled for its children, so it takes no process itself",
        Some(Errno::OPNOTSUPP) => "the cgroup is threaded; a process can only join a domain",
        Some(Errno::ACCESS | Errno::PERM) => "the cgroup is not delegated to this user",
        _ => return error,
    };
    error.hint(hint)
}
