//! What a container uses, from the files of its cgroups, in the shape that runc's `events` prints and its clients read.
//!
//! A controller's files are read where the controller is, as v1 or as v2 has them. The readers get a function from a
//! file's name to its text, so that they can be tried on texts; a file that a kernel does not have is no failure.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::io::Errno;
use serde::Serialize;

use super::{Cgroup, Member, files, stats_v1, stats_v2};
use crate::error::{Context, Error, Result};

/// The statistics of a container. What is left out when it is zero is what runc leaves out.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    pub(super) cpu: Cpu,
    pub(super) cpuset: CpuSet,
    pub(super) memory: Memory,
    pub(super) pids: Pids,
    pub(super) blkio: BlockIo,
    pub(super) hugetlb: BTreeMap<String, HugePages>,
    intel_rdt: IntelRdt,
    /// Always null: runc knows of interfaces only if it made them, which a configuration cannot ask for.
    network_interfaces: Option<()>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Cpu {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: CpuUsage,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// In nanoseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// In nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Pressure stall information: Documentation/accounting/psi.rst of the kernel.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Pressure {
    #[serde(skip_serializing_if = "is_zero")]
    pub some: Stalled,
    #[serde(skip_serializing_if = "is_zero")]
    pub full: Stalled,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Stalled {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: MemoryUse,
    /// Of memory and swap together.
    #[serde(skip_serializing_if = "is_zero")]
    pub swap: MemoryUse,
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel: MemoryUse,
    #[serde(rename = "kernelTCP", skip_serializing_if = "is_zero")]
    pub kernel_tcp: MemoryUse,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct MemoryUse {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockIo {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlockIoEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(super) struct BlockIoEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, …; none in the files without a column for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct HugePages {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// What resctrl counts for a container is not told yet.
#[derive(Debug, Default, PartialEq, Serialize)]
struct IntelRdt {}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The text of a file by its name; None if there is no such file.
pub(super) type Read<'a> = dyn Fn(&str) -> Result<Option<String>> + 'a;

impl Cgroup {
    /// Reads what the container uses.
    pub fn stats(&self) -> Result<Stats> {
        self.read_stats().step(|| "unable to get container cgroup stats")
    }

    fn read_stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        let v2 = self.v2().map(|member| (member, member.reader()));
        let v2 = v2.as_ref().map(|(member, read)| (*member, read as &Read<'_>));
        let sizes = huge_page_sizes();
        // On a hybrid host the controllers are on v1, but v2 has its own idea of the pressure, which v1 does not tell.
        if let Some((_, read)) = v2 {
            stats_v2::read(read, &sizes, &mut stats)?;
        }
        type Reader = fn(&Read<'_>, &mut Stats) -> Result<()>;
        let readers: [(&str, Reader); 6] = [
            ("cpu", stats_v1::throttling),
            ("cpuacct", stats_v1::cpu_usage),
            ("cpuset", stats_v1::cpuset),
            ("memory", stats_v1::memory),
            ("pids", stats_v1::pids),
            ("blkio", stats_v1::block_io),
        ];
        for (controller, reader) in readers {
            if let Some(member) = self.v1(controller) {
                reader(&member.reader(), &mut stats)?;
            }
        }
        if let Some(member) = self.v1("hugetlb") {
            stats.hugetlb = stats_v1::huge_pages(&member.reader(), &sizes)?;
        }
        Ok(stats)
    }
}

impl Member {
    fn reader(&self) -> impl Fn(&str) -> Result<Option<String>> + '_ {
        |file| match files::read(&self.path.join(file)) {
            Ok(text) => Ok(Some(text)),
            // A kernel that can tell the pressure but was not asked to (psi=1) says EOPNOTSUPP.
            Err(error) if files::is_gone(&error) || error.errno() == Some(Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// `hugepages-2048kB` in /sys/kernel/mm/hugepages is `2MB` in the names of cgroup files.
fn huge_page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir(Path::new("/sys/kernel/mm/hugepages")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut sizes: Vec<String> = names.filter_map(|name| huge_page_size(&name)).collect();
    sizes.sort();
    sizes
}

fn huge_page_size(name: &str) -> Option<String> {
    let size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match size {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    })
}

/// The number in a file; None if there is no file.
pub(super) fn number(read: &Read<'_>, file: &str) -> Result<Option<u64>> {
    let Some(text) = read(file)? else { return Ok(None) };
    parse_number(text.trim()).map(Some).ok_or_else(|| Error::new(format!("{file}: {:?} is not a number", text.trim())))
}

/// A number; `max` is the largest one.
pub(super) fn parse_number(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// The lines `KEY NUMBER` of a file, such as memory.stat.
pub(super) fn table(text: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// A list of processors or memory nodes, such as `0-2,7`, see cpuset(7).
pub(super) fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory of files, as text.
    pub(crate) fn directory<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Result<Option<String>> + 'a {
        |name| Ok(files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn lists_and_tables_are_parsed() {
        assert_eq!(list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(list("\n"), Vec::<u16>::new());
        assert_eq!(table("a 1\nb\nc x\nd 4\n"), BTreeMap::from([("a".to_owned(), 1), ("d".to_owned(), 4)]));
        assert_eq!((parse_number("max"), parse_number("7"), parse_number("-7")), (Some(u64::MAX), Some(7), None));
    }

    #[test]
    fn sizes_of_huge_pages_are_named_as_in_cgroup_files() {
        let sizes = ["hugepages-2048kB", "hugepages-1048576kB", "hugepages-64kB", "x"].map(huge_page_size);
        assert_eq!(sizes, [Some("2MB".into()), Some("1GB".into()), Some("64KB".into()), None]);
    }

    #[test]
    fn what_is_zero_is_left_out_as_runc_does() {
        let text = serde_json::to_value(Stats::default()).expect("JSON");
        let expected = serde_json::json!({
            "cpu": {},
            "cpuset": {"cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0,
                "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0,
                "sched_relax_domain_level": 0},
            "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {}, "network_interfaces": null,
        });
        assert_eq!(text, expected);
    }

    #[test]
    fn every_name_is_runcs() {
        let full = || Some(Pressure { some: Stalled { total: 1, ..Stalled::default() }, full: Stalled::default() });
        let used = || MemoryUse { limit: 1, usage: 1, max: 1, failcnt: 1 };
        let entry = || vec![BlockIoEntry { major: 8, minor: 1, op: "Read".into(), value: 1 }];
        let stats = Stats {
            cpu: Cpu {
                usage: CpuUsage {
                    total: 1,
                    percpu: vec![1],
                    percpu_kernel: vec![1],
                    percpu_user: vec![1],
                    ..CpuUsage::default()
                },
                throttling: Throttling { periods: 1, throttled_periods: 1, throttled_time: 1 },
                psi: full(),
            },
            memory: Memory {
                cache: 1,
                usage: used(),
                swap: used(),
                kernel: used(),
                kernel_tcp: used(),
                raw: BTreeMap::from([("x".into(), 1)]),
                psi: full(),
            },
            pids: Pids { current: 1, limit: 1 },
            blkio: BlockIo {
                io_service_bytes_recursive: entry(),
                io_serviced_recursive: entry(),
                io_queued_recursive: entry(),
                io_service_time_recursive: entry(),
                io_wait_time_recursive: entry(),
                io_merged_recursive: entry(),
                io_time_recursive: entry(),
                sectors_recursive: entry(),
                psi: full(),
            },
            hugetlb: BTreeMap::from([("2MB".into(), HugePages { usage: 1, max: 1, failcnt: 1 })]),
            ..Stats::default()
        };
        let psi = serde_json::json!({"some": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 1}});
        let used = serde_json::json!({"limit": 1, "usage": 1, "max": 1, "failcnt": 1});
        let entry = serde_json::json!([{"major": 8, "minor": 1, "op": "Read", "value": 1}]);
        let mut expected = serde_json::to_value(Stats::default()).expect("JSON");
        expected["cpu"] = serde_json::json!({
            "usage": {"total": 1, "percpu": [1], "percpu_kernel": [1], "percpu_user": [1], "kernel": 0, "user": 0},
            "throttling": {"periods": 1, "throttledPeriods": 1, "throttledTime": 1}, "psi": psi});
        expected["memory"] = serde_json::json!({"cache": 1, "usage": used, "swap": used, "kernel": used,
            "kernelTCP": used, "raw": {"x": 1}, "psi": psi});
        expected["pids"] = serde_json::json!({"current": 1, "limit": 1});
        expected["blkio"] = serde_json::json!({"ioServiceBytesRecursive": entry, "ioServicedRecursive": entry,
            "ioQueueRecursive": entry, "ioServiceTimeRecursive": entry, "ioWaitTimeRecursive": entry,
            "ioMergedRecursive": entry, "ioTimeRecursive": entry, "sectorsRecursive": entry, "psi": psi});
        expected["hugetlb"] = serde_json::json!({"2MB": {"usage": 1, "max": 1, "failcnt": 1}});
        assert_eq!(serde_json::to_value(stats).expect("JSON"), expected);
    }
}
