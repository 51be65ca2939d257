//! What is mounted: volumes, bind mounts and their propagation, tmpfs, the root itself.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use anyhow::{Result, ensure};

use super::{Case, EVERY, PODMAN, PODMANS, ROOTFUL, exits, holds, same};
use crate::engine::{Engine, Kind};
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "read_only_root", by: EVERY, check: read_only_root },
    Case { name: "volume_read_write", by: EVERY, check: volume_read_write },
    Case { name: "volume_read_only", by: EVERY, check: volume_read_only },
    Case { name: "volume_options", by: PODMANS, check: volume_options },
    Case { name: "volume_of_a_file", by: EVERY, check: volume_of_a_file },
    Case { name: "volume_named", by: EVERY, check: volume_named },
    Case { name: "volume_read_only_is_recursive", by: ROOTFUL, check: volume_read_only_is_recursive },
    Case { name: "mount_propagation", by: ROOTFUL, check: mount_propagation },
    Case { name: "tmpfs", by: EVERY, check: tmpfs },
    Case { name: "mount_into_symlink", by: PODMAN, check: mount_into_symlink },
    Case { name: "default_mounts", by: ROOTFUL, check: default_mounts },
    Case { name: "cp", by: EVERY, check: cp },
];

/// A new directory below the suite's own.
fn directory(e: &dyn Engine, name: &str) -> Result<String> {
    let path = e.path(name);
    fs::create_dir(&path)?;
    if e.kind() == Kind::Rootless {
        chown(&path, Some(crate::podman::USER), Some(crate::podman::USER))?;
    }
    Ok(path)
}

fn read_only_root(e: &dyn Engine) -> Result<()> {
    let script =
        "touch /etc/new 2>&1; touch /tmp/new && echo tmp; touch /dev/new 2>&1; echo x > /dev/null && echo null";
    let printed = e.sh("--read-only", script)?;
    holds(&printed, "/etc/new: read-only file system")?;
    // docker leaves /tmp as it is.
    ensure!(e.is_docker() || printed.contains("tmp\n"), "{printed}");
    holds(printed, "null")
}

fn volume_read_write(e: &dyn Engine) -> Result<()> {
    let path = directory(e, "writable")?;
    e.sh(&format!("--volume {path}:/x"), "echo inside > /x/file")?;
    same(fs::read_to_string(format!("{path}/file"))?, "inside\n")?;
    // The mount point was made in the container's own layer.
    same(e.sh(&format!("--volume {path}:/a/b/c"), "cat /a/b/c/file")?, "inside")
}

fn volume_read_only(e: &dyn Engine) -> Result<()> {
    let path = directory(e, "read-only")?;
    fs::write(format!("{path}/file"), "kept\n")?;
    let printed = e.sh(&format!("--volume {path}:/x:ro"), "cat /x/file; echo changed > /x/file || true")?;
    same(printed, "kept")?;
    same(fs::read_to_string(format!("{path}/file"))?, "kept\n")
}

fn volume_options(e: &dyn Engine) -> Result<()> {
    let path = directory(e, "options")?;
    let options = e.sh(&format!("--volume {path}:/x:noexec,nosuid,nodev"), "grep ' /x ' /proc/mounts")?;
    for option in ["rw", "noexec", "nosuid", "nodev"] {
        holds(&options, option)?;
    }
    Ok(())
}

fn volume_of_a_file(e: &dyn Engine) -> Result<()> {
    fs::write(e.path("single"), "single\n")?;
    same(e.sh(&format!("--volume {}:/etc/single:ro", e.path("single")), "cat /etc/single")?, "single")
}

/// A named volume outlives its containers and takes over what the image has there.
fn volume_named(e: &dyn Engine) -> Result<()> {
    e.sh("--volume things:/etc", "echo more > /etc/more")?;
    same(e.sh("--volume things:/x", "cat /x/more; wc -l < /x/passwd")?, "more\n2")?;
    e.ok("volume rm things").map(drop)
}

/// `ro` on a bind mount does not reach the mounts below; podman asks for rbind and ro, so the one below stays as it is.
fn volume_read_only_is_recursive(e: &dyn Engine) -> Result<()> {
    let path = directory(e, "above")?;
    fs::create_dir(format!("{path}/below"))?;
    exits(&e.inside(&["mount", "-t", "tmpfs", "below", &format!("{path}/below")])?, 0)?;
    let seen = e
        .sh(&format!("--volume {path}:/x:ro"), "grep -c ' /x/below tmpfs' /proc/mounts; touch /x/file || echo refused");
    exits(&e.inside(&["umount", &format!("{path}/below")])?, 0)?;
    same(seen?, "1\nrefused")
}

/// rslave: what is mounted outside later appears inside; rprivate: it does not.
fn mount_propagation(e: &dyn Engine) -> Result<()> {
    let path = directory(e, "shared")?;
    exits(&e.inside(&["mount", "-t", "tmpfs", "shared", &path])?, 0)?;
    let result = propagation(e, &path);
    exits(&e.inside(&["umount", &path])?, 0)?;
    result
}

fn propagation(e: &dyn Engine, path: &str) -> Result<()> {
    exits(&e.inside(&["mount", "--make-shared", path])?, 0)?;
    fs::create_dir(format!("/proc/{}/root{path}/later", e.world().namespace_pid()))?;
    for (name, mode) in [("slave", "rslave"), ("alone", "rprivate")] {
        let mount = format!("--mount type=bind,source={path},destination=/x,bind-propagation={mode}");
        e.start_sh(name, &mount, "exec sleep 50")?;
    }
    holds(e.ok("exec slave grep /x /proc/self/mountinfo")?, "master:")?;
    exits(&e.inside(&["mount", "-t", "tmpfs", "later", &format!("{path}/later")])?, 0)?;
    let seen = [e.call("exec slave grep /x/later /proc/mounts")?, e.call("exec alone grep /x/later /proc/mounts")?];
    exits(&e.inside(&["umount", &format!("{path}/later")])?, 0)?;
    e.remove("slave alone")?;
    ensure!(seen[0].code == 0 && seen[1].code == 1, "{seen:?}");
    Ok(())
}

fn tmpfs(e: &dyn Engine) -> Result<()> {
    let script = "df -k /t | awk 'END { print $2 }'; grep ' /t ' /proc/mounts; stat -c %a /t";
    let printed = e.sh("--tmpfs /t:size=1m,mode=1750,noexec", script)?;
    ensure!(printed.starts_with("1024\n") && printed.ends_with("\n1750"), "{printed}");
    holds(printed, "noexec")
}

/// A mount point behind an absolute link is looked up inside the root, not on the host.
fn mount_into_symlink(e: &dyn Engine) -> Result<()> {
    let (path, root) = (directory(e, "linked")?, e.path("linked-root"));
    crate::image::build(root.as_ref())?;
    std::os::unix::fs::symlink("/var/real", format!("{root}/link"))?;
    fs::create_dir_all(format!("{root}/var/real"))?;
    fs::write(format!("{path}/file"), "found\n")?;
    let run = format!("run --rm --network none --volume {path}:/link --rootfs {root} /bin/cat /var/real/file");
    same(e.ok(&run)?, "found")
}

/// What every container has: its file systems with their options, its devices and its links.
fn default_mounts(e: &dyn Engine) -> Result<()> {
    let mounts = e.sh("", "cut -d' ' -f2,3,4 /proc/mounts")?;
    for wanted in [
        "/proc proc rw,nosuid,nodev,noexec",
        "/dev tmpfs rw,nosuid",
        "/dev/pts devpts rw,nosuid,noexec",
        "/dev/mqueue mqueue rw,nosuid,nodev,noexec",
        "/dev/shm tmpfs rw,nosuid,nodev,noexec",
        "/sys sysfs ro,nosuid,nodev,noexec",
    ] {
        ensure!(mounts.lines().any(|line| line.starts_with(wanted)), "no {wanted} in {mounts}");
    }
    let links = "for name in fd stdin stdout stderr ptmx; do readlink /dev/$name; done";
    same(e.sh("", links)?, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx")?;
    let nodes = "cd /dev; stat -c '%n %t:%T %a' full null random tty urandom zero";
    same(e.sh("", nodes)?, "full 1:7 666\nnull 1:3 666\nrandom 1:8 666\ntty 5:0 666\nurandom 1:9 666\nzero 1:5 666")
}

/// cp works on the running container's root, in both directions.
fn cp(e: &dyn Engine) -> Result<()> {
    e.ok(&format!("run -d --network none --name copied {NAME} sleep 50"))?;
    fs::write(e.path("to-copy"), "copied\n")?;
    e.ok(&format!("cp {} copied:/there", e.path("to-copy")))?;
    same(e.ok("exec copied cat /there")?, "copied")?;
    e.ok_with("exec copied sh -c", &["echo made > /made; chmod 640 /made"])?;
    // The ordinary user may write there too.
    let back = e.path("tmp/back");
    e.ok(&format!("cp copied:/made {back}"))?;
    same(fs::read_to_string(&back)?, "made\n")?;
    same(format!("{:o}", fs::metadata(&back)?.mode() & 0o7777), "640")
}
