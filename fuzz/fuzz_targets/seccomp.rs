//! Seccomp policies, compiled by minicon and by libseccomp: every call gets the same answer, but for the differences that
//! `tests/seccomp/oracle.rs` explains, of every policy that libseccomp can be asked about.
#![no_main]
#![allow(dead_code, unused_imports)]

mod choices;
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

use minicon::error::Problem;
use minicon::plan::seccomp::{Architecture, Extra, Filter, compile};
use oci_spec::runtime::LinuxSeccomp;

/// `SECCOMP_RET_*`.
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// `AUDIT_ARCH_*`.
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_I386: u32 = 0x4000_0003;
const AUDIT_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARM: u32 = 0x4000_0028;

const EPERM: u32 = ERRNO | 1;
const ENOSYS: u32 = ERRNO | 38;

/// Operators of the policies about equality.
const EQUALITY: &[&str] = &[policies::EQ];

const X32_BIT: u32 = 0x4000_0000;

/// Profiles that engines wrote into `config.json`.
const PROFILES: &[(&str, &str)] = &[
    ("docker", include_str!("../../tests/fixtures/seccomp/docker.json")),
    ("containerd", include_str!("../../tests/fixtures/seccomp/containerd.json")),
    ("podman", include_str!("../../tests/fixtures/seccomp/podman.json")),
    ("buildah", include_str!("../../tests/fixtures/seccomp/buildah.json")),
];

fn policy(value: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(value).expect("a policy")
}

fn profile(name: &str) -> LinuxSeccomp {
    let (_, text) = PROFILES.iter().find(|(known, _)| *known == name).expect("a profile");
    serde_json::from_str(text).expect("a policy")
}

/// Compiles, or tells the problems.
fn try_filter(policy: &LinuxSeccomp, native: Architecture) -> Result<Filter, Vec<Problem>> {
    let mut problems = Vec::new();
    let filter = compile(policy, Extra::default(), native, &mut problems);
    assert_eq!(filter.is_none(), !problems.is_empty(), "{problems:?}");
    filter.inspect(|filter| interpreter::check(&filter.program)).ok_or(problems)
}

fn filter(policy: &LinuxSeccomp, native: Architecture) -> Filter {
    try_filter(policy, native).unwrap_or_else(|problems| panic!("{problems:?}"))
}

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
