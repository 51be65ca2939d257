//! Terminals: the caller's, the container's, and the socket between them.

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use crate::support::Test;
use crate::support::terminal::{FdSocket, Terminal};

#[test]
fn without_a_terminal_there_is_none() {
    let t = Test::new();
    t.sh("tty; ls /dev/console 2>/dev/null; true").run().ok().prints("not a tty");
}

#[test]
fn a_terminal_is_made_and_connected_to_the_callers() {
    let t = Test::new();
    let b = t.sh("tty; read line; echo \"got <$line>\"; exit 7").set("/process/terminal", true);
    let (mut terminal, slave) = Terminal::open(24, 80);
    let running = b.on_bundle("run", &[]).terminal(slave);
    terminal.sees("/dev/pts/0");
    terminal.types("words\n");
    terminal.sees("got <words>");
    running.wait().exits(7);
}

#[test]
fn an_interactive_shell_works() {
    let t = Test::new();
    let b = t.bundle(&["sh"]).set("/process/terminal", true);
    let (mut terminal, slave) = Terminal::open(24, 80);
    let running = b.on_bundle("run", &[]).terminal(slave);
    terminal.sees("# ");
    terminal.types("echo $((6*7)) >/dev/console; ps\n");
    terminal.sees("42\r\n");
    terminal.types("exit 3\n");
    running.wait().exits(3);
}

/// What is captured is the text: the carriage returns that a terminal shows are none of the program's words.
#[test]
fn captured_output_has_the_programs_line_ends() {
    let t = Test::new();
    let b = t.sh("tty; echo words").set("/process/terminal", true);
    assert_eq!(b.run().ok().stdout, "/dev/pts/0\nwords\n");
    let b = t.idle();
    b.up();
    let output = b.exec_with(&["--tty"], &["sh", "-c", "echo words; printf 'raw\\r\\n'"]).run().ok();
    assert_eq!(output.stdout, "words\nraw\r\n");
    b.stop();
}

/// The program is the leader of a session whose terminal it controls: an interrupt typed reaches its child.
#[test]
fn control_c_interrupts_the_program() {
    let t = Test::new();
    let b = t.sh("trap 'echo interrupted; exit 9' INT; echo ready; sleep 1000 & wait").set("/process/terminal", true);
    let (mut terminal, slave) = Terminal::open(24, 80);
    let running = b.on_bundle("run", &[]).terminal(slave);
    terminal.sees("ready");
    terminal.types("\x03");
    terminal.sees("interrupted");
    running.wait().exits(9);
}

#[test]
fn the_callers_terminal_is_as_it_was_afterwards() {
    let t = Test::new();
    let b = t.bundle(&["tty"]).set("/process/terminal", true);
    let (_terminal, slave) = Terminal::open(24, 80);
    let ours = slave.try_clone().expect("dup");
    let before = tcgetattr(&ours).expect("tcgetattr");
    b.on_bundle("run", &[]).terminal(slave).wait().ok();
    assert_eq!(tcgetattr(&ours).expect("tcgetattr"), before);
}

#[test]
fn the_size_of_the_terminal_is_the_callers_and_follows_it() {
    let Some(t) = Test::of_minicon("runc sets the size late, on a busy machine never") else { return };
    let b = t.sh("stty size; read x; stty size").set("/process/terminal", true);
    let (mut terminal, slave) = Terminal::open(33, 77);
    let ours = slave.try_clone().expect("dup");
    let running = b.on_bundle("run", &[]).terminal(slave);
    terminal.sees("33 77");
    tcsetwinsize(&ours, Winsize { ws_row: 44, ws_col: 88, ws_xpixel: 0, ws_ypixel: 0 }).expect("resize");
    kill(Pid::from_raw(running.pid()), Signal::SIGWINCH).expect("kill");
    // The runtime answers the signal in its own time, and nothing says when it has.
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.types("\n");
    terminal.sees("44 88");
    running.wait().ok();
}

#[test]
fn a_console_socket_receives_the_terminal() {
    let t = Test::new();
    let socket = FdSocket::listen(&t, "console");
    let b = t.sh("tty; stty size; read line; echo \"got <$line>\"").set("/process/terminal", true);
    let b = b.set("/process/consoleSize", json!({"height": 12, "width": 34}));
    b.on_bundle("create", &["--console-socket", socket.arg()]).run().ok();
    let (_, mut descriptors) = socket.receive();
    assert_eq!(descriptors.len(), 1);
    let mut terminal = Terminal::new(descriptors.remove(0));
    b.start().ok();
    terminal.sees("/dev/pts/0\r\n12 34\r\n");
    terminal.types("words\n");
    terminal.sees("got <words>");
    b.becomes("stopped");
}

#[test]
fn the_console_is_the_terminal() {
    let t = Test::new();
    let socket = FdSocket::listen(&t, "console");
    let b = t.sh("echo through the console >/dev/console; stat -c %t:%T /dev/console /dev/pts/0");
    let b = b.set("/process/terminal", true);
    b.on_bundle("run", &["--detach", "--console-socket", socket.arg()]).run().ok();
    let (_, mut descriptors) = socket.receive();
    let mut terminal = Terminal::new(descriptors.remove(0));
    terminal.sees("through the console\r\n88:0\r\n88:0\r\n");
}

#[test]
fn the_terminal_belongs_to_the_user() {
    let t = Test::new();
    let socket = FdSocket::listen(&t, "console");
    let b = t.sh("stat -c '%u %g' /dev/pts/0; echo ok >/dev/tty").set("/process/terminal", true);
    let b = b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    b.on_bundle("run", &["--detach", "--console-socket", socket.arg()]).run().ok();
    let (_, mut descriptors) = socket.receive();
    Terminal::new(descriptors.remove(0)).sees("1000 5\r\nok\r\n");
}

#[test]
fn terminal_and_console_socket_must_fit_together() {
    let t = Test::new();
    let b = t.bundle(&["tty"]).set("/process/terminal", true);
    b.create().fails("cannot allocate tty if runc will detach without setting console socket");
    let socket = FdSocket::listen(&t, "console");
    let b = t.bundle(&["tty"]);
    b.on_bundle("create", &["--console-socket", socket.arg()])
        .run()
        .fails("cannot use console socket if runc will not detach or allocate tty");
    let b = b.set("/process/terminal", true);
    b.on_bundle("create", &["--console-socket", "/no/such/socket"]).run().fails("/no/such/socket");
}

#[test]
fn exec_makes_a_terminal() {
    let Some(t) = Test::of_minicon("runc sets the size late, on a busy machine never") else { return };
    let b = t.idle();
    b.up();
    let (mut terminal, slave) = Terminal::open(21, 65);
    let call = b.exec_with(&["--tty"], &["sh", "-c", "tty; stty size; read x; exit 4"]);
    let running = call.terminal(slave);
    terminal.sees("/dev/pts/0\r\n21 65\r\n");
    terminal.types("\n");
    running.wait().exits(4);
}

#[test]
fn exec_hands_its_terminal_to_a_console_socket() {
    let t = Test::new();
    let b = t.idle();
    b.up();
    let socket = FdSocket::listen(&t, "console");
    b.exec_with(&["-t", "--detach", "--console-socket", socket.arg()], &["tty"]).run().ok();
    let (_, mut descriptors) = socket.receive();
    Terminal::new(descriptors.remove(0)).sees("/dev/pts/0");
}
