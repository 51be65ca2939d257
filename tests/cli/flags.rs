//! Flags of the commands, each by what it changes.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::terminal::FdSocket;
use crate::support::{Bundle, Cmd, Test, eventually, is_minicon};

/// The process that a pidfd is of, see pidfd_open(2).
fn process_of(pidfd: &OwnedFd) -> i32 {
    let information = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("fdinfo");
    let pid = information.lines().find_map(|line| line.strip_prefix("Pid:\t")).expect("a pidfd");
    pid.trim().parse().expect("a pid")
}

fn test_of_pidfds() -> Option<Test> {
    Test::of_minicon("runc before 1.2 has no --pidfd-socket")
}

#[test]
fn a_pidfd_socket_gets_a_descriptor_of_init() {
    let Some(t) = test_of_pidfds() else { return };
    let socket = FdSocket::listen(&t, "pidfd");
    for (verb, flags) in [("create", &[][..]), ("run", &["--detach"])] {
        let b = t.idle();
        b.on_bundle(verb, &[&["--pidfd-socket", socket.arg()], flags].concat()).run().ok();
        let (_, descriptors) = socket.receive();
        assert_eq!(descriptors.iter().map(process_of).collect::<Vec<_>>(), [b.pid()], "{verb}");
    }
    let b = t.idle();
    b.on_bundle("create", &["--pidfd-socket", "/no/such/socket"]).run().fails("/no/such/socket");
    b.is_gone();
}

#[test]
fn a_pidfd_socket_gets_a_descriptor_of_what_exec_starts() {
    let Some(t) = test_of_pidfds() else { return };
    let socket = FdSocket::listen(&t, "pidfd");
    let b = t.idle();
    b.up();
    let file = t.path("pid");
    let flags = ["--detach", "--pidfd-socket", socket.arg(), "--pid-file", file.to_str().expect("UTF-8")];
    b.exec_with(&flags, &["sleep", "1000"]).run().ok();
    let pid: i32 = fs::read_to_string(file).expect("the pid file").parse().expect("a pid");
    assert_eq!(socket.receive().1.iter().map(process_of).collect::<Vec<_>>(), [pid]);
    b.exec_with(&["--pidfd-socket", "/no/such/socket"], &["true"]).run().exits(255).says("/no/such/socket");
}

/// The parent of an orphan of a container without a pid namespace.
fn parent_of_orphan(b: &Bundle<'_>) -> Option<i32> {
    let pid = fs::read_to_string(b.rootfs().join("tmp/orphan")).ok()?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"))?;
    parent.parse().ok()
}

#[test]
fn orphans_come_to_the_runtime_unless_it_is_no_subreaper() {
    let t = Test::new();
    for (flags, comes_to_us) in [(&[][..], true), (&["--no-subreaper"], false)] {
        let script = "(sh -c 'echo $$ >/tmp/orphan; exec sleep 1000' & ); exec sleep 1000";
        let b = t.sh(script).own_rootfs().share("pid");
        let running = b.on_bundle("run", flags).spawn();
        let ours = running.pid();
        eventually("the orphan is adopted", || {
            parent_of_orphan(&b).is_some_and(|parent| (parent == ours) == comes_to_us && parent > 0)
        });
        b.kill("KILL").ok();
        running.wait().exits(137);
    }
}

#[test]
fn a_container_has_a_session_keyring_unless_told_not_to() {
    let Some((t, ())) = Test::where_found(
        || fs::exists("/proc/keys").unwrap_or(false).then_some(()),
        "this kernel has no keyrings (no /proc/keys)",
    ) else {
        return;
    };
    let names = |flags: &[&str]| {
        let b = t.sh("cat /proc/keys").set("/linux/maskedPaths", json!([]));
        let output = b.on_bundle("run", flags).run().ok();
        output.stdout.contains(&format!("_ses.{}", b.id))
    };
    assert!(names(&[]), "a keyring named after the container");
    assert!(!names(&["--no-new-keyring"]), "none");
}

/// The process waits where the container's stand still, and runs when they do.
#[test]
fn exec_needs_a_word_to_enter_a_paused_container() {
    let Some(t) = Test::of_minicon("runc 1.1.5 on v1 waits for the frozen process before it knows its pid") else {
        return;
    };
    let b = t.idle();
    b.up();
    b.verb("pause", &[]).run().ok();
    b.exec(&["true"]).exits(255).says("cannot exec in a paused container (use --ignore-paused to override)");
    let exec = b.exec_with(&["--ignore-paused"], &["echo", "ran"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(100));
    b.verb("resume", &[]).run().ok();
    exec.wait().ok().prints("ran");
}

/// A cgroup below the container's, in which exec puts its process: in the hierarchies of the controllers that are named.
#[test]
fn exec_goes_into_a_cgroup_below() {
    let Some(t) = Test::of_minicon("runc 1.1.5 wants each hierarchy of v1 named") else { return };
    let b = t.idle();
    b.up();
    let (pids, memory) = (b.cgroup("pids"), b.cgroup("memory"));
    let is_v1 = pids != memory;
    fs::create_dir(pids.join("sub")).expect("mkdir");
    // Only where there are no others it takes no name.
    let flags = if is_v1 { "pids:sub" } else { "sub" };
    let output = b.exec_with(&["--cgroup", flags], &["sh", "-c", "cat /proc/self/cgroup"]).run().ok();
    let is_below = |line: &&str| line.ends_with("/sub");
    let below: Vec<&str> = output.lines().into_iter().filter(is_below).collect();
    assert!(below.len() == 1 && (!is_v1 || below[0].contains(":pids:")), "{}", output.stdout);
    for (flags, why) in [
        (&["--cgroup", "nonesuch:sub"][..], "unknown controller nonesuch"),
        (&["--cgroup", "../sub"], "bad sub cgroup path"),
        (&["--cgroup", ":sub"], "empty <controller> prefix"),
        (&["--cgroup", "pids:a", "--cgroup", "b"], "missing <controller>: prefix"),
        (&["--cgroup", "pids:a", "--cgroup", "pids:b"], "controller pids specified multiple times"),
    ] {
        b.exec_with(flags, &["true"]).run().exits(255).says(why);
    }
}

/// A label that cannot be given is an error: the process would run without the confinement that it asks for.
#[test]
fn exec_refuses_a_label_that_nobody_can_give() {
    let Some(t) = Test::of_minicon("runc runs without the label") else { return };
    let b = t.idle();
    b.up();
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        b.exec_with(&["--process-label", "system_u:x:y:s0"], &["true"]).run().exits(255).says("SELinux is not enabled");
    }
    if !fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|enabled| enabled.starts_with('Y')) {
        b.exec_with(&["--apparmor", "profile"], &["true"]).run().exits(255).says("AppArmor is not enabled");
    }
}

/// crun's `-f`.
#[test]
fn another_file_may_be_the_configuration() {
    let Some(t) = Test::of_minicon("runc takes config.json only") else { return };
    let b = t.sh("echo config.json").own_rootfs();
    b.write();
    let mut other = b.config.clone();
    other["process"]["args"] = json!(["echo", "other"]);
    let file = t.file("other.json", &other.to_string());
    for flag in ["--config", "-f"] {
        let output = b.on_bundle("run", &[flag, file.to_str().expect("UTF-8")]).run().ok();
        output.prints("other");
    }
    let here = b.on_bundle("run", &["-f", "other.json"]).dir(file.parent().expect("a directory")).run().ok();
    here.prints("other");
    b.on_bundle("run", &["--config", "/no/such/file"]).run().fails("/no/such/file");
    b.run().ok().prints("config.json");
}

/// What counts after create is that file: exec and state go on with it.
#[test]
fn another_configuration_holds_for_the_whole_life() {
    let Some(t) = Test::of_minicon("runc takes config.json only") else { return };
    let b = t.idle();
    let mut other = b.config.clone();
    other["process"]["env"] = json!(["PATH=/bin", "A=other"]);
    other["annotations"] = json!({"which": "other"});
    let file = t.file("other.json", &other.to_string());
    b.on_bundle("create", &["--config", file.to_str().expect("UTF-8")]).run().ok();
    b.exec(&["sh", "-c", "echo $A"]).ok().prints("other");
    assert_eq!(b.state()["annotations"]["which"], "other");
}

#[test]
fn spec_writes_to_a_file_that_is_named() {
    let Some(t) = Test::of_minicon("runc writes config.json only") else { return };
    let dir = t.directory("bundle");
    for _ in 0..2 {
        t.runtime(["spec", "--file", "other.json", "--bundle"]).arg(&dir).run().ok();
    }
    t.runtime(["spec", "-f"]).arg(t.path("elsewhere.json")).dir(&dir).run().ok();
    for file in [dir.join("other.json"), t.path("elsewhere.json")] {
        let config: Value = serde_json::from_slice(&fs::read(file).expect("written")).expect("JSON");
        assert_eq!(config["process"]["args"], json!(["sh"]));
    }
    assert!(!dir.join("config.json").exists());
}

#[test]
fn kill_and_delete_take_a_regular_expression() {
    let Some(t) = Test::of_minicon("runc takes one name") else { return };
    let all: Vec<Bundle<'_>> = (0..3).map(|_| t.idle()).collect();
    all.iter().for_each(|b| drop(b.up()));
    let names = |t: &Test| t.runtime(["list", "-q"]).run().ok().lines().len();
    // The ids end with a hyphen and a number.
    t.runtime(["kill", "--regex", "[-](1|2)$", "KILL"]).run().ok();
    all[..2].iter().for_each(|b| b.becomes("stopped"));
    assert_eq!(all[2].status(), "running");
    // The one that runs refuses, and is told.
    t.runtime(["delete", "--regex", "."]).run().ok().says(&format!("{}: cannot delete container", all[2].id));
    assert_eq!(names(&t), 1);
    t.runtime(["delete", "-r", "-f", "nothing-like-it"]).run().ok();
    assert_eq!(names(&t), 1);
    t.runtime(["delete", "-r", "--force", "^mc"]).run().ok();
    assert_eq!(names(&t), 0);
    for verb in ["kill", "delete"] {
        t.runtime([verb, "--regex", "("]).run().fails("invalid regular expression");
    }
}

#[test]
fn kill_all_reaches_every_process_and_nobody_is_no_failure() {
    let t = Test::new();
    let b = t.sh("sleep 1000 & sleep 1000 & wait").share("pid");
    b.up();
    let procs = b.cgroup("pids").join("cgroup.procs");
    eventually("all run", || fs::read_to_string(&procs).is_ok_and(|text| text.lines().count() == 3));
    b.verb("kill", &["KILL"]).run().ok();
    b.becomes("stopped");
    t.runtime(["kill", "--all", &b.id, "KILL"]).run().ok();
    eventually("nobody is left", || fs::read_to_string(&procs).map_or(true, |text| text.is_empty()));
    b.kill("TERM").fails("container not running");
    t.runtime(["kill", "-a", &b.id]).run().ok();
}

/// Which messages are written: `--log-level` is crun's, `--debug` is everybody's.
#[test]
fn the_log_level_says_what_is_written() {
    let Some(t) = Test::of_minicon("runc has --debug only") else { return };
    let b = t.bundle(&["true"]).capabilities(&["CAP_KILL", "CAP_FLY"]);
    b.write();
    for (flags, warns, debugs) in [
        (&["--log-level", "error"][..], false, false),
        (&["--log-level=warning"], true, false),
        (&[], true, false),
        (&["--log-level", "debug"], true, true),
        (&["--debug"], true, true),
    ] {
        let output = t.runtime(flags).args(["run", "--bundle"]).arg(&b.dir).arg(&b.id).run().ok();
        let said = (output.stderr.contains("CAP_FLY"), output.stderr.contains("debug: "));
        assert_eq!(said, (warns, debugs), "{flags:?}: {}", output.stderr);
    }
    t.runtime(["--log-level", "loud", "list"]).run().fails("invalid log-level: loud");
}

/// A daemon's socket, and the runtime called where it lies at the path that is usual, in a mount namespace of its own.
fn with_daemon(t: &Test, path: &str, call: Cmd) -> (String, String) {
    let socket = std::os::unix::net::UnixDatagram::bind(t.path("daemon")).expect("bind");
    let path = PathBuf::from(path);
    let directory = path.parent().expect("a directory").display().to_string();
    let top = if directory.starts_with("/run") { "/run" } else { "/dev" };
    let prepare = format!(
        "mount -t tmpfs x {top} && mkdir -p {directory} && ln -s {} {}",
        t.path("daemon").display(),
        path.display()
    );
    let script = format!("exec unshare -m sh -c '{prepare} && exec \"$@\"' sh \"$@\"");
    let output = call.through(&script).run().fails("container does not exist");
    let mut buffer = vec![0; 4096];
    socket.set_nonblocking(true).expect("fcntl");
    let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no message ({error}): {}", output.stderr));
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), output.stderr)
}

#[test]
fn the_log_may_be_syslog_or_the_journal() {
    let Some(t) = Test::of_minicon("runc writes files only") else { return };
    let (message, _) = with_daemon(&t, "/dev/log", t.runtime(["--log", "syslog:", "state", "nothing"]));
    assert!(message.starts_with("<11>minicon[") && message.contains("]: container does not exist"), "{message}");
    fs::remove_file(t.path("daemon")).expect("unlink");
    let (message, _) = with_daemon(&t, "/dev/log", t.runtime(["--log", "syslog:web", "state", "nothing"]));
    assert!(message.starts_with("<11>web["), "{message}");
    fs::remove_file(t.path("daemon")).expect("unlink");
    let call = t.runtime(["--log=journald:web", "state", "nothing"]);
    let (message, stderr) = with_daemon(&t, "/run/systemd/journal/socket", call);
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines[..3], ["PRIORITY=3", "SYSLOG_IDENTIFIER=minicon", "ID=web"]);
    assert!(lines[3].starts_with("MESSAGE=container does not exist"), "{message}");
    assert!(stderr.contains("container does not exist"), "as with a file, the error is on stderr, too");
}

#[test]
fn the_log_may_be_a_file_by_crun_s_name() {
    let Some(t) = Test::of_minicon("runc takes it as a name with a colon") else { return };
    let file = t.path("log:with:colons");
    t.runtime([&format!("--log=file:{}", file.display()), "state", "nothing"]).run().exits(1);
    t.runtime(["--log", file.to_str().expect("UTF-8"), "state", "nothing"]).run().exits(1);
    let text = fs::read_to_string(file).expect("the log");
    assert_eq!(text.matches("container does not exist").count(), 2, "{text}");
    if !Path::new("/dev/log").exists() {
        t.runtime(["--log", "syslog:", "list"]).run().fails("open the log /dev/log");
    }
    t.runtime(["--log", "/no/such/directory/log", "list"]).run().fails("open the log /no/such/directory/log");
}

#[test]
fn rootless_is_true_false_or_auto() {
    let t = Test::new();
    for mode in ["true", "false", "auto"] {
        t.runtime(["--rootless", mode, "list"]).run().ok();
    }
    // runc looks at it only when it makes a container.
    let output = t.runtime(["--rootless", "perhaps", "list"]).run();
    assert!(!is_minicon() || output.fails("invalid --rootless: perhaps").stdout.is_empty());
}

/// containers/go-runc splits the lines of `--version` at "version " and ": "; moby looks for the first two of them.
#[test]
fn the_version_is_parsed_as_clients_parse_it() {
    let t = Test::new();
    let output = t.runtime(["--version"]).run().ok();
    let lines = output.lines();
    let version = lines[0].split_once("version ").expect("the version").1;
    assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{version}");
    let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    assert!(value("commit: ").is_some_and(|commit| !commit.is_empty()));
    assert!(value("spec: ").is_some_and(|spec| spec.starts_with("1.")));
    assert!(!is_minicon() || version == env!("CARGO_PKG_VERSION"));
}

/// runc answers a call without a command with its help, as a success.
#[test]
fn help_is_for_people() {
    let Some(t) = Test::of_minicon("other words") else { return };
    for words in [&[][..], &["--help"], &["-h"], &["help"], &["--root", "/r"]] {
        let output = Cmd::new(crate::support::program()).args(words).run().ok();
        output.shows("The life of a container:\n  run ").shows("\nExamples:\n").shows("--root <DIR>");
    }
    t.runtime(["exec", "--help"])
        .run()
        .ok()
        .shows("Execute another program")
        .shows("Examples:\n  minicon exec -t web sh");
    t.runtime(["help", "kill"]).run().ok().shows("Send a signal").shows("--regex");
    t.runtime(["frobnicate"]).run().fails("frobnicate").says("Usage: minicon");
    t.runtime(["strat", "x"]).run().fails("'start'");
}
