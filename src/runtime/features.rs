//! `features`: what this runtime supports (features.md, features-linux.md), from the tables that the code uses.
//! "Irrelevant to the actual availability of the features in the host operating system": nothing here looks at the host.

use serde::Serialize;
use serde_json::{Value, json};

use super::report;
use crate::error::Result;
use crate::plan::annotations;
use crate::plan::hooks::HookKind;
use crate::plan::identity::{CAPABILITIES, capability_name};
use crate::plan::memory_policy;
use crate::plan::mount_options;
use crate::plan::namespaces::Kind;
use crate::plan::seccomp::names;
use crate::plan::version;

/// The annotations of a configuration that change what the runtime does; one that ends with a dot names all that begin
/// with it.
const UNSAFE_ANNOTATIONS: [&str; 2] = ["org.criu.config", "org.systemd.property."];

/// The command.
pub fn print() -> Result<()> {
    report::print(&report::to_json(&document())?)
}

/// The whole document of runtime-spec 1.3, without a property that it does not define.
pub fn document() -> Value {
    let hooks: Vec<&str> = HookKind::ALL.iter().map(|kind| kind.name()).collect();
    let annotations: Vec<&str> = UNSAFE_ANNOTATIONS.iter().chain(annotations::KNOWN).copied().collect();
    let options: Vec<&str> = mount_options::TABLE.iter().map(|(name, _)| *name).collect();
    json!({
        "ociVersionMin": version::OLDEST,
        "ociVersionMax": version::NEWEST,
        "hooks": hooks,
        "mountOptions": options,
        "linux": linux(),
        "annotations": {
            "dev.minicon.commit": report::COMMIT,
            "dev.minicon.version": report::VERSION,
        },
        "potentiallyUnsafeConfigAnnotations": annotations,
    })
}

fn linux() -> Value {
    let namespaces: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let capabilities: Vec<String> = CAPABILITIES.iter().map(|capability| capability_name(*capability)).collect();
    json!({
        "namespaces": namespaces,
        "capabilities": capabilities,
        "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
        "seccomp": seccomp(),
        "apparmor": { "enabled": true },
        "selinux": { "enabled": true },
        "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
        "memoryPolicy": memory_policy(),
        "mountExtensions": { "idmap": { "enabled": true } },
        "netDevices": { "enabled": true },
    })
}

/// Every flag that is known is supported: the filter is made without a library that could lack one.
fn seccomp() -> Value {
    let flags = sorted(names::FLAGS.iter().map(|(flag, _)| flag));
    json!({
        "enabled": true,
        "actions": sorted(names::ACTIONS.iter().map(|(action, _)| action)),
        "operators": sorted(names::operators()),
        "archs": sorted(names::ARCHITECTURES.iter()),
        "knownFlags": flags,
        "supportedFlags": flags,
    })
}

fn memory_policy() -> Value {
    let modes = memory_policy::MODES.map(|mode| mode.to_string());
    let flags = memory_policy::FLAGS.map(|(flag, _)| flag.to_string());
    json!({ "modes": modes, "flags": flags })
}

/// The names as `config.json` has them.
fn sorted<T: Serialize>(values: impl Iterator<Item = T>) -> Vec<Value> {
    let mut names: Vec<Value> = values.filter_map(|value| serde_json::to_value(value).ok()).collect();
    names.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
    names
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::document;

    /// The properties of the structures in specs-go/features, by their JSON names.
    const PROPERTIES: &[(&str, &str)] = &[
        ("", "ociVersionMin ociVersionMax hooks mountOptions linux annotations potentiallyUnsafeConfigAnnotations"),
        (
            "/linux",
            "namespaces capabilities cgroup seccomp apparmor selinux intelRdt memoryPolicy mountExtensions netDevices",
        ),
        ("/linux/cgroup", "v1 v2 systemd systemdUser rdma"),
        ("/linux/seccomp", "enabled actions operators archs knownFlags supportedFlags"),
        ("/linux/apparmor", "enabled"),
        ("/linux/selinux", "enabled"),
        ("/linux/intelRdt", "enabled schemata monitoring"),
        ("/linux/memoryPolicy", "modes flags"),
        ("/linux/mountExtensions", "idmap"),
        ("/linux/mountExtensions/idmap", "enabled"),
        ("/linux/netDevices", "enabled"),
    ];

    /// "The Features structure MUST NOT contain properties that are not defined in this version" (features.md), and none
    /// is left out: absent would mean unknown.
    #[test]
    fn the_document_has_the_properties_of_the_specification_and_no_others() {
        let document = document();
        let mut objects = 0;
        for (pointer, names) in PROPERTIES {
            let object = document.pointer(pointer).and_then(Value::as_object).expect(pointer);
            let mut names: Vec<&str> = names.split(' ').collect();
            names.sort_unstable();
            assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>(), names, "{pointer}");
            objects += object.values().filter(|value| value.is_object()).count();
        }
        assert_eq!(objects, PROPERTIES.len(), "every object, and the free annotations, is in the table");
    }

    #[test]
    fn lists_are_complete_and_sorted() {
        let document = document();
        let lists = [("actions", 9), ("operators", 7), ("archs", 23), ("knownFlags", 4), ("supportedFlags", 4)];
        for (name, length) in lists {
            let list = document["linux"]["seccomp"][name].as_array().expect(name);
            let names: Vec<_> = list.iter().map(|name| name.as_str().expect("a name")).collect();
            assert_eq!(names.len(), length, "{name}");
            assert!(names.is_sorted(), "{name}");
        }
        assert_eq!(document["linux"]["namespaces"].as_array().map(Vec::len), Some(8));
        assert_eq!(document["linux"]["capabilities"].as_array().map(Vec::len), Some(41));
    }
}
