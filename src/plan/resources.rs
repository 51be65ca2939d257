//! DECIDE which limits go where: each kind of limit to the hierarchy that has its controller, as v1 or v2 counts it.

use std::borrow::Cow;
use std::fmt;

use oci_spec::runtime::LinuxResources;

use super::cgroup::{Before, Directory, FileWrite, Version, When};
use super::{ConfigPath, resources_v1, resources_v2};
use crate::error::Problem;

/// Gives each kind of limit to the hierarchy that has its controller.
pub(super) fn write_limits(
    resources: &LinuxResources,
    directories: &[Directory],
    problems: &mut Vec<Problem>,
) -> Vec<FileWrite> {
    let mut limits = Limits { directories, writes: Vec::new(), problems };
    if let Some(memory) = resources.memory() {
        limits.give("memory", "memory", "limit memory", memory, resources_v1::memory, resources_v2::memory);
    }
    if let Some(cpu) = resources.cpu() {
        limits.give("cpu", "cpu", "limit cpu", cpu, resources_v1::cpu, resources_v2::cpu);
        limits.give("cpuset", "cpuset", "limit cpuset", cpu, resources_v1::cpuset, resources_v2::cpuset);
    }
    if let Some(pids) = resources.pids() {
        limits.give("pids", "pids", "limit pids", pids, resources_v1::pids, resources_v1::pids);
    }
    if let Some(block_io) = resources.block_io() {
        limits.give("blkio", "io", "limit block io", block_io, resources_v1::block_io, resources_v2::block_io);
    }
    if let Some(pages) = resources.hugepage_limits() {
        limits.give(
            "hugetlb",
            "hugetlb",
            "limit huge pages",
            pages.as_slice(),
            resources_v1::hugetlb,
            resources_v2::hugetlb,
        );
    }
    if let Some(network) = resources.network() {
        limits.give("net_cls", "net_cls", "tag network packets", network, resources_v1::net_cls, resources_v1::net_cls);
        limits.give(
            "net_prio",
            "net_prio",
            "set network priorities",
            network,
            resources_v1::net_prio,
            resources_v1::net_prio,
        );
    }
    if let Some(rdma) = resources.rdma() {
        limits.give("rdma", "rdma", "limit rdma", rdma, resources_v1::rdma, resources_v1::rdma);
    }
    if let Some(unified) = resources.unified() {
        resources_v2::unified(unified, &mut limits);
    }
    limits.writes
}

/// Collects the writes of all controllers.
pub(super) struct Limits<'a> {
    pub(super) directories: &'a [Directory],
    pub(super) writes: Vec<FileWrite>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Limits<'_> {
    /// Turns one section of the resources into writes, as v1 or v2, wherever the controller is.
    /// A section that asks for nothing needs no controller: engines send sections full of zeros.
    fn give<T: ?Sized>(
        &mut self,
        v1: &str,
        v2: &str,
        step: &'static str,
        section: &T,
        as_v1: fn(&T, &mut Writes<'_>),
        as_v2: fn(&T, &mut Writes<'_>),
    ) {
        let found = self.find(Version::V1, v1).map(|directory| (directory, as_v1));
        let found = found.or_else(|| self.find(Version::V2, v2).map(|directory| (directory, as_v2)));
        if let Some((directory, convert)) = found {
            return convert(section, &mut Writes { directory, step, out: &mut self.writes, problems: self.problems });
        }
        let mut wanted = Vec::new();
        as_v1(section, &mut Writes { directory: 0, step, out: &mut wanted, problems: self.problems });
        if let Some(write) = wanted.first() {
            self.problems
                .push(Problem::new(write.at, format!("needs the cgroup controller {v1}, which is missing here")));
        }
    }

    /// The directory that has a controller.
    pub(super) fn find(&self, version: Version, controller: &str) -> Option<usize> {
        self.directories.iter().position(|directory| directory.version == version && directory.has(controller))
    }
}

/// Collects the writes of one controller.
pub(super) struct Writes<'a> {
    pub(super) directory: usize,
    pub(super) step: &'static str,
    pub(super) out: &'a mut Vec<FileWrite>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Writes<'_> {
    /// Adds a write that must succeed; the caller loosens what it returns.
    pub(super) fn write(
        &mut self,
        file: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        at: ConfigPath,
    ) -> &mut FileWrite {
        let write = FileWrite {
            directory: self.directory,
            file: file.into(),
            value: value.to_string(),
            at,
            step: self.step,
            when: When::Always,
            instead: None,
            tolerated: &[],
            retried: false,
            before: Before::Nothing,
        };
        let index = self.out.len();
        self.out.push(write);
        &mut self.out[index]
    }

    /// Reports a property that cannot be carried out.
    pub(super) fn problem(&mut self, at: ConfigPath, message: impl Into<String>) {
        self.problems.push(Problem::new(at, message));
    }
}

impl FileWrite {
    /// Makes the write only where it changes something: a new directory starts with this value.
    pub(super) fn unless_new(&mut self, is_default: bool) -> &mut Self {
        if is_default {
            self.when = When::Existing;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::CgroupHost;
    use super::super::cgroup::tests::{hybrid, planned, unified};

    /// The writes as `directory/file <- value`, without the device rules.
    fn writes(host: &CgroupHost, resources: &str) -> Vec<String> {
        let (plan, problems) = planned(host, Some("/c"), resources, false);
        assert_eq!(problems, Vec::<String>::new(), "{resources}");
        let writes = plan.writes.iter().filter(|write| !write.file.starts_with("devices."));
        let line = |write: &super::FileWrite| {
            let mount = plan.directories[write.directory].mount_point.file_name().unwrap_or_default();
            let also = match (&write.instead, write.when, write.retried) {
                (Some((file, value)), _, _) => format!(" or {file} <- {value:?}"),
                (_, super::When::Existing, _) => " (existing)".to_owned(),
                (_, super::When::BeforeJoining, _) => " (first)".to_owned(),
                (_, super::When::Always, _) => String::new(),
            };
            format!("{}/{write}{also}", mount.display())
        };
        writes.map(line).collect()
    }

    fn problems(host: &CgroupHost, resources: &str) -> Vec<String> {
        planned(host, Some("/c"), resources, false).1
    }

    #[test]
    fn nothing_is_written_that_was_not_asked_for() {
        let zeros = r#"{"memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0}, "blockIO": {"weight": 0},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimePeriod": 0, "cpus": "", "mems": ""}, "network": {}}"#;
        for host in [hybrid(), unified()] {
            assert_eq!(writes(&host, "{}"), Vec::<String>::new());
            assert_eq!(writes(&host, zeros), Vec::<String>::new());
        }
    }

    #[test]
    fn memory() {
        let limits = r#"{"memory": {"limit": 100, "swap": 300, "reservation": 50, "disableOOMKiller": false}}"#;
        assert_eq!(
            writes(&hybrid(), limits),
            [
                r#"memory/memory.limit_in_bytes <- "100""#,
                r#"memory/memory.memsw.limit_in_bytes <- "300""#,
                r#"memory/memory.soft_limit_in_bytes <- "50""#,
            ]
        );
        assert_eq!(
            writes(&unified(), limits),
            [r#"cgroup/memory.swap.max <- "200""#, r#"cgroup/memory.max <- "100""#, r#"cgroup/memory.low <- "50""#]
        );
        let lifted = r#"{"memory": {"limit": -1}}"#;
        assert_eq!(
            writes(&hybrid(), lifted),
            [
                r#"memory/memory.limit_in_bytes <- "-1" (existing)"#,
                r#"memory/memory.memsw.limit_in_bytes <- "-1" (existing)"#
            ]
        );
        assert_eq!(
            writes(&unified(), lifted),
            [r#"cgroup/memory.swap.max <- "max" (existing)"#, r#"cgroup/memory.max <- "max" (existing)"#]
        );
        // Found by the fuzzer: any negative number is no limit.
        let lifted = r#"{"memory": {"limit": -9223372036854775807, "swap": 300}}"#;
        assert_eq!(writes(&unified(), lifted)[0], r#"cgroup/memory.swap.max <- "300""#);
        let same = r#"{"memory": {"limit": 100, "swap": 100}}"#;
        assert_eq!(writes(&unified(), same)[0], r#"cgroup/memory.swap.max <- "0""#);
        let v1_only =
            r#"{"memory": {"swappiness": 0, "disableOOMKiller": true, "kernelTCP": 5, "useHierarchy": true}}"#;
        assert_eq!(
            writes(&hybrid(), v1_only),
            [
                r#"memory/memory.kmem.tcp.limit_in_bytes <- "5""#,
                r#"memory/memory.oom_control <- "1""#,
                r#"memory/memory.use_hierarchy <- "1""#,
                r#"memory/memory.swappiness <- "0""#,
            ]
        );
        assert_eq!(problems(&unified(), v1_only).len(), 3);
    }

    #[test]
    fn memory_that_does_not_fit_together() {
        for host in [hybrid(), unified()] {
            let at = "linux.resources.memory.swap: is the limit of memory and swap together";
            for resources in [r#"{"memory": {"swap": 300}}"#, r#"{"memory": {"limit": 400, "swap": 300}}"#] {
                let found = problems(&host, resources);
                assert!(found.len() == 1 && found[0].starts_with(at), "{found:?}");
            }
        }
        let found = problems(&hybrid(), r#"{"memory": {"swappiness": 101}}"#);
        assert_eq!(found, ["linux.resources.memory.swappiness: must be from 0 to 100"]);
    }

    #[test]
    fn cpu() {
        let limits = r#"{"cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 1000, "idle": 1,
            "realtimeRuntime": 7, "realtimePeriod": 9, "cpus": "0-1", "mems": "0"}}"#;
        assert_eq!(
            writes(&hybrid(), limits),
            [
                r#"cpu,cpuacct/cpu.shares <- "1024""#,
                r#"cpu,cpuacct/cpu.cfs_period_us <- "10000""#,
                r#"cpu,cpuacct/cpu.cfs_quota_us <- "5000""#,
                r#"cpu,cpuacct/cpu.cfs_burst_us <- "1000""#,
                r#"cpu,cpuacct/cpu.rt_period_us <- "9" (first)"#,
                r#"cpu,cpuacct/cpu.rt_runtime_us <- "7" (first)"#,
                r#"cpu,cpuacct/cpu.idle <- "1""#,
                r#"cpuset/cpuset.cpus <- "0-1" (first)"#,
                r#"cpuset/cpuset.mems <- "0" (first)"#,
            ]
        );
        assert_eq!(problems(&unified(), limits).len(), 2);
        let both = r#"{"cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 0, "idle": 0, "cpus": "1"}}"#;
        assert_eq!(
            writes(&unified(), both),
            [
                r#"cgroup/cpu.idle <- "0" (existing)"#,
                r#"cgroup/cpu.weight <- "100""#,
                r#"cgroup/cpu.max <- "5000 10000""#,
                r#"cgroup/cpu.max.burst <- "0" (existing)"#,
                r#"cgroup/cpuset.cpus <- "1""#,
            ]
        );
        assert_eq!(writes(&unified(), r#"{"cpu": {"quota": 5000}}"#), [r#"cgroup/cpu.max <- "5000""#]);
        assert_eq!(writes(&unified(), r#"{"cpu": {"period": 5000}}"#), [r#"cgroup/cpu.max <- "max 5000""#]);
        assert_eq!(writes(&unified(), r#"{"cpu": {"quota": -1}}"#), [r#"cgroup/cpu.max <- "max" (existing)"#]);
        assert_eq!(
            writes(&hybrid(), r#"{"cpu": {"quota": -1}}"#),
            [r#"cpu,cpuacct/cpu.cfs_quota_us <- "-1" (existing)"#]
        );
    }

    #[test]
    fn cpu_that_is_out_of_range() {
        for (resources, problem) in [
            (r#"{"cpu": {"shares": 1}}"#, "linux.resources.cpu.shares: the minimum allowed cpu-shares is 2"),
            (r#"{"cpu": {"shares": 262145}}"#, "linux.resources.cpu.shares: the maximum allowed cpu-shares is 262144"),
            (
                r#"{"cpu": {"quota": 5000, "burst": 5001}}"#,
                "linux.resources.cpu.burst: must not be larger than cpu.quota (5001 > 5000)",
            ),
        ] {
            assert_eq!(problems(&hybrid(), resources), [problem]);
        }
    }

    #[test]
    fn shares_become_weights() {
        let weight = |shares: u64| writes(&unified(), &format!(r#"{{"cpu": {{"shares": {shares}}}}}"#));
        for (shares, expected) in [(1, 1), (2, 1), (1024, 100), (262_144, 10_000), (1 << 40, 10_000)] {
            assert_eq!(weight(shares), [format!(r#"cgroup/cpu.weight <- "{expected}""#)]);
        }
    }

    #[test]
    fn pids() {
        for (limit, written) in [(7, r#""7""#), (0, r#""0""#), (-1, r#""max" (existing)"#)] {
            let resources = format!(r#"{{"pids": {{"limit": {limit}}}}}"#);
            assert_eq!(writes(&hybrid(), &resources), [format!("pids/pids.max <- {written}")]);
            assert_eq!(writes(&unified(), &resources), [format!("cgroup/pids.max <- {written}")]);
        }
    }

    #[test]
    fn block_io() {
        let limits = r#"{"blockIO": {"weight": 750, "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}}"#;
        assert_eq!(
            writes(&hybrid(), limits),
            [
                r#"blkio/blkio.weight <- "750" or blkio.bfq.weight <- "750""#,
                r#"blkio/blkio.weight_device <- "8:0 500" or blkio.bfq.weight_device <- "8:0 500""#,
                r#"blkio/blkio.throttle.read_bps_device <- "8:0 600""#,
                r#"blkio/blkio.throttle.write_iops_device <- "8:16 0""#,
            ]
        );
        assert_eq!(
            writes(&unified(), limits),
            [
                r#"cgroup/io.bfq.weight <- "750" or io.weight <- "7475""#,
                r#"cgroup/io.bfq.weight <- "8:0 500""#,
                r#"cgroup/io.max <- "8:0 rbps=600""#,
                r#"cgroup/io.max <- "8:16 wiops=max""#,
            ]
        );
    }

    #[test]
    fn huge_pages_go_to_the_version_that_has_them() {
        let limits = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#;
        let expected = [r#"hugetlb.2MB.max <- "4194304""#, r#"hugetlb.2MB.rsvd.max <- "4194304""#];
        assert_eq!(writes(&hybrid(), limits), expected.map(|write| format!("unified/{write}")));
        assert_eq!(writes(&unified(), limits), expected.map(|write| format!("cgroup/{write}")));
        let found = problems(&hybrid(), r#"{"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}"#);
        assert_eq!(
            found,
            [r#"linux.resources.hugepageLimits[0].pageSize: "../2MB" is not of the form 64KB, 2MB or 1GB"#]
        );
        // Names are as they are written; an unknown one is passed over.
        let found = problems(&hybrid(), r#"{"hugepageLimits": [{"pagesize": "2MB", "limit": 1}]}"#);
        let missing = "linux.resources.hugepageLimits[0].pageSize: is missing; it is of the form 64KB, 2MB or 1GB";
        assert_eq!(found, [missing]);
    }

    #[test]
    fn a_missing_controller_is_named() {
        for (resources, at) in [
            (r#"{"network": {"classID": 1}}"#, "network.classID: needs the cgroup controller net_cls"),
            (
                r#"{"network": {"priorities": [{"name": "eth0", "priority": 5}]}}"#,
                "network.priorities[0]: needs the cgroup controller net_prio",
            ),
            (r#"{"rdma": {"mlx5_1": {"hcaHandles": 3}}}"#, "rdma: needs the cgroup controller rdma"),
        ] {
            assert_eq!(problems(&hybrid(), resources), [format!("linux.resources.{at}, which is missing here")]);
        }
        let rdma = r#"{"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 9}, "a": {"hcaObjects": 1}}}"#;
        assert_eq!(
            writes(&unified(), rdma),
            [r#"cgroup/rdma.max <- "a hca_object=1""#, r#"cgroup/rdma.max <- "mlx5_1 hca_handle=3 hca_object=9""#]
        );
    }

    #[test]
    fn unified_files() {
        let files =
            r#"{"unified": {"memory.min": "7", "io.max": "8:0 rbps=1\n8:16 rbps=2\n", "cgroup.max.depth": "3"}}"#;
        assert_eq!(
            writes(&unified(), files),
            [
                r#"cgroup/cgroup.max.depth <- "3""#,
                r#"cgroup/io.max <- "8:0 rbps=1""#,
                r#"cgroup/io.max <- "8:16 rbps=2""#,
                r#"cgroup/memory.min <- "7""#,
            ]
        );
        let found = problems(&hybrid(), r#"{"unified": {"memory.min": "7"}}"#);
        assert_eq!(
            found,
            ["linux.resources.unified: invalid configuration: memory.min needs the cgroup v2 controller memory, \
              which is missing here"]
        );
        assert_eq!(problems(&unified(), r#"{"unified": {"../x.y": "1", "noname": "1", ".x": "1"}}"#).len(), 3);
        assert_eq!(
            writes(&hybrid(), r#"{"unified": {"hugetlb.1GB.max": "0"}}"#),
            [r#"unified/hugetlb.1GB.max <- "0""#]
        );
    }

    #[test]
    fn device_rules_are_written_from_a_clean_slate() {
        let lines = |resources| {
            let (plan, _) = planned(&hybrid(), None, resources, false);
            plan.writes.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let fuse = lines(r#"{"devices": [{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]}"#);
        assert_eq!(fuse[..2], [r#"devices.deny <- "a""#, r#"devices.allow <- "c 10:229 rwm""#]);
        assert_eq!(fuse.len(), 13);
        let privileged = lines(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
        assert_eq!(privileged, [r#"devices.allow <- "a""#]);
    }
}
