//! What is different when an ordinary user runs podman: ids by newuidmap, networks by slirp4netns, no limits on cgroup v1.

use std::fs;

use anyhow::{Result, ensure};

use super::network::{fetch, needs_bridge};
use super::{Case, Skipped, holds, same};
use crate::engine::{Engine, Kind};
use crate::image::NAME;

const ROOTLESS: &[Kind] = &[Kind::Rootless];

pub const CASES: &[Case] = &[
    Case { name: "user_and_ranges", by: ROOTLESS, check: user_and_ranges },
    Case { name: "userns_keep_id", by: ROOTLESS, check: userns_keep_id },
    Case { name: "userns_auto", by: ROOTLESS, check: userns_auto },
    Case { name: "userns_nomap", by: ROOTLESS, check: userns_nomap },
    Case { name: "network_slirp", by: ROOTLESS, check: network_slirp },
    Case { name: "network_slirp_publish", by: ROOTLESS, check: network_slirp_publish },
    Case { name: "network_bridge", by: ROOTLESS, check: network_bridge },
    Case { name: "limits", by: ROOTLESS, check: limits },
    Case { name: "low_port_of_the_host", by: ROOTLESS, check: low_port_of_the_host },
];

/// Root inside is the user outside, and whoever else is from the ranges of /etc/subuid.
fn user_and_ranges(e: &dyn Engine) -> Result<()> {
    let map = e.sh("", "tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map")?;
    same(map, [" 0 64321 1\n 1 300000 65536"; 2].join("\n"))?;
    e.start_sh("app", "--user app", "exec sleep 50")?;
    let status = fs::read_to_string(format!("/proc/{}/status", e.pid("app")?))?;
    same(super::field(&status, "Uid")?, ["300999"; 4].join("\t"))
}

fn userns_keep_id(e: &dyn Engine) -> Result<()> {
    let directory = e.path("home/mine");
    fs::create_dir(&directory)?;
    std::os::unix::fs::chown(&directory, Some(64321), Some(64321))?;
    let options = format!("--userns keep-id --volume {directory}:/mine");
    same(e.sh(&options, "id -u; touch /mine/file; stat -c %u:%g /mine/file")?, "64321\n64321:64321")
}

fn userns_auto(e: &dyn Engine) -> Result<()> {
    let map = e.sh("--userns auto:size=2048", "tr -s ' ' < /proc/self/uid_map")?;
    ensure!(map.ends_with(" 2048"), "{map}");
    Ok(())
}

/// The user itself is not mapped.
fn userns_nomap(e: &dyn Engine) -> Result<()> {
    let map = e.sh("--userns nomap", "tr -s ' ' < /proc/self/uid_map")?;
    ensure!(!map.contains("64321"), "{map}");
    Ok(())
}

/// The other end of slirp4netns is a device that only some kernels have.
fn needs_tun(e: &dyn Engine) -> Result<()> {
    if e.inside(&["sh", "-c", "exec 3<>/dev/net/tun"])?.code != 0 {
        return Err(Skipped("this kernel has no /dev/net/tun").into());
    }
    Ok(())
}

fn network_slirp(e: &dyn Engine) -> Result<()> {
    needs_tun(e)?;
    let run = format!("run --rm --network slirp4netns {NAME} sh -c");
    holds(e.ok_with(&run, &["ip -o -4 addr show tap0; ip route"])?, "10.0.2.100/24")?;
    holds(e.ok_with(&run, &["ip route"])?, "default via 10.0.2.2 dev tap0")
}

fn network_slirp_publish(e: &dyn Engine) -> Result<()> {
    needs_tun(e)?;
    let serve = ["echo page > /tmp/f; httpd -f -p 80 -h /tmp"];
    e.ok_with(&format!("run -d --name server --network slirp4netns --publish 8081:80 {NAME} sh -c"), &serve)?;
    same(e.inside(&["sh", "-c", &fetch("127.0.0.1:8081")])?.out, "page\n")
}

fn network_bridge(e: &dyn Engine) -> Result<()> {
    needs_tun(e)?;
    needs_bridge(e)?;
    let run = format!("run --rm --network podman {NAME} sh -c");
    holds(e.ok_with(&run, &["ip route"])?, "default via 10.88.0.1 dev eth0")
}

/// On cgroup v1 an ordinary user has no cgroups: podman warns and the container runs without the limit.
fn limits(e: &dyn Engine) -> Result<()> {
    if fs::exists("/sys/fs/cgroup/cgroup.controllers")? {
        return Err(Skipped("on cgroup v2 this needs a delegated cgroup, which comes from systemd").into());
    }
    same(e.sh("--memory 64m --pids-limit 50", "echo ran")?, "ran")
}

/// net.ipv4.ip_unprivileged_port_start is the container's own.
fn low_port_of_the_host(e: &dyn Engine) -> Result<()> {
    let options = "--sysctl net.ipv4.ip_unprivileged_port_start=80 --user app";
    same(e.sh(options, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start")?, "80")
}
