//! What the two targets about plans share: the hosts to plan for.

use std::path::Path;

use minicon::config;
use minicon::plan::cgroup::{CgroupHost, Hierarchy, Unified};
use minicon::plan::{Host, Plan, Request};

/// Reads a document and plans it on hosts of every kind; shows the plan, or what is wrong.
pub fn plan(text: &[u8]) {
    let Ok(config) = config::parse(text.to_vec()) else { return };
    for (host, strict) in [(v1(), false), (v2(), true), (rootless(), false)] {
        let request = Request {
            id: "demo",
            bundle: Path::new("/bundle"),
            no_pivot: strict,
            no_new_keyring: strict,
            rootless: host.rootless,
            strict,
            cgroup_manager: Default::default(),
            notify_directory: None,
            environment: &[],
        };
        match Plan::build(&config, &request, &host) {
            Ok(plan) => assert!(!plan.to_string().is_empty()),
            // An error about the configuration names its place.
            Err(error) => assert!(error.config_path().is_some(), "{error}"),
        }
    }
}

fn v1() -> Host {
    let hierarchy = |name: &str| Hierarchy {
        mount_point: Path::new("/sys/fs/cgroup").join(name),
        controllers: vec![name.to_owned()],
        own: "/".into(),
    };
    let v1 = ["pids", "blkio", "freezer", "devices", "memory", "cpuset", "cpuacct", "cpu"].map(hierarchy);
    let v2 = Unified { mount_point: "/sys/fs/cgroup/unified".into(), own: "/".into(), controllers: Vec::new() };
    let cgroups = CgroupHost { v1: v1.into(), v2: Some(v2) };
    Host { bounding_capabilities: u64::MAX, cgroups, apparmor: true, ..Host::default() }
}

fn v2() -> Host {
    let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"].map(str::to_owned);
    let v2 = Unified { mount_point: "/sys/fs/cgroup".into(), own: "/job".into(), controllers: controllers.into() };
    let cgroups = CgroupHost { v1: Vec::new(), v2: Some(v2) };
    Host { cgroups, selinux: true, resctrl: Some("/sys/fs/resctrl".into()), ..v1() }
}

fn rootless() -> Host {
    Host { in_user_namespace: true, rootless: true, user: (1000, 1000), ..v2() }
}
