//! Devices, default devices, and the allowed device list.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::container::Container;
use crate::judge::{holds, needs, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared, should};

const DEVICES: &str = "config-linux.md#configLinuxDevices";
const DEFAULT: &str = "config-linux.md#configLinuxDefaultDevices";
const ALLOWED: &str = "config-linux.md#configLinuxDeviceAllowedlist";
const SUPPLY: &[&str] = &["In addition to any devices configured with this setting, the runtime MUST also supply:"];
const EXISTS: &[&str] = &["If a [file][] already exists at `path` that does not match the requested device"];
const NUMBERS: &[&str] = &["**`major, minor`** *(int64, REQUIRED unless"];
const KIND: &[&str] = &["**`type`** *(string, REQUIRED)* - type of device:"];
const IN_ORDER: &[&str] = &["The runtime MUST apply entries in the listed order."];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("linux.devices", DEVICES, &["lists devices that MUST be available in the container."], available),
    must("linux.devices.character", DEVICES, KIND, shared).with(of_kind, "c"),
    must("linux.devices.unbuffered", DEVICES, KIND, shared).with(of_kind, "u"),
    must("linux.devices.block", DEVICES, KIND, shared).with(of_kind, "b"),
    must("linux.devices.fifo", DEVICES, KIND, shared).with(of_kind, "p"),
    must("linux.devices.numbers", DEVICES, NUMBERS, numbers),
    must("linux.devices.path", DEVICES, &["**`path`** *(string, REQUIRED)* - full path"], anywhere),
    must("linux.devices.exists", DEVICES, EXISTS, exists),
    must("linux.devices.exists.other", DEVICES, EXISTS, other_exists),
    must("linux.devices.fileMode", DEVICES, &["**`fileMode`** *(uint32"], mode),
    must("linux.devices.uid", DEVICES, &["**`uid`** *(uint32, OPTIONAL)* - id of device owner"], shared).with(owner, "uid"),
    must("linux.devices.gid", DEVICES, &["**`gid`** *(uint32, OPTIONAL)* - id of device group"], shared).with(owner, "gid"),
    must("linux.devices.user-namespace", DEVICES, &["lists devices that MUST be available in the container."], in_a_user_namespace),
    should("linux.devices.same", DEVICES, &["The same `type`, `major` and `minor` SHOULD NOT be used"], same_device),
    must("default-devices.null", DEFAULT, SUPPLY, shared).with(default, "null 1:3"),
    must("default-devices.zero", DEFAULT, SUPPLY, shared).with(default, "zero 1:5"),
    must("default-devices.full", DEFAULT, SUPPLY, shared).with(default, "full 1:7"),
    must("default-devices.random", DEFAULT, SUPPLY, shared).with(default, "random 1:8"),
    must("default-devices.urandom", DEFAULT, SUPPLY, shared).with(default, "urandom 1:9"),
    must("default-devices.tty", DEFAULT, SUPPLY, shared).with(default, "tty 5:0"),
    must("default-devices.console", DEFAULT, SUPPLY, console),
    must("default-devices.ptmx", DEFAULT, SUPPLY, ptmx),
    must("default-devices.user-namespace", DEFAULT, SUPPLY, default_in_a_user_namespace),
    must("resources.devices", ALLOWED, &["**`devices`** (array of objects", "**`allow`** *(boolean"], allow_and_deny),
    must("resources.devices.order", ALLOWED, IN_ORDER, rules_in_order),
    must("resources.devices.type", ALLOWED, &["**`type`** *(string, OPTIONAL)* - type of device:"], rule_types),
    must("resources.devices.numbers", ALLOWED, &["**`major, minor`** *(int64, OPTIONAL)*"], rule_numbers),
    must("resources.devices.access", ALLOWED, &["**`access`** *(string, OPTIONAL)*"], access),
    must("resources.devices.access.mknod", ALLOWED, &["**`access`** *(string, OPTIONAL)*"], mknod),
];

/// What the probe says of a path inside.
fn seen(container: &Container<'_>, path: &str) -> Result<Value> {
    Ok(container.report(&[&format!("stat={path}")])?["stat"][path].clone())
}

fn device(kind: &str, path: &str) -> Value {
    let mut device = json!({"type": kind, "path": path});
    let numbers = if kind == "b" { (7, 77) } else { (1, 3) };
    if kind != "p" {
        device["major"] = json!(numbers.0);
        device["minor"] = json!(numbers.1);
    }
    device
}

fn available(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/linux/devices", json!([device("c", "/dev/one"), device("c", "/dev/two")]));
    let report = container.report(&["open=rw:/dev/one", "open=rw:/dev/two"])?;
    same("opening the first", &report["open"]["rw:/dev/one"], true)?;
    same("opening the second", &report["open"]["rw:/dev/two"], true)
}

fn of_kind(lab: &Lab, kind: &'static str) -> Verdict {
    let found = seen(&lab.container()?.push("/linux/devices", device(kind, "/dev/mine")), "/dev/mine")?;
    let wanted = match kind {
        "b" => "block device",
        "p" => "fifo",
        _ => "character device",
    };
    same("what it is", &found["kind"], wanted)
}

fn numbers(lab: &Lab) -> Verdict {
    let found = seen(&lab.container()?.push("/linux/devices", device("b", "/dev/mine")), "/dev/mine")?;
    same("the numbers", &found["device"], "7:77")?;
    let mut incomplete = device("c", "/dev/mine");
    incomplete["minor"] = json!(-1);
    lab.container()?.push("/linux/devices", incomplete).is_refused()
}

fn anywhere(lab: &Lab) -> Verdict {
    for path in ["/tmp/mine", "/new/directory/mine"] {
        let found = seen(&lab.container()?.push("/linux/devices", device("c", path)), path)?;
        same("the device", &found["device"], "1:3")?;
    }
    Ok(())
}

fn exists(lab: &Lab) -> Verdict {
    let container = lab.container()?.push("/linux/devices", device("c", "/tmp/mine"));
    fs::write(container.rootfs("tmp/mine"), "a file")?;
    container.is_refused()?;
    let container = lab.container()?.push("/linux/devices", device("c", "/tmp/mine"));
    fs::create_dir(container.rootfs("tmp/mine"))?;
    container.is_refused()
}

/// A device, but not the one that was asked for; and one that is.
fn other_exists(lab: &Lab) -> Verdict {
    let node = |path: &Path, minor| {
        let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::from_bits_retain(0o666));
        nix::sys::stat::mknod(path, kind, mode, nix::sys::stat::makedev(1, minor))
    };
    let container = lab.container()?.push("/linux/devices", device("c", "/tmp/mine"));
    node(&container.rootfs("tmp/mine"), 3)?;
    container.runs()?;
    let container = lab.container()?.push("/linux/devices", device("c", "/tmp/mine"));
    node(&container.rootfs("tmp/mine"), 5)?;
    container.is_refused()
}

fn mode(lab: &Lab) -> Verdict {
    for (mode, shown) in [(0o640, "0640"), (0o666, "0666")] {
        let mut device = device("c", "/dev/mine");
        device["fileMode"] = json!(mode);
        let found = seen(&lab.container()?.push("/linux/devices", device), "/dev/mine")?;
        same("the mode", &found["mode"], shown)?;
    }
    Ok(())
}

fn owner(lab: &Lab, which: &'static str) -> Verdict {
    let mut device = device("c", "/dev/mine");
    device["uid"] = json!(11);
    device["gid"] = json!(22);
    let found = seen(&lab.container()?.push("/linux/devices", device), "/dev/mine")?;
    same(which, &found[which], if which == "uid" { 11 } else { 22 })
}

fn in_a_user_namespace(lab: &Lab) -> Verdict {
    let container = lab.container()?.user_namespace(100_000).push(
        "/linux/devices",
        json!({
        "type": "c", "path": "/dev/mine", "major": 1, "minor": 5}),
    );
    same("the device", &seen(&container, "/dev/mine")?["device"], "1:5")
}

/// The sentence is to authors; a runtime that refuses would not be wrong, one that crashes or hangs is.
fn same_device(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/linux/devices", json!([device("c", "/dev/one"), device("c", "/dev/two")]));
    let output = container.clone().probe(&["true"]).run()?;
    if output.code == 0 { Ok(()) } else { output.refused("two nodes of one device") }
}

fn default(lab: &Lab, device: &'static str) -> Verdict {
    let (name, numbers) = device.split_once(' ').unwrap_or_default();
    let path = format!("/dev/{name}");
    let report = lab.container()?.report(&[&format!("stat={path}"), &format!("open=rw:{path}")])?;
    same("the numbers", &report["stat"][&path]["device"], numbers)?;
    // /dev/tty opens for whom has a terminal.
    if name == "tty" { Ok(()) } else { same("opening it", &report["open"][format!("rw:{path}")], true) }
}

fn default_in_a_user_namespace(lab: &Lab) -> Verdict {
    let found = seen(&lab.container()?.user_namespace(100_000), "/dev/full")?;
    same("the numbers", &found["device"], "1:7")
}

fn console(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/process/terminal", true);
    let text = crate::container::read_terminal(
        container.probe(&["report", "stat=/dev/console", "terminals", "mounts"]).up_on_terminal()?,
    );
    let report: Value = serde_json::from_str(&text)?;
    same("what /dev/console is", &report["stat"]["/dev/console"]["kind"], "character device")?;
    let mounts = report["mounts"].as_array().cloned().unwrap_or_default();
    let mount = crate::container::uppermost(&mounts, "/dev/console")?;
    same("the file system of /dev/console", &mount["type"], "devpts")
}

fn ptmx(lab: &Lab) -> Verdict {
    let report = lab.container()?.report(&["stat=/dev/ptmx", "open=rw:/dev/ptmx", "mounts"])?;
    let link =
        report["stat"]["/dev/ptmx"]["target"].as_str().is_some_and(|to| to == "pts/ptmx" || to == "/dev/pts/ptmx");
    let bound = report["stat"]["/dev/ptmx"]["device"] == "5:2";
    holds(&format!("/dev/ptmx is /dev/pts/ptmx: {}", report["stat"]["/dev/ptmx"]), link || bound)?;
    same("opening it", &report["open"]["rw:/dev/ptmx"], true)
}

/// A device of the host that runtimes do not allow by default, and that opens without any capability.
fn spare(lab: &Lab) -> Result<(u64, u64)> {
    let fuse = Path::new("/dev/fuse");
    needs(fuse.exists() && fs::File::open(fuse).is_ok(), "this host has no /dev/fuse to test the device rules with")?;
    needs(lab.setup.probe.exists(), "the probe")?;
    Ok((10, 229))
}

/// What opening the spare device gives under these rules, for reading and for writing.
fn under(lab: &Lab, rules: &Value) -> Result<(bool, bool)> {
    let (major, minor) = spare(lab)?;
    let device = json!({"type": "c", "path": "/dev/spare", "major": major, "minor": minor, "fileMode": 0o666});
    let container = lab.container()?.push("/linux/devices", device).set("/linux/resources/devices", rules.clone());
    let report = container.report(&["open=r:/dev/spare", "open=w:/dev/spare", "open=rw:/dev/null"])?;
    same("opening /dev/null", &report["open"]["rw:/dev/null"], true)?;
    let opened = |how: &str| match &report["open"][how] {
        Value::Bool(true) => Ok(true),
        other if other["error"].as_str().is_some_and(|error| error.contains("not permitted")) => Ok(false),
        other => bail!("opening the device gives {other}"),
    };
    Ok((opened("r:/dev/spare")?, opened("w:/dev/spare")?))
}

fn allow(access: &str) -> Value {
    json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": access})
}

fn deny(access: &str) -> Value {
    json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": access})
}

const NOTHING: &str = r#"{"allow": false, "access": "rwm"}"#;

fn nothing() -> Result<Value> {
    Ok(serde_json::from_str(NOTHING)?)
}

fn opens(lab: &Lab, rules: &[Value], wanted: (bool, bool)) -> Verdict {
    let got = under(lab, &json!(rules))?;
    same(&format!("(read, write) under {}", json!(rules)), &json!([got.0, got.1]), json!([wanted.0, wanted.1]))
}

fn allow_and_deny(lab: &Lab) -> Verdict {
    opens(lab, &[nothing()?, allow("rwm")], (true, true))?;
    opens(lab, &[nothing()?], (false, false))
}

fn rules_in_order(lab: &Lab) -> Verdict {
    opens(lab, &[nothing()?, allow("rwm"), deny("w")], (true, false))?;
    opens(lab, &[nothing()?, deny("w"), allow("rwm")], (true, true))?;
    opens(lab, &[allow("rwm"), nothing()?], (false, false))
}

fn rule_types(lab: &Lab) -> Verdict {
    let of = |kind: &str| json!({"allow": true, "type": kind, "access": "rwm"});
    opens(lab, &[nothing()?, of("c")], (true, true))?;
    opens(lab, &[nothing()?, of("a")], (true, true))?;
    opens(lab, &[nothing()?, of("b")], (false, false))
}

fn rule_numbers(lab: &Lab) -> Verdict {
    opens(lab, &[nothing()?, json!({"allow": true, "type": "c", "major": 10, "access": "rwm"})], (true, true))?;
    opens(lab, &[nothing()?, json!({"allow": true, "type": "c", "minor": 229, "access": "rwm"})], (true, true))?;
    opens(lab, &[nothing()?, json!({"allow": true, "type": "c", "major": 11, "access": "rwm"})], (false, false))
}

fn access(lab: &Lab) -> Verdict {
    opens(lab, &[nothing()?, allow("r")], (true, false))?;
    opens(lab, &[nothing()?, allow("w")], (false, true))?;
    opens(lab, &[nothing()?, allow("rw")], (true, true))
}

/// Making a node is a right of its own; some runtimes allow it always, which more than the rules allow.
fn mknod(lab: &Lab) -> Verdict {
    let rules = json!([nothing()?, allow("m")]);
    let container = lab.container()?.set("/linux/resources/devices", rules);
    let report = container.report(&["mknod=10:229:/tmp/node", "open=r:/tmp/node"])?;
    same("making a node", &report["mknod"]["10:229:/tmp/node"], true)?;
    holds("the node cannot be read", report["open"]["r:/tmp/node"] != json!(true))
}
