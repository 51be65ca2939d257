//! `linux.seccomp` to a BPF program (config-linux.md, section Seccomp; seccomp(2)).
//!
//! A policy gives names of system calls actions, perhaps depending on the arguments. This file checks it, and leaves
//! the rest to others:
//!
//! - `names` knows the actions, operators, flags and architectures;
//! - `architectures` knows the numbers;
//! - `sections` says what happens to every number;
//! - `precedence` decides between several rules for one system call;
//! - `compile` builds the program.
//!
//! The behaviour is that of libseccomp as runc uses it, which `tests/seccomp.rs` holds against it, number by number.

mod architectures;
mod compile;
pub mod names;
mod precedence;
mod sections;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};

pub use architectures::Architecture;
use architectures::Numbers;

use super::ConfigPath;
use crate::error::Problem;

/// One BPF instruction, laid out as the kernel's struct sock_filter (linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do (`BPF_LD | BPF_W | BPF_ABS`, …).
    pub code: u16,
    /// How many instructions to skip if a comparison holds.
    pub jt: u8,
    /// How many instructions to skip if it does not.
    pub jf: u8,
    /// The operand: a constant, an offset in `struct seccomp_data`, a distance.
    pub k: u32,
}

/// A compiled filter with all that loading it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// At most `BPF_MAXINSNS` instructions.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`; `NEW_LISTENER` is among them if and only if `notify` is set.
    pub flags: u32,
    /// Whether a rule asks an agent: loading then gives a listener, to be sent to `listener_path`.
    pub notify: bool,
    /// The agent's socket; present if and only if `notify` is set.
    pub listener_path: Option<PathBuf>,
    /// What the agent is told beside the container's state.
    pub listener_metadata: Option<String>,
    /// It lets madvise(2) pass, whatever its arguments.
    pub allows_madvise: bool,
}

/// The kernel takes no longer programs (`BPF_MAXINSNS` in linux/bpf_common.h).
const MAX_INSTRUCTIONS: usize = 4096;

/// The arguments of a system call (`seccomp_data.args` in linux/seccomp.h).
const ARGUMENTS: usize = 6;

/// `SECCOMP_RET_*` in linux/seccomp.h.
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0x0000_0000;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// The low 16 bits carry the errno, or the message for the tracer.
const RET_DATA: u32 = 0x0000_ffff;

/// What a call gets from an architecture that the policy does not name: libseccomp's default, which runc keeps.
const UNKNOWN_ARCHITECTURE: u32 = RET_KILL_THREAD;

/// A rule of the policy: what happens to a call whose arguments meet all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    action: u32,
    /// At most one an argument, ordered by argument.
    conditions: Vec<Condition>,
    /// The entry of `linux.seccomp.syscalls` that it comes from.
    entry: usize,
}

/// A comparison of an argument, unsigned. `mask` is all ones except for `MaskedEqual`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Condition {
    argument: u8,
    operator: Operator,
    value: u64,
    mask: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

/// A named system call and the rules for it: some of `Policy::rules`.
struct Call {
    numbers: &'static Numbers,
    multiplexed: Option<(u32, u64)>,
    rules: std::ops::Range<usize>,
}

/// A policy that was checked, before it is looked at for one architecture.
struct Policy {
    default: u32,
    rules: Vec<Rule>,
    calls: Vec<Call>,
}

/// What annotations ask for beside the policy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// The agent's socket, where the policy names none.
    pub receiver: Option<&'a Path>,
    /// A name that nobody knows is an error.
    pub fail_unknown_syscall: bool,
}

/// Compiles a policy for a kernel of the `native` architecture. Every problem is pushed with its place, and then
/// there is no filter.
pub fn compile(
    policy: &LinuxSeccomp,
    extra: Extra<'_>,
    native: Architecture,
    problems: &mut Vec<Problem>,
) -> Option<Filter> {
    let known = problems.len();
    let entries = policy.syscalls().as_deref().unwrap_or_default();
    let notify = entries.iter().any(|entry| entry.action() == LinuxSeccompAction::ScmpActNotify);
    check_notify(policy, extra, notify, problems);
    if extra.fail_unknown_syscall {
        check_names(entries, problems);
    }
    check_architectures(policy.architectures().as_deref().unwrap_or_default(), problems);
    let checked = Policy::new(policy, entries, problems);
    if problems.len() > known {
        return None;
    }
    let sections = sections::all(&checked, policy.architectures().as_deref().unwrap_or_default(), native, problems);
    if problems.len() > known {
        return None;
    }
    let program = compile::program(&sections, checked.default, UNKNOWN_ARCHITECTURE);
    if program.len() > MAX_INSTRUCTIONS {
        let length = program.len();
        let message = format!("the filter needs {length} instructions; the kernel takes at most {MAX_INSTRUCTIONS}");
        problems.push(Problem::new(SYSCALLS, message));
        return None;
    }
    Some(Filter {
        program,
        flags: flags(policy.flags().as_deref(), notify),
        notify,
        listener_path: listener_path(policy, extra).filter(|_| notify).map(Path::to_owned),
        listener_metadata: policy.listener_metadata().clone().filter(|_| notify),
        allows_madvise: allows(policy.default_action(), entries, "madvise"),
    })
}

/// Whether a system call passes for certain: no rule that names it does anything else, or looks at its arguments.
fn allows(default: LinuxSeccompAction, entries: &[LinuxSyscall], name: &str) -> bool {
    let passes = |action| matches!(action, LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog);
    let mut naming = entries.iter().filter(|entry| entry.names().iter().any(|named| named == name)).peekable();
    match naming.peek() {
        None => passes(default),
        Some(_) => naming.all(|entry| passes(entry.action()) && entry.args().as_deref().is_none_or(<[_]>::is_empty)),
    }
}

const SECCOMP: &str = "linux.seccomp";
const SYSCALLS: ConfigPath = ConfigPath::new("linux.seccomp.syscalls");

fn listener_path<'a>(policy: &'a LinuxSeccomp, extra: Extra<'a>) -> Option<&'a Path> {
    policy.listener_path().as_deref().filter(|path| !path.as_os_str().is_empty()).or(extra.receiver)
}

fn check_names(entries: &[LinuxSyscall], problems: &mut Vec<Problem>) {
    for (index, entry) in entries.iter().enumerate() {
        for (at, name) in entry.names().iter().enumerate().filter(|(_, name)| architectures::find(name).is_none()) {
            let place = SYSCALLS.index(index).field("names").index(at);
            problems.push(Problem::new(place, format!("unknown system call {name:?}")));
        }
    }
}

fn check_notify(policy: &LinuxSeccomp, extra: Extra<'_>, notify: bool, problems: &mut Vec<Problem>) {
    let mut problem = |field, message| problems.push(Problem::new(ConfigPath::new(SECCOMP).field(field), message));
    let no_path = listener_path(policy, extra).is_none();
    let no_metadata = policy.listener_metadata().as_ref().is_none_or(String::is_empty);
    if policy.default_action() == LinuxSeccompAction::ScmpActNotify {
        problem(
            "defaultAction",
            "SCMP_ACT_NOTIFY cannot be the default action: the runtime's own calls would wait too",
        );
    }
    if notify && no_path {
        problem("listenerPath", "must be set, because a rule has the action SCMP_ACT_NOTIFY");
    }
    if no_path && !no_metadata {
        problem("listenerMetadata", "must not be set without listenerPath");
    }
}

/// The document's type knows one name more than the specification.
fn check_architectures(listed: &[Arch], problems: &mut Vec<Problem>) {
    for (index, _) in listed.iter().enumerate().filter(|(_, listed)| !names::ARCHITECTURES.contains(listed)) {
        let at = ConfigPath::new(SECCOMP).field("architectures").index(index);
        problems.push(Problem::new(at, "is no architecture of the specification"));
    }
}

impl Policy {
    fn new(policy: &LinuxSeccomp, entries: &[LinuxSyscall], problems: &mut Vec<Problem>) -> Policy {
        let place = ConfigPath::new(SECCOMP).field("defaultErrnoRet");
        let default = action(policy.default_action(), policy.default_errno_ret(), place, problems);
        let mut checked = Policy { default, rules: Vec::new(), calls: Vec::with_capacity(512) };
        for (index, entry) in entries.iter().enumerate() {
            checked.add(index, entry, problems);
        }
        checked
    }

    fn add(&mut self, index: usize, entry: &LinuxSyscall, problems: &mut Vec<Problem>) {
        let place = SYSCALLS.index(index);
        let action = action(entry.action(), entry.errno_ret(), place.field("errnoRet"), problems);
        let conditions = conditions(entry.args().as_deref().unwrap_or_default(), place, problems);
        let first = self.rules.len();
        // A rule that does what happens anyway is left out, even before others that it would decide against;
        // its names still count among those that the policy knows.
        if action != self.default {
            self.rules.extend(alternatives(conditions).map(|conditions| Rule { action, conditions, entry: index }));
        }
        if entry.names().is_empty() {
            problems.push(Problem::new(place.field("names"), "must name at least one system call"));
        }
        for (at, name) in entry.names().iter().enumerate() {
            if ["write", "sendmsg"].contains(&name.as_str()) && entry.action() == LinuxSeccompAction::ScmpActNotify {
                let message = format!(
                    "SCMP_ACT_NOTIFY cannot be used for the {name} syscall: the runtime needs it before an agent can answer"
                );
                problems.push(Problem::new(place.field("names").index(at), message));
            }
            // A name that is unknown is newer than this program, or of another architecture.
            if let Some(numbers) = architectures::find(name) {
                let multiplexed = architectures::multiplexed(name);
                self.calls.push(Call { numbers, multiplexed, rules: first..self.rules.len() });
            }
        }
    }
}

/// The filter's return value for an action. "When the action doesn't support an errno, the runtime MUST print and error
/// and fail" (config-linux.md, Seccomp).
fn action(action: LinuxSeccompAction, errno: Option<u32>, place: ConfigPath, problems: &mut Vec<Problem>) -> u32 {
    let names::Return { value, takes_errno } = names::return_of(action);
    if !takes_errno {
        if errno.is_some() {
            problems
                .push(Problem::new(place, format!("{action} returns no errno: SCMP_ACT_ERRNO and SCMP_ACT_TRACE do")));
        }
        return value;
    }
    let data = errno.unwrap_or(libc::EPERM as u32);
    if data > RET_DATA {
        problems.push(Problem::new(place, format!("{data} does not fit into the filter's 16 bits")));
    }
    value | (data & RET_DATA)
}

fn conditions(arguments: &[LinuxSeccompArg], place: ConfigPath, problems: &mut Vec<Problem>) -> Vec<Condition> {
    let mut conditions = Vec::with_capacity(arguments.len());
    for (at, argument) in arguments.iter().enumerate() {
        if argument.index() >= ARGUMENTS {
            let message = format!("{} is not the index of an argument: those are 0 to 5", argument.index());
            problems.push(Problem::new(place.field("args").index(at), message));
            continue;
        }
        conditions.push(Condition::new(argument));
    }
    conditions
}

/// All conditions must hold, unless two are about the same argument: then each is a rule of its own, as in runc,
/// because such policies were written before conditions could be combined.
fn alternatives(mut conditions: Vec<Condition>) -> impl Iterator<Item = Vec<Condition>> {
    let mut seen = [false; ARGUMENTS];
    let twice = conditions.iter().any(|condition| std::mem::replace(&mut seen[usize::from(condition.argument)], true));
    let (combined, single) = match twice {
        true => (None, conditions),
        false => {
            conditions.sort_by_key(|condition| condition.argument);
            (Some(conditions), Vec::new())
        }
    };
    combined.into_iter().chain(single.into_iter().map(|condition| vec![condition]))
}

impl Condition {
    fn new(argument: &LinuxSeccompArg) -> Condition {
        let operator = names::comparison(argument.op());
        let (value, mask) = match operator {
            // Here `value` is the mask, and `valueTwo` what must be left of the argument.
            Operator::MaskedEqual => (argument.value_two().unwrap_or_default(), argument.value()),
            _ => (argument.value(), u64::MAX),
        };
        Condition { argument: argument.index() as u8, operator, value, mask }
    }

    const fn with(self, operator: Operator) -> Condition {
        Condition { operator, ..self }
    }
}

/// The flags of seccomp(2). None given means SPEC_ALLOW, as in runc: without it older kernels slow every process
/// under a filter down (Speculative Store Bypass), and a filter is no isolation of threads from each other.
fn flags(listed: Option<&[LinuxSeccompFilterFlag]>, notify: bool) -> u32 {
    const SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
    const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    const TSYNC_ESRCH: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH as u32;

    let Some(listed) = listed else {
        return if notify { SPEC_ALLOW | NEW_LISTENER } else { SPEC_ALLOW };
    };
    let flag = |flag: &LinuxSeccompFilterFlag| match flag {
        // Beside NEW_LISTENER the kernel takes TSYNC only in the variant that tells failure by errno.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync if notify => names::flag_bit(*flag) | TSYNC_ESRCH,
        // It is about the listener, and the kernel refuses it without one.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if !notify => 0,
        _ => names::flag_bit(*flag),
    };
    let listener = if notify { NEW_LISTENER } else { 0 };
    listed.iter().map(flag).fold(listener, |flags, flag| flags | flag)
}
