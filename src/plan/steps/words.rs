//! The words for what a step does.

use crate::plan::mount_options::attribute;
use crate::plan::mounts::{Change, Mount, Source};
use crate::plan::namespaces::IdMap;
use crate::plan::rootfs::{Leave, What};
use crate::plan::seccomp::Filter;
use crate::plan::systemd::Unit;

/// A step on the container's tree.
pub fn tree(what: &What) -> String {
    match what {
        What::Mount(mount) => describe(mount),
        What::Node(node) => {
            format!("{what} {}:{} {:o} {}:{}", node.major, node.minor, node.mode, node.uid, node.gid)
        }
        what => what.to_string(),
    }
}

/// The calls that do it, where they are not the same for all steps of the name.
pub fn calls(what: &What) -> Option<&'static str> {
    match what {
        What::Mount(mount) if mount.options.classic => Some("mount"),
        What::Mount(mount) => match &mount.source {
            Source::Filesystem { .. } => Some("mount, fsopen, fsconfig, fsmount, move_mount"),
            Source::Bind { .. } | Source::OwnCgroup { .. } => Some("open_tree, mount_setattr, move_mount"),
            Source::Existing => None,
        },
        What::Node(node) if node.by_runtime => Some("mknodat, open_tree, move_mount"),
        What::Node(node) if node.bind => Some("open_tree, move_mount"),
        _ => None,
    }
}

/// The way out of the host's tree.
pub fn leave(leave: Leave) -> &'static str {
    match leave {
        Leave::Pivot => "pivot_root",
        Leave::Cover => "chroot to the mount that covers /",
        Leave::Chroot => "chroot",
    }
}

/// What systemd is asked for.
pub fn unit(unit: &Unit) -> String {
    let properties = unit.properties.iter().map(|property| format!("{} = {}", property.name, property.value));
    let properties = properties.collect::<Vec<_>>().join(", ");
    format!("have systemd ({} bus) start {} in {}: {properties}", unit.id.bus, unit.id.name, unit.slice)
}

/// All lines of a map.
pub fn id_map(name: &str, map: &[IdMap]) -> String {
    let line = |map: &IdMap| format!("map {name} {} to {}, {} of them", map.inside, map.outside, map.size);
    map.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// A program for system calls.
pub fn filter(filter: &Filter) -> String {
    format!("seccomp filter of {} instructions, flags {:#x}", filter.program.len(), filter.flags)
}

fn describe(mount: &Mount) -> String {
    let target = mount.destination.display();
    let mut text = match &mount.source {
        Source::Bind { path, recursive: false } => format!("bind {} on {target}", path.display()),
        Source::Bind { path, recursive: true } => format!("bind {} and all below on {target}", path.display()),
        Source::OwnCgroup { path, instead } => {
            format!("bind {}, or {}, and all below on {target}", path.display(), instead.display())
        }
        Source::Filesystem { kind, device } => format!("mount {kind} ({device}) on {target}"),
        Source::Existing => format!("change {target}"),
    };
    let options = &mount.options;
    for (change, suffix) in [(options.own, ""), (options.below, " below")] {
        if change.is_some() {
            text.push_str(&format!(" {}{suffix}", attributes(change)));
        }
    }
    if options.unnamed != 0 {
        let unnamed = Change { clear: options.unnamed, ..Change::default() };
        text.push_str(&format!(" (for want of a name: {})", attributes(unnamed).trim()));
    }
    for flag in &options.superblock {
        text.push_str(&format!(" {flag}"));
    }
    if !options.data.is_empty() {
        text.push_str(&format!(" {}", options.data_string()));
    }
    for (kind, recursive) in &options.propagation {
        text.push_str(&format!(" propagation {kind:#x}{}", if *recursive { " below" } else { "" }));
    }
    for (given, name) in [
        (options.copy_up, "copied up"),
        (options.id_map.is_some(), "id-mapped"),
        (options.classic, "by mount(2)"),
        (mount.by_runtime, "made by the runtime"),
    ] {
        if given {
            text.push_str(&format!(", {name}"));
        }
    }
    text
}

fn attributes(change: Change) -> String {
    const NAMES: [(u64, &str, &str); 6] = [
        (attribute::RDONLY, "ro", "rw"),
        (attribute::NOSUID, "nosuid", "suid"),
        (attribute::NODEV, "nodev", "dev"),
        (attribute::NOEXEC, "noexec", "exec"),
        (attribute::NODIRATIME, "nodiratime", "diratime"),
        (attribute::NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let mut names = Vec::new();
    for (bit, set, cleared) in NAMES {
        if change.set & bit != 0 {
            names.push(set);
        } else if change.clear & bit != 0 {
            names.push(cleared);
        }
    }
    if change.clear & attribute::ATIME_MASK != 0 {
        names.push(match change.set & attribute::ATIME_MASK {
            attribute::NOATIME => "noatime",
            attribute::STRICTATIME => "strictatime",
            _ => "relatime",
        });
    }
    names.join(",")
}
