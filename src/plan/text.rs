//! A plan as text, in the order in which it is carried out: what golden tests compare, and what people read.

use std::fmt::{self, Display, Formatter};

use super::cgroup::{DeviceControl, Driver};
use super::device_rules::{DEVICES, STEP};
use super::hooks::HookKind;
use super::mount_options::attribute;
use super::mounts::{Change, Mount, Source};
use super::namespaces::{IdMap, Kind};
use super::rootfs::{Leave, What};
use super::{Condition, ConfigPath, Plan, Program, Step};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        writeln!(f, "runtime:")?;
        self.write_cgroup(f)?;
        self.write_intel_rdt(f)?;
        self.write_namespaces(f)?;
        self.write_process_settings(f)?;
        writeln!(f, "init, while the host's tree is in view:")?;
        self.write_names(f)?;
        line(f, format_args!("take {} as the root", self.rootfs.path.display()), ConfigPath::new("root.path"))?;
        self.rootfs.furnish.iter().try_for_each(|step| write_step(f, step))?;
        self.write_hooks(f, &[HookKind::Prestart, HookKind::CreateRuntime, HookKind::CreateContainer])?;
        writeln!(f, "init, in the container's root ({}):", leave_name(self.rootfs.leave))?;
        self.rootfs.finish.iter().try_for_each(|step| write_step(f, step))?;
        for sysctl in &self.sysctls {
            line(f, format_args!("set {} = {}", sysctl.file, sysctl.value), ConfigPath::new("linux.sysctl"))?;
        }
        self.write_identity(f)?;
        writeln!(f, "start:")?;
        self.write_hooks(f, &[HookKind::StartContainer])?;
        match &self.program {
            Some(program) => {
                let argv: Vec<_> = program.identity.argv.iter().map(|word| word.to_string_lossy()).collect();
                line(f, format_args!("execute {argv:?}"), ConfigPath::new("process.args"))?;
            }
            None => line(f, "refuse, as there is no program", ConfigPath::new("process"))?,
        }
        self.write_hooks(f, &[HookKind::Poststart])?;
        if !self.hooks.of(HookKind::Poststop).is_empty() {
            writeln!(f, "delete:")?;
        }
        self.write_hooks(f, &[HookKind::Poststop])
    }
}

/// What is done, and in a column of its own what asks for it.
fn line(f: &mut Formatter<'_>, what: impl Display, at: impl Display) -> fmt::Result {
    writeln!(f, "{}", format!("  {:<100} {at}", what.to_string()).trim_end())
}

fn leave_name(leave: Leave) -> &'static str {
    match leave {
        Leave::Pivot => "pivot_root",
        Leave::Cover => "chroot to the mount that covers /",
        Leave::Chroot => "chroot",
    }
}

fn write_step(f: &mut Formatter<'_>, step: &Step<What>) -> fmt::Result {
    let condition = match step.when {
        Condition::Always => String::new(),
        Condition::TargetExists => ", if it is there".to_owned(),
        Condition::ContainerHas(path) => format!(", if {path} is there"),
    };
    match &step.what {
        What::Mount(mount) => line(f, format_args!("{}{condition}", describe(mount)), step.at),
        What::Node(node) => {
            let owner = format!("{}:{}", node.uid, node.gid);
            line(f, format_args!("{} {}:{} {:o} {owner}", step.what, node.major, node.minor, node.mode), step.at)
        }
        what => line(f, format_args!("{what}{condition}"), step.at),
    }
}

fn describe(mount: &Mount) -> String {
    let target = mount.destination.display();
    let mut text = match &mount.source {
        Source::Bind { path, recursive: false } => format!("bind {} on {target}", path.display()),
        Source::Bind { path, recursive: true } => format!("bind {} and all below on {target}", path.display()),
        Source::OwnCgroup { path, instead } => {
            format!("bind {}, or {}, and all below on {target}", path.display(), instead.display())
        }
        Source::Filesystem { kind, device } => format!("mount {kind} ({device}) on {target}"),
        Source::Existing => format!("change {target}"),
    };
    let options = &mount.options;
    for (change, suffix) in [(options.own, ""), (options.below, " below")] {
        if change.is_some() {
            text.push_str(&format!(" {}{suffix}", attributes(change)));
        }
    }
    for flag in &options.superblock {
        text.push_str(&format!(" {flag}"));
    }
    if !options.data.is_empty() {
        text.push_str(&format!(" {}", options.data_string()));
    }
    for (kind, recursive) in &options.propagation {
        text.push_str(&format!(" propagation {kind:#x}{}", if *recursive { " below" } else { "" }));
    }
    for (given, name) in [
        (options.copy_up, "copied up"),
        (options.id_map.is_some(), "id-mapped"),
        (options.classic, "by mount(2)"),
        (mount.by_runtime, "made by the runtime"),
    ] {
        if given {
            text.push_str(&format!(", {name}"));
        }
    }
    text
}

fn attributes(change: Change) -> String {
    const NAMES: [(u64, &str, &str); 6] = [
        (attribute::RDONLY, "ro", "rw"),
        (attribute::NOSUID, "nosuid", "suid"),
        (attribute::NODEV, "nodev", "dev"),
        (attribute::NOEXEC, "noexec", "exec"),
        (attribute::NODIRATIME, "nodiratime", "diratime"),
        (attribute::NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let mut names = Vec::new();
    for (bit, set, cleared) in NAMES {
        if change.set & bit != 0 {
            names.push(set);
        } else if change.clear & bit != 0 {
            names.push(cleared);
        }
    }
    if change.clear & attribute::ATIME_MASK != 0 {
        names.push(match change.set & attribute::ATIME_MASK {
            attribute::NOATIME => "noatime",
            attribute::STRICTATIME => "strictatime",
            _ => "relatime",
        });
    }
    names.join(",")
}

impl Plan {
    fn write_cgroup(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.cgroup.driver {
            Driver::Cgroupfs => {}
            Driver::Nobody => line(f, "no cgroup of its own", "--cgroup-manager")?,
            Driver::Systemd(unit) => {
                let what = format!("have systemd ({} bus) start {} in {}", unit.id.bus, unit.id.name, unit.slice);
                line(f, what, ConfigPath::new("linux.cgroupsPath"))?;
                for property in &unit.properties {
                    line(f, format_args!("  {} = {}", property.name, property.value), &property.at)?;
                }
            }
        }
        for directory in &self.cgroup.directories {
            let names = directory.controllers.join(",");
            let what = format!("cgroup {:?} {} [{names}]", directory.version, directory.path.display());
            line(f, what, ConfigPath::new("linux.cgroupsPath"))?;
        }
        for write in &self.cgroup.writes {
            let file = self.cgroup.directories[write.directory].path.join(write.file.as_ref());
            line(f, format_args!("{}: {} = {}", write.step, file.display(), write.value), write.at)?;
        }
        if let Some(DeviceControl::Program { directory, program }) = &self.cgroup.devices {
            let path = self.cgroup.directories[*directory].path.display();
            line(f, format_args!("{STEP}: {path} = an eBPF program of {} instructions", program.len()), DEVICES)?;
        }
        if let Some(owner) = self.cgroup.owner {
            line(f, format_args!("give the cgroup to user {owner}"), ConfigPath::new("linux.namespaces"))?;
        }
        Ok(())
    }

    fn write_intel_rdt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(rdt) = &self.intel_rdt else { return Ok(()) };
        line(f, format_args!("resctrl class {} ({:?})", rdt.class.display(), rdt.kind), "linux.intelRdt")?;
        for schema in &rdt.schemata {
            line(f, format_args!("schemata {:?}", schema.text), schema.at)?;
        }
        if let Some(group) = &rdt.monitoring {
            line(f, format_args!("monitoring group {}", group.display()), "linux.intelRdt.enableMonitoring")?;
        }
        Ok(())
    }

    fn write_namespaces(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let namespaces = &self.namespaces;
        let at = ConfigPath::new("linux.namespaces");
        let new: Vec<&str> =
            Kind::ALL.iter().filter(|kind| namespaces.creates(**kind)).map(|kind| kind.name()).collect();
        line(f, format_args!("clone init into new namespaces: {}", new.join(" ")), at)?;
        for join in &namespaces.join {
            line(f, format_args!("join the {} namespace {}", join.kind.name(), join.path.display()), join.at)?;
        }
        for (name, map) in [("uid", &namespaces.uid_map), ("gid", &namespaces.gid_map)] {
            for IdMap { inside, outside, size } in map {
                line(
                    f,
                    format_args!("map {name} {inside} to {outside}, {size} of them"),
                    format!("linux.{name}Mappings"),
                )?;
            }
        }
        for device in &self.net_devices {
            let what = format_args!("move the network device {} in as {}", device.name, device.target);
            line(f, what, device.at())?;
        }
        for offset in &namespaces.time_offsets {
            line(f, format_args!("offset {offset}"), "linux.timeOffsets")?;
        }
        Ok(())
    }

    fn write_names(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (hostname, domainname) = (&self.namespaces.hostname, &self.namespaces.domainname);
        for (name, value) in [("hostname", hostname), ("domainname", domainname)] {
            if let Some(value) = value {
                line(f, format_args!("set the {name} {value}"), name)?;
            }
        }
        Ok(())
    }

    fn write_process_settings(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(Program { limits, .. }) = &self.program else { return Ok(()) };
        if let Some(score) = limits.oom_score_adjustment {
            line(f, format_args!("oom_score_adj = {score}"), "process.oomScoreAdj")?;
        }
        if let Some(policy) = &limits.memory_policy {
            line(f, format_args!("memory policy {} {}", policy.name, policy.nodes), "linux.memoryPolicy")?;
        }
        for limit in &limits.rlimits {
            line(f, format_args!("{} soft {} hard {}", limit.name, limit.soft, limit.hard), limit.at)?;
        }
        Ok(())
    }

    fn write_hooks(&self, f: &mut Formatter<'_>, kinds: &[HookKind]) -> fmt::Result {
        for kind in kinds {
            for hook in self.hooks.of(*kind) {
                line(f, format_args!("{} hook {} {:?}", kind.name(), hook.path.display(), hook.args), hook.at)?;
            }
        }
        Ok(())
    }

    fn write_identity(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(keyring) = &self.keyring {
            line(f, format_args!("session keyring {keyring}"), "")?;
        }
        let Some(program) = &self.program else { return line(f, "give up every right", ConfigPath::new("process")) };
        let identity = &program.identity;
        line(f, format_args!("working directory {}", identity.cwd.display()), "process.cwd")?;
        let groups = match (identity.keep_groups, identity.groups.is_empty()) {
            (true, _) => " groups of the caller".to_owned(),
            (false, true) => String::new(),
            (false, false) => format!(" groups {:?}", identity.groups),
        };
        line(f, format_args!("user {}:{}{groups}", identity.uid, identity.gid), "process.user")?;
        let sets = &identity.capabilities;
        for (name, set) in [
            ("bounding", sets.bounding),
            ("effective", sets.effective),
            ("permitted", sets.permitted),
            ("inheritable", sets.inheritable),
            ("ambient", sets.ambient),
        ] {
            line(f, format_args!("{name} capabilities {set:#018x}"), format!("process.capabilities.{name}"))?;
        }
        if identity.no_new_privileges {
            line(f, "no_new_privs", "process.noNewPrivileges")?;
        }
        if let Some(filter) = &program.seccomp {
            let what = format!("seccomp filter of {} instructions, flags {:#x}", filter.program.len(), filter.flags);
            line(f, what, "linux.seccomp")?;
        }
        Ok(())
    }
}
