//! Files of /proc and of the cgroup file systems, which tell no size and are short: std asks for the size first and then
//! reads 32 bytes, 32, 64, …, and the kernel writes the whole text anew for each.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Fd;
use crate::call;
use crate::error::{Error, Result};

/// Reads a file to its end.
pub fn read(path: &Path) -> Result<String> {
    let file = open(path)?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match call!("read"(Fd(&file)) => rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer)))? {
            0 => break,
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    String::from_utf8(text).map_err(|_| Error::new(format!("{}: not text", path.display())))
}

/// Reads a file that holds one line, in one read(2), without the newline.
pub fn read_line(path: &Path) -> Result<String> {
    let file = open(path)?;
    let mut buffer = [0; 4096];
    let length = call!("read"(Fd(&file)) => rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer)))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())
}

/// Reads a regular file from its beginning, at most so much of it. What a read(2) does not fill up has come to the end.
pub fn read_up_to(file: &std::os::fd::OwnedFd, most: usize) -> Result<Vec<u8>> {
    let mut text = vec![0; 16 * 1024];
    let mut length = 0;
    loop {
        let place = &mut text[length..];
        let room = place.len();
        let read = call!("read"(Fd(file)) => rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *place)))?;
        length += read;
        if read < room || length >= most {
            text.truncate(length.min(most));
            return Ok(text);
        }
        text.resize(text.len() * 2, 0);
    }
}

fn open(path: &Path) -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    call!("open"(path.display()) => rustix::fs::open(path, flags, Mode::empty()))
}

/// mountinfo writes blanks and backslashes as `\040`.
pub fn unescape(field: &str) -> PathBuf {
    let mut rest = field;
    let mut plain = String::new();
    while let Some(position) = rest.find('\\') {
        plain.push_str(&rest[..position]);
        let code = rest.get(position + 1..position + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = &rest[position + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[position + 1..];
            }
        }
    }
    plain.push_str(rest);
    PathBuf::from(plain)
}
