//! The runtime's own binary cannot be reached for writing from a container (CVE-2019-5736).
//!
//! Until its exec, init is a copy of us, so `/proc/self/exe` of a process inside is the host's minicon, and an image
//! whose program is a script `#!/proc/self/exe` even executes it inside. So the commands that put a process into a
//! container execute themselves once from a detached read-only copy of the binary's mount, where nobody can open it for
//! writing; without the rights for that, or before Linux 5.12, from a sealed copy in memory.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};

use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::mount_options::attribute;
use crate::sys::{mount, process};

const OWN: &str = "/proc/self/exe";

/// Returns if this process is executed from such a copy already, told by the file itself and never by the environment.
pub fn execute_from_read_only_copy() -> Result<()> {
    let stat = call!("statvfs"(OWN) => rustix::fs::statvfs(OWN)).hint("minicon needs /proc")?;
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        // execveat has named us after a descriptor.
        let _ = rustix::thread::set_name(c"minicon");
        return Ok(());
    }
    match read_only_mount() {
        Ok(copy) => execute(&copy),
        Err(_) => execute_sealed(),
    }
    .step(|| "protect the runtime's own binary")
}

fn read_only_mount() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let own = call!("open"(OWN) => rustix::fs::open(OWN, flags, Mode::empty()))?;
    let copy = mount::clone_tree(&own, false)?;
    let read_only = mount::Attributes { set: attribute::RDONLY, ..mount::Attributes::default() };
    mount::set_attributes(&copy, &read_only, false)?;
    Ok(copy)
}

fn execute_sealed() -> Result<()> {
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    let own = std::fs::File::open(OWN).map_err(|error| Error::new(format!("open {OWN}: {error}")))?;
    if rustix::fs::fcntl_get_seals(&own).is_ok_and(|set| set.contains(seals)) {
        let _ = rustix::thread::set_name(c"minicon");
        return Ok(());
    }
    let make = |flags| rustix::fs::memfd_create("minicon", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | flags);
    // MFD_EXEC came with Linux 6.3; with vm.memfd_noexec=2 no executable memory file can be had.
    let copy = make(MemfdFlags::EXEC).or_else(|_| make(MemfdFlags::empty()));
    let copy = call!("memfd_create"("minicon") => copy).hint("see the sysctl vm.memfd_noexec")?;
    let mut binary = Vec::new();
    (&own).read_to_end(&mut binary).map_err(|error| Error::new(format!("read {OWN}: {error}")))?;
    let mut writer = std::fs::File::from(copy.try_clone().map_err(|error| Error::new(error.to_string()))?);
    std::io::Write::write_all(&mut writer, &binary).map_err(|error| Error::new(format!("copy {OWN}: {error}")))?;
    drop(writer);
    call!("fcntl"("F_ADD_SEALS") => rustix::fs::fcntl_add_seals(&copy, seals))?;
    execute(&copy)
}

fn execute(copy: &OwnedFd) -> Result<()> {
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
