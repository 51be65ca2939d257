//! DECIDE what criu is told about a container beside its processes: mounts that it must not save because they are the
//! host's, and the options of the command line as the fields of its request.

use std::path::PathBuf;

use super::rootfs::{Rootfs, What};
use crate::error::{Error, Result};

/// A mount whose content is the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Where it is in the container.
    pub destination: PathBuf,
    /// What is mounted there, on the host.
    pub source: PathBuf,
}

/// The bind mounts of a container, and the device nodes that are bound.
pub fn externals(rootfs: &Rootfs) -> Vec<External> {
    let external = |what: &What| match what {
        // A cgroup that could not be made is one of an engine without the rights that criu needs.
        What::Mount(mount) => {
            let (source, _) = mount.source.bound(|_| true)?;
            Some(External { destination: mount.destination.clone(), source: source.to_owned() })
        }
        What::Node(node) if node.bind => Some(External { destination: node.path.clone(), source: node.path.clone() }),
        _ => None,
    };
    rootfs.furnish.iter().filter_map(|step| external(&step.what)).collect()
}

/// The masked paths of a container; files among them are covered with its null device.
pub fn masks(rootfs: &Rootfs) -> impl Iterator<Item = &PathBuf> {
    rootfs.finish.iter().filter_map(|step| match &step.what {
        What::Mask(path) => Some(path),
        _ => None,
    })
}

/// `criu_cg_mode` of criu's protocol. Without a mode criu has a default of its own.
pub fn cgroup_mode(name: Option<&str>) -> Result<i64> {
    match name.unwrap_or_default() {
        "ignore" => Ok(0),
        "soft" => Ok(3),
        "full" => Ok(4),
        "strict" => Ok(5),
        "" => Ok(6),
        other => Err(Error::new(format!("invalid manage-cgroups-mode value: {other:?}"))
            .hint("it is soft, full, strict or ignore")),
    }
}

/// `criu_network_lock_method` of criu's protocol.
pub fn network_lock(name: &str) -> Result<i64> {
    match name {
        "iptables" => Ok(1),
        "nftables" => Ok(2),
        "skip" => Ok(3),
        other => Err(Error::new(format!("invalid --network-lock: {other:?}")).hint("it is iptables, nftables or skip")),
    }
}

/// `ADDRESS:PORT`, an IPv6 address in brackets.
pub fn page_server(text: &str) -> Result<(String, u16)> {
    let split = text.rsplit_once(':').filter(|(address, _)| !address.is_empty());
    let (address, port) = split.ok_or_else(|| Error::new("Use --page-server ADDRESS:PORT to specify page server"))?;
    let port = port.parse().map_err(|_| Error::new("Invalid port number"))?;
    Ok((address.trim_matches(['[', ']']).to_owned(), port))
}

/// `--empty-ns` knows the network namespace, which is always left empty: hooks or the engine fill it.
pub fn check_empty_namespaces(names: &[String]) -> Result<()> {
    match names.iter().find(|name| *name != "network") {
        Some(other) => Err(Error::new(format!("namespace {other:?} is not supported")).hint("--empty-ns network")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{cgroup_mode, check_empty_namespaces, network_lock, page_server};

    #[test]
    fn options_of_the_command_line_are_checked() {
        assert_eq!(page_server("10.0.0.1:99").expect("both"), ("10.0.0.1".to_owned(), 99));
        assert_eq!(page_server("[::1]:99").expect("both"), ("::1".to_owned(), 99));
        for wrong in ["", ":99", "host", "host:port", "host:70000"] {
            assert!(page_server(wrong).is_err(), "{wrong}");
        }
        assert_eq!((cgroup_mode(None).ok(), cgroup_mode(Some("ignore")).ok()), (Some(6), Some(0)));
        assert!(cgroup_mode(Some("hard")).is_err() && network_lock("none").is_err());
        assert!(
            check_empty_namespaces(&["network".into()]).is_ok() && check_empty_namespaces(&["pid".into()]).is_err()
        );
    }
}
