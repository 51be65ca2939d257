//! `run`: create, start, wait, delete.

use std::mem::ManuallyDrop;

use super::create::{self, Created, Terminal};
use super::notify::{self, Notify};
use super::{Environment, delete, foreground, start};
use crate::cli;
use crate::console;
use crate::container::{Container, Lock};
use crate::error::Result;
use crate::sys::process;

/// The exit status of a program that SIGKILL has ended.
const KILLED: i32 = 128 + libc::SIGKILL;

/// The command. In the foreground its exit status is the container's.
pub fn run(options: &cli::Run, environment: &Environment) -> Result<i32> {
    let terminal = if options.detach { Terminal::Handed } else { Terminal::Ours };
    let signals = (!options.detach).then(process::signal_fd).transpose()?;
    if !options.detach && !options.no_subreaper {
        // Orphans of a container without a pid namespace come to us, and are reaped.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::Pid::INIT)); // any number means yes
    }
    let Created { container, init, console, plan, lock } = create::make(&options.create, environment, terminal, false)?;
    if let Some(master) = &console {
        console::fit(master);
    }
    let started = start_it(&container, lock, environment);
    drop(plan);
    if started.is_err() {
        let _ = process::send_signal(&init.pidfd, libc::SIGKILL);
        let _ = foreground::reap(&init);
        // A poststart hook that fails has destroyed it already.
        if container.directory.exists() {
            delete::destroy(&container, environment)?;
        }
    }
    let notify = started?;
    let Some(signals) = signals else {
        // The container runs; that its manager cannot be told is no reason to say that it does not.
        if let Some(Err(error)) = notify.map(|notify| notify.forward(&container)) {
            environment.log.warning(&error.headline());
        }
        return Ok(0);
    };
    let status = foreground::wait(&init, console, &signals, notify);
    // Our own end, which is near, closes both.
    let (_, _) = (ManuallyDrop::new(signals), ManuallyDrop::new(init));
    if matches!(status, Ok(KILLED)) && container.cgroup().had_oom_kill() {
        let limit = "linux.resources.memory.limit";
        environment.log.warning(&format!("the kernel has killed the container for want of memory: see {limit}"));
    }
    if !options.keep {
        delete::destroy(&container, environment)?;
    }
    status
}

/// Starts the program; returns where it will report its readiness, if somebody wants to know.
fn start_it(container: &Container, lock: Lock, environment: &Environment) -> Result<Option<Notify>> {
    let notify = notify::listen(container)?;
    start::open(container, &lock)?;
    start::run_poststart(container, environment)?;
    drop(lock);
    Ok(notify)
}
