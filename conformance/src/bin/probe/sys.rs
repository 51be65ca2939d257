//! The few system calls that neither nix, caps nor procfs wraps. All of the probe's unsafe code is here.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// include/uapi/linux/ioprio.h
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
/// include/uapi/linux/keyctl.h
const KEYCTL_DESCRIBE: libc::c_int = 6;
const KEYCTL_GET_KEYRING_ID: libc::c_int = 0;
const KEY_SPEC_SESSION_KEYRING: libc::c_int = -3;

/// The entry of the C library, because Rust's own ignores SIGPIPE and opens /dev/null where a standard stream is
/// missing: the probe would report what it did to itself.
// SAFETY: nothing else in the program is called `main` (`no_main`), and this is the type that the C library expects.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: libc::c_int, _argv: *const *const libc::c_char) -> libc::c_int {
    crate::start().into()
}

/// The number and the arguments of one system call, as they are.
pub fn syscall(n: [i64; 7]) -> Result<i64, Errno> {
    // SAFETY: the caller of the probe answers for what the call does to this process, which does nothing afterwards
    // but print the result: no value of Rust's depends on memory that the call may have changed.
    Errno::result(unsafe { libc::syscall(n[0], n[1], n[2], n[3], n[4], n[5], n[6]) })
}

/// ioprio_get(2) of this process: class and level.
pub fn ioprio() -> Result<(i64, i64), Errno> {
    // SAFETY: no pointers.
    let value = Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) })?;
    Ok((value >> 13, value & 0x1fff))
}

/// The serial number of the session keyring and its description, `type;uid;gid;perm;name` (keyctl(2)).
pub fn session_keyring() -> Result<(i64, String), Errno> {
    // SAFETY: no pointers; the 0 says not to create one.
    let id =
        Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) })?;
    let mut text = [0u8; 512];
    // SAFETY: the kernel writes at most `len` bytes to `text`, which lives across the call.
    let len =
        Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, id, text.as_mut_ptr(), text.len()) })?;
    let len = usize::try_from(len).unwrap_or(0).min(text.len());
    Ok((id, String::from_utf8_lossy(&text[..len]).trim_end_matches('\0').to_owned()))
}

/// sched_getattr(2): policy, flags, nice, priority, runtime, deadline, period.
pub fn sched_attr() -> Result<libc::sched_attr, Errno> {
    // SAFETY: a structure of integers, for which zero is a value.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes at most `size` bytes to `attr`, which lives across the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) })?;
    Ok(attr)
}

/// get_mempolicy(2): the mode with its flags, and the nodes of the mask (up to 1024).
pub fn memory_policy() -> Result<(i32, Vec<usize>), Errno> {
    let mut mode: libc::c_int = 0;
    let mut mask = [0u64; 16];
    // SAFETY: the kernel writes one int to `mode` and at most `maxnode` bits to `mask`; both live across the call.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, mask.as_mut_ptr(), mask.len() * 64, 0usize, 0usize)
    })?;
    Ok((mode, (0..mask.len() * 64).filter(|node| mask[node / 64] >> (node % 64) & 1 == 1).collect()))
}

/// TIOCGWINSZ: rows and columns.
pub fn window_size(fd: BorrowedFd<'_>) -> Result<(u16, u16), Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one `winsize`, which lives across the call.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// clock_gettime(2), in seconds.
pub fn clock(id: libc::clockid_t) -> Result<f64, Errno> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec`, which lives across the call.
    Errno::result(unsafe { libc::clock_gettime(id, &raw mut time) })?;
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}
