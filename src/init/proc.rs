//! A /proc of our own to write kernel parameters and labels through, so that nothing that an image or a volume has
//! put at /proc can catch them (CVE-2019-16884, CVE-2025-52881).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::ConfigPath;
use crate::plan::mount_options::attribute;
use crate::plan::steps::id;
use crate::plan::sysctl::Sysctl;
use crate::sys::{self, mount, path::openat2};
use crate::trace;

/// An open /proc and where it is from.
#[derive(Debug)]
pub struct Proc {
    directory: OwnedFd,
    #[allow(dead_code)] // Told by Debug; each write is checked whatever the provenance.
    provenance: Provenance,
}

/// How far a /proc can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// A new instance that nobody else can reach.
    Own,
    /// A copy of the host's without what is mounted on it: the kernel refuses a new instance in a user namespace
    /// without a pid namespace, and where /proc is masked.
    Cloned,
    /// The host's as it is.
    Inherited,
}

impl Proc {
    /// Opens the best /proc to be had. Called while the host's is still at /proc.
    pub fn open() -> Result<Proc> {
        let own = || {
            let context = mount::open_filesystem("proc")?;
            mount::create(&context, attribute::NOSUID | attribute::NODEV | attribute::NOEXEC)
        };
        let cloned = || mount::clone_tree_at(rustix::fs::CWD, Path::new("/proc"), false);
        let (directory, provenance) = match (own(), cloned) {
            (Ok(directory), _) => (directory, Provenance::Own),
            (Err(_), cloned) => match cloned() {
                Ok(directory) => (directory, Provenance::Cloned),
                Err(_) => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let opened = call!("open"("/proc") => rustix::fs::open("/proc", flags, Mode::empty()))?;
                    (opened, Provenance::Inherited)
                }
            },
        };
        Ok(Proc { directory, provenance })
    }

    /// Writes to a file that is certainly procfs and not something mounted over it.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(&self.directory, Path::new(file), OFlags::WRONLY, Mode::empty(), resolve)?;
        let filesystem = call!("fstatfs"(sys::Fd(&opened)) => rustix::fs::fstatfs(&opened))?;
        if filesystem.f_type as u64 != rustix::fs::PROC_SUPER_MAGIC as u64 {
            return Err(Error::new(format!("/proc/{file} is not of procfs")));
        }
        match rustix::io::write(&opened, value.as_bytes()) {
            Err(Errno::INTR) => self.write(file, value),
            written => call!("write"(format_args!("/proc/{file}"), format_args!("{value:?}")) => written).map(drop),
        }
    }
}

/// Sets the kernel parameters. The createRuntime hooks have run: network interfaces of the container exist by now.
pub fn write_sysctls(proc: Option<&Proc>, sysctls: &[Sysctl]) -> Result<()> {
    for sysctl in sysctls {
        let proc = proc.ok_or_else(|| Error::new("no /proc to set kernel parameters through"))?;
        trace::step(|| id::sysctl(sysctl), || proc.write(&format!("sys/{}", sysctl.file), &sysctl.value))
            .step(|| format!("set the kernel parameter {}", sysctl.file))
            .at(ConfigPath::new("linux.sysctl"))?;
    }
    Ok(())
}
