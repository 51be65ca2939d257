//! What this machine offers: `/proc/self/cgroup` tells the hierarchies and our place in them, statfs(2) proves that
//! they are mounted where they usually are. `/proc/self/mountinfo` is read only if one is not, because its cost grows
//! with every mount of the host.

use std::path::{Component, Path, PathBuf};

use super::files;
use crate::error::{Context, Result};
use crate::plan::cgroup::{CgroupHost, Hierarchy, Unified};
use crate::sys::file;

/// Finds the cgroup hierarchies of this machine and the calling process's place in them.
pub fn probe() -> Result<CgroupHost> {
    let own = match files::read_value(Path::new("/proc/self/cgroup")) {
        Ok(text) => text,
        // A kernel without cgroups.
        Err(error) if files::is_gone(&error) => return Ok(CgroupHost::default()),
        Err(error) => return Err(error).step(|| "find the cgroups"),
    };
    let mut mounts = Mounts::Unread;
    let mut host = CgroupHost::default();
    for (controllers, own) in own.lines().filter_map(parse_membership) {
        let Some((mount_point, own)) = locate(&controllers, own, &mut mounts)? else { continue };
        match controllers.is_empty() {
            false => host.v1.push(Hierarchy { mount_point, controllers, own }),
            true => {
                let path = mount_point.join("cgroup.controllers");
                let text = files::read(&path).step(|| "find the cgroups")?;
                let controllers = text.split_whitespace().map(str::to_owned).collect();
                host.v2 = Some(Unified { mount_point, own, controllers });
            }
        }
    }
    Ok(host)
}

/// `4:cpu,cpuacct:/path` (cgroups(7)); no controllers for v2.
pub(super) fn parse_membership(line: &str) -> Option<(Vec<String>, &Path)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, own) = (parts.next()?, Path::new(parts.next()?));
    // In a cgroup namespace whose root we are not below, the kernel starts the path with `/..`.
    let outside = own.components().any(|component| component == Component::ParentDir);
    let own = if outside { Path::new("/") } else { own };
    let controllers = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some((controllers, own))
}

/// Where a hierarchy is mounted, and our cgroup relative to there; nothing if it is not mounted.
fn locate(controllers: &[String], own: &Path, mounts: &mut Mounts) -> Result<Option<(PathBuf, PathBuf)>> {
    let mut usual = usual_mount_points(controllers).into_iter().map(|mount_point| (mount_point, own.to_owned()));
    if let Some(found) = usual.find(|(mount_point, own)| is_mounted(mount_point, own, controllers)) {
        return Ok(Some(found));
    }
    // What another mount covers is listed, but cannot be reached.
    let found = find_mount(mounts.text()?, controllers, own);
    Ok(found.filter(|(mount_point, own)| is_mounted(mount_point, own, controllers)))
}

/// Our own cgroup is there only if the mount is of this kind and shows the hierarchy from where `own` counts.
fn is_mounted(mount_point: &Path, own: &Path, controllers: &[String]) -> bool {
    let magic = match controllers.is_empty() {
        true => libc::CGROUP2_SUPER_MAGIC,
        false => libc::CGROUP_SUPER_MAGIC,
    };
    let path = mount_point.join(own.strip_prefix("/").unwrap_or(own));
    rustix::fs::statfs(&path).is_ok_and(|found| found.f_type as libc::c_long == magic as libc::c_long)
}

fn usual_mount_points(controllers: &[String]) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    match controllers {
        [] => vec![root.to_owned(), root.join("unified")],
        [one] => vec![root.join(one.strip_prefix("name=").unwrap_or(one))],
        many => vec![root.join(many.join(","))],
    }
}

/// `/proc/self/mountinfo`, read when it is first needed.
enum Mounts {
    Unread,
    Read(String),
}

impl Mounts {
    fn text(&mut self) -> Result<&str> {
        if let Mounts::Unread = self {
            *self = Mounts::Read(files::read(Path::new("/proc/self/mountinfo")).step(|| "find the cgroups")?);
        }
        match self {
            Mounts::Read(text) => Ok(text),
            Mounts::Unread => Ok(""),
        }
    }
}

/// Finds a hierarchy in mountinfo: `31 23 0:28 ROOT MOUNT_POINT rw,relatime - cgroup cgroup rw,cpu` (proc_pid_mountinfo(5)).
fn find_mount(mountinfo: &str, controllers: &[String], own: &Path) -> Option<(PathBuf, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, mount_point) = (file::unescape(mount.next()?), file::unescape(mount.next()?));
        let mut file_system = file_system.split(' ');
        let (kind, options) = (file_system.next()?, file_system.nth(1)?);
        let matches = match controllers {
            [] => kind == "cgroup2",
            names => kind == "cgroup" && names.iter().all(|name| options.split(',').any(|option| option == name)),
        };
        // A mount of a part of the hierarchy (a container's view) that does not hold our cgroup: start at its top.
        let own = own.strip_prefix(&root).unwrap_or(Path::new(""));
        matches.then(|| (mount_point, Path::new("/").join(own)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_parsed() {
        let parsed = |line| parse_membership(line).map(|(names, own)| (names.join("+"), own.display().to_string()));
        assert_eq!(parsed("4:cpu,cpuacct:/a:b"), Some(("cpu+cpuacct".into(), "/a:b".into())));
        assert_eq!(parsed("1:name=systemd:/"), Some(("name=systemd".into(), "/".into())));
        assert_eq!(parsed("0::/user.slice"), Some((String::new(), "/user.slice".into())));
        assert_eq!(parsed("nonsense"), None);
    }

    #[test]
    fn mounts_at_unusual_places_are_found() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 /docker/1 /cg/cpu\\040and\\040more rw,relatime shared:9 - cgroup cgroup rw,cpuacct,cpu\n\
             33 31 0:30 / /cg/two rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = |controllers: &[&str], own| {
            let controllers: Vec<String> = controllers.iter().map(|name| (*name).to_owned()).collect();
            find_mount(mountinfo, &controllers, Path::new(own))
        };
        let at = |mount: &str, own: &str| Some((PathBuf::from(mount), PathBuf::from(own)));
        assert_eq!(found(&["cpu", "cpuacct"], "/docker/1/x"), at("/cg/cpu and more", "/x"));
        assert_eq!(found(&["cpu"], "/elsewhere"), at("/cg/cpu and more", "/"));
        assert_eq!(found(&[], "/a/b"), at("/cg/two", "/a/b"));
        assert_eq!(found(&["memory"], "/"), None);
    }
}
