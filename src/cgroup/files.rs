//! Small files of the cgroup file systems: read whole, written in one write(2). Failures keep call, path and value.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::call;
use crate::error::{Error, Result};
use crate::sys::Fd;

/// Reads a file to its end.
pub(super) fn read(path: &Path) -> Result<String> {
    let file = open(path, OFlags::RDONLY)?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match call!("read"(Fd(&file)) => rustix::io::read(&file, &mut buffer))? {
            0 => break,
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    String::from_utf8(text).map_err(|_| Error::new(format!("{}: not text", path.display())))
}

/// Reads a file that holds one value, without the newline.
pub(super) fn read_value(path: &Path) -> Result<String> {
    let file = open(path, OFlags::RDONLY)?;
    let mut buffer = [0; 4096];
    let length = call!("read"(Fd(&file)) => rustix::io::read(&file, &mut buffer))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())
}

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
