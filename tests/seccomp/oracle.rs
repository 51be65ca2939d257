//! minicon's filters against those of libseccomp, asked for every number, on every architecture, with arguments
//! around every value that a policy compares.
//!
//! What differs on purpose is a row of `DIFFERENCES`; anything else fails.

use std::collections::BTreeSet;

use ::libseccomp::{ScmpArch, ScmpSyscall};
use minicon::plan::seccomp::Architecture;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSyscall};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assume, proptest};
use serde_json::{Value, json};

use crate::interpreter::{Call, run};
use crate::libseccomp::{Oracle, number, scmp_arch};
use crate::model::answers as answers_of;
use crate::policies::{EQ, NE, OPERATORS, any_policy, is_within_libseccomp, numbers, spread};
use crate::{
    AUDIT_AARCH64, AUDIT_ARM, AUDIT_I386, AUDIT_X86_64, ENOSYS, PROFILES, X32_BIT, filter, policy, profile, try_filter,
};

/// A reason why minicon may answer otherwise than runc.
struct Difference {
    reason: &'static str,
    applies: fn(&LinuxSeccomp, &Call, u32, u32) -> bool,
    example: fn() -> Value,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "x86_64 numbers with bit 31 and without bit 30 belong to no ABI; runc takes them for x86_64 calls that \
                 are newer than the policy, minicon for x32 ones, as libseccomp does",
        applies: |_, call, _, _| call.audit == AUDIT_X86_64 && call.number >> 30 == 2,
        example: || refuse_others(&["read", "openat2"]),
    },
    Difference {
        reason: "32-bit ARM's own calls, such as set_tls, have numbers far above the others; in runc they make every \
                 number below look known, so that new calls get the default instead of ENOSYS",
        applies: |policy, call, ours, theirs| {
            call.audit == AUDIT_ARM
                && (ours == ENOSYS || theirs == ENOSYS)
                && names_any(policy, &["cacheflush", "set_tls", "breakpoint"])
        },
        example: || refuse_others(&["openat2", "set_tls"]),
    },
    Difference {
        reason: "in runc the names that i386 has behind socketcall or ipc too do not count as known, which shows if a \
                 policy names nothing newer",
        applies: |policy, call, ours, theirs| {
            let names = ["socket", "accept4", "shmat"];
            call.audit == AUDIT_I386 && (ours == ENOSYS || theirs == ENOSYS) && names_any(policy, &names)
        },
        example: || refuse_others(&["socket"]),
    },
    Difference {
        reason: "runc takes number 0, read on x86_64, for none, so that a policy that names nothing else knows no call",
        applies: |policy, call, ours, _| {
            let entries = policy.syscalls().iter().flatten();
            let mut numbers = entries.flat_map(LinuxSyscall::names).filter_map(|name| number(name, scmp_arch(call)));
            ours == ENOSYS && numbers.all(|number| number & !X32_BIT == 0)
        },
        example: || refuse_others(&["read"]),
    },
];

fn refuse_others(names: &[&str]) -> Value {
    let rule = json!({ "names": names, "action": "SCMP_ACT_ALLOW" });
    json!({ "defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_ARM"], "syscalls": [rule] })
}

fn names_any(policy: &LinuxSeccomp, names: &[&str]) -> bool {
    let entries = policy.syscalls().as_deref().unwrap_or_default();
    entries.iter().flat_map(LinuxSyscall::names).any(|name| names.contains(&name.as_str()))
}

/// Compares all answers; returns what no row of `DIFFERENCES` explains.
fn compare(policy: &LinuxSeccomp, native: Architecture) -> Vec<String> {
    let unexplained = differences(policy, native)
        .into_iter()
        .filter(|(call, ours, theirs)| !DIFFERENCES.iter().any(|row| (row.applies)(policy, call, *ours, *theirs)));
    unexplained.map(|(call, ours, theirs)| format!("{call:x?}: ours {ours:#x}, theirs {theirs:#x}")).collect()
}

/// The calls that are answered otherwise, with both answers.
fn differences(policy: &LinuxSeccomp, native: Architecture) -> Vec<(Call, u32, u32)> {
    let oracle = Oracle::new(policy, native).expect("a filter of libseccomp");
    let program = filter(policy, native).program;
    let spread = spread(policy);
    let mut differences = Vec::new();
    for &audit in audits(native) {
        for number in numbers() {
            let plain = Call { number, audit, arguments: [0; 6] };
            let depends = [&program, &oracle.program].iter().any(|program| run(program, &plain).looked_at_arguments);
            for &arguments in if depends { &spread[..] } else { &spread[..1] } {
                let call = Call { arguments, ..plain };
                let (ours, theirs) = (run(&program, &call).answer, oracle.answer(&call));
                if ours != theirs {
                    differences.push((call, ours, theirs));
                }
            }
        }
    }
    differences
}

fn audits(native: Architecture) -> &'static [u32] {
    match native {
        Architecture::Aarch64 => &[AUDIT_AARCH64, AUDIT_ARM],
        _ => &[AUDIT_X86_64, AUDIT_I386],
    }
}

#[test]
fn every_difference_is_still_there() {
    for row in DIFFERENCES {
        let policy = policy((row.example)());
        let natives = [Architecture::X86_64, Architecture::Aarch64];
        let mut found = natives.into_iter().flat_map(|native| differences(&policy, native));
        let is_there = found.any(|(call, ours, theirs)| (row.applies)(&policy, &call, ours, theirs));
        assert!(is_there, "no longer differs: {}", row.reason);
    }
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
        let rule = json!({ "names": [name], "action": "SCMP_ACT_TRAP" });
        let listed = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"];
        let all = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": listed, "syscalls": [rule] });
        for native in [Architecture::X86_64, Architecture::Aarch64] {
            let differences = compare(&policy(all.clone()), native);
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
}

/// Both compile a policy to the same answers, unless libseccomp refuses it: it sees contradictions also between
/// rules of which minicon lets the more special one decide if that comes first.
pub fn agree(policy: &LinuxSeccomp) -> Result<(), TestCaseError> {
    prop_assume!(is_within_libseccomp(policy));
    for native in [Architecture::X86_64, Architecture::Aarch64] {
        let refused = Oracle::new(policy, native).is_err();
        let ours = try_filter(policy, native);
        if !refused {
            prop_assert!(ours.is_ok(), "{ours:?}");
            let unexplained = compare(policy, native);
            prop_assert!(unexplained.is_empty(), "{:#?}", &unexplained[..unexplained.len().min(10)]);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_policies_agree(policy in any_policy(OPERATORS, 3)) {
        agree(&policy)?;
    }

    #[test]
    fn random_policies_about_equality_agree(policy in any_policy(&[EQ], 1)) {
        agree(&policy)?;
    }
}

/// Two rules that may both match: which decides? libseccomp's answer counts unless no rule that matches gives it.
#[test]
fn pairs_of_rules_are_tried_in_the_same_order() {
    let conditions = conditions();
    let mut compared = 0;
    for (first, second) in conditions.iter().flat_map(|first| conditions.iter().map(move |second| (first, second))) {
        let policy = policy(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_TRAP", "args": [first] },
            { "names": ["read"], "action": "SCMP_ACT_LOG", "args": [second] },
        ] }));
        let Ok(oracle) = Oracle::new(&policy, Architecture::X86_64) else { continue };
        let program = filter(&policy, Architecture::X86_64).program;
        let calls = spread(&policy).into_iter().map(|arguments| Call { number: 0, audit: AUDIT_X86_64, arguments });
        let answers = calls.map(|call| (call, run(&program, &call).answer, oracle.answer(&call)));
        let differing = answers.into_iter().find(|(_, ours, theirs)| ours != theirs);
        compared += 1;
        if let Some((call, ours, theirs)) = differing {
            let is_wrong = !answers_of(&policy, &call).contains(&theirs);
            // Of two ≠ on one argument libseccomp tries the greater value first, but the first in the policy if
            // the high word decides.
            let is_unequal = [first, second].iter().all(|condition| condition["op"] == NE);
            assert!(is_wrong || is_unequal, "{first} {second}: {call:x?}: ours {ours:#x}, theirs {theirs:#x}");
        }
    }
    assert!(compared > 2500, "{compared}");
}

fn conditions() -> Vec<Value> {
    let mut conditions = Vec::new();
    for operator in OPERATORS {
        for value in [0, 5, 0x1_0000_0005, u64::MAX] {
            for index in 0..2 {
                conditions.push(json!({ "index": index, "value": value, "valueTwo": 5, "op": operator }));
            }
        }
    }
    conditions
}
