//! `mounts[]` of type `cgroup`: the hierarchies of this host as the container sees them.

use std::path::{Path, PathBuf};

use super::cgroup::{CgroupHost, CgroupPlan, Directory, Driver, Mode, Version};
use super::mount_options::attribute;
use super::mounts::{Change, Mount, Options, Source};
use super::namespaces::{Kind, Namespaces};
use super::rootfs::What;
use super::{ConfigPath, Host, Step};

/// The cgroup mount. On cgroup v2 it is one file system; on v1 and hybrid it is a tmpfs with a mount for each hierarchy
/// and links for controllers that share one, which is the layout that systemd made usual.
pub fn push(
    mount: Mount,
    at: ConfigPath,
    namespaces: &Namespaces,
    cgroup: &CgroupPlan,
    host: &Host,
    furnish: &mut Vec<Step<What>>,
    late: &mut Vec<Step<What>>,
) {
    let own_view = namespaces.has(Kind::Cgroup);
    let read_only = mount.options.own.set & attribute::RDONLY != 0;
    let mut push = |mount: Mount| furnish.push(Step::new(What::Mount(Box::new(mount)), at));
    // Inside its own cgroup namespace a container mounts the file system; else something of the host's is bound.
    let view = |destination: PathBuf, kind: &str, data: Vec<(String, Option<String>)>, directory: Option<Source>| {
        let mut options = mount.options.clone();
        let source = directory.filter(|_| !own_view).unwrap_or_else(|| {
            options.data.extend(data);
            Source::Filesystem { kind: kind.to_owned(), device: "cgroup".to_owned() }
        });
        let is_bind = !matches!(source, Source::Filesystem { .. });
        let by_runtime = is_bind && host.mounts_for(namespaces);
        Mount { destination, source, options, by_runtime, no_symlinks: true }
    };
    let directory = |version: Version, controllers: &[String], mount_point: &Path, own: &Path| {
        let same = |candidate: &&Directory| {
            candidate.version == version && (version == Version::V2 || candidate.controllers == controllers)
        };
        let ours = mount_point.join(own.strip_prefix("/").unwrap_or(own));
        match cgroup.driver {
            // It stays in ours, and sees no more than that.
            Driver::Nobody => Some(Source::Bind { path: ours, recursive: true }),
            _ => cgroup.directories.iter().find(same).map(|directory| match directory.required_by {
                Some(_) => Source::Bind { path: directory.path.clone(), recursive: true },
                // It may have to stay in ours.
                None => Source::OwnCgroup { path: directory.path.clone(), instead: ours },
            }),
        }
    };
    let unified = host.cgroups.v2.as_ref();
    let v2_directory = || unified.and_then(|unified| directory(Version::V2, &[], &unified.mount_point, &unified.own));
    match host.cgroups.mode() {
        Mode::None => {}
        // The whole tree, where the names of /proc/self/cgroup are right, as runc and crun have it. Bound and not mounted
        // anew: that would change the options of the host's, cgroups(7) knows only one set of them.
        Mode::V2 => {
            let whole = unified.map(|unified| Source::Bind { path: unified.mount_point.clone(), recursive: true });
            push(view(mount.destination.clone(), "cgroup2", Vec::new(), whole));
        }
        Mode::V1 | Mode::Hybrid => {
            push(directory_of_hierarchies(&mount));
            for hierarchy in &host.cgroups.v1 {
                let name = hierarchy.mount_point.file_name().map(PathBuf::from).unwrap_or_default();
                let data = hierarchy.controllers.iter().flat_map(|controller| hierarchy_option(controller)).collect();
                let below = mount.destination.join(&name);
                let own = directory(Version::V1, &hierarchy.controllers, &hierarchy.mount_point, &hierarchy.own);
                push(view(below, "cgroup", data, own));
            }
            if let Some(name) = unified.and_then(|unified| unified.mount_point.file_name()) {
                push(view(mount.destination.join(name), "cgroup2", Vec::new(), v2_directory()));
            }
            furnish.extend(links_of_shared_hierarchies(&mount, &host.cgroups, at));
            if read_only {
                late.push(Step::new(What::ReadOnlyMount(mount.destination), at.field("options")));
            }
        }
    }
}

/// Has the hierarchies turn read-only at the end, all in one call, with the directory that they are in. Not for one with
/// mounts of the configuration below, which may be writable (podman's for systemd is).
pub fn turn_read_only_together(furnish: &mut [Step<What>], late: &mut [Step<What>]) {
    for step in late {
        if let What::ReadOnlyMount(path) = &step.what {
            step.what = What::ReadOnlyTree(path.clone());
            let mounts = furnish.iter_mut().filter_map(|step| match &mut step.what {
                What::Mount(mount) => Some(mount),
                _ => None,
            });
            mounts.for_each(|mount| mount.options.own.set &= !attribute::RDONLY);
        }
    }
}

fn directory_of_hierarchies(mount: &Mount) -> Mount {
    let own = Change { set: attribute::NOSUID | attribute::NODEV | attribute::NOEXEC, clear: 0 };
    let data = vec![("mode".to_owned(), Some("755".to_owned()))];
    let source = Source::Filesystem { kind: "tmpfs".to_owned(), device: "tmpfs".to_owned() };
    let options = Options { own, data, ..Options::default() };
    Mount { destination: mount.destination.clone(), source, options, by_runtime: false, no_symlinks: true }
}

/// `memory` selects a controller, `name=systemd` a hierarchy without any, which must say `none` as well; cgroups(7).
fn hierarchy_option(controller: &str) -> Vec<(String, Option<String>)> {
    match controller.split_once('=') {
        Some((key, name)) => vec![("none".to_owned(), None), (key.to_owned(), Some(name.to_owned()))],
        None => vec![(controller.to_owned(), None)],
    }
}

fn links_of_shared_hierarchies(mount: &Mount, host: &CgroupHost, at: ConfigPath) -> Vec<Step<What>> {
    const LINKS: [(&str, &str, &str); 4] = [
        ("cpu,cpuacct", "cpu", "cpu,cpuacct"),
        ("cpu,cpuacct", "cpuacct", "cpu,cpuacct"),
        ("net_cls,net_prio", "net_cls", "net_cls,net_prio"),
        ("net_cls,net_prio", "net_prio", "net_cls,net_prio"),
    ];
    let exists = |name: &str| host.v1.iter().any(|hierarchy| hierarchy.mount_point.ends_with(name));
    let link = |(_, name, target): &(&str, &str, &'static str)| {
        let path = mount.destination.join(name);
        Step::new(What::Link { path, target, replace: false }, at)
    };
    LINKS.iter().filter(|(hierarchy, name, _)| exists(hierarchy) && !exists(name)).map(link).collect()
}
