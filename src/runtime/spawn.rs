//! Makes init: the clone, the extra process that joining some namespaces needs, the id maps.
//! The only file of the host side that names the container side: it is where one becomes the other.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use crate::call;
use crate::cgroup::Entrance;
use crate::container::Record;
use crate::error::{Context, Error, Result};
use crate::handshake::{Channel, Gate, Message, Pace};
use crate::hooks::Output;
use crate::init;
use crate::plan::namespaces::{IdMap, Join, Kind};
use crate::plan::steps::id;
use crate::plan::{ConfigPath, Host, Plan};
use crate::sys::descriptors::Spent;
use crate::sys::process::{self, Child, Cloned};
use crate::trace;

/// What init inherits; see [`init::Start`].
#[derive(Debug)]
pub struct Inheritance<'a> {
    #[allow(missing_docs)]
    pub plan: &'a Plan,
    #[allow(missing_docs)]
    pub record: &'a Record,
    #[allow(missing_docs)]
    pub gate: Gate,
    #[allow(missing_docs)]
    pub cgroup: Entrance,
    #[allow(missing_docs)]
    pub hook_output: &'a Output,
    #[allow(missing_docs)]
    pub preserved_fds: u32,
    #[allow(missing_docs)]
    pub pace: Pace,
}

/// Clones init. It holds until it is told to proceed.
pub fn init(inheritance: Inheritance<'_>) -> Result<(Channel, Child)> {
    let namespaces = &inheritance.plan.namespaces;
    let joins = namespaces.join.iter().map(open_namespace).collect::<Result<Vec<_>>>()?;
    for (kind, fd) in joins.iter().flatten() {
        check_is_private(inheritance.plan, *kind, fd)?;
    }
    let joins: Vec<(Kind, OwnedFd)> = joins.into_iter().flatten().collect();
    let (ours, theirs) = Channel::pair()?;
    let joins_user = joins.iter().any(|(kind, _)| *kind == Kind::User);
    // Namespaces of the host cannot be joined any more from inside a user namespace, and what is new must belong to it.
    let needs_usher = joins_user
        || namespaces.creates(Kind::User) && joins.iter().any(|(kind, _)| *kind != Kind::Pid)
        || !may_come_back(&joins);
    let clone = || match needs_usher {
        true => via_usher(inheritance, joins, theirs, &ours),
        false => directly(inheritance, joins, theirs),
    };
    trace::step(|| id::CLONE, clone).step(|| "make the container's init").map(|child| (ours, child))
}

/// Whether we can join a pid namespace for one clone and leave it again. It takes rights over our own one, which belongs
/// to the host, and these the root of a user namespace does not have (pid_namespaces(7), setns(2)).
fn may_come_back(joins: &[(Kind, OwnedFd)]) -> bool {
    !joins.iter().any(|(kind, _)| *kind == Kind::Pid) || !crate::host::identity().in_user_namespace
}

/// Opens a namespace and checks what it is: "The runtime MUST generate an error if path is not associated with a
/// namespace of type type" (config-linux.md). None for the user namespace that we are in: it cannot be joined again.
pub fn open_namespace(join: &Join) -> Result<Option<(Kind, OwnedFd)>> {
    let at = join.at.field("path");
    let opened = || {
        let fd = call!("open"(join.path.display())
            => rustix::fs::open(&join.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
        match process::namespace_type(&fd) {
            Ok(found) if found == join.kind.flag() => Ok(fd),
            Ok(found) => {
                let found = Kind::ALL.iter().find(|kind| kind.flag() == found).map_or("other", |kind| kind.name());
                Err(Error::new(format!("{} is a {found} namespace, not {}", join.path.display(), join.kind.name())))
            }
            Err(_) => Err(Error::new(format!("{} is not a namespace", join.path.display()))),
        }
    };
    let fd = trace::step(|| id::open(join.kind), opened);
    let fd = fd.step(|| format!("open the {} namespace", join.kind.name())).at(at)?;
    Ok((join.kind != Kind::User || !is_own(&fd, Kind::User)).then_some((join.kind, fd)))
}

/// A path may lead to the namespace that we are in ourselves; what is set there would be set on the host.
fn check_is_private(plan: &Plan, kind: Kind, fd: &OwnedFd) -> Result<()> {
    let sysctl = plan.sysctls.iter().find(|sysctl| sysctl.namespace == kind);
    let names_host = plan.namespaces.hostname.is_some() || plan.namespaces.domainname.is_some();
    let change = match sysctl {
        Some(sysctl) => format!("sysctl {:?}", sysctl.file),
        None if kind == Kind::Uts && names_host => "a host name".to_owned(),
        None => return Ok(()),
    };
    if !is_own(fd, kind) {
        return Ok(());
    }
    Err(Error::new(format!("{change} not allowed in the host's {} namespace", kind.name()))
        .at(ConfigPath::new(if sysctl.is_some() { "linux.sysctl" } else { "hostname" })))
}

/// Whether a namespace is the one that we are in.
pub fn is_own(fd: &OwnedFd, kind: Kind) -> bool {
    let own = rustix::fs::stat(format!("/proc/self/ns/{}", kind.proc_name()));
    matches!((own, rustix::fs::fstat(fd)), (Ok(own), Ok(there)) if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino))
}

/// Those that the clone makes; init makes its time and cgroup namespace by itself.
fn clone_flags(plan: &Plan) -> u64 {
    let by_clone = |kind: &&Kind| !matches!(kind, Kind::Time | Kind::Cgroup);
    plan.namespaces.new.iter().filter(by_clone).fold(0, |flags, kind| flags | u64::from(kind.flag()))
}

fn directly(inheritance: Inheritance<'_>, mut joins: Vec<(Kind, OwnedFd)>, channel: Channel) -> Result<Child> {
    // Joining a pid namespace takes effect for children only, so we join it for the clone and come back.
    let pid = joins.iter().position(|(kind, _)| *kind == Kind::Pid).map(|index| joins.remove(index).1);
    let back = pid.map(|target| enter_pid_namespace(&target)).transpose()?;
    let flags = clone_flags(inheritance.plan);
    let cloned = process::clone3(flags, inheritance.cgroup.v2_directory());
    match cloned {
        Ok(Cloned::Child) => become_init(inheritance, joins, channel),
        cloned => {
            if let Some(own) = back {
                process::setns(&own, Kind::Pid.flag()).step(|| "come back from the pid namespace")?;
            }
            match cloned? {
                Cloned::Parent(child) => {
                    // Init has its own now.
                    let Inheritance { gate, cgroup, .. } = inheritance;
                    drop(gate.into_fds().into_iter().chain(cgroup.into_fds()).collect::<Spent>());
                    Ok(child)
                }
                Cloned::Child => unreachable!("the child has gone its own way"),
            }
        }
    }
}

/// Makes our next child be born in this pid namespace; returns the way back.
pub fn enter_pid_namespace(target: &OwnedFd) -> Result<OwnedFd> {
    let own = "/proc/self/ns/pid";
    let own = call!("open"(own) => rustix::fs::open(own, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
    init::join_namespace(Kind::Pid, target)?;
    Ok(own)
}

fn become_init(inheritance: Inheritance<'_>, joins: Vec<(Kind, OwnedFd)>, channel: Channel) -> ! {
    let Inheritance { plan, record, gate, cgroup, hook_output, preserved_fds, pace } = inheritance;
    init::start(init::Start { plan, record, channel, gate, cgroup, joins, hook_output, preserved_fds, pace })
}

fn via_usher(
    inheritance: Inheritance<'_>,
    joins: Vec<(Kind, OwnedFd)>,
    theirs: Channel,
    ours: &Channel,
) -> Result<Child> {
    let flags = clone_flags(inheritance.plan);
    let cgroup = inheritance.cgroup.v2_directory().map(|directory| directory.try_clone_to_owned()).transpose();
    let cgroup = cgroup.map_err(|error| Error::new(error.to_string()))?;
    let enter = move || join_all(&joins);
    through_usher(enter, flags, cgroup, theirs, ours, |channel| become_init(inheritance, Vec::new(), channel))
}

/// An extra process enters first and then clones the one that is wanted as its sibling, our child. It holds copies of our
/// descriptors too, but ends at once.
pub fn through_usher(
    enter: impl FnOnce() -> Result<()>,
    flags: u64,
    cgroup: Option<OwnedFd>,
    theirs: Channel,
    ours: &Channel,
    become_it: impl FnOnce(Channel), // does not return
) -> Result<Child> {
    let usher = match process::clone3(0, None)? {
        Cloned::Parent(child) => child,
        Cloned::Child => {
            let flags = flags | libc::CLONE_PARENT as u64;
            let cloned = process::hide()
                .and_then(|()| enter())
                .and_then(|()| process::clone3(flags, cgroup.as_ref().map(AsFd::as_fd)));
            let word = match cloned {
                Ok(Cloned::Child) => {
                    become_it(theirs);
                    process::exit(1)
                }
                Ok(Cloned::Parent(child)) => Message::Spawned(child.pid),
                Err(error) => Message::Failed(error),
            };
            let _ = theirs.send(&word);
            process::exit(0)
        }
    };
    drop((enter, become_it, theirs));
    let said = ours.expect();
    let reaped = rustix::process::waitpid(Pid::from_raw(usher.pid), WaitOptions::empty());
    call!("waitpid"(usher.pid) => reaped)?;
    match said? {
        Message::Spawned(pid) => {
            // Our own child, not reaped yet: the pid cannot have been used again.
            let process = Pid::from_raw(pid).ok_or_else(|| Error::new("the new process has no pid"))?;
            let pidfd = call!("pidfd_open"(pid) => rustix::process::pidfd_open(process, PidfdFlags::empty()))?;
            Ok(Child { pid, pidfd })
        }
        Message::Failed(error) => Err(error),
        _ => Err(Error::new("unexpected word from the process that joins namespaces")),
    }
}

/// Namespaces that belong to the host must be joined before the user namespace, those that belong to it after; which is
/// which only trying tells.
fn join_all(joins: &[(Kind, OwnedFd)]) -> Result<()> {
    trace::become_init();
    let join = |(kind, fd): &(Kind, OwnedFd)| init::join_namespace(*kind, fd);
    let user = joins.iter().find(|(kind, _)| *kind == Kind::User);
    let mut later = Vec::new();
    for other in joins.iter().filter(|(kind, _)| *kind != Kind::User) {
        match join(other) {
            Err(error) if user.is_some() && error.errno() == Some(Errno::PERM) => later.push(other),
            joined => joined?,
        }
    }
    user.into_iter().chain(later).try_for_each(join)
}

/// Writes the id maps of init's new user namespace, see user_namespaces(7).
pub fn write_id_maps(plan: &Plan, init: i32, host: &Host) -> Result<()> {
    let namespaces = &plan.namespaces;
    if !namespaces.creates(Kind::User) {
        return Ok(());
    }
    map_ids(init, &namespaces.uid_map, &namespaces.gid_map, host)
}

/// The maps of one process's user namespace. Without privileges the programs newuidmap and newgidmap write them, except
/// for the one map that needs none: our own id.
pub fn map_ids(pid: i32, uids: &[IdMap], gids: &[IdMap], host: &Host) -> Result<()> {
    let is_own = |map: &[IdMap], id: u32| matches!(map, [one] if one.size == 1 && one.outside == id);
    let single = is_own(uids, host.user.0) && is_own(gids, host.user.1);
    let unprivileged = host.user.0 != 0;
    if unprivileged && single {
        // "setgroups must be denied before a process without privileges may map its group", user_namespaces(7).
        write(&format!("/proc/{pid}/setgroups"), "deny")?;
    }
    for (name, file, program, map, at) in [
        (id::GID_MAP, "gid_map", "newgidmap", gids, "linux.gidMappings"),
        (id::UID_MAP, "uid_map", "newuidmap", uids, "linux.uidMappings"),
    ] {
        let mapped = || match unprivileged && !single {
            true => run_map_program(program, pid, map),
            false => {
                let lines: String =
                    map.iter().map(|map| format!("{} {} {}\n", map.inside, map.outside, map.size)).collect();
                write(&format!("/proc/{pid}/{file}"), &lines)
            }
        };
        trace::step(|| name, mapped).step(|| "write the id map").at(ConfigPath::new(at))?;
    }
    Ok(())
}

fn write(file: &str, text: &str) -> Result<()> {
    let written = std::fs::write(file, text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    call!("write"(file, format_args!("{text:?}")) => written)
}

fn run_map_program(program: &str, pid: i32, map: &[IdMap]) -> Result<()> {
    let directories = ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"];
    let path = directories.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.exists());
    let path = path.ok_or_else(|| {
        Error::new(format!("{program} is not installed, and mapping more than one's own id needs it"))
            .hint("install it (Debian: package uidmap), or map a single id")
    })?;
    let numbers = map.iter().flat_map(|map| [map.inside, map.outside, map.size]).map(|number| number.to_string());
    let output = Command::new(&path).arg(pid.to_string()).args(numbers).output();
    let output = output.map_err(|error| Error::new(format!("run {}: {error}", path.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(format!("{program}: {said}")))
}
