//! `update`: every limit changed and read back from where the kernel keeps it, and felt by the program.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::limits::{directory, is_v2, memory, read, shows, v2_directory};
use crate::support::{Bundle, Output, Test, eventually, is_minicon};

const MIB: u64 = 1 << 20;

fn up<'t>(t: &'t Test, resources: Value) -> Bundle<'t> {
    let mut b = t.idle();
    for (name, limits) in resources.as_object().expect("an object") {
        b = b.set(&format!("/linux/resources/{name}"), limits.clone());
    }
    b.up();
    b
}

/// `update` with flags.
fn update(b: &Bundle<'_>, t: &Test, flags: &[&str]) -> Output {
    t.runtime(["update"]).args(flags).arg(&b.id).run()
}

/// `update` with a document on stdin, as containerd calls it.
fn send(b: &Bundle<'_>, t: &Test, document: &str) -> Output {
    t.runtime(["update", "--resources", "-"]).arg(&b.id).stdin(document).run()
}

#[test]
fn memory_is_raised_and_lowered_with_swap_in_any_order() {
    let t = Test::new();
    let b = up(&t, json!({}));
    for (limit, swap) in [(64, 128), (200, 300), (300, 300), (32, 32), (31, 400), (16, 17)] {
        update(&b, &t, &["--memory", &format!("{limit}m"), "--memory-swap", &format!("{swap}M")]).ok();
        assert_eq!(memory(&b), (Some(limit * MIB), Some(swap * MIB)));
    }
}

#[test]
fn memory_or_swap_changes_alone() {
    let t = Test::new();
    let b = up(&t, json!({"memory": {"limit": 50 * MIB, "swap": 100 * MIB}}));
    update(&b, &t, &["--memory", "60m"]).ok();
    assert_eq!(memory(&b), (Some(60 * MIB), Some(100 * MIB)));
    update(&b, &t, &["--memory-swap", "80m"]).ok();
    assert_eq!(memory(&b), (Some(60 * MIB), Some(80 * MIB)));
    update(&b, &t, &["--memory", "40m"]).ok();
    assert_eq!(memory(&b), (Some(40 * MIB), Some(80 * MIB)));
}

/// v1 and the specification limit both together; v2 counts swap alone, but means the same.
#[test]
fn memory_above_the_limit_of_both_is_refused_and_explained() {
    let t = Test::new();
    let b = up(&t, json!({"memory": {"limit": 50 * MIB, "swap": 100 * MIB}}));
    let refused = |flags: &[&str]| {
        let output = update(&b, &t, flags).exits(1);
        // runc says EINVAL, and leaves what it has written before.
        if is_minicon() {
            output.says("linux.resources.memory.");
            assert_eq!(memory(&b), (Some(50 * MIB), Some(100 * MIB)));
        }
    };
    refused(&["--memory", "120m"]);
    refused(&["--memory-swap", "20m"]);
    refused(&["--memory", "60m", "--memory-swap", "50m"]);
}

#[test]
fn minus_one_lifts_a_limit() {
    let t = Test::new();
    let limits = || {
        json!({"memory": {"limit": 50 * MIB, "swap": 100 * MIB}, "pids": {"limit": 20},
        "cpu": {"quota": 5000, "period": 10000}})
    };
    let b = up(&t, limits());
    update(&b, &t, &["--memory", "-1"]).ok();
    assert_eq!(memory(&b), (None, None));
    update(&b, &t, &["--pids-limit", "-1", "--cpu-quota=-1"]).ok();
    shows(&b, "pids", ("pids.max", "max"), ("pids.max", "max"));
    shows(&b, "cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 10000"));
    let b = up(&t, limits());
    update(&b, &t, &["--memory-swap", "-1"]).ok();
    assert_eq!(memory(&b), (Some(50 * MIB), None));
}

#[test]
fn a_reservation_of_memory_is_changed() {
    let t = Test::new();
    let b = up(&t, json!({}));
    for (flag, bytes) in [("32m", "33554432"), ("1.5M", "1572864"), ("65536", "65536"), ("64kb", "65536")] {
        update(&b, &t, &["--memory-reservation", flag]).ok();
        shows(&b, "memory", ("memory.soft_limit_in_bytes", bytes), ("memory.low", bytes));
    }
}

#[test]
fn processor_time_is_changed() {
    let t = Test::new();
    let b = up(&t, json!({"cpu": {"quota": 5000, "period": 10000, "shares": 512}}));
    let bandwidth = |quota: &str, period: &str| {
        shows(&b, "cpu", ("cpu.cfs_quota_us", quota), ("cpu.max", &format!("{quota} {period}")));
        shows(&b, "cpu", ("cpu.cfs_period_us", period), ("cpu.max", &format!("{quota} {period}")));
    };
    update(&b, &t, &["--cpu-quota", "8000"]).ok();
    bandwidth("8000", "10000");
    update(&b, &t, &["--cpu-period", "20000"]).ok();
    bandwidth("8000", "20000");
    for (quota, period) in [("50000", "100000"), ("1000", "1000"), ("25000", "100000")] {
        update(&b, &t, &["--cpu-quota", quota, "--cpu-period", period]).ok();
        bandwidth(quota, period);
    }
    update(&b, &t, &["--cpu-share", "1024"]).ok();
    shows(&b, "cpu", ("cpu.shares", "1024"), ("cpu.weight", "100"));
    bandwidth("25000", "100000");
}

#[test]
fn a_burst_and_idling_are_changed() {
    let Some(t) = Test::of_minicon("runc 1.1.5 does not know them") else { return };
    let b = up(&t, json!({"cpu": {"quota": 50000, "period": 100000}}));
    update(&b, &t, &["--cpu-burst", "10000"]).ok();
    shows(&b, "cpu", ("cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000"));
    update(&b, &t, &["--cpu-idle", "1"]).ok();
    shows(&b, "cpu", ("cpu.idle", "1"), ("cpu.idle", "1"));
    update(&b, &t, &["--cpu-idle", "0", "--cpu-share", "512"]).ok();
    shows(&b, "cpu", ("cpu.idle", "0"), ("cpu.idle", "0"));
}

#[test]
fn realtime_is_changed() {
    let possible = Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists();
    let Some(t) = Test::where_possible(possible, "no realtime bandwidth in cgroups") else { return };
    let b = up(&t, json!({}));
    update(&b, &t, &["--cpu-rt-period", "500000", "--cpu-rt-runtime", "1000"]).ok();
    assert_eq!(read(&b, "cpu", "cpu.rt_period_us", ""), "500000");
    assert_eq!(read(&b, "cpu", "cpu.rt_runtime_us", ""), "1000");
}

#[test]
fn the_cpuset_is_changed_and_bites() {
    let t = Test::new();
    let b = up(&t, json!({}));
    update(&b, &t, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    shows(&b, "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0"));
    shows(&b, "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0"));
    let status = fs::read_to_string(format!("/proc/{}/status", b.pid())).expect("/proc/PID/status");
    assert!(status.contains("\nCpus_allowed_list:\t0\n"), "{status}");
}

#[test]
fn the_pids_limit_is_changed_and_bites() {
    let t = Test::new();
    let b = t.sh("exec 2>&1; echo ready; while :; do sleep 0.01; done");
    let output = b.up();
    eventually("it runs", || output.by_now() == "ready\n");
    // It dies of the refusal, and then has no pid to find its cgroup by.
    let limit = directory(&b, "pids").join("pids.max");
    update(&b, &t, &["--pids-limit", "1"]).ok();
    assert_eq!(fs::read_to_string(limit).expect("pids.max"), "1\n");
    eventually("it cannot fork", || output.by_now().contains("can't fork"));
}

/// A whole disk of this machine, as major and minor number.
fn disk() -> Option<(i64, i64)> {
    let names = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path());
    let mut disks: Vec<PathBuf> = names.collect();
    // What is a disk at all has a device behind it.
    disks.sort_by_key(|path| !path.join("device").exists());
    let device = fs::read_to_string(disks.first()?.join("dev")).ok()?;
    let (major, minor) = device.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn rates_of_block_io_are_changed() {
    let Some(t) = Test::of_minicon("runc 1.1.5 leaves them alone") else { return };
    let (major, minor) = disk().expect("a block device: the kernel has loop devices at least");
    let b = up(&t, json!({}));
    let limit = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    for rate in [1048576, 2097152] {
        let document = json!({"blockIO": {"throttleReadBpsDevice": limit(rate), "throttleWriteBpsDevice": limit(rate + 512),
            "throttleReadIOPSDevice": limit(100), "throttleWriteIOPSDevice": limit(200)}});
        send(&b, &t, &document.to_string()).ok();
        let all = format!("{major}:{minor} rbps={rate} wbps={} riops=100 wiops=200", rate + 512);
        let of = |rate: u64| format!("{major}:{minor} {rate}");
        shows(&b, "blkio", ("blkio.throttle.read_bps_device", &of(rate)), ("io.max", &all));
        shows(&b, "blkio", ("blkio.throttle.write_bps_device", &of(rate + 512)), ("io.max", &all));
        shows(&b, "blkio", ("blkio.throttle.read_iops_device", &of(100)), ("io.max", &all));
        shows(&b, "blkio", ("blkio.throttle.write_iops_device", &of(200)), ("io.max", &all));
    }
}

#[test]
fn the_weight_of_block_io_is_changed_where_a_scheduler_has_weights() {
    let t = Test::new();
    let b = up(&t, json!({}));
    let files = if is_v2() { ["io.bfq.weight", "io.weight"] } else { ["blkio.weight", "blkio.bfq.weight"] };
    let directory = directory(&b, "blkio");
    let output = update(&b, &t, &["--blkio-weight", "500"]);
    match files.iter().find(|file| directory.join(file).exists()) {
        Some(file) => {
            output.ok();
            let text = fs::read_to_string(directory.join(file)).expect("the weight");
            let expected = if *file == "io.weight" { "4950" } else { "500" };
            assert!(text.split_whitespace().any(|word| word == expected), "{text}");
        }
        None => drop(output.fails("weight")),
    }
}

/// The controllers that the root of the v2 tree gives its children, which limits there may change: put back at the end.
struct Restored(PathBuf, String);

impl Restored {
    fn new() -> Self {
        let root = if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
        let file = Path::new(root).join("cgroup.subtree_control");
        let before = fs::read_to_string(&file).unwrap_or_default();
        Restored(file, before)
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        for controller in fs::read_to_string(&self.0).unwrap_or_default().split_whitespace() {
            if !self.1.split_whitespace().any(|known| known == controller) {
                let _ = fs::write(&self.0, format!("-{controller}"));
            }
        }
    }
}

#[test]
fn huge_pages_are_changed() {
    let root = if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
    let controllers = fs::read_to_string(Path::new(root).join("cgroup.controllers")).unwrap_or_default();
    let possible = controllers.contains("hugetlb") && Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
    let skip = match is_minicon() {
        true => "no hugetlb controller on v2, or no huge pages of 2 MB",
        false => "runc 1.1.5 leaves them alone",
    };
    let Some(t) = Test::where_possible(possible && is_minicon(), skip) else { return };
    let restored = Restored::new();
    let b = up(&t, json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}));
    let limit = |file: &str| fs::read_to_string(v2_directory(&b).join(file)).expect("a limit").trim().to_owned();
    assert_eq!(limit("hugetlb.2MB.max"), "4194304");
    send(&b, &t, r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]}"#).ok();
    assert_eq!((limit("hugetlb.2MB.max"), limit("hugetlb.2MB.rsvd.max")), ("2097152".into(), "2097152".into()));
    drop(b);
    drop(restored);
}

/// The documents that docker and podman sent, as captured.
#[test]
fn the_documents_of_engines_are_carried_out() {
    let t = Test::new();
    let b = up(&t, json!({"cpu": {"shares": 512}}));
    let captured = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captured").join(name);
    let check = |limits: (Option<u64>, Option<u64>)| {
        assert_eq!(memory(&b), limits);
        shows(&b, "cpu", ("cpu.cfs_quota_us", "25000"), ("cpu.max", "25000 100000"));
        shows(&b, "cpu", ("cpu.shares", "512"), ("cpu.weight", "59"));
    };
    let podman = captured("podman-update.resources.json");
    t.runtime([format!("--root={}", t.root().display()), "update".into(), format!("--resources={}", podman.display())])
        .arg(&b.id)
        .run()
        .ok();
    check((None, None));
    let docker = fs::read_to_string(captured("docker-update.resources.json")).expect("the document");
    send(&b, &t, &docker).ok();
    check((Some(48 * MIB), Some(48 * MIB)));
    shows(&b, "pids", ("pids.max", "128"), ("pids.max", "128"));
    // `docker update --restart` sends nothing but zeros.
    let zeros = r#"{"memory":{"limit":0,"reservation":0,"swap":0,"kernel":0},"cpu":{"shares":0,"quota":0,"period":0},
        "pids":{"limit":0},"blockIO":{"weight":0}}"#;
    if is_minicon() {
        send(&b, &t, zeros).ok();
        check((Some(48 * MIB), Some(48 * MIB)));
        shows(&b, "pids", ("pids.max", "128"), ("pids.max", "128"));
    }
}

#[test]
fn with_a_document_the_flags_are_ignored_and_so_is_what_is_unknown() {
    let t = Test::new();
    let b = up(&t, json!({"pids": {"limit": 40}}));
    let file = t.file("update.json", r#"{"pids": {"limit": 30, "colour": "red"}, "future": {"x": [1]}}"#);
    let flags = ["update", "--pids-limit", "20", "--memory", "64m", "-r"];
    t.runtime(flags).arg(&file).arg(&b.id).run().ok();
    shows(&b, "pids", ("pids.max", "30"), ("pids.max", "30"));
    assert_eq!(memory(&b), (None, None));
}

#[test]
fn nothing_asked_for_is_nothing_done() {
    let t = Test::new();
    let b = up(&t, json!({"memory": {"limit": 64 * MIB}}));
    update(&b, &t, &[]).ok();
    send(&b, &t, "{}").ok();
    assert_eq!(memory(&b).0, Some(64 * MIB));
}

#[test]
fn what_is_not_understood_is_named() {
    let t = Test::new();
    let b = up(&t, json!({}));
    for (flag, value) in
        [("memory", "1x"), ("memory-swap", "lots"), ("cpu-period", "-5"), ("cpu-quota", "1.5"), ("memory", "-2")]
    {
        update(&b, &t, &[&format!("--{flag}"), value]).fails(&format!("invalid value for {flag}"));
    }
    update(&b, &t, &["--pids-limit", "many"]).fails("pids-limit");
    update(&b, &t, &["--blkio-weight", "heavy"]).fails("blkio-weight");
    t.runtime(["update", "-r", "/nonexistent"]).arg(&b.id).run().exits(1).says("/nonexistent");
    send(&b, &t, r#"{"memory": {"limit": "64m"}}"#).fails("memory.limit");
    send(&b, &t, "{").exits(1);
    t.runtime(["update", "--pids-limit", "5"]).run().says("requires exactly 1 argument(s)");
}

#[test]
fn intel_rdt_is_refused_where_it_is_not_enabled() {
    let possible = !Path::new("/sys/fs/resctrl/schemata").exists();
    let Some(t) = Test::where_possible(possible, "resctrl is mounted") else { return };
    let b = up(&t, json!({"pids": {"limit": 40}}));
    update(&b, &t, &["--l3-cache-schema", "L3:0=f", "--pids-limit", "5"])
        .fails("Intel RDT/CAT: l3 cache schema is not enabled");
    update(&b, &t, &["--mem-bw-schema", "MB:0=50"]).fails("Intel RDT/MBA: memory bandwidth schema is not enabled");
    shows(&b, "pids", ("pids.max", "40"), ("pids.max", "40"));
}

#[test]
fn limits_of_kernel_memory_are_ignored_with_a_warning() {
    let t = Test::new();
    let b = up(&t, json!({}));
    let output = update(&b, &t, &["--kernel-memory", "50m", "--kernel-memory-tcp", "50m", "--pids-limit", "30"]).ok();
    output.says("Kernel memory settings are ignored");
    shows(&b, "pids", ("pids.max", "30"), ("pids.max", "30"));
}

#[test]
fn a_container_is_updated_in_any_status_but_stopped() {
    let t = Test::new();
    let b = t.idle();
    update(&b, &t, &["--pids-limit", "30"]).fails("container does not exist");
    b.create().ok();
    update(&b, &t, &["--pids-limit", "31"]).ok();
    shows(&b, "pids", ("pids.max", "31"), ("pids.max", "31"));
    b.start().ok();
    b.verb("pause", &[]).run().ok();
    update(&b, &t, &["--pids-limit", "32"]).ok();
    shows(&b, "pids", ("pids.max", "32"), ("pids.max", "32"));
    assert_eq!(b.status(), "paused");
    b.verb("resume", &[]).run().ok();
    b.stop();
    update(&b, &t, &["--pids-limit", "33"]).fails("container not running");
}

#[test]
fn an_update_that_fails_leaves_the_earlier_limits() {
    let t = Test::new();
    let limits = json!({"memory": {"limit": 50 * MIB, "swap": 100 * MIB}, "pids": {"limit": 40},
        "cpu": {"quota": 5000, "period": 10000}});
    let b = up(&t, limits);
    let document = json!({"memory": {"limit": 200 * MIB, "swap": 300 * MIB, "reservation": 10 * MIB},
        "cpu": {"quota": 60000, "period": 100000, "cpus": "4000"}, "pids": {"limit": 7}});
    let output = send(&b, &t, &document.to_string()).exits(1);
    output.says("cpuset.cpus");
    assert_eq!(memory(&b), (Some(50 * MIB), Some(100 * MIB)));
    shows(&b, "cpu", ("cpu.cfs_quota_us", "5000"), ("cpu.max", "5000 10000"));
    shows(&b, "cpu", ("cpu.cfs_period_us", "10000"), ("cpu.max", "5000 10000"));
    shows(&b, "pids", ("pids.max", "40"), ("pids.max", "40"));
    let reservation = read(&b, "memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_ne!(reservation, (10 * MIB).to_string());
}

#[test]
fn a_limit_below_what_is_in_use_is_refused() {
    let t = Test::new();
    let b = t.sh("head -c 30000000 /dev/zero >/dev/shm/x; echo ready; sleep 1000");
    let b = b.set("/linux/resources/memory", json!({"limit": 60 * MIB, "swap": 60 * MIB}));
    let output = b.up();
    eventually("it uses memory", || output.by_now() == "ready\n");
    let document = json!({"memory": {"limit": 10 * MIB, "swap": 10 * MIB, "checkBeforeUpdate": true}});
    let output = send(&b, &t, &document.to_string()).exits(1);
    output.says(if is_v2() { "rejecting memory" } else { "current usage: " });
    assert_eq!(memory(&b), (Some(60 * MIB), Some(60 * MIB)));
    assert_eq!(b.status(), "running");
}

/// runc never changes them ("devices are never updated"); users ask for it (runc#3401).
#[test]
fn device_rules_change_while_the_container_runs() {
    let Some(t) = Test::of_minicon("runc does not update device rules") else { return };
    let kmsg = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
    let b = t.idle().set("/linux/devices", kmsg);
    b.up();
    let open = || b.exec(&["sh", "-c", ": >/dev/kmsg"]).code == 0;
    assert!(!open());
    let allow = |allow| json!({"devices": [{"allow": allow, "type": "c", "major": 1, "minor": 11, "access": "w"}]});
    send(&b, &t, &allow(true).to_string()).ok();
    assert!(open());
    b.exec(&["sh", "-c", "echo x >/dev/null"]).ok();
    send(&b, &t, &allow(false).to_string()).ok();
    assert!(!open());
}

/// Kubernetes sends the container's own rules along with every other change.
#[test]
fn rules_that_are_only_repeated_change_nothing() {
    let Some(t) = Test::of_minicon("runc does not update device rules") else { return };
    let own = json!([{"allow": false, "access": "rwm"}]);
    let kmsg = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
    let b = t.idle().set("/linux/devices", kmsg).set("/linux/resources/devices", own.clone());
    b.up();
    let added = json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]});
    send(&b, &t, &added.to_string()).ok();
    send(&b, &t, &json!({"devices": own, "pids": {"limit": 99}}).to_string()).ok();
    b.exec(&["sh", "-c", ": >/dev/kmsg"]).ok();
}
