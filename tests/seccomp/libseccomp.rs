//! What runc would load for a policy: the program of libseccomp, made by the calls that runc makes, and the answers
//! of the stub that runc puts before it.

use std::io::{Read, Seek};

use ::libseccomp::error::SeccompError;
use ::libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use minicon::plan::seccomp::{Architecture, Instruction};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use crate::interpreter::{Call, run};
use crate::policies::alternatives;
use crate::{AUDIT_AARCH64, AUDIT_I386, AUDIT_X86_64, ENOSYS, X32_BIT};

/// What runc would load: libseccomp's program, and the stub that runc puts before it.
pub struct Oracle {
    /// libseccomp's part.
    pub program: Vec<Instruction>,
    newest: Vec<(ScmpArch, u32)>,
}

impl Oracle {
    /// Makes libseccomp compile a policy.
    pub fn new(policy: &LinuxSeccomp, native: Architecture) -> Result<Oracle, SeccompError> {
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
        // runc asks for libseccomp's binary tree only for more than 32 names. Here it is always on: without it
        // libseccomp 2.5.4 forgets to load the number if the rule that it puts first is for a call that the
        // architecture lacks, and then compares what is left in the accumulator.
        context.set_ctl_optimize(2)?;
        let entries = policy.syscalls().as_deref().unwrap_or_default();
        for entry in entries {
            let action = scmp_action(entry.action(), entry.errno_ret());
            if action != default {
                add(&mut context, entry, action)?;
            }
        }
        Ok(Oracle { program: export(&context)?, newest: newest(policy, &architectures) })
    }

    /// The answer to a call.
    pub fn answer(&self, call: &Call) -> u32 {
        let architecture = scmp_arch(call);
        let is_newer = self.newest.iter().any(|(known, number)| *known == architecture && call.number > *number);
        if is_newer { ENOSYS } else { run(&self.program, call).answer }
    }
}

/// The architecture that a call is made on.
pub fn scmp_arch(call: &Call) -> ScmpArch {
    match call.audit {
        AUDIT_X86_64 if call.number & X32_BIT != 0 => ScmpArch::X32,
        AUDIT_X86_64 => ScmpArch::X8664,
        AUDIT_I386 => ScmpArch::X86,
        AUDIT_AARCH64 => ScmpArch::Aarch64,
        _ => ScmpArch::Arm,
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
fn add(context: &mut ScmpFilterContext, entry: &LinuxSyscall, action: ScmpAction) -> Result<(), SeccompError> {
    let rules = alternatives(entry);
    for name in entry.names() {
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        if rules.is_empty() {
            context.add_rule(action, call)?;
        }
        for rule in &rules {
            let comparators: Vec<ScmpArgCompare> = rule.iter().map(comparator).collect();
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

fn export(context: &ScmpFilterContext) -> Result<Vec<Instruction>, SeccompError> {
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
pub fn number(name: &str, architecture: ScmpArch) -> Option<u32> {
    let number = ScmpSyscall::from_name_by_arch(name, architecture).ok()?.as_raw_syscall();
    u32::try_from(number).ok()
}
