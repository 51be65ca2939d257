//! `linux.intelRdt` against a directory that stands in for resctrl: no machine of ours has the file system. What the
//! kernel would do by itself (the files of a new group, removing a group that has files) the test does. That the kernel
//! takes what is written here has not been tried.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use minicon::error::{Problem, Result};
use minicon::plan::{Host, intel_rdt};
use minicon::resctrl::{Group, Membership};
use serde_json::{Value, json};

const SCHEMATA: &str = "    L3:0=fff;1=fff\n    MB:0=100;1=100\n";

struct Resctrl(tempfile::TempDir);

impl Resctrl {
    fn new() -> Resctrl {
        let resctrl = Resctrl(tempfile::tempdir().unwrap());
        resctrl.group("");
        fs::create_dir_all(resctrl.path("info/MB")).unwrap();
        fs::create_dir(resctrl.path("mon_groups")).unwrap();
        fs::write(resctrl.path("info/MB/bandwidth_gran"), "10\n").unwrap();
        fs::write(resctrl.path("info/last_cmd_status"), "ok\n").unwrap();
        resctrl
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A group as the kernel would make it.
    fn group(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("schemata"), SCHEMATA).unwrap();
        fs::write(path.join("tasks"), "").unwrap();
        path
    }

    fn plan(&self, rdt: Value) -> Result<intel_rdt::IntelRdt, Vec<Problem>> {
        let host = Host { resctrl: Some(self.0.path().to_owned()), ..Host::default() };
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let rdt = serde_json::from_value(rdt).unwrap();
        let plan = intel_rdt::plan(&rdt, "web", &host, &mut problems, &mut warnings);
        if problems.is_empty() { Ok(plan.unwrap()) } else { Err(problems) }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Everything in it, to tell whether something has changed.
    fn all(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut directories = vec![self.0.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                match entry.path().is_dir() {
                    true => directories.push(entry.path()),
                    false => found.push((entry.path(), fs::read_to_string(entry.path()).unwrap())),
                }
                found.push((entry.path(), String::new()));
            }
        }
        found.sort();
        found
    }
}

/// rmdir(2) takes a group's files with it.
fn empty(group: &Path) {
    for name in ["schemata", "tasks"] {
        let _ = fs::remove_file(group.join(name));
    }
}

/// "If `closID` is not set, runtimes MUST use the container ID from `start` and create the `<container-id>` directory."
/// "If `closID` is not set and the runtime has created the sub-directory, the runtime MUST remove the sub-directory when
/// the container is deleted." (config-linux.md, IntelRdt)
#[test]
fn without_a_name_the_class_is_the_containers() {
    let r = Resctrl::new();
    let plan = r.plan(json!({"l3CacheSchema": "L3:0=f"})).unwrap();
    let record = Membership::planned(&plan);
    let group = Group::make(&plan).unwrap();
    group.admit(4711).unwrap();
    // "the runtime MUST write the container process ID to the tasks file in a proper sub-directory"
    assert_eq!((r.read("web/schemata"), r.read("web/tasks")), ("L3:0=f\n".into(), "4711".into()));
    record.admit(4712).unwrap();
    assert_eq!(r.read("web/tasks"), "4712");
    empty(&r.path("web"));
    record.remove(false).unwrap();
    assert!(!r.path("web").exists());
    record.remove(false).unwrap(); // again is no error
}

/// "If `closID` is set or the runtime has not created the sub-directory, the runtime MUST NOT remove the sub-directory"
#[test]
fn a_class_that_was_there_or_has_a_name_stays() {
    let r = Resctrl::new();
    r.group("web");
    let plan = r.plan(json!({})).unwrap();
    let record = Membership::planned(&plan);
    Group::make(&plan).unwrap().admit(1).unwrap();
    // "If none of l3CacheSchema, memBwSchema or schemata is set, runtimes MUST NOT write to schemata files"
    assert_eq!(r.read("web/schemata"), SCHEMATA);
    record.remove(false).unwrap();
    assert!(r.path("web").exists());
    let plan = r.plan(json!({"closID": "gold", "memBwSchema": "MB:0=20"})).unwrap();
    let record = Membership::planned(&plan);
    Group::make(&plan).unwrap().admit(1).unwrap();
    assert_eq!(r.read("gold/schemata"), "MB:0=20\n");
    empty(&r.path("gold"));
    record.remove(false).unwrap();
    assert!(r.path("gold").exists());
}

/// "if `closID` directory in a mounted `resctrl` pseudo-filesystem exists, runtimes MUST compare `l3CacheSchema` and/or
/// `memBwSchema` value with `schemata` file, and generate an error if doesn't match."
#[test]
fn a_class_that_exists_must_have_the_same_schemata() {
    let r = Resctrl::new();
    r.group("gold");
    let same = r.plan(json!({"closID": "gold", "l3CacheSchema": "L3:1=0fff", "memBwSchema": "MB:0=95"})).unwrap();
    Group::make(&same).unwrap().undo();
    let before = r.all();
    for (rdt, place) in [
        (json!({"closID": "gold", "l3CacheSchema": "L3:0=ff"}), "linux.intelRdt.l3CacheSchema"),
        (json!({"closID": "gold", "memBwSchema": "MB:0=20"}), "linux.intelRdt.memBwSchema"),
        (json!({"closID": "/", "memBwSchema": "MB:0=20"}), "linux.intelRdt.memBwSchema"),
    ] {
        let error = Group::make(&r.plan(rdt).unwrap()).unwrap_err();
        assert_eq!(error.config_path(), Some(place), "{error}");
    }
    assert_eq!(r.all(), before);
}

/// "If such pre-configured directory `closID` exists, runtime MUST assign container to this `closID` and generate an
/// error if directory does not exist." "As a special case, value `/` means that the container MUST be assigned to the
/// default CLOS"
#[test]
fn a_name_alone_means_a_class_that_is_configured() {
    let r = Resctrl::new();
    let error = Group::make(&r.plan(json!({"closID": "gold"})).unwrap()).unwrap_err();
    assert_eq!(error.config_path(), Some("linux.intelRdt.closID"));
    assert!(!r.path("gold").exists());
    r.group("gold");
    Group::make(&r.plan(json!({"closID": "gold"})).unwrap()).unwrap().admit(7).unwrap();
    assert_eq!((r.read("gold/tasks"), r.read("gold/schemata")), ("7".into(), SCHEMATA.into()));
    Group::make(&r.plan(json!({"closID": "/"})).unwrap()).unwrap().admit(8).unwrap();
    assert_eq!((r.read("tasks"), r.read("schemata")), ("8".into(), SCHEMATA.into()));
}

/// "The runtime MUST use the container ID from `start` as the name of the MON group … The runtime MUST delete the MON
/// group after the container is deleted. If creation of the MON group fails … the runtime MUST return an error."
#[test]
fn a_monitoring_group_is_made_and_removed() {
    let r = Resctrl::new();
    r.group("gold");
    fs::create_dir(r.path("gold/mon_groups")).unwrap();
    let plan = r.plan(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
    let record = Membership::planned(&plan);
    Group::make(&plan).unwrap().admit(9).unwrap();
    assert_eq!((r.read("gold/tasks"), r.read("gold/mon_groups/web/tasks")), ("9".into(), "9".into()));
    let error = Group::make(&plan).unwrap_err();
    assert_eq!(error.config_path(), Some("linux.intelRdt.enableMonitoring"));
    empty(&r.path("gold/mon_groups/web"));
    record.remove(false).unwrap();
    assert!(!r.path("gold/mon_groups/web").exists() && r.path("gold").exists());
    // The kernel has no room: here there is not even the directory for such groups.
    fs::remove_dir(r.path("gold/mon_groups")).unwrap();
    let error = Group::make(&plan).unwrap_err();
    assert_eq!((error.config_path(), error.call_name()), (Some("linux.intelRdt.enableMonitoring"), Some("mkdir")));
}

/// A failure leaves the host as it was.
#[test]
fn what_a_failing_create_has_done_is_undone() {
    let r = Resctrl::new();
    r.group("gold");
    let before = r.all();
    let plan = r.plan(json!({"closID": "gold", "schemata": ["L3:0=1", "MB:0=30"]})).unwrap();
    let mut group = Group::make(&plan).unwrap();
    assert_eq!(r.read("gold/schemata"), "L3:0=1\nMB:0=30\n");
    group.undo();
    assert_eq!(r.all(), before);
    // There is no room for the monitoring group, and the kernel says so.
    fs::write(r.path("info/last_cmd_status"), "Out of RMIDs\n").unwrap();
    let before = r.all();
    let plan = r.plan(json!({"closID": "gold", "schemata": ["L3:0=1"], "enableMonitoring": true})).unwrap();
    let error = Group::make(&plan).unwrap_err();
    assert!(error.text().contains("the kernel says: Out of RMIDs"), "{error}");
    assert_eq!(r.all(), before);
}

#[test]
fn an_update_changes_the_class_and_can_be_taken_back() {
    let resctrl = Resctrl::new();
    let class = resctrl.group("web");
    let membership = Membership { groups: vec![class], owned: Vec::new() };
    let planned = |cache, bandwidth| {
        let mut problems = Vec::new();
        let schemata = intel_rdt::plan_update(cache, bandwidth, &mut problems, &mut Vec::new());
        if problems.is_empty() { Ok(schemata) } else { Err(problems) }
    };
    let mut changed = Group::change(&membership, &planned(Some("L3:0=f"), Some("")).unwrap()).unwrap();
    assert_eq!(resctrl.read("web/schemata"), "L3:0=f\n");
    changed.undo();
    assert_eq!(resctrl.read("web/schemata"), SCHEMATA);
    assert!(resctrl.path("web").is_dir(), "the class is not the update's");
    assert!(planned(None, Some("L3:0=f")).is_err());
    assert!(planned(Some(""), None).unwrap().is_empty());
    fs::remove_dir_all(resctrl.path("web")).unwrap();
    let error = Group::change(&membership, &planned(None, Some("MB:0=50")).unwrap()).expect_err("no class");
    assert_eq!(error.config_path(), Some("linux.intelRdt"));
}
