//! Filters in the kernel: they load, and the kernel answers as the interpreter says. Each runs in a child.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

use minicon::plan::seccomp::{Architecture, Filter};
use minicon::sys::filter::load;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pipe};
use serde_json::{Value, json};

use crate::interpreter::{Call, run};
use crate::policies::OPERATORS;
use crate::{ALLOW, ERRNO, PROFILES, filter, policy, profile};

/// Runs `body` in a child under a filter; tells what it returned and how the child ended.
fn under(filter: &Filter, body: impl FnOnce(Option<OwnedFd>) -> Vec<i32>) -> (Vec<i32>, WaitStatus) {
    let (read, write) = pipe().expect("a pipe");
    // SAFETY: the child calls nothing that waits for a lock which another thread may have held: glibc's malloc
    // is made usable in a fork's child, and the rest are system calls.
    let child = match unsafe { fork() }.expect("to fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // SAFETY: it takes no pointers.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            let results = match load(filter) {
                Ok(listener) => body(listener),
                Err(error) => vec![-1, error.errno().map_or(0, |errno| errno.raw_os_error())],
            };
            let bytes: Vec<u8> = results.iter().flat_map(|result| result.to_ne_bytes()).collect();
            // SAFETY: `bytes` has as many bytes as are written, and the child ends here.
            unsafe {
                libc::write(write.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
                libc::_exit(0)
            }
        }
    };
    drop(write);
    let mut bytes = Vec::new();
    std::fs::File::from(read).read_to_end(&mut bytes).expect("to read");
    let results = bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).collect();
    (results, waitpid(child, None).expect("to wait"))
}

/// Makes a system call; its errno, or 0.
fn errno(number: u32, arguments: [u64; 6]) -> i32 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers choose calls that take no pointers, or that fail before they use one.
    let returned = unsafe { libc::syscall(libc::c_long::from(number), a, b, c, d, e, f) };
    if returned == -1 { nix::errno::Errno::last_raw() } else { 0 }
}

fn native(value: Value) -> Filter {
    filter(&policy(value), Architecture::NATIVE)
}

#[test]
fn the_kernel_compares_as_the_interpreter_does() {
    // Calls without arguments, so that any may be passed.
    let calls = [
        ("getpid", libc::SYS_getpid),
        ("getppid", libc::SYS_getppid),
        ("getuid", libc::SYS_getuid),
        ("geteuid", libc::SYS_geteuid),
        ("getgid", libc::SYS_getgid),
        ("getegid", libc::SYS_getegid),
    ];
    let value = 0x0000_0005_8000_0005_u64;
    for operator in OPERATORS {
        let rule = |(index, (name, _)): (usize, &(&str, libc::c_long))| {
            let condition = json!({ "index": index, "value": value, "valueTwo": 1, "op": operator });
            json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 99, "args": [condition] })
        };
        let rules: Vec<Value> = calls.iter().enumerate().map(rule).collect();
        let filter = native(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
        let probes: Vec<Call> = (0..6)
            .flat_map(|index| {
                [0, 1, 5, value - 1, value, value + 1, value ^ (1 << 63), value + (1 << 32), u64::MAX].map(|argument| {
                    let mut arguments = [0; 6];
                    arguments[index] = argument;
                    Call { number: calls[index].1 as u32, audit: audit(), arguments }
                })
            })
            .collect();
        let (errnos, status) =
            under(&filter, |_| probes.iter().map(|call| errno(call.number, call.arguments)).collect());
        let expected: Vec<i32> =
            probes.iter().map(|call| if run(&filter.program, call).answer == ALLOW { 0 } else { 99 }).collect();
        assert_eq!(errnos, expected, "{operator}");
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }
}

fn audit() -> u32 {
    match Architecture::NATIVE {
        Architecture::Aarch64 => crate::AUDIT_AARCH64,
        _ => crate::AUDIT_X86_64,
    }
}

#[test]
fn profiles_of_engines_load_and_refuse() {
    for (name, _) in PROFILES {
        let filter = filter(&profile(name), Architecture::NATIVE);
        // These fail in any case, but with EPERM or ENOSYS only if the filter says so.
        let calls = [libc::SYS_getpid as u32, libc::SYS_init_module as u32, libc::SYS_kexec_load as u32, 999];
        let expected = calls.map(|number| {
            let answer = run(&filter.program, &Call { number, audit: audit(), arguments: [0; 6] }).answer;
            if answer == ALLOW { 0 } else { (answer & !ERRNO) as i32 }
        });
        let (errnos, status) = under(&filter, |_| calls.map(|number| errno(number, [0; 6])).to_vec());
        assert_eq!(errnos, expected, "{name}");
        assert!(expected[1] != 0 && expected[3] == libc::ENOSYS, "{name}: {expected:?}");
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{name}: {status:?}");
    }
}

#[test]
fn kill_and_trap_send_sigsys() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let rule = json!([{ "names": ["getppid"], "action": action }]);
        let filter = native(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule }));
        let (errnos, status) = under(&filter, |_| vec![errno(libc::SYS_getppid as u32, [0; 6])]);
        assert!(errnos.is_empty(), "{action}: {errnos:?}");
        assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{action}: {status:?}");
    }
}

#[test]
fn loading_gives_a_listener_if_a_rule_notifies() {
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    for (action, notifies) in [("SCMP_ACT_NOTIFY", 1), ("SCMP_ACT_ERRNO", 0)] {
        let filter = native(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": flags,
            "listenerPath": "/run/agent.sock",
            "syscalls": [{ "names": ["mkdirat"], "action": action }],
        }));
        let (results, _) = under(&filter, |listener| match listener {
            Some(listener) => vec![1, fcntl(&listener, FcntlArg::F_GETFD).expect("an open descriptor")],
            None => vec![0, libc::FD_CLOEXEC],
        });
        assert_eq!(results, [notifies, libc::FD_CLOEXEC], "{action}");
    }
}

#[test]
fn a_refused_filter_tells_the_call() {
    // The kernel does not take two listeners for one process.
    let filter = native(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/agent.sock",
        "syscalls": [{ "names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY" }],
    }));
    let (results, _) = under(&filter, |_first| match load(&filter) {
        Ok(_) => vec![0],
        Err(error) => {
            vec![error.errno().map_or(0, |errno| errno.raw_os_error()), i32::from(error.call_name() == Some("seccomp"))]
        }
    });
    assert_eq!(results, [libc::EBUSY, 1]);
}
