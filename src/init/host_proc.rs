//! Takes the host's procfs and sysfs out of a mount namespace that keeps the host's tree (`--no-pivot`).
//!
//! A process may mount a new procfs in a user namespace of its own if its mount namespace has one that nothing covers
//! (mount_namespaces(7)). The container's is covered by its masks; the host's, which only the container's root hides, would
//! give all of it away: `/proc/sysrq-trigger`, `/proc/kcore`.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::plan::mount_options::ms;
use crate::sys::{file, mount};

/// Unmounts them. What a user namespace may not unmount is covered with an empty tmpfs.
pub fn hide() -> Result<()> {
    let text = file::read(Path::new("/proc/self/mountinfo"))?;
    mount_points(&text).iter().try_for_each(|path| hide_one(path)).step(|| "take the host's /proc and /sys away")
}

fn hide_one(path: &Path) -> Result<()> {
    match mount::detach(&path.to_string_lossy()) {
        // The container's own are in the table too; the path leads below the root that covers them.
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::INVAL | Errno::PERM)) => {
            match is_proc_or_sys(path) {
                true => mount::mount("tmpfs", path, "tmpfs", ms::RDONLY, "mode=555"),
                false => Ok(()),
            }
        }
        detached => detached,
    }
}

fn is_proc_or_sys(path: &Path) -> bool {
    const SYSFS_MAGIC: libc::c_long = 0x6265_6572; // linux/magic.h
    rustix::fs::statfs(path).is_ok_and(|found| [libc::PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&found.f_type))
}

/// The mounts of procfs and sysfs as a whole; of those of a part no other can be made. See proc_pid_mountinfo(5):
/// `21 25 0:20 ROOT MOUNT_POINT rw,relatime - proc proc rw`.
fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let whole = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, mount_point) = (mount.next()?, mount.next()?);
        let kind = file_system.split(' ').next()?;
        (root == "/" && matches!(kind, "proc" | "sysfs")).then(|| file::unescape(mount_point))
    };
    mountinfo.lines().filter_map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::mount_points;
    use std::path::Path;

    #[test]
    fn whole_procfs_and_sysfs_are_found() {
        let table = "21 25 0:20 / /proc rw - proc proc rw\n22 25 0:21 / /sys rw shared:2 - sysfs sysfs rw\n\
            23 21 0:20 /bus /proc/bus ro - proc proc rw\n24 25 0:20 / /srv/a\\040b/proc rw - proc none rw\n\
            25 1 8:1 / / rw - ext4 /dev/vda rw\n";
        assert_eq!(mount_points(table), ["/proc", "/sys", "/srv/a b/proc"].map(Path::new));
    }
}
