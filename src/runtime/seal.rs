//! The runtime's own binary cannot be reached for writing from a container (CVE-2019-5736).
//!
//! Until its exec, init is a copy of us, so `/proc/self/exe` of a process inside is the host's minicon, and an image
//! whose program is a script `#!/proc/self/exe` even executes it inside. So the commands that put a process into a
//! container execute themselves once from a detached read-only copy of the binary's mount, where nobody can open it for
//! writing; without the rights for that, or before Linux 5.12, from a sealed copy in memory.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};

use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::mount_options::attribute;
use crate::sys::entry::Arguments;
use crate::sys::{mount, process};

const OWN: &str = "/proc/self/exe";

/// This process has found that it is.
static IS_PROTECTED: AtomicBool = AtomicBool::new(false);

/// Returns if this process is executed from such a copy already, told by the file itself and never by the environment.
/// With the `arguments` that it got as they lie there nothing is copied to hand them on.
pub fn execute_from_read_only_copy(arguments: Option<&Arguments>) -> Result<()> {
    if IS_PROTECTED.load(Ordering::Relaxed) {
        return Ok(());
    }
    if is_copy() {
        return accept();
    }
    let stat = call!("statvfs"(OWN) => rustix::fs::statvfs(OWN)).hint("minicon needs /proc")?;
    // Such a copy is the root of its mount. The flag alone is also that of a file system that may be made writable again, and
    // with it a mount that always was.
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY)
        && std::fs::read_link(OWN).is_ok_and(|name| name == Path::new("/"))
    {
        return accept();
    }
    match read_only_mount() {
        Ok(copy) => execute(&copy, arguments),
        Err(_) => execute_sealed(arguments),
    }
    .step(|| "protect the runtime's own binary")
}

/// Whether this process has been found to be executed from such a copy before the C library started, [`crate::sys::early`]:
/// also for a command that need not be, if a word of its is the name of one that must.
pub fn is_copy() -> bool {
    #[cfg(target_arch = "x86_64")]
    return crate::sys::early::found_copy();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn accept() -> Result<()> {
    IS_PROTECTED.store(true, Ordering::Relaxed);
    // execveat has named us after a descriptor.
    let _ = rustix::thread::set_name(c"minicon");
    Ok(())
}

fn read_only_mount() -> Result<OwnedFd> {
    let copy = mount::clone_tree_at(rustix::fs::CWD, Path::new(OWN), false)?;
    let read_only = mount::Attributes { set: attribute::RDONLY, ..mount::Attributes::default() };
    mount::set_attributes(&copy, &read_only, false)?;
    Ok(copy)
}

fn execute_sealed(arguments: Option<&Arguments>) -> Result<()> {
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    let own = std::fs::File::open(OWN).map_err(|error| Error::new(format!("open {OWN}: {error}")))?;
    if rustix::fs::fcntl_get_seals(&own).is_ok_and(|set| set.contains(seals)) {
        return accept();
    }
    let make = |flags| rustix::fs::memfd_create("minicon", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | flags);
    // MFD_EXEC came with Linux 6.3; with vm.memfd_noexec=2 no executable memory file can be had.
    let copy = make(MemfdFlags::EXEC).or_else(|_| make(MemfdFlags::empty()));
    let copy = call!("memfd_create"("minicon") => copy).hint("see the sysctl vm.memfd_noexec")?;
    let mut writer = std::fs::File::from(copy.try_clone().map_err(|error| Error::new(error.to_string()))?);
    // From file to file within the kernel.
    std::io::copy(&mut &own, &mut writer).map_err(|error| Error::new(format!("copy {OWN}: {error}")))?;
    drop(writer);
    call!("fcntl"("F_ADD_SEALS") => rustix::fs::fcntl_add_seals(&copy, seals))?;
    execute(&copy, arguments)
}

fn execute(copy: &OwnedFd, arguments: Option<&Arguments>) -> Result<()> {
    if let Some(arguments) = arguments {
        let Err(error) = arguments.execute(copy);
        return Err(error);
    }
    let to_c = |string: Vec<u8>| CString::new(string).map_err(|_| Error::new("an argument holds a NUL byte"));
    let argv = std::env::args_os().map(|word| to_c(word.into_vec())).collect::<Result<Vec<_>>>()?;
    let environment = std::env::vars_os()
        .map(|(name, value)| to_c([name.into_vec(), value.into_vec()].join(&b'=')))
        .collect::<Result<Vec<_>>>()?;
    let argv: Vec<&CStr> = argv.iter().map(CString::as_c_str).collect();
    let environment: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
    let Err(error) = process::execve_fd(copy.as_fd(), &argv, &environment);
    Err(error)
}
