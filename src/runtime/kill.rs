//! `kill`: a signal to init, through a descriptor that a recycled pid cannot fool.

use super::{Environment, matching, open_init};
use crate::cli;
use crate::container::Container;
use crate::container::status::{self, Status, Verb};
use crate::error::{Error, Result};
use crate::sys::process;

/// The command.
pub fn kill(options: &cli::Kill, environment: &Environment) -> Result<()> {
    let signal = parse_signal(&options.signal)?;
    match options.regex {
        true => matching::each(&options.id, environment, |id| kill_one(id, signal, options.all, environment)),
        false => kill_one(&options.id, signal, options.all, environment),
    }
}

fn kill_one(id: &str, signal: i32, all: bool, environment: &Environment) -> Result<()> {
    let container = Container::open(&environment.root, id)?;
    let status = container.status()?;
    if all {
        // Engines clean up with it: that there is nobody left is no failure.
        return container.cgroup().kill(signal);
    }
    if status == Status::Stopped && signal == libc::SIGKILL && container.record.may_outlive_init() {
        // Init is gone, its companions may not be; they are the container's too.
        let cgroup = container.cgroup();
        if !cgroup.pids()?.is_empty() {
            return cgroup.kill(signal);
        }
    }
    status::permit(Verb::Kill, status, id)?;
    let Some(init) = open_init(&container.record)? else {
        return status::permit(Verb::Kill, Status::Stopped, id);
    };
    match process::send_signal(&init, signal) {
        Err(error) if error.errno() == Some(rustix::io::Errno::SRCH) => status::permit(Verb::Kill, Status::Stopped, id),
        sent => sent,
    }?;
    // After init, which may have no cgroup; and with it, as the others would live on.
    if signal == libc::SIGKILL && container.record.may_outlive_init() {
        container.cgroup().kill(libc::SIGKILL)?;
    }
    if status == Status::Paused && signal == libc::SIGKILL {
        // On cgroup v1 a frozen process dies only when it thaws.
        container.cgroup().thaw()?;
    }
    Ok(())
}

/// The signals by name, see signal(7). Real-time signals are given by number, or as RTMIN+n and RTMAX-n.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The kernel's range of real-time signals.
const REAL_TIME: (i32, i32) = (34, 64);

/// A signal's number: by number, or by name in any case with or without SIG.
fn parse_signal(text: &str) -> Result<i32> {
    let unknown =
        || Error::new(format!("unknown signal {text:?}")).hint("a number up to 64, or a name such as TERM or SIGTERM");
    if let Ok(number) = text.parse::<i32>() {
        // 0 is no signal: it asks whether there is a process, see kill(2).
        return if (0..=REAL_TIME.1).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |text: &str, sign| text.strip_prefix(sign).map_or(Some(0), |offset: &str| offset.parse::<i32>().ok());
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => offset(rest, '+').map(|n| REAL_TIME.0 + n),
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => offset(rest, '-').map(|n| REAL_TIME.1 - n),
        _ => None,
    };
    real_time.filter(|number| (REAL_TIME.0..=REAL_TIME.1).contains(number)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::parse_signal;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in
            [("0", 0), ("9", 9), ("kill", 9), ("SIGKILL", 9), ("sigusr1", 10), ("RTMIN+1", 35), ("sigrtmax", 64)]
        {
            assert_eq!(parse_signal(text).expect(text), number);
        }
        for text in ["-9", "65", "SIGFOO", "", "RTMIN+99"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
