//! DECIDE which unit of systemd holds a container: its name, its slice, its properties, and where its cgroup will be.
//!
//! `linux.cgroupsPath` is `slice:prefix:name` here, which makes the scope `prefix-name.scope` in that slice; engines
//! know this form from runc. What limits become as properties, see `unit_properties.rs`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::{CGROUPS_PATH, CgroupHost, Mode, Request};
use super::unit_properties;
use super::variant::Value;
use crate::error::Problem;

/// Which systemd: the machine's, or that of the user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// PID 1, over the system bus.
    #[default]
    System,
    /// The user's manager, over the user's bus.
    User,
}

/// What names a unit, for the record too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitName {
    /// Such as `minicon-web.scope`.
    pub name: String,
    /// Whose it is.
    pub bus: Bus,
}

/// A transient unit that is to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// Its name.
    pub id: UnitName,
    /// The slice that it is in.
    pub slice: String,
    /// In order, each name once.
    pub properties: Vec<Property>,
}

/// A property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// As in the D-Bus interface of systemd: `…USec` where the man pages have `…Sec`.
    pub name: String,
    /// The value.
    pub value: Value,
    /// The place in the configuration that asks for it.
    pub at: String,
    /// A systemd that does not know it can do without: what it stands for is written into the cgroup's files as well.
    pub dispensable: bool,
}

impl Unit {
    /// A slice has no processes of its own in systemd's eyes.
    pub fn is_slice(&self) -> bool {
        self.id.is_slice()
    }

    /// Adds properties; a later one takes the place of an earlier one of the same name.
    pub fn add(&mut self, more: impl IntoIterator<Item = Property>) {
        for property in more {
            self.properties.retain(|known| known.name != property.name);
            self.properties.push(property);
        }
    }
}

impl UnitName {
    /// Whether it is a slice.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(SLICE)
    }
}

impl Property {
    pub(super) fn new(name: &str, value: Value, at: impl fmt::Display) -> Property {
        Property { name: name.to_owned(), value, at: at.to_string(), dispensable: false }
    }
}

const SLICE: &str = ".slice";

/// The unit without its limits, and its cgroup below the mount point. None after a problem.
pub(super) fn plan(
    request: &Request<'_>,
    bus: Bus,
    host: &CgroupHost,
    problems: &mut Vec<Problem>,
) -> Option<(Unit, PathBuf)> {
    if bus == Bus::User && host.mode() != Mode::V2 {
        // The words are runc's. A user's systemd has no controllers to give on v1.
        problems.push(Problem::new("--systemd-cgroup", "cannot use rootless systemd cgroups manager on cgroup v1"));
        return None;
    }
    let default = match bus {
        Bus::System => "system.slice",
        Bus::User => "user.slice",
    };
    let named = name(request, default).and_then(|(slice, name)| {
        let above = match name.ends_with(SLICE) {
            // A slice's name tells where it is.
            true => return Ok((expand_slice(&name)?, slice, name)),
            false => expand_slice(&slice)?,
        };
        Ok((above.join(&name), slice, name))
    });
    let (path, slice, name) = match named {
        Ok(named) => named,
        Err(message) => {
            problems.push(Problem::new(CGROUPS_PATH, message));
            return None;
        }
    };
    let manager = match (bus, &host.v2) {
        (Bus::User, Some(unified)) => manager_of_user(&unified.own),
        _ => PathBuf::new(),
    };
    let mut unit = Unit { id: UnitName { name, bus }, slice, properties: Vec::new() };
    unit.add(own_properties(&unit, request.id, host.mode()));
    unit.add(unit_properties::of_annotations(request.annotations, problems));
    Some((unit, manager.join(path)))
}

/// Slice and unit that `linux.cgroupsPath` names, or the container's id where it is not given.
fn name(request: &Request<'_>, default_slice: &str) -> Result<(String, String), String> {
    let given = request.cgroups_path.map(Path::to_string_lossy).filter(|path| !path.is_empty());
    let escaped;
    let (slice, prefix, name) = match &given {
        // "+" is fine in an id and not in the name of a unit; systemd.unit(5), "String Escaping".
        None => {
            escaped = request.id.replace('+', "\\x2b");
            ("", "minicon", escaped.as_str())
        }
        // The words are runc's.
        Some(path) => match path.split(':').collect::<Vec<_>>()[..] {
            [slice, prefix, name] => (slice, prefix, name),
            _ => {
                return Err(format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                ));
            }
        },
    };
    let slice = match slice {
        "" => default_slice,
        "-" => "-.slice",
        slice => slice,
    };
    let unit = match name {
        "" => return Err("has no name after the last colon: \"slice:prefix:name\" is expected".to_owned()),
        name if name.ends_with(SLICE) => name.to_owned(),
        name => format!("{prefix}-{name}.scope"),
    };
    let is_valid = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    if unit.len() > 255 || !unit.chars().all(is_valid) {
        return Err(format!("{unit:?} is no name of a unit: letters, digits and any of :-_.\\@, at most 255 in all"));
    }
    Ok((slice.to_owned(), unit))
}

/// Where a slice is: `a-b.slice` is in `a.slice`, and `-.slice` is the root; systemd.slice(5).
fn expand_slice(slice: &str) -> Result<PathBuf, String> {
    let invalid = || format!("invalid slice name: {slice:?}, which must be of the form a-b.slice");
    let name = slice.strip_suffix(SLICE).filter(|name| !name.contains('/')).ok_or_else(invalid)?;
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    for end in ends {
        // Neither "-a", nor "a-", nor "a--b".
        if end == 0 || name[..end].ends_with('-') {
            return Err(invalid());
        }
        path.push(format!("{}{SLICE}", &name[..end]));
    }
    Ok(path)
}

/// The cgroup of the user's manager, `user.slice/user-1000.slice/user@1000.service`: we run in it, or in a session beside
/// it. Only a guess, for what is told beforehand; where init really is, is looked up when it is there.
fn manager_of_user(own: &Path) -> PathBuf {
    let mut manager = PathBuf::new();
    for component in own.strip_prefix("/").unwrap_or(own) {
        manager.push(component);
        let name = component.to_string_lossy();
        if name.starts_with("user@") && name.ends_with(".service") {
            return manager;
        }
        let user = name.strip_prefix("user-").and_then(|name| name.strip_suffix(SLICE));
        if let Some(user) = user {
            return manager.join(format!("user@{user}.service"));
        }
    }
    PathBuf::new()
}

/// What every unit of ours has, as with runc. Delegated, so that systemd leaves alone what is below; accounted for, so that
/// all controllers are there; and gone when it has ended, also after a failure.
fn own_properties(unit: &Unit, id: &str, mode: Mode) -> Vec<Property> {
    let yes = Value::Boolean(true);
    let io = if mode == Mode::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    let mut properties = vec![("Description", Value::string(format!("minicon container {id}")))];
    match unit.is_slice() {
        true => properties.push(("Wants", Value::strings([unit.slice.as_str()]))),
        false => properties.extend([("Slice", Value::string(unit.slice.as_str())), ("Delegate", yes.clone())]),
    }
    properties.extend(["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"].map(|name| (name, yes.clone())));
    properties.push(("DefaultDependencies", Value::Boolean(false)));
    properties.push(("CollectMode", Value::string("inactive-or-failed")));
    let own = properties.into_iter().map(|(name, value)| Property::new(name, value, CGROUPS_PATH));
    own.map(|property| Property { dispensable: property.name == "CollectMode", ..property }).collect()
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bus::System => "system",
            Bus::User => "user",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::cgroup::tests::{hybrid, unified};
    use super::super::cgroup::{CgroupPlan, Driver, Manager, plan};
    use super::*;

    fn planned(
        host: &CgroupHost,
        bus: Bus,
        path: Option<&str>,
        annotations: &[(&str, &str)],
        resources: &str,
    ) -> (CgroupPlan, Vec<String>) {
        let resources = serde_json::from_str(resources).expect("resources");
        let annotations: HashMap<String, String> =
            annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = Request {
            id: "web",
            manager: Manager::Systemd(bus),
            cgroups_path: path.map(Path::new),
            annotations: Some(&annotations),
            resources: Some(&resources),
            rootless: bus == Bus::User,
            owner: None,
        };
        let mut problems = Vec::new();
        let plan = plan(&request, host, &mut problems);
        (plan, problems.iter().map(|problem| format!("{}: {}", problem.at, problem.message)).collect())
    }

    fn unit(plan: &CgroupPlan) -> &Unit {
        match &plan.driver {
            Driver::Systemd(unit) => unit,
            driver => panic!("{driver:?}"),
        }
    }

    /// Slice, unit and the cgroup v2.
    fn place(bus: Bus, path: Option<&str>) -> String {
        let (plan, problems) = planned(&unified(), bus, path, &[], "{}");
        assert_eq!(problems, Vec::<String>::new());
        let (unit, directory) = (unit(&plan), plan.directories[0].path.display());
        format!("{} {} {directory}", unit.slice, unit.id.name)
    }

    #[test]
    fn a_path_names_slice_and_scope() {
        let user = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
        for (path, expected) in [
            (None, "system.slice minicon-web.scope /sys/fs/cgroup/system.slice/minicon-web.scope"),
            (Some(""), "system.slice minicon-web.scope /sys/fs/cgroup/system.slice/minicon-web.scope"),
            (Some(":a:b"), "system.slice a-b.scope /sys/fs/cgroup/system.slice/a-b.scope"),
            (
                Some("machine.slice:libpod:1f"),
                "machine.slice libpod-1f.scope /sys/fs/cgroup/machine.slice/libpod-1f.scope",
            ),
            (Some("a-b-c.slice:x:y"), "a-b-c.slice x-y.scope /sys/fs/cgroup/a.slice/a-b.slice/a-b-c.slice/x-y.scope"),
            (Some("-:x:y"), "-.slice x-y.scope /sys/fs/cgroup/x-y.scope"),
            (Some("-.slice:x:y"), "-.slice x-y.scope /sys/fs/cgroup/x-y.scope"),
            (Some(":x:kube-pod.slice"), "system.slice kube-pod.slice /sys/fs/cgroup/kube.slice/kube-pod.slice"),
        ] {
            assert_eq!(place(Bus::System, path), expected, "{path:?}");
        }
        let mut host = unified();
        host.v2.as_mut().expect("v2").own = "/user.slice/user-1000.slice/session-3.scope".into();
        let (plan, _) = planned(&host, Bus::User, Some("user.slice:libpod:1f"), &[], "{}");
        assert_eq!(plan.directories[0].path, Path::new(user).join("user.slice/libpod-1f.scope"));
        host.v2.as_mut().expect("v2").own = "/user.slice/user-1000.slice/user@1000.service/user.slice/a.scope".into();
        let (plan, _) = planned(&host, Bus::User, None, &[], "{}");
        assert_eq!(plan.directories[0].path, Path::new(user).join("user.slice/minicon-web.scope"));
    }

    #[test]
    fn other_paths_are_errors() {
        for (path, message) in [
            ("/a/b", "format \"slice:prefix:name\" for systemd cgroups, got \"/a/b\" instead"),
            ("a:b", "slice:prefix:name"),
            ("a.slice:b:c:d", "slice:prefix:name"),
            ("a.slice:b:", "has no name"),
            ("a:b:c", "invalid slice name: \"a\""),
            (".slice:b:c", "invalid slice name"),
            ("-a.slice:b:c", "invalid slice name"),
            ("a-.slice:b:c", "invalid slice name"),
            ("a--b.slice:b:c", "invalid slice name"),
            ("x/a.slice:b:c", "invalid slice name"),
            (":b:../c", "is no name of a unit"),
            (":b:c d", "is no name of a unit"),
        ] {
            let (_, problems) = planned(&unified(), Bus::System, Some(path), &[], "{}");
            let told = problems.join("\n");
            assert!(told.starts_with("linux.cgroupsPath: ") && told.contains(message), "{path}: {told}");
        }
        let (_, problems) = planned(&hybrid(), Bus::User, None, &[], "{}");
        assert_eq!(problems, ["--systemd-cgroup: cannot use rootless systemd cgroups manager on cgroup v1"]);
    }

    fn properties(host: &CgroupHost, path: Option<&str>, annotations: &[(&str, &str)], resources: &str) -> Vec<String> {
        let (plan, problems) = planned(host, Bus::System, path, annotations, resources);
        assert_eq!(problems, Vec::<String>::new());
        unit(&plan).properties.iter().map(|property| format!("{}={}", property.name, property.value)).collect()
    }

    #[test]
    fn a_unit_is_delegated_accounted_for_and_collected() {
        assert_eq!(
            properties(&unified(), None, &[], "{}"),
            [
                "Description='minicon container web'",
                "Slice='system.slice'",
                "Delegate=true",
                "MemoryAccounting=true",
                "CPUAccounting=true",
                "IOAccounting=true",
                "TasksAccounting=true",
                "DefaultDependencies=false",
                "CollectMode='inactive-or-failed'",
            ]
        );
        assert_eq!(properties(&unified(), Some(":a:b.slice"), &[], "{}")[1], "Wants=['system.slice']");
        assert!(properties(&hybrid(), None, &[], "{}").contains(&"BlockIOAccounting=true".to_owned()));
    }

    #[test]
    fn limits_outrank_annotations_which_outrank_the_rest() {
        let annotations = [
            ("org.systemd.property.TasksMax", "uint64 5"),
            ("org.systemd.property.CollectMode", "'inactive'"),
            ("other", "x"),
        ];
        let with = properties(&unified(), None, &annotations, r#"{"pids": {"limit": 7}}"#);
        assert_eq!(with[8..], ["CollectMode='inactive'", "TasksMax=uint64 7"]);
    }

    #[test]
    fn on_v1_systemd_is_told_of_device_rules_as_it_writes_their_files_too() {
        let rules = r#"{"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}"#;
        let told = properties(&hybrid(), None, &[], rules);
        assert!(told.contains(&"DevicePolicy='strict'".to_owned()), "{told:?}");
        let devices: Vec<&String> = told.iter().filter(|property| property.starts_with("DeviceAllow=")).collect();
        assert_eq!(devices.len(), 1, "{told:?}");
        for device in ["('block-8', 'r')", "('/dev/char/10:229', 'rw')", "('/dev/char/1:3', 'rwm')"] {
            assert!(devices[0].contains(device), "{device} in {}", devices[0]);
        }
        let everything = properties(&hybrid(), None, &[], r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
        assert!(everything.contains(&"DevicePolicy='auto'".to_owned()), "{everything:?}");
        assert!(!properties(&unified(), None, &[], rules).iter().any(|property| property.starts_with("Device")));
    }

    #[test]
    fn on_v1_systemd_makes_only_its_own_hierarchies() {
        let (plan, _) = planned(&hybrid(), Bus::System, None, &[], "{}");
        let awaited = plan.directories.iter().filter(|directory| plan.is_made_by_systemd(directory));
        let awaited: Vec<_> = awaited.map(|directory| directory.path.display().to_string()).collect();
        let place = "system.slice/minicon-web.scope";
        assert_eq!(awaited, [format!("/sys/fs/cgroup/systemd/{place}"), format!("/sys/fs/cgroup/unified/{place}")]);
    }
}
