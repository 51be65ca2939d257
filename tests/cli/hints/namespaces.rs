//! Processes, namespaces and ids.

use serde_json::json;

use super::Case;
use crate::rootless::Rootless;
use crate::support::{Bundle, Test};

pub const CASES: &[Case] = &[
    Case {
        row: "no more processes",
        provoke: |t| {
            let b = t.bundle(&["true"]);
            let group = format!("/sys/fs/cgroup/pids/{}-full", b.id);
            // The shell is the one process that the group may have.
            let script =
                format!("mkdir {group} && echo 1 > {group}/pids.max && echo $$ > {group}/cgroup.procs && exec \"$@\"");
            let output = b.on_bundle("create", &[]).through(&script).run();
            std::fs::remove_dir(&group).expect("rmdir");
            output
        },
        first: &["make the container's init: ", "clone3(", "EAGAIN"],
        config: "",
    },
    Case {
        row: "namespaces without privileges",
        provoke: |t| {
            let r = Rootless::new(t);
            r.configure(|config| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
                namespaces.retain(|namespace| namespace["type"] != "user");
                let linux = config["linux"].as_object_mut().expect("an object");
                linux.remove("uidMappings");
                linux.remove("gidMappings");
            });
            r.runtime(&["create", "x"]).run()
        },
        first: &["make the container's init: ", "clone3(", "EPERM"],
        config: "",
    },
    Case {
        row: "no right to enter the namespaces",
        provoke: |t| {
            let r = Rootless::new(t);
            r.configure(|config| config["process"]["args"] = json!(["sleep", "1000"]));
            r.runtime(&["create", "x"]).run().ok();
            let output = r.runtime(&["exec", "x", "true"]).run();
            r.runtime(&["delete", "--force", "x"]).run().ok();
            output
        },
        first: &["exec failed: join the container's namespaces: ", "setns(", "EPERM"],
        config: "",
    },
    Case {
        row: "namespace of another kind",
        provoke: |t| t.bundle(&["true"]).join("network", "/proc/self/ns/ipc").create(),
        first: &["open the network namespace: ", "/proc/self/ns/ipc is a ipc namespace, not network"],
        config: "linux.namespaces[4].path",
    },
    Case {
        row: "not a namespace",
        provoke: |t| t.bundle(&["true"]).join("network", "/etc/passwd").create(),
        first: &["open the network namespace: ", "/etc/passwd is not a namespace"],
        config: "linux.namespaces[4].path",
    },
    Case {
        row: "namespace is gone",
        provoke: |t| t.bundle(&["true"]).join("network", "/proc/self/ns/gone").create(),
        first: &["open the network namespace: ", "open(/proc/self/ns/gone)", "ENOENT"],
        config: "linux.namespaces[4].path",
    },
    Case {
        row: "namespace that is the host's",
        provoke: |t| t.bundle(&["true"]).join("uts", "/proc/self/ns/uts").create(),
        first: &["a host name not allowed in the host's uts namespace"],
        config: "hostname",
    },
    Case {
        row: "id maps overlap",
        provoke: |t| mapped(t, json!([line(0, 100_000, 10), line(5, 200_000, 10)])).create(),
        first: &["write the id map: ", "write(/proc/", "_map", "EINVAL"],
        config: "linux.gidMappings",
    },
    Case {
        row: "id maps of foreign ids",
        provoke: |t| {
            let b = mapped(t, json!([line(0, 100_000, 10)]));
            // Root of a user namespace that has no id but 0.
            b.on_bundle("create", &["--no-new-keyring"]).through("exec unshare --user --map-root-user \"$@\"").run()
        },
        first: &["write the id map: ", "write(/proc/", "_map", "EPERM"],
        config: "linux.gidMappings",
    },
    Case {
        row: "group id maps are not granted",
        provoke: |t| {
            let r = Rootless::new(t);
            r.configure(|config| {
                config["linux"]["uidMappings"] = json!([line(0, 1000, 1), line(1, 3_000_000_000_u32, 5)]);
                config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
            });
            r.runtime(&["create", "x"]).run()
        },
        first: &["write the id map: ", "newgidmap: "],
        config: "linux.gidMappings",
    },
    Case {
        row: "id maps are not granted",
        provoke: |t| {
            let r = Rootless::new(t);
            r.configure(|config| config["linux"]["uidMappings"] = json!([line(0, 1000, 1), line(1, 3_000_000_000, 5)]));
            r.runtime(&["create", "x"]).run()
        },
        first: &["write the id map: ", "newuidmap: "],
        config: "linux.uidMappings",
    },
    Case {
        row: "user is not mapped",
        provoke: |t| mapped(t, json!([line(0, 100_000, 10)])).set("/process/user/uid", 77).create(),
        first: &["become the user: ", "setresuid(77)", "EINVAL"],
        config: "process.user",
    },
    Case {
        row: "group is not mapped",
        provoke: |t| mapped(t, json!([line(0, 100_000, 10)])).set("/process/user/gid", 77).create(),
        first: &["become the user: ", "setresgid(77)", "EINVAL"],
        config: "process.user",
    },
    Case {
        row: "supplementary group is not mapped",
        provoke: |t| mapped(t, json!([line(0, 100_000, 10)])).set("/process/user/additionalGids", json!([77])).create(),
        first: &["become the user: ", "setgroups([77])", "EINVAL"],
        config: "process.user",
    },
    Case {
        row: "parameter that is the host's",
        provoke: |t| t.bundle(&["true"]).set("/linux/sysctl", json!({"vm.swappiness": "1"})).create(),
        first: &["linux.sysctl: ", "vm.swappiness is not in a separate kernel namespace"],
        config: "linux.sysctl",
    },
    Case {
        row: "parameter that this kernel lacks",
        provoke: |t| t.bundle(&["true"]).set("/linux/sysctl", json!({"net.no.such": "1"})).create(),
        first: &["set the kernel parameter net/no/such: ", "openat2(", "ENOENT"],
        config: "linux.sysctl",
    },
    Case {
        row: "parameter with a wrong value",
        provoke: |t| t.bundle(&["true"]).set("/linux/sysctl", json!({"kernel.msgmax": "many"})).create(),
        first: &["set the kernel parameter kernel/msgmax: ", "write(", "\"many\"", "EINVAL"],
        config: "linux.sysctl",
    },
];

fn line(inside: u32, outside: u32, size: u32) -> serde_json::Value {
    json!({"containerID": inside, "hostID": outside, "size": size})
}

/// A bundle with a user namespace.
pub fn mapped(t: &Test, map: serde_json::Value) -> Bundle<'_> {
    let b = t.bundle(&["true"]).unshare("user");
    b.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
}
