//! DECIDE the eBPF program that enforces device rules on cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`, see bpf(2) and
//! linux/bpf.h). The kernel runs it whenever a process in the cgroup opens or makes a device node; it gets a
//! `struct bpf_cgroup_dev_ctx` and answers 1, allowed, or 0, which becomes EPERM.
//!
//! The program keeps the accesses that are asked for and goes through the rules from the last to the first. An allowing
//! rule for the device takes its accesses off; nothing left is "allowed". A denying rule with one that is left is
//! "denied". What no rule has decided gets the policy's default.
//!
//! The verifier follows every way through the program, and gives up after a million instructions. So that this grows with
//! the number of rules, and not with its square, a rule compares once, both numbers in one word, and compares the
//! difference with zero: of a register that was equal to a number the verifier would remember that, and follow each
//! such way on to the end.

use super::device_rules::{Access, DEVICES, DevicePolicy, Devices, Rule};
use crate::error::Problem;

/// One eBPF instruction, laid out as the kernel's struct bpf_insn (linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do (`BPF_LDX | BPF_MEM | BPF_W`, …).
    pub code: u8,
    /// The destination in the lower four bits, the source in the upper: as a little-endian machine lays them out.
    pub registers: u8,
    /// The offset in the context, or how many instructions to skip.
    pub offset: i16,
    /// A constant.
    pub immediate: i32,
}

/// Compiles a policy.
pub fn compile(policy: &DevicePolicy, problems: &mut Vec<Problem>) -> Vec<Instruction> {
    let rules = in_effect(&policy.rules);
    if rules.is_empty() {
        return verdict(policy.allow).to_vec();
    }
    let [characters, blocks] = [false, true].map(|block| {
        let of_type = rules.iter().filter(|rule| rule.devices.block == block);
        let mut section: Vec<Instruction> = of_type.clone().flat_map(decide_one).collect();
        // Instructions that cannot be reached are refused.
        if !of_type.clone().next_back().is_some_and(always_decides) {
            section.extend(verdict(policy.allow));
        }
        section
    });
    let Ok(distance) = i16::try_from(characters.len()) else {
        problems.push(too_long(characters.len()));
        return Vec::new();
    };
    if i16::try_from(blocks.len()).is_err() {
        problems.push(too_long(blocks.len()));
    }
    let mut program = load_request();
    program.push(skip_if(JEQ32, TYPE, BPF_DEVCG_DEV_BLOCK, distance));
    program.extend(characters);
    program.extend(blocks);
    program
}

/// Jumps are that short. The verifier of Linux 5.2 and later follows programs of a million instructions.
fn too_long(length: usize) -> Problem {
    let message = format!(
        "too many rules: those for one type of device make {length} instructions of eBPF, and {} is the most",
        i16::MAX
    );
    Problem::new(DEVICES, message)
}

/// The rules from the last to the first, without those that a later one overrules wholly: an engine's list often
/// repeats the defaults.
fn in_effect(rules: &[Rule]) -> Vec<Rule> {
    let mut kept: Vec<Rule> = Vec::new();
    for rule in rules.iter().rev() {
        let overrules =
            |later: &Rule| later.devices.contain(rule.devices) && rule.access.without(later.access) == Access::NONE;
        if !kept.iter().any(overrules) {
            kept.push(*rule);
        }
    }
    kept
}

fn always_decides(rule: &Rule) -> bool {
    rule.devices.major.is_none() && rule.devices.minor.is_none() && rule.access == Access::ALL
}

/// `BPF_DEVCG_*`.
const BPF_DEVCG_DEV_BLOCK: i32 = 1;
const BPF_DEVCG_ACC_MKNOD: i32 = 1;
const BPF_DEVCG_ACC_READ: i32 = 2;
const BPF_DEVCG_ACC_WRITE: i32 = 4;

/// What the registers hold. R0 is the answer and R1 the context, as the kernel has it.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;
/// The accesses that are asked for and not allowed yet; never none when a rule begins.
const LEFT: u8 = 5;
/// The major number in the upper half, the minor in the lower.
const NUMBERS: u8 = 6;
/// What the numbers differ in from those of a rule.
const DIFFERENCE: u8 = 7;

/// `struct bpf_cgroup_dev_ctx { __u32 access_type; __u32 major; __u32 minor; }`: the accesses are in the upper half of
/// the first. Nothing asked for (such as access(2) with X_OK) is allowed.
fn load_request() -> Vec<Instruction> {
    let mut program = vec![
        instruction(LDXW, TYPE, CONTEXT, 0, 0),
        instruction(LDXW, MAJOR, CONTEXT, 4, 0),
        instruction(LDXW, MINOR, CONTEXT, 8, 0),
        instruction(MOV32, LEFT, TYPE, 0, 0),
        instruction(RSH32, LEFT, 0, 0, 16),
        instruction(AND32, TYPE, 0, 0, 0xffff),
        instruction(MOV64, NUMBERS, MAJOR, 0, 0),
        instruction(LSH64, NUMBERS, 0, 0, 32),
        instruction(OR64, NUMBERS, MINOR, 0, 0),
        skip_if(JNE32, LEFT, 0, 2),
    ];
    program.extend(verdict(true));
    program
}

/// One rule: the answer if it decides, else on to what follows.
fn decide_one(rule: &Rule) -> Vec<Instruction> {
    let access = bits(rule.access);
    let mut then = match (rule.access == Access::ALL, rule.allow) {
        (true, _) => Vec::new(),
        (false, true) => vec![instruction(AND32, LEFT, 0, 0, !access), skip_if(JNE32, LEFT, 0, 2)],
        (false, false) => vec![skip_if(JSET32, LEFT, access, 1), instruction(JA, 0, 0, 2, 0)],
    };
    then.extend(verdict(rule.allow));
    let distance = then.len() as i16;
    let Devices { major, minor, .. } = rule.devices;
    let one_number = |register, number| {
        vec![
            instruction(MOV32, DIFFERENCE, register, 0, 0),
            instruction(XOR32, DIFFERENCE, 0, 0, number as i32),
            skip_if(JNE32, DIFFERENCE, 0, distance),
        ]
    };
    let mut program = match (major, minor) {
        (Some(major), Some(minor)) => vec![
            instruction(LDDW, DIFFERENCE, 0, 0, minor as i32),
            instruction(0, 0, 0, 0, major as i32),
            instruction(XOR64, DIFFERENCE, NUMBERS, 0, 0),
            skip_if(JNE64, DIFFERENCE, 0, distance),
        ],
        (Some(major), None) => one_number(MAJOR, major),
        (None, Some(minor)) => one_number(MINOR, minor),
        (None, None) => Vec::new(),
    };
    program.extend(then);
    program
}

fn bits(access: Access) -> i32 {
    let held =
        [(access.mknod, BPF_DEVCG_ACC_MKNOD), (access.read, BPF_DEVCG_ACC_READ), (access.write, BPF_DEVCG_ACC_WRITE)];
    held.iter().filter(|(held, _)| *held).map(|(_, bit)| bit).sum()
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [instruction(MOV64_TO, ANSWER, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

fn skip_if(code: u8, register: u8, value: i32, distance: i16) -> Instruction {
    instruction(code, register, 0, distance, value)
}

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

/// The operations, as linux/bpf.h puts them together: class, operation, and whether the operand is a constant (K) or a
/// register (X). Those that end in 32 look at the lower half of a register only.
const LDXW: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const LDDW: u8 = 0x18; // BPF_LD | BPF_IMM | BPF_DW: the constant's upper half is in the next instruction
const MOV64: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const MOV64_TO: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const LSH64: u8 = 0x67; // BPF_ALU64 | BPF_LSH | BPF_K
const OR64: u8 = 0x4f; // BPF_ALU64 | BPF_OR | BPF_X
const MOV32: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const RSH32: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const AND32: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JA: u8 = 0x05; // BPF_JMP | BPF_JA
const XOR64: u8 = 0xaf; // BPF_ALU64 | BPF_XOR | BPF_X
const XOR32: u8 = 0xa4; // BPF_ALU | BPF_XOR | BPF_K
const JNE64: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JEQ32: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const JNE32: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const JSET32: u8 = 0x46; // BPF_JMP32 | BPF_JSET | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

#[cfg(test)]
mod tests {
    use super::super::device_rules::decide;
    use super::*;

    fn compiled(json: &str) -> Vec<Instruction> {
        let mut problems = Vec::new();
        let policy = decide(&serde_json::from_str::<Vec<_>>(json).expect("device rules"), &mut problems);
        let program = compile(&policy, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        program
    }

    #[test]
    fn a_privileged_container_gets_the_shortest_program() {
        assert_eq!(compiled(r#"[{"allow": true, "access": "rwm"}]"#), verdict(true));
    }

    #[test]
    fn rules_that_are_overruled_cost_nothing() {
        let defaults = compiled("[]");
        let repeated = r#"[{"allow": true, "type": "c", "access": "m"}, {"allow": false, "type": "c", "major": 136, "minor": 2, "access": "w"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]"#;
        assert_eq!(compiled(repeated), defaults);
        // Twelve to load, one to tell the types apart, two that end each; 8 rules for one device, one for a range, and
        // two of one access for all devices.
        assert_eq!(defaults.len(), 12 + 1 + 2 * 2 + 8 * 6 + 5 + 2 * 4);
    }

    #[test]
    fn a_rule_that_denies_reading() {
        let rules = r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "major": 8, "access": "r"}]"#;
        let listing: Vec<String> = compiled(rules)[12..].iter().map(|i| format!("{i:?}")).collect();
        let expected = [
            skip_if(JEQ32, TYPE, 1, 2),
            verdict(true)[0],
            verdict(true)[1],
            instruction(MOV32, DIFFERENCE, MAJOR, 0, 0),
            instruction(XOR32, DIFFERENCE, 0, 0, 8),
            skip_if(JNE32, DIFFERENCE, 0, 4),
            skip_if(JSET32, LEFT, 2, 1),
            instruction(JA, 0, 0, 2, 0),
            verdict(false)[0],
            verdict(false)[1],
            verdict(true)[0],
            verdict(true)[1],
        ];
        assert_eq!(listing, expected.map(|i| format!("{i:?}")));
    }

    /// The verifier refuses instructions that cannot be reached.
    #[test]
    fn nothing_follows_a_rule_that_always_decides() {
        let rules = r#"[{"allow": false, "type": "b", "major": 8, "access": "r"}, {"allow": true, "type": "b", "access": "rwm"}]"#;
        let program = compiled(rules);
        assert_eq!(program[program.len() - 2..], verdict(true));
    }

    #[test]
    fn too_many_rules_are_refused() {
        let rule = |minor| Rule {
            allow: true,
            devices: Devices { block: false, major: Some(1), minor: Some(minor) },
            access: Access::ALL,
            at: DEVICES,
        };
        let mut problems = Vec::new();
        compile(&DevicePolicy { allow: false, rules: (0..5460).map(rule).collect() }, &mut problems);
        assert_eq!(problems, []);
        compile(&DevicePolicy { allow: false, rules: (0..5461).map(rule).collect() }, &mut problems);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].message.starts_with("too many rules: those for one type of device make 32768"),
            "{problems:?}"
        );
    }
}
