//! Networks: none, podman's bridge (netavark), the host's, another container's.

use std::fs;

use anyhow::{Result, ensure};

use super::{Case, EVERY, ROOTFUL, Skipped, holds, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "network_none", by: EVERY, check: none },
    Case { name: "network_bridge", by: ROOTFUL, check: bridge },
    Case { name: "network_two_containers", by: ROOTFUL, check: two_containers },
    Case { name: "network_publish", by: ROOTFUL, check: publish },
    Case { name: "network_host", by: EVERY, check: host },
    Case { name: "network_of_container", by: EVERY, check: of_container },
    Case { name: "network_dns_and_hosts", by: ROOTFUL, check: dns_and_hosts },
    Case { name: "network_custom", by: ROOTFUL, check: custom },
];

const INTERFACES: &str = "ls /sys/class/net";

/// A bridge and the rules that engines make for it must be possible here.
pub fn needs_bridge(e: &dyn Engine) -> Result<()> {
    if e.world().has_bridges()? {
        return Ok(());
    }
    Err(Skipped("this kernel has no bridges, or iptables cannot make the rules for one").into())
}

/// What a server on the other side of an address says, which may take a moment to listen.
pub fn fetch(address: &str) -> String {
    format!("for i in $(seq 50); do busybox wget -q -O - http://{address}/f && break; sleep 0.2; done")
}

fn none(e: &dyn Engine) -> Result<()> {
    same(e.sh("", INTERFACES)?, "lo")?;
    holds(e.sh("", "ip -o addr show lo")?, "127.0.0.1/8")
}

/// The default network: an interface with an address and a route, and the gateway answers.
fn bridge(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    let run = format!("run --rm {NAME} sh -c");
    same(e.ok_with(&run, &[INTERFACES])?, "eth0\nlo")?;
    let route = e.ok_with(&run, &["ip route | head -n 1"])?;
    holds(&route, &format!("default via {} dev eth0", e.gateway()))?;
    holds(e.ok_with(&run, &[&format!("ping -c 1 -W 5 {}", e.gateway())])?, "1 packets received")
}

/// One serves a file, the other fetches it over the bridge.
fn two_containers(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    e.ok_with(&format!("run -d --name server {NAME} sh -c"), &["echo page > /tmp/f; httpd -f -p 80 -h /tmp"])?;
    let address = e.ok("inspect --format {{.NetworkSettings.IPAddress}} server")?;
    same(e.ok_with(&format!("run --rm {NAME} sh -c"), &[&fetch(&address)])?, "page")
}

/// A published port is reachable in the engine's own namespace, and so is the container.
fn publish(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    let serve = ["echo page > /tmp/f; httpd -f -p 80 -h /tmp"];
    e.ok_with(&format!("run -d --name server --publish 8080:80 {NAME} sh -c"), &serve)?;
    let address = e.ok("inspect --format {{.NetworkSettings.IPAddress}} server")?;
    for address in [format!("{}:8080", e.gateway()), address] {
        same(e.inside(&["sh", "-c", &fetch(&address)])?.out, "page\n")?;
    }
    Ok(())
}

fn host(e: &dyn Engine) -> Result<()> {
    let link = e.ok(&format!("run --rm --network host {NAME} readlink /proc/self/ns/net"))?;
    same(link, e.inside(&["readlink", "/proc/self/ns/net"])?.out.trim())
}

fn of_container(e: &dyn Engine) -> Result<()> {
    e.start_sh("first", "", "exec sleep 50")?;
    let link = e.ok(&format!("run --rm --network container:first {NAME} readlink /proc/self/ns/net"))?;
    same(link, fs::read_link(format!("/proc/{}/ns/net", e.pid("first")?))?.display().to_string())
}

/// The files that podman mounts into the container.
fn dns_and_hosts(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    let options = format!("run --rm --dns 192.0.2.7 --add-host box:192.0.2.8 --hostname here {NAME} sh -c");
    let files = e.ok_with(&options, &["cat /etc/resolv.conf /etc/hosts; hostname -i"])?;
    holds(&files, "nameserver 192.0.2.7")?;
    ensure!(files.lines().any(|line| line.split_whitespace().eq(["192.0.2.8", "box"])), "{files}");
    holds(files, e.gateway().trim_end_matches('1'))
}

/// A network of one's own, where containers find each other by name.
fn custom(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    e.ok("network create --subnet 10.98.0.0/24 own")?;
    let result = on_custom(e);
    if !e.is_docker() {
        // docker's are pruned with its containers.
        e.remove("server")?;
        e.ok("network rm own")?;
    }
    result
}

fn on_custom(e: &dyn Engine) -> Result<()> {
    e.ok(&format!("run -d --name server --network own {NAME} sleep 50"))?;
    holds(e.ok("exec server ip -o -4 addr show eth0")?, "10.98.0.")?;
    holds(e.ok(&format!("run --rm --network own {NAME} ping -c 1 -W 5 server"))?, "1 packets received")
}
