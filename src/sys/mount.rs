//! Mounts as file descriptors: fsopen(2), fsmount(2), open_tree(2), mount_setattr(2), move_mount(2),
//! and the classic mount(2) for what they cannot do.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::{Fd, outcome};
use crate::call;
use crate::error::{Error, Result};

/// The arguments of mount_setattr(2), `struct mount_attr`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SHARED`, `MS_SLAVE`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
    /// The user namespace whose id map the mount gets, with `MOUNT_ATTR_IDMAP`.
    pub user_namespace: u64,
}

/// mount_setattr(2) on an open mount, with `AT_RECURSIVE` for all below it too.
pub fn set_attributes(mount: impl AsFd, attributes: &Attributes, recursive: bool) -> Result<()> {
    let mount = mount.as_fd();
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure has the kernel's layout and lives across the call, the path is a C string.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    call!("mount_setattr"(Fd(&mount), attributes) => outcome(done)).map(drop)
}

impl std::fmt::Display for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for (name, value) in [("set", self.set), ("clear", self.clear), ("propagation", self.propagation)] {
            if value != 0 {
                write!(f, "{separator}{name} {value:#x}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// open_tree(2) with `OPEN_TREE_CLONE` of an open file or directory: a detached bind mount.
pub fn clone_tree(source: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    clone_tree_at(source, Path::new(""), recursive)
}

/// As [`clone_tree`], of a path below an open directory, or in the working directory's tree (`CWD`).
pub fn clone_tree_at(directory: impl AsFd, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let directory = directory.as_fd();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.as_os_str().is_empty() {
        call!("open_tree"(Fd(&directory), "OPEN_TREE_CLONE") => rustix::mount::open_tree(directory, "", flags))
    } else {
        call!("open_tree"(path.display(), "OPEN_TREE_CLONE") => rustix::mount::open_tree(directory, path, flags))
    }
}

/// As [`clone_tree`], with attributes from the start: open_tree_attr(2), Linux 6.15. None where that cannot be had, or is
/// refused: the two calls that it stands for will do or tell.
pub fn clone_tree_changed(
    directory: impl AsFd,
    path: &Path,
    recursive: bool,
    attributes: &Attributes,
) -> Option<OwnedFd> {
    const SYS_OPEN_TREE_ATTR: libc::c_long = 467; // the same on every architecture
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let flags = if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags };
    let path = CString::new(path.as_os_str().as_encoded_bytes()).ok()?;
    // SAFETY: the structure has the kernel's layout and lives across the call, and so does the path, a C string.
    let opened = outcome(unsafe {
        libc::syscall(
            SYS_OPEN_TREE_ATTR,
            directory.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags.bits(),
            ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    });
    // SAFETY: a new descriptor that nobody else owns.
    opened.ok().map(|fd| unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Attaches a detached mount to an open file or directory: move_mount(2).
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let (mount, target) = (mount.as_fd(), target.as_fd());
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    call!("move_mount"(Fd(&mount), Fd(&target)) => rustix::mount::move_mount(mount, "", target, "", flags))
}

/// As [`attach`], to a name in an open directory. If it is a link the mount lies on the link or is refused: no path is
/// followed.
pub fn attach_in(mount: impl AsFd, directory: impl AsFd, name: &OsStr) -> Result<()> {
    let (mount, directory) = (mount.as_fd(), directory.as_fd());
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    call!("move_mount"(Fd(&mount), Fd(&directory), name.display())
        => rustix::mount::move_mount(mount, "", directory, name, flags))
}

/// fsopen(2): a new configuration context for a file system type.
pub fn open_filesystem(kind: &str) -> Result<OwnedFd> {
    call!("fsopen"(kind) => rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC))
}

/// fsconfig(2): one option, `key` or `key=value`.
pub fn configure(context: &OwnedFd, key: &str, value: Option<&str>) -> Result<()> {
    match value {
        Some(value) => call!("fsconfig"("FSCONFIG_SET_STRING", key, value)
            => rustix::mount::fsconfig_set_string(context, key, value)),
        None => call!("fsconfig"("FSCONFIG_SET_FLAG", key) => rustix::mount::fsconfig_set_flag(context, key)),
    }
    .map_err(|error| with_kernel_message(error, context))
}

/// fsconfig(2) `FSCONFIG_CMD_CREATE`, then fsmount(2) with `MOUNT_ATTR_*`: a detached mount.
pub fn create(context: &OwnedFd, attributes: u64) -> Result<OwnedFd> {
    call!("fsconfig"("FSCONFIG_CMD_CREATE") => rustix::mount::fsconfig_create(context))
        .map_err(|error| with_kernel_message(error, context))?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    call!("fsmount"(format_args!("{:#x}", attributes.bits()))
        => rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
    .map_err(|error| with_kernel_message(error, context))
}

/// fspick(2): a configuration context for the file system of a mount that is there.
pub fn pick_filesystem(mount: &OwnedFd) -> Result<OwnedFd> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    call!("fspick"(Fd(mount)) => rustix::mount::fspick(mount, "", flags))
}

/// fsconfig(2) `FSCONFIG_CMD_RECONFIGURE`: changes what was named, and nothing else.
pub fn reconfigure(context: &OwnedFd) -> Result<()> {
    call!("fsconfig"("FSCONFIG_CMD_RECONFIGURE") => rustix::mount::fsconfig_reconfigure(context))
        .map_err(|error| with_kernel_message(error, context))
}

/// The kernel explains some refusals in the context's log, one message a read(2): `e tmpfs: Bad value for 'size'`.
fn with_kernel_message(error: Error, context: &OwnedFd) -> Error {
    let mut buffer = [0u8; 256];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) if length > 2 => {
            let message = String::from_utf8_lossy(&buffer[2..length]);
            error.hint(format!("the kernel says: {}", message.trim_end()))
        }
        _ => error,
    }
}

/// The classic mount(2); flags are `MS_*`.
pub fn mount(source: &str, target: &Path, kind: &str, flags: u64, data: &str) -> Result<()> {
    let invalid = |_| Error::new("a mount argument holds a NUL byte");
    let (source_c, kind_c, data_c) = (
        CString::new(source).map_err(invalid)?,
        CString::new(kind).map_err(invalid)?,
        CString::new(data).map_err(invalid)?,
    );
    let target_c = CString::new(target.as_os_str().as_encoded_bytes()).map_err(invalid)?;
    // SAFETY: four C strings that outlive the call.
    let done = unsafe {
        libc::mount(
            source_c.as_ptr(),
            target_c.as_ptr(),
            kind_c.as_ptr(),
            flags as libc::c_ulong,
            data_c.as_ptr().cast(),
        )
    };
    call!("mount"(source, target.display(), kind, format_args!("{flags:#x}"), data) => outcome(done.into())).map(drop)
}

/// mount(2) with only propagation bits, on `/`.
pub fn set_root_propagation(flags: u64) -> Result<()> {
    mount("none", Path::new("/"), "", flags, "")
}

/// umount2(2) of a path with `MNT_DETACH`.
pub fn detach(path: &str) -> Result<()> {
    call!("umount2"(path, "MNT_DETACH") => rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH))
}

/// pivot_root(2) of the working directory onto itself: the old root ends up on top of the new one, and the caller
/// detaches it. No directory for the old root is needed, see the last example of the manual page.
pub fn pivot_root_here() -> Result<()> {
    call!("pivot_root"(".", ".") => rustix::process::pivot_root(".", "."))
}

/// Whether the kernel lacks this call, or a filter (an outer container's) refuses it.
pub fn is_unavailable(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOSYS | Errno::PERM))
}
