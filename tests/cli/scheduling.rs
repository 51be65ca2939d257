//! `process.scheduler`, `process.ioPriority` and `linux.personality`.

use serde_json::{Value, json};

use crate::support::{Output, Test};

/// Nice, realtime priority and policy: fields 19, 40 and 41 of proc_pid_stat(5).
const SHOW: &str = "cut -d ' ' -f 19,40,41 /proc/self/stat";

fn test() -> Option<Test> {
    Test::of_minicon("runc 1.1.5 does not know these properties")
}

/// "`scheduler` (object, OPTIONAL) is an object describing the scheduler properties for the process." (config.md, Linux
/// process)
#[test]
fn the_scheduler_is_set_for_run_and_exec() {
    let Some(t) = test() else { return };
    for (scheduler, shown) in [
        (json!({"policy": "SCHED_OTHER", "nice": 7}), "7 0 0"),
        (json!({"policy": "SCHED_BATCH", "nice": 19}), "19 0 3"),
        (json!({"policy": "SCHED_IDLE"}), "0 0 5"),
    ] {
        t.sh(SHOW).set("/process/scheduler", scheduler).run().ok().prints(shown);
    }
    let b = t.idle().set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}));
    b.up();
    b.exec(&["sh", "-c", SHOW]).ok().prints("5 0 3");
    let process = json!({"cwd": "/", "args": ["sh", "-c", SHOW], "env": ["PATH=/bin"]});
    let document = |process: Value| {
        let file = t.file("process.json", &process.to_string());
        b.exec_with(&["--process", file.to_str().expect("UTF-8")], &[]).run().ok()
    };
    document(process.clone()).prints("5 0 3");
    let mut own = process;
    own["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 3});
    document(own).prints("3 0 0");
}

/// What needs a right, or realtime bandwidth in the cgroup, is set or refused with its place; it is not passed over.
#[test]
fn realtime_policies_are_set_or_refused() {
    let Some(t) = test() else { return };
    for (scheduler, shown) in [
        (json!({"policy": "SCHED_FIFO", "priority": 10, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}), "0 10 1"),
        (json!({"policy": "SCHED_RR", "priority": 99}), "0 99 2"),
        (
            json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 50_000_000, "period": 50_000_000}),
            "0 0 6",
        ),
        (json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]}), "0 0 0"),
    ] {
        // A deadline process may not fork, so it reads the file itself.
        let b = t.bundle(&["cat", "/proc/self/stat"]).set("/process/scheduler", scheduler.clone());
        let output = b.run();
        match output.code {
            0 => assert_eq!(stat(&output), shown, "{scheduler}"),
            _ => drop(output.fails("set the scheduler: sched_setattr(").says("config: process.scheduler")),
        }
    }
}

#[test]
fn scheduler_values_that_linux_would_pass_over_are_errors() {
    let Some(t) = test() else { return };
    for (scheduler, place) in [
        (json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice"),
        (json!({"policy": "SCHED_OTHER", "priority": 1}), "process.scheduler.priority"),
        (json!({"policy": "SCHED_RR", "priority": 100}), "process.scheduler.priority"),
        (json!({"policy": "SCHED_IDLE", "period": 1}), "process.scheduler.period"),
        (json!({"policy": "SCHED_ISO"}), "process.scheduler.policy"),
        (json!({"policy": "SCHED_EXT"}), "process.scheduler.policy"),
        (json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_SUGOV"]}), "process.scheduler.flags"),
    ] {
        t.bundle(&["true"]).set("/process/scheduler", scheduler).run().fails(place);
    }
}

/// "`ioPriority` (object, OPTIONAL) configures the I/O priority settings for the container's processes within the process
/// group."
#[test]
fn the_io_priority_is_set() {
    let Some(t) = test() else { return };
    for (class, priority, shown) in [
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_RT", 3, "realtime: prio 3"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let b = t.bundle(&["ionice"]).set("/process/ioPriority", json!({"class": class, "priority": priority}));
        b.run().ok().shows(shown);
    }
    for (given, place) in [
        (json!({"class": "IOPRIO_CLASS_BE", "priority": 8}), "process.ioPriority.priority"),
        (json!({"class": "IOPRIO_CLASS_BE", "priority": -1}), "process.ioPriority.priority"),
        (json!({"class": "IOPRIO_CLASS_NONE", "priority": 0}), "process.ioPriority.class"),
    ] {
        t.bundle(&["true"]).set("/process/ioPriority", given).run().fails(place);
    }
}

/// "Currently no flag values are supported." (config-linux.md, Personality) "Runtimes MUST generate an error when invalid
/// or unsupported values are encountered." (config.md, Valid values)
#[test]
fn the_personality_is_set_and_has_no_flags() {
    let Some(t) = test() else { return };
    let b = t.bundle(&["cat", "/proc/self/personality"]);
    b.set("/linux/personality", json!({"domain": "LINUX32"})).run().ok().prints("00000008");
    let b = t.bundle(&["cat", "/proc/self/personality"]);
    b.set("/linux/personality", json!({"domain": "LINUX", "flags": []})).run().ok().prints("00000000");
    let flags = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
    t.bundle(&["true"]).set("/linux/personality", flags).run().fails("linux.personality.flags");
    t.bundle(&["true"]).set("/linux/personality", json!({"domain": "BSD"})).run().fails("linux.personality.domain");
}

fn stat(output: &Output) -> String {
    let fields: Vec<&str> = output.stdout.split_whitespace().collect();
    [18, 39, 40].map(|field| fields[field]).join(" ")
}
