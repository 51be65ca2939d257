//! Every mount option of the specification (config.md, Mounts), seen from inside; and propagation.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use crate::support::{Cmd, Test, is_minicon};

/// What an option does to a fresh tmpfs: words that must (or, with `!`, must not) be in its line of mountinfo.
const ON_TMPFS: &[(&[&str], &str)] = &[
    (&["async"], "!sync"),
    (&["noatime"], "noatime"),
    (&["noatime", "atime"], "!noatime"),
    (&["nodev"], "nodev"),
    (&["nodev", "dev"], "!nodev"),
    (&["nodiratime"], "nodiratime"),
    (&["nodiratime", "diratime"], "!nodiratime"),
    (&["dirsync"], "dirsync"),
    (&["noexec"], "noexec"),
    (&["noexec", "exec"], "!noexec"),
    (&["nosuid"], "nosuid"),
    (&["nosuid", "suid"], "!nosuid"),
    (&["relatime"], "relatime"),
    (&["strictatime"], "!relatime"),
    (&["ro"], "ro"),
    (&["ro", "rw"], "!ro"),
    (&["sync"], "sync"),
    (&["private"], "!shared"),
    (&["rprivate"], "!shared"),
    (&["slave"], "!shared"),
    (&["rslave"], "!shared"),
    (&["unbindable"], "unbindable"),
    (&["runbindable"], "unbindable"),
    (&["shared"], "shared:"),
    (&["rshared"], "shared:"),
];

/// The same for those that not every runtime on the machine knows yet.
const NEWER: &[(&[&str], &str)] = &[
    (&["defaults"], "rw"),
    (&["lazytime"], "lazytime"),
    (&["lazytime", "nolazytime"], "!lazytime"),
    (&["sync", "async"], "!sync"),
    (&["nosymfollow"], "nosymfollow"),
    (&["nosymfollow", "symfollow"], "!nosymfollow"),
];

/// "The "MUST" options correspond to mount(8)" (config.md, Linux mount options): each of these leaves a new tmpfs with the
/// flags that mount(8) leaves it with.
const AS_MOUNT_DOES: &[&str] = &[
    "async",
    "atime",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "relatime",
    "ro",
    "rw",
    "silent",
    "strictatime",
    "suid",
    "sync",
];

/// The recursive options, on a bind mount of a tree with a mount below it.
const RECURSIVE: &[(&[&str], &str)] = &[
    (&["rro"], "ro"),
    (&["rnosuid"], "nosuid"),
    (&["rnodev"], "nodev"),
    (&["rnoexec"], "noexec"),
    (&["rnodiratime"], "nodiratime"),
    (&["rnoatime"], "noatime"),
    (&["rrelatime"], "relatime"),
    (&["rstrictatime"], "!relatime"),
    (&["rnosymfollow"], "nosymfollow"),
];

/// Those that runc 1.1.5 hands to the kernel in a way that it refuses, and where the later of two should win.
const RECURSIVE_CLEARED: &[(&[&str], &str)] = &[
    (&["rro", "rrw"], "!ro"),
    (&["rnosuid", "rsuid"], "!nosuid"),
    (&["rnodev", "rdev"], "!nodev"),
    (&["rnoexec", "rexec"], "!noexec"),
    (&["rnodiratime", "rdiratime"], "!nodiratime"),
    (&["rnosymfollow", "rsymfollow"], "!nosymfollow"),
    (&["rnoatime", "ratime"], "relatime"),
    (&["rnoatime", "rnorelatime"], "relatime"),
    (&["rstrictatime", "rnostrictatime"], "relatime"),
];

/// Of a bind mount.
const ON_BIND: &[(&[&str], &str)] = &[
    (&["ro"], "ro"),
    (&["nosuid", "nodev", "noexec"], "noexec"),
    (&["nosuid"], "nosuid"),
    (&["nodev"], "nodev"),
    (&["noatime"], "noatime"),
    (&["nodiratime"], "nodiratime"),
];

#[test]
fn every_option_works_on_a_new_mount() {
    let t = Test::new();
    check(&t, ON_TMPFS, |options| json!({"type": "tmpfs", "source": "tmpfs", "options": options}), "/mnt");
}

#[test]
fn the_newer_options_work_on_a_new_mount() {
    let Some(t) = Test::of_minicon("runc 1.1.5 does not know them") else { return };
    check(&t, NEWER, |options| json!({"type": "tmpfs", "source": "tmpfs", "options": options}), "/mnt");
}

#[test]
fn options_do_what_mount_does_with_them() {
    let Some(t) = Test::of_minicon("runc 1.1.5 does not know all of them") else { return };
    let place = t.directory("mnt");
    let mut b = t.bundle(&["cat", "/proc/self/mountinfo"]).own_rootfs();
    for option in AS_MOUNT_DOES {
        b = b.mount("tmpfs", "tmpfs", &format!("/mnt-{option}"), &[option]);
    }
    let ours = b.run().ok().stdout;
    for option in AS_MOUNT_DOES {
        Cmd::new("mount").args(["-t", "tmpfs", "-o", option, "tmpfs"]).arg(&place).run().ok();
        let theirs = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
        umount(&place).expect("umount");
        let flags_of = |text: &str, point: &str| {
            let line = text.lines().find(|line| line.contains(&format!(" {point} "))).expect("the mount").to_owned();
            let fields: Vec<&str> = line.split(' ').collect();
            // Of a new mount that is read-only the file system need not be. Its size, mode and the like are its own.
            let own = fields[fields.len() - 1].split(',').filter(|word| !["ro", "rw"].contains(word));
            let words =
                fields[5].split(',').chain(own.filter(|word| !word.contains('=') && !word.starts_with("inode")));
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let expected = flags_of(&theirs, place.to_str().expect("UTF-8"));
        assert_eq!(flags_of(&ours, &format!("/mnt-{option}")), expected, "{option}");
    }
}

/// What leaves no trace in mountinfo is looked for in the call.
#[test]
fn options_without_a_trace_reach_the_kernel() {
    if !is_minicon() {
        return; // The same for runc, but its calls are made by several threads.
    }
    let Some(t) = Test::with_program("/usr/bin/strace") else { return };
    let trace = |options: &[&str]| {
        let b = t.bundle(&["true"]).own_rootfs().mount("tmpfs", "tmpfs", "/mnt", options);
        b.write();
        let call = t.runtime(["run", "--bundle"]).arg(&b.dir).arg(&b.id);
        call.through("strace -f -e trace=mount \"$@\"").run().ok().stderr
    };
    for (option, flag, cleared) in [("silent", "MS_SILENT", "loud"), ("iversion", "MS_I_VERSION", "noiversion")] {
        assert!(trace(&[option]).contains(flag), "{option}");
        assert!(!trace(&[option, cleared]).contains(flag), "{cleared}");
    }
}

/// "Corresponds to mount(8)": what a remount does not name stays.
#[test]
fn a_remount_changes_what_it_names() {
    let Some(t) = Test::of_minicon("runc 1.1.5 drops the other flags") else { return };
    for (options, expected) in [
        (&["remount", "lazytime"][..], &["nosuid", "nodev", "relatime", "sync", "lazytime"][..]),
        (&["remount", "async"], &["nosuid", "nodev", "relatime", "!sync"]),
        // The kernel changes it only at the first mount, and mount(8) does not complain.
        (&["remount", "dirsync"], &["nosuid", "nodev", "relatime", "sync", "!dirsync"]),
        (&["remount", "noexec"], &["nosuid", "nodev", "noexec", "sync"]),
        (&["remount", "ro", "size=2m"], &["nosuid", "nodev", "ro", "sync", "size=2048k"]),
        (&["remount", "silent", "noatime"], &["nosuid", "nodev", "noatime"]),
    ] {
        let b = t.bundle(&["grep", " /mnt ", "/proc/self/mountinfo"]).own_rootfs();
        let b = b.mount("tmpfs", "tmpfs", "/mnt", &["nosuid", "nodev", "sync", "size=1m"]);
        let output = b.mount("tmpfs", "tmpfs", "/mnt", options).run().ok();
        for word in expected {
            let (name, wanted) = word.strip_prefix('!').map_or((*word, true), |name| (name, false));
            let found = output.stdout.split([' ', ',', '\n']).any(|part| part == name);
            assert_eq!(found, wanted, "{options:?} should give {word}: {}", output.stdout);
        }
    }
}

/// "Pass those as a comma-separated string" (config.md, Linux mount options): one entry may hold several.
#[test]
fn an_entry_may_hold_several_options_of_the_filesystem() {
    let t = Test::new();
    let b = t.bundle(&["grep", " /mnt ", "/proc/self/mountinfo"]).own_rootfs();
    b.mount("tmpfs", "tmpfs", "/mnt", &["mode=711,size=64k"]).run().ok().shows("size=64k").shows("mode=711");
}

#[test]
fn options_work_on_a_bind_mount() {
    let t = Test::new();
    let source = t.directory("data");
    let bind = |options: Vec<&str>| json!({"type": "bind", "source": &source, "options": ([&["bind"][..], &options].concat())});
    check(&t, ON_BIND, bind, "/mnt");
}

/// What a bind mount of a source that is ro, nosuid and noatime becomes: without an option the same; with one, what is named,
/// as the remount of mount(8) makes it. The access time stays until another one is named. In a user namespace, which may not
/// clear what came with the mount, the source's flags stay too; but not nosymfollow.
const ON_FLAGGED_BIND: &[(&[&str], &[&str], &[&str])] = &[
    (&[], &["ro", "nosuid", "noatime", "nosymfollow"], &["ro", "nosuid", "noatime", "nosymfollow"]),
    (&["rprivate"], &["ro", "nosuid", "noatime", "nosymfollow"], &["ro", "nosuid", "noatime", "nosymfollow"]),
    (&["nodev"], &["rw", "nodev", "noatime"], &["ro", "nosuid", "nodev", "noatime"]),
    (&["dev"], &["rw", "noatime"], &["ro", "nosuid", "noatime"]),
    (&["ro"], &["ro", "noatime"], &["ro", "nosuid", "noatime"]),
    (&["ro", "atime"], &["ro", "noatime"], &["ro", "nosuid", "noatime"]),
    (&["relatime"], &["rw", "relatime"], &["ro", "nosuid", "relatime"]),
    (&["nodiratime", "ro"], &["ro", "nodiratime", "relatime"], &["ro", "nosuid", "nodiratime", "relatime"]),
    (&["strictatime", "rw"], &["rw"], &["rw", "nosuid"]),
];

#[test]
fn a_bind_mount_has_the_flags_of_its_source_or_those_that_are_named() {
    let Some(t) = Test::of_minicon("runc 1.1.5 keeps none in a user namespace") else { return };
    let source = t.directory("flagged");
    mount(Some("tmpfs"), &source, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount");
    let remount = ["-o", "remount,bind,ro,nosuid,noatime,nosymfollow"];
    Cmd::new("mount").args(remount).arg(&source).run().ok();
    for in_user_namespace in [false, true] {
        let mut b = t.bundle(&["cat", "/proc/self/mountinfo"]).own_rootfs();
        if in_user_namespace {
            let map = || json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            b = b.unshare("user").set("/linux/uidMappings", map()).set("/linux/gidMappings", map());
        }
        for (row, (options, ..)) in ON_FLAGGED_BIND.iter().enumerate() {
            b = b.mount("bind", &source, &format!("/mnt{row}"), &[&["bind"][..], options].concat());
        }
        let output = b.run().ok();
        for (row, (options, plain, kept)) in ON_FLAGGED_BIND.iter().enumerate() {
            let line = output.stdout.lines().find(|line| line.contains(&format!(" /mnt{row} "))).expect("the mount");
            let mut flags: Vec<&str> = line.split(' ').nth(5).expect("flags").split(',').collect();
            let mut expected = if in_user_namespace { kept.to_vec() } else { plain.to_vec() };
            flags.sort_unstable();
            expected.sort_unstable();
            assert_eq!(flags, expected, "{options:?}, user namespace: {in_user_namespace}");
        }
    }
    umount(&source).expect("umount");
}

#[test]
fn recursive_options_reach_the_mounts_below() {
    check_below(&Test::new(), RECURSIVE);
}

#[test]
fn recursive_options_that_clear_a_flag_reach_the_mounts_below() {
    let Some(t) = Test::of_minicon("runc 1.1.5 gets EINVAL, or sets what comes later cleared") else { return };
    check_below(&t, RECURSIVE_CLEARED);
}

fn check_below(t: &Test, table: &[(&[&str], &str)]) {
    let source = t.directory("tree");
    let below = t.directory("tree/sub");
    mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount");
    let bind = |options: Vec<&str>| json!({"type": "bind", "source": &source, "options": ([&["rbind"][..], &options].concat())});
    check(t, table, bind, "/mnt/sub");
    umount(&below).expect("umount");
}

#[test]
fn an_unknown_option_goes_to_the_filesystem() {
    let t = Test::new();
    let b = t.bundle(&["true"]).own_rootfs().mount("tmpfs", "tmpfs", "/mnt", &["no_such_option"]);
    b.run().fails("invalid argument");
}

/// One container for the whole table: each row is a mount of its own, and each has a line in mountinfo.
fn check(t: &Test, table: &[(&[&str], &str)], entry: impl Fn(Vec<&str>) -> serde_json::Value, below: &str) {
    let mut b = t.bundle(&["cat", "/proc/self/mountinfo"]).own_rootfs();
    for (row, (options, _)) in table.iter().enumerate() {
        let mut mount = entry(options.to_vec());
        mount["destination"] = json!(format!("/mnt{row}"));
        b = b.push("/mounts", mount);
    }
    let output = b.run().ok();
    for (row, (options, expected)) in table.iter().enumerate() {
        let point = format!(" {} ", below.replace("/mnt", &format!("/mnt{row}")));
        let line = output.stdout.lines().find(|line| line.contains(&point)).unwrap_or_else(|| panic!("no {point}"));
        let (word, wanted) = expected.strip_prefix('!').map_or((*expected, true), |word| (word, false));
        let found = line.split([' ', ',']).any(|part| part == word || (word.ends_with(':') && part.starts_with(word)));
        assert_eq!(found, wanted, "options {options:?} should give {expected:?}: {line}");
    }
}

/// Mounts made on the host after the start, and whether the container sees them.
#[test]
fn propagation_is_as_asked_for() {
    let t = Test::new();
    let source = shared_directory(&t);
    for (option, seen) in [("rslave", true), ("rshared", true), ("rprivate", false)] {
        let b = t.idle().own_rootfs().mount("bind", &source, "/mnt", &["rbind", option]);
        let b = b.set("/linux/rootfsPropagation", if option == "rprivate" { "rprivate" } else { "rslave" });
        b.up();
        let below = source.join("below");
        mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount");
        let output = b.exec(&["cat", "/proc/self/mountinfo"]).ok();
        umount(&below).expect("umount");
        assert_eq!(output.stdout.contains(" /mnt/below "), seen, "{option}");
    }
    umount(&source).expect("umount");
}

/// A mount made in the container reaches the host only through a shared mount.
#[test]
fn a_mount_in_the_container_stays_there_unless_it_is_shared() {
    let t = Test::new();
    let source = shared_directory(&t);
    let host = || fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo").contains("tree/below ");
    for (option, seen) in [("rshared", true), ("rslave", false)] {
        let b = t.idle().own_rootfs().mount("bind", &source, "/mnt", &["rbind", option]);
        let b = b.capabilities(&["CAP_SYS_ADMIN"]).set("/linux/rootfsPropagation", option);
        b.up();
        b.exec(&["mount", "-t", "tmpfs", "tmpfs", "/mnt/below"]).ok();
        assert_eq!(host(), seen, "{option}");
        b.exec(&["umount", "/mnt/below"]).ok();
        assert!(!host());
    }
    umount(&source).expect("umount");
}

#[test]
fn the_propagation_of_the_root_is_set() {
    let t = Test::new();
    let cases = [("private", ""), ("slave", ""), ("shared", "shared:"), ("unbindable", "unbindable")];
    for (name, word) in cases.into_iter().filter(|(name, _)| is_minicon() || !["shared", "unbindable"].contains(name)) {
        for name in [name.to_owned(), format!("r{name}")] {
            let b = t.sh("grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mountinfo");
            let output = b.set("/linux/rootfsPropagation", name.as_str()).run().ok();
            assert!(output.stdout.contains(word), "{name}: {}", output.stdout);
        }
    }
    let b = t.bundle(&["true"]).set("/linux/rootfsPropagation", "sideways");
    b.run().fails("rootfsPropagation=sideways is not supported");
}

/// A directory that is a shared mount, with a directory below to mount on.
fn shared_directory(t: &Test) -> std::path::PathBuf {
    let tree = t.directory("tree");
    t.directory("tree/below");
    let none = None::<&Path>;
    mount(Some(&tree), &tree, none, MsFlags::MS_BIND, none).expect("mount");
    mount(none, &tree, none, MsFlags::MS_SHARED, none).expect("make shared");
    tree
}
