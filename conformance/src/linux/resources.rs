//! Limits. One test for both versions of cgroups, if both have the limit; a version that has no such thing MUST refuse.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::container::Container;
use crate::host::{self, Cgroups};
use crate::judge::{holds, needs, same, skip};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared, should};

const MEMORY: &str = "config-linux.md#configLinuxMemory";
const CPU: &str = "config-linux.md#configLinuxCPU";
const BLOCK: &str = "config-linux.md#configLinuxBlockIO";
const HUGE: &str = "config-linux.md#configLinuxHugePageLimits";
const NETWORK: &str = "config-linux.md#configLinuxNetwork";
const PIDS: &str = "config-linux.md#configLinuxPIDS";
const RDMA: &str = "config-linux.md#configLinuxRDMA";
const UNIFIED: &str = "config-linux.md#configLinuxUnified";
const IMPOSSIBLE: &[&str] = &["If the conversion is not possible the runtime MUST generate an error."];
const BPS: &[&str] = &[
    "**`throttleReadBpsDevice`**",
    "**`rate`** *(uint64, REQUIRED)* - bandwidth",
    "**`major, minor`** *(int64, REQUIRED)*",
];
const IOPS: &[&str] = &[
    "**`throttleReadIOPSDevice`**",
    "**`rate`** *(uint64, REQUIRED)* - IO rate",
    "**`major, minor`** *(int64, REQUIRED)*",
];
const PRIORITIES: &[&str] =
    &["**`priorities`**", "**`name`** *(string, REQUIRED)*", "**`priority`** *(uint32, REQUIRED)*"];
const PAGES: &[&str] = &["**`hugepageLimits`**", "**`pageSize`**", "**`limit`** *(uint64, REQUIRED)*"];
const RDMA_ENTRY: &[&str] = &["**`rdma`** (object", "**`hcaHandles`**", "**`hcaObjects`**"];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("resources.memory", MEMORY, &["**`memory`** (object, OPTIONAL)"], memory_together),
    must("resources.memory.limit", MEMORY, &["**`limit`** *(int64, OPTIONAL)*"], memory_limit),
    must("resources.memory.unlimited", MEMORY, &["**`limit`** *(int64, OPTIONAL)*"], memory_unlimited),
    must("resources.memory.reservation", MEMORY, &["**`reservation`** *(int64, OPTIONAL)*"], reservation),
    must("resources.memory.swap", MEMORY, &["**`swap`** *(int64, OPTIONAL)*"], swap),
    should("resources.memory.kernel", MEMORY, &["**`kernel`** *(int64, OPTIONAL, NOT RECOMMENDED)*"], shared).with(kernel_memory, "kernel memory.kmem.limit_in_bytes"),
    should("resources.memory.kernelTCP", MEMORY, &["**`kernelTCP`** *(int64, OPTIONAL, NOT RECOMMENDED)*"], shared).with(kernel_memory, "kernelTCP memory.kmem.tcp.limit_in_bytes"),
    must("resources.memory.swappiness", MEMORY, &["**`swappiness`** *(uint64, OPTIONAL)*"], swappiness),
    must("resources.memory.disableOOMKiller", MEMORY, &["**`disableOOMKiller`** *(bool, OPTIONAL)*"], oom_killer),
    must("resources.memory.useHierarchy", MEMORY, &["**`useHierarchy`** *(bool, OPTIONAL)*"], use_hierarchy),
    must("resources.memory.checkBeforeUpdate", MEMORY, &["**`checkBeforeUpdate`** *(bool, OPTIONAL)*", "runtime MAY check if a new memory limit is lower"], check_before_update),
    must("resources.cpu.shares", CPU, &["**`shares`** *(uint64, OPTIONAL)*"], shares),
    must("resources.cpu", CPU, &["**`cpu`** (object, OPTIONAL)"], cpu_together),
    must("resources.cpu.quota", CPU, &["**`quota`** *(int64, OPTIONAL)*"], quota),
    must("resources.cpu.period", CPU, &["**`period`** *(uint64, OPTIONAL)* - specifies a period"], quota),
    must("resources.cpu.burst", CPU, &["**`burst`** *(uint64, OPTIONAL)*"], burst),
    must("resources.cpu.realtime", CPU, &["**`realtimeRuntime`** *(int64", "**`realtimePeriod`** *(uint64"], realtime),
    must("resources.cpu.cpus", CPU, &["**`cpus`** *(string, OPTIONAL)*"], cpus),
    must("resources.cpu.mems", CPU, &["**`mems`** *(string, OPTIONAL)*"], mems),
    must("resources.cpu.idle", CPU, &["**`idle`** *(int64, OPTIONAL)*"], idle),
    must("resources.blockIO", BLOCK, &["**`blockIO`** (object, OPTIONAL)"], shared).with(throttle, "throttleReadBpsDevice"),
    must("resources.blockIO.weight", BLOCK, &["**`weight`** *(uint16, OPTIONAL)* - specifies per-cgroup weight."], weight),
    must("resources.blockIO.leafWeight", BLOCK, &["**`leafWeight`** *(uint16, OPTIONAL)* - equivalents of `weight`"], leaf_weight),
    must("resources.blockIO.weightDevice", BLOCK, &["**`weightDevice`** *(array", "**`weight`** *(uint16, OPTIONAL)* - bandwidth weight", "**`leafWeight`** *(uint16, OPTIONAL)* - bandwidth weight", "You MUST specify at least one of `weight` or `leafWeight`"], weight_device),
    must("resources.blockIO.throttleReadBps", BLOCK, BPS, shared).with(throttle, "throttleReadBpsDevice"),
    must("resources.blockIO.throttleWriteBps", BLOCK, BPS, shared).with(throttle, "throttleWriteBpsDevice"),
    must("resources.blockIO.throttleReadIOPS", BLOCK, IOPS, shared).with(throttle, "throttleReadIOPSDevice"),
    must("resources.blockIO.throttleWriteIOPS", BLOCK, IOPS, shared).with(throttle, "throttleWriteIOPSDevice"),
    must("resources.hugepageLimits", HUGE, PAGES, huge_pages),
    must("resources.hugepageLimits.invalid", HUGE, &["**`pageSize`**"], no_such_pages),
    must("resources.network", NETWORK, &["**`network`** (object, OPTIONAL)", "**`classID`**"], class_id),
    must("resources.network.priorities", NETWORK, PRIORITIES, priorities),
    must("resources.pids.limit", PIDS, &["**`pids`** (object, OPTIONAL)", "**`limit`** *(int64, OPTIONAL)*"], shared).with(pids, "77"),
    must("resources.pids.unlimited", PIDS, &["with `-1` indicating no limit (`max`)"], shared).with(pids, "-1"),
    should("resources.pids.zero", PIDS, &["`0` is a valid limit value for the `pids` cgroup controller"], pids_zero),
    must("resources.rdma", RDMA, RDMA_ENTRY, rdma),
    must("resources.rdma.empty", RDMA, &["You MUST specify at least one of the `hcaHandles` or `hcaObjects`"], rdma_empty),
    must("resources.inconvertible.kernel", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, "memory/kernel 67108864"),
    must("resources.inconvertible.kernelTCP", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, "memory/kernelTCP 67108864"),
    must("resources.inconvertible.swappiness", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, "memory/swappiness 10"),
    must("resources.inconvertible.disableOOMKiller", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, "memory/disableOOMKiller true"),
    must("resources.inconvertible.realtimeRuntime", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, "cpu/realtimeRuntime 10000"),
    must("resources.inconvertible.realtimePeriod", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, "cpu/realtimePeriod 1000000"),
    must("resources.inconvertible.leafWeight", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, "blockIO/leafWeight 100"),
    must("resources.inconvertible.classID", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, "network/classID 1048577"),
    must("resources.inconvertible.priorities", UNIFIED, IMPOSSIBLE, shared).with(inconvertible, r#"network/priorities [{"name": "lo", "priority": 5}]"#),
];

/// A running container with these resources.
fn limited<'l>(lab: &'l Lab, resources: Value) -> Result<Container<'l>> {
    let container = lab.container()?.set("/linux/resources", resources);
    container.up()?;
    Ok(container)
}

/// A file of its cgroup.
fn read(container: &Container<'_>, controller: &str, file: &str) -> Result<String> {
    let path = container.cgroup(controller)?.join(file);
    Ok(fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
}

/// The file that holds a limit has the value; of each version, its file and its value.
fn limit(lab: &Lab, resources: Value, controller: &str, v1: (&str, &str), v2: (&str, &str)) -> Verdict {
    needs(host::hierarchy(controller).is_some(), &format!("the {controller} controller is not here"))?;
    let (file, wanted) = if host::cgroups() == Cgroups::V1 { v1 } else { v2 };
    let at_top = host::hierarchy(controller).context("the hierarchy")?;
    let container = lab.container()?.set("/linux/resources", resources);
    container.up()?;
    let path = container.cgroup(controller)?.join(file);
    needs(path.exists() || at_top.join(file).exists(), &format!("this kernel has no {file}"))?;
    same(file, &read(&container, controller, file)?, wanted)
}

const MIB: i64 = 1 << 20;

fn memory_together(lab: &Lab) -> Verdict {
    let memory = json!({"limit": 100 * MIB, "reservation": 50 * MIB, "swap": 200 * MIB});
    let wanted = (100 * MIB).to_string();
    limit(lab, json!({"memory": memory}), "memory", ("memory.limit_in_bytes", &wanted), ("memory.max", &wanted))
}

fn memory_limit(lab: &Lab) -> Verdict {
    let wanted = (64 * MIB).to_string();
    let resources = json!({"memory": {"limit": 64 * MIB}});
    limit(lab, resources, "memory", ("memory.limit_in_bytes", &wanted), ("memory.max", &wanted))
}

fn memory_unlimited(lab: &Lab) -> Verdict {
    let none = "9223372036854771712";
    limit(lab, json!({"memory": {"limit": -1}}), "memory", ("memory.limit_in_bytes", none), ("memory.max", "max"))
}

fn reservation(lab: &Lab) -> Verdict {
    let wanted = (32 * MIB).to_string();
    let resources = json!({"memory": {"reservation": 32 * MIB}});
    limit(lab, resources, "memory", ("memory.soft_limit_in_bytes", &wanted), ("memory.low", &wanted))
}

/// Version 1 counts memory and swap together, version 2 swap alone.
fn swap(lab: &Lab) -> Verdict {
    let resources = json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}});
    let (both, swap) = ((96 * MIB).to_string(), (32 * MIB).to_string());
    limit(lab, resources, "memory", ("memory.memsw.limit_in_bytes", &both), ("memory.swap.max", &swap))
}

/// Kernels of late take the value and ignore it, so what a write does is tried first.
fn kernel_memory(lab: &Lab, words: &'static str) -> Verdict {
    needs(host::cgroups() == Cgroups::V1, "cgroup v2 has none: see resources.inconvertible.kernel")?;
    let (name, file) = words.split_once(' ').unwrap_or_default();
    let dir = host::hierarchy("memory").context("memory")?.join(format!("{}-try", lab.tag()));
    fs::create_dir(&dir)?;
    let wanted = (64 * MIB).to_string();
    let works = fs::write(dir.join(file), &wanted).and_then(|()| fs::read_to_string(dir.join(file)));
    needs(works.is_ok_and(|text| text.trim() == wanted), &format!("this kernel ignores {file}"))?;
    limit(lab, json!({"memory": {name: 64 * MIB}}), "memory", (file, &wanted), ("", ""))
}

fn swappiness(lab: &Lab) -> Verdict {
    needs(host::cgroups() == Cgroups::V1, "cgroup v2 has no swappiness: see resources.inconvertible.swappiness")?;
    limit(lab, json!({"memory": {"swappiness": 17}}), "memory", ("memory.swappiness", "17"), ("", ""))
}

fn oom_killer(lab: &Lab) -> Verdict {
    needs(host::cgroups() == Cgroups::V1, "cgroup v2 cannot disable it: see resources.inconvertible.disableOOMKiller")?;
    let container = limited(lab, json!({"memory": {"disableOOMKiller": true}}))?;
    let text = read(&container, "memory", "memory.oom_control")?;
    holds(&format!("the killer is disabled: {text}"), text.contains("oom_kill_disable 1"))
}

/// Since Linux 5.11 accounting is always hierarchical.
fn use_hierarchy(lab: &Lab) -> Verdict {
    needs(host::cgroups() == Cgroups::V1, "cgroup v2 is always hierarchical")?;
    limit(lab, json!({"memory": {"useHierarchy": true}}), "memory", ("memory.use_hierarchy", "1"), ("", ""))
}

/// By `update`, which is not an operation of the specification: where a runtime has it.
fn check_before_update(lab: &Lab) -> Verdict {
    let container = limited(lab, json!({"memory": {"limit": 64 * MIB}}))?;
    let help = lab.runtime(["update", "--help"]).run()?;
    needs(help.code == 0, "the runtime has no update operation")?;
    let file = lab.file("update.json", &json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}).to_string())?;
    let update = lab.runtime(["update", "--resources"]).arg(file).arg(&container.id).run()?;
    update.refused("a limit below what is in use")?;
    same("the status", &container.status()?, "running")
}

/// How version 2 weighs is the runtime's to compute; that it is not the default is not.
fn shares(lab: &Lab) -> Verdict {
    let container = limited(lab, json!({"cpu": {"shares": 512}}))?;
    if host::cgroups() == Cgroups::V1 {
        return same("cpu.shares", &read(&container, "cpu", "cpu.shares")?, "512");
    }
    let weight: i64 = read(&container, "cpu", "cpu.weight")?.parse()?;
    holds(&format!("the weight is less than the default: {weight}"), (1..100).contains(&weight))
}

fn cpu_together(lab: &Lab) -> Verdict {
    let cpu = json!({"shares": 512, "quota": 50000, "period": 100_000, "cpus": "0"});
    limit(lab, json!({"cpu": cpu}), "cpu", ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000"))
}

fn quota(lab: &Lab) -> Verdict {
    let resources = json!({"cpu": {"quota": 40000, "period": 80000}});
    limit(lab, resources.clone(), "cpu", ("cpu.cfs_quota_us", "40000"), ("cpu.max", "40000 80000"))?;
    limit(lab, resources, "cpu", ("cpu.cfs_period_us", "80000"), ("cpu.max", "40000 80000"))
}

fn burst(lab: &Lab) -> Verdict {
    let cpu = json!({"quota": 40000, "period": 80000, "burst": 10000});
    limit(lab, json!({"cpu": cpu}), "cpu", ("cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000"))
}

fn realtime(lab: &Lab) -> Verdict {
    needs(host::cgroups() == Cgroups::V1, "cgroup v2 has none: see resources.inconvertible.realtimeRuntime")?;
    let there = host::hierarchy("cpu").is_some_and(|cpu| cpu.join("cpu.rt_runtime_us").exists());
    let cpu = json!({"cpu": {"realtimeRuntime": 5000, "realtimePeriod": 1_000_000}});
    if !there {
        return lab.container()?.set("/linux/resources", cpu).is_refused();
    }
    limit(lab, cpu, "cpu", ("cpu.rt_runtime_us", "5000"), ("", ""))
}

fn cpus(lab: &Lab) -> Verdict {
    limit(lab, json!({"cpu": {"cpus": "0"}}), "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0"))?;
    let report = lab.container()?.set("/linux/resources", json!({"cpu": {"cpus": "0"}})).report(&["scheduling"])?;
    same("the processors of the process", &report["scheduling"]["cpus"], json!([0]))
}

fn mems(lab: &Lab) -> Verdict {
    limit(lab, json!({"cpu": {"mems": "0"}}), "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0"))
}

fn idle(lab: &Lab) -> Verdict {
    limit(lab, json!({"cpu": {"idle": 1}}), "cpu", ("cpu.idle", "1"), ("cpu.idle", "1"))
}

/// A disk of this host.
fn disk() -> Result<(u64, u64)> {
    for entry in fs::read_dir("/sys/block")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let usual = ["vd", "sd", "nvme", "null", "loop"].iter().any(|start| name.starts_with(start));
        let text = fs::read_to_string(entry.path().join("dev"))?;
        let numbers = text.trim().split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        if let (true, Some(numbers)) = (usual, numbers) {
            return Ok(numbers);
        }
    }
    skip("this host has no disk")
}

fn io() -> &'static str {
    if host::cgroups() == Cgroups::V1 { "blkio" } else { "io" }
}

fn throttle(lab: &Lab, name: &'static str) -> Verdict {
    needs(host::hierarchy(io()).is_some(), "the controller of block I/O is not here")?;
    let (major, minor) = disk()?;
    let entry = json!([{"major": major, "minor": minor, "rate": 1_048_576}]);
    let container = limited(lab, json!({"blockIO": {name: entry}}))?;
    let (v1, v2) = match name {
        "throttleReadBpsDevice" => ("blkio.throttle.read_bps_device", "rbps=1048576"),
        "throttleWriteBpsDevice" => ("blkio.throttle.write_bps_device", "wbps=1048576"),
        "throttleReadIOPSDevice" => ("blkio.throttle.read_iops_device", "riops=1048576"),
        _ => ("blkio.throttle.write_iops_device", "wiops=1048576"),
    };
    if host::cgroups() == Cgroups::V1 {
        return same(v1, &read(&container, "blkio", v1)?, format!("{major}:{minor} 1048576"));
    }
    let text = read(&container, "io", "io.max")?;
    holds(&format!("{v2}: {text}"), text.starts_with(&format!("{major}:{minor} ")) && text.contains(v2))
}

/// The file of a weight, under its old or its new scheduler's name.
fn weight_file(container: &Container<'_>, names: &[&str]) -> Result<Option<PathBuf>> {
    let cgroup = container.cgroup(io())?;
    Ok(names.iter().map(|name| cgroup.join(name)).find(|path| path.exists()))
}

/// Where the kernel has no weights the property cannot be applied, which is an error (runtime.md, Create).
fn weight(lab: &Lab) -> Verdict {
    needs(host::hierarchy(io()).is_some(), "the controller of block I/O is not here")?;
    let plain = limited(lab, json!({}))?;
    let names = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
    let container = lab.container()?.set("/linux/resources/blockIO/weight", 300);
    if weight_file(&plain, &names)?.is_none() {
        return container.is_refused();
    }
    container.up()?;
    let file = weight_file(&container, &names)?.context("the file of the weight")?;
    let text = fs::read_to_string(file)?;
    holds(&format!("the weight is not the default: {text}"), !text.trim().ends_with("100"))
}

fn leaf_weight(lab: &Lab) -> Verdict {
    needs(host::cgroups() == Cgroups::V1, "cgroup v2 has none: see resources.inconvertible.leafWeight")?;
    let there = host::hierarchy("blkio").is_some_and(|blkio| blkio.join("blkio.leaf_weight").exists());
    let container = lab.container()?.set("/linux/resources/blockIO/leafWeight", 300);
    if !there {
        return container.is_refused();
    }
    container.up()?;
    same("blkio.leaf_weight", &read(&container, "blkio", "blkio.leaf_weight")?, "300")
}

fn weight_device(lab: &Lab) -> Verdict {
    let (major, minor) = disk()?;
    let plain = limited(lab, json!({}))?;
    let names = ["blkio.weight_device", "blkio.bfq.weight_device", "io.bfq.weight", "io.weight"];
    let entry = json!([{"major": major, "minor": minor, "weight": 300}]);
    let container = lab.container()?.set("/linux/resources/blockIO/weightDevice", entry);
    let empty = json!([{"major": major, "minor": minor}]);
    if weight_file(&plain, &names)?.is_none() {
        return container.is_refused();
    }
    let created = container.create()?;
    if created.code == 0 {
        let file = weight_file(&container, &names)?.context("the file of the weight")?;
        let text = fs::read_to_string(file)?;
        holds(&format!("the weight is there: {text}"), text.contains(&format!("{major}:{minor}")))?;
    }
    lab.container()?.set("/linux/resources/blockIO/weightDevice", empty).is_refused()
}

/// The smallest size of huge pages here, as the specification writes it.
fn page_size() -> Result<String> {
    let names = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let sizes = names.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()
    });
    match sizes.min() {
        Some(size) if size >= 1024 => Ok(format!("{}MB", size / 1024)),
        Some(size) => Ok(format!("{size}KB")),
        None => skip("this kernel has no huge pages"),
    }
}

/// On a hybrid host the controller may be on the other hierarchy, where a runtime may or may not go.
fn huge_pages(lab: &Lab) -> Verdict {
    let size = page_size()?;
    let limits = json!({"hugepageLimits": [{"pageSize": size, "limit": 4 * MIB}]});
    if host::hierarchy("hugetlb").is_none() {
        let container = lab.container()?.set("/linux/resources", limits);
        if container.create()?.code != 0 {
            container.is_gone()?;
            return skip("hugetlb is not among the hierarchies of this host, and the runtime refuses it");
        }
        let found = host::cgroups_with(&container.id)
            .into_iter()
            .find_map(|dir| fs::read_to_string(dir.join(format!("hugetlb.{size}.rsvd.max"))).ok());
        return same(
            "the limit on the other hierarchy",
            &found.unwrap_or_default().trim().to_owned(),
            (4 * MIB).to_string(),
        );
    }
    let (v1, v2) = (format!("hugetlb.{size}.rsvd.limit_in_bytes"), format!("hugetlb.{size}.rsvd.max"));
    let wanted = (4 * MIB).to_string();
    limit(lab, limits, "hugetlb", (&v1, &wanted), (&v2, &wanted))
}

fn no_such_pages(lab: &Lab) -> Verdict {
    let limits = json!([{"pageSize": "3MB", "limit": 4 * MIB}]);
    lab.container()?.set("/linux/resources/hugepageLimits", limits).is_refused()
}

fn class_id(lab: &Lab) -> Verdict {
    let network = json!({"classID": 1_048_577});
    if host::hierarchy("net_cls").is_none() {
        return lab.container()?.set("/linux/resources/network", network).is_refused();
    }
    limit(lab, json!({"network": network}), "net_cls", ("net_cls.classid", "1048577"), ("", ""))
}

fn priorities(lab: &Lab) -> Verdict {
    let network = json!({"priorities": [{"name": "lo", "priority": 5}]});
    if host::hierarchy("net_prio").is_none() {
        return lab.container()?.set("/linux/resources/network", network).is_refused();
    }
    let container = limited(lab, json!({"network": network}))?;
    let text = read(&container, "net_prio", "net_prio.ifpriomap")?;
    holds(&format!("the priority is there: {text}"), text.contains("lo 5"))
}

fn pids(lab: &Lab, number: &'static str) -> Verdict {
    let shown = if number == "-1" { "max" } else { number };
    let resources = json!({"pids": {"limit": number.parse::<i64>()?}});
    limit(lab, resources, "pids", ("pids.max", shown), ("pids.max", shown))
}

/// Nothing can be forked then, but what is there runs; a runtime may be unable to start it, but not ignore the value.
fn pids_zero(lab: &Lab) -> Verdict {
    needs(host::hierarchy("pids").is_some(), "the pids controller is not here")?;
    let container = lab.container()?.set("/linux/resources/pids/limit", 0);
    let created = container.create()?;
    if created.code != 0 {
        return created.refused("no process at all");
    }
    same("pids.max", &read(&container, "pids", "pids.max")?, "0")
}

fn rdma(lab: &Lab) -> Verdict {
    let there = host::hierarchy("rdma").is_some()
        && fs::read_dir("/sys/class/infiniband").is_ok_and(|mut dir| dir.next().is_some());
    let entry = json!({"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}});
    needs(!there, "this host has RDMA devices, whose names are not known")?;
    lab.container()?.set("/linux/resources/rdma", entry).is_refused()
}

fn rdma_empty(lab: &Lab) -> Verdict {
    lab.container()?.set("/linux/resources/rdma", json!({"mlx5_1": {}})).is_refused()
}

fn inconvertible(lab: &Lab, change: &'static str) -> Verdict {
    needs(host::cgroups() == Cgroups::V2, "needs a pure cgroup v2 host")?;
    let (name, value) = change.split_once(' ').unwrap_or_default();
    let value: Value = serde_json::from_str(value)?;
    lab.container()?.set(&format!("/linux/resources/{name}"), value).is_refused()
}
