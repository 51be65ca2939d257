//! THE HOST SIDE: one verb a file.

mod check;
mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod explain;
mod features;
mod foreground;
mod host_mounts;
mod kill;
mod listener;
mod matching;
mod mounts;
mod net_devices;
mod notify;
mod pause;
mod ps;
mod report;
mod restore;
mod run;
pub mod seal;
mod spawn;
mod spec;
mod start;
mod update;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::PidfdFlags;

use crate::call;
use crate::cgroup::systemd;
use crate::cli::{Action, Globals};
use crate::container::{Record, status};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::plan::cgroup::Manager;
use crate::sys::process;
use crate::trace;

/// What every verb needs.
#[derive(Debug)]
pub struct Environment {
    /// The directory of state directories.
    pub root: PathBuf,
    /// How it is made, if it is not there.
    pub root_mode: u32,
    /// `--root` names it.
    pub root_is_given: bool,
    /// Where messages go.
    pub log: Log,
    /// `--rootless=true`, or an unprivileged caller.
    pub rootless: bool,
    /// `--strict`: the specification to the letter, see decision 0011.
    pub strict: bool,
    /// Who makes the cgroup of a new container.
    pub cgroup_manager: Manager,
}

/// Whether a command puts a process into a container: it then runs from a copy that nobody can write to, see [`seal`].
pub fn puts_process_inside(command: &str) -> bool {
    matches!(command, "create" | "run" | "exec" | "restore")
}

/// Performs one command; the exit status of a success is the container's where it ran in the foreground.
pub fn perform(action: Action, globals: &Globals, log: Log) -> Result<i32, (Log, Error)> {
    let environment = environment(&action, globals, log)?;
    begin_trace(&action, globals)
        .and_then(|command| {
            let status = dispatch(action, &environment)?;
            command.end();
            Ok(status)
        })
        .map_err(|error| (environment.log, error))
}

/// `--trace`, or the variable for whom cannot change an engine's call.
fn begin_trace(action: &Action, globals: &Globals) -> Result<trace::Group> {
    #[cfg(feature = "faults")]
    crate::fault::arm()?;
    let (command, container) = action.names();
    let file = globals.trace.clone().or_else(|| std::env::var_os("MINICON_TRACE").map(PathBuf::from));
    if let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) {
        trace::open(&file, globals.trace_format.as_deref(), container)?;
    }
    Ok(trace::command(command))
}

fn dispatch(action: Action, environment: &Environment) -> Result<i32> {
    if matches!(action, Action::Create(_) | Action::Run(_) | Action::Exec(_) | Action::Restore(_)) {
        seal::execute_from_read_only_copy(None)?;
        check_inherited(&action)?;
        // Nothing that the caller left open reaches hooks or the container; what it asked for is named by number.
        process::close_on_exec_from(3)?;
    }
    match action {
        Action::Create(options) => create::create(&options, environment).map(|()| 0),
        Action::Run(options) => run::run(&options, environment),
        Action::Start(options) => start::start(&options.id, environment).map(|()| 0),
        Action::Exec(options) => exec::exec(&options, environment),
        Action::Checkpoint(options) => checkpoint::checkpoint(&options, environment).map(|()| 0),
        Action::Restore(options) => restore::restore(&options, environment),
        Action::Pause(options) => pause::pause(&options.id, environment).map(|()| 0),
        Action::Resume(options) => pause::resume(&options.id, environment).map(|()| 0),
        Action::Update(options) => update::update(&options, environment).map(|()| 0),
        Action::Events(options) => events::events(&options, environment).map(|()| 0),
        Action::Ps(options) => ps::ps(&options, environment).map(|()| 0),
        Action::Kill(options) => kill::kill(&options, environment).map(|()| 0),
        Action::Delete(options) => delete::delete(&options, environment).map(|()| 0),
        Action::State(options) => report::state(&options.id, environment).map(|()| 0),
        Action::List(options) => report::list(&options, environment).map(|()| 0),
        Action::Spec(options) => spec::write(&options).map(|()| 0),
        Action::Features(_) => features::print().map(|()| 0),
        Action::Explain(options) => explain::explain(&options, environment).map(|()| 0),
        Action::Check(options) => check::check(&options, environment),
        Action::Trace(options) => explain::draw_trace(&options).map(|()| 0),
        Action::Version => report::version().map(|()| 0),
    }
}

/// The descriptors that the container is to get must be the caller's: were one missing, one of ours would get its number
/// and with it into the container. Asked while the two can still be told apart.
fn check_inherited(action: &Action) -> Result<()> {
    let count = match action {
        Action::Create(options) => create::Inherited::find(options.preserve_fds).count,
        Action::Run(options) => create::Inherited::find(options.create.preserve_fds).count,
        Action::Exec(options) => options.preserve_fds,
        _ => 0,
    };
    let is_missing = |number: &u64| !i32::try_from(*number).is_ok_and(process::is_inherited);
    match (3..3 + u64::from(count)).find(is_missing) {
        None => Ok(()),
        Some(number) => Err(Error::new(format!("descriptor {number} is to be kept but is not open"))
            .hint("--preserve-fds N and LISTEN_FDS count from descriptor 3 on")),
    }
}

fn environment(action: &Action, globals: &Globals, log: Log) -> Result<Environment, (Log, Error)> {
    let rootless = match globals.rootless.as_str() {
        "true" => true,
        "false" => false,
        "auto" => process::caller().1 != 0,
        other => {
            let error = Error::new(format!("invalid --rootless: {other}")).hint("it is true, false or auto");
            return Err((log, error));
        }
    };
    let cgroup_manager = match action {
        Action::Create(_) | Action::Run(_) | Action::Restore(_) | Action::Explain(_) | Action::Check(_) => {
            cgroup_manager(globals, rootless)
        }
        _ => Ok(Manager::default()),
    };
    let cgroup_manager = match cgroup_manager {
        Ok(manager) => manager,
        Err(error) => return Err((log, error)),
    };
    let (root, root_mode) = match &globals.root {
        Some(root) => (root.clone(), 0o700),
        None => default_root(std::env::var_os("XDG_RUNTIME_DIR"), std::env::var_os("USER")),
    };
    if root == Path::new("/") {
        return Err((log, Error::new("Option --root argument should not be set to /")));
    }
    match std::path::absolute(&root) {
        Ok(root) => {
            let (root_is_given, strict) = (globals.root.is_some(), globals.strict);
            Ok(Environment { root, root_is_given, root_mode, log, rootless, strict, cgroup_manager })
        }
        Err(error) => Err((log, Error::new(format!("--root {}: {error}", root.display())))),
    }
}

/// runc has one flag, and crun a second one that says more.
fn cgroup_manager(globals: &Globals, rootless: bool) -> Result<Manager> {
    let default = if globals.systemd_cgroup { "systemd" } else { "cgroupfs" };
    match globals.cgroup_manager.as_deref().unwrap_or(default) {
        "cgroupfs" => Ok(Manager::Cgroupfs),
        "systemd" => Ok(Manager::Systemd(systemd::choose_bus(rootless, crate::host::identity().in_user_namespace))),
        "disabled" => Ok(Manager::Disabled),
        other => Err(Error::new(format!("unknown cgroup manager specified `{other}`"))
            .hint("it is cgroupfs, systemd or disabled")),
    }
}

/// runc's rule: `/run/NAME`, unless we are no root, or root of a user namespace that somebody else set up, and there is
/// a directory of the user's own. Engines call without --root and little environment, so this must not depend on more.
/// What lies in that one "MAY be subjected to periodic clean-up" unless the "sticky bit is set" (XDG Base Directory
/// Specification).
fn default_root(runtime_directory: Option<OsString>, user: Option<OsString>) -> (PathBuf, u32) {
    let is_plain_root = || {
        let called_root = user.as_ref().is_some_and(|user| user == "root");
        rustix::process::geteuid().is_root() && (called_root || !crate::host::identity().in_user_namespace)
    };
    match runtime_directory.filter(|directory| !directory.is_empty() && !is_plain_root()) {
        Some(directory) => (Path::new(&directory).join("minicon"), 0o1700),
        None => (PathBuf::from("/run/minicon"), 0o700),
    }
}

/// The recorded init as a pidfd, checked after it was opened: a pid may have been used again, a pidfd may not.
fn open_init(record: &Record) -> Result<Option<OwnedFd>> {
    let Some(pid) = rustix::process::Pid::from_raw(record.init_process_pid) else { return Ok(None) };
    let opened = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        opened => call!("pidfd_open"(record.init_process_pid) => opened)?,
    };
    Ok(status::init_state(record.init_process_pid, record.init_process_start).map(|_| opened))
}
