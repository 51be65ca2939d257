//! Faults on purpose: a step that fails, or a process that dies just before or after it. Only a build with the feature
//! `faults` has any of this (decision 0024); `make test-faults` makes one.
//!
//! `MINICON_FAULT="SOCKET KIND STEP"` asks for one. The process that comes to the step tells the test on the other end of
//! the socket, which knows its pid from the kernel (`SO_PASSCRED`, unix(7)), kills whom the kind says and answers. The
//! first process of a pid namespace could not do it: it sees no process of the host, and SIGKILL from inside is ignored.

use std::fmt::Display;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::call;
use crate::error::{Error, Result};
use crate::trace::Outcomes;

/// What the error says that a step is given.
const INJECTED: &str = "a fault was put here";

struct Fault {
    kind: Kind,
    step: String,
    socket: OwnedFd,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The step is not done, and fails.
    Error,
    /// Its process dies before it.
    Before,
    /// Its process dies after it.
    After,
    /// The other process dies before it: the runtime at a step of init's, its children at one of its own.
    Other,
    /// The other process and then its own die before it.
    Both,
}

static FAULT: OnceLock<Fault> = OnceLock::new();
/// A step may be done twice, by one process.
static IS_DONE: AtomicBool = AtomicBool::new(false);

/// Reads what is asked for, before there is a second process.
pub fn arm() -> Result<()> {
    let Ok(value) = std::env::var("MINICON_FAULT") else { return Ok(()) };
    let mut words = value.splitn(3, ' ');
    let kind = |word| match word {
        "error" => Some(Kind::Error),
        "before" => Some(Kind::Before),
        "after" => Some(Kind::After),
        "other" => Some(Kind::Other),
        "both" => Some(Kind::Both),
        _ => None,
    };
    let (Some(path), Some(kind), Some(step)) = (words.next(), words.next().and_then(kind), words.next()) else {
        return Err(Error::new(format!("invalid MINICON_FAULT: {value:?}")));
    };
    let flags = SocketFlags::CLOEXEC;
    let socket =
        call!("socket"() => rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None))?;
    call!("setsockopt"("SO_PASSCRED") => rustix::net::sockopt::set_socket_passcred(&socket, true))?;
    let address = call!("connect"(path) => SocketAddrUnix::new(path))?;
    call!("connect"(path) => rustix::net::connect(&socket, &address))?;
    let _ = FAULT.set(Fault { kind, step: step.to_owned(), socket });
    Ok(())
}

/// The socket, which init must keep.
pub fn number() -> Option<RawFd> {
    FAULT.get().map(|fault| fault.socket.as_raw_fd())
}

/// A step with its faults: the name and the act that take its place.
pub fn armed<T: Outcomes, I: Display>(
    id: impl FnOnce() -> I,
    act: impl FnOnce() -> T,
) -> (impl FnOnce() -> String, impl FnOnce() -> T) {
    let name = id().to_string();
    let step = name.clone();
    let act = move || {
        let can_fail = T::failed(Error::new(INJECTED)).is_some();
        if let Some(failed) = what_is_due(&step, can_fail).and_then(T::failed) {
            return failed;
        }
        let result = act();
        after(&step);
        result
    };
    (move || name, act)
}

/// What happens before a step; the error that it is to fail with.
pub fn before(step: &str) -> Option<Error> {
    what_is_due(step, true)
}

fn what_is_due(step: &str, can_fail: bool) -> Option<Error> {
    let fault = due(step, |kind| kind != Kind::After && (can_fail || kind != Kind::Error))?;
    fault.tell();
    (fault.kind == Kind::Error).then(|| Error::new(INJECTED))
}

/// What happens after it.
pub fn after(step: &str) {
    if let Some(fault) = due(step, |kind| kind == Kind::After) {
        fault.tell();
    }
}

fn due(step: &str, is_meant: impl Fn(Kind) -> bool) -> Option<&'static Fault> {
    let fault = FAULT.get().filter(|fault| fault.step == step && is_meant(fault.kind))?;
    (!IS_DONE.swap(true, Relaxed)).then_some(fault)
}

impl Fault {
    /// Tells who has come to the step, and goes on when the other end says so, if this process still lives then.
    fn tell(&self) {
        let word: &[u8] = match self.kind {
            Kind::Error => b"error",
            Kind::Before | Kind::After => b"self",
            Kind::Other => b"other",
            Kind::Both => b"both",
        };
        let _ = rustix::net::send(&self.socket, word, SendFlags::NOSIGNAL);
        let _ = rustix::io::retry_on_intr(|| rustix::net::recv(&self.socket, &mut [0; 1], RecvFlags::empty()));
    }
}
