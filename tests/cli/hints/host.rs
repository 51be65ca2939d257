//! The bundle, the state directory, the caller's own limits, hooks.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::Case;
use crate::support::terminal::FdSocket;
use crate::support::{Bundle, Test, hook};

pub const CASES: &[Case] = &[
    Case {
        row: "no config.json",
        provoke: |t| t.runtime(["create", "--bundle"]).arg(t.directory("empty")).arg("x").run(),
        first: &["JSON specification file config.json not found in /"],
        config: "",
    },
    Case {
        row: "config.json is not JSON",
        provoke: |t| {
            let b = t.bundle(&["true"]);
            fs::write(b.dir.join("config.json"), "{\"ociVersion\": }").expect("write");
            t.runtime(["create", "--bundle"]).arg(&b.dir).arg(&b.id).run()
        },
        first: &["config.json is not valid JSON", "line 1 column 16"],
        config: "",
    },
    Case {
        row: "no root filesystem",
        provoke: |t| t.bundle(&["true"]).set("/root/path", "/etc/passwd").create(),
        first: &["find the root filesystem: ", "/etc/passwd is not a directory"],
        config: "root.path",
    },
    Case {
        row: "id in use",
        provoke: |t| {
            let b = t.bundle(&["true"]);
            b.create().ok();
            b.create()
        },
        first: &["container with given ID already exists: \"mc"],
        config: "",
    },
    Case {
        row: "no state directory",
        provoke: |t| {
            let b = t.bundle(&["true"]);
            b.write();
            t.runtime(["--root", "/proc/minicon", "create", "--bundle"]).arg(&b.dir).arg(&b.id).run()
        },
        first: &["make the state directory: ", "mkdir(/proc/minicon)", "ENOENT"],
        config: "",
    },
    Case {
        row: "too many open files",
        provoke: |t| t.bundle(&["true"]).on_bundle("create", &[]).through("ulimit -n 9; exec \"$@\"").run(),
        first: &["EMFILE (too many open files)"],
        config: "",
    },
    Case {
        row: "resource limit above one's own",
        provoke: |t| {
            let limit = json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 1 << 19});
            let b = t.bundle(&["true"]).set("/process/rlimits", json!([limit]));
            b.on_bundle("create", &[]).through(WITHOUT_RESOURCE).run()
        },
        first: &["set RLIMIT_NOFILE: ", "prlimit64(", "EPERM"],
        config: "process.rlimits[0]",
    },
    Case {
        row: "OOM score below one's own",
        provoke: |t| {
            let b = t.bundle(&["true"]).set("/process/oomScoreAdj", -999);
            b.on_bundle("create", &[]).through(WITHOUT_RESOURCE).run()
        },
        first: &["set the OOM score: ", "write(/proc/", "/oom_score_adj, -999)", "EACCES"],
        config: "process.oomScoreAdj",
    },
    Case {
        row: "deadlines on some processors only",
        provoke: |t| {
            let policy = json!({
                "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 50_000_000, "period": 50_000_000,
            });
            let b = t.bundle(&["true"]).set("/process/scheduler", policy);
            b.set("/linux/resources/cpu", json!({"cpus": "0"})).create()
        },
        first: &["set the scheduler: ", "sched_setattr(", "EPERM"],
        config: "process.scheduler",
    },
    Case {
        row: "no console socket",
        provoke: |t| {
            let b = t.bundle(&["true"]).set("/process/terminal", true);
            b.on_bundle("create", &["--console-socket", "/no/such/socket"]).run()
        },
        first: &["connect to the console socket /no/such/socket: ", "connect(", "ENOENT"],
        config: "",
    },
    Case {
        row: "terminal without a console socket",
        provoke: |t| t.bundle(&["true"]).set("/process/terminal", true).create(),
        first: &["cannot allocate tty if runc will detach without setting console socket"],
        config: "process.terminal",
    },
    Case {
        row: "console socket without a terminal",
        provoke: |t| t.bundle(&["true"]).on_bundle("create", &["--console-socket", "/no/such/socket"]).run(),
        first: &["cannot use console socket if runc will not detach or allocate tty"],
        config: "process.terminal",
    },
    Case {
        row: "no /dev/pts",
        provoke: |t| {
            let socket = FdSocket::listen(t, "console");
            let b = t.bundle(&["true"]).set("/process/terminal", true).unmount("/dev/pts");
            b.on_bundle("create", &["--console-socket", socket.arg()]).run()
        },
        first: &["open a pseudo terminal: ", "openat2(", "/dev/pts/ptmx", "ENOENT"],
        config: "process.terminal",
    },
    Case {
        row: "hook is missing",
        provoke: |t| with_hook(t, "createRuntime", json!({"path": "/no/such/hook"})).create(),
        first: &["createRuntime hook /no/such/hook: ", "execve(/no/such/hook)", "ENOENT"],
        config: "hooks.createRuntime[0]",
    },
    Case {
        row: "hook takes too long",
        provoke: |t| {
            with_hook(t, "prestart", json!({"path": "/bin/sleep", "args": ["sleep", "99"], "timeout": 1})).create()
        },
        first: &["prestart hook /bin/sleep: ", "ran past specified timeout of 1.0s"],
        config: "hooks.prestart[0]",
    },
    Case {
        row: "hook fails",
        provoke: |t| with_hook(t, "createRuntime", hook("echo no cable >&2; exit 4")).create(),
        first: &["createRuntime hook /bin/sh: ", "exit status 4", "no cable"],
        config: "hooks.createRuntime[0]",
    },
    Case {
        row: "network device is missing",
        provoke: |t| t.bundle(&["true"]).set("/linux/netDevices", json!({"nosuch0": {}})).create(),
        first: &["move the network device nosuch0: ", "there is no network device \"nosuch0\" on the host"],
        config: "linux.netDevices.nosuch0",
    },
    Case {
        row: "no AppArmor",
        provoke: |t| t.bundle(&["true"]).set("/process/apparmorProfile", "some-profile").create(),
        first: &["process.apparmorProfile: ", "AppArmor is not enabled"],
        config: "process.apparmorProfile",
    },
    Case {
        row: "no such AppArmor profile",
        provoke: |t| t.bundle(&["true"]).set("/process/apparmorProfile", "some-profile").create(),
        first: &["set the security label of the program: ", "write(", "\"exec some-profile\"", "ENOENT"],
        config: "process.apparmorProfile",
    },
    Case {
        row: "no SELinux",
        provoke: |t| t.bundle(&["true"]).set("/linux/mountLabel", "system_u:object_r:container_file_t:s0").create(),
        first: &["linux.mountLabel: ", "SELinux is not enabled"],
        config: "linux.mountLabel",
    },
];

/// Runs the rest without CAP_SYS_RESOURCE, which a host may have, and with a limit below what is asked for.
const WITHOUT_RESOURCE: &str =
    "ulimit -n 4096; exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \"$@\"";

fn with_hook<'t>(t: &'t Test, kind: &str, hook: serde_json::Value) -> Bundle<'t> {
    t.bundle(&["true"]).set(&format!("/hooks/{kind}"), json!([hook]))
}

/// An executable of the test's, as a path.
pub fn executable(b: &Bundle<'_>, path: &str, content: &[u8]) -> String {
    let file = b.rootfs().join(path.trim_start_matches('/'));
    fs::write(&file, content).expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
    path.to_owned()
}
