//! The seccomp compiler, as a whole: against what the spec says (`verdicts`, and `model` for any policy), against
//! libseccomp as runc calls it (`oracle`), and in the kernel (`kernel`). Needs Debian's libseccomp-dev.

#[path = "seccomp/common.rs"]
mod common;
#[path = "seccomp/interpreter.rs"]
mod interpreter;
#[path = "seccomp/kernel.rs"]
mod kernel;
#[path = "seccomp/libseccomp.rs"]
mod libseccomp;
#[path = "seccomp/model.rs"]
mod model;
#[path = "seccomp/multiplexers.rs"]
mod multiplexers;
#[path = "seccomp/oracle.rs"]
mod oracle;
#[path = "seccomp/policies.rs"]
mod policies;
#[path = "seccomp/verdicts.rs"]
mod verdicts;

use common::{
    ALLOW, AUDIT_AARCH64, AUDIT_ARM, AUDIT_I386, AUDIT_X86_64, ENOSYS, EPERM, ERRNO, KILL, KILL_PROCESS, LOG, NOTIFY,
    PROFILES, TRACE, TRAP, X32_BIT, filter, policy, profile, try_filter,
};
