//! `linux.netDevices`: network devices of the host that the container gets.

use oci_spec::runtime::{Linux, LinuxNetDevice};

use super::namespaces::{Kind, Namespaces};
use crate::error::Problem;

/// `IFNAMSIZ` of linux/if.h: a name and its zero byte.
const LONGEST: usize = 16;

/// A device that is moved into the container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub name: String,
    /// Its name in the container, or a template: `%d` stands for a number that the kernel chooses.
    pub target: String,
}

impl NetDevice {
    /// The place in the configuration.
    pub fn at(&self) -> String {
        place(&self.name)
    }

    /// Whether the kernel completes the name.
    pub fn is_template(&self) -> bool {
        self.target.contains('%')
    }
}

/// Decides which devices are moved, in the order of their names: those whose new name is left to the kernel last, so that
/// it does not choose one that another is to have.
pub fn plan(
    linux: Option<&Linux>,
    namespaces: &Namespaces,
    rootless: bool,
    problems: &mut Vec<Problem>,
) -> Vec<NetDevice> {
    let Some(given) = linux.and_then(|linux| linux.net_devices().as_ref()) else { return Vec::new() };
    let device = |(name, device): (&String, &LinuxNetDevice)| {
        let target = device.name().as_ref().filter(|target| !target.is_empty()).unwrap_or(name);
        NetDevice { name: name.clone(), target: target.clone() }
    };
    let mut devices: Vec<NetDevice> = given.iter().map(device).collect();
    devices.sort_by_key(|device| (device.is_template(), device.name.clone()));
    let problem = |message: &str| Problem::new("linux.netDevices", message);
    if !devices.is_empty() && !namespaces.has(Kind::Network) {
        problems.push(problem("needs a network namespace: add {\"type\": \"network\"} to linux.namespaces"));
    }
    if !devices.is_empty() && rootless {
        problems.push(problem("network devices of the host cannot be moved without privileges"));
    }
    for (index, device) in devices.iter().enumerate() {
        problems.extend(check(device));
        if let Some(other) =
            devices[..index].iter().find(|other| other.target == device.target && !device.is_template())
        {
            let message = format!("{} has the name {:?} in the container already", other.name, device.target);
            problems.push(Problem::new(device.at(), message));
        }
    }
    devices
}

fn check(device: &NetDevice) -> Option<Problem> {
    if !is_name(&device.name) || device.name.contains('%') {
        return Some(Problem::new(device.at(), format!("{:?} cannot be the name of a network device", device.name)));
    }
    // One %d at most: __dev_alloc_name() in net/core/dev.c.
    let is_complete = match device.target.split_once('%') {
        Some((_, rest)) => rest.strip_prefix('d').is_some_and(|rest| !rest.contains('%')),
        None => true,
    };
    let message = format!("{:?} cannot be the name of a network device, nor a template with one %d", device.target);
    (!is_name(&device.target) || !is_complete).then(|| Problem::new(format!("{}.name", device.at()), message))
}

/// What dev_valid_name() in net/core/dev.c lets through.
fn is_name(name: &str) -> bool {
    let is_forbidden = |byte: u8| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace() || byte == 0x0b;
    !name.is_empty() && name.len() < LONGEST && ![".", ".."].contains(&name) && !name.bytes().any(is_forbidden)
}

fn place(name: &str) -> String {
    format!("linux.netDevices.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(devices: &str, kinds: &[Kind], rootless: bool) -> (Vec<(String, String)>, Vec<String>) {
        let linux: Linux = serde_json::from_str(&format!(r#"{{"netDevices":{devices}}}"#)).expect("linux");
        let namespaces = Namespaces { new: kinds.to_vec(), ..Namespaces::default() };
        let mut problems = Vec::new();
        let devices = plan(Some(&linux), &namespaces, rootless, &mut problems);
        let places = problems.into_iter().map(|problem| problem.at).collect();
        (devices.into_iter().map(|device| (device.name, device.target)).collect(), places)
    }

    #[test]
    fn a_device_keeps_its_name_or_gets_another() {
        let devices = r#"{"b":{"name":"net%d"},"eth1":{},"eth0":{"name":"c0"},"z":{"name":""}}"#;
        let (devices, problems) = planned(devices, &[Kind::Network], false);
        let expected = [("eth0", "c0"), ("eth1", "eth1"), ("z", "z"), ("b", "net%d")];
        assert_eq!(devices, expected.map(|(name, target)| (name.to_owned(), target.to_owned())));
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn what_cannot_be_moved_is_an_error_at_its_place() {
        let network = &[Kind::Network][..];
        for (devices, kinds, rootless, place) in [
            (r#"{"eth0":{}}"#, &[][..], false, "linux.netDevices"),
            (r#"{"eth0":{}}"#, network, true, "linux.netDevices"),
            (r#"{"a/b":{}}"#, network, false, "linux.netDevices.a/b"),
            (r#"{"sixteen-letters-":{}}"#, network, false, "linux.netDevices.sixteen-letters-"),
            (r#"{"e%d":{}}"#, network, false, "linux.netDevices.e%d"),
            (r#"{"":{}}"#, network, false, "linux.netDevices."),
            (r#"{"e":{"name":"sixteen-letters-"}}"#, network, false, "linux.netDevices.e.name"),
            (r#"{"e":{"name":"a b"}}"#, network, false, "linux.netDevices.e.name"),
            (r#"{"e":{"name":"a:b"}}"#, network, false, "linux.netDevices.e.name"),
            (r#"{"e":{"name":".."}}"#, network, false, "linux.netDevices.e.name"),
            (r#"{"e":{"name":"a%s"}}"#, network, false, "linux.netDevices.e.name"),
            (r#"{"e":{"name":"%d%d"}}"#, network, false, "linux.netDevices.e.name"),
            (r#"{"e":{"name":"x"},"f":{"name":"x"}}"#, network, false, "linux.netDevices.f"),
            (r#"{"e":{"name":"f"},"f":{}}"#, network, false, "linux.netDevices.f"),
        ] {
            assert_eq!(planned(devices, kinds, rootless).1, [place], "{devices}");
        }
        assert_eq!(planned("{}", &[], true).1, [""; 0]);
        assert_eq!(planned(r#"{"e":{"name":"x%d"},"f":{"name":"x%d"}}"#, network, false).1, [""; 0]);
    }
}
