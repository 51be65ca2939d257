//! Waiting for a process in the foreground: signals are passed on, a terminal is relayed, the exit status handed back.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::call;
use crate::console::{self, RawMode};
use crate::error::Result;
use crate::sys::process::{self, Child};

/// Waits for a child of ours and returns its exit status, 128 and the signal's number if one ended it.
pub fn wait(child: &Child, terminal: Option<OwnedFd>, signals: &OwnedFd) -> Result<i32> {
    let raw = terminal.as_ref().and_then(|_| RawMode::enter());
    let status = relay(child, terminal.as_ref(), signals);
    drop(raw);
    status
}

fn relay(child: &Child, terminal: Option<&OwnedFd>, signals: &OwnedFd) -> Result<i32> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let (mut reading, mut showing) = (terminal.is_some(), terminal.is_some());
    let mut status = None;
    loop {
        let mut events = vec![PollFd::new(signals, PollFlags::IN), PollFd::new(&child.pidfd, PollFlags::IN)];
        let master = terminal.filter(|_| showing);
        events.extend(master.map(|master| PollFd::new(master, PollFlags::IN)));
        if reading && showing {
            events.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        match poll(&mut events, None) {
            Err(Errno::INTR) => continue,
            polled => call!("poll"() => polled)?,
        };
        let ready = |index: usize| events.get(index).is_some_and(|event| !event.revents().is_empty());
        let (signalled, exited, output, input) = (ready(0), ready(1), ready(2), ready(3));
        if signalled {
            status = pass_on(signals, child, terminal).or(status);
        }
        if let Some(master) = terminal {
            if output && showing {
                showing = console::copy(master.as_fd(), stdout);
            }
            if input && reading {
                reading = console::copy(stdin, master.as_fd());
            }
            // What the program said last is still in the terminal when it has exited.
            if exited && showing && output {
                continue;
            }
        }
        if exited {
            return status.map_or_else(|| reap(child), Ok);
        }
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
