//! What a container is doing, observed, and what may be done with it then: the whole lifecycle in one table.

use std::fmt;
use std::path::Path;

use rustix::fs::FlockOperation;

use super::Container;
use crate::error::{Error, Result};
use crate::sys::file;

/// The states of runtime.md, and `paused`, which engines know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

/// What somebody wants to do with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Start,
    Kill,
    Delete,
    /// `delete` with `--strict`.
    StrictDelete,
    ForceDelete,
    Exec,
    ExecWhilePaused,
    Checkpoint,
    Pause,
    Resume,
    Update,
    Events,
    Ps,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// Whether the verb may act on a container of this status. A refusal says both, in the words that engines know.
pub fn permit(verb: Verb, status: Status, id: &str) -> Result<()> {
    use Status::{Created, Creating, Paused, Running, Stopped};
    let refusal = match (verb, status) {
        (Verb::Start, Created)
        | (Verb::Kill, Created | Running | Paused)
        | (Verb::Delete, Stopped | Created)
        | (Verb::StrictDelete, Stopped)
        | (Verb::ForceDelete, _)
        | (Verb::Exec, Created | Running)
        | (Verb::ExecWhilePaused, Created | Running | Paused)
        | (Verb::Checkpoint, Running | Paused)
        | (Verb::Pause, Created | Running)
        | (Verb::Resume, Paused)
        | (Verb::Update | Verb::Events, Created | Running | Paused)
        | (Verb::Ps, _) => return Ok(()),

        (Verb::Start, Running) => ("cannot start an already running container".to_owned(), "created"),
        (Verb::Start, Stopped) => ("cannot start a container that has stopped".to_owned(), "created"),
        (Verb::Start, other) => (format!("cannot start a container in the {other} state"), "created"),
        (Verb::Kill, Stopped | Creating) => ("container not running".to_owned(), "created or running"),
        (Verb::Delete | Verb::StrictDelete, other) => {
            (format!("cannot delete container {id} that is not stopped: {other}"), "stopped, or --force")
        }
        (Verb::Exec, Paused) => {
            ("cannot exec in a paused container (use --ignore-paused to override)".to_owned(), "running")
        }
        (Verb::Exec | Verb::ExecWhilePaused, Stopped) => ("cannot exec in a stopped container".to_owned(), "running"),
        (Verb::Checkpoint, other) => {
            (format!("Container cannot be checkpointed in {other} state"), "running or paused")
        }
        (Verb::Exec | Verb::ExecWhilePaused, other) => (format!("cannot exec in a {other} container"), "running"),
        (Verb::Pause, _) => ("container not running".to_owned(), "created or running"),
        (Verb::Resume, _) => ("container not paused".to_owned(), "paused"),
        (Verb::Update, Stopped | Creating) => ("container not running".to_owned(), "created, running or paused"),
        (Verb::Events, Stopped | Creating) => {
            (format!("container with id {id} is not running"), "created, running or paused")
        }
    };
    Err(Error::new(refusal.0).hint(format!("{id:?} is {status}; it must be {}", refusal.1)))
}

/// Looks at the init process. The record's phase tells "creating" from the rest; everything else is the kernel's word.
pub fn observe(container: &Container) -> Result<Status> {
    let record = &container.record;
    let init = init_state(record.init_process_pid, record.init_process_start);
    if !record.committed {
        // Nobody holds the lock any more: its create was killed.
        let abandoned = init.is_none() && container.lock(FlockOperation::NonBlockingLockShared).is_ok();
        return Ok(if abandoned { Status::Stopped } else { Status::Creating });
    }
    let Some(init) = init else { return Ok(Status::Stopped) };
    if container.cgroup().is_frozen()? {
        return Ok(Status::Paused);
    }
    Ok(if init.has_executed || record.restored { Status::Running } else { Status::Created })
}

/// An init process that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// It has become the container's program: `PF_FORKNOEXEC` is gone from its flags.
    pub has_executed: bool,
}

/// The init process, if it is alive and the one that was recorded: a pid may have been used again, a pid with its start
/// time may not. A zombie is not alive.
pub fn init_state(pid: i32, start: u64) -> Option<Init> {
    let stat = (pid > 0).then(|| read_stat(pid)).flatten()?;
    let is_alive = stat.start == start && !matches!(stat.state, 'Z' | 'X' | 'x');
    is_alive.then_some(Init { has_executed: stat.flags & PF_FORKNOEXEC == 0 })
}

/// "Forked but didn't exec", include/linux/sched.h.
const PF_FORKNOEXEC: u32 = 0x40;

/// The fields of `/proc/PID/stat` that matter here, see proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `Z`, …
    pub state: char,
    /// `PF_*`.
    pub flags: u32,
    /// Clock ticks since boot.
    pub start: u64,
}

impl Stat {
    /// Whether it has executed a program since it was forked; a zombie still tells.
    pub fn has_executed(self) -> bool {
        self.flags & PF_FORKNOEXEC == 0
    }
}

/// Reads `/proc/PID/stat`; None if there is no such process.
pub fn read_stat(pid: i32) -> Option<Stat> {
    parse_stat(&file::read_line(Path::new(&format!("/proc/{pid}/stat"))).ok()?)
}

/// The second field is the command's name in parentheses and may hold anything, so the fields are counted from the
/// last closing one: state is the third, flags the ninth, the start time the 22nd.
fn parse_stat(line: &str) -> Option<Stat> {
    let mut fields = line[line.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let flags = fields.nth(5)?.parse().ok()?;
    let start = fields.nth(12)?.parse().ok()?;
    Some(Stat { state, flags, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_hostile_name() {
        let line = "7 (a) Z 1 (b) S 1 2 3 0 -1 4194368 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9\n";
        assert_eq!(parse_stat(line), Some(Stat { state: 'S', flags: 4_194_368, start: 4242 }));
        assert!(!parse_stat(line).expect("parsed").has_executed());
    }

    #[test]
    fn the_table_of_verbs_and_states() {
        use Status::{Created, Creating, Paused, Running, Stopped};
        let allowed = |verb| {
            [Creating, Created, Running, Paused, Stopped].map(|status| u8::from(permit(verb, status, "c").is_ok()))
        };
        assert_eq!(allowed(Verb::Start), [0, 1, 0, 0, 0]);
        assert_eq!(allowed(Verb::Kill), [0, 1, 1, 1, 0]);
        assert_eq!(allowed(Verb::Delete), [0, 1, 0, 0, 1]);
        assert_eq!(allowed(Verb::StrictDelete), [0, 0, 0, 0, 1]);
        assert_eq!(allowed(Verb::ForceDelete), [1, 1, 1, 1, 1]);
        assert_eq!(allowed(Verb::Exec), [0, 1, 1, 0, 0]);
        assert_eq!(allowed(Verb::ExecWhilePaused), [0, 1, 1, 1, 0]);
        assert_eq!(allowed(Verb::Checkpoint), [0, 0, 1, 1, 0]);
        assert_eq!(allowed(Verb::Pause), [0, 1, 1, 0, 0]);
        assert_eq!(allowed(Verb::Resume), [0, 0, 0, 1, 0]);
        assert_eq!(allowed(Verb::Update), [0, 1, 1, 1, 0]);
        assert_eq!(allowed(Verb::Events), [0, 1, 1, 1, 0]);
        assert_eq!(allowed(Verb::Ps), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_refusal_says_status_and_need() {
        let error = permit(Verb::Delete, Status::Running, "web").expect_err("refused");
        assert_eq!(error.headline(), "cannot delete container web that is not stopped: running");
        assert!(error.text().contains("\"web\" is running; it must be stopped, or --force"));
    }
}
