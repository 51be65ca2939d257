//! `check`: what would fail here is told before it does, with the remedy, and nothing is done.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::rootless::Rootless;
use crate::support::{Bundle, Test, hook};

/// What is found to fail: topic and place.
#[track_caller]
fn failures(t: &Test, b: &Bundle<'_>) -> Vec<(String, String)> {
    b.write();
    let output = t.runtime(["check", "--format", "json"]).arg(&b.dir).run();
    let report = output.json();
    let found = report["findings"].as_array().expect("findings");
    let failures: Vec<&Value> = found.iter().filter(|finding| finding["level"] == "failure").collect();
    assert_eq!(output.code, i32::from(!failures.is_empty()), "{report}");
    assert_eq!(report["ok"], failures.is_empty(), "{report}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    failures.iter().map(|finding| (text(&finding["topic"]), text(&finding["config"]))).collect()
}

#[test]
fn a_good_bundle_has_nothing_to_fail() {
    let Some(t) = Test::of_minicon("only minicon checks") else { return };
    let b = t.bundle(&["true"]);
    assert_eq!(failures(&t, &b), []);
    let text = t.runtime(["check"]).arg(&b.dir).run().ok().stdout;
    assert!(text.contains("\n0 would fail") && text.contains("ok       program     /bin/true\n"), "{text}");
    t.runtime(["check"]).run().ok().shows("ok       cgroups ");
    t.runtime(["check", "/no/such/bundle"]).run().fails("/no/such/bundle");
}

/// What `check` finds is what `create` or `start` says, and nothing of it is left.
#[test]
fn what_check_finds_is_what_fails() {
    let Some(t) = Test::of_minicon("only minicon checks") else { return };
    let directory = t.directory("a-directory");
    let foreign = {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        (elf[16], elf[18]) = (2, 43);
        elf
    };
    let program = |name: &str, content: &[u8], mode: u32| {
        let b = t.bundle(&[&format!("/bin/{name}")]).own_rootfs();
        let file = b.rootfs().join("bin").join(name);
        fs::write(&file, content).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
        b
    };
    let cases: Vec<(Bundle<'_>, &str, &str)> = vec![
        (t.bundle(&["true"]).set("/process/cwd", "relative"), "config", "process.cwd"),
        (t.bundle(&["true"]).set("/root/path", "/no/such/root"), "root", "root.path"),
        (t.bundle(&["true"]).mount("bind", "/no/such", "/mnt", &["bind"]), "mounts", "mounts[7].source"),
        (t.bundle(&["true"]).mount("bind", &directory, "/etc/passwd", &["bind"]), "mounts", "mounts[7].destination"),
        (t.bundle(&["true"]).join("network", "/no/such/ns"), "namespaces", "linux.namespaces[4].path"),
        (t.bundle(&["no-such-program"]), "program", "process.args[0]"),
        (t.bundle(&["/etc/passwd"]), "program", "process.args[0]"),
        (program("foreign", &foreign, 0o755), "program", "process.args[0]"),
        (program("plain", b"echo\n", 0o755), "program", "process.args[0]"),
        (program("script", b"#!/no/such/interpreter -x\n", 0o755), "program", "process.args[0]"),
        (program("dynamic", &fs::read("/bin/cat").expect("cat"), 0o755), "program", "process.args[0]"),
        (
            t.bundle(&["true"]).set("/hooks/prestart", json!([{"path": "/no/such/hook"}])),
            "hooks",
            "hooks.prestart[0].path",
        ),
        (t.bundle(&["true"]).set("/linux/netDevices", json!({"nosuch0": {}})), "network", "linux.netDevices.nosuch0"),
        (t.bundle(&["true"]).set("/linux/sysctl", json!({"kernel.shm_no": "1"})), "config", "linux.sysctl"),
    ];
    for (b, topic, place) in cases {
        assert_eq!(failures(&t, &b), [(topic.to_owned(), place.to_owned())], "{}", b.config);
        b.run().exits(1);
        b.is_gone();
    }
}

#[test]
fn all_mistakes_of_a_configuration_are_findings() {
    let Some(t) = Test::of_minicon("only minicon checks") else { return };
    let b = t.bundle(&["true"]).set("/process/cwd", "relative").set("/process/args", json!([]));
    let found = failures(&t, &b);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|(topic, _)| topic == "config"), "{found:?}");
}

/// An ordinary user is told what an ordinary user lacks. Neither command needs a right, and neither leaves a trace: the
/// guard compares the host.
#[test]
fn explain_and_check_need_no_rights() {
    let Some(t) = Test::of_minicon("only minicon checks") else { return };
    let r = Rootless::new(&t);
    r.configure(|_| ());
    let explained = r.runtime(&["explain", "--format", "json"]).run().ok().json();
    assert!(explained["steps"].as_array().expect("steps").iter().any(|step| step["id"] == "idmap:uid"));
    let told = r.runtime(&["check", "."]).run().ok().shows("an ordinary user").stdout.clone();
    // What the kernel can do does not depend on who asks, though it refuses most of it to an ordinary user.
    let kernel = |told: &str| told.lines().filter(|line| line[9..].starts_with("kernel ")).map(str::to_owned).collect();
    let of_root: Vec<String> = kernel(&t.runtime(["check"]).run().ok().stdout);
    assert_eq!(kernel(&told), of_root);
    r.configure(|config| {
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 3_000_000_000_u32, "size": 5}]);
        config["process"]["oomScoreAdj"] = json!(-1000);
    });
    let found = r.runtime(&["check", "--format=json", "."]).run().exits(1).json();
    let found = found["findings"].as_array().expect("findings").clone();
    let places: Vec<&Value> =
        found.iter().filter(|finding| finding["level"] == "failure").map(|finding| &finding["config"]).collect();
    assert!(places.contains(&&json!("linux.uidMappings")), "{places:?}");
    assert!(places.contains(&&json!("process.oomScoreAdj")), "{places:?}");
}

/// What is told of a bundle, as it is printed. What is told of the machine differs from one to the next and is left out.
/// `UPDATE=1` writes the golden file anew.
#[test]
fn what_is_told_of_a_bundle_has_its_golden_text() {
    let Some(t) = Test::of_minicon("only minicon checks") else { return };
    let b = t
        .bundle(&["no-such-program"])
        .mount("bind", "/no/such", "/mnt", &["bind"])
        .join("network", "/no/such/ns")
        .set("/hooks/prestart", json!([{"path": "/no/such/hook"}]));
    b.write();
    let told = t.runtime(["check"]).arg(&b.dir).run().exits(1).stdout;
    // The machine comes first. Where the root lies and how many steps there are is another on each.
    let mut told: Vec<&str> = told.lines().skip_while(|line| !line.starts_with("ok       config ")).collect();
    told.retain(|line| !line.starts_with("ok  ") && !line.ends_with(" to know"));
    let told = told.join("\n") + "\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/check.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&golden, &told).expect("written");
    }
    assert_eq!(told, fs::read_to_string(&golden).unwrap_or_default());
}

/// A hook is found, not run.
#[test]
fn nothing_is_run() {
    let Some(t) = Test::of_minicon("only minicon checks") else { return };
    let ran = t.path("ran");
    let b = t.bundle(&["true"]).set("/hooks/prestart", json!([hook(&format!("touch {}", ran.display()))]));
    assert_eq!(failures(&t, &b), []);
    t.runtime(["explain"]).arg(&b.dir).run().ok();
    assert!(!ran.exists());
    b.is_gone();
}
