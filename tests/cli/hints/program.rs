//! The program: found, entered, executed.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::Case;
use super::host::executable;
use super::namespaces::mapped;

pub const CASES: &[Case] = &[
    Case {
        row: "working directory is missing",
        provoke: |t| {
            let b = t.bundle(&["true"]).mount("bind", t.directory("read-only"), "/mnt", &["bind", "ro"]);
            b.set("/process/cwd", "/mnt/none").create()
        },
        first: &["enter the working directory /mnt/none: ", "chdir(/mnt/none)", "ENOENT"],
        config: "process.cwd",
    },
    Case {
        row: "working directory is a file",
        provoke: |t| t.bundle(&["true"]).set("/process/cwd", "/etc/passwd").create(),
        first: &["enter the working directory /etc/passwd: ", "chdir(/etc/passwd)", "ENOTDIR"],
        config: "process.cwd",
    },
    Case {
        row: "working directory is closed to the user",
        provoke: |t| {
            let closed = t.directory("closed");
            std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("chmod");
            // Root of the user namespace has no rights over what belongs to the host's.
            let b = mapped(t, json!([{"containerID": 0, "hostID": 100_000, "size": 10}]));
            b.mount("bind", closed, "/mnt", &["bind"]).set("/process/cwd", "/mnt").create()
        },
        first: &["enter the working directory /mnt: ", "chdir(/mnt)", "EACCES"],
        config: "process.cwd",
    },
    Case {
        row: "not found in $PATH",
        provoke: |t| t.bundle(&["no-such-program"]).create(),
        first: &["find the program: ", "exec: \"no-such-program\": executable file not found in $PATH"],
        config: "process.args[0]",
    },
    Case {
        row: "program is missing",
        provoke: |t| t.bundle(&["/no/such/program"]).create(),
        first: &["find the program: ", "exec: \"/no/such/program\": stat /no/such/program: no such file"],
        config: "process.args[0]",
    },
    Case {
        row: "program is a directory",
        provoke: |t| t.bundle(&["/etc"]).create(),
        first: &["find the program: ", "exec: \"/etc\": is a directory"],
        config: "process.args[0]",
    },
    Case {
        row: "program may not be executed",
        provoke: |t| t.bundle(&["/etc/passwd"]).create(),
        first: &["find the program: ", "exec: \"/etc/passwd\": permission denied"],
        config: "process.args[0]",
    },
    Case {
        row: "program may not be executed",
        provoke: |t| {
            let b = t.bundle(&["/mnt/program"]);
            std::fs::copy("/bin/busybox", t.directory("noexec").join("program")).expect("copy");
            b.mount("bind", t.path("noexec"), "/mnt", &["bind", "noexec"]).create()
        },
        first: &["find the program: ", "exec: \"/mnt/program\": permission denied"],
        config: "process.args[0]",
    },
    Case {
        row: "not an executable format",
        provoke: |t| {
            let b = t.bundle(&["/bin/foreign"]).own_rootfs();
            // The header of a program for a processor that no machine of ours is (EM_SPARCV9).
            let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
            elf.resize(64, 0);
            (elf[16], elf[18]) = (2, 43);
            executable(&b, "/bin/foreign", &elf);
            b.run()
        },
        first: &["start the program: ", "execve(/bin/foreign)", "ENOEXEC"],
        config: "process.args[0]",
    },
    Case {
        row: "not an executable format",
        provoke: |t| {
            let b = t.bundle(&["/bin/script"]).own_rootfs();
            executable(&b, "/bin/script", b"echo a script without its first line\n");
            b.run()
        },
        first: &["start the program: ", "execve(/bin/script)", "ENOEXEC"],
        config: "process.args[0]",
    },
    Case {
        row: "interpreter or loader is missing",
        provoke: |t| {
            let b = t.bundle(&["/bin/script"]).own_rootfs();
            executable(&b, "/bin/script", b"#!/no/such/interpreter\n");
            b.run()
        },
        first: &["start the program: ", "execve(/bin/script)", "ENOENT"],
        config: "process.args[0]",
    },
    Case {
        row: "interpreter or loader is missing",
        provoke: |t| {
            let b = t.bundle(&["/bin/dynamic"]).own_rootfs();
            // The host's cat needs the host's loader.
            executable(&b, "/bin/dynamic", &std::fs::read("/bin/cat").expect("cat"));
            b.run()
        },
        first: &["start the program: ", "execve(/bin/dynamic)", "ENOENT"],
        config: "process.args[0]",
    },
    Case {
        row: "interpreter may not be executed",
        provoke: |t| {
            let b = t.bundle(&["/bin/script"]).own_rootfs();
            executable(&b, "/bin/script", b"#!/mnt/busybox\n");
            std::fs::copy("/bin/busybox", t.directory("noexec").join("busybox")).expect("copy");
            b.mount("bind", t.path("noexec"), "/mnt", &["bind", "noexec"]).run()
        },
        first: &["start the program: ", "execve(/bin/script)", "EACCES"],
        config: "process.args[0]",
    },
    Case {
        row: "arguments are too long",
        provoke: |t| t.bundle(&["true", &"x".repeat(200_000)]).run(),
        first: &["start the program: ", "execve(", "E2BIG"],
        config: "process.args[0]",
    },
    Case {
        row: "processors that are not there",
        provoke: |t| {
            let b = t.bundle(&["true"]);
            b.set("/linux/resources/cpu", json!({"cpus": "9-4000"})).create()
        },
        first: &["limit cpu", "write(", "cpuset.cpus"],
        config: "linux.resources.cpu.cpus",
    },
    Case {
        row: "no seccomp agent",
        provoke: |t| {
            let profile = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/no/such/agent",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
            });
            t.bundle(&["true"]).set("/linux/seccomp", profile).set("/process/noNewPrivileges", true).create()
        },
        first: &["hand over the seccomp notifier: ", "connect(/no/such/agent)", "ENOENT"],
        config: "linux.seccomp.listenerPath",
    },
];
