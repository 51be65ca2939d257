//! The messages between the runtime (host side) and init (container side), and the gate at which init waits.
//!
//! ```text
//! runtime (create)                                  init
//! reserve the id; the gate's two fifos, opened
//! clone3(new namespaces, into the cgroup) ------->   joins its v1 cgroups, holds
//! record pid and start time on disk; have systemd take it into a unit, if asked to
//! id maps, cgroup limits, resctrl, oom score; network devices
//! Proceed --------------------------------------->   enter: join namespaces by path, time offsets, hostname
//!                                                    furnish: build the root while the host tree is still visible
//! <---------------------- NeedMount(step), if any
//! Mount(fd) ------------------------------------->
//! <------------------------------------ RootfsReady
//! prestart, createRuntime hooks
//! HooksDone ------------------------------------->   createContainer hooks; leave: pivot_root, the host is gone
//! <------------------------- Console(fd), if any     console, read-only paths, masks; sysctls; scheduling
//! <----------------------- NeedLimits, if any        assume: resource limits while we are still root
//! Limited, the limits are set ------------------->
//! <----------------- SeccompListener(fd), if any     seccomp first if there is no no_new_privs; label, groups,
//!                                                    user, capabilities, no_new_privs; find argv[0] as that user
//! <------------------------------------------ Ready
//! commit: the status is "created"
//! Committed ------------------------------------->   init exits if the channel closes before this
//! ...                                                waits at the gate: read(exec.fifo)
//! runtime (start): flock, status, a byte --------->  startContainer hooks, with the container's rights
//!                                                    writes X; seccomp last, if no_new_privs; execve
//! <-- X, then end of file on exec.result: started    (close-on-exec)
//! <-- X, then a record: exec failed, and why
//! <-- end of file without X: init died
//! poststart hooks; "running"
//! at any time <-------------------- Failed(Error)
//! ```
//!
//! Where the plan allows it ([`Pace`]) init enters its namespaces before Proceed, while it is recorded and limited, and without
//! hooks it does not stop at RootfsReady.
//!
//! Both fifos are opened for reading and writing before the clone and inherited, so nothing is opened again after
//! pivot_root and no /proc is needed. `exec` has the same channel and no gate: Ready, Committed, execve.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::Plan;
use crate::sys::channel;
use crate::trace;

/// What either side says.
#[derive(Debug)]
pub enum Message {
    /// The process that joins namespaces before init can be made: this is init's pid; I am gone.
    Spawned(i32),
    /// Runtime: you are recorded and limited; go on.
    Proceed,
    /// Init: this mount (its index in `plan.rootfs.furnish`, or none for the root) is beyond my rights.
    NeedMount(Option<usize>),
    /// Runtime: here it is, detached.
    Mount(OwnedFd),
    /// Init: the tree stands.
    RootfsReady,
    /// Runtime: the hooks on this side have run.
    HooksDone,
    /// Init: the master of the container's pty.
    Console(OwnedFd),
    /// Init: the descriptor on which the filter's notifications come.
    SeccompListener(OwnedFd),
    /// Init: set my resource limits now, I am about to become the user.
    NeedLimits,
    /// Runtime: they are set.
    Limited,
    /// Init: all is done up to the exec.
    Ready,
    /// Runtime: the container is recorded as created.
    Committed,
    /// Init: a step failed; I am gone.
    Failed(Error),
}

/// How much runtime and init wait for each other, which both know from the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Init enters its namespaces before it waits for `Proceed`.
    pub enters_first: bool,
    /// There is `RootfsReady` and `HooksDone`.
    pub stops_for_hooks: bool,
    /// Nobody knows when the gate will be opened: `create`.
    pub waits_long: bool,
}

impl Pace {
    /// At once where they may, see [`Plan::enters_alone`]; in turns for a trace, which is read from top to bottom.
    pub fn of(plan: &Plan, waits_long: bool) -> Pace {
        let in_turns = trace::is_on();
        Pace {
            enters_first: plan.enters_alone() && !in_turns,
            stops_for_hooks: in_turns || !plan.hooks.is_empty(),
            waits_long,
        }
    }
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// The descriptor's number.
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Two connected ends.
    pub fn pair() -> Result<(Channel, Channel)> {
        channel::pair().map(|(one, other)| (Channel(one), Channel(other)))
    }

    /// Sends one message.
    pub fn send(&self, message: &Message) -> Result<()> {
        let (tag, body) = match message {
            Message::Spawned(pid) => (b'U', pid.to_le_bytes().to_vec()),
            Message::Proceed => (b'P', Vec::new()),
            Message::NeedMount(index) => (b'N', index.map_or(Vec::new(), |index| index.to_le_bytes().to_vec())),
            Message::Mount(fd) => return channel::send(&self.0, b"M", &[fd.as_fd()]),
            Message::RootfsReady => (b'R', Vec::new()),
            Message::HooksDone => (b'H', Vec::new()),
            Message::Console(fd) => return channel::send(&self.0, b"C", &[fd.as_fd()]),
            Message::SeccompListener(fd) => return channel::send(&self.0, b"S", &[fd.as_fd()]),
            Message::NeedLimits => (b'L', Vec::new()),
            Message::Limited => (b'D', Vec::new()),
            Message::Ready => (b'Y', Vec::new()),
            Message::Committed => (b'K', Vec::new()),
            Message::Failed(error) => (b'F', serde_json::to_vec(error).unwrap_or_default()),
        };
        channel::send(&self.0, &[&[tag], body.as_slice()].concat(), &[])
    }

    /// Waits for one message; None at the end of file: the other side is gone.
    pub fn receive(&self) -> Result<Option<Message>> {
        let (bytes, fds) = match channel::receive(&self.0) {
            // The other side died with a message of ours unread.
            Err(error) if error.errno() == Some(Errno::CONNRESET) => return Ok(None),
            received => received?,
        };
        let Some((tag, body)) = bytes.split_first() else { return Ok(None) };
        decode(*tag, body, fds.into_iter().next()).map(Some)
    }

    /// As [`Channel::receive`], of a message without a body, with read(2) alone: the program's filter is loaded by now.
    pub fn receive_bare(&self) -> Result<Option<Message>> {
        let bytes = match channel::read(&self.0) {
            Err(error) if error.errno() == Some(Errno::CONNRESET) => return Ok(None),
            read => read?,
        };
        bytes.first().map(|tag| decode(*tag, &[], None)).transpose()
    }

    /// What the other side has failed of, if it has said so by now.
    pub fn failure(&self) -> Option<Error> {
        let mut waiting = [PollFd::new(&self.0, PollFlags::IN)];
        match rustix::event::poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(1) => match self.receive() {
                Ok(Some(Message::Failed(error))) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }

    /// Waits for one message that is not the end.
    pub fn expect(&self) -> Result<Message> {
        self.receive()?.ok_or_else(|| Error::new("the other process is gone"))
    }
}

/// The runtime and init are one binary, so a message that cannot be read is a fault, not a version.
fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Message> {
    let fd = || fd.ok_or_else(|| Error::new("a message came without its file descriptor"));
    Ok(match tag {
        b'U' => Message::Spawned(<[u8; 4]>::try_from(body).map_or(0, i32::from_le_bytes)),
        b'P' => Message::Proceed,
        b'N' => Message::NeedMount(<[u8; 8]>::try_from(body).ok().map(usize::from_le_bytes)),
        b'M' => Message::Mount(fd()?),
        b'R' => Message::RootfsReady,
        b'H' => Message::HooksDone,
        b'C' => Message::Console(fd()?),
        b'S' => Message::SeccompListener(fd()?),
        b'L' => Message::NeedLimits,
        b'D' => Message::Limited,
        b'Y' => Message::Ready,
        b'K' => Message::Committed,
        b'F' => Message::Failed(
            serde_json::from_slice(body)
                .unwrap_or_else(|_| Error::new("init failed with an error that cannot be read")),
        ),
        other => return Err(Error::new(format!("unknown message {other:#x} from the other process"))),
    })
}

/// Where init waits between create and start.
#[derive(Debug)]
pub struct Gate {
    exec: OwnedFd,
    result: OwnedFd,
}

/// How a start went.
#[derive(Debug)]
pub enum Started {
    /// The result's writing end was closed by exec after an X, or by a death that only /proc can tell from it.
    Yes,
    /// The program could not be executed.
    Failed(Error),
    /// Init was gone before it came that far.
    Died,
}

const EXEC_FIFO: &str = "exec.fifo";
const RESULT_FIFO: &str = "exec.result";

impl Gate {
    /// The descriptors' numbers.
    pub fn numbers(&self) -> [RawFd; 2] {
        [self.exec.as_raw_fd(), self.result.as_raw_fd()]
    }

    /// The descriptors, for who waits at no gate.
    pub fn into_fds(self) -> [OwnedFd; 2] {
        [self.exec, self.result]
    }

    /// Makes and opens the two fifos in the container's directory.
    pub fn create(directory: &Path) -> Result<Gate> {
        let open = |name: &str, mode: u32| {
            let path = directory.join(name);
            let node = rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(mode), 0);
            call!("mkfifo"(path.display()) => node)?;
            call!("open"(path.display()) => rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()))
        };
        let gate = || Ok(Gate { exec: open(EXEC_FIFO, 0o622)?, result: open(RESULT_FIFO, 0o600)? });
        gate().step(|| "make the gate")
    }

    /// Init: waits for start's byte.
    pub fn wait(&self) -> Result<()> {
        let mut byte = [0];
        call!("read"(EXEC_FIFO) => rustix::io::retry_on_intr(|| rustix::io::read(&self.exec, &mut byte))).map(drop)
    }

    /// Init: everything but the exec is done.
    pub fn announce(&self) -> Result<()> {
        call!("write"(RESULT_FIFO) => rustix::io::write(&self.result, b"X")).map(drop)
    }

    /// Init: the exec, or a step before it, failed.
    pub fn report(&self, error: &Error) {
        let text = serde_json::to_vec(error).unwrap_or_default();
        // Nobody is left to tell if this fails; PIPE_BUF is 4096, and such an error is far shorter.
        let _ = rustix::io::write(&self.result, &[b"X", text.as_slice()].concat());
    }
}

/// The runtime's side of start: lets init through and reads how it went. None if nobody waits at the gate.
pub fn open_gate(directory: &Path) -> Result<Option<Started>> {
    let open = |name: &str, access: OFlags| {
        rustix::fs::open(directory.join(name), access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
    };
    let result = match open(RESULT_FIFO, OFlags::RDONLY) {
        Err(Errno::NOENT) => return Ok(None),
        opened => call!("open"(RESULT_FIFO) => opened)?,
    };
    // ENXIO: no reader, so init is not waiting; see fifo(7).
    let exec = match open(EXEC_FIFO, OFlags::WRONLY) {
        Err(Errno::NXIO | Errno::NOENT) => return Ok(None),
        opened => call!("open"(EXEC_FIFO) => opened)?,
    };
    match rustix::io::write(&exec, b"g") {
        Err(Errno::PIPE) => return Ok(None),
        written => call!("write"(EXEC_FIFO) => written)?,
    };
    drop(exec);
    read_result(&result).map(Some)
}

fn read_result(result: &OwnedFd) -> Result<Started> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let mut waiting = [rustix::event::PollFd::new(result, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut waiting, None) {
            Err(Errno::INTR) => continue,
            polled => call!("poll"(RESULT_FIFO) => polled)?,
        };
        let no_writer = waiting[0].revents().contains(rustix::event::PollFlags::HUP);
        match rustix::io::read(result, &mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                bytes.extend_from_slice(&buffer[..length]);
                if no_writer && length < buffer.len() {
                    break;
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return call!("read"(RESULT_FIFO) => Err(errno)),
        }
    }
    // A failure before the exec reports X and a record at once; one of the exec itself comes after the X of announce.
    let record = bytes.iter().position(|byte| *byte != b'X').map(|start| &bytes[start..]);
    Ok(match (bytes.is_empty(), record) {
        (true, _) => Started::Died,
        (false, None) => Started::Yes,
        (false, Some(text)) => Started::Failed(
            serde_json::from_slice(text).unwrap_or_else(|_| Error::new("the program could not be executed")),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole() {
        let (one, other) = Channel::pair().expect("a pair");
        one.send(&Message::NeedMount(Some(7))).expect("sent");
        one.send(&Message::NeedMount(None)).expect("sent");
        one.send(&Message::Failed(Error::new("no"))).expect("sent");
        drop(one);
        assert!(matches!(other.receive(), Ok(Some(Message::NeedMount(Some(7))))));
        assert!(matches!(other.receive(), Ok(Some(Message::NeedMount(None)))));
        assert!(matches!(other.receive(), Ok(Some(Message::Failed(error))) if error.headline() == "no"));
        assert!(matches!(other.receive(), Ok(None)));
    }
}
