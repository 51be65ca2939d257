//! Making, replacing, signalling and watching processes.
//!
//! minicon never has a second thread (design rule 10), which is what makes a raw clone3(2) sound here:
//! the child gets a copy of the only thread, with every lock in a state that this thread knows.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use super::{last_errno, outcome};
use crate::call;
use crate::error::Result;
use crate::plan::limits::SchedulerAttributes;
use crate::plan::lists::Mask;
use crate::plan::memory_policy::MemoryPolicy;

/// Which side of a clone the caller is on.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller, with the new process as it sees it.
    Parent(Child),
}

/// A process that we made: its pid in our pid namespace and a descriptor that cannot be recycled.
#[derive(Debug)]
pub struct Child {
    /// The pid, see getpid(2).
    pub pid: i32,
    /// The pidfd, see pidfd_open(2).
    pub pidfd: OwnedFd,
}

/// `CLONE_INTO_CGROUP` of linux/sched.h, whose constant in the libc crate is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The arguments of clone3(2) that minicon uses; the kernel reads the leading 88 bytes of `struct clone_args`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// clone3(2) without shared memory: a fork(2) with namespaces, into a cgroup v2 directory if one is given.
/// `flags` are `CLONE_*` bits; with `CLONE_PARENT` the new process becomes the caller's sibling.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let sibling = flags & libc::CLONE_PARENT as u64 != 0;
    let mut arguments = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: if sibling { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if let Some(directory) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = directory.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live across the call and have the kernel's layout. Without CLONE_VM the child runs on a
    // copy of this memory, and there is only one thread, so no lock is held by a thread that the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut arguments), size_of::<CloneArgs>()) };
    match call!("clone3"(format_args!("{flags:#x}")) => outcome(pid))? {
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel has just stored a new descriptor that nobody else owns.
        pid => Ok(Cloned::Parent(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })),
    }
}

/// execve(2). Returns only the failure.
pub fn execve(program: &CStr, argv: &[&CStr], envp: &[&CStr]) -> Result<std::convert::Infallible> {
    let (argv, envp) = (null_terminated(argv), null_terminated(envp));
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    call!("execve"(program.to_string_lossy()) => Err(last_errno()))
}

/// execveat(2) of an open file (`AT_EMPTY_PATH`). Returns only the failure.
pub fn execve_fd(program: BorrowedFd<'_>, argv: &[&CStr], envp: &[&CStr]) -> Result<std::convert::Infallible> {
    let (argv, envp) = (null_terminated(argv), null_terminated(envp));
    // SAFETY: as for execve; the empty path is a valid C string.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    call!("execveat"(super::Fd(&program)) => Err(last_errno()))
}

fn null_terminated(strings: &[&CStr]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// _exit(2): ends this process at once, without running destructors of a copied parent.
pub fn exit(status: i32) -> ! {
    // SAFETY: never returns and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Marks every descriptor from `first` on as close-on-exec: close_range(2) with `CLOSE_RANGE_CLOEXEC` (Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: changes only the close-on-exec flag of descriptors.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    match outcome(done) {
        Err(Errno::INVAL | Errno::NOSYS) => close_on_exec_by_listing(first),
        done => call!("close_range"(first, "CLOEXEC") => done).map(drop),
    }
}

/// The way before Linux 5.11: every open descriptor, as /proc lists them.
fn close_on_exec_by_listing(first: u32) -> Result<()> {
    let listing = std::fs::read_dir("/proc/self/fd").map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    for entry in call!("open"("/proc/self/fd") => listing)?.flatten() {
        if let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()).filter(|fd| *fd >= first)
        {
            // SAFETY: sets a flag of a descriptor number; a number that is not open makes the call fail with EBADF.
            unsafe { libc::fcntl(fd as RawFd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Closes every descriptor but these, close_range(2): what a clone has inherited and its part of the work has no use for.
/// A copy of a lock, or of the other end of a channel, would keep it open for as long as we live.
///
/// Only for a process that leaves its objects behind: nothing that owns another descriptor may be dropped after it.
pub fn close_all_but(kept: &[RawFd]) {
    let mut kept: Vec<u32> = kept.iter().map(|fd| *fd as u32).collect();
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept.into_iter().chain([u32::MAX]) {
        if first < fd {
            // SAFETY: descriptors only; the caller promises that no object that owns one of them is used or dropped.
            let closed = outcome(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) });
            if closed.is_err() && fd != u32::MAX {
                // Before Linux 5.9. The range before a kept descriptor is short.
                for fd in first..fd {
                    // SAFETY: as above.
                    unsafe { libc::close(fd as RawFd) };
                }
            }
        }
        first = fd.saturating_add(1);
    }
}

/// Clears close-on-exec of the descriptors `3..3 + count`, which the caller asked to hand to the container.
/// One of them that is not open is the caller's mistake: EBADF.
pub fn keep_on_exec(count: u32) -> Result<()> {
    for fd in 3..3 + count as RawFd {
        // SAFETY: changes a flag of a descriptor that this process inherited.
        let done = unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
        call!("fcntl"(fd, "F_SETFD", 0) => outcome(done.into()))?;
    }
    Ok(())
}

/// Whether a descriptor number is open and came through our exec: what we opened ourselves is close-on-exec.
pub fn is_inherited(fd: RawFd) -> bool {
    // SAFETY: reads a flag of a descriptor number.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags != -1 && flags & libc::FD_CLOEXEC == 0
}

/// Whether a descriptor number is open, see fcntl(2) `F_GETFD`.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: reads a flag of a descriptor number.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Opens /dev/null for each standard stream that the caller has closed, so that no file of ours takes its number and is
/// then written to by mistake. The standard library does this in a Rust `main`, which minicon does not have.
pub fn open_missing_stdio() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the pointer and the length are those of one array. poll(2) without a wait tells which are not open.
    unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    for stream in streams {
        if stream.revents & libc::POLLNVAL != 0 {
            // SAFETY: the path is a C string. open(2) takes the lowest number that is free, which is this one.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Lets go of the program's pages, madvise(2) `MADV_DONTNEED`: what is needed again comes back from its file. A hint, so that a
/// failure is none.
pub fn release_code() {
    unsafe extern "C" {
        // Set by the linker: where the program's code and constants begin and end, see end(3).
        static __executable_start: u8;
        static etext: u8;
    }
    let (start, end) = (&raw const __executable_start, &raw const etext);
    // SAFETY: between these two there are pages of a file, read-only, which the kernel reads again; nothing is lost.
    unsafe { libc::madvise(start.cast_mut().cast(), end as usize - start as usize, libc::MADV_DONTNEED) };
}

/// Sends a signal through a pidfd, so that a recycled pid is never hit: pidfd_send_signal(2).
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: a null siginfo asks the kernel to fill one in, as kill(2) does.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, ptr::null::<libc::siginfo_t>(), 0) };
    call!("pidfd_send_signal"(signal) => outcome(done)).map(drop)
}

/// kill(2) for one process.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: sends a signal and touches no memory.
    let done = unsafe { libc::kill(pid, signal) };
    call!("kill"(pid, signal) => outcome(done.into())).map(drop)
}

/// Who called us: the real user, the effective user and the effective group that we were executed with, getauxval(3). No
/// system call, and for the runtime, which never changes them, the answer of getuid(2) and its like.
pub fn caller() -> (u32, u32, u32) {
    let value = |kind: libc::c_ulong| {
        // SAFETY: reads what the kernel has laid beside the arguments.
        unsafe { libc::getauxval(kind) as u32 }
    };
    (value(libc::AT_UID), value(libc::AT_EUID), value(libc::AT_EGID))
}

/// This process's file mode creation mask: umask(2) tells it only by setting another.
pub fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// Restores what exec(2) would hand on: the default action of SIGPIPE, which we ignore, and an empty signal mask.
pub fn restore_signals() {
    // SAFETY: installs default actions and an empty mask; there are no handlers of ours that could race.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut empty: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut empty);
        libc::sigprocmask(libc::SIG_SETMASK, &empty, ptr::null_mut());
    }
}

/// Ignores SIGPIPE: a peer that went away is an error to report, not a reason to die.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is a valid action for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Blocks every signal and returns a descriptor to read them from: signalfd(2).
pub fn signal_fd() -> Result<OwnedFd> {
    // SAFETY: sigfillset initialises the set.
    let all = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        all
    };
    block_and_watch(&all)
}

/// The same for these signals alone.
pub fn signal_fd_of(signals: &[i32]) -> Result<OwnedFd> {
    // SAFETY: sigemptyset initialises the set before signals are added.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    };
    block_and_watch(&set)
}

fn block_and_watch(signals: &libc::sigset_t) -> Result<OwnedFd> {
    // SAFETY: the set lives across both calls; no old mask is asked for.
    let fd = unsafe {
        libc::sigprocmask(libc::SIG_BLOCK, signals, ptr::null_mut());
        libc::signalfd(-1, signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    let fd = call!("signalfd"() => outcome(fd.into()))?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Reads the numbers of the signals that wait on a signalfd(2), without blocking.
pub fn pending_signals(signals: &OwnedFd) -> Vec<i32> {
    const RECORD: usize = size_of::<libc::signalfd_siginfo>();
    let mut buffer = [0u8; 8 * RECORD];
    let length = rustix::io::read(signals, &mut buffer).unwrap_or(0);
    // The first member of struct signalfd_siginfo is the signal's number, a u32.
    buffer[..length].chunks_exact(RECORD).map(|one| i32::from_ne_bytes([one[0], one[1], one[2], one[3]])).collect()
}

/// Joins a new session keyring of this name, so that the container does not share the caller's: keyctl(2).
/// The keyring is made searchable by its owner's other processes, as exec joins it later.
pub fn join_session_keyring(name: &CStr) -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    const KEYCTL_SETPERM: libc::c_int = 5;
    const KEYCTL_DESCRIBE: libc::c_int = 6;
    const USER_SEARCH: u32 = 0x0008_0000;
    // SAFETY: the name is a C string that outlives the call.
    let key = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    let key = call!("keyctl"("KEYCTL_JOIN_SESSION_KEYRING", name.to_string_lossy()) => outcome(key))?;
    let mut description = [0u8; 256];
    // SAFETY: the buffer is writable for its whole length.
    let length =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, key, description.as_mut_ptr(), description.len()) };
    // "keyring;uid;gid;permissions;name", permissions in hexadecimal; see keyctl_describe(3).
    let text = String::from_utf8_lossy(&description[..usize::try_from(length).unwrap_or(0).min(description.len())]);
    if let Some(permissions) = text.split(';').nth(3).and_then(|mask| u32::from_str_radix(mask, 16).ok()) {
        // SAFETY: changes the permissions of our own keyring.
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, permissions | USER_SEARCH) };
    }
    Ok(())
}

/// What a namespace descriptor is, as a `CLONE_NEW*` bit: ioctl_ns(2) `NS_GET_NSTYPE`.
pub fn namespace_type(fd: &OwnedFd) -> Result<u32> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request takes no argument.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    call!("ioctl"(super::Fd(fd), "NS_GET_NSTYPE") => outcome(kind.into())).map(|kind| kind as u32)
}

/// setns(2) into a namespace, or with a pidfd into those of a process; `kinds` are `CLONE_NEW*` bits.
pub fn setns(fd: impl AsFd, kinds: u32) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: changes the namespaces of the only thread.
    let done = unsafe { libc::setns(fd.as_raw_fd(), kinds as libc::c_int) };
    call!("setns"(super::Fd(&fd), format_args!("{kinds:#x}")) => outcome(done.into())).map(drop)
}

/// unshare(2); `kinds` are `CLONE_NEW*` bits.
pub fn unshare(kinds: u32) -> Result<()> {
    // SAFETY: only namespace bits are passed, so no memory or descriptor table is affected.
    let done = unsafe { libc::unshare(kinds as libc::c_int) };
    call!("unshare"(format_args!("{kinds:#x}")) => outcome(done.into())).map(drop)
}

/// Not dumpable: no process of a namespace that we enter can trace us or look through our /proc entries, whatever its
/// capabilities (CVE-2016-9962); see PR_SET_DUMPABLE(2const). exec(2) ends it.
pub fn hide() -> Result<()> {
    let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    call!("prctl"("PR_SET_DUMPABLE", 0) => hidden)
}

/// sethostname(2).
pub fn set_hostname(name: &str) -> Result<()> {
    // SAFETY: pointer and length describe the string.
    let done = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    call!("sethostname"(name) => outcome(done.into())).map(drop)
}

/// setdomainname(2).
pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: pointer and length describe the string.
    let done = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    call!("setdomainname"(name) => outcome(done.into())).map(drop)
}

/// prlimit64(2): sets one resource limit (`RLIMIT_*`) of a process, in the units of getrlimit(2).
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the new limit lives across the call, the old one is not asked for.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, ptr::from_ref(&limit), ptr::null::<u8>()) };
    call!("prlimit64"(pid, resource, soft, hard) => outcome(done)).map(drop)
}

/// Makes a terminal the controlling one of this session: ioctl_tty(2) `TIOCSCTTY`.
pub fn set_controlling_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the request takes an integer argument.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    call!("ioctl"(super::Fd(&terminal), "TIOCSCTTY") => outcome(done.into())).map(drop)
}

/// The descriptor with this number, which the caller inherited and knows to be open.
pub fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: used once per number, for descriptors that the parent handed over (LISTEN_FDS, --preserve-fds).
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// dup2(2) onto stdin, stdout and stderr.
pub fn use_as_stdio(fd: BorrowedFd<'_>) -> Result<()> {
    for number in 0..3 {
        // SAFETY: replaces the standard descriptors, which no Rust object of ours owns.
        let done = unsafe { libc::dup2(fd.as_raw_fd(), number) };
        call!("dup2"(super::Fd(&fd), number) => outcome(done.into()))?;
    }
    Ok(())
}

/// dup2(2) onto the numbers from `first` on, inherited across exec, whatever was there before.
///
/// Only for a process that leaves its objects behind, as [`close_all_but`].
pub fn place_descriptors(first: RawFd, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let above = first + fds.len() as RawFd;
    // First out of each other's way.
    let moved = fds.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, above)).collect::<Result<Vec<_>, _>>();
    for (number, fd) in (first..).zip(call!("fcntl"("F_DUPFD_CLOEXEC", above) => moved)?) {
        // SAFETY: replaces descriptors whose owners, if any, are not used or dropped: the caller promises.
        let done = unsafe { libc::dup2(fd.as_raw_fd(), number) };
        call!("dup2"(super::Fd(&fd), number) => outcome(done.into()))?;
    }
    Ok(())
}

/// personality(2).
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: changes the execution domain of this process only.
    let done = unsafe { libc::personality(persona as libc::c_ulong) };
    call!("personality"(format_args!("{persona:#x}")) => outcome(done.into())).map(drop)
}

/// sched_setattr(2) for this process.
pub fn set_scheduler(attributes: &SchedulerAttributes) -> Result<()> {
    // SAFETY: the structure has the kernel's layout and tells its size.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, ptr::from_ref(attributes), 0) };
    call!("sched_setattr"(format_args!("{attributes:?}")) => outcome(done)).map(drop)
}

/// ioprio_set(2) for this process; `value` is class and priority as `IOPRIO_PRIO_VALUE` packs them.
pub fn set_io_priority(value: i32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: changes a property of this process only.
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    call!("ioprio_set"(format_args!("{value:#x}")) => outcome(done)).map(drop)
}

/// sched_setaffinity(2) for this process. The kernel leaves out what it does not have, and what the cpuset does not allow.
pub fn set_affinity(processors: &Mask) -> Result<()> {
    let words = processors.words();
    // SAFETY: pointer and length describe the words, which the kernel only reads.
    let done = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(words), words.as_ptr()) };
    call!("sched_setaffinity"(processors) => outcome(done)).map(drop)
}

/// set_mempolicy(2) for this process.
pub fn set_memory_policy(policy: &MemoryPolicy) -> Result<()> {
    let words = policy.nodes.words();
    // The kernel reads one bit less than it is told, and no bit only where there is no pointer.
    let bits = words.len() * u64::BITS as usize + 1;
    let pointer = if words.is_empty() { ptr::null() } else { words.as_ptr() };
    // SAFETY: the pointer is null, or to as many bits as the kernel reads, which keeps none.
    let done = unsafe { libc::syscall(libc::SYS_set_mempolicy, policy.mode, pointer, bits) };
    call!("set_mempolicy"(policy.name, policy.nodes) => outcome(done)).map(drop)
}
