//! Plans compared as values: golden files of the bundles, and the documents that real engines wrote. No root, no kernel.

use std::fs;
use std::path::{Path, PathBuf};

use minicon::config;
use minicon::plan::cgroup::{CgroupHost, Hierarchy, Unified};
use minicon::plan::{Host, Plan, Request};

/// A host as this project's first machines were: cgroup v1 controllers with limits, hugetlb in the cgroup2 tree.
fn host() -> Host {
    let hierarchy = |name: &str| Hierarchy {
        mount_point: Path::new("/sys/fs/cgroup").join(name),
        controllers: vec![if name == "systemd" { "name=systemd".to_owned() } else { name.to_owned() }],
        own: "/".into(),
    };
    let v1 = ["systemd", "pids", "blkio", "freezer", "devices", "memory", "cpuset", "cpuacct", "cpu"].map(hierarchy);
    let v2 = Unified {
        mount_point: "/sys/fs/cgroup/unified".into(),
        own: "/".into(),
        controllers: vec!["hugetlb".to_owned()],
    };
    Host {
        bounding_capabilities: (1 << 41) - 1,
        cgroups: CgroupHost { v1: v1.into(), v2: Some(v2) },
        ..Host::default()
    }
}

/// An ordinary user in a user namespace of an engine's.
fn rootless_host() -> Host {
    Host { in_user_namespace: true, rootless: true, user: (0, 0), ..host() }
}

fn plan(file: &Path, host: &Host) -> minicon::error::Result<Plan> {
    let config = config::parse(fs::read(file).expect("the document is there"))?;
    let request = Request {
        id: "demo",
        bundle: Path::new("/bundle"),
        no_pivot: false,
        no_new_keyring: false,
        rootless: host.rootless,
        cgroup_manager: Default::default(),
        notify_directory: None,
        environment: &[],
    };
    Plan::build(&config, &request, host)
}

fn entries(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).expect("a directory").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// `UPDATE=1 cargo test --test plan` rewrites the golden files; the diff is then for you to read.
#[test]
fn bundles_have_their_golden_plans() {
    let bundles = entries("bundles");
    let bundles: Vec<&PathBuf> = bundles.iter().filter(|bundle| bundle.join("config.json").exists()).collect();
    assert!(bundles.len() >= 9, "{bundles:?}");
    for bundle in bundles {
        let text = plan(&bundle.join("config.json"), &host()).expect("the bundle plans").to_string();
        let golden = bundle.join("plan.txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &text).expect("written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        snapbox::assert_data_eq!(text, snapbox::Data::text(expected).raw());
        assert!(bundle.join("README.md").exists(), "{bundle:?} has no README");
    }
}

#[test]
fn what_engines_wrote_plans_without_an_error() {
    let documents = entries("tests/fixtures/captured");
    let configs: Vec<&PathBuf> =
        documents.iter().filter(|path| path.to_string_lossy().ends_with(".config.json")).collect();
    assert!(configs.len() >= 9, "{configs:?}");
    for file in configs {
        let rootless = file.to_string_lossy().contains("rootless");
        let host = if rootless { rootless_host() } else { host() };
        let planned = plan(file, &host).unwrap_or_else(|error| panic!("{}: {}", file.display(), error.text()));
        assert!(planned.warnings.is_empty(), "{}: {:?}", file.display(), planned.warnings);
        assert!(planned.program.seccomp.is_some() || !fs::read_to_string(file).expect("read").contains("\"seccomp\":"));
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text = br#"{"ociVersion":"1.3.0","root":{"path":""},"hostname":"x",
        "process":{"user":{"uid":0,"gid":0},"args":[],"cwd":"rel","rlimits":[{"type":"RLIMIT_CPU","soft":2,"hard":1}]},
        "linux":{"namespaces":[{"type":"pid"},{"type":"pid"},{"type":"ipc","path":"rel"}]}}"#;
    let config = config::parse(text.to_vec()).expect("the shape is right");
    let request = Request {
        id: "demo",
        bundle: Path::new("/bundle"),
        no_pivot: false,
        no_new_keyring: false,
        rootless: false,
        cgroup_manager: Default::default(),
        notify_directory: None,
        environment: &[],
    };
    let told = Plan::build(&config, &request, &host()).expect_err("it is wrong").text();
    for place in [
        "linux.namespaces[1].type",
        "linux.namespaces[2].path",
        "hostname",
        "root.path",
        "process.args",
        "process.cwd",
        "process.rlimits[0]",
    ] {
        assert!(told.contains(place), "{place} is not in {told}");
    }
}
