//! The command line as engines use it: global flags, odd spellings, what is printed.

use std::fs;

use serde_json::Value;

use crate::support::{Cmd, Test, is_minicon, program, runtime_name};

#[test]
fn the_version_is_printed_as_engines_read_it() {
    let t = Test::new();
    for flag in ["--version", "-v"] {
        let output = t.runtime([flag]).run().ok();
        let lines = output.lines();
        assert!(lines[0].starts_with(&format!("{} version ", runtime_name())), "{lines:?}");
        for name in ["commit: ", "spec: "] {
            assert!(lines.iter().any(|line| line.starts_with(name)), "no {name:?} in {lines:?}");
        }
        assert!(!is_minicon() || lines.contains(&"spec: 1.3.0"), "{lines:?}");
    }
}

#[test]
fn help_succeeds() {
    let t = Test::new();
    for words in [&["--help"][..], &["-h"], &["help"], &["create", "--help"], &["exec", "-h"]] {
        let output = t.runtime(words).run().ok();
        assert!(output.stdout.len() > 100, "{words:?} prints {:?}", output.stdout);
    }
}

#[test]
fn an_unknown_command_or_flag_fails() {
    let t = Test::new();
    for words in [&["frobnicate"][..], &["--frobnicate"], &["state", "--frobnicate", "x"]] {
        let output = t.runtime(words).run();
        assert_ne!(output.code, 0, "{words:?}");
        assert_ne!(output.stderr.len() + output.stdout.len(), 0, "{words:?} says nothing");
    }
}

#[test]
fn the_number_of_arguments_is_checked() {
    let t = Test::new();
    for verb in ["create", "start", "state", "delete"] {
        for ids in [&[][..], &["a", "b"]] {
            t.runtime([verb]).args(ids).run().fails(&format!("\"{verb}\" requires exactly 1 argument(s)"));
        }
    }
    t.runtime(["exec"]).run().says("requires a minimum of 1 argument(s)");
    t.runtime(["kill"]).run().says("requires a minimum of 1 argument(s)");
    t.runtime(["kill", "a", "b", "c"]).run().says("requires a maximum of 2 argument(s)");
}

/// The containerd shim reads the last message of level error from this file.
#[test]
fn a_json_log_has_level_message_and_time() {
    let t = Test::new();
    for format in [&["--log-format", "json"][..], &["--log-format=json"]] {
        let log = t.path("log.json");
        let flags = ["--log", log.to_str().expect("UTF-8")];
        let output = t.runtime(flags).args(format).args(["state", "nothing"]).run();
        output.fails("container does not exist");
        let text = fs::read_to_string(&log).expect("the log");
        let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert_eq!(last["level"], "error");
        assert!(last["msg"].as_str().expect("a message").contains("container does not exist"), "{last}");
        assert!(last["time"].as_str().expect("a time").contains('T'), "{last}");
    }
}

#[test]
fn a_log_is_appended_to() {
    let t = Test::new();
    let log = t.file("log", "first\n");
    for _ in 0..2 {
        t.runtime(["--log", log.to_str().expect("UTF-8"), "state", "nothing"]).run().exits(1);
    }
    let text = fs::read_to_string(log).expect("the log");
    assert!(text.starts_with("first\n") && text.matches("container does not exist").count() == 2, "{text}");
}

#[test]
fn a_log_format_is_text_or_json() {
    let t = Test::new();
    t.runtime(["--log-format", "xml", "list"]).run().fails("xml");
}

/// runc reads its command line with Go's flag package, and docker's restore passes `-no-subreaper`.
#[test]
fn a_long_flag_may_have_one_dash() {
    let t = Test::new();
    let b = t.sh("echo ran");
    b.on_bundle("run", &["-no-subreaper"]).run().ok().prints("ran");
    b.write();
    t.runtime(["run", "-bundle"]).arg(&b.dir).arg(&b.id).run().ok().prints("ran");
}

/// podman repeats `--leave-running`.
#[test]
fn a_flag_may_be_given_twice() {
    let t = Test::new();
    t.runtime(["delete", "--force", "--force", "nothing"]).run().ok();
    let b = t.sh("echo ran");
    b.on_bundle("run", &["--no-new-keyring", "--no-new-keyring"]).run().ok().prints("ran");
    b.on_bundle("run", &["--no-pivot=false", "--keep=false"]).run().ok().prints("ran");
    t.runtime(["--debug", "--debug", "state", "nothing"]).run().fails("container does not exist");
}

#[test]
fn flags_and_arguments_end_at_two_dashes() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    b.exec_with(&[], &["--", "echo", "--help"]).run();
    b.exec(&["echo", "-t", "--help"]).ok().prints("-t --help");
}

/// podman calls kill, pause, resume and delete without PATH and HOME.
#[test]
fn the_environment_may_be_empty() {
    let t = Test::new();
    let b = t.idle();
    b.on_bundle("create", &[]).no_env().run().ok();
    for verb in ["start", "state", "kill"] {
        b.verb(verb, &[]).no_env().run().ok();
    }
    b.becomes("stopped");
    b.verb("delete", &[]).no_env().run().ok();
}

#[test]
fn the_runtimes_environment_is_not_the_containers() {
    let t = Test::new();
    let b = t.bundle(&["env"]);
    let output = b.on_bundle("run", &[]).env("SECRET", "1").env("_LIBCONTAINER_X", "1").run().ok();
    let mut names: Vec<_> = output.lines().into_iter().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "PATH", "TERM"]);
}

#[test]
fn the_state_root_cannot_be_the_root_directory() {
    let Some(t) = Test::of_minicon("runc 1.1.5 takes / and lists its directories") else { return };
    let output = Cmd::new(program()).args(["--root", "/", "list"]).run();
    output.fails("Option --root argument should not be set to /");
    drop(t);
}

#[test]
fn the_default_root_holds_the_state() {
    let t = Test::new();
    let b = t.idle();
    b.write();
    let call = |words: &[&str]| Cmd::new(program()).args(words).run();
    Cmd::new(program()).args(["create", "--bundle"]).arg(&b.dir).arg(&b.id).run().ok();
    assert!(std::path::Path::new("/run").join(runtime_name()).join(&b.id).exists());
    call(&["state", &b.id]).ok();
    call(&["delete", "--force", &b.id]).ok();
}

#[test]
fn list_shows_a_table() {
    let t = Test::new();
    t.runtime(["list"]).run().ok().shows("ID");
    let (a, b) = (t.idle(), t.idle());
    a.create().ok();
    b.up();
    let output = t.runtime(["list"]).run().ok();
    let rows: Vec<Vec<_>> = output.lines().iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!(rows.len(), 3);
    let pid = b.pid().to_string();
    let row = rows.iter().find(|row| row[0] == b.id).expect("the second container");
    assert_eq!(row[1..4], [pid.as_str(), "running", b.dir.to_str().expect("UTF-8")]);
    assert!(rows.iter().any(|row| row[0] == a.id && row[2] == "created"));
    assert_eq!(row[5], "root");
}

#[test]
fn list_prints_json_or_ids() {
    let t = Test::new();
    assert_eq!(t.runtime(["list", "--format", "json"]).run().ok().json(), Value::Null);
    let b = t.idle();
    b.up();
    let list = t.runtime(["list", "-f", "json"]).run().ok().json();
    assert_eq!(list.as_array().expect("a list").len(), 1);
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&Value::from(b.id.as_str()), &Value::from("running")));
    assert_eq!(list[0]["pid"], b.pid());
    for flag in ["--quiet", "-q"] {
        t.runtime(["list", flag]).run().ok().prints(&b.id);
    }
    t.runtime(["list", "--format", "xml"]).run().fails("invalid format option");
    Cmd::new(program()).arg("--root").arg(t.path("no-such-root")).arg("list").run().fails("no-such-root");
}

#[test]
fn spec_writes_a_configuration_that_runs() {
    let t = Test::new();
    let dir = t.directory("bundle");
    t.runtime(["spec"]).dir(&dir).run().ok();
    let mut config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).expect("written")).expect("JSON");
    assert_eq!(config["process"]["args"], serde_json::json!(["sh"]));
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    let has_cgroup = namespaces.iter().any(|namespace| namespace["type"] == "cgroup");
    assert_eq!(has_cgroup, crate::support::limits::is_v2());
    t.runtime(["spec", "--bundle"]).arg(&dir).run().fails("config.json exists. Remove it first");
    let b = t.bundle(&[]);
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["echo", "ran"]);
    config["root"]["path"] = b.config["root"]["path"].clone();
    let b = b.set("", config);
    b.run().ok().prints("ran");
}

#[test]
fn spec_for_the_unprivileged_maps_the_caller_to_root() {
    let t = Test::new();
    let dir = t.directory("bundle");
    t.runtime(["spec", "--rootless", "--bundle"]).arg(&dir).run().ok();
    let config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).expect("written")).expect("JSON");
    let kinds: Vec<_> =
        config["linux"]["namespaces"].as_array().expect("namespaces").iter().map(|n| &n["type"]).collect();
    assert!(kinds.contains(&&Value::from("user")) && !kinds.contains(&&Value::from("network")), "{kinds:?}");
    assert_eq!(config["linux"]["uidMappings"][0]["containerID"], 0);
    assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
    assert!(config["linux"]["resources"].is_null());
}

#[test]
fn features_tells_what_is_known() {
    let t = Test::new();
    let features = t.runtime(["features"]).run().ok().json();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    let hooks = features["hooks"].as_array().expect("hooks");
    assert_eq!(hooks.len(), 6);
    let options = features["mountOptions"].as_array().expect("mount options");
    for option in ["rro", "bind", "nosuid", "runbindable", "strictatime"] {
        assert!(options.contains(&option.into()), "{option}");
    }
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert!(!is_minicon() || features["ociVersionMax"] == "1.3.0", "{features}");
}

/// "The runtime MUST recognize the elements in this array" (features.md, features-linux.md): each name that `features`
/// tells is one that `create` takes.
#[test]
fn what_features_tells_is_taken() {
    let Some(t) = Test::of_minicon("runc 1.1.5 does not tell all") else { return };
    let features = t.runtime(["features"]).run().ok().json();
    let names = |pointer: &str| features.pointer(pointer).and_then(Value::as_array).expect(pointer).clone();
    let seccomp = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": names("/linux/seccomp/archs"),
        "flags": names("/linux/seccomp/supportedFlags"),
    });
    for version in ["ociVersionMin", "ociVersionMax"] {
        let b = t.bundle(&["true"]).set("/ociVersion", features[version].clone());
        let b = b.set("/process/capabilities", serde_json::json!({"bounding": names("/linux/capabilities")}));
        b.set("/linux/seccomp", seccomp.clone()).run().ok();
    }
    for action in names("/linux/seccomp/actions").into_iter().filter(|action| action != "SCMP_ACT_NOTIFY") {
        for operator in names("/linux/seccomp/operators") {
            let rule = serde_json::json!({"names": ["reboot"], "action": action,
                "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": operator}]});
            let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
            t.bundle(&["true"]).set("/linux/seccomp", profile).run().ok();
        }
    }
    for hook in names("/hooks") {
        let pointer = format!("/hooks/{}", hook.as_str().expect("a name"));
        t.bundle(&["true"]).set(&pointer, serde_json::json!([{"path": "/no/such/hook"}])).run().says("/no/such/hook");
    }
}
