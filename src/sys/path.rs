//! openat2(2), the only way in which minicon opens a path below a container's root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Fd;
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
