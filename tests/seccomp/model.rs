//! Filters for any policy against the plainest reading of it: of the rules that match a call, one decides.

use minicon::plan::seccomp::Architecture;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assume, proptest};

use crate::interpreter::{Call, run};
use crate::libseccomp::{number, scmp_arch};
use crate::policies::{OPERATORS, alternatives, any_policy, spread};
use crate::{
    ALLOW, AUDIT_AARCH64, AUDIT_ARM, AUDIT_I386, AUDIT_X86_64, ENOSYS, EPERM, KILL, KILL_PROCESS, LOG, TRACE, TRAP,
    X32_BIT, try_filter,
};

/// The answers that a policy allows for a call that one of its names is about.
pub fn answers(policy: &LinuxSeccomp, call: &Call) -> Vec<u32> {
    let default = answer(policy.default_action());
    let is_about =
        |entry: &&LinuxSyscall| entry.names().iter().any(|name| number(name, scmp_arch(call)) == Some(call.number));
    let entries = policy.syscalls().iter().flatten().filter(is_about);
    let entries: Vec<&LinuxSyscall> = entries.filter(|entry| answer(entry.action()) != default).collect();
    let is_wide = [AUDIT_X86_64, AUDIT_AARCH64].contains(&call.audit) && call.number & X32_BIT == 0;
    let width = if is_wide { u64::MAX } else { u64::from(u32::MAX) };

    let is_always = |argument: &LinuxSeccompArg| {
        argument.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && argument.value() & width == 0
    };
    let is_unconditional = |entry: &&&LinuxSyscall| {
        let rules = alternatives(entry);
        rules.is_empty() || rules.iter().any(|rule| rule.iter().all(is_always))
    };
    if let Some(first) = entries.iter().find(is_unconditional) {
        return vec![answer(first.action())];
    }
    let matches = |entry: &&&LinuxSyscall| {
        alternatives(entry).iter().any(|rule| rule.iter().all(|argument| holds(argument, call, width)))
    };
    let matching: Vec<u32> = entries.iter().filter(matches).map(|entry| answer(entry.action())).collect();
    if matching.is_empty() { vec![default] } else { matching }
}

fn holds(argument: &LinuxSeccompArg, call: &Call, width: u64) -> bool {
    let actual = call.arguments[argument.index()] & width;
    let value = argument.value() & width;
    match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => actual != value,
        LinuxSeccompOperator::ScmpCmpLt => actual < value,
        LinuxSeccompOperator::ScmpCmpLe => actual <= value,
        LinuxSeccompOperator::ScmpCmpEq => actual == value,
        LinuxSeccompOperator::ScmpCmpGe => actual >= value,
        LinuxSeccompOperator::ScmpCmpGt => actual > value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => actual & value == argument.value_two().unwrap_or_default() & value,
    }
}

fn answer(action: LinuxSeccompAction) -> u32 {
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => TRAP,
        LinuxSeccompAction::ScmpActErrno => EPERM,
        LinuxSeccompAction::ScmpActTrace => TRACE | 1,
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => ALLOW,
        LinuxSeccompAction::ScmpActNotify => unreachable!("the random policies have none"),
    }
}

fn holds_to_the_model(policy: &LinuxSeccomp) -> Result<(), TestCaseError> {
    let entries = policy.syscalls().as_deref().unwrap_or_default();
    let listed = |audit: u32, number: u32| {
        let name = match audit {
            AUDIT_I386 => "ScmpArchX86",
            AUDIT_ARM => "ScmpArchArm",
            AUDIT_X86_64 if number & X32_BIT != 0 => "ScmpArchX32",
            _ => return true,
        };
        policy.architectures().iter().flatten().any(|listed| format!("{listed:?}") == name)
    };
    for (native, audits) in [
        (Architecture::X86_64, [AUDIT_X86_64, AUDIT_X86_64, AUDIT_I386]),
        (Architecture::Aarch64, [AUDIT_AARCH64, AUDIT_AARCH64, AUDIT_ARM]),
    ] {
        let Ok(filter) = try_filter(policy, native) else { continue };
        for (at, audit) in audits.into_iter().enumerate() {
            for name in entries.iter().flat_map(LinuxSyscall::names) {
                // The second time around for x86_64 is about x32.
                let bit = if audit == AUDIT_X86_64 && at == 1 { X32_BIT } else { 0 };
                let probe = Call { number: bit, audit, arguments: [0; 6] };
                let Some(number) = number(name, scmp_arch(&probe)) else { continue };
                for arguments in spread(policy) {
                    let call = Call { number, audit, arguments };
                    let ours = run(&filter.program, &call).answer;
                    let expected = if listed(audit, number) { answers(policy, &call) } else { vec![KILL] };
                    // i386's multiplexers have rules of their own.
                    let is_multiplexer = audit == AUDIT_I386 && name == "socketcall";
                    prop_assert!(is_multiplexer || expected.contains(&ours), "{call:x?}: {ours:#x}, not {expected:x?}");
                    prop_assert!(ours != ENOSYS);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_of_the_matching_rules_decides(policy in any_policy(OPERATORS, 3)) {
        prop_assume!(policy.syscalls().iter().flatten().count() > 0);
        holds_to_the_model(&policy)?;
    }
}
