//! openat2(2), the only way in which minicon opens a path below a container's root; faccessat2(2).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Fd, outcome};
use crate::call;
use crate::error::Result;

/// How often openat2(2) is tried again when it answers EAGAIN. `RESOLVE_IN_ROOT` cannot resolve `..` safely while
/// anybody on the host renames or mounts, which is common when many containers start.
const ATTEMPTS: usize = 128;

/// openat2(2). The result is close-on-exec.
pub fn openat2(directory: impl AsFd, path: &Path, flags: OFlags, mode: Mode, resolve: ResolveFlags) -> Result<OwnedFd> {
    let directory = directory.as_fd();
    let opened = openat2_if_there(directory, path, flags, mode, resolve);
    call!("openat2"(Fd(&directory), path.display()) => opened.and_then(|found| found.ok_or(Errno::NOENT)))
}

/// As [`openat2`], where nothing at the path is as good an answer: None. Other failures come as they are, because an
/// error with its arguments costs more than the call.
pub fn openat2_if_there(
    directory: impl AsFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<Option<OwnedFd>, Errno> {
    let mut attempt = 0;
    loop {
        match rustix::fs::openat2(&directory, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN) if attempt < ATTEMPTS => attempt += 1,
            Err(Errno::NOENT) => return Ok(None),
            opened => return opened.map(Some),
        }
    }
}

/// Whether the file can be executed with the rights that execve(2) will look at: faccessat2(2) with `AT_EACCESS`, since
/// access(2) passes over capabilities that are not those of root.
pub fn may_execute(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string that outlives the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) };
    match outcome(answer) {
        // Before Linux 5.8.
        Err(Errno::NOSYS) => rustix::fs::access(path, rustix::fs::Access::EXEC_OK),
        answer => answer.map(drop),
    }
}
