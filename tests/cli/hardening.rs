//! What a review by attack has found, held for ever: mounts that reach the host, programs that end up on the host's tree,
//! processes that outlive their container.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use crate::support::{Bundle, Cmd, Test, eventually, rootfs};

/// Mounts below a path, as the host sees them.
fn mounts_below(path: &Path) -> usize {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    table.lines().filter(|line| line.contains(&format!(" {}/", path.display()))).count()
}

/// mount_namespaces(7): a copy of a shared mount is its peer, and what is mounted on one appears on the other.
#[test]
fn no_mount_of_a_container_appears_on_a_shared_host() {
    let Some(t) = Test::of_minicon("runc 1.1.5 refuses a shared root") else { return };
    let tree = t.directory("shared-root");
    let none = None::<&Path>;
    mount(Some(&tree), &tree, none, MsFlags::MS_BIND, none).expect("mount");
    mount(none, &tree, none, MsFlags::MS_SHARED, none).expect("make shared");
    rootfs::make(&tree.join("rootfs"));
    let idle = || t.idle().set("/root/path", json!(tree.join("rootfs"))).set("/root/readonly", false);
    let map = || json!([{"containerID": 0, "hostID": 0, "size": 2000}]);
    let shared = idle().set("/linux/rootfsPropagation", "shared");
    let mapped = idle().unshare("user").set("/linux/uidMappings", map()).set("/linux/gidMappings", map());
    for b in [shared, mapped] {
        b.up();
        assert_eq!(mounts_below(&tree), 0);
        b.stop();
        b.delete().ok();
    }
    umount(&tree).expect("umount");
}

#[test]
fn exec_stays_in_the_root_of_a_container_without_a_mount_namespace() {
    let Some(t) = Test::of_minicon("runc mounts on the host then") else { return };
    let b = chrooted(t.idle().own_rootfs());
    fs::write(b.rootfs().join("inside"), "").expect("write");
    b.up();
    b.exec(&["ls", "/inside"]).ok().prints("/inside");
}

/// A container that only chroot(2) keeps in its root.
fn chrooted(b: Bundle<'_>) -> Bundle<'_> {
    let b = b.share("mount").unset("/mounts").unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
    b.set("/process/terminal", false)
}

#[test]
fn the_root_can_be_left_without_pivot_root() {
    let t = Test::new();
    let b = t.sh("ls /inside; grep -c ' / ' /proc/self/mountinfo").own_rootfs();
    fs::write(b.rootfs().join("inside"), "").expect("write");
    b.on_bundle("run", &["--no-pivot"]).run().ok().shows("/inside");
}

/// Images link /etc/resolv.conf into a /run that only a boot fills.
#[test]
fn a_mount_reaches_what_a_dangling_link_points_to() {
    let t = Test::new();
    let source = t.file("resolv.conf", "nameserver 192.0.2.1\n");
    let b = t.bundle(&["cat", "/etc/resolv.conf"]).own_rootfs();
    let _ = fs::remove_file(b.rootfs().join("etc/resolv.conf"));
    symlink("../run/stub/resolv.conf", b.rootfs().join("etc/resolv.conf")).expect("symlink");
    let b = b.mount("bind", &source, "/etc/resolv.conf", &["bind", "ro"]);
    b.run().ok().prints("nameserver 192.0.2.1");
    assert!(b.rootfs().join("run/stub/resolv.conf").exists());
}

#[test]
fn a_mount_at_the_root_becomes_the_root() {
    let t = Test::new();
    let other = t.path("other");
    rootfs::make(&other);
    fs::write(other.join("other-root"), "").expect("write");
    let b = t.bundle(&["ls", "/other-root"]).own_rootfs();
    let b = b.set("/mounts", json!([])).mount("bind", &other, "/", &["rbind"]);
    b.run().ok().prints("/other-root");
}

/// The containers of a pod share a pid namespace, which does not end with one of them.
#[test]
fn all_processes_of_a_container_in_a_shared_pid_namespace_are_killed() {
    let Some(t) = Test::with_program("/usr/bin/unshare") else { return };
    let holder = Cmd::new("/usr/bin/unshare").args(["--pid", "--fork", "--kill-child", "sleep", "1000"]).spawn();
    let path = format!("/proc/{}/ns/pid_for_children", holder.pid());
    let ours = fs::read_link("/proc/self/ns/pid").expect("a namespace");
    eventually("the namespace has its first process", || fs::read_link(&path).is_ok_and(|link| link != ours));
    let b = t.sh("sleep 1000 & sleep 1000 & wait").join("pid", &path);
    b.up();
    let procs = b.cgroup("pids").join("cgroup.procs");
    eventually("both sleep", || fs::read_to_string(&procs).is_ok_and(|pids| pids.lines().count() == 3));
    b.kill("KILL").ok();
    b.becomes("stopped");
    b.delete().ok();
    b.is_gone();
}

/// Init may be gone and the others not; they are the container's still.
#[test]
fn what_is_left_in_a_shared_pid_namespace_is_killed() {
    let Some(t) = Test::of_minicon("runc 1.1.5 says that the container does not run") else { return };
    let b = t.idle().share("pid");
    b.up();
    b.exec_with(&["--detach"], &["sleep", "1000"]).run().ok();
    let processes = b.cgroup("pids").join("cgroup.procs");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(b.pid()), nix::sys::signal::Signal::SIGKILL).expect("kill");
    b.becomes("stopped");
    let left = || fs::read_to_string(&processes).unwrap_or_default();
    assert!(!left().is_empty());
    b.kill("KILL").ok();
    eventually("all are gone", || left().is_empty());
    b.kill("KILL").fails("container not running");
}

/// Without pivot_root the host's tree stays in the mount namespace, and mount_namespaces(7) lets whoever finds an uncovered
/// procfs there mount another one, masks or not.
#[test]
fn without_pivot_root_no_bare_procfs_can_be_mounted() {
    let Some(t) = Test::of_minicon("runc 1.1.5 was not tried") else { return };
    let mounted = "unshare -mrpf sh -c 'mount -t proc none /proc && ls /proc/kcore'";
    let b = t.sh(mounted).capabilities(&["CAP_SETFCAP", "CAP_SETUID", "CAP_SETGID"]);
    let b = b.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/keys"]));
    for flags in [&["--no-pivot"][..], &[]] {
        let output = b.on_bundle("run", flags).run();
        assert!(output.code != 0 && output.stderr.contains("mount: permission denied"), "{}", output.stderr);
    }
}

/// Without no_new_privs the filter is loaded before the program's user is assumed.
#[test]
fn a_filter_may_forbid_the_calls_of_the_handshake() {
    let Some(t) = Test::of_minicon("runc's handshake differs") else { return };
    let names = ["sendmsg", "recvmsg", "recvfrom", "sendto"];
    let rule = json!({"names": names, "action": "SCMP_ACT_KILL_PROCESS"});
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule]});
    let b = t.bundle(&["echo", "ran"]).set("/process/noNewPrivileges", false).set("/linux/seccomp", profile);
    b.run().ok().prints("ran");
}

/// Were a descriptor missing that is to be kept, one of the runtime's own would have its number.
#[test]
fn no_descriptor_of_the_runtime_takes_the_place_of_one_to_keep() {
    let Some(t) = Test::of_minicon("runc passes what it finds") else { return };
    let b = t.bundle(&["ls", "/proc/self/fd"]);
    let missing = "descriptor 3 is to be kept but is not open";
    let without = |call: Cmd| call.through("exec 3<&- 4<&- 5<&-; exec \"$@\"").run();
    without(b.on_bundle("run", &["--preserve-fds", "2"])).fails(missing);
    without(b.on_bundle("create", &["--preserve-fds=4294967295"])).fails(missing);
    let b = t.idle();
    b.up();
    without(b.exec_with(&["--preserve-fds=3"], &["ls", "/proc/self/fd"])).exits(255).says(missing);
}

/// A path may lead to the namespace of the host.
#[test]
fn nothing_is_set_in_the_hosts_own_namespaces() {
    let Some(t) = Test::of_minicon("runc 1.1.5 refuses them by other rules") else { return };
    let own = |kind: &str| format!("/proc/{}/ns/{kind}", std::process::id());
    let b = t.idle().join("network", own("net")).unmount("/sys");
    let b = b.set("/linux/sysctl", json!({"net.ipv4.ip_default_ttl": "64"}));
    b.create().fails("not allowed in the host's network namespace");
    t.idle().join("uts", own("uts")).create().fails("not allowed in the host's uts namespace");
}

/// A program that waits for nothing but a signal is to get it, whoever else waits for its readiness.
#[test]
fn signals_are_passed_on_before_the_program_is_ready() {
    let t = Test::new();
    let b = t.sh("trap 'exit 7' TERM; touch /trap-is-set; while :; do sleep 0.1; done").own_rootfs();
    let running = b.on_bundle("run", &[]).env("NOTIFY_SOCKET", t.path("nobody")).spawn();
    eventually("the trap is set", || b.rootfs().join("trap-is-set").exists());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.pid()), nix::sys::signal::Signal::SIGTERM).expect("kill");
    running.wait().exits(7);
}

/// CVE-2019-5736: init is executed from a copy of the runtime's file that nobody can make writable again. The read-only flag
/// that statfs(2) tells is also that of a file system, whose mount may be writable; so it says nothing.
#[test]
fn a_read_only_file_system_does_not_stand_for_the_copy_of_the_binary() {
    let Some(t) = Test::of_minicon("runc 1.1.5 copies itself always") else { return };
    let b = t.idle();
    b.write();
    let (made, bound) = (t.directory("made"), t.directory("bound"));
    let script = format!(
        "mount -t tmpfs none {made} && cp {program} {made}/minicon && mount --bind {made} {bound} \
         && mount -o remount,ro {made} && exec {bound}/minicon --root {root} create --bundle {bundle} {id}",
        made = made.display(),
        program = crate::support::program().display(),
        bound = bound.display(),
        root = t.root().display(),
        bundle = b.dir.display(),
        id = b.id,
    );
    Cmd::new("/usr/bin/unshare").args(["--mount", "sh", "-c", &script]).run().ok();
    let executed = fs::read_link(format!("/proc/{}/exe", b.pid())).expect("init");
    assert_eq!(executed, Path::new("/"), "the root of a mount of its own");
    b.stop();
    b.delete().ok();
}
