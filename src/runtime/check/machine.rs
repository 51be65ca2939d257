//! What any container needs of the machine.

use std::path::Path;

use rustix::fs::{Access, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::PidfdFlags;

use super::Report;
use crate::cgroup;
use crate::error::Result;
use crate::host;
use crate::plan::Host;
use crate::plan::cgroup::{CgroupHost, Mode as CgroupMode};
use crate::plan::identity::{CAPABILITIES, capability_name};
use crate::plan::namespaces::Kind;
use crate::runtime::Environment;
use crate::sys::file::read_line;
use crate::sys::{mount, path};

/// Looks at everything.
pub fn look(report: &mut Report, environment: &Environment) {
    let host = host::identity();
    kernel(report);
    namespaces(report);
    rights(report, &host);
    cgroups(report, &host);
    security_modules(report);
    proc(report, &host);
    state_directory(report, &environment.root);
    programs(report, &host);
}

/// Features are asked for, never versions.
fn kernel(report: &mut Report) {
    let release = rustix::system::uname();
    report.fine(
        "kernel",
        format!("Linux {} on {}", release.release().to_string_lossy(), release.machine().to_string_lossy()),
    );
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    if let Err(error) = path::openat2(CWD, Path::new("/"), flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        report.failure(
            "kernel",
            error.headline(),
            "openat2 is needed: Linux 5.6, or a seccomp filter that lets it pass",
        );
    }
    let own = rustix::process::getpid();
    if let Err(errno) = rustix::process::pidfd_open(own, PidfdFlags::empty()) {
        report.failure("kernel", format!("pidfd_open: {errno}"), "Linux 5.3, or a seccomp filter that lets it pass");
    }
    // EPERM is a filter's answer to root, but to an ordinary user the kernel's own.
    let is_root = rustix::process::geteuid().is_root();
    let is_missing = |done: Result<()>| {
        done.is_err_and(|error| mount::is_unavailable(&error) && (is_root || error.errno() == Some(Errno::NOSYS)))
    };
    if is_missing(mount::open_filesystem("proc").map(drop)) {
        report.warning("kernel", "no fsopen: mounts are made by mount(2)", "Linux 5.2 has it");
    }
    // Nothing to set and nothing to clear: the kernel changes nothing.
    let nothing = mount::Attributes::default();
    let open = || rustix::fs::open("/", flags | OFlags::CLOEXEC, Mode::empty());
    if open().is_ok_and(|slash| is_missing(mount::set_attributes(&slash, &nothing, false))) {
        report.warning("kernel", "no mount_setattr: no recursive options, no id-mapped mounts", "Linux 5.12 has it");
    }
    match read_line(Path::new("/proc/sys/kernel/seccomp/actions_avail")) {
        Ok(actions) => report.fine("kernel", format!("seccomp: {actions}")),
        Err(_) => report.warning("kernel", "no seccomp filters", "build the kernel with CONFIG_SECCOMP_FILTER"),
    }
}

fn namespaces(report: &mut Report) {
    let missing = |kind: &&Kind| !Path::new("/proc/self/ns").join(kind.proc_name()).exists();
    let absent: Vec<&str> = Kind::ALL.iter().filter(missing).map(|kind| kind.name()).collect();
    match absent.is_empty() {
        true => report.fine("namespaces", "all kinds"),
        false => report.warning("namespaces", format!("not here: {}", absent.join(" ")), "see CONFIG_NAMESPACES"),
    }
    for kind in Kind::ALL {
        let name = if kind == Kind::Network { "net" } else { kind.proc_name() };
        let file = format!("/proc/sys/user/max_{name}_namespaces");
        if read_line(Path::new(&file)).is_ok_and(|limit| limit == "0") {
            report.failure("namespaces", format!("{file} is 0"), "raise it with sysctl");
        }
    }
    for (file, refused) in [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ] {
        let is_refused = read_line(Path::new(file)).is_ok_and(|value| value == refused);
        if is_refused && !rustix::process::geteuid().is_root() {
            report.failure(
                "namespaces",
                format!("{file} is {refused}"),
                "users may make no user namespaces here: change it with sysctl",
            );
        }
    }
}

fn rights(report: &mut Report, host: &Host) {
    let who = match (host.user.0, host.in_user_namespace) {
        (0, false) => "root",
        (0, true) => "root of a user namespace",
        _ => "an ordinary user: containers need a user namespace, and devices of the host are bound",
    };
    report.fine("rights", format!("uid {}, {who}", host.user.0));
    let lacks = |number: &usize| host.bounding_capabilities & 1 << number == 0;
    let missing = (0..CAPABILITIES.len()).filter(lacks).map(|number| capability_name(CAPABILITIES[number]));
    let missing: Vec<String> = missing.collect();
    if !missing.is_empty() {
        let what = format!("cannot be granted: {}", missing.join(" "));
        report.warning("rights", what, "they are not in our bounding set; a container that wants them goes without");
    }
}

fn cgroups(report: &mut Report, host: &Host) {
    let cgroups = match cgroup::probe() {
        Ok(cgroups) => cgroups,
        Err(error) => return report.failure("cgroups", error.headline(), "is /sys/fs/cgroup mounted?"),
    };
    let mode = match cgroups.mode() {
        CgroupMode::None => {
            return report.failure("cgroups", "no hierarchy is mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup");
        }
        CgroupMode::V1 => "v1",
        CgroupMode::Hybrid => "hybrid: v1 controllers beside a v2 hierarchy",
        CgroupMode::V2 => "v2",
    };
    report.fine("cgroups", mode);
    let mut controllers: Vec<&str> = cgroups.v1.iter().flat_map(|one| &one.controllers).map(String::as_str).collect();
    controllers.extend(cgroups.v2.iter().flat_map(|unified| &unified.controllers).map(String::as_str));
    report.fine("cgroups", format!("controllers: {}", controllers.join(" ")));
    for wanted in ["cpu", "memory", "pids"].iter().filter(|wanted| !controllers.contains(wanted)) {
        report.warning(
            "cgroups",
            format!("no controller {wanted}"),
            "cgroup_disable= on the kernel's command line, or not built in",
        );
    }
    if host.rootless {
        delegation(report, &cgroups);
    }
}

/// Whether a user without privileges may make cgroups, and with which controllers.
fn delegation(report: &mut Report, cgroups: &CgroupHost) {
    let Some(unified) = cgroups.v2.as_ref().filter(|_| cgroups.mode() == CgroupMode::V2) else {
        return report.warning(
            "cgroups",
            "users have no cgroups of their own on v1",
            "limits need root, or cgroup v2 with delegation",
        );
    };
    let own = unified.mount_point.join(unified.own.strip_prefix("/").unwrap_or(&unified.own));
    let parent = own.parent().unwrap_or(&own);
    if rustix::fs::access(parent, Access::WRITE_OK).is_err() {
        let what = format!("{} is not delegated to this user", parent.display());
        return report.warning(
            "cgroups",
            what,
            "limits need it: systemd-run --user --scope -p Delegate=yes …, or --systemd-cgroup",
        );
    }
    let delegated = read_line(&parent.join("cgroup.controllers")).unwrap_or_default();
    report.fine("cgroups", format!("delegated to this user: {delegated}"));
    let missing: Vec<&str> = ["cpu", "cpuset", "io", "memory", "pids"]
        .into_iter()
        .filter(|name| !delegated.split(' ').any(|known| known == *name))
        .collect();
    if !missing.is_empty() {
        let remedy = format!("Delegate={} in /etc/systemd/system/user@.service.d/delegate.conf", missing.join(" "));
        report.warning("cgroups", format!("not delegated: {}", missing.join(" ")), &remedy);
    }
}

fn security_modules(report: &mut Report) {
    let listed = read_line(Path::new("/sys/kernel/security/lsm")).unwrap_or_default();
    let apparmor = read_line(Path::new("/sys/module/apparmor/parameters/enabled")).is_ok_and(|text| text == "Y");
    let selinux = Path::new("/sys/fs/selinux/enforce").exists();
    let yes = |is: bool| if is { "yes" } else { "no" };
    let listed = if listed.is_empty() { "unknown".to_owned() } else { listed };
    report.fine("modules", format!("AppArmor {}, SELinux {}; the kernel lists: {listed}", yes(apparmor), yes(selinux)));
}

/// A /proc that something is mounted over cannot be mounted anew in a user namespace (mount_namespaces(7), locked mounts).
fn proc(report: &mut Report, host: &Host) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    let masks: Vec<&str> =
        places.filter(|place| place.starts_with("/proc/") && !place.contains("binfmt_misc")).collect();
    if !masks.is_empty() {
        let what = format!("{} mounts lie over /proc, {} first", masks.len(), masks[0]);
        let remedy = "a container in a user namespace cannot mount proc: bind the host's, or give the outer container an unmasked one";
        match host.in_user_namespace || host.user.0 != 0 {
            true => report.failure("proc", what, remedy),
            false => report.warning("proc", what, remedy),
        }
    }
}

fn state_directory(report: &mut Report, root: &Path) {
    let there = root.ancestors().find(|directory| directory.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => report.fine("state", root.display().to_string()),
        Err(errno) => {
            let what = format!("{}: {} cannot be written to: {errno}", root.display(), there.display());
            let remedy = if errno == Errno::ROFS {
                "it is on a read-only file system: name another with --root"
            } else {
                "name another with --root, or set XDG_RUNTIME_DIR"
            };
            report.failure("state", what, remedy);
        }
    }
}

fn programs(report: &mut Report, host: &Host) {
    for (name, purpose, is_wanted) in [
        ("newuidmap", "an ordinary user maps more than one id with it (Debian: uidmap)", host.user.0 != 0),
        ("newgidmap", "an ordinary user maps more than one id with it (Debian: uidmap)", host.user.0 != 0),
        ("criu", "checkpoint and restore need it", true),
    ] {
        match find(name) {
            Some(path) => report.fine("programs", path),
            None if is_wanted => report.warning("programs", format!("no {name}"), purpose),
            None => report.fine("programs", format!("no {name}: {purpose}")),
        }
    }
}

/// A program where programs are.
pub fn find(name: &str) -> Option<String> {
    let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    directories.iter().map(|directory| format!("{directory}/{name}")).find(|path| Path::new(path).exists())
}
