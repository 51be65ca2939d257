//! DECIDE where a container's cgroups are and what is written into them. Pure: the machine is described by a
//! [`CgroupHost`], the decision is a [`CgroupPlan`] of directories and file writes as plain data.
//!
//! Every hierarchy that exists is joined, limited or not: engines read their statistics from its files.
//! A limit goes to the hierarchy that has its controller, be that cgroup v1 or v2, so that hybrid hosts need no
//! case of their own; how its files are called and counted differs, see `resources_v1.rs` and
//! `resources_v2.rs`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use rustix::io::Errno;

use super::device_list::DeviceList;
use super::resources::{Writes, write_limits};
use super::systemd::{self, Bus, Unit};
use super::{ConfigPath, device_program, device_rules, resources_v1, unit_properties};
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

/// Who is asked to make the cgroup: `--cgroup-manager`, `--systemd-cgroup`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manager {
    /// We make its directories.
    #[default]
    Cgroupfs,
    /// systemd makes it, as that of a unit.
    Systemd(Bus),
    /// Nobody: the container stays in the cgroup of its runtime.
    Disabled,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container's id; the cgroup's name where the configuration gives no path.
    pub id: &'a str,
    /// Who makes the cgroup.
    pub manager: Manager,
    /// `linux.cgroupsPath`.
    pub cgroups_path: Option<&'a Path>,
    /// `annotations`, some of which are properties of a systemd unit.
    pub annotations: Option<&'a HashMap<String, String>>,
    /// `linux.resources`.
    pub resources: Option<&'a LinuxResources>,
    /// The runtime has no right over the host's cgroups: what nobody asked for may be missing, and device rules
    /// are left out, because the kernel wants CAP_SYS_ADMIN of the initial user namespace for them.
    pub rootless: bool,
    /// The user of the host who will own the v2 cgroup, if not the caller (config-linux.md, "Cgroup ownership").
    pub owner: Option<u32>,
}

/// What will be done: directories first, in order, then the writes, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CgroupPlan {
    /// Who makes the directories.
    pub driver: Driver,
    /// The container's directory in each hierarchy.
    pub directories: Vec<Directory>,
    /// The limits, and the device rules of a new container on v1.
    pub writes: Vec<FileWrite>,
    /// The device rules where they are more than writes. They come last.
    pub devices: Option<DeviceControl>,
    /// No directory is needed: failing to create them all is tolerated.
    pub optional: bool,
    /// The user of the host whom the v2 directory will be given to.
    pub owner: Option<u32>,
}

/// How device rules are put into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceControl {
    /// On v2: an eBPF program is attached to the directory, in place of an earlier one of ours.
    Program {
        /// An index into [`CgroupPlan::directories`].
        directory: usize,
        /// The program.
        program: Vec<device_program::Instruction>,
    },
    /// On v1, when they change: what is written depends on what is there, see
    /// [`device_list::change`](super::device_list::change).
    List {
        /// An index into [`CgroupPlan::directories`].
        directory: usize,
        /// What is allowed afterwards.
        wanted: DeviceList,
    },
}

/// Who makes the container's directories.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Driver {
    /// The runtime, before it clones init.
    #[default]
    Cgroupfs,
    /// systemd, around the init that is there already; the runtime makes those of the v1 controllers.
    Systemd(Box<Unit>),
    /// Nobody: there are none.
    Nobody,
}

impl CgroupPlan {
    /// Whether a directory is there only once systemd has started the unit. On v1 it has a hierarchy of its own, and in
    /// those of the controllers it uses what is there.
    pub fn is_made_by_systemd(&self, directory: &Directory) -> bool {
        let is_its_own = directory.version == Version::V2 || directory.has("name=systemd");
        is_its_own && matches!(self.driver, Driver::Systemd(_))
    }
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
    /// Without privileges, on v2: the nearest directory above both the caller's cgroup and this one. Only who may write
    /// its `cgroup.procs` may move a process from the one to the other (cgroups(7), delegation containment).
    pub common_parent: Option<PathBuf>,
    /// The property for whose sake failing to create or to join it for want of permission is an error. Without one the
    /// container does without.
    pub required_by: Option<ConfigPath>,
}

impl Directory {
    /// Whether it has this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
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
    /// What is read first. A new directory needs no reading: it holds what the kernel starts with.
    pub before: Before,
}

/// What is read before a value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// Nothing is written, and the update fails, unless the number in this file is below all these named limits.
    UsageBelow(&'static str, Vec<(&'static str, u64)>),
    /// The first word of the file's present content takes the place of the value's first word.
    FirstWord,
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
    let Some((mut driver, place)) = driver(request, host, problems) else { return CgroupPlan::default() };
    let Some(place) = place else { return without_cgroup(request, problems) };
    let mut directories: Vec<Directory> = host.v1.iter().map(|hierarchy| v1_directory(hierarchy, &place)).collect();
    // systemd may move a process anywhere below its own.
    let moves_itself = request.rootless && driver == Driver::Cgroupfs;
    directories.extend(host.v2.iter().map(|unified| v2_directory(unified, &place, host.mode(), moves_itself)));
    let mut writes = request.resources.map(|limits| write_limits(limits, &directories, problems)).unwrap_or_default();
    if let Driver::Systemd(unit) = &mut driver {
        unit.add(unit_properties::of_limits(&writes));
    }
    if directories.is_empty() && !request.rootless {
        problems.push(Problem::new(CGROUPS_PATH, "no cgroup hierarchy is mounted on this machine"));
    }
    check_swap(request, &directories, problems);
    // A user's systemd enables what it has been given; the rest is not to be had.
    if host.mode() == Mode::Hybrid || request.manager == Manager::Systemd(Bus::User) {
        enable_no_more_than_needed(&mut directories, &writes);
    }
    let rules = request.resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let devices = match request.rootless {
        true => None,
        false => match control_devices(rules, &directories, problems) {
            Some(DeviceControl::List { directory, wanted }) => {
                let step = device_rules::STEP;
                wanted.write(&mut Writes { directory, step, out: &mut writes, problems });
                if let Driver::Systemd(unit) = &mut driver {
                    unit.add(unit_properties::of_devices(&wanted));
                }
                None
            }
            control => control,
        },
    };
    require(&mut directories, &writes, devices.as_ref(), request, host.mode());
    let optional = directories.iter().all(|directory| directory.required_by.is_none());
    CgroupPlan { driver, directories, writes, devices, optional, owner: request.owner }
}

/// Who makes the cgroup, and where; nowhere if it is nobody. None after a problem.
fn driver(request: &Request<'_>, host: &CgroupHost, problems: &mut Vec<Problem>) -> Option<(Driver, Option<Place>)> {
    match request.manager {
        Manager::Cgroupfs => place(request, problems).map(|place| (Driver::Cgroupfs, Some(place))),
        Manager::Systemd(bus) => systemd::plan(request, bus, host, problems)
            .map(|(unit, path)| (Driver::Systemd(Box::new(unit)), Some(Place { absolute: true, path }))),
        Manager::Disabled => Some((Driver::Nobody, None)),
    }
}

/// Without a cgroup every limit is a problem; rules for devices are given by every engine, asked or not.
fn without_cgroup(request: &Request<'_>, problems: &mut Vec<Problem>) -> CgroupPlan {
    if let Some(limits) = request.resources {
        write_limits(limits, &[], problems);
    }
    CgroupPlan { driver: Driver::Nobody, optional: true, ..CgroupPlan::default() }
}

/// Decides what is done to change the limits of an existing container (`update`), and its device rules, if the
/// resources have any: they replace all of its own. `rootless` is as in a [`Request`].
///
/// `directories` are those of the container, as [`Cgroup::directories`](crate::cgroup::Cgroup::directories) tells them.
pub fn plan_update(
    resources: &LinuxResources,
    directories: Vec<Directory>,
    rootless: bool,
    problems: &mut Vec<Problem>,
) -> CgroupPlan {
    let writes = write_limits(resources, &directories, problems);
    let rules = resources.devices().as_deref().unwrap_or_default();
    let devices = match rootless || rules.is_empty() {
        true => None,
        false => control_devices(rules, &directories, problems),
    };
    CgroupPlan { directories, writes, devices, ..CgroupPlan::default() }
}

pub(super) const CGROUPS_PATH: ConfigPath = ConfigPath::new("linux.cgroupsPath");

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
        common_parent: None,
        required_by: None,
    }
}

/// On a pure v2 host a relative path starts beside the runtime's own cgroup, not in it: that one has processes, so
/// its children could have no controllers ("no internal processes", cgroups(7)).
fn v2_directory(unified: &Unified, place: &Place, mode: Mode, without_privileges: bool) -> Directory {
    let start = match mode {
        Mode::V2 => unified.own.parent().unwrap_or(Path::new("/")),
        _ => &unified.own,
    };
    let path = resolve(&unified.mount_point, start, place);
    let own = unified.mount_point.join(unified.own.strip_prefix("/").unwrap_or(&unified.own));
    let common_parent = path.ancestors().find(|parent| own.starts_with(parent)).filter(|_| without_privileges);
    Directory {
        common_parent: common_parent.map(Path::to_path_buf),
        path,
        mount_point: unified.mount_point.clone(),
        version: Version::V2,
        controllers: unified.controllers.clone(),
        cpuset: false,
        required_by: None,
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

/// On a hybrid host the v2 tree gets only the controllers that a limit needs, because enabling them there changes
/// the host's own cgroups; a pure v2 host gets all, as engines expect for their statistics.
fn enable_no_more_than_needed(directories: &mut [Directory], writes: &[FileWrite]) {
    for (index, directory) in directories.iter_mut().enumerate().filter(|(_, d)| d.version == Version::V2) {
        directory.controllers.retain(|controller| {
            let is_of = |file: &str| file.split('.').next() == Some(controller.as_str());
            writes.iter().any(|write| write.directory == index && is_of(&write.file))
        });
    }
}

/// A v1 cgroup starts with unlimited memory, which no limit of memory and swap together may be below. (`update` may
/// change it alone, because a limit of memory may be set already.)
fn check_swap(request: &Request<'_>, directories: &[Directory], problems: &mut Vec<Problem>) {
    let Some(memory) = request.resources.and_then(|resources| resources.memory().as_ref()) else { return };
    let on_v1 = directories.iter().any(|directory| directory.version == Version::V1 && directory.has("memory"));
    if on_v1 && memory.limit().unwrap_or_default() <= 0 && memory.swap().unwrap_or_default() > 0 {
        let message = "is the limit of memory and swap together, so it needs memory.limit";
        problems.push(Problem::new(resources_v1::MEMORY.field("swap"), message));
    }
}

/// Decides which hierarchy enforces the device rules, and how. Without one of them every container with CAP_MKNOD
/// could write to the host's disks.
fn control_devices(
    rules: &[LinuxDeviceCgroup],
    directories: &[Directory],
    problems: &mut Vec<Problem>,
) -> Option<DeviceControl> {
    let policy = device_rules::decide(rules, problems);
    let v2 = |directory: &Directory| directory.version == Version::V2;
    if let Some(directory) = directories.iter().position(|directory| !v2(directory) && directory.has("devices")) {
        return Some(DeviceControl::List { directory, wanted: DeviceList::of(&policy, problems) });
    }
    if let Some(directory) = directories.iter().position(v2) {
        return Some(DeviceControl::Program { directory, program: device_program::compile(&policy, problems) });
    }
    if !directories.is_empty() {
        let message = "needs the cgroup controller devices, or cgroup v2; both are missing here";
        problems.push(Problem::new(device_rules::DEVICES, message));
    }
    None
}

/// What carries no limit may fail for want of permission where that is usual: everywhere for a rootless runtime that
/// was given no path, and in the hierarchies without controllers (name=systemd, v2 on a hybrid host) for everyone.
fn require(
    directories: &mut [Directory],
    writes: &[FileWrite],
    devices: Option<&DeviceControl>,
    request: &Request<'_>,
    mode: Mode,
) {
    let unasked = request.rootless && request.cgroups_path.is_none_or(|path| path.as_os_str().is_empty());
    for (index, directory) in directories.iter_mut().enumerate() {
        let bare = mode != Mode::V2 && directory.controllers.iter().all(|name| name.starts_with("name="));
        let limit = || writes.iter().find(|write| write.directory == index).map(|write| write.at);
        let is_controlled = matches!(devices, Some(DeviceControl::Program { directory, .. }) if *directory == index);
        directory.required_by = match unasked || bare {
            false => Some(CGROUPS_PATH),
            true => limit().or(is_controlled.then_some(device_rules::DEVICES)),
        };
    }
}

impl fmt::Display for FileWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <- {:?}", self.file, self.value)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The hybrid host of the tests: two v1 controllers mounted together, one place per hierarchy.
    pub(crate) fn hybrid() -> CgroupHost {
        let v1 = |name: &str, own: &str| Hierarchy {
            mount_point: Path::new("/sys/fs/cgroup").join(name.trim_start_matches("name=")),
            controllers: name.split(',').map(str::to_owned).collect(),
            own: PathBuf::from(own),
        };
        CgroupHost {
            v1: vec![
                v1("cpu,cpuacct", "/"),
                v1("cpuset", "/"),
                v1("memory", "/box"),
                v1("pids", "/"),
                v1("blkio", "/"),
                v1("devices", "/"),
                v1("freezer", "/"),
                v1("name=systemd", "/"),
            ],
            v2: Some(Unified {
                mount_point: "/sys/fs/cgroup/unified".into(),
                own: "/".into(),
                controllers: vec!["hugetlb".into(), "misc".into()],
            }),
        }
    }

    /// A host with version 2 alone.
    pub(crate) fn unified() -> CgroupHost {
        let controllers = "cpuset cpu io memory hugetlb pids rdma".split(' ').map(str::to_owned).collect();
        let own = "/user.slice/session.scope".into();
        CgroupHost { v1: Vec::new(), v2: Some(Unified { mount_point: "/sys/fs/cgroup".into(), own, controllers }) }
    }

    pub(crate) fn planned(
        host: &CgroupHost,
        path: Option<&str>,
        resources: &str,
        rootless: bool,
    ) -> (CgroupPlan, Vec<String>) {
        let resources: LinuxResources = serde_json::from_str(resources).expect("resources");
        let cgroups_path = path.map(Path::new);
        let request = Request {
            id: "web",
            manager: Manager::Cgroupfs,
            cgroups_path,
            annotations: None,
            resources: Some(&resources),
            rootless,
            owner: None,
        };
        let mut problems = Vec::new();
        let plan = plan(&request, host, &mut problems);
        (plan, problems.iter().map(|problem| format!("{}: {}", problem.at, problem.message)).collect())
    }

    #[test]
    fn a_rootless_runtime_needs_the_nearest_common_parent() {
        let parent = |path, rootless| {
            let (plan, _) = planned(&unified(), path, "{}", rootless);
            plan.directories[0].common_parent.clone()
        };
        assert_eq!(parent(None, true), Some("/sys/fs/cgroup/user.slice".into()));
        assert_eq!(parent(Some("/other/web"), true), Some("/sys/fs/cgroup".into()));
        assert_eq!(
            parent(Some("/user.slice/session.scope/web"), true),
            Some("/sys/fs/cgroup/user.slice/session.scope".into())
        );
        assert_eq!(parent(None, false), None);
    }

    fn places(host: &CgroupHost, path: Option<&str>) -> Vec<String> {
        let (plan, problems) = planned(host, path, "{}", false);
        assert_eq!(problems, Vec::<String>::new());
        plan.directories.iter().map(|directory| directory.path.display().to_string()).collect()
    }

    #[test]
    fn a_mode_follows_from_what_is_mounted() {
        assert_eq!(hybrid().mode(), Mode::Hybrid);
        assert_eq!(CgroupHost { v2: None, ..hybrid() }.mode(), Mode::V1);
        assert_eq!(unified().mode(), Mode::V2);
        assert_eq!(CgroupHost::default().mode(), Mode::None);
    }

    #[test]
    fn an_absolute_path_starts_at_the_mount_points_and_a_relative_one_at_our_own_cgroups() {
        let absolute = places(&hybrid(), Some("/pod//./web/"));
        assert_eq!(absolute[0], "/sys/fs/cgroup/cpu,cpuacct/pod/web");
        assert_eq!(absolute[2], "/sys/fs/cgroup/memory/pod/web");
        assert_eq!(absolute[7..], ["/sys/fs/cgroup/systemd/pod/web", "/sys/fs/cgroup/unified/pod/web"]);
        let relative = places(&hybrid(), Some("pod/web"));
        assert_eq!(relative[2..4], ["/sys/fs/cgroup/memory/box/pod/web", "/sys/fs/cgroup/pids/pod/web"]);
        for none in [None, Some("")] {
            assert_eq!(places(&hybrid(), none)[2], "/sys/fs/cgroup/memory/box/web");
        }
    }

    #[test]
    fn on_v2_alone_a_relative_path_starts_beside_our_own_cgroup() {
        assert_eq!(places(&unified(), None), ["/sys/fs/cgroup/user.slice/web"]);
        assert_eq!(places(&unified(), Some("/web")), ["/sys/fs/cgroup/web"]);
    }

    #[test]
    fn a_path_cannot_lead_out() {
        for path in ["../x", "/a/../../x", "a/..", "/", ".", "a\nb"] {
            let (plan, problems) = planned(&hybrid(), Some(path), "{}", false);
            assert_eq!((plan.directories.len(), problems.len()), (0, 1), "{path:?}");
            assert!(problems[0].starts_with("linux.cgroupsPath: "), "{problems:?}");
        }
    }

    #[test]
    fn v2_controllers_are_enabled_where_the_host_is_not_touched_without_need() {
        let controllers = |host: &CgroupHost, resources| {
            let (plan, _) = planned(host, None, resources, false);
            plan.directories.last().map(|directory| directory.controllers.join(" ")).unwrap_or_default()
        };
        let huge = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}"#;
        assert_eq!(controllers(&hybrid(), "{}"), "");
        assert_eq!(controllers(&hybrid(), huge), "hugetlb");
        assert_eq!(controllers(&unified(), "{}"), "cpuset cpu io memory hugetlb pids rdma");
    }

    #[test]
    fn a_rootless_container_may_do_without_what_it_did_not_ask_for() {
        let devices = r#"{"devices": [{"allow": false, "access": "rwm"}]}"#;
        for host in [hybrid(), unified(), CgroupHost::default()] {
            let (plan, problems) = planned(&host, None, devices, true);
            assert_eq!((plan.optional, plan.writes.len(), problems.len()), (true, 0, 0));
        }
        let required = |path, resources, rootless| {
            let (plan, _) = planned(&hybrid(), path, resources, rootless);
            let required = plan.directories.iter().filter(|directory| directory.required_by.is_some());
            required.map(|directory| directory.controllers.join(",")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(required(None, r#"{"pids": {"limit": 9}}"#, true), "pids");
        assert_eq!(required(Some("/x"), "{}", true), "cpu,cpuacct cpuset memory pids blkio devices freezer");
        assert_eq!(required(None, "{}", false), "cpu,cpuacct cpuset memory pids blkio devices freezer");
    }

    #[test]
    fn without_a_cgroup_there_are_no_limits() {
        let resources =
            r#"{"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 7}, "memory": {"limit": 0}}"#;
        let resources: LinuxResources = serde_json::from_str(resources).expect("resources");
        for host in [hybrid(), unified()] {
            let mut problems = Vec::new();
            let request = Request {
                id: "web",
                manager: Manager::Disabled,
                cgroups_path: Some(Path::new("/x")),
                annotations: None,
                resources: Some(&resources),
                rootless: false,
                owner: None,
            };
            let plan = plan(&request, &host, &mut problems);
            assert_eq!((plan.driver, plan.directories.len(), plan.writes.len()), (Driver::Nobody, 0, 0));
            assert!(problems.len() == 1 && problems[0].at == "linux.resources.pids.limit", "{problems:?}");
        }
    }

    #[test]
    fn a_machine_without_the_needed_controllers_is_refused() {
        let (_, problems) = planned(&CgroupHost::default(), None, "{}", false);
        assert_eq!(problems, ["linux.cgroupsPath: no cgroup hierarchy is mounted on this machine"]);
        let mut host = hybrid();
        host.v1.retain(|hierarchy| hierarchy.controllers != ["devices"]);
        host.v2 = None;
        let (_, problems) = planned(&host, None, "{}", false);
        let message = "needs the cgroup controller devices, or cgroup v2; both are missing here";
        assert_eq!(problems, [format!("linux.resources.devices: {message}")]);
    }

    #[test]
    fn device_rules_are_a_program_where_there_is_no_v1_controller() {
        let mut host = hybrid();
        host.v1.retain(|hierarchy| hierarchy.controllers != ["devices"]);
        for host in [host, unified()] {
            let (plan, problems) = planned(&host, None, "{}", false);
            assert_eq!((plan.writes.len(), problems.len()), (0, 0));
            let Some(DeviceControl::Program { directory, .. }) = plan.devices else { panic!("{:?}", plan.devices) };
            assert_eq!(plan.directories[directory].version, Version::V2);
            assert!(plan.directories[directory].required_by.is_some());
        }
        assert_eq!(planned(&hybrid(), None, "{}", false).0.devices, None);
        assert_eq!(planned(&unified(), None, "{}", true).0.devices, None);
    }

    #[test]
    fn an_update_without_device_rules_leaves_them() {
        let update = |host: &CgroupHost, resources, rootless| {
            let (plan, _) = planned(host, None, "{}", false);
            let resources: LinuxResources = serde_json::from_str(resources).expect("resources");
            let mut problems = Vec::new();
            let plan = plan_update(&resources, plan.directories, rootless, &mut problems);
            assert!(plan.writes.is_empty() && problems.is_empty());
            plan.devices
        };
        let rules = r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
        assert!(matches!(update(&hybrid(), rules, false), Some(DeviceControl::List { directory: 5, .. })));
        assert!(matches!(update(&unified(), rules, false), Some(DeviceControl::Program { directory: 0, .. })));
        for (resources, rootless) in [("{}", false), (r#"{"devices": []}"#, false), (rules, true)] {
            assert_eq!(update(&hybrid(), resources, rootless), None);
            assert_eq!(update(&unified(), resources, rootless), None);
        }
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused_by_v1_only() {
        let rules = r#"{"devices": [{"allow": true, "type": "b", "major": 8, "access": "rwm"},
            {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "w"}]}"#;
        let problem = r#"cgroup v1 cannot take an exception from the wider rule "b 8:* rwm""#;
        assert_eq!(planned(&hybrid(), None, rules, false).1, [format!("linux.resources.devices[1]: {problem}")]);
        assert_eq!(planned(&unified(), None, rules, false).1, Vec::<String>::new());
    }
}
