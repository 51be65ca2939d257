//! Device nodes and the links beside them: those that every container has, and `linux.devices`.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};

use super::mounts::absolute;
use super::namespaces::{Kind, Namespaces};
use super::rootfs::What;
use super::{Condition, ConfigPath, Host, Step};
use crate::error::Problem;

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
    /// The runtime makes the node and hands it over: it has the right, and the host may not have this device at this path.
    pub by_runtime: bool,
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

/// "Runtimes MUST create the following symlinks if the source file exists after processing mounts" (runtime-linux.md, Dev
/// symbolic links); core is what engines expect.
const DEFAULT_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

/// Adds the nodes and links to the steps.
pub fn push(
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
            let node = Node { path: path.into(), kind, major, minor, mode, uid: 0, gid: 0, bind, by_runtime: false };
            furnish.push(Step::new(What::Node(node), defaults));
        }
    }
    for (index, device) in configured.iter().enumerate() {
        let at = ConfigPath::new("linux.devices").index(index);
        if let Some(mut node) = plan_node(device, bind, at, problems) {
            node.by_runtime = node.bind && host.user.0 == 0 && !host.in_user_namespace && !host.cannot_mount;
            furnish.push(Step::new(What::Node(node), at));
        }
    }
    let ptmx = What::Link { path: "/dev/ptmx".into(), target: "pts/ptmx", replace: true };
    furnish.push(Step::new(ptmx, defaults));
    for (path, target) in DEFAULT_LINKS {
        let what = What::Link { path: path.into(), target, replace: false };
        furnish.push(Step { what, when: Condition::ContainerHas(target), at: defaults });
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
    for (name, id) in [("uid", device.uid()), ("gid", device.gid())] {
        if id == Some(u32::MAX) {
            problems
                .push(Problem::new(at.field(name), format!("{} is no id: it means no change to the kernel", u32::MAX)));
        }
    }
    // No device has the major number 0, so this is what was left out.
    if kind != libc::S_IFIFO && device.major() == 0 {
        problems.push(Problem::new(at.field("major"), "major and minor are required unless the type is \"p\""));
        return None;
    }
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
            by_runtime: false,
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
