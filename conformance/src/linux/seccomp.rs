//! Seccomp: what happens to a system call that a rule matches. The probe makes it and tells what came back.

use anyhow::{Context, Result};
use nix::libc;
use serde_json::{Value, json};

use crate::container::Container;
use crate::judge::{holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const PLACE: &str = "config-linux.md#configLinuxSeccomp";
const NO_ERRNO: &[&str] = &["When the action doesn't support an errno, the runtime MUST print and error and fail."];
const ACTION: &[&str] = &["**`action`** *(string, REQUIRED)* - the action for seccomp rules."];
const OPERATOR: &[&str] = &[
    "**`args`** *(array of objects, OPTIONAL)*",
    "**`index`** *(uint, REQUIRED)*",
    "**`value`** *(uint64, REQUIRED)*",
    "**`op`** *(string, REQUIRED)*",
];
const DEFAULT: &[&str] = &["**`defaultAction`** *(string, REQUIRED)*", "some values of `defaultAction` are not useful"];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("seccomp", PLACE, &["**`seccomp`** (object, OPTIONAL)", "**`syscalls`** *(array of objects, OPTIONAL)*", "**`names`** *(array of strings"], errno),
    must("seccomp.defaultAction", PLACE, DEFAULT, default_action),
    must("seccomp.defaultErrnoRet", PLACE, &["**`defaultErrnoRet`** *(uint, OPTIONAL)*"], default_errno),
    must("seccomp.defaultErrnoRet.useless", PLACE, NO_ERRNO, default_errno_refused),
    must("seccomp.errnoRet", PLACE, &["**`errnoRet`** *(uint, OPTIONAL)*"], errno_ret),
    must("seccomp.errnoRet.useless.allow", PLACE, NO_ERRNO, shared).with(errno_refused, "SCMP_ACT_ALLOW"),
    must("seccomp.errnoRet.useless.kill", PLACE, NO_ERRNO, shared).with(errno_refused, "SCMP_ACT_KILL_PROCESS"),
    must("seccomp.errnoRet.useless.log", PLACE, NO_ERRNO, shared).with(errno_refused, "SCMP_ACT_LOG"),
    must("seccomp.errnoRet.useless.trap", PLACE, NO_ERRNO, shared).with(errno_refused, "SCMP_ACT_TRAP"),
    must("seccomp.names.empty", PLACE, &["`names` MUST contain at least one entry."], no_names),
    must("seccomp.names.several", PLACE, &["**`names`** *(array of strings, REQUIRED)*"], several_names),
    must("seccomp.action.kill", PLACE, ACTION, shared).with(kills, "SCMP_ACT_KILL"),
    must("seccomp.action.kill-process", PLACE, ACTION, shared).with(kills, "SCMP_ACT_KILL_PROCESS"),
    must("seccomp.action.kill-thread", PLACE, ACTION, shared).with(kills, "SCMP_ACT_KILL_THREAD"),
    must("seccomp.action.trap", PLACE, ACTION, shared).with(kills, "SCMP_ACT_TRAP"),
    must("seccomp.action.trace", PLACE, ACTION, trace),
    must("seccomp.action.allow", PLACE, ACTION, shared).with(allows, "SCMP_ACT_ALLOW"),
    must("seccomp.action.log", PLACE, ACTION, shared).with(allows, "SCMP_ACT_LOG"),
    must("seccomp.op.ne", PLACE, OPERATOR, shared).with(operator, "SCMP_CMP_NE 6,8"),
    must("seccomp.op.lt", PLACE, OPERATOR, shared).with(operator, "SCMP_CMP_LT 6"),
    must("seccomp.op.le", PLACE, OPERATOR, shared).with(operator, "SCMP_CMP_LE 6,7"),
    must("seccomp.op.eq", PLACE, OPERATOR, shared).with(operator, "SCMP_CMP_EQ 7"),
    must("seccomp.op.ge", PLACE, OPERATOR, shared).with(operator, "SCMP_CMP_GE 7,8"),
    must("seccomp.op.gt", PLACE, OPERATOR, shared).with(operator, "SCMP_CMP_GT 8"),
    must("seccomp.op.masked-eq", PLACE, &["**`valueTwo`** *(uint64, OPTIONAL)*", "**`op`** *(string, REQUIRED)*"], masked),
    must("seccomp.args.wide", PLACE, &["**`value`** *(uint64, REQUIRED)*"], wide),
    must("seccomp.args.all", PLACE, &["**`args`** *(array of objects, OPTIONAL)*"], all_arguments),
    must("seccomp.architectures", PLACE, &["**`architectures`** *(array of strings, OPTIONAL)*"], architectures),
    must("seccomp.architectures.every", PLACE, &["**`architectures`** *(array of strings, OPTIONAL)*"], every_architecture),
    must("seccomp.flags", PLACE, &["**`flags`** *(array of strings, OPTIONAL)* - list of flags to use with seccomp(2)."], flags),
];

/// A call that does nothing, whatever its arguments: `getpriority(0, N)`; ESRCH or a number, never one of ours.
const CALL: i64 = libc::SYS_getpriority;
const NAME: &str = "getpriority";

/// What a call gives with a filter in force: its errno, 0 if there is none.
fn gives(container: &Container<'_>, words: &[&str]) -> Result<i64> {
    let number = CALL.to_string();
    let words: Vec<&str> = ["syscall", &number].into_iter().chain(words.iter().copied()).collect();
    let report = container.clone().probe(&words).run()?.ok()?.json()?;
    Ok(report["errno"].as_i64().unwrap_or(0))
}

/// A container under a filter that allows all but what the rules say.
fn under<'l>(lab: &'l Lab, rules: Value) -> Result<Container<'l>> {
    Ok(lab.container()?.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})))
}

fn errno(lab: &Lab) -> Verdict {
    let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO"}]))?;
    same("the errno (EPERM is the default)", &gives(&container, &["0", "0"])?, 1)?;
    let report = container.report(&["privileges"])?;
    same("the mode of seccomp", &report["privileges"]["seccomp"], 2)
}

/// The system calls that a small program needs, the runtime's between the filter and the program among them.
fn needed() -> Vec<&'static str> {
    vec![
        "accept",
        "accept4",
        "access",
        "arch_prctl",
        "brk",
        "capget",
        "capset",
        "chdir",
        "clock_gettime",
        "clone",
        "clone3",
        "close",
        "close_range",
        "dup",
        "dup2",
        "dup3",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "faccessat",
        "faccessat2",
        "fchdir",
        "fchown",
        "fcntl",
        "fstat",
        "fstatfs",
        "futex",
        "getcwd",
        "getdents64",
        "getegid",
        "geteuid",
        "getgid",
        "getpid",
        "getppid",
        "getrandom",
        "getrlimit",
        "gettid",
        "getuid",
        "ioctl",
        "lseek",
        "lstat",
        "madvise",
        "mmap",
        "mprotect",
        "mremap",
        "munmap",
        "nanosleep",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "pipe",
        "pipe2",
        "poll",
        "ppoll",
        "prctl",
        "pread64",
        "prlimit64",
        "read",
        "readlink",
        "readlinkat",
        "readv",
        "recvfrom",
        "recvmsg",
        "restart_syscall",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_getaffinity",
        "sched_yield",
        "seccomp",
        "sendmsg",
        "sendto",
        "set_robust_list",
        "set_tid_address",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setsid",
        "setuid",
        "sigaltstack",
        "stat",
        "statfs",
        "statx",
        "tgkill",
        "umask",
        "uname",
        "unlink",
        "unlinkat",
        "wait4",
        "waitid",
        "write",
        "writev",
        "epoll_create1",
        "epoll_ctl",
        "epoll_pwait",
        "epoll_wait",
        "eventfd2",
        "signalfd4",
        "kill",
        "socket",
        "connect",
        "keyctl",
        "getsockopt",
        "socketpair",
        "shutdown",
    ]
}

fn default_action(lab: &Lab) -> Verdict {
    let allowed = json!([{"names": needed(), "action": "SCMP_ACT_ALLOW"}]);
    let seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": allowed});
    same("the errno", &gives(&lab.container()?.set("/linux/seccomp", seccomp), &["0", "0"])?, 1)
}

fn default_errno(lab: &Lab) -> Verdict {
    let allowed = json!([{"names": needed(), "action": "SCMP_ACT_ALLOW"}]);
    let seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": allowed});
    same("the errno", &gives(&lab.container()?.set("/linux/seccomp", seccomp), &["0", "0"])?, 38)
}

fn default_errno_refused(lab: &Lab) -> Verdict {
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 38});
    lab.container()?.set("/linux/seccomp", seccomp).is_refused_by_start()
}

fn errno_ret(lab: &Lab) -> Verdict {
    let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]))?;
    same("the errno", &gives(&container, &["0", "0"])?, 99)
}

fn errno_refused(lab: &Lab, action: &'static str) -> Verdict {
    under(lab, json!([{"names": [NAME], "action": action}]))?.runs()?;
    under(lab, json!([{"names": [NAME], "action": action, "errnoRet": 99}]))?.is_refused_by_start()
}

fn no_names(lab: &Lab) -> Verdict {
    under(lab, json!([{"names": [], "action": "SCMP_ACT_ERRNO"}]))?.is_refused_by_start()?;
    under(lab, json!([{"action": "SCMP_ACT_ERRNO"}]))?.is_refused_by_start()
}

fn several_names(lab: &Lab) -> Verdict {
    let container =
        under(lab, json!([{"names": ["swapon", NAME, "swapoff"], "action": "SCMP_ACT_ERRNO", "errnoRet": 98}]))?;
    same("the errno", &gives(&container, &["0", "0"])?, 98)
}

fn kills(lab: &Lab, action: &'static str) -> Verdict {
    let container = under(lab, json!([{"names": [NAME], "action": action}]))?;
    container.runs()?;
    let output = container.probe(&["syscall", &CALL.to_string(), "0", "0"]).run()?;
    holds("the program did not end well", output.code != 0)?;
    same("what it printed after the call", &output.stdout(), "")
}

/// Without a tracer the call is not made: ENOSYS (seccomp(2)).
fn trace(lab: &Lab) -> Verdict {
    let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_TRACE"}]))?;
    same("the errno", &gives(&container, &["0", "0"])?, i64::from(libc::ENOSYS))
}

fn allows(lab: &Lab, action: &'static str) -> Verdict {
    let rules = json!([{"names": [NAME], "action": action}, {"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]);
    same("the errno", &gives(&under(lab, rules)?, &["0", "0"])?, 0)
}

/// The operator, and which of 6, 7 and 8 it matches when compared with 7.
fn operator(lab: &Lab, words: &'static str) -> Verdict {
    let (op, matching) = words.split_once(' ').unwrap_or_default();
    let args = json!([{"index": 1, "value": 7, "op": op}]);
    let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO", "errnoRet": 99, "args": args}]))?;
    for value in ["6", "7", "8"] {
        let matched = gives(&container, &["9", value])? == 99;
        same(&format!("whether {value} is matched by {op} 7"), &matched, matching.contains(value))?;
    }
    Ok(())
}

/// `(argument & value) == valueTwo`.
fn masked(lab: &Lab) -> Verdict {
    let args = json!([{"index": 1, "value": 0xf0, "valueTwo": 0x30, "op": "SCMP_CMP_MASKED_EQ"}]);
    let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO", "errnoRet": 99, "args": args}]))?;
    for (value, matches) in [("0x30", true), ("0x13f", true), ("0x40", false), ("0xf0", false)] {
        same(&format!("whether {value} is matched"), &(gives(&container, &["9", value])? == 99), matches)?;
    }
    Ok(())
}

/// All 64 bits of an argument count.
fn wide(lab: &Lab) -> Verdict {
    let args = json!([{"index": 2, "value": 0x1_0000_0007_u64, "op": "SCMP_CMP_EQ"}]);
    let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO", "errnoRet": 99, "args": args}]))?;
    same("the upper half differs", &(gives(&container, &["9", "0", "7"])? == 99), false)?;
    same("both halves are equal", &(gives(&container, &["9", "0", "0x100000007"])? == 99), true)
}

/// The arguments of one rule must all match.
fn all_arguments(lab: &Lab) -> Verdict {
    let args = json!([{"index": 0, "value": 9, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]);
    let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO", "errnoRet": 99, "args": args}]))?;
    same("only the first", &(gives(&container, &["9", "8"])? == 99), false)?;
    same("only the second", &(gives(&container, &["8", "7"])? == 99), false)?;
    same("both", &(gives(&container, &["9", "7"])? == 99), true)
}

/// The machine's own, named and not.
fn native() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("SCMP_ARCH_X86_64"),
        "aarch64" => Ok("SCMP_ARCH_AARCH64"),
        "riscv64" => Ok("SCMP_ARCH_RISCV64"),
        other => crate::judge::skip(format!("no name for {other} is known here")),
    }
}

fn architectures(lab: &Lab) -> Verdict {
    let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]))?;
    let container = container.set("/linux/seccomp/architectures", json!([native()?]));
    same("the errno", &gives(&container, &["0", "0"])?, 99)
}

/// Which valid values a runtime supports is its choice, but those of this machine are called for, and the others must
/// be an error if they are not supported.
fn every_architecture(lab: &Lab) -> Verdict {
    let names = [
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ];
    let own: &[&str] = if native()? == "SCMP_ARCH_X86_64" { &["X86", "X86_64", "X32"] } else { &["AARCH64", "ARM"] };
    for name in names {
        let list = json!([native()?, format!("SCMP_ARCH_{name}")]);
        let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]))?;
        let container = container.set("/linux/seccomp/architectures", list);
        if own.contains(&name) || container.runs().is_ok() {
            same(&format!("the errno with {name}"), &gives(&container, &["0", "0"])?, 99)?;
        } else {
            container.is_refused_by_start()?;
        }
    }
    Ok(())
}

fn flags(lab: &Lab) -> Verdict {
    for flag in ["LOG", "SPEC_ALLOW", "TSYNC"] {
        let container = under(lab, json!([{"names": [NAME], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]))?;
        let flags = json!([format!("SECCOMP_FILTER_FLAG_{flag}")]);
        let got = gives(&container.set("/linux/seccomp/flags", flags), &["0", "0"]).with_context(|| flag.to_owned())?;
        same("the errno", &got, 99)?;
    }
    Ok(())
}
