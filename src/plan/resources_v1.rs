//! DECIDE what is written into the files of the cgroup v1 controllers. One function a controller.
//!
//! Zero means "not set" for every limit for which it would be nonsense: engines send it for "unchanged" in the
//! documents of `update`. File names and ranges: Documentation/admin-guide/cgroup-v1 of the kernel.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxPids, LinuxRdma, LinuxThrottleDevice,
    LinuxWeightDevice,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};

use super::ConfigPath;
use super::cgroup::When;
use super::resources::Writes;

pub(super) const MEMORY: ConfigPath = ConfigPath::new("linux.resources.memory");
pub(super) const CPU: ConfigPath = ConfigPath::new("linux.resources.cpu");
pub(super) const PIDS: ConfigPath = ConfigPath::new("linux.resources.pids");
pub(super) const BLOCK_IO: ConfigPath = ConfigPath::new("linux.resources.blockIO");
pub(super) const HUGEPAGE_LIMITS: ConfigPath = ConfigPath::new("linux.resources.hugepageLimits");
pub(super) const NETWORK: ConfigPath = ConfigPath::new("linux.resources.network");
pub(super) const RDMA: ConfigPath = ConfigPath::new("linux.resources.rdma");

/// `memory.limit_in_bytes` and what belongs to it.
///
/// The kernel keeps memory <= memory+swap at every moment, so which of the two has to be written first depends on
/// whether they rise or fall: the first is tried again after the second.
pub(super) fn memory(memory: &LinuxMemory, to: &mut Writes<'_>) {
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = memory.swap().filter(|swap| *swap != 0);
    if let Some(limit) = limit {
        to.write("memory.limit_in_bytes", limit, MEMORY.field("limit")).unless_new(limit == -1).retried = true;
    }
    match (limit, swap) {
        // Memory without a limit under a limit of memory+swap would be none; runc lifts both.
        (Some(-1), None) => {
            let lifted = to.write(MEMSW, -1, MEMORY.field("limit"));
            lifted.when = When::Existing;
            lifted.tolerated = &[Errno::NOENT];
        }
        (Some(limit), Some(swap)) if swap > 0 && limit > swap => to.problem(
            MEMORY.field("swap"),
            format!("is the limit of memory and swap together: it must not be below memory.limit ({swap} < {limit})"),
        ),
        (_, Some(swap)) => {
            to.write(MEMSW, swap, MEMORY.field("swap")).unless_new(swap == -1).retried = true;
        }
        (_, None) => {}
    }
    if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
        let at = MEMORY.field("reservation");
        to.write("memory.soft_limit_in_bytes", reservation, at).unless_new(reservation == -1);
    }
    kernel_memory(memory, to);
    if memory.disable_oom_killer() == Some(true) {
        to.write("memory.oom_control", 1, MEMORY.field("disableOOMKiller"));
    }
    // The kernel accounts hierarchically since Linux 5.11 and takes nothing but "1".
    if memory.use_hierarchy() == Some(true) {
        to.write("memory.use_hierarchy", 1, MEMORY.field("useHierarchy")).tolerated = &[Errno::NOENT, Errno::BUSY];
    }
    match memory.swappiness() {
        None | Some(u64::MAX) => {}
        Some(swappiness @ 0..=100) => {
            to.write("memory.swappiness", swappiness, MEMORY.field("swappiness"));
        }
        Some(_) => to.problem(MEMORY.field("swappiness"), "must be from 0 to 100"),
    }
}

const MEMSW: &str = "memory.memsw.limit_in_bytes";

/// Limits of kernel memory went away in Linux 5.16 (the file answers EOPNOTSUPP, or is missing). The specification
/// calls them "NOT RECOMMENDED" and runc ignores them, so they are tried where the kernel still has them.
fn kernel_memory(memory: &LinuxMemory, to: &mut Writes<'_>) {
    const GONE: &[Errno] = &[Errno::OPNOTSUPP, Errno::NOENT];
    if let Some(kernel) = memory.kernel().filter(|kernel| *kernel != 0) {
        to.write("memory.kmem.limit_in_bytes", kernel, MEMORY.field("kernel")).unless_new(kernel == -1).tolerated =
            GONE;
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|tcp| *tcp != 0) {
        let at = MEMORY.field("kernelTCP");
        to.write("memory.kmem.tcp.limit_in_bytes", tcp, at).unless_new(tcp == -1).tolerated = GONE;
    }
}

/// `cpu.shares`, the CFS bandwidth and the realtime bandwidth.
///
/// Period, quota and burst are checked against each other (and against the parent's) at every write.
pub(super) fn cpu(cpu: &LinuxCpu, to: &mut Writes<'_>) {
    // A cgroup that is idle refuses shares, so it has to leave that state first and may enter it last.
    if cpu.idle() == Some(0) {
        to.write("cpu.idle", 0, CPU.field("idle")).when = When::Existing;
    }
    match cpu.shares() {
        None | Some(0) => {}
        // The kernel would silently take the nearest value. The words are runc's.
        Some(1) => to.problem(CPU.field("shares"), "the minimum allowed cpu-shares is 2"),
        Some(shares @ 2..=262_144) => {
            to.write("cpu.shares", shares, CPU.field("shares"));
        }
        Some(_) => to.problem(CPU.field("shares"), "the maximum allowed cpu-shares is 262144"),
    }
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        to.write("cpu.cfs_period_us", period, CPU.field("period")).retried = true;
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        to.write("cpu.cfs_quota_us", quota, CPU.field("quota")).unless_new(quota < 0).retried = true;
    }
    if let Some(burst) = checked_burst(cpu, to) {
        to.write("cpu.cfs_burst_us", burst, CPU.field("burst")).unless_new(burst == 0).retried = true;
    }
    realtime(cpu, to);
    if let Some(idle) = cpu.idle().filter(|idle| *idle != 0) {
        to.write("cpu.idle", idle, CPU.field("idle"));
    }
}

/// The burst, if it is not larger than the quota (config-linux.md, "CPU").
pub(super) fn checked_burst(cpu: &LinuxCpu, to: &mut Writes<'_>) -> Option<u64> {
    let burst = cpu.burst()?;
    match cpu.quota().and_then(|quota| u64::try_from(quota).ok()) {
        Some(quota) if quota != 0 && burst > quota => {
            to.problem(CPU.field("burst"), format!("must not be larger than cpu.quota ({burst} > {quota})"));
            None
        }
        _ => Some(burst),
    }
}

/// Before joining, because a process with a realtime policy cannot join a cgroup without realtime bandwidth.
fn realtime(cpu: &LinuxCpu, to: &mut Writes<'_>) {
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        let write = to.write("cpu.rt_period_us", period, CPU.field("realtimePeriod"));
        (write.when, write.retried) = (When::BeforeJoining, true);
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        let write = to.write("cpu.rt_runtime_us", runtime, CPU.field("realtimeRuntime"));
        (write.when, write.retried) = (When::BeforeJoining, true);
    }
}

/// `cpuset.cpus` and `cpuset.mems`; what is not given is inherited when the directory is made.
pub(super) fn cpuset(cpu: &LinuxCpu, to: &mut Writes<'_>) {
    if let Some(cpus) = cpu.cpus().as_deref().filter(|cpus| !cpus.is_empty()) {
        to.write("cpuset.cpus", cpus, CPU.field("cpus")).when = When::BeforeJoining;
    }
    if let Some(mems) = cpu.mems().as_deref().filter(|mems| !mems.is_empty()) {
        to.write("cpuset.mems", mems, CPU.field("mems")).when = When::BeforeJoining;
    }
}

/// `pids.max`, which v2 has too.
///
/// Zero is a limit, not "unset": "`0` is a valid limit value … and SHOULD be treated as such by runtimes"
/// (config-linux.md, PIDs). The program itself is in the cgroup by then, and can fork as little as with 1.
pub(super) fn pids(pids: &LinuxPids, to: &mut Writes<'_>) {
    let at = PIDS.field("limit");
    match pids.limit() {
        ..0 => to.write("pids.max", "max", at).unless_new(true),
        limit => to.write("pids.max", limit, at),
    };
}

/// "You MUST specify at least one of weight or leafWeight in a given entry" (config-linux.md, Block IO).
pub(super) fn check_weights(device: &LinuxWeightDevice, at: ConfigPath, to: &mut Writes<'_>) {
    if device.weight().is_none() && device.leaf_weight().is_none() {
        to.problem(at, "needs weight or leafWeight");
    }
}

/// `blkio.*`. Weights belong to an I/O scheduler: CFQ until Linux 5.0 (no prefix), BFQ since.
pub(super) fn block_io(block_io: &LinuxBlockIo, to: &mut Writes<'_>) {
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        to.write("blkio.weight", weight, BLOCK_IO.field("weight")).instead =
            Some(("blkio.bfq.weight", weight.to_string()));
    }
    if let Some(weight) = block_io.leaf_weight().filter(|weight| *weight != 0) {
        to.write("blkio.leaf_weight", weight, BLOCK_IO.field("leafWeight"));
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let at = BLOCK_IO.field("weightDevice").index(index);
        check_weights(device, at, to);
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            to.write("blkio.weight_device", line(weight), at).instead = Some(("blkio.bfq.weight_device", line(weight)));
        }
        if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
            to.write("blkio.leaf_weight_device", line(weight), at);
        }
    }
    for throttle in throttles(block_io) {
        for (index, device) in throttle.devices.iter().enumerate() {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            to.write(throttle.v1_file, line, BLOCK_IO.field(throttle.property).index(index));
        }
    }
}

/// One of the four lists of throttled devices.
pub(super) struct Throttle<'a> {
    pub(super) property: &'static str,
    pub(super) v1_file: &'static str,
    /// The key in the lines of v2's `io.max`.
    pub(super) v2_key: &'static str,
    pub(super) devices: &'a [LinuxThrottleDevice],
}

pub(super) fn throttles(block_io: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        Throttle {
            property: "throttleReadBpsDevice",
            v1_file: "blkio.throttle.read_bps_device",
            v2_key: "rbps",
            devices: block_io.throttle_read_bps_device().as_deref().unwrap_or_default(),
        },
        Throttle {
            property: "throttleWriteBpsDevice",
            v1_file: "blkio.throttle.write_bps_device",
            v2_key: "wbps",
            devices: block_io.throttle_write_bps_device().as_deref().unwrap_or_default(),
        },
        Throttle {
            property: "throttleReadIOPSDevice",
            v1_file: "blkio.throttle.read_iops_device",
            v2_key: "riops",
            devices: block_io.throttle_read_iops_device().as_deref().unwrap_or_default(),
        },
        Throttle {
            property: "throttleWriteIOPSDevice",
            v1_file: "blkio.throttle.write_iops_device",
            v2_key: "wiops",
            devices: block_io.throttle_write_iops_device().as_deref().unwrap_or_default(),
        },
    ]
}

/// `hugetlb.<size>.limit_in_bytes`, and the limit of reservations where the kernel has it (Linux 5.7).
pub(super) fn hugetlb(limits: &[LinuxHugepageLimit], to: &mut Writes<'_>) {
    for (index, limit) in limits.iter().enumerate() {
        let at = HUGEPAGE_LIMITS.index(index);
        if let Some((size, bytes)) = huge_page_limit(limit, index, to) {
            to.write(format!("hugetlb.{size}.limit_in_bytes"), bytes, at);
            to.write(format!("hugetlb.{size}.rsvd.limit_in_bytes"), bytes, at).tolerated = &[Errno::NOENT];
        }
    }
}

/// The page size and the limit, checked: the size becomes part of a file name.
pub(super) fn huge_page_limit<'a>(
    limit: &'a LinuxHugepageLimit,
    index: usize,
    to: &mut Writes<'_>,
) -> Option<(&'a str, u64)> {
    let at = HUGEPAGE_LIMITS.index(index);
    let size = limit.page_size().as_str();
    let digits = size.strip_suffix("KB").or(size.strip_suffix("MB")).or(size.strip_suffix("GB")).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let wrong = if size.is_empty() { "is missing; it is".to_owned() } else { format!("{size:?} is not") };
        to.problem(at.field("pageSize"), format!("{wrong} of the form 64KB, 2MB or 1GB"));
        return None;
    }
    match u64::try_from(limit.limit()) {
        Ok(bytes) => Some((size, bytes)),
        Err(_) => {
            to.problem(at.field("limit"), "must not be negative");
            None
        }
    }
}

/// `net_cls.classid`.
pub(super) fn net_cls(network: &LinuxNetwork, to: &mut Writes<'_>) {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        to.write("net_cls.classid", class, NETWORK.field("classID"));
    }
}

/// `net_prio.ifpriomap`, one interface a write.
pub(super) fn net_prio(network: &LinuxNetwork, to: &mut Writes<'_>) {
    for (index, interface) in network.priorities().iter().flatten().enumerate() {
        let line = format!("{} {}", interface.name(), interface.priority());
        to.write("net_prio.ifpriomap", line, NETWORK.field("priorities").index(index));
    }
}

/// `rdma.max`, one device a write; v2 has it too.
pub(super) fn rdma(devices: &HashMap<String, LinuxRdma>, to: &mut Writes<'_>) {
    for (name, limits) in devices.iter().collect::<BTreeMap<_, _>>() {
        let mut line = name.clone();
        for (key, value) in [("hca_handle", limits.hca_handles()), ("hca_object", limits.hca_objects())] {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        match line.len() > name.len() {
            true => {
                to.write("rdma.max", line, RDMA);
            }
            false => to.problem(RDMA, format!("{name}: needs hcaHandles or hcaObjects")),
        }
    }
}
