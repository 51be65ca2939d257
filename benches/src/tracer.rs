//! Counts what a command does, with ptrace(2): system calls, processes, threads, and the most memory that one of its
//! processes had. What the container's program does is not counted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::watchdog;

/// What was counted.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// System calls of all processes.
    pub calls: usize,
    /// The first one included.
    pub processes: usize,
    /// Beside the first of each process.
    pub threads: usize,
    /// In kB: the largest of the processes, by what /proc/PID/status calls VmHWM.
    pub memory: u64,
    /// What all reads together have returned.
    pub bytes_read: u64,
    /// How often each system call was made, by its number.
    pub by_number: BTreeMap<u64, usize>,
    /// Whether the command itself succeeded.
    pub success: bool,
}

struct Task {
    inside_call: bool,
    /// The call that it is in.
    number: u64,
    /// It has become the container's program.
    foreign: bool,
}

/// Runs a command to its end. What it leaves running is let go when it is silent.
pub fn trace(mut command: Command, program: &str) -> Result<Counts, String> {
    // SAFETY: between fork and exec this makes one system call and touches no memory of the parent's.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let first = Pid::from_raw(child.id() as i32);
    let _watched = watchdog::watch(child.id());
    Tracer { first, program, tasks: BTreeMap::new(), counts: Counts::default() }
        .follow()
        .map_err(|error| format!("ptrace: {error}"))
}

struct Tracer<'a> {
    first: Pid,
    /// The name of the file that the container's program is.
    program: &'a str,
    tasks: BTreeMap<Pid, Task>,
    counts: Counts,
}

impl Tracer<'_> {
    fn follow(mut self) -> Result<Counts, Errno> {
        waitpid(self.first, None)?;
        ptrace::setoptions(
            self.first,
            ptrace::Options::PTRACE_O_TRACESYSGOOD
                | ptrace::Options::PTRACE_O_TRACEFORK
                | ptrace::Options::PTRACE_O_TRACEVFORK
                | ptrace::Options::PTRACE_O_TRACECLONE
                | ptrace::Options::PTRACE_O_TRACEEXEC
                | ptrace::Options::PTRACE_O_TRACEEXIT
                | ptrace::Options::PTRACE_O_EXITKILL,
        )?;
        self.begin(self.first);
        go_on(self.first, None)?;
        let mut ended = false;
        let mut silent = 0;
        while !self.tasks.is_empty() {
            // Once the command has ended, what it has left either says something soon or waits for somebody.
            let flags = WaitPidFlag::__WALL | if ended { WaitPidFlag::WNOHANG } else { WaitPidFlag::empty() };
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) if silent == SILENCE => break,
                Ok(WaitStatus::StillAlive) => {
                    silent += 1;
                    sleep(Duration::from_millis(1));
                }
                Ok(status) => {
                    silent = 0;
                    ended |= self.take(status)?;
                }
                Err(Errno::ECHILD) => break,
                Err(error) => return Err(error),
            }
        }
        self.let_go();
        Ok(self.counts)
    }

    fn begin(&mut self, pid: Pid) {
        if self.tasks.contains_key(&pid) {
            return;
        }
        self.tasks.insert(pid, Task { inside_call: false, number: 0, foreign: false });
        match is_thread(pid) {
            true => self.counts.threads += 1,
            false => self.counts.processes += 1,
        }
    }

    /// One event; whether it is the end of the command.
    fn take(&mut self, status: WaitStatus) -> Result<bool, Errno> {
        match status {
            WaitStatus::Exited(pid, code) => {
                self.tasks.remove(&pid);
                if pid == self.first {
                    self.counts.success = code == 0;
                    return Ok(true);
                }
            }
            WaitStatus::Signaled(pid, ..) => {
                self.tasks.remove(&pid);
                return Ok(pid == self.first);
            }
            WaitStatus::PtraceSyscall(pid) => {
                self.call(pid);
                go_on(pid, None)?;
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.event(pid, event);
                go_on(pid, None)?;
            }
            WaitStatus::Stopped(pid, signal) => {
                // A new task begins with a stop that nobody has sent.
                let new = !self.tasks.contains_key(&pid);
                self.begin(pid);
                let signal = Some(signal).filter(|signal| !(new && *signal == Signal::SIGSTOP));
                go_on(pid, signal)?;
            }
            _ => {}
        }
        Ok(false)
    }

    fn call(&mut self, pid: Pid) {
        let Some(task) = self.tasks.get_mut(&pid) else { return };
        task.inside_call = !task.inside_call;
        if task.foreign {
            return;
        }
        let Some((number, result)) = number_and_result(pid) else { return };
        if !task.inside_call {
            if READS.contains(&task.number) {
                self.counts.bytes_read += u64::try_from(result).unwrap_or_default();
            }
            return;
        }
        task.number = number;
        self.counts.calls += 1;
        *self.counts.by_number.entry(number).or_default() += 1;
        // The memory of the program that is left is gone after the call.
        if EXECS.contains(&number) {
            self.weigh(pid);
        }
    }

    fn event(&mut self, pid: Pid, event: i32) {
        if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            if let Some(task) = self.tasks.get_mut(&pid) {
                task.foreign = program.file_name() == Path::new(self.program).file_name();
            }
        } else if event == ptrace::Event::PTRACE_EVENT_EXIT as i32 {
            self.weigh(pid);
        }
    }

    fn weigh(&mut self, pid: Pid) {
        if self.tasks.get(&pid).is_some_and(|task| !task.foreign) {
            self.counts.memory = self.counts.memory.max(status_of(pid.as_raw(), "VmHWM:"));
        }
    }

    /// The tasks that stay are stopped, weighed and let go.
    fn let_go(&mut self) {
        let tasks: Vec<Pid> = self.tasks.keys().copied().collect();
        for pid in tasks {
            let _ = kill(pid, Signal::SIGSTOP);
            while let Ok(status) = waitpid(pid, Some(WaitPidFlag::__WALL)) {
                if matches!(
                    status,
                    WaitStatus::Stopped(_, Signal::SIGSTOP) | WaitStatus::Exited(..) | WaitStatus::Signaled(..)
                ) {
                    break;
                }
                let _ = self.take(status);
            }
            self.weigh(pid);
            let _ = ptrace::detach(pid, None);
            // The signal would stop it again where it was sent twice.
            let _ = kill(pid, Signal::SIGCONT);
        }
    }
}

/// Milliseconds.
const SILENCE: usize = 100;

/// A task that died meanwhile is told by the next wait.
fn go_on(pid: Pid, signal: Option<Signal>) -> Result<(), Errno> {
    match ptrace::syscall(pid, signal) {
        Err(Errno::ESRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_thread(pid: Pid) -> bool {
    let leader = status_of(pid.as_raw(), "Tgid:");
    leader != 0 && leader != pid.as_raw() as u64
}

/// read, pread64, readv and preadv in asm/unistd_64.h.
const READS: [u64; 4] = [0, 17, 19, 295];
/// execve and execveat there.
const EXECS: [u64; 2] = [59, 322];

#[cfg(target_arch = "x86_64")]
fn number_and_result(pid: Pid) -> Option<(u64, i64)> {
    ptrace::getregs(pid).ok().map(|registers| (registers.orig_rax, registers.rax as i64))
}

/// Elsewhere the calls are counted, but not told apart.
#[cfg(not(target_arch = "x86_64"))]
fn number_and_result(_: Pid) -> Option<(u64, i64)> {
    Some((u64::MAX, 0))
}

/// A number in /proc/PID/status.
pub fn status_of(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or_default()
}
