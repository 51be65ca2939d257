//! Kills whom a fault says: the other end of `src/fault.rs`.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, recvmsg, sockopt,
};

/// How long a killed process may take to die.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Executioner {
    listener: OwnedFd,
    pub path: PathBuf,
    /// The processes that have a fault before them.
    guests: Vec<OwnedFd>,
    /// One has come to its step, and there was somebody to kill, if somebody was to be.
    pub reached: bool,
}

impl Executioner {
    pub fn new(path: PathBuf) -> Self {
        let flags = SocketFlags::CLOEXEC;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        let address = SocketAddrUnix::new(&path).expect("a short path");
        rustix::net::bind(&listener, &address).expect("bind");
        rustix::net::listen(&listener, 64).expect("listen");
        Executioner { listener, path, guests: Vec::new(), reached: false }
    }

    /// Forgets the last case.
    pub fn rest(&mut self) {
        self.guests.clear();
        self.reached = false;
    }

    /// Does for a moment what is asked for; `runtime` is the command that runs now.
    pub fn serve(&mut self, runtime: i32) {
        let wait = Timespec { tv_sec: 0, tv_nsec: 500_000 };
        let sockets = std::iter::once(&self.listener).chain(&self.guests);
        let mut events: Vec<PollFd<'_>> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        if !matches!(poll(&mut events, Some(&wait)), Ok(1..)) {
            return;
        }
        let ready: Vec<bool> = events.iter().map(|event| !event.revents().is_empty()).collect();
        for index in (0..self.guests.len()).rev().filter(|index| ready[index + 1]) {
            match receive(&self.guests[index]) {
                None => drop(self.guests.swap_remove(index)),
                Some((word, pid)) => self.obey(index, &word, pid, runtime),
            }
        }
        if ready[0] {
            let guest = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC).expect("accept");
            sockopt::set_socket_passcred(&guest, true).expect("SO_PASSCRED");
            self.guests.push(guest);
        }
    }

    fn obey(&mut self, guest: usize, word: &str, pid: i32, runtime: i32) {
        let mut victims = match word {
            "self" => vec![pid],
            "other" | "both" if pid == runtime => children(runtime),
            "other" | "both" => vec![runtime],
            _ => Vec::new(),
        };
        self.reached |= word == "error" || !victims.is_empty();
        if word == "both" {
            victims.push(pid);
        }
        for victim in &victims {
            let _ = kill(Pid::from_raw(*victim), Signal::SIGKILL);
        }
        let started = Instant::now();
        while victims.iter().any(|victim| is_alive(*victim)) && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_micros(100));
        }
        if !matches!(word, "self" | "both") {
            let _ = rustix::net::send(&self.guests[guest], b"g", SendFlags::NOSIGNAL);
        }
    }
}

/// A word, and the pid of who says it as the kernel knows it; None at the end.
fn receive(guest: impl AsFd) -> Option<(String, i32)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 16];
    let message = recvmsg(guest, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::DONTWAIT).ok()?;
    let pid = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid.as_raw_nonzero().get()),
        _ => None,
    });
    (message.bytes > 0).then(|| (String::from_utf8_lossy(&bytes[..message.bytes]).into_owned(), pid.unwrap_or(0)))
}

/// The state of a process, and its parent; see proc_pid_stat(5).
fn stat(process: &Path) -> Option<(char, i32)> {
    let line = std::fs::read_to_string(process.join("stat")).ok()?;
    let mut fields = line[line.rfind(')')? + 1..].split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

pub fn is_alive(pid: i32) -> bool {
    stat(Path::new(&format!("/proc/{pid}"))).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn children(parent: i32) -> Vec<i32> {
    let (pids, _): (Vec<i32>, Vec<i32>) = living().into_iter().filter(|(_, of)| *of == parent).unzip();
    pids
}

/// Those below this process, which is a subreaper. The dead do not count: somebody else may have to reap them.
pub fn descendants() -> Vec<i32> {
    let all = living();
    let mut family = vec![std::process::id() as i32];
    let mut next = 0;
    while next < family.len() {
        family.extend(all.iter().filter(|(_, of)| *of == family[next]).map(|(pid, _)| *pid).collect::<Vec<_>>());
        next += 1;
    }
    family.split_off(1)
}

/// Every process and its parent.
fn living() -> Vec<(i32, i32)> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let living = |pid| match stat(Path::new(&format!("/proc/{pid}")))? {
        ('Z' | 'X', _) => None,
        (_, parent) => Some((pid, parent)),
    };
    pids.filter_map(living).collect()
}
