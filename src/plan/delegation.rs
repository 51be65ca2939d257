//! DECIDE whether a container gets its cgroup as its own, to make cgroups below it.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::Host;
use super::cgroup::Mode;
use super::namespaces::{Kind, Namespaces};

/// The user of the host that will own the container's cgroup; none if it stays ours.
///
/// config-linux.md, "Cgroup ownership": not on cgroup v1, not without a new cgroup namespace, and only if the file system
/// "is to be mounted read/write"; then it goes to "the host uid that maps to the value of `process.user.uid`".
pub(super) fn owner(spec: &Spec, namespaces: &Namespaces, host: &Host) -> Option<u32> {
    let may_own = host.cgroups.mode() == Mode::V2 && namespaces.creates(Kind::Cgroup) && mounts_writable(spec);
    let inside = spec.process().as_ref()?.user().uid();
    let outside = match namespaces.creates(Kind::User) {
        true => namespaces.uid_map.iter().find_map(|map| map.outside_of(inside))?,
        false if namespaces.joins(Kind::User) => return None,
        false => inside,
    };
    // Only root may give a file away.
    (may_own && host.user.0 == 0 && outside != 0).then_some(outside)
}

fn mounts_writable(spec: &Spec) -> bool {
    spec.mounts().iter().flatten().any(|mount| {
        let is_cgroup = mount.source().as_deref() == Some(Path::new("cgroup"));
        let read_only = mount.options().iter().flatten().any(|option| option == "ro");
        is_cgroup && !read_only && mount.destination() == Path::new("/sys/fs/cgroup")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cgroup::tests::{hybrid, unified};
    use super::super::namespaces;
    use super::{Host, owner};

    fn owner_of(host: &Host, uid: u32, options: &[&str], kinds: &[&str]) -> Option<u32> {
        let kinds: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        let spec = json!({
            "ociVersion": "1.3.0",
            "process": {"cwd": "/", "user": {"uid": uid, "gid": 0}},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}],
            "linux": {"namespaces": kinds, "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}]},
        });
        let spec = serde_json::from_value(spec).expect("a configuration");
        owner(&spec, &namespaces::plan(&spec, &mut Vec::new()), host)
    }

    #[test]
    fn the_mapped_user_gets_a_v2_cgroup_that_it_can_write_to() {
        let v2 = Host { cgroups: unified(), ..Host::default() };
        assert_eq!(owner_of(&v2, 0, &["rw"], &["user", "cgroup"]), Some(100_000));
        assert_eq!(owner_of(&v2, 5, &[], &["user", "cgroup"]), Some(100_005));
        assert_eq!(owner_of(&v2, 1000, &[], &["cgroup"]), Some(1000));
    }

    #[test]
    fn otherwise_nothing_changes_hands() {
        let v2 = Host { cgroups: unified(), ..Host::default() };
        assert_eq!(owner_of(&v2, 0, &[], &["cgroup"]), None, "root has it already");
        assert_eq!(owner_of(&v2, 0, &["ro"], &["user", "cgroup"]), None, "read-only");
        assert_eq!(owner_of(&v2, 0, &[], &["user"]), None, "no cgroup namespace");
        assert_eq!(owner_of(&v2, 1000, &[], &["user", "cgroup"]), None, "not mapped");
        let v1 = Host { cgroups: hybrid(), ..Host::default() };
        assert_eq!(owner_of(&v1, 0, &[], &["user", "cgroup"]), None, "cgroup v1");
        let rootless = Host { user: (1000, 1000), ..v2 };
        assert_eq!(owner_of(&rootless, 0, &[], &["user", "cgroup"]), None, "not ours to give");
    }
}
