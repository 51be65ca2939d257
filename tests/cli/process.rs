//! The `process` object: who the program is, what it may do, what it finds around itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::str::FromStr;

use caps::{CapSet, Capability};
use serde_json::json;

use crate::support::{Output, Test, is_minicon};

#[test]
fn the_user_the_group_and_the_additional_groups_are_set() {
    let t = Test::new();
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [26, 5000]});
    let output = t.bundle(&["cat", "/proc/self/status"]).set("/process/user", user).run().ok();
    assert_eq!(field(&output, "Uid"), "1000 1000 1000 1000");
    assert_eq!(field(&output, "Gid"), "1001 1001 1001 1001");
    let groups = field(&output, "Groups");
    let mut groups: Vec<_> = groups.split(' ').filter(|group| *group != "1001").collect();
    groups.sort_unstable();
    assert_eq!(groups, ["26", "5000"]);
}

#[test]
fn the_runtimes_groups_are_dropped() {
    let t = Test::new();
    let output = t.bundle(&["cat", "/proc/self/status"]).run().ok();
    assert!(["", "0"].contains(&field(&output, "Groups").as_str()));
}

#[test]
fn the_umask_is_set() {
    let Some(t) = Test::of_minicon("runc 1.1.5 ignores process.user.umask") else { return };
    t.sh("umask").set("/process/user/umask", 0o027).run().ok().prints("0027");
}

#[test]
fn the_working_directory_is_set() {
    let t = Test::new();
    t.bundle(&["pwd"]).set("/process/cwd", "/home/ann").run().ok().prints("/home/ann");
    t.bundle(&["pwd"]).set("/process/cwd", "relative").run().fails("Cwd must be an absolute path");
    let b = t.bundle(&["pwd"]).own_rootfs().set("/process/cwd", "/home/ann").set("/process/user/uid", 1000);
    fs::set_permissions(b.rootfs().join("home/ann"), fs::Permissions::from_mode(0o700)).expect("chmod");
    b.run().ok().prints("/home/ann");
}

/// CVE-2024-21626: a working directory below `/proc/self/fd` may be on the host.
#[test]
fn the_working_directory_cannot_be_on_the_host() {
    let t = Test::new();
    for fd in 0..12 {
        // minicon's init holds no directory that can be entered; of runc's, some are inside of the root.
        let output = t.bundle(&["pwd"]).set("/process/cwd", format!("/proc/self/fd/{fd}")).run();
        let is_inside = !is_minicon() && output.stdout.starts_with('/');
        assert!(output.code == 1 || is_inside, "{fd}: {}", output.stdout);
    }
}

#[test]
fn the_environment_is_what_the_configuration_says() {
    let t = Test::new();
    let env = json!(["PATH=/bin", "A=1", "EMPTY=", "SPACE=a b=c"]);
    let output = t.bundle(&["env"]).set("/process/env", env).run().ok();
    let mut lines = output.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1", "EMPTY=", "HOME=/root", "PATH=/bin", "SPACE=a b=c"]);
}

#[test]
fn the_home_directory_comes_from_the_containers_passwd() {
    let t = Test::new();
    t.sh("echo $HOME").run().ok().prints("/root");
    t.sh("echo $HOME").set("/process/user/uid", 1000).run().ok().prints("/home/ann");
    t.sh("echo $HOME").set("/process/user/uid", 4711).run().ok().prints("/");
    t.sh("echo $HOME").push("/process/env", "HOME=/tmp").run().ok().prints("/tmp");
}

/// "The value of soft/hard after `start` MUST match" (config.md, POSIX process).
#[test]
fn the_last_of_several_homes_counts() {
    let t = Test::new();
    let b = t.sh("echo $HOME").push("/process/env", "HOME=/elsewhere");
    b.run().ok().prints("/elsewhere");
    b.push("/process/env", "HOME=").run().ok().prints("/root");
}

/// capabilities(7): CAP_DAC_OVERRIDE bypasses "file read, write, and execute permission checks".
#[test]
fn the_right_to_execute_may_be_a_capability() {
    let t = Test::new();
    let b = t.bundle(&["/bin/busybox", "echo", "ran"]).own_rootfs().set("/process/user/uid", 1000);
    let program = b.rootfs().join("bin/busybox");
    fs::set_permissions(program, fs::Permissions::from_mode(0o744)).expect("chmod");
    b.run().fails("permission denied");
    let set = json!(["CAP_DAC_OVERRIDE"]);
    let sets = json!({"bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": set});
    b.set("/process/capabilities", sets).run().ok().prints("ran");
}

#[test]
fn resource_limits_are_set() {
    let t = Test::new();
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
        {"type": "RLIMIT_STACK", "soft": 4194304, "hard": 8388608}
    ]);
    let output = t.bundle(&["cat", "/proc/self/limits"]).set("/process/rlimits", limits).run().ok();
    for (name, soft, hard) in [("open files", 100, 200), ("core file size", 0, 4096), ("stack size", 4194304, 8388608)]
    {
        let line = output.lines().into_iter().find(|line| line.contains(name)).expect("the limit").to_owned();
        let numbers: Vec<_> = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).collect();
        assert_eq!(numbers, [soft, hard], "{line}");
    }
}

#[test]
fn a_limit_that_cannot_be_set_is_an_error() {
    let t = Test::new();
    // Above fs.nr_open nobody may go.
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 1_u64 << 40, "hard": 1_u64 << 40}]);
    let b = t.bundle(&["true"]).set("/process/rlimits", limit);
    b.run().fails("operation not permitted");
    b.is_gone();
}

/// "If any type is specified more than once, the runtime MUST generate an error" (config.md, POSIX process).
#[test]
fn a_limit_given_twice_is_an_error() {
    let Some(t) = Test::of_minicon("runc takes the last one") else { return };
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100});
    t.bundle(&["true"]).set("/process/rlimits", json!([limit, limit])).run().fails("process.rlimits[1]");
}

#[test]
fn the_five_capability_sets_are_as_asked_for() {
    let t = Test::new();
    let sets = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_MKNOD"],
        "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"],
        "inheritable": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL", "CAP_CHOWN"],
        "ambient": ["CAP_KILL"]
    });
    let asked = sets.clone();
    let b = t.bundle(&["cat", "/proc/self/status"]).set("/process/capabilities", sets).set("/process/user/uid", 1000);
    let output = b.run().ok();
    for (name, set) in [("CapBnd", "bounding"), ("CapInh", "inheritable"), ("CapAmb", "ambient")] {
        assert_eq!(field(&output, name), mask(&asked[set]), "{name}");
    }
    // Of an ordinary user, execve(2) leaves what is ambient.
    for name in ["CapPrm", "CapEff"] {
        assert_eq!(field(&output, name), mask(&json!(["CAP_KILL"])), "{name}");
    }
}

#[test]
fn root_has_what_is_permitted() {
    let t = Test::new();
    let names = ["CAP_KILL", "CAP_CHOWN", "CAP_SYS_CHROOT"];
    let output = t.bundle(&["cat", "/proc/self/status"]).capabilities(&names).run().ok();
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&output, name), mask(&json!(names)), "{name}");
    }
    for name in ["CapInh", "CapAmb"] {
        assert_eq!(field(&output, name), mask(&json!([])), "{name}");
    }
}

#[test]
fn without_capabilities_there_are_none() {
    let t = Test::new();
    let output = t.bundle(&["cat", "/proc/self/status"]).set("/process/capabilities", json!({})).run().ok();
    for name in ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"] {
        assert_eq!(field(&output, name), mask(&json!([])), "{name}");
    }
}

/// "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise, MUST be logged as
/// a warning by the runtime. Runtimes SHOULD NOT fail" (config.md, Linux process).
#[test]
fn an_unknown_capability_is_a_warning() {
    let t = Test::new();
    let b = t.bundle(&["cat", "/proc/self/status"]).capabilities(&["CAP_KILL", "CAP_TO_FLY"]);
    let output = b.run().ok().says("CAP_TO_FLY");
    assert_eq!(field(&output, "CapEff"), mask(&json!(["CAP_KILL"])));
}

#[test]
fn a_capability_that_cannot_be_granted_is_a_warning() {
    let ours = caps::read(None, CapSet::Bounding).expect("our own capabilities");
    let missing = caps::all().into_iter().find(|capability| !ours.contains(capability));
    let reason = "every capability can be granted here, or it is runc, which fails with EPERM";
    let Some(t) = Test::where_possible(missing.is_some() && is_minicon(), reason) else { return };
    let missing = missing.expect("looked at above");
    let b = t.bundle(&["cat", "/proc/self/status"]).capabilities(&["CAP_KILL", &missing.to_string()]);
    let output = b.run().ok().says(&missing.to_string());
    assert_eq!(field(&output, "CapEff"), mask(&json!(["CAP_KILL"])));
}

#[test]
fn no_new_privileges_is_set_or_not() {
    let t = Test::new();
    for (wanted, shown) in [(true, "1"), (false, "0")] {
        let output = t.bundle(&["cat", "/proc/self/status"]).set("/process/noNewPrivileges", wanted).run().ok();
        assert_eq!(field(&output, "NoNewPrivs"), shown);
    }
}

/// "If `oomScoreAdj` is not set, the runtime MUST NOT change the value of `oom_score_adj`" (config.md, Linux process).
#[test]
fn the_oom_score_is_set_or_left() {
    let t = Test::new();
    let ours = fs::read_to_string("/proc/self/oom_score_adj").expect("our own");
    let b = t.bundle(&["cat", "/proc/self/oom_score_adj"]);
    b.run().ok().prints(ours.trim());
    let higher = (ours.trim().parse::<i32>().expect("a number") + 137).min(1000);
    b.set("/process/oomScoreAdj", higher).run().ok().prints(&higher.to_string());
}

#[test]
fn the_program_reads_standard_input() {
    let t = Test::new();
    t.bundle(&["cat"]).on_bundle("run", &[]).stdin("some words").run().ok().prints("some words");
}

#[test]
fn the_program_is_looked_up_in_the_path() {
    let t = Test::new();
    let b = t.bundle(&["tool"]).own_rootfs().set("/process/env", json!(["PATH=/one:/two"]));
    program(&b.rootfs().join("two/tool"), 0o755);
    b.run().ok().prints("two");
    program(&b.rootfs().join("one/tool"), 0o755);
    b.run().ok().prints("one");
}

/// execvpe(3): a candidate that may not be executed is passed over.
#[test]
fn the_program_is_looked_up_as_the_user() {
    let Some(t) = Test::of_minicon("runc takes any file with an x bit") else { return };
    let b = t.bundle(&["tool"]).own_rootfs().set("/process/env", json!(["PATH=/one:/two"]));
    let b = b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    program(&b.rootfs().join("one/tool"), 0o700);
    program(&b.rootfs().join("two/tool"), 0o755);
    b.run().ok().prints("two");
}

/// dockerd turns these words into the exit statuses 127 and 126.
#[test]
fn why_the_program_cannot_be_executed_is_said_in_runcs_words() {
    let t = Test::new();
    let run = |program: &str| t.bundle(&[program]).run();
    run("nonexistent").fails("exec: \"nonexistent\": executable file not found in $PATH");
    run("/nonexistent").fails("exec: \"/nonexistent\": stat /nonexistent: no such file or directory");
    run("/etc/passwd").fails("exec: \"/etc/passwd\": permission denied");
    run("/etc").fails("exec: \"/etc\"");
    run("/etc/passwd/x").fails("not a directory");
}

/// A shell script that prints the name of its directory.
fn program(path: &std::path::Path, mode: u32) {
    let directory = path.parent().expect("a directory");
    fs::create_dir_all(directory).expect("mkdir");
    let name = directory.file_name().expect("a name").display();
    fs::write(path, format!("#!/bin/sh\necho {name}\n")).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// A line of `/proc/self/status`, its spaces made single.
fn field(output: &Output, name: &str) -> String {
    let start = format!("{name}:");
    let line = output.stdout.lines().find_map(|line| line.strip_prefix(&start)).expect("the line");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A set of capabilities as `/proc/self/status` prints it.
fn mask(names: &serde_json::Value) -> String {
    let names = names.as_array().expect("a list").iter().filter_map(|name| name.as_str());
    let bits = names.map(|name| Capability::from_str(name).expect("a capability").bitmask());
    format!("{:016x}", bits.fold(0, |all, bit| all | bit))
}
