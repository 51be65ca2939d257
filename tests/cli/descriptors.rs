//! What is handed from the runtime's caller to the program beyond the standard streams.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::support::{Cmd, Test, eventually, is_minicon, patience};

/// Opens a file as 3 in the caller of the runtime.
fn with_a_file(t: &Test, call: Cmd, before: &str) -> Cmd {
    let file = t.file("words", "some words\n");
    call.through(&format!("exec 3<{}; {before} exec \"$@\"", file.display()))
}

#[test]
fn preserved_descriptors_reach_the_program() {
    let t = Test::new();
    let b = t.sh("cat <&3");
    with_a_file(&t, b.on_bundle("run", &["--preserve-fds", "1"]), "").run().ok().prints("some words");
    let b = t.idle();
    b.up();
    with_a_file(&t, b.exec_with(&["--preserve-fds=1"], &["sh", "-c", "cat <&3"]), "").run().ok().prints("some words");
}

#[test]
fn other_descriptors_do_not() {
    let t = Test::new();
    let b = t.bundle(&["ls", "/proc/self/fd"]);
    with_a_file(&t, b.on_bundle("run", &[]), "").run().ok().prints("0\n1\n2\n3");
    with_a_file(&t, b.on_bundle("run", &[]), "exec 9<&3;").run().ok().prints("0\n1\n2\n3");
    let b = t.idle();
    b.up();
    with_a_file(&t, b.exec_with(&[], &["ls", "/proc/self/fd"]), "exec 9<&3;").run().ok().prints("0\n1\n2\n3");
}

/// sd_listen_fds(3).
#[test]
fn sockets_of_the_service_manager_reach_the_program() {
    let t = Test::new();
    let b = t.sh("echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; cat <&3");
    let call = with_a_file(&t, b.on_bundle("run", &[]), "export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web;");
    call.run().ok().prints(if is_minicon() { "1 1 web\nsome words" } else { "1 1\nsome words" });
}

#[test]
fn sockets_meant_for_another_process_do_not() {
    let t = Test::new();
    let b = t.sh("echo \"<$LISTEN_FDS>\"; ls /proc/self/fd");
    let call = with_a_file(&t, b.on_bundle("run", &[]), "export LISTEN_FDS=1 LISTEN_PID=1;");
    call.run().ok().prints("<>\n0\n1\n2\n3");
}

/// sd_notify(3): the program gets a socket of its own, below `/run/notify`.
#[test]
fn the_notification_socket_is_offered() {
    let Some(t) = Test::of_minicon("runc waits for READY=1 although the program has ended") else { return };
    let socket = UnixDatagram::bind(t.path("notify")).expect("bind");
    let b = t.sh("echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo socket").own_rootfs();
    let output = b.on_bundle("run", &[]).env("NOTIFY_SOCKET", t.path("notify")).run().ok();
    output.prints("/run/notify/notify.sock\nsocket");
    drop(socket);
}

/// Whoever starts the container in the background ends when it is ready, and not before its manager has heard so: it asks
/// who has told it, see `NotifyAccess=` in systemd.service(5) and `BARRIER=1` in sd_notify(3).
#[test]
fn readiness_is_passed_on_with_the_pid_and_a_barrier() {
    let Some(t) = Test::of_minicon("runc 1.1.5 sends no BARRIER=1") else { return };
    let manager = UnixDatagram::bind(t.path("notify")).expect("bind");
    for verb in ["run", "start"] {
        let b = t.idle().own_rootfs();
        if verb == "start" {
            b.on_bundle("create", &[]).env("NOTIFY_SOCKET", t.path("notify")).run().ok();
        }
        let call = if verb == "run" { b.on_bundle("run", &["--detach"]) } else { b.verb("start", &[]) };
        let mut running = call.env("NOTIFY_SOCKET", t.path("notify")).spawn();
        let inner = t.root().join(&b.id).join("notify/notify.sock");
        eventually("it listens", || inner.exists());
        b.becomes("running");
        let program = UnixDatagram::unbound().expect("socket");
        program.send_to(b"STATUS=warming up", &inner).expect("send");
        program.send_to(b"READY=1", &inner).expect("send");
        let mut told = String::new();
        let barrier = loop {
            let (text, mut descriptors) = receive(&manager);
            match text.as_str() {
                "BARRIER=1" => break descriptors.pop().expect("a descriptor"),
                text => told.push_str(&format!("{text}\n")),
            }
        };
        assert!(!running.has_ended(), "{verb} waits for its manager");
        drop(barrier);
        running.wait().ok();
        let lines: Vec<_> = told.lines().collect();
        assert!(lines.contains(&"READY=1") && lines.contains(&&*format!("MAINPID={}", b.pid())), "{told}");
    }
}

/// A datagram and the descriptors with it.
fn receive(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 4096];
    socket.set_read_timeout(Some(patience(20))).expect("setsockopt");
    let message = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
    bytes.truncate(message.expect("a message").bytes);
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            descriptors.extend(sent);
        }
    }
    (String::from_utf8_lossy(&bytes).into_owned(), descriptors)
}
