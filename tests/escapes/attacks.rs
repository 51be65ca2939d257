//! Images and volumes that play /proc, /sys and /dev, or have links where the runtime writes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use crate::Verdict;
use crate::decoy::Decoy;
use crate::support::terminal::FdSocket;
use crate::support::{Bundle, Output, Test, hook};

/// A directory like /proc, of empty files where labels and kernel parameters are written.
pub fn fake_proc(t: &Test) -> PathBuf {
    let fake = t.directory("fake-proc");
    for process in ["self", "thread-self", "1"] {
        for attributes in ["attr", "attr/apparmor"] {
            let attributes = fake.join(process).join(attributes);
            fs::create_dir_all(&attributes).expect("mkdir");
            for name in ["exec", "current", "keycreate"] {
                fs::write(attributes.join(name), "").expect("write");
            }
        }
    }
    fs::create_dir_all(fake.join("sys/kernel")).expect("mkdir");
    fs::write(fake.join("sys/kernel/msgmax"), "").expect("write");
    fake
}

/// Whether something was written to a file of the fake.
fn written(fake: &Path) -> Option<PathBuf> {
    let mut directories = vec![fake.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => directories.push(entry.path()),
                Ok(data) if data.len() > 0 => return Some(entry.path()),
                _ => {}
            }
        }
    }
    None
}

pub fn judge(fake: &Path) -> Verdict {
    written(fake).map_or(Verdict::Holds, |file| Verdict::Vulnerable(format!("caught by {}", file.display())))
}

/// A bundle that asks for all that is written to /proc: a label, where there could be one, and kernel parameters.
pub fn writes_to_proc<'t>(t: &'t Test, label: bool) -> Bundle<'t> {
    let b = t.sh("sleep 1000 & wait").own_rootfs().set("/linux/sysctl", json!({"kernel.msgmax": "8191"}));
    if label { b.set("/process/apparmorProfile", "unconfined") } else { b }
}

/// Creates, starts and deletes: what fails early is as good.
pub fn through_its_life(b: &Bundle<'_>) {
    if b.create().code == 0 {
        b.start();
        b.kill("KILL");
        b.becomes("stopped");
        b.delete();
    }
}

pub fn a_volume_at_proc() -> Verdict {
    let t = Test::new();
    let fake = fake_proc(&t);
    for label in [true, false] {
        let b = writes_to_proc(&t, label).unmount("/proc").mount("bind", &fake, "/proc", &["bind", "rw"]);
        through_its_life(&b);
    }
    judge(&fake)
}

pub fn proc_links_to_a_volume() -> Verdict {
    let t = Test::new();
    let fake = fake_proc(&t);
    for unmounted in [true, false] {
        let b = writes_to_proc(&t, true).mount("bind", &fake, "/vol", &["bind", "rw"]);
        let b = if unmounted { b.unmount("/proc") } else { b };
        fs::remove_dir(b.rootfs().join("proc")).expect("rmdir");
        symlink("/vol", b.rootfs().join("proc")).expect("symlink");
        through_its_life(&b);
    }
    judge(&fake)
}

/// The proxy: the mounts are in place before anything is written, by the configuration and by a hook.
pub fn mounts_over_proc() -> Verdict {
    let t = Test::new();
    let fake = fake_proc(&t);
    for label in [true, false] {
        for below in ["self/attr", "thread-self/attr", "1/attr", "sys/kernel", "sys"] {
            let destination = format!("/proc/{below}");
            let b = writes_to_proc(&t, label).mount("bind", fake.join(below), &destination, &["bind", "rw"]);
            through_its_life(&b);
            let b = writes_to_proc(&t, label);
            let (from, root) = (fake.join(below), b.rootfs());
            let (from, root) = (from.display(), root.display());
            let script = format!("for r in {root} ''; do mount --bind {from} $r{destination}; done 2>/dev/null; true");
            through_its_life(&b.push("/hooks/createContainer", hook(&script)));
        }
    }
    judge(&fake)
}

/// None may be made; where one is, the link was not followed to another place.
pub fn proc_or_sys_is_a_link() -> Verdict {
    let t = Test::new();
    for name in ["proc", "sys"] {
        for target in ["/x", "/tmp", "../../x"] {
            let b = t.bundle(&["true"]).own_rootfs();
            fs::remove_dir(b.rootfs().join(name)).expect("rmdir");
            symlink(target, b.rootfs().join(name)).expect("symlink");
            if b.run().code == 0 {
                return Verdict::Vulnerable(format!("/{name} -> {target} was mounted on"));
            }
        }
    }
    Verdict::Holds
}

/// "rw" is not asked for; in a user namespace, without a cgroup namespace.
pub fn writing_to_cgroups() -> Verdict {
    let t = Test::new();
    let map = || json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    let script = "cd /sys/fs/cgroup; for d in . */; do mkdir $d/esc 2>/dev/null && rmdir $d/esc && echo $d; done; true";
    let plain = t.sh(script).share("cgroup");
    let mapped = t.sh(script).unshare("user").set("/linux/uidMappings", map()).set("/linux/gidMappings", map());
    for b in [plain, mapped] {
        let output = b.capabilities(&["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]).run();
        if !output.stdout.is_empty() {
            return Verdict::Vulnerable(format!("made below {}", output.stdout.trim_end()));
        }
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    Verdict::Holds
}

/// Whatever a runtime may want to write into a root.
pub fn a_file_of_the_runtime() -> Verdict {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    for target in decoy.targets("new") {
        let b = t.bundle(&["true"]).own_rootfs();
        for name in [".krun_config.json", "etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/mtab"] {
            let _ = fs::remove_file(b.rootfs().join(name));
            symlink(&target, b.rootfs().join(name)).expect("symlink");
        }
        let b = b.mount("bind", "/etc/hosts", "/etc/hosts", &["bind", "ro"]);
        b.run();
    }
    decoy.verdict()
}

/// A volume at /dev whose null is a link to the kernel's core_pattern: bound over a masked path it could be written.
pub fn a_fake_null() -> Verdict {
    let t = Test::new();
    let host = || fs::read("/proc/sys/kernel/core_pattern").expect("core_pattern");
    let before = host();
    let devices = t.directory("fake-dev");
    let script = "cat /proc/sys/kernel/core_pattern > /tmp/1; head -c 300 /proc/timer_list > /tmp/2; cmp -s /tmp/1 /tmp/2 && \
                  echo bound; echo pwned > /proc/timer_list; true";
    for target in ["/proc/sys/kernel/core_pattern", "../proc/sys/kernel/core_pattern"] {
        let _ = fs::remove_file(devices.join("null"));
        symlink(target, devices.join("null")).expect("symlink");
        let all = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"];
        let b = t.sh(script).own_rootfs().capabilities(&all).unmount("/dev").unset("/linux/readonlyPaths");
        let output = b.mount("bind", &devices, "/dev", &["bind", "rw"]).run();
        if output.stdout.contains("bound") || host() != before {
            return Verdict::Vulnerable("core_pattern lies over a masked path".to_owned());
        }
    }
    Verdict::Holds
}

/// Creates with a terminal.
fn create_with_terminal(t: &Test, b: &Bundle<'_>, name: &str) -> Output {
    let socket = FdSocket::listen(t, name);
    b.on_bundle("create", &["--console-socket", socket.arg()]).run()
}

/// A volume at /dev whose console is a link to the host.
pub fn a_fake_console() -> Verdict {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    for (count, name) in ["new", "x/file"].iter().enumerate() {
        for (form, target) in decoy.targets(name).iter().enumerate() {
            let devices = t.directory(&format!("fake-dev-{count}-{form}"));
            symlink(target, devices.join("console")).expect("symlink");
            let b = t.idle().own_rootfs().set("/process/terminal", true).unmount("/dev");
            let b = b.mount("bind", &devices, "/dev", &["bind", "rw"]);
            create_with_terminal(&t, &b, &format!("socket-{count}-{form}"));
        }
    }
    decoy.verdict()
}

/// The same, in the image.
pub fn console_in_the_image() -> Verdict {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    for (form, target) in decoy.targets("new").iter().enumerate() {
        let b = without_dev(t.idle().own_rootfs().set("/process/terminal", true));
        symlink(target, b.rootfs().join("dev/console")).expect("symlink");
        create_with_terminal(&t, &b, &format!("socket-{form}"));
    }
    decoy.verdict()
}

/// What a root has at /dev stays.
pub fn without_dev(b: Bundle<'_>) -> Bundle<'_> {
    ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"].into_iter().fold(b, Bundle::unmount)
}

pub fn dev_is_a_link() -> Verdict {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    for target in decoy.targets("x") {
        for keep in [false, true] {
            let b = t.bundle(&["true"]).own_rootfs();
            let b = if keep { b.unmount("/dev") } else { without_dev(b) };
            fs::remove_dir(b.rootfs().join("dev")).expect("rmdir");
            symlink(&target, b.rootfs().join("dev")).expect("symlink");
            b.run();
        }
    }
    decoy.verdict()
}

/// A null device of the host, to which /dev/null of the image leads: its owner stays.
pub fn null_changes_owner() -> Verdict {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    mknod(&decoy.dir.join("n"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).expect("mknod");
    let decoy = decoy.settle();
    for target in decoy.targets("n") {
        let b = without_dev(t.bundle(&["true"]).own_rootfs()).set("/process/user", json!({"uid": 1000, "gid": 1000}));
        symlink(&target, b.rootfs().join("dev/null")).expect("symlink");
        b.run();
    }
    decoy.verdict()
}
