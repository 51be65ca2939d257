//! The mounts of a container without a mount namespace: they are made on the host, below its root, and nobody takes them
//! away with the container but us.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};

use crate::call;
use crate::container::HostMount;
use crate::error::{Context, Error, Result};
use crate::plan::Plan;
use crate::plan::mounts::Source;
use crate::plan::rootfs::{Leave, What};
use crate::root::Root;
use crate::sys::mount;

/// What a plan will mount on the host, for the record that is written before; nothing for a container with a mount
/// namespace.
pub fn planned(plan: &Plan) -> Result<Vec<HostMount>> {
    if plan.rootfs.leave != Leave::Chroot {
        return Ok(Vec::new());
    }
    let root = open_root(&plan.rootfs.path)?;
    let mut planned = Vec::new();
    for step in &plan.rootfs.furnish {
        let path = match &step.what {
            What::Mount(mount) if mount.source != Source::Existing => &mount.destination,
            What::Node(node) if node.bind => &node.path,
            _ => continue,
        };
        let before = seen_at(&root, path)?.ok_or_else(|| {
            Error::new("this kernel does not tell mounts apart, so they could not be taken away again")
                .at(step.at)
                .hint("add {\"type\": \"mount\"} to linux.namespaces, or use Linux 5.8 or later")
        })?;
        planned.push(HostMount { path: path.clone(), before: before.0 });
    }
    Ok(planned)
}

/// Takes them away, the last first. A place that shows what it showed before is left alone. Goes on after a failure and
/// returns the first.
pub fn remove(rootfs: &Path, mounts: &[HostMount]) -> Result<()> {
    if mounts.is_empty() {
        return Ok(());
    }
    // With its root all that was mounted below is out of reach.
    let Ok(root) = open_root(rootfs) else { return Ok(()) };
    let mut failed = None;
    for one in mounts.iter().rev() {
        if let Err(error) = remove_one(&root, one) {
            failed.get_or_insert(error.step(format!("unmount {}", one.path.display())));
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Nothing is mounted on a place that is not there: init may have died before it could make it.
fn remove_one(root: &Root, one: &HostMount) -> Result<()> {
    while let Some(place) = root.find(&one.path)? {
        match mount_of(&place, &one.path)? {
            Some((id, true)) if id != one.before => {
                mount::detach(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place)))?;
            }
            _ => break,
        }
    }
    Ok(())
}

/// The mount to be seen at a path, or at the nearest directory above that is there, and whether it begins there.
fn seen_at(root: &Root, path: &Path) -> Result<Option<(u64, bool)>> {
    for path in path.ancestors() {
        if let Some(place) = root.find(path)? {
            return mount_of(&place, path);
        }
    }
    Ok(None)
}

fn mount_of(place: &OwnedFd, path: &Path) -> Result<Option<(u64, bool)>> {
    let (flags, wanted) = (AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    let stat = call!("statx"(path.display()) => rustix::fs::statx(place, "", flags, wanted))?;
    let is_told = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let begins_here = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(is_told.then_some((stat.stx_mnt_id, begins_here)))
}

fn open_root(path: &Path) -> Result<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = call!("open"(path.display()) => rustix::fs::open(path, flags, Mode::empty()));
    opened.step(|| "open the root filesystem").map(Root::new)
}
