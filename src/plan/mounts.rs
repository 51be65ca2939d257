//! `mounts[]`: from entries of the configuration to mounts with every option decided.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec;

use super::mount_options::{self, Recursion, attribute, ms};
use super::namespaces::{IdMap, Kind, Namespaces, id_map};
use super::{ConfigPath, Host, Request};
use crate::error::Problem;

/// One mount, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, below the container's root, without `.` and `..`.
    pub destination: PathBuf,
    /// What is mounted.
    pub source: Source,
    /// How.
    pub options: Options,
    /// The runtime makes this mount and hands it over: init's user namespace could not, or may not see the source.
    pub by_runtime: bool,
    /// The destination must be an ordinary directory, no symbolic link may lead there (CVE-2019-19921, CVE-2023-27561).
    pub no_symlinks: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or directory of the host.
    Bind {
        /// Absolute, in the runtime's mount namespace.
        path: PathBuf,
        /// With everything mounted below it.
        recursive: bool,
    },
    /// The container's directory in a cgroup hierarchy, with all below it.
    OwnCgroup {
        /// Where the runtime makes it, if it may.
        path: PathBuf,
        /// Where the container stays if it may not.
        instead: PathBuf,
    },
    /// A new instance of a file system.
    Filesystem {
        /// The type, as in /proc/filesystems.
        kind: String,
        /// The device, or a dummy.
        device: String,
    },
    /// What is mounted there already; only its options change.
    Existing,
}

impl Source {
    /// What of the host is bound, if anything, and whether with all below it. Only who acts can say what `exists`.
    pub fn bound(&self, exists: impl Fn(&Path) -> bool) -> Option<(&Path, bool)> {
        match self {
            Source::Bind { path, recursive } => Some((path, *recursive)),
            Source::OwnCgroup { path, instead } => Some((if exists(path) { path } else { instead }, true)),
            Source::Filesystem { .. } | Source::Existing => None,
        }
    }
}

/// The options of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Attributes of the mount itself.
    pub own: Change,
    /// Whether one is named, be it only to clear it.
    pub names_own: bool,
    /// Attributes that a bind mount loses because others are named.
    pub unnamed: u64,
    /// Attributes of the mount and all below it.
    pub below: Change,
    /// Flags of the file system, by their fsconfig(2) names.
    pub superblock: Vec<&'static str>,
    /// The same as `MS_*` bits, and those that only mount(2) knows.
    pub classic_flags: u64,
    /// Only the classic mount(2) can do it.
    pub classic: bool,
    /// Propagation changes (`MS_*`, recursive), in order.
    pub propagation: Vec<(u64, bool)>,
    /// Options for the file system.
    pub data: Vec<(String, Option<String>)>,
    /// `bind` or `rbind`.
    pub bind: Option<Recursion>,
    /// `remount`.
    pub remount: bool,
    /// `idmap` or `ridmap`.
    pub id_map: Option<Recursion>,
    /// The mappings of an id-mapped mount; empty for those of the container's user namespace.
    pub mappings: (Vec<IdMap>, Vec<IdMap>),
    /// `tmpcopyup`.
    pub copy_up: bool,
}

/// A change of mount attributes (`MOUNT_ATTR_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear first.
    pub clear: u64,
}

impl Change {
    /// Sets a bit.
    pub fn set(&mut self, bit: u64) {
        self.set |= bit;
        self.clear &= !bit;
    }

    /// Clears a bit.
    pub fn clear(&mut self, bit: u64) {
        self.set &= !bit;
        self.clear |= bit;
    }

    /// Replaces the access-time mode, which is a field of several bits.
    pub fn set_access_time(&mut self, mode: u64) {
        self.clear |= attribute::ATIME_MASK;
        self.set = self.set & !attribute::ATIME_MASK | mode;
    }

    /// Takes an access-time mode back, if it is the one that counts: what was or is the default remains.
    pub fn clear_access_time(&mut self, mode: u64) {
        if self.clear & attribute::ATIME_MASK != 0 && self.set & attribute::ATIME_MASK == mode {
            self.set &= !attribute::ATIME_MASK;
            self.clear &= !attribute::ATIME_MASK;
        }
    }

    /// Whether anything changes.
    pub fn is_some(self) -> bool {
        self.set | self.clear != 0
    }
}

/// What the mounts of another user namespace keep, see mount_namespaces(7), "Restrictions on mount namespaces".
pub const LOCKABLE: u64 = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;

impl Options {
    /// A bind mount has the flags of its source until one is named; then it has those that are named, as the remount of
    /// mount(8), runc and crun makes it. Only the access time stays unless another one is named. In a new user namespace the
    /// flags of the source are kept too, as they cannot be cleared there.
    fn replace_flags_of_source(&mut self, in_user_namespace: bool) {
        if !self.names_own {
            return;
        }
        match self.own.clear & attribute::ATIME_MASK != 0 || self.own.set & attribute::NODIRATIME != 0 {
            true => self.own.clear |= attribute::ATIME_MASK | attribute::NODIRATIME & !self.own.set,
            false => self.own.clear &= !attribute::NODIRATIME,
        }
        let replaced = if in_user_namespace { attribute::NOSYMFOLLOW } else { LOCKABLE | attribute::NOSYMFOLLOW };
        self.unnamed = replaced & !(self.own.set | self.own.clear);
    }

    /// The whole as `MS_*` flags for mount(2).
    pub fn as_classic_flags(&self) -> u64 {
        const PAIRS: [(u64, u64); 8] = [
            (attribute::RDONLY, ms::RDONLY),
            (attribute::NOSUID, ms::NOSUID),
            (attribute::NODEV, ms::NODEV),
            (attribute::NOEXEC, ms::NOEXEC),
            (attribute::NOATIME, ms::NOATIME),
            (attribute::STRICTATIME, ms::STRICTATIME),
            (attribute::NODIRATIME, ms::NODIRATIME),
            (attribute::NOSYMFOLLOW, ms::NOSYMFOLLOW),
        ];
        let mut flags = self.classic_flags;
        for (attribute, flag) in PAIRS {
            if self.own.set & attribute != 0 {
                flags |= flag;
            }
        }
        if self.own.clear & attribute::ATIME_MASK != 0 && self.own.set & attribute::ATIME_MASK == 0 {
            flags |= ms::RELATIME;
        }
        flags
    }

    /// The options for the file system as one string for mount(2).
    pub fn data_string(&self) -> String {
        let one = |(key, value): &(String, Option<String>)| match value {
            // The kernel's parser takes quotes around a label, whose categories are separated by commas.
            Some(value) if key.ends_with("context") && value.contains(',') => format!("{key}=\"{value}\""),
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        };
        self.data.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

/// The entries of `mounts`, each with its place. A `cgroup` entry is left to [`super::rootfs`], which knows the host's
/// hierarchies; it comes out as a file system of type `cgroup`.
pub fn plan(
    spec: &Spec,
    request: &Request<'_>,
    host: &Host,
    namespaces: &Namespaces,
    problems: &mut Vec<Problem>,
) -> Vec<(Mount, ConfigPath)> {
    let mut mounts = Vec::new();
    for (index, entry) in spec.mounts().iter().flatten().enumerate() {
        let at = ConfigPath::new("mounts").index(index);
        let Some(destination) = absolute(entry.destination()) else {
            problems.push(Problem::new(at.field("destination"), "must be a path inside the container"));
            continue;
        };
        let mut options = mount_options::read(
            entry.options().as_deref().unwrap_or_default(),
            at.field("options"),
            &destination,
            problems,
        );
        options.mappings = (id_map(entry.uid_mappings().as_deref()), id_map(entry.gid_mappings().as_deref()));
        plan_id_map(&mut options, namespaces, at, problems);
        let kind = entry.typ().as_deref().unwrap_or_default();
        let source = entry.source().as_deref();
        let Some(source) = plan_source(kind, source, &options, request, at, problems) else { continue };
        let is_bind = matches!(source, Source::Bind { .. });
        if is_bind {
            options.replace_flags_of_source(namespaces.has(Kind::User));
        }
        options.classic |= !is_bind && needs_classic_call(&options);
        let no_symlinks = matches!(kind, "proc" | "sysfs");
        let by_runtime = is_bind && (host.mounts_for(namespaces) || options.id_map.is_some());
        mounts.push((Mount { destination, source, options, by_runtime, no_symlinks }, at));
    }
    mounts
}

/// A plain bind mount that the runtime adds.
pub fn bind(source: &Path, destination: &str, by_runtime: bool) -> super::rootfs::What {
    super::rootfs::What::Mount(Box::new(Mount {
        destination: destination.into(),
        source: Source::Bind { path: source.to_owned(), recursive: false },
        options: Options::default(),
        by_runtime,
        no_symlinks: false,
    }))
}

fn plan_source(
    kind: &str,
    source: Option<&Path>,
    options: &Options,
    request: &Request<'_>,
    at: ConfigPath,
    problems: &mut Vec<Problem>,
) -> Option<Source> {
    if options.remount {
        return Some(Source::Existing);
    }
    // "bind: for bind mounts, type is a dummy, often none"; engines write type "bind" and may leave the option out.
    if options.bind.is_some() || kind == "bind" || kind == "rbind" {
        let Some(path) = source.filter(|path| !path.as_os_str().is_empty()) else {
            problems.push(Problem::new(at.field("source"), "a bind mount needs a source path"));
            return None;
        };
        let recursive = options.bind == Some(Recursion::Recursive) || kind == "rbind";
        // A relative source is relative to the bundle, as runc has it.
        return Some(Source::Bind { path: request.bundle.join(path), recursive });
    }
    if kind.is_empty() {
        problems.push(Problem::new(at.field("type"), "a mount that is no bind mount needs a type"));
        return None;
    }
    let device = source.and_then(Path::to_str).filter(|source| !source.is_empty()).unwrap_or(kind);
    Some(Source::Filesystem { kind: kind.to_owned(), device: device.to_owned() })
}

/// "uidMappings … gidMappings: If one is specified, the other MUST be specified as well", config.md.
fn plan_id_map(options: &mut Options, namespaces: &Namespaces, at: ConfigPath, problems: &mut Vec<Problem>) {
    let (uid, gid) = &options.mappings;
    if uid.is_empty() != gid.is_empty() {
        problems.push(Problem::new(at, "uidMappings and gidMappings must be given together"));
    }
    if !uid.is_empty() && options.id_map.is_none() {
        options.id_map = Some(Recursion::Single);
    }
    // "If there are no uidMappings and gidMappings specified and the container isn't using user namespaces, an error MUST
    // be returned" (config.md, Linux mount options).
    if options.id_map.is_some() && uid.is_empty() && !namespaces.has(Kind::User) {
        problems.push(Problem::new(at, "an id-mapped mount needs uidMappings and gidMappings, or a user namespace"));
    }
    if options.id_map.is_some() && options.bind.is_none() {
        problems.push(Problem::new(
            at.field("options"),
            "idmap is possible for bind mounts only: add \"bind\" or \"rbind\"",
        ));
    }
}

/// fsconfig(2) takes values of at most 255 bytes, which the lower directories of an overlay exceed.
fn needs_classic_call(options: &Options) -> bool {
    options.data.iter().any(|(key, value)| key.len() > 255 || value.as_ref().is_some_and(|value| value.len() > 255))
}

/// The path in the container's root that a configuration names: "relative paths are relative to `/`" (config.md), and
/// `..` does not lead out. None if it is empty.
pub fn absolute(path: &Path) -> Option<PathBuf> {
    if path.as_os_str().is_empty() {
        return None;
    }
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_stays_inside() {
        assert_eq!(absolute(Path::new("a/../../b/./c")), Some(PathBuf::from("/b/c")));
        assert_eq!(absolute(Path::new("")), None);
    }

    #[test]
    fn classic_flags_follow_the_attributes() {
        let mut options = Options::default();
        options.own.set(attribute::NODEV);
        options.own.set_access_time(attribute::STRICTATIME);
        assert_eq!(options.as_classic_flags(), ms::NODEV | ms::STRICTATIME);
    }
}
