//! Seccomp profiles: that they bite, in run and exec, with and without no_new_privs; and the notify listener.

use serde_json::{Value, json};

use crate::support::terminal::FdSocket;
use crate::support::{Bundle, Test, is_minicon};

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

/// crun's annotation and its variable name an agent for a policy that names none; `listenerPath` comes before both, and
/// the annotation before the variable. They hold for exec as well.
#[test]
fn the_agent_may_be_named_elsewhere() {
    let Some(t) = Test::of_minicon("runc knows listenerPath only") else { return };
    let [own, annotated, variable] = ["own", "annotated", "variable"].map(|name| FdSocket::listen(&t, name));
    let call = |path: Option<&FdSocket>, annotation: Option<&FdSocket>| {
        let mut profile = no_mkdir("SCMP_ACT_NOTIFY");
        path.iter().for_each(|socket| profile["listenerPath"] = json!(socket.path));
        let b = with(t.idle(), profile);
        match annotation {
            Some(socket) => b.set("/annotations", json!({"run.oci.seccomp.receiver": socket.path})),
            None => b,
        }
    };
    for (b, receiver) in [
        (call(Some(&own), Some(&annotated)), &own),
        (call(None, Some(&annotated)), &annotated),
        (call(None, None), &variable),
    ] {
        b.on_bundle("create", &[]).env("RUN_OCI_SECCOMP_RECEIVER", &variable.path).run().ok();
        assert_eq!(receiver.receive().1.len(), 1);
        b.exec_with(&[], &["true"]).env("RUN_OCI_SECCOMP_RECEIVER", &variable.path).run().ok();
        assert_eq!(receiver.receive().1.len(), 1);
    }
    call(None, None).create().fails("linux.seccomp.listenerPath");
}

/// Names that are unknown are passed over, as they may be newer than the runtime; crun's annotation makes them errors.
#[test]
fn an_unknown_call_is_an_error_if_that_is_asked_for() {
    let t = Test::new();
    let profile = but(json!({"names": ["mkdir", "frobnicate"], "action": "SCMP_ACT_ERRNO"}));
    with(t.bundle(&["echo", "ran"]), profile.clone()).run().ok().prints("ran");
    if is_minicon() {
        let b = with(t.bundle(&["true"]), profile)
            .set("/annotations", json!({"run.oci.seccomp_fail_unknown_syscall": "1"}));
        b.run().fails("linux.seccomp.syscalls[0].names[1]: unknown system call \"frobnicate\"");
    }
}

/// "The runtime MUST send exactly one container process state per connection. The connection MUST NOT be reused and it
/// MUST be closed after sending a seccomp state" (config-linux.md, Seccomp); however long the state is.
#[test]
fn the_listener_gets_one_whole_state_a_connection() {
    let Some(t) = Test::of_minicon("runc 1.1.5 sends a long state in part") else { return };
    let socket = FdSocket::listen(&t, "agent");
    let mut profile = no_mkdir("SCMP_ACT_NOTIFY");
    profile["listenerPath"] = json!(socket.path);
    let long = "x".repeat(300_000);
    let b = with(t.idle(), profile).set("/annotations", json!({"org.example.long": long.as_str()}));
    let creating = b.on_bundle("create", &[]).spawn();
    let (message, descriptors) = socket.receive_all();
    creating.wait().ok();
    let message: Value = serde_json::from_str(&message).expect("JSON");
    assert_eq!(message["state"]["annotations"]["org.example.long"], *long);
    assert_eq!(descriptors.len(), 1);
    assert!(!socket.has_client());
}

/// "If the SCMP_ACT_NOTIFY action is not used this value is ignored" and "This field MUST NOT be set if listenerPath is
/// not set" (config-linux.md, Seccomp).
#[test]
fn a_listener_and_its_metadata_need_each_other() {
    let Some(t) = Test::of_minicon("runc 1.1.5 takes metadata alone") else { return };
    let mut profile = no_mkdir("SCMP_ACT_ERRNO");
    profile["listenerPath"] = json!(t.path("nobody"));
    with(t.bundle(&["true"]), profile.clone()).run().ok();
    profile["listenerMetadata"] = json!("words");
    with(t.bundle(&["true"]), profile.clone()).run().ok();
    profile.as_object_mut().expect("an object").remove("listenerPath");
    with(t.bundle(&["true"]), profile).run().fails("linux.seccomp.listenerMetadata");
    with(t.bundle(&["true"]), no_mkdir("SCMP_ACT_NOTIFY")).run().fails("linux.seccomp.listenerPath");
}

/// "When the action doesn't support an errno, the runtime MUST print and error and fail" (config-linux.md, Seccomp).
#[test]
fn an_errno_needs_an_action_that_returns_it() {
    let Some(t) = Test::of_minicon("runc ignores it") else { return };
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRAP"] {
        let rule = json!({"names": ["mkdir"], "action": action, "errnoRet": 1});
        with(t.bundle(&["true"]), but(rule)).create().fails("linux.seccomp.syscalls[0].errnoRet");
        let profile = json!({"defaultAction": action, "defaultErrnoRet": 1});
        with(t.bundle(&["true"]), profile).create().fails("linux.seccomp.defaultErrnoRet");
    }
}

/// "`names` MUST contain at least one entry" (config-linux.md, Seccomp).
#[test]
fn a_rule_names_a_call() {
    let Some(t) = Test::of_minicon("runc 1.1.5 takes a rule for nothing") else { return };
    let rule = json!({"names": [], "action": "SCMP_ACT_ERRNO"});
    with(t.bundle(&["true"]), but(rule)).create().fails("linux.seccomp.syscalls[0].names");
}

/// Every flag, alone and together, with and without a listener, is one that the kernel takes.
#[test]
fn every_flag_is_taken() {
    let Some(t) = Test::of_minicon("runc 1.1.5 knows three") else { return };
    const FLAGS: [&str; 4] = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
    let named = |flags: &[&str]| flags.iter().map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}")).collect::<Vec<_>>();
    for flags in [vec![], vec![FLAGS[0]], vec![FLAGS[1]], vec![FLAGS[2]], vec![FLAGS[3]], FLAGS.to_vec()] {
        let mut profile = no_mkdir("SCMP_ACT_ERRNO");
        profile["flags"] = json!(named(&flags));
        with(t.sh(MKDIR), profile).run().ok().shows("Operation not permitted");
        let socket = FdSocket::listen(&t, &format!("agent{}", flags.join("-")));
        let mut profile = no_mkdir("SCMP_ACT_NOTIFY");
        profile["flags"] = json!(named(&flags));
        profile["listenerPath"] = json!(socket.path);
        let b = with(t.idle(), profile);
        b.create().ok();
        assert_eq!(socket.receive_all().1.len(), 1, "{flags:?}");
    }
    let mut profile = no_mkdir("SCMP_ACT_ERRNO");
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WISH"]);
    with(t.bundle(&["true"]), profile).create().fails("linux.seccomp.flags[0]");
}

/// All 23 names of the specification are known; those that this machine cannot run change nothing.
#[test]
fn every_architecture_is_known() {
    let Some(t) = Test::of_minicon("runc knows 18") else { return };
    let names = "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 \
        S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB";
    let names: Vec<String> = names.split_whitespace().map(|name| format!("SCMP_ARCH_{name}")).collect();
    assert_eq!(names.len(), 23);
    let mut profile = no_mkdir("SCMP_ACT_ERRNO");
    profile["architectures"] = json!(names);
    with(t.sh(MKDIR), profile.clone()).run().ok().shows("Operation not permitted");
    profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_NATIVE"]);
    with(t.bundle(&["true"]), profile).create().fails("linux.seccomp.architectures[1]");
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
