//! What a bundle needs of the machine.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};

use super::{Report, machine, program};
use crate::config;
use crate::error::{Error, Result};
use crate::host;
use crate::plan::hooks::HookKind;
use crate::plan::identity::{CAPABILITIES, capability_name};
use crate::plan::mounts::{Mount, Source};
use crate::plan::namespaces::{IdMap, Kind};
use crate::plan::rootfs::What;
use crate::plan::{ConfigPath, Host, Plan, Program};
use crate::root::Root;
use crate::runtime::Environment;
use crate::runtime::explain;

/// Plans the container, and looks whether what the plan uses is there.
pub fn look(report: &mut Report, bundle: &Path, environment: &Environment) {
    let (plan, host) = match plan(bundle, environment) {
        Ok(planned) => planned,
        Err(error) => return configuration(report, &error),
    };
    report.fine("config", format!("valid; {} steps", plan.acts().len()));
    plan.warnings.iter().for_each(|warning| report.warning("config", warning, ""));
    if let Some(root) = root(report, &plan) {
        for step in &plan.rootfs.furnish {
            match &step.what {
                What::Mount(mount) if is_own_cgroup(&plan, mount) => {}
                What::Mount(mount) => self::mount(report, mount, &root, step.at),
                What::Node(node) if node.bind && !node.by_runtime => device(report, &node.path, step.at),
                _ => {}
            }
        }
        if let Some(program) = &plan.program {
            program::look(report, &plan, program, &root);
        }
    }
    namespaces(report, &plan);
    id_maps(report, &plan, &host);
    cgroups(report, &plan);
    if let Some(program) = &plan.program {
        limits(report, program, &host);
    }
    hooks(report, &plan);
    rest(report, &plan);
}

/// Its source will be there by then.
fn is_own_cgroup(plan: &Plan, mount: &Mount) -> bool {
    let is_made = |path: &Path| plan.cgroup.directories.iter().any(|directory| directory.path == path);
    match &mount.source {
        Source::Bind { path, .. } => is_made(path),
        Source::OwnCgroup { .. } => true,
        _ => false,
    }
}

fn plan(bundle: &Path, environment: &Environment) -> Result<(Plan, Host)> {
    let config = config::read_bundle(bundle, None, environment.strict)?;
    let host = host::probe(&config)?;
    explain::plan(&config, bundle, None, &host, environment).map(|plan| (plan, host))
}

/// Every mistake is a finding of its own.
fn configuration(report: &mut Report, error: &Error) {
    for problem in error.problems() {
        report.failure("config", &problem.message, "");
        report.at(&problem.at);
    }
    if error.problems().is_empty() {
        report.failure("config", error.headline(), &error.effective_hint().unwrap_or_default());
    }
}

fn root(report: &mut Report, plan: &Plan) -> Option<Root> {
    let path = &plan.rootfs.path;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, rustix::fs::Mode::empty()) {
        Ok(opened) => {
            report.fine("root", path.display().to_string());
            Some(Root::new(opened))
        }
        Err(errno) => {
            report.failure(
                "root",
                format!("{}: {errno}", path.display()),
                "unpack an image there; each directory above must let us pass",
            );
            report.at("root.path");
            None
        }
    }
}

fn mount(report: &mut Report, mount: &Mount, root: &Root, at: ConfigPath) {
    let target = mount.destination.display();
    match &mount.source {
        Source::Bind { path, .. } => match fs::metadata(path) {
            Err(error) => {
                report.failure(
                    "mounts",
                    format!("{} on {target}: {error}", path.display()),
                    "make it, or correct mounts[].source",
                );
                report.at(at.field("source"));
            }
            Ok(source) => destination(report, mount, root, source.is_dir(), at),
        },
        Source::Filesystem { kind, .. } => {
            let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
            if !known.lines().any(|line| line.split('\t').next_back() == Some(kind)) {
                report.warning(
                    "mounts",
                    format!("/proc/filesystems does not list {kind}, for {target}"),
                    "a module may bring it: modprobe; for a bind mount add the option \"bind\"",
                );
                report.at(at.field("type"));
            }
            destination(report, mount, root, true, at);
        }
        Source::Existing | Source::OwnCgroup { .. } => {}
    }
}

/// What is missing is made, where the image can be written to; a file cannot be mounted on a directory.
fn destination(report: &mut Report, mount: &Mount, root: &Root, is_directory: bool, at: ConfigPath) {
    let target = mount.destination.display();
    let there = root.find(&mount.destination).ok().flatten().and_then(|there| crate::root::stat(&there).ok());
    match there {
        Some(there) if crate::root::is_directory(&there) != is_directory => {
            let (source, found) = if is_directory { ("directory", "file") } else { ("file", "directory") };
            report.failure(
                "mounts",
                format!("{target} is a {found} in the image, and a {source} is to be mounted there"),
                "choose another destination, or change the image",
            );
            report.at(at.field("destination"));
        }
        Some(_) => {}
        None => {
            let is_read_only = rustix::fs::fstatvfs(root.fd())
                .is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
            if is_read_only {
                report.failure(
                    "mounts",
                    format!("{target} is not in the image, which is on a read-only file system"),
                    "make it in the image",
                );
                report.at(at.field("destination"));
            }
        }
    }
}

fn device(report: &mut Report, path: &Path, at: ConfigPath) {
    let is_device = |meta: fs::Metadata| meta.file_type().is_char_device() || meta.file_type().is_block_device();
    if !fs::metadata(path).is_ok_and(is_device) {
        report.failure(
            "devices",
            format!("the host has no device {}", path.display()),
            "without privileges the host's node is bound",
        );
        report.at(at);
    }
}

fn namespaces(report: &mut Report, plan: &Plan) {
    for join in &plan.namespaces.join {
        if let Err(error) = fs::metadata(&join.path) {
            report.failure(
                "namespaces",
                format!("{}: {error}", join.path.display()),
                "the process or the bind mount that held it is gone",
            );
            report.at(join.at.field("path"));
        }
    }
    for kind in plan.namespaces.new.iter().filter(|kind| !Path::new("/proc/self/ns").join(kind.proc_name()).exists()) {
        report.failure("namespaces", format!("this kernel has no {} namespaces", kind.name()), "leave it out");
        report.at("linux.namespaces");
    }
}

/// An ordinary user maps its own id, or what /etc/subuid grants, by newuidmap.
fn id_maps(report: &mut Report, plan: &Plan, host: &Host) {
    let namespaces = &plan.namespaces;
    if host.user.0 == 0 && !host.in_user_namespace || !namespaces.creates(Kind::User) {
        if host.user.0 != 0 && !namespaces.has(Kind::User) {
            report.failure(
                "ids",
                "no user namespace, and we are not root",
                "add {\"type\": \"user\"} and the id maps, as `minicon spec --rootless` has them",
            );
            report.at("linux.namespaces");
        }
        return;
    }
    let is_own = |map: &[IdMap], id: u32| matches!(map, [one] if one.size == 1 && one.outside == id);
    if host.user.0 == 0 || is_own(&namespaces.uid_map, host.user.0) && is_own(&namespaces.gid_map, host.user.1) {
        return;
    }
    for (program, file, map, own, at) in [
        ("newuidmap", "/etc/subuid", &namespaces.uid_map, host.user.0, "linux.uidMappings"),
        ("newgidmap", "/etc/subgid", &namespaces.gid_map, host.user.1, "linux.gidMappings"),
    ] {
        if machine::find(program).is_none() {
            report.failure(
                "ids",
                format!("{program} is not installed"),
                "install it (Debian: uidmap), or map a single id",
            );
            report.at(at);
        }
        let granted = granted(&fs::read_to_string(file).unwrap_or_default(), host.user.0);
        let is_granted = |map: &&IdMap| {
            let end = u64::from(map.outside) + u64::from(map.size);
            map.size == 1 && map.outside == own
                || granted.iter().any(|(first, count)| *first <= map.outside.into() && end <= first + count)
        };
        for map in map.iter().filter(|map| !is_granted(map)) {
            let what = format!("{file} does not grant {} ids from {} on", map.size, map.outside);
            report.failure("ids", what, "usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER");
            report.at(at);
        }
    }
}

/// subuid(5): name or uid, first, count.
fn granted(text: &str, uid: u32) -> Vec<(u64, u64)> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    let range = |line: &str| {
        let mut fields = line.split(':');
        let who = fields.next()?;
        let is_ours = who.parse() == Ok(uid) || Some(who) == name.as_deref();
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)).filter(|_| is_ours)
    };
    text.lines().filter_map(range).collect()
}

fn cgroups(report: &mut Report, plan: &Plan) {
    for directory in &plan.cgroup.directories {
        let above = directory.path.ancestors().skip(1).find(|path| path.exists()).unwrap_or(Path::new("/"));
        // Who moves a process needs to write there: cgroups(7), delegation containment.
        let procs = directory.common_parent.as_ref().map(|parent| parent.join("cgroup.procs"));
        let may_write = |path: &Path| rustix::fs::access(path, Access::WRITE_OK);
        let what = match (may_write(above), procs.map_or(Ok(()), |procs| may_write(&procs))) {
            (Err(errno), _) => format!("{} cannot be made: {errno}", directory.path.display()),
            (_, Err(errno)) => format!("nobody can be moved to {}: {errno}", directory.path.display()),
            _ => continue,
        };
        match directory.required_by {
            Some(_) => report.failure("cgroups", what, "have it delegated (systemd: Delegate=yes), or drop the limits"),
            None => report.warning("cgroups", what, "the container does without"),
        }
        report.at(directory.required_by.unwrap_or(ConfigPath::new("linux.cgroupsPath")));
    }
    let is_small = |value: &str| value.parse::<u64>().is_ok_and(|bytes| bytes < 512 * 1024);
    let is_limit = |file: &str| matches!(file, "memory.limit_in_bytes" | "memory.max");
    for write in plan.cgroup.writes.iter().filter(|write| is_limit(&write.file) && is_small(&write.value)) {
        report.warning("cgroups", format!("{} bytes of memory", write.value), "init itself may not fit");
        report.at(write.at);
    }
}

fn limits(report: &mut Report, program: &Program, host: &Host) {
    let number = CAPABILITIES.iter().position(|one| capability_name(*one) == "CAP_SYS_RESOURCE").unwrap_or(0);
    if !host.rootless && host.bounding_capabilities & 1 << number != 0 {
        return;
    }
    let limits = &program.limits;
    for limit in &limits.rlimits {
        let Ok(index) = u8::try_from(limit.resource) else { continue };
        let Some(resource) = resource(index) else { continue };
        if getrlimit(resource).maximum.is_some_and(|maximum| limit.hard > maximum) {
            let what = format!("{}: our own hard limit is lower, and raising it needs CAP_SYS_RESOURCE", limit.name);
            report.failure("limits", what, "lower it, or raise the caller's (ulimit -H)");
            report.at(limit.at);
        }
    }
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default().trim().parse().unwrap_or(0);
    if limits.oom_score_adjustment.is_some_and(|score| score < own) {
        report.failure(
            "limits",
            format!("oomScoreAdj below our own, {own}, needs CAP_SYS_RESOURCE"),
            "raise it, or leave it out",
        );
        report.at("process.oomScoreAdj");
    }
}

fn resource(number: u8) -> Option<Resource> {
    use Resource::{
        As, Core, Cpu, Data, Fsize, Locks, Memlock, Msgqueue, Nice, Nofile, Nproc, Rss, Rtprio, Rttime, Sigpending,
        Stack,
    };
    let all = [
        Cpu, Fsize, Data, Stack, Core, Rss, Nproc, Nofile, Memlock, As, Locks, Sigpending, Msgqueue, Nice, Rtprio,
        Rttime,
    ];
    all.into_iter().find(|resource| *resource as u32 == u32::from(number))
}

/// Those on the host's side; the others are in the image.
fn hooks(report: &mut Report, plan: &Plan) {
    for kind in [
        HookKind::Prestart,
        HookKind::CreateRuntime,
        HookKind::CreateContainer,
        HookKind::Poststart,
        HookKind::Poststop,
    ] {
        for hook in plan.hooks.of(kind) {
            let path = hook.path.display();
            if let Err(errno) = rustix::fs::access(&hook.path, Access::EXEC_OK) {
                report.failure(
                    "hooks",
                    format!("{} hook {path}: {errno}", kind.name()),
                    "a hook must be there and executable",
                );
                report.at(hook.at.field("path"));
            }
        }
    }
}

fn rest(report: &mut Report, plan: &Plan) {
    for device in plan.net_devices.iter().filter(|device| !Path::new("/sys/class/net").join(&device.name).exists()) {
        report.failure("network", format!("there is no network device {} on the host", device.name), "see `ip link`");
        report.at(device.at());
    }
    for sysctl in &plan.sysctls {
        if sysctl.namespace != Kind::Network && !Path::new("/proc/sys").join(&sysctl.file).exists() {
            report.failure("sysctl", format!("this kernel has no {}", sysctl.file), "leave it out");
            report.at("linux.sysctl");
        }
    }
    if plan.program.as_ref().is_some_and(|program| program.terminal) {
        report.fine("terminal", "create needs --console-socket, and so does run --detach; run alone uses ours");
    }
}
