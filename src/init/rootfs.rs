//! FURNISH, LEAVE and the steps after: performs `plan.rootfs` on the open root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::place::{Parent, Place};
use super::{classic, host_proc, mounts};
use crate::call;
use crate::console;
use crate::error::{Context, Error, Result};
use crate::handshake::{Channel, Message};
use crate::plan::devices::Node;
use crate::plan::mount_options::{attribute, ms};
use crate::plan::namespaces::{Kind, Namespaces};
use crate::plan::rootfs::{Leave, Rootfs, What};
use crate::plan::steps::id;
use crate::plan::{Condition, ConfigPath, Plan, Step};
use crate::root::{self, Root};
use crate::sys::{self, mount, mount::Attributes};
use crate::trace::{self, Outcome};

/// Builds the tree while the host's is still visible. The root is a mount of its own, reached only through its descriptor;
/// where it lies concerns hooks and sources of mounts, which know it by its path on the host (decision 0016).
pub fn furnish(plan: &Rootfs, namespaces: &Namespaces, channel: &Channel) -> Result<Root> {
    let root = trace::step(|| id::ROOT, || open_root(plan, namespaces, channel))
        .step(|| format!("take {} as the root", plan.path.display()));
    let mut root = root.at(ConfigPath::new("root.path"))?;
    let mut parent = Parent::default();
    let mut has_descriptors = false;
    for (index, step) in plan.furnish.iter().enumerate() {
        if let Condition::ContainerHas(path) = step.when
            && !container_has(&root, path, &mut has_descriptors).step(|| step.what.to_string()).at(step.at)?
        {
            trace::skipped(|| id::tree(&step.what));
            continue;
        }
        let done = trace::step(
            || id::tree(&step.what),
            || furnish_one(plan, &mut root, &mut parent, channel, index, &step.what),
        );
        done.step(|| step.what.to_string()).at(step.at)?;
    }
    parent.forget(&root);
    Ok(root)
}

/// Whether something is there. Where a process has a directory of its descriptors, our standard streams are in it.
fn container_has(root: &Root, path: &str, has_descriptors: &mut bool) -> Result<bool> {
    if *has_descriptors && matches!(path, "/proc/self/fd/0" | "/proc/self/fd/1" | "/proc/self/fd/2") {
        return Ok(true);
    }
    let has = root.has(Path::new(path))?;
    *has_descriptors |= has && path == "/proc/self/fd";
    Ok(has)
}

fn furnish_one(
    plan: &Rootfs,
    root: &mut Root,
    parent: &mut Parent,
    channel: &Channel,
    index: usize,
    what: &What,
) -> Result<()> {
    match what {
        What::Mount(mount) => match mounts::perform(root, parent, mount, &mounts::Around { plan, index, channel }) {
            Ok(Some(covering)) => part_from_host(plan, &covering).map(|()| root.cover(covering)),
            done => done.map(drop),
        },
        // What it is bound on is found anew; a parent that is known stays what it is.
        What::Node(node) if node.bind => bind_node(root, node, index, channel),
        What::Node(node) => make_node(root, parent, node),
        What::Link { path, target, replace } => make_link(root, parent, path, target, *replace),
        _ => Err(Error::new("this step belongs after the root is entered")),
    }
}

fn open_root(plan: &Rootfs, namespaces: &Namespaces, channel: &Channel) -> Result<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if plan.leave == Leave::Chroot {
        let opened = call!("open"(plan.path.display()) => rustix::fs::open(&plan.path, flags, Mode::empty()))?;
        return Ok(Root::new(opened));
    }
    if namespaces.creates(Kind::Mount) {
        mount::set_root_propagation(plan.propagation).step(|| "set the propagation of the host's tree")?;
    }
    let tree =
        if plan.by_runtime { ask_for_mount(channel, None)? } else { mount::clone_tree_at(CWD, &plan.path, true)? };
    if let Some(place) = own_place(plan).filter(|_| namespaces.creates(Kind::Mount)) {
        mount::attach(&tree, &place)?;
        let root = Root::new(tree);
        root.spend(place);
        return Ok(root);
    }
    let slash = open_slash()?;
    if plan.propagation & ms::SHARED != 0 {
        // Neither the mount over `/` nor pivot_root may reach the host, so this one mount leaves its peers.
        let private = Attributes { propagation: ms::PRIVATE, ..Attributes::default() };
        classic::set_attributes(&slash, &private, false)?;
    }
    mount::attach(&tree, &slash)?;
    part_from_host(plan, &tree)?;
    Ok(Root::over_slash(tree))
}

/// The root's own directory, if the root can lie there: it can be walked to (not by every mapped root), no peer on the host
/// would see the mount, and pivot_root takes it away with the rest of the host's tree.
fn own_place(plan: &Rootfs) -> Option<OwnedFd> {
    if plan.leave != Leave::Pivot || plan.propagation & ms::SHARED != 0 || plan.path == Path::new("/") {
        return None;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&plan.path, flags, Mode::empty()).ok()
}

/// With shared propagation a copy is a peer of the host's mount, where all that is mounted inside would appear. Volumes
/// stay peers, the root does not.
fn part_from_host(plan: &Rootfs, tree: &OwnedFd) -> Result<()> {
    if plan.propagation & ms::SHARED == 0 {
        return Ok(());
    }
    classic::set_attributes(tree, &Attributes { propagation: ms::SLAVE, ..Attributes::default() }, true)
}

fn open_slash() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    call!("open"("/") => rustix::fs::open("/", flags, Mode::empty()))
}

/// Asks the runtime for a mount that is beyond our rights: `None` is the root, else a step of the plan.
pub fn ask_for_mount(channel: &Channel, step: Option<usize>) -> Result<OwnedFd> {
    channel.send(&Message::NeedMount(step))?;
    match channel.expect()? {
        Message::Mount(tree) => Ok(tree),
        _ => Err(Error::new("the runtime did not make the mount")),
    }
}

/// A node that is there already must be the device that is asked for: "If a file already exists at path that does not
/// match the requested device, the runtime MUST generate an error" (config-linux.md, Devices).
fn make_node(root: &Root, parent: &mut Parent, node: &Node) -> Result<()> {
    let (parent, name) = parent.of(root, &node.path)?;
    let parent = &*parent;
    let kind = FileType::from_raw_mode(node.kind);
    let device = rustix::fs::makedev(node.major, node.minor);
    match rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(node.mode), device) {
        Err(Errno::EXIST) => {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let there = call!("fstatat"(name.display()) => rustix::fs::statat(parent, name, flags))?;
            return check_node(node, &there);
        }
        made => call!("mknodat"(sys::Fd(parent), name.display()) => made)?,
    }
    if node.uid != 0 || node.gid != 0 {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        call!("fchownat"(name.display(), node.uid, node.gid)
            => rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags))?;
    }
    Ok(())
}

/// Without the right to make device nodes one of the host's is bound, or one that the runtime has made.
fn bind_node(root: &Root, node: &Node, index: usize, channel: &Channel) -> Result<()> {
    if let Some(there) = root.find(&node.path)? {
        let stat = root::stat(&there)?;
        // An empty file is what an earlier container's node was bound on.
        let is_placeholder = stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_size == 0;
        if !is_placeholder {
            check_node(node, &stat)?;
        }
    }
    let tree = match node.by_runtime {
        true => ask_for_mount(channel, Some(index))?,
        false => mount::clone_tree_at(CWD, &node.path, false)?,
    };
    check_node(node, &root::stat(&tree)?)?;
    mount::attach(&tree, root.file(&node.path)?)
}

fn check_node(node: &Node, there: &rustix::fs::Stat) -> Result<()> {
    let is_same_kind = there.st_mode & libc::S_IFMT == node.kind;
    let device = rustix::fs::makedev(node.major, node.minor);
    if is_same_kind && (node.kind == libc::S_IFIFO || there.st_rdev == device) {
        return Ok(());
    }
    let message =
        format!("{} exists and is another file than the device {}:{}", node.path.display(), node.major, node.minor);
    Err(Error::new(message))
}

fn make_link(root: &Root, parent: &mut Parent, path: &Path, target: &str, replace: bool) -> Result<()> {
    let (parent, name) = parent.of(root, path)?;
    let parent = &*parent;
    match rustix::fs::symlinkat(target, parent, name) {
        Err(Errno::EXIST) if replace => {
            call!("unlinkat"(name.display()) => rustix::fs::unlinkat(parent, name, AtFlags::empty()))?;
            call!("symlinkat"(target, name.display()) => rustix::fs::symlinkat(target, parent, name))
        }
        Err(Errno::EXIST) => Ok(()),
        made => call!("symlinkat"(target, name.display()) => made),
    }
}

/// LEAVE: from here on `/` is the container's root, which is the working directory, and the host's tree is out of reach.
pub fn leave(plan: &Rootfs, root: &Root) -> Result<()> {
    let left = || {
        if plan.leave == Leave::Cover {
            host_proc::hide()?;
        }
        match plan.leave {
            Leave::Pivot => {
                let is_shared = plan.propagation & ms::SHARED != 0;
                let old = is_shared.then(open_slash).transpose()?;
                mount::pivot_root_here()?;
                if let Some(old) = old {
                    // The old root lies on the new one now, and its going must not reach the host. "." still is the new
                    // one, whose volumes must stay peers of the host's.
                    let slave = Attributes { propagation: ms::SLAVE, ..Attributes::default() };
                    classic::set_attributes(&old, &slave, true)?;
                }
                // On the new root lies the old, and on that what mounts at `/` have covered.
                for _ in 0..=root.covered() {
                    mount::detach(".")?;
                }
            }
            // The root's mount lies over `/` already, where joining the namespace will find it.
            Leave::Cover | Leave::Chroot => call!("chroot"(".") => rustix::process::chroot("."))?,
        }
        call!("chdir"("/") => rustix::process::chdir("/"))?;
        check_is_root(root)
    };
    left().step(|| "leave the host's tree")
}

/// Whatever was mounted where, the host's tree must not be what a program finds at `/`.
fn check_is_root(root: &Root) -> Result<()> {
    let here = call!("stat"("/") => rustix::fs::stat("/"))?;
    let there = root::stat(root.fd())?;
    if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
        return Ok(());
    }
    Err(Error::new("/ is not the container's root"))
}

/// The steps that need the container's root to be `/`. The root's descriptor ends here: no working directory can be
/// reached through it.
pub fn finish(plan: &Plan, root: Root, channel: &Channel) -> Result<()> {
    let mut masks = Masks::default();
    for step in &plan.rootfs.finish {
        let done = trace::conditional(|| id::tree(&step.what), || finish_one(plan, &root, channel, step, &mut masks));
        done.step(|| step.what.to_string()).at(step.at)?;
    }
    masks.empty.into_iter().chain(masks.null).for_each(|mask| root.spend(mask));
    root.leave();
    Ok(())
}

fn finish_one(plan: &Plan, root: &Root, channel: &Channel, step: &Step<What>, masks: &mut Masks) -> Result<Outcome> {
    let read_only = Attributes { set: attribute::RDONLY, ..Attributes::default() };
    match &step.what {
        What::Console => make_console(plan, root, channel),
        What::RootPropagation(flags) => {
            let attributes = Attributes { propagation: flags & !ms::REC, ..Attributes::default() };
            classic::set_attributes(root.fd(), &attributes, flags & ms::REC != 0)
        }
        What::ReadOnlyMount(path) | What::ReadOnlyTree(path) => {
            let place = root.open(path)?;
            let recursive = matches!(step.what, What::ReadOnlyTree(_));
            classic::set_attributes(&place, &read_only, recursive)?;
            root.spend(place);
            Ok(())
        }
        What::ReadOnlyPath(path) => match root.find(path)? {
            None => return Ok(Outcome::Skipped),
            Some(place) => make_read_only(root, place),
        },
        What::Mask(path) => match root.find(path)? {
            None => return Ok(Outcome::Skipped),
            Some(place) => masks.cover(root, &place).map(|()| root.spend(place)),
        },
        What::ReadOnlyRoot => classic::set_attributes(root.fd(), &read_only, false),
        _ => Err(Error::new("this step belongs before the root is entered")),
    }
    .map(|()| Outcome::Done)
}

/// A read-only copy lies over the place, with all that is mounted below.
fn make_read_only(root: &Root, place: OwnedFd) -> Result<()> {
    let read_only = Attributes { set: attribute::RDONLY, ..Attributes::default() };
    let changed = mount::clone_tree_changed(&place, Path::new(""), true, &read_only);
    let is_changed = changed.is_some();
    let tree = if let Some(tree) = changed { tree } else { mount::clone_tree(&place, true)? };
    let place = Place::Open(place);
    classic::attach_changed(&tree, &place, |tree| match is_changed {
        true => Ok(()),
        false => classic::set_attributes(tree, &read_only, true),
    })?;
    root.spend(tree);
    place.leave(root);
    Ok(())
}

/// The pty becomes /dev/console, our session's terminal and our standard streams; the runtime gets the master.
fn make_console(plan: &Plan, root: &Root, channel: &Channel) -> Result<()> {
    let pty = console::open_pty(plan.program.as_ref().and_then(|program| program.console_size))?;
    let place = root.file(Path::new("/dev/console"))?;
    mount::attach(mount::clone_tree(&pty.slave, false)?, place)?;
    console::adopt(&pty.slave)?;
    channel.send(&Message::Console(pty.master))
}

/// What lies over masked paths. All directories share one empty read-only tmpfs: a hundred masks must not make a hundred
/// file systems.
#[derive(Default)]
struct Masks {
    empty: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Masks {
    fn cover(&mut self, root: &Root, place: &OwnedFd) -> Result<()> {
        if !root::is_directory(&root::stat(place)?) {
            let null = match self.null.take() {
                Some(null) => null,
                None => null_device(root)?,
            };
            return attach_copy(root, self.null.insert(null), place);
        }
        if let Some(empty) = &self.empty {
            return attach_copy(root, empty, place);
        }
        let context = mount::open_filesystem("tmpfs")?;
        mount::configure(&context, "ro", None)?;
        let empty = mount::create(&context, attribute::RDONLY)?;
        root.spend(context);
        mount::attach(empty.as_fd(), place)?;
        self.empty = Some(empty);
        Ok(())
    }
}

fn attach_copy(root: &Root, over: &OwnedFd, place: &OwnedFd) -> Result<()> {
    let copy = mount::clone_tree(over, false)?;
    mount::attach(&copy, place)?;
    root.spend(copy);
    Ok(())
}

/// The container's /dev/null, checked by what it is and not by its name (CVE-2025-31133).
fn null_device(root: &Root) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let opened = sys::path::openat2(
        root.fd(),
        Path::new("dev/null"),
        flags,
        Mode::empty(),
        rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_SYMLINKS,
    )?;
    let stat = root::stat(&opened)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == rustix::fs::makedev(1, 3) {
        return Ok(opened);
    }
    Err(Error::new("/dev/null in the container is not the null device").hint("masked files are covered with it"))
}
