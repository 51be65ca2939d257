//! Networks: none, podman's bridge (netavark), the host's, another container's.

use std::fs;

use anyhow::{Result, ensure};

use super::{Case, holds, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "network_none", check: none },
    Case { name: "network_bridge", check: bridge },
    Case { name: "network_two_containers", check: two_containers },
    Case { name: "network_publish", check: publish },
    Case { name: "network_host", check: host },
    Case { name: "network_of_container", check: of_container },
    Case { name: "network_dns_and_hosts", check: dns_and_hosts },
];

const INTERFACES: &str = "ls /sys/class/net";

fn none(e: &Engine) -> Result<()> {
    same(e.sh("", INTERFACES)?, "lo")?;
    holds(e.sh("", "ip -o addr show lo")?, "127.0.0.1/8")
}

/// The default network: an interface with an address and a route, and the gateway answers.
fn bridge(e: &Engine) -> Result<()> {
    let run = format!("run --rm {NAME} sh -c");
    same(e.ok_with(&run, &[INTERFACES])?, "eth0\nlo")?;
    let route = e.ok_with(&run, &["ip route | head -n 1"])?;
    holds(&route, "default via 10.88.0.1 dev eth0")?;
    holds(e.ok_with(&run, &["ping -c 1 -W 5 10.88.0.1"])?, "1 packets received")
}

/// One serves a file, the other fetches it over the bridge.
fn two_containers(e: &Engine) -> Result<()> {
    e.ok_with(&format!("run -d --name server {NAME} sh -c"), &["echo page > /tmp/f; httpd -f -p 80 -h /tmp"])?;
    let address = e.ok("inspect --format {{.NetworkSettings.IPAddress}} server")?;
    let script = format!("for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://{address}/f && break; sleep 0.2; done");
    same(e.ok_with(&format!("run --rm {NAME} sh -c"), &[&script])?, "page")
}

/// A published port is reachable in podman's own namespace.
fn publish(e: &Engine) -> Result<()> {
    let serve = ["echo page > /tmp/f; httpd -f -p 80 -h /tmp"];
    e.ok_with(&format!("run -d --name server --publish 8080:80 {NAME} sh -c"), &serve)?;
    let fetch = "for i in 1 2 3 4 5 6 7 8 9; do busybox wget -q -O - http://10.88.0.1:8080/f && break; sleep 0.2; done";
    same(e.inside(&["sh", "-c", fetch])?.out, "page\n")
}

fn host(e: &Engine) -> Result<()> {
    let link = e.ok(&format!("run --rm --network host {NAME} readlink /proc/self/ns/net"))?;
    same(link, e.inside(&["readlink", "/proc/self/ns/net"])?.out.trim())
}

fn of_container(e: &Engine) -> Result<()> {
    e.start_sh("first", "", "exec sleep 50")?;
    let link = e.ok(&format!("run --rm --network container:first {NAME} readlink /proc/self/ns/net"))?;
    same(link, fs::read_link(format!("/proc/{}/ns/net", e.pid("first")?))?.display().to_string())
}

/// The files that podman mounts into the container.
fn dns_and_hosts(e: &Engine) -> Result<()> {
    let options = format!("run --rm --dns 192.0.2.7 --add-host box:192.0.2.8 --hostname here {NAME} sh -c");
    let files = e.ok_with(&options, &["cat /etc/resolv.conf /etc/hosts; hostname -i"])?;
    holds(&files, "nameserver 192.0.2.7")?;
    ensure!(files.lines().any(|line| line.split_whitespace().eq(["192.0.2.8", "box"])), "{files}");
    holds(files, "10.88.")
}
