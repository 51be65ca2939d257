//! Hooks: when they run, what they are told, and what their failure does.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Bundle, Test, hook, is_minicon};

/// The kinds whose failure fails `create`.
const BEFORE_CREATED: &[&str] = &["prestart", "createRuntime", "createContainer"];
const ALL: &[&str] = &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A bundle with one hook of each kind, that runs this script with `$0` as its kind, in the directory `/tmp/shared`
/// of the container, which is this one of the host. Returned with that directory.
fn with_hooks<'t>(b: Bundle<'t>, t: &Test, script: &str) -> Bundle<'t> {
    let shared = t.directory("shared");
    fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    let b = b.own_rootfs().mount("bind", &shared, "/tmp/shared", &["bind"]);
    ALL.iter().fold(b, |b, kind| {
        // The start hook has the container's paths, the others the host's.
        let directory = if *kind == "startContainer" { Path::new("/tmp/shared") } else { shared.as_path() };
        let mut hook = hook(&format!("cd {} && {script}", directory.display()));
        hook["args"].as_array_mut().expect("a list").push(json!(kind));
        b.push(&format!("/hooks/{kind}"), hook)
    })
}

fn read(t: &Test, name: &str) -> String {
    fs::read_to_string(t.path("shared").join(name)).unwrap_or_default()
}

#[test]
fn hooks_run_at_their_time_and_in_order() {
    let t = Test::new();
    let b = with_hooks(t.sh("echo program >>/tmp/shared/log"), &t, "echo $0 >>log");
    let (create, start) = if is_minicon() {
        ("prestart\ncreateRuntime\ncreateContainer\n", "startContainer\nprogram\npoststart\n")
    } else {
        // runc 1.1.5 runs poststart hooks before it is time.
        ("prestart\ncreateRuntime\ncreateContainer\npoststart\n", "startContainer\nprogram\n")
    };
    b.create().ok();
    assert_eq!(read(&t, "log"), create);
    b.start().ok();
    b.becomes("stopped");
    let log = read(&t, "log");
    let mut lines: Vec<_> = log[create.len()..].lines().collect();
    // The program runs while the poststart hooks do.
    assert_eq!(lines.first(), Some(&"startContainer"));
    lines.sort_unstable_by_key(|line| start.find(line));
    assert_eq!(lines, start.lines().collect::<Vec<_>>());
    b.delete().ok();
    assert_eq!(read(&t, "log"), format!("{log}poststop\n"));
}

/// "Hooks MUST be called in the listed order" (config.md, POSIX-platform Hooks).
#[test]
fn hooks_of_a_kind_run_in_the_listed_order() {
    let t = Test::new();
    let log = t.path("log");
    let say = |word: &str| hook(&format!("echo {word} >>{}", log.display()));
    let hooks = json!({"createRuntime": [say("one"), say("two"), say("three")]});
    t.bundle(&["true"]).set("/hooks", hooks).run().ok();
    assert_eq!(fs::read_to_string(&log).expect("the hooks ran"), "one\ntwo\nthree\n");
}

/// "The state of the container MUST be passed to hooks over stdin" (config.md, POSIX-platform Hooks).
#[test]
fn hooks_get_the_state_on_standard_input() {
    let t = Test::new();
    let b = with_hooks(t.idle().set("/annotations", json!({"org.example.key": "value"})), &t, "cat >$0");
    b.up();
    let pid = b.pid();
    b.stop();
    b.delete().ok();
    let statuses = ["creating", "creating", "creating", "created", "running", "stopped"];
    for (kind, status) in ALL.iter().zip(statuses) {
        let state: Value = serde_json::from_str(&read(&t, kind)).unwrap_or_else(|_| panic!("{kind} gets no JSON"));
        assert!(state["ociVersion"].as_str().expect("ociVersion").starts_with("1."), "{kind}: {state}");
        assert_eq!(state["id"], *b.id, "{kind}");
        assert_eq!(state["bundle"], *b.dir.to_string_lossy(), "{kind}");
        assert_eq!(state["annotations"]["org.example.key"], "value", "{kind}");
        if is_minicon() || *kind != "poststart" {
            assert_eq!(state["status"], status, "{kind}");
        }
        if ["prestart", "createRuntime", "poststart"].contains(kind) {
            assert_eq!(state["pid"], pid, "{kind}");
        }
    }
}

#[test]
fn hooks_run_in_their_namespaces() {
    let t = Test::new();
    let b = with_hooks(t.idle(), &t, "readlink /proc/self/ns/uts >$0");
    b.up();
    let theirs = fs::read_link(format!("/proc/{}/ns/uts", b.pid())).expect("the container's").display().to_string();
    let ours = fs::read_link("/proc/self/ns/uts").expect("our own").display().to_string();
    b.stop();
    b.delete().ok();
    for kind in ALL {
        let expected = if kind.ends_with("Container") { &theirs } else { &ours };
        assert_eq!(read(&t, kind).trim(), expected, "{kind}");
    }
}

#[test]
fn a_hook_has_the_arguments_and_the_environment_given() {
    let t = Test::new();
    let seen = t.path("seen");
    let script = format!("/bin/cat /proc/$$/environ >{0}; echo \"|$0|$*\" >>{0}", seen.display());
    let hook =
        json!({"path": "/bin/sh", "args": ["name", "-c", script, "zero", "one", "two"], "env": ["A=1", "B=x y"]});
    let b = t.bundle(&["true"]).push("/hooks/createRuntime", hook);
    b.on_bundle("run", &[]).env("SECRET", "1").run().ok();
    assert_eq!(fs::read_to_string(seen).expect("the hook ran"), "A=1\0B=x y\0|zero|one two\n");
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let t = Test::new();
    for kind in ["createRuntime", "createContainer"] {
        let hook = json!({"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1});
        let b = t.bundle(&["true"]).push(&format!("/hooks/{kind}"), hook);
        b.create().fails("hook ran past specified timeout of 1.0s");
        b.is_gone();
    }
}

/// "The runtime MUST generate an error, stop the container, and continue the lifecycle at step 12" (runtime.md,
/// Lifecycle).
#[test]
fn a_failing_hook_fails_create() {
    let t = Test::new();
    let mark = t.path("mark");
    for kind in BEFORE_CREATED {
        let b = t.bundle(&["true"]).push(&format!("/hooks/{kind}"), hook("echo because of this >&2; exit 5"));
        let b = b.push(&format!("/hooks/{kind}"), hook(&format!("touch {}", mark.display())));
        let output = b.create().fails("because of this");
        if is_minicon() {
            output.says(&format!("hooks.{kind}[0]"));
        }
        b.is_gone();
        assert!(!mark.exists(), "{kind}: the next hook ran");
    }
}

#[test]
fn a_failing_start_container_hook_fails_run() {
    let t = Test::new();
    let b = t.sh("echo ran").push("/hooks/startContainer", hook("exit 5"));
    b.run().exits(1).prints("");
    b.is_gone();
}

/// "If any startContainer hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle
/// at step 12", which destroys it, and step 13 (runtime.md, Lifecycle).
#[test]
fn a_failing_start_container_hook_destroys_the_container() {
    let Some(t) = Test::of_minicon("runc's start does not hear of it") else { return };
    let mark = t.path("mark");
    let b = t.sh("echo ran").push("/hooks/startContainer", hook("exit 5"));
    let b = b.push("/hooks/poststop", hook(&format!("touch {}", mark.display())));
    let output = b.create().ok();
    b.start().fails("hooks.startContainer[0]");
    assert_eq!(output.by_now(), "");
    b.is_gone();
    assert!(mark.exists(), "the poststop hook");
}

/// runtime-spec 1.3: "If any poststart hook fails, the runtime MUST generate an error, stop the container, and
/// continue the lifecycle at step 12" (runtime.md, Lifecycle).
#[test]
fn a_failing_poststart_hook_destroys_the_container() {
    let Some(t) = Test::of_minicon("runc 1.1.5 runs it at create") else { return };
    let b = t.idle().push("/hooks/poststart", hook("exit 5"));
    b.create().ok();
    b.start().fails("hooks.poststart[0]");
    b.is_gone();
}

/// The specification leaves open what a hook without `env` gets; this one has always had the program's environment in runc.
#[test]
fn a_start_hook_without_an_environment_gets_the_programs() {
    let t = Test::new();
    let b = t.bundle(&["true"]).push("/process/env", "ONE=two");
    let script = |script: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let b = b.push("/hooks/startContainer", script("test \"$ONE:$HOME\" = two:/root"));
    b.run().ok();
    let mut own = script("test \"$ONE:$TWO\" = :three");
    own["env"] = json!(["TWO=three"]);
    b.push("/hooks/startContainer", own).run().ok();
}

/// The hook is of the image, and so it has no more rights than the program.
#[test]
fn a_start_hook_is_bound_by_the_filter() {
    let Some(t) = Test::of_minicon("runc 1.1.5 starts the hook before it loads the filter") else { return };
    let kill = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"});
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [kill]});
    for no_new_privileges in [true, false] {
        let b = t.bundle(&["true"]).set("/process/noNewPrivileges", no_new_privileges);
        let b = b.set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]));
        let b = b.set("/linux/seccomp", filter.clone());
        let hook = json!({"path": "/bin/mkdir", "args": ["mkdir", "/dev/shm/new"]});
        b.push("/hooks/startContainer", hook)
            .run()
            .fails("error running startContainer hook #0: signal: bad system call");
    }
}

/// Hooks that add devices and libraries to a container enter its mount namespace and mount below `root.path`.
#[test]
fn the_root_has_its_path_in_the_containers_mount_namespace() {
    let t = Test::new();
    let library = t.file("library", "of the host\n");
    let b = t.bundle(&["cat", "/etc/library", "/etc/other"]).own_rootfs().set("/root/readonly", false);
    let place = b.rootfs().join("etc/library");
    let bind = format!(
        "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/') && touch {0} && nsenter -m -t $pid mount --bind {1} {0}",
        place.display(),
        library.display()
    );
    // A createContainer hook has the root as its working directory.
    let here = format!("touch etc/other && mount --bind {} etc/other", library.display());
    let b = b.push("/hooks/createRuntime", hook(&bind)).push("/hooks/createContainer", hook(&here));
    b.run().ok().prints("of the host\nof the host");
    assert_eq!(fs::read_to_string(place).expect("the file"), "");
}

/// "If any poststop hook fails, the runtime MUST log a warning, but the remaining hooks and lifecycle continue as if
/// the hook had succeeded" (runtime.md, Lifecycle).
#[test]
fn a_failing_poststop_hook_is_a_warning() {
    let Some(t) = Test::of_minicon("runc 1.1.5 returns the error and skips the others") else { return };
    let mark = t.path("mark");
    let b = t.bundle(&["true"]).push("/hooks/poststop", hook("exit 5"));
    let b = b.push("/hooks/poststop", hook(&format!("touch {}", mark.display())));
    b.run().ok().says("poststop");
    assert!(mark.exists());
    b.is_gone();
}

#[test]
fn poststop_hooks_run_after_a_failed_create() {
    let t = Test::new();
    let mark = t.path("mark");
    let b = t.bundle(&["true"]).push("/hooks/createRuntime", hook("exit 5"));
    let b = b.push("/hooks/poststop", hook(&format!("touch {}", mark.display())));
    b.create().exits(1);
    assert!(mark.exists());
}

/// "`path` MUST be an absolute path" and "If set, `timeout` MUST be greater than zero" (config.md, POSIX-platform
/// Hooks).
#[test]
fn a_hook_that_is_not_valid_is_an_error_before_anything_runs() {
    let Some(t) = Test::of_minicon("runc does not check hooks") else { return };
    let mark = t.path("mark");
    for (wrong, place) in
        [(json!({"path": "bin/true"}), "path"), (json!({"path": "/bin/true", "timeout": 0}), "timeout")]
    {
        let b = t.bundle(&["true"]).push("/hooks/poststart", wrong);
        let b = b.push("/hooks/createRuntime", hook(&format!("touch {}", mark.display())));
        b.create().fails(&format!("hooks.poststart[0].{place}"));
        assert!(!mark.exists());
    }
}

#[test]
fn a_hook_that_does_not_exist_is_an_error() {
    let t = Test::new();
    let b = t.bundle(&["true"]).push("/hooks/createRuntime", json!({"path": "/no/such/hook"}));
    b.create().fails("/no/such/hook");
    b.is_gone();
}
