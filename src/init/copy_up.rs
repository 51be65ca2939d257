//! `tmpcopyup`: a tmpfs starts with what the image has at that place. Directories, files and links are copied with their
//! modes and owners, through descriptors, and no link is followed.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};

use crate::call;
use crate::error::Result;

/// Copies the content of a directory into another.
pub fn copy_into(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = call!("openat"(".") => rustix::fs::openat(from, ".", flags, Mode::empty()))?;
    let to = call!("openat"(".") => rustix::fs::openat(to, ".", flags, Mode::empty()))?;
    copy_directory(&from, &to)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let entries = call!("getdents64"() => Dir::read_from(from))?;
    for entry in entries {
        let entry = call!("getdents64"() => entry)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let shown = name.to_string_lossy();
        let stat = call!("fstatat"(shown) => rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW))?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                call!("mkdirat"(shown) => rustix::fs::mkdirat(to, name, mode))?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner_from = call!("openat"(shown) => rustix::fs::openat(from, name, flags, Mode::empty()))?;
                let inner_to = call!("openat"(shown) => rustix::fs::openat(to, name, flags, Mode::empty()))?;
                copy_directory(&inner_from, &inner_to)?;
            }
            FileType::RegularFile => copy_file(from, to, name, mode)?,
            FileType::Symlink => {
                let target = call!("readlinkat"(shown) => rustix::fs::readlinkat(from, name, Vec::new()))?;
                call!("symlinkat"(shown) => rustix::fs::symlinkat(&target, to, name))?;
            }
            // A socket, pipe or device at run time of an image means nothing in a copy.
            _ => continue,
        }
        keep_owner(to, name, &stat)?;
    }
    Ok(())
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr, mode: Mode) -> Result<()> {
    let shown = name.to_string_lossy();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = call!("openat"(shown) => rustix::fs::openat(from, name, flags, Mode::empty()))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = call!("openat"(shown) => rustix::fs::openat(to, name, flags, mode))?;
    let copied = std::io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(target));
    let copied = copied.map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO));
    call!("write"(shown) => copied).map(drop)
}

fn keep_owner(to: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    let shown = name.to_string_lossy();
    call!("fchownat"(shown) => rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
}
