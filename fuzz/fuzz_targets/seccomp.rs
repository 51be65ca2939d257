//! Seccomp policies, compiled by minicon and by libseccomp: every call gets the same answer, but for the differences that
//! `tests/seccomp/oracle.rs` explains, of every policy that libseccomp can be asked about.
#![no_main]
#![allow(dead_code, unused_imports)]

mod choices;
#[path = "../../tests/seccomp/common.rs"]
mod common;
#[path = "../../tests/seccomp/interpreter.rs"]
mod interpreter;
#[path = "../../tests/seccomp/libseccomp.rs"]
mod libseccomp;
#[path = "../../tests/seccomp/model.rs"]
mod model;
#[path = "../../tests/seccomp/oracle.rs"]
mod oracle;
#[path = "../../tests/seccomp/policies.rs"]
mod policies;

use common::{
    ALLOW, AUDIT_AARCH64, AUDIT_ARM, AUDIT_I386, AUDIT_X86_64, ENOSYS, EPERM, ERRNO, KILL, KILL_PROCESS, LOG, NOTIFY,
    PROFILES, TRACE, TRAP, X32_BIT, filter, policy, profile, try_filter,
};
use minicon::plan::seccomp::Architecture;

/// Operators of the policies about equality.
const EQUALITY: &[&str] = &[policies::EQ];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut choices = choices::Choices(bytes);
    let (operators, most) = choices.of(&[(policies::OPERATORS, 3), (EQUALITY, 1)]);
    let entry = |choices: &mut choices::Choices<'_>| {
        let names: Vec<_> = (0..=choices.byte() % 3).map(|_| choices.of(policies::NAMES)).collect();
        let action = choices.of(policies::ACTIONS);
        let argument = |choices: &mut choices::Choices<'_>| {
            let (index, value, second) = (choices.byte() % 3, choices.of(VALUES), choices.of(VALUES));
            serde_json::json!({"index": index, "value": value, "valueTwo": second, "op": choices.of(operators)})
        };
        let args = choices.list(most, argument);
        serde_json::json!({"names": names, "action": action, "args": args})
    };
    let default = choices.of(policies::ACTIONS);
    let architectures = choices.list(3, |choices| choices.of(&["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"]));
    let entries = choices.list(8, entry);
    let document = serde_json::json!({"defaultAction": default, "architectures": architectures, "syscalls": entries});
    let policy = policy(document.clone());
    oracle::agree(&policy).unwrap_or_else(|error| match error {
        proptest::test_runner::TestCaseError::Reject(_) => {}
        failed => panic!("{document}\n{failed}"),
    });
});

const VALUES: &[u64] = &[0, 1, 2, 3, 0xffff_ffff, 1 << 32, (1 << 32) + 2, (1 << 63) + 1, u64::MAX];
