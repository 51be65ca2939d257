//! The C library's `main`, instead of the standard library's: what that does before a Rust `main` takes a tenth of the
//! time of `state` (it reads /proc/self/maps and installs handlers that tell of a stack overflow).

use std::ffi::{CStr, c_char};
use std::os::fd::{AsFd, AsRawFd};

use super::{Fd, last_errno};
use crate::call;
use crate::error::Result;

/// The arguments as the kernel has laid them out.
#[derive(Debug, Clone, Copy)]
pub struct Arguments(*const *const c_char);

impl Arguments {
    /// Those of a C `main`.
    ///
    /// # Safety
    /// `argv` is what `main` got: pointers to strings that live as long as the process, and a null pointer.
    pub unsafe fn of_main(argv: *const *const c_char) -> Arguments {
        Arguments(argv)
    }

    /// The words, the program's name first.
    pub fn words(&self) -> impl Iterator<Item = &'static [u8]> {
        let mut next = self.0;
        std::iter::from_fn(move || {
            // SAFETY: it points into the array, which ends with the null pointer that is not passed.
            let word = unsafe { *next };
            if word.is_null() {
                return None;
            }
            // SAFETY: one further is still in the array, and the word is a string that lives as long as the process.
            let word = unsafe {
                next = next.add(1);
                CStr::from_ptr(word)
            };
            Some(word.to_bytes())
        })
    }

    /// execveat(2) of an open file (`AT_EMPTY_PATH`) with these arguments and our environment, as they are: nothing is
    /// copied, and so nothing is allocated. Returns only the failure.
    pub fn execute(&self, program: impl AsFd) -> Result<std::convert::Infallible> {
        unsafe extern "C" {
            // See environ(7).
            static environ: *const *const c_char;
        }
        let program = program.as_fd();
        // SAFETY: both arrays end with a null pointer and hold strings that outlive the call; nobody changes the
        // environment, as there is one thread. The empty path is a C string.
        unsafe {
            let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
            libc::syscall(libc::SYS_execveat, program.as_raw_fd(), path, self.0, environ, flags)
        };
        call!("execveat"(Fd(&program)) => Err(last_errno()))
    }
}

/// Defines `main` of the program. It calls a function `fn(Arguments)`, before which nothing has been allocated, then another,
/// `fn(Vec<OsString>) -> u8`, with the arguments, the program's name first, and exits with what that returns.
#[macro_export]
macro_rules! main {
    ($first:path, $perform:path) => {
        // The entry point that the Makefile tells the linker, with the stack as the kernel has made it. rdx is the C library's:
        // what a dynamic linker wants called at the end.
        #[cfg(target_arch = "x86_64")]
        std::arch::global_asm!(
            ".globl minicon_entry",
            ".type minicon_entry, @function",
            "minicon_entry:",
            "xor ebp, ebp",
            "mov rdi, rsp",
            "push rdx",
            "sub rsp, 8",
            "call {before}",
            "add rsp, 8",
            "pop rdx",
            "jmp _start",
            ".size minicon_entry, . - minicon_entry",
            before = sym $crate::sys::early::before_c_library,
        );

        // SAFETY: there is no other `main` in a program with `#![no_main]`, and the C library calls it as it is declared.
        #[unsafe(no_mangle)]
        extern "C" fn main(_: std::ffi::c_int, argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: it is what `main` got.
            $first(unsafe { $crate::sys::entry::Arguments::of_main(argv) });
            $crate::sys::process::open_missing_stdio();
            $crate::sys::process::ignore_sigpipe();
            // Where the standard library has put the arguments before, as glibc tells them to what it initialises.
            let status: u8 = $perform(std::env::args_os().collect());
            // Unlike a return from here, this writes what is still buffered for stdout.
            std::process::exit(status.into())
        }
    };
}
