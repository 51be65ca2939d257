//! The table of mount options (config.md, "Linux mount options"): what each name does to a mount.
//! `features` lists the same table.

use std::path::Path;

use crate::error::Problem;

use super::ConfigPath;
use super::mounts::Options;

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it names the defaults.
    Nothing,
    /// Sets a `MOUNT_ATTR_*` bit of the mount.
    Set(u64),
    /// Clears one.
    Clear(u64),
    /// Replaces the access-time bits.
    AccessTime(u64),
    /// Takes one back.
    AccessTimeCleared(u64),
    /// The same three for the mount and all below it.
    SetRecursive(u64),
    /// See [`Effect::SetRecursive`].
    ClearRecursive(u64),
    /// See [`Effect::SetRecursive`].
    AccessTimeRecursive(u64),
    /// A flag of the file system itself, by its fsconfig(2) name and its `MS_*` bit.
    Superblock(&'static str, u64),
    /// Clears one.
    SuperblockCleared(&'static str, u64),
    /// An `MS_*` bit that only the classic mount(2) can set.
    Classic(u64),
    /// Clears one.
    ClassicCleared(u64),
    /// The propagation type (`MS_*`), for the mount or for all below it.
    Propagation(u64, Recursion),
    /// A bind mount.
    Bind(Recursion),
    /// Changes an existing mount.
    Remount,
    /// The id-mapped mount of mount_setattr(2).
    IdMap(Recursion),
    /// A tmpfs that starts with what the image has at that place.
    CopyUp,
}

/// Whether what lies below a mount is meant too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recursion {
    /// Only the mount.
    Single,
    /// The mount and all below it.
    Recursive,
}

/// `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attribute {
    #![allow(missing_docs)]
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    pub const ATIME_MASK: u64 = 0x70;
    pub const RELATIME: u64 = 0x0;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const IDMAP: u64 = 0x10_0000;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// `MS_*` of mount(2).
pub mod ms {
    #![allow(missing_docs)]
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    pub const SYNCHRONOUS: u64 = 0x10;
    pub const REMOUNT: u64 = 0x20;
    pub const MANDLOCK: u64 = 0x40;
    pub const DIRSYNC: u64 = 0x80;
    pub const NOSYMFOLLOW: u64 = 0x100;
    pub const NOATIME: u64 = 0x400;
    pub const NODIRATIME: u64 = 0x800;
    pub const BIND: u64 = 0x1000;
    pub const REC: u64 = 0x4000;
    pub const SILENT: u64 = 0x8000;
    pub const UNBINDABLE: u64 = 1 << 17;
    pub const PRIVATE: u64 = 1 << 18;
    pub const SLAVE: u64 = 1 << 19;
    pub const SHARED: u64 = 1 << 20;
    pub const RELATIME: u64 = 1 << 21;
    pub const I_VERSION: u64 = 1 << 23;
    pub const STRICTATIME: u64 = 1 << 24;
    pub const LAZYTIME: u64 = 1 << 25;
}

use Effect::{
    AccessTime, AccessTimeCleared, AccessTimeRecursive, Bind, Classic, ClassicCleared, Clear, ClearRecursive, CopyUp,
    IdMap, Nothing, Propagation, Remount, Set, SetRecursive, Superblock, SuperblockCleared,
};
use Recursion::{Recursive, Single};
use attribute::{NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, RELATIME, STRICTATIME};

/// Every option that is not handed to the file system, sorted by name. As with mount(8), `atime` and its like only take
/// back another option: a new mount has the kernel's default then, which is relatime, a bind mount what its source has.
pub const TABLE: &[(&str, Effect)] = &[
    ("async", SuperblockCleared("async", ms::SYNCHRONOUS)),
    ("atime", AccessTimeCleared(NOATIME)),
    ("bind", Bind(Single)),
    ("defaults", Nothing),
    ("dev", Clear(NODEV)),
    ("diratime", Clear(NODIRATIME)),
    ("dirsync", Superblock("dirsync", ms::DIRSYNC)),
    ("exec", Clear(NOEXEC)),
    ("idmap", IdMap(Single)),
    ("iversion", Classic(ms::I_VERSION)),
    ("lazytime", Superblock("lazytime", ms::LAZYTIME)),
    ("loud", ClassicCleared(ms::SILENT)),
    ("mand", Superblock("mand", ms::MANDLOCK)),
    ("noatime", AccessTime(NOATIME)),
    ("nodev", Set(NODEV)),
    ("nodiratime", Set(NODIRATIME)),
    ("noexec", Set(NOEXEC)),
    ("noiversion", ClassicCleared(ms::I_VERSION)),
    ("nolazytime", SuperblockCleared("nolazytime", ms::LAZYTIME)),
    ("nomand", SuperblockCleared("nomand", ms::MANDLOCK)),
    ("norelatime", AccessTimeCleared(RELATIME)),
    ("nostrictatime", AccessTimeCleared(STRICTATIME)),
    ("nosuid", Set(NOSUID)),
    ("nosymfollow", Set(NOSYMFOLLOW)),
    ("private", Propagation(ms::PRIVATE, Single)),
    ("ratime", AccessTimeRecursive(RELATIME)),
    ("rbind", Bind(Recursive)),
    ("rdev", ClearRecursive(NODEV)),
    ("rdiratime", ClearRecursive(NODIRATIME)),
    ("relatime", AccessTime(RELATIME)),
    ("remount", Remount),
    ("rexec", ClearRecursive(NOEXEC)),
    ("ridmap", IdMap(Recursive)),
    ("rnoatime", AccessTimeRecursive(NOATIME)),
    ("rnodev", SetRecursive(NODEV)),
    ("rnodiratime", SetRecursive(NODIRATIME)),
    ("rnoexec", SetRecursive(NOEXEC)),
    ("rnorelatime", AccessTimeRecursive(RELATIME)),
    ("rnostrictatime", AccessTimeRecursive(RELATIME)),
    ("rnosuid", SetRecursive(NOSUID)),
    ("rnosymfollow", SetRecursive(NOSYMFOLLOW)),
    ("ro", Set(RDONLY)),
    ("rprivate", Propagation(ms::PRIVATE, Recursive)),
    ("rrelatime", AccessTimeRecursive(RELATIME)),
    ("rro", SetRecursive(RDONLY)),
    ("rrw", ClearRecursive(RDONLY)),
    ("rshared", Propagation(ms::SHARED, Recursive)),
    ("rslave", Propagation(ms::SLAVE, Recursive)),
    ("rstrictatime", AccessTimeRecursive(STRICTATIME)),
    ("rsuid", ClearRecursive(NOSUID)),
    ("rsymfollow", ClearRecursive(NOSYMFOLLOW)),
    ("runbindable", Propagation(ms::UNBINDABLE, Recursive)),
    ("rw", Clear(RDONLY)),
    ("shared", Propagation(ms::SHARED, Single)),
    ("silent", Classic(ms::SILENT)),
    ("slave", Propagation(ms::SLAVE, Single)),
    ("strictatime", AccessTime(STRICTATIME)),
    ("suid", Clear(NOSUID)),
    ("symfollow", Clear(NOSYMFOLLOW)),
    ("sync", Superblock("sync", ms::SYNCHRONOUS)),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagation(ms::UNBINDABLE, Single)),
];

/// Reads the options of one mount. What the table does not know goes to the file system as `key` or `key=value`.
pub fn read(names: &[String], at: ConfigPath, destination: &Path, problems: &mut Vec<Problem>) -> Options {
    let mut options = Options::default();
    for name in names.iter().filter(|name| !name.is_empty()) {
        match TABLE.binary_search_by_key(&name.as_str(), |(known, _)| known) {
            Ok(found) => apply(TABLE[found].1, &mut options),
            Err(_) => options.data.extend(parts(name).into_iter().map(key_and_value)),
        }
        if name.contains('\0') {
            problems.push(Problem::new(at, format!("an option of {} holds a NUL byte", destination.display())));
        }
    }
    options
}

/// "Runtimes SHOULD treat unknown options as filesystem-specific ones and pass those as a comma-separated string"
/// (config.md, Linux mount options): so one entry may hold several. A comma in quotes or after a backslash is no end.
fn parts(entry: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (place, letter) in entry.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&entry[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&entry[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Quotes keep the commas of a SELinux context from the parser of mount(2); fsconfig(2) takes the bare value.
fn key_and_value(part: &str) -> (String, Option<String>) {
    match part.split_once('=') {
        Some((key, value)) => {
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            (key.to_owned(), Some(bare.to_owned()))
        }
        None => (part.to_owned(), None),
    }
}

/// The latest option wins, as in mount(8).
fn apply(effect: Effect, options: &mut Options) {
    options.names_own |= matches!(effect, Set(_) | Clear(_) | AccessTime(_) | AccessTimeCleared(_));
    match effect {
        Nothing => {}
        Set(bit) => options.own.set(bit),
        Clear(bit) => options.own.clear(bit),
        AccessTime(mode) => options.own.set_access_time(mode),
        AccessTimeCleared(mode) => options.own.clear_access_time(mode),
        SetRecursive(bit) => options.below.set(bit),
        ClearRecursive(bit) => options.below.clear(bit),
        AccessTimeRecursive(mode) => options.below.set_access_time(mode),
        Superblock(name, bit) => {
            options.superblock.push(name);
            options.classic_flags |= bit;
        }
        SuperblockCleared(name, bit) => {
            options.superblock.push(name);
            options.classic_flags &= !bit;
        }
        Classic(bit) => {
            options.classic_flags |= bit;
            options.classic = true;
        }
        ClassicCleared(bit) => options.classic_flags &= !bit,
        Propagation(kind, recursion) => options.propagation.push((kind, recursion == Recursive)),
        Bind(recursion) => options.bind = Some(recursion),
        Remount => options.remount = true,
        IdMap(recursion) => options.id_map = Some(recursion),
        CopyUp => options.copy_up = true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(TABLE.is_sorted_by(|one, other| one.0 < other.0));
    }

    #[test]
    fn the_latest_option_wins() {
        let names = ["ro", "nodev", "rw", "size=1k"].map(str::to_owned);
        let options = read(&names, ConfigPath::new("mounts").index(0), Path::new("/x"), &mut Vec::new());
        assert_eq!((options.own.set, options.own.clear), (NODEV, RDONLY));
        assert_eq!(options.data, [("size".to_owned(), Some("1k".to_owned()))]);
        for (set, cleared) in [
            ("sync", "async"),
            ("lazytime", "nolazytime"),
            ("mand", "nomand"),
            ("silent", "loud"),
            ("iversion", "noiversion"),
        ] {
            assert_ne!(options_of(&[set]).classic_flags, 0, "{set}");
            assert_eq!(options_of(&[set, cleared]).classic_flags, 0, "{cleared}");
        }
    }

    fn options_of(names: &[&str]) -> Options {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        read(&names, ConfigPath::new("mounts").index(0), Path::new("/x"), &mut Vec::new())
    }

    /// "Runtimes MUST/SHOULD/MAY implement the following option strings for Linux" (config.md, Linux mount options).
    #[test]
    fn the_table_has_every_option_of_the_specification() {
        let names = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
            nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime \
            rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime \
            rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable \
            rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap";
        let mut names: Vec<&str> = names.split_whitespace().collect();
        names.sort_unstable();
        assert_eq!(TABLE.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn unknown_options_are_the_file_systems() {
        let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        let options = options_of(&["mode=755,size=1k", "acl", r#"context="a:b:c1,c2",x"#, r"lowerdir=/a\,b:/c"]);
        let expected = [
            pair("mode", Some("755")),
            pair("size", Some("1k")),
            pair("acl", None),
            pair("context", Some("a:b:c1,c2")),
            pair("x", None),
            pair("lowerdir", Some(r"/a\,b:/c")),
        ];
        assert_eq!(options.data, expected);
        assert_eq!(options.data_string(), r#"mode=755,size=1k,acl,context="a:b:c1,c2",x,lowerdir=/a\,b:/c"#);
    }
}
