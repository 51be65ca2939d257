//! Where something is mounted, and the directory in which something was last made, kept open for the next: a container's
//! mounts, nodes and links have few parents, /dev and /sys/fs/cgroup above all.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Error, Result};
use crate::root::Root;
use crate::sys::mount;
use crate::sys::path::openat2;

/// A place to mount on.
#[derive(Debug)]
pub enum Place {
    /// What is there, open.
    Open(OwnedFd),
    /// What we have just made under this name in this directory. Who shares the directory may have put something else
    /// there since, but a link is not followed (move_mount(2) without `MOVE_MOUNT_T_SYMLINKS`), so the mount stays where
    /// it belongs.
    Made(Rc<OwnedFd>, OsString),
}

impl Place {
    /// Attaches a detached mount.
    pub fn attach(&self, tree: impl AsFd) -> Result<()> {
        match self {
            Place::Open(place) => mount::attach(tree, place),
            Place::Made(directory, name) => mount::attach_in(tree, directory, name),
        }
    }

    /// The place itself, opened.
    pub fn open(self) -> Result<OwnedFd> {
        match self {
            Place::Open(place) => Ok(place),
            Place::Made(directory, name) => {
                openat2(&directory, Path::new(&name), OFlags::PATH, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            }
        }
    }

    /// Nothing more is mounted here.
    pub fn leave(self, root: &Root) {
        if let Place::Open(place) = self {
            root.spend(place);
        }
    }
}

/// The directory in which something was last made.
#[derive(Debug, Default)]
pub struct Parent(Option<Last>);

#[derive(Debug)]
struct Last {
    path: PathBuf,
    directory: Rc<OwnedFd>,
    /// No link led there.
    ordinary: bool,
}

impl Parent {
    /// A mount may lie over it now.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// It is a directory that is open already.
    pub fn keep(&mut self, path: &Path, directory: OwnedFd, ordinary: bool) -> Rc<OwnedFd> {
        let directory = Rc::new(directory);
        self.0 = Some(Last { path: path.to_owned(), directory: directory.clone(), ordinary });
        directory
    }

    /// The directory of a node or link, made if it is missing, and its name there.
    pub fn of<'a>(&mut self, root: &Root, path: &'a Path) -> Result<(Rc<OwnedFd>, &'a OsStr)> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(format!("{} cannot be a file", path.display())));
        };
        let directory = match self.known(above, false) {
            Some(directory) => directory,
            None => self.keep(above, root.directory(above)?, false),
        };
        Ok((directory, name))
    }

    /// A directory to mount on, made with its parents if it is missing; `ordinary` refuses links on the way.
    pub fn directory(&mut self, root: &Root, path: &Path, ordinary: bool) -> Result<Place> {
        let make = |directory: &OwnedFd, name: &OsStr| root.make_directory(directory, name);
        let open = || if ordinary { root.ordinary_directory(path) } else { root.directory(path) };
        let found = || root.find_directory(path, ordinary);
        self.place(root, path, ordinary, (&make, &open, &found))
    }

    /// A file to mount on, made empty, with its parents, if it is missing.
    pub fn file(&mut self, root: &Root, path: &Path) -> Result<Place> {
        let make = |directory: &OwnedFd, name: &OsStr| root.make_file(directory, name);
        self.place(root, path, false, (&make, &|| root.file(path), &|| root.find(path)))
    }

    /// What the last directory lacks is made there without a look. Anything else is looked for from the root, and what
    /// turns out not to be so simple (a link to nothing, somebody who makes it with us) is left to [`Root`].
    fn place(&mut self, root: &Root, path: &Path, ordinary: bool, how: How<'_>) -> Result<Place> {
        let (make, open, find) = how;
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            self.forget();
            return open().map(Place::Open);
        };
        if let Some(directory) = self.known(above, ordinary)
            && make(&directory, name)
        {
            return Ok(Place::Made(directory, name.to_owned()));
        }
        self.forget();
        if let Some(found) = find()? {
            return Ok(Place::Open(found));
        }
        let directory = if ordinary { root.ordinary_directory(above) } else { root.directory(above) }?;
        if make(&directory, name) {
            return Ok(Place::Made(self.keep(above, directory, ordinary), name.to_owned()));
        }
        root.spend(directory);
        open().map(Place::Open)
    }

    fn known(&self, path: &Path, ordinary: bool) -> Option<Rc<OwnedFd>> {
        let last = self.0.as_ref().filter(|last| last.path == path && (last.ordinary || !ordinary));
        last.map(|last| last.directory.clone())
    }
}

/// Makes it in an open directory (false if that is not possible), opens it from the root and makes it on the way, or only
/// looks for it.
type How<'a> =
    (&'a dyn Fn(&OwnedFd, &OsStr) -> bool, &'a dyn Fn() -> Result<OwnedFd>, &'a dyn Fn() -> Result<Option<OwnedFd>>);
