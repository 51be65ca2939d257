//! What this machine offers, found once a command and only as far as a plan needs it.

use std::fs;

use crate::cgroup;
use crate::config::Config;
use crate::error::Result;
use crate::plan::Host;

/// Looks at the machine. Security modules are asked only if a configuration wants a label.
pub fn probe(config: &Config) -> Result<Host> {
    let process = config.spec.process().as_ref();
    let wants = |label: Option<&Option<String>>| label.is_some_and(|label| label.is_some());
    let mount_label = config.spec.linux().as_ref().map(|linux| linux.mount_label());
    let selinux = wants(process.map(|process| process.selinux_label())) || wants(mount_label);
    let apparmor = wants(process.map(|process| process.apparmor_profile()));
    let mut host = identity();
    host.cgroups = cgroup::probe()?;
    host.selinux = selinux && fs::exists("/sys/fs/selinux/enforce").unwrap_or(false);
    host.apparmor = apparmor && fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|yes| yes.starts_with(b"Y"));
    Ok(host)
}

/// Who we are: enough for commands that make nothing.
pub fn identity() -> Host {
    let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let in_user_namespace = is_in_user_namespace();
    Host {
        in_user_namespace,
        rootless: user.0 != 0 || in_user_namespace,
        user,
        bounding_capabilities: bounding_capabilities(),
        ..Host::default()
    }
}

/// The first user namespace maps every id to itself in one line, see user_namespaces(7).
fn is_in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

fn bounding_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(!0)
}
