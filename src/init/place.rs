//! Where something is mounted, and the directory in which something was last made, kept open for the next: a container's
//! mounts, nodes and links have few parents, /dev and /sys/fs/cgroup above all.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::call;
use crate::error::{Error, Result};
use crate::root::Root;
use crate::sys::path::openat2;
use crate::sys::{self, mount};

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

    /// Attaches the only mount that comes here.
    pub fn attach_and_leave(self, root: &Root, tree: &OwnedFd) -> Result<()> {
        self.attach(tree)?;
        self.leave(root);
        Ok(())
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
    /// A file system that we have made and nobody else has seen: what is in it is ours.
    own: bool,
    /// It is the working directory.
    entered: bool,
}

impl Parent {
    /// A mount may lie over it now.
    pub fn forget(&mut self, root: &Root) {
        let directory = self.0.take().and_then(|last| Rc::into_inner(last.directory));
        directory.into_iter().for_each(|directory| root.spend(directory));
    }

    /// It is a directory that is open already.
    fn keep(&mut self, root: &Root, path: &Path, directory: OwnedFd, ordinary: bool) -> Rc<OwnedFd> {
        self.forget(root);
        let directory = Rc::new(directory);
        self.0 =
            Some(Last { path: path.to_owned(), directory: directory.clone(), ordinary, own: false, entered: false });
        directory
    }

    /// It is the root of a file system that we have just made.
    pub fn keep_own(&mut self, root: &Root, path: &Path, directory: OwnedFd, ordinary: bool) {
        self.keep(root, path, directory, ordinary);
        if let Some(last) = &mut self.0 {
            last.own = true;
        }
    }

    /// The path of a place for mount(2), which takes no descriptor: the place, or its directory if nobody but us has been
    /// there, becomes the working directory, so that nothing is looked up on the way.
    pub fn enter(&mut self, root: &Root, place: &Place) -> Result<PathBuf> {
        let enter = |directory: &OwnedFd| call!("fchdir"(sys::Fd(directory)) => rustix::process::fchdir(directory));
        match place {
            Place::Open(place) => enter(place).map(|()| PathBuf::from(".")),
            Place::Made(directory, name) => {
                let is_own = |last: &&mut Last| last.own && Rc::ptr_eq(&last.directory, directory);
                if let Some(last) = self.0.as_mut().filter(is_own) {
                    if !last.entered {
                        enter(directory)?;
                        last.entered = true;
                    }
                    return Ok(PathBuf::from(name));
                }
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                let name = Path::new(name);
                let place = openat2(directory, name, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
                enter(&place)?;
                root.spend(place);
                Ok(PathBuf::from("."))
            }
        }
    }

    /// The directory of a node or link, made if it is missing, and its name there.
    pub fn of<'a>(&mut self, root: &Root, path: &'a Path) -> Result<(Rc<OwnedFd>, &'a OsStr)> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(format!("{} cannot be a file", path.display())));
        };
        let directory = match self.known(above, false) {
            Some(directory) => directory,
            None => self.keep(root, above, root.directory(above)?, false),
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
            self.forget(root);
            return open().map(Place::Open);
        };
        if let Some(directory) = self.known(above, ordinary)
            && make(&directory, name)
        {
            return Ok(Place::Made(directory, name.to_owned()));
        }
        self.forget(root);
        if let Some(found) = find()? {
            return Ok(Place::Open(found));
        }
        let directory = if ordinary { root.ordinary_directory(above) } else { root.directory(above) }?;
        if make(&directory, name) {
            return Ok(Place::Made(self.keep(root, above, directory, ordinary), name.to_owned()));
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
