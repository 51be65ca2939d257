//! Mounts, devices and links.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::Case;
use super::namespaces::mapped;
use crate::rootless::Rootless;

pub const CASES: &[Case] = &[
    Case {
        row: "source of a bind mount is missing",
        provoke: |t| t.bundle(&["true"]).mount("bind", "/no/such/source", "/mnt", &["bind"]).create(),
        first: &["mount /mnt: ", "open_tree(", "/no/such/source", "ENOENT"],
        config: "mounts[7]",
    },
    Case {
        row: "device is missing on the host",
        provoke: |t| {
            let device = json!({"path": "/dev/nosuch", "type": "c", "major": 1, "minor": 3});
            let r = Rootless::new(t);
            r.configure(|config| config["linux"]["devices"] = json!([device]));
            r.runtime(&["create", "x"]).run()
        },
        first: &["bind the device /dev/nosuch: ", "open_tree(", "/dev/nosuch", "ENOENT"],
        config: "linux.devices[0]",
    },
    Case {
        row: "directory on a file",
        provoke: |t| t.bundle(&["true"]).mount("bind", t.directory("source"), "/etc/passwd", &["bind"]).create(),
        first: &["mount /etc/passwd: ", "openat2(", "ENOTDIR"],
        config: "mounts[7]",
    },
    Case {
        row: "file on a directory",
        provoke: |t| t.bundle(&["true"]).mount("bind", t.file("source", ""), "/mnt", &["bind"]).create(),
        first: &["mount /mnt: ", "move_mount(", "EINVAL"],
        config: "mounts[7]",
    },
    Case {
        row: "no mount point on a read-only file system",
        provoke: |t| read_only(t).mount("tmpfs", "tmpfs", "/mnt/below", &[]).create(),
        first: &["mount /mnt/below: ", "mkdirat(", "below", "EROFS"],
        config: "mounts[8]",
    },
    Case {
        row: "no file to mount on, on a read-only file system",
        provoke: |t| read_only(t).mount("bind", t.file("source", ""), "/mnt/below", &["bind"]).create(),
        first: &["mount /mnt/below: ", "openat(", "below", "EROFS"],
        config: "mounts[8]",
    },
    Case {
        row: "locked mount flags",
        provoke: |t| {
            let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
            // What is mounted nosuid outside of the user namespace must stay so inside.
            let source = t.directory("nosuid");
            let b = mapped(t, map).unmount("/dev/pts").mount("bind", &source, "/mnt", &["bind", "suid"]);
            let script = format!(
                "mount -t tmpfs -o nosuid tmpfs {} && exec unshare --user --map-root-user --mount \"$@\"",
                source.display()
            );
            let outer = b.on_bundle("create", &["--no-new-keyring"]).through(&script);
            outer.through("exec unshare --mount \"$@\"").run()
        },
        first: &["mount /mnt: ", "mount_setattr(", "EPERM"],
        config: "mounts[6]",
    },
    Case {
        row: "mount that knows no id maps",
        provoke: |t| {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
            mapped(t, map).mount("bind", "/proc/sys", "/mnt", &["bind", "idmap"]).create()
        },
        first: &["map the ids of /proc/sys: ", "mount_setattr(", "EINVAL"],
        config: "mounts[7]",
    },
    Case {
        row: "unknown file system",
        provoke: |t| t.bundle(&["true"]).mount("nosuchfs", "none", "/mnt", &[]).create(),
        first: &["mount /mnt: ", "fsopen(nosuchfs", "ENODEV"],
        config: "mounts[7]",
    },
    Case {
        row: "proc in a nested container",
        provoke: |t| inside(t).share("pid").create(),
        first: &["mount /proc: ", "EPERM"],
        config: "mounts[0]",
    },
    Case {
        row: "proc in a nested container",
        provoke: |t| {
            // As in a container whose /proc is masked, and that makes one itself.
            let script = "mount --bind /dev/null /proc/uptime && exec \"$@\"";
            inside(t).on_bundle("create", &[]).through(script).through("exec unshare --mount \"$@\"").run()
        },
        first: &["mount /proc: ", "EPERM"],
        config: "mounts[0]",
    },
    Case {
        row: "sysfs without a network namespace",
        provoke: |t| inside(t).share("network").create(),
        first: &["mount /sys: ", "EPERM"],
        config: "mounts[5]",
    },
    Case {
        row: "mqueue without an IPC namespace",
        provoke: |t| inside(t).share("ipc").create(),
        first: &["mount /dev/mqueue: ", "EPERM"],
        config: "mounts[4]",
    },
    Case {
        row: "link where a mount may not follow",
        provoke: |t| {
            let b = t.bundle(&["true"]).own_rootfs();
            fs::remove_dir(b.rootfs().join("proc")).expect("rmdir");
            symlink("tmp", b.rootfs().join("proc")).expect("symlink");
            b.create()
        },
        first: &["mount /proc: ", "/proc must be an ordinary directory in the image, not a link"],
        config: "mounts[0]",
    },
    Case {
        row: "another file where a device should be",
        provoke: |t| {
            let b = t.bundle(&["true"]).own_rootfs().unmount("/dev").unmount("/dev/pts").unmount("/dev/shm");
            fs::write(b.rootfs().join("dev/zero"), "not a device").expect("write");
            b.unmount("/dev/mqueue").create()
        },
        first: &["make the device /dev/zero: ", "/dev/zero exists and is another file than the device 1:5"],
        config: "linux.devices",
    },
];

/// A read-only directory of the host on /mnt.
fn read_only(t: &crate::support::Test) -> crate::support::Bundle<'_> {
    t.bundle(&["true"]).mount("bind", t.directory("read-only"), "/mnt", &["bind", "ro"])
}

/// A bundle in a user namespace.
fn inside(t: &crate::support::Test) -> crate::support::Bundle<'_> {
    mapped(t, json!([{"containerID": 0, "hostID": 100_000, "size": 10}]))
}
