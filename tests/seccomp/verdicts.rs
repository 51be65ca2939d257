//! What filters answer, without comparing them to anything: what the spec, runc's behaviour and the kernel demand.

use minicon::plan::seccomp::{Architecture, Filter};
use serde_json::{Value, json};

use crate::interpreter::{Call, run};
use crate::{
    ALLOW, AUDIT_AARCH64, AUDIT_ARM, AUDIT_I386, AUDIT_X86_64, ENOSYS, EPERM, ERRNO, KILL, KILL_PROCESS, LOG, NOTIFY,
    PROFILES, TRACE, TRAP, X32_BIT, filter, policy, profile, try_filter,
};

pub fn answer(filter: &Filter, audit: u32, number: u32, arguments: [u64; 6]) -> u32 {
    run(&filter.program, &Call { number, audit, arguments }).answer
}

fn x86_64(value: Value) -> Filter {
    filter(&policy(value), Architecture::X86_64)
}

#[test]
fn every_action_has_the_kernels_value() {
    let rows = [
        ("SCMP_ACT_KILL", None, KILL),
        ("SCMP_ACT_KILL_THREAD", None, KILL),
        ("SCMP_ACT_KILL_PROCESS", None, KILL_PROCESS),
        ("SCMP_ACT_TRAP", None, TRAP),
        ("SCMP_ACT_ERRNO", None, EPERM),
        ("SCMP_ACT_ERRNO", Some(13), ERRNO | 13),
        ("SCMP_ACT_TRACE", None, TRACE | 1),
        ("SCMP_ACT_TRACE", Some(7), TRACE | 7),
        ("SCMP_ACT_LOG", None, LOG),
        ("SCMP_ACT_NOTIFY", None, NOTIFY),
    ];
    for (action, errno, expected) in rows {
        let filter = x86_64(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/run/agent.sock",
            "syscalls": [{ "names": ["getpid"], "action": action, "errnoRet": errno }],
        }));
        assert_eq!(answer(&filter, AUDIT_X86_64, 39, [0; 6]), expected, "{action} {errno:?}");
        assert_eq!(answer(&filter, AUDIT_X86_64, 40, [0; 6]), ALLOW, "{action} {errno:?}");
        assert_eq!(filter.notify, expected == NOTIFY);
    }
}

type Comparison = fn(u64, u64) -> bool;

#[test]
fn every_operator_compares_all_64_bits_unsigned() {
    const MASK: u64 = 0xff00_0000_0000_00f0;
    let value = 0x0000_0005_8000_0005_u64;
    let near = [0, 1, 5, 0x8000_0005, value - 1, value, value + 1, value ^ (1 << 63), value + (1 << 32), u64::MAX];
    let operators: &[(&str, Comparison)] = &[
        ("SCMP_CMP_NE", |a, v| a != v),
        ("SCMP_CMP_LT", |a, v| a < v),
        ("SCMP_CMP_LE", |a, v| a <= v),
        ("SCMP_CMP_EQ", |a, v| a == v),
        ("SCMP_CMP_GE", |a, v| a >= v),
        ("SCMP_CMP_GT", |a, v| a > v),
        ("SCMP_CMP_MASKED_EQ", |a, v| a & MASK == v & MASK),
    ];
    for &(operator, holds) in operators {
        for index in 0..6 {
            let condition = match operator {
                "SCMP_CMP_MASKED_EQ" => json!({ "index": index, "value": MASK, "valueTwo": value, "op": operator }),
                _ => json!({ "index": index, "value": value, "op": operator }),
            };
            let filter = x86_64(json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86"],
                "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_TRAP", "args": [condition] }],
            }));
            for argument in near {
                let mut arguments = [0; 6];
                arguments[index] = argument;
                let expected = if holds(argument, value) { TRAP } else { ALLOW };
                assert_eq!(answer(&filter, AUDIT_X86_64, 0, arguments), expected, "{argument:#x} {operator}");
                let low = if holds(argument & 0xffff_ffff, value & 0xffff_ffff) { TRAP } else { ALLOW };
                arguments[index] &= 0xffff_ffff;
                assert_eq!(answer(&filter, AUDIT_I386, 3, arguments), low, "{argument:#x} {operator} on 32 bits");
            }
        }
    }
}

#[test]
fn conditions_of_a_rule_must_all_hold_unless_two_are_about_one_argument() {
    let rule = |second: u32| {
        x86_64(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" },
                { "index": second, "value": 2, "op": "SCMP_CMP_EQ" },
            ] }],
        }))
    };
    let both = rule(1);
    assert_eq!(answer(&both, AUDIT_X86_64, 0, [1, 2, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&both, AUDIT_X86_64, 0, [1, 0, 0, 0, 0, 0]), EPERM);
    let either = rule(0);
    assert_eq!(answer(&either, AUDIT_X86_64, 0, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&either, AUDIT_X86_64, 0, [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&either, AUDIT_X86_64, 0, [3, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn a_rule_without_conditions_beats_those_with_and_the_first_such_rule_beats_later_ones() {
    let equal = |value: u64| json!([{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }]);
    let filter = x86_64(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_TRAP", "args": equal(1) },
            { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["read"], "action": "SCMP_ACT_LOG" },
            { "names": ["read"], "action": "SCMP_ACT_KILL", "args": equal(2) },
        ],
    }));
    for argument in 0..4 {
        assert_eq!(answer(&filter, AUDIT_X86_64, 0, [argument, 0, 0, 0, 0, 0]), ALLOW);
    }
}

#[test]
fn a_rule_that_does_what_the_default_does_is_left_out() {
    let filter = x86_64(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_ERRNO" },
            { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
        ],
    }));
    assert_eq!(answer(&filter, AUDIT_X86_64, 0, [0; 6]), ALLOW);
}

#[test]
fn architectures_that_are_not_listed_are_killed_except_the_native_one() {
    let allow = |architectures: Value| {
        policy(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": architectures,
            "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW" }],
        }))
    };
    for architectures in [Value::Null, json!([]), json!(["SCMP_ARCH_S390X"])] {
        let filter = filter(&allow(architectures), Architecture::X86_64);
        assert_eq!(answer(&filter, AUDIT_X86_64, 0, [0; 6]), ALLOW);
        assert_eq!(answer(&filter, AUDIT_I386, 3, [0; 6]), KILL);
        assert_eq!(answer(&filter, AUDIT_X86_64, X32_BIT, [0; 6]), KILL);
        assert_eq!(answer(&filter, AUDIT_X86_64, u32::MAX, [0; 6]), EPERM, "a tracer skips the call");
        assert_eq!(answer(&filter, AUDIT_AARCH64, 63, [0; 6]), KILL);
    }
    let all = filter(&allow(json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"])), Architecture::X86_64);
    assert_eq!(answer(&all, AUDIT_I386, 3, [0; 6]), ALLOW);
    assert_eq!(answer(&all, AUDIT_X86_64, X32_BIT, [0; 6]), ALLOW);
    let arm = filter(&allow(json!(["SCMP_ARCH_ARM"])), Architecture::Aarch64);
    assert_eq!(answer(&arm, AUDIT_AARCH64, 63, [0; 6]), ALLOW);
    assert_eq!(answer(&arm, AUDIT_ARM, 3, [0; 6]), ALLOW);
    assert_eq!(answer(&arm, AUDIT_X86_64, 0, [0; 6]), KILL);
}

#[test]
fn every_architecture_of_the_spec_is_taken() {
    let names = "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE \
                 S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB";
    let names: Vec<String> = names.split_whitespace().map(|name| format!("SCMP_ARCH_{name}")).collect();
    assert_eq!(names.len(), 23);
    for native in [Architecture::X86_64, Architecture::Aarch64] {
        filter(&policy(json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": names })), native);
    }
}

#[test]
fn a_call_newer_than_the_policy_does_not_exist() {
    let docker = filter(&profile("docker"), Architecture::X86_64);
    assert_eq!(answer(&docker, AUDIT_X86_64, 462, [0; 6]), ENOSYS);
    assert_eq!(answer(&docker, AUDIT_X86_64, X32_BIT - 1, [0; 6]), ENOSYS);
    assert_eq!(answer(&docker, AUDIT_X86_64, X32_BIT | 900, [0; 6]), ENOSYS);
    assert_eq!(answer(&docker, AUDIT_I386, 900, [0; 6]), ENOSYS);
    assert_eq!(answer(&docker, AUDIT_X86_64, 175, [0; 6]), EPERM, "init_module is old and refused");

    let newest = |default: &str, rule: &str| {
        let rule = json!([{ "names": ["openat2"], "action": rule }]);
        let filter = x86_64(json!({ "defaultAction": default, "syscalls": rule }));
        (answer(&filter, AUDIT_X86_64, 436, [0; 6]), answer(&filter, AUDIT_X86_64, 438, [0; 6]))
    };
    assert_eq!(newest("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"), (EPERM, ENOSYS));
    assert_eq!(newest("SCMP_ACT_KILL", "SCMP_ACT_ALLOW"), (KILL, ENOSYS));
    assert_eq!(newest("SCMP_ACT_TRAP", "SCMP_ACT_ALLOW"), (TRAP, ENOSYS));
    // A name counts even if its rule changes nothing.
    assert_eq!(newest("SCMP_ACT_KILL", "SCMP_ACT_KILL"), (KILL, ENOSYS));
    assert_eq!(newest("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"), (ALLOW, ALLOW));
    assert_eq!(newest("SCMP_ACT_LOG", "SCMP_ACT_ERRNO"), (LOG, LOG));
    assert_eq!(newest("SCMP_ACT_TRACE", "SCMP_ACT_ERRNO"), (TRACE | 1, TRACE | 1));
    // Without a name nothing is known to be newer.
    let none = x86_64(json!({ "defaultAction": "SCMP_ACT_ERRNO" }));
    assert_eq!(answer(&none, AUDIT_X86_64, 900, [0; 6]), EPERM);
}

#[test]
fn arms_own_calls_do_not_count_as_the_newest() {
    let policy = policy(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_ARM"],
        "syscalls": [
            { "names": ["openat2", "set_tls"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["cacheflush"], "action": "SCMP_ACT_ERRNO" },
        ],
    }));
    let filter = filter(&policy, Architecture::Aarch64);
    assert_eq!(answer(&filter, AUDIT_ARM, 438, [0; 6]), ENOSYS);
    assert_eq!(answer(&filter, AUDIT_ARM, 0x000f_0005, [0; 6]), ALLOW);
    assert_eq!(answer(&filter, AUDIT_ARM, 0x000f_0002, [0; 6]), EPERM, "cacheflush is named, to no effect");
    assert_eq!(answer(&filter, AUDIT_ARM, 0x000f_0006, [0; 6]), ENOSYS);
}

#[test]
fn unknown_names_are_ignored() {
    let rule = json!([{ "names": ["no_such_call", "read"], "action": "SCMP_ACT_ALLOW" }]);
    let filter = x86_64(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rule }));
    assert_eq!(answer(&filter, AUDIT_X86_64, 0, [0; 6]), ALLOW);
}

#[test]
fn flags_are_passed_on() {
    let flags = |flags: Value, action: &str| {
        let syscalls = json!([{ "names": ["mkdir"], "action": action }]);
        let path = "/run/agent.sock";
        let policy =
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "listenerPath": path, "syscalls": syscalls });
        x86_64(policy).flags
    };
    let every = [
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ];
    assert_eq!(flags(Value::Null, "SCMP_ACT_ERRNO"), 4, "runc's default: SPEC_ALLOW");
    assert_eq!(flags(json!([]), "SCMP_ACT_ERRNO"), 0);
    assert_eq!(flags(json!([every[1]]), "SCMP_ACT_ERRNO"), 2);
    assert_eq!(flags(json!(every), "SCMP_ACT_ERRNO"), 1 | 2 | 4, "WAIT_KILLABLE_RECV needs a listener");
    assert_eq!(flags(json!(every), "SCMP_ACT_NOTIFY"), 1 | 2 | 4 | 8 | 16 | 32);
    assert_eq!(flags(Value::Null, "SCMP_ACT_NOTIFY"), 4 | 8);
}

#[test]
fn the_listener_is_kept_only_if_a_rule_notifies() {
    let listener = |action: &str| {
        let filter = x86_64(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock", "listenerMetadata": "web",
            "syscalls": [{ "names": ["mkdir"], "action": action }],
        }));
        (filter.listener_path, filter.listener_metadata)
    };
    assert_eq!(listener("SCMP_ACT_NOTIFY"), (Some("/run/agent.sock".into()), Some("web".into())));
    assert_eq!(listener("SCMP_ACT_ERRNO"), (None, None));
}

/// What init does of its own after the filter is loaded, it does only if the filter allows it for certain.
#[test]
fn a_filter_knows_whether_it_lets_madvise_pass() {
    let allows =
        |default: &str, rules: Value| x86_64(json!({ "defaultAction": default, "syscalls": rules })).allows_madvise;
    let rule = |action: &str| json!({ "names": ["read", "madvise"], "action": action });
    assert!(allows("SCMP_ACT_ALLOW", json!([])));
    assert!(allows("SCMP_ACT_ERRNO", json!([rule("SCMP_ACT_ALLOW")])));
    assert!(!allows("SCMP_ACT_ERRNO", json!([])));
    assert!(!allows("SCMP_ACT_ALLOW", json!([rule("SCMP_ACT_KILL")])));
    let mut conditional = rule("SCMP_ACT_ALLOW");
    conditional["args"] = json!([{ "index": 2, "value": 4, "op": "SCMP_CMP_EQ" }]);
    assert!(!allows("SCMP_ACT_ERRNO", json!([conditional])));
}

#[test]
fn every_problem_is_told_with_its_place() {
    let problems = |value: Value| -> Vec<String> {
        let problems = try_filter(&policy(value), Architecture::X86_64).expect_err("no filter");
        problems.into_iter().map(|problem| format!("{}: {}", problem.at, problem.message)).collect()
    };
    let found = problems(json!({
        "defaultAction": "SCMP_ACT_NOTIFY",
        "listenerMetadata": "web",
        "syscalls": [
            { "names": ["read", "write"], "action": "SCMP_ACT_NOTIFY" },
            { "names": [], "action": "SCMP_ACT_ALLOW" },
            { "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 70000, "args": [
                { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" },
                { "index": 6, "value": 1, "op": "SCMP_CMP_EQ" },
            ] },
        ],
    }));
    let expected = [
        "linux.seccomp.defaultAction: ",
        "linux.seccomp.listenerPath: ",
        "linux.seccomp.listenerMetadata: ",
        "linux.seccomp.syscalls[0].names[1]: ",
        "linux.seccomp.syscalls[1].names: ",
        "linux.seccomp.syscalls[2].errnoRet: 70000 ",
        "linux.seccomp.syscalls[2].args[1]: 6 ",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn contradicting_rules_are_a_problem() {
    let equal = |value: u64| json!([{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }]);
    let problems = try_filter(
        &policy(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                { "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": equal(1) },
                { "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": equal(1) },
                { "names": ["read", "readv"], "action": "SCMP_ACT_TRAP", "args": equal(1) },
            ],
        })),
        Architecture::X86_64,
    );
    let problems = problems.expect_err("no filter");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].at, "linux.seccomp.syscalls[2]");
    assert_eq!(problems[0].message, "has the conditions of linux.seccomp.syscalls[0], but another action");
}

#[test]
fn rules_that_only_seem_to_contradict_each_other_on_i386_are_taken() {
    let rule = |value: u64, errno: u32| {
        let condition = json!([{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }]);
        json!({ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": condition })
    };
    let filter = x86_64(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [rule(16, 22), rule(38, 13)],
    }));
    assert_eq!(answer(&filter, AUDIT_I386, 359, [38, 0, 0, 0, 0, 0]), ERRNO | 13);
    assert_eq!(answer(&filter, AUDIT_I386, 102, [1, 0, 0, 0, 0, 0]), ERRNO | 22);
}

#[test]
fn too_long_a_filter_is_a_problem_and_a_long_one_jumps_far() {
    let rules = |count: u64| {
        let rule = |value: u64| {
            let condition = json!([{ "index": 0, "value": 3 * value, "op": "SCMP_CMP_EQ" }]);
            json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": condition })
        };
        let mut rules: Vec<Value> = (0..count).map(rule).collect();
        rules.push(json!({ "names": ["write", "openat2", "mkdir", "statx"], "action": "SCMP_ACT_ALLOW" }));
        policy(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules }))
    };
    let long = filter(&rules(1000), Architecture::X86_64);
    assert!(long.program.len() > 3000);
    for value in 0..3100 {
        let expected = if value < 3000 && value % 3 == 0 { ALLOW } else { EPERM };
        assert_eq!(answer(&long, AUDIT_X86_64, 0, [value, 0, 0, 0, 0, 0]), expected);
    }
    assert_eq!(answer(&long, AUDIT_X86_64, 1, [0; 6]), ALLOW);
    assert_eq!(answer(&long, AUDIT_X86_64, 2, [0; 6]), EPERM);
    assert_eq!(answer(&long, AUDIT_X86_64, 437, [0; 6]), ALLOW);
    assert_eq!(answer(&long, AUDIT_X86_64, 438, [0; 6]), ENOSYS);

    let problems = try_filter(&rules(2000), Architecture::X86_64).expect_err("no filter");
    assert_eq!(problems[0].at, "linux.seccomp.syscalls");
    assert!(problems[0].message.contains("4096"), "{}", problems[0].message);
}

#[test]
fn numbers_whose_verdict_needs_no_argument_are_answered_without_loading_one() {
    for (name, _) in PROFILES {
        let filter = filter(&profile(name), Architecture::X86_64);
        let mut longest = 0;
        for audit in [AUDIT_X86_64, AUDIT_I386] {
            for number in 0..600 {
                let outcome = run(&filter.program, &Call { number, audit, arguments: [0; 6] });
                if !outcome.looked_at_arguments {
                    longest = longest.max(outcome.steps);
                }
            }
        }
        assert!(longest <= 20, "{name}: {longest} steps");
        assert!(filter.program.len() <= 700, "{name}: {} instructions", filter.program.len());
    }
}
