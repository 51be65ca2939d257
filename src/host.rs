//! What this machine offers, found once a command and only as far as a plan needs it.

use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Process};
use rustix::thread::CapabilitySet;

use crate::cgroup;
use crate::config::Config;
use crate::error::Result;
use crate::plan::{self, Host};
use crate::resctrl;
use crate::sys::{file, mount, process};

/// Looks at the machine. Security modules are asked only if a configuration wants a label.
pub fn probe(config: &Config) -> Result<Host> {
    let label = config.spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    let mut host = identity();
    find_rights(&mut host, config.spec.process().as_ref());
    host.cannot_mount = host.user.0 == 0 && wants_user_namespace(config) && cannot_mount();
    host.selinux = host.selinux || label.is_some() && selinux_is_enabled();
    host.cgroups = cgroup::probe()?;
    host.resctrl =
        config.spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref()).and_then(|_| resctrl::find());
    Ok(host)
}

/// Which capabilities we have to give, of those that a process wants, and which security modules are enabled, of those
/// that it wants a label from.
pub fn find_rights(host: &mut Host, process: Option<&Process>) {
    let Some(process) = process else { return };
    host.bounding_capabilities = bounding_capabilities(process);
    host.selinux = process.selinux_label().is_some() && selinux_is_enabled();
    host.apparmor = process.apparmor_profile().is_some()
        && fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|enabled| enabled.starts_with(b"Y"));
}

fn wants_user_namespace(config: &Config) -> bool {
    let namespaces = config.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

/// "EPERM: the caller does not have the CAP_SYS_ADMIN capability" (open_tree(2)) in the user namespace that owns its mount
/// namespace, which is asked before anything else. The copy is gone with its descriptor.
fn cannot_mount() -> bool {
    let copy = mount::clone_tree_at(rustix::fs::CWD, Path::new("/"), false);
    copy.is_err_and(|error| error.errno() == Some(rustix::io::Errno::PERM))
}

fn selinux_is_enabled() -> bool {
    fs::exists("/sys/fs/selinux/enforce").unwrap_or(false)
}

/// Who we are: enough for commands that make nothing.
pub fn identity() -> Host {
    let (_, user, group) = process::caller();
    let user = (user, group);
    let in_user_namespace = is_in_user_namespace();
    Host {
        in_user_namespace,
        rootless: user.0 != 0 || in_user_namespace,
        user,
        seccomp_receiver: std::env::var_os("RUN_OCI_SECCOMP_RECEIVER")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute()),
        ..Host::default()
    }
}

/// The first user namespace maps every id to itself in one line, see user_namespaces(7).
fn is_in_user_namespace() -> bool {
    // A longer map does not begin with this line.
    let map = file::read_line(Path::new("/proc/self/uid_map")).unwrap_or_default();
    !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// What root has it has been given by its bounding set, see capabilities(7), "Transformation of capabilities during
/// execve()": one call for all. The others are asked for one by one with PR_CAPBSET_READ, a fraction of what the kernel takes
/// to write /proc/self/status.
fn bounding_capabilities(process: &Process) -> u64 {
    let given = process.capabilities().iter();
    let sets = given.flat_map(|c| [c.bounding(), c.effective(), c.permitted(), c.inheritable(), c.ambient()]);
    let mut named = sets.flatten().flatten().fold(0, |mask, capability| mask | plan::identity::bit(*capability));
    let held = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    for number in (0..u64::BITS).filter(|number| held & (1 << number) == 0) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if named & (1 << number) != 0
            && !rustix::thread::capability_is_in_bounding_set(capability).is_ok_and(|is_in| is_in)
        {
            named &= !(1 << number);
        }
    }
    named
}
