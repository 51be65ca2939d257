//! Limits and priorities of the program that are not the cgroup's.

use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit,
    PosixRlimitType, Process, Scheduler,
};

use super::ConfigPath;
use crate::error::Problem;

/// Limits and priorities, decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// The value for `/proc/PID/oom_score_adj`; unchanged if absent.
    pub oom_score_adjustment: Option<i32>,
    /// The arguments of sched_setattr(2).
    pub scheduler: Option<SchedulerAttributes>,
    /// Class and priority as ioprio_set(2) takes them.
    pub io_priority: Option<i32>,
    /// The argument of personality(2).
    pub personality: Option<u64>,
}

/// One resource limit, see getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Its name.
    pub name: &'static str,
    /// What the kernel enforces.
    pub soft: u64,
    /// How far the program may raise it.
    pub hard: u64,
    /// Its place in the configuration.
    pub at: ConfigPath,
}

/// The arguments of sched_setattr(2): the first version of `struct sched_attr`, 48 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// The size of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// The nice value, for SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// The static priority, for SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub period: u64,
}

/// Decides limits and priorities.
pub fn plan(process: &Process, linux: Option<&Linux>, problems: &mut Vec<Problem>) -> Limits {
    let mut limits = Limits {
        oom_score_adjustment: process.oom_score_adj(),
        scheduler: process.scheduler().as_ref().map(plan_scheduler),
        ..Limits::default()
    };
    for (index, rlimit) in process.rlimits().iter().flatten().enumerate() {
        let at = ConfigPath::new("process.rlimits").index(index);
        let rlimit = plan_rlimit(rlimit, at, problems);
        if limits.rlimits.iter().any(|earlier| earlier.resource == rlimit.resource) {
            // "If rlimits contains duplicated entries with same type, the runtime MUST generate an error."
            problems.push(Problem::new(at.field("type"), format!("{} is given twice", rlimit.name)));
        }
        limits.rlimits.push(rlimit);
    }
    if limits.oom_score_adjustment.is_some_and(|value| !(-1000..=1000).contains(&value)) {
        problems.push(Problem::new("process.oomScoreAdj", "must be from -1000 to 1000"));
    }
    if let Some(priority) = process.io_priority() {
        if !(0..=7).contains(&priority.priority()) {
            problems.push(Problem::new("process.ioPriority.priority", "must be from 0 to 7"));
        }
        let class = match priority.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        limits.io_priority = Some(class << 13 | priority.priority() as i32);
    }
    if let Some(personality) = linux.and_then(|linux| linux.personality().as_ref()) {
        if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
            problems.push(Problem::new("linux.personality.flags", "no flag is supported"));
        }
        limits.personality = Some(match personality.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        });
    }
    limits
}

fn plan_rlimit(rlimit: &PosixRlimit, at: ConfigPath, problems: &mut Vec<Problem>) -> Rlimit {
    let (resource, name) = match rlimit.typ() {
        PosixRlimitType::RlimitCpu => (0, "RLIMIT_CPU"),
        PosixRlimitType::RlimitFsize => (1, "RLIMIT_FSIZE"),
        PosixRlimitType::RlimitData => (2, "RLIMIT_DATA"),
        PosixRlimitType::RlimitStack => (3, "RLIMIT_STACK"),
        PosixRlimitType::RlimitCore => (4, "RLIMIT_CORE"),
        PosixRlimitType::RlimitRss => (5, "RLIMIT_RSS"),
        PosixRlimitType::RlimitNproc => (6, "RLIMIT_NPROC"),
        PosixRlimitType::RlimitNofile => (7, "RLIMIT_NOFILE"),
        PosixRlimitType::RlimitMemlock => (8, "RLIMIT_MEMLOCK"),
        PosixRlimitType::RlimitAs => (9, "RLIMIT_AS"),
        PosixRlimitType::RlimitLocks => (10, "RLIMIT_LOCKS"),
        PosixRlimitType::RlimitSigpending => (11, "RLIMIT_SIGPENDING"),
        PosixRlimitType::RlimitMsgqueue => (12, "RLIMIT_MSGQUEUE"),
        PosixRlimitType::RlimitNice => (13, "RLIMIT_NICE"),
        PosixRlimitType::RlimitRtprio => (14, "RLIMIT_RTPRIO"),
        PosixRlimitType::RlimitRttime => (15, "RLIMIT_RTTIME"),
    };
    if rlimit.soft() > rlimit.hard() {
        problems.push(Problem::new(at, format!("{name}: soft {} is above hard {}", rlimit.soft(), rlimit.hard())));
    }
    Rlimit { resource, name, soft: rlimit.soft(), hard: rlimit.hard(), at }
}

fn plan_scheduler(scheduler: &Scheduler) -> SchedulerAttributes {
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    SchedulerAttributes {
        size: size_of::<SchedulerAttributes>() as u32,
        policy,
        flags: scheduler.flags().iter().flatten().fold(0, |flags, one| flags | flag(one)),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }
}
