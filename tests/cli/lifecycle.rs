//! From create to delete: the operations of the runtime specification, and what they refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Bundle, Test, eventually, hook, program};

#[test]
fn a_container_goes_from_created_to_running_to_stopped_to_gone() {
    let t = Test::new();
    let b = t.idle();
    b.create().ok();
    assert_eq!(b.status(), "created");
    b.start().ok();
    assert_eq!(b.status(), "running");
    b.stop();
    b.delete().ok();
    b.is_gone();
}

/// "The state of a container includes the following properties" (runtime.md, State).
#[test]
fn the_state_has_every_field_of_the_specification() {
    let t = Test::new();
    let b = t.idle().set("/annotations", json!({"org.example.key": "value"}));
    b.up();
    let state = b.state();
    assert!(state["ociVersion"].as_str().expect("ociVersion").starts_with("1."));
    assert_eq!(state["id"], *b.id);
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], *b.dir.to_string_lossy());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    assert!(state["rootfs"].as_str().expect("rootfs").ends_with("rootfs"));
    let pid = state["pid"].as_i64().expect("pid");
    let program = fs::read_link(format!("/proc/{pid}/exe")).expect("the pid is the container's");
    assert!(program.ends_with("bin/busybox"));
    let created = state["created"].as_str().expect("created");
    assert!(created.len() >= 20 && &created[10..11] == "T" && created.ends_with('Z'), "not RFC 3339: {created}");
}

#[test]
fn a_stopped_container_has_pid_0() {
    let t = Test::new();
    let b = t.bundle(&["true"]);
    b.up();
    b.becomes("stopped");
    assert_eq!(b.pid(), 0);
}

/// "This operation MUST NOT run the user-specified program" before `start` (runtime.md, Create).
#[test]
fn create_does_not_run_the_program() {
    let t = Test::new();
    let b = t.sh("echo ran");
    let output = b.create().ok();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(output.by_now(), "");
    b.start().ok();
    eventually("the program has run", || output.by_now() == "ran\n");
}

#[test]
fn run_returns_the_exit_status_of_the_program() {
    let t = Test::new();
    t.bundle(&["true"]).run().ok();
    t.sh("exit 3").run().exits(3);
    t.sh("exit 255").run().exits(255);
}

#[test]
fn run_returns_128_and_the_signal_that_ended_the_program() {
    let t = Test::new();
    // A shell below the first process: that one does not get signals from its own namespace.
    let b = t.sh("sleep 1000 & wait").share("pid");
    let running = b.on_bundle("run", &[]).spawn();
    b.becomes("running");
    b.kill("KILL").ok();
    running.wait().exits(137);
    b.is_gone();
}

#[test]
fn run_deletes_the_container_unless_told_to_keep_it() {
    let t = Test::new();
    let b = t.bundle(&["true"]);
    b.run().ok();
    b.is_gone();
}

#[test]
fn run_keep_leaves_a_stopped_container() {
    let t = Test::new();
    let b = t.bundle(&["true"]);
    b.on_bundle("run", &["--keep"]).run().ok();
    assert_eq!(b.status(), "stopped");
    b.delete().ok();
}

#[test]
fn run_detached_returns_while_the_program_runs() {
    let t = Test::new();
    let b = t.idle();
    b.on_bundle("run", &["--detach"]).run().ok();
    assert_eq!(b.status(), "running");
    b.stop();
    b.delete().ok();
}

#[test]
fn the_pid_file_holds_the_pid_and_nothing_else() {
    let t = Test::new();
    let b = t.idle();
    let file = t.path("pid");
    let flag = ["--pid-file", file.to_str().expect("UTF-8")];
    b.on_bundle("create", &flag).run().ok();
    assert_eq!(fs::read_to_string(&file).expect("the pid file"), b.pid().to_string());
    b.verb("delete", &["--force"]).run().ok();
    b.on_bundle("run", &["-d", flag[0], flag[1]]).run().ok();
    assert_eq!(fs::read_to_string(&file).expect("the pid file"), b.pid().to_string());
}

#[test]
fn the_bundle_is_the_working_directory_if_none_is_named() {
    let t = Test::new();
    let b = t.sh("echo here");
    b.write();
    t.runtime(["run", &b.id]).dir(&b.dir).run().ok().prints("here");
}

#[test]
fn a_forced_delete_of_nothing_succeeds() {
    let t = Test::new();
    t.runtime(["delete", "--force", "nothing"]).run().ok();
    t.runtime(["delete", "-f", "nothing"]).run().ok();
}

#[test]
fn a_created_container_can_be_deleted() {
    let t = Test::new();
    let b = t.idle();
    b.create().ok();
    b.delete().ok();
    b.is_gone();
}

/// "Attempting to delete a container that is not stopped MUST have no effect on the container and MUST generate an
/// error" (runtime.md, Delete).
#[test]
fn a_running_container_is_only_deleted_by_force() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    b.delete().fails(&format!("cannot delete container {} that is not stopped: running", b.id));
    assert_eq!(b.status(), "running");
    b.verb("delete", &["--force"]).run().ok();
    b.is_gone();
}

/// "Attempting to send a signal to a container that is neither created nor running MUST have no effect on the
/// container and MUST generate an error" (runtime.md, Kill).
#[test]
fn a_stopped_container_cannot_be_killed() {
    let t = Test::new();
    let b = t.bundle(&["true"]);
    b.up();
    b.becomes("stopped");
    b.kill("KILL").fails("container not running");
    assert_eq!(b.status(), "stopped");
}

#[test]
fn a_signal_is_a_name_or_a_number_in_any_case() {
    let t = Test::new();
    let b = t.sh("trap 'echo one' USR1; trap 'echo two' USR2; echo ready; while :; do sleep 1000 & wait $!; done");
    let output = b.up();
    let mut expected = "ready\n".to_owned();
    for (signal, word) in [("USR1", "one"), ("SIGUSR1", "one"), ("usr2", "two"), ("sigusr2", "two"), ("10", "one")] {
        eventually("the program has answered", || output.by_now() == expected);
        b.kill(signal).ok();
        expected += &format!("{word}\n");
    }
    eventually("the program has answered", || output.by_now() == expected);
}

#[test]
fn without_a_name_the_signal_is_term() {
    let t = Test::new();
    let b = t.sh("trap 'echo terminated; exit' TERM; echo ready; sleep 1000 & wait");
    let output = b.up();
    eventually("it is ready", || output.by_now() == "ready\n");
    b.verb("kill", &[]).run().ok();
    eventually("it has stopped", || output.by_now() == "ready\nterminated\n");
}

#[test]
fn a_created_container_can_be_killed() {
    let t = Test::new();
    let b = t.idle();
    b.create().ok();
    b.stop();
}

/// pid_namespaces(7): init gets no signal that it has no handler for. While it waits for start it has some.
#[test]
fn a_created_container_can_be_asked_to_end() {
    let t = Test::new();
    for signal in ["TERM", "INT", "HUP"] {
        let b = t.idle();
        b.create().ok();
        b.kill(signal).ok();
        b.becomes("stopped");
        b.delete().ok();
    }
}

/// kill(2): "If sig is 0, then no signal is sent, but existence and permission checks are still performed".
#[test]
fn signal_0_asks_whether_there_is_a_process() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    b.kill("0").ok();
    assert_eq!(b.status(), "running");
    b.stop();
    b.kill("0").fails("container not running");
    b.verb("kill", &["--all", "0"]).run().ok();
}

/// "Attempting to start a container that is not created MUST have no effect on the container and MUST generate an
/// error" (runtime.md, Start).
#[test]
fn only_a_created_container_starts() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    b.start().fails("cannot start");
    assert_eq!(b.status(), "running");
    b.stop();
    b.start().fails("cannot start");
    assert_eq!(b.status(), "stopped");
}

#[test]
fn an_id_is_taken_once() {
    let t = Test::new();
    let b = t.idle();
    b.create().ok();
    b.create().fails("container with given ID already exists");
    b.run().fails("container with given ID already exists");
    assert_eq!(b.status(), "created");
}

#[test]
fn a_bad_id_is_refused() {
    let t = Test::new();
    let b = t.bundle(&["true"]);
    b.write();
    for id in ["a/b", "..", ".", "a b", "../escape", "a\nb"] {
        t.runtime(["run", "--bundle"]).arg(&b.dir).arg(id).run().fails("invalid container ID format");
    }
    t.runtime(["run", "--bundle"]).arg(&b.dir).arg("").run().fails("container id cannot be empty");
}

#[test]
fn an_id_may_hold_letters_digits_and_some_signs() {
    let t = Test::new();
    let mut b = t.bundle(&["true"]);
    b.id += "_a+b.C-9";
    b.run().ok();
}

#[test]
fn what_does_not_exist_cannot_be_used() {
    let t = Test::new();
    for verb in [&["state"][..], &["start"], &["kill"], &["delete"], &["exec"]] {
        let mut words = vec![verb[0], "nothing"];
        words.extend((verb[0] == "exec").then_some("true"));
        let output = t.runtime(words).run().says("container does not exist");
        assert_ne!(output.code, 0);
    }
}

/// "Any updates to config.json after this step MUST NOT affect the container" (runtime.md, Lifecycle).
#[test]
fn edits_after_create_have_no_effect() {
    let t = Test::new();
    let b = t.sh("echo first");
    let output = b.create().ok();
    fs::write(b.dir.join("config.json"), "{}").expect("write");
    b.start().ok();
    eventually("the program has run", || output.by_now() == "first\n");
    fs::remove_file(b.dir.join("config.json")).expect("remove");
    b.becomes("stopped");
    b.delete().ok();
}

#[test]
fn poststop_hooks_run_when_the_bundle_has_gone() {
    let t = Test::new();
    let mark = t.path("mark");
    let b = t.bundle(&["true"]).push("/hooks/poststop", hook(&format!("echo stopped >>{}", mark.display())));
    b.up();
    b.becomes("stopped");
    fs::remove_file(b.dir.join("config.json")).expect("remove");
    assert!(!mark.exists());
    b.delete().ok();
    assert_eq!(fs::read_to_string(mark).expect("the hook ran"), "stopped\n");
}

#[test]
fn a_missing_program_is_found_out_by_create() {
    let t = Test::new();
    let b = t.bundle(&["nonexistent"]);
    b.create().fails("exec: \"nonexistent\": executable file not found in $PATH");
    b.is_gone();
    let b = t.bundle(&["/nonexistent"]);
    b.create().fails("no such file or directory");
    b.is_gone();
}

#[test]
fn what_only_execve_can_tell_is_an_error_of_start() {
    let Some(t) = Test::of_minicon("runc's start cannot report that the exec failed") else { return };
    let programs = [("format", "\x7fnot really ELF", "ENOEXEC"), ("interpreter", "#!/missing\n", "ENOENT")];
    for (name, text, errno) in programs {
        let b = t.bundle(&["/bin/broken"]).own_rootfs();
        write_program(&b, "bin/broken", text);
        b.create().ok();
        b.start().fails("/bin/broken").says(errno);
        assert_eq!(b.status(), "stopped", "{name}");
        b.delete().ok();
    }
}

#[test]
fn hooks_can_ask_for_the_state() {
    let Some(t) = Test::of_minicon("runc 1.1.5 writes the state after the create hooks") else { return };
    let seen = t.path("seen");
    let b = t.idle();
    let state = format!("{} --root {} state {}", program().display(), t.root().display(), b.id);
    let ask = hook(&format!("{state} | grep '\"status\"' >>{}", seen.display()));
    let b = b.push("/hooks/createRuntime", ask.clone()).push("/hooks/poststart", ask);
    b.create().ok();
    let line = fs::read_to_string(&seen).expect("the hook ran");
    assert!(line.contains("\"creating\"") || line.contains("\"created\""), "{line}");
    b.start().ok();
    let lines = fs::read_to_string(&seen).expect("the hook ran");
    assert!(lines.trim_end().ends_with("\"running\","), "{lines}");
}

#[test]
fn a_container_killed_behind_the_runtimes_back_is_stopped() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    kill(Pid::from_raw(b.pid()), Signal::SIGKILL).expect("kill");
    b.becomes("stopped");
    b.kill("TERM").fails("container not running");
    b.delete().ok();
}

#[test]
fn of_two_concurrent_starts_exactly_one_wins() {
    let Some(t) = Test::of_minicon("the second start of runc may wait for ever") else { return };
    for _ in 0..10 {
        let b = t.sh("echo once; sleep 1000");
        let output = b.create().ok();
        let starts = [b.verb("start", &[]).spawn(), b.verb("start", &[]).spawn()];
        let mut codes = starts.map(|start| start.wait().code);
        codes.sort_unstable();
        assert_eq!(codes, [0, 1]);
        eventually("the program has run", || output.by_now() == "once\n");
    }
}

/// Errors must leave "the state of the environment as if the operation were never attempted" (runtime.md, Errors); a
/// killed `create` can't, but what it leaves is known by its id.
#[test]
fn what_a_killed_create_leaves_a_forced_delete_cleans() {
    let Some(t) = Test::of_minicon("runc forgets the cgroups of a killed create") else { return };
    for round in 0..30 {
        let b = t.idle();
        let mut create = b.on_bundle("create", &[]).spawn();
        std::thread::sleep(std::time::Duration::from_micros(400 * round));
        create.kill();
        create.wait();
        b.verb("delete", &["--force"]).run().ok();
        b.is_gone();
    }
}

fn write_program(b: &Bundle<'_>, name: &str, text: &str) {
    let path = b.rootfs().join(name);
    fs::write(&path, text).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
}
