//! `explain` and `--trace`: what is told before and what is recorded while it is done are the same list.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::namespaces::{hold, namespace_of};
use crate::support::terminal::FdSocket;
use crate::support::{Bundle, Cmd, Test};

/// The steps that `explain` prints for one side.
fn explained(t: &Test, b: &Bundle<'_>, side: &str) -> Vec<String> {
    b.write();
    let output = t.runtime(["explain", "--format", "json", "--id", &b.id]).arg(&b.dir).run().ok();
    let steps = output.json()["steps"].as_array().expect("steps").clone();
    let own = steps.iter().filter(|step| step["side"] == side);
    own.map(|step| step["id"].as_str().expect("an id").to_owned()).collect()
}

/// The spans of a trace of JSON lines, by their start.
fn spans(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the trace");
    let mut spans: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    spans.sort_by_key(|span| span["start"].as_i64());
    spans
}

/// The steps that one side has recorded.
fn recorded(spans: &[Value], side: &str) -> Vec<String> {
    let own = spans.iter().filter(|span| span["side"] == side && span["kind"] == "step" && span["ends"] != true);
    own.inspect(|span| assert!(["done", "skipped", "begun"].iter().any(|word| span["outcome"] == *word), "{span}"))
        .map(|span| span["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// Creates, starts and deletes a container, each of them a command that appends to the same trace.
fn live(t: &Test, b: &Bundle<'_>, file: &Path) -> Vec<Value> {
    let traced = |cmd: Cmd| cmd.env("MINICON_TRACE", file).run().ok();
    let socket = FdSocket::listen(t, &format!("console-{}", b.id));
    let wants_terminal = b.config["process"]["terminal"] == true;
    let flags = if wants_terminal { vec!["--console-socket", socket.arg()] } else { vec![] };
    traced(b.on_bundle("create", &flags));
    let _master = wants_terminal.then(|| socket.receive());
    traced(b.verb("start", &[]));
    traced(b.verb("delete", &["--force"]));
    spans(file)
}

#[track_caller]
fn agrees(t: &Test, b: &Bundle<'_>, name: &str) {
    let spans = live(t, b, &t.path(&format!("{}.jsonl", b.id)));
    for side in ["runtime", "init"] {
        assert_eq!(recorded(&spans, side), explained(t, b, side), "the {side} of {name}");
    }
    let ends = spans.iter().filter(|span| span["ends"] == true && span["outcome"] == "done").count();
    assert_eq!(ends, 1, "the exec of {name} ends once: {spans:?}");
}

/// An example of `bundles/`, on the tests' root.
fn example<'t>(t: &'t Test, name: &str) -> Bundle<'t> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles").join(name).join("config.json");
    let mut b = t.bundle(&["true"]);
    let root = b.config["root"]["path"].clone();
    b.config = serde_json::from_slice(&fs::read(file).expect("config.json")).expect("JSON");
    b.set("/root/path", root)
}

#[test]
fn every_bundle_does_what_explain_tells() {
    let Some(t) = Test::of_minicon("only minicon explains") else { return };
    let holder = hold(&["--net"], "net");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles");
    let names = fs::read_dir(directory).expect("bundles").flatten();
    let names: Vec<String> = names.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        let mut b = example(&t, &name);
        for namespace in b.config["linux"]["namespaces"].as_array_mut().expect("namespaces") {
            if namespace["path"].is_string() {
                namespace["path"] = json!(namespace_of(&holder, "net"));
            }
        }
        // There is no such device here; its steps have a test of their own.
        if b.config["linux"]["netDevices"].is_object() {
            b = b.unset("/linux/netDevices");
        }
        // Only a host with cgroup v2 alone has the controllers of these.
        if b.config["linux"]["resources"]["unified"].is_object() && Path::new("/sys/fs/cgroup/memory").exists() {
            b = b.unset("/linux/resources/unified");
        }
        agrees(&t, &b, &name);
    }
}

/// What no example has: every other property that is a step of its own.
#[test]
fn what_is_rarely_asked_for_is_told_as_well() {
    let Some(t) = Test::of_minicon("only minicon explains") else { return };
    let source = t.file("source", "text");
    let b = t
        .bundle(&["true"])
        .unshare("cgroup")
        .unshare("time")
        .set("/linux/timeOffsets", json!({"monotonic": {"secs": 1000}, "boottime": {"secs": 5}}))
        .set("/domainname", "example.org")
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}))
        .set("/process/oomScoreAdj", 500)
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 3}))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3}))
        .set("/linux/personality", json!({"domain": "LINUX32"}))
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}))
        .set("/process/noNewPrivileges", false)
        .set("/linux/resources/cpu", json!({"cpus": "0"}))
        .mount("bind", &source, "/mnt/file", &["bind", "ro"])
        .own_rootfs();
    agrees(&t, &b, "all of it");
}

/// One clock: what init does is inside of what the runtime waits for, also where its own clock is an hour ahead.
#[test]
fn both_processes_have_one_clock() {
    let Some(t) = Test::of_minicon("only minicon traces") else { return };
    let b = t.bundle(&["true"]).unshare("time").set("/linux/timeOffsets", json!({"monotonic": {"secs": 3600}}));
    let spans = live(&t, &b, &t.path("clock.jsonl"));
    let create = spans.iter().find(|span| span["id"] == "create" && span["kind"] == "command").expect("create");
    let (from, took) = (create["start"].as_i64().expect("a time"), create["took"].as_i64().expect("a time"));
    let inside = |span: &&Value| (from..=from + took).contains(&span["start"].as_i64().expect("a time"));
    let own = |span: &&Value| span["side"] == "init" && span["kind"] == "step" && span["ends"] != true;
    let after: Vec<&str> =
        spans.iter().filter(own).filter(|span| !inside(span)).filter_map(|span| span["id"].as_str()).collect();
    assert!(after.iter().all(|id| ["gate:wait", "execve"].contains(id)), "{after:?}");
}

#[test]
fn each_format_is_chosen_by_the_name_or_the_flag() {
    let Some(t) = Test::of_minicon("only minicon traces") else { return };
    let b = t.bundle(&["true"]);
    b.write();
    let run = |flags: &[&str], file: &Path| {
        let trace = ["--trace", file.to_str().expect("UTF-8")];
        t.runtime(trace).args(flags).args(["run", "--bundle"]).arg(&b.dir).arg(&b.id).run().ok();
        fs::read_to_string(file).expect("the trace")
    };
    let tree = run(&[], &t.path("trace.txt"));
    assert!(tree.contains("  init       furnish:\n") || tree.contains("init     furnish:\n"), "{tree}");
    let chrome = run(&[], &t.path("trace.json"));
    let events: Value =
        serde_json::from_str(&format!("{}]", chrome.trim_end().trim_end_matches(','))).expect("an array");
    let events = events.as_array().expect("an array");
    assert!(events.iter().any(|event| event["ph"] == "X" && event["name"] == "mount:/proc" && event["tid"] == 2));
    assert!(events.iter().any(|event| event["ph"] == "M" && event["args"]["name"] == "init"));
    let lines = run(&["--trace-format", "json"], &t.path("trace.any"));
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
    for file in ["trace.json", "trace.any"] {
        let drawn = t.runtime(["trace"]).arg(t.path(file)).run().ok().stdout;
        assert!(drawn.contains("|- mount:/proc\n") && drawn.contains("slowest steps\n"), "{drawn}");
    }
    t.runtime(["trace"]).arg(t.path("trace.txt")).run().fails("this is no trace");
    t.runtime(["--trace-format", "xml", "--trace", "/dev/null", "list"]).run().fails("invalid trace-format: xml");
    t.runtime(["--trace", "/no/such/directory/x", "list"]).run().fails("open the trace: open(/no/such/directory/x)");
}

/// A step that fails is the last of its side, and says why.
#[test]
fn a_failed_step_is_in_the_trace() {
    let Some(t) = Test::of_minicon("only minicon traces") else { return };
    let b = t.bundle(&["true"]).mount("bind", "/no/such/source", "/mnt", &["bind"]);
    let file = t.path("failed.jsonl");
    b.on_bundle("create", &[]).env("MINICON_TRACE", &file).run().fails("/no/such/source");
    let spans = spans(&file);
    let failed =
        spans.iter().find(|span| span["kind"] == "step" && span["outcome"] == "failed").expect("a failed step");
    assert_eq!(failed["id"], "mount:/mnt");
    assert!(failed["error"].as_str().expect("why").contains("ENOENT"), "{failed}");
    assert_eq!(spans.iter().rfind(|span| span["side"] == "init").expect("init")["id"], "mount:/mnt");
}

/// The program does not get the trace's descriptor, and exec is traced too.
#[test]
fn a_trace_ends_at_the_exec() {
    let Some(t) = Test::of_minicon("only minicon traces") else { return };
    let b = t.idle();
    let file = t.path("exec.jsonl");
    b.on_bundle("create", &[]).env("MINICON_TRACE", &file).run().ok();
    b.start().ok();
    let listed = b.exec_with(&[], &["ls", "-l", "/proc/1/fd", "/proc/self/fd"]).env("MINICON_TRACE", &file).run().ok();
    assert!(!listed.stdout.contains("exec.jsonl"), "{}", listed.stdout);
    let spans = spans(&file);
    assert!(spans.iter().any(|span| span["id"] == "exec" && span["kind"] == "command"), "{spans:?}");
    b.stop();
}

#[test]
fn explain_has_three_formats_and_reasons() {
    let Some(t) = Test::of_minicon("only minicon explains") else { return };
    let b = t.bundle(&["true"]);
    b.write();
    let explain = |flags: &[&str]| t.runtime(["explain"]).args(flags).arg(&b.dir).run().ok().stdout;
    let plain = explain(&[]);
    assert!(plain.contains("create, init, furnish: "), "{plain}");
    assert!(!plain.contains("pivot_root(2)"), "{plain}");
    assert!(explain(&["--why"]).contains("pivot_root(2)"));
    assert!(
        explain(&["--format", "markdown"]).contains("| `mount:/proc` | mount proc (proc) on /proc | `mounts[0]` |")
    );
    let why: Value = serde_json::from_str(&explain(&["--why", "--format=json"])).expect("JSON");
    for step in why["steps"].as_array().expect("steps") {
        assert!(step["why"].as_str().is_some_and(|why| why.len() > 20), "{step}");
        assert!(step["calls"][0].as_str().is_some_and(|call| !call.is_empty()), "{step}");
    }
    t.runtime(["explain", "--format", "xml"]).arg(&b.dir).run().fails("invalid format: xml");
}
