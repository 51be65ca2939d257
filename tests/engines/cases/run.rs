//! `podman run` in the foreground: output, exit code, input, terminal, and what the process finds around it.

use anyhow::{Result, ensure};

use super::{Case, exits, holds, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "run_echo", check: echo },
    Case { name: "run_exit_code", check: exit_code },
    Case { name: "run_killed_by_signal", check: killed_by_signal },
    Case { name: "run_stdin", check: stdin },
    Case { name: "run_streams", check: streams },
    Case { name: "run_terminal", check: terminal },
    Case { name: "run_workdir_and_env", check: workdir_and_env },
    Case { name: "run_hostname", check: hostname },
    Case { name: "run_init", check: init },
    Case { name: "run_preserve_fds", check: preserve_fds },
    Case { name: "run_no_stray_fds", check: no_stray_fds },
    Case { name: "run_signal_dispositions", check: signal_dispositions },
    Case { name: "run_timeout", check: timeout },
    Case { name: "run_annotation", check: annotation },
    Case { name: "run_rm_leaves_nothing", check: rm_leaves_nothing },
    Case { name: "run_rootfs", check: rootfs },
    Case { name: "run_sdnotify", check: sdnotify },
    Case { name: "run_log_driver_none", check: log_driver_none },
];

fn echo(e: &Engine) -> Result<()> {
    same(e.ok(&format!("run --rm {NAME} echo ok"))?, "ok")
}

fn exit_code(e: &Engine) -> Result<()> {
    exits(&e.podman_with(&format!("run --rm --network none {NAME} sh -c"), &["exit 42"])?, 42)
}

/// A process in the container that dies by a signal, seen through a shell and through an init.
fn killed_by_signal(e: &Engine) -> Result<()> {
    let options = format!("run --rm --network none --init {NAME} sh -c");
    exits(&e.podman_with(&options, &["kill -TERM $$"])?, 128 + 15)
}

fn stdin(e: &Engine) -> Result<()> {
    let run = format!("run --rm -i --network none {NAME} cat");
    same(e.podman_reading(&run, &[], "one\ntwo\n")?.out, "one\ntwo\n")
}

fn streams(e: &Engine) -> Result<()> {
    let run = format!("run --rm --network none {NAME} sh -c");
    let outcome = e.podman_with(&run, &["echo out; echo err >&2"])?;
    same(outcome.out, "out\n")?;
    same(outcome.err, "err\n")
}

/// -it: a terminal of the right size, and /dev/console is that terminal.
fn terminal(e: &Engine) -> Result<()> {
    // conmon sets the size after the start, so the script waits for it a little.
    let script = "tty; until stty size 2>/dev/null | grep -q '^[1-9]'; do sleep 0.1; done; stty size
        ls -l /dev/console | cut -c1; test -t 1 && test -t 2 && echo all; echo $TERM; exit 5";
    let outcome = e.podman_on_terminal(&format!("run --rm -it --network none {NAME} sh -c"), &[script])?;
    same(&outcome.out, "/dev/pts/0\n37 111\nc\nall\nxterm\n")?;
    exits(&outcome, 5)
}

fn workdir_and_env(e: &Engine) -> Result<()> {
    same(
        e.sh("--workdir /usr/bin --env A=1 --env B=", "pwd; echo \"$A,${B-unset},$PATH\"")?,
        "/usr/bin\n1,,/usr/bin:/bin",
    )
}

fn hostname(e: &Engine) -> Result<()> {
    same(
        e.sh("--hostname web.example", "echo $(hostname) $(cat /etc/hostname) $(cat /proc/sys/kernel/hostname)")?,
        ["web.example"; 3].join(" "),
    )
}

/// --init: podman's catatonit, mounted as podman-init, is the first process and starts ours.
fn init(e: &Engine) -> Result<()> {
    same(e.sh("--init", "cat /proc/1/comm; test $$ -gt 1 && echo below")?, "podman-init\nbelow")
}

/// --preserve-fds hands descriptors 3.. to the program.
fn preserve_fds(e: &Engine) -> Result<()> {
    std::fs::write(e.path("three"), "from fd 3\n")?;
    let shell = ["sh", "-c", "exec \"$@\" 3<\"$0\"", &e.path("three")];
    let run = format!("run --rm --network none --preserve-fds 1 {NAME} sh -c");
    let outcome = crate::process::run(&mut e.command(&shell, &run, &["cat <&3"]), "")?;
    same(outcome.out, "from fd 3\n")
}

/// The program gets its three streams and nothing else (CVE-2024-21626).
fn no_stray_fds(e: &Engine) -> Result<()> {
    // ls itself has the directory open as 3.
    same(e.sh("", "exec ls /proc/self/fd")?, "0\n1\n2\n3")
}

/// No signal is blocked or ignored by what the runtime left behind.
fn signal_dispositions(e: &Engine) -> Result<()> {
    let status = e.ok(&format!("run --rm --network none {NAME} cat /proc/self/status"))?;
    same(super::field(&status, "SigBlk")?, "0000000000000000")?;
    // conmon ignores SIGPIPE and the runtime undoes that. Signal 32 belongs to the C library (runc leaves it ignored).
    let ignored = super::field(&status, "SigIgn")?;
    ensure!(["0000000000000000", "0000000080000000"].contains(&ignored.as_str()), "ignored: {ignored}");
    Ok(())
}

fn timeout(e: &Engine) -> Result<()> {
    let outcome = e.podman(&format!("run --rm --network none --timeout 1 {NAME} sleep 50"))?;
    ensure!(outcome.code != 0, "the container was not stopped");
    Ok(())
}

/// Annotations reach the runtime, whose `state` gives them back, with the pid that podman knows.
fn annotation(e: &Engine) -> Result<()> {
    let id = e.start_sh("annotated", "--annotation org.example.key=value", "sleep 50")?;
    let state = e.inside(&[&e.runtime.to_string_lossy(), "state", &id])?;
    exits(&state, 0)?;
    let state: serde_json::Value = serde_json::from_str(&state.out)?;
    ensure!(state["annotations"]["org.example.key"] == "value", "{state}");
    ensure!(state["status"] == "running" && state["id"] == id.as_str(), "{state}");
    ensure!(state["pid"] == e.pid("annotated")?, "{state}");
    Ok(())
}

/// --rm: neither podman nor the runtime know a container afterwards.
fn rm_leaves_nothing(e: &Engine) -> Result<()> {
    e.sh("--name short", "true")?;
    same(e.ok("ps --all --quiet")?, "")?;
    let list = e.inside(&[&e.runtime.to_string_lossy(), "list", "--quiet"])?;
    exits(&list, 0)?;
    same(list.out, "")
}

/// --rootfs: no image, the root is a plain directory, and stays writable.
fn rootfs(e: &Engine) -> Result<()> {
    let root = e.path("plain-root");
    crate::image::build(root.as_ref())?;
    let run = format!("run --rm --network none --rootfs {root} /bin/sh -c");
    same(e.ok_with(&run, &["echo written > /file; /bin/cat /file"])?, "written")?;
    same(std::fs::read_to_string(format!("{root}/file"))?, "written\n")
}

/// --sdnotify=container: the program finds a NOTIFY_SOCKET it can reach.
fn sdnotify(e: &Engine) -> Result<()> {
    let path = e.path("notify.sock");
    let _socket = std::os::unix::net::UnixDatagram::bind(&path)?;
    let run = format!("run --rm --network none --sdnotify=container {NAME} sh -c");
    let mut command = e.command(&[], &run, &["test -S \"$NOTIFY_SOCKET\" && echo socket"]);
    let outcome = crate::process::run(command.env("NOTIFY_SOCKET", &path), "")?;
    holds(outcome.out, "socket")
}

fn log_driver_none(e: &Engine) -> Result<()> {
    same(e.sh("--log-driver none", "echo heard")?, "heard")
}
