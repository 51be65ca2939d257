//! The root filesystem and what is mounted below it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::json;

use crate::cgroups::with_v1;
use crate::support::{Bundle, Test};

/// The line of mountinfo for a mount point, as the container sees it; the last one wins, as in a lookup.
const MOUNTINFO: &str = "awk -v point=$0 '$5 == point' /proc/self/mountinfo | tail -n 1";

/// Prints how a path is mounted in the container.
fn how(b: Bundle<'_>, path: &str) -> String {
    let b = b.set("/process/args", json!(["sh", "-c", MOUNTINFO, path]));
    let line = b.run().ok().stdout;
    assert!(!line.is_empty(), "{path} is not a mount point");
    line
}

#[test]
fn a_directory_and_a_file_are_bound() {
    let t = Test::new();
    let directory = t.directory("data");
    fs::write(directory.join("file"), "words\n").expect("write");
    let b = t.sh("cat /mnt/file /etc/passwd; echo more >/mnt/new").own_rootfs();
    let b =
        b.mount("bind", &directory, "/mnt", &["bind"]).mount("none", directory.join("file"), "/etc/passwd", &["bind"]);
    b.run().ok().prints("words\nwords");
    assert_eq!(fs::read_to_string(directory.join("new")).expect("written inside"), "more\n");
}

#[test]
fn what_is_missing_below_a_destination_is_made() {
    let t = Test::new();
    let file = t.file("file", "words\n");
    let b = t.sh("cat /a/b/file; ls -d /c/d").own_rootfs();
    let b = b.mount("bind", &file, "/a/b/file", &["bind"]).mount("tmpfs", "tmpfs", "/c/d", &[]);
    b.run().ok().prints("words\n/c/d");
}

#[test]
fn a_missing_source_is_an_error() {
    let t = Test::new();
    let b = t.bundle(&["true"]).own_rootfs().mount("bind", "/no/such/source", "/mnt", &["bind"]);
    b.run().fails("/no/such/source");
    b.is_gone();
}

/// "The runtime MUST mount entries in the listed order" (config.md, Mounts).
#[test]
fn mounts_are_made_in_order() {
    let t = Test::new();
    let (first, second) = (t.directory("first"), t.directory("second"));
    fs::create_dir(first.join("sub")).expect("mkdir");
    fs::write(second.join("file"), "second\n").expect("write");
    let b = t.bundle(&["cat", "/mnt/sub/file"]).own_rootfs();
    let b = b.mount("bind", &first, "/mnt", &["bind"]).mount("bind", &second, "/mnt/sub", &["bind"]);
    b.run().ok().prints("second");
}

#[test]
fn a_recursive_bind_brings_the_mounts_below() {
    let t = Test::new();
    let tree = tree_with_a_mount_below(&t);
    let b = |option| t.sh("ls /mnt/sub").own_rootfs().mount("bind", &tree, "/mnt", &[option]);
    b("rbind").run().ok().prints("inner");
    b("bind").run().ok().prints("");
    unmount(&tree.join("sub"));
}

#[test]
fn a_recursive_read_only_bind_is_so_to_the_bottom() {
    let t = Test::new();
    let tree = tree_with_a_mount_below(&t);
    let script = "touch /mnt/x 2>/dev/null && echo top; touch /mnt/sub/x 2>/dev/null && echo below; true";
    let b = |option| t.sh(script).own_rootfs().mount("bind", &tree, "/mnt", &["rbind", option]);
    b("rro").run().ok().prints("");
    b("ro").run().ok().prints("below");
    unmount(&tree.join("sub"));
}

#[test]
fn a_relative_source_is_in_the_bundle() {
    let t = Test::new();
    let b = t.bundle(&["cat", "/mnt/file"]).own_rootfs().mount("bind", "data", "/mnt", &["bind"]);
    fs::create_dir(b.dir.join("data")).expect("mkdir");
    fs::write(b.dir.join("data/file"), "words\n").expect("write");
    b.run().ok().prints("words");
}

#[test]
fn tmpfs_takes_its_own_options() {
    let t = Test::new();
    let options = ["nosuid", "size=1m", "mode=700", "uid=1000"];
    let line = how(t.bundle(&[]).own_rootfs().mount("tmpfs", "tmpfs", "/mnt", &options), "/mnt");
    for word in ["nosuid", "size=1024k", "mode=700", "uid=1000"] {
        assert!(line.contains(word), "{word} in {line}");
    }
}

#[test]
fn tmpcopyup_brings_the_content_of_the_image() {
    let t = Test::new();
    let script = "cat /data/file /data/sub/file; stat -c %a%u /data/file; echo x >/data/file";
    let b = t.sh(script).own_rootfs().mount("tmpfs", "tmpfs", "/data", &["tmpcopyup"]);
    let data = b.rootfs().join("data");
    fs::create_dir_all(data.join("sub")).expect("mkdir");
    for name in ["file", "sub/file"] {
        fs::write(data.join(name), "words\n").expect("write");
    }
    b.run().ok().prints("words\nwords\n6440");
    assert_eq!(fs::read_to_string(data.join("file")).expect("the image's file"), "words\n");
}

#[test]
fn the_usual_filesystems_are_of_their_type() {
    let t = Test::new();
    for (path, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "tmpfs"), ("/dev/pts", "devpts")] {
        assert!(how(t.bundle(&[]), path).contains(&format!(" - {kind} ")), "{path}");
    }
    assert!(how(t.bundle(&[]), "/dev/mqueue").contains(" - mqueue "));
    assert!(how(t.bundle(&[]), "/dev/shm").contains("size=65536k"));
}

#[test]
fn the_cgroups_are_mounted_read_only() {
    let Some(t) = with_v1() else { return };
    let script = "cd /sys/fs/cgroup; ls -d memory pids; mkdir memory/new 2>/dev/null || echo refused";
    t.sh(script).run().ok().prints("memory\npids\nrefused");
}

#[test]
fn the_root_is_read_only_if_asked_for() {
    let t = Test::new();
    t.sh("touch /x 2>&1 || true").run().ok().shows("Read-only file system");
    let b = t.sh("touch /x").own_rootfs();
    b.run().ok();
    assert!(b.rootfs().join("x").exists());
}

#[test]
fn the_root_may_be_relative_to_the_bundle() {
    let t = Test::new();
    let b = t.bundle(&["true"]).own_rootfs();
    assert_eq!(b.config["root"]["path"], "rootfs");
    b.run().ok();
    b.on_bundle("run", &["--no-pivot"]).run().ok();
}

/// "The runtime MUST supply the following devices" and "MUST create the following symlinks" (config-linux.md, Default
/// Devices; runtime-linux.md).
#[test]
fn the_default_devices_and_links_are_there() {
    let t = Test::new();
    let script = "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u' $d; done; \
                  for l in ptmx fd stdin stdout stderr; do echo $l $(readlink $l); done";
    let device = |name, number| format!("{name} character special file {number} 666 0");
    let devices =
        [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")];
    let mut expected: Vec<_> = devices.map(|(name, number)| device(name, number)).into();
    expected.push("ptmx pts/ptmx".into());
    expected.push("fd /proc/self/fd".into());
    for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
        expected.push(format!("{name} /proc/self/fd/{number}"));
    }
    t.sh(script).run().ok().prints(&expected.join("\n"));
}

#[test]
fn devices_are_made_with_mode_and_owner() {
    let t = Test::new();
    let devices = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 1000, "gid": 26},
        {"path": "/dev/sub/block", "type": "b", "major": 254, "minor": 77},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600}
    ]);
    let script = "stat -c '%F %t:%T %a %u %g' /dev/mine /dev/sub/block /dev/pipe";
    let expected = "character special file 1:3 640 1000 26\nblock special file fe:4d 666 0 0\nfifo 0:0 600 0 0";
    t.sh(script).set("/linux/devices", devices).run().ok().prints(expected);
}

/// "If a file already exists at `path` that does not match the requested device, the runtime MUST generate an error"
/// (config-linux.md, Devices).
#[test]
fn a_file_in_the_place_of_a_device_is_an_error() {
    let Some(t) = Test::of_minicon("runc 1.1.5 takes what is there") else { return };
    let device = json!([{"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}]);
    t.bundle(&["true"]).own_rootfs().set("/linux/devices", device).run().fails("linux.devices[0]");
}

#[test]
fn masked_paths_are_empty_and_missing_ones_no_error() {
    let t = Test::new();
    let paths = json!(["/proc/kcore", "/home", "/etc/passwd", "/no/such/path"]);
    let script = "ls /home; cat /etc/passwd; cat /proc/kcore; touch /home/x 2>/dev/null || echo refused";
    t.sh(script).set("/linux/maskedPaths", paths).run().ok().prints("refused");
}

#[test]
fn a_path_that_is_masked_twice_is_masked_once() {
    let t = Test::new();
    let b = t.sh("mount | grep -c ' on /home '").set("/linux/maskedPaths", json!(["/home", "/home"]));
    b.run().ok().prints("1");
}

/// A tmpfs has the permissions of what it covers, if there is anything to cover.
#[test]
fn a_tmpfs_over_nothing_has_its_own_permissions() {
    let Some(t) = Test::of_minicon("runc 1.1.5 takes those of the directory it makes") else { return };
    let b = t.sh("stat -c %a /home /made/for/it").own_rootfs();
    fs::set_permissions(b.rootfs().join("home"), fs::Permissions::from_mode(0o710)).expect("chmod");
    let b = b.mount("tmpfs", "tmpfs", "/made/for/it", &[]).mount("tmpfs", "tmpfs", "/home", &[]);
    b.run().ok().prints("710\n1777");
}

/// As the sources are the host's paths, so may be those below the root: they show what has been mounted there by then,
/// also where the runtime makes the mounts for init.
#[test]
fn a_source_below_the_root_shows_what_is_mounted_there() {
    let t = Test::new();
    let source = t.directory("source");
    fs::write(source.join("file"), "words\n").expect("write");
    for in_user_namespace in [false, true] {
        let mut b = t.bundle(&["cat", "/home/below/file"]).own_rootfs();
        if in_user_namespace {
            let map = || json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            b = b.unshare("user").set("/linux/uidMappings", map()).set("/linux/gidMappings", map());
        }
        let again = b.rootfs().join("mnt");
        let b = b.mount("bind", &source, "/mnt/below", &["bind"]).mount("bind", again, "/home", &["rbind"]);
        b.run().ok().prints("words");
    }
}

#[test]
fn read_only_paths_cannot_be_written_to() {
    let t = Test::new();
    let paths = json!(["/home", "/etc/passwd", "/no/such/path"]);
    let script =
        "touch /home/x 2>/dev/null || echo refused; echo x 2>/dev/null >>/etc/passwd || echo refused; ls /home";
    t.sh(script).own_rootfs().set("/linux/readonlyPaths", paths).run().ok().prints("refused\nrefused\nann");
}

#[test]
fn only_the_standard_files_are_open() {
    let t = Test::new();
    // 3 is the directory that ls reads.
    t.bundle(&["ls", "/proc/self/fd"]).run().ok().prints("0\n1\n2\n3");
    let b = t.idle();
    b.up();
    b.exec(&["ls", "/proc/self/fd"]).ok().prints("0\n1\n2\n3");
}

#[test]
fn a_destination_stays_inside_the_root() {
    let t = Test::new();
    let outside = t.directory("outside");
    let before = fs::metadata(&outside).expect("metadata").mtime();
    for link in [outside.display().to_string(), format!("../../../../../../../..{}", outside.display())] {
        let b = t.bundle(&["true"]).own_rootfs().mount("tmpfs", "tmpfs", "/link/deep/er", &[]);
        symlink(link, b.rootfs().join("link")).expect("symlink");
        b.run();
        assert_eq!(fs::read_dir(&outside).expect("the decoy").count(), 0);
        assert_eq!(fs::metadata(&outside).expect("metadata").mtime(), before);
    }
}

/// CVE-2026-41579: an image whose `/dev` leads to the host.
#[test]
fn device_nodes_and_links_stay_inside_the_root() {
    let Some(t) = Test::of_minicon("runc 1.1.5 has CVE-2026-41579: it would write on this host") else { return };
    let outside = t.directory("outside");
    fs::write(outside.join("ptmx"), "keep").expect("write");
    let b =
        t.bundle(&["true"]).own_rootfs().unmount("/dev").unmount("/dev/pts").unmount("/dev/shm").unmount("/dev/mqueue");
    fs::remove_dir(b.rootfs().join("dev")).expect("rmdir");
    symlink(&outside, b.rootfs().join("dev")).expect("symlink");
    b.run();
    assert_eq!(fs::read_dir(&outside).expect("the decoy").count(), 1);
    assert_eq!(fs::read_to_string(outside.join("ptmx")).expect("the decoy"), "keep");
}

/// CVE-2023-27561 and CVE-2025-54867.
#[test]
fn proc_and_sys_may_not_be_symbolic_links() {
    let t = Test::new();
    for name in ["proc", "sys"] {
        let b = t.bundle(&["true"]).own_rootfs();
        fs::remove_dir(b.rootfs().join(name)).expect("rmdir");
        symlink("/tmp", b.rootfs().join(name)).expect("symlink");
        b.run().exits(1);
        b.is_gone();
    }
}

fn tree_with_a_mount_below(t: &Test) -> std::path::PathBuf {
    let tree = t.directory("tree");
    let below = t.directory("tree/sub");
    nix::mount::mount(Some("tmpfs"), &below, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).expect("mount");
    fs::write(below.join("inner"), "").expect("write");
    tree
}

fn unmount(path: &std::path::Path) {
    nix::mount::umount(path).expect("umount");
}
