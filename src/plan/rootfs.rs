//! The container's file tree as an ordered list of steps: mounts, device nodes, links, masks.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType, Spec};

use super::cgroup::{CgroupHost, CgroupPlan, Mode, Version};
use super::mount_options::{attribute, ms};
use super::mounts::{self, Change, Mount, Options, Source, absolute};
use super::namespaces::{Kind, Namespaces};
use super::{Condition, ConfigPath, Host, Request, Step};
use crate::error::Problem;

/// The container's root, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    /// The directory that becomes `/`; absolute.
    pub path: PathBuf,
    /// How the host's tree is left.
    pub leave: Leave,
    /// The runtime makes the root's mount and hands it over, see [`Mount::by_runtime`].
    pub by_runtime: bool,
    /// The propagation (`MS_*`) of the whole tree while it is furnished. It decides whether mounts of the container and
    /// of the host see each other, see mount_namespaces(7).
    pub propagation: u64,
    /// What is done while the host's tree is still visible.
    pub furnish: Vec<Step<What>>,
    /// What is done once the container's root is `/`.
    pub finish: Vec<Step<What>>,
}

/// How the host's tree is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// pivot_root(2).
    Pivot,
    /// Moving the root's mount over `/`, for an initramfs (`--no-pivot`).
    Move,
    /// chroot(2) alone: there is no mount namespace to change.
    Chroot,
}

/// One step on the container's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A mount; its directory or file is made if it is missing.
    Mount(Box<Mount>),
    /// A directory, with its parents.
    Directory(PathBuf),
    /// A device node, or a bind mount of the host's where nodes cannot be made.
    Node(Node),
    /// A symbolic link.
    Link {
        /// Where it is.
        path: PathBuf,
        /// What it says.
        target: &'static str,
        /// An existing file gives way (`/dev/ptmx`).
        replace: bool,
    },
    /// The pty becomes `/dev/console`.
    Console,
    /// The propagation of `/` as the configuration asks (`MS_*`).
    RootPropagation(u64),
    /// A mount becomes read-only now that nothing more is mounted inside.
    ReadOnlyMount(PathBuf),
    /// A path becomes read-only, with all below it.
    ReadOnlyPath(PathBuf),
    /// A path becomes unreadable: an empty file or directory lies over it.
    Mask(PathBuf),
    /// `/` becomes read-only.
    ReadOnlyRoot,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where; absolute in the container.
    pub path: PathBuf,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`.
    pub kind: u32,
    /// The device number's major part.
    pub major: u32,
    /// The device number's minor part.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner, as the container sees it.
    pub uid: u32,
    /// Group, as the container sees it.
    pub gid: u32,
    /// The host's node of this path is bound instead of made: mknod(2) needs CAP_MKNOD in the first user namespace.
    pub bind: bool,
}

/// The devices that every container has (config-linux.md, Default Devices); the console comes with the terminal.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// "The runtime MUST create symlinks for /dev/fd, stdin, stdout, stderr" (runtime-linux.md); core is what engines expect.
const DEFAULT_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

/// Decides the tree.
pub fn plan(
    spec: &Spec,
    request: &Request<'_>,
    host: &Host,
    namespaces: &Namespaces,
    cgroup: &CgroupPlan,
    problems: &mut Vec<Problem>,
) -> Rootfs {
    let mut rootfs = plan_root(spec, request, host, namespaces, problems);
    let planned = mounts::plan(spec, request, host, namespaces, problems);
    check_mount_namespace(spec, &rootfs, &planned, problems);
    let dev_is_host = planned
        .iter()
        .any(|(mount, _)| mount.destination == Path::new("/dev") && matches!(mount.source, Source::Bind { .. }));
    let mut late = Vec::new();
    for (mut mount, at) in planned {
        if is_filesystem(&mount, "cgroup") || is_filesystem(&mount, "cgroup2") {
            push_cgroup(mount, at, namespaces, cgroup, host, &mut rootfs.furnish, &mut late);
            continue;
        }
        add_label(spec, &mut mount);
        // Later mounts may need a directory inside, so these turn read-only at the end.
        let filled_later = is_filesystem(&mount, "tmpfs") || mount.destination == Path::new("/dev");
        if filled_later && mount.options.own.set & attribute::RDONLY != 0 {
            mount.options.own.set &= !attribute::RDONLY;
            late.push(Step::new(What::ReadOnlyMount(mount.destination.clone()), at.field("options")));
        }
        rootfs.furnish.push(Step::new(What::Mount(Box::new(mount)), at));
    }
    if !dev_is_host {
        push_devices(spec, host, namespaces, &mut rootfs.furnish, problems);
    }
    push_finish(spec, late, &mut rootfs, problems);
    rootfs
}

fn plan_root(
    spec: &Spec,
    request: &Request<'_>,
    host: &Host,
    namespaces: &Namespaces,
    problems: &mut Vec<Problem>,
) -> Rootfs {
    let path = match spec.root() {
        Some(root) if !root.path().as_os_str().is_empty() => request.bundle.join(root.path()),
        _ => {
            problems.push(Problem::new("root.path", "is missing: name the directory that becomes the container's /"));
            PathBuf::new()
        }
    };
    let leave = match (namespaces.has(Kind::Mount), request.no_pivot) {
        (false, _) => Leave::Chroot,
        (true, true) => Leave::Move,
        (true, false) => Leave::Pivot,
    };
    let propagation = match spec.linux().as_ref().and_then(|linux| propagation(linux, problems)) {
        Some(shared) if shared & ms::SHARED != 0 => ms::SHARED | ms::REC,
        Some(private) if private & (ms::PRIVATE | ms::UNBINDABLE) != 0 => ms::PRIVATE | ms::REC,
        // A slave sees unmounts of the host, so it does not keep the host's file systems busy.
        _ => ms::SLAVE | ms::REC,
    };
    let by_runtime = host.mounts_for(namespaces);
    Rootfs { path, leave, by_runtime, propagation, furnish: Vec::new(), finish: Vec::new() }
}

fn propagation(linux: &Linux, problems: &mut Vec<Problem>) -> Option<u64> {
    match linux.rootfs_propagation().as_deref()? {
        "" => None,
        "shared" => Some(ms::SHARED),
        "rshared" => Some(ms::SHARED | ms::REC),
        "slave" => Some(ms::SLAVE),
        "rslave" => Some(ms::SLAVE | ms::REC),
        "private" => Some(ms::PRIVATE),
        "rprivate" => Some(ms::PRIVATE | ms::REC),
        "unbindable" => Some(ms::UNBINDABLE),
        "runbindable" => Some(ms::UNBINDABLE | ms::REC),
        other => {
            let message =
                format!("rootfsPropagation={other} is not supported: it is shared, slave, private or unbindable");
            problems.push(Problem::new("linux.rootfsPropagation", message));
            None
        }
    }
}

/// Without a mount namespace every mount would be the host's.
fn check_mount_namespace(spec: &Spec, rootfs: &Rootfs, mounts: &[(Mount, ConfigPath)], problems: &mut Vec<Problem>) {
    if rootfs.leave != Leave::Chroot {
        return;
    }
    let linux = spec.linux().as_ref();
    let is_given =
        |paths: Option<&Option<Vec<String>>>| paths.is_some_and(|paths| paths.iter().flatten().next().is_some());
    let needs = [
        ("mounts", !mounts.is_empty()),
        ("linux.maskedPaths", is_given(linux.map(|linux| linux.masked_paths()))),
        ("linux.readonlyPaths", is_given(linux.map(|linux| linux.readonly_paths()))),
        ("root.readonly", spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false)),
    ];
    for (at, _) in needs.into_iter().filter(|(_, needed)| *needed) {
        let message =
            "needs a mount namespace, it would change the host: add {\"type\": \"mount\"} to linux.namespaces";
        problems.push(Problem::new(at, message));
    }
}

fn is_filesystem(mount: &Mount, name: &str) -> bool {
    matches!(&mount.source, Source::Filesystem { kind, .. } if kind == name)
}

/// `linux.mountLabel`, for the file systems that keep labels of their own.
fn add_label(spec: &Spec, mount: &mut Mount) {
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref()).unwrap_or_default();
    let Source::Filesystem { kind, .. } = &mount.source else { return };
    let labels_itself = matches!(kind.as_str(), "proc" | "sysfs" | "mqueue" | "overlay");
    let has_one = mount.options.data.iter().any(|(key, _)| key == "context");
    if !label.is_empty() && !labels_itself && !has_one {
        mount.options.data.push(("context".to_owned(), Some(label.to_owned())));
    }
}

/// The cgroup mount. On cgroup v2 it is one file system; on v1 and hybrid it is a tmpfs with a mount for each hierarchy
/// and links for controllers that share one, which is the layout that systemd made usual.
fn push_cgroup(
    mount: Mount,
    at: ConfigPath,
    namespaces: &Namespaces,
    cgroup: &CgroupPlan,
    host: &Host,
    furnish: &mut Vec<Step<What>>,
    late: &mut Vec<Step<What>>,
) {
    let own_view = namespaces.has(Kind::Cgroup);
    let mut push = |mount: Mount| furnish.push(Step::new(What::Mount(Box::new(mount)), at));
    // Inside its own cgroup namespace a container mounts the file system; else it gets its directory bound.
    let view = |destination: PathBuf, kind: &str, data: Vec<(String, Option<String>)>, directory: Option<&PathBuf>| {
        let mut options = mount.options.clone();
        let source = match directory.filter(|_| !own_view) {
            Some(path) => Source::Bind { path: path.clone(), recursive: true },
            None => {
                options.data.extend(data);
                Source::Filesystem { kind: kind.to_owned(), device: "cgroup".to_owned() }
            }
        };
        let by_runtime = matches!(source, Source::Bind { .. }) && host.mounts_for(namespaces);
        Mount { destination, source, options, by_runtime, no_symlinks: true }
    };
    let directory = |version: Version, controllers: &[String]| {
        let same = |candidate: &&super::cgroup::Directory| {
            candidate.version == version && (version == Version::V2 || candidate.controllers == controllers)
        };
        cgroup.directories.iter().find(same).map(|directory| &directory.path)
    };
    match host.cgroups.mode() {
        Mode::None => {}
        Mode::V2 => push(view(mount.destination.clone(), "cgroup2", Vec::new(), directory(Version::V2, &[]))),
        Mode::V1 | Mode::Hybrid => {
            let read_only = mount.options.own.set & attribute::RDONLY != 0;
            push(directory_of_hierarchies(&mount));
            for hierarchy in &host.cgroups.v1 {
                let name = hierarchy.mount_point.file_name().map(PathBuf::from).unwrap_or_default();
                let data = hierarchy.controllers.iter().flat_map(|controller| hierarchy_option(controller)).collect();
                let below = mount.destination.join(&name);
                push(view(below, "cgroup", data, directory(Version::V1, &hierarchy.controllers)));
            }
            if let Some(unified) = host.cgroups.v2.as_ref().and_then(|unified| unified.mount_point.file_name()) {
                push(view(mount.destination.join(unified), "cgroup2", Vec::new(), directory(Version::V2, &[])));
            }
            furnish.extend(links_of_shared_hierarchies(&mount, &host.cgroups, at));
            if read_only {
                late.push(Step::new(What::ReadOnlyMount(mount.destination), at.field("options")));
            }
        }
    }
}

fn directory_of_hierarchies(mount: &Mount) -> Mount {
    let own = Change { set: attribute::NOSUID | attribute::NODEV | attribute::NOEXEC, clear: 0 };
    let data = vec![("mode".to_owned(), Some("755".to_owned()))];
    let source = Source::Filesystem { kind: "tmpfs".to_owned(), device: "tmpfs".to_owned() };
    let options = Options { own, data, ..Options::default() };
    Mount { destination: mount.destination.clone(), source, options, by_runtime: false, no_symlinks: true }
}

/// `memory` selects a controller, `name=systemd` a hierarchy without any, which must say `none` as well; cgroups(7).
fn hierarchy_option(controller: &str) -> Vec<(String, Option<String>)> {
    match controller.split_once('=') {
        Some((key, name)) => vec![("none".to_owned(), None), (key.to_owned(), Some(name.to_owned()))],
        None => vec![(controller.to_owned(), None)],
    }
}

fn links_of_shared_hierarchies(mount: &Mount, host: &CgroupHost, at: ConfigPath) -> Vec<Step<What>> {
    const LINKS: [(&str, &str, &str); 4] = [
        ("cpu,cpuacct", "cpu", "cpu,cpuacct"),
        ("cpu,cpuacct", "cpuacct", "cpu,cpuacct"),
        ("net_cls,net_prio", "net_cls", "net_cls,net_prio"),
        ("net_cls,net_prio", "net_prio", "net_cls,net_prio"),
    ];
    let exists = |name: &str| host.v1.iter().any(|hierarchy| hierarchy.mount_point.ends_with(name));
    let link = |(_, name, target): &(&str, &str, &'static str)| {
        let path = mount.destination.join(name);
        Step::new(What::Link { path, target, replace: false }, at)
    };
    LINKS.iter().filter(|(hierarchy, name, _)| exists(hierarchy) && !exists(name)).map(link).collect()
}

fn push_devices(
    spec: &Spec,
    host: &Host,
    namespaces: &Namespaces,
    furnish: &mut Vec<Step<What>>,
    problems: &mut Vec<Problem>,
) {
    let bind = namespaces.has(Kind::User) || host.in_user_namespace;
    let configured = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let defaults = ConfigPath::new("linux.devices");
    for (path, major, minor) in DEFAULT_DEVICES {
        if !configured.iter().any(|device| device.path() == Path::new(path)) {
            let (kind, mode) = (libc::S_IFCHR, 0o666);
            let node = Node { path: path.into(), kind, major, minor, mode, uid: 0, gid: 0, bind };
            furnish.push(Step::new(What::Node(node), defaults));
        }
    }
    for (index, device) in configured.iter().enumerate() {
        let at = ConfigPath::new("linux.devices").index(index);
        if let Some(node) = plan_node(device, bind, at, problems) {
            furnish.push(Step::new(What::Node(node), at));
        }
    }
    let ptmx = What::Link { path: "/dev/ptmx".into(), target: "pts/ptmx", replace: true };
    furnish.push(Step::new(ptmx, defaults));
    for (path, target) in DEFAULT_LINKS {
        let when = if path == "/dev/core" { Condition::HostHas(target) } else { Condition::Always };
        let what = What::Link { path: path.into(), target, replace: false };
        furnish.push(Step { what, when, at: defaults });
    }
}

fn plan_node(device: &LinuxDevice, bind: bool, at: ConfigPath, problems: &mut Vec<Problem>) -> Option<Node> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            problems.push(Problem::new(at.field("type"), "\"a\" is no type of a node: it is c, b, u or p"));
            return None;
        }
    };
    let path = absolute(device.path()).filter(|_| device.path().is_absolute());
    let numbers = (u32::try_from(device.major()), u32::try_from(device.minor()));
    match (path, numbers) {
        (Some(path), (Ok(major), Ok(minor))) => Some(Node {
            path,
            kind,
            major,
            minor,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            bind: bind && kind != libc::S_IFIFO,
        }),
        (None, _) => {
            problems.push(Problem::new(at.field("path"), "must be an absolute path in the container"));
            None
        }
        _ => {
            problems.push(Problem::new(at, "major and minor must be numbers from 0 on"));
            None
        }
    }
}

/// The steps after the host's tree is gone.
fn push_finish(spec: &Spec, late: Vec<Step<What>>, rootfs: &mut Rootfs, problems: &mut Vec<Problem>) {
    let linux = spec.linux().as_ref();
    let finish = &mut rootfs.finish;
    if spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false) {
        finish.push(Step::new(What::Console, ConfigPath::new("process.terminal")));
    }
    finish.extend(late);
    let read_only = linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default();
    let masked = linux.and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default();
    push_paths(read_only, ConfigPath::new("linux.readonlyPaths"), What::ReadOnlyPath, finish, problems);
    push_paths(masked, ConfigPath::new("linux.maskedPaths"), What::Mask, finish, problems);
    if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        finish.push(Step::new(What::ReadOnlyRoot, ConfigPath::new("root.readonly")));
    }
    // Last: nothing of an unbindable tree could be copied to lie read-only over itself.
    if let Some(flags) = linux.and_then(|linux| propagation(linux, &mut Vec::new())) {
        finish.push(Step::new(What::RootPropagation(flags), ConfigPath::new("linux.rootfsPropagation")));
    }
}

fn push_paths(
    paths: &[String],
    at: ConfigPath,
    make: fn(PathBuf) -> What,
    finish: &mut Vec<Step<What>>,
    problems: &mut Vec<Problem>,
) {
    for (index, path) in paths.iter().enumerate() {
        let at = at.index(index);
        match absolute(Path::new(path)).filter(|_| path.starts_with('/')) {
            Some(path) => finish.push(Step { what: make(path), when: Condition::TargetExists, at }),
            None => problems.push(Problem::new(at, format!("must be an absolute path, not {path:?}"))),
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Mount(mount) => write!(f, "mount {}", mount.destination.display()),
            What::Directory(path) => write!(f, "make the directory {}", path.display()),
            What::Node(node) if node.bind => write!(f, "bind the device {}", node.path.display()),
            What::Node(node) => write!(f, "make the device {}", node.path.display()),
            What::Link { path, target, .. } => write!(f, "link {} to {target}", path.display()),
            What::Console => f.write_str("set up /dev/console"),
            What::RootPropagation(_) => f.write_str("set the propagation of /"),
            What::ReadOnlyMount(path) | What::ReadOnlyPath(path) => write!(f, "make {} read-only", path.display()),
            What::Mask(path) => write!(f, "mask {}", path.display()),
            What::ReadOnlyRoot => f.write_str("make / read-only"),
        }
    }
}
