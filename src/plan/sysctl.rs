//! `linux.sysctl`: kernel parameters of the container's own namespaces.

use std::path::{Component, Path};

use oci_spec::runtime::Linux;

use super::namespaces::{Kind, Namespaces};
use crate::error::Problem;

/// A kernel parameter to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// The file below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub file: String,
    /// What to write.
    pub value: String,
    /// The kind of namespace that it belongs to.
    pub namespace: Kind,
}

/// The parameters of the System V IPC namespace, see ipc_namespaces(7).
const IPC: [&str; 9] =
    ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "auto_msgmni"];

/// Decides the parameters, sorted by name. One that is not of a namespace of the container would change the host.
pub fn plan(linux: Option<&Linux>, namespaces: &Namespaces, problems: &mut Vec<Problem>) -> Vec<Sysctl> {
    let mut sysctls = Vec::new();
    for (name, value) in linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten() {
        let file = as_file(name);
        if !Path::new(&file).components().all(|component| matches!(component, Component::Normal(_))) {
            problems.push(Problem::new("linux.sysctl", format!("{name:?} is no name of a kernel parameter")));
            continue;
        }
        match owner(&file) {
            Some(namespace) if namespaces.has(namespace) => {
                sysctls.push(Sysctl { file, value: value.clone(), namespace });
            }
            Some(kind) => {
                let message =
                    format!("{name} is the host's: add {{\"type\": \"{}\"}} to linux.namespaces", kind.name());
                problems.push(Problem::new("linux.sysctl", message));
            }
            None => {
                let message = format!("{name} is not in a separate kernel namespace, it would change the host");
                problems.push(Problem::new("linux.sysctl", message));
            }
        }
    }
    sysctls.sort_by(|one, other| one.file.cmp(&other.file));
    sysctls
}

/// sysctl(8): dots and slashes separate; whichever comes first does, and the other stands for a dot in a name
/// (`net.ipv4.conf.eth0/1.forwarding` is `net/ipv4/conf/eth0.1/forwarding`).
fn as_file(name: &str) -> String {
    match name.find(['.', '/']).map(|first| name.as_bytes()[first]) {
        Some(b'.') => name
            .chars()
            .map(|letter| {
                if letter == '.' {
                    '/'
                } else if letter == '/' {
                    '.'
                } else {
                    letter
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn owner(file: &str) -> Option<Kind> {
    match file.split_once('/') {
        Some(("net", _)) => Some(Kind::Network),
        Some(("fs", rest)) if rest.starts_with("mqueue/") => Some(Kind::Ipc),
        Some(("kernel", name)) if IPC.contains(&name) => Some(Kind::Ipc),
        Some(("kernel", "hostname" | "domainname")) => Some(Kind::Uts),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_swap() {
        assert_eq!(as_file("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(as_file("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(owner(&as_file("kernel.shmmax")), Some(Kind::Ipc));
        assert_eq!(owner(&as_file("kernel.core_pattern")), None);
    }
}
