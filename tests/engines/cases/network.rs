//! Networks: none, podman's bridge (netavark), the host's, another container's.

use std::fs;

use anyhow::{Result, ensure};

use super::{Case, EVERY, ROOTFUL, holds, same};
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

fn none(e: &dyn Engine) -> Result<()> {
    same(e.sh("", INTERFACES)?, "lo")?;
    holds(e.sh("", "ip -o addr show lo")?, "127.0.0.1/8")
}

/// The default network: an interface with an address and a route, and the gateway answers.
fn bridge(e: &dyn Engine) -> Result<()> {
    let run = format!("run --rm {NAME} sh -c");
    same(e.ok_with(&run, &[INTERFACES])?, "eth0\nlo")?;
    let route = e.ok_with(&run, &["ip route | head -n 1"])?;
    holds(&route, &format!("default via {} dev eth0", e.gateway()))?;
    holds(e.ok_with(&run, &[&format!("ping -c 1 -W 5 {}", e.gateway())])?, "1 packets received")
}

/// One serves a file, the other fetches it over the bridge.
fn two_containers(e: &dyn Engine) -> Result<()> {
    e.ok_with(&format!("run -d --name server {NAME} sh -c"), &["echo page > /tmp/f; httpd -f -p 80 -h /tmp"])?;
    let address = e.ok("inspect --format {{.NetworkSettings.IPAddress}} server")?;
    let script = format!("for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://{address}/f && break; sleep 0.2; done");
    same(e.ok_with(&format!("run --rm {NAME} sh -c"), &[&script])?, "page")
}

/// A published port is reachable in podman's own namespace.
fn publish(e: &dyn Engine) -> Result<()> {
    let serve = ["echo page > /tmp/f; httpd -f -p 80 -h /tmp"];
    e.ok_with(&format!("run -d --name server --publish 8080:80 {NAME} sh -c"), &serve)?;
    let fetch = format!("busybox wget -q -O - http://{}:8080/f && break", e.gateway());
    let fetch = format!("for i in 1 2 3 4 5 6 7 8 9; do {fetch}; sleep 0.2; done");
    same(e.inside(&["sh", "-c", &fetch])?.out, "page\n")
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
    let options = format!("run --rm --dns 192.0.2.7 --add-host box:192.0.2.8 --hostname here {NAME} sh -c");
    let files = e.ok_with(&options, &["cat /etc/resolv.conf /etc/hosts; hostname -i"])?;
    holds(&files, "nameserver 192.0.2.7")?;
    ensure!(files.lines().any(|line| line.split_whitespace().eq(["192.0.2.8", "box"])), "{files}");
    holds(files, e.gateway().trim_end_matches('1'))
}

/// A network of one's own, where containers find each other by name.
fn custom(e: &dyn Engine) -> Result<()> {
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
