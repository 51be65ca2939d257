//! The classic mount(2), for what the descriptor-based calls cannot do: options longer than fsconfig(2) takes, flags
//! that only mount(2) has, kernels before 5.12, and outer filters that refuse fsopen(2) or open_tree(2) for a volume. The root
//! itself needs open_tree(2) and move_mount(2) (Linux 5.2).
//!
//! mount(2) wants a path. `/proc/self/fd/N` names the open place, so that still no path in the image is resolved twice.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;

use super::place::Place;
use super::{copy_up, mounts};
use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::mount_options::{attribute, ms};
use crate::plan::mounts::Mount;
use crate::root::Root;
use crate::sys;
use crate::sys::mount::{self, Attributes};

/// mount_setattr(2), or a remount where the kernel or a filter does not have it.
pub fn set_attributes(mount: &OwnedFd, attributes: &Attributes, recursive: bool) -> Result<()> {
    match mount::set_attributes(mount, attributes, recursive) {
        Err(error) if error.errno() == Some(Errno::NOSYS) => {
            let depth = if recursive { ms::REC } else { 0 };
            if attributes.propagation != 0 {
                return mount::mount("none", &place_path(mount)?, "", attributes.propagation | depth, "");
            }
            if recursive && attributes.clear | attributes.set & !attribute::RDONLY != 0 {
                return Err(error.hint("recursive mount options need Linux 5.12 (mount_setattr)"));
            }
            let flags = current_flags(mount, attributes)?;
            mount::mount("none", &place_path(mount)?, "", ms::REMOUNT | ms::BIND | flags, "")
        }
        done => done,
    }
}

/// Changes a detached tree and attaches it. A remount reaches only what is mounted, so where that is what it takes, the
/// tree is changed at its place.
pub fn attach_changed(tree: &OwnedFd, place: &Place, change: impl Fn(&OwnedFd) -> Result<()>) -> Result<()> {
    match change(tree) {
        Err(error) if error.call_name() == Some("mount") && error.errno() == Some(Errno::INVAL) => {
            place.attach(tree)?;
            change(tree)
        }
        changed => changed.and_then(|()| place.attach(tree)),
    }
}

/// A remount replaces all flags, so those that are there are repeated.
fn current_flags(mount: &OwnedFd, change: &Attributes) -> Result<u64> {
    const PAIRS: [(u64, StatVfsMountFlags, u64); 6] = [
        (attribute::RDONLY, StatVfsMountFlags::RDONLY, ms::RDONLY),
        (attribute::NOSUID, StatVfsMountFlags::NOSUID, ms::NOSUID),
        (attribute::NODEV, StatVfsMountFlags::NODEV, ms::NODEV),
        (attribute::NOEXEC, StatVfsMountFlags::NOEXEC, ms::NOEXEC),
        (attribute::NOATIME, StatVfsMountFlags::NOATIME, ms::NOATIME),
        (attribute::NODIRATIME, StatVfsMountFlags::NODIRATIME, ms::NODIRATIME),
    ];
    const NOSYMFOLLOW: u64 = 0x2000; // ST_NOSYMFOLLOW, linux/statfs.h
    let there = call!("fstatvfs"(sys::Fd(mount)) => fstatvfs(mount))?.f_flag;
    let is_strict = match change.clear & attribute::ATIME_MASK {
        0 => !there.intersects(StatVfsMountFlags::NOATIME | StatVfsMountFlags::RELATIME),
        _ => change.set & attribute::STRICTATIME != 0,
    };
    let follows = there.bits() & NOSYMFOLLOW == 0 || change.clear & attribute::NOSYMFOLLOW != 0;
    let follows = follows && change.set & attribute::NOSYMFOLLOW == 0;
    let flags = if is_strict { ms::STRICTATIME } else { 0 } | if follows { 0 } else { ms::NOSYMFOLLOW };
    Ok(PAIRS.iter().fold(flags, |flags, (attribute, present, flag)| {
        let kept = there.contains(*present) && change.clear & attribute == 0;
        if kept || change.set & attribute != 0 { flags | flag } else { flags }
    }))
}

/// A bind mount, its flags, and the place opened again, now that the mount is on it.
pub fn bind(root: &Root, plan: &Mount, source: &Path, recursive: bool) -> Result<OwnedFd> {
    let meta = std::fs::metadata(source).map_err(|error| Error::new(format!("{}: {error}", source.display())))?;
    let place = if meta.is_dir() { root.directory(&plan.destination)? } else { root.file(&plan.destination)? };
    let depth = if recursive { ms::REC } else { 0 };
    mount::mount(&source.to_string_lossy(), &place_path(&place)?, "", ms::BIND | depth, "")?;
    let mounted = root.open(&plan.destination)?;
    mounts::change(&mounted, plan)?;
    Ok(mounted)
}

/// A new file system, and the place opened again, now that the mount is on it.
pub fn mount_filesystem(root: &Root, plan: &Mount, place: &OwnedFd, kind: &str, device: &str) -> Result<OwnedFd> {
    let flags = plan.options.as_classic_flags();
    mount::mount(device, &place_path(place)?, kind, flags, &plan.options.data_string())?;
    let mounted = root.open(&plan.destination)?;
    if plan.options.copy_up {
        copy_up::copy_into(place, &mounted).step(|| format!("copy {} up", plan.destination.display()))?;
    }
    Ok(mounted)
}

/// Changes the file system of an existing mount, whose own flags have been changed by now and stay.
pub fn remount(place: &OwnedFd, plan: &Mount) -> Result<()> {
    let flags = ms::REMOUNT | plan.options.classic_flags | current_flags(place, &Attributes::default())?;
    mount::mount("none", &place_path(place)?, "", flags, &plan.options.data_string())
}

/// `/proc/self/fd/N`, if /proc is procfs and not something that looks like it.
fn place_path(place: &OwnedFd) -> Result<PathBuf> {
    let directory = "/proc/self/fd";
    let filesystem = call!("statfs"(directory) => rustix::fs::statfs(directory))?;
    if filesystem.f_type as u64 != rustix::fs::PROC_SUPER_MAGIC as u64 {
        return Err(Error::new("/proc is not procfs")
            .hint("this kernel lacks mount_setattr (Linux 5.12), and mount(2) needs /proc"));
    }
    Ok(PathBuf::from(format!("{directory}/{}", place.as_raw_fd())))
}
