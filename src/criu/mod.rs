//! criu, the program that saves processes into files and makes them again: started as `criu swrk 3`, one request on a
//! socket, its notifications answered until it is done. The host side alone talks to it.

mod message;

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions};

pub use self::message::{Fields, Kind, Response};
use crate::call;
use crate::cgroup::Entrance;
use crate::error::{Context, Error, Result};
use crate::handshake::{Channel, Message};
use crate::sys::channel;
use crate::sys::process::{self, Child, Cloned};

/// A running criu that waits for a request.
#[derive(Debug)]
pub struct Criu {
    socket: OwnedFd,
    process: Child,
    /// Where it writes its log, for the error that points there.
    log: PathBuf,
}

/// What criu tells while it works; an error of the one who is told ends it.
pub trait Listener {
    /// `post-dump`, `setup-namespaces`, `post-restore`, `status-ready`, … with the process it is about.
    fn notified(&mut self, script: &str, pid: i32) -> Result<()>;
    /// The master of the restored container's terminal.
    fn terminal(&mut self, master: OwnedFd) -> Result<()>;
}

/// The descriptor that criu gets its socket at; what is handed over follows.
const SOCKET: i32 = 3;

impl Criu {
    /// Starts criu: in these cgroups, where what it restores will be, with further descriptors from 4 on, and after
    /// `prepare` has run in its process.
    pub fn start(
        cgroup: Entrance,
        inherited: &[BorrowedFd<'_>],
        log: PathBuf,
        prepare: impl FnOnce() -> Result<()>,
    ) -> Result<Criu> {
        let program = find()?;
        let (socket, theirs) = channel::pair()?;
        let (told, telling) = Channel::pair()?;
        let process = match process::clone3(0, cgroup.v2_directory())? {
            Cloned::Parent(child) => child,
            Cloned::Child => {
                let fds: Vec<BorrowedFd<'_>> = [theirs.as_fd()].into_iter().chain(inherited.iter().copied()).collect();
                let prepared = cgroup.join().and_then(|()| prepare());
                // Above all numbers that criu's descriptors take.
                let telling = telling.above(SOCKET + fds.len() as i32);
                let failed = prepared.and_then(|()| execute(&program, &fds)).err();
                if let (Ok(telling), Some(error)) = (telling, failed) {
                    let _ = telling.send(&Message::Failed(error));
                }
                process::exit(1)
            }
        };
        drop((telling, theirs));
        let criu = Criu { socket, process, log };
        match told.receive()? {
            Some(Message::Failed(error)) => Err(error),
            // Closed by the exec.
            _ => Ok(criu),
        }
    }

    /// criu's own process.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Makes one request and sees it through. Returns criu's last word.
    pub fn request(&self, kind: Kind, options: &Fields, listener: &mut impl Listener) -> Result<Response> {
        let mut request = Fields::default();
        request.number(1, kind as i64).message(2, options);
        channel::send(&self.socket, request.bytes(), &[])?;
        loop {
            let (bytes, fds) = channel::receive(&self.socket)?;
            if bytes.is_empty() {
                return Err(self.explain("criu ended without an answer".to_owned()));
            }
            let response = Response::decode(&bytes)?;
            if !response.success {
                return Err(self.explain(words_of_failure(&response)));
            }
            if response.kind != Kind::Notify as i64 {
                return Ok(response);
            }
            if let Some(master) = fds.into_iter().next() {
                listener.terminal(master)?;
            }
            listener.notified(&response.script, response.pid)?;
            let mut answer = Fields::default();
            answer.number(1, Kind::Notify as i64).flag(3, true);
            channel::send(&self.socket, answer.bytes(), &[])?;
        }
    }

    /// The first complaint in criu's log says what its answer does not.
    fn explain(&self, message: String) -> Error {
        let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let complaint = log.lines().find_map(|line| line.split_once("Error (").map(|(_, rest)| rest.to_owned()));
        let error = match complaint {
            Some(complaint) => Error::new(format!("{message}: Error ({complaint}")),
            None => Error::new(message),
        };
        error.hint(format!("criu's log is {}", self.log.display()))
    }
}

impl Drop for Criu {
    /// criu ends when its socket closes. After a pre-dump it waits for another request and only this ends it.
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = rustix::process::waitpid(Pid::from_raw(self.process.pid), WaitOptions::empty());
    }
}

fn words_of_failure(response: &Response) -> String {
    let errno = match response.errno {
        0 => String::new(),
        errno => format!(" errno {}", errno.abs()),
    };
    let text = if response.message.is_empty() { String::new() } else { format!(": {}", response.message) };
    format!("criu failed:{errno}{text}").trim_end_matches(':').to_owned()
}

fn execute(program: &Path, fds: &[BorrowedFd<'_>]) -> Result<()> {
    process::place_descriptors(SOCKET, fds)?;
    process::close_on_exec_from((SOCKET + fds.len() as i32) as u32)?;
    process::restore_signals();
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|_| Error::new("criu's path holds a NUL byte"))?;
    let variables = std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let variables: Vec<CString> = variables.filter_map(|variable| CString::new(variable).ok()).collect();
    let variables: Vec<&std::ffi::CStr> = variables.iter().map(CString::as_c_str).collect();
    process::execve(&path, &[c"criu", c"swrk", c"3"], &variables).map(|_| ()).step(|| "start criu")
}

/// Where criu is: in PATH, or where systems put it, as engines call with little environment.
fn find() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut directories = std::env::split_paths(&path).chain(std::env::split_paths(usual));
    directories.find_map(|directory| Some(directory.join("criu")).filter(|program| program.is_file())).ok_or_else(
        || {
            Error::new("criu is not installed, and checkpoints are its work")
                .hint("install it (Debian: package criu), or put it into PATH")
        },
    )
}

/// Opens a directory for criu, which finds it by our descriptor's number.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    call!("open"(path.display()) => rustix::fs::open(path, flags, Mode::empty()))
}
