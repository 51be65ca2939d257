//! Device rules as the specification has them, and rules and requests to try them with. Written from the text alone:
//! "The runtime MUST apply entries in the listed order" (config-linux.md, "Allowed Device list"), so of the entries that
//! name a device and a kind of access the last decides about that kind; a request for several kinds needs them all.

use std::fmt;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{collection, option};

/// One entry of `linux.resources.devices`.
#[derive(Clone)]
pub struct Entry {
    pub allow: bool,
    /// `a`, `b` or `c`; `a` if none.
    pub kind: Option<char>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: String,
}

/// What a process asks for: bits of `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub block: bool,
    pub major: u32,
    pub minor: u32,
    pub access: u32,
}

pub const MKNOD: u32 = 1;
pub const READ: u32 = 2;
pub const WRITE: u32 = 4;

/// What every container gets beside its entries, unless they end in "everything but": the default devices of
/// config-linux.md, and what runc adds.
const DEFAULTS: &[(&str, Option<u32>, Option<u32>, &str)] = &[
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(136), None, "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(10), Some(200), "rwm"),
];

/// What the entries say about a request.
pub fn allows(entries: &[Entry], asked: &Asked) -> bool {
    let everything = |entry: &&Entry| {
        let all = entry.kind.is_none_or(|kind| kind == 'a') && entry.major.is_none() && entry.minor.is_none();
        all && "rwm".chars().all(|letter| entry.access.contains(letter))
    };
    let everything_but = entries.iter().rfind(everything).is_some_and(|entry| entry.allow);
    let mut granted = 0;
    for bit in [MKNOD, READ, WRITE] {
        let named = entries.iter().rfind(|entry| entry.names(asked, bit));
        let default = DEFAULTS.iter().any(|(kind, major, minor, access)| {
            let entry = Entry {
                allow: true,
                kind: kind.chars().next(),
                major: *major,
                minor: *minor,
                access: (*access).to_owned(),
            };
            entry.names(asked, bit)
        });
        if named.is_some_and(|entry| entry.allow) || (!everything_but && default) {
            granted |= bit;
        }
    }
    asked.access & !granted == 0
}

impl Entry {
    fn names(&self, asked: &Asked, bit: u32) -> bool {
        let kind = match self.kind {
            Some('b') => asked.block,
            Some('c') => !asked.block,
            _ => true,
        };
        let letter =
            [(MKNOD, 'm'), (READ, 'r'), (WRITE, 'w')].iter().any(|(b, l)| *b == bit && self.access.contains(*l));
        let number = |named: Option<u32>, asked| named.is_none_or(|named| named == asked);
        kind && letter && number(self.major, asked.major) && number(self.minor, asked.minor)
    }

    pub fn json(&self) -> serde_json::Value {
        let mut value = serde_json::json!({"allow": self.allow, "access": self.access});
        if let Some(kind) = self.kind {
            value["type"] = kind.to_string().into();
        }
        for (name, number) in [("major", self.major), ("minor", self.minor)] {
            if let Some(number) = number {
                value[name] = number.into();
            }
        }
        value
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.json())
    }
}

pub fn json(entries: &[Entry]) -> serde_json::Value {
    entries.iter().map(Entry::json).collect()
}

/// Entries about few devices, so that they meet; those for everything are rare, because they end the others.
pub fn entries(majors: &'static [u32], minors: &'static [u32]) -> impl Strategy<Value = Vec<Entry>> {
    let kind = prop_oneof![Just(Some('c')), Just(Some('b')), Just(Some('a')), Just(None)];
    let access = prop_oneof![Just("r"), Just("w"), Just("m"), Just("rw"), Just("rm"), Just("wm"), Just("rwm")];
    let number = |numbers: &'static [u32]| option::weighted(0.8, proptest::sample::select(numbers));
    let entry = (any::<bool>(), kind, number(majors), number(minors), access);
    let entry = entry.prop_map(|(allow, kind, major, minor, access)| Entry {
        allow,
        kind,
        major,
        minor,
        access: access.to_owned(),
    });
    collection::vec(entry, 0..12)
}
