//! Limits, read back from where the kernel keeps them, and felt by the program, where there is cgroup v1; and what holds
//! for v2 too, device rules among it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Bundle, Test};

/// A test of cgroup v1 controllers.
pub fn with_v1() -> Option<Test> {
    Test::where_possible(Path::new("/sys/fs/cgroup/memory").exists(), "no cgroup v1 controllers")
}

/// A running container with these limits.
fn limited(t: &Test, resources: Value) -> Bundle<'_> {
    let b = t.idle().set("/linux/resources", resources);
    b.up();
    b
}

fn read(b: &Bundle<'_>, controller: &str, file: &str) -> String {
    fs::read_to_string(b.cgroup(controller).join(file)).expect("a file of the cgroup").trim().to_owned()
}

#[test]
fn memory_limits_are_written() {
    let Some(t) = with_v1() else { return };
    let b = limited(
        &t,
        json!({"memory": {"limit": 67108864, "reservation": 33554432, "swap": 134217728, "swappiness": 10}}),
    );
    assert_eq!(read(&b, "memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(read(&b, "memory", "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(read(&b, "memory", "memory.memsw.limit_in_bytes"), "134217728");
    assert_eq!(read(&b, "memory", "memory.swappiness"), "10");
}

#[test]
fn minus_one_is_no_limit() {
    let Some(t) = with_v1() else { return };
    let b = limited(&t, json!({"memory": {"limit": -1}, "pids": {"limit": -1}}));
    assert!(read(&b, "memory", "memory.limit_in_bytes").parse::<u64>().expect("a number") > 1 << 60);
    assert_eq!(read(&b, "pids", "pids.max"), "max");
}

#[test]
fn cpu_limits_are_written() {
    let Some(t) = with_v1() else { return };
    let b = limited(&t, json!({"cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"}}));
    assert_eq!(read(&b, "cpu", "cpu.shares"), "512");
    assert_eq!(read(&b, "cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(read(&b, "cpu", "cpu.cfs_period_us"), "100000");
    assert_eq!(read(&b, "cpuset", "cpuset.cpus"), "0");
    assert_eq!(read(&b, "cpuset", "cpuset.mems"), "0");
}

#[test]
fn the_pids_limit_is_written_and_bites() {
    let Some(t) = with_v1() else { return };
    let b = t.idle().set("/linux/resources", json!({"pids": {"limit": 50}}));
    b.up();
    assert_eq!(read(&b, "pids", "pids.max"), "50");
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait";
    let b = t.sh(script).set("/linux/resources", json!({"pids": {"limit": 4}}));
    b.run().says("can't fork");
}

#[test]
fn the_memory_limit_bites() {
    let Some(t) = with_v1() else { return };
    let b = t.sh("head -c 60000000 /dev/zero | tail -c 60000000 | wc -c; echo ${PIPESTATUS}");
    let b = b.set("/linux/resources", json!({"memory": {"limit": 8388608, "swap": 8388608}}));
    let output = b.run();
    assert!(!output.stdout.contains("60000000"), "{}", output.stdout);
}

/// "The runtime MUST apply entries in the listed order" (config-linux.md, Allowed Device list): by the controller of
/// cgroup v1, or by a program on v2.
#[test]
fn device_rules_bite() {
    let t = Test::new();
    // The memory driver has no device of this number: it says so (ENXIO), but only to those who may ask.
    let script = "for how in '<' '>' '<>'; do (eval \": $how/dev/odd\") 2>&1 | grep -q permitted && echo no || echo yes; done; \
                  echo x >/dev/null && echo null; mknod /dev/shm/node c 1 99 && echo made";
    let b = t.sh(script).set("/linux/devices", json!([{"path": "/dev/odd", "type": "c", "major": 1, "minor": 99}]));
    let b = ["bounding", "permitted", "effective"]
        .iter()
        .fold(b, |b, set| b.set(&format!("/process/capabilities/{set}"), json!(["CAP_MKNOD"])));
    b.run().ok().prints("no\nno\nno\nnull\nmade");
    let rule =
        |allow, minor: i64, access| json!({"allow": allow, "type": "c", "major": 1, "minor": minor, "access": access});
    let b = b.push("/linux/resources/devices", rule(true, 99, "r"));
    b.run().ok().prints("yes\nno\nno\nnull\nmade");
    // Reading by one rule and writing by another, for more devices.
    let b = b.push("/linux/resources/devices", rule(true, -1, "w"));
    b.run().ok().prints("yes\nyes\nyes\nnull\nmade");
    // What is denied again is denied, but for the defaults.
    let b = b.push("/linux/resources/devices", rule(false, -1, "rwm"));
    b.run().ok().prints("no\nno\nno\nnull\nmade");
    let b = b.push("/linux/resources/devices", json!({"allow": true, "access": "rwm"}));
    let b = b.push("/linux/resources/devices", rule(false, 99, "w"));
    b.run().ok().prints("yes\nno\nno\nnull\nmade");
}

/// A hole in a wider rule: a v2 program can say so, the v1 controller cannot, and then it is an error.
#[test]
fn a_hole_in_a_wider_device_rule_is_kept_or_refused() {
    let t = Test::new();
    let b = t.sh("(: >/dev/kmsg) 2>/dev/null && echo opened || echo refused; : </dev/zero && echo zero");
    let b = b.set("/linux/devices", json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]));
    let b = b.push("/linux/resources/devices", json!({"allow": true, "type": "c", "major": 1, "access": "rwm"}));
    let hole = json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"});
    let b = b.push("/linux/resources/devices", hole);
    match Path::new("/sys/fs/cgroup/devices").exists() {
        true => drop(b.run().fails("cgroup v1 cannot take an exception from the wider rule")),
        false => drop(b.run().ok().prints("refused\nzero")),
    }
    b.is_gone();
}

#[test]
fn device_rules_are_written() {
    let Some(t) = with_v1() else { return };
    let rule = json!({"allow": true, "type": "b", "major": 254, "minor": 3, "access": "rm"});
    let b = limited(&t, json!({"devices": [{"allow": false, "access": "rwm"}, rule]}));
    let list = read(&b, "devices", "devices.list");
    let rules: Vec<_> = list.lines().collect();
    assert!(rules.contains(&"b 254:3 rm") && rules.contains(&"c 1:3 rwm"), "{rules:?}");
    assert!(!rules.contains(&"a *:* rwm"));
}

/// "If the value is an absolute path, it MUST be taken relative to the cgroups mount point" (config-linux.md, Cgroups
/// Path).
#[test]
fn an_absolute_cgroups_path_begins_at_the_mount_point() {
    let Some(t) = with_v1() else { return };
    let b = t.idle();
    let name = format!("{}-named", b.id);
    let b = b.set("/linux/cgroupsPath", format!("/{name}"));
    b.up();
    for controller in ["memory", "pids", "cpu", "devices", "freezer", "cpuset"] {
        assert_eq!(b.cgroup(controller), Path::new("/sys/fs/cgroup").join(controller).join(&name));
    }
    b.stop();
    b.delete().ok();
    assert!(!Path::new("/sys/fs/cgroup/memory").join(&name).exists());
}

/// "Given the same value, the runtime MUST attach to the same place" (config-linux.md, Cgroups Path).
#[test]
fn a_relative_cgroups_path_ends_with_its_name() {
    let Some(t) = with_v1() else { return };
    let b = t.idle();
    let name = format!("{}-relative", b.id);
    let b = b.set("/linux/cgroupsPath", name.as_str());
    b.up();
    let first = b.cgroup("memory");
    assert!(first.ends_with(&name), "{}", first.display());
    b.verb("delete", &["--force"]).run().ok();
    b.up();
    assert_eq!(b.cgroup("memory"), first);
}

#[test]
fn without_a_cgroups_path_the_id_names_the_cgroup() {
    let Some(t) = with_v1() else { return };
    let b = t.idle();
    b.up();
    let path = b.cgroup("pids");
    assert!(path.to_string_lossy().contains(&b.id), "{}", path.display());
    b.stop();
    b.delete().ok();
    assert!(!path.exists());
}

#[test]
fn exec_joins_the_cgroup() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    let init = fs::read_to_string(format!("/proc/{}/cgroup", b.pid())).expect("/proc/PID/cgroup");
    b.exec(&["cat", "/proc/self/cgroup"]).ok().prints(init.trim_end());
}

#[test]
fn a_limit_that_cannot_be_set_is_an_error() {
    let Some(t) = with_v1() else { return };
    let b = t.bundle(&["true"]).set("/linux/resources", json!({"cpu": {"cpus": "4000"}}));
    b.run().fails("cpuset.cpus");
    b.is_gone();
}

#[test]
fn a_killed_container_takes_its_children_along() {
    let t = Test::new();
    let b = t.sh("sleep 1000 & sleep 1000 & echo ready; wait").share("pid");
    let output = b.up();
    crate::support::eventually("the children are there", || output.by_now() == "ready\n");
    b.verb("delete", &["--force"]).run().ok();
}
