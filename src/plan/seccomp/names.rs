//! The names that a policy may use, and what each means to the filter (config-linux.md, Seccomp). `features` lists the same
//! tables.

use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator};

use super::Operator;

/// What a filter returns for an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return {
    /// `SECCOMP_RET_*` in linux/seccomp.h.
    pub value: u32,
    /// It carries an errno, or a message for the tracer, which `errnoRet` sets.
    pub takes_errno: bool,
}

const fn plain(value: u32) -> Return {
    Return { value, takes_errno: false }
}

const fn with_errno(value: u32) -> Return {
    Return { value, takes_errno: true }
}

/// `syscalls[].action` and `defaultAction`.
pub const ACTIONS: [(LinuxSeccompAction, Return); 9] = [
    (LinuxSeccompAction::ScmpActAllow, plain(super::RET_ALLOW)),
    (LinuxSeccompAction::ScmpActErrno, with_errno(super::RET_ERRNO)),
    (LinuxSeccompAction::ScmpActKill, plain(super::RET_KILL_THREAD)),
    (LinuxSeccompAction::ScmpActKillProcess, plain(super::RET_KILL_PROCESS)),
    (LinuxSeccompAction::ScmpActKillThread, plain(super::RET_KILL_THREAD)),
    (LinuxSeccompAction::ScmpActLog, plain(super::RET_LOG)),
    (LinuxSeccompAction::ScmpActNotify, plain(super::RET_USER_NOTIF)),
    (LinuxSeccompAction::ScmpActTrace, with_errno(super::RET_TRACE)),
    (LinuxSeccompAction::ScmpActTrap, plain(super::RET_TRAP)),
];

/// `syscalls[].args[].op`.
pub(super) const OPERATORS: [(LinuxSeccompOperator, Operator); 7] = [
    (LinuxSeccompOperator::ScmpCmpEq, Operator::Equal),
    (LinuxSeccompOperator::ScmpCmpGe, Operator::GreaterOrEqual),
    (LinuxSeccompOperator::ScmpCmpGt, Operator::Greater),
    (LinuxSeccompOperator::ScmpCmpLe, Operator::LessOrEqual),
    (LinuxSeccompOperator::ScmpCmpLt, Operator::Less),
    (LinuxSeccompOperator::ScmpCmpMaskedEq, Operator::MaskedEqual),
    (LinuxSeccompOperator::ScmpCmpNe, Operator::NotEqual),
];

/// `flags`: `SECCOMP_FILTER_FLAG_*` in linux/seccomp.h.
pub const FLAGS: [(LinuxSeccompFilterFlag, u32); 4] = [
    (LinuxSeccompFilterFlag::SeccompFilterFlagLog, libc::SECCOMP_FILTER_FLAG_LOG as u32),
    (LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32),
    (LinuxSeccompFilterFlag::SeccompFilterFlagTsync, libc::SECCOMP_FILTER_FLAG_TSYNC as u32),
    (LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv, libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32),
];

/// `architectures`. Those that no kernel of ours can run are known and need no code: see `sections`.
pub const ARCHITECTURES: [Arch; 23] = [
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchM68k,
    Arch::ScmpArchMips,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390,
    Arch::ScmpArchS390x,
    Arch::ScmpArchSh,
    Arch::ScmpArchSheb,
    Arch::ScmpArchX32,
    Arch::ScmpArchX86,
    Arch::ScmpArchX86_64,
];

/// The operators by themselves, for `features`.
pub fn operators() -> impl Iterator<Item = LinuxSeccompOperator> {
    OPERATORS.iter().map(|(operator, _)| *operator)
}

/// The filter's return value for an action.
pub(super) fn return_of(action: LinuxSeccompAction) -> Return {
    let found = ACTIONS.iter().find(|(known, _)| *known == action);
    found.map_or(plain(super::RET_KILL_PROCESS), |(_, value)| *value)
}

/// The comparison of an operator.
pub(super) fn comparison(operator: LinuxSeccompOperator) -> Operator {
    OPERATORS.iter().find(|(known, _)| *known == operator).map_or(Operator::Equal, |(_, comparison)| *comparison)
}

/// The bit of a flag.
pub(super) fn flag_bit(flag: LinuxSeccompFilterFlag) -> u32 {
    FLAGS.iter().find(|(known, _)| *known == flag).map_or(0, |(_, bit)| *bit)
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{ACTIONS, ARCHITECTURES, FLAGS, operators};

    /// Each name is read, and what was read is written with the same name: so a table with as many values has all.
    fn assert_is_all<T: Serialize + DeserializeOwned + PartialEq>(names: &str, table: &[T]) {
        let names: Vec<&str> = names.split_whitespace().collect();
        for name in &names {
            let value: T = serde_json::from_value((*name).into()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(table.contains(&value), "{name} is not in the table");
        }
        assert_eq!(names.len(), table.len());
    }

    /// "A valid list of constants as of libseccomp v2.6.0 is shown below" (config-linux.md, Seccomp).
    #[test]
    fn every_name_of_the_specification_is_known() {
        let actions = "SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_KILL_THREAD SCMP_ACT_TRAP SCMP_ACT_ERRNO \
            SCMP_ACT_TRACE SCMP_ACT_ALLOW SCMP_ACT_LOG SCMP_ACT_NOTIFY";
        assert_is_all(actions, &ACTIONS.map(|(action, _)| action));
        let operators_named =
            "SCMP_CMP_NE SCMP_CMP_LT SCMP_CMP_LE SCMP_CMP_EQ SCMP_CMP_GE SCMP_CMP_GT SCMP_CMP_MASKED_EQ";
        assert_is_all(operators_named, &operators().collect::<Vec<_>>());
        let flags = "SECCOMP_FILTER_FLAG_TSYNC SECCOMP_FILTER_FLAG_LOG SECCOMP_FILTER_FLAG_SPEC_ALLOW \
            SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
        assert_is_all(flags, &FLAGS.map(|(flag, _)| flag));
        let architectures = "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 \
            PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB";
        let names: Vec<String> = architectures.split_whitespace().map(|name| format!("SCMP_ARCH_{name}")).collect();
        assert_is_all(&names.join(" "), &ARCHITECTURES);
    }
}
