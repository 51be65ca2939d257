//! Running hooks: the container's state on stdin, only the environment that the configuration gives, a time limit.
//! Used on both sides: by the runtime, and by init for createContainer and startContainer.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::PidfdFlags;
use serde::Serialize;

use crate::call;
use crate::container::status::Status;
use crate::error::{Context, Error, Result};
use crate::plan::hooks::{Hook, HookKind, Hooks};
use crate::plan::steps::id;
use crate::sys::signal;
use crate::trace;

/// The state of runtime.md, as hooks get it. The pid is the one that this side sees.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct State<'a> {
    #[serde(rename = "ociVersion")]
    pub version: &'a str,
    pub id: &'a str,
    pub status: &'static str,
    pub pid: i32,
    pub bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    /// What a hook without an environment of its own gets.
    #[serde(skip)]
    pub environment: &'a [CString],
}

/// How the specification spells a status in a hook's state.
pub fn status_name(status: Status) -> &'static str {
    match status {
        Status::Creating => "creating",
        Status::Created => "created",
        Status::Running | Status::Paused => "running",
        Status::Stopped => "stopped",
    }
}

/// Files that what hooks print is appended to. Without one it is kept, for the error of a hook that fails. Opened on the
/// host's side, as the paths are the host's.
#[derive(Debug, Default)]
pub struct Output {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Output {
    /// Opens the files that annotations name.
    pub fn open(hooks: &Hooks) -> Result<Output> {
        let open = |(path, at): (&Option<PathBuf>, &'static str)| {
            let Some(path) = path.as_deref() else { return Ok(None) };
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
            call!("open"(path.display()) => opened).step(|| "open the output of the hooks").at(at).map(Some)
        };
        if HookKind::ALL.iter().all(|kind| hooks.of(*kind).is_empty()) {
            return Ok(Output::default());
        }
        Ok(Output {
            stdout: open((&hooks.stdout, "annotations[\"run.oci.hooks.stdout\"]"))?,
            stderr: open((&hooks.stderr, "annotations[\"run.oci.hooks.stderr\"]"))?,
        })
    }

    /// The numbers of its descriptors.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> {
        [&self.stdout, &self.stderr].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }
}

/// Runs all hooks of a kind in listed order; the first failure ends it.
pub fn run_all(hooks: &Hooks, kind: HookKind, state: &State<'_>, output: &Output) -> Result<()> {
    hooks.of(kind).iter().enumerate().try_for_each(|(index, hook)| run_one(hook, kind, index, state, output))
}

/// Runs one hook to its end.
pub fn run_one(hook: &Hook, kind: HookKind, index: usize, state: &State<'_>, output: &Output) -> Result<()> {
    trace::step(|| id::hook(kind, index), || run(hook, state, output)).map_err(|error| {
        let text = format!("error running {} hook #{index}: {}", kind.name(), error.headline());
        Error::new(text).step(format!("{} hook {}", kind.name(), hook.path.display())).at(hook.at)
    })
}

fn run(hook: &Hook, state: &State<'_>, output: &Output) -> Result<()> {
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let (kept, kept_end) = pipe()?;
    let copy = |of: &OwnedFd| call!("dup"() => rustix::io::fcntl_dupfd_cloexec(of, 3));
    let stdout = copy(output.stdout.as_ref().unwrap_or(&kept_end))?;
    let stderr = copy(output.stderr.as_ref().unwrap_or(&kept_end))?;
    drop(kept_end);
    let variables: Vec<&[u8]> = match &hook.env {
        Some(own) => own.iter().map(String::as_bytes).collect(),
        None => state.environment.iter().map(|variable| variable.to_bytes()).collect(),
    };
    let child = Command::new(&hook.path)
        .arg0(&hook.args[0])
        .args(&hook.args[1..])
        .env_clear()
        .envs(variables.into_iter().filter_map(name_and_value))
        .stdin(state_file(state)?)
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn();
    let mut child = call!("execve"(hook.path.display()) => child.map_err(as_errno))?;
    let (status, text) = wait(&mut child, &kept, deadline, hook.timeout)?;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal: {}", signal::text(signal.unwrap_or(0))),
    };
    let said = String::from_utf8_lossy(&text);
    Err(Error::new(format!("{how}, output: {:?}", said.trim())))
}

fn name_and_value(variable: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let end = variable.iter().position(|byte| *byte == b'=')?;
    Some((OsStr::from_bytes(&variable[..end]), OsStr::from_bytes(&variable[end + 1..])))
}

/// The state as a file that is already written whole: no pipe can fill up, whatever the hook does with it.
fn state_file(state: &State<'_>) -> Result<File> {
    let mut text = serde_json::to_vec(state).map_err(|error| Error::new(error.to_string()))?;
    text.push(b'\n');
    let mut file =
        File::from(call!("memfd_create"("state") => rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC))?);
    call!("write"("state") => file.write_all(&text).and_then(|()| file.rewind()).map_err(as_errno))?;
    Ok(file)
}

/// Collects what the hook says until it exits. What a grandchild still holds open is not waited for.
fn wait(
    child: &mut Child,
    output: &OwnedFd,
    deadline: Option<Instant>,
    timeout: Option<u32>,
) -> Result<(ExitStatus, Vec<u8>)> {
    let pid = rustix::process::Pid::from_child(child);
    let pidfd = call!("pidfd_open"() => rustix::process::pidfd_open(pid, PidfdFlags::empty()))?;
    let mut text = Vec::new();
    let mut listening = true;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let exited = {
            let mut events = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(output, PollFlags::IN)];
            let count = if listening { 2 } else { 1 };
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut events[..count], left.as_ref()) {
                Ok(0) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let seconds = f64::from(timeout.unwrap_or_default());
                    return Err(Error::new(format!("hook ran past specified timeout of {seconds:.1}s")));
                }
                Err(Errno::INTR) => continue,
                polled => call!("poll"() => polled)?,
            };
            !events[0].revents().is_empty()
        };
        listening = listening && drain(output, &mut text);
        if exited {
            let status = child.wait().map_err(as_errno);
            return Ok((call!("waitpid"() => status)?, text));
        }
    }
}

/// Reads what is there; false at the end of file. Only the first part is kept.
fn drain(output: &OwnedFd, text: &mut Vec<u8>) -> bool {
    const KEPT: usize = 4096;
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => return false,
            Ok(length) => text.extend_from_slice(&buffer[..length.min(KEPT.saturating_sub(text.len()))]),
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// A pipe whose reading end does not block.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = call!("pipe2"() => rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC))?;
    call!("fcntl"("F_SETFL") => rustix::io::ioctl_fionbio(&reader, true)).step(|| "prepare the hook's output")?;
    Ok((reader, writer))
}

fn as_errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
