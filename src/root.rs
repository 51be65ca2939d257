//! The container's root as an open directory. Every path below it is resolved by the kernel inside it
//! (`RESOLVE_IN_ROOT`), so that no link in an image can lead to the host; see security rule 1 in SECURITY.md.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::call;
use crate::error::{Context, Error, Result};
use crate::sys;
use crate::sys::descriptors::Spent;
use crate::sys::path::{openat2, openat2_if_there};

/// The container's root directory, opened. There is no other way to a path below it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    over_slash: bool,
    covered: usize,
    spent: RefCell<Spent>,
}

/// As many links as the kernel follows in one path, see path_resolution(7).
const MOST_LINKS: usize = 40;

/// A file that is there already is not opened, and no link is followed.
const NEW_FILE: OFlags =
    OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::WRONLY);

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl Root {
    /// A root whose mount or directory is open.
    pub fn new(directory: OwnedFd) -> Root {
        Root { directory, over_slash: false, covered: 0, spent: RefCell::default() }
    }

    /// A root whose mount lies over `/`.
    pub fn over_slash(directory: OwnedFd) -> Root {
        Root { directory, over_slash: true, covered: 0, spent: RefCell::default() }
    }

    /// A mount at `/` lies over the root and is the root from here on.
    pub fn cover(&mut self, mount: OwnedFd) {
        (self.directory, self.covered) = (mount, self.covered + 1);
    }

    /// How many roots this one has covered at `/`.
    pub fn covered(&self) -> usize {
        if self.over_slash { self.covered } else { 0 }
    }

    /// The descriptor of the root itself.
    pub fn fd(&self) -> &OwnedFd {
        &self.directory
    }

    /// A descriptor of something inside, or of a mount that lies there now, which is needed no more.
    pub fn spend(&self, fd: OwnedFd) {
        self.spent.borrow_mut().add(fd);
    }

    /// Closes all of it.
    pub fn leave(self) {
        let Root { directory, spent, .. } = self;
        let mut spent = spent.into_inner();
        spent.add(directory);
    }

    /// Makes it the working directory: fchdir(2).
    pub fn enter(&self) -> Result<()> {
        call!("fchdir"(sys::Fd(&self.directory)) => rustix::process::fchdir(&self.directory)).step(|| "enter the root")
    }

    /// Opens a path inside as a place (`O_PATH`), following links inside the root.
    pub fn open(&self, path: &Path) -> Result<OwnedFd> {
        openat2(&self.directory, path, OFlags::PATH, Mode::empty(), INSIDE)
    }

    /// As [`Root::open`]; None if nothing is there.
    pub fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match openat2_if_there(&self.directory, path, OFlags::PATH, Mode::empty(), INSIDE) {
            Err(Errno::NOTDIR) => Ok(None),
            found => call!("openat2"(sys::Fd(&self.directory), path.display()) => found),
        }
    }

    /// Whether something is there: a link at the end of the path counts by itself, also one of /proc.
    pub fn has(&self, path: &Path) -> Result<bool> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        match openat2_if_there(&self.directory, path, flags, Mode::empty(), INSIDE) {
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(false),
            found => {
                let found = call!("openat2"(sys::Fd(&self.directory), path.display()) => found)?;
                Ok(found.map(|there| self.spend(there)).is_some())
            }
        }
    }

    /// Opens a directory inside, made with its parents if it is missing.
    pub fn directory(&self, path: &Path) -> Result<OwnedFd> {
        self.directory_through(path, INSIDE, MOST_LINKS)
    }

    /// As [`Root::directory`], but refuses symbolic links on the way.
    pub fn ordinary_directory(&self, path: &Path) -> Result<OwnedFd> {
        self.directory_through(path, INSIDE | ResolveFlags::NO_SYMLINKS, 0).map_err(|error| refuse_link(path, error))
    }

    /// A directory inside, if it is there; `ordinary` refuses symbolic links on the way.
    pub fn find_directory(&self, path: &Path, ordinary: bool) -> Result<Option<OwnedFd>> {
        match ordinary {
            true => self.look_for_directory(path, INSIDE | ResolveFlags::NO_SYMLINKS).map_err(|e| refuse_link(path, e)),
            false => self.look_for_directory(path, INSIDE),
        }
    }

    fn look_for_directory(&self, path: &Path, resolve: ResolveFlags) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let found = openat2_if_there(&self.directory, path, flags, Mode::empty(), resolve);
        call!("openat2"(sys::Fd(&self.directory), path.display()) => found)
    }

    /// Makes a directory in one that is open. False if it could not be made: because something is there, most of all.
    pub fn make_directory(&self, directory: &OwnedFd, name: &OsStr) -> bool {
        rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755)).is_ok()
    }

    /// The same for an empty file.
    pub fn make_file(&self, directory: &OwnedFd, name: &OsStr) -> bool {
        rustix::fs::openat(directory, name, NEW_FILE, Mode::from_raw_mode(0o644)).map(|made| self.spend(made)).is_ok()
    }

    fn directory_through(&self, path: &Path, resolve: ResolveFlags, links: usize) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if let Some(found) = self.look_for_directory(path, resolve)? {
            return Ok(found);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return openat2(&self.directory, path, flags, Mode::empty(), resolve);
        };
        let directory = self.directory_through(parent, resolve, links)?;
        match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) if links > 0 => {
                if let Some(target) = dangling_target(&directory, parent, name) {
                    return self.directory_through(&target, resolve, links - 1);
                }
            }
            // Somebody else made it.
            Err(Errno::EXIST) => {}
            made => call!("mkdirat"(sys::Fd(&directory), name.display()) => made)?,
        }
        let opened = openat2(&directory, Path::new(name), flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        self.spend(directory);
        opened
    }

    /// Opens a file inside as a place to mount on, made empty, with its parents, if it is missing.
    pub fn file(&self, path: &Path) -> Result<OwnedFd> {
        self.file_through(path, MOST_LINKS)
    }

    fn file_through(&self, path: &Path, links: usize) -> Result<OwnedFd> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        let (parent, name) = self.parent(path)?;
        match rustix::fs::openat(&parent, name, NEW_FILE, Mode::from_raw_mode(0o644)) {
            Err(Errno::EXIST) if links > 0 => {
                if let Some(target) = dangling_target(&parent, path.parent().unwrap_or(path), name) {
                    return self.file_through(&target, links - 1);
                }
            }
            Err(Errno::EXIST) => {}
            made => drop(call!("openat"(sys::Fd(&parent), name.display(), "O_CREAT") => made)?),
        }
        openat2(&parent, Path::new(name), OFlags::PATH, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    }

    /// The directory of a path, made if it is missing, and the path's last name.
    pub fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((self.directory(parent)?, name)),
            _ => Err(Error::new(format!("{} cannot be a file", path.display()))),
        }
    }

    /// runc makes a missing working directory, and images rely on it. If it cannot be made, entering it will tell.
    pub fn make_working_directory(&self, path: &Path) {
        if path != Path::new("/") {
            let _ = self.directory(path);
        }
    }
}

fn refuse_link(path: &Path, error: Error) -> Error {
    match error.errno() {
        Some(Errno::LOOP | Errno::NOTDIR) => {
            Error::new(format!("{} must be an ordinary directory in the image, not a link", path.display()))
        }
        _ => error,
    }
}

/// Where a link to nothing leads, as a path in the root: images have such links, /etc/resolv.conf into a /run that the
/// boot would fill, and a mount there means what they point to. The path is given to openat2(2) again, which keeps it inside.
fn dangling_target(directory: &OwnedFd, path: &Path, name: &OsStr) -> Option<PathBuf> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new()).ok()?;
    Some(path.join(OsStr::from_bytes(target.to_bytes())))
}

/// fstat(2).
pub fn stat(fd: &OwnedFd) -> Result<Stat> {
    call!("fstat"(sys::Fd(fd)) => rustix::fs::fstat(fd))
}

/// Whether it is a directory.
pub fn is_directory(stat: &Stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}
