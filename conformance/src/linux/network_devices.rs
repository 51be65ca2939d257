//! Network devices that are moved into the container. The test has a network namespace of its own, and makes them there.

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::container::Container;
use crate::host;
use crate::judge::{holds, same, skip};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must};

const PLACE: &str = "config-linux.md#configLinuxNetworkDevices";
const KEPT: &[&str] = &["The runtime MUST preserve existing network interface attributes"];
const CLASH: &[&str] = &[
    "The runtime MUST check if moving the network interface to the container namespace is possible.",
    "If a network device with the specified name already exists in the container namespace",
];

pub const TESTS: &[Row] = &[
    must("linux.netDevices", PLACE, &["**`netDevices`** (object, OPTIONAL)"], moved),
    must(
        "linux.netDevices.name",
        PLACE,
        &["**`name`** *(string, OPTIONAL)* - the name of the network device"],
        renamed,
    ),
    must("linux.netDevices.missing", PLACE, &["The runtime MUST check if moving the network interface"], missing),
    must("linux.netDevices.clash", PLACE, CLASH, clash),
    must("linux.netDevices.template", PLACE, &["In that case, the runtime MUST allow the move"], template),
    must("linux.netDevices.addresses", PLACE, KEPT, addresses),
    must("linux.netDevices.attributes", PLACE, KEPT, attributes),
    must("linux.netDevices.up", PLACE, &["The runtime MUST set the network device state to \"up\""], is_up),
    must("linux.netDevices.left-alone", PLACE, &["The runtime MUST NOT actively manage the interface's"], left_alone),
    must(
        "linux.netDevices.not-moved-back",
        PLACE,
        &["The runtime **MUST NOT** attempt to move the interface"],
        not_back,
    ),
];

/// A network namespace for this test, with a pair of devices, `cf0` and `cf1`.
fn pair(lab: &Lab) -> Result<()> {
    if host::program("ip").is_none() {
        return skip("there is no ip(8) to make network devices with");
    }
    unshare(CloneFlags::CLONE_NEWNET)?;
    if ip(lab, &["link", "add", "cf0", "type", "veth", "peer", "name", "cf1"]).is_err() {
        return skip("this kernel makes no veth devices");
    }
    Ok(())
}

fn ip(lab: &Lab, words: &[&str]) -> Result<String> {
    lab.host(host::program("ip").context("ip")?, words)
}

/// A container that was given `cf0`.
fn with<'l>(lab: &'l Lab, device: Value) -> Result<Container<'l>> {
    Ok(lab.container()?.set("/linux/netDevices", json!({"cf0": device})))
}

/// What `ip` tells of the devices inside.
fn inside(lab: &Lab, container: &Container<'_>, words: &[&str]) -> Result<Value> {
    let net = format!("--net=/proc/{}/ns/net", container.pid()?);
    let ip = host::program("ip").context("ip")?.to_string_lossy().into_owned();
    let words: Vec<&str> = [&net, &*ip, "-json"].into_iter().chain(words.iter().copied()).collect();
    Ok(serde_json::from_str(&lab.host(host::program("nsenter").context("nsenter")?, &words)?)?)
}

fn moved(lab: &Lab) -> Verdict {
    pair(lab)?;
    let container = with(lab, json!({}))?;
    container.up()?;
    same("its name inside", &inside(lab, &container, &["link", "show", "cf0"])?[0]["ifname"], "cf0")?;
    holds("it is gone outside", ip(lab, &["link", "show", "cf0"]).is_err())
}

fn renamed(lab: &Lab) -> Verdict {
    pair(lab)?;
    let container = with(lab, json!({"name": "ctr_eth0"}))?;
    container.up()?;
    same("its name inside", &inside(lab, &container, &["link", "show", "ctr_eth0"])?[0]["ifname"], "ctr_eth0")
}

fn missing(lab: &Lab) -> Verdict {
    pair(lab)?;
    lab.container()?.set("/linux/netDevices", json!({"cf9": {}})).is_refused()
}

fn clash(lab: &Lab) -> Verdict {
    pair(lab)?;
    with(lab, json!({"name": "lo"}))?.is_refused()?;
    ip(lab, &["link", "show", "cf0"]).context("the device must have stayed outside")?;
    Ok(())
}

fn template(lab: &Lab) -> Verdict {
    pair(lab)?;
    let container = with(lab, json!({"name": "eth%d"}))?;
    container.up()?;
    same("its name inside", &inside(lab, &container, &["link", "show", "eth0"])?[0]["ifname"], "eth0")
}

fn addresses(lab: &Lab) -> Verdict {
    pair(lab)?;
    ip(lab, &["address", "add", "192.0.2.7/24", "dev", "cf0"])?;
    ip(lab, &["address", "add", "2001:db8::7/64", "dev", "cf0", "nodad"])?;
    let container = with(lab, json!({}))?;
    container.up()?;
    let found = inside(lab, &container, &["address", "show", "cf0"])?;
    let list = found[0]["addr_info"].to_string();
    holds(&format!("the addresses are there: {list}"), list.contains("192.0.2.7") && list.contains("2001:db8::7"))
}

fn attributes(lab: &Lab) -> Verdict {
    pair(lab)?;
    ip(lab, &["link", "set", "cf0", "mtu", "1400", "address", "02:00:00:00:00:07", "txqueuelen", "777"])?;
    let container = with(lab, json!({}))?;
    container.up()?;
    let found = inside(lab, &container, &["link", "show", "cf0"])?[0].clone();
    same("mtu", &found["mtu"], 1400)?;
    same("the hardware address", &found["address"], "02:00:00:00:00:07")?;
    same("txqlen", &found["txqlen"], 777)
}

fn is_up(lab: &Lab) -> Verdict {
    pair(lab)?;
    let container = with(lab, json!({}))?;
    container.up()?;
    let flags = inside(lab, &container, &["link", "show", "cf0"])?[0]["flags"].clone();
    holds(&format!("it is up: {flags}"), crate::judge::listed(&flags, "UP"))
}

/// What is changed inside stays changed, through other operations.
fn left_alone(lab: &Lab) -> Verdict {
    pair(lab)?;
    let container = with(lab, json!({}))?;
    container.up()?;
    inside(lab, &container, &["link", "set", "cf0", "mtu", "1300", "down"]).ok();
    container.state()?;
    container.verb("exec", &["/bin/probe", "true"]).run()?.ok()?;
    let found = inside(lab, &container, &["link", "show", "cf0"])?[0].clone();
    same("mtu", &found["mtu"], 1300)?;
    holds("it is down", !crate::judge::listed(&found["flags"], "UP"))
}

/// A namespace that lives on keeps the device.
fn not_back(lab: &Lab) -> Verdict {
    pair(lab)?;
    let holder = lab.container()?;
    holder.up()?;
    let container = with(lab, json!({}))?.join("network", holder.proc("ns/net")?);
    container.up()?;
    container.stop()?;
    container.delete()?.ok()?;
    same("its name inside", &inside(lab, &holder, &["link", "show", "cf0"])?[0]["ifname"], "cf0")?;
    holds("it is not outside", ip(lab, &["link", "show", "cf0"]).is_err())
}
