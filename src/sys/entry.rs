//! The C library's `main`, instead of the standard library's: what that does before a Rust `main` takes a tenth of the
//! time of `state` (it reads /proc/self/maps and installs handlers that tell of a stack overflow).

/// Defines `main` of the program: it calls a function `fn(Vec<OsString>) -> u8` with the arguments, the program's name
/// first, and exits with what it returns.
#[macro_export]
macro_rules! main {
    ($perform:path) => {
        // SAFETY: there is no other `main` in a program with `#![no_main]`, and the C library calls it as it is declared:
        // arguments that a function does not take are no concern of the callee in the C calling convention.
        #[unsafe(no_mangle)]
        extern "C" fn main() -> std::ffi::c_int {
            $crate::sys::process::open_missing_stdio();
            $crate::sys::process::ignore_sigpipe();
            // Where the standard library has put the arguments before, as glibc tells them to what it initialises.
            let status: u8 = $perform(std::env::args_os().collect());
            // Unlike a return from here, this writes what is still buffered for stdout.
            std::process::exit(status.into())
        }
    };
}
