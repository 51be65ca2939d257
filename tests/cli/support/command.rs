//! Runs a program to its end, within a time limit, and keeps what it said.
//!
//! The test process is the subreaper of everything it starts, so a container whose runtime has gone becomes its
//! child. All waiting here is a loop that also reaps such orphans, but never a child that somebody still waits for.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};

/// How long a single call of the runtime may take, in seconds. Nothing here takes more than one by itself.
const LIMIT: u64 = 20;

/// How much longer than on a real processor everything may take here: `TEST_PATIENCE`, which an emulated machine needs.
pub fn slowness() -> u32 {
    std::env::var("TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// So many seconds, or as many times more as this machine is slow.
pub fn patience(seconds: u64) -> Duration {
    Duration::from_secs(seconds) * slowness()
}

/// The children that a `Running` will wait for.
static WAITED_FOR: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A call that is being put together.
pub struct Cmd {
    command: Command,
    /// In seconds of a real processor.
    limit: u64,
    stdio: bool,
}

impl Cmd {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Cmd { command: Command::new(program), limit: LIMIT, stdio: false }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn no_env(mut self) -> Self {
        self.command.env_clear();
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Wraps the call into a line of shell, which runs it as `"$@"`.
    pub fn through(self, script: &str) -> Self {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        Cmd::new("/bin/sh").args(["-c", script, "sh"]).args(words).limit(self.limit)
    }

    pub fn limit(mut self, seconds: u64) -> Self {
        self.limit = seconds;
        self
    }

    /// What the program reads: a file, so that nothing blocks. Without this it is `/dev/null`, as from the engines.
    pub fn stdin(mut self, text: &str) -> Self {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(text.as_bytes()).and_then(|()| file.seek(SeekFrom::Start(0))).expect("a file to read from");
        self.command.stdin(file);
        self.stdio = true;
        self
    }

    /// Makes a terminal the three standard streams.
    pub fn terminal(mut self, slave: OwnedFd) -> Running {
        self.command.stdin(slave.try_clone().expect("dup")).stdout(slave.try_clone().expect("dup")).stderr(slave);
        let empty = || tempfile::tempfile().expect("a temporary file");
        Running::start(self.command, self.limit, empty(), empty())
    }

    pub fn spawn(mut self) -> Running {
        // Files and no pipes: a detached container holds them open, and a pipe would wait for it.
        let (out, err) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
        if !self.stdio {
            self.command.stdin(Stdio::null());
        }
        self.command.stdout(out.try_clone().expect("dup")).stderr(err.try_clone().expect("dup"));
        Running::start(self.command, self.limit, out, err)
    }

    pub fn run(self) -> Output {
        self.spawn().wait()
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
    fn start(mut command: Command, limit: u64, out: File, err: File) -> Self {
        let limit = patience(limit);
        let call = shown(&command);
        let mut waited_for = WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {call}: {error}"));
        waited_for.insert(child.id() as i32);
        Running { child, call, limit, out, err }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
    }

    pub fn wait(mut self) -> Output {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            if start.elapsed() > self.limit {
                self.kill();
                panic!("still running after {:?}: {}\n{}", self.limit, self.call, text(&self.err));
            }
            reap();
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let out = self.out.try_clone().expect("dup");
        Output { code, stdout: text(&self.out), stderr: text(&self.err), call: self.call.clone(), out }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pid());
    }
}

/// What a finished call left: its exit status as a shell would see it, and its words.
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    call: String,
    out: File,
}

impl Output {
    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit status of {}\nstdout: {}\nstderr: {}", self.call, self.stdout, self.stderr);
        self
    }

    /// It failed as a runtime fails, with these words on stderr.
    #[track_caller]
    pub fn fails(self, words: &str) -> Self {
        self.exits(1).says(words)
    }

    /// These words are on stderr. runc's text log escapes quotes there.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        let said = self.stderr.replace("\\\"", "\"");
        assert!(said.contains(words), "{} should say {words:?} but says: {said}{}", self.call, self.stdout);
        self
    }

    /// It printed exactly this line, or these lines.
    #[track_caller]
    pub fn prints(self, lines: &str) -> Self {
        assert_eq!(self.stdout.trim_end(), lines, "printed by {}\nstderr: {}", self.call, self.stderr);
        self
    }

    /// Somewhere in what it printed is this.
    #[track_caller]
    pub fn shows(self, words: &str) -> Self {
        assert!(self.stdout.contains(words), "{} should print {words:?}: {}{}", self.call, self.stdout, self.stderr);
        self
    }

    /// The lines printed.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("not JSON ({e}) from {}: {}", self.call, self.stdout))
    }

    /// What is printed by now: a container lives on after `create` or `run -d` and writes to the same file.
    pub fn by_now(&self) -> String {
        text(&self.out)
    }
}

/// Waits until something holds, reaping orphans meanwhile.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience(LIMIT), "it never came to this: {what}");
        reap();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Collects the children that died and for which nobody waits. One that somebody waits for ends the round: it may
/// hide others, but only until it is collected.
pub fn reap() {
    let waited_for = WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner);
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Some(pid) = waitid(Id::All, look).ok().and_then(|status| status.pid()) {
        if waited_for.contains(&pid.as_raw()) {
            return;
        }
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn text(file: &File) -> String {
    let length = file.metadata().expect("metadata").len() as usize;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0).expect("read");
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}
