//! `features`: what this runtime supports (features.md, features-linux.md), from the tables that the code uses.

use serde_json::json;

use super::report;
use crate::error::Result;
use crate::plan::hooks::HookKind;
use crate::plan::identity::{CAPABILITIES, capability_name};
use crate::plan::memory_policy;
use crate::plan::mount_options;
use crate::plan::namespaces::Kind;

/// The command.
pub fn print() -> Result<()> {
    let hooks: Vec<&str> = HookKind::ALL.iter().map(|kind| kind.name()).collect();
    let options: Vec<&str> = mount_options::TABLE.iter().map(|(name, _)| *name).collect();
    let namespaces: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let capabilities: Vec<String> = CAPABILITIES.iter().map(|capability| capability_name(*capability)).collect();
    let modes = memory_policy::MODES.map(|mode| mode.to_string());
    let flags = memory_policy::FLAGS.map(|(flag, _)| flag.to_string());
    let document = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": hooks,
        "mountOptions": options,
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false },
            "seccomp": { "enabled": true },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "memoryPolicy": { "modes": modes, "flags": flags },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true }
        }
    });
    print_document(&document)
}

fn print_document(document: &serde_json::Value) -> Result<()> {
    report::print(&report::to_json(document)?)
}
