//! One mount of the plan, performed: made detached, given its attributes, then attached to an open place in the root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;

use super::place::{Parent, Place};
use super::rootfs::ask_for_mount;
use super::{classic, copy_up};
use crate::error::{Context, Error, Result};
use crate::handshake::Channel;
use crate::hints;
use crate::plan::mount_options::{attribute, ms};
use crate::plan::mounts::{Change, LOCKABLE, Mount, Source};
use crate::plan::rootfs::Rootfs;
use crate::root::{self, Root};
use crate::sys::mount::{self, Attributes};

/// What a mount needs to know of its plan, and whom to ask for what is beyond our rights.
#[derive(Debug)]
pub struct Around<'a> {
    /// The whole.
    pub plan: &'a Rootfs,
    /// The step's, by which the runtime knows it.
    pub index: usize,
    /// To the runtime.
    pub channel: &'a Channel,
}

/// Performs a mount. Returns it if it covers the whole root.
pub fn perform(root: &Root, parent: &mut Parent, mount: &Mount, around: &Around<'_>) -> Result<Option<OwnedFd>> {
    let attached = match &mount.source {
        Source::Existing => return remount(root, mount).map(|()| None),
        Source::Filesystem { kind, device } => {
            if mount_at_once(root, parent, mount, around, (kind, device))? {
                return Ok(None);
            }
            let attached = create(root, parent, mount, kind, device)?;
            // Where nothing is shared a new file system is private.
            let is_private = |(propagation, _): &(u64, bool)| *propagation == ms::PRIVATE;
            if !(around.plan.shares_nothing && mount.options.propagation.iter().all(is_private)) {
                propagate(&attached, mount)?;
            }
            attached
        }
        source => {
            let Some((path, recursive)) = source.bound(Path::exists) else { return Ok(None) };
            bind(root, parent, mount, (path, recursive), around)?
        }
    };
    if mount.destination == Path::new("/") {
        return Ok(Some(attached));
    }
    match &mount.source {
        // Others are mounted in it, as a rule.
        Source::Filesystem { kind, .. } if kind == "tmpfs" => {
            parent.keep_own(root, &mount.destination, attached, mount.no_symlinks);
        }
        _ => root.spend(attached),
    }
    Ok(None)
}

/// One mount(2) does what takes six calls and more with descriptors, where the mount is to be just that and its descriptor
/// is not needed; the place is open all the same, and the working directory. False if it was not possible: then the calls
/// with descriptors will do, or tell better what is wrong. Not read-only ones: mount(2) makes the file system so, for
/// everybody who shares it (a sysfs of a network namespace), and not the mount.
fn mount_at_once(
    root: &Root,
    parent: &mut Parent,
    mount: &Mount,
    around: &Around<'_>,
    (kind, device): (&str, &str),
) -> Result<bool> {
    let options = &mount.options;
    let is_plain = around.plan.shares_nothing
        && options.propagation.iter().all(|(propagation, _)| *propagation == ms::PRIVATE)
        && !(options.classic || options.copy_up || options.below.is_some())
        && (matches!(kind, "proc" | "devpts" | "mqueue" | "cgroup") || kind == "tmpfs" && !is_filled_next(mount))
        && options.own.set & attribute::RDONLY == 0
        && mount.destination != Path::new("/");
    let data = options.data_string();
    // Of more than a page mount(2) would take the beginning.
    if !is_plain || data.len() >= 4095 {
        return Ok(false);
    }
    let place = parent.directory(root, &mount.destination, mount.no_symlinks)?;
    let mounted = parent
        .enter(root, &place)
        .and_then(|path| mount::mount(device, &path, kind, options.as_classic_flags(), &data));
    place.leave(root);
    Ok(mounted.is_ok())
}

/// A tmpfs for the hierarchies of cgroups, whose root is wanted open; and one that takes its mode from what it covers.
fn is_filled_next(mount: &Mount) -> bool {
    mount.no_symlinks || !mount.options.data.iter().any(|(key, _)| key == "mode")
}

fn propagate(attached: &OwnedFd, mount: &Mount) -> Result<()> {
    for (kind, recursive) in &mount.options.propagation {
        let attributes = Attributes { propagation: *kind, ..Attributes::default() };
        classic::set_attributes(attached, &attributes, *recursive)?;
    }
    Ok(())
}

fn bind(
    root: &Root,
    parent: &mut Parent,
    plan: &Mount,
    (source, recursive): (&Path, bool),
    around: &Around<'_>,
) -> Result<OwnedFd> {
    let tree = if plan.by_runtime {
        ask_for_mount(around.channel, Some(around.index))?
    } else {
        let changed = changes_at_once(plan, recursive, around);
        if let Some(tree) = changed.and_then(|changed| mount::clone_tree_changed(CWD, source, false, &changed)) {
            place_of(root, parent, plan, &tree)?.attach_and_leave(root, &tree)?;
            return Ok(tree);
        }
        match mount::clone_tree_at(CWD, source, recursive) {
            Err(error) if mount::is_unavailable(&error) => {
                parent.forget(root);
                let mounted = classic::bind(root, plan, source, recursive)?;
                return propagate(&mounted, plan).map(|()| mounted);
            }
            tree => tree?,
        }
    };
    let place = place_of(root, parent, plan, &tree)?;
    classic::attach_changed(&tree, &place, |tree| change(tree, plan))?;
    place.leave(root);
    propagate(&tree, plan)?;
    Ok(tree)
}

fn place_of(root: &Root, parent: &mut Parent, plan: &Mount, tree: &OwnedFd) -> Result<Place> {
    match root::is_directory(&root::stat(tree)?) {
        true => parent.directory(root, &plan.destination, false),
        false => parent.file(root, &plan.destination),
    }
}

/// What is to change on a bind mount, if it can be changed in one go and before it is attached: one mount, which becomes
/// private and stays so where nothing is shared.
fn changes_at_once(plan: &Mount, recursive: bool, around: &Around<'_>) -> Option<Attributes> {
    let options = &plan.options;
    let [(ms::PRIVATE, _)] = options.propagation[..] else { return None };
    let is_simple = around.plan.shares_nothing && !recursive && !options.below.is_some() && options.id_map.is_none();
    is_simple.then(|| Attributes {
        set: options.own.set,
        clear: options.own.clear | options.unnamed,
        propagation: ms::PRIVATE,
        ..Attributes::default()
    })
}

/// The attributes of a mount and of all below it. The recursive ones come first, so that the mount's own win.
pub fn change(tree: &OwnedFd, plan: &Mount) -> Result<()> {
    let (own, unnamed) = (plan.options.own, plan.options.unnamed);
    change_to(tree, plan.options.below, true)?;
    match change_to(tree, Change { clear: own.clear | unnamed, ..own }, false) {
        // Who lives in a user namespace cannot clear what came with the mount, and has not asked for it.
        Err(error) if error.errno() == Some(Errno::PERM) && unnamed & LOCKABLE != 0 => {
            change_to(tree, Change { clear: own.clear | unnamed & !LOCKABLE, ..own }, false)
        }
        changed => changed,
    }
}

fn change_to(tree: &OwnedFd, change: Change, recursive: bool) -> Result<()> {
    if !change.is_some() {
        return Ok(());
    }
    let attributes = Attributes { set: change.set, clear: change.clear, ..Attributes::default() };
    classic::set_attributes(tree, &attributes, recursive)
}

fn create(root: &Root, parent: &mut Parent, plan: &Mount, kind: &str, device: &str) -> Result<OwnedFd> {
    let with_mode = if kind == "tmpfs" { keep_mode(root, plan)? } else { None };
    let plan = with_mode.as_ref().unwrap_or(plan);
    let place = parent.directory(root, &plan.destination, plan.no_symlinks)?;
    if plan.options.classic {
        return classic::mount_filesystem(root, plan, &place.open()?, kind, device);
    }
    let made = match make_detached(root, plan, kind, device) {
        Err(error) if error.call_name() == Some("fsopen") && mount::is_unavailable(&error) => {
            let mounted = classic::mount_filesystem(root, plan, &place.open()?, kind, device);
            return mounted.map_err(|error| explain(error, kind));
        }
        made => made.map_err(|error| explain(error, kind))?,
    };
    if plan.options.copy_up {
        let place = place.open()?;
        copy_up::copy_into(&place, &made).step(|| format!("copy {} up", plan.destination.display()))?;
        mount::attach(made.as_fd(), &place)?;
    } else {
        place.attach(made.as_fd())?;
        place.leave(root);
    }
    if plan.options.below.is_some() {
        let below = plan.options.below;
        let attributes = Attributes { set: below.set, clear: below.clear, ..Attributes::default() };
        classic::set_attributes(&made, &attributes, true)?;
    }
    Ok(made)
}

/// A tmpfs without a mode takes that of the directory it covers, as runc has it; one that is made for the mount has none.
fn keep_mode(root: &Root, plan: &Mount) -> Result<Option<Mount>> {
    if plan.options.data.iter().any(|(key, _)| key == "mode") {
        return Ok(None);
    }
    let Some(covered) = root.find(&plan.destination)? else { return Ok(None) };
    let mode = root::stat(&covered)?.st_mode & 0o7777;
    root.spend(covered);
    let mut plan = plan.clone();
    plan.options.data.push(("mode".to_owned(), Some(format!("{mode:o}"))));
    Ok(Some(plan))
}

fn make_detached(root: &Root, plan: &Mount, kind: &str, device: &str) -> Result<OwnedFd> {
    let context = mount::open_filesystem(kind)?;
    mount::configure(&context, "source", Some(device))?;
    if device.starts_with('/') && plan.options.own.set & attribute::RDONLY != 0 {
        mount::configure(&context, "ro", None)?;
    }
    configure(&context, plan)?;
    let made = mount::create(&context, plan.options.own.set)?;
    root.spend(context);
    Ok(made)
}

/// The flags and options of the file system itself.
fn configure(context: &OwnedFd, plan: &Mount) -> Result<()> {
    for flag in &plan.options.superblock {
        mount::configure(context, flag, None)?;
    }
    plan.options.data.iter().try_for_each(|(key, value)| mount::configure(context, key, value.as_deref()))
}

/// Wherever they are mounted.
fn explain(error: Error, kind: &str) -> Error {
    match (kind, error.errno()) {
        ("sysfs", Some(Errno::PERM)) => error.hint_first(hints::SYSFS),
        ("proc", Some(Errno::PERM)) => error.hint_first(hints::PROC),
        ("mqueue", Some(Errno::PERM)) => error.hint_first(hints::MQUEUE),
        _ => error,
    }
}

fn remount(root: &Root, plan: &Mount) -> Result<()> {
    let place = root.open(&plan.destination)?;
    change(&place, plan)?;
    if plan.options.superblock.is_empty() && plan.options.data.is_empty() && plan.options.classic_flags == 0 {
        return Ok(());
    }
    if plan.options.classic {
        return classic::remount(&place, plan);
    }
    match mount::pick_filesystem(&place) {
        Err(error) if mount::is_unavailable(&error) => classic::remount(&place, plan),
        context => {
            let context = context?;
            let mut plan = plan.clone();
            // No remount changes it: mount(2) passes over that, fsconfig(2) does not.
            plan.options.superblock.retain(|flag| *flag != "dirsync");
            configure(&context, &plan)?;
            mount::reconfigure(&context)
        }
    }
}
