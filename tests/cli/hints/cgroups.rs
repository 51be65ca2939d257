//! Cgroups and their limits, and what dies of them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Case;
use crate::rootless::Rootless;
use crate::rootless_v2::Delegated;
use crate::support::{Bundle, Output, Test};

pub const CASES: &[Case] = &[
    Case {
        row: "cgroup in use",
        provoke: |t| {
            let first = t.idle();
            let path = format!("/{}-shared", first.id);
            let first = first.set("/linux/cgroupsPath", path.clone());
            first.up();
            let output = t.bundle(&["true"]).set("/linux/cgroupsPath", path).create();
            first.stop();
            first.delete().ok();
            output
        },
        first: &["container's cgroup is not empty: ", "process(es) found"],
        config: "linux.cgroupsPath",
    },
    Case {
        row: "frozen cgroup",
        provoke: |t| {
            let b = t.bundle(&["true"]);
            let path = format!("/{}-frozen", b.id);
            let group = PathBuf::from(format!("/sys/fs/cgroup/freezer{path}"));
            fs::create_dir(&group).expect("mkdir");
            fs::write(group.join("freezer.state"), "FROZEN").expect("freeze");
            let output = b.set("/linux/cgroupsPath", path).create();
            fs::remove_dir(&group).expect("rmdir");
            output
        },
        first: &["container's cgroup unexpectedly frozen"],
        config: "linux.cgroupsPath",
    },
    Case {
        row: "no cgroup delegated",
        provoke: |t| {
            let r = Rootless::new(t);
            r.configure(|config| config["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}}));
            r.runtime(&["create", "x"]).run()
        },
        first: &[
            "cannot set memory limit: container could not join or create cgroup: ",
            "mkdir(/sys/fs/cgroup/",
            "EACCES",
        ],
        config: "linux.resources.memory.limit",
    },
    Case {
        row: "no right to enter the cgroup",
        provoke: |t| {
            let delegated = Delegated::below(Path::new("/sys/fs/cgroup/unified"), &format!("{}-own", t.tag()));
            let mut r = Rootless::new(t).in_cgroup(&delegated.session);
            r.configure(|config| config["process"]["args"] = json!(["sleep", "1000"]));
            r.runtime(&["run", "--detach", "x"]).run().ok();
            r.in_no_cgroup();
            let output = r.runtime(&["exec", "x", "true"]).run();
            r.runtime(&["delete", "--force", "x"]).run().ok();
            output
        },
        first: &["exec failed: make the process: ", "clone3(", "EACCES"],
        config: "",
    },
    Case {
        row: "read-only cgroups",
        provoke: |t| {
            let script = "mount -o remount,bind,ro /sys/fs/cgroup/memory && exec \"$@\"";
            let create = t.bundle(&["true"]).on_bundle("create", &[]).through(script);
            create.through("exec unshare --mount \"$@\"").run()
        },
        first: &["unable to apply cgroup configuration: ", "mkdir(/sys/fs/cgroup/memory", "EROFS"],
        config: "linux.cgroupsPath",
    },
    Case {
        row: "too many cgroups below a parent",
        provoke: |t| below(t, "full", "cgroup.max.descendants", "0"),
        first: &["unable to apply cgroup configuration: ", "mkdir(/sys/fs/cgroup/unified/", "EAGAIN"],
        config: "linux.cgroupsPath",
    },
    Case {
        row: "threaded cgroup",
        provoke: |t| below(t, "threaded", "cgroup.type", "threaded"),
        first: &["make the container's init: ", "clone3(", "EOPNOTSUPP"],
        config: "",
    },
    Case {
        row: "cgroup with controllers for its children",
        provoke: |t| {
            let b = t.bundle(&["true"]);
            let path = format!("/{}-inner", b.id);
            let group = PathBuf::from(format!("/sys/fs/cgroup/unified{path}"));
            fs::create_dir(&group).expect("mkdir");
            fs::write(group.join("cgroup.subtree_control"), "+hugetlb").expect("the root gives hugetlb");
            let output = b.set("/linux/cgroupsPath", path).create();
            let _ = fs::remove_dir(&group);
            output
        },
        first: &["make the container's init: ", "clone3(", "EBUSY"],
        config: "",
    },
    Case {
        row: "controller is missing",
        provoke: |t| t.bundle(&["true"]).set("/linux/resources/rdma", json!({"mlx5_0": {"hcaHandles": 3}})).create(),
        first: &["linux.resources.rdma", "needs the cgroup controller rdma, which is missing here"],
        config: "linux.resources.rdma",
    },
    Case {
        row: "memory limit below what is in use",
        provoke: |t| {
            let b = t.idle();
            b.up();
            let output = b.verb("update", &["--memory", "4096"]).run();
            b.stop();
            output
        },
        first: &["limit memory: ", "write(", "memory.limit_in_bytes", "EBUSY"],
        config: "linux.resources.memory.limit",
    },
    Case {
        row: "processors that are not there",
        provoke: |t| t.bundle(&["true"]).set("/linux/resources/cpu", json!({"cpus": "4000"})).create(),
        first: &["limit cpu", "write(", "cpuset.cpus", "\"4000\""],
        config: "linux.resources.cpu.cpus",
    },
    Case {
        row: "killed for want of memory",
        provoke: |t| {
            let b = t.bundle(&["true"]).own_rootfs();
            // Init itself copies this into a file system that counts as memory.
            fs::create_dir(b.rootfs().join("data")).expect("mkdir");
            let large = fs::File::create(b.rootfs().join("data/large")).expect("a file");
            large.set_len(64 << 20).expect("64 MiB");
            let b = b.mount("tmpfs", "tmpfs", "/data", &["tmpcopyup"]);
            b.set("/linux/resources/memory", json!({"limit": 4 << 20})).create()
        },
        first: &["container init ", "(possibly OOM-killed)"],
        config: "linux.resources.memory.limit",
    },
    Case {
        row: "killed by its filter",
        provoke: |t| killing(t, "capset").set("/process/noNewPrivileges", false).create(),
        first: &["container init was killed by signal 31"],
        config: "linux.seccomp",
    },
    Case {
        row: "killed while it started the program",
        provoke: |t| killing(t, "execve").set("/process/noNewPrivileges", true).run(),
        first: &["container init died while it started the program"],
        config: "",
    },
];

/// A container below a cgroup of v2 that has this value in this file.
fn below(t: &Test, name: &str, file: &str, value: &str) -> Output {
    let b = t.bundle(&["true"]);
    let path = format!("/{}-{name}", b.id);
    let group = PathBuf::from(format!("/sys/fs/cgroup/unified{path}"));
    fs::create_dir(&group).expect("mkdir");
    fs::write(group.join(file), value).expect("write");
    let output = b.set("/linux/cgroupsPath", format!("{path}/inner")).create();
    fs::remove_dir(&group).expect("rmdir");
    output
}

/// A bundle whose filter kills for one call.
fn killing<'t>(t: &'t Test, call: &str) -> Bundle<'t> {
    let rule = json!({"names": [call], "action": "SCMP_ACT_KILL_PROCESS"});
    t.bundle(&["true"]).set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
}
