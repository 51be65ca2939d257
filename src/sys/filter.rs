//! seccomp(2).

use std::fmt;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::outcome;
use crate::call;
use crate::error::{Error, Result};
use crate::plan::seccomp::{Filter, Instruction};

/// Puts the calling thread under the filter, for good. The caller has CAP_SYS_ADMIN in its user namespace or has
/// set no_new_privs, else it is EACCES.
///
/// Returns the listener, which is close-on-exec, if the filter asks an agent.
pub fn load(filter: &Filter) -> Result<Option<OwnedFd>> {
    let Ok(len) = libc::c_ushort::try_from(filter.program.len()) else {
        return Err(Error::new("the seccomp filter is too long"));
    };
    let program = libc::sock_fprog { len, filter: filter.program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `program.filter` and keeps no pointer. They are there:
    // `filter.program` outlives the call and has `len` elements, and an `Instruction` is laid out as a
    // `sock_filter`, which is checked below. The kernel only reads them, so the cast to a mutable pointer is sound.
    let returned = outcome(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_long::from(libc::SECCOMP_SET_MODE_FILTER),
            libc::c_long::from(filter.flags),
            &raw const program,
        )
    });
    let operation = "SECCOMP_SET_MODE_FILTER";
    let flags = Hexadecimal(filter.flags);
    let returned = call!("seccomp"(operation, flags, format_args!("{len} instructions")) => returned)?;
    if libc::c_ulong::from(flags.0) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
        // SAFETY: with NEW_LISTENER a call that succeeds returns a new file descriptor, so nobody else owns it.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(returned as libc::c_int) }));
    }
    if returned != 0 {
        // With TSYNC, and without a listener, this is the thread that has another filter.
        return call!("seccomp"(operation, flags, format_args!("thread {returned}")) => Err(Errno::SRCH));
    }
    Ok(None)
}

struct Hexadecimal(u32);

impl fmt::Display for Hexadecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

const _: () = {
    assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
    assert!(align_of::<Instruction>() >= align_of::<libc::sock_filter>());
    assert!(std::mem::offset_of!(Instruction, code) == std::mem::offset_of!(libc::sock_filter, code));
    assert!(std::mem::offset_of!(Instruction, jt) == std::mem::offset_of!(libc::sock_filter, jt));
    assert!(std::mem::offset_of!(Instruction, jf) == std::mem::offset_of!(libc::sock_filter, jf));
    assert!(std::mem::offset_of!(Instruction, k) == std::mem::offset_of!(libc::sock_filter, k));
};
