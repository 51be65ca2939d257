//! Statistics from the files of the cgroup v1 controllers: Documentation/admin-guide/cgroup-v1 of the kernel. One function
//! a controller; parsing only.

use std::collections::BTreeMap;

use super::stats::{BlockIo, BlockIoEntry, HugePages, MemoryUse, Read, Stats, list, number, parse_number, table};
use crate::error::{Error, Result};

/// `cpu.stat`.
pub(super) fn throttling(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    let table = table(&read("cpu.stat")?.unwrap_or_default());
    let value = |key| table.get(key).copied().unwrap_or_default();
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = value("nr_periods");
    throttling.throttled_periods = value("nr_throttled");
    throttling.throttled_time = value("throttled_time");
    Ok(())
}

/// `cpuacct.*`: nanoseconds, but for `cpuacct.stat`, which counts in the ticks of sysconf(3), always 100 a second.
pub(super) fn cpu_usage(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    const NANOSECONDS_PER_TICK: u64 = 10_000_000;
    let table = table(&read("cpuacct.stat")?.unwrap_or_default());
    let time = |key| table.get(key).copied().unwrap_or_default().saturating_mul(NANOSECONDS_PER_TICK);
    let usage = &mut stats.cpu.usage;
    (usage.user, usage.kernel) = (time("user"), time("system"));
    usage.total = number(read, "cpuacct.usage")?.unwrap_or_default();
    let each = read("cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = each.split_whitespace().filter_map(parse_number).collect();
    // A title, then `CPU USER SYSTEM`.
    let all = read("cpuacct.usage_all")?.unwrap_or_default();
    for line in all.lines().skip(1) {
        let mut fields = line.split_whitespace().skip(1).filter_map(parse_number);
        if let (Some(user), Some(kernel)) = (fields.next(), fields.next()) {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(())
}

/// `cpuset.*`.
pub(super) fn cpuset(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    let value = |name: &str| Ok(number(read, &format!("cpuset.{name}"))?.unwrap_or_default());
    let cpuset = &mut stats.cpuset;
    cpuset.cpus = list(&read("cpuset.cpus")?.unwrap_or_default());
    cpuset.mems = list(&read("cpuset.mems")?.unwrap_or_default());
    cpuset.cpu_exclusive = value("cpu_exclusive")?;
    cpuset.mem_hardwall = value("mem_hardwall")?;
    cpuset.mem_exclusive = value("mem_exclusive")?;
    cpuset.memory_migrate = value("memory_migrate")?;
    cpuset.memory_spread_page = value("memory_spread_page")?;
    cpuset.memory_spread_slab = value("memory_spread_slab")?;
    cpuset.memory_pressure = value("memory_pressure")?;
    cpuset.sched_load_balance = value("sched_load_balance")?;
    let level = read("cpuset.sched_relax_domain_level")?;
    cpuset.sched_relax_domain_level = level.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    Ok(())
}

/// `memory.*`.
pub(super) fn memory(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    memory.raw = table(&read("memory.stat")?.unwrap_or_default());
    memory.cache = memory.raw.get("cache").copied().unwrap_or_default();
    memory.usage = memory_use(read, "memory")?;
    memory.swap = memory_use(read, "memory.memsw")?;
    memory.kernel = memory_use(read, "memory.kmem")?;
    memory.kernel_tcp = memory_use(read, "memory.kmem.tcp")?;
    Ok(())
}

fn memory_use(read: &Read<'_>, name: &str) -> Result<MemoryUse> {
    let value = |file: &str| Ok(number(read, &format!("{name}.{file}"))?.unwrap_or_default());
    Ok(MemoryUse {
        limit: value("limit_in_bytes")?,
        usage: value("usage_in_bytes")?,
        max: value("max_usage_in_bytes")?,
        failcnt: value("failcnt")?,
    })
}

/// `pids.*`, which v2 has too.
pub(super) fn pids(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    stats.pids.current = number(read, "pids.current")?.unwrap_or_default();
    stats.pids.limit = number(read, "pids.max")?.filter(|limit| *limit != u64::MAX).unwrap_or_default();
    Ok(())
}

/// Which files tell depends on the scheduler of the devices; the first family that tells anything is taken, as in runc:
/// BFQ's, CFQ's (until Linux 5.0), and what throttling counts, which every kernel has.
pub(super) fn block_io(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    type Table = fn(&mut BlockIo) -> &mut Vec<BlockIoEntry>;
    const FILES: [(&str, Table); 8] = [
        ("io_serviced", |io| &mut io.io_serviced_recursive),
        ("io_service_bytes", |io| &mut io.io_service_bytes_recursive),
        ("sectors", |io| &mut io.sectors_recursive),
        ("io_service_time", |io| &mut io.io_service_time_recursive),
        ("io_wait_time", |io| &mut io.io_wait_time_recursive),
        ("io_merged", |io| &mut io.io_merged_recursive),
        ("io_queued", |io| &mut io.io_queued_recursive),
        ("time", |io| &mut io.io_time_recursive),
    ];
    for (family, suffix) in [
        ("blkio.bfq.", "_recursive"),
        ("blkio.", "_recursive"),
        ("blkio.throttle.", "_recursive"),
        ("blkio.throttle.", ""),
    ] {
        for (file, table) in FILES {
            let text = read(&format!("{family}{file}{suffix}"))?.unwrap_or_default();
            *table(&mut stats.blkio) = entries(&text)?;
        }
        if !stats.blkio.io_serviced_recursive.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Lines `MAJOR:MINOR OPERATION NUMBER` or `MAJOR:MINOR NUMBER`; the last one has the total of all.
fn entries(text: &str) -> Result<Vec<BlockIoEntry>> {
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let (major, minor) = fields.next()?.split_once(':')?;
        let (first, second) = (fields.next()?, fields.next());
        let (op, value) = second.map_or(("", first), |value| (first, value));
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(BlockIoEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("Total "));
    lines.map(|line| entry(line).ok_or_else(|| Error::new(format!("{line:?} is no entry of blkio.*")))).collect()
}

/// `hugetlb.*`: of reservations where the kernel counts them (Linux 5.7).
pub(super) fn huge_pages(read: &Read<'_>, sizes: &[String]) -> Result<BTreeMap<String, HugePages>> {
    let mut found = BTreeMap::new();
    for size in sizes {
        for name in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let Some(usage) = number(read, &format!("{name}.usage_in_bytes"))? else { continue };
            let max = number(read, &format!("{name}.max_usage_in_bytes"))?.unwrap_or_default();
            let failcnt = number(read, &format!("{name}.failcnt"))?.unwrap_or_default();
            found.insert(size.clone(), HugePages { usage, max, failcnt });
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::directory;
    use super::*;

    fn stats(reader: fn(&Read<'_>, &mut Stats) -> Result<()>, files: &[(&str, &str)]) -> Stats {
        let mut stats = Stats::default();
        reader(&directory(files), &mut stats).expect("it is read");
        stats
    }

    #[test]
    fn throttling_is_read() {
        let text = "nr_periods 12\nnr_throttled 3\nthrottled_time 4500\nnr_bursts 0\nburst_time 0\n";
        let throttling = stats(throttling, &[("cpu.stat", text)]).cpu.throttling;
        assert_eq!((throttling.periods, throttling.throttled_periods, throttling.throttled_time), (12, 3, 4500));
    }

    #[test]
    fn processor_time_is_read() {
        let files = [
            ("cpuacct.stat", "user 3\nsystem 2\n"),
            ("cpuacct.usage", "58000000\n"),
            ("cpuacct.usage_percpu", "18000000 40000000 \n"),
            ("cpuacct.usage_all", "cpu user system\n0 8000000 10000000\n1 40000000 0\n"),
        ];
        let usage = stats(cpu_usage, &files).cpu.usage;
        assert_eq!((usage.user, usage.kernel, usage.total), (30_000_000, 20_000_000, 58_000_000));
        assert_eq!(usage.percpu, [18_000_000, 40_000_000]);
        assert_eq!(usage.percpu_user, [8_000_000, 40_000_000]);
        assert_eq!(usage.percpu_kernel, [10_000_000, 0]);
    }

    #[test]
    fn a_cpuset_is_read() {
        let files = [
            ("cpuset.cpus", "0-1,3\n"),
            ("cpuset.mems", "0\n"),
            ("cpuset.sched_load_balance", "1\n"),
            ("cpuset.sched_relax_domain_level", "-1\n"),
        ];
        let cpuset = stats(cpuset, &files).cpuset;
        assert_eq!((cpuset.cpus, cpuset.mems), (vec![0, 1, 3], vec![0]));
        assert_eq!((cpuset.sched_load_balance, cpuset.sched_relax_domain_level), (1, -1));
    }

    #[test]
    fn memory_is_read_with_and_without_swap() {
        let files = [
            ("memory.stat", "cache 4096\nrss 49152\nhierarchical_memory_limit 9223372036854771712\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "761856\n"),
            ("memory.max_usage_in_bytes", "2523136\n"),
            ("memory.failcnt", "2\n"),
            ("memory.kmem.usage_in_bytes", "479232\n"),
        ];
        let memory = stats(memory, &files).memory;
        assert_eq!((memory.cache, memory.raw["rss"]), (4096, 49152));
        assert_eq!(
            memory.usage,
            MemoryUse { limit: 9_223_372_036_854_771_712, usage: 761_856, max: 2_523_136, failcnt: 2 }
        );
        assert_eq!((memory.swap, memory.kernel.usage), (MemoryUse::default(), 479_232));
    }

    #[test]
    fn no_limit_of_processes_is_zero() {
        let pids = |max| stats(pids, &[("pids.current", "3\n"), ("pids.max", max)]).pids.limit;
        assert_eq!((pids("max\n"), pids("50\n")), (0, 50));
    }

    #[test]
    fn the_first_family_of_block_io_that_tells_is_taken() {
        let (bfq, empty) = ("8:0 Read 7\n8:0 Write 1\nTotal 8\n", "Total 0\n");
        let throttle = [
            ("blkio.bfq.io_serviced_recursive", empty),
            ("blkio.throttle.io_serviced_recursive", "254:0 Read 2\nTotal 2\n"),
            ("blkio.throttle.io_service_bytes_recursive", "254:0 Read 8192\nTotal 8192\n"),
            ("blkio.throttle.io_serviced", "254:0 Read 1\n"),
        ];
        let entry = |major, op: &str, value| BlockIoEntry { major, minor: 0, op: op.into(), value };
        let blkio = stats(block_io, &throttle).blkio;
        assert_eq!(blkio.io_serviced_recursive, [entry(254, "Read", 2)]);
        assert_eq!(blkio.io_service_bytes_recursive, [entry(254, "Read", 8192)]);
        let files =
            [("blkio.bfq.io_serviced_recursive", bfq), ("blkio.bfq.sectors_recursive", "8:0 16\n"), throttle[1]];
        let blkio = stats(block_io, &files).blkio;
        assert_eq!(blkio.io_serviced_recursive, [entry(8, "Read", 7), entry(8, "Write", 1)]);
        assert_eq!(blkio.sectors_recursive, [entry(8, "", 16)]);
        assert!(entries("nonsense\n").is_err());
    }

    #[test]
    fn reserved_huge_pages_are_preferred() {
        let sizes = ["1GB".to_owned(), "2MB".to_owned()];
        let files = [
            ("hugetlb.2MB.rsvd.usage_in_bytes", "4194304\n"),
            ("hugetlb.2MB.rsvd.max_usage_in_bytes", "6291456\n"),
            ("hugetlb.2MB.rsvd.failcnt", "1\n"),
            ("hugetlb.2MB.usage_in_bytes", "0\n"),
            ("hugetlb.1GB.usage_in_bytes", "0\n"),
        ];
        let found = huge_pages(&directory(&files), &sizes).expect("it is read");
        assert_eq!(found["2MB"], HugePages { usage: 4_194_304, max: 6_291_456, failcnt: 1 });
        assert_eq!(found["1GB"], HugePages::default());
    }
}
