//! Memory policy, sysctl and personality.

use serde_json::{Value, json};

use crate::judge::same;
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const POLICY: &str = "config-linux.md#configLinuxMemoryPolicy";
const SYSCTL: &str = "config-linux.md#configLinuxSysctl";
const PERSONALITY: &str = "config-linux.md#configLinuxPersonality";
const MODE: &[&str] = &["**`memoryPolicy`** (object, OPTIONAL)", "**`mode`** *(string, REQUIRED)*"];
const NODES: &[&str] = &["**`nodes`** *(string, OPTIONAL)*"];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("linux.memoryPolicy.default", POLICY, MODE, shared).with(policy, "MPOL_DEFAULT "),
    must("linux.memoryPolicy.bind", POLICY, MODE, shared).with(policy, "MPOL_BIND 0"),
    must("linux.memoryPolicy.interleave", POLICY, MODE, shared).with(policy, "MPOL_INTERLEAVE 0"),
    must("linux.memoryPolicy.weighted", POLICY, MODE, shared).with(policy, "MPOL_WEIGHTED_INTERLEAVE 0"),
    must("linux.memoryPolicy.preferred", POLICY, MODE, shared).with(policy, "MPOL_PREFERRED 0"),
    must("linux.memoryPolicy.preferred-many", POLICY, MODE, shared).with(policy, "MPOL_PREFERRED_MANY 0"),
    must("linux.memoryPolicy.local", POLICY, MODE, shared).with(policy, "MPOL_LOCAL "),
    must("linux.memoryPolicy.nodes", POLICY, NODES, shared).with(refused, "MPOL_BIND "),
    must("linux.memoryPolicy.nodes.none", POLICY, NODES, shared).with(refused, "MPOL_LOCAL 0"),
    must("linux.memoryPolicy.nodes.list", POLICY, NODES, shared).with(refused, "MPOL_BIND 0-x"),
    must("linux.memoryPolicy.flags", POLICY, &["**`flags`** *(array of strings, OPTIONAL)*"], flags),
    must("linux.sysctl", SYSCTL, &["**`sysctl`** (object, OPTIONAL)"], sysctl),
    must("linux.sysctl.unknown", SYSCTL, &["**`sysctl`** (object, OPTIONAL)"], unknown_sysctl),
    must("linux.personality.linux", PERSONALITY, &["**`personality`** (object", "**`domain`**"], shared).with(personality, "LINUX"),
    must("linux.personality.linux32", PERSONALITY, &["**`personality`** (object", "**`domain`**"], shared).with(personality, "LINUX32"),
    must("linux.personality.flags", PERSONALITY, &["**`flags`** *(array of strings, OPTIONAL)* - the additional flags"], personality_flags),
];

/// A mode and its nodes.
fn described(words: &str) -> Value {
    let (mode, nodes) = words.split_once(' ').unwrap_or_default();
    if nodes.is_empty() { json!({"mode": mode}) } else { json!({"mode": mode, "nodes": nodes}) }
}

fn policy(lab: &Lab, words: &'static str) -> Verdict {
    let wanted = described(words);
    let report = lab.container()?.set("/linux/memoryPolicy", wanted.clone()).report(&["memory_policy"])?;
    same("the mode", &report["memory_policy"]["mode"], wanted["mode"].clone())?;
    let nodes = if wanted["nodes"].is_null() { json!([]) } else { json!([0]) };
    same("the nodes", &report["memory_policy"]["nodes"], nodes)
}

fn refused(lab: &Lab, words: &'static str) -> Verdict {
    lab.container()?.set("/linux/memoryPolicy", described(words)).is_refused_by_start()
}

fn flags(lab: &Lab) -> Verdict {
    let wanted = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let report = lab.container()?.set("/linux/memoryPolicy", wanted).report(&["memory_policy"])?;
    same("the flags", &report["memory_policy"]["flags"], 1 << 15)
}

fn sysctl(lab: &Lab) -> Verdict {
    let values = json!({"net.core.somaxconn": "251", "kernel.msgmax": "16384"});
    let report = lab.container()?.set("/linux/sysctl", values.clone());
    let report = report.report(&["sysctl=net.core.somaxconn", "sysctl=kernel.msgmax"])?;
    same("the values", &report["sysctl"], values)
}

fn unknown_sysctl(lab: &Lab) -> Verdict {
    lab.container()?.set("/linux/sysctl", json!({"net.ipv4.conformance": "1"})).is_refused()
}

/// PER_LINUX32 is 8; uname(2) then tells of a 32-bit processor.
fn personality(lab: &Lab, domain: &'static str) -> Verdict {
    let report =
        lab.container()?.set("/linux/personality", json!({"domain": domain})).report(&["personality", "uts"])?;
    same("the personality", &report["personality"], if domain == "LINUX" { 0 } else { 8 })?;
    let machine = report["uts"]["machine"].as_str().unwrap_or_default();
    let own = nix::sys::utsname::uname()?.machine().to_string_lossy().into_owned();
    same("whether the machine is shown as it is", &(machine == own), domain == "LINUX")
}

fn personality_flags(lab: &Lab) -> Verdict {
    let value = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
    lab.container()?.set("/linux/personality", value).is_refused_by_start()
}
