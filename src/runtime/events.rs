//! `events`: statistics at an interval, and a line whenever memory runs out, as JSON lines until the container stops.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::{Environment, open_init};
use crate::call;
use crate::cgroup::{Cgroup, Stats};
use crate::cli;
use crate::container::Container;
use crate::container::status::{self, Verb};
use crate::error::{Error, Result};
use crate::sys::process;

/// One line.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

/// The command.
pub fn events(options: &cli::Events, environment: &Environment) -> Result<()> {
    let interval = parse_duration(&options.interval).ok_or_else(|| {
        Error::new(format!("invalid value {:?} for flag --interval: invalid duration", options.interval))
            .hint("a duration is a number and a unit (ns, us, ms, s, m, h), or several, such as 1m30s")
    })?;
    let container = Container::open(&environment.root, &options.id)?;
    let interval = u64::try_from(interval).ok().filter(|nanoseconds| *nanoseconds > 0).map(Duration::from_nanos);
    let interval = interval.ok_or_else(|| Error::new("duration interval must be greater than 0"))?;
    status::permit(Verb::Events, container.status()?, &options.id)?;
    match options.stats {
        true => print_stats(&options.id, &container.cgroup()).map(drop),
        false => follow(&container, interval, environment),
    }
}

/// Ends when the container does, when nobody reads any more, and when we are told to.
fn follow(container: &Container, interval: Duration, environment: &Environment) -> Result<()> {
    let (id, cgroup) = (&container.record.id, container.cgroup());
    let signals = process::signal_fd_of(&[libc::SIGINT, libc::SIGTERM])?;
    let mut oom = cgroup.watch_oom()?;
    // Not before the watch began: what happens from here on is not missed.
    let Some(init) = open_init(&container.record)? else { return Ok(()) };
    if oom.is_none() {
        environment.log.warning("the container has no memory controller: nobody will tell when memory runs out");
    }
    let stdout = rustix::stdio::stdout();
    let mut next = Instant::now() + interval;
    loop {
        let mut waited = [
            PollFd::new(&signals, PollFlags::IN),
            PollFd::new(&init, PollFlags::IN),
            // Only its errors: there is nobody left who reads.
            PollFd::from_borrowed_fd(stdout, PollFlags::empty()),
            PollFd::from_borrowed_fd(oom.as_ref().map_or(signals.as_fd(), |watch| watch.descriptor()), PollFlags::IN),
        ];
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut waited, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            polled => call!("poll"() => polled)?,
        };
        let [told, stopped, unread, short] = waited.map(|one| !one.revents().is_empty());
        // When the container stops, what it died of may be told later than that it died.
        if (short || stopped)
            && oom.as_mut().is_some_and(|watch| watch.happened())
            && !print_event(&Event { kind: "oom", id, data: None })?
        {
            return Ok(());
        }
        if told || stopped || unread {
            return Ok(());
        }
        if Instant::now() >= next {
            next = Instant::now() + interval;
            match print_stats(id, &cgroup) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => environment.log.warning(&error.headline()),
            }
        }
    }
}

fn print_stats(id: &str, cgroup: &Cgroup) -> Result<bool> {
    print_event(&Event { kind: "stats", id, data: Some(cgroup.stats()?) })
}

/// Writes a line at once; false if nobody reads any more.
fn print_event(event: &Event<'_>) -> Result<bool> {
    let mut line = serde_json::to_string(event).map_err(|error| Error::new(error.to_string()))?;
    line.push('\n');
    let mut stdout = std::io::stdout();
    match stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(format!("write to stdout: {error}"))),
    }
}

/// Nanoseconds, from a duration as Go writes them: `5s`, `1m30s`, `1.5h`, `-2us`, `0`. None if it is not one.
fn parse_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut sum = 0.0;
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    loop {
        let (number, more) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, more) = more.split_at(more.find(is_number).unwrap_or(more.len()));
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum += number.parse::<f64>().ok()? * factor;
        if more.is_empty() {
            return (sum < i64::MAX as f64).then_some((sign * sum) as i64);
        }
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::parse_duration;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("5s", Some(5_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("2us", Some(2_000)),
            ("2µs", Some(2_000)),
            ("7ns", Some(7)),
            ("+1s", Some(1_000_000_000)),
            ("-1s", Some(-1_000_000_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("0h1s", Some(1_000_000_000)),
            ("", None),
            ("-", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("1s5", None),
            ("1 s", None),
            ("1e3s", None),
            ("3000000h", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }
}
