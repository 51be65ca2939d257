//! `create`: everything up to the program itself, which waits for `start`.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions};

use super::net_devices::{self, Moved};
use super::{Environment, delete, host_mounts, listener, mounts, notify, spawn};
use crate::call;
use crate::cgroup::{Cgroup, CgroupPaths, systemd};
use crate::cli;
use crate::config::{self, Config};
use crate::console::ConsoleSocket;
use crate::container::{self, Container, Lock, Record, SCHEMA};
use crate::error::{Context, Error, Result};
use crate::handshake::{Channel, Gate, Message, Pace};
use crate::hooks::{self, State};
use crate::host;
use crate::log;
use crate::plan::cgroup::Driver;
use crate::plan::hooks::{HookKind, Hooks};
use crate::plan::limits::Rlimit;
use crate::plan::namespaces::Kind;
use crate::plan::steps::{Stage, id};
use crate::plan::{ConfigPath, Host, Plan, Request};
use crate::resctrl::{Group, Membership};
use crate::sys::process::{self, Child};
use crate::trace;

/// A container that was created: what `run` goes on with.
#[derive(Debug)]
pub struct Created {
    /// The container.
    pub container: Container,
    /// Its init, our child.
    pub init: Child,
    /// Its terminal, unless an engine has got it.
    pub console: Option<OwnedFd>,
    /// What was planned.
    pub plan: Plan,
    /// Still held.
    pub lock: Lock,
}

/// The command.
pub fn create(options: &cli::Create, environment: &Environment) -> Result<()> {
    make(options, environment, Terminal::Handed, true).map(drop)
}

/// Who holds the container's terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Whoever listens on `--console-socket`.
    Handed,
    /// This process, until the container ends.
    Ours,
}

/// Makes a container, one step a line. Whatever fails, and wherever, the guards undo what was done.
/// Init is told if it `waits_long`.
pub fn make(options: &cli::Create, environment: &Environment, terminal: Terminal, waits_long: bool) -> Result<Created> {
    let bundle = find_bundle(options.bundle.as_deref())?;
    container::check_id(&options.id)?;
    let config = config::read_bundle(&bundle, options.config.as_deref(), environment.strict)?;
    let mut host = host::probe(&config)?;
    host.umask = environment.strict.then(process::umask);
    let inherited = Inherited::find(options.preserve_fds);
    let state_directory = environment.root.join(&options.id);
    let notify = notify::requested(&state_directory);
    let request = Request {
        id: &options.id,
        bundle: &bundle,
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        rootless: environment.rootless,
        strict: environment.strict,
        cgroup_manager: environment.cgroup_manager,
        notify_directory: notify.as_deref(),
        environment: &inherited.environment,
    };
    let plan = Plan::build(&config, &request, &host)?; // every error of the configuration ends here
    check_host(&plan)?;
    let socket = check_terminal(options, &plan, terminal)?;
    plan.warnings.iter().for_each(|warning| environment.log.warning(warning));

    let mut stage = trace::enter(Stage::Prepare);
    let record = record(&config, &plan, &bundle, &options.id)?;
    let mut new = trace::step(|| id::STATE, || Creating::reserve(environment, record))?; // dropped = undone
    new.write_file("config.json", &config.text)?;
    notify.as_deref().map(notify::make_directory).transpose()?;
    let gate = trace::step(|| id::GATE, || Gate::create(&new.container.directory))?;
    new.cgroup = Some(Cgroup::create(&plan.cgroup)?);
    let entrance = new.cgroup.as_ref().map(Cgroup::entrance).transpose()?.unwrap_or_default();
    new.resctrl = plan.intel_rdt.as_ref().map(|rdt| trace::step(|| id::RESCTRL, || Group::make(rdt))).transpose()?;
    let record = new.container.record.clone();
    let (preserved_fds, hook_output) = (inherited.count, &hooks::Output::open(&plan.hooks)?);
    let pace = Pace::of(&plan, waits_long);
    let inheritance =
        spawn::Inheritance { plan: &plan, record: &record, gate, cgroup: entrance, hook_output, preserved_fds, pace };
    let (channel, init) = spawn::init(inheritance)?;
    let pid = trace::step(|| id::RECORD, || new.adopt(init))?; // pid and start time are on disk before init goes on
    environment.log.debug(|| format!("init of {:?} is process {pid}", options.id));
    new.place(&plan, pid)?;
    stage.next(Stage::Admit);
    // If init, which may be entering its namespaces meanwhile, has failed, then that is why we did.
    new.admit(&plan, pid, &host).map_err(|error| channel.failure().unwrap_or(error))?;
    stage.end();
    new.tell(&channel, &Message::Proceed)?;
    if pace.stops_for_hooks {
        new.converse(&channel, &plan, &host, Phase::Furnishing)?;
        new.poststop = Some(plan.hooks.clone());
        environment.log.debug(|| format!("the root filesystem of {:?} stands", options.id));
        let stage = trace::enter(Stage::Hooks);
        new.run_hooks(&plan, HookKind::Prestart)?;
        new.run_hooks(&plan, HookKind::CreateRuntime)?;
        stage.end();
    }
    let stage = trace::enter(Stage::Commit);
    if pace.stops_for_hooks {
        new.tell(&channel, &Message::HooksDone)?;
    }
    new.converse(&channel, &plan, &host, Phase::Leaving)?;
    if let (Some(socket), Some(console)) = (&socket, new.console.take_if(|_| socket.is_some())) {
        socket.hand_over(&console)?;
    }
    new.send_pidfd(options.pidfd_socket.as_deref(), &plan)?;
    if let Some(file) = &options.pid_file {
        write_pid_file(file, pid)?;
    }
    let created = trace::step(|| id::COMMIT, || new.commit(&channel, plan))?; // the status becomes created; nothing is undone now
    stage.end();
    Ok(created)
}

/// The bundle's directory, absolute.
pub fn find_bundle(bundle: Option<&Path>) -> Result<PathBuf> {
    let bundle = bundle.unwrap_or(Path::new("."));
    fs::canonicalize(bundle).map_err(|error| {
        Error::new(format!("the bundle {}: {error}", bundle.display()))
            .hint("--bundle names the directory of config.json")
    })
}

/// What the host must have, looked at before anything is made: the root, and systemd if it is to make the cgroup.
pub fn check_host(plan: &Plan) -> Result<()> {
    if let Driver::Systemd(_) = plan.cgroup.driver {
        systemd::check_runs()?;
    }
    let path = &plan.rootfs.path;
    if fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return Ok(());
    }
    // "A directory MUST exist at the path declared by the field." (config.md, Root)
    Err(Error::new(format!("{} is not a directory", path.display()))
        .step("find the root filesystem")
        .at(ConfigPath::new("root.path")))
}

/// The rules of runc between the terminal that the configuration wants and the flags. Its words too, even its name in
/// them: people search for them.
fn check_terminal(options: &cli::Create, plan: &Plan, terminal: Terminal) -> Result<Option<ConsoleSocket>> {
    let at = ConfigPath::new("process.terminal");
    let wants_terminal = plan.program.as_ref().is_some_and(|program| program.terminal);
    match (&options.console_socket, wants_terminal, terminal) {
        (None, true, Terminal::Handed) => {
            Err(Error::new("cannot allocate tty if runc will detach without setting console socket").at(at))
        }
        (Some(_), _, Terminal::Ours) | (Some(_), false, Terminal::Handed) => {
            Err(Error::new("cannot use console socket if runc will not detach or allocate tty").at(at))
        }
        (Some(socket), true, Terminal::Handed) => ConsoleSocket::connect(socket).map(Some),
        (None, ..) => Ok(None),
    }
}

/// The descriptors that the container gets beside its standard streams, and what its environment says of them.
pub struct Inherited {
    /// How many, from descriptor 3 on.
    pub count: u32,
    environment: Vec<String>,
}

impl Inherited {
    /// Those of `--preserve-fds`, and those of socket activation if they are meant for us, see sd_listen_fds(3).
    pub fn find(preserved: u32) -> Inherited {
        let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
        let mut inherited = Inherited { count: preserved, environment: Vec::new() };
        if let Some(count) = number("LISTEN_FDS").filter(|_| number("LISTEN_PID") == Some(std::process::id())) {
            inherited.count = inherited.count.saturating_add(count);
            inherited.environment.push(format!("LISTEN_FDS={count}"));
            inherited.environment.push("LISTEN_PID=1".to_owned());
            let names = std::env::var("LISTEN_FDNAMES").ok();
            inherited.environment.extend(names.map(|names| format!("LISTEN_FDNAMES={names}")));
        }
        inherited
    }
}

/// What is remembered of a new container.
pub fn record(config: &Config, plan: &Plan, bundle: &Path, id: &str) -> Result<Record> {
    let spec = &config.spec;
    let mut kinds = plan.namespaces.new.clone();
    kinds.extend(plan.namespaces.join.iter().map(|join| join.kind));
    Ok(Record {
        schema: SCHEMA,
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        rootfs: plan.rootfs.path.clone(),
        version: spec.version().clone(),
        init_process_pid: 0,
        init_process_start: 0,
        created: log::now(),
        owner: process::caller().0,
        committed: false,
        restored: false,
        namespaces: kinds,
        shares_pids: !plan.namespaces.creates(Kind::Pid),
        keyring: plan.keyring.clone(),
        lacks_process: plan.program.is_none(),
        cgroup: CgroupPaths::planned(&plan.cgroup),
        resctrl: plan.intel_rdt.as_ref().map(Membership::planned),
        host_mounts: host_mounts::planned(plan)?,
        has_late_hooks: [HookKind::Poststart, HookKind::Poststop].iter().any(|kind| !plan.hooks.of(*kind).is_empty()),
        annotations: spec
            .annotations()
            .iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>(),
    })
}

/// "oomScoreAdj: If set, the runtime MUST set oom_score_adj to the given value" (config.md).
fn set_oom_score(plan: &Plan, pid: i32) -> Result<()> {
    let value = plan.program.as_ref().and_then(|program| program.limits.oom_score_adjustment);
    value.map_or(Ok(()), |value| trace::step(|| id::OOM_SCORE, || set_oom_score_of(pid, value)))
}

/// Writes `/proc/PID/oom_score_adj`.
pub fn set_oom_score_of(pid: i32, value: i32) -> Result<()> {
    let file = format!("/proc/{pid}/oom_score_adj");
    let as_errno = |error: std::io::Error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
    call!("write"(file, value) => fs::write(&file, value.to_string()).map_err(as_errno))
        .step(|| "set the OOM score")
        .at(ConfigPath::new("process.oomScoreAdj"))
}

/// The limits of a process that is about to become the program: set by us, as it may lack the rights (its user namespace
/// has none over limits), and while its user is still ours: another's limits need CAP_SYS_RESOURCE, see prlimit(2).
pub fn set_rlimits(rlimits: &[Rlimit], pid: i32) -> Result<()> {
    let stage = trace::enter(Stage::Limit);
    rlimits.iter().try_for_each(|limit| {
        let set = || process::set_rlimit(pid, limit.resource, limit.soft, limit.hard);
        trace::step(|| id::rlimit(limit), set).step(|| format!("set {}", limit.name)).at(limit.at)
    })?;
    stage.end();
    Ok(())
}

/// Writes the pid alone, and replaces the file whole: somebody waits for it.
pub fn write_pid_file(file: &Path, pid: i32) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = file.with_file_name(format!(".{name}"));
    let written = fs::write(&new, pid.to_string()).and_then(|()| fs::rename(&new, file));
    written.map_err(|error| Error::new(format!("{}: {error}", file.display())).step("write the pid file"))
}

/// What init is doing while we serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Furnishing,
    Leaving,
}

/// A container that is being made. Dropped before `commit`, it takes everything back.
pub struct Creating<'a> {
    environment: &'a Environment,
    /// The container so far.
    pub container: Container,
    /// Given away at the end.
    lock: Option<Lock>,
    init: Option<Child>,
    /// Its cgroup, once made.
    pub cgroup: Option<Cgroup>,
    /// Its groups in resctrl, once made.
    pub resctrl: Option<Group>,
    net_devices: Option<Moved>,
    /// Its terminal, until an engine has got it.
    pub console: Option<OwnedFd>,
    /// From the first hook on: what a hook has done, those after the container undo. "If any prestart hook fails, the
    /// runtime MUST … continue the lifecycle at step 12", which leads to the poststop hooks (runtime.md, Lifecycle).
    pub poststop: Option<Hooks>,
    committed: bool,
}

impl<'a> Creating<'a> {
    /// Takes the id: the intent is on disk before anything else is done.
    pub fn reserve(environment: &'a Environment, record: Record) -> Result<Creating<'a>> {
        let (container, lock) = container::reserve(&environment.root, environment.root_mode, record)?;
        Ok(Creating {
            environment,
            container,
            lock: Some(lock),
            init: None,
            cgroup: None,
            resctrl: None,
            net_devices: None,
            console: None,
            poststop: None,
            committed: false,
        })
    }

    /// Writes a file into the state directory.
    pub fn write_file(&self, name: &str, content: &[u8]) -> Result<()> {
        let file = self.container.directory.join(name);
        fs::write(&file, content).map_err(|error| Error::new(format!("write {}: {error}", file.display())))
    }

    /// Records the new init.
    pub fn adopt(&mut self, init: Child) -> Result<i32> {
        let pid = init.pid;
        self.init = Some(init);
        self.record_init(pid)?;
        Ok(pid)
    }

    /// From here on `delete --force` knows whom to kill and what is the container's, should we be killed.
    pub fn record_init(&mut self, pid: i32) -> Result<()> {
        let start = container::status::read_stat(pid).map(|stat| stat.start);
        let record = &mut self.container.record;
        if let Some(cgroup) = &self.cgroup {
            record.cgroup = cgroup.paths();
        }
        record.init_process_pid = pid;
        record.init_process_start = start.ok_or_else(|| Error::new("init is gone"))?;
        self.container.save()
    }

    /// All that init must have before it goes on: ids, limits, devices.
    fn admit(&mut self, plan: &Plan, pid: i32, host: &Host) -> Result<()> {
        spawn::write_id_maps(plan, pid, host)?;
        if let Some(cgroup) = &self.cgroup {
            cgroup.write_limits(&plan.cgroup)?;
            plan.cgroup.owner.map(|owner| trace::step(|| id::CGROUP_OWNER, || cgroup.give_to(owner))).transpose()?;
        }
        self.resctrl.as_ref().map(|group| trace::step(|| id::RESCTRL_ADMIT, || group.admit(pid))).transpose()?;
        set_oom_score(plan, pid)?;
        self.net_devices = net_devices::move_in(plan, pid)?;
        Ok(())
    }

    /// Has systemd take a process into a unit, if it is the one that makes the cgroup, and records where that is.
    pub fn place(&mut self, plan: &Plan, pid: i32) -> Result<()> {
        let (Some(cgroup), record) = (&mut self.cgroup, &mut self.container.record) else { return Ok(()) };
        if !matches!(plan.cgroup.driver, Driver::Systemd(_)) {
            return Ok(());
        }
        trace::step(|| id::CGROUP_UNIT, || cgroup.place(&plan.cgroup, pid))?;
        record.cgroup = cgroup.paths();
        self.container.save()
    }

    fn state(&self) -> State<'_> {
        let record = &self.container.record;
        State {
            version: &record.version,
            id: &record.id,
            status: "creating",
            pid: record.init_process_pid,
            bundle: &record.bundle,
            annotations: &record.annotations,
            environment: &[],
        }
    }

    /// Runs the hooks of a kind, on this side.
    pub fn run_hooks(&self, plan: &Plan, kind: HookKind) -> Result<()> {
        hooks::run_all(&plan.hooks, kind, &self.state(), &hooks::Output::open(&plan.hooks)?)
    }

    /// Hands init's pidfd to the sockets of the command line and of an annotation.
    fn send_pidfd(&self, socket: Option<&Path>, plan: &Plan) -> Result<()> {
        let Some(init) = &self.init else { return Ok(()) };
        socket.map_or(Ok(()), |socket| listener::send_pidfd(socket, &init.pidfd))?;
        let receiver = plan.annotations.pidfd_receiver.as_deref();
        receiver
            .map_or(Ok(()), |socket| listener::send_pidfd(socket, &init.pidfd))
            .at("annotations[\"run.oci.pidfd_receiver\"]")
    }

    /// Sends init a word. It may have died since its last one: of its own filter, by a
    /// hook, or for want of memory.
    fn tell(&mut self, channel: &Channel, message: &Message) -> Result<()> {
        channel.send(message).map_err(|error| match error.errno() {
            Some(rustix::io::Errno::PIPE) => self.explain_death(),
            _ => error,
        })
    }

    /// Serves init until it has finished a phase.
    fn converse(&mut self, channel: &Channel, plan: &Plan, host: &Host, phase: Phase) -> Result<()> {
        let pid = self.container.record.init_process_pid;
        loop {
            match channel.receive()? {
                Some(Message::NeedMount(step)) => {
                    let tree = mounts::make(plan, step, pid, host)?;
                    self.tell(channel, &Message::Mount(tree))?;
                }
                Some(Message::NeedLimits) => {
                    set_rlimits(plan.program.as_ref().map_or(&[], |program| &program.limits.rlimits), pid)?;
                    self.tell(channel, &Message::Limited)?;
                }
                Some(Message::Console(master)) => self.console = Some(master),
                Some(Message::SeccompListener(notifier)) => {
                    if let Some(filter) = plan.program.as_ref().and_then(|program| program.seccomp.as_ref()) {
                        listener::send_notifier(filter, &notifier, pid, &self.state())?;
                    }
                }
                Some(Message::RootfsReady) if phase == Phase::Furnishing => return Ok(()),
                Some(Message::Ready) if phase == Phase::Leaving => return Ok(()),
                Some(Message::Failed(error)) => return Err(error),
                Some(_) => return Err(Error::new("the runtime and init disagree on the handshake")),
                None => return Err(self.explain_death()),
            }
        }
    }

    /// Init is gone without a word: something killed it.
    fn explain_death(&mut self) -> Error {
        let status = self
            .init
            .as_ref()
            .and_then(|init| rustix::process::waitpid(Pid::from_raw(init.pid), WaitOptions::empty()).ok().flatten());
        let ended = status.map(|(_, status)| (status.exit_status(), status.terminating_signal()));
        let how = match ended {
            Some((Some(code), _)) => format!("exited with {code}"),
            Some((_, Some(signal))) => format!("was killed by signal {signal}"),
            _ => "is gone".to_owned(),
        };
        self.init = None;
        let oom = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.had_oom_kill());
        let error = Error::new(format!("container init {how}{}", if oom { " (possibly OOM-killed)" } else { "" }));
        match ended {
            _ if oom => error.at("linux.resources.memory.limit"),
            Some((_, Some(libc::SIGSYS))) => error.at("linux.seccomp"),
            _ => error,
        }
    }

    /// The last step: the record says created, init may wait at the gate, and nothing is undone any more.
    fn commit(mut self, channel: &Channel, plan: Plan) -> Result<Created> {
        self.container.record.committed = true;
        self.container.save()?;
        // Init has died since it was ready: of its own filter, for one.
        self.tell(channel, &Message::Committed)?;
        self.keep(plan)
    }

    /// Nothing is undone any more.
    pub fn keep(mut self, plan: Plan) -> Result<Created> {
        self.committed = true;
        let init = self.init.take().ok_or_else(|| Error::new("there is no init"))?;
        let container =
            Container { directory: self.container.directory.clone(), record: self.container.record.clone() };
        let lock = self.lock.take().ok_or_else(|| Error::new("there is no lock"))?;
        Ok(Created { container, init, console: self.console.take(), plan, lock })
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if let Some(Err(error)) = self.net_devices.take().map(Moved::take_back) {
            self.environment.log.warning(&error.headline());
        }
        if let Some(init) = &self.init {
            let _ = process::send_signal(&init.pidfd, libc::SIGKILL);
            let _ = rustix::process::waitpid(Pid::from_raw(init.pid), WaitOptions::empty());
        }
        let record = &self.container.record;
        let _ = host_mounts::remove(&record.rootfs, &record.host_mounts);
        if let Some(cgroup) = &self.cgroup {
            // Without a pid namespace hooks of init may have left processes.
            let _ = cgroup.kill(libc::SIGKILL);
            let _ = cgroup.remove();
        }
        if let Some(group) = &mut self.resctrl {
            group.undo();
        }
        let _ = self.container.forget();
        if let Some(hooks) = &self.poststop {
            delete::run_poststop(hooks, &self.container, self.environment);
        }
    }
}
