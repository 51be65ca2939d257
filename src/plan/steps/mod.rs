//! A plan as one list, in the order in which it is carried out: what `explain` prints, and what `--trace` records. Each
//! function below is a stage of a container's life, and reads as the function that carries it out, which is named there.

pub mod id;
mod stage;
pub mod table;
mod words;

use std::fmt::Display;

pub use self::stage::Stage;
use super::cgroup::{DeviceControl, Driver, FileWrite, When};
use super::device_rules::{DEVICES, STEP};
use super::hooks::HookKind;
use super::identity::CapabilitySets;
use super::namespaces::Kind;
use super::rootfs::What;
use super::{Condition, ConfigPath, Plan, Program, Step};

/// One act: a step of the plan with all that can be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Its name, see [`id`].
    pub id: String,
    /// When it is done, and by whom.
    pub stage: Stage,
    /// What is done.
    pub what: String,
    /// The system calls that do it.
    pub calls: &'static str,
    /// The place in `config.json` that asks for it; empty for what every container gets.
    pub at: String,
    /// Where only acting can tell whether it is done: on what that depends.
    pub when: Option<String>,
}

impl Plan {
    /// What create, start and delete will do.
    pub fn acts(&self) -> Vec<Act> {
        let mut acts = Acts { stage: Stage::Prepare, list: Vec::new() };
        prepare(self, &mut acts);
        acts.enter(Stage::Hold).add(id::CGROUP_JOIN, "join the cgroups", "");
        admit(self, acts.enter(Stage::Admit));
        enter(self, acts.enter(Stage::Enter));
        furnish(self, acts.enter(Stage::Furnish));
        acts.enter(Stage::Hooks).hooks(self, &[HookKind::Prestart, HookKind::CreateRuntime]);
        leave(self, acts.enter(Stage::Leave));
        acts.enter(Stage::Assume);
        match &self.program {
            Some(program) => assume(self, program, &mut acts),
            None => acts.add(id::NOBODY, "give up every right, as there is no program", "process"),
        }
        acts.enter(Stage::Commit).add(id::COMMIT, "record the container as created", "");
        if let Some(program) = &self.program {
            start(self, program, &mut acts);
        }
        delete(self, acts.enter(Stage::Delete));
        acts.list
    }
}

/// The list so far.
struct Acts {
    stage: Stage,
    list: Vec<Act>,
}

impl Acts {
    fn enter(&mut self, stage: Stage) -> &mut Acts {
        self.stage = stage;
        self
    }

    fn add(&mut self, id: impl Into<String>, what: impl Display, at: impl Display) {
        self.add_if(None, id, what, at);
    }

    fn add_if(&mut self, when: Option<String>, id: impl Into<String>, what: impl Display, at: impl Display) {
        let (id, what, at) = (id.into(), what.to_string(), at.to_string());
        let calls = table::row(&id).1;
        self.list.push(Act { id, stage: self.stage, what, calls, at, when });
    }

    fn hooks(&mut self, plan: &Plan, kinds: &[HookKind]) {
        for kind in kinds {
            for (index, hook) in plan.hooks.of(*kind).iter().enumerate() {
                let what = format!("{} hook {} {:?}", kind.name(), hook.path.display(), hook.args);
                self.add(id::hook(*kind, index), what, hook.at);
            }
        }
    }

    fn write(&mut self, plan: &Plan, write: &FileWrite) {
        let directory = &plan.cgroup.directories[write.directory];
        let when = match (write.when, directory.required_by) {
            (When::Existing, _) => Some("the cgroup was there before".to_owned()),
            (_, None) => Some("this user may make the cgroup".to_owned()),
            _ => None,
        };
        let file = directory.path.join(&*write.file);
        self.add_if(when, id::write(write), format!("{}: {} = {}", write.step, file.display(), write.value), write.at);
    }

    fn tree(&mut self, step: &Step<What>) {
        let when = match step.when {
            Condition::Always => None,
            Condition::TargetExists => Some("it is there".to_owned()),
            Condition::ContainerHas(path) => Some(format!("{path} is there")),
        };
        self.add_if(when, id::tree(&step.what), words::tree(&step.what), step.at);
        if let (Some(calls), Some(act)) = (words::calls(&step.what), self.list.last_mut()) {
            act.calls = calls;
        }
    }
}

/// `runtime::create::make`, up to `Creating::adopt`.
fn prepare(plan: &Plan, acts: &mut Acts) {
    acts.add(id::STATE, "take the name, and write down what will be made", "");
    acts.add(id::GATE, "make the two fifos of the gate", "");
    let path = ConfigPath::new("linux.cgroupsPath");
    for directory in plan.cgroup.directories.iter().filter(|directory| !plan.cgroup.is_made_by_systemd(directory)) {
        let when = directory.required_by.is_none().then(|| "this user may".to_owned());
        let controllers = directory.controllers.join(",");
        let what = format!("cgroup {:?} {} [{controllers}]", directory.version, directory.path.display());
        acts.add_if(when, id::directory(directory), what, path);
    }
    let early = plan.cgroup.writes.iter().filter(|write| write.when == When::BeforeJoining);
    early.for_each(|write| acts.write(plan, write));
    if let Some(rdt) = &plan.intel_rdt {
        let schemata: Vec<&str> = rdt.schemata.iter().map(|schema| schema.text.as_str()).collect();
        let what = format!("resctrl class {} ({:?}) {schemata:?}", rdt.class.display(), rdt.kind);
        let group = rdt.monitoring.as_ref().map(|group| format!(", monitored in {}", group.display()));
        acts.add(id::RESCTRL, format!("{what}{}", group.unwrap_or_default()), "linux.intelRdt");
    }
    let namespaces = &plan.namespaces;
    for join in &namespaces.join {
        let what = format!("find the {} namespace {}", join.kind.name(), join.path.display());
        acts.add(id::open(join.kind), what, join.at);
    }
    if let Some(pid) = namespaces.join.iter().find(|join| join.kind == Kind::Pid) {
        acts.add(id::join(Kind::Pid), "join the pid namespace for the clone", pid.at);
    }
    let new: Vec<&str> = Kind::ALL.iter().filter(|kind| namespaces.creates(**kind)).map(|kind| kind.name()).collect();
    let at = ConfigPath::new("linux.namespaces");
    acts.add(id::CLONE, format!("clone init into new namespaces: {}", new.join(" ")), at);
    acts.add(id::RECORD, "write down its pid and start time", "");
    if let Driver::Systemd(unit) = &plan.cgroup.driver {
        acts.add(id::CGROUP_UNIT, words::unit(unit), path);
    }
}

/// `runtime::create::make`, up to `Message::Proceed`.
fn admit(plan: &Plan, acts: &mut Acts) {
    let namespaces = &plan.namespaces;
    if namespaces.creates(Kind::User) {
        acts.add(id::GID_MAP, words::id_map("gid", &namespaces.gid_map), "linux.gidMappings");
        acts.add(id::UID_MAP, words::id_map("uid", &namespaces.uid_map), "linux.uidMappings");
    }
    let late = plan.cgroup.writes.iter().filter(|write| write.when != When::BeforeJoining);
    late.for_each(|write| acts.write(plan, write));
    if let Some(control) = &plan.cgroup.devices {
        let (DeviceControl::Program { directory, .. } | DeviceControl::List { directory, .. }) = control;
        let path = plan.cgroup.directories[*directory].path.display();
        let what = match control {
            DeviceControl::Program { program, .. } => format!("an eBPF program of {} instructions", program.len()),
            DeviceControl::List { .. } => "a list".to_owned(),
        };
        acts.add(id::CGROUP_DEVICES, format!("{STEP}: {path} = {what}"), DEVICES);
    }
    if let Some(owner) = plan.cgroup.owner {
        acts.add(id::CGROUP_OWNER, format!("give the cgroup to user {owner}"), ConfigPath::new("linux.namespaces"));
    }
    if plan.intel_rdt.is_some() {
        acts.add(id::RESCTRL_ADMIT, "init joins the class", "linux.intelRdt");
    }
    if let Some(score) = plan.program.as_ref().and_then(|program| program.limits.oom_score_adjustment) {
        acts.add(id::OOM_SCORE, format!("oom_score_adj = {score}"), "process.oomScoreAdj");
    }
    for device in &plan.net_devices {
        let what = format!("move the network device {} in as {}", device.name, device.target);
        acts.add(id::net_device(device), what, device.at());
    }
}

/// `init::namespaces::enter`.
fn enter(plan: &Plan, acts: &mut Acts) {
    let namespaces = &plan.namespaces;
    let at = ConfigPath::new("linux.namespaces");
    acts.add(id::AFFINITY, "all processors that the cpuset allows", "");
    acts.add(id::SESSION, "start a session", "");
    if let Some(keyring) = &plan.keyring {
        acts.add(id::KEYRING, format!("session keyring {keyring}"), "");
    }
    if namespaces.creates(Kind::Time) {
        let what = format!("make and enter a time namespace {:?}", namespaces.time_offsets);
        acts.add(id::NAMESPACE_TIME, what, "linux.timeOffsets");
    }
    acts.add(id::HIDE, "let nobody inside look into this process", "");
    for join in namespaces.join.iter().filter(|join| join.kind != Kind::Pid) {
        let when = (join.kind == Kind::User).then(|| "it is not our own".to_owned());
        let what = format!("join the {} namespace", join.kind.name());
        acts.add_if(when, id::join(join.kind), what, join.at);
    }
    if namespaces.creates(Kind::Cgroup) {
        acts.add(id::NAMESPACE_CGROUP, "make the cgroup namespace", at);
    }
    if namespaces.has(Kind::User) {
        acts.add(id::NAMESPACE_ROOT, "become root of the user namespace", at);
    }
    for (id, name, value) in
        [(id::HOSTNAME, "hostname", &namespaces.hostname), (id::DOMAINNAME, "domainname", &namespaces.domainname)]
    {
        if let Some(value) = value {
            acts.add(id, format!("set the {name} {value}"), name);
        }
    }
    if namespaces.creates(Kind::Network) {
        acts.add(id::LOOPBACK, "bring the loopback device up", at);
    }
    if plan.needs_proc() {
        acts.add(id::PROCFS, "open a /proc of our own", "");
    }
}

/// `init::rootfs::furnish`.
fn furnish(plan: &Plan, acts: &mut Acts) {
    acts.add(id::ROOT, format!("take {} as the root", plan.rootfs.path.display()), "root.path");
    plan.rootfs.furnish.iter().for_each(|step| acts.tree(step));
    if let Some(program) = &plan.program {
        let cwd = program.identity.cwd.display();
        acts.add(id::WORKING_DIRECTORY, format!("make the working directory {cwd} if it is missing"), "process.cwd");
    }
}

/// `init::rootfs::leave` and `init::rootfs::finish`.
fn leave(plan: &Plan, acts: &mut Acts) {
    acts.hooks(plan, &[HookKind::CreateContainer]);
    acts.add(id::LEAVE, format!("leave the host's tree: {}", words::leave(plan.rootfs.leave)), "");
    plan.rootfs.finish.iter().for_each(|step| acts.tree(step));
    for sysctl in &plan.sysctls {
        let what = format!("set {} = {}", sysctl.file, sysctl.value);
        acts.add(id::sysctl(sysctl), what, ConfigPath::new("linux.sysctl"));
    }
}

/// `init::identity::apply_limits` and `init::assume`.
fn assume(plan: &Plan, program: &Program, acts: &mut Acts) {
    let (limits, identity) = (&program.limits, &program.identity);
    if limits.scheduler.is_some() {
        acts.add(id::SCHEDULER, "set the scheduler", "process.scheduler");
    }
    if let Some(priority) = limits.io_priority {
        acts.add(id::IO_PRIORITY, format!("set the I/O priority {priority:#x}"), "process.ioPriority");
    }
    if let Some(persona) = limits.personality {
        acts.add(id::PERSONALITY, format!("set the personality {persona:#x}"), "linux.personality");
    }
    if let Some(policy) = &limits.memory_policy {
        acts.add(id::MEMORY_POLICY, format!("memory policy {} {}", policy.name, policy.nodes), "linux.memoryPolicy");
    }
    if let Some(label) = &identity.label {
        acts.add(id::LABEL, format!("the label {:?} at exec", label.value), label.at);
    }
    acts.add(id::STDIO, "give the standard streams to the user", "");
    acts.add(id::CWD, format!("working directory {}", identity.cwd.display()), "process.cwd");
    // Init sets them where it still has the runtime's rights.
    acts.enter(if plan.namespaces.has(Kind::User) { Stage::Limit } else { Stage::Assume });
    for limit in &limits.rlimits {
        acts.add(id::rlimit(limit), format!("{} soft {} hard {}", limit.name, limit.soft, limit.hard), limit.at);
    }
    acts.enter(Stage::Assume);
    if let Some(filter) = program.seccomp.as_ref().filter(|_| !program.loads_filter_last()) {
        acts.add(id::SECCOMP, words::filter(filter), "linux.seccomp");
    }
    let CapabilitySets { bounding, effective, permitted, inheritable, ambient } = identity.capabilities;
    acts.add(id::BOUNDING, format!("bounding capabilities {bounding:#x}"), "process.capabilities.bounding");
    let groups = match (identity.keep_groups, identity.groups.is_empty()) {
        (true, _) => " groups of the caller".to_owned(),
        (false, true) => String::new(),
        (false, false) => format!(" groups {:?}", identity.groups),
    };
    let what = format!("user {}:{}{groups}, umask {:04o}", identity.uid, identity.gid, identity.umask);
    acts.add(id::USER, what, "process.user");
    let what =
        format!("effective {effective:#x} permitted {permitted:#x} inheritable {inheritable:#x} ambient {ambient:#x}");
    acts.add(id::CAPABILITIES, what, "process.capabilities");
    if identity.no_new_privileges {
        acts.add(id::NO_NEW_PRIVS, "no exec gives rights any more", "process.noNewPrivileges");
    }
    acts.add(id::PROGRAM, format!("find {:?}", identity.argv[0].to_string_lossy()), "process.args[0]");
}

/// `runtime::start::start` and `init::wait_and_execute`.
fn start(plan: &Plan, program: &Program, acts: &mut Acts) {
    acts.enter(Stage::Open).add(id::GATE_OPEN, "open the gate", "");
    acts.enter(Stage::Execute).add(id::GATE_WAIT, "wait at the gate", "");
    // A startContainer hook is bound by the filter.
    let filter = program.seccomp.as_ref().filter(|_| program.loads_filter_last());
    if let Some(filter) = filter {
        acts.add(id::SECCOMP, words::filter(filter), "linux.seccomp");
    }
    acts.hooks(plan, &[HookKind::StartContainer]);
    let argv: Vec<_> = program.identity.argv.iter().map(|word| word.to_string_lossy()).collect();
    acts.add(id::EXECVE, format!("execute {argv:?}"), "process.args");
    acts.enter(Stage::Started).hooks(plan, &[HookKind::Poststart]);
}

/// `runtime::delete::destroy`.
fn delete(plan: &Plan, acts: &mut Acts) {
    if plan.mounts_on_host() {
        acts.add(id::MOUNTS_REMOVE, "take away what was mounted on the host", "mounts");
    }
    acts.add(id::CGROUP_REMOVE, "remove the cgroups", "");
    if plan.intel_rdt.is_some() {
        acts.add(id::RESCTRL_REMOVE, "remove the resctrl groups that were made", "linux.intelRdt");
    }
    acts.add(id::STATE_REMOVE, "give the name back", "");
    acts.hooks(plan, &[HookKind::Poststop]);
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn the_longest_name_decides() {
        for (id, row) in [
            ("cgroup:memory.max", "cgroup"),
            ("cgroup:devices.allow c 1:3 rwm", "cgroup:devices.allow"),
            ("cgroup:mkdir:cpu,cpuacct", "cgroup:mkdir"),
            ("cgroup:join", "cgroup:join"),
            ("read-only:/", "read-only"),
            ("hook:prestart[0]", "hook"),
            ("rootless", ""),
        ] {
            assert_eq!(table::row(id).0, row, "{id}");
        }
    }
}
