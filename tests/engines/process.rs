//! Children of the suite: running them, and reaping what podman leaves to us.
//!
//! The suite is a child subreaper (prctl(2)): every conmon and every container process whose parent ends becomes
//! our child. So "what podman left behind" is exactly "our descendants", whatever else the machine does, and dead
//! ones are reaped at once, as podman expects (it takes a zombie conmon for a living one).

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// No single podman command takes nearly this long; only a hang does.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long what several daemons agree upon may take.
pub const LONG: Duration = Duration::from_secs(90);

/// How a command ended, and what it printed. A signal counts as 128 + its number, as in a shell.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Makes this process the parent of every orphan below it.
pub fn adopt_orphans() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context("prctl(PR_SET_CHILD_SUBREAPER)")
}

/// Runs `command` to its end with `input` on standard input.
///
/// Output goes to files, not pipes: a container process that wrongly keeps podman's stdout cannot block us.
pub fn run(command: &mut Command, input: &str) -> Result<Outcome> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut stdin = tempfile::tempfile()?;
    stdin.write_all(input.as_bytes())?;
    stdin.rewind()?;
    command.stdin(stdin).stdout(out.try_clone()?).stderr(err.try_clone()?);
    let child = command.spawn().with_context(|| format!("{command:?}"))?;
    let code = wait(&child)?;
    let (code, hung) = (code.unwrap_or(-1), code.is_none());
    let outcome = Outcome { code, out: contents(&mut out)?, err: contents(&mut err)? };
    if hung {
        bail!("{command:?} did not end within {PATIENCE:?}; it printed {outcome:?}");
    }
    Ok(outcome)
}

/// Runs `command` on a pseudo-terminal of `rows` × `columns`; what it prints comes back in `out`.
///
/// The command must make the terminal its controlling one itself (`setsid --ctty`).
pub fn run_on_terminal(command: &mut Command, rows: u16, columns: u16) -> Result<Outcome> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(Some(&size), None)?;
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let stdio = || slave.try_clone().map(Stdio::from);
    command.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?);
    let child = command.spawn().with_context(|| format!("{command:?}"))?;
    // `command` and `slave` would keep the terminal open, and reading would never see its end.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(slave);
    read_terminal(master, &child)
}

fn read_terminal(master: OwnedFd, child: &Child) -> Result<Outcome> {
    let mut master = File::from(master);
    let (mut bytes, mut chunk, mut code) = (Vec::new(), [0; 4096], None);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match master.read(&mut chunk) {
            Ok(length) if length > 0 => {
                bytes.extend_from_slice(&chunk[..length]);
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // EIO, pty(7): nobody has the other end open any more.
            _ if code.is_some() => break,
            _ => {}
        }
        code = code.or(reap(Some(pid_of(child)))?);
        if Instant::now() > deadline {
            kill(pid_of(child), Signal::SIGKILL).ok();
            bail!("no end within {PATIENCE:?} on the terminal; it showed {:?}", String::from_utf8_lossy(&bytes));
        }
        thread::sleep(Duration::from_millis(3));
    }
    Ok(Outcome { code: code.unwrap_or(-1), out: String::from_utf8_lossy(&bytes).replace('\r', ""), err: String::new() })
}

/// Waits for a child; `None` when it had to be killed because it did not end.
pub fn wait(child: &Child) -> Result<Option<i32>> {
    let mut code = None;
    let ended = until(PATIENCE, || {
        code = reap(Some(pid_of(child)))?;
        Ok(code.is_some())
    })?;
    if !ended {
        kill(pid_of(child), Signal::SIGKILL)?;
        waitpid(pid_of(child), None)?;
    }
    Ok(code)
}

/// Asks `done` again and again until it says yes or `limit` is over; says which.
pub fn until(limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while !done()? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(3));
    }
    Ok(true)
}

/// Reaps every child that has ended; the exit code if `wanted` is one of them.
pub fn reap(wanted: Option<Pid>) -> Result<Option<i32>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if Some(pid) == wanted => return Ok(Some(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if Some(pid) == wanted => return Ok(Some(128 + signal as i32)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waitpid"),
        }
    }
}

/// Every living descendant of this process with its name, zombies left out.
pub fn descendants() -> Result<Vec<(Pid, String)>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process that ends while we look is none.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        processes.extend(parse_stat(&stat).map(|(comm, state, parent)| (pid, comm, state, parent)));
    }
    let mut family = vec![std::process::id() as i32];
    let mut index = 0;
    while let Some(&parent) = family.get(index) {
        family.extend(processes.iter().filter(|process| process.3 == parent).map(|process| process.0));
        index += 1;
    }
    let living = processes.into_iter().filter(|process| process.2 != 'Z' && family[1..].contains(&process.0));
    Ok(living.map(|(pid, comm, ..)| (Pid::from_raw(pid), comm)).collect())
}

/// Kills our descendants but those that `spare` names, until there are none, and reaps them.
pub fn kill_descendants(spare: &dyn Fn(Pid) -> bool) -> Result<()> {
    until(Duration::from_secs(10), || {
        reap(None)?;
        let mut others = descendants()?;
        others.retain(|(pid, _)| !spare(*pid));
        for (pid, _) in &others {
            // One that is gone already cannot be killed, which is fine.
            kill(*pid, Signal::SIGKILL).ok();
        }
        Ok(others.is_empty())
    })?;
    Ok(())
}

/// Name, state and parent from a line of /proc/PID/stat, proc_pid_stat(5): the name may hold blanks and brackets.
fn parse_stat(stat: &str) -> Option<(String, char, i32)> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let (_, comm) = head.split_once('(')?;
    let mut fields = tail.split(' ');
    Some((comm.to_owned(), fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
