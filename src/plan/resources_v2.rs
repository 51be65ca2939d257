//! DECIDE what is written into the files of the cgroup v2 controllers. One function a controller.
//!
//! The specification counts as cgroup v1 does: its values are converted. What has no counterpart in v2 is an error,
//! as config-linux.md wants ("If the conversion is not possible the runtime MUST generate an error"), unless the value
//! asks for what v2 does anyway. File names and ranges: Documentation/admin-guide/cgroup-v2.rst of the kernel.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory};
use rustix::io::Errno;

use super::ConfigPath;
use super::cgroup::{Before, Version, When};
use super::resources::{Limits, Writes};
use super::resources_v1::{
    BLOCK_IO, CPU, HUGEPAGE_LIMITS, MEMORY, check_weights, checked_burst, huge_page_limit, throttles,
};
use crate::error::Problem;

/// `memory.max`, `memory.swap.max` and `memory.low`.
pub(super) fn memory(memory: &LinuxMemory, to: &mut Writes<'_>) {
    let limit = memory.limit().filter(|limit| *limit != 0);
    let first = to.out.len();
    // Swap first: a lower memory limit pushes pages out, and they should find the new limit there.
    if let Some(swap) = swap_alone(memory, limit, to) {
        let at = MEMORY.field(if memory.swap().is_some_and(|swap| swap != 0) { "swap" } else { "limit" });
        let write = to.write("memory.swap.max", Bytes(swap), at).unless_new(swap == -1);
        // A kernel without swap accounting has no swap to limit.
        write.tolerated = if swap <= 0 { &[Errno::NOENT] } else { &[] };
    }
    if let Some(limit) = limit {
        to.write("memory.max", Bytes(limit), MEMORY.field("limit")).unless_new(limit == -1);
    }
    // v1 refuses a limit below the use; v2 kills for it (config-linux.md, "checkBeforeUpdate").
    if let (Some(true), Some(write)) = (memory.check_before_update(), to.out.get_mut(first)) {
        let limits = [("memory+swap", memory.swap()), ("memory", limit)];
        let limits = limits.into_iter().filter_map(|(name, limit)| Some((name, u64::try_from(limit?).ok()?)));
        write.before = Before::UsageBelow("memory.current", limits.filter(|(_, limit)| *limit > 0).collect());
    }
    if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
        to.write("memory.low", Bytes(reservation), MEMORY.field("reservation"));
    }
    let nothing = [None, Some(0), Some(-1)];
    for (name, value) in [("kernel", memory.kernel()), ("kernelTCP", memory.kernel_tcp())] {
        if !nothing.contains(&value) {
            to.problem(MEMORY.field(name), "has no counterpart in cgroup v2");
        }
    }
    if memory.swappiness().is_some_and(|swappiness| swappiness != u64::MAX) {
        to.problem(MEMORY.field("swappiness"), "has no counterpart in cgroup v2");
    }
    if memory.disable_oom_killer() == Some(true) {
        to.problem(MEMORY.field("disableOOMKiller"), "has no counterpart in cgroup v2");
    }
}

/// The limit of swap alone, where the specification (as v1) gives that of memory and swap together.
fn swap_alone(memory: &LinuxMemory, limit: Option<i64>, to: &mut Writes<'_>) -> Option<i64> {
    // Any negative number lifts a limit.
    let (limit, swap) =
        (limit.map(|limit| limit.max(-1)), memory.swap().filter(|swap| *swap != 0).map(|swap| swap.max(-1)));
    match (limit, swap) {
        (Some(-1), None) => Some(-1),
        (_, None) => None,
        (_, Some(-1)) => Some(-1),
        (Some(-1), Some(swap)) => Some(swap),
        (Some(limit), Some(swap)) if swap >= limit => Some(swap - limit),
        (Some(limit), Some(swap)) => {
            let message = format!("is the limit of memory and swap together: {swap} is below memory.limit, {limit}");
            to.problem(MEMORY.field("swap"), message);
            None
        }
        (None, Some(_)) => {
            let message = "is the limit of memory and swap together, so it needs memory.limit";
            to.problem(MEMORY.field("swap"), message);
            None
        }
    }
}

/// A number of bytes, or `max` for a negative one.
struct Bytes(i64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..0 => f.write_str("max"),
            bytes => bytes.fmt(f),
        }
    }
}

/// `cpu.weight`, `cpu.max`, `cpu.max.burst` and `cpu.idle`.
pub(super) fn cpu(cpu: &LinuxCpu, to: &mut Writes<'_>) {
    // A cgroup that is idle refuses a weight, so it has to leave that state first and may enter it last.
    if cpu.idle() == Some(0) {
        to.write("cpu.idle", 0, CPU.field("idle")).when = When::Existing;
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        to.write("cpu.weight", weight_of_shares(shares), CPU.field("shares"));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let at = CPU.field(if quota.is_some() { "quota" } else { "period" });
    let quota_text = quota.filter(|quota| *quota > 0).map_or_else(|| "max".to_owned(), |quota| quota.to_string());
    match (quota, period) {
        (None, None) => {}
        // The file takes the quota alone, and keeps the period.
        (Some(quota), None) => to.write("cpu.max", quota_text, at).unless_new(quota < 0).retried = true,
        (Some(_), Some(period)) => to.write("cpu.max", format!("{quota_text} {period}"), at).retried = true,
        // The file cannot take the period alone; the quota stays what it is.
        (None, Some(period)) => to.write("cpu.max", format!("max {period}"), at).before = Before::FirstWord,
    }
    if let Some(burst) = checked_burst(cpu, to) {
        to.write("cpu.max.burst", burst, CPU.field("burst")).unless_new(burst == 0).retried = true;
    }
    if cpu.realtime_runtime().is_some_and(|runtime| runtime != 0) {
        to.problem(CPU.field("realtimeRuntime"), "has no counterpart in cgroup v2");
    }
    if cpu.realtime_period().is_some_and(|period| period != 0) {
        to.problem(CPU.field("realtimePeriod"), "has no counterpart in cgroup v2");
    }
    if let Some(idle) = cpu.idle().filter(|idle| *idle != 0) {
        to.write("cpu.idle", idle, CPU.field("idle"));
    }
}

/// Shares run from 2 over 1024 (the default) to 262144, weights from 1 over 100 to 10000. runc and crun map the three
/// onto each other with 10^((l^2 + 125 l) / 612 - 7/34), l being the binary logarithm of the shares.
fn weight_of_shares(shares: u64) -> u64 {
    let l = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// `cpuset.cpus` and `cpuset.mems`.
pub(super) fn cpuset(cpu: &LinuxCpu, to: &mut Writes<'_>) {
    if let Some(cpus) = cpu.cpus().as_deref().filter(|cpus| !cpus.is_empty()) {
        to.write("cpuset.cpus", cpus, CPU.field("cpus"));
    }
    if let Some(mems) = cpu.mems().as_deref().filter(|mems| !mems.is_empty()) {
        to.write("cpuset.mems", mems, CPU.field("mems"));
    }
}

/// `io.max`, and `io.weight` or that of the BFQ scheduler.
pub(super) fn block_io(block_io: &LinuxBlockIo, to: &mut Writes<'_>) {
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        // BFQ counts as the specification does; io.weight linearly from 1 to 10000, as in runc and crun.
        let linear = 1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990;
        let at = BLOCK_IO.field("weight");
        to.write("io.bfq.weight", weight, at).instead = Some(("io.weight", linear.to_string()));
    }
    if block_io.leaf_weight().is_some_and(|weight| weight != 0) {
        to.problem(BLOCK_IO.field("leafWeight"), "has no counterpart in cgroup v2");
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let at = BLOCK_IO.field("weightDevice").index(index);
        check_weights(device, at, to);
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            to.write("io.bfq.weight", format!("{}:{} {weight}", device.major(), device.minor()), at);
        }
        if device.leaf_weight().is_some_and(|weight| weight != 0) {
            to.problem(at.field("leafWeight"), "has no counterpart in cgroup v2");
        }
    }
    for throttle in throttles(block_io) {
        for (index, device) in throttle.devices.iter().enumerate() {
            // v1 lifts a limit with 0, v2 with "max".
            let rate = match device.rate() {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            let line = format!("{}:{} {}={rate}", device.major(), device.minor(), throttle.v2_key);
            to.write("io.max", line, BLOCK_IO.field(throttle.property).index(index));
        }
    }
}

/// `hugetlb.<size>.max`, and the limit of reservations where the kernel has it (Linux 5.7).
pub(super) fn hugetlb(limits: &[LinuxHugepageLimit], to: &mut Writes<'_>) {
    for (index, limit) in limits.iter().enumerate() {
        let at = HUGEPAGE_LIMITS.index(index);
        if let Some((size, bytes)) = huge_page_limit(limit, index, to) {
            to.write(format!("hugetlb.{size}.max"), bytes, at);
            to.write(format!("hugetlb.{size}.rsvd.max"), bytes, at).tolerated = &[Errno::NOENT];
        }
    }
}

/// `linux.resources.unified`: files of the v2 hierarchy, by name, in the order of their names.
pub(super) fn unified(files: &HashMap<String, String>, to: &mut Limits<'_>) {
    const UNIFIED: ConfigPath = ConfigPath::new("linux.resources.unified");
    for (file, value) in files.iter().collect::<BTreeMap<_, _>>() {
        // The name is opened in the container's directory and must not lead out of it.
        let controller = file.split_once('.').map(|(controller, _)| controller).unwrap_or_default();
        if controller.is_empty() || file.contains(['/', '\0']) {
            to.problems.push(Problem::new(UNIFIED, format!("{file:?} is not of the form CONTROLLER.FILE")));
            continue;
        }
        let found = match controller {
            "cgroup" => to.directories.iter().position(|directory| directory.version == Version::V2),
            _ => to.find(Version::V2, controller),
        };
        let Some(directory) = found else {
            let message = format!(
                "invalid configuration: {file} needs the cgroup v2 controller {controller}, which is missing here"
            );
            to.problems.push(Problem::new(UNIFIED, message));
            continue;
        };
        let mut writes = Writes { directory, step: "set unified", out: &mut to.writes, problems: to.problems };
        // A file with a line for each device takes one line a write.
        for line in value.trim_end_matches('\n').split('\n') {
            writes.write(file.clone(), line, UNIFIED);
        }
    }
}
