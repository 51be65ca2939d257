//! ASSUME: become the user that the configuration names, with the rights that it grants and no other.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets as KernelSets};

use super::proc::Proc;
use crate::call;
use crate::error::{Context, Error, Result, errno_text};
use crate::plan::ConfigPath;
use crate::plan::identity::{CapabilitySets, Identity};
use crate::plan::limits::{Affinity, Limits, MOST_PROCESSORS, Rlimit};
use crate::plan::lists::Mask;
use crate::plan::steps::id;
use crate::sys::file::read_up_to;
use crate::sys::path::{may_execute, openat2_if_there};
use crate::sys::process;
use crate::trace;

/// What is executed in the end.
#[derive(Debug)]
pub struct Executable {
    path: CString,
    argv: Vec<CString>,
    environment: Vec<CString>,
}

impl Executable {
    /// The program's environment.
    pub fn environment(&self) -> &[CString] {
        &self.environment
    }

    /// execve(2). Returns only the failure.
    pub fn execute(&self) -> Result<std::convert::Infallible> {
        let argv: Vec<&CStr> = self.argv.iter().map(CString::as_c_str).collect();
        let environment: Vec<&CStr> = self.environment.iter().map(CString::as_c_str).collect();
        process::execve(&self.path, &argv, &environment)
    }
}

/// Scheduling, while we still have the rights to it. Resource limits are set by the runtime, which may have rights that
/// a user namespace has taken from us, and late: a low RLIMIT_NOFILE or RLIMIT_AS would hit init itself.
pub fn apply_limits(limits: &Limits) -> Result<()> {
    if let Some(attributes) = &limits.scheduler {
        trace::step(|| id::SCHEDULER, || process::set_scheduler(attributes))
            .step(|| "set the scheduler")
            .at(ConfigPath::new("process.scheduler"))?;
    }
    if let Some(priority) = limits.io_priority {
        trace::step(|| id::IO_PRIORITY, || process::set_io_priority(priority))
            .step(|| "set the I/O priority")
            .at(ConfigPath::new("process.ioPriority"))?;
    }
    if let Some(persona) = limits.personality {
        trace::step(|| id::PERSONALITY, || process::set_personality(persona))
            .step(|| "set the personality")
            .at(ConfigPath::new("linux.personality"))?;
    }
    if let Some(policy) = &limits.memory_policy {
        trace::step(|| id::MEMORY_POLICY, || process::set_memory_policy(policy))
            .step(|| "set the memory policy")
            .at(ConfigPath::new("linux.memoryPolicy"))
            .hint("the nodes must be there and allowed by linux.resources.cpu.mems; not every kernel has every mode")?;
    }
    Ok(())
}

/// The resource limits, by a process that has the runtime's rights; another asks the runtime (decision 0006).
pub fn set_rlimits(rlimits: &[Rlimit]) -> Result<()> {
    rlimits.iter().try_for_each(|limit| {
        let set = || process::set_rlimit(0, limit.resource, limit.soft, limit.hard);
        trace::step(|| id::rlimit(limit), set).step(|| format!("set {}", limit.name)).at(limit.at)
    })
}

/// The processors of a process in its cgroup. The container's init, and a joining process that nobody has said anything
/// of, gets all that its cpuset allows: since Linux 6.2 the kernel keeps the caller's choice across cpusets, and that
/// of a service manager or a `taskset` was made for the runtime, not for the container. As in runc, a refusal is no
/// reason to fail.
pub fn set_affinity(affinity: Option<&Affinity>) -> Result<()> {
    let Some(affinity) = affinity else {
        let _ = process::set_affinity(&Mask::words_of_ones(MOST_PROCESSORS / 64));
        return Ok(());
    };
    // "If omitted or empty, runtime SHOULD NOT change process' CPU affinity after the process is moved to container's
    // cgroup" (config.md, Linux Process).
    let Some(last) = &affinity.last else { return Ok(()) };
    process::set_affinity(last)
        .step(|| "set the final CPU affinity")
        .at(ConfigPath::new("process.execCPUAffinity").field("final"))
        .hint("at least one of the processors must be there and allowed by the container's cpuset")
}

/// The label that the program gets at exec.
pub fn set_label(identity: &Identity, proc: Option<&Proc>) -> Result<()> {
    let (Some(label), Some(proc)) = (&identity.label, proc) else { return Ok(()) };
    let write = || match proc.write(&format!("thread-self/{}", label.file), &label.value) {
        // Before Linux 5.8 AppArmor shared the file of the other modules.
        Err(error) if error.errno() == Some(Errno::NOENT) => proc.write("thread-self/attr/exec", &label.value),
        written => written,
    };
    trace::step(|| id::LABEL, write).step(|| "set the security label of the program").at(label.at)
}

/// The standard streams become the user's, so that it can open /dev/stdout and its like; what cannot change hands (a
/// read-only file system, an unmapped owner) is left alone. The host's null device gives way to the container's own,
/// which leads nowhere else and which criu can save.
pub fn own_stdio(identity: &Identity) {
    let mut null = None;
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let replace: [fn(&OwnedFd) -> rustix::io::Result<()>; 3] = [
        |null| rustix::stdio::dup2_stdin(null),
        |null| rustix::stdio::dup2_stdout(null),
        |null| rustix::stdio::dup2_stderr(null),
    ];
    for (stream, replace) in streams.into_iter().zip(replace) {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        if is_null_device(&stat) {
            if let Some(null) = null.get_or_insert_with(open_null_device) {
                let _ = replace(null);
            }
        } else if stat.st_uid != identity.uid {
            let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(identity.uid)), None);
        }
    }
}

fn is_null_device(stat: &rustix::fs::Stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// The container's /dev/null, if it has one: by what it is, not by its name (CVE-2025-31133).
fn open_null_device() -> Option<OwnedFd> {
    let (flags, resolve) = (OFlags::RDWR | OFlags::NOCTTY, ResolveFlags::NO_SYMLINKS);
    let opened = openat2_if_there(CWD, Path::new("/dev/null"), flags, Mode::empty(), resolve).ok()??;
    rustix::fs::fstat(&opened).is_ok_and(|stat| is_null_device(&stat)).then_some(opened)
}

/// HOME from the container's /etc/passwd, as runc has it; `/` for a user that is not listed.
pub fn find_home(identity: &Identity) -> Option<CString> {
    if !identity.find_home {
        return None;
    }
    let home = read_passwd().and_then(|text| home_of(&text, identity.uid)).unwrap_or_else(|| "/".to_owned());
    CString::new(format!("HOME={home}")).ok()
}

/// A file of the image: it may be anything, so it is opened without blocking and read up to a limit.
fn read_passwd() -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open("/etc/passwd", flags, Mode::empty()).ok()?;
    let is_file = rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
    if !is_file {
        return None;
    }
    let text = read_up_to(&file, 1 << 20).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// passwd(5): name, password, uid, gid, comment, directory, shell.
fn home_of(text: &str, uid: u32) -> Option<String> {
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut of_user = fields.filter(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid));
    of_user.find_map(|fields| fields.get(5).filter(|home| !home.is_empty()).map(|home| (*home).to_owned()))
}

/// Enters the working directory as root, as one that only root may pass through is fine. False if root may not, which
/// happens on network file systems: the user may then.
pub fn enter_directory(identity: &Identity) -> Result<bool> {
    match enter(&identity.cwd) {
        Err(error) if matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM)) => Ok(false),
        entered => entered.map(|()| true),
    }
}

/// Enters the working directory as the user.
pub fn enter_directory_as_user(identity: &Identity) -> Result<()> {
    enter(&identity.cwd)
}

/// chdir(2), then a look at where that led: a directory that is not below the root, reached through a leaked
/// descriptor, has no path (CVE-2024-21626).
fn enter(cwd: &Path) -> Result<()> {
    let entered = || {
        call!("chdir"(cwd.display()) => rustix::process::chdir(cwd))?;
        let here = call!("getcwd"() => rustix::process::getcwd(Vec::new()))?;
        if here.to_bytes().first() == Some(&b'/') {
            return Ok(());
        }
        Err(Error::new(format!("{} is outside of the container's root", cwd.display())))
    };
    entered().step(|| format!("enter the working directory {}", cwd.display())).at(ConfigPath::new("process.cwd"))
}

/// Groups, ids, capabilities, no_new_privs: after this nothing is left but what the configuration grants.
pub fn become_user(identity: &Identity) -> Result<()> {
    let user = ConfigPath::new("process.user");
    let bounding = identity.capabilities.bounding;
    trace::step(|| id::BOUNDING, || drop_bounding(bounding)).at("process.capabilities.bounding")?;
    // Ids that become non-zero would take the permitted capabilities along, see capabilities(7).
    let ids_become_others = identity.uid != 0;
    if ids_become_others {
        call!("prctl"("PR_SET_KEEPCAPS", 1) => rustix::thread::set_keep_capabilities(true))?;
    }
    trace::step(|| id::USER, || set_ids(identity)).step(|| "become the user").at(user)?;
    if ids_become_others {
        call!("prctl"("PR_SET_KEEPCAPS", 0) => rustix::thread::set_keep_capabilities(false))?;
    }
    rustix::process::umask(Mode::from_raw_mode(identity.umask));
    let set = trace::step(|| id::CAPABILITIES, || set_capabilities(&identity.capabilities));
    set.step(|| "set the capabilities").at("process.capabilities")?;
    if identity.no_new_privileges {
        let set = || call!("prctl"("PR_SET_NO_NEW_PRIVS", 1) => rustix::thread::set_no_new_privs(true));
        trace::step(|| id::NO_NEW_PRIVS, set)
            .step(|| "set no_new_privs")
            .at(ConfigPath::new("process.noNewPrivileges"))?;
    }
    Ok(())
}

/// Gives up every right: nothing will be executed.
pub fn become_nobody() -> Result<()> {
    drop_bounding(0)?;
    set_capabilities(&CapabilitySets::default()).step(|| "drop the capabilities")?;
    call!("prctl"("PR_SET_NO_NEW_PRIVS", 1) => rustix::thread::set_no_new_privs(true))
}

/// Drops every capability that is not wanted from the bounding set.
fn drop_bounding(wanted: u64) -> Result<()> {
    for number in (0..u64::BITS).filter(|number| wanted & 1 << number == 0) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Beyond the last capability of this kernel.
            Err(Errno::INVAL) => break,
            // Without CAP_SETPCAP, but there is nothing to drop.
            Err(Errno::PERM) if rustix::thread::capability_is_in_bounding_set(capability) == Ok(false) => {}
            dropped => call!("prctl"("PR_CAPBSET_DROP", number) => dropped).step(|| "drop a capability")?,
        }
    }
    Ok(())
}

fn set_ids(identity: &Identity) -> Result<()> {
    if !identity.keep_groups {
        set_groups(identity)?;
    }
    let gid = Gid::from_raw(identity.gid);
    call!("setresgid"(identity.gid) => rustix::thread::set_thread_res_gid(gid, gid, gid))?;
    let uid = Uid::from_raw(identity.uid);
    call!("setresuid"(identity.uid) => rustix::thread::set_thread_res_uid(uid, uid, uid))
}

fn set_groups(identity: &Identity) -> Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // A user namespace of an unprivileged user denies setgroups; no groups are wanted and none is left that counts.
        // Where it is a filter that denies it, the groups of our caller would stay.
        Err(Errno::PERM) if groups.is_empty() && has_no_foreign_group(identity)? => Ok(()),
        set => call!("setgroups"(format_args!("{:?}", identity.groups)) => set),
    }
}

/// Whether every supplementary group is the process's own or unmapped, see the overflow ids of user_namespaces(7).
fn has_no_foreign_group(identity: &Identity) -> Result<bool> {
    const OVERFLOW: u32 = 65534;
    let groups = call!("getgroups"() => rustix::process::getgroups())?;
    Ok(groups.iter().all(|group| [OVERFLOW, identity.gid].contains(&group.as_raw())))
}

fn set_capabilities(wanted: &CapabilitySets) -> Result<()> {
    let set = CapabilitySet::from_bits_retain;
    let sets = KernelSets {
        effective: set(wanted.effective),
        permitted: set(wanted.permitted),
        inheritable: set(wanted.inheritable),
    };
    call!("capset"(format_args!("{wanted:x?}")) => rustix::thread::set_capabilities(None, sets))?;
    // Without inheritable ones none is left: "if either the corresponding permitted or inheritable capability is lowered",
    // capabilities(7).
    if wanted.inheritable != 0 {
        call!("prctl"("PR_CAP_AMBIENT_CLEAR_ALL") => rustix::thread::clear_ambient_capability_set())?;
    }
    for number in (0..u64::BITS).filter(|number| wanted.ambient & 1 << number != 0) {
        let raised = rustix::thread::configure_capability_in_ambient_set(set(1 << number), true);
        call!("prctl"("PR_CAP_AMBIENT_RAISE", number) => raised)?;
    }
    Ok(())
}

/// Finds argv[0] as the user that will execute it, as execvp(3) would. Engines know the words of these errors.
pub fn find_executable(identity: &Identity, home: Option<CString>) -> Result<Executable> {
    let name = identity.argv[0].as_c_str();
    let found = if name.to_bytes().contains(&b'/') {
        check(name).map(|()| name.to_owned()).map_err(|errno| refusal(name, errno))
    } else {
        search(name, &identity.environment)
    };
    let path = found.step(|| "find the program").at("process.args[0]")?;
    let mut environment = identity.environment.clone();
    if let Some(home) = home {
        environment.retain(|variable| !variable.to_bytes().starts_with(b"HOME="));
        environment.push(home);
    }
    Ok(Executable { path, argv: identity.argv.clone(), environment })
}

fn search(name: &CStr, environment: &[CString]) -> Result<CString> {
    let path = environment.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    let mut refused = None;
    // The default of execvp(3) without PATH.
    for directory in path.unwrap_or(b"/bin:/usr/bin").split(|byte| *byte == b':') {
        let directory =
            if directory.is_empty() { Path::new(".") } else { Path::new(std::ffi::OsStr::from_bytes(directory)) };
        let candidate: PathBuf = directory.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let Ok(candidate) = CString::new(candidate.into_os_string().into_vec()) else { continue };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => refused = Some(candidate),
            Err(_) => {}
        }
    }
    let shown = name.to_string_lossy();
    Err(match refused {
        Some(_) => refusal(name, Errno::ACCESS),
        None => Error::new(format!("exec: {shown:?}: executable file not found in $PATH")),
    })
}

/// Whether the path can be executed as far as can be told without doing it.
fn check(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno::ISDIR);
    }
    may_execute(path)
}

fn refusal(name: &CStr, errno: Errno) -> Error {
    let shown = name.to_string_lossy();
    match errno {
        Errno::ACCESS => Error::new(format!("exec: {shown:?}: permission denied")),
        Errno::ISDIR => Error::new(format!("exec: {shown:?}: is a directory: permission denied")),
        errno => Error::new(format!("exec: {shown:?}: stat {shown}: {}", errno_text(errno.raw_os_error()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_of_a_user() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1000::/home/app:/bin/sh\n";
        assert_eq!(home_of(text, 1000).as_deref(), Some("/home/app"));
        assert_eq!(home_of(text, 7), None);
    }
}
