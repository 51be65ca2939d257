//! Small files of the cgroup file systems: read whole, written in one write(2). Failures keep call, path and value.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::call;
use crate::error::{Error, Result};
use crate::sys::Fd;

pub(super) use crate::sys::file::{read, read_line as read_value};

/// Opens a file for writing.
pub(super) fn open_to_write(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::WRONLY)
}

/// Writes a value into an open file.
pub(super) fn write_to(file: &OwnedFd, value: &str) -> Result<()> {
    call!("write"(Fd(file), format!("{value:?}")) => rustix::io::write(file, value.as_bytes()))?;
    Ok(())
}

/// Opens a file and writes a value into it.
pub(super) fn write(path: &Path, value: &str) -> Result<()> {
    write_to(&open_to_write(path)?, value)
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    call!("open"(path.display()) => rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()))
}

/// The file, directory or cgroup is not there (any more). ENODEV is what files of a removed cgroup answer.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV))
}

/// It may not be done by this user, or on this mount.
pub(super) fn is_permission(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}
