//! The container's file tree as an ordered list of steps: mounts, device nodes, links, masks.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Spec};

use super::cgroup::CgroupPlan;
use super::devices::{self, Node};
use super::mount_options::{attribute, ms};
use super::mounts::{self, Mount, Source, absolute};
use super::namespaces::{Kind, Namespaces};
use super::{Condition, ConfigPath, Host, Request, Step, annotations, cgroup_mounts};
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
    /// No mount of the tree is shared with another, so a new file system is private wherever it is mounted.
    pub shares_nothing: bool,
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
    /// The root's mount lies over `/` and stays there, for an initramfs (`--no-pivot`).
    Cover,
    /// chroot(2) alone: there is no mount namespace to change.
    Chroot,
}

/// One step on the container's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A mount; its directory or file is made if it is missing.
    Mount(Box<Mount>),
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
    /// The same with every mount below.
    ReadOnlyTree(PathBuf),
    /// A path becomes read-only, with all below it.
    ReadOnlyPath(PathBuf),
    /// A path becomes unreadable: an empty file or directory lies over it.
    Mask(PathBuf),
    /// `/` becomes read-only.
    ReadOnlyRoot,
}

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
    check_mount_namespace(spec, &rootfs, problems);
    let dev_is_host = planned
        .iter()
        .any(|(mount, _)| mount.destination == Path::new("/dev") && matches!(mount.source, Source::Bind { .. }));
    let mut late = Vec::new();
    rootfs.shares_nothing &= !planned.iter().any(|(mount, _)| is_shared(mount));
    let destinations: Vec<PathBuf> = planned.iter().map(|(mount, _)| mount.destination.clone()).collect();
    for (mut mount, at) in planned {
        if is_filesystem(&mount, "cgroup") || is_filesystem(&mount, "cgroup2") {
            let below = destinations.iter().filter(|path| path.starts_with(&mount.destination)).count() - 1;
            let (furnished, finished) = (rootfs.furnish.len(), late.len());
            cgroup_mounts::push(mount, at, namespaces, cgroup, host, &mut rootfs.furnish, &mut late);
            if below == 0 {
                let (furnish, late) = (&mut rootfs.furnish[furnished..], &mut late[finished..]);
                cgroup_mounts::turn_read_only_together(furnish, late);
            }
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
        devices::push(spec, host, namespaces, &mut rootfs.furnish, problems);
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
        (true, true) => Leave::Cover,
        (true, false) => Leave::Pivot,
    };
    let propagation = match spec.linux().as_ref().and_then(|linux| propagation(linux, problems)) {
        Some(shared) if shared & ms::SHARED != 0 => ms::SHARED | ms::REC,
        Some(private) if private & (ms::PRIVATE | ms::UNBINDABLE) != 0 => ms::PRIVATE | ms::REC,
        // A slave sees unmounts of the host, so it does not keep the host's file systems busy.
        _ => ms::SLAVE | ms::REC,
    };
    let by_runtime = host.mounts_for(namespaces);
    let shares_nothing = namespaces.creates(Kind::Mount) && propagation & ms::SHARED == 0;
    Rootfs { path, leave, by_runtime, propagation, shares_nothing, furnish: Vec::new(), finish: Vec::new() }
}

fn is_shared(mount: &Mount) -> bool {
    mount.options.propagation.iter().any(|(kind, _)| *kind == ms::SHARED)
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

/// Without a mount namespace mounts are made on the host, below the root, and taken away with the container. What would
/// change the root itself, or could not be told from the host's own, is refused.
fn check_mount_namespace(spec: &Spec, rootfs: &Rootfs, problems: &mut Vec<Problem>) {
    if rootfs.leave != Leave::Chroot {
        return;
    }
    let linux = spec.linux().as_ref();
    let is_given =
        |paths: Option<&Option<Vec<String>>>| paths.is_some_and(|paths| paths.iter().flatten().next().is_some());
    let rootfs_propagation = linux.and_then(|linux| linux.rootfs_propagation().as_ref());
    let needs = [
        ("linux.maskedPaths", is_given(linux.map(|linux| linux.masked_paths()))),
        ("linux.readonlyPaths", is_given(linux.map(|linux| linux.readonly_paths()))),
        ("linux.rootfsPropagation", rootfs_propagation.is_some_and(|propagation| !propagation.is_empty())),
        ("process.terminal", spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false)),
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
        let option = annotations::mount_context_type(spec.annotations().as_ref());
        mount.options.data.push((option.to_owned(), Some(label.to_owned())));
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
        // A second mask would hide nothing more.
        if paths[..index].contains(path) {
            continue;
        }
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
            What::Node(node) if node.bind => write!(f, "bind the device {}", node.path.display()),
            What::Node(node) => write!(f, "make the device {}", node.path.display()),
            What::Link { path, target, .. } => write!(f, "link {} to {target}", path.display()),
            What::Console => f.write_str("set up /dev/console"),
            What::RootPropagation(_) => f.write_str("set the propagation of /"),
            What::ReadOnlyMount(path) | What::ReadOnlyTree(path) | What::ReadOnlyPath(path) => {
                write!(f, "make {} read-only", path.display())
            }
            What::Mask(path) => write!(f, "mask {}", path.display()),
            What::ReadOnlyRoot => f.write_str("make / read-only"),
        }
    }
}
