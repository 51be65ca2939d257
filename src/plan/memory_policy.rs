//! `linux.memoryPolicy`: on which NUMA nodes the container's memory is, see set_mempolicy(2).

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use super::ConfigPath;
use super::lists::Mask;
use crate::error::Problem;

/// The modes by their number in linux/mempolicy.h. `features` lists the same table.
pub const MODES: [Mode; 7] = [
    Mode::MpolDefault,
    Mode::MpolPreferred,
    Mode::MpolBind,
    Mode::MpolInterleave,
    Mode::MpolLocal,
    Mode::MpolPreferredMany,
    Mode::MpolWeightedInterleave,
];

/// The flags and their bits in linux/mempolicy.h.
pub const FLAGS: [(Flag, i32); 3] =
    [(Flag::MpolFStaticNodes, 1 << 15), (Flag::MpolFRelativeNodes, 1 << 14), (Flag::MpolFNumaBalancing, 1 << 13)];

/// The kernel has at most 1024 nodes (`CONFIG_NODES_SHIFT`).
const HIGHEST_NODE: usize = 1023;

/// The arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The mode and its flags.
    pub mode: i32,
    /// Their names, for people.
    pub name: String,
    /// The nodes.
    pub nodes: Mask,
}

/// Decides the policy. What set_mempolicy(2) would answer with EINVAL is told here, where it can be told exactly.
pub fn plan(policy: &LinuxMemoryPolicy, problems: &mut Vec<Problem>) -> MemoryPolicy {
    let at = ConfigPath::new("linux.memoryPolicy");
    let nodes = Mask::parse(policy.nodes().as_deref().unwrap_or_default(), HIGHEST_NODE);
    let nodes = nodes.map_err(|message| problems.push(Problem::new(at.field("nodes"), message)));
    let given = policy.flags().as_deref().unwrap_or_default();
    if let Ok(nodes) = &nodes
        && let Err((field, message)) = check(policy.mode(), nodes, given)
    {
        problems.push(Problem::new(at.field(field), format!("{} {message}", policy.mode())));
    }
    let number = MODES.iter().position(|mode| *mode == policy.mode()).map_or(0, |number| number as i32);
    let chosen = FLAGS.iter().filter(|(flag, _)| given.contains(flag));
    let (mode, name) = chosen.fold((number, policy.mode().to_string()), |(mode, name), (flag, bit)| {
        (mode | bit, format!("{name} | {flag}"))
    });
    MemoryPolicy { mode, name, nodes: nodes.unwrap_or_default() }
}

/// "Some modes require that there are no nodes, e.g. MPOL_DEFAULT and MPOL_LOCAL. Others that there is at least one node,
/// e.g. MPOL_BIND and MPOL_INTERLEAVE. See set_mempolicy(2) for details." (config-linux.md, Memory policy)
fn check(mode: Mode, nodes: &Mask, flags: &[Flag]) -> Result<(), (&'static str, &'static str)> {
    let has = |flag| flags.contains(&flag);
    let renumbers = has(Flag::MpolFStaticNodes) || has(Flag::MpolFRelativeNodes);
    match mode {
        Mode::MpolDefault | Mode::MpolLocal if !nodes.is_empty() => return Err(("nodes", "takes no nodes")),
        Mode::MpolBind | Mode::MpolInterleave | Mode::MpolPreferredMany | Mode::MpolWeightedInterleave
            if nodes.is_empty() =>
        {
            return Err(("nodes", "needs at least one node"));
        }
        Mode::MpolLocal | Mode::MpolPreferred if renumbers && nodes.is_empty() => {
            return Err(("flags", "without nodes takes neither MPOL_F_STATIC_NODES nor MPOL_F_RELATIVE_NODES"));
        }
        _ => {}
    }
    if has(Flag::MpolFStaticNodes) && has(Flag::MpolFRelativeNodes) {
        return Err(("flags", "takes MPOL_F_STATIC_NODES or MPOL_F_RELATIVE_NODES, not both"));
    }
    if has(Flag::MpolFNumaBalancing) && !matches!(mode, Mode::MpolBind | Mode::MpolPreferredMany) {
        return Err(("flags", "does not take MPOL_F_NUMA_BALANCING: it is for MPOL_BIND and MPOL_PREFERRED_MANY"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Result<MemoryPolicy, Vec<Problem>> {
        let mut problems = Vec::new();
        let policy = plan(&serde_json::from_str(text).expect("a policy"), &mut problems);
        if problems.is_empty() { Ok(policy) } else { Err(problems) }
    }

    #[test]
    fn modes_and_flags_have_the_kernels_numbers() {
        for (mode, nodes, number) in [
            ("MPOL_DEFAULT", "", 0),
            ("MPOL_PREFERRED", "0", 1),
            ("MPOL_BIND", "0", 2),
            ("MPOL_INTERLEAVE", "0", 3),
            ("MPOL_LOCAL", "", 4),
            ("MPOL_PREFERRED_MANY", "0", 5),
            ("MPOL_WEIGHTED_INTERLEAVE", "0", 6),
        ] {
            let policy = planned(&format!(r#"{{"mode":"{mode}","nodes":"{nodes}"}}"#)).expect(mode);
            assert_eq!(policy.mode, number, "{mode}");
        }
        let flags = r#"["MPOL_F_STATIC_NODES","MPOL_F_NUMA_BALANCING"]"#;
        let policy = planned(&format!(r#"{{"mode":"MPOL_BIND","nodes":"1-2","flags":{flags}}}"#)).expect("valid");
        assert_eq!((policy.mode, policy.nodes.words()), (2 | 1 << 15 | 1 << 13, [6].as_slice()));
        assert_eq!(policy.name, "MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_NUMA_BALANCING");
    }

    #[test]
    fn what_the_kernel_would_refuse_is_told_before() {
        let at = |field: &str| format!("linux.memoryPolicy.{field}");
        for (policy, place) in [
            (r#"{"mode":"MPOL_DEFAULT","nodes":"0"}"#, at("nodes")),
            (r#"{"mode":"MPOL_LOCAL","nodes":"0-7"}"#, at("nodes")),
            (r#"{"mode":"MPOL_BIND"}"#, at("nodes")),
            (r#"{"mode":"MPOL_INTERLEAVE","nodes":""}"#, at("nodes")),
            (r#"{"mode":"MPOL_PREFERRED_MANY"}"#, at("nodes")),
            (r#"{"mode":"MPOL_WEIGHTED_INTERLEAVE"}"#, at("nodes")),
            (r#"{"mode":"MPOL_BIND","nodes":"0-9876543210"}"#, at("nodes")),
            (r#"{"mode":"MPOL_BIND","nodes":"one"}"#, at("nodes")),
            (r#"{"mode":"MPOL_LOCAL","flags":["MPOL_F_STATIC_NODES"]}"#, at("flags")),
            (r#"{"mode":"MPOL_PREFERRED","flags":["MPOL_F_RELATIVE_NODES"]}"#, at("flags")),
            (
                r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_RELATIVE_NODES","MPOL_F_STATIC_NODES"]}"#,
                at("flags"),
            ),
            (r#"{"mode":"MPOL_INTERLEAVE","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]}"#, at("flags")),
        ] {
            let problems = planned(policy).expect_err(policy);
            assert_eq!((problems.len(), &problems[0].at), (1, &place), "{policy}");
        }
    }
}
