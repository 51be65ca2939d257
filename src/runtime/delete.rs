//! `delete`: gives back everything that create took.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::start::{late_hooks, state};
use super::{Environment, host_mounts, matching, open_init};
use crate::cli;
use crate::container::status::{self, Status, Verb};
use crate::container::{self, Container, Lock};
use crate::error::{Error, Result};
use crate::hooks;
use crate::plan::hooks::{HookKind, Hooks};
use crate::plan::steps::{Stage, id};
use crate::resctrl::Membership;
use crate::sys::process;
use crate::trace;

/// How long a killed init may take to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// The command.
pub fn delete(options: &cli::Delete, environment: &Environment) -> Result<()> {
    match options.regex {
        true => matching::each(&options.id, environment, |id| delete_one(id, options.force, environment)),
        false => delete_one(&options.id, options.force, environment),
    }
}

fn delete_one(id: &str, force: bool, environment: &Environment) -> Result<()> {
    let container = match Container::open(&environment.root, id) {
        Ok(container) => container,
        Err(_) if force => match find_after_all(id, environment)? {
            Some(container) => container,
            None => return Ok(()),
        },
        Err(error) => return Err(error),
    };
    let verb = match (force, environment.strict) {
        (true, _) => Verb::ForceDelete,
        (false, true) => Verb::StrictDelete,
        (false, false) => Verb::Delete,
    };
    let Some((container, _lock)) = lock(container, force, environment)? else { return Ok(()) };
    let status = container.status()?;
    status::permit(verb, status, id)?;
    if status != Status::Stopped {
        kill_init(&container)?;
    }
    destroy(&container, environment)
}

/// With --force a missing container is no error, and neither is a directory without a record, which is removed if its
/// create was killed. One that is about to write its record is waited for.
fn find_after_all(id: &str, environment: &Environment) -> Result<Option<Container>> {
    container::check_id(id)?;
    let directory = environment.root.join(id);
    let deadline = Instant::now() + PATIENCE;
    while !container::forget_unrecorded(&directory)? {
        match Container::open(&environment.root, id) {
            Ok(container) => return Ok(Some(container)),
            Err(_) if directory.join("state.json").exists() || Instant::now() > deadline => {
                let hint =
                    format!("its cgroups and processes, if any, are not known; remove {} by hand", directory.display());
                return Err(Error::new(format!("the record of {id:?} cannot be read")).hint(hint));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(None)
}

/// The lock, and the record as it is then. A create that is still at work is ended by --force: its init is killed, and
/// it takes everything back by itself. None if it did.
fn lock(container: Container, force: bool, environment: &Environment) -> Result<Option<(Container, Lock)>> {
    let id = container.record.id.clone();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let operation = if force { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::LockExclusive };
        match container.lock(operation) {
            Ok(lock) => {
                return match Container::open(&environment.root, &id) {
                    Ok(container) => Ok(Some((container, lock))),
                    Err(_) if force => Ok(None),
                    Err(error) => Err(error),
                };
            }
            Err(error) if error.call_name() == Some("open") && force => return Ok(None),
            Err(error) if error.errno() != Some(Errno::AGAIN) => return Err(error),
            Err(error) if Instant::now() > deadline => {
                return Err(error
                    .step("wait for the command that holds the container")
                    .hint("a create or start of it is still at work, in a hook for instance; end that process first"));
            }
            Err(_) => {
                if let Ok(Container { record, .. }) = Container::open(&environment.root, &id)
                    && let Some(init) = open_init(&record)?
                {
                    let _ = process::send_signal(&init, libc::SIGKILL);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Kills init and waits until it is dead: everything else of the container dies with its pid namespace.
fn kill_init(container: &Container) -> Result<()> {
    let Some(init) = open_init(&container.record)? else { return Ok(()) };
    end(&init)?;
    let cgroup = container.cgroup();
    if cgroup.is_frozen().unwrap_or(false) {
        cgroup.thaw()?;
    }
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut events = [PollFd::new(&init, PollFlags::IN)];
    match poll(&mut events, Some(&patience)) {
        Ok(0) => {
            Err(Error::new("container init still running").hint("it may wait for a device or a network file system"))
        }
        _ => Ok(()),
    }
}

/// A process that has ended by itself meanwhile, and was reaped, is what we want too: pidfd_send_signal(2), ESRCH.
fn end(process: &OwnedFd) -> Result<()> {
    match process::send_signal(process, libc::SIGKILL) {
        Err(error) if error.errno() == Some(Errno::SRCH) => Ok(()),
        sent => sent,
    }
}

/// Removes what is left of a container whose init is dead: processes without a pid namespace, cgroups, the record. Then
/// the poststop hooks run, which can only warn: "the runtime MUST log a warning, but the remaining hooks and lifecycle
/// continue as if the hook had succeeded".
pub fn destroy(container: &Container, environment: &Environment) -> Result<()> {
    let stage = trace::enter(Stage::Delete);
    let cgroup = container.cgroup();
    if container.record.may_outlive_init() {
        cgroup.kill(libc::SIGKILL)?;
    }
    let record = &container.record;
    if !record.host_mounts.is_empty() {
        trace::step(|| id::MOUNTS_REMOVE, || host_mounts::remove(&record.rootfs, &record.host_mounts))?;
    }
    let removed = trace::step(|| id::CGROUP_REMOVE, || cgroup.remove());
    removed.map_err(|error| Error::new(format!("unable to destroy container: {}", error.headline())))?;
    if let Some(group) = &container.record.resctrl {
        // Before there is an init, that the groups are the container's is no more than a claim.
        let is_claim = record.init_process_pid == 0;
        trace::step(|| id::RESCTRL_REMOVE, || Membership::remove(group, is_claim))?;
    }
    let hooks = if container.record.has_late_hooks { late_hooks(container).ok() } else { None };
    trace::step(|| id::STATE_REMOVE, || container.forget())?;
    if let Some(hooks) = hooks {
        run_poststop(&hooks, container, environment);
    }
    stage.end();
    Ok(())
}

/// The hooks after a container is gone; also one that a failed hook has ended before it was created.
pub fn run_poststop(hooks: &Hooks, container: &Container, environment: &Environment) {
    let state = state(container, "stopped", 0);
    let output = hooks::Output::open(hooks).unwrap_or_else(|error| {
        environment.log.warning(&error.headline());
        hooks::Output::default()
    });
    for (index, hook) in hooks.of(HookKind::Poststop).iter().enumerate() {
        if let Err(error) = hooks::run_one(hook, HookKind::Poststop, index, &state, &output) {
            environment.log.warning(&error.headline());
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    /// Init of a runtime that was killed: it ends by itself, and PID 1 may reap it between our look and our signal.
    #[test]
    fn who_has_ended_meanwhile_need_not_be_killed() {
        let mut child = std::process::Command::new("true").spawn().expect("true(1)");
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("a pidfd");
        child.wait().expect("its end");
        assert_eq!(process::send_signal(&process, libc::SIGKILL).expect_err("it is gone").errno(), Some(Errno::SRCH));
        end(&process).expect("no error");
    }
}
