//! The only place with `unsafe`: thin, stateless wrappers, one system call each, named after the man page.
//!
//! A wrapper turns a failure into an [`Error`](crate::error::Error) that carries the call's name, the arguments
//! that matter and the errno. What rustix offers is called through it; what it lacks (clone3, mount_setattr,
//! seccomp, keyctl, …) goes through `libc::syscall`.

pub mod arena;
pub mod bpf;
pub mod channel;
pub mod descriptors;
#[cfg(target_arch = "x86_64")]
pub mod early;
pub mod entry;
pub mod file;
pub mod filter;
pub mod mount;
pub mod network;
pub mod path;
pub mod process;
pub mod regex;
pub mod signal;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Runs a call and keeps its name, its arguments and its errno: `call!("mkdirat"(Fd(dir), name) => rustix::fs::mkdirat(…))`.
/// The arguments are rendered only when the call fails.
#[macro_export]
macro_rules! call {
    ($name:literal ( $($argument:expr),* $(,)? ) => $result:expr) => {
        ($result).map_err(|errno| {
            let arguments: Vec<String> = vec![$( $argument.to_string() ),*];
            $crate::error::Error::call($name, arguments.join(", "), errno)
        })
    };
}

/// A file descriptor as an argument of a failed call: `[9]</run/web/rootfs/etc>`.
pub struct Fd<'a, F: AsFd>(pub &'a F);

impl<F: AsFd> fmt::Display for Fd<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.as_fd().as_raw_fd();
        match std::fs::read_link(format!("/proc/self/fd/{number}")) {
            Ok(path) => write!(f, "[{number}]<{}>", path.display()),
            Err(_) => write!(f, "[{number}]"),
        }
    }
}

/// The result of a raw system call: what it returned, or the errno.
fn outcome(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned == -1 { Err(last_errno()) } else { Ok(returned) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
