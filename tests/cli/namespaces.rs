//! Namespaces: new, inherited, joined by path; and what can be set in them.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, chown};
use serde_json::json;

use crate::support::{Bundle, Cmd, Running, Test, eventually};

/// The spec's name of each kind, and the file's below `/proc/PID/ns`.
const KINDS: &[(&str, &str)] =
    &[("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt"), ("cgroup", "cgroup")];

const UNSHARE: &str = "/usr/bin/unshare";

/// "If a namespace type is not specified, the container MUST inherit the runtime namespace of that type"
/// (config-linux.md, Namespaces).
#[test]
fn a_namespace_is_new_or_the_runtimes() {
    let t = Test::new();
    for (kind, file) in KINDS {
        let ours = own_namespace(file);
        let new = t.bundle(&["readlink", &format!("/proc/self/ns/{file}")]).unshare(kind);
        assert_ne!(new.run().ok().stdout.trim(), ours, "{kind}");
        // Without a mount namespace of its own, a container's mounts would be ours.
        if *kind != "mount" {
            let shared =
                new.share(kind).unset("/hostname").unmount("/sys").unmount("/dev/mqueue").unmount("/sys/fs/cgroup");
            let shared = shared.unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
            shared.run().ok().prints(&ours);
        }
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(t) = Test::with_program(UNSHARE) else { return };
    for (kind, file, flag) in [
        ("network", "net", "--net"),
        ("ipc", "ipc", "--ipc"),
        ("uts", "uts", "--uts"),
        ("cgroup", "cgroup", "--cgroup"),
    ] {
        let holder = hold(&[flag], file);
        let path = namespace_of(&holder, file);
        let b = t.bundle(&["readlink", &format!("/proc/self/ns/{file}")]).join(kind, &path);
        b.run().ok().prints(&link(&path));
    }
}

#[test]
fn a_mount_namespace_is_joined_by_path() {
    let Some(t) = Test::with_program(UNSHARE) else { return };
    let holder = hold(&["--mount"], "mnt");
    let path = namespace_of(&holder, "mnt");
    t.bundle(&["readlink", "/proc/self/ns/mnt"]).join("mount", &path).run().ok().prints(&link(&path));
}

#[test]
fn a_pid_namespace_is_joined_by_path() {
    let Some(t) = Test::with_program(UNSHARE) else { return };
    let holder = Cmd::new(UNSHARE).args(["--pid", "--fork", "--kill-child", "sleep", "1000"]).spawn();
    let path = namespace_of(&holder, "pid_for_children");
    eventually("the namespace has its first process", || {
        fs::read_link(&path).is_ok_and(|it| it != Path::new(&own_namespace("pid")))
    });
    let b = t.sh("readlink /proc/self/ns/pid; echo $$").join("pid", &path);
    let output = b.run().ok();
    let lines = output.lines();
    assert_eq!(lines[0], link(&path));
    assert_ne!(lines[1], "1");
    b.is_gone();
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    let Some(t) = Test::of_minicon("runc 1.1.5 wants the id maps as well") else { return };
    let holder = hold(&["--user", "--map-root-user"], "user");
    let path = namespace_of(&holder, "user");
    // The group 5 of the terminals is not mapped there.
    let b = t.sh("readlink /proc/self/ns/user; id -u").join("user", &path).unmount("/dev/pts");
    b.run().ok().prints(&format!("{}\n0", link(&path)));
}

#[test]
fn a_time_namespace_is_new_joined_or_inherited() {
    let Some(t) = Test::of_minicon("runc 1.1.5 does not know time namespaces") else { return };
    let b = t.bundle(&["readlink", "/proc/self/ns/time"]);
    b.run().ok().prints(&own_namespace("time"));
    let b = b.unshare("time");
    assert_ne!(b.run().ok().stdout.trim(), own_namespace("time"));
    let holder = hold(&["--time", "--fork", "--kill-child"], "time_for_children");
    let path = namespace_of(&holder, "time_for_children");
    b.join("time", &path).run().ok().prints(&link(&path));
}

#[test]
fn time_offsets_are_set() {
    let Some(t) = Test::of_minicon("runc 1.1.5 does not know time namespaces") else { return };
    let b = t.bundle(&["cat", "/proc/self/timens_offsets"]).unshare("time");
    let b =
        b.set("/linux/timeOffsets", json!({"boottime": {"secs": 1000000, "nanosecs": 5}, "monotonic": {"secs": 7}}));
    let output = b.run().ok();
    let rows: Vec<Vec<_>> = output.lines().iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["monotonic", "7", "0"], ["boottime", "1000000", "5"]]);
}

#[test]
fn the_hostname_is_set() {
    let t = Test::new();
    t.bundle(&["hostname"]).set("/hostname", "elsewhere").run().ok().prints("elsewhere");
    t.bundle(&["true"]).share("uts").run().fails("UTS namespace");
}

#[test]
fn the_domainname_is_set() {
    let Some(t) = Test::of_minicon("runc 1.1.5 does not know domainname") else { return };
    let b = t.bundle(&["cat", "/proc/sys/kernel/domainname"]).set("/domainname", "example.org");
    b.run().ok().prints("example.org");
}

#[test]
fn sysctls_are_set() {
    let t = Test::new();
    let b = t.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni");
    let b = b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "4321"}));
    b.run().ok().prints("1\n4321");
}

#[test]
fn a_sysctl_of_the_whole_machine_is_an_error() {
    let t = Test::new();
    let b = |b: Bundle<'_>, name: &str| b.set("/linux/sysctl", json!({name: "1"})).run().fails(name).exits(1);
    b(t.bundle(&["true"]), "vm.swappiness");
    b(t.bundle(&["true"]).share("network").unmount("/sys"), "net.ipv4.ip_forward");
    b(t.bundle(&["true"]).share("ipc"), "kernel.shmmni");
}

#[test]
fn a_user_namespace_has_its_id_maps() {
    let t = Test::new();
    let b = in_user_namespace(t.sh("awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map; id -u; id -g"));
    b.run().ok().prints("0 100000 2000\n0 200000 3000\n0\n0");
}

#[test]
fn files_in_a_user_namespace_belong_to_the_mapped_ids() {
    let t = Test::new();
    let data = t.directory("data");
    chown(&data, Some(Uid::from_raw(100000)), Some(Gid::from_raw(200000))).expect("chown");
    let script = "stat -c '%u %g' /mnt /etc/passwd; touch /mnt/new; cat /proc/self/setgroups";
    let b = in_user_namespace(t.sh(script).own_rootfs().mount("bind", &data, "/mnt", &["bind"]));
    b.run().ok().prints("0 0\n65534 65534\nallow");
    let made = std::os::unix::fs::MetadataExt::uid(&fs::metadata(data.join("new")).expect("made inside"));
    assert_eq!(made, 100000);
}

#[test]
fn the_processes_of_a_user_namespace_are_mapped_on_the_host() {
    let t = Test::new();
    let b = in_user_namespace(t.idle()).set("/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [9]}));
    b.up();
    let status = fs::read_to_string(format!("/proc/{}/status", b.pid())).expect("status");
    for line in ["Uid:\t100007\t", "Gid:\t200008\t", "Groups:\t200009"] {
        assert!(status.contains(line), "{line:?} in {status}");
    }
    b.exec(&["id", "-u"]).ok().prints("7");
}

#[test]
fn default_devices_work_in_a_user_namespace() {
    let t = Test::new();
    let script = "echo x >/dev/null; head -c 2 /dev/zero | wc -c; stat -c '%F %t:%T' /dev/full";
    in_user_namespace(t.sh(script)).run().ok().prints("2\ncharacter special file 1:7");
}

#[test]
fn a_user_namespace_and_a_network_namespace_of_the_host_go_together() {
    let Some(t) = Test::with_program(UNSHARE) else { return };
    let holder = hold(&["--net"], "net");
    let path = namespace_of(&holder, "net");
    // Its sysfs may only be mounted by who owns the network namespace.
    let b = in_user_namespace(t.bundle(&["readlink", "/proc/self/ns/net"])).join("network", &path).unmount("/sys");
    let b = b.unmount("/sys/fs/cgroup");
    b.run().ok().prints(&link(&path));
}

#[test]
fn a_cgroup_namespace_begins_at_the_containers_cgroup() {
    let t = Test::new();
    let output = t.bundle(&["cut", "-d:", "-f3", "/proc/self/cgroup"]).unshare("cgroup").run().ok();
    assert!(output.lines().iter().all(|path| *path == "/"), "{}", output.stdout);
}

/// Adds a user namespace with maps.
fn in_user_namespace(b: Bundle<'_>) -> Bundle<'_> {
    b.unshare("user")
        .set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100000, "size": 2000}]))
        .set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 200000, "size": 3000}]))
}

/// Starts a process that holds a namespace.
pub fn hold(flags: &[&str], file: &str) -> Running {
    // A static program: a container that takes its mounts may not leave it without the libraries that it still loads.
    let holder = Cmd::new(UNSHARE).args(flags).args(["/bin/busybox", "sleep", "1000"]).spawn();
    let (path, ours) = (namespace_of(&holder, file), own_namespace(file));
    eventually("the namespace is there", || fs::read_link(&path).is_ok_and(|it| it != Path::new(&ours)));
    let started = || fs::read_to_string(format!("/proc/{}/comm", holder.pid())).is_ok_and(|name| name == "busybox\n");
    eventually("the holder has its maps", || started() || flags.contains(&"--fork"));
    holder
}

pub fn namespace_of(holder: &Running, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/ns/{file}", holder.pid()))
}

fn own_namespace(file: &str) -> String {
    link(Path::new(&format!("/proc/thread-self/ns/{file}")))
}

fn link(path: &Path) -> String {
    fs::read_link(path).expect("a namespace").display().to_string()
}
