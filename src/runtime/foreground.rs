//! Waiting for a process in the foreground: signals are passed on, a terminal is relayed, the exit status handed back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::notify::Notify;
use crate::call;
use crate::console::{self, RawMode};
use crate::error::Result;
use crate::sys::process::{self, Child};

/// Waits for a child of ours and returns its exit status, 128 and the signal's number if one ended it. Meanwhile passes
/// its readiness on, if somebody waits for that.
pub fn wait(child: &Child, terminal: Option<OwnedFd>, signals: &OwnedFd, notify: Option<Notify>) -> Result<i32> {
    let raw = terminal.as_ref().and_then(|_| RawMode::enter());
    let status = relay(child, terminal.as_ref(), signals, notify);
    drop(raw);
    status
}

/// Nothing here may block but the poll: a program that does not read its terminal must still get its signals.
fn relay(child: &Child, terminal: Option<&OwnedFd>, signals: &OwnedFd, mut notify: Option<Notify>) -> Result<i32> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let (mut reading, mut showing) = (terminal.is_some(), terminal.is_some());
    let mut typed = Typed::default();
    let mut status = None;
    if let Some(master) = terminal {
        call!("ioctl"("FIONBIO") => rustix::io::ioctl_fionbio(master, true))?;
    }
    loop {
        let idle = || PollFd::new(signals, PollFlags::empty());
        let master = terminal.filter(|_| showing);
        let input = reading && showing && typed.is_empty();
        let interest = if typed.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut events = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&child.pidfd, PollFlags::IN),
            master.map_or_else(idle, |master| PollFd::new(master, interest)),
            if input { PollFd::from_borrowed_fd(stdin, PollFlags::IN) } else { idle() },
            notify.as_ref().map_or_else(idle, |notify| PollFd::new(notify, PollFlags::IN)),
        ];
        match poll(&mut events, None) {
            Err(Errno::INTR) => continue,
            polled => call!("poll"() => polled)?,
        };
        let [signalled, exited, at_master, input, told] = events.map(|event| event.revents());
        if !signalled.is_empty() {
            status = pass_on(signals, child, terminal).or(status);
        }
        if !told.is_empty() && notify.as_ref().is_some_and(|notify| notify.forward_one(None).unwrap_or(true)) {
            notify = None;
        }
        let output = !(at_master - PollFlags::OUT).is_empty();
        if let Some(master) = master {
            if output {
                showing = console::copy(master.as_fd(), stdout);
            }
            if !input.is_empty() {
                reading = typed.read(stdin);
            }
            if !typed.is_empty() && !typed.write(master.as_fd()) {
                reading = false;
            }
        }
        // What the program said last is still in the terminal when it has exited.
        let has_more = showing && output;
        if !exited.is_empty() && !has_more {
            return status.map_or_else(|| reap(child), Ok);
        }
    }
}

/// What was typed and the terminal has not taken yet.
#[derive(Default)]
struct Typed(Vec<u8>);

impl Typed {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what is there; false at the end.
    fn read(&mut self, from: BorrowedFd<'_>) -> bool {
        let mut buffer = [0; 4096];
        match rustix::io::read(from, &mut buffer) {
            Ok(0) | Err(Errno::IO) => false,
            Ok(length) => {
                self.0.extend_from_slice(&buffer[..length]);
                true
            }
            Err(_) => true,
        }
    }

    /// Writes what the terminal takes; false if it will never take more.
    fn write(&mut self, to: BorrowedFd<'_>) -> bool {
        match rustix::io::write(to, &self.0) {
            Ok(written) => drop(self.0.drain(..written)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.0.clear();
                return false;
            }
        }
        true
    }
}

/// Every signal that we get is the program's, but those about our own children and our terminal's size. Returns the
/// program's exit status if it was reaped with the others.
fn pass_on(signals: &OwnedFd, child: &Child, terminal: Option<&OwnedFd>) -> Option<i32> {
    let mut status = None;
    for signal in process::pending_signals(signals) {
        match signal {
            libc::SIGCHLD => status = reap_all(child).or(status),
            libc::SIGWINCH => {
                if let Some(master) = terminal {
                    console::copy_size(master);
                }
            }
            // A program that is gone cannot be told; the wait below will notice.
            _ => drop(process::send_signal(&child.pidfd, signal)),
        }
    }
    status
}

/// Reaps whoever has exited: as a subreaper we inherit the orphans of a container without a pid namespace.
fn reap_all(child: &Child) -> Option<i32> {
    let mut own = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == child.pid {
            own = Some(exit_status(status));
        }
    }
    own
}

/// waitpid(2) for the child; the status as a shell tells it.
pub fn reap(child: &Child) -> Result<i32> {
    let waited = rustix::io::retry_on_intr(|| rustix::process::waitpid(Pid::from_raw(child.pid), WaitOptions::empty()));
    let waited = call!("waitpid"(child.pid) => waited)?;
    Ok(waited.map_or(0, |(_, status)| exit_status(status)))
}

fn exit_status(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}
