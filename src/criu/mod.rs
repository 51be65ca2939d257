//! criu, the program that saves processes into files and makes them again: started as `criu swrk 3`, one request on a
//! socket, its notifications answered until it is done. The host side alone talks to it.

#[doc(hidden)] // Public for fuzz/.
pub mod message;

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions};

pub use self::message::{Fields, Kind, Response};
use crate::call;
use crate::cgroup::Entrance;
use crate::error::{Context, Error, Result};
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

/// The directories that criu works in.
#[derive(Debug)]
pub struct Directories {
    /// Where the image files are.
    pub images: PathBuf,
    /// Where logs go, if not there.
    pub work: Option<PathBuf>,
}

impl Directories {
    /// Where a log is.
    pub fn log(&self, name: &str) -> PathBuf {
        self.work.as_ref().unwrap_or(&self.images).join(name)
    }
}

/// The descriptors that criu gets: its socket, the directory of the images, that of the logs, then what is handed over.
const SOCKET: i32 = 3;
/// See [`SOCKET`].
pub const IMAGES: i64 = 4;
/// See [`SOCKET`].
pub const WORK: i64 = 5;
/// See [`SOCKET`].
pub const HANDED_OVER: i64 = 6;

impl Criu {
    /// Starts criu: in these cgroups, where what it restores will be, with further descriptors, and after `prepare` has
    /// run in its process.
    pub fn start(
        cgroup: Entrance,
        directories: &Directories,
        log: &str,
        handed_over: &[BorrowedFd<'_>],
        prepare: impl FnOnce() -> Result<()>,
    ) -> Result<Criu> {
        let program = find()?;
        let (told, telling) = channel::pair()?;
        let process = match process::clone3(0, cgroup.v2_directory())? {
            Cloned::Parent(child) => child,
            Cloned::Child => {
                // Above all numbers that criu's descriptors take.
                let above = HANDED_OVER as i32 + handed_over.len() as i32;
                let telling = rustix::io::fcntl_dupfd_cloexec(&telling, above).unwrap_or(telling);
                let prepared = cgroup.join().and_then(|()| prepare());
                let Err(error) = prepared.and_then(|()| execute(&program, directories, handed_over, &telling));
                let _ = channel::send(&telling, &serde_json::to_vec(&error).unwrap_or_default(), &[]);
                process::exit(1)
            }
        };
        drop(telling);
        let socket = match channel::receive(&told)? {
            (word, fds) if word == HERE => fds.into_iter().next(),
            (error, _) => return Err(as_error(&error)),
        };
        let socket = socket.ok_or_else(|| Error::new("criu's process has sent no socket"))?;
        let criu = Criu { socket, process, log: directories.log(log) };
        match channel::receive(&told)? {
            // Closed by the exec.
            (end, _) if end.is_empty() => Ok(criu),
            (error, _) => Err(as_error(&error)),
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
            Some(complaint) => Error::new(format!("criu failed: ({complaint}")),
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
    format!("criu failed{errno}{text}")
}

/// Comes with the runtime's end of criu's socket.
const HERE: &[u8] = b"S";

fn as_error(bytes: &[u8]) -> Error {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Error::new("the process that was to become criu is gone"))
}

/// criu finds the directories by numbers in the process that has made its socket. So they are opened, and the socket is
/// made, here: it cannot mount in a directory that was opened in another mount namespace.
fn execute(
    program: &Path,
    directories: &Directories,
    handed_over: &[BorrowedFd<'_>],
    telling: &OwnedFd,
) -> Result<std::convert::Infallible> {
    let images = open_directory(&directories.images)?;
    let work = open_directory(directories.work.as_ref().unwrap_or(&directories.images))?;
    let (ours, theirs) = channel::pair()?;
    channel::send(telling, HERE, &[theirs.as_fd()])?;
    let own = [ours.as_fd(), images.as_fd(), work.as_fd()];
    let fds: Vec<BorrowedFd<'_>> = own.into_iter().chain(handed_over.iter().copied()).collect();
    process::place_descriptors(SOCKET, &fds)?;
    process::close_on_exec_from(SOCKET as u32 + fds.len() as u32)?;
    process::restore_signals();
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|_| Error::new("criu's path holds a NUL byte"))?;
    let variables = std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let variables: Vec<CString> = variables.filter_map(|variable| CString::new(variable).ok()).collect();
    let variables: Vec<&CStr> = variables.iter().map(CString::as_c_str).collect();
    process::execve(&path, &[c"criu", c"swrk", c"3"], &variables).step(|| "start criu")
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

fn open_directory(path: &Path) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    call!("open"(path.display()) => rustix::fs::open(path, flags, Mode::empty()))
}
