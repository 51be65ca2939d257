//! Limits on cgroup v2 alone: read back from where the kernel keeps them, and felt by the program.
//!
//! "If a controller is enabled on the cgroup v2 hierarchy but the configuration is provided for the cgroup v1 equivalent
//! controller, the runtime MAY attempt a conversion. If the conversion is not possible the runtime MUST generate an
//! error" (config-linux.md, Unified).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Bundle, Test, eventually};

pub const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// A test of a controller, on a machine with cgroup v2 alone.
pub fn with_v2(controller: &str) -> Option<Test> {
    let reason = format!("no cgroup v2 controller {controller}, or not v2 alone");
    Test::where_found(|| has_controller(controller).then_some(()), &reason).map(|(t, ())| t)
}

/// On a machine with cgroup v1 too there is no such file at this place.
pub fn has_controller(name: &str) -> bool {
    let controllers = fs::read_to_string(Path::new(MOUNT_POINT).join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|known| known == name)
}

/// A running container with these limits.
pub fn limited(t: &Test, resources: Value) -> Bundle<'_> {
    let b = t.idle().set("/linux/resources", resources);
    b.up();
    b
}

pub fn read(b: &Bundle<'_>, file: &str) -> String {
    read_at(&b.cgroup(""), file)
}

pub fn read_at(cgroup: &Path, file: &str) -> String {
    fs::read_to_string(cgroup.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
}

/// The files of a container with these limits have these contents.
#[track_caller]
fn reads_back(t: &Test, resources: Value, expected: &[(&str, &str)]) {
    let b = limited(t, resources);
    for (file, content) in expected {
        assert_eq!(read(&b, file), *content, "{file}");
    }
}

#[test]
fn memory_limits_are_converted() {
    let Some(t) = with_v2("memory") else { return };
    let memory = json!({"memory": {"limit": 67108864, "reservation": 33554432, "swap": 100663296}});
    let expected = [("memory.max", "67108864"), ("memory.low", "33554432"), ("memory.swap.max", "33554432")];
    reads_back(&t, memory, &expected);
    let no_swap = json!({"memory": {"limit": 67108864, "swap": 67108864}});
    reads_back(&t, no_swap, &[("memory.max", "67108864"), ("memory.swap.max", "0")]);
    let all_swap = json!({"memory": {"limit": 67108864, "swap": -1}});
    reads_back(&t, all_swap, &[("memory.max", "67108864"), ("memory.swap.max", "max")]);
    reads_back(&t, json!({"memory": {"limit": -1}}), &[("memory.max", "max"), ("memory.swap.max", "max")]);
}

#[test]
fn cpu_limits_are_converted() {
    let Some(t) = with_v2("cpu") else { return };
    for (shares, weight) in [(2, "1"), (1024, "100"), (262144, "10000")] {
        reads_back(&t, json!({"cpu": {"shares": shares}}), &[("cpu.weight", weight)]);
    }
    let bandwidth = json!({"cpu": {"quota": 50000, "period": 200000, "burst": 20000}});
    reads_back(&t, bandwidth, &[("cpu.max", "50000 200000"), ("cpu.max.burst", "20000")]);
    reads_back(&t, json!({"cpu": {"quota": 30000}}), &[("cpu.max", "30000 100000")]);
    reads_back(&t, json!({"cpu": {"period": 30000}}), &[("cpu.max", "max 30000")]);
    reads_back(&t, json!({"cpu": {"idle": 1}}), &[("cpu.idle", "1")]);
}

#[test]
fn the_cpuset_is_written() {
    let Some(t) = with_v2("cpuset") else { return };
    let cpuset = json!({"cpu": {"cpus": "0", "mems": "0"}});
    let files = ["cpuset.cpus", "cpuset.cpus.effective", "cpuset.mems", "cpuset.mems.effective"];
    reads_back(&t, cpuset, &files.map(|file| (file, "0")));
    let b = t.bundle(&["true"]).set("/linux/resources", json!({"cpu": {"cpus": "4000"}}));
    b.run().fails("cpuset.cpus").says("linux.resources.cpu.cpus");
    b.is_gone();
}

#[test]
fn the_pids_limit_is_written() {
    let Some(t) = with_v2("pids") else { return };
    reads_back(&t, json!({"pids": {"limit": 50}}), &[("pids.max", "50")]);
    reads_back(&t, json!({"pids": {"limit": -1}}), &[("pids.max", "max")]);
}

#[test]
fn throttles_of_a_disk_are_written() {
    let Some((t, disk)) = with_disk(|_| true, "no disk") else { return };
    let rate = |rate: u64| json!([{"major": disk.major, "minor": disk.minor, "rate": rate}]);
    let throttles = json!({"blockIO": {
        "throttleReadBpsDevice": rate(10485760), "throttleWriteBpsDevice": rate(20971520),
        "throttleReadIOPSDevice": rate(100), "throttleWriteIOPSDevice": rate(200)}});
    let line = format!("{}:{} rbps=10485760 wbps=20971520 riops=100 wiops=200", disk.major, disk.minor);
    reads_back(&t, throttles, &[("io.max", &line)]);
    // "Configuration unknown to the runtime MUST still be written to the relevant file": several lines, as in its example.
    let lines = format!("{0}:{1} rbps=2097152\n{0}:{1} wiops=120", disk.major, disk.minor);
    let line = format!("{}:{} rbps=2097152 wbps=max riops=max wiops=120", disk.major, disk.minor);
    reads_back(&t, json!({"unified": {"io.max": lines}}), &[("io.max", &line)]);
    let b = t.bundle(&["true"]);
    let b = b.set("/linux/resources/blockIO/throttleReadBpsDevice", json!([{"major": 4095, "minor": 7, "rate": 1}]));
    b.run().fails("linux.resources.blockIO.throttleReadBpsDevice[0]").says("no such block device");
}

#[test]
fn the_weight_of_a_disk_is_written() {
    let Some((t, disk)) = with_disk(|disk| disk.scheduler == "bfq", "no disk with the BFQ scheduler") else { return };
    let device = json!([{"major": disk.major, "minor": disk.minor, "weight": 300}]);
    let weights = json!({"blockIO": {"weight": 200, "weightDevice": device}});
    let lines = format!("default 200\n{}:{} 300", disk.major, disk.minor);
    reads_back(&t, weights, &[("io.bfq.weight", &lines)]);
}

struct Disk {
    major: u32,
    minor: u32,
    scheduler: String,
}

fn with_disk(fits: impl Fn(&Disk) -> bool, otherwise: &str) -> Option<(Test, Disk)> {
    let disk_of = |directory: &Path| {
        let text = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
        let number = text("dev");
        let (major, minor) = number.trim().split_once(':')?;
        let scheduler = text("queue/scheduler");
        let chosen = scheduler.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0.to_owned()));
        let disk = Disk { major: major.parse().ok()?, minor: minor.parse().ok()?, scheduler: chosen? };
        (text("size").trim() != "0").then_some(disk)
    };
    let find = || entries("/sys/block").iter().filter_map(|path| disk_of(path)).find(fits);
    let reason = format!("{otherwise}, or no cgroup v2 controller io");
    Test::where_found(|| has_controller("io").then(find).flatten(), &reason)
}

fn entries(directory: &str) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[test]
fn huge_pages_are_limited_with_their_reservations() {
    let has_2mb = || Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
    let reason = "no cgroup v2 controller hugetlb, or no huge pages of 2 MB";
    let Some((t, ())) = Test::where_found(|| (has_controller("hugetlb") && has_2mb()).then_some(()), reason) else {
        return;
    };
    let limit = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
    reads_back(&t, limit, &[("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")]);
    let b = t.bundle(&["true"]).set("/linux/resources/hugepageLimits", json!([{"pageSize": "3MB", "limit": 0}]));
    b.run().fails("linux.resources.hugepageLimits[0]").says("no huge pages of this size");
}

#[test]
fn rdma_is_limited() {
    let device = || entries("/sys/class/infiniband").first()?.file_name()?.to_str().map(str::to_owned);
    let found = || has_controller("rdma").then(device).flatten();
    let Some((t, name)) = Test::where_found(found, "no cgroup v2 controller rdma, or no rdma device") else { return };
    let limits = json!({"rdma": {&name: {"hcaHandles": 3, "hcaObjects": 10000}}});
    reads_back(&t, limits, &[("rdma.max", &format!("{name} hca_handle=3 hca_object=10000"))]);
}

#[test]
fn rdma_of_no_device_is_an_error() {
    let Some(t) = with_v2("rdma") else { return };
    let b = t.bundle(&["true"]).set("/linux/resources/rdma", json!({"nonesuch0": {"hcaHandles": 3}}));
    b.run().fails("linux.resources.rdma").says("rdma.max");
    b.is_gone();
}

/// "Each key in the map refers to a file in the cgroup unified hierarchy" (config-linux.md, Unified).
#[test]
fn unified_names_files() {
    let Some(t) = with_v2("memory") else { return };
    let files = [
        ("cgroup.max.descendants", "7"),
        ("memory.high", "50331648"),
        ("memory.low", "16777216"),
        ("memory.max", "67108864"),
        ("memory.min", "8388608"),
        ("memory.oom.group", "1"),
        ("memory.swap.high", "4194304"),
        ("pids.max", "33"),
    ];
    let map: serde_json::Map<_, _> = files.iter().map(|(file, value)| ((*file).to_owned(), json!(value))).collect();
    reads_back(&t, json!({"unified": map}), &files);
}

/// "The runtime MUST generate an error when the configuration refers to a cgroup controller that is not present or that
/// cannot be enabled" (config-linux.md, Unified).
#[test]
fn what_unified_names_in_vain_is_an_error() {
    let Some(t) = with_v2("memory") else { return };
    let b = |file: &str, value: &str| t.bundle(&["true"]).set("/linux/resources/unified", json!({file: value}));
    b("nonesuch.max", "1").run().fails("linux.resources.unified").says("nonesuch.max needs the cgroup v2 controller");
    b("memory.nonesuch", "1").run().fails("linux.resources.unified").says("this kernel does not have the file");
    b("cgroup.nonesuch", "1").run().fails("linux.resources.unified").says("this kernel does not have the file");
    b("memory.max", "many").run().fails("linux.resources.unified").says("memory.max");
    b("../memory.max", "1").run().fails("linux.resources.unified");
}

#[test]
fn misc_resources_go_through_unified() {
    let Some(t) = with_v2("misc") else { return };
    let b = t.bundle(&["true"]).set("/linux/resources/unified", json!({"misc.max": "nonesuch 5"}));
    b.run().fails("linux.resources.unified").says("misc.max");
    b.is_gone();
    // Only processors with encrypted memory have any.
    let capacity = read_at(Path::new(MOUNT_POINT), "misc.capacity");
    if let Some((name, _)) = capacity.lines().next().and_then(|line| line.split_once(' ')) {
        let line = format!("{name} 5");
        reads_back(&t, json!({"unified": {"misc.max": line}}), &[("misc.max", &line)]);
    }
}

#[test]
fn what_v2_cannot_express_is_an_error() {
    let Some(t) = with_v2("memory") else { return };
    let device = |name: &str| json!([{"major": 8, "minor": 0, name: 100}]);
    for (section, property, value) in [
        ("memory", "kernel", json!(67108864)),
        ("memory", "kernelTCP", json!(67108864)),
        ("memory", "swappiness", json!(10)),
        ("memory", "disableOOMKiller", json!(true)),
        ("memory", "swap", json!(67108864)),
        ("cpu", "realtimeRuntime", json!(1000)),
        ("cpu", "realtimePeriod", json!(1000000)),
        ("blockIO", "leafWeight", json!(100)),
        ("blockIO", "weightDevice", device("leafWeight")),
        ("network", "classID", json!(1048577)),
        ("network", "priorities", json!([{"name": "lo", "priority": 5}])),
    ] {
        let b = t.bundle(&["true"]).set(&format!("/linux/resources/{section}/{property}"), value);
        b.run().fails(&format!("linux.resources.{section}.{property}"));
        b.is_gone();
    }
}

#[test]
fn a_frozen_container_is_paused() {
    let Some(t) = with_v2("memory") else { return };
    let b = limited(&t, json!({}));
    let cgroup = b.cgroup("");
    fs::write(cgroup.join("cgroup.freeze"), "1").expect("freeze");
    eventually("it is frozen", || read_at(&cgroup, "cgroup.events").contains("frozen 1"));
    assert_eq!(b.status(), "paused");
    b.exec(&["true"]).says("paused");
    fs::write(cgroup.join("cgroup.freeze"), "0").expect("thaw");
    assert_eq!(b.status(), "running");
    b.exec(&["true"]).ok();
    fs::write(cgroup.join("cgroup.freeze"), "1").expect("freeze");
    b.verb("delete", &["--force"]).run().ok();
    assert!(!cgroup.exists());
}

#[test]
fn the_memory_limit_bites() {
    let Some(t) = with_v2("memory") else { return };
    let memory = json!({"limit": 16777216, "swap": 16777216});
    // It keeps the end of what has none.
    let b = t.bundle(&["tail", "-c", "100000000", "/dev/zero"]).set("/linux/resources/memory", memory.clone());
    b.run().exits(137);
    // The shell outlives its child, unless they die as one.
    let b = t.sh("tail -c 100000000 /dev/zero; echo survived").set("/linux/resources/memory", memory);
    b.run().ok().prints("survived");
    b.set("/linux/resources/unified", json!({"memory.oom.group": "1"})).run().exits(137).prints("");
}

#[test]
fn the_pids_limit_bites() {
    let Some(t) = with_v2("pids") else { return };
    let b = t.sh("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait");
    b.set("/linux/resources", json!({"pids": {"limit": 4}})).run().says("can't fork");
}

#[test]
fn the_cpu_limit_bites() {
    let Some(t) = with_v2("cpu") else { return };
    let b = t.sh("while :; do :; done").set("/linux/resources", json!({"cpu": {"quota": 5000, "period": 100000}}));
    b.up();
    let throttled = || {
        let stat = read(&b, "cpu.stat");
        let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        count.expect("nr_throttled").parse::<u64>().expect("a number")
    };
    eventually("it is throttled", || throttled() > 0);
    let before = throttled();
    eventually("it is throttled again", || throttled() > before);
}

/// Init itself takes some memory before it becomes the program.
#[test]
fn memory_that_is_too_little_for_init_is_named() {
    let Some(t) = with_v2("memory") else { return };
    let b = |limit: u64| t.idle().set("/linux/resources/memory", json!({"limit": limit, "swap": limit}));
    for limit in [4096, 65536, 131072, 262144, 524288] {
        let b = b(limit);
        let output = b.create();
        if limit == 4096 || output.code != 0 {
            output.fails("possibly OOM-killed").says("linux.resources.memory.limit");
            b.is_gone();
        }
    }
}
