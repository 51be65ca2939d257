//! `exec`: a further process in a running container.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Bundle, Test, eventually, is_minicon};

/// A running container that takes commands.
fn running(t: &Test) -> Bundle<'_> {
    let b = t.idle();
    b.up();
    b
}

#[test]
fn exec_returns_the_exit_status() {
    let t = Test::new();
    let b = running(&t);
    b.exec(&["true"]).ok();
    b.exec(&["sh", "-c", "exit 3"]).exits(3);
    b.exec(&["sh", "-c", "kill -TERM $$"]).exits(143);
    b.exec(&["sh", "-c", "cat; echo words >&2"]).ok().says("words");
    b.exec_with(&[], &["cat"]).stdin("some words").run().ok().prints("some words");
}

#[test]
fn exec_joins_every_namespace() {
    let t = Test::new();
    let b = t.idle().unshare("cgroup");
    b.up();
    let files = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let links = files.map(|file| fs::read_link(format!("/proc/{}/ns/{file}", b.pid())).expect("a namespace"));
    let output =
        b.exec(&["sh", "-c", "cd /proc/self/ns; for n in cgroup ipc mnt net pid user uts; do readlink $n; done"]).ok();
    assert_eq!(output.lines(), links.map(|link| link.display().to_string()));
}

#[test]
fn exec_in_a_user_namespace_is_its_root() {
    let t = Test::new();
    let b = t.idle().unshare("user");
    let b = b.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100000, "size": 1000}]));
    let b = b.set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 100000, "size": 1000}]));
    b.up();
    b.exec(&["sh", "-c", "id -u; id -g; cat /proc/self/uid_map | tr -s ' '"]).ok().prints("0\n0\n 0 100000 1000");
}

#[test]
fn exec_has_the_environment_of_the_container_and_its_own() {
    let t = Test::new();
    let b = t.idle().push("/process/env", "A=container");
    b.up();
    b.exec(&["sh", "-c", "echo $A $HOME"]).ok().prints("container /root");
    b.exec_with(&["--env", "A=exec", "--env=B=2"], &["sh", "-c", "echo $A $B"]).run().ok().prints("exec 2");
}

#[test]
fn exec_has_the_working_directory_of_the_container_or_its_own() {
    let t = Test::new();
    let b = t.idle().set("/process/cwd", "/etc");
    b.up();
    b.exec(&["pwd"]).ok().prints("/etc");
    b.exec_with(&["--cwd", "/home"], &["pwd"]).run().ok().prints("/home");
    for fd in 3..10 {
        let output = b.exec_with(&["--cwd", &format!("/proc/self/fd/{fd}")], &["pwd"]).run();
        let is_inside = !is_minicon() && output.stdout.starts_with('/');
        assert!(output.code != 0 || is_inside, "CVE-2024-21626: {}", output.stdout);
    }
}

#[test]
fn exec_has_the_user_of_the_container_or_its_own() {
    let t = Test::new();
    let b = t.idle().set("/process/user", json!({"uid": 1000, "gid": 1000}));
    b.up();
    let ids = ["sh", "-c", "echo $(id -u) $(id -g)"];
    b.exec(&ids).ok().prints("1000 1000");
    b.exec_with(&["--user", "7:8"], &ids).run().ok().prints("7 8");
    b.exec_with(&["-u", "0:0"], &ids).run().ok().prints("0 0");
    let groups = b.exec_with(&["-g", "26", "-g", "27"], &["grep", "Groups", "/proc/self/status"]).run().ok();
    let groups: Vec<_> =
        groups.stdout.split_whitespace().skip(1).filter(|group| *group != "1000").map(str::to_owned).collect();
    assert_eq!(groups, ["26", "27"]);
}

#[test]
fn exec_runs_as_the_user_named() {
    let t = Test::new();
    let b = running(&t);
    for user in ["0", "1", "10", "1000", "65534", "1000:26"] {
        b.exec_with(&["-u", user], &["id", "-u"]).run().ok().prints(user.split(':').next().unwrap_or_default());
    }
}

/// CVE-2026-30892: an id that is misread runs as somebody else.
#[test]
fn exec_reads_a_user_strictly() {
    let Some(t) = Test::of_minicon("runc 1.1.5 runs 4294967296 as 0") else { return };
    let b = running(&t);
    for user in ["0x10", "1e3", "-1", " 1", "1 ", "1:", ":1", "", "4294967296", "1:2:3", "root"] {
        let output = b.exec_with(&["-u", user], &["id", "-u"]).run();
        assert!(output.code != 0 || (user.is_empty() && output.stdout == "0\n"), "{user:?} runs as {}", output.stdout);
    }
}

#[test]
fn exec_has_the_capabilities_of_the_container_and_those_added() {
    let t = Test::new();
    let b = t.idle().capabilities(&["CAP_KILL"]);
    b.up();
    let status = ["grep", "-E", "Cap(Eff|Inh|Amb|Bnd)", "/proc/self/status"];
    let sets = |effective: &str| {
        format!("CapInh:\t{0:016}\nCapEff:\t{effective:0>16}\nCapBnd:\t{effective:0>16}\nCapAmb:\t{0:016}", 0)
    };
    b.exec(&status).ok().prints(&sets("20"));
    b.exec_with(&["--cap", "CAP_CHOWN", "--cap=CAP_SYS_CHROOT"], &status).run().ok().prints(&sets("40021"));
}

#[test]
fn exec_takes_a_process_from_a_file() {
    let t = Test::new();
    let b = running(&t);
    let process = json!({
        "terminal": false, "cwd": "/home", "args": ["sh", "-c", "echo $(pwd) $(id -u) $A $(umask)"],
        "env": ["PATH=/bin", "A=file"], "user": {"uid": 1000, "gid": 1000},
        "noNewPrivileges": true
    });
    let file = t.file("process.json", &process.to_string());
    b.exec_with(&["--process", file.to_str().expect("UTF-8")], &[]).run().ok().prints("/home 1000 file 0022");
}

#[test]
fn exec_detached_returns_while_the_process_runs() {
    let t = Test::new();
    let b = running(&t);
    let file = t.path("pid");
    b.exec_with(&["--detach", "--pid-file", file.to_str().expect("UTF-8")], &["sleep", "1000"]).run().ok();
    let pid: i32 = fs::read_to_string(file).expect("the pid file").parse().expect("only a pid");
    let program = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("the process runs");
    assert_eq!(program, "sleep\x001000\0");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
}

#[test]
fn what_exec_started_ends_with_the_container() {
    let t = Test::new();
    let b = running(&t);
    let exec = b.exec_with(&[], &["sleep", "1000"]).spawn();
    // Before its exec it has the words of the caller, which end with these too.
    let is_it = |line: &str| line.ends_with(" sleep 1000") && !line.contains(" exec ");
    eventually("it runs", || b.exec(&["ps"]).stdout.lines().any(is_it));
    b.stop();
    exec.wait().exits(137);
}

#[test]
fn exec_needs_a_container_that_is_not_stopped() {
    let t = Test::new();
    let b = t.bundle(&["true"]);
    b.up();
    b.becomes("stopped");
    b.exec(&["true"]).exits(255).says("cannot exec in a stopped container");
}

#[test]
fn exec_works_in_a_created_container() {
    let t = Test::new();
    let b = t.idle();
    b.create().ok();
    b.exec(&["echo", "words"]).ok().prints("words");
    assert_eq!(b.status(), "created");
}

#[test]
fn exec_says_in_runcs_words_why_a_program_cannot_be_executed() {
    let t = Test::new();
    let b = running(&t);
    b.exec(&["nonexistent"]).exits(255).says("exec: \"nonexistent\": executable file not found in $PATH");
    b.exec(&["/nonexistent"]).exits(255).says("no such file or directory");
    b.exec(&["/etc/passwd"]).exits(255).says("permission denied");
    b.exec(&[]).exits(255).says("args cannot be empty");
}

#[test]
fn no_new_privileges_holds_for_exec() {
    let t = Test::new();
    for (wanted, shown) in [(true, "NoNewPrivs:\t1"), (false, "NoNewPrivs:\t0")] {
        let b = t.idle().set("/process/noNewPrivileges", wanted);
        b.up();
        b.exec(&["grep", "NoNewPrivs", "/proc/self/status"]).ok().prints(shown);
    }
    let b = t.idle().set("/process/noNewPrivileges", false);
    b.up();
    b.exec_with(&["--no-new-privs"], &["grep", "NoNewPrivs", "/proc/self/status"]).run().ok().prints("NoNewPrivs:\t1");
}

#[test]
fn limits_and_oom_score_hold_for_exec() {
    let t = Test::new();
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 111, "hard": 222}]);
    let b = t.idle().set("/process/rlimits", limit).set("/process/oomScoreAdj", 321);
    b.up();
    b.exec(&["sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"]).ok().prints("111\n222\n321");
}
