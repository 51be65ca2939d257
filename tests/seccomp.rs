//! The seccomp compiler, as a whole: against what the spec says (`verdicts`, and `model` for any policy), against
//! libseccomp as runc calls it (`oracle`), and in the kernel (`kernel`). Needs Debian's libseccomp-dev.

#[path = "seccomp/interpreter.rs"]
mod interpreter;
#[path = "seccomp/kernel.rs"]
mod kernel;
#[path = "seccomp/libseccomp.rs"]
mod libseccomp;
#[path = "seccomp/model.rs"]
mod model;
#[path = "seccomp/oracle.rs"]
mod oracle;
#[path = "seccomp/policies.rs"]
mod policies;
#[path = "seccomp/verdicts.rs"]
mod verdicts;

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

const X32_BIT: u32 = 0x4000_0000;

/// Profiles that engines wrote into `config.json`.
const PROFILES: &[(&str, &str)] = &[
    ("docker", include_str!("fixtures/seccomp/docker.json")),
    ("containerd", include_str!("fixtures/seccomp/containerd.json")),
    ("podman", include_str!("fixtures/seccomp/podman.json")),
    ("buildah", include_str!("fixtures/seccomp/buildah.json")),
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
