//! Who the program is: arguments, environment, directory, user, groups, capabilities, labels.

use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process, User};

use super::namespaces::{Kind, Namespaces};
use super::{ConfigPath, Host};
use crate::error::Problem;

/// The program and its identity, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The program's name or path, then its arguments.
    pub argv: Vec<CString>,
    /// The environment, each `NAME=value`.
    pub environment: Vec<CString>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The user, in the container's user namespace.
    pub uid: u32,
    /// The group, in the container's user namespace.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Those of the caller are kept instead.
    pub keep_groups: bool,
    /// The file mode creation mask.
    pub umask: u32,
    /// The five capability sets.
    pub capabilities: CapabilitySets,
    /// See prctl(2) `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// An AppArmor profile or a SELinux label for the next exec.
    pub label: Option<Label>,
    /// HOME is not set, so the user's directory in the container's /etc/passwd is used.
    pub find_home: bool,
}

/// A label that a security module gives to the program at exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file in `/proc/self/attr` to write to.
    pub file: &'static str,
    /// What to write.
    pub value: String,
    /// Its place in the configuration.
    pub at: ConfigPath,
}

/// Capability sets as bit masks, see capabilities(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// The capabilities by number, see linux/capability.h. `features` lists the same table.
pub const CAPABILITIES: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The name as `config.json` has it.
pub fn capability_name(capability: Capability) -> String {
    format!("CAP_{capability}")
}

/// Decides the program and its identity. `process` is `process` of the configuration, or what exec was given.
pub fn plan(
    process: &Process,
    namespaces: &Namespaces,
    host: &Host,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Identity {
    let at = ConfigPath::new("process");
    let argv = strings(process.args().as_deref().unwrap_or_default(), at.field("args"), problems);
    if argv.is_empty() {
        problems.push(Problem::new(at.field("args"), "args must not be empty"));
    }
    let variables = process.env().as_deref().unwrap_or_default();
    for (index, variable) in variables.iter().enumerate().filter(|(_, variable)| !variable.contains('=')) {
        problems.push(Problem::new(at.field("env").index(index), format!("must be NAME=value, not {variable:?}")));
    }
    let latest = latest_of_each_name(variables);
    let user = process.user();
    check_ids(user, at.field("user"), problems);
    Identity {
        argv,
        environment: strings(&latest, at.field("env"), problems),
        cwd: plan_cwd(process, problems),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        keep_groups: false,
        // "If unspecified, the umask should not be changed from the calling process' umask" (config.md, User). Other
        // runtimes set 022 whatever the engine's is, and images rely on it; see decision 0011.
        umask: user.umask().or(host.umask).unwrap_or(0o022),
        capabilities: plan_capabilities(process.capabilities().as_ref(), namespaces, host, warnings),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        label: plan_label(process, host, problems),
        find_home: !latest.iter().any(|variable| variable.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())),
    }
}

/// -1 means "no change" to setresuid(2): the program would stay root.
fn check_ids(user: &User, at: ConfigPath, problems: &mut Vec<Problem>) {
    for (name, id) in [("uid", user.uid()), ("gid", user.gid())] {
        if id == u32::MAX {
            problems.push(Problem::new(at.field(name), format!("{id} is no id: it means no change to the kernel")));
        }
    }
    for (index, _) in user.additional_gids().iter().flatten().enumerate().filter(|(_, id)| **id == u32::MAX) {
        problems.push(Problem::new(at.field("additionalGids").index(index), format!("{} is no id", u32::MAX)));
    }
    if user.umask().is_some_and(|mask| mask > 0o777) {
        problems.push(Problem::new(at.field("umask"), "must be from 0 to 511, which is 0777 in octal"));
    }
}

fn strings(list: &[String], at: ConfigPath, problems: &mut Vec<Problem>) -> Vec<CString> {
    let mut strings = Vec::with_capacity(list.len() + 4);
    for (index, string) in list.iter().enumerate() {
        match CString::new(string.as_str()) {
            Ok(string) => strings.push(string),
            Err(_) => problems.push(Problem::new(at.index(index), "holds a NUL byte")),
        }
    }
    strings
}

/// getenv(3) finds the first of two variables of one name, engines that append mean the last.
fn latest_of_each_name(variables: &[String]) -> Vec<String> {
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    let is_latest = |index: usize| !variables[index + 1..].iter().any(|later| name(later) == name(&variables[index]));
    (0..variables.len()).filter(|index| is_latest(*index)).map(|index| variables[index].clone()).collect()
}

fn plan_cwd(process: &Process, problems: &mut Vec<Problem>) -> PathBuf {
    let cwd = process.cwd();
    if cwd.as_os_str().is_empty() {
        problems.push(Problem::new("process.cwd", "Cwd property must not be empty"));
    } else if cwd.is_relative() {
        // "This value MUST be an absolute path." (config.md, Process)
        problems.push(Problem::new("process.cwd", "Cwd must be an absolute path"));
    }
    cwd.clone()
}

fn plan_capabilities(
    given: Option<&LinuxCapabilities>,
    namespaces: &Namespaces,
    host: &Host,
    warnings: &mut Vec<String>,
) -> CapabilitySets {
    // Whoever makes or joins a user namespace has every capability in it.
    let grantable = if namespaces.has(Kind::User) { !0 } else { host.bounding_capabilities };
    let Some(given) = given else { return CapabilitySets::default() };
    let mut mask = |name: &str, set: &Option<Capabilities>, possible: u64, reason: &str| {
        let wanted = set.iter().flatten().fold(0, |mask, capability| mask | bit(*capability));
        for (refused, reason) in [(!grantable, "cannot be granted here"), (grantable & !possible, reason)] {
            let refused = names(wanted & refused).collect::<Vec<_>>().join(" ");
            if !refused.is_empty() {
                // "Any value which … cannot be granted otherwise MUST be logged as a warning" (config.md, Linux Process).
                warnings.push(format!("process.capabilities.{name}: ignored, as it {reason}: {refused}"));
            }
        }
        wanted & grantable & possible
    };
    // What the kernel takes of one set depends on others, see capabilities(7).
    let bounding = mask("bounding", given.bounding(), !0, "");
    let permitted = mask("permitted", given.permitted(), !0, "");
    let effective = mask("effective", given.effective(), permitted, "is not in the permitted set");
    let inheritable = mask("inheritable", given.inheritable(), bounding, "is not in the bounding set");
    let both = permitted & inheritable;
    let ambient = mask("ambient", given.ambient(), both, "is not in both the permitted and the inheritable set");
    CapabilitySets { bounding, effective, permitted, inheritable, ambient }
}

/// The bit of a capability in a mask.
pub fn bit(capability: Capability) -> u64 {
    CAPABILITIES.iter().position(|known| *known == capability).map_or(0, |number| 1 << number)
}

fn names(mask: u64) -> impl Iterator<Item = String> {
    let chosen = CAPABILITIES.iter().enumerate().filter(move |(number, _)| mask & (1 << number) != 0);
    chosen.map(|(_, capability)| capability_name(*capability))
}

/// A label whose security module is not there is an error: the container would run without the confinement it asks for.
fn plan_label(process: &Process, host: &Host, problems: &mut Vec<Problem>) -> Option<Label> {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    let apparmor = given(process.apparmor_profile());
    let selinux = given(process.selinux_label());
    if apparmor.is_some() && !host.apparmor {
        problems.push(Problem::new("process.apparmorProfile", "AppArmor is not enabled on this host"));
    }
    if selinux.is_some() && !host.selinux {
        problems.push(Problem::new("process.selinuxLabel", "SELinux is not enabled on this host"));
    }
    match (apparmor, selinux) {
        (Some(profile), _) => Some(Label {
            file: "attr/apparmor/exec",
            value: format!("exec {profile}"),
            at: ConfigPath::new("process.apparmorProfile"),
        }),
        (None, Some(label)) => {
            Some(Label { file: "attr/exec", value: label, at: ConfigPath::new("process.selinuxLabel") })
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_kernels_numbers() {
        assert_eq!(bit(Capability::Chown), 1);
        assert_eq!(bit(Capability::SysAdmin), 1 << 21);
        assert_eq!(bit(Capability::CheckpointRestore), 1 << 40);
        assert_eq!(names(1 << 24 | 1).collect::<Vec<_>>(), ["CAP_CHOWN", "CAP_SYS_RESOURCE"]);
    }

    #[test]
    fn the_last_variable_of_a_name_counts() {
        let variables = ["A=1", "B=2", "A=3"].map(str::to_owned);
        assert_eq!(latest_of_each_name(&variables), ["B=2", "A=3"]);
    }
}
