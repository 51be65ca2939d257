//! DECIDE where a container's cgroups are and what is written into them. Pure: the machine is described by a
//! [`CgroupHost`], the decision is a [`CgroupPlan`] of directories and file writes as plain data.
//!
//! Every hierarchy that exists is joined, limited or not: engines read their statistics from its files.
//! A limit goes to the hierarchy that has its controller, be that cgroup v1 or v2, so that hybrid hosts need no
//! case of their own; how its files are called and counted differs, see [`resources_v1`] and [`resources_v2`].
//!
//! [`resources_v1`]: super::resources_v1
//! [`resources_v2`]: super::resources_v2

use std::borrow::Cow;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::{ConfigPath, device_rules, resources_v1, resources_v2};
use crate::error::Problem;

/// The cgroup hierarchies of this machine, as the calling process sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupHost {
    /// The v1 hierarchies, each with one or more controllers.
    pub v1: Vec<Hierarchy>,
    /// The v2 hierarchy, if it is mounted.
    pub v2: Option<Unified>,
}

/// A cgroup v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Such as `/sys/fs/cgroup/cpu,cpuacct`.
    pub mount_point: PathBuf,
    /// Such as `["cpu", "cpuacct"]`, or `["name=systemd"]` for one without controllers.
    pub controllers: Vec<String>,
    /// The calling process's cgroup, relative to the mount point but written with a leading `/`.
    pub own: PathBuf,
}

/// The cgroup v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unified {
    /// `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on a hybrid host.
    pub mount_point: PathBuf,
    /// The calling process's cgroup, relative to the mount point but written with a leading `/`.
    pub own: PathBuf,
    /// What `cgroup.controllers` at the mount point lists.
    pub controllers: Vec<String>,
}

/// Which versions of cgroups a machine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No cgroup file system is mounted.
    None,
    /// Version 1 alone.
    V1,
    /// Controllers in version 1, beside a version 2 hierarchy.
    Hybrid,
    /// Version 2 alone.
    V2,
}

impl CgroupHost {
    /// Which versions of cgroups this machine uses.
    pub fn mode(&self) -> Mode {
        match (self.v1.is_empty(), self.v2.is_some()) {
            (true, false) => Mode::None,
            (false, false) => Mode::V1,
            (false, true) => Mode::Hybrid,
            (true, true) => Mode::V2,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container's id; the cgroup's name where the configuration gives no path.
    pub id: &'a str,
    /// `linux.cgroupsPath`.
    pub cgroups_path: Option<&'a Path>,
    /// `linux.resources`.
    pub resources: Option<&'a LinuxResources>,
    /// The runtime has no right over the host's cgroups: what nobody asked for may be missing, and device rules
    /// are left out, because the kernel wants CAP_SYS_ADMIN of the initial user namespace for them.
    pub rootless: bool,
    /// The v2 cgroup will belong to the container's user (config-linux.md, "Cgroup ownership").
    pub delegate: bool,
}

/// What will be done: directories first, in order, then the writes, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupPlan {
    /// The container's directory in each hierarchy.
    pub directories: Vec<Directory>,
    /// The limits and device rules.
    pub writes: Vec<FileWrite>,
    /// No directory is needed: failing to create them all is tolerated.
    pub optional: bool,
    /// The v2 directory will be given to the container's user.
    pub delegate: bool,
}

/// The version of a cgroup hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// See Documentation/admin-guide/cgroup-v1 of the kernel.
    V1,
    /// See Documentation/admin-guide/cgroup-v2.rst of the kernel.
    V2,
}

/// The container's directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Absolute.
    pub path: PathBuf,
    /// Where the hierarchy is mounted; parents are created up to here.
    pub mount_point: PathBuf,
    /// The hierarchy's version.
    pub version: Version,
    /// On v1 the hierarchy's controllers; on v2 those that are enabled for this directory.
    pub controllers: Vec<String>,
    /// A v1 directory that nobody can join before it has processors and memory nodes.
    pub cpuset: bool,
    /// Failing to create or to join it for want of permission is an error. Otherwise the container does without.
    pub required: bool,
}

/// One value to write into one file of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWrite {
    /// An index into [`CgroupPlan::directories`].
    pub directory: usize,
    /// The file's name.
    pub file: Cow<'static, str>,
    /// What is written, in one write(2).
    pub value: String,
    /// The property that asks for it.
    pub at: ConfigPath,
    /// What the write is for, such as `limit memory`.
    pub step: &'static str,
    /// When it is made.
    pub when: When,
    /// The file to take, and the value for it, if `file` does not exist.
    pub instead: Option<(&'static str, String)>,
    /// Failures that change nothing for the container.
    pub tolerated: &'static [Errno],
    /// The kernel may refuse it (EINVAL) for as long as a later write is not made, because it checks the two values
    /// against each other; it is tried again after the others.
    pub retried: bool,
    /// Refuse to write (and fail) while the number in this file of the directory is larger than the value.
    pub at_least: Option<&'static str>,
}

/// When a write is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After the directories are made, or when a running container's limits change.
    Always,
    /// As `Always`, but before any process can join.
    BeforeJoining,
    /// Only in a directory that was there before: it says what a new directory starts with.
    Existing,
}

/// Decides where the cgroups of a new container are and what is written into them.
pub fn plan(request: &Request<'_>, host: &CgroupHost, problems: &mut Vec<Problem>) -> CgroupPlan {
    let Some(place) = place(request, problems) else { return CgroupPlan::default() };
    let mut directories: Vec<Directory> = host.v1.iter().map(|hierarchy| v1_directory(hierarchy, &place)).collect();
    directories.extend(host.v2.iter().map(|unified| v2_directory(unified, &place, host.mode())));
    let mut writes = request.resources.map(|limits| write_limits(limits, &directories, problems)).unwrap_or_default();
    if directories.is_empty() && !request.rootless {
        problems.push(Problem::new(CGROUPS_PATH, "no cgroup hierarchy is mounted on this machine"));
    }
    check_swap(request, problems);
    enable_controllers(&mut directories, &writes, host.mode());
    if !request.rootless {
        let rules = request.resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        allow_devices(rules, &directories, host.mode(), &mut writes, problems);
    }
    require(&mut directories, &writes, request);
    let optional = directories.iter().all(|directory| !directory.required);
    CgroupPlan { directories, writes, optional, delegate: request.delegate }
}

/// Decides what is written to change the limits of an existing container (`update`). Device rules stay as they are.
///
/// `directories` are those of the container, as [`Cgroup::directories`](crate::cgroup::Cgroup::directories) tells them.
pub fn plan_update(resources: &LinuxResources, directories: Vec<Directory>, problems: &mut Vec<Problem>) -> CgroupPlan {
    let writes = write_limits(resources, &directories, problems);
    CgroupPlan { directories, writes, optional: false, delegate: false }
}

const CGROUPS_PATH: ConfigPath = ConfigPath::new("linux.cgroupsPath");

/// A cleaned `cgroupsPath`.
struct Place {
    /// Relative to the mount points, instead of the runtime's own cgroups.
    absolute: bool,
    /// Relative, of plain names only, never empty.
    path: PathBuf,
}

/// runc's rule: an absolute path starts at each mount point, a relative one at the runtime's own cgroup, and without
/// a path the id is a relative one. An empty string counts as no path.
fn place(request: &Request<'_>, problems: &mut Vec<Problem>) -> Option<Place> {
    let given = request.cgroups_path.filter(|path| !path.as_os_str().is_empty());
    let given = given.unwrap_or(Path::new(request.id));
    let mut path = PathBuf::new();
    for component in given.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                problems.push(Problem::new(CGROUPS_PATH, "must not contain \"..\""));
                return None;
            }
        }
    }
    // The kernel refuses names with a newline: they would spoil /proc/PID/cgroup.
    if path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b'\n' | b'\0')) {
        problems.push(Problem::new(CGROUPS_PATH, "must not contain a newline or a NUL"));
        return None;
    }
    if path.as_os_str().is_empty() {
        problems.push(Problem::new(CGROUPS_PATH, "is the root of the hierarchy, which no container can have"));
        return None;
    }
    Some(Place { absolute: given.is_absolute(), path })
}

fn v1_directory(hierarchy: &Hierarchy, place: &Place) -> Directory {
    Directory {
        path: resolve(&hierarchy.mount_point, &hierarchy.own, place),
        mount_point: hierarchy.mount_point.clone(),
        version: Version::V1,
        controllers: hierarchy.controllers.clone(),
        cpuset: hierarchy.controllers.iter().any(|name| name == "cpuset"),
        required: true,
    }
}

/// On a pure v2 host a relative path starts beside the runtime's own cgroup, not in it: that one has processes, so
/// its children could have no controllers ("no internal processes", cgroups(7)).
fn v2_directory(unified: &Unified, place: &Place, mode: Mode) -> Directory {
    let start = match mode {
        Mode::V2 => unified.own.parent().unwrap_or(Path::new("/")),
        _ => &unified.own,
    };
    Directory {
        path: resolve(&unified.mount_point, start, place),
        mount_point: unified.mount_point.clone(),
        version: Version::V2,
        controllers: unified.controllers.clone(),
        cpuset: false,
        required: true,
    }
}

fn resolve(mount_point: &Path, start: &Path, place: &Place) -> PathBuf {
    let mut path = mount_point.to_owned();
    if !place.absolute {
        path.extend(start.components().filter(|component| matches!(component, Component::Normal(_))));
    }
    path.push(&place.path);
    path
}

/// Gives each kind of limit to the hierarchy that has its controller.
fn write_limits(resources: &LinuxResources, directories: &[Directory], problems: &mut Vec<Problem>) -> Vec<FileWrite> {
    let mut limits = Limits { directories, writes: Vec::new(), problems };
    if let Some(memory) = resources.memory() {
        limits.give("memory", "memory", "limit memory", memory, resources_v1::memory, resources_v2::memory);
    }
    if let Some(cpu) = resources.cpu() {
        limits.give("cpu", "cpu", "limit cpu", cpu, resources_v1::cpu, resources_v2::cpu);
        limits.give("cpuset", "cpuset", "limit cpuset", cpu, resources_v1::cpuset, resources_v2::cpuset);
    }
    if let Some(pids) = resources.pids() {
        limits.give("pids", "pids", "limit pids", pids, resources_v1::pids, resources_v1::pids);
    }
    if let Some(block_io) = resources.block_io() {
        limits.give("blkio", "io", "limit block io", block_io, resources_v1::block_io, resources_v2::block_io);
    }
    if let Some(pages) = resources.hugepage_limits() {
        limits.give("hugetlb", "hugetlb", "limit huge pages", pages, resources_v1::hugetlb, resources_v2::hugetlb);
    }
    if let Some(network) = resources.network() {
        limits.give("net_cls", "net_cls", "tag network packets", network, resources_v1::net_cls, resources_v1::net_cls);
        limits.give(
            "net_prio",
            "net_prio",
            "set network priorities",
            network,
            resources_v1::net_prio,
            resources_v1::net_prio,
        );
    }
    if let Some(rdma) = resources.rdma() {
        limits.give("rdma", "rdma", "limit rdma", rdma, resources_v1::rdma, resources_v1::rdma);
    }
    if let Some(unified) = resources.unified() {
        resources_v2::unified(unified, &mut limits);
    }
    limits.writes
}

/// Collects the writes of all controllers.
pub(super) struct Limits<'a> {
    pub(super) directories: &'a [Directory],
    pub(super) writes: Vec<FileWrite>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Limits<'_> {
    /// Turns one section of the resources into writes, as v1 or v2, wherever the controller is.
    /// A section that asks for nothing needs no controller: engines send sections full of zeros.
    fn give<T>(
        &mut self,
        v1: &str,
        v2: &str,
        step: &'static str,
        section: &T,
        as_v1: fn(&T, &mut Writes<'_>),
        as_v2: fn(&T, &mut Writes<'_>),
    ) {
        let found = self.find(Version::V1, v1).map(|directory| (directory, as_v1));
        let found = found.or_else(|| self.find(Version::V2, v2).map(|directory| (directory, as_v2)));
        if let Some((directory, convert)) = found {
            return convert(section, &mut Writes { directory, step, out: &mut self.writes, problems: self.problems });
        }
        let mut wanted = Vec::new();
        as_v1(section, &mut Writes { directory: 0, step, out: &mut wanted, problems: self.problems });
        if let Some(write) = wanted.first() {
            self.problems
                .push(Problem::new(write.at, format!("needs the cgroup controller {v1}, which is missing here")));
        }
    }

    /// The directory that has a controller.
    pub(super) fn find(&self, version: Version, controller: &str) -> Option<usize> {
        let has = |directory: &Directory| directory.controllers.iter().any(|name| name == controller);
        self.directories.iter().position(|directory| directory.version == version && has(directory))
    }
}

/// Collects the writes of one controller.
pub(super) struct Writes<'a> {
    pub(super) directory: usize,
    pub(super) step: &'static str,
    pub(super) out: &'a mut Vec<FileWrite>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Writes<'_> {
    /// Adds a write that must succeed; the caller loosens what it returns.
    pub(super) fn write(
        &mut self,
        file: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        at: ConfigPath,
    ) -> &mut FileWrite {
        let write = FileWrite {
            directory: self.directory,
            file: file.into(),
            value: value.to_string(),
            at,
            step: self.step,
            when: When::Always,
            instead: None,
            tolerated: &[],
            retried: false,
            at_least: None,
        };
        let index = self.out.len();
        self.out.push(write);
        &mut self.out[index]
    }

    /// Reports a property that cannot be carried out.
    pub(super) fn problem(&mut self, at: ConfigPath, message: impl Into<String>) {
        self.problems.push(Problem::new(at, message));
    }
}

impl FileWrite {
    /// Makes the write only where it changes something: a new directory starts with this value.
    pub(super) fn unless_new(&mut self, is_default: bool) -> &mut Self {
        if is_default {
            self.when = When::Existing;
        }
        self
    }
}

/// On a hybrid host the v2 tree gets only the controllers that a limit needs, because enabling them there changes
/// the host's own cgroups; a pure v2 host gets all, as engines expect for their statistics.
fn enable_controllers(directories: &mut [Directory], writes: &[FileWrite], mode: Mode) {
    if mode != Mode::Hybrid {
        return;
    }
    for (index, directory) in directories.iter_mut().enumerate().filter(|(_, d)| d.version == Version::V2) {
        directory.controllers.retain(|controller| {
            let is_of = |file: &str| file.split('.').next() == Some(controller.as_str());
            writes.iter().any(|write| write.directory == index && is_of(&write.file))
        });
    }
}

/// Every cgroup starts with unlimited memory, which no limit of memory and swap together may be below. (`update` may
/// change it alone, because a limit of memory may be set already.)
fn check_swap(request: &Request<'_>, problems: &mut Vec<Problem>) {
    let Some(memory) = request.resources.and_then(|resources| resources.memory().as_ref()) else { return };
    let unlimited = memory.limit().unwrap_or_default() <= 0;
    let at = resources_v1::MEMORY.field("swap");
    if unlimited && memory.swap().unwrap_or_default() > 0 && !problems.iter().any(|known| known.at == at.to_string()) {
        problems.push(Problem::new(at, "limits memory and swap together, so it needs memory.limit"));
    }
}

/// Adds the device rules. Without the v1 controller they are a matter of an eBPF program on v2.
fn allow_devices(
    rules: &[oci_spec::runtime::LinuxDeviceCgroup],
    directories: &[Directory],
    mode: Mode,
    writes: &mut Vec<FileWrite>,
    problems: &mut Vec<Problem>,
) {
    let controllers = |directory: &Directory| directory.controllers.iter().any(|name| name == "devices");
    let Some(directory) = directories.iter().position(controllers) else {
        // Without it every container with CAP_MKNOD could write to the host's disks.
        if matches!(mode, Mode::V1 | Mode::Hybrid) {
            let message = "needs the cgroup controller devices, which is missing here";
            problems.push(Problem::new(device_rules::DEVICES, message));
        }
        return;
    };
    let policy = device_rules::decide(rules, problems);
    resources_v1::devices(&policy, &mut Writes { directory, step: "allow devices", out: writes, problems });
}

/// What carries no limit may fail for want of permission where that is usual: everywhere for a rootless runtime that
/// was given no path, and in the hierarchies without controllers (name=systemd, v2 on a hybrid host) for everyone.
fn require(directories: &mut [Directory], writes: &[FileWrite], request: &Request<'_>) {
    let unasked = request.rootless && request.cgroups_path.is_none_or(|path| path.as_os_str().is_empty());
    for (index, directory) in directories.iter_mut().enumerate() {
        let bare = directory.controllers.iter().all(|name| name.starts_with("name="));
        let limited = writes.iter().any(|write| write.directory == index);
        directory.required = limited || !(unasked || bare);
    }
}

impl fmt::Display for FileWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <- {:?}", self.file, self.value)
    }
}
