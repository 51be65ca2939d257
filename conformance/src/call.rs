//! Runs a program to its end, within a time limit, and keeps what it said. A hang is a failure.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde_json::Value;

use crate::row::Verdict;

/// How many programs run that somebody will wait for.
static WAITED_FOR: AtomicUsize = AtomicUsize::new(0);

/// A call that is being put together.
pub struct Call {
    command: Command,
    limit: Duration,
}

impl Call {
    /// Of this program, for at most so long.
    pub fn new(program: impl AsRef<OsStr>, limit: Duration) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Call { command, limit }
    }

    /// Adds a word.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds words.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it where there is no such environment variable.
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Makes a terminal its standard streams.
    pub fn terminal(mut self, slave: OwnedFd) -> Result<Running> {
        self.command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        self.start(scratch()?, scratch()?)
    }

    /// Starts it.
    pub fn spawn(mut self) -> Result<Running> {
        // Files and no pipes: a container that lives on holds them open, and a pipe would wait for it.
        let (out, err) = (scratch()?, scratch()?);
        self.command.stdout(out.try_clone()?).stderr(err.try_clone()?);
        self.start(out, err)
    }

    fn start(mut self, out: File, err: File) -> Result<Running> {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let call = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let child = self.command.spawn().with_context(|| format!("cannot start {call}"))?;
        WAITED_FOR.fetch_add(1, Ordering::SeqCst);
        Ok(Running { child, call, limit: self.limit, out, err })
    }

    /// Runs it to its end.
    pub fn run(self) -> Result<Output> {
        self.spawn()?.wait()
    }
}

/// A program that was started; killed if nobody waits for it.
pub struct Running {
    child: Child,
    call: String,
    limit: Duration,
    out: File,
    err: File,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// To its end.
    pub fn wait(mut self) -> Result<Output> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if start.elapsed() > self.limit {
                bail!("it hangs: {} still runs after {:?}", self.call, self.limit);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let output = Output { code, call: self.call.clone(), out: self.out.try_clone()?, err: self.err.try_clone()? };
        drop(self);
        reap();
        Ok(output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        WAITED_FOR.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a finished call left.
pub struct Output {
    /// The exit status as a shell would see it.
    pub code: i32,
    call: String,
    out: File,
    err: File,
}

impl Output {
    /// It succeeded.
    pub fn ok(self) -> Result<Self> {
        if self.code != 0 {
            bail!("{} failed ({}): {}", self.call, self.code, self.said());
        }
        Ok(self)
    }

    /// It failed, as it must because of what is wrong.
    pub fn refused(&self, what: &str) -> Verdict {
        if self.code == 0 {
            bail!("{} is no error: {}", what, self.call);
        }
        // 128 + a signal: it crashed, which is not an error that was generated.
        if [132, 134, 135, 136, 139].contains(&self.code) {
            bail!("it crashed ({}) instead of an error: {}", self.code, self.said());
        }
        Ok(())
    }

    /// What is printed by now: a container that lives on writes to the same file.
    pub fn stdout(&self) -> String {
        text(&self.out)
    }

    /// What it complained of.
    pub fn stderr(&self) -> String {
        text(&self.err)
    }

    /// Printed, as JSON.
    pub fn json(&self) -> Result<Value> {
        let text = self.stdout();
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text:?} {}", self.stderr().trim()))
    }

    fn said(&self) -> String {
        let lines: Vec<String> = self.stderr().lines().chain(self.stdout().lines()).map(str::to_owned).collect();
        lines[..lines.len().min(6)].join(" / ")
    }
}

/// Collects the children that died, unless some program still has somebody who waits for it.
pub fn reap() {
    while WAITED_FOR.load(Ordering::SeqCst) == 0 {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// A file without a name.
fn scratch() -> Result<File> {
    let path = std::env::temp_dir();
    let flags = nix::fcntl::OFlag::O_TMPFILE | nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_CLOEXEC;
    let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    Ok(File::from(nix::fcntl::open(&path, flags, mode).context("a temporary file")?))
}

/// Read from its beginning without moving its offset, which whoever writes to it shares.
fn text(file: &File) -> String {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}
