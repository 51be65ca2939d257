//! What is handed from the runtime's caller to the program beyond the standard streams.

use crate::support::{Cmd, Test};

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
    let b = t.sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3");
    let call = with_a_file(&t, b.on_bundle("run", &[]), "export LISTEN_FDS=1 LISTEN_PID=$$;");
    call.run().ok().prints("1 1\nsome words");
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
    let socket = std::os::unix::net::UnixDatagram::bind(t.path("notify")).expect("bind");
    let b = t.sh("echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo socket").own_rootfs();
    let output = b.on_bundle("run", &[]).env("NOTIFY_SOCKET", t.path("notify")).run().ok();
    output.prints("/run/notify/notify.sock\nsocket");
    drop(socket);
}
