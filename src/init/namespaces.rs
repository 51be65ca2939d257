//! ENTER: the namespaces that the clone could not give, and who we are in them.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::proc::Proc;
use super::{Join, Start};
use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::ConfigPath;
use crate::plan::namespaces::{Kind, Namespaces};
use crate::plan::steps::id;
use crate::sys::{self, network, process};
use crate::trace::{self, Outcome};

/// Joins and makes what is left, names the host. Returns our own /proc if a later step needs it; it must be opened while
/// the host's /proc is in view.
pub fn enter(start: &Start<'_>) -> Result<Option<Proc>> {
    let plan = start.plan;
    let namespaces = &plan.namespaces;
    call!("umask"() => Ok::<_, Errno>(rustix::process::umask(rustix::fs::Mode::empty())))?;
    // A session of our own, so that signals of the caller's terminal do not reach the container.
    trace::step(|| id::SESSION, || call!("setsid"() => rustix::process::setsid()))?;
    if let Some(keyring) = &plan.keyring {
        trace::conditional(|| id::KEYRING, || join_keyring(keyring))?;
    }
    if namespaces.creates(Kind::Time) {
        trace::step(|| id::NAMESPACE_TIME, || enter_time_namespace(namespaces))?;
    }
    trace::step(|| id::HIDE, process::hide)?;
    for (kind, fd) in &start.joins {
        join_namespace(*kind, fd)?;
    }
    if namespaces.creates(Kind::Cgroup) {
        // Only now are we in our cgroup on v1 too; its root is where we are, see cgroup_namespaces(7).
        let made = trace::step(|| id::NAMESPACE_CGROUP, || process::unshare(Kind::Cgroup.flag()));
        made.step(|| "make the cgroup namespace")?;
    }
    if namespaces.has(Kind::User) {
        trace::step(|| id::NAMESPACE_ROOT, || become_root(plan.annotations.keep_groups))?;
    }
    name_host(namespaces)?;
    if namespaces.creates(Kind::Network) {
        trace::step(|| id::LOOPBACK, || network::bring_up("lo")).step(|| "bring the loopback device up")?;
    }
    plan.needs_proc().then(|| trace::step(|| id::PROCFS, Proc::open)).transpose()
}

/// Joins a namespace that was opened before.
pub fn join_namespace(kind: Kind, fd: &OwnedFd) -> Result<()> {
    let joined = trace::step(|| id::join(kind), || process::setns(fd, kind.flag()));
    joined.step(|| format!("join the {} namespace", kind.name()))
}

/// Joins a running container, through its init: setns(2) with a pidfd takes all namespaces at once (Linux 5.8).
pub fn join_container(join: &Join<'_>) -> Result<()> {
    let (kinds, left) = join.namespaces;
    call!("setsid"() => rustix::process::setsid())?;
    if let Some(keyring) = join.keyring {
        trace::conditional(|| id::KEYRING, || join_keyring(keyring))?;
    }
    // From here on a process of the container can see us (CVE-2016-9962).
    process::hide()?;
    // The pid namespace is one to be born into: the runtime has seen to that.
    if left != 0 {
        process::setns(join.container, left).step(|| "join the container's namespaces")?;
    }
    if let Some(root) = &join.root {
        call!("fchdir"(sys::Fd(root)) => rustix::process::fchdir(root))?;
        call!("chroot"(".") => rustix::process::chroot(".")).step(|| "enter the container's root")?;
    }
    if kinds & Kind::User.flag() != 0 {
        become_root(join.program.identity.keep_groups)?;
    }
    Ok(())
}

/// A kernel without keyrings, or one whose limit the user has reached, is no reason to fail: runc takes it so too.
fn join_keyring(name: &str) -> Result<Outcome> {
    let name = std::ffi::CString::new(name).map_err(|_| Error::new("the id holds a NUL byte"))?;
    match process::join_session_keyring(&name) {
        Err(error) if matches!(error.errno(), Some(Errno::NOSYS | Errno::PERM | Errno::DQUOT | Errno::ACCESS)) => {
            Ok(Outcome::Skipped)
        }
        joined => joined.map(|()| Outcome::Done).step(|| "join a new session keyring"),
    }
}

/// The offsets can be written only between the unshare and the first process inside, so init enters by itself; the
/// runtime stays outside, and with it the hooks that it runs.
fn enter_time_namespace(namespaces: &Namespaces) -> Result<()> {
    let at = ConfigPath::new("linux.timeOffsets");
    process::unshare(Kind::Time.flag()).step(|| "make the time namespace")?;
    if !namespaces.time_offsets.is_empty() {
        let file = "/proc/self/timens_offsets";
        let text = namespaces.time_offsets.join("\n");
        let written = std::fs::write(file, &text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        call!("write"(file, text) => written).step(|| "set the clock offsets").at(at)?;
    }
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = "/proc/self/ns/time_for_children";
    let entry = call!("open"(file) => rustix::fs::open(file, flags, rustix::fs::Mode::empty()))?;
    process::setns(&entry, Kind::Time.flag()).step(|| "enter the time namespace")?;
    if let Some((seconds, nanoseconds)) = namespaces.clock_offset() {
        trace::set_clock_offset(seconds, nanoseconds);
    }
    Ok(())
}

/// In its user namespace init is root where that id is mapped. Where it is not, it keeps its capabilities and the
/// overflow id, and files that it would make have no owner.
fn become_root(keep_groups: bool) -> Result<()> {
    // EPERM: setgroups is denied, as it must be where an unprivileged user maps a single group.
    if !keep_groups {
        match rustix::thread::set_thread_groups(&[]) {
            Err(Errno::PERM | Errno::INVAL) => {}
            groups => call!("setgroups"(0) => groups)?,
        }
    }
    let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    for result in [rustix::thread::set_thread_res_gid(gid, gid, gid), rustix::thread::set_thread_res_uid(uid, uid, uid)]
    {
        if result != Err(Errno::INVAL) {
            call!("setresuid"(0, 0, 0) => result).step(|| "become root of the user namespace")?;
        }
    }
    // Changing the id has made us dumpable or not as /proc/sys/fs/suid_dumpable says.
    process::hide()
}

fn name_host(namespaces: &Namespaces) -> Result<()> {
    if let Some(name) = &namespaces.hostname {
        trace::step(|| id::HOSTNAME, || process::set_hostname(name))
            .step(|| "set the host name")
            .at(ConfigPath::new("hostname"))?;
    }
    if let Some(name) = &namespaces.domainname {
        trace::step(|| id::DOMAINNAME, || process::set_domainname(name))
            .step(|| "set the domain name")
            .at(ConfigPath::new("domainname"))?;
    }
    Ok(())
}
