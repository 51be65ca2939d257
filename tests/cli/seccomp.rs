//! Seccomp profiles: that they bite, in run and exec, with and without no_new_privs; and the notify listener.

use serde_json::{Value, json};

use crate::support::terminal::FdSocket;
use crate::support::{Bundle, Test};

/// A profile that allows everything but for one rule.
fn but(rule: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule]})
}

fn no_mkdir(action: &str) -> Value {
    but(json!({"names": ["mkdir", "mkdirat"], "action": action}))
}

fn with<'t>(b: Bundle<'t>, profile: Value) -> Bundle<'t> {
    b.set("/linux/seccomp", profile)
}

const MKDIR: &str = "mkdir /tmp/new 2>&1 || true";

#[test]
fn a_call_is_refused_with_eperm_or_the_errno_given() {
    let t = Test::new();
    for no_new_privs in [true, false] {
        let sh = || t.sh(MKDIR).set("/process/noNewPrivileges", no_new_privs);
        with(sh(), no_mkdir("SCMP_ACT_ERRNO")).run().ok().shows("Operation not permitted");
        let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28});
        with(sh(), but(rule)).run().ok().shows("No space left on device");
    }
}

#[test]
fn a_call_kills_the_process() {
    let t = Test::new();
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD"] {
        // 128 + SIGSYS.
        with(t.bundle(&["mkdir", "/tmp/new"]), no_mkdir(action)).run().exits(159);
    }
    with(t.sh("mkdir /tmp/new; echo $?"), no_mkdir("SCMP_ACT_TRAP")).run().ok().prints("159");
}

#[test]
fn arguments_are_compared() {
    let t = Test::new();
    let signal = |op: &str, value: u32| json!({"index": 1, "value": value, "op": op});
    let script = "for s in 0 23 28; do kill -$s $$ 2>/dev/null && echo $s; done; true";
    for (op, value, passed) in [
        ("SCMP_CMP_EQ", 23, "0\n28"),
        ("SCMP_CMP_NE", 23, "23"),
        ("SCMP_CMP_GT", 23, "0\n23"),
        ("SCMP_CMP_GE", 23, "0"),
        ("SCMP_CMP_LT", 23, "23\n28"),
        ("SCMP_CMP_LE", 23, "28"),
    ] {
        let rule = json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [signal(op, value)]});
        with(t.sh(script), but(rule)).run().ok().prints(passed);
    }
    let masked = json!({"index": 1, "value": 4, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"});
    let rule = json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [masked]});
    with(t.sh(script), but(rule)).run().ok().prints("0");
}

#[test]
fn unknown_calls_are_ignored() {
    let t = Test::new();
    let rule = json!({"names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
    with(t.sh(MKDIR), but(rule)).run().ok().shows("Operation not permitted");
}

#[test]
fn a_profile_may_deny_what_it_does_not_name() {
    let t = Test::new();
    // What a static busybox needs to start and to say something, and what a runtime needs around its exec.
    let names = [
        "execve",
        "exit",
        "exit_group",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "mprotect",
        "readlink",
        "readlinkat",
        "getrandom",
        "getuid",
        "getgid",
        "geteuid",
        "getegid",
        "setuid",
        "setgid",
        "write",
        "read",
        "openat",
        "close",
        "fstat",
        "newfstatat",
        "mmap",
        "munmap",
        "futex",
        "rt_sigaction",
        "rt_sigprocmask",
        "sigaltstack",
        "rt_sigreturn",
        "getpid",
        "gettid",
        "tgkill",
        "nanosleep",
        "clock_nanosleep",
        "sched_yield",
        "epoll_pwait",
        "epoll_ctl",
        "fcntl",
        "prctl",
        "capget",
        "capset",
        "getppid",
        "madvise",
        "uname",
        "access",
        "getcwd",
        "chdir",
        "lseek",
        "setgroups",
        "setresuid",
        "setresgid",
        "fchown",
        "stat",
        "faccessat",
        "faccessat2",
        "close_range",
        "getdents64",
        "dup2",
        "fstatfs",
        "clone",
        "fork",
        "vfork",
        "wait4",
        "pipe2",
    ];
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": names.as_slice(), "action": "SCMP_ACT_ALLOW"}]
    });
    let b = with(t.sh("echo words; mkdir /tmp/new"), profile);
    b.run().exits(1).prints("words").says("Function not implemented");
}

#[test]
fn a_profile_holds_for_exec() {
    let t = Test::new();
    for no_new_privs in [true, false] {
        let b = with(t.idle().set("/process/noNewPrivileges", no_new_privs), no_mkdir("SCMP_ACT_ERRNO"));
        b.up();
        b.exec(&["sh", "-c", MKDIR]).ok().shows("Operation not permitted");
        b.exec(&["grep", "Seccomp:", "/proc/self/status"]).ok().prints("Seccomp:\t2");
    }
}

#[test]
fn without_a_profile_there_is_no_filter() {
    let t = Test::new();
    t.bundle(&["grep", "Seccomp:", "/proc/self/status"]).run().ok().prints("Seccomp:\t0");
}

#[test]
fn an_unknown_action_operator_or_architecture_is_an_error() {
    let t = Test::new();
    let rule = json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_ISH"}]});
    with(t.bundle(&["true"]), but(rule)).run().exits(1);
    with(t.bundle(&["true"]), no_mkdir("SCMP_ACT_DISLIKE")).run().exits(1);
    let mut profile = no_mkdir("SCMP_ACT_ERRNO");
    profile["architectures"] = json!(["SCMP_ARCH_ABACUS"]);
    with(t.bundle(&["true"]), profile).run().exits(1);
}

/// "The runtime MUST send the container process state over the socket" with the descriptor (config-linux.md, Seccomp).
#[test]
fn the_listener_gets_the_descriptor_and_the_state() {
    let t = Test::new();
    let socket = FdSocket::listen(&t, "agent");
    let mut profile = no_mkdir("SCMP_ACT_NOTIFY");
    profile["listenerPath"] = json!(socket.path);
    profile["listenerMetadata"] = json!("some words");
    let b = with(t.sh("mkdir /tmp/new"), profile);
    b.create().ok();
    let (message, descriptors) = socket.receive();
    let message: Value = serde_json::from_str(&message).expect("JSON");
    assert_eq!(descriptors.len(), 1);
    assert_eq!(message["fds"], json!(["seccompFd"]));
    assert_eq!(message["metadata"], "some words");
    assert_eq!(message["state"]["id"], *b.id);
    assert_eq!(message["state"]["bundle"], *b.dir.to_string_lossy());
    assert_eq!(message["state"]["status"], "creating");
    assert_eq!(message["pid"], b.pid());
    let link = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&descriptors[0])));
    assert_eq!(link.expect("the descriptor").to_string_lossy(), "anon_inode:seccomp notify");
}

#[test]
fn a_listener_that_does_not_listen_is_an_error() {
    let t = Test::new();
    let mut profile = no_mkdir("SCMP_ACT_NOTIFY");
    profile["listenerPath"] = json!(t.path("nobody"));
    let b = with(t.bundle(&["true"]), profile);
    b.create().exits(1);
    b.is_gone();
}
