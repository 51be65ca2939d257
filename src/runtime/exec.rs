//! `exec`: another program in a running container: the story of create, shorter.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, LinuxCapabilities, Process};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::create::{set_oom_score_of, set_rlimits, write_pid_file};
use super::start::state;
use super::{Environment, foreground, listener, open_init, spawn};
use crate::call;
use crate::cgroup::{self, Cgroup, systemd};
use crate::cli;
use crate::config::{self, Config};
use crate::console::{self, ConsoleSocket};
use crate::container::status::{self, Status, Verb};
use crate::container::{self, Container, Record};
use crate::error::{Context, Error, Problem, Result};
use crate::handshake::{Channel, Message};
use crate::hooks;
use crate::host;
use crate::init;
use crate::plan::namespaces::{Kind, Namespaces};
use crate::plan::steps::id;
use crate::plan::systemd::UnitName;
use crate::plan::{ConfigPath, Program, annotations};
use crate::sys::process::{self, Child, Cloned};
use crate::trace;

/// The command. In the foreground its exit status is the program's.
pub fn exec(options: &cli::Exec, environment: &Environment) -> Result<i32> {
    let container = Container::open(&environment.root, &options.id)?;
    let verb = if options.ignore_paused { Verb::ExecWhilePaused } else { Verb::Exec };
    status::permit(verb, container.status()?, &options.id)?;
    let config = config::parse(container.config_text()?)?;
    let (program, warnings) = plan(options, &config, &container, environment.strict)?;
    let socket = check_terminal(options, &program)?;
    warnings.iter().for_each(|warning| environment.log.warning(warning));
    let signals = (!options.detach).then(process::signal_fd).transpose()?;

    set_initial_affinity(&program)?;
    let mut joining = Joining::clone_into(&container, options, &program)?; // dropped = killed
    let pid = joining.child.pid;
    if let Some(score) = program.limits.oom_score_adjustment {
        set_oom_score_of(pid, score)?;
    }
    container.record.resctrl.as_ref().map(|groups| groups.admit(pid)).transpose()?;
    joining.channel.send(&Message::Proceed)?;
    let console = joining.converse(&program, &container)?;
    let console = match (&socket, console) {
        (Some(socket), Some(console)) => socket.hand_over(&console).map(|()| None)?,
        (_, console) => console,
    };
    if let Some(socket) = &options.pidfd_socket {
        listener::send_pidfd(socket, &joining.child.pidfd)?;
    }
    if let Some(file) = &options.pid_file {
        write_pid_file(file, pid)?;
    }
    if let Some(master) = &console {
        console::fit(master);
    }
    joining.execute()?;
    match signals {
        Some(signals) => foreground::wait(&joining.child, console, &signals, None),
        None => Ok(0),
    }
}

/// The process that the flags, or the file, describe.
fn plan(options: &cli::Exec, config: &Config, container: &Container, strict: bool) -> Result<(Program, Vec<String>)> {
    let (document, mut warnings) = match &options.process {
        Some(file) => config::read_process(file)?,
        None => (process_of(config)?.clone(), Vec::new()),
    };
    let mut problems = Vec::new();
    let document = with_flags(document, options, config, &mut problems)?;
    let mut host = host::identity();
    host.umask = strict.then(process::umask);
    host::find_rights(&mut host, Some(&document));
    let namespaces = Namespaces { new: container.record.namespaces.clone(), ..Namespaces::default() };
    let linux = config.spec.linux().as_ref();
    let annotations = annotations::plan(config.spec.annotations().as_ref(), &mut problems, &mut Vec::new());
    let program = Program::plan(&document, linux, &annotations, &namespaces, &host, &mut problems, &mut warnings);
    if problems.is_empty() { Ok((program, warnings)) } else { Err(Error::config(problems)) }
}

fn process_of(config: &Config) -> Result<&Process> {
    config.spec.process().as_ref().ok_or_else(container::no_process)
}

/// A process document is taken as it is, with what it leaves out from the container; without one the container's own
/// process is changed by the flags.
fn with_flags(
    mut process: Process,
    options: &cli::Exec,
    config: &Config,
    problems: &mut Vec<Problem>,
) -> Result<Process> {
    if options.process.is_some() {
        let Some(own) = config.spec.process() else { return Ok(process) };
        if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
            process.set_rlimits(own.rlimits().clone());
        }
        if process.capabilities().is_none() {
            process.set_capabilities(own.capabilities().clone());
        }
        process.set_oom_score_adj(process.oom_score_adj().or(own.oom_score_adj()));
        process.set_scheduler(process.scheduler().clone().or_else(|| own.scheduler().clone()));
        process.set_io_priority(process.io_priority().or(*own.io_priority()));
        process.set_exec_cpu_affinity(process.exec_cpu_affinity().clone().or_else(|| own.exec_cpu_affinity().clone()));
        return Ok(process);
    }
    if options.command.is_empty() {
        return Err(Error::new("exec args cannot be empty").hint("minicon exec ID COMMAND [ARGUMENT…]"));
    }
    process.set_args(Some(options.command.clone()));
    process.set_terminal(Some(options.tty));
    let mut variables = process.env().clone().unwrap_or_default();
    variables.extend(options.env.iter().cloned());
    process.set_env(Some(variables));
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.clone());
    }
    if let Some(user) = &options.user {
        set_user(&mut process, user)?;
    }
    let groups =
        options.additional_gids.iter().map(|group| parse_id(group, "--additional-gids")).collect::<Result<Vec<_>>>()?;
    if !groups.is_empty() {
        let user = process.user_mut();
        user.set_additional_gids(Some([user.additional_gids().clone().unwrap_or_default(), groups].concat()));
    }
    if options.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(label) = &options.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(profile) = &options.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    add_capabilities(&mut process, &options.cap, problems);
    Ok(process)
}

/// UID or UID:GID, digits only: a lenient parser has run programs as the wrong user (CVE-2026-30892).
fn set_user(process: &mut Process, text: &str) -> Result<()> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let uid = parse_id(uid, "--user")?;
    let gid = gid.map(|gid| parse_id(gid, "--user")).transpose()?;
    let user = process.user_mut();
    user.set_uid(uid);
    if let Some(gid) = gid {
        user.set_gid(gid);
    }
    Ok(())
}

fn parse_id(text: &str, flag: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // The highest number means "no change" to the kernel.
    let id = text.parse::<u32>().ok().filter(|id| digits && *id != u32::MAX);
    id.ok_or_else(|| {
        Error::new(format!("{flag}: {text:?} is not an id")).hint("ids are decimal numbers: UID or UID:GID")
    })
}

/// Added capabilities go into every set but the inheritable, and into the ambient only where that has them (runc).
fn add_capabilities(process: &mut Process, names: &[String], problems: &mut Vec<Problem>) {
    let mut added = Vec::new();
    for name in names {
        match serde_json::from_value::<Capability>(serde_json::Value::from(name.as_str())) {
            Ok(capability) => added.push(capability),
            Err(_) => problems.push(Problem::new("--cap", format!("unknown capability {name:?}"))),
        }
    }
    if added.is_empty() {
        return;
    }
    let mut sets = process.capabilities().clone().unwrap_or_else(no_capabilities);
    let with = |set: &Option<oci_spec::runtime::Capabilities>, more: &[Capability]| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(more.iter().copied());
        Some(set)
    };
    let inheritable = sets.inheritable().clone().unwrap_or_default();
    let ambient: Vec<Capability> =
        added.iter().copied().filter(|capability| inheritable.contains(capability)).collect();
    sets.set_bounding(with(sets.bounding(), &added));
    sets.set_effective(with(sets.effective(), &added));
    sets.set_permitted(with(sets.permitted(), &added));
    sets.set_ambient(with(sets.ambient(), &ambient));
    process.set_capabilities(Some(sets));
}

fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    sets
}

/// "initial … is a list of CPUs a runtime parent process to be run on initially, before the transition to container's
/// cgroup" (config.md, Linux Process): ours, which the new process inherits.
fn set_initial_affinity(program: &Program) -> Result<()> {
    let initial = program.limits.exec_affinity.as_ref().and_then(|affinity| affinity.initial.as_ref());
    initial.map_or(Ok(()), |initial| {
        process::set_affinity(initial)
            .step(|| "set the initial CPU affinity")
            .at(ConfigPath::new("process.execCPUAffinity").field("initial"))
            .hint("at least one of the processors must be there")
    })
}

fn check_terminal(options: &cli::Exec, program: &Program) -> Result<Option<ConsoleSocket>> {
    match (&options.console_socket, program.terminal, options.detach) {
        (None, true, true) => Err(Error::new("cannot allocate tty if runc will detach without setting console socket")),
        (Some(_), _, false) | (Some(_), false, true) => {
            Err(Error::new("cannot use console socket if runc will not detach or allocate tty"))
        }
        (Some(socket), true, true) => ConsoleSocket::connect(socket).map(Some),
        (None, ..) => Ok(None),
    }
}

/// A process on its way into the container. Dropped before `execute`, it is killed.
struct Joining {
    child: Child,
    channel: Channel,
    executed: bool,
}

impl Joining {
    /// Clones the process into the container's cgroup, or the one that `--cgroup` names.
    fn clone_into(container: &Container, options: &cli::Exec, program: &Program) -> Result<Joining> {
        let cgroup = cgroup_of(container, &options.cgroup)?;
        match Joining::clone_into_cgroup(container, options, program, &cgroup) {
            // The container has moved its processes below and enabled controllers there, or away: go where its init is.
            Err(error) if is_refused_by_cgroup(&error) && options.cgroup.is_empty() => {
                let cgroup = cgroup.follow_v2(container.record.init_process_pid, &cgroup::probe()?)?;
                Joining::clone_into_cgroup(container, options, program, &cgroup)
            }
            joining => joining,
        }
    }

    /// Clones the process: into the container's pid namespace and cgroup by birth, into the rest by itself.
    fn clone_into_cgroup(
        container: &Container,
        options: &cli::Exec,
        program: &Program,
        place: &Cgroup,
    ) -> Result<Joining> {
        let record = &container.record;
        let gone = || status::permit(Verb::Exec, Status::Stopped, &record.id).err();
        let init = open_init(record)?.ok_or_else(|| gone().unwrap_or_else(|| Error::new("the container is gone")))?;
        let (mut cgroup, by_systemd) = (place.entrance()?, place.needs_attaching());
        if by_systemd.is_some() {
            cgroup.leave_v2_to_others();
        }
        let (ours, theirs) = Channel::pair()?;
        let to_join = |kind: &&Kind| **kind != Kind::User || !shares_user_namespace(record);
        let kinds = record.namespaces.iter().filter(to_join).fold(0, |flags, kind| flags | kind.flag());
        let root = (!record.namespaces.contains(&Kind::Mount)).then(|| open_root(record)).transpose()?;
        let (keyring, preserved_fds) = (record.keyring.as_deref(), options.preserve_fds);
        if kinds & Kind::User.flag() != 0 && !rustix::process::geteuid().is_root() {
            // Without privileges all the others can be joined only from inside the user namespace.
            let directory = cgroup.v2_directory().map(|directory| directory.try_clone_to_owned()).transpose();
            let directory = directory.map_err(|error| Error::new(error.to_string()))?;
            // But for its cgroup namespace: in that, a process cannot be cloned from our cgroup into the container's, see
            // cgroups(7), "nsdelegate".
            let last = kinds & Kind::Cgroup.flag();
            let enter = || process::setns(&init, kinds & !last).step(|| "join the container's namespaces");
            let (namespaces, container) = ((kinds, last), &init);
            let child = spawn::through_usher(enter, 0, directory, theirs, &ours, |channel| {
                init::join(init::Join { program, keyring, channel, cgroup, namespaces, container, root, preserved_fds })
            });
            let child = child.step(|| "make the process")?;
            return Joining { child, channel: ours, executed: false }.attached(by_systemd);
        }
        if record.namespaces.contains(&Kind::Pid) {
            // Takes effect for our children only; we make no other.
            process::setns(&init, Kind::Pid.flag()).step(|| "join the container's pid namespace")?;
        }
        match process::clone3(0, cgroup.v2_directory()).step(|| "make the process")? {
            Cloned::Child => {
                let (namespaces, container, channel) = ((kinds, kinds & !Kind::Pid.flag()), &init, theirs);
                init::join(init::Join { program, keyring, channel, cgroup, namespaces, container, root, preserved_fds })
            }
            Cloned::Parent(child) => Joining { child, channel: ours, executed: false }.attached(by_systemd),
        }
    }

    /// The process while it waits to proceed, in the container's cgroup if it takes systemd to move it there.
    fn attached(self, by_systemd: Option<(&UnitName, PathBuf)>) -> Result<Joining> {
        if let Some((unit, below)) = by_systemd {
            systemd::attach(unit, &below, self.child.pid)?;
        }
        Ok(self)
    }

    /// Serves the process until it is ready; returns its terminal.
    fn converse(&self, program: &Program, container: &Container) -> Result<Option<OwnedFd>> {
        let mut console = None;
        loop {
            match self.channel.expect().step(|| "wait for the process")? {
                Message::NeedLimits => {
                    set_rlimits(&program.limits.rlimits, self.child.pid)?;
                    self.channel.send(&Message::Limited)?;
                }
                Message::Console(master) => console = Some(master),
                Message::SeccompListener(notifier) => {
                    if let Some(filter) = &program.seccomp {
                        let status = container.status().map_or("running", hooks::status_name);
                        let state = state(container, status, container.record.init_process_pid);
                        listener::send_notifier(filter, &notifier, self.child.pid, &state)?;
                    }
                }
                Message::Ready => return Ok(console),
                Message::Failed(error) => return Err(error),
                _ => return Err(Error::new("the runtime and the process disagree on the handshake")),
            }
        }
    }

    /// Lets it execute. The end of the channel means that it has, since exec closes it.
    fn execute(&mut self) -> Result<()> {
        self.channel.send(&Message::Committed)?;
        match self.channel.receive()? {
            None => {
                trace::end(id::EXECVE, None);
                self.executed = true;
                Ok(())
            }
            Some(Message::Failed(error)) => {
                trace::end(id::EXECVE, Some(&error));
                Err(error)
            }
            Some(_) => Err(Error::new("the runtime and the process disagree on the handshake")),
        }
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        if !self.executed {
            let _ = process::send_signal(&self.child.pidfd, libc::SIGKILL);
            let _ = foreground::reap(&self.child);
        }
    }
}

/// A v2 cgroup with controllers for its children takes no process: clone3(2), EBUSY. One that init has left may be gone.
fn is_refused_by_cgroup(error: &Error) -> bool {
    match error.call_name() {
        Some("clone3") => matches!(error.errno(), Some(Errno::BUSY | Errno::OPNOTSUPP)),
        Some("open") => error.errno() == Some(Errno::NOENT),
        _ => false,
    }
}

/// A user namespace that was joined by path may be our own, and that cannot be joined again: setns(2), EINVAL.
fn shares_user_namespace(record: &Record) -> bool {
    let namespace = |process: &str| rustix::fs::stat(format!("/proc/{process}/ns/user"));
    let both = (namespace("self"), namespace(&record.init_process_pid.to_string()));
    matches!(both, (Ok(own), Ok(there)) if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino))
}

/// A container without a mount namespace has only its root to keep it off the host's tree.
fn open_root(record: &Record) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", record.init_process_pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = call!("open"(path) => rustix::fs::open(&path, flags, Mode::empty()))?;
    // Looked at after it was opened: a pid that has been used again would have another root.
    match status::init_state(record.init_process_pid, record.init_process_start) {
        Some(_) => Ok(root),
        None => Err(Error::new("the container is gone")),
    }
}

/// The container's cgroups, or those below them that `--cgroup [CONTROLLER:]PATH` names.
fn cgroup_of(container: &Container, below: &[String]) -> Result<Cgroup> {
    places_below(below)?.into_iter().try_fold(container.cgroup(), |cgroup, (controllers, path)| {
        cgroup.below(&controllers, Path::new(path)).step(|| format!("--cgroup {path}"))
    })
}

/// Each `--cgroup` as its controllers, none for all, and its path. The words of the errors are runc's.
fn places_below(given: &[String]) -> Result<Vec<(Vec<&str>, &str)>> {
    let mut places: Vec<(Vec<&str>, &str)> = Vec::with_capacity(given.len());
    let invalid = |text: &str, why: &str| Err(Error::new(format!("invalid --cgroup argument: {text} ({why})")));
    for text in given {
        let Some((controllers, path)) = text.split_once(':') else {
            if given.len() > 1 {
                return invalid(text, "missing <controller>: prefix");
            }
            return Ok(vec![(Vec::new(), text)]);
        };
        let controllers: Vec<&str> = controllers.split(',').collect();
        for (index, name) in controllers.iter().enumerate() {
            if name.is_empty() {
                return invalid(text, "empty <controller> prefix");
            }
            let earlier = places.iter().flat_map(|(controllers, _)| controllers).chain(&controllers[..index]);
            if earlier.into_iter().any(|earlier| earlier == name) {
                let message = format!("invalid --cgroup argument(s): controller {name} specified multiple times");
                return Err(Error::new(message));
            }
        }
        places.push((controllers, path));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::{parse_id, places_below};

    #[test]
    fn cgroups_are_named_by_controller_or_once_for_all() {
        let places = |words: &[&str]| {
            let given: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            places_below(&given).map(|places| format!("{places:?}")).map_err(|error| error.headline())
        };
        assert_eq!(places(&["sub"]).expect("valid"), r#"[([], "sub")]"#);
        let two = places(&["cpu,cpuacct:a", "pids:b:c"]).expect("valid");
        assert_eq!(two, r#"[(["cpu", "cpuacct"], "a"), (["pids"], "b:c")]"#);
        for (words, why) in [
            (&["a", "cpu:b"][..], "(missing <controller>: prefix)"),
            (&[":a"], "(empty <controller> prefix)"),
            (&["cpu,:a"], "(empty <controller> prefix)"),
            (&["cpu:a", "pids,cpu:b"], "controller cpu specified multiple times"),
            (&["cpu,cpu:a"], "controller cpu specified multiple times"),
        ] {
            let told = places(words).expect_err("invalid");
            assert!(told.ends_with(why), "{words:?}: {told}");
        }
    }

    #[test]
    fn ids_are_parsed_strictly() {
        for (text, id) in [("0", 0), ("1000", 1000), ("4294967294", u32::MAX - 1)] {
            assert_eq!(parse_id(text, "--user").expect(text), id);
        }
        for text in ["", " 1", "+1", "-1", "0x10", "1e3", "1:", "4294967295", "4294967296", "root"] {
            assert!(parse_id(text, "--user").is_err(), "{text:?}");
        }
    }
}
