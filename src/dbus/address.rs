//! Server addresses: `unix:path=/run/user/1000/bus,guid=…;unix:abstract=…` (specification, Server Addresses).

use std::fmt;
use std::path::PathBuf;

/// Where a bus listens. Only local sockets: systemd has no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Path(PathBuf),
    /// A socket in the abstract namespace, see unix(7).
    Abstract(Vec<u8>),
}

/// The addresses of a list that can be connected to, in order; the others are of kinds that we do not speak.
pub fn parse(list: &str) -> Vec<Address> {
    list.split(';').filter_map(parse_one).collect()
}

fn parse_one(address: &str) -> Option<Address> {
    let pairs = address.trim().strip_prefix("unix:")?;
    let value = |wanted: &str| {
        let mut pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == wanted).and_then(|(_, value)| unescape(value)).filter(|value| !value.is_empty())
    };
    let path = || {
        use std::os::unix::ffi::OsStringExt;
        Some(Address::Path(std::ffi::OsString::from_vec(value("path")?).into()))
    };
    path().or_else(|| value("abstract").map(Address::Abstract))
}

/// `%20` stands for a blank.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first == b'%' {
            let (digits, others) = rest.split_at_checked(2)?;
            plain.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = others;
        } else {
            plain.push(*first);
        }
    }
    Some(plain)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => path.display().fmt(f),
            Address::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let path = |path: &str| Address::Path(path.into());
        let abstract_name = |name: &str| Address::Abstract(name.as_bytes().to_vec());
        for (list, expected) in [
            ("unix:path=/run/user/1000/bus", vec![path("/run/user/1000/bus")]),
            ("unix:guid=1f,path=/a%20b%2Fc", vec![path("/a b/c")]),
            ("unix:abstract=/tmp/dbus-x,guid=1f", vec![abstract_name("/tmp/dbus-x")]),
            ("tcp:host=localhost,port=1;unix:path=/b; unix:abstract=c", vec![path("/b"), abstract_name("c")]),
            ("unixexec:path=/bin/x", vec![]),
            ("unix:path=%zz;unix:path=%1;unix:path=;unix:;;", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse(list), expected, "{list}");
        }
    }
}
