//! Id-mapped mounts (config.md, Linux mount options, `idmap` and `ridmap`, and `uidMappings` of a mount).

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};
use nix::unistd::{Gid, Uid, chown};
use serde_json::{Value, json};

use crate::support::{Bundle, Test};

/// A directory with a file of user 5, and one mounted below it with another.
struct Tree<'t> {
    test: &'t Test,
    path: PathBuf,
}

impl<'t> Tree<'t> {
    fn new(test: &'t Test) -> Self {
        let (path, below) = (test.directory("tree"), test.directory("below"));
        test.directory("tree/sub");
        for directory in [&path, &below] {
            let file = directory.join("file");
            fs::write(&file, "words").expect("write");
            chown(&file, Some(Uid::from_raw(5)), Some(Gid::from_raw(6))).expect("chown");
        }
        let none = None::<&Path>;
        mount(Some(&below), &path.join("sub"), none, MsFlags::MS_BIND, none).expect("mount");
        Tree { test, path }
    }

    /// A container that sees the tree with these options and tells the owners of the two files.
    fn seen_with(&self, options: &[&str], mappings: Option<(Value, Value)>) -> Bundle<'t> {
        let script = "cd /mnt && stat -c %u:%g file sub/file";
        let mut entry = json!({"type": "bind", "source": self.path, "destination": "/mnt", "options": options});
        if let Some((uids, gids)) = mappings {
            entry["uidMappings"] = uids;
            entry["gidMappings"] = gids;
        }
        self.test.sh(script).own_rootfs().push("/mounts", entry)
    }
}

impl Drop for Tree<'_> {
    fn drop(&mut self) {
        let _ = umount(&self.path.join("sub"));
    }
}

fn map(inside: u32, outside: u32) -> Value {
    json!([{"containerID": inside, "hostID": outside, "size": 1000}])
}

/// tmpfs has had them since Linux 6.3; the other usual file systems since 5.12.
fn possible() -> Option<Test> {
    let is_tmpfs = nix::sys::statfs::statfs(&std::env::temp_dir())
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let needed = if is_tmpfs { (6, 3) } else { (5, 12) };
    if version < needed {
        return Test::where_possible(false, "the file system of the temporary directory cannot map ids");
    }
    Test::of_minicon("runc 1.1.5 has no id-mapped mounts")
}

/// "If `uidMappings` or `gidMappings` are specified for the mount, the runtime MUST use those values for the mount's
/// mapping."
#[test]
fn the_mappings_of_the_mount_are_used() {
    let Some(t) = possible() else { return };
    let tree = Tree::new(&t);
    let mappings = || Some((map(0, 1000), map(0, 2000)));
    // "The mapping is applied recursively" with ridmap only. Unmapped below is the overflow of nothing: as it is.
    tree.seen_with(&["rbind", "idmap"], mappings()).run().ok().prints("1005:2006\n5:6");
    tree.seen_with(&["rbind", "ridmap"], mappings()).run().ok().prints("1005:2006\n1005:2006");
    // "SHOULD contain either idmap or ridmap": without either it is the mount itself.
    tree.seen_with(&["rbind"], mappings()).run().ok().prints("1005:2006\n5:6");
    tree.seen_with(&["rbind", "ridmap", "ro"], mappings()).run().ok().prints("1005:2006\n1005:2006");
}

/// A source below the root shows what earlier mounts have put there, be it mapped or not.
#[test]
fn what_has_been_mounted_below_the_root_can_be_mapped() {
    let Some(t) = possible() else { return };
    let tree = Tree::new(&t);
    let b = tree.test.sh("cd /home && stat -c %u:%g file sub/file").own_rootfs();
    let again = json!({
        "type": "bind", "source": b.rootfs().join("mnt"), "destination": "/home", "options": ["rbind", "ridmap"],
        "uidMappings": map(0, 1000), "gidMappings": map(0, 2000),
    });
    let b = b.mount("bind", &tree.path, "/mnt", &["rbind"]).push("/mounts", again);
    b.run().ok().prints("1005:2006\n1005:2006");
}

/// "If they are not specified, the runtime MAY use the container's user namespace mapping": then the container sees the
/// owners as they are on the disk.
#[test]
fn without_mappings_the_container_s_are_used() {
    let Some(t) = possible() else { return };
    let tree = Tree::new(&t);
    let in_user_namespace = |options: &[&str]| {
        let b = tree.seen_with(options, None).unshare("user");
        b.set("/linux/uidMappings", map(0, 100_000)).set("/linux/gidMappings", map(0, 100_000))
    };
    let seen = |options: &[&str]| {
        let b = in_user_namespace(options);
        // Its own root filesystem belongs to the host's root; the shared one may be read by anybody.
        let path = crate::support::rootfs::shared().to_owned();
        fs::create_dir_all(path.join("mnt")).expect("mkdir");
        b.set("/root/path", json!(path)).run().ok().stdout
    };
    assert_eq!(seen(&["rbind", "ridmap"]), "5:6\n5:6\n");
    assert_eq!(seen(&["rbind", "idmap"]), "5:6\n65534:65534\n");
    assert_eq!(seen(&["rbind"]), "65534:65534\n65534:65534\n");
}

/// "If there are no `uidMappings` and `gidMappings` specified and the container isn't using user namespaces, an error
/// MUST be returned." "If specified, it MUST be specified along with `gidMappings`."
#[test]
fn what_cannot_be_mapped_is_an_error() {
    let Some(t) = possible() else { return };
    let tree = Tree::new(&t);
    for option in ["idmap", "ridmap"] {
        tree.seen_with(&["rbind", option], None).create().fails("mounts[7]: an id-mapped mount needs");
    }
    let entry = json!({"type": "bind", "source": "/tmp", "destination": "/mnt", "options": ["bind", "idmap"],
        "uidMappings": map(0, 1000)});
    let b = t.bundle(&["true"]).push("/mounts", entry);
    b.create().fails("mounts[7]: uidMappings and gidMappings must be given together");
    let b = t.bundle(&["true"]).mount("tmpfs", "tmpfs", "/mnt", &["idmap"]);
    b.create().fails("mounts[7]");
}
