//! minicon's filters against those of libseccomp, built by the calls that runc makes, and asked for every number,
//! on every architecture, with arguments around every value that a policy compares.
//!
//! What differs on purpose is a row of `DIFFERENCES`; anything else fails.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use minicon::plan::seccomp::{Architecture, Instruction};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use crate::interpreter::{Call, run};
use crate::{
    AUDIT_AARCH64, AUDIT_ARM, AUDIT_I386, AUDIT_X86_64, ERRNO, KILL, PROFILES, X32_BIT, filter, profile, try_filter,
};

const ENOSYS: u32 = ERRNO | 38;

/// What runc would load: libseccomp's program, and the stub that runc puts before it.
struct Oracle {
    program: Vec<Instruction>,
    newest: Vec<(ScmpArch, u32)>,
}

impl Oracle {
    fn new(policy: &LinuxSeccomp, native: Architecture) -> Result<Oracle, libseccomp::error::SeccompError> {
        let default = scmp_action(policy.default_action(), policy.default_errno_ret());
        let mut context = ScmpFilterContext::new(default)?;
        if native == Architecture::Aarch64 {
            context.add_arch(ScmpArch::Aarch64)?;
            context.remove_arch(ScmpArch::native())?;
        }
        let architectures = architectures(policy, native);
        for architecture in &architectures {
            context.add_arch(*architecture)?;
        }
        let entries = policy.syscalls().as_deref().unwrap_or_default();
        if entries.iter().map(|entry| entry.names().len()).sum::<usize>() > 32 {
            context.set_ctl_optimize(2)?;
        }
        for entry in entries {
            let action = scmp_action(entry.action(), entry.errno_ret());
            if action != default {
                add(&mut context, entry, action)?;
            }
        }
        Ok(Oracle { program: export(&context)?, newest: newest(policy, &architectures) })
    }

    fn answer(&self, call: &Call) -> u32 {
        let architecture = match call.audit {
            AUDIT_X86_64 if call.number & X32_BIT != 0 => ScmpArch::X32,
            AUDIT_X86_64 => ScmpArch::X8664,
            AUDIT_I386 => ScmpArch::X86,
            AUDIT_AARCH64 => ScmpArch::Aarch64,
            _ => ScmpArch::Arm,
        };
        let is_newer = self.newest.iter().any(|(known, number)| *known == architecture && call.number > *number);
        if is_newer { ENOSYS } else { run(&self.program, call).answer }
    }
}

/// libcontainer/seccomp/seccomp_linux.go: getAction.
fn scmp_action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.unwrap_or(1) as u16;
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno.into()),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

/// The same file: matchCall.
fn add(
    context: &mut ScmpFilterContext,
    entry: &LinuxSyscall,
    action: ScmpAction,
) -> Result<(), libseccomp::error::SeccompError> {
    let arguments = entry.args().as_deref().unwrap_or_default();
    let indexes: BTreeSet<usize> = arguments.iter().map(LinuxSeccompArg::index).collect();
    let comparators: Vec<ScmpArgCompare> = arguments.iter().map(comparator).collect();
    for name in entry.names() {
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        if comparators.is_empty() {
            context.add_rule(action, call)?;
        } else if indexes.len() < comparators.len() {
            for comparator in &comparators {
                context.add_rule_conditional(action, call, &[*comparator])?;
            }
        } else {
            context.add_rule_conditional(action, call, &comparators)?;
        }
    }
    Ok(())
}

fn comparator(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, argument.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, argument.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, argument.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(argument.value()), argument.value_two().unwrap_or_default())
        }
    };
    ScmpArgCompare::new(argument.index() as u32, operator, value)
}

fn export(context: &ScmpFilterContext) -> Result<Vec<Instruction>, libseccomp::error::SeccompError> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    context.export_bpf(&mut file)?;
    let mut bytes = Vec::new();
    file.rewind().expect("to rewind");
    file.read_to_end(&mut bytes).expect("to read");
    let instruction = |bytes: &[u8; 8]| Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    Ok(bytes.as_chunks::<8>().0.iter().map(instruction).collect())
}

/// The listed architectures that the kernel of `native` can run, and `native` itself.
fn architectures(policy: &LinuxSeccomp, native: Architecture) -> Vec<ScmpArch> {
    let listed = policy.architectures().as_deref().unwrap_or_default();
    let family: &[(Arch, ScmpArch)] = match native {
        Architecture::Aarch64 => &[(Arch::ScmpArchAarch64, ScmpArch::Aarch64), (Arch::ScmpArchArm, ScmpArch::Arm)],
        _ => &[
            (Arch::ScmpArchX86_64, ScmpArch::X8664),
            (Arch::ScmpArchX86, ScmpArch::X86),
            (Arch::ScmpArchX32, ScmpArch::X32),
        ],
    };
    let is_covered = |(at, (arch, _)): &(usize, &(Arch, ScmpArch))| *at == 0 || listed.contains(arch);
    family.iter().enumerate().filter(is_covered).map(|(_, (_, architecture))| *architecture).collect()
}

/// libcontainer/seccomp/patchbpf/enosys_linux.go: findLastSyscalls.
fn newest(policy: &LinuxSeccomp, architectures: &[ScmpArch]) -> Vec<(ScmpArch, u32)> {
    let permissive =
        [LinuxSeccompAction::ScmpActAllow, LinuxSeccompAction::ScmpActLog, LinuxSeccompAction::ScmpActTrace];
    if permissive.contains(&policy.default_action()) {
        return Vec::new();
    }
    let entries = policy.syscalls().as_deref().unwrap_or_default();
    let on = |architecture: ScmpArch| {
        let names = entries.iter().flat_map(LinuxSyscall::names);
        let numbers = names.filter_map(|name| number(name, architecture));
        numbers.max().filter(|number| *number != 0).map(|number| (architecture, number))
    };
    architectures.iter().filter_map(|architecture| on(*architecture)).collect()
}

/// The number of a name; nothing for those that libseccomp gives a negative one, because they do not exist.
fn number(name: &str, architecture: ScmpArch) -> Option<u32> {
    let number = ScmpSyscall::from_name_by_arch(name, architecture).ok()?.as_raw_syscall();
    u32::try_from(number).ok()
}

/// A reason why minicon may answer otherwise than runc.
struct Difference {
    reason: &'static str,
    applies: fn(&LinuxSeccomp, &Call, u32, u32) -> bool,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "without x32 its numbers are those of an unknown architecture; of those with bit 31 and without \
                 bit 30 runc says that they are newer than the policy, minicon kills all of them alike",
        applies: |policy, call, ours, theirs| {
            let has_x32 = policy.architectures().iter().flatten().any(|listed| *listed == Arch::ScmpArchX32);
            !has_x32 && call.audit == AUDIT_X86_64 && call.number >> 30 == 2 && (ours, theirs) == (KILL, ENOSYS)
        },
    },
    Difference {
        reason: "32-bit ARM's own calls, such as set_tls, have numbers far above the others; in runc they make every \
                 number below look known, so that new calls get the default instead of ENOSYS",
        applies: |policy, call, ours, _| {
            call.audit == AUDIT_ARM && ours == ENOSYS && names_any(policy, &["cacheflush", "set_tls", "breakpoint"])
        },
    },
    Difference {
        reason: "libseccomp 2.5.4 forgets to load the number on i386 if the rule that it puts first is for a call \
                 that i386 has only behind socketcall or ipc; the whole section is then void",
        applies: |policy, call, _, _| {
            call.audit == AUDIT_I386 && names_any(policy, &["accept", "send", "recv", "semop", "semtimedop"])
        },
    },
];

fn names_any(policy: &LinuxSeccomp, names: &[&str]) -> bool {
    let entries = policy.syscalls().as_deref().unwrap_or_default();
    entries.iter().flat_map(LinuxSyscall::names).any(|name| names.contains(&name.as_str()))
}

/// Compares all answers; returns what no row of `DIFFERENCES` explains.
fn compare(policy: &LinuxSeccomp, native: Architecture) -> Vec<String> {
    let oracle = Oracle::new(policy, native).expect("a filter of libseccomp");
    let filter = filter(policy, native);
    let audits: &[u32] = match native {
        Architecture::Aarch64 => &[AUDIT_AARCH64, AUDIT_ARM],
        _ => &[AUDIT_X86_64, AUDIT_I386],
    };
    let spread = spread(policy);
    let mut unexplained = Vec::new();
    for &audit in audits {
        for number in numbers() {
            let plain = Call { number, audit, arguments: [0; 6] };
            let depends =
                run(&filter.program, &plain).looked_at_arguments || run(&oracle.program, &plain).looked_at_arguments;
            for &arguments in if depends { &spread[..] } else { &spread[..1] } {
                let call = Call { arguments, ..plain };
                let ours = run(&filter.program, &call).answer;
                let theirs = oracle.answer(&call);
                if ours != theirs && !DIFFERENCES.iter().any(|row| (row.applies)(policy, &call, ours, theirs)) {
                    unexplained.push(format!("{call:x?}: ours {ours:#x}, theirs {theirs:#x}"));
                }
            }
        }
    }
    unexplained
}

fn numbers() -> impl Iterator<Item = u32> {
    let huge = [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, 0xffff_fffe, 0xffff_ffff];
    (0..600).chain(X32_BIT..X32_BIT + 600).chain(0x000f_0000..0x000f_0008).chain(huge)
}

/// Sets of arguments: the first all zero, then values around each that the policy compares, together and alone.
fn spread(policy: &LinuxSeccomp) -> Vec<[u64; 6]> {
    let entries = policy.syscalls().as_deref().unwrap_or_default();
    let mut values: [BTreeSet<u64>; 6] = Default::default();
    for argument in entries.iter().flat_map(|entry| entry.args().iter().flatten()) {
        for value in [argument.value(), argument.value_two().unwrap_or_default()] {
            let low = value & 0xffff_ffff;
            let near = [value.wrapping_sub(1), value, value.wrapping_add(1), value ^ (1 << 63), low, !value];
            values[argument.index()].extend(near);
            values[argument.index()].insert(value.wrapping_add(1 << 32));
        }
    }
    // The calls that i386 multiplexes are told by the first argument.
    values[0].extend(0..26);
    let mut spread = vec![[0; 6]];
    for (index, values) in values.iter().enumerate() {
        for &value in values {
            let mut alone = [0; 6];
            alone[index] = value;
            spread.push(alone);
        }
    }
    // Combinations: by a fixed sequence that is random enough (Knuth's MMIX generator).
    let mut random = 1_u64;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for _ in 0..400 {
        spread.push(std::array::from_fn(|index| {
            let chosen = draw(values[index].len() + 1);
            values[index].iter().nth(chosen).copied().unwrap_or_default()
        }));
    }
    spread
}

/// Every name that libseccomp knows on some architecture.
fn names() -> BTreeSet<String> {
    let families = [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32, ScmpArch::Aarch64, ScmpArch::Arm];
    let numbers = (0..1000).chain(0x000f_0000..0x000f_0010);
    let on = |number: i32| {
        let call = ScmpSyscall::from_raw_syscall(number);
        families.iter().filter_map(move |architecture| call.get_name_by_arch(*architecture).ok())
    };
    numbers.flat_map(on).collect()
}

#[test]
fn every_name_gets_the_same_numbers() {
    let mut unexplained = Vec::new();
    let names = names();
    assert!(names.len() > 450, "{}", names.len());
    for name in names {
        let rule = serde_json::json!({ "names": [name], "action": "SCMP_ACT_TRAP" });
        let listed = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"];
        let all = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": listed, "syscalls": [rule] });
        for native in [Architecture::X86_64, Architecture::Aarch64] {
            let differences = compare(&crate::policy(all.clone()), native);
            unexplained.extend(differences.into_iter().map(|difference| format!("{name}: {difference}")));
        }
    }
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

#[test]
fn profiles_of_engines_get_the_same_answers() {
    for (name, _) in PROFILES {
        for native in [Architecture::X86_64, Architecture::Aarch64] {
            let mut policy = profile(name);
            for listed in [None, Some(vec![]), Some(vec![Arch::ScmpArchX86, Arch::ScmpArchArm])] {
                if let Some(listed) = listed {
                    policy.set_architectures(Some(listed));
                }
                let unexplained = compare(&policy, native);
                assert!(unexplained.is_empty(), "{name}, {native:?}: {unexplained:#?}");
            }
        }
    }
    let _ = try_filter;
}
