//! `events`: statistics in the shape that runc's clients read, and what is told when memory runs out.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::json_types::fits;
use crate::support::limits::{directory, is_v2};
use crate::support::{Bundle, Running, Test, eventually};

fn stats(b: &Bundle<'_>) -> Value {
    let output = b.verb("events", &["--stats"]).run().ok();
    assert_eq!(output.lines().len(), 1, "{}", output.stdout);
    let event = output.json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(b.id)));
    fits(&event, "runc.Event");
    event["data"].clone()
}

#[test]
fn statistics_have_runcs_keys_and_sane_values() {
    let t = Test::new();
    let b = t.sh("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 1000 & sleep 1000 & echo ready; wait");
    let b =
        b.set("/linux/resources/memory", json!({"limit": 67108864})).set("/linux/resources/pids", json!({"limit": 50}));
    let output = b.up();
    eventually("it is ready", || output.by_now() == "ready\n");
    let data = stats(&b);
    let number =
        |pointer: &str| data.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {data}"));
    assert_eq!((number("/pids/current"), number("/pids/limit")), (3, 50));
    assert_eq!(number("/memory/usage/limit"), 67108864);
    let used = number("/memory/usage/usage");
    assert!(used > 4096 && used <= 67108864, "{used}");
    assert!(number("/memory/swap/usage") >= used, "of both together");
    assert!(!data["memory"]["raw"].as_object().expect("memory.stat").is_empty());
    assert!(number("/cpu/usage/total") > 100_000, "in nanoseconds");
    assert_ne!(data["cpuset"]["cpus"].as_array().expect("processors").len(), 0);
    let before = number("/cpu/usage/total");
    if !is_v2() {
        let each = data["cpu"]["usage"]["percpu"].as_array().expect("a list").iter().filter_map(Value::as_u64);
        assert_eq!(each.sum::<u64>(), before);
    }
    b.exec(&["true"]).ok();
    assert!(stats(&b)["cpu"]["usage"]["total"].as_u64().expect("a number") > before);
}

#[test]
fn what_is_read_and_written_is_counted() {
    let t = Test::new();
    let device = fs::read_dir("/sys/block").into_iter().flatten().flatten().any(|disk| disk.file_name() == "vda");
    let b = t.idle();
    b.up();
    let blkio = stats(&b)["blkio"].clone();
    // Whether a container reads from a disk depends on what is cached; the shape has been checked.
    for entry in blkio["ioServiceBytesRecursive"].as_array().into_iter().flatten() {
        assert!(device && entry["op"].is_string(), "{entry}");
    }
}

#[test]
fn throttling_is_counted() {
    let t = Test::new();
    let b = t.sh("while :; do :; done").set("/linux/resources/cpu", json!({"quota": 2000, "period": 20000}));
    b.up();
    eventually("it is throttled", || {
        let throttling = &stats(&b)["cpu"]["throttling"];
        throttling["throttledPeriods"].as_u64() > Some(0) && throttling["throttledTime"].as_u64() > Some(0)
    });
}

#[test]
fn a_container_of_any_status_but_stopped_has_statistics() {
    let t = Test::new();
    let b = t.idle();
    b.create().ok();
    stats(&b);
    b.verb("pause", &[]).run().ok();
    stats(&b);
    b.verb("resume", &[]).run().ok();
    b.stop();
    let words = format!("container with id {} is not running", b.id);
    b.verb("events", &[]).run().fails(&words);
    b.verb("events", &["--stats"]).run().fails(&words);
    t.runtime(["events", "nothing"]).run().fails("container does not exist");
}

#[test]
fn an_interval_is_a_duration_greater_than_0() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    for interval in ["0", "0s", "-1s"] {
        b.verb("events", &[]).args(["--interval", interval]).run().fails("duration interval must be greater than 0");
    }
    for interval in ["1", "soon", ""] {
        b.verb("events", &[]).args(["--interval", interval]).run().fails("invalid value");
    }
}

/// `events` in the background, and the file that it writes to.
fn follow(t: &Test, b: &Bundle<'_>, interval: &str) -> (Running, PathBuf) {
    let file = t.path(&format!("events-{}", b.id));
    let script = format!("exec \"$@\" >{}", file.display());
    let running = t.runtime(["events", "--interval", interval]).arg(&b.id).through(&script).spawn();
    // It watches when it has opened what it is told by.
    let descriptors = format!("/proc/{}/fd", running.pid());
    eventually("it watches", || {
        let links = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        let names: Vec<_> = links.filter_map(|link| fs::read_link(link.path()).ok()).collect();
        let is = |kind: &str| names.iter().any(|name| name.to_string_lossy().contains(kind));
        is("[eventfd]") || is("inotify")
    });
    std::thread::sleep(std::time::Duration::from_millis(20));
    (running, file)
}

fn told(file: &PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the file");
    let whole = text.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
    whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn statistics_come_at_an_interval_until_the_container_stops() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    let (running, file) = follow(&t, &b, "20ms");
    eventually("it has told three times", || told(&file).len() > 2);
    b.stop();
    b.delete().ok();
    running.wait().ok();
    let events = told(&file);
    assert!(events.iter().all(|event| event["type"] == "stats" && event["data"]["pids"].is_object()), "{events:?}");
}

/// A container that uses more memory than it may, in a process that is not its first.
fn greedy(t: &Test) -> Bundle<'_> {
    let b = t.sh("head -c 60000000 /dev/zero | tail -c 60000000 >/dev/null; echo over; sleep 1000");
    b.set("/linux/resources/memory", json!({"limit": 8388608, "swap": 8388608}))
}

#[test]
fn it_is_told_when_memory_runs_out() {
    let t = Test::new();
    let b = greedy(&t);
    let output = b.create().ok();
    let (running, file) = follow(&t, &b, "1h");
    b.start().ok();
    eventually("the process has been killed", || output.by_now().contains("over"));
    eventually("it has been told", || !told(&file).is_empty());
    assert_eq!(told(&file)[0], json!({"type": "oom", "id": b.id}));
    b.stop();
    b.delete().ok();
    running.wait().ok();
    assert!(told(&file).iter().all(|event| event["type"] == "oom"));
}

#[test]
fn it_is_told_when_the_container_dies_of_it() {
    let Some(t) = Test::of_minicon("runc 1.1.5 may see the end of the cgroup first") else { return };
    let b = t.bundle(&["tail", "-c", "60000000", "/dev/zero"]);
    let b = b.set("/linux/resources/memory", json!({"limit": 8388608, "swap": 8388608}));
    b.create().ok();
    let (running, file) = follow(&t, &b, "1h");
    b.start().ok();
    running.wait().ok();
    assert_eq!(told(&file).first(), Some(&json!({"type": "oom", "id": b.id})));
}

/// On v1 the kernel also wakes those who watch a cgroup that is removed.
#[test]
fn the_end_of_a_container_is_no_lack_of_memory() {
    let t = Test::new();
    for asleep in [false, true] {
        let b = t.idle();
        b.up();
        let (running, file) = follow(&t, &b, "1h");
        // Without being asleep it has ended by the second time.
        let send = |signal| kill(Pid::from_raw(running.pid()), signal).is_ok();
        if asleep {
            // It learns of the death and of the removal at once.
            assert!(send(Signal::SIGSTOP));
        }
        b.verb("delete", &["--force"]).run().ok();
        // The kernel tells of the removal a little later.
        std::thread::sleep(std::time::Duration::from_millis(200));
        send(Signal::SIGCONT);
        running.wait().ok();
        assert_eq!(told(&file), Vec::<Value>::new());
    }
}

#[test]
fn a_signal_ends_it_quietly() {
    let Some(t) = Test::of_minicon("runc dies of the signal") else { return };
    let b = t.idle();
    b.up();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (running, file) = follow(&t, &b, "1h");
        kill(Pid::from_raw(running.pid()), signal).expect("kill");
        let output = running.wait().ok();
        assert_eq!((output.stderr.as_str(), told(&file).len()), ("", 0));
    }
    assert_eq!(b.status(), "running");
}

#[test]
fn a_reader_that_goes_ends_it() {
    let Some(t) = Test::of_minicon("runc 1.1.5 goes on") else { return };
    let b = t.idle();
    b.up();
    let call = |interval: &str| t.runtime(["events", "--interval", interval]).arg(&b.id);
    let output = call("10ms").through("\"$@\" | head -n 1").run().ok();
    assert_eq!(output.json()["type"], "stats");
    call("1h").through("\"$@\" | true").run().ok();
}

#[test]
fn memory_events_are_those_of_this_container() {
    let t = Test::new();
    let (quiet, b) = (t.idle(), greedy(&t));
    quiet.up();
    let output = b.create().ok();
    let (running, file) = follow(&t, &quiet, "1h");
    b.start().ok();
    eventually("the other's process has been killed", || output.by_now().contains("over"));
    assert!(directory(&quiet, "memory").exists());
    quiet.stop();
    quiet.delete().ok();
    running.wait().ok();
    assert_eq!(told(&file), Vec::<Value>::new());
}
