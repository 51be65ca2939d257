//! Many containers, one after the other and at once: the guard sees what they leave.

use crate::support::guard::cgroups;
use crate::support::{Test, eventually, slowness};

#[test]
fn a_thousand_containers_leave_no_cgroup() {
    let t = Test::new();
    let b = t.idle();
    b.write();
    let before = cgroups().len();
    for _ in 0..1000 / slowness() {
        b.create().ok();
        b.verb("delete", &["--force"]).run().ok();
    }
    // What others make and remove comes and goes.
    eventually("there are as many cgroups as before", || cgroups().len() <= before);
}

#[test]
fn two_hundred_runs_in_turn_leave_nothing() {
    let t = Test::new();
    let b = t.bundle(&["true"]);
    for _ in 0..200 {
        b.run().ok();
    }
}

#[test]
fn fifty_runs_at_once_leave_nothing() {
    let t = Test::new();
    let bundles: Vec<_> = (0..50).map(|number| t.sh(&format!("exit {number}"))).collect();
    let runs: Vec<_> = bundles.iter().map(|b| b.on_bundle("run", &[]).limit(120).spawn()).collect();
    for (number, run) in runs.into_iter().enumerate() {
        run.wait().exits(number as i32);
    }
}

#[test]
fn fifty_containers_side_by_side_are_all_listed() {
    let t = Test::new();
    let bundles: Vec<_> = (0..50).map(|_| t.idle()).collect();
    let creates: Vec<_> = bundles.iter().map(|b| b.on_bundle("create", &[]).limit(120).spawn()).collect();
    creates.into_iter().for_each(|create| drop(create.wait().ok()));
    let output = t.runtime(["list", "--quiet"]).run().ok();
    assert_eq!(output.lines().len(), 50);
    let deletes: Vec<_> = bundles.iter().map(|b| b.verb("delete", &["--force"]).limit(120).spawn()).collect();
    deletes.into_iter().for_each(|delete| drop(delete.wait().ok()));
}
