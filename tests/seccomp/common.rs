//! What the tests and the fuzz target call things, and how both compile.

use minicon::error::Problem;
use minicon::plan::seccomp::{Architecture, Extra, Filter, compile};
use oci_spec::runtime::LinuxSeccomp;

/// `SECCOMP_RET_*`.
pub const KILL_PROCESS: u32 = 0x8000_0000;
pub const KILL: u32 = 0;
pub const TRAP: u32 = 0x0003_0000;
pub const ERRNO: u32 = 0x0005_0000;
pub const NOTIFY: u32 = 0x7fc0_0000;
pub const TRACE: u32 = 0x7ff0_0000;
pub const LOG: u32 = 0x7ffc_0000;
pub const ALLOW: u32 = 0x7fff_0000;

/// `AUDIT_ARCH_*`.
pub const AUDIT_X86_64: u32 = 0xc000_003e;
pub const AUDIT_I386: u32 = 0x4000_0003;
pub const AUDIT_AARCH64: u32 = 0xc000_00b7;
pub const AUDIT_ARM: u32 = 0x4000_0028;

pub const EPERM: u32 = ERRNO | 1;
pub const ENOSYS: u32 = ERRNO | 38;

pub const X32_BIT: u32 = 0x4000_0000;

/// Profiles that engines wrote into `config.json`.
pub const PROFILES: &[(&str, &str)] = &[
    ("docker", include_str!("../fixtures/seccomp/docker.json")),
    ("containerd", include_str!("../fixtures/seccomp/containerd.json")),
    ("podman", include_str!("../fixtures/seccomp/podman.json")),
    ("buildah", include_str!("../fixtures/seccomp/buildah.json")),
];

pub fn policy(value: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(value).expect("a policy")
}

pub fn profile(name: &str) -> LinuxSeccomp {
    let (_, text) = PROFILES.iter().find(|(known, _)| *known == name).expect("a profile");
    serde_json::from_str(text).expect("a policy")
}

/// Compiles, or tells the problems.
pub fn try_filter(policy: &LinuxSeccomp, native: Architecture) -> Result<Filter, Vec<Problem>> {
    let mut problems = Vec::new();
    let filter = compile(policy, Extra::default(), native, &mut problems);
    assert_eq!(filter.is_none(), !problems.is_empty(), "{problems:?}");
    filter.inspect(|filter| crate::interpreter::check(&filter.program)).ok_or(problems)
}

pub fn filter(policy: &LinuxSeccomp, native: Architecture) -> Filter {
    try_filter(policy, native).unwrap_or_else(|problems| panic!("{problems:?}"))
}
