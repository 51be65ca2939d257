//! The names of steps. An error, a line of `explain` and a span of `--trace` that have the same name are about the same
//! thing, and a name means the same from version to version.
//!
//! A name is a word, or a word, a colon and what it is done to: `mount:/proc`. The word has a row in
//! [`table`](super::table).

use crate::plan::cgroup::{Directory, FileWrite, Version};
use crate::plan::hooks::HookKind;
use crate::plan::limits::Rlimit;
use crate::plan::mounts::Source;
use crate::plan::namespaces::Kind;
use crate::plan::net_devices::NetDevice;
use crate::plan::rootfs::What;
use crate::plan::sysctl::Sysctl;

macro_rules! names {
    ($($name:ident = $text:literal;)*) => {
        $(#[allow(missing_docs)] pub const $name: &str = $text;)*
    };
}

names! {
    STATE = "state";
    GATE = "gate";
    CLONE = "clone";
    RECORD = "record";
    CGROUP_JOIN = "cgroup:join";
    CGROUP_UNIT = "cgroup:unit";
    CGROUP_DEVICES = "cgroup:devices";
    CGROUP_OWNER = "cgroup:owner";
    MOUNTS_REMOVE = "mounts:remove";
    CGROUP_REMOVE = "cgroup:remove";
    RESCTRL = "resctrl";
    RESCTRL_ADMIT = "resctrl:admit";
    RESCTRL_REMOVE = "resctrl:remove";
    GID_MAP = "idmap:gid";
    UID_MAP = "idmap:uid";
    OOM_SCORE = "oom_score_adj";
    AFFINITY = "affinity";
    SESSION = "session";
    KEYRING = "keyring";
    HIDE = "hide";
    NAMESPACE_TIME = "namespace:time";
    NAMESPACE_CGROUP = "namespace:cgroup";
    NAMESPACE_ROOT = "namespace:root";
    HOSTNAME = "hostname";
    DOMAINNAME = "domainname";
    LOOPBACK = "loopback";
    PROCFS = "procfs";
    ROOT = "root";
    WORKING_DIRECTORY = "mkdir:cwd";
    LEAVE = "leave";
    SCHEDULER = "scheduler";
    IO_PRIORITY = "io-priority";
    PERSONALITY = "personality";
    MEMORY_POLICY = "memory-policy";
    LABEL = "label";
    STDIO = "stdio";
    CWD = "cwd";
    SECCOMP = "seccomp";
    BOUNDING = "capabilities:bounding";
    USER = "user";
    CAPABILITIES = "capabilities";
    NO_NEW_PRIVS = "no_new_privs";
    PROGRAM = "find-program";
    NOBODY = "nobody";
    COMMIT = "commit";
    GATE_WAIT = "gate:wait";
    GATE_OPEN = "gate:open";
    EXECVE = "execve";
    STATE_REMOVE = "state:remove";
}

/// A step on the container's tree.
pub fn tree(what: &What) -> String {
    match what {
        What::Mount(mount) => {
            let word = if mount.source == Source::Existing { "remount" } else { "mount" };
            format!("{word}:{}", mount.destination.display())
        }
        What::Node(node) => format!("device:{}", node.path.display()),
        What::Link { path, .. } => format!("link:{}", path.display()),
        What::Console => "console".to_owned(),
        What::RootPropagation(_) => "propagation:/".to_owned(),
        What::ReadOnlyMount(path) | What::ReadOnlyTree(path) | What::ReadOnlyPath(path) => {
            format!("read-only:{}", path.display())
        }
        What::Mask(path) => format!("mask:{}", path.display()),
        What::ReadOnlyRoot => "read-only:/".to_owned(),
    }
}

/// The container's directory in a hierarchy.
pub fn directory(directory: &Directory) -> String {
    match directory.version {
        Version::V1 => format!("cgroup:mkdir:{}", directory.controllers.join(",")),
        Version::V2 => "cgroup:mkdir:v2".to_owned(),
    }
}

/// A value of a cgroup's file. The rules of v1 devices are many writes to the same two files, so the rule belongs to it.
pub fn write(write: &FileWrite) -> String {
    match write.file.starts_with("devices.") {
        true => format!("cgroup:{} {}", write.file, write.value),
        false => format!("cgroup:{}", write.file),
    }
}

/// A namespace that is joined.
pub fn join(kind: Kind) -> String {
    format!("namespace:join:{}", kind.name())
}

/// A namespace to join, found and checked.
pub fn open(kind: Kind) -> String {
    format!("namespace:open:{}", kind.name())
}

/// A network device of the host.
pub fn net_device(device: &NetDevice) -> String {
    format!("net-device:{}", device.name)
}

/// A hook.
pub fn hook(kind: HookKind, index: usize) -> String {
    format!("hook:{}[{index}]", kind.name())
}

/// A kernel parameter, as sysctl(8) writes it.
pub fn sysctl(sysctl: &Sysctl) -> String {
    format!("sysctl:{}", sysctl.file)
}

/// A resource limit.
pub fn rlimit(limit: &Rlimit) -> String {
    format!("rlimit:{}", limit.name)
}
