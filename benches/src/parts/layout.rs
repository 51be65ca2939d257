//! Which functions of minicon each command executes, for the order in which they are linked (decision 0027). Measures nothing
//! and is performed only if it is named: each instruction is a stop, which makes minutes of some milliseconds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::lifecycle::{ID, arguments};
use crate::bench::Bench;
use crate::runtime::wait_for_end;

/// Groups of functions, in the order in which they are linked; a function belongs to the first that it is in.
const GROUPS: [&str; 5] = ["every command", "init", "create and run", "start, kill, delete", "exec"];
const EVERY: usize = 0;
const INIT: usize = 1;
const CREATE: usize = 2;
const SHORT: usize = 3;
const EXEC: usize = 4;

/// Writes `build/functions.VIEW`: a number of a group and a symbol a line, in the order in which they were first executed.
pub fn measure(bench: &mut Bench) -> Result<(), String> {
    let runtime = bench.runtimes[0].clone();
    let symbols = Symbols::of(&runtime.program.to_string_lossy())?;
    let mut seen = Vec::new();
    let sleeping = bench.makings.sleeping("real")?;
    let mut step = |groups: [usize; 2], command: Command| {
        seen.extend(
            single_step(command)
                .map_err(|error| format!("ptrace: {error}"))?
                .into_iter()
                .map(|(in_clone, address)| (groups[usize::from(in_clone)], address)),
        );
        Ok::<(), String>(())
    };
    runtime.perform(&arguments("create", &sleeping))?;
    let pid = runtime.pid(ID)?;
    step([EVERY; 2], runtime.command(&["state", ID])?)?;
    step([SHORT; 2], runtime.command(&["start", ID])?)?;
    step([EXEC; 2], runtime.command(&arguments("exec", &sleeping))?)?;
    step([SHORT; 2], runtime.command(&["kill", ID, "KILL"])?)?;
    wait_for_end(pid)?;
    step([SHORT; 2], runtime.command(&["delete", ID])?)?;
    step([CREATE, INIT], runtime.command(&arguments("create", &sleeping))?)?;
    runtime.perform(&["delete", "--force", ID])?;
    step([CREATE, INIT], runtime.run(&bench.makings.plain("spec")?, ID)?)?;
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (order, (group, address)) in seen.into_iter().enumerate() {
        let Some(symbol) = symbols.at(address) else { continue };
        let found = groups.entry(symbol).or_insert((group, order));
        *found = (*found).min((group, order));
    }
    let mut ordered: Vec<_> = groups.into_iter().map(|(symbol, place)| (place, symbol)).collect();
    ordered.sort_unstable();
    let lines: String = ordered.iter().map(|((group, _), symbol)| format!("{group} {symbol}\n")).collect();
    let file = format!("build/functions.{}", bench.view.name());
    fs::write(&file, lines).map_err(|error| format!("{file}: {error}"))?;
    for (number, name) in GROUPS.iter().enumerate() {
        println!("{file}: {}: {} functions", name, ordered.iter().filter(|((group, _), _)| *group == number).count());
    }
    Ok(())
}

/// Executes a command an instruction at a time: the addresses, each once, in order, and whether in a clone of the command.
/// Which is left alone when it executes something; the command's end is its own.
fn single_step(mut command: Command) -> Result<Vec<(bool, u64)>, Errno> {
    // SAFETY: between fork and exec this makes one system call and touches no memory of the parent's.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let child = command.spawn().map_err(|_| Errno::ENOEXEC)?;
    let first = Pid::from_raw(child.id() as i32);
    waitpid(first, None)?;
    let clones = ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACEVFORK;
    ptrace::setoptions(first, clones | ptrace::Options::PTRACE_O_TRACEEXEC | ptrace::Options::PTRACE_O_EXITKILL)?;
    ptrace::step(first, None)?;
    let mut seen: BTreeMap<(bool, u64), usize> = BTreeMap::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == first => break,
            Ok(WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC)) if pid != first => ptrace::detach(pid, None)?,
            Ok(WaitStatus::PtraceEvent(pid, ..) | WaitStatus::Stopped(pid, Signal::SIGSTOP)) => go_on(pid, None)?,
            Ok(WaitStatus::Stopped(pid, Signal::SIGTRAP)) => {
                let Ok(registers) = ptrace::getregs(pid) else { continue };
                let order = seen.len();
                seen.entry((pid != first, registers.rip)).or_insert(order);
                go_on(pid, None)?;
            }
            Ok(WaitStatus::Stopped(pid, signal)) => go_on(pid, Some(signal))?,
            Ok(_) => {}
            Err(Errno::ECHILD) => break,
            Err(error) => return Err(error),
        }
    }
    let mut ordered: Vec<_> = seen.into_iter().map(|(what, order)| (order, what)).collect();
    ordered.sort_unstable();
    Ok(ordered.into_iter().map(|(_, what)| what).collect())
}

/// A process that was killed meanwhile is none to go on.
fn go_on(pid: Pid, signal: Option<Signal>) -> Result<(), Errno> {
    match ptrace::step(pid, signal) {
        Err(Errno::ESRCH) => Ok(()),
        stepped => stepped,
    }
}

/// The functions of a program that is linked to a fixed address.
struct Symbols(Vec<(u64, String)>);

impl Symbols {
    fn of(program: &str) -> Result<Symbols, String> {
        let output = Command::new("nm").args(["--defined-only", "--numeric-sort", program]).output();
        let output = output.map_err(|error| format!("nm: {error}"))?;
        let mut symbols = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.split_whitespace();
            let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
            if matches!(kind, "t" | "T" | "w" | "W" | "i") {
                let address = u64::from_str_radix(address, 16).map_err(|error| format!("nm: {line}: {error}"))?;
                symbols.push((address, name.to_owned()));
            }
        }
        match symbols.is_empty() {
            true => Err(format!("{program} has no symbols: it was stripped")),
            false => Ok(Symbols(symbols)),
        }
    }

    /// None outside of the program, as in the kernel's page of the process.
    fn at(&self, address: u64) -> Option<&str> {
        let next = self.0.partition_point(|(start, _)| *start <= address);
        let (_, name) = self.0.get(next.checked_sub(1)?)?;
        (next < self.0.len()).then_some(name)
    }
}
