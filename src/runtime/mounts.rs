//! Mounts that init cannot make by itself: in a user namespace it may not see the source, and an id-mapped mount needs
//! the rights of the file system's owner.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::spawn::map_ids;
use crate::call;
use crate::error::{Context, Error, Result};
use crate::handshake::{Channel, Message};
use crate::plan::devices::Node;
use crate::plan::mount_options::{Recursion, attribute, ms};
use crate::plan::mounts::Mount;
use crate::plan::namespaces::{IdMap, Kind};
use crate::plan::rootfs::What;
use crate::plan::{ConfigPath, Host, Plan};
use crate::sys::mount::{self, Attributes};
use crate::sys::process::{self, Cloned};

/// Makes the mount of a step, or the root's (None), detached.
pub fn make(plan: &Plan, step: Option<usize>, init: i32, host: &Host) -> Result<OwnedFd> {
    let Some(index) = step else {
        let path = &plan.rootfs.path;
        return mount::clone_tree_at(CWD, path, true)
            .and_then(|tree| part_from_host(&tree, plan).map(|()| tree))
            .step(|| format!("take {} as the root", path.display()))
            .at(ConfigPath::new("root.path"));
    };
    let step = plan.rootfs.furnish.get(index).ok_or_else(|| Error::new("init asks for a mount that is not planned"))?;
    let planned = match &step.what {
        What::Mount(mount) => mount,
        What::Node(node) => return make_node(node, plan).step(|| step.what.to_string()).at(step.at),
        _ => return Err(Error::new("init asks for a mount at another step")),
    };
    let Some((path, recursive)) = planned.source.bound(Path::exists) else {
        return Err(Error::new("init asks for a mount that it can make"));
    };
    clone_source(plan, path, recursive, init)
        .and_then(|tree| map_owners(planned, path, &tree, init, host).map(|()| tree))
        .and_then(|tree| part_from_host(&tree, plan).map(|()| tree))
        .step(|| step.what.to_string())
        .at(step.at)
}

/// A copy made here is a peer of the host's mount: what the container mounts on it would appear on the host. So it gets
/// the propagation that init's copy of the tree has; and as the kernel shares nothing with a mount namespace of another
/// user namespace (mount_namespaces(7)), neither do we.
fn part_from_host(tree: &OwnedFd, plan: &Plan) -> Result<()> {
    let propagation = match plan.rootfs.propagation & !ms::REC {
        ms::SHARED if !plan.namespaces.has(Kind::User) => return Ok(()),
        ms::PRIVATE => ms::PRIVATE,
        _ => ms::SLAVE,
    };
    match mount::set_attributes(tree, &Attributes { propagation, ..Attributes::default() }, true) {
        // Before Linux 5.12.
        Err(error) if error.errno() == Some(Errno::NOSYS) => {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(tree));
            mount::mount("none", Path::new(&path), "", propagation | ms::REC, "")
        }
        parted => parted,
    }
}

/// A copy of the source. What lies below the root is taken from init's mount namespace, where it is under what earlier steps
/// have mounted, as it is for init itself (decision 0016).
fn clone_source(plan: &Plan, source: &Path, recursive: bool, init: i32) -> Result<OwnedFd> {
    let root = &plan.rootfs.path;
    if root != Path::new("/") && source.starts_with(root) && plan.namespaces.creates(Kind::Mount) {
        let namespace = open_namespace(init, Kind::Mount)?;
        let inside = in_child(0, || {
            process::setns(&namespace, Kind::Mount.flag())?;
            mount::clone_tree_at(CWD, source, recursive)
        });
        match inside {
            // Nor is the root at its path in there, where a mapped root cannot walk to it.
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            inside => return inside,
        }
    }
    mount::clone_tree_at(CWD, source, recursive)
}

/// A device node in a file system of its own, so that it can be bound where init may not make one. Made by a process with
/// a mount namespace of its own: before Linux 6.15 only what is mounted somewhere can be copied.
fn make_node(node: &Node, plan: &Plan) -> Result<OwnedFd> {
    in_child(Kind::Mount.flag().into(), || make_node_here(node, plan))
}

/// Has a process with these new namespaces make a mount, and send it.
fn in_child(kinds: u64, make: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    let (ours, theirs) = Channel::pair()?;
    let maker = match process::clone3(kinds, None)? {
        Cloned::Child => {
            let word = make().map_or_else(Message::Failed, Message::Mount);
            let _ = theirs.send(&word);
            process::exit(0)
        }
        Cloned::Parent(child) => child,
    };
    drop(theirs);
    let said = ours.receive();
    let _ = rustix::process::waitpid(Pid::from_raw(maker.pid), WaitOptions::empty());
    match said? {
        Some(Message::Mount(tree)) => Ok(tree),
        Some(Message::Failed(error)) => Err(error),
        _ => Err(Error::new("the process that makes the mount is gone")),
    }
}

fn make_node_here(node: &Node, plan: &Plan) -> Result<OwnedFd> {
    mount::set_root_propagation(ms::PRIVATE | ms::REC)?;
    let context = mount::open_filesystem("tmpfs")?;
    let tree = mount::create(&context, attribute::NOEXEC | attribute::NOSUID)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    mount::attach(&tree, call!("open"("/") => rustix::fs::open("/", flags, Mode::empty()))?)?;
    let (kind, mode) = (FileType::from_raw_mode(node.kind), Mode::from_raw_mode(node.mode));
    let (device, name) = (rustix::fs::makedev(node.major, node.minor), "node");
    call!("mknodat"(node.path.display()) => rustix::fs::mknodat(&tree, name, kind, mode, device))?;
    // The mode that was given has lost what our umask takes away.
    call!("fchmodat"(node.path.display()) => rustix::fs::chmodat(&tree, name, mode, AtFlags::empty()))?;
    let outside = |map: &[IdMap], id| map.iter().find_map(|map| map.outside_of(id));
    let namespaces = &plan.namespaces;
    let owner = (outside(&namespaces.uid_map, node.uid), outside(&namespaces.gid_map, node.gid));
    let (uid, gid) = (owner.0.map(Uid::from_raw), owner.1.map(Gid::from_raw));
    call!("fchownat"(node.path.display()) => rustix::fs::chownat(&tree, name, uid, gid, AtFlags::empty()))?;
    mount::clone_tree_at(&tree, Path::new(name), false)
}

/// Makes an id-mapped mount of a copy, if it is to be one.
fn map_owners(plan: &Mount, source: &Path, tree: &OwnedFd, init: i32, host: &Host) -> Result<()> {
    let Some(recursion) = plan.options.id_map else { return Ok(()) };
    let namespace = match &plan.options.mappings {
        (uids, _) if uids.is_empty() => open_namespace(init, Kind::User)?,
        (uids, gids) => {
            let holder = Holder::new()?;
            map_ids(holder.pid, uids, gids, host)?;
            open_namespace(holder.pid, Kind::User)?
        }
    };
    let attributes = Attributes {
        set: attribute::IDMAP,
        user_namespace: std::os::fd::AsRawFd::as_raw_fd(&namespace) as u64,
        ..Attributes::default()
    };
    mount::set_attributes(tree, &attributes, recursion == Recursion::Recursive)
        .step(|| format!("map the ids of {}", source.display()))
}

fn open_namespace(pid: i32, kind: Kind) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/{}", kind.proc_name());
    call!("open"(path) => rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// A process that does nothing but hold a user namespace open until its maps are written and it is opened.
struct Holder {
    pid: i32,
}

impl Holder {
    fn new() -> Result<Holder> {
        match process::clone3(Kind::User.flag().into(), None)? {
            Cloned::Child => {
                // Ends with us, should we be killed meanwhile.
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                std::thread::sleep(std::time::Duration::from_secs(60));
                process::exit(0)
            }
            Cloned::Parent(child) => Ok(Holder { pid: child.pid }),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = process::kill(self.pid, libc::SIGKILL);
        let _ = rustix::process::waitpid(Pid::from_raw(self.pid), WaitOptions::empty());
    }
}
