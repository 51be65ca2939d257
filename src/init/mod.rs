//! THE CONTAINER SIDE, from the clone to the exec.
//!
//! The process starts as a copy of the runtime with all its rights, in new namespaces but with the host's tree in view,
//! and gives up one thing after the other until only the program is left. Five stages:
//! - enter: join the cgroup and the namespaces;
//! - furnish: build the root while the host's tree is still visible;
//! - leave: pivot_root; the host is gone;
//! - assume: become the user, with the rights that the configuration grants and no other;
//! - wait at the gate, then become the program.
//!
//! Must hold before: this process has one thread, its descriptors are close-on-exec, and the runtime holds the other end
//! of the channel. It never returns: it becomes the program, or reports its error and ends.

mod classic;
mod copy_up;
mod host_proc;
mod identity;
mod mounts;
mod namespaces;
mod place;
mod proc;
mod rootfs;

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::cgroup::Entrance;
use crate::console;
use crate::container::{Record, no_process};
use crate::error::{Context, Error, Result};
use crate::handshake::{Channel, Gate, Message, Pace};
use crate::hooks::{self, Output, State};
use crate::plan::hooks::HookKind;
use crate::plan::namespaces::Kind;
use crate::plan::seccomp::Filter;
use crate::plan::steps::{Stage, id};
use crate::plan::{Plan, Program};
use crate::sys::{filter, process, signal};
use crate::trace;
use identity::Executable;
pub use namespaces::join_namespace;
use proc::Proc;

/// What init inherits from the runtime.
#[derive(Debug)]
pub struct Start<'a> {
    /// What is to be done.
    pub plan: &'a Plan,
    /// Who we are, for the hooks.
    pub record: &'a Record,
    /// To the runtime.
    pub channel: Channel,
    /// Where to wait for start.
    pub gate: Gate,
    /// The way into the cgroups.
    pub cgroup: Entrance,
    /// Namespaces that are still to be joined.
    pub joins: Vec<(Kind, OwnedFd)>,
    /// Where hooks print to.
    pub hook_output: &'a Output,
    /// How many descriptors from 3 on the program gets.
    pub preserved_fds: u32,
    /// Where to wait for the runtime.
    pub pace: Pace,
}

/// What a process inherits that joins a running container.
#[derive(Debug)]
pub struct Join<'a> {
    /// What is to be executed.
    pub program: &'a Program,
    /// The session keyring of the container.
    pub keyring: Option<&'a str>,
    /// To the runtime.
    pub channel: Channel,
    /// The way into the cgroups.
    pub cgroup: Entrance,
    /// The container's namespaces, and those of them that we are not in yet (`CLONE_NEW*`).
    pub namespaces: (u32, u32),
    /// The container's init, to join them through.
    pub container: &'a OwnedFd,
    /// The container's root, where no mount namespace leads there.
    pub root: Option<OwnedFd>,
    /// How many descriptors from 3 on the program gets.
    pub preserved_fds: u32,
}

/// The life of a container's init, up to the program.
pub fn start(mut start: Start<'_>) -> ! {
    trace::become_init();
    close_what_is_not_ours(
        start.preserved_fds,
        [start.channel.number()]
            .into_iter()
            .chain(start.gate.numbers())
            .chain(start.cgroup.numbers())
            .chain(start.joins.iter().map(|(_, fd)| fd.as_raw_fd()))
            .chain(start.hook_output.numbers()),
    );
    let prepared = prepare(&mut start);
    let Start { plan, record, channel, gate, hook_output, preserved_fds, pace, .. } = start;
    let program = match prepared {
        Ok(program) => program,
        Err(error) => fail(&channel, error),
    };
    // The runtime has died before it could record the container as created: nobody will ever start it.
    if !matches!(channel.receive_bare(), Ok(Some(Message::Committed))) {
        process::exit(1);
    }
    drop(channel);
    let Err(error) = wait_and_execute(plan, record, hook_output, (&gate, pace.waits_long), program, preserved_fds);
    gate.report(&error);
    process::exit(1)
}

/// The clone has copied the runtime's descriptors: its lock, its end of the channel, its sockets.
fn close_what_is_not_ours(preserved: u32, own: impl Iterator<Item = RawFd>) {
    let kept: Vec<RawFd> = (0..3 + preserved as RawFd).chain(own).chain(trace::numbers()).collect();
    process::close_all_but(&kept);
}

/// Everything up to "created", one step a line, in the kernel's order.
fn prepare(start: &mut Start<'_>) -> Result<Option<Executable>> {
    // Taken, so that no descriptor of a host's directory is open while we wait at the gate.
    let mut stage = trace::enter(Stage::Hold);
    let cgroup = std::mem::take(&mut start.cgroup);
    trace::step(|| id::CGROUP_JOIN, || cgroup.join()).step(|| "join the cgroups")?;
    drop(cgroup);
    let Start { plan, channel, .. } = &*start;
    // In turns with the runtime, or at once with it: see Pace.
    let entered = start.pace.enters_first.then(|| namespaces::enter(start)).transpose()?;
    let Message::Proceed = channel.expect()? else { return Err(out_of_order()) };
    stage.next(Stage::Enter);
    // After the limits, of which the cpuset is one.
    trace::step(|| id::AFFINITY, || identity::set_affinity(None))?;
    let proc = match entered {
        Some(proc) => proc,
        None => namespaces::enter(start)?,
    };
    stage.next(Stage::Furnish);
    let root = rootfs::furnish(&plan.rootfs, &plan.namespaces, channel)?;
    if let Some(program) = &plan.program {
        trace::step(|| id::WORKING_DIRECTORY, || root.make_working_directory(&program.identity.cwd));
    }
    // Nodes have got the modes that they are to have; hooks get the usual mask.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if start.pace.stops_for_hooks {
        channel.send(&Message::RootfsReady)?;
        let Message::HooksDone = channel.expect()? else { return Err(out_of_order()) };
    }
    stage.next(Stage::Leave);
    root.enter()?; // where runc runs these hooks
    run_hooks(plan, start.record, start.hook_output, HookKind::CreateContainer, &[])?;
    trace::step(|| id::LEAVE, || rootfs::leave(&plan.rootfs, &root))?;
    rootfs::finish(plan, root, channel)?;
    proc::write_sysctls(proc.as_ref(), &plan.sysctls)?;
    stage.next(Stage::Assume);
    let program = match &plan.program {
        Some(program) => {
            identity::apply_limits(&program.limits)?;
            if start.pace.waits_long && !program.may_release_late() {
                process::release_code();
            }
            let rights = Rights::in_new(plan.namespaces.has(Kind::User));
            Some(assume(program, proc.as_ref(), channel, rights)?)
        }
        // "All of the properties configured in config.json except for process MUST be applied" (runtime.md, Create): so the
        // container exists without one. Start refuses it, and until it is deleted somebody must hold its namespaces.
        None => trace::step(|| id::NOBODY, identity::become_nobody).map(|()| None)?,
    };
    signal::end_when_asked();
    stage.end();
    channel.send(&Message::Ready)?;
    Ok(program)
}

/// From "created" to the program.
fn wait_and_execute(
    plan: &Plan,
    record: &Record,
    hook_output: &Output,
    (gate, waits_long): (&Gate, bool),
    executable: Option<Executable>,
    preserved_fds: u32,
) -> Result<std::convert::Infallible> {
    if waits_long && plan.program.as_ref().is_none_or(Program::may_release_late) {
        process::release_code();
    }
    trace::step(|| id::GATE_WAIT, || gate.wait())?;
    let (Some(program), Some(executable)) = (&plan.program, &executable) else { return Err(no_process()) };
    let filter = last_filter(program);
    // A startContainer hook is the image's: it has no rights that the program has not, so the filter binds it too.
    let (early, late) =
        if plan.hooks.of(HookKind::StartContainer).is_empty() { (None, filter) } else { (filter, None) };
    if early.is_some() {
        trace::step(|| id::SECCOMP, || load_filter(early))?;
    }
    run_hooks(plan, record, hook_output, HookKind::StartContainer, executable.environment())?;
    process::keep_on_exec(preserved_fds).step(|| "keep the descriptors that --preserve-fds names")?;
    gate.announce()?;
    execute(late, executable)
}

/// The life of a process that joins a running container (`exec`): enter, assume, become the program.
pub fn join(mut join: Join<'_>) -> ! {
    trace::become_init();
    let container = join.container.as_raw_fd();
    let root = join.root.as_ref().map(AsRawFd::as_raw_fd);
    let own = [join.channel.number()].into_iter().chain([container]).chain(root).chain(join.cgroup.numbers());
    close_what_is_not_ours(join.preserved_fds, own);
    let Err(error) = join_and_execute(&mut join);
    fail(&join.channel, error)
}

fn join_and_execute(join: &mut Join<'_>) -> Result<std::convert::Infallible> {
    let mut stage = trace::enter(Stage::Hold);
    let cgroup = std::mem::take(&mut join.cgroup);
    trace::step(|| id::CGROUP_JOIN, || cgroup.join()).step(|| "join the container's cgroups")?;
    drop(cgroup);
    let Join { program, channel, .. } = &*join;
    let Message::Proceed = channel.expect()? else { return Err(out_of_order()) };
    stage.next(Stage::Enter);
    trace::step(|| id::AFFINITY, || identity::set_affinity(program.limits.exec_affinity.as_ref()))?;
    namespaces::join_container(join)?;
    let proc = program.identity.label.as_ref().map(|_| Proc::open()).transpose()?;
    stage.next(Stage::Assume);
    if program.terminal {
        let pty = console::open_pty(program.console_size).at("process.terminal")?;
        console::adopt(&pty.slave)?;
        channel.send(&Message::Console(pty.master))?;
    }
    identity::apply_limits(&program.limits)?;
    let rights = Rights::in_new(join.namespaces.0 & Kind::User.flag() != 0);
    let executable = assume(program, proc.as_ref(), channel, rights)?;
    stage.end();
    channel.send(&Message::Ready)?;
    let Some(Message::Committed) = channel.receive_bare()? else { return Err(out_of_order()) };
    process::keep_on_exec(join.preserved_fds).step(|| "keep the descriptors that --preserve-fds names")?;
    execute(last_filter(program), &executable)
}

/// Whose rights this process still has when it comes to resource limits, which only those count for that are held in the
/// first user namespace (decisions 0006 and 0025).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// It is a copy of the runtime.
    OfRuntime,
    /// Another user namespace's.
    Inside,
}

impl Rights {
    fn in_new(user_namespace: bool) -> Rights {
        if user_namespace { Rights::Inside } else { Rights::OfRuntime }
    }
}

/// Gives up every right that the configuration does not grant. Without no_new_privs a filter needs CAP_SYS_ADMIN, so it
/// comes before the capabilities go; with it, the filter is the last thing before the exec, and so as narrow as it can be.
fn assume(program: &Program, proc: Option<&Proc>, channel: &Channel, rights: Rights) -> Result<Executable> {
    let identity = &program.identity;
    process::close_on_exec_from(3)?;
    identity::set_label(identity, proc)?;
    trace::step(|| id::STDIO, || identity::own_stdio(identity));
    let home = identity::find_home(identity);
    let entered = trace::step(|| id::CWD, || identity::enter_directory(identity))?;
    match rights {
        _ if program.limits.rlimits.is_empty() => {}
        Rights::OfRuntime => identity::set_rlimits(&program.limits.rlimits)?,
        Rights::Inside => {
            channel.send(&Message::NeedLimits)?;
            let Message::Limited = channel.expect()? else { return Err(out_of_order()) };
        }
    }
    if let Some(filter) = program.seccomp.as_ref().filter(|_| !program.loads_filter_last()) {
        let listener = trace::step(|| id::SECCOMP, || filter::load(filter));
        let listener = listener.step(|| "load the seccomp filter").at("linux.seccomp")?;
        if let Some(listener) = listener {
            channel.send(&Message::SeccompListener(listener))?;
        }
    }
    identity::become_user(identity)?;
    if !entered {
        identity::enter_directory_as_user(identity)?;
    }
    trace::step(|| id::PROGRAM, || identity::find_executable(identity, home))
}

fn execute(filter: Option<&Filter>, executable: &Executable) -> Result<std::convert::Infallible> {
    process::restore_signals();
    // Who sees us become the program ends these: after the filter nothing can be written.
    filter.map_or(Ok(()), |_| trace::begin_for_other(id::SECCOMP))?;
    trace::begin_for_other(id::EXECVE)?;
    load_filter(filter)?;
    executable.execute().step(|| "start the program").at("process.args[0]")
}

fn last_filter(program: &Program) -> Option<&Filter> {
    program.seccomp.as_ref().filter(|_| program.loads_filter_last())
}

/// A filter that notifies nobody.
fn load_filter(filter: Option<&Filter>) -> Result<()> {
    filter
        .map_or(Ok(()), |filter| filter::load(filter).map(drop))
        .step(|| "load the seccomp filter")
        .at("linux.seccomp")
}

fn run_hooks(plan: &Plan, record: &Record, output: &Output, kind: HookKind, environment: &[CString]) -> Result<()> {
    if plan.hooks.of(kind).is_empty() {
        return Ok(());
    }
    let state = State {
        version: &record.version,
        id: &record.id,
        status: if kind == HookKind::CreateContainer { "creating" } else { "created" },
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        bundle: &record.bundle,
        annotations: &record.annotations,
        environment,
    };
    hooks::run_all(&plan.hooks, kind, &state, output)
}

fn out_of_order() -> Error {
    Error::new("the runtime and init disagree on the handshake")
}

fn fail(channel: &Channel, error: Error) -> ! {
    // If the runtime is gone as well, there is nobody to tell.
    let _ = channel.send(&Message::Failed(error));
    process::exit(1)
}
