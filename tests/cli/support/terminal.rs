//! Terminals: a pty for a runtime that wants one, and the socket on which a runtime hands over a descriptor.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::Test;
use super::command::patience;

/// How long something may take to appear, in seconds.
const LIMIT: u64 = 20;

/// The master side of a pty.
pub struct Terminal {
    master: File,
    seen: String,
}

impl Terminal {
    /// A pty of this size, and its slave side.
    pub fn open(rows: u16, columns: u16) -> (Self, OwnedFd) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("openpty");
        (Terminal::new(pty.master), pty.slave)
    }

    pub fn new(master: OwnedFd) -> Self {
        Terminal { master: master.into(), seen: String::new() }
    }

    /// Types this, as a person would.
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("write to the terminal");
    }

    /// Reads until this has appeared, or the other side is closed; returns all that was seen.
    #[track_caller]
    pub fn sees(&mut self, words: &str) -> &str {
        let start = Instant::now();
        while !self.seen.contains(words) {
            assert!(
                readable(&self.master, patience(LIMIT).saturating_sub(start.elapsed())),
                "no {words:?} in {:?}",
                self.seen
            );
            let mut bytes = [0; 4096];
            // EIO is how a pty says that nobody holds the other side.
            let count = self.master.read(&mut bytes).unwrap_or(0);
            assert!(count > 0, "the terminal is closed before {words:?}: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        &self.seen
    }
}

/// A socket that listens for descriptors: a console socket or a seccomp agent's.
pub struct FdSocket {
    listener: UnixListener,
    pub path: PathBuf,
}

impl FdSocket {
    pub fn listen(test: &Test, name: &str) -> Self {
        let path = test.path(name);
        FdSocket { listener: UnixListener::bind(&path).expect("bind"), path }
    }

    /// The path as an argument.
    pub fn arg(&self) -> &str {
        self.path.to_str().expect("a path in UTF-8")
    }

    /// All that one client sends until it closes the connection, and the descriptors with the beginning.
    #[track_caller]
    pub fn receive_all(&self) -> (String, Vec<OwnedFd>) {
        let (beginning, descriptors, mut stream) = self.receive_from();
        let mut rest = String::new();
        stream.set_read_timeout(Some(patience(LIMIT))).expect("a time limit");
        stream.read_to_string(&mut rest).expect("the connection is closed");
        (beginning + &rest, descriptors)
    }

    /// Whether somebody else wants to send.
    pub fn has_client(&self) -> bool {
        readable(&self.listener, Duration::ZERO)
    }

    /// What one client sends: its bytes, and the descriptors with them.
    #[track_caller]
    pub fn receive(&self) -> (String, Vec<OwnedFd>) {
        let (text, descriptors, _) = self.receive_from();
        (text, descriptors)
    }

    #[track_caller]
    fn receive_from(&self) -> (String, Vec<OwnedFd>, UnixStream) {
        assert!(readable(&self.listener, patience(LIMIT)), "nobody connects to {}", self.path.display());
        let (stream, _) = self.listener.accept().expect("accept");
        assert!(readable(&stream, patience(LIMIT)), "nothing is sent to {}", self.path.display());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; 64 * 1024];
        let message = recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
        bytes.truncate(message.expect("recvmsg").bytes);
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                descriptors.extend(sent);
            }
        }
        (String::from_utf8_lossy(&bytes).into_owned(), descriptors, stream)
    }
}

fn readable(file: &impl AsFd, limit: Duration) -> bool {
    let mut wanted = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    poll(&mut wanted, PollTimeout::try_from(limit).expect("a short time")).expect("poll") > 0
}
