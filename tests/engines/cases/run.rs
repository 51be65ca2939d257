//! `podman run` in the foreground: output, exit code, input, terminal, and what the process finds around it.

use anyhow::{Result, ensure};

use super::{Case, EVERY, PODMAN, PODMANS, exits, holds, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "run_echo", by: EVERY, check: echo },
    Case { name: "run_exit_code", by: EVERY, check: exit_code },
    Case { name: "run_killed_by_signal", by: EVERY, check: killed_by_signal },
    Case { name: "run_stdin", by: EVERY, check: stdin },
    Case { name: "run_streams", by: EVERY, check: streams },
    Case { name: "run_terminal", by: EVERY, check: terminal },
    Case { name: "run_workdir_and_env", by: EVERY, check: workdir_and_env },
    Case { name: "run_hostname", by: EVERY, check: hostname },
    Case { name: "run_init", by: EVERY, check: init },
    Case { name: "run_preserve_fds", by: PODMANS, check: preserve_fds },
    Case { name: "run_no_stray_fds", by: EVERY, check: no_stray_fds },
    Case { name: "run_signal_dispositions", by: EVERY, check: signal_dispositions },
    Case { name: "run_timeout", by: PODMANS, check: timeout },
    Case { name: "run_annotation", by: PODMANS, check: annotation },
    Case { name: "run_rm_leaves_nothing", by: EVERY, check: rm_leaves_nothing },
    Case { name: "run_rootfs", by: PODMAN, check: rootfs },
    Case { name: "run_sdnotify", by: PODMANS, check: sdnotify },
    Case { name: "run_log_driver_none", by: EVERY, check: log_driver_none },
];

fn echo(e: &dyn Engine) -> Result<()> {
    same(e.ok(&format!("run --rm --network none {NAME} echo ok"))?, "ok")
}

fn exit_code(e: &dyn Engine) -> Result<()> {
    exits(&e.call_with(&format!("run --rm --network none {NAME} sh -c"), &["exit 42"])?, 42)
}

/// A process in the container that dies by a signal, seen through a shell and through an init.
fn killed_by_signal(e: &dyn Engine) -> Result<()> {
    let options = format!("run --rm --network none --init {NAME} sh -c");
    exits(&e.call_with(&options, &["kill -TERM $$"])?, 128 + 15)
}

fn stdin(e: &dyn Engine) -> Result<()> {
    let run = format!("run --rm -i --network none {NAME} cat");
    same(e.call_reading(&run, &[], "one\ntwo\n")?.out, "one\ntwo\n")
}

fn streams(e: &dyn Engine) -> Result<()> {
    let run = format!("run --rm --network none {NAME} sh -c");
    let outcome = e.call_with(&run, &["echo out; echo err >&2"])?;
    same(outcome.out, "out\n")?;
    same(outcome.err, "err\n")
}

/// -it: a terminal of the right size, and /dev/console is that terminal.
fn terminal(e: &dyn Engine) -> Result<()> {
    // conmon sets the size after the start, so the script waits for it a little.
    let script = "tty; until stty size 2>/dev/null | grep -q '^[1-9]'; do sleep 0.1; done; stty size
        ls -l /dev/console | cut -c1; test -t 1 && test -t 2 && echo all; echo $TERM; exit 5";
    let outcome = e.call_on_terminal(&format!("run --rm -it --network none {NAME} sh -c"), &[script])?;
    same(&outcome.out, "/dev/pts/0\n37 111\nc\nall\nxterm\n")?;
    exits(&outcome, 5)
}

fn workdir_and_env(e: &dyn Engine) -> Result<()> {
    same(
        e.sh("--workdir /usr/bin --env A=1 --env B=", "pwd; echo \"$A,${B-unset},$PATH\"")?,
        "/usr/bin\n1,,/usr/bin:/bin",
    )
}

fn hostname(e: &dyn Engine) -> Result<()> {
    same(
        e.sh("--hostname web.example", "echo $(hostname) $(cat /etc/hostname) $(cat /proc/sys/kernel/hostname)")?,
        ["web.example"; 3].join(" "),
    )
}

/// --init: catatonit, mounted as podman-init, or tini as docker-init, is the first process and starts ours.
fn init(e: &dyn Engine) -> Result<()> {
    let name = if e.is_docker() { "docker-init" } else { "podman-init" };
    same(e.sh("--init", "cat /proc/1/comm; test $$ -gt 1 && echo below")?, format!("{name}\nbelow"))
}

/// --preserve-fds hands descriptors 3.. to the program.
fn preserve_fds(e: &dyn Engine) -> Result<()> {
    std::fs::write(e.path("three"), "from fd 3\n")?;
    let shell = ["sh", "-c", "exec \"$@\" 3<\"$0\"", &e.path("three")];
    let run = format!("run --rm --network none --preserve-fds 1 {NAME} sh -c");
    let outcome = crate::process::run(&mut e.command(&shell, &run, &["cat <&3"]), "")?;
    same(outcome.out, "from fd 3\n")
}

/// The program gets its three streams and nothing else (CVE-2024-21626).
fn no_stray_fds(e: &dyn Engine) -> Result<()> {
    // ls itself has the directory open as 3.
    same(e.sh("", "exec ls /proc/self/fd")?, "0\n1\n2\n3")
}

/// No signal is blocked or ignored by what the runtime left behind.
fn signal_dispositions(e: &dyn Engine) -> Result<()> {
    let status = e.ok(&format!("run --rm --network none {NAME} cat /proc/self/status"))?;
    same(super::field(&status, "SigBlk")?, "0000000000000000")?;
    // conmon ignores SIGPIPE and the runtime undoes that. Signal 32 belongs to the C library (runc leaves it ignored).
    let ignored = super::field(&status, "SigIgn")?;
    ensure!(["0000000000000000", "0000000080000000"].contains(&ignored.as_str()), "ignored: {ignored}");
    Ok(())
}

fn timeout(e: &dyn Engine) -> Result<()> {
    let outcome = e.call(&format!("run --rm --network none --timeout 1 {NAME} sleep 50"))?;
    ensure!(outcome.code != 0, "the container was not stopped");
    Ok(())
}

/// Annotations reach the runtime, whose `state` gives them back, with the pid that podman knows.
fn annotation(e: &dyn Engine) -> Result<()> {
    let id = e.start_sh("annotated", "--annotation org.example.key=value", "sleep 50")?;
    let state = e.runtime(&["state", &id])?;
    exits(&state, 0)?;
    let state: serde_json::Value = serde_json::from_str(&state.out)?;
    ensure!(state["annotations"]["org.example.key"] == "value", "{state}");
    ensure!(state["status"] == "running" && state["id"] == id.as_str(), "{state}");
    ensure!(state["pid"] == e.pid("annotated")?, "{state}");
    Ok(())
}

/// --rm: neither podman nor the runtime know a container afterwards.
fn rm_leaves_nothing(e: &dyn Engine) -> Result<()> {
    e.sh("--name short", "true")?;
    same(e.ok("ps --all --quiet")?, "")?;
    let list = e.runtime(&["list", "--quiet"])?;
    exits(&list, 0)?;
    same(list.out, "")
}

/// --rootfs: no image, the root is a plain directory, and stays writable.
fn rootfs(e: &dyn Engine) -> Result<()> {
    let root = e.path("plain-root");
    crate::image::build(root.as_ref())?;
    let run = format!("run --rm --network none --rootfs {root} /bin/sh -c");
    same(e.ok_with(&run, &["echo written > /file; /bin/cat /file"])?, "written")?;
    same(std::fs::read_to_string(format!("{root}/file"))?, "written\n")
}

/// --sdnotify=container: the program finds a NOTIFY_SOCKET it can reach.
fn sdnotify(e: &dyn Engine) -> Result<()> {
    let path = e.path("notify.sock");
    let _socket = std::os::unix::net::UnixDatagram::bind(&path)?;
    let run = format!("run --rm --network none --sdnotify=container {NAME} sh -c");
    let mut command = e.command(&[], &run, &["test -S \"$NOTIFY_SOCKET\" && echo socket"]);
    let outcome = crate::process::run(command.env("NOTIFY_SOCKET", &path), "")?;
    holds(outcome.out, "socket")
}

fn log_driver_none(e: &dyn Engine) -> Result<()> {
    same(e.sh("--log-driver none", "echo heard")?, "heard")
}
