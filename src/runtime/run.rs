//! `run`: create, start, wait, delete.

use super::create::{self, Created, Terminal};
use super::{Environment, delete, foreground, notify, start};
use crate::cli;
use crate::console;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::sys::process;

/// The command. In the foreground its exit status is the container's.
pub fn run(options: &cli::Run, environment: &Environment) -> Result<i32> {
    let terminal = if options.detach { Terminal::Handed } else { Terminal::Ours };
    let signals = (!options.detach).then(process::signal_fd).transpose()?;
    if !options.detach && !options.no_subreaper {
        // Orphans of a container without a pid namespace come to us, and are reaped.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    let Created { container, init, console, plan } = create::make(&options.create, environment, terminal)?;
    drop(plan);
    if let Some(master) = &console {
        console::copy_size(master); // before the program can ask
    }
    if let Err(error) = start_it(&container, environment) {
        let _ = process::send_signal(&init.pidfd, libc::SIGKILL);
        let _ = foreground::reap(&init);
        // A poststart hook that fails has destroyed it already.
        if container.directory.exists() {
            delete::destroy(&container, environment)?;
        }
        return Err(error);
    }
    let Some(signals) = signals else { return Ok(0) };
    let status = foreground::wait(&init, console, &signals);
    if !options.keep {
        delete::destroy(&container, environment)?;
    }
    status
}

fn start_it(container: &Container, environment: &Environment) -> Result<()> {
    let lock = container.lock(rustix::fs::FlockOperation::LockExclusive)?;
    let notify = notify::listen(container)?;
    start::open(container, &lock)?;
    start::run_poststart(container, environment)?;
    drop(lock);
    match notify {
        // In the foreground there is nobody to wait for readiness but the manager, who listens by itself.
        Some(notify) => notify.forward(container).map_err(|error: Error| error.step("forward readiness")),
        None => Ok(()),
    }
}
