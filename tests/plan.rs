//! Plans compared as values: golden files of the bundles, and the documents that real engines wrote. No root, no kernel.

use std::fs;
use std::path::{Path, PathBuf};

use minicon::config;
use minicon::plan::cgroup::{CgroupHost, Hierarchy, Unified};
use minicon::plan::rootfs::What;
use minicon::plan::steps::table;
use minicon::plan::{Host, Plan, Request, text};

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

/// A host with cgroup v2 alone, where systemd or somebody else has enabled the usual controllers.
fn host_of_v2() -> Host {
    let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"].map(str::to_owned);
    let v2 = Unified { mount_point: "/sys/fs/cgroup".into(), own: "/".into(), controllers: controllers.into() };
    Host { cgroups: CgroupHost { v1: Vec::new(), v2: Some(v2) }, ..host() }
}

/// An ordinary user in a user namespace of an engine's.
fn rootless_host() -> Host {
    Host { in_user_namespace: true, rootless: true, user: (0, 0), ..host() }
}

/// The host that a document is for, as its name tells.
fn host_for(file: &Path) -> Host {
    let name = file.to_string_lossy();
    match (name.contains("rootless"), name.contains("unified")) {
        (true, _) => rootless_host(),
        // Files of cgroup v2 by name can be had on such a host only.
        (_, true) => host_of_v2(),
        _ => host(),
    }
}

fn plan(file: &Path, host: &Host) -> minicon::error::Result<Plan> {
    let config = config::parse(fs::read(file).expect("the document is there"))?;
    let request = Request {
        id: "demo",
        bundle: Path::new("/bundle"),
        no_pivot: false,
        no_new_keyring: false,
        rootless: host.rootless,
        strict: false,
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

/// Each step of what engines ask for, and of the examples, has its calls and a reason.
#[test]
fn every_step_has_a_row_in_the_table() {
    let documents =
        entries("tests/fixtures/captured").into_iter().filter(|path| path.to_string_lossy().ends_with(".config.json"));
    let bundles = entries("bundles").into_iter().map(|bundle| bundle.join("config.json")).filter(|file| file.exists());
    for file in documents.chain(bundles) {
        for act in plan(&file, &host_for(&file)).expect("it plans").acts() {
            let (_, calls, why) = table::row(&act.id);
            assert!(!calls.is_empty() && why.ends_with('.') || why.ends_with(')'), "{}: {}", file.display(), act.id);
        }
    }
}

/// `UPDATE=1 cargo test --test plan` rewrites the golden files; the diff is then for you to read.
#[test]
fn bundles_have_their_golden_plans() {
    let bundles = entries("bundles");
    let bundles: Vec<&PathBuf> = bundles.iter().filter(|bundle| bundle.join("config.json").exists()).collect();
    assert!(bundles.len() >= 11, "{bundles:?}");
    for bundle in bundles {
        let file = bundle.join("config.json");
        let text = plan(&file, &host_for(&file)).expect("the bundle plans").to_string();
        let golden = bundle.join("plan.txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &text).expect("written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        snapbox::assert_data_eq!(text, snapbox::Data::text(expected).raw());
        assert!(bundle.join("README.md").exists(), "{bundle:?} has no README");
    }
}

/// The forms that `explain` has besides, of the longest document: what Docker wrote, with each format and with the reasons.
#[test]
fn explain_has_its_golden_forms() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captured/docker.config.json");
    let plan = plan(&file, &host_for(&file)).expect("it plans");
    // A line a step, so that a difference can be read.
    let json = text::json(&plan, true)["steps"].to_string().replace("},{", "},\n{") + "\n";
    for (name, printed) in [
        ("docker.explain.txt", text::text(&plan, false)),
        ("docker.explain.why.txt", text::text(&plan, true)),
        ("docker.explain.md", text::markdown(&plan, false)),
        ("docker.explain.why.json", json),
    ] {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &printed).expect("written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        snapbox::assert_data_eq!(printed, snapbox::Data::text(expected).raw());
    }
}

#[test]
fn what_engines_wrote_plans_without_an_error() {
    let documents = entries("tests/fixtures/captured");
    let configs: Vec<&PathBuf> =
        documents.iter().filter(|path| path.to_string_lossy().ends_with(".config.json")).collect();
    assert!(configs.len() >= 9, "{configs:?}");
    for file in configs {
        let planned =
            plan(file, &host_for(file)).unwrap_or_else(|error| panic!("{}: {}", file.display(), error.text()));
        // buildah asks for ambient capabilities that it does not make inheritable, and the kernel has no such.
        let is_expected = |warning: &String| {
            file.ends_with("buildah.config.json") && warning.starts_with("process.capabilities.ambient: ignored")
        };
        assert!(planned.warnings.iter().all(is_expected), "{}: {:?}", file.display(), planned.warnings);
        let has_filter = planned.program.is_some_and(|program| program.seccomp.is_some());
        assert!(has_filter || !fs::read_to_string(file).expect("read").contains("\"seccomp\":"));
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
        strict: false,
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

/// A configuration with this process and this `linux` section, planned for a host.
fn plan_of(process: &serde_json::Value, linux: &serde_json::Value, host: &Host) -> minicon::error::Result<Plan> {
    let document = serde_json::json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": process,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
            {"destination": "/own", "type": "tmpfs", "source": "tmpfs", "options": ["context=\"own:c1,c2\""]},
            {"destination": "/data", "type": "bind", "source": "/data", "options": ["bind"]},
        ],
        "linux": linux,
    });
    let config = config::parse(document.to_string().into_bytes())?;
    let request = Request {
        id: "demo",
        bundle: Path::new("/bundle"),
        no_pivot: false,
        no_new_keyring: false,
        rootless: false,
        strict: false,
        cgroup_manager: Default::default(),
        notify_directory: None,
        environment: &[],
    };
    Plan::build(&config, &request, host)
}

/// What init does before it is limited must die with it, and may need nothing that the runtime still has to do.
#[test]
fn init_enters_alone_what_is_all_its_own() {
    let process = serde_json::json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
    let alone = |linux: serde_json::Value| plan_of(&process, &linux, &host()).expect("a plan").enters_alone();
    let maps = serde_json::json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    assert!(alone(serde_json::json!({"namespaces": [{"type": "mount"}]})));
    assert!(alone(serde_json::json!({"namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "cgroup"}]})));
    let joined = serde_json::json!([{"type": "mount"}, {"type": "network", "path": "/run/netns/x"}]);
    assert!(!alone(serde_json::json!({"namespaces": joined})));
    let user = serde_json::json!([{"type": "mount"}, {"type": "user"}]);
    assert!(!alone(serde_json::json!({"namespaces": user, "uidMappings": maps, "gidMappings": maps})));
}

#[test]
fn a_label_is_written_as_its_module_wants_it() {
    let linux = serde_json::json!({"namespaces": [{"type": "mount"}]});
    let label_of = |name: &str, host: &Host| {
        let mut process = serde_json::json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
        process[name] = "some_label".into();
        let label = plan_of(&process, &linux, host)?.program.and_then(|program| program.identity.label);
        Ok::<_, minicon::error::Error>(label.map(|label| (label.file, label.value, label.at.to_string())))
    };
    let (none, apparmor, selinux) = (host(), Host { apparmor: true, ..host() }, Host { selinux: true, ..host() });
    // apparmor_parser(8): the profile of the next exec is set by "exec PROFILE"; SELinux takes the bare context.
    let expected = ("attr/apparmor/exec", "exec some_label".to_owned(), "process.apparmorProfile".to_owned());
    assert_eq!(label_of("apparmorProfile", &apparmor), Ok(Some(expected)));
    let expected = ("attr/exec", "some_label".to_owned(), "process.selinuxLabel".to_owned());
    assert_eq!(label_of("selinuxLabel", &selinux), Ok(Some(expected)));
    for (name, host) in [("apparmorProfile", &none), ("apparmorProfile", &selinux), ("selinuxLabel", &apparmor)] {
        let error = label_of(name, host).expect_err("no such module");
        assert_eq!(error.config_path(), Some(format!("process.{name}").as_str()));
    }
}

/// "`mountLabel` will set the Selinux context for the mounts in the container" (config-linux.md, Mount Label).
#[test]
fn mounts_get_the_label_that_they_can_have() {
    let linux = serde_json::json!({"namespaces": [{"type": "mount"}], "mountLabel": "u:r:t:s0:c7,c8"});
    let process = serde_json::json!({"cwd": "/", "args": ["x"]});
    let planned = plan_of(&process, &linux, &Host { selinux: true, ..host() }).expect("it plans");
    let data = |destination: &str| {
        let mounts = planned.rootfs.furnish.iter().filter_map(|step| match &step.what {
            What::Mount(mount) => Some(mount),
            _ => None,
        });
        let mount = mounts.into_iter().find(|mount| mount.destination == Path::new(destination));
        mount.expect(destination).options.data_string()
    };
    assert_eq!(data("/tmp"), "size=1m,context=\"u:r:t:s0:c7,c8\"");
    assert_eq!(data("/own"), "context=\"own:c1,c2\"");
    assert_eq!(data("/proc"), "");
    assert_eq!(data("/data"), "");
    let error = plan_of(&process, &linux, &host()).expect_err("there is no SELinux");
    assert_eq!(error.config_path(), Some("linux.mountLabel"));
}

/// "This property is REQUIRED when start is called" (config.md, Process), and not before.
#[test]
fn a_plan_needs_no_process_but_what_is_beside_it_is_checked() {
    let none = serde_json::Value::Null;
    let linux = serde_json::json!({"namespaces": [{"type": "mount"}]});
    let planned = plan_of(&none, &linux, &host()).expect("it plans");
    assert!(planned.program.is_none());
    let acts = planned.acts();
    assert!(acts.iter().any(|act| act.id == "nobody") && acts.iter().all(|act| act.stage.command() != "start"));
    let linux = serde_json::json!({"namespaces": [{"type": "mount"}],
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}});
    let error = plan_of(&none, &linux, &host()).expect_err("the policy is wrong");
    assert_eq!(error.config_path(), Some("linux.seccomp.defaultErrnoRet"));
}
