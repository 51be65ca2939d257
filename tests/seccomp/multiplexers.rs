//! The two system calls of i386 that have many behind them, told apart by their first argument: socketcall(2), ipc(2).

use minicon::plan::seccomp::Architecture;
use serde_json::json;

use crate::verdicts::answer;
use crate::{ALLOW, AUDIT_I386, EPERM, KILL_PROCESS, TRAP, filter, policies, policy};

#[test]
fn i386_reaches_sockets_by_socketcall_too() {
    let filter = filter(
        &policy(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [
                { "names": ["socket"], "action": "SCMP_ACT_TRAP", "args": [{ "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }] },
                { "names": ["shmat"], "action": "SCMP_ACT_TRAP" },
            ],
        })),
        Architecture::X86_64,
    );
    assert_eq!(answer(&filter, AUDIT_I386, 359, [16, 0, 0, 0, 0, 0]), TRAP);
    assert_eq!(answer(&filter, AUDIT_I386, 359, [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&filter, AUDIT_I386, 102, [1, 0, 0, 0, 0, 0]), TRAP);
    assert_eq!(answer(&filter, AUDIT_I386, 102, [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&filter, AUDIT_I386, 117, [21, 0, 0, 0, 0, 0]), TRAP);
    assert_eq!(answer(&filter, AUDIT_I386, 397, [0; 6]), TRAP);
}

/// Found by the fuzzer: libseccomp 2.5.4 takes every socketcall for a socket here, so it cannot be asked.
#[test]
fn a_rule_about_socketcall_leaves_socket_its_own() {
    let masked = json!([{ "index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 0xffff_ffff_u32, "valueTwo": 0 }]);
    let policy = policy(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO" },
            { "names": ["socketcall"], "action": "SCMP_ACT_KILL_PROCESS", "args": masked },
        ],
    }));
    assert!(!policies::is_within_libseccomp(&policy));
    let filter = filter(&policy, Architecture::X86_64);
    assert_eq!(answer(&filter, AUDIT_I386, 102, [1, 1, 0, 0, 0, 0]), EPERM, "socket");
    assert_eq!(answer(&filter, AUDIT_I386, 102, [2, 1, 0, 0, 0, 0]), ALLOW, "bind, and the mask leaves 1");
    assert_eq!(answer(&filter, AUDIT_I386, 102, [2, 0, 0, 0, 0, 0]), KILL_PROCESS, "bind, and the mask leaves 0");
}

/// Found by the fuzzer: behind a multiplexer too, a rule without conditions beats those of its call that have some.
#[test]
fn an_unconditional_rule_decides_behind_a_multiplexer() {
    let at = |value: u32| json!([{ "index": 2, "op": "SCMP_CMP_EQ", "value": value }]);
    let policy = policy(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            { "names": ["shmat"], "action": "SCMP_ACT_KILL_PROCESS", "args": at(0) },
            { "names": ["shmat"], "action": "SCMP_ACT_KILL_PROCESS" },
            { "names": ["shmat"], "action": "SCMP_ACT_ERRNO", "args": at(3) },
        ],
    }));
    let filter = filter(&policy, Architecture::X86_64);
    for flag in [0, 1, 3] {
        assert_eq!(answer(&filter, AUDIT_I386, 397, [0, 0, flag, 0, 0, 0]), KILL_PROCESS);
        assert_eq!(answer(&filter, AUDIT_I386, 117, [21, 0, flag, 0, 0, 0]), KILL_PROCESS);
    }
    assert_eq!(answer(&filter, AUDIT_I386, 117, [22, 0, 3, 0, 0, 0]), ALLOW, "shmdt");
}

/// Found by the fuzzer: the call's own first argument is lost there, and with it all conditions of the first rule.
#[test]
fn a_rule_about_a_lost_argument_is_unconditional_behind_a_multiplexer() {
    let at = |index: usize, value: u32| json!([{ "index": index, "op": "SCMP_CMP_EQ", "value": value }]);
    let policy = policy(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            { "names": ["shmat"], "action": "SCMP_ACT_ERRNO", "args": at(2, 0) },
            { "names": ["shmat"], "action": "SCMP_ACT_ERRNO", "args": at(0, 7) },
            { "names": ["shmat"], "action": "SCMP_ACT_KILL_PROCESS", "args": at(2, 2) },
        ],
    }));
    let filter = filter(&policy, Architecture::X86_64);
    assert_eq!(answer(&filter, AUDIT_I386, 397, [7, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(answer(&filter, AUDIT_I386, 397, [8, 0, 2, 0, 0, 0]), KILL_PROCESS);
    assert_eq!(answer(&filter, AUDIT_I386, 117, [21, 0, 2, 0, 0, 0]), EPERM);
}
