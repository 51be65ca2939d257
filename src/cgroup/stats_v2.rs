//! Statistics from the files of a cgroup v2 directory, counted as v1 does: Documentation/admin-guide/cgroup-v2.rst of the
//! kernel. What the directory has no controller for stays zero. Parsing only.

use std::collections::BTreeMap;

use super::stats::{BlockIo, BlockIoEntry, HugePages, MemoryUse, Pressure, Read, Stalled, Stats, list, number, table};
use super::stats_v1;
use crate::error::Result;

/// Everything that a directory tells.
pub(super) fn read(read: &Read<'_>, huge_pages: &[String], stats: &mut Stats) -> Result<()> {
    cpu(read, stats)?;
    stats.cpuset.cpus = list(&read("cpuset.cpus.effective")?.unwrap_or_default());
    stats.cpuset.mems = list(&read("cpuset.mems.effective")?.unwrap_or_default());
    memory(read, stats)?;
    pids(read, stats)?;
    stats.blkio = block_io(&read("io.stat")?.unwrap_or_default());
    stats.hugetlb = hugetlb(read, huge_pages)?;
    let pressure = |file: &str| Ok(read(file)?.and_then(|text| pressure(&text)));
    stats.cpu.psi = pressure("cpu.pressure")?;
    stats.memory.psi = pressure("memory.pressure")?;
    stats.blkio.psi = pressure("io.pressure")?;
    Ok(())
}

/// `cpu.stat`, in microseconds; a directory has it without the controller too.
fn cpu(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    let table = table(&read("cpu.stat")?.unwrap_or_default());
    let value = |key| table.get(key).copied().unwrap_or_default();
    let time = |key| value(key).saturating_mul(1000);
    let (usage, throttling) = (&mut stats.cpu.usage, &mut stats.cpu.throttling);
    (usage.total, usage.user, usage.kernel) = (time("usage_usec"), time("user_usec"), time("system_usec"));
    throttling.periods = value("nr_periods");
    throttling.throttled_periods = value("nr_throttled");
    throttling.throttled_time = time("throttled_usec");
    Ok(())
}

/// `memory.*`. Swap is told together with memory, as on v1; the peak of both together is not known.
fn memory(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    memory.raw = table(&read("memory.stat")?.unwrap_or_default());
    memory.cache = memory.raw.get("file").copied().unwrap_or_default();
    let Some(usage) = number(read, "memory.current")? else { return Ok(()) };
    let events = |file: &str| Ok(table(&read(file)?.unwrap_or_default()).get("max").copied().unwrap_or_default());
    memory.usage = MemoryUse {
        limit: number(read, "memory.max")?.unwrap_or(u64::MAX),
        usage,
        max: number(read, "memory.peak")?.unwrap_or_default(),
        failcnt: events("memory.events")?,
    };
    // Without swap accounting there is no such file.
    if let Some(swap) = number(read, "memory.swap.current")? {
        memory.swap = MemoryUse {
            limit: number(read, "memory.swap.max")?.unwrap_or(u64::MAX).saturating_add(memory.usage.limit),
            usage: swap.saturating_add(usage),
            max: 0,
            failcnt: events("memory.swap.events")?,
        };
    }
    Ok(())
}

/// `pids.*`. Without the controller the processes are counted.
fn pids(read: &Read<'_>, stats: &mut Stats) -> Result<()> {
    stats_v1::pids(read, stats)?;
    if stats.pids.current == 0 {
        // The processes of a threaded cgroup are listed in the domain above.
        let listed = read("cgroup.procs")?.or(read("cgroup.threads")?).unwrap_or_default();
        stats.pids.current = listed.lines().count() as u64;
    }
    Ok(())
}

/// `io.stat`: lines `MAJOR:MINOR KEY=NUMBER KEY=NUMBER …`, into the tables of v1.
fn block_io(text: &str) -> BlockIo {
    let mut io = BlockIo::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let device = fields.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut io.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut io.io_service_bytes_recursive, "Write"),
                "rios" => (&mut io.io_serviced_recursive, "Read"),
                "wios" => (&mut io.io_serviced_recursive, "Write"),
                _ => continue,
            };
            if let Ok(value) = value.parse() {
                table.push(BlockIoEntry { major, minor, op: op.to_owned(), value });
            }
        }
    }
    io
}

/// `hugetlb.*`: of reservations where the kernel counts them (Linux 5.7).
fn hugetlb(read: &Read<'_>, sizes: &[String]) -> Result<BTreeMap<String, HugePages>> {
    let mut found = BTreeMap::new();
    for size in sizes {
        let reserved = number(read, &format!("hugetlb.{size}.rsvd.current"))?;
        let Some(usage) = reserved.map_or_else(|| number(read, &format!("hugetlb.{size}.current")), |n| Ok(Some(n)))?
        else {
            continue;
        };
        let events = table(&read(&format!("hugetlb.{size}.events"))?.unwrap_or_default());
        let failcnt = events.get("max").copied().unwrap_or_default();
        found.insert(size.clone(), HugePages { usage, max: 0, failcnt });
    }
    Ok(found)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, then the same for `full`, which older kernels leave out for cpu.
fn pressure(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    let mut told = false;
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let stalled = match fields.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        told = true;
        *stalled = parse_stalled(fields);
    }
    told.then_some(pressure)
}

fn parse_stalled<'a>(fields: impl Iterator<Item = &'a str>) -> Stalled {
    let mut stalled = Stalled::default();
    for (key, value) in fields.filter_map(|field| field.split_once('=')) {
        match key {
            "avg10" => stalled.avg10 = value.parse().unwrap_or_default(),
            "avg60" => stalled.avg60 = value.parse().unwrap_or_default(),
            "avg300" => stalled.avg300 = value.parse().unwrap_or_default(),
            "total" => stalled.total = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    stalled
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::directory;
    use super::*;

    fn stats(files: &[(&str, &str)]) -> Stats {
        let mut stats = Stats::default();
        read(&directory(files), &["2MB".to_owned()], &mut stats).expect("it is read");
        stats
    }

    #[test]
    fn microseconds_become_nanoseconds() {
        let text = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
            nr_periods 7\nnr_throttled 2\nthrottled_usec 31\nnr_bursts 0\nburst_usec 0\n";
        let cpu = stats(&[("cpu.stat", text)]).cpu;
        assert_eq!((cpu.usage.total, cpu.usage.user, cpu.usage.kernel), (1_500_000, 1_000_000, 500_000));
        let throttling = cpu.throttling;
        assert_eq!((throttling.periods, throttling.throttled_periods, throttling.throttled_time), (7, 2, 31_000));
    }

    #[test]
    fn swap_is_told_together_with_memory() {
        let mut files = vec![
            ("memory.stat", "anon 8192\nfile 4096\nkernel 300\nworkingset_refault_anon 0\n"),
            ("memory.current", "12288\n"),
            ("memory.max", "65536\n"),
            ("memory.peak", "20480\n"),
            ("memory.events", "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\noom_group_kill 0\n"),
            ("memory.swap.current", "1000\n"),
            ("memory.swap.max", "2000\n"),
            ("memory.swap.events", "high 0\nmax 3\nfail 3\n"),
        ];
        let memory = stats(&files).memory;
        assert_eq!((memory.cache, memory.raw["anon"]), (4096, 8192));
        assert_eq!(memory.usage, MemoryUse { limit: 65536, usage: 12288, max: 20480, failcnt: 5 });
        assert_eq!(memory.swap, MemoryUse { limit: 67536, usage: 13288, max: 0, failcnt: 3 });
        files[6].1 = "max\n";
        assert_eq!(stats(&files).memory.swap.limit, u64::MAX);
        files.truncate(5);
        assert_eq!(stats(&files).memory.swap, MemoryUse::default());
    }

    #[test]
    fn processes_are_counted_without_the_controller() {
        let files = [("pids.current", "4\n"), ("pids.max", "max\n"), ("cgroup.procs", "1\n2\n")];
        assert_eq!(stats(&files).pids.current, 4);
        assert_eq!(stats(&files[2..]).pids.current, 2);
    }

    #[test]
    fn io_is_told_in_the_tables_of_v1() {
        let text = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0\n\
            8:32 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021\n";
        let blkio = stats(&[("io.stat", text)]).blkio;
        let entry = |minor, op: &str, value| BlockIoEntry { major: 8, minor, op: op.into(), value };
        assert_eq!(
            blkio.io_service_bytes_recursive,
            [
                entry(16, "Read", 1_459_200),
                entry(16, "Write", 314_773_504),
                entry(32, "Read", 90_430_464),
                entry(32, "Write", 299_008_000)
            ]
        );
        assert_eq!(blkio.io_serviced_recursive.len(), 4);
        assert_eq!(blkio.io_serviced_recursive[1], entry(16, "Write", 353));
    }

    #[test]
    fn pressure_is_read_or_absent() {
        let text =
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=6\n";
        let stats_of = stats(&[("cpu.pressure", text), ("io.pressure", &text[..text.find('\n').unwrap_or(0)])]);
        let psi = stats_of.cpu.psi.expect("it is told");
        assert_eq!(psi.some, Stalled { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 12345 });
        assert_eq!(psi.full.total, 6);
        assert_eq!(stats_of.blkio.psi.expect("it is told").full, Stalled::default());
        assert_eq!(stats_of.memory.psi, None);
        assert_eq!(stats(&[("cpu.pressure", "")]).cpu.psi, None);
    }

    #[test]
    fn huge_pages_and_the_cpuset_are_read() {
        let files = [
            ("hugetlb.2MB.current", "0\n"),
            ("hugetlb.2MB.rsvd.current", "4194304\n"),
            ("hugetlb.2MB.events", "max 3\n"),
            ("cpuset.cpus.effective", "0-1\n"),
            ("cpuset.mems.effective", "0\n"),
        ];
        let all = stats(&files);
        assert_eq!(all.hugetlb["2MB"], HugePages { usage: 4_194_304, max: 0, failcnt: 3 });
        assert_eq!((all.cpuset.cpus, all.cpuset.mems), (vec![0, 1], vec![0]));
        assert_eq!(stats(&files[..1]).hugetlb["2MB"], HugePages::default());
        assert!(stats(&[]).hugetlb.is_empty());
    }
}
