//! DECIDE. Pure functions from the configuration, the options and the host to a plan of steps.
//! Nothing here calls the kernel, reads a file or looks at a clock.

pub mod annotations;
pub mod cgroup;
mod cgroup_mounts;
pub mod checkpoint;
mod delegation;
pub mod device_list;
pub mod device_program;
pub mod device_rules;
pub mod devices;
pub mod gvariant;
pub mod hooks;
pub mod identity;
pub mod intel_rdt;
pub mod limits;
pub mod lists;
pub mod memory_policy;
pub mod mount_options;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
mod resources;
mod resources_v1;
mod resources_v2;
pub mod rootfs;
mod rules;
pub mod seccomp;
pub mod steps;
pub mod sysctl;
pub mod systemd;
pub mod text;
pub mod unit_properties;
pub mod update;
pub mod variant;
pub mod version;

use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Spec};

use crate::config::Config;
use crate::error::{Error, Problem, Result};
use annotations::Annotations;
use cgroup::{CgroupHost, CgroupPlan};
use hooks::Hooks;
use identity::Identity;
use intel_rdt::IntelRdt;
use limits::Limits;
use namespaces::Namespaces;
use net_devices::NetDevice;
use rootfs::Rootfs;
use sysctl::Sysctl;

/// What this machine offers, as found by [`crate::host::probe`].
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Neither the first user namespace nor its rights.
    pub in_user_namespace: bool,
    /// Root, but without CAP_SYS_ADMIN over its mount namespace: in a container, or of a user namespace alone. Looked for
    /// only if the configuration wants a user namespace, where init has the right.
    pub cannot_mount: bool,
    /// The effective user id is not 0, or is 0 of a user namespace only.
    pub rootless: bool,
    /// The effective user and group, for the id maps of an unprivileged user.
    pub user: (u32, u32),
    /// The capabilities that can be granted, as a mask.
    pub bounding_capabilities: u64,
    /// The cgroup hierarchies and where we are in them.
    pub cgroups: CgroupHost,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// SELinux is enabled.
    pub selinux: bool,
    /// Where resctrl is mounted; looked for only if the configuration wants it.
    pub resctrl: Option<PathBuf>,
    /// `RUN_OCI_SECCOMP_RECEIVER`: the socket of a seccomp agent, for policies that name none.
    pub seccomp_receiver: Option<PathBuf>,
    /// The caller's umask, where a process that asks for none is to keep it.
    pub umask: Option<u32>,
}

/// What the command line asks for, beside the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container's name.
    pub id: &'a str,
    /// The bundle's directory, absolute.
    pub bundle: &'a Path,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--rootless`: cgroup failures are tolerated.
    pub rootless: bool,
    /// `--strict`: what the specification does not allow is an error.
    pub strict: bool,
    /// `--cgroup-manager`, `--systemd-cgroup`.
    pub cgroup_manager: cgroup::Manager,
    /// The directory with the socket that the container reports its readiness to, see sd_notify(3).
    pub notify_directory: Option<&'a Path>,
    /// Variables that the runtime adds to the program's environment.
    pub environment: &'a [String],
}

/// Everything that create and start will do, decided.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The namespaces of the container.
    pub namespaces: Namespaces,
    /// The cgroup and its limits.
    pub cgroup: CgroupPlan,
    /// The share of cache and memory bandwidth.
    pub intel_rdt: Option<IntelRdt>,
    /// The network devices of the host that it gets.
    pub net_devices: Vec<NetDevice>,
    /// The file tree.
    pub rootfs: Rootfs,
    /// Kernel parameters.
    pub sysctls: Vec<Sysctl>,
    /// The hooks.
    pub hooks: Hooks,
    /// What annotations ask for.
    pub annotations: Annotations,
    /// The program; none if the configuration has no `process`, and then the container is never started.
    pub program: Option<Program>,
    /// The name of the container's session keyring; none with `--no-new-keyring`.
    pub keyring: Option<String>,
    /// What to tell the user that is no reason to fail.
    pub warnings: Vec<String>,
}

/// The program that init or exec becomes: the same for both.
#[derive(Debug, Clone)]
pub struct Program {
    /// Who it is.
    pub identity: Identity,
    /// Its limits.
    pub limits: Limits,
    /// The filter on its system calls.
    pub seccomp: Option<seccomp::Filter>,
    /// Standard streams are a new pty.
    pub terminal: bool,
    /// Rows and columns of the pty.
    pub console_size: Option<(u16, u16)>,
}

impl Host {
    /// Whether the runtime makes mounts for a container in a user namespace: it may see sources that the mapped root may
    /// not. Without privileges it has no right to mount, and init sees what its user sees.
    fn mounts_for(&self, namespaces: &Namespaces) -> bool {
        namespaces.has(namespaces::Kind::User) && self.user.0 == 0 && !self.cannot_mount
    }
}

impl Plan {
    /// Whether init may enter its namespaces while the runtime still limits it: all are new, so what it does there dies with it,
    /// and it needs nothing of what comes in between (maps of ids, a unit of systemd).
    pub fn enters_alone(&self) -> bool {
        let namespaces = &self.namespaces;
        let names_host = namespaces.hostname.is_some() || namespaces.domainname.is_some();
        namespaces.join.is_empty()
            && !namespaces.has(namespaces::Kind::User)
            && (!names_host || namespaces.creates(namespaces::Kind::Uts))
            && !matches!(self.cgroup.driver, cgroup::Driver::Systemd(_))
    }

    /// Decides everything for a new container. All that is wrong with the configuration is told at once.
    pub fn build(config: &Config, request: &Request<'_>, host: &Host) -> Result<Plan> {
        let (spec, mut problems, mut warnings) = (&config.spec, config.problems.clone(), config.warnings.clone());
        let problems = &mut problems;
        let linux = spec.linux().as_ref();
        rules::check(spec, request.strict, problems, &mut warnings);
        let annotations = annotations::plan(spec.annotations().as_ref(), problems, &mut warnings);
        check_mount_label(spec, host, problems);
        let namespaces = namespaces::plan(spec, problems);
        let cgroup_request = cgroup::Request {
            id: request.id,
            manager: request.cgroup_manager,
            annotations: spec.annotations().as_ref(),
            cgroups_path: linux.and_then(|linux| linux.cgroups_path().as_deref()),
            resources: linux.and_then(|linux| linux.resources().as_ref()),
            rootless: request.rootless || host.rootless,
            owner: delegation::owner(spec, &namespaces, host),
        };
        let cgroup = cgroup::plan(&cgroup_request, &host.cgroups, problems);
        let intel_rdt = linux
            .and_then(|linux| linux.intel_rdt().as_ref())
            .and_then(|rdt| intel_rdt::plan(rdt, request.id, host, problems, &mut warnings));
        let net_devices = net_devices::plan(linux, &namespaces, request.rootless || host.rootless, problems);
        let rootfs = rootfs::plan(spec, request, host, &namespaces, &cgroup, problems);
        let sysctls = sysctl::plan(linux, &namespaces, problems);
        let mut hooks = hooks::plan(spec.hooks().as_ref(), problems);
        annotations.redirect(&mut hooks);
        let process = spec.process().as_ref();
        let program = process
            .map(|process| Program::plan(process, linux, &annotations, &namespaces, host, problems, &mut warnings));
        if let (None, Some(policy)) = (&program, linux.and_then(|linux| linux.seccomp().as_ref())) {
            let extra = annotations.for_seccomp(host);
            seccomp::compile(policy, extra, seccomp::Architecture::NATIVE, problems); // for nobody, but wrong is wrong
        }
        let (program, rootfs) = with_request(program, rootfs, request, host.mounts_for(&namespaces));
        let keyring = (!request.no_new_keyring).then(|| format!("_ses.{}", request.id));
        match problems.is_empty() {
            true => Ok(Plan {
                namespaces,
                cgroup,
                intel_rdt,
                net_devices,
                rootfs,
                sysctls,
                hooks,
                annotations,
                program,
                keyring,
                warnings,
            }),
            false => Err(Error::config(std::mem::take(problems))),
        }
    }
}

impl Plan {
    /// Whether something is mounted that no mount namespace takes away with the container.
    pub fn mounts_on_host(&self) -> bool {
        let is_mount = |step: &Step<rootfs::What>| match &step.what {
            rootfs::What::Mount(mount) => mount.source != mounts::Source::Existing,
            rootfs::What::Node(node) => node.bind,
            _ => false,
        };
        self.rootfs.leave == rootfs::Leave::Chroot && self.rootfs.furnish.iter().any(is_mount)
    }

    /// Whether init needs a /proc of its own for what it writes there.
    pub fn needs_proc(&self) -> bool {
        let is_labelled = self.program.as_ref().is_some_and(|program| program.identity.label.is_some());
        !self.sysctls.is_empty() || is_labelled
    }
}

impl Program {
    /// Whether the filter is the last thing before the exec, and so as narrow as it can be: with no_new_privs it needs no
    /// right. One that notifies is loaded earlier, because its listener is still to be handed over.
    pub fn loads_filter_last(&self) -> bool {
        self.identity.no_new_privileges && self.seccomp.as_ref().is_some_and(|filter| !filter.notify)
    }

    /// Whether init can still give memory back when all but the exec is done: the filter that is in force by then allows it.
    pub fn may_release_late(&self) -> bool {
        self.loads_filter_last() || self.seccomp.as_ref().is_none_or(|filter| filter.allows_madvise)
    }

    /// Decides the program of a container, or one that joins it.
    pub fn plan(
        process: &Process,
        linux: Option<&Linux>,
        annotations: &Annotations,
        namespaces: &Namespaces,
        host: &Host,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Program {
        let policy = linux.and_then(|linux| linux.seccomp().as_ref());
        let native = seccomp::Architecture::NATIVE;
        let terminal = process.terminal().unwrap_or(false);
        Program {
            identity: Identity {
                keep_groups: annotations.keep_groups,
                ..identity::plan(process, namespaces, host, problems, warnings)
            },
            limits: limits::plan(process, linux, problems),
            seccomp: policy
                .and_then(|policy| seccomp::compile(policy, annotations.for_seccomp(host), native, problems)),
            terminal,
            // "Runtimes MUST ignore consoleSize if terminal is false or unset."
            console_size: process.console_size().filter(|_| terminal).and_then(|size| plan_size(size, problems)),
        }
    }
}

/// The kernel keeps 16 bits of each, see ioctl_tty(2) `TIOCSWINSZ`.
fn plan_size(size: oci_spec::runtime::Box, problems: &mut Vec<Problem>) -> Option<(u16, u16)> {
    let mut length = |name, length: u64| {
        let short = u16::try_from(length).ok();
        if short.is_none() {
            let at = ConfigPath::new("process.consoleSize").field(name);
            problems.push(Problem::new(at, format!("{length} is more than a terminal can have, {}", u16::MAX)));
        }
        short
    };
    let (rows, columns) = (length("height", size.height()), length("width", size.width()));
    rows.zip(columns)
}

/// What the command line and the caller's environment add: socket activation and readiness.
fn with_request(
    program: Option<Program>,
    mut rootfs: Rootfs,
    request: &Request<'_>,
    by_runtime: bool,
) -> (Option<Program>, Rootfs) {
    let mut variables = request.environment.to_vec();
    // The socket's directory can be had in a mount namespace only.
    if let Some(directory) = request.notify_directory.filter(|_| rootfs.leave != rootfs::Leave::Chroot) {
        rootfs.furnish.push(Step::new(mounts::bind(directory, "/run/notify", by_runtime), ConfigPath::new("mounts")));
        variables.push("NOTIFY_SOCKET=/run/notify/notify.sock".to_owned());
    }
    let program = program.map(|mut program| {
        let own = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        let added: Vec<String> = variables.iter().map(|variable| own(variable)).collect();
        program.identity.environment.retain(|variable| !added.contains(&own(&variable.to_string_lossy())));
        program
            .identity
            .environment
            .extend(variables.iter().filter_map(|variable| std::ffi::CString::new(variable.as_str()).ok()));
        program
    });
    (program, rootfs)
}

/// A label that this host cannot give is an error: the container would run without the confinement that it asks for.
fn check_mount_label(spec: &Spec, host: &Host, problems: &mut Vec<Problem>) {
    let Some(linux) = spec.linux() else { return };
    if linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()) && !host.selinux {
        problems.push(Problem::new("linux.mountLabel", "SELinux is not enabled on this host"));
    }
}

/// One step of a plan: plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<What> {
    /// What is done.
    pub what: What,
    /// Whether it is done, where only acting can tell.
    pub when: Condition,
    /// The place in the configuration that asks for it.
    pub at: ConfigPath,
}

/// What is known only when acting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Done in any case.
    Always,
    /// Done if the path is there in the container.
    TargetExists,
    /// Done if something else is there in the container by now; a link at its end is not followed.
    ContainerHas(&'static str),
}

impl<What> Step<What> {
    /// A step that is done in any case.
    pub const fn new(what: What, at: ConfigPath) -> Self {
        Step { what, when: Condition::Always, at }
    }
}

/// A place in `config.json`, such as `mounts[3].options` or `linux.seccomp.syscalls[2].args[0]`.
///
/// It is a small copyable value: each step of a plan carries one, and most are never printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigPath {
    segments: [(&'static str, Option<usize>); 3],
}

impl ConfigPath {
    /// A place such as `process.cwd`.
    pub const fn new(name: &'static str) -> Self {
        ConfigPath { segments: [(name, None), ("", None), ("", None)] }
    }

    /// An element of a list: `mounts` and 3 make `mounts[3]`.
    pub const fn index(mut self, index: usize) -> Self {
        let last = self.last();
        self.segments[last].1 = Some(index);
        self
    }

    /// A property of an element: `mounts[3]` and `options` make `mounts[3].options`. At most two deep.
    pub const fn field(mut self, name: &'static str) -> Self {
        let last = self.last();
        if last + 1 < self.segments.len() {
            self.segments[last + 1] = (name, None);
        }
        self
    }

    const fn last(&self) -> usize {
        let mut last = 0;
        while last + 1 < self.segments.len() && !self.segments[last + 1].0.is_empty() {
            last += 1;
        }
        last
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, index)) in self.segments.iter().enumerate().filter(|(_, (name, _))| !name.is_empty()) {
            if position > 0 {
                f.write_str(".")?;
            }
            f.write_str(name)?;
            if let Some(index) = index {
                write!(f, "[{index}]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ConfigPath;

    #[test]
    fn a_config_path_reads_as_in_json() {
        let rule = ConfigPath::new("linux.seccomp.syscalls").index(2);
        assert_eq!(rule.to_string(), "linux.seccomp.syscalls[2]");
        assert_eq!(rule.field("args").index(1).field("op").to_string(), "linux.seccomp.syscalls[2].args[1].op");
        assert_eq!(ConfigPath::new("process.cwd").to_string(), "process.cwd");
    }
}
