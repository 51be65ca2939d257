//! The containers that faults are put into: between them every kind of step that this machine can do.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Bundle, Cmd, Test, hook};

/// A container, and what of its life is tried.
pub struct Variant<'t> {
    pub name: &'static str,
    pub bundle: Bundle<'t>,
    pub commands: &'static [&'static str],
    /// A device of the host moves in.
    pub has_device: bool,
    /// It has a terminal, which somebody must take.
    pub has_terminal: bool,
    /// systemd makes its cgroup.
    pub by_systemd: bool,
}

impl Variant<'_> {
    /// A call that plans: `create`, `explain`.
    pub fn planning(&self, cmd: Cmd) -> Cmd {
        match self.by_systemd {
            true => cmd.through("program=$1; shift; exec \"$program\" --systemd-cgroup \"$@\""),
            false => cmd,
        }
    }
}

/// Where the device's two ends are called so.
pub const DEVICE: (&str, &str) = ("mcf0", "mcf1");

/// All of them; `holder` is a process that holds namespaces to join.
pub fn variants(t: &Test, holder: i32) -> Vec<Variant<'_>> {
    let namespace = |kind: &str| format!("/proc/{holder}/ns/{kind}");
    let plain = |name, bundle, commands| Variant {
        name,
        bundle,
        commands,
        has_device: false,
        has_terminal: false,
        by_systemd: false,
    };
    let all: &[&str] = &["create", "start", "exec", "update", "delete"];
    let joining = t.bundle(IDLE).join("network", namespace("net")).join("ipc", namespace("ipc"));
    // The holder's user namespace has one id.
    let pts = &["newinstance", "ptmxmode=0666", "mode=0620"];
    let usher = t.bundle(IDLE).join("network", namespace("net")).join("user", namespace("user"));
    let usher =
        usher.unmount("/dev/shm").unmount("/dev/mqueue").unmount("/dev/pts").mount("devpts", "devpts", "/dev/pts", pts);
    let device = t.bundle(IDLE).set("/linux/netDevices", json!({DEVICE.0: {"name": "eth7"}}));
    let terminal = t.bundle(IDLE).set("/process/terminal", true);
    let mut variants = vec![
        plain("realistic", realistic(t), all),
        plain("user namespace", user_namespace(t), all),
        plain("namespaces of others", joining, &["create", "start", "delete"]),
        plain("user namespace of others", usher, &["create"]),
        plain("mounts and processes of the host", on_the_host(t), &["create", "start", "delete"]),
        Variant { has_device: true, ..plain("network device", device, &["create", "start"]) },
        Variant { has_terminal: true, ..plain("terminal", terminal, &["create", "start"]) },
    ];
    if Path::new("/run/systemd/system").is_dir() {
        // Without a pid namespace, so that processes could be left.
        let unit = with_limits(t.bundle(IDLE)).share("pid");
        let path = format!("system.slice:minicon:{}", unit.id);
        let unit = unit.set("/linux/cgroupsPath", path);
        variants.push(Variant { by_systemd: true, ..plain("systemd", unit, &["create", "start", "update", "delete"]) });
    }
    variants
}

/// Stays until it is killed.
const IDLE: &[&str] = &["sleep", "1000"];

/// A mark that a hook on the host makes, and that one after the container takes away.
pub const MARK: &str = "mark";

/// All namespaces but that of users, mounts of each kind, hooks of each kind, limits, devices, masks, a filter.
fn realistic(t: &Test) -> Bundle<'_> {
    let file = t.file("bound", "text");
    let directory = t.directory("bound-directory");
    let mut b = with_limits(t.bundle(IDLE).own_rootfs())
        .unshare("cgroup")
        .unshare("time")
        .set("/linux/timeOffsets", json!({"monotonic": {"secs": 1000}}))
        .set("/domainname", "example.org")
        .set("/root/readonly", true)
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}))
        .set("/process/oomScoreAdj", 500)
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 3}))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3}))
        .set("/linux/personality", json!({"domain": "LINUX"}))
        .set("/linux/seccomp", filter())
        .set("/linux/devices", json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438}]))
        .set("/linux/rootfsPropagation", "rslave")
        .mount("bind", &file, "/mnt/file", &["bind", "ro"])
        .mount("bind", &directory, "/mnt/directory", &["rbind", "nosuid", "rprivate"])
        .mount("tmpfs", "tmpfs", "/etc", &["tmpcopyup"])
        .mount("tmpfs", "tmpfs", "/run", &["nosuid", "mode=755"]);
    // With a parent that is made for it.
    b.config["linux"]["cgroupsPath"] = json!(format!("/{}-parent/{}", t.tag(), b.id));
    let mark = b.dir.join(MARK);
    let (make, take) = (format!("echo >> {}", mark.display()), format!("rm -f {}", mark.display()));
    let inside = json!({"path": "/bin/true", "args": ["true"]});
    b.config["hooks"] = json!({
        "prestart": [hook(&make)], "createRuntime": [hook(&make)], "createContainer": [hook("true")],
        "startContainer": [inside], "poststart": [hook("true")], "poststop": [hook("true"), hook(&take)],
    });
    b
}

/// Loaded last, and it lets everything pass that a fault needs.
fn filter() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    })
}

fn with_limits(b: Bundle<'_>) -> Bundle<'_> {
    b.set("/linux/resources/memory", json!({"limit": 67_108_864, "reservation": 33_554_432}))
        .set("/linux/resources/pids", json!({"limit": 64}))
        .set("/linux/resources/cpu", json!({"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"}))
        .push(
            "/linux/resources/devices",
            json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}),
        )
}

/// With an id-mapped mount where the file system has them, and a filter that is loaded early.
fn user_namespace(t: &Test) -> Bundle<'_> {
    let directory = t.directory("mapped");
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    with_limits(t.bundle(IDLE))
        .unshare("user")
        .unshare("cgroup")
        .set("/linux/uidMappings", ids.clone())
        .set("/linux/gidMappings", ids)
        .set("/process/noNewPrivileges", false)
        .set("/linux/seccomp", filter())
        .mount("bind", &directory, "/mnt", &["bind", "idmap"])
}

/// Without a mount or a pid namespace: mounts stay on the host, processes outlive init.
fn on_the_host(t: &Test) -> Bundle<'_> {
    let file = t.file("bound-on-the-host", "text");
    let mut b = t.bundle(IDLE).share("mount").share("pid").own_rootfs();
    b.config["linux"]["maskedPaths"] = json!([]);
    b.config["linux"]["readonlyPaths"] = json!([]);
    b.unmount("/sys/fs/cgroup").mount("bind", file, "/mnt/file", &["bind"])
}
