//! Without any privilege on cgroup v2 alone: in a cgroup that was delegated, without one, and with half of one.
//!
//! "A cgroup can be delegated … to a less privileged user by granting write access of the directory and its
//! cgroup.procs, cgroup.threads and cgroup.subtree_control files to the user" (Documentation/admin-guide/cgroup-v2.rst,
//! Model of Delegation). For what a user's systemd delegates see `systemd_user.rs`.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cgroups_v2::{MOUNT_POINT, has_controller, read_at};
use crate::rootless::{Granted, Rootless, USER, has_open};
use crate::support::{Cmd, Test, eventually};

/// Where systemd is, the cgroups below the root are its own.
fn with_delegation() -> Option<Test> {
    let found = || {
        let has_all = ["cpu", "memory", "pids"].iter().all(|name| has_controller(name));
        (has_all && !Path::new("/run/systemd/system").exists()).then_some(())
    };
    Test::where_found(found, "takes cgroup v2 alone, and no systemd").map(|(t, ())| t)
}

/// A cgroup that belongs to the user, with a session of the user's in a leaf of it. Gone when dropped.
pub struct Delegated {
    cgroup: PathBuf,
    pub session: PathBuf,
}

impl Delegated {
    fn new(t: &Test) -> Self {
        let root = Path::new(MOUNT_POINT);
        fs::write(root.join("cgroup.subtree_control"), "+cpu +memory +pids").expect("enable the controllers");
        Delegated::below(root, &format!("{}-delegated", t.tag()))
    }

    pub fn below(parent: &Path, name: &str) -> Self {
        let cgroup = parent.join(name);
        let session = cgroup.join("session");
        for directory in [&cgroup, &session] {
            fs::create_dir(directory).expect("mkdir");
            give(directory);
        }
        Delegated { cgroup, session }
    }

    /// The cgroups in it, but for the session.
    fn others(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.cgroup).expect("a directory").flatten();
        let directories = entries.filter(|entry| entry.path().is_dir());
        directories.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|n| n != "session").collect()
    }
}

fn give(directory: &Path) {
    for name in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        chown(directory.join(name), Some(USER), Some(USER)).expect("chown");
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for directory in [&self.session, &self.cgroup] {
            if let Err(error) = fs::remove_dir(directory) {
                assert!(std::thread::panicking(), "rmdir {}: {error}", directory.display());
            }
        }
    }
}

pub fn limits() -> Value {
    json!({
        "memory": {"limit": 16_777_216, "swap": 16_777_216},
        "pids": {"limit": 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
    })
}

/// A program that asks for more memory than it may have, and then lives on.
pub const GREEDY: &[&str] =
    &["sh", "-c", "head -c 60000000 /dev/zero | tail -c 60000000 >/dev/null; echo over; sleep 1000"];

/// The whole life of a container with [`limits`], of the program [`GREEDY`]: each command does what it is for, and the
/// limits, which are in this cgroup, hold.
pub fn life(runtime: &dyn Fn(&[&str]) -> Cmd, id: &str, cgroup: &Path, systemd: &[&str]) {
    let status = || runtime(&["state", id]).run().ok().json()["status"].as_str().map(str::to_owned);
    let output = runtime(&[systemd, &["create", id]].concat()).run().ok();
    assert_eq!(status().as_deref(), Some("created"));
    let following = runtime(&["events", "--interval", "1h", id]).spawn();
    eventually("it is watched", || has_open(following.pid(), "inotify"));
    runtime(&["start", id]).run().ok();
    assert_eq!(status().as_deref(), Some("running"));
    reads(cgroup, "16777216", "20");
    assert_eq!((read_at(cgroup, "memory.swap.max"), read_at(cgroup, "cpu.weight")), ("0".into(), "59".into()));
    eventually("the greedy process has been killed", || output.by_now().contains("over"));
    limits_hold(runtime, id, cgroup);
    runtime(&["pause", id]).run().ok();
    assert_eq!((status().as_deref(), read_at(cgroup, "cgroup.freeze").as_str()), (Some("paused"), "1"));
    runtime(&["resume", id]).run().ok();
    runtime(&["update", "--pids-limit", "30", "--memory", "33554432", "--memory-swap", "33554432", id]).run().ok();
    reads(cgroup, "33554432", "30");
    runtime(&["kill", id, "KILL"]).run().ok();
    following.wait().ok().shows("\"type\":\"oom\"");
    eventually("it has stopped", || status().as_deref() == Some("stopped"));
    runtime(&["delete", id]).run().ok();
    assert!(!cgroup.exists(), "{} is left", cgroup.display());
}

#[track_caller]
fn reads(cgroup: &Path, memory: &str, pids: &str) {
    let expected = [("memory.max", memory), ("pids.max", pids), ("cpu.max", "50000 100000")];
    for (file, value) in expected {
        assert_eq!(read_at(cgroup, file), value, "{file}");
    }
}

/// As who is inside sees them, as the kernel counts, and as `events` and `ps` tell.
fn limits_hold(runtime: &dyn Fn(&[&str]) -> Cmd, id: &str, cgroup: &Path) {
    let inside = "cd /sys/fs/cgroup && cat memory.max pids.max cpu.max && cat /proc/self/cgroup";
    runtime(&["exec", id, "sh", "-c", inside]).run().ok().prints("16777216\n20\n50000 100000\n0::/");
    let many = "trap 'kill $all' EXIT; for i in $(seq 20); do sleep 1000 & all=\"$all $!\"; done";
    let refused = runtime(&["exec", id, "sh", "-c", many]).run();
    assert!(refused.code != 0 && refused.stderr.contains("fork"), "{}", refused.stderr);
    runtime(&["exec", "--detach", id, "sh", "-c", "while :; do :; done"]).run().ok();
    let throttled = |line: &str| line.strip_prefix("nr_throttled ").is_some_and(|number| number != "0");
    eventually("the busy process has been throttled", || read_at(cgroup, "cpu.stat").lines().any(throttled));
    let stats = runtime(&["events", "--stats", id]).run().ok().json();
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], json!(16_777_216));
    assert_eq!(stats["data"]["pids"]["limit"], json!(20));
    assert!(stats["data"]["cpu"]["throttling"]["throttledPeriods"].as_u64() > Some(0), "{stats}");
    let processes = runtime(&["ps", "--format", "json", id]).run().ok().json();
    assert!(processes.as_array().is_some_and(|pids| pids.len() >= 2), "{processes}");
}

/// The user's container with these limits, in the place that was found for it.
fn limited(rootless: &Rootless<'_>, path: Option<String>, change: impl FnOnce(&mut Value)) {
    rootless.configure(|config| {
        config["process"]["args"] = json!(GREEDY);
        config["linux"]["resources"] = limits();
        if let Some(path) = path {
            config["linux"]["cgroupsPath"] = json!(path);
        }
        change(config);
    });
}

#[test]
fn limits_hold_in_a_delegated_cgroup() {
    let Some(t) = with_delegation() else { return };
    let delegated = Delegated::new(&t);
    let rootless = Rootless::new(&t).in_cgroup(&delegated.session);
    limited(&rootless, None, |_| ());
    life(&|args| rootless.runtime(args), "limited", &delegated.cgroup.join("limited"), &[]);
    assert_eq!(delegated.others(), Vec::<String>::new());
}

/// A path that starts at the mount point, with a parent that is not there; and one that starts where the caller is.
#[test]
fn a_path_leads_into_a_delegated_cgroup() {
    let Some(t) = with_delegation() else { return };
    let delegated = Delegated::new(&t);
    let name = delegated.cgroup.file_name().expect("a name").to_string_lossy().into_owned();
    for (path, place) in [(format!("/{name}/pod/one"), "pod/one"), ("pod/two".to_owned(), "pod/two")] {
        let rootless = Rootless::new(&t).in_cgroup(&delegated.session);
        limited(&rootless, Some(path), |config| {
            config["process"]["args"] = json!(["sh", "-c", "cat /sys/fs/cgroup/memory.max; sleep 1000"]);
        });
        let output = rootless.runtime(&["run", "--detach", "placed"]).run().ok();
        eventually("the program has read its limit", || output.by_now() == "16777216\n");
        assert_eq!(read_at(&delegated.cgroup.join(place), "pids.max"), "20");
        rootless.runtime(&["delete", "--force", "placed"]).run().ok();
        assert_eq!(delegated.others(), Vec::<String>::new());
        fs::remove_dir_all(&rootless.dir).expect("an empty place for the next bundle");
    }
}

#[test]
fn run_in_a_delegated_cgroup_leaves_nothing() {
    let Some(t) = with_delegation() else { return };
    let delegated = Delegated::new(&t);
    let rootless = Rootless::new(&t).in_cgroup(&delegated.session);
    let script = "cd /sys/fs/cgroup && cat memory.max pids.max cpu.max; exit 7";
    limited(&rootless, None, |config| config["process"]["args"] = json!(["sh", "-c", script]));
    rootless.runtime(&["run", "short"]).run().exits(7).prints("16777216\n20\n50000 100000");
    assert_eq!(delegated.others(), Vec::<String>::new());
    // And one that fails on its way.
    rootless.configure(|config| config["linux"]["resources"]["unified"] = json!({"memory.high": "much"}));
    rootless.runtime(&["run", "short"]).run().fails("memory.high").says("config: linux.resources.unified");
    assert_eq!(delegated.others(), Vec::<String>::new());
}

#[test]
fn ranges_of_ids_go_with_a_delegated_cgroup() {
    let Some(t) = with_delegation() else { return };
    let _granted = Granted::new(&t, "ann:300000:100\n");
    let delegated = Delegated::new(&t);
    let rootless = Rootless::new(&t).in_cgroup(&delegated.session);
    limited(&rootless, None, |config| {
        for mappings in ["uidMappings", "gidMappings"] {
            config["linux"][mappings] = json!([
                {"containerID": 0, "hostID": USER, "size": 1},
                {"containerID": 1, "hostID": 300_000, "size": 100},
            ]);
        }
        config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    });
    life(&|args| rootless.runtime(args), "mapped", &delegated.cgroup.join("mapped"), &[]);
    assert_eq!(delegated.others(), Vec::<String>::new());
}

/// Root of the user's own user namespace, as rootless engines are.
#[test]
fn an_engine_of_a_user_limits_in_a_delegated_cgroup() {
    let Some(t) = with_delegation() else { return };
    let delegated = Delegated::new(&t);
    let rootless = Rootless::new(&t).in_cgroup(&delegated.session);
    for (name, own_namespace) in [("shared", false), ("own", true)] {
        rootless.configure_for_engine(name, |config| {
            config["linux"]["resources"] = limits();
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.push(json!({"type": "cgroup"}));
            if own_namespace {
                namespaces.push(json!({"type": "user"}));
                for mappings in ["uidMappings", "gidMappings"] {
                    config["linux"][mappings] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
                }
            }
            config["process"]["args"] = json!(["sleep", "1000"]);
        });
        let script = "./minicon run --detach --bundle NAME NAME </dev/null >/dev/null 2>&1 \
            && ./minicon exec NAME sh -c 'cd /sys/fs/cgroup; cat memory.max pids.max' \
            && ./minicon pause NAME && ./minicon resume NAME && ./minicon update --pids-limit 9 NAME \
            && ./minicon exec NAME cat /sys/fs/cgroup/pids.max && ./minicon kill NAME KILL
            code=$?; ./minicon delete --force NAME; exit $code";
        let script = script.replace("NAME", name);
        rootless.shell_of_an_engine(&script).run().ok().prints("16777216\n20\n9");
        assert_eq!(delegated.others(), Vec::<String>::new());
    }
}

/// From another session of the same user: who moves a process needs to write `cgroup.procs` of the nearest cgroup above
/// both (cgroups(7), Delegation containment). All else needs only the user's rights over the container's cgroup.
#[test]
fn from_outside_of_the_delegated_cgroup_all_but_exec_works() {
    let Some(t) = with_delegation() else { return };
    let delegated = Delegated::new(&t);
    let mut rootless = Rootless::new(&t).in_cgroup(&delegated.session);
    limited(&rootless, None, |config| config["process"]["args"] = json!(["sleep", "1000"]));
    rootless.runtime(&["create", "far"]).run().ok();
    rootless.in_no_cgroup();
    for args in [
        &["start", "far"][..],
        &["state", "far"],
        &["events", "--stats", "far"],
        &["ps", "far"],
        &["pause", "far"],
        &["resume", "far"],
        &["update", "--pids-limit", "9", "far"],
    ] {
        rootless.runtime(args).run().ok();
    }
    assert_eq!(read_at(&delegated.cgroup.join("far"), "pids.max"), "9");
    let output = rootless.runtime(&["exec", "far", "true"]).run().exits(255);
    output.says("exec failed: make the process: clone3(").says("EACCES").says("a cgroup of this user's own");
    rootless.runtime(&["delete", "--force", "far"]).run().ok();
    // Nor can a container be made there from here, which `check` knows too.
    let name = delegated.cgroup.file_name().expect("a name").to_string_lossy().into_owned();
    rootless.configure(|config| config["linux"]["cgroupsPath"] = json!(format!("/{name}/far")));
    rootless.runtime(&["create", "far"]).run().fails("access(/sys/fs/cgroup/cgroup.procs").says("linux.cgroupsPath");
    rootless.runtime(&["check", "."]).run().exits(1).shows("nobody can be moved to /sys/fs/cgroup/");
    assert_eq!(delegated.others(), Vec::<String>::new());
}

/// Without a cgroup of one's own there are no limits: who asks for none gets the container, who asks is told.
#[test]
fn without_delegation_limits_are_refused() {
    let Some(t) = with_delegation() else { return };
    let rootless = Rootless::new(&t);
    rootless.configure(|config| config["process"]["args"] = json!(["cat", "/proc/self/cgroup"]));
    let output = rootless.runtime(&["run", "unlimited"]).run().ok();
    output.prints("0::/");
    for resource in ["memory", "pids", "cpu"] {
        rootless.configure(|config| config["linux"]["resources"] = json!({resource: limits()[resource]}));
        let output = rootless.runtime(&["run", "refused"]).run();
        output
            .fails("rootless needs no limits + no cgrouppath when no permission is granted for cgroups")
            .says("EACCES")
            .says(&format!("config: linux.resources.{resource}"))
            .says("start from a leaf of one that is delegated");
        rootless.runtime(&["state", "refused"]).run().fails("container does not exist");
    }
    // A path that was asked for is a wish too.
    rootless.configure(|config| {
        config["linux"]["resources"] = json!({});
        config["linux"]["cgroupsPath"] = json!(format!("/{}-far", t.tag()));
    });
    rootless.runtime(&["run", "refused"]).run().fails("EACCES").says("config: linux.cgroupsPath");
}

/// "Resources are distributed top-down and a cgroup can further distribute a resource only if the resource has been
/// distributed to it from the parent" (cgroup-v2.rst, Top-down Constraint).
#[test]
fn a_limit_of_a_controller_that_was_not_given_is_refused() {
    let Some(t) = with_delegation() else { return };
    let above = Delegated::new(&t);
    fs::write(above.cgroup.join("cgroup.subtree_control"), "+pids").expect("enable pids");
    chown(above.cgroup.join("cgroup.subtree_control"), Some(0), Some(0)).expect("chown");
    let delegated = Delegated::below(&above.cgroup, "inner");
    let rootless = Rootless::new(&t).in_cgroup(&delegated.session);
    rootless.configure(|config| config["process"]["args"] = json!(["cat", "/sys/fs/cgroup/pids.max"]));
    rootless.configure(|config| config["linux"]["resources"] = json!({"pids": {"limit": 9}}));
    rootless.runtime(&["run", "given"]).run().ok().prints("9");
    rootless.configure(|config| config["linux"]["resources"] = limits());
    let output = rootless.runtime(&["run", "refused"]).run();
    output
        .fails("limit memory")
        .says("config: linux.resources.memory.limit")
        .says("the controller memory is not enabled");
    assert_eq!(delegated.others(), Vec::<String>::new());
}

/// "No internal processes": the user's session fills the cgroup itself, so nothing below it can be limited.
#[test]
fn a_session_that_is_not_in_a_leaf_is_told() {
    let Some(t) = with_delegation() else { return };
    let delegated = Delegated::new(&t);
    let rootless = Rootless::new(&t).in_cgroup(&delegated.cgroup);
    limited(&rootless, None, |_| ());
    rootless.runtime(&["create", "beside"]).run().fails("EACCES").says("cgroup.procs").says("hint");
    let name = delegated.cgroup.file_name().expect("a name").to_string_lossy().into_owned();
    limited(&rootless, Some(format!("/{name}/below")), |_| ());
    let output = rootless.runtime(&["create", "below"]).run();
    output.fails("limit memory").says("the controller memory is not enabled here: a parent has processes of its own");
    assert_eq!(delegated.others(), Vec::<String>::new());
    // Without limits it is a place like any other.
    rootless.configure(|config| {
        config["linux"]["resources"] = json!({});
        config["process"]["args"] = json!(["cat", "/proc/self/cgroup"]);
    });
    rootless.runtime(&["run", "below"]).run().ok().prints("0::/");
    assert_eq!(delegated.others(), Vec::<String>::new());
}
