//! `start`: opens the gate and reports how the exec went.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Environment, notify, open_init};
use crate::config;
use crate::container::status::{self, Status, Verb};
use crate::container::{self, Container, Lock};
use crate::error::{Error, Result};
use crate::handshake::{Started, open_gate};
use crate::hooks::{self, Output, State};
use crate::plan::hooks::{self as plan_hooks, HookKind, Hooks};
use crate::plan::steps::{Stage, id};
use crate::plan::{ConfigPath, annotations};
use crate::sys::process;
use crate::trace;

/// The command.
pub fn start(id: &str, environment: &Environment) -> Result<()> {
    let (container, lock) = Container::open_locked(&environment.root, id)?;
    status::permit(Verb::Start, container.status()?, id)?;
    let notify = notify::listen(&container)?;
    // "If any startContainer hook fails, the runtime MUST generate an error, stop the container, and continue the
    // lifecycle at step 12" (runtime.md, Lifecycle). Whatever else fails leaves a stopped container.
    open(&container, &lock).inspect_err(|error| {
        await_end(&container);
        if error.config_path().is_some_and(|place| place.starts_with("hooks.startContainer")) {
            stop_and_destroy(&container, environment);
        }
    })?;
    run_poststart(&container, environment)?;
    drop(lock);
    notify.map_or(Ok(()), |notify| notify.forward(&container))
}

/// After a failure: waits until init has ended and its parent knows. That is containerd's shim, our caller, and dockerd
/// has it delete the container as soon as we have failed; had it not seen the end by then, it would refuse and stay, with
/// the container. A parent that does not care is not waited for long.
fn await_end(container: &Container) {
    let Ok(Some(init)) = open_init(&container.record) else { return };
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&patience));
    for _ in 0..50 {
        // A zombie still takes signals, pidfd_send_signal(2).
        if process::send_signal(&init, 0).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lets init through the gate. On return the program runs, or the error says why not.
pub fn open(container: &Container, _lock: &Lock) -> Result<()> {
    if container.record.lacks_process {
        return Err(container::no_process());
    }
    let refused = |status| status::permit(Verb::Start, status, &container.record.id);
    let stage = trace::enter(Stage::Open);
    let opened = trace::step(|| id::GATE_OPEN, || open_gate(&container.directory))?;
    end_exec(opened.as_ref());
    stage.end();
    match opened {
        // Nobody waits: somebody else has started it, or it has died, since we looked.
        None => match container.status()? {
            Status::Created => Err(Error::new("init does not wait at its gate")),
            other => refused(other),
        },
        Some(Started::Failed(error)) => Err(error),
        Some(Started::Died) => Err(explain_death(container, "container init died before it could start the program")),
        Some(Started::Yes) => match status::read_stat(container.record.init_process_pid) {
            // The end of the file can also mean that init was killed, by its own filter for one. A zombie still tells.
            Some(stat) if stat.start == container.record.init_process_start && !stat.has_executed() => {
                Err(explain_death(container, "container init died while it started the program"))
            }
            _ => Ok(()),
        },
    }
}

/// For the trace: init could not tell how its last step went.
fn end_exec(opened: Option<&Started>) {
    match opened {
        Some(Started::Yes) => trace::end(id::EXECVE, None),
        Some(Started::Failed(error)) => trace::end(id::EXECVE, Some(error)),
        Some(Started::Died) | None => {}
    }
}

/// The words in parentheses are runc's.
fn explain_death(container: &Container, message: &str) -> Error {
    match container.cgroup().had_oom_kill() {
        true => {
            Error::new(format!("{message} (possibly OOM-killed)")).at(ConfigPath::new("linux.resources.memory.limit"))
        }
        false => Error::new(message),
    }
}

/// "If any poststart hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at
/// step 12": destroy (runtime.md, Lifecycle).
pub fn run_poststart(container: &Container, environment: &Environment) -> Result<()> {
    if !container.record.has_late_hooks {
        return Ok(());
    }
    let stage = trace::enter(Stage::Started);
    let hooks = late_hooks(container)?;
    let state = state(container, "running", container.record.init_process_pid);
    let output = Output::open(&hooks);
    let ran = output.and_then(|output| hooks::run_all(&hooks, HookKind::Poststart, &state, &output));
    ran.inspect_err(|_| stop_and_destroy(container, environment))?;
    stage.end();
    Ok(())
}

/// The end of a container whose hook has failed.
fn stop_and_destroy(container: &Container, environment: &Environment) {
    if let Ok(Some(init)) = open_init(&container.record) {
        let _ = process::send_signal(&init, libc::SIGKILL);
    }
    if let Err(error) = super::delete::destroy(container, environment) {
        environment.log.warning(&format!("destroy the container after its hook failed: {}", error.headline()));
    }
}

/// The hooks of the configuration as it was at create; nothing else of it is read.
pub fn late_hooks(container: &Container) -> Result<Hooks> {
    let config = config::parse(container.config_text()?)?;
    let mut hooks = plan_hooks::plan(config.spec.hooks().as_ref(), &mut Vec::new());
    annotations::plan(config.spec.annotations().as_ref(), &mut Vec::new(), &mut Vec::new()).redirect(&mut hooks);
    Ok(hooks)
}

/// The state that a hook gets.
pub fn state<'a>(container: &'a Container, status: &'static str, pid: i32) -> State<'a> {
    let record = &container.record;
    let annotations = &record.annotations;
    State {
        version: &record.version,
        id: &record.id,
        status,
        pid,
        bundle: &record.bundle,
        annotations,
        environment: &[],
    }
}
