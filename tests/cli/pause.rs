//! `pause` and `resume`: a container that stands still, and what may be done with it then.

use std::time::Duration;

use crate::support::{Test, eventually, is_minicon};

/// Says so for as long as it runs.
const TICKING: &str = "while :; do echo tick; sleep 0.01; done";

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let t = Test::new();
    let b = t.sh(TICKING);
    let output = b.up();
    eventually("it ticks", || output.by_now().lines().count() > 2);
    b.verb("pause", &[]).run().ok();
    assert_eq!(b.status(), "paused");
    let before = output.by_now();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(output.by_now(), before);
    b.verb("resume", &[]).run().ok();
    assert_eq!(b.status(), "running");
    eventually("it ticks again", || output.by_now().len() > before.len());
}

#[test]
fn a_created_container_is_paused_at_its_gate() {
    let t = Test::new();
    let b = t.sh("echo ran");
    let output = b.create().ok();
    b.verb("pause", &[]).run().ok();
    assert_eq!(b.status(), "paused");
    b.start().fails("cannot start a container in the paused state");
    b.verb("resume", &[]).run().ok();
    assert_eq!(b.status(), "created");
    b.start().ok();
    eventually("it has run", || output.by_now() == "ran\n");
}

#[test]
fn only_what_runs_is_paused_and_only_what_is_paused_is_resumed() {
    let t = Test::new();
    let b = t.idle();
    for verb in ["pause", "resume"] {
        b.verb(verb, &[]).run().fails("container does not exist");
    }
    b.up();
    b.verb("resume", &[]).run().fails("container not paused");
    b.verb("pause", &[]).run().ok();
    b.verb("pause", &[]).run().fails("container not running");
    b.verb("resume", &[]).run().ok();
    b.stop();
    b.verb("pause", &[]).run().fails("container not running");
    b.verb("resume", &[]).run().fails("container not paused");
}

#[test]
fn exec_into_a_paused_container_is_refused() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    b.verb("pause", &[]).run().ok();
    b.exec(&["true"]).exits(255).says("cannot exec in a paused container");
    b.delete().fails("is not stopped: paused");
    b.verb("resume", &[]).run().ok();
    b.exec(&["true"]).ok();
}

#[test]
fn a_signal_waits_until_a_paused_container_is_resumed() {
    let t = Test::new();
    let b = t.sh("trap 'echo got it' USR1; echo ready; while :; do sleep 0.01; done");
    let output = b.up();
    eventually("it is ready", || output.by_now() == "ready\n");
    b.verb("pause", &[]).run().ok();
    b.kill("USR1").ok();
    assert_eq!((output.by_now().as_str(), b.status().as_str()), ("ready\n", "paused"));
    b.verb("resume", &[]).run().ok();
    eventually("the signal has come", || output.by_now() == "ready\ngot it\n");
}

#[test]
fn a_paused_container_can_be_killed() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    b.verb("pause", &[]).run().ok();
    b.kill("KILL").ok();
    b.becomes("stopped");
    b.delete().ok();
    b.is_gone();
}

#[test]
fn a_paused_container_can_be_deleted_by_force() {
    let t = Test::new();
    for share in [false, true] {
        let b = if share { t.sh("sleep 1000 & sleep 1000").share("pid") } else { t.idle() };
        b.up();
        b.verb("pause", &[]).run().ok();
        b.verb("delete", &["--force"]).run().ok();
        b.is_gone();
    }
}

/// podman looks for the word.
#[test]
fn a_list_shows_that_a_container_is_paused() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    b.verb("pause", &[]).run().ok();
    let list = t.runtime(["list", "--format", "json"]).run().ok().json();
    assert_eq!(list[0]["status"], "paused");
    let state = b.state();
    assert_eq!((&state["status"], state["pid"].as_i64().is_some_and(|pid| pid > 0)), (&"paused".into(), true));
    // podman calls it without an environment.
    if is_minicon() {
        b.verb("resume", &[]).no_env().run().ok();
    }
}
