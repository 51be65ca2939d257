//! `process.execCPUAffinity`: on which processors `exec` runs, and that nobody inherits the caller's.

use std::fs;

use serde_json::json;

use crate::support::{Bundle, Cmd, Output, Test};

const SHOW: [&str; 3] = ["grep", "Cpus_allowed_list:", "/proc/self/status"];

/// A running container, if this machine has two processors that the tests may use.
fn with_two_processors() -> Option<(Test, Vec<usize>)> {
    let processors = allowed();
    let t = Test::where_possible(processors.len() > 1, "there is one processor only")?;
    Some((t, processors))
}

/// "`final` (string, OPTIONAL) is a list of CPUs the process will be run on after the transition to container's cgroup."
/// (config.md, Linux process)
#[test]
fn exec_ends_up_on_the_final_processors() {
    let Some((t, processors)) = with_two_processors() else { return };
    let (first, second) = (processors[0], processors[1]);
    let b = t.idle();
    b.up();
    for (initial, last) in [(first, second), (second, first)] {
        let affinity = json!({"initial": initial.to_string(), "final": last.to_string()});
        assert_eq!(list(&exec_document(&b, &affinity)), last.to_string());
    }
    let both = format!("{first},{second}");
    assert_eq!(numbers(&list(&exec_document(&b, &json!({"final": both})))), [first, second]);
}

/// "`initial` (string, OPTIONAL) is a list of CPUs a runtime parent process to be run on initially, before the transition
/// to container's cgroup. … If [final is] omitted or empty, runtime SHOULD NOT change process' CPU affinity after the
/// process is moved to container's cgroup, and the final affinity is determined by the Linux kernel."
#[test]
fn without_final_processors_the_kernel_decides() {
    let Some((t, processors)) = with_two_processors() else { return };
    let b = t.idle();
    b.up();
    for affinity in
        [json!({"initial": processors[1].to_string()}), json!({"initial": processors[1].to_string(), "final": ""})]
    {
        let shown = numbers(&list(&exec_document(&b, &affinity)));
        // Linux 6.2 and later keep what a process has chosen, earlier ones give it the whole cpuset.
        let is_kept = shown == [processors[1]];
        assert!(is_kept || (!keeps_affinity() && shown == processors), "{shown:?}");
    }
}

/// The system calls in their order: the runtime runs on the initial processors before anything is cloned, and the new
/// process on the final ones after it has written itself into the cgroups.
#[test]
fn initial_comes_before_the_cgroup_and_final_after() {
    let Some(t) = Test::with_program("/usr/bin/strace") else { return };
    let processor = allowed()[0].to_string();
    let b = t.idle().set("/process/execCPUAffinity", json!({"initial": processor, "final": processor}));
    b.up();
    let file = t.path("trace");
    let script =
        format!("exec strace -f -y -e trace=sched_setaffinity,clone3,write,execve -s 8 -o {} \"$@\"", file.display());
    b.exec_with(&[], &["true"]).through(&script).run().ok();
    let trace = fs::read_to_string(file).expect("the trace");
    let position = |words: &str, skip: usize| {
        let found = trace.lines().enumerate().filter(|(_, line)| line.contains(words)).nth(skip);
        found.map(|(number, _)| number).unwrap_or_else(|| panic!("{words} in {trace}"))
    };
    let (initial, last) = (position("sched_setaffinity(", 0), position("sched_setaffinity(", 1));
    // The runtime may have made other processes before.
    let clone = trace.lines().enumerate().filter(|(number, line)| *number < last && line.contains("clone3(")).last();
    assert!(initial < clone.expect("a clone").0, "{trace}");
    let tasks = trace.lines().enumerate().filter(|(_, line)| line.contains("/tasks>, \"0\""));
    assert!(tasks.clone().all(|(number, _)| initial < number && number < last), "{trace}");
}

/// As in runc, the container's own process says it where there is no process document, or where that says nothing.
#[test]
fn the_affinity_of_the_configuration_holds_for_exec_and_not_for_init() {
    let Some((t, processors)) = with_two_processors() else { return };
    let (first, second) = (processors[0].to_string(), processors[1].to_string());
    let b = t.idle().set("/process/execCPUAffinity", json!({"initial": first, "final": second}));
    b.up();
    assert_eq!(list(&b.exec(&SHOW).ok()), second);
    assert_eq!(list(&exec_document(&b, &json!(null))), second);
    assert_eq!(list(&exec_document(&b, &json!({"final": first}))), first);
    // "This setting is not applicable to the container's init process."
    let status = fs::read_to_string(format!("/proc/{}/status", b.pid())).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("the line");
    assert_eq!(numbers(line.trim()), processors);
}

#[test]
fn a_list_that_is_none_is_an_error_at_its_place() {
    let Some(t) = Test::of_minicon("runc says it otherwise") else { return };
    for (affinity, place) in [
        (json!({"initial": "1-x"}), "process.execCPUAffinity.initial"),
        (json!({"final": "3-1"}), "process.execCPUAffinity.final"),
        (json!({"final": "99999"}), "process.execCPUAffinity.final"),
    ] {
        t.bundle(&["true"]).set("/process/execCPUAffinity", affinity).run().fails(place);
    }
    let b = t.idle();
    b.up();
    let nowhere = json!({"initial": "8191"});
    document(&b, &nowhere)
        .run()
        .exits(255)
        .says("set the initial CPU affinity")
        .says("process.execCPUAffinity.initial");
    let nowhere = json!({"final": "8191"});
    document(&b, &nowhere).run().exits(255).says("set the final CPU affinity").says("process.execCPUAffinity.final");
}

/// The caller's affinity is the runtime's: a container has the processors of its cpuset (runc does so since 1.4, because
/// Linux 6.2 keeps a choice across cpusets).
#[test]
fn the_callers_affinity_is_not_the_containers() {
    let Some(t) = Test::of_minicon("runc 1.1.5 hands it on") else { return };
    let processors = allowed();
    let through = format!("exec taskset -c {} \"$@\"", processors[0]);
    let b = t.bundle(&SHOW);
    assert_eq!(numbers(&list(&on_one(b.on_bundle("run", &[]), &through).ok())), processors);
    let b = t.idle();
    b.up();
    assert_eq!(numbers(&list(&on_one(b.exec_with(&[], &SHOW), &through).ok())), processors);
}

#[test]
fn a_container_keeps_to_its_cpuset() {
    let Some((t, processors)) = with_two_processors() else { return };
    let second = processors[1].to_string();
    let b = t.bundle(&SHOW).set("/linux/resources/cpu", json!({"cpus": second, "mems": "0"}));
    assert_eq!(list(&b.run().ok()), second);
}

fn on_one(call: Cmd, through: &str) -> Output {
    call.through(through).run()
}

fn document(b: &Bundle<'_>, affinity: &serde_json::Value) -> Cmd {
    let mut process = json!({"terminal": false, "cwd": "/", "args": SHOW, "env": ["PATH=/bin"]});
    if !affinity.is_null() {
        process["execCPUAffinity"] = affinity.clone();
    }
    let file = b.dir.join("process.json");
    fs::write(&file, process.to_string()).expect("write");
    b.exec_with(&["--process", file.to_str().expect("UTF-8")], &[])
}

fn exec_document(b: &Bundle<'_>, affinity: &serde_json::Value) -> Output {
    document(b, affinity).run().ok()
}

fn list(output: &Output) -> String {
    output.stdout.trim().trim_start_matches("Cpus_allowed_list:").trim().to_owned()
}

fn numbers(list: &str) -> Vec<usize> {
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let range = |element: &str| match element.split_once('-') {
        Some((first, last)) => (number(first)..=number(last)).collect(),
        None => vec![number(element)],
    };
    list.split(',').flat_map(range).collect()
}

/// The processors that the tests themselves may use.
fn allowed() -> Vec<usize> {
    let status = fs::read_to_string("/proc/thread-self/status").expect("status");
    numbers(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("the line").trim())
}

fn keeps_affinity() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the version");
    let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (6, 2)
}
