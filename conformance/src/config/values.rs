//! Extensibility and valid values: what is unknown is ignored, what is invalid is an error.

use anyhow::Result;
use serde_json::{Value, json};

use crate::container::Container;
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const PLACE: &str = "config.md#configExtensibility";
const UNKNOWN: &[&str] = &["unknown properties but MUST otherwise ignore them."];
const INVALID: &[&str] = &["Runtimes MUST generate an error when invalid or unsupported values are encountered."];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("extensibility.top", PLACE, UNKNOWN, shared).with(unknown, "/conformance"),
    must("extensibility.process", PLACE, UNKNOWN, shared).with(unknown, "/process/conformance"),
    must("extensibility.user", PLACE, UNKNOWN, shared).with(unknown, "/process/user/conformance"),
    must("extensibility.capabilities", PLACE, UNKNOWN, shared).with(unknown, "/process/capabilities/conformance"),
    must("extensibility.root", PLACE, UNKNOWN, shared).with(unknown, "/root/conformance"),
    must("extensibility.mounts", PLACE, UNKNOWN, shared).with(unknown, "/mounts/0/conformance"),
    must("extensibility.hooks", PLACE, UNKNOWN, shared).with(unknown, "/hooks/conformance"),
    must("extensibility.linux", PLACE, UNKNOWN, shared).with(unknown, "/linux/conformance"),
    must("extensibility.namespaces", PLACE, UNKNOWN, shared).with(unknown, "/linux/namespaces/0/conformance"),
    must("extensibility.resources", PLACE, UNKNOWN, shared).with(unknown, "/linux/resources/conformance"),
    must("extensibility.memory", PLACE, UNKNOWN, shared).with(unknown, "/linux/resources/memory/conformance"),
    must("extensibility.platforms", PLACE, UNKNOWN, other_platforms),

    must("valid-values.ociVersion", PLACE, INVALID, shared).with(invalid, r#"/ociVersion "99.0.0""#),
    must("valid-values.namespace", PLACE, INVALID, shared).with(invalid, r#"/linux/namespaces [{"type": "conformance"}]"#),
    must("valid-values.device", PLACE, INVALID, shared).with(invalid, r#"/linux/devices [{"type": "x", "path": "/dev/x", "major": 1, "minor": 3}]"#),
    must("valid-values.propagation", PLACE, INVALID, shared).with(invalid, r#"/linux/rootfsPropagation "conformance""#),
    must("valid-values.scheduler", PLACE, INVALID, shared).with(invalid, r#"/process/scheduler {"policy": "SCHED_CONFORMANCE"}"#),
    must("valid-values.scheduler-flag", PLACE, INVALID, shared).with(invalid, r#"/process/scheduler {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_CONFORMANCE"]}"#),
    must("valid-values.io-class", PLACE, INVALID, shared).with(invalid, r#"/process/ioPriority {"class": "IOPRIO_CLASS_CONFORMANCE", "priority": 1}"#),
    must("valid-values.io-priority", PLACE, INVALID, shared).with(invalid, r#"/process/ioPriority {"class": "IOPRIO_CLASS_BE", "priority": 8}"#),
    must("valid-values.personality", PLACE, INVALID, shared).with(invalid, r#"/linux/personality {"domain": "CONFORMANCE"}"#),
    must("valid-values.memory-policy", PLACE, INVALID, shared).with(invalid, r#"/linux/memoryPolicy {"mode": "MPOL_CONFORMANCE"}"#),
    must("valid-values.memory-policy-flag", PLACE, INVALID, shared).with(invalid, r#"/linux/memoryPolicy {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_CONFORMANCE"]}"#),
    must("valid-values.seccomp-action", PLACE, INVALID, shared).with(invalid, r#"/linux/seccomp {"defaultAction": "SCMP_ACT_CONFORMANCE"}"#),
    must("valid-values.seccomp-operator", PLACE, INVALID, shared).with(invalid, r#"/linux/seccomp {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_CONFORMANCE"}]}]}"#),
    must("valid-values.seccomp-argument", PLACE, INVALID, shared).with(invalid, r#"/linux/seccomp {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#),
    must("valid-values.seccomp-architecture", PLACE, INVALID, shared).with(invalid, r#"/linux/seccomp {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_CONFORMANCE"]}"#),
    must("valid-values.seccomp-flag", PLACE, INVALID, shared).with(invalid, r#"/linux/seccomp {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_CONFORMANCE"]}"#),
    must("valid-values.device-access", PLACE, INVALID, shared).with(invalid, r#"/linux/resources/devices [{"allow": true, "type": "c", "access": "rwx"}]"#),
    must("valid-values.uid", PLACE, INVALID, shared).with(invalid, r#"/process/user {"uid": -5, "gid": 0}"#),
    must("valid-values.type-of-text", PLACE, INVALID, shared).with(invalid, r#"/hostname 5"#),
    must("valid-values.type-of-list", PLACE, INVALID, shared).with(invalid, r#"/process/args "/bin/probe""#),
    must("valid-values.type-of-number", PLACE, INVALID, shared).with(invalid, r#"/process/user {"uid": "0", "gid": 0}"#),
    must("valid-values.type-of-flag", PLACE, INVALID, shared).with(invalid, r#"/root/readonly "yes""#),
    must("valid-values.no-json", PLACE, INVALID, no_json),
];

fn unknown(lab: &Lab, pointer: &'static str) -> Verdict {
    for value in [json!({"of": ["nobody", 7]}), json!("text")] {
        lab.container()?.set(pointer, value).runs()?;
    }
    Ok(())
}

/// Sections of other platforms mean nothing here.
fn other_platforms(lab: &Lab) -> Verdict {
    lab.container()?.set("/solaris", json!({"milestone": "x"})).runs()?;
    lab.container()?.set("/windows", json!({"layerFolders": ["C:\\x"]})).runs()?;
    lab.container()?.set("/zos", json!({})).runs()
}

/// A pointer and a value, as one text.
fn set<'l>(container: Container<'l>, change: &str) -> Result<Container<'l>> {
    let (pointer, value) = change.split_once(' ').unwrap_or_default();
    Ok(container.set(pointer, serde_json::from_str::<Value>(value)?))
}

fn invalid(lab: &Lab, change: &'static str) -> Verdict {
    set(lab.container()?, change)?.is_refused_by_start()
}

fn no_json(lab: &Lab) -> Verdict {
    for text in ["", "{", "[]", "null", "{\"ociVersion\": \"1.0.0\"} trailing"] {
        let container = lab.container()?;
        std::fs::write(container.dir.join("config.json"), text)?;
        let call = lab.runtime(["create", "--bundle"]).arg(&container.dir).arg(&container.id).run()?;
        call.refused(&format!("config.json that reads {text:?}"))?;
        container.is_gone()?;
    }
    Ok(())
}
