//! `linux.netDevices`. The host of these tests is a network namespace of their own, so the machine's network is untouched.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Bundle, Cmd, Output, Running, Test, eventually, hook, is_minicon};

/// A network namespace that stands for the host's: one process holds it, the runtime and `ip` are run inside.
struct Host {
    // Ends before the test compares the machine.
    holder: Running,
    test: Test,
}

impl Host {
    fn new() -> Option<Self> {
        if !is_minicon() {
            return Test::of_minicon("runc before 1.4 does not know network devices").map(|_| unreachable!());
        }
        let test = Test::with_program("/usr/bin/nsenter")?;
        let holder = hold();
        Some(Host { holder, test })
    }

    /// With `mct0`, one end of a pair, which has all that is to be kept.
    fn with_device() -> Option<Self> {
        let host = Host::new()?;
        host.ip(&[
            "link",
            "add",
            "mct0",
            "mtu",
            "1432",
            "address",
            "02:11:22:33:44:55",
            "type",
            "veth",
            "peer",
            "mct1",
        ]);
        host.ip(&["link", "set", "mct1", "up"]);
        host.ip(&["link", "set", "mct0", "up"]);
        host.ip(&["address", "add", "192.0.2.7/24", "broadcast", "192.0.2.255", "dev", "mct0"]);
        host.ip(&["address", "add", "192.0.2.8/24", "dev", "mct0"]);
        host.ip(&["address", "add", "198.51.100.1", "peer", "198.51.100.2/32", "dev", "mct0", "metric", "77"]);
        host.ip(&["address", "add", "2001:db8::7/64", "dev", "mct0", "nodad"]);
        host.ip(&["address", "add", "203.0.113.1/24", "dev", "mct0", "scope", "link"]);
        host.ip(&[
            "address",
            "add",
            "2001:db8:1::9/64",
            "dev",
            "mct0",
            "valid_lft",
            "9999",
            "preferred_lft",
            "999",
            "nodad",
        ]);
        Some(host)
    }

    fn namespace(&self) -> PathBuf {
        namespace_of(&self.holder)
    }

    /// Runs a call where the host's network is this one.
    fn inside(&self, call: Cmd) -> Cmd {
        call.through(&format!("exec nsenter --net={} \"$@\"", self.namespace().display()))
    }

    #[track_caller]
    fn ip(&self, args: &[&str]) -> Output {
        self.inside(Cmd::new("/usr/sbin/ip").args(args)).run().ok()
    }

    fn names(&self) -> Vec<String> {
        names(&self.ip(&["-o", "link"]))
    }

    fn run(&self, b: &Bundle<'_>) -> Output {
        self.inside(b.on_bundle("run", &[])).run()
    }

    #[track_caller]
    fn create(&self, b: &Bundle<'_>) {
        self.inside(b.on_bundle("create", &[])).run().ok();
    }
}

/// Whoever runs in it, one process that keeps a network namespace.
fn hold() -> Running {
    let holder = Cmd::new("/usr/bin/unshare").args(["--net", "sleep", "1000"]).spawn();
    let (path, ours) = (namespace_of(&holder), fs::read_link("/proc/thread-self/ns/net").expect("our own"));
    eventually("the namespace is there", || fs::read_link(&path).is_ok_and(|it| it != ours));
    holder
}

fn namespace_of(holder: &Running) -> PathBuf {
    PathBuf::from(format!("/proc/{}/ns/net", holder.pid()))
}

fn names(links: &Output) -> Vec<String> {
    let name = |line: &str| line.split([':', '@']).nth(1).map(|name| name.trim().to_owned());
    let mut names: Vec<String> = links.stdout.lines().filter_map(name).collect();
    names.sort();
    names
}

/// A container that tells of a device and its addresses.
fn shows<'t>(host: &'t Host, device: &str) -> Bundle<'t> {
    host.test.bundle(&["ip", "address", "show", "dev", device])
}

/// "`netDevices` (object, OPTIONAL) - A set of network devices that MUST be made available in the container." "The runtime
/// MUST preserve existing network interface attributes, including all permanent IP addresses (IFA_F_PERMANENT flag) of any
/// family with global scope (RT_SCOPE_UNIVERSE value)". "The runtime MUST set the network device state to "up"".
/// (config-linux.md, Network Devices)
#[test]
fn a_device_is_moved_with_its_attributes_and_addresses() {
    let Some(host) = Host::with_device() else { return };
    let b = shows(&host, "mct0").set("/linux/netDevices", json!({"mct0": {}}));
    host.create(&b);
    assert_eq!(host.names(), ["lo", "mct1"]);
    let inside = Cmd::new("nsenter").arg(format!("--net=/proc/{}/ns/net", b.pid()));
    let shown = inside.args(["ip", "address", "show", "dev", "mct0"]).run().ok();
    has_kept_everything(&shown);
    for absent in ["203.0.113.1", "2001:db8:1::9"] {
        assert!(!shown.stdout.contains(absent), "{absent}: {}", shown.stdout);
    }
    assert!(shown.stdout.contains(",UP"), "{}", shown.stdout);
}

fn has_kept_everything(shown: &Output) {
    for kept in [
        "mtu 1432",
        "link/ether 02:11:22:33:44:55",
        "inet 192.0.2.7/24 brd 192.0.2.255 scope global ",
        "inet 192.0.2.8/24 scope global secondary ",
        "inet 198.51.100.1 peer 198.51.100.2/32 metric 77 scope global ",
        "inet6 2001:db8::7/64 scope global ",
    ] {
        assert!(shown.stdout.contains(kept), "{kept}: {}", shown.stdout);
    }
}

/// "`name` (string, OPTIONAL) - the name of the network device inside the container namespace. If not specified, the host
/// name is used."
#[test]
fn a_device_is_renamed() {
    let Some(host) = Host::with_device() else { return };
    let b = shows(&host, "inside0").set("/linux/netDevices", json!({"mct0": {"name": "inside0"}}));
    host.run(&b).ok().shows("inside0").shows("192.0.2.7/24").shows("2001:db8::7/64");
}

/// "unless the user has provided a template by appending `%d` to the new name. In that case, the runtime MUST allow the move,
/// and the kernel will generate a unique name for the interface within the container's network namespace."
#[test]
fn the_kernel_completes_a_template() {
    let Some(host) = Host::with_device() else { return };
    let devices = json!({"mct0": {"name": "in%d"}, "mct1": {"name": "in0"}});
    let b = host.test.bundle(&["ip", "-o", "address"]).set("/linux/netDevices", devices);
    let output = host.run(&b).ok();
    assert_eq!(output.stdout.lines().filter(|line| line.contains(" in1 ") && line.contains("192.0.2.7/24")).count(), 1);
    assert_eq!(host.names(), ["lo"]);
}

/// "If a network device with the specified name already exists in the container namespace, the runtime MUST generate an
/// error".
#[test]
fn a_name_that_is_taken_is_an_error() {
    let Some(host) = Host::with_device() else { return };
    let theirs = hold();
    let inside = |args: &[&str]| {
        let enter = format!("exec nsenter --net={} \"$@\"", namespace_of(&theirs).display());
        Cmd::new("/usr/sbin/ip").args(args).through(&enter).run().ok()
    };
    inside(&["link", "add", "taken0", "type", "ifb"]);
    inside(&["link", "add", "mct0", "type", "ifb"]);
    for devices in [json!({"mct0": {"name": "taken0"}}), json!({"mct0": {}}), json!({"mct0": {"name": "lo"}})] {
        let b = host.test.bundle(&["true"]).set("/linux/netDevices", devices).join("network", namespace_of(&theirs));
        host.run(&b).fails("already").says("config: linux.netDevices.mct0");
        b.is_gone();
        is_back(&host);
    }
    // That the old name is taken there is no obstacle.
    let b = shows(&host, "free0").join("network", namespace_of(&theirs)).unmount("/sys");
    let b = b.set("/linux/netDevices", json!({"mct0": {"name": "free0"}}));
    host.run(&b).ok().shows("192.0.2.7/24");
    assert_eq!(names(&inside(&["-o", "link"])), ["free0", "lo", "mct0", "taken0"]);
}

/// "The runtime MUST NOT attempt to move the interface out of the namespace before deletion."
#[test]
fn a_device_stays_in_a_namespace_that_was_joined() {
    let Some(host) = Host::with_device() else { return };
    let theirs = hold();
    let b = host.test.idle().join("network", namespace_of(&theirs)).unmount("/sys");
    let b = b.set("/linux/netDevices", json!({"mct0": {"name": "c0"}}));
    host.create(&b);
    host.inside(b.verb("delete", &["--force"])).run().ok();
    let enter = format!("exec nsenter --net={} \"$@\"", namespace_of(&theirs).display());
    let shown = Cmd::new("/usr/sbin/ip").args(["address", "show", "dev", "c0"]).through(&enter).run().ok();
    has_kept_everything(&shown);
    assert_eq!(host.names(), ["lo", "mct1"]);
}

#[test]
fn a_device_is_moved_into_a_user_namespace() {
    let Some(host) = Host::with_device() else { return };
    let map = json!([{"containerID": 0, "hostID": 100000, "size": 1000}]);
    let b = shows(&host, "mct0").unshare("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    host.run(&b.set("/linux/netDevices", json!({"mct0": {}}))).ok().shows("192.0.2.7/24").shows(",UP");
}

/// A step after the move fails: the device is where it was, under its old name, with its addresses.
#[test]
fn a_create_that_fails_moves_the_device_back() {
    let Some(host) = Host::with_device() else { return };
    host.ip(&["link", "add", "mctbr", "type", "bridge"]);
    host.ip(&["link", "set", "mct0", "master", "mctbr"]);
    let devices = json!({"mct0": {"name": "in%d"}, "mct1": {"name": "c1"}});
    // Init's pid is in the state that the hook reads.
    let kill = "kill -9 $(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')";
    let failing = [
        // Init reports a failure, and is gone.
        (host.test.bundle(&["/no/such/program"]), "/no/such/program"),
        (host.test.bundle(&["true"]).mount("bind", "/no/such/source", "/mnt", &["bind"]), "/no/such/source"),
        // A hook fails while init waits.
        (host.test.bundle(&["true"]).push("/hooks/createRuntime", hook("exit 1")), "createRuntime"),
        // Init is killed: its network namespace must not end before the device has left it.
        (host.test.bundle(&["true"]).push("/hooks/createRuntime", hook(kill)), "killed by signal 9"),
    ];
    for (b, words) in failing {
        let b = b.set("/linux/netDevices", devices.clone());
        host.run(&b).fails(words);
        b.is_gone();
        is_back(&host);
        host.ip(&["link", "show", "dev", "mct0"]).shows("master mctbr");
    }
    // The second of two cannot be moved.
    let b = host.test.bundle(&["true"]).set("/linux/netDevices", json!({"mct0": {}, "zero": {}}));
    host.run(&b).fails("there is no network device \"zero\" on the host").says("config: linux.netDevices.zero");
    is_back(&host);
}

#[track_caller]
fn is_back(host: &Host) {
    let shown = host.ip(&["address", "show", "dev", "mct0"]);
    has_kept_everything(&shown);
    assert!(shown.stdout.contains(",UP"), "{}", shown.stdout);
    assert!(host.names().contains(&"mct1".to_owned()));
}

/// A device that was down on the host is down there again, and up in the container.
#[test]
fn a_device_that_was_down_is_down_again() {
    let Some(host) = Host::with_device() else { return };
    host.ip(&["link", "set", "mct0", "down"]);
    let b = shows(&host, "mct0").set("/linux/netDevices", json!({"mct0": {}}));
    let b = b.push("/hooks/createRuntime", hook("exit 1"));
    host.run(&b).exits(1);
    assert!(!host.ip(&["link", "show", "dev", "mct0"]).stdout.contains(",UP"));
    let b = b.unset("/hooks");
    host.run(&b).ok().shows(",UP").shows("192.0.2.7/24");
}

/// "The runtime MUST check if moving the network interface to the container namespace is possible."
#[test]
fn what_cannot_be_moved_is_an_error() {
    let Some(host) = Host::with_device() else { return };
    host.ip(&["link", "add", "mctbr", "type", "bridge"]);
    for (devices, words, place) in [
        (json!({"missing0": {}}), "there is no network device \"missing0\"", "linux.netDevices.missing0"),
        (json!({"mct0": {"name": "a/b"}}), "cannot be the name", "linux.netDevices.mct0.name"),
        (json!({"mct0": {"name": "sixteen-letters-"}}), "cannot be the name", "linux.netDevices.mct0.name"),
        (json!({"mct0": {"name": "a%sb"}}), "template", "linux.netDevices.mct0.name"),
        (json!({"a b": {}}), "cannot be the name", "linux.netDevices.a b"),
        (json!({"mct0": {"name": "x"}, "mct1": {"name": "x"}}), "already", "linux.netDevices.mct1"),
        (json!({"mct0": 7}), "invalid type", "linux.netDevices.mct0"),
        // The kernel keeps these in their namespace.
        (json!({"lo": {"name": "lo2"}}), "rtnetlink(RTM_SETLINK", "linux.netDevices.lo"),
        (json!({"mctbr": {}}), "rtnetlink(RTM_SETLINK", "linux.netDevices.mctbr"),
    ] {
        let b = host.test.bundle(&["true"]).set("/linux/netDevices", devices);
        host.run(&b).fails(words).says(&format!("config: {place}"));
        b.is_gone();
        is_back(&host);
    }
}

#[test]
fn a_device_needs_a_network_namespace_and_privileges() {
    let Some(host) = Host::with_device() else { return };
    let b = host.test.bundle(&["true"]).set("/linux/netDevices", json!({"mct0": {}}));
    let rootless = host.test.runtime(["--rootless=true", "run", "--bundle"]).arg(&b.dir).arg(&b.id);
    b.write();
    host.inside(rootless).run().fails("without privileges").says("linux.netDevices");
    let b = b.join("network", host.namespace()).unmount("/sys");
    host.run(&b).fails("is the runtime's").says("linux.netDevices");
    let b = b.share("network");
    host.run(&b).fails("needs a network namespace").says("linux.netDevices");
    is_back(&host);
    assert!(Path::new("/sys/class/net").exists());
}

#[test]
fn features_lists_network_devices() {
    let Some(t) = Test::of_minicon("runc before 1.4 does not know network devices") else { return };
    let features = t.runtime(["features"]).run().ok().json();
    assert_eq!(features["linux"]["netDevices"]["enabled"], true);
    for property in ["enabled", "schemata", "monitoring"] {
        assert_eq!(features["linux"]["intelRdt"][property], true, "{property}");
    }
}
