//! Which namespaces are new, the host's, or another container's.

use std::fs;

use anyhow::{Result, ensure};

use super::{Case, EVERY, PODMAN, ROOTFUL, same};
use crate::engine::{Engine, Kind};

pub const CASES: &[Case] = &[
    Case { name: "namespaces_are_new", by: ROOTFUL, check: are_new },
    Case { name: "pid_host", by: EVERY, check: pid_host },
    Case { name: "pid_host_stop", by: ROOTFUL, check: pid_host_stop },
    Case { name: "pid_of_container", by: EVERY, check: pid_of_container },
    Case { name: "ipc_and_uts_host", by: EVERY, check: ipc_and_uts_host },
    Case { name: "cgroupns", by: EVERY, check: cgroupns },
    Case { name: "userns_map", by: PODMAN, check: userns_map },
    Case { name: "userns_exec_and_volume", by: PODMAN, check: userns_exec_and_volume },
];

/// The namespace of a process, as its /proc link reads.
fn namespace(pid: &str, kind: &str) -> Result<String> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.display().to_string())
}

fn inside(e: &dyn Engine, options: &str, kind: &str) -> Result<String> {
    e.sh(options, &format!("readlink /proc/self/ns/{kind}"))
}

fn are_new(e: &dyn Engine) -> Result<()> {
    e.start_sh("own", "", "exec sleep 50")?;
    let pid = e.pid("own")?.to_string();
    for kind in ["ipc", "mnt", "net", "pid", "uts"] {
        ensure!(namespace(&pid, kind)? != namespace("self", kind)?, "the {kind} namespace is the host's");
    }
    same(namespace(&pid, "user")?, namespace("self", "user")?)?;
    same(e.ok("exec own cat /proc/1/comm")?, "sleep")
}

fn pid_host(e: &dyn Engine) -> Result<()> {
    same(inside(e, "--pid host", "pid")?, namespace("self", "pid")?)
}

/// Without a pid namespace the children do not die with the first process: podman calls `kill --all`.
fn pid_host_stop(e: &dyn Engine) -> Result<()> {
    e.start_sh("family", "--pid host", "sleep 48 & echo ready; trap '' TERM; wait; wait; sleep 47")?;
    e.await_log("family", "ready")?;
    e.ok("stop --time 1 family")?;
    e.ok("rm family").map(drop)
}

fn pid_of_container(e: &dyn Engine) -> Result<()> {
    e.start_sh("first", "", "exec sleep 46")?;
    same(e.sh("--pid container:first", "cat /proc/1/comm")?, "sleep")?;
    same(inside(e, "--pid container:first", "pid")?, namespace(&e.pid("first")?.to_string(), "pid")?)
}

fn ipc_and_uts_host(e: &dyn Engine) -> Result<()> {
    // podman without root would bind the host's /dev/mqueue, which not every host has.
    let kinds: &[_] = if e.kind() == Kind::Rootless { &["uts"] } else { &["ipc", "uts"] };
    for kind in kinds {
        same(inside(e, &format!("--{kind} host"), kind)?, namespace("self", kind)?)?;
    }
    same(e.sh("--uts host", "hostname")?, fs::read_to_string("/proc/sys/kernel/hostname")?.trim())
}

/// A private one hides the path above the container's own cgroup.
fn cgroupns(e: &dyn Engine) -> Result<()> {
    let own = e.sh("--cgroupns private", "cut -d: -f3 /proc/self/cgroup | sort -u; readlink /proc/self/ns/cgroup")?;
    let (paths, link) = own.rsplit_once('\n').unwrap_or_default();
    ensure!(link != namespace("self", "cgroup")?, "the host's cgroup namespace");
    same(paths, "/")?;
    same(inside(e, "--cgroupns host", "cgroup")?, namespace("self", "cgroup")?)
}

fn userns_map(e: &dyn Engine) -> Result<()> {
    let options = "--uidmap 0:100000:65536 --gidmap 0:200000:65536";
    let script = "id -u; tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map; stat -c %u:%g /bin/busybox";
    same(e.sh(options, script)?, "0\n 0 100000 65536\n 0 200000 65536\n0:0")?;
    e.start_sh("mapped", options, "exec sleep 50")?;
    let status = fs::read_to_string(format!("/proc/{}/status", e.pid("mapped")?))?;
    same(super::field(&status, "Uid")?, ["100000"; 4].join("\t"))?;
    same(super::field(&status, "Gid")?, ["200000"; 4].join("\t"))
}

/// exec joins the user namespace; root there is nobody special on a host directory.
fn userns_exec_and_volume(e: &dyn Engine) -> Result<()> {
    let directory = e.path("root-owned");
    fs::create_dir(&directory)?;
    let options = format!("--uidmap 0:100000:65536 --volume {directory}:/host");
    e.start_sh("mapped", &options, "exec sleep 50")?;
    same(e.ok("exec mapped id -u")?, "0")?;
    ensure!(e.call("exec mapped touch /host/file")?.code != 0, "wrote as the host's root");
    same(e.ok("exec --user app mapped id -u")?, "1000")
}
