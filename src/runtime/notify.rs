//! Readiness: with NOTIFY_SOCKET set, the container gets a socket of its own at /run/notify, and its READY=1 is passed
//! on together with init's pid, see sd_notify(3).

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::open_init;
use crate::call;
use crate::container::Container;
use crate::error::{Context, Error, Result};
use crate::sys::channel;

const VARIABLE: &str = "NOTIFY_SOCKET";

/// The directory that the container will see at /run/notify, if the caller wants to be told.
pub fn requested(state_directory: &Path) -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(|_| state_directory.join("notify"))
}

/// Makes that directory.
pub fn make_directory(directory: &Path) -> Result<()> {
    let made =
        fs::create_dir(directory).and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o755)));
    made.map_err(|error| Error::new(format!("make {}: {error}", directory.display())))
}

/// The socket in which the container reports, and where its word goes.
#[derive(Debug)]
pub struct Notify {
    inner: UnixDatagram,
    outer: PathBuf,
}

/// Listens, if create made the directory and the caller wants to be told.
pub fn listen(container: &Container) -> Result<Option<Notify>> {
    let Some(outer) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    let socket = container.directory.join("notify/notify.sock");
    if !socket.parent().is_some_and(Path::exists) {
        return Ok(None);
    }
    let bound = UnixDatagram::bind(&socket).and_then(|inner| {
        // Whatever user the program runs as may report.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).map(|()| inner)
    });
    let inner = bound.map_err(|error| Error::new(format!("listen on {}: {error}", socket.display())))?;
    Ok(Some(Notify { inner, outer }))
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Notify {
    /// Waits until the container is ready or dead, and passes its word on with the pid that the manager can use.
    pub fn forward(&self, container: &Container) -> Result<()> {
        let Some(init) = open_init(&container.record)? else { return Ok(()) };
        while self.has_message(&init)? {
            if self.forward_one(Some(container.record.init_process_pid))? {
                return self.wait_until_heard();
            }
        }
        Ok(())
    }

    /// Waits until the manager has taken what it was told: it asks who we are, and we are about to end. Who receives the
    /// descriptor closes it, see `BARRIER=1` in sd_notify(3). A manager that does not is not waited for forever.
    fn wait_until_heard(&self) -> Result<()> {
        let (ours, theirs) = call!("pipe2"() => rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC))?;
        channel::send(&self.outer()?, b"BARRIER=1", &[theirs.as_fd()]).step(|| "report readiness")?;
        drop(theirs);
        let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
        let mut events = [PollFd::new(&ours, PollFlags::empty())];
        call!("poll"() => rustix::io::retry_on_intr(|| poll(&mut events, Some(&patience)))).map(drop)
    }

    /// Takes one message; true if it was the one to pass on. The process that the manager should watch from now on is
    /// named if it is not ourselves.
    pub fn forward_one(&self, main: Option<i32>) -> Result<bool> {
        let mut buffer = [0; 4096];
        let length = self.inner.recv(&mut buffer).map_err(|error| Error::new(error.to_string()))?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some(ready) = text.lines().find(|line| line.starts_with("READY=")) else { return Ok(false) };
        let word = main.map_or_else(|| ready.to_owned(), |pid| format!("{ready}\nMAINPID={pid}"));
        self.tell(&word).step(|| "report readiness").map(|()| true)
    }

    /// True for a message, false if init has died without one.
    fn has_message(&self, init: &OwnedFd) -> Result<bool> {
        let mut events = [PollFd::new(&self.inner, PollFlags::IN), PollFd::new(init, PollFlags::IN)];
        call!("poll"() => rustix::io::retry_on_intr(|| poll(&mut events, None)))?;
        Ok(!events[0].revents().is_empty())
    }

    fn tell(&self, word: &str) -> Result<()> {
        let sent = self.outer()?.send(word.as_bytes());
        sent.map(drop).map_err(|error| Error::new(format!("{}: {error}", self.outer.display())))
    }

    /// A connection to the manager.
    fn outer(&self) -> Result<UnixDatagram> {
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            match self.outer.to_str().and_then(|path| path.strip_prefix('@')) {
                // systemd may use an abstract address.
                Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
                None => socket.connect(&self.outer)?,
            }
            Ok(socket)
        };
        connect().map_err(|error: std::io::Error| Error::new(format!("{}: {error}", self.outer.display())))
    }
}
