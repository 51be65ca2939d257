//! What minicon prints as JSON, held against the types into which engines decode it, key by key.

use std::fs;

use serde_json::{Value, json};

use crate::support::json_types::fits;
use crate::support::{Bundle, Test, eventually};

/// `state` and this container's line of `list`, which are the same, as each reader takes them.
fn check_state(t: &Test, b: &Bundle<'_>, status: &str) {
    let state = b.verb("state", &[]).run().ok().json();
    let list = t.runtime(["list", "--format", "json"]).run().ok().json();
    for kind in ["gorunc.Container", "runc.Container", "spec.State"] {
        fits(&state, kind);
        fits(&list, &format!("[]{kind}"));
    }
    let listed = list.as_array().expect("a list").iter().find(|listed| listed["id"] == state["id"]);
    let both = [Some(&state), listed].map(|seen| seen.map(|seen| (&seen["status"], &seen["pid"], &seen["created"])));
    assert_eq!(both[0], both[1]);
    assert_eq!((&state["status"], &state["id"]), (&json!(status), &json!(b.id)));
    fits(&t.runtime(["ps", "--format", "json"]).arg(&b.id).run().ok().json(), "[]int");
}

#[test]
fn state_list_and_ps_are_what_engines_decode_in_every_status() {
    let t = Test::new();
    fits(&t.runtime(["list", "--format", "json"]).run().ok().json(), "[]gorunc.Container");
    let plain = t.idle();
    plain.create().ok();
    check_state(&t, &plain, "created");
    let b = t.idle().set("/annotations", json!({"org.example.key": "value", "empty": ""}));
    b.up();
    check_state(&t, &b, "running");
    b.verb("pause", &[]).run().ok();
    check_state(&t, &b, "paused");
    b.verb("resume", &[]).run().ok();
    b.stop();
    check_state(&t, &b, "stopped");
}

fn check_stats(b: &Bundle<'_>) -> Value {
    let event = b.verb("events", &["--stats"]).run().ok().json();
    for kind in ["gorunc.Event", "runc.Event"] {
        fits(&event, kind);
    }
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(b.id)));
    event["data"].clone()
}

/// With no limit at all, and with every one that statistics tell of.
#[test]
fn events_are_what_engines_decode() {
    let t = Test::new();
    let free = t.idle().unset("/linux/resources");
    free.up();
    check_stats(&free);
    let b = t.sh("dd if=/dev/zero of=/tmp/file bs=64k count=16 2>/dev/null; echo ready; exec sleep 1000");
    let b = b.mount("tmpfs", "tmpfs", "/tmp", &[]).set("/linux/resources/memory", json!({"limit": 67108864}));
    let b = b.set("/linux/resources/pids", json!({"limit": 50}));
    let b = b.set("/linux/resources/cpu", json!({"quota": 50000, "period": 100000, "cpus": "0"}));
    let output = b.up();
    eventually("it is ready", || output.by_now() == "ready\n");
    let data = check_stats(&b);
    assert_eq!(data["pids"], json!({"current": 1, "limit": 50}));
    assert_eq!(data["memory"]["usage"]["limit"], 67108864);
    b.verb("pause", &[]).run().ok();
    check_stats(&b);
    b.verb("resume", &[]).run().ok();
}

#[test]
fn features_are_what_engines_decode() {
    let t = Test::new();
    fits(&t.runtime(["features"]).run().ok().json(), "features.Features");
}

/// Each line, whatever its level: the shim stops at the first that it cannot decode, and shows no message then.
#[test]
fn every_line_of_the_log_is_what_engines_decode() {
    let t = Test::new();
    let log = t.path("log.json");
    let flags = ["--debug", "--log-format", "json", "--log", log.to_str().expect("UTF-8")];
    let call = |words: &[&str]| t.runtime(flags).args(words).run();
    let create = |b: &Bundle<'_>| {
        b.write();
        call(&["create", "--bundle", b.dir.to_str().expect("UTF-8"), &b.id])
    };
    call(&["state", "nothing"]).exits(1);
    create(&t.bundle(&["/no/such/program"])).exits(1);
    create(&t.idle().mount("bind", "/no/such/\"source\"\n", "/x", &["bind"])).exits(1);
    create(&t.idle().set("/process/cwd", 5)).exits(1);
    let b = t.idle().push("/process/capabilities/bounding", "CAP_UNHEARD_OF");
    create(&b).ok();
    call(&["start", &b.id]).ok();
    call(&["exec", &b.id, "/no/such/program"]);
    call(&["delete", "--force", &b.id]).ok();
    let text = fs::read_to_string(&log).expect("the log");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    for line in &lines {
        fits(line, "shim.LogLine");
        fits(line, "podman.LogLine");
    }
    let of_level = |level: &str| lines.iter().filter(|line| line["level"] == level).count();
    assert!(of_level("error") >= 5 && of_level("warning") >= 1, "{text}");
}
