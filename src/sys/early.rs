//! What happens before the C library starts: nothing at all, or this program is executed again from where nobody can write
//! to it ([`crate::runtime::seal`] says why).
//!
//! The first of two executions needs four system calls and no C library, whose start costs twice as much as they do: it
//! asks the processor for its features some forty times, which in a virtual machine is an exit to the host each time.
//! So the program's entry point is ours (`minicon_entry`, see `main!`), and goes on to the C library's `_start`.
//!
//! Rules for this file: no thread-local data (errno is one), no call that the compiler may turn into memcpy(3) or its like,
//! which are not linked to an implementation yet. So words are compared with volatile reads.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

/// This process is executed from the copy already.
static IS_COPY: AtomicBool = AtomicBool::new(false);

/// The commands that put a process into a container.
pub const COMMANDS: [&CStr; 4] = [c"create", c"run", c"exec", c"restore"];

/// Whether this process was found to be executed from the copy, so that nobody has to look again.
pub fn found_copy() -> bool {
    IS_COPY.load(Ordering::Relaxed)
}

/// Executes this program anew from a detached read-only copy of its file's mount if a word of the command line is one of
/// [`COMMANDS`], which one too many does not harm. Whatever fails: `main` tries again, and can tell.
///
/// # Safety
/// `stack` is what the kernel has put there for a new program: the number of arguments, they and a null pointer, the
/// environment and a null pointer (System V ABI, Initial Stack and Register State).
pub unsafe extern "C" fn before_c_library(stack: *const usize) {
    // SAFETY: by the contract of this function all that is read here is there.
    unsafe {
        let count = stack.read();
        let arguments = stack.add(1).cast::<*const c_char>();
        if count == 0 || !(1..count).any(|at| COMMANDS.iter().any(|name| is(arguments.add(at).read(), name))) {
            return;
        }
        let own = c"/proc/self/exe".as_ptr() as usize;
        if is_copy(own) {
            IS_COPY.store(true, Ordering::Relaxed);
            return;
        }
        let (nothing, empty) = (c"".as_ptr() as usize, libc::AT_EMPTY_PATH as usize);
        let clone = (libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC) as usize;
        let copy = call(libc::SYS_open_tree, [libc::AT_FDCWD as usize, own, clone, 0, 0]);
        if copy < 0 {
            return;
        }
        let attributes = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0]; // struct mount_attr
        let (at, size) = (attributes.as_ptr() as usize, size_of_val(&attributes));
        if call(libc::SYS_mount_setattr, [copy as usize, nothing, empty, at, size]) == 0 {
            let environment = arguments.add(count + 1) as usize;
            call(libc::SYS_execveat, [copy as usize, nothing, arguments as usize, environment, empty]);
        }
        call(libc::SYS_close, [copy as usize, 0, 0, 0, 0]);
    }
}

/// Whether the file is where only such a copy is: it is the root of its mount, whose name is `/`, and the mount is read-only.
/// The flag alone would not do, as it is also that of a file system whose mount can be written to once the file system can.
///
/// # Safety
/// `own` is the address of a path.
unsafe fn is_copy(own: usize) -> bool {
    const FLAGS: usize = 10;
    let mut file = MaybeUninit::<[usize; 15]>::uninit(); // struct statfs; f_flags is the eleventh word
    let mut name = MaybeUninit::<[u8; 2]>::uninit();
    // SAFETY: both have the room that is told; what is read was written by a call that has succeeded.
    unsafe {
        call(libc::SYS_statfs, [own, file.as_mut_ptr() as usize, 0, 0, 0]) == 0
            && file.as_ptr().cast::<usize>().add(FLAGS).read() & libc::ST_RDONLY as usize != 0
            && call(libc::SYS_readlink, [own, name.as_mut_ptr() as usize, 2, 0, 0]) == 1
    }
}

/// # Safety
/// `word` is a C string.
unsafe fn is(word: *const c_char, name: &CStr) -> bool {
    let name = name.as_ptr();
    let mut at = 0;
    loop {
        // SAFETY: neither was read to its end before, so there is one more.
        let (one, other) = unsafe { (word.add(at).read_volatile(), name.add(at).read_volatile()) };
        if one != other || one == 0 {
            return one == other;
        }
        at += 1;
    }
}

/// A system call, see syscall(2) for the registers. Returns what the kernel does: a negative errno on failure.
///
/// # Safety
/// As the call's.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let returned: isize;
    // SAFETY: the kernel changes rax, rcx, r11 and the memory that the arguments name.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => returned,
            in("rdi") arguments[0], in("rsi") arguments[1], in("rdx") arguments[2],
            in("r10") arguments[3], in("r8") arguments[4],
            lateout("rcx") _, lateout("r11") _, options(nostack),
        );
    }
    returned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_name_only_as_a_whole() {
        // SAFETY: it is a C string.
        let is = |word: &CStr, name| unsafe { is(word.as_ptr(), name) };
        assert!(is(c"run", c"run"));
        assert!(is(c"", c""));
        for (word, name) in [(c"run", c"runc"), (c"runc", c"run"), (c"", c"run"), (c"ran", c"run")] {
            assert!(!is(word, name), "{word:?} {name:?}");
        }
    }
}
