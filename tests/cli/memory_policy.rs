//! `linux.memoryPolicy`, as `/proc/PID/numa_maps` shows it. One memory node is enough for all of it.

use serde_json::{Value, json};

use crate::support::{Test, is_minicon};

/// The policy of the program's first mapping, see proc(5).
const SHOW: &str = "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2";

/// Everything here needs the file, which only a kernel with NUMA has.
fn test() -> Option<Test> {
    let is_there = std::path::Path::new("/proc/self/numa_maps").exists();
    Test::where_possible(is_there && is_minicon(), "no NUMA in this kernel, or runc before 1.4")
}

/// "`memoryPolicy` (object, OPTIONAL) sets the NUMA memory policy for the container." (config-linux.md, Memory policy)
#[test]
fn every_mode_and_flag_is_set() {
    let Some(t) = test() else { return };
    for (mode, nodes, flags, shown) in [
        ("MPOL_DEFAULT", None, &[][..], "default"),
        ("MPOL_BIND", Some("0"), &[], "bind:0"),
        ("MPOL_INTERLEAVE", Some("0"), &[], "interleave:0"),
        ("MPOL_PREFERRED", Some("0"), &[], "prefer:0"),
        ("MPOL_PREFERRED", None, &[], "local"),
        ("MPOL_LOCAL", Some(""), &[], "local"),
        ("MPOL_BIND", Some("0"), &["MPOL_F_STATIC_NODES"], "bind=static:0"),
        ("MPOL_PREFERRED", Some("0"), &["MPOL_F_RELATIVE_NODES"], "prefer=relative:0"),
    ] {
        let policy = policy(mode, nodes, flags);
        let output = t.sh(SHOW).set("/linux/memoryPolicy", policy).run().ok();
        assert_eq!(output.stdout.trim(), shown, "{mode} {flags:?}");
    }
}

/// What a kernel may be too old for: set, or refused by the kernel with the place named, and never passed over.
#[test]
fn the_newer_modes_and_flags_are_set_or_refused() {
    let Some(t) = test() else { return };
    for (mode, flags, shown) in [
        ("MPOL_PREFERRED_MANY", &[][..], "prefer (many):0"),
        ("MPOL_WEIGHTED_INTERLEAVE", &[], "weighted interleave:0"),
        ("MPOL_BIND", &["MPOL_F_NUMA_BALANCING"], "bind=balancing:0"),
        ("MPOL_PREFERRED_MANY", &["MPOL_F_NUMA_BALANCING"], "prefer (many)=balancing:0"),
    ] {
        let show = "head -n 1 /proc/self/numa_maps";
        let output = t.sh(show).set("/linux/memoryPolicy", policy(mode, Some("0"), flags)).run();
        match output.code {
            0 => output.shows(shown),
            _ => {
                output.fails("set the memory policy: set_mempolicy(").says("EINVAL").says("config: linux.memoryPolicy")
            }
        };
    }
}

/// runc sets it for these as well: it is a property of each process.
#[test]
fn the_policy_holds_for_exec() {
    let Some(t) = test() else { return };
    let b = t.idle().set("/linux/memoryPolicy", policy("MPOL_INTERLEAVE", Some("0"), &[]));
    b.up();
    b.exec(&["sh", "-c", SHOW]).ok().prints("interleave:0");
}

#[test]
fn a_policy_that_makes_no_sense_is_an_error() {
    let Some(t) = test() else { return };
    for (policy, place) in [
        (json!({}), "linux.memoryPolicy"),
        (json!({"nodes": "0"}), "linux.memoryPolicy"),
        (json!({"mode": "INTERLEAVE", "nodes": "0"}), "linux.memoryPolicy.mode"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NONE"]}), "linux.memoryPolicy.flags[0]"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "linux.memoryPolicy.nodes"),
        (json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes"),
        (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "linux.memoryPolicy.nodes"),
        // Only the kernel knows which nodes there are.
        (json!({"mode": "MPOL_BIND", "nodes": "1000"}), "linux.memoryPolicy"),
    ] {
        t.bundle(&["true"]).set("/linux/memoryPolicy", policy.clone()).run().fails(place);
    }
}

#[test]
fn features_lists_the_modes_and_flags() {
    let Some(t) = test() else { return };
    let features = t.runtime(["features"]).run().ok().json();
    let policy = &features["linux"]["memoryPolicy"];
    assert_eq!(policy["modes"].as_array().map(Vec::len), Some(7));
    assert_eq!(policy["flags"].as_array().map(Vec::len), Some(3));
}

fn policy(mode: &str, nodes: Option<&str>, flags: &[&str]) -> Value {
    let mut policy = json!({"mode": mode, "flags": flags});
    if let Some(nodes) = nodes {
        policy["nodes"] = nodes.into();
    }
    policy
}
