//! What signals are called, and what they do before the exec. Sending and awaiting them is in [`process`](super::process).

use std::ffi::CStr;
use std::ptr;

/// What a signal is called, as signal(7) describes it: "killed", "bad system call".
pub fn text(signal: i32) -> String {
    // SAFETY: strsignal(3) returns a string that lives until its next call, of which there is none: we have one thread.
    let text = unsafe {
        let text = libc::strsignal(signal);
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().to_lowercase()) }
    };
    text.unwrap_or_else(|| signal.to_string())
}

/// Lets the signals that ask a process to end do so from here to the exec. The first process of a pid namespace gets none
/// that it has no handler for (pid_namespaces(7)), but who kills a created container means it. What the caller ignores
/// stays ignored, for the program too.
pub fn end_when_asked() {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit(2) is async-signal-safe.
        unsafe { libc::_exit(128 + signal) }
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the structures live across the calls; the handler does nothing but end the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut before: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
            if libc::sigaction(signal, &action, &mut before) == 0 && before.sa_sigaction == libc::SIG_IGN {
                libc::sigaction(signal, &before, ptr::null_mut());
            }
        }
    }
}
