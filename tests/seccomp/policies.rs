//! Policies to compare filters on, and calls to ask them about.

use std::collections::BTreeSet;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::Strategy;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::X32_BIT;

/// Names that are known everywhere, on some architectures only, behind a multiplexer, with other numbers on x32.
pub const NAMES: &[&str] = &[
    "read",
    "write",
    "personality",
    "ioctl",
    "socket",
    "accept4",
    "shmat",
    "socketcall",
    "uselib",
    "openat2",
    "mkdir",
    "rt_sigaction",
    "set_tls",
    "waitpid",
    "no_such_call",
    "futex_waitv",
];

pub const ACTIONS: &[&str] = &[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
];

pub const EQ: &str = "SCMP_CMP_EQ";
pub const NE: &str = "SCMP_CMP_NE";
const MASKED_EQ: &str = "SCMP_CMP_MASKED_EQ";
pub const OPERATORS: &[&str] = &[EQ, NE, MASKED_EQ, "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_GE", "SCMP_CMP_GT"];

fn any_argument(operators: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let values = [0, 1, 2, 3, 0xffff_ffff, 1 << 32, (1 << 32) + 2, (1 << 63) + 1, u64::MAX];
    let arguments = (0..3_usize, select(values.to_vec()), option::of(select(values.to_vec())), select(operators));
    arguments.prop_map(|(index, value, second, operator)| {
        json!({ "index": index, "value": value, "valueTwo": second, "op": operator })
    })
}

/// Policies whose rules have at most `most` conditions with some of `operators`.
pub fn any_policy(operators: &'static [&'static str], most: usize) -> impl Strategy<Value = LinuxSeccomp> {
    let listed = subsequence(vec!["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"], 0..=3);
    let names = vec(select(NAMES), 1..4);
    let entry = (names, select(ACTIONS), vec(any_argument(operators), 0..=most));
    let entry = entry.prop_map(|(names, action, args)| json!({ "names": names, "action": action, "args": args }));
    (select(ACTIONS), listed, vec(entry, 0..8)).prop_map(|(default, listed, entries)| {
        crate::policy(json!({ "defaultAction": default, "architectures": listed, "syscalls": entries }))
    })
}

/// Whether libseccomp 2.5.4 can be asked about a policy: it goes wrong with several rules for one call, unless each
/// compares one argument for equality.
///
/// When a rule fails half-way, the next one may be compared with the word that was loaded last instead of its own
/// (`a0 = 0` and `a0 = 2` for two calls, and `a0 = 1` with `a1 = 1` for one of them: its call 1, 0 is answered as if
/// `a0` were 0); rules are dropped because others hold, where they do not; and `seccomp_rule_add` may not come back
/// at all. Those policies are held against the spec in `model`.
pub fn is_within_libseccomp(policy: &LinuxSeccomp) -> bool {
    // i386 has these behind one number, told by the first argument.
    let sockets = ["socket", "accept4", "socketcall"];
    NAMES.iter().all(|name| {
        let is_socket = sockets.contains(name);
        let is_same = |other: &&String| other == name || is_socket && sockets.contains(&other.as_str());
        let entries = policy.syscalls().iter().flatten();
        let uses = entries.flat_map(|entry| entry.names().iter().filter(is_same).map(move |_| entry));
        // Among those, one without a condition has one after all.
        let told_apart = |entry: &LinuxSyscall| match alternatives(entry) {
            none if none.is_empty() && is_socket && entry.names().iter().any(|name| name != "socketcall") => {
                vec![vec![equals(0, 1)]]
            }
            rules => rules,
        };
        let rules: Vec<Vec<LinuxSeccompArg>> = uses.flat_map(told_apart).collect();
        let is_equality = |argument: &LinuxSeccompArg| argument.op() == LinuxSeccompOperator::ScmpCmpEq;
        let is_simple = |rule: &Vec<LinuxSeccompArg>| {
            rule.len() == 1 && rule.iter().all(|argument| is_equality(argument) && !(is_socket && argument.index() > 0))
        };
        rules.len() < 2 || rules.iter().all(is_simple)
    })
}

fn equals(index: usize, value: u64) -> LinuxSeccompArg {
    serde_json::from_value(json!({ "index": index, "value": value, "op": EQ })).expect("a condition")
}

/// runc makes two conditions about one argument rules of their own.
pub fn alternatives(entry: &LinuxSyscall) -> Vec<Vec<LinuxSeccompArg>> {
    let arguments = entry.args().as_deref().unwrap_or_default();
    let indexes: BTreeSet<usize> = arguments.iter().map(LinuxSeccompArg::index).collect();
    match arguments.len() {
        0 => Vec::new(),
        length if indexes.len() < length => arguments.iter().map(|argument| vec![*argument]).collect(),
        _ => vec![arguments.to_vec()],
    }
}

/// Numbers in use, those around them, and some that no architecture has.
pub fn numbers() -> impl Iterator<Item = u32> {
    let huge = [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, 0xffff_fffe, 0xffff_ffff];
    (0..600).chain(X32_BIT..X32_BIT + 600).chain(0x000f_0000..0x000f_0008).chain(huge)
}

/// Sets of arguments: the first all zero, then values around each that the policy compares, together and alone.
pub fn spread(policy: &LinuxSeccomp) -> Vec<[u64; 6]> {
    let entries = policy.syscalls().as_deref().unwrap_or_default();
    let mut values: [BTreeSet<u64>; 6] = Default::default();
    for argument in entries.iter().flat_map(|entry| entry.args().iter().flatten()) {
        for value in [argument.value(), argument.value_two().unwrap_or_default()] {
            let low = value & 0xffff_ffff;
            let near = [value.wrapping_sub(1), value, value.wrapping_add(1), value ^ (1 << 63), low, !value];
            values[argument.index()].extend(near);
            values[argument.index()].insert(value.wrapping_add(1 << 32));
        }
    }
    // The calls that i386 multiplexes are told by the first argument.
    values[0].extend(0..26);
    let mut spread = vec![[0; 6]];
    for (index, values) in values.iter().enumerate() {
        for &value in values {
            let mut alone = [0; 6];
            alone[index] = value;
            spread.push(alone);
        }
    }
    // Combinations: by a fixed sequence that is random enough (Knuth's MMIX generator).
    let mut random = 1_u64;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for _ in 0..400 {
        spread.push(std::array::from_fn(|index| {
            let chosen = draw(values[index].len() + 1);
            values[index].iter().nth(chosen).copied().unwrap_or_default()
        }));
    }
    spread
}
