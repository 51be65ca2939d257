//! Limits and priorities of the program that are not the cgroup's.

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, Linux, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    PosixRlimit, PosixRlimitType, Process, Scheduler,
};

use super::ConfigPath;
use super::lists::Mask;
use super::memory_policy::{self, MemoryPolicy};
use crate::error::Problem;

/// No kernel has more processors (`CONFIG_NR_CPUS`).
pub const MOST_PROCESSORS: usize = 8192;

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
    /// The arguments of set_mempolicy(2).
    pub memory_policy: Option<MemoryPolicy>,
    /// The processors for a process that joins a running container.
    pub exec_affinity: Option<Affinity>,
}

/// On which processors a process that joins may run: `process.execCPUAffinity`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Until it is in the container's cgroup.
    pub initial: Option<Mask>,
    /// From then on; unchanged if absent.
    pub last: Option<Mask>,
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

/// The arguments of sched_setattr(2): the second version of `struct sched_attr`, 56 bytes. An older kernel takes it as
/// long as what it does not know is 0, and a newer one wants this size for the flags `SCHED_FLAG_UTIL_CLAMP_*`.
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
    /// The least utilization: always 0, there is no property for it.
    pub least_utilization: u32,
    /// See `least_utilization`.
    pub most_utilization: u32,
}

/// Decides limits and priorities.
pub fn plan(process: &Process, linux: Option<&Linux>, problems: &mut Vec<Problem>) -> Limits {
    let mut limits = Limits {
        oom_score_adjustment: process.oom_score_adj(),
        scheduler: process.scheduler().as_ref().map(|scheduler| plan_scheduler(scheduler, problems)),
        exec_affinity: process.exec_cpu_affinity().as_ref().and_then(|affinity| plan_affinity(affinity, problems)),
        memory_policy: linux
            .and_then(|linux| linux.memory_policy().as_ref())
            .map(|policy| memory_policy::plan(policy, problems)),
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

/// "Linux will ignore" is no answer to a value that asks for something: what sched_setattr(2) refuses, cuts to its range
/// or leaves aside is an error.
fn plan_scheduler(scheduler: &Scheduler, problems: &mut Vec<Problem>) -> SchedulerAttributes {
    let policy = scheduler.policy();
    let at = ConfigPath::new("process.scheduler");
    let mut refuse = |field, message: String| problems.push(Problem::new(at.field(field), message));
    let (nice, priority) = (scheduler.nice().unwrap_or(0), scheduler.priority().unwrap_or(0));
    let time = |time: &Option<u64>| time.unwrap_or(0);
    let (runtime, deadline, period) = (time(scheduler.runtime()), time(scheduler.deadline()), time(scheduler.period()));
    let is_realtime = matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
    if *policy == LinuxSchedulerPolicy::SchedIso {
        refuse("policy", "SCHED_ISO is a reserved name: no Linux has this policy".to_owned());
    }
    if !(-20..=19).contains(&nice) {
        refuse("nice", format!("must be from -20 to 19, not {nice}"));
    }
    match priority {
        1..=99 if is_realtime => {}
        _ if is_realtime => refuse("priority", format!("must be from 1 to 99 with {policy}, not {priority}")),
        0 => {}
        _ => refuse("priority", format!("is for SCHED_FIFO and SCHED_RR, not for {policy}")),
    }
    if *policy != LinuxSchedulerPolicy::SchedDeadline {
        for (field, _) in
            [("runtime", runtime), ("deadline", deadline), ("period", period)].iter().filter(|(_, time)| *time != 0)
        {
            refuse(field, format!("is for SCHED_DEADLINE, not for {policy}"));
        }
    } else if runtime < 1024 || runtime > deadline || (period != 0 && deadline > period) {
        // The kernel's resolution is 1024 ns, and no period is one of the deadline's length: sched(7), sched_setattr(2).
        refuse("runtime", "SCHED_DEADLINE needs 1024 <= runtime <= deadline <= period, in nanoseconds".to_owned());
    }
    SchedulerAttributes {
        size: size_of::<SchedulerAttributes>() as u32,
        policy: policy_number(*policy),
        flags: scheduler.flags().iter().flatten().fold(0, |flags, one| flags | flag_bit(one)),
        nice,
        priority: u32::try_from(priority).unwrap_or(0),
        runtime,
        deadline,
        period,
        ..SchedulerAttributes::default()
    }
}

/// See linux/sched.h.
fn policy_number(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

fn flag_bit(flag: &LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// Lists of processors; an empty one is none.
fn plan_affinity(affinity: &ExecCPUAffinity, problems: &mut Vec<Problem>) -> Option<Affinity> {
    let at = ConfigPath::new("process.execCPUAffinity");
    let mut mask = |list: &Option<String>, field| {
        let mask = Mask::parse(list.as_deref().unwrap_or_default(), MOST_PROCESSORS - 1);
        let mask = mask.map_err(|message| problems.push(Problem::new(at.field(field), message))).ok()?;
        (!mask.is_empty()).then_some(mask)
    };
    let affinity =
        Affinity { initial: mask(affinity.initial(), "initial"), last: mask(affinity.cpu_affinity_final(), "final") };
    (affinity != Affinity::default()).then_some(affinity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(process: &str) -> Result<Limits, Vec<String>> {
        let document =
            format!(r#"{{"ociVersion":"1.3.0","process":{{"cwd":"/","user":{{"uid":0,"gid":0}}{process}}}}}"#);
        let config = crate::config::parse(document.into_bytes()).expect("it parses");
        let mut problems = Vec::new();
        let limits = plan(config.spec.process().as_ref().expect("given"), None, &mut problems);
        if problems.is_empty() { Ok(limits) } else { Err(problems.into_iter().map(|problem| problem.at).collect()) }
    }

    fn scheduler(text: &str) -> Result<SchedulerAttributes, Vec<String>> {
        planned(&format!(r#","scheduler":{text}"#)).map(|limits| limits.scheduler.expect("given"))
    }

    #[test]
    fn every_policy_and_flag_of_the_specification_has_its_number() {
        for (text, policy, flags) in [
            (r#"{"policy":"SCHED_OTHER","nice":-20,"flags":["SCHED_FLAG_RESET_ON_FORK"]}"#, 0, 0x01),
            (r#"{"policy":"SCHED_FIFO","priority":1,"flags":["SCHED_FLAG_KEEP_POLICY"]}"#, 1, 0x08),
            (r#"{"policy":"SCHED_RR","priority":99,"flags":["SCHED_FLAG_KEEP_PARAMS"]}"#, 2, 0x10),
            (r#"{"policy":"SCHED_BATCH","nice":19,"flags":["SCHED_FLAG_UTIL_CLAMP_MIN"]}"#, 3, 0x20),
            (r#"{"policy":"SCHED_IDLE","flags":["SCHED_FLAG_UTIL_CLAMP_MAX"]}"#, 5, 0x40),
            (
                r#"{"policy":"SCHED_DEADLINE","runtime":1024,"deadline":2048,"period":4096,
                    "flags":["SCHED_FLAG_RECLAIM","SCHED_FLAG_DL_OVERRUN"]}"#,
                6,
                0x06,
            ),
        ] {
            let attributes = scheduler(text).expect(text);
            assert_eq!((attributes.policy, attributes.flags, attributes.size), (policy, flags, 56), "{text}");
        }
    }

    #[test]
    fn scheduler_values_out_of_range_or_of_another_policy_are_errors() {
        for (text, field) in [
            (r#"{"policy":"SCHED_ISO"}"#, "policy"),
            (r#"{"policy":"SCHED_OTHER","nice":20}"#, "nice"),
            (r#"{"policy":"SCHED_BATCH","nice":-21}"#, "nice"),
            (r#"{"policy":"SCHED_OTHER","priority":1}"#, "priority"),
            (r#"{"policy":"SCHED_FIFO"}"#, "priority"),
            (r#"{"policy":"SCHED_RR","priority":100}"#, "priority"),
            (r#"{"policy":"SCHED_RR","priority":-1}"#, "priority"),
            (r#"{"policy":"SCHED_IDLE","deadline":5}"#, "deadline"),
            (r#"{"policy":"SCHED_DEADLINE"}"#, "runtime"),
            (r#"{"policy":"SCHED_DEADLINE","runtime":3000,"deadline":2000}"#, "runtime"),
            (r#"{"policy":"SCHED_DEADLINE","runtime":2000,"deadline":3000,"period":2500}"#, "runtime"),
        ] {
            assert_eq!(scheduler(text), Err(vec![format!("process.scheduler.{field}")]), "{text}");
        }
    }

    #[test]
    fn the_affinity_is_two_lists_of_which_either_may_be_empty() {
        let affinity =
            |text: &str| planned(&format!(r#","execCPUAffinity":{text}"#)).map(|limits| limits.exec_affinity);
        let mask = |text| Mask::parse(text, 63).ok();
        assert_eq!(affinity("{}"), Ok(None));
        assert_eq!(affinity(r#"{"initial":"","final":""}"#), Ok(None));
        assert_eq!(affinity(r#"{"initial":"7"}"#), Ok(Some(Affinity { initial: mask("7"), last: None })));
        let both = Affinity { initial: mask("7"), last: mask("0-3,7") };
        assert_eq!(affinity(r#"{"initial":"7","final":"0-3,7"}"#), Ok(Some(both)));
        let wrong = affinity(r#"{"initial":"3-1","final":"8192"}"#);
        assert_eq!(wrong, Err(vec!["process.execCPUAffinity.initial".into(), "process.execCPUAffinity.final".into()]));
    }
}
