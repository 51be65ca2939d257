//! Containers made in a container, by the same program: where the outer one allows all, and where it allows little.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Bundle, Output, Test, program, rootfs};

/// What engines give a container that asks for nothing.
const USUAL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

const ADMINISTRATOR: &[&str] = &["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"];

/// The outer container: its program makes one of the bundle at /inner, looks around in it, and deletes it.
fn outer<'t>(t: &'t Test, flags: &str, capabilities: &[&str], inner: Value) -> Bundle<'t> {
    let run =
        format!("/inner/minicon {flags} --root /tmp/state run --detach --bundle /inner in </dev/null >/tmp/out 2>&1");
    let script = format!(
        "m='/inner/minicon --root /tmp/state'; {run} || {{ cat /tmp/out >&2; exit 1; }}; \
         $m exec in sh -c 'echo $(id -u) $(cat /proc/1/comm)' && $m events --stats in | grep -o '\"stats\"'; \
         $m kill in KILL; $m delete --force in; ls /tmp/state"
    );
    let b = t.sh(&script).own_rootfs().capabilities(capabilities).set("/process/noNewPrivileges", false);
    let b = b.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "ro"]);
    let bundle = b.rootfs().join("inner");
    rootfs::make(&bundle.join("rootfs"));
    fs::copy(program(), bundle.join("minicon")).expect("copy the runtime");
    fs::set_permissions(bundle.join("minicon"), fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::write(bundle.join("config.json"), inner.to_string()).expect("write");
    b
}

/// As of a bundle for the host, in a user namespace of its own if told so.
fn inner(t: &Test, user_namespace: bool) -> Bundle<'_> {
    let b = t.bundle(&["sleep", "1000"]).set("/root/path", "rootfs");
    if !user_namespace {
        return b;
    }
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let b = b.unshare("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    // The group 5 is not mapped.
    let b = b.unmount("/dev/pts");
    b.mount("devpts", "devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"])
}

/// Nothing masked, nothing read-only, every device: what engines call privileged.
fn privileged(b: Bundle<'_>) -> Bundle<'_> {
    let b = b.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    let b = b.set("/linux/resources/devices", json!([{"allow": true, "access": "rwm"}]));
    let b = b.unmount("/sys").unmount("/sys/fs/cgroup");
    let b = b.mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev"]);
    b.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "rw"])
}

fn all() -> Vec<&'static str> {
    [USUAL, ADMINISTRATOR].concat()
}

/// In a user namespace: the ids of the outer container's files are its own.
fn mapped(b: Bundle<'_>) -> Bundle<'_> {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let script = format!("chown -R 100000:100000 {}", b.rootfs().display());
    assert!(std::process::Command::new("sh").args(["-c", &script]).status().is_ok_and(|status| status.success()));
    b.unshare("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
}

#[track_caller]
fn works(output: Output) {
    output.ok().prints("0 sleep\n\"stats\"");
}

#[test]
fn a_privileged_container_makes_containers() {
    let Some(t) = Test::of_minicon("runc is not one static file") else { return };
    for user_namespace in [false, true] {
        let config = inner(&t, user_namespace).config.clone();
        works(privileged(outer(&t, "", &all(), config)).run());
    }
}

/// "a less privileged mount namespace" may have a procfs only if one "that is fully visible" is there already:
/// mount_namespaces(7), restrictions. Unmasked, it is.
#[test]
fn a_user_namespace_with_all_rights_makes_containers() {
    let Some(t) = Test::of_minicon("runc is not one static file") else { return };
    for user_namespace in [false, true] {
        let config = inner(&t, user_namespace).config.clone();
        let b = privileged(outer(&t, "--rootless=true", &all(), config));
        works(mapped(b).run());
    }
}

/// Each is told with its remedy, one after the other; with all of them it works.
#[test]
fn an_ordinary_container_is_told_what_it_lacks() {
    let Some(t) = Test::of_minicon("runc is not one static file") else { return };
    // Its cgroups are read-only.
    let config = inner(&t, false).config.clone();
    outer(&t, "", USUAL, config.clone()).run().fails("EROFS").says("mount it writable, or do without with --rootless");
    // It has no CAP_SYS_ADMIN.
    let output = outer(&t, "--rootless=true", USUAL, config).run();
    output.fails("clone3").says("a new user namespace (linux.namespaces: user)");
    // Its /proc is masked.
    let b = inner(&t, true);
    let output = outer(&t, "--rootless=true", USUAL, b.config.clone()).run();
    output.fails("mount /proc").says("config: mounts[0]").says("leave out the pid namespace, and bind /proc");
    // Its /sys is covered by the cgroups.
    let b = b.share("pid").unmount("/proc").mount("bind", "/proc", "/proc", &["rbind"]);
    let output = outer(&t, "--rootless=true", USUAL, b.config.clone()).run();
    output.fails("mount /sys").says("bind-mount the host's /sys instead");
    let b = b.unmount("/sys").unmount("/sys/fs/cgroup").mount("bind", "/sys", "/sys", &["rbind", "ro"]);
    // Without a pid namespace the first process is the outer container's.
    outer(&t, "--rootless=true", USUAL, b.config.clone()).run().ok().prints("0 sh\n\"stats\"");
}

/// The same in a user namespace, where a masked /proc is as final.
#[test]
fn a_user_namespace_with_masks_is_told_what_it_lacks() {
    let Some(t) = Test::of_minicon("runc is not one static file") else { return };
    let b = inner(&t, true);
    let output = mapped(outer(&t, "--rootless=true", &all(), b.config.clone())).run();
    output.fails("mount /proc").says("nested containers mask it");
    let b = b.share("pid").unmount("/proc").mount("bind", "/proc", "/proc", &["rbind"]);
    let b = b.unmount("/sys").mount("bind", "/sys", "/sys", &["rbind", "ro"]).unmount("/sys/fs/cgroup");
    mapped(outer(&t, "--rootless=true", &all(), b.config.clone())).run().ok().prints("0 sh\n\"stats\"");
}
