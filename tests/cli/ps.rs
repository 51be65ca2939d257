//! `ps`: the processes of a container, as pids and as lines of ps(1).

use std::collections::BTreeSet;
use std::fs;

use crate::support::limits::directory;
use crate::support::{Bundle, Test, eventually};

/// A container of three processes.
fn three(t: &Test) -> Bundle<'_> {
    let b = t.sh("sleep 1000 & sleep 1001 & echo ready; wait");
    let output = b.up();
    eventually("they are there", || output.by_now() == "ready\n");
    b
}

fn pids(b: &Bundle<'_>) -> BTreeSet<i64> {
    let text = fs::read_to_string(directory(b, "pids").join("cgroup.procs")).expect("cgroup.procs");
    text.lines().map(|line| line.parse().expect("a pid")).collect()
}

#[test]
fn json_is_a_list_of_pids() {
    let t = Test::new();
    let b = three(&t);
    for flags in [&["--format", "json"][..], &["-f", "json"], &["--format=json"], &["-format", "json"]] {
        let list = t.runtime(["ps"]).args(flags).arg(&b.id).run().ok();
        let listed: Vec<i64> = list.json().as_array().expect("a list").iter().filter_map(|pid| pid.as_i64()).collect();
        assert_eq!(listed.len(), 3);
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), pids(&b));
        assert!(listed.contains(&i64::from(b.pid())));
        assert!(list.stdout.ends_with("]\n") && !list.stdout.contains(' '), "{:?}", list.stdout);
    }
}

#[test]
fn a_table_has_the_lines_of_ps() {
    let Some(t) = Test::with_program("/bin/ps") else { return };
    let b = three(&t);
    let table = b.verb("ps", &[]).run().ok();
    let rows: Vec<Vec<&str>> = table.lines().iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    let shown: BTreeSet<i64> = rows[1..].iter().map(|row| row[1].parse().expect("a pid")).collect();
    assert_eq!(shown, pids(&b));
    table.shows("sleep 1001");
}

#[test]
fn words_after_the_name_are_options_of_ps() {
    let Some(t) = Test::with_program("/bin/ps") else { return };
    let b = three(&t);
    let table = b.verb("ps", &["-e", "-o", "pid,args"]).run().ok();
    let lines = table.lines();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"]);
    let first: BTreeSet<_> = lines[1..].iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!((lines.len(), first), (4, BTreeSet::from(["sh", "sleep"])));
    b.verb("ps", &["-e", "-f"]).run().ok().shows("PPID");
    b.verb("ps", &["aux"]).run().ok().shows("%CPU").shows("sleep 1000");
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let Some(t) = Test::with_program("/bin/ps") else { return };
    let b = three(&t);
    b.verb("ps", &["-e", "-o", "args"]).run().fails("couldn't find PID field in ps output");
    b.verb("ps", &["--no-such-option"]).run().exits(1);
    t.runtime(["ps", "--format", "xml"]).arg(&b.id).run().fails("invalid format option");
    t.runtime(["ps"]).run().says("requires a minimum of 1 argument(s)");
    t.runtime(["ps", "nothing"]).run().fails("container does not exist");
}

#[test]
fn a_container_of_any_status_has_a_list() {
    let t = Test::new();
    let b = t.idle();
    let list = || t.runtime(["ps", "--format", "json"]).arg(&b.id).run().ok().json();
    b.create().ok();
    assert_eq!(list(), serde_json::json!([b.pid()]));
    b.verb("pause", &[]).run().ok();
    assert_eq!(list(), serde_json::json!([b.pid()]));
    b.verb("resume", &[]).run().ok();
    b.stop();
    assert_eq!(list(), serde_json::Value::Null);
    if std::path::Path::new("/bin/ps").exists() {
        assert_eq!(b.verb("ps", &[]).run().ok().lines().len(), 1, "only the title");
    }
}
