//! The rows whose attack is a race, run as one.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use crate::Verdict;
use crate::attacks::{self, fake_proc, writes_to_proc};
use crate::decoy::Decoy;
use crate::mounts::{SEARCH, run_and_judge};
use crate::process;
use crate::race::{Raced, race, run};
use crate::support::terminal::FdSocket;
use crate::support::{Cmd, Test};

/// A directory and a link to another one, to be swapped.
fn directory_and_link(above: &Path, name: &str, target: &Path) -> (PathBuf, PathBuf) {
    let (directory, link) = (above.join(name), above.join(format!("{name}.link")));
    fs::create_dir_all(&directory).expect("mkdir");
    symlink(target, &link).expect("symlink");
    (directory, link)
}

/// What the naive reference knows when it goes on. Something comes between looking and using: here the list of mounts.
fn was_link(path: &Path) -> bool {
    let link = path.symlink_metadata().is_ok_and(|data| data.is_symlink());
    let _ = fs::read("/proc/self/mountinfo");
    link
}

/// Checks that a directory is no link, and mounts on it: does it lie over the decoy now?
fn mounts_naively(directory: &Path, decoy: &Path) -> bool {
    let none = None::<&str>;
    if was_link(directory) || mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), none).is_err() {
        return false;
    }
    let lost = !decoy.join("file").exists();
    // Wherever it lies; the names are being swapped.
    while umount2(decoy, MntFlags::MNT_DETACH).is_err() && umount2(directory, MntFlags::MNT_DETACH).is_err() {}
    lost
}

/// Checks that a directory is no link, and makes another one in it.
fn makes_directory_naively(directory: &Path, decoy: &Path) -> bool {
    let _ = !was_link(directory) && fs::create_dir(directory.join("naive")).is_ok();
    fs::remove_dir(decoy.join("naive")).is_ok()
}

pub fn a_destination_is_swapped() -> Raced {
    let t = Test::new();
    let (decoy, volume) = (Decoy::new(&t), t.directory("volume"));
    let target = decoy.dir.join("x");
    let names = directory_and_link(&volume, "a", &target);
    let b = t.sh(SEARCH).own_rootfs().mount("bind", &volume, "/vol", &["bind"]);
    let b = (0..16).fold(b, |b, n| b.mount("tmpfs", "tmpfs", &format!("/vol/a/{n}"), &[]));
    race((&names.0, &names.1), || run_and_judge(&b, &decoy), || mounts_naively(&names.0, &target))
}

pub fn directories_are_swapped() -> Raced {
    let t = Test::new();
    let (decoy, volume) = (Decoy::new(&t), t.directory("volume"));
    let names = directory_and_link(&volume, "a", &decoy.dir);
    let b = t.sh(SEARCH).own_rootfs().mount("bind", &volume, "/vol", &["bind"]);
    let source = t.directory("source");
    let b = b.mount("bind", source, "/vol/a/new/deeper", &["bind"]);
    let b = b.mount("bind", "/etc/hostname", "/vol/a/made/file", &["bind", "ro"]);
    race((&names.0, &names.1), || run_and_judge(&b, &decoy), || makes_directory_naively(&names.0, &decoy.dir))
}

/// A volume at /dev whose null comes and goes; what lies over a masked path must never be core_pattern.
pub fn null_is_swapped() -> Raced {
    let t = Test::new();
    let devices = t.directory("fake-dev");
    let names = (devices.join("null"), devices.join("null.link"));
    mknod(&names.0, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).expect("mknod");
    symlink("/proc/sys/kernel/core_pattern", &names.1).expect("symlink");
    let script =
        "head -c 300 /proc/timer_list > /tmp/2; cmp -s /proc/sys/kernel/core_pattern /tmp/2 && echo bound; true";
    let b = t.sh(script).own_rootfs().unmount("/dev").mount("bind", &devices, "/dev", &["bind", "rw"]);
    let round = || match b.run().stdout.contains("bound") {
        true => Verdict::Vulnerable("core_pattern lies over a masked path".to_owned()),
        false => Verdict::Holds,
    };
    // As the mask would be bound: the path is looked up again.
    let naive = || !was_link(&names.0) && fs::metadata(&names.0).is_ok_and(|data| !data.file_type().is_char_device());
    race((&names.0, &names.1), round, naive)
}

/// A volume at /dev whose console is a file or a link to the host's.
pub fn console_is_swapped() -> Raced {
    let t = Test::new();
    let (decoy, devices) = (Decoy::new(&t), t.directory("fake-dev"));
    let names = (devices.join("console"), devices.join("console.link"));
    fs::write(&names.0, "").expect("write");
    symlink(decoy.dir.join("x/file"), &names.1).expect("symlink");
    let b = t.sh("true").own_rootfs().set("/process/terminal", true).unmount("/dev");
    let b = b.mount("bind", &devices, "/dev", &["bind", "rw"]);
    let socket = FdSocket::listen(&t, "console-socket");
    let round = || {
        let made = b.on_bundle("create", &["--console-socket", socket.arg()]).run().code == 0;
        while socket.has_client() {
            drop(socket.receive());
        }
        if made {
            b.verb("delete", &["--force"]).run();
        }
        decoy.verdict()
    };
    let naive = || !was_link(&names.0) && fs::metadata(&names.0).is_ok_and(|data| data.len() > 0);
    race((&names.0, &names.1), round, naive)
}

/// A directory of the image that is mounted on, or a link to a volume of empty files, which must stay empty.
pub fn proc_is_swapped() -> Raced {
    let t = Test::new();
    let fake = fake_proc(&t);
    let b = writes_to_proc(&t, false).mount("bind", &fake, "/vol", &["bind", "rw"]);
    // Below the root on both sides.
    let names = directory_and_link(&b.rootfs(), "proc", Path::new("vol"));
    fs::create_dir_all(b.rootfs().join("vol/sys")).expect("mkdir");
    let round = || {
        attacks::through_its_life(&b);
        attacks::judge(&fake)
    };
    let naive = || !was_link(&names.0) && names.0.join("sys").exists();
    race((&names.0, &names.1), round, naive)
}

/// Where the tree of cgroups is mounted, below a /sys that is the image's.
pub fn cgroup_is_swapped() -> Raced {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    let target = decoy.dir.join("x");
    let b = t.bundle(&["true"]).own_rootfs().unmount("/sys").unmount("/sys/fs/cgroup");
    let b = b.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["ro", "nosuid", "noexec", "nodev"]);
    let b = b.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    let names = directory_and_link(&b.rootfs(), "sys/fs", &target);
    race((&names.0, &names.1), || run_and_judge(&b, &decoy), || makes_directory_naively(&names.0, &target))
}

/// The /dev of an image, in which nodes and links are made.
pub fn dev_is_swapped() -> Raced {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    let target = decoy.dir.join("x");
    let b = attacks::without_dev(t.bundle(&["true"]).own_rootfs());
    let b = b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let names = directory_and_link(&b.rootfs(), "dev", &target);
    race((&names.0, &names.1), || run_and_judge(&b, &decoy), || makes_directory_naively(&names.0, &target))
}

/// What looks into all that arrive: `exec`, and as the reference `nsenter`, which hides nothing.
pub fn looking_into_exec() -> Raced {
    let t = Test::new();
    let b = process::looker(&t);
    b.up();
    let pid = b.pid().to_string();
    let leaks = || fs::read_to_string(b.rootfs().join("tmp/leaks")).unwrap_or_default();
    let (mut rounds, mut lost) = (0, 0);
    while rounds < 2000 && lost == 0 {
        Cmd::new("nsenter").args(["--target", &pid, "--user", "--mount", "--pid", "/bin/true"]).run();
        rounds += 1;
        lost = leaks().lines().count();
    }
    let _ = fs::remove_file(b.rootfs().join("tmp/leaks"));
    let mut raced = Raced { naive: Some((rounds, lost)), ..Raced::default() };
    run(&mut raced, &mut || {
        b.exec(&["true"]).ok();
        match leaks() {
            none if none.is_empty() => Verdict::Holds,
            some => Verdict::Vulnerable(some),
        }
    });
    b.stop();
    b.delete().ok();
    raced
}
