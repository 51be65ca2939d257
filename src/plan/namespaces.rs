//! Which namespaces the container gets: new ones, existing ones joined by path, or the caller's.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec};

use super::ConfigPath;
use crate::error::Problem;

/// The namespaces of a container, decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The kinds to create.
    pub new: Vec<Kind>,
    /// The namespaces to join, in the order of the configuration.
    pub join: Vec<Join>,
    /// The id maps of a new user namespace.
    pub uid_map: Vec<IdMap>,
    /// See `uid_map`.
    pub gid_map: Vec<IdMap>,
    /// Lines for `/proc/PID/timens_offsets`, see time_namespaces(7).
    pub time_offsets: Vec<String>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `domainname`.
    pub domainname: Option<String>,
}

/// A kind of namespace, see namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Kind {
    User,
    Pid,
    Mount,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Time,
}

/// An existing namespace to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// What the configuration says that it is; checked against what it really is.
    pub kind: Kind,
    /// An absolute path in the runtime's mount namespace.
    pub path: PathBuf,
    /// Its place in the configuration.
    pub at: ConfigPath,
}

/// A line of `/proc/PID/uid_map`, see user_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

impl IdMap {
    /// The id outside for one inside, if this line has it.
    pub fn outside_of(&self, inside: u32) -> Option<u32> {
        let offset = inside.checked_sub(self.inside).filter(|offset| *offset < self.size)?;
        self.outside.checked_add(offset)
    }
}

impl Kind {
    /// Every kind, in the order in which the manual lists them.
    pub const ALL: [Kind; 8] =
        [Kind::Cgroup, Kind::Ipc, Kind::Network, Kind::Mount, Kind::Pid, Kind::Time, Kind::User, Kind::Uts];

    /// The `CLONE_NEW*` bit.
    pub const fn flag(self) -> u32 {
        match self {
            Kind::Time => 0x80,
            Kind::Mount => 0x2_0000,
            Kind::Cgroup => 0x200_0000,
            Kind::Uts => 0x400_0000,
            Kind::Ipc => 0x800_0000,
            Kind::User => 0x1000_0000,
            Kind::Pid => 0x2000_0000,
            Kind::Network => 0x4000_0000,
        }
    }

    /// The name in `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Pid => "pid",
            Kind::Mount => "mount",
            Kind::Network => "network",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
        }
    }

    /// The name in `/proc/PID/ns`.
    pub const fn proc_name(self) -> &'static str {
        match self {
            Kind::Mount => "mnt",
            Kind::Network => "net",
            other => other.name(),
        }
    }
}

impl From<LinuxNamespaceType> for Kind {
    fn from(kind: LinuxNamespaceType) -> Self {
        match kind {
            LinuxNamespaceType::Mount => Kind::Mount,
            LinuxNamespaceType::Cgroup => Kind::Cgroup,
            LinuxNamespaceType::Uts => Kind::Uts,
            LinuxNamespaceType::Ipc => Kind::Ipc,
            LinuxNamespaceType::User => Kind::User,
            LinuxNamespaceType::Pid => Kind::Pid,
            LinuxNamespaceType::Network => Kind::Network,
            LinuxNamespaceType::Time => Kind::Time,
        }
    }
}

impl Namespaces {
    /// Whether this kind is created.
    pub fn creates(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    /// Whether this kind is joined by path.
    pub fn joins(&self, kind: Kind) -> bool {
        self.join.iter().any(|join| join.kind == kind)
    }

    /// Whether the container has a namespace of this kind that is not the caller's.
    pub fn has(&self, kind: Kind) -> bool {
        self.creates(kind) || self.joins(kind)
    }
}

/// Decides the namespaces.
pub fn plan(spec: &Spec, problems: &mut Vec<Problem>) -> Namespaces {
    let mut namespaces = Namespaces::default();
    let Some(linux) = spec.linux() else { return namespaces };
    for (index, entry) in linux.namespaces().iter().flatten().enumerate() {
        let at = ConfigPath::new("linux.namespaces").index(index);
        let kind = Kind::from(entry.typ());
        if namespaces.has(kind) {
            // "Runtimes MUST generate an error if the namespaces array contains duplicate entries of the same type."
            let message = format!("malformed spec file: duplicated ns {:?}: each type may appear once", kind.name());
            problems.push(Problem::new(at.field("type"), message));
            continue;
        }
        match entry.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => namespaces.new.push(kind),
            // "This value MUST be an absolute path in the runtime mount namespace."
            Some(path) if path.is_relative() => {
                let message = format!("must be an absolute path, not {path:?}");
                problems.push(Problem::new(at.field("path"), message));
                namespaces.join.push(Join { kind, path: path.clone(), at });
            }
            Some(path) => namespaces.join.push(Join { kind, path: path.clone(), at }),
        }
    }
    plan_id_maps(linux, &mut namespaces, problems);
    plan_time_offsets(linux, &mut namespaces, problems);
    plan_names(spec, &mut namespaces, problems);
    namespaces
}

impl Namespaces {
    /// How far the container's CLOCK_MONOTONIC is ahead of the host's, in seconds and nanoseconds.
    pub fn clock_offset(&self) -> Option<(i64, i64)> {
        let line = self.time_offsets.iter().find_map(|line| line.strip_prefix("monotonic "))?;
        let (seconds, nanoseconds) = line.split_once(' ')?;
        Some((seconds.parse().ok()?, nanoseconds.parse().ok()?))
    }
}

fn plan_id_maps(linux: &Linux, namespaces: &mut Namespaces, problems: &mut Vec<Problem>) {
    namespaces.uid_map = id_map(linux.uid_mappings().as_deref());
    namespaces.gid_map = id_map(linux.gid_mappings().as_deref());
    for (name, map) in [("linux.uidMappings", &namespaces.uid_map), ("linux.gidMappings", &namespaces.gid_map)] {
        let at = ConfigPath::new(name);
        if namespaces.creates(Kind::User) && map.is_empty() {
            problems.push(Problem::new(at, "a new user namespace needs at least one mapping"));
        }
        if !map.is_empty() && !namespaces.has(Kind::User) {
            problems.push(Problem::new(at, "needs a user namespace: add {\"type\": \"user\"} to linux.namespaces"));
        }
        // The kernel's limit since Linux 4.15, user_namespaces(7).
        if map.len() > 340 {
            problems.push(Problem::new(at, format!("has {} lines, the kernel takes at most 340", map.len())));
        }
    }
    // The maps describe a namespace that somebody else has made already.
    if namespaces.joins(Kind::User) {
        namespaces.uid_map.clear();
        namespaces.gid_map.clear();
    }
}

/// The id mappings of the configuration, also of a mount.
pub fn id_map(mappings: Option<&[LinuxIdMapping]>) -> Vec<IdMap> {
    let line = |map: &LinuxIdMapping| IdMap { inside: map.container_id(), outside: map.host_id(), size: map.size() };
    mappings.unwrap_or_default().iter().map(line).collect()
}

fn plan_time_offsets(linux: &Linux, namespaces: &mut Namespaces, problems: &mut Vec<Problem>) {
    let at = ConfigPath::new("linux.timeOffsets");
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return };
    if !namespaces.creates(Kind::Time) {
        problems.push(Problem::new(at, "needs a new time namespace: add {\"type\": \"time\"} to linux.namespaces"));
        return;
    }
    for (clock, offset) in offsets {
        if clock != "boottime" && clock != "monotonic" {
            problems.push(Problem::new(at, format!("unknown clock {clock:?}: it is \"boottime\" or \"monotonic\"")));
            continue;
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        namespaces.time_offsets.push(format!("{clock} {seconds} {nanoseconds}"));
    }
    namespaces.time_offsets.sort();
}

fn plan_names(spec: &Spec, namespaces: &mut Namespaces, problems: &mut Vec<Problem>) {
    let given = |name: &Option<String>| name.as_ref().filter(|name| !name.is_empty()).cloned();
    namespaces.hostname = given(spec.hostname());
    namespaces.domainname = given(spec.domainname());
    for (name, value) in [("hostname", &namespaces.hostname), ("domainname", &namespaces.domainname)] {
        if value.is_some() && !namespaces.has(Kind::Uts) {
            let message =
                "needs a UTS namespace, it would change the host's: add {\"type\": \"uts\"} to linux.namespaces";
            problems.push(Problem::new(ConfigPath::new(name), message));
        }
        // HOST_NAME_MAX, see sethostname(2).
        if value.as_ref().is_some_and(|value| value.len() > 64) {
            problems.push(Problem::new(ConfigPath::new(name), "is longer than 64 bytes"));
        }
    }
}
