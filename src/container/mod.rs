//! A container on disk: its state directory, its record, its lock.
//!
//! The directory `ROOT/ID` holds
//! - `state.json`: the record, replaced whole by rename(2), so that a reader without a lock sees an old or a new one;
//! - `config.json`: the configuration as it was at create, which is what counts from then on;
//! - `exec.fifo` and `exec.result`: the gate, see [`crate::handshake`].
//!
//! Nothing is stored that can be observed: the status is derived, see [`status`].

pub mod status;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::call;
use crate::cgroup::{Cgroup, CgroupPaths};
use crate::error::{Context, Error, Result};
use crate::plan::ConfigPath;
use crate::plan::namespaces::Kind;
use crate::resctrl::Membership;
use status::Status;

/// The version of the record's schema. A new binary reads the records of an old one.
pub const SCHEMA: u32 = 1;

/// What is remembered of a container. The names of runc's `state.json` are kept where the meaning is the same.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The container's name.
    pub id: String,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// The root filesystem, absolute.
    pub rootfs: PathBuf,
    /// The `ociVersion` of the configuration.
    #[serde(rename = "ociVersion")]
    pub version: String,
    /// The init process, 0 as long as there is none.
    pub init_process_pid: i32,
    /// Its start time in clock ticks since boot: with the pid it names one process for ever, see proc_pid_stat(5).
    pub init_process_start: u64,
    /// When create was called, RFC 3339.
    pub created: String,
    /// The user id that called create.
    pub owner: u32,
    /// `create` has finished.
    pub committed: bool,
    /// It was made from a checkpoint: its init runs the program without having executed it.
    pub restored: bool,
    /// The namespaces that are not the caller's.
    pub namespaces: Vec<Kind>,
    /// The pid namespace is the caller's or somebody else's.
    pub shares_pids: bool,
    /// The name of its session keyring, if it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// Where its cgroups are.
    pub cgroup: CgroupPaths,
    /// Its groups in the resctrl file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<Membership>,
    /// Without a mount namespace: what is mounted on the host for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_mounts: Vec<HostMount>,
    /// There are hooks for after start, or after delete.
    pub has_late_hooks: bool,
    /// There is no `process`: it can be created, but not started.
    pub lacks_process: bool,
    /// `annotations` of the configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A place below the container's root that will be mounted on, see [`Record::host_mounts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMount {
    /// In the root.
    pub path: PathBuf,
    /// The mount that was to be seen there before, by its id; see statx(2). It stays.
    pub before: u64,
}

impl Record {
    /// Whether its other processes may outlive init: only a pid namespace of its own ends with init.
    pub fn may_outlive_init(&self) -> bool {
        self.shares_pids || !self.namespaces.contains(&Kind::Pid)
    }
}

/// A container that exists: its directory and its record.
#[derive(Debug)]
pub struct Container {
    /// `ROOT/ID`.
    pub directory: PathBuf,
    /// What is remembered.
    pub record: Record,
}

/// An exclusive lock on a container's directory, released when dropped.
#[derive(Debug)]
pub struct Lock(OwnedFd);

impl Drop for Lock {
    /// A flock(2) belongs to the open file, which init has inherited: closing our descriptor alone would not end it.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl Container {
    /// Reads a container's record. Takes no lock: hooks call `state` while create holds it.
    pub fn open(root: &Path, id: &str) -> Result<Container> {
        check_id(id)?;
        let directory = root.join(id);
        match fs::read(directory.join("state.json")) {
            Ok(text) => {
                let record: Record = serde_json::from_slice(&text)
                    .map_err(|error| Error::new(format!("the record of {id:?} is damaged: {error}")))?;
                if record.schema > SCHEMA {
                    return Err(Error::new(format!("{id:?} was made by a newer minicon (record {})", record.schema)));
                }
                Ok(Container { directory, record })
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(does_not_exist(root, id))
            }
            Err(error) => Err(Error::new(format!("read the record of {id:?}: {error}"))),
        }
    }

    /// Takes the lock and reads the record again, as it may have changed until the lock was free.
    pub fn open_locked(root: &Path, id: &str) -> Result<(Container, Lock)> {
        let container = Container::open(root, id)?;
        let lock = container.lock(FlockOperation::LockExclusive)?;
        Ok((Container::open(root, id)?, lock))
    }

    /// Locks the directory: flock(2). A create that was killed has let go.
    pub fn lock(&self, operation: FlockOperation) -> Result<Lock> {
        lock(&self.directory, operation)
    }

    /// What the container is doing now.
    pub fn status(&self) -> Result<Status> {
        status::observe(self)
    }

    /// The container's cgroups.
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::open(&self.record.cgroup)
    }

    /// The configuration as it was at create.
    pub fn config_text(&self) -> Result<Vec<u8>> {
        let file = self.directory.join("config.json");
        fs::read(&file).map_err(|error| Error::new(format!("read {}: {error}", file.display())))
    }

    /// Replaces the record.
    pub fn save(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.record).map_err(|error| Error::new(error.to_string()))?;
        let (new, file) = (self.directory.join(".state.json"), self.directory.join("state.json"));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &file))
            .map_err(|error| Error::new(format!("write {}: {error}", file.display())))
    }

    /// Removes the directory and what is in it.
    pub fn forget(&self) -> Result<()> {
        forget(&self.directory)
    }
}

/// The error of an id that nobody uses; engines know its words.
pub fn does_not_exist(root: &Path, id: &str) -> Error {
    Error::new(format!("container does not exist: {id:?}"))
        .hint(format!("`minicon list` shows those in {}", root.display()))
}

/// "This operation MUST generate an error if `process` was not set" (runtime.md, Start). The words are runc's.
pub fn no_process() -> Error {
    Error::new("process property must not be empty")
        .at(ConfigPath::new("process"))
        .hint("the container was created without a program; delete it, or use exec --process")
}

/// Removes a state directory and what is in it.
pub fn forget(directory: &Path) -> Result<()> {
    // What it holds as a rule, the record last, so that nothing need be listed; then whatever else there may be.
    for file in ["exec.fifo", "exec.result", "config.json", "state.json"] {
        let _ = fs::remove_file(directory.join(file));
    }
    let removed = match fs::remove_dir(directory) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(directory),
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::new(format!("remove {}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}

/// Locks a directory, and not one that was removed while the lock was waited for: another container may have its name.
fn lock(directory: &Path, operation: FlockOperation) -> Result<Lock> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    loop {
        let opened = call!("open"(directory.display()) => rustix::fs::open(directory, flags, Mode::empty()))?;
        call!("flock"(directory.display()) => rustix::io::retry_on_intr(|| rustix::fs::flock(&opened, operation)))?;
        let lock = Lock(opened);
        if let (Ok(locked), Ok(there)) = (rustix::fs::fstat(&lock.0), rustix::fs::stat(directory))
            && (locked.st_dev, locked.st_ino) == (there.st_dev, there.st_ino)
        {
            return Ok(lock);
        }
    }
}

/// Takes away what a create has left that was killed before it could write its record: nothing else exists of it. False if
/// there is more: a record, or a create that is at work.
pub fn forget_unrecorded(directory: &Path) -> Result<bool> {
    match lock(directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(_lock) if directory.join("state.json").exists() => Ok(false),
        Ok(_lock) => forget(directory).map(|()| true),
        Err(error) if error.errno() == Some(rustix::io::Errno::NOENT) => Ok(true),
        Err(error) if error.errno() == Some(rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes an id and makes its directory, locked. From here on there is something to undo.
pub fn reserve(root: &Path, root_mode: u32, record: Record) -> Result<(Container, Lock)> {
    check_id(&record.id)?;
    let as_errno = |error: std::io::Error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
    let directory = root.join(&record.id);
    let taken = || Error::new(format!("container with given ID already exists: {:?}", record.id));
    let make = || fs::DirBuilder::new().mode(0o711).create(&directory);
    let made = match make() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = fs::DirBuilder::new().recursive(true).mode(root_mode).create(root).map_err(as_errno);
            call!("mkdir"(root.display()) => made).step(|| "make the state directory")?;
            make()
        }
        made => made,
    };
    match made {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken()),
        Err(error) => {
            return call!("mkdir"(directory.display()) => Err(as_errno(error))).step(|| "make the state directory");
        }
    }
    let lock = match lock(&directory, FlockOperation::LockExclusive) {
        // Before we had it, somebody has taken our directory for a remainder, and somebody else the id.
        Ok(_) if directory.join("state.json").exists() => return Err(taken()),
        Ok(lock) => lock,
        Err(error) => {
            let _ = fs::remove_dir(&directory);
            return Err(error).step(|| "reserve the id");
        }
    };
    let container = Container { directory, record };
    match container.save() {
        Ok(()) => Ok((container, lock)),
        Err(error) => {
            let _ = container.forget();
            Err(error).step(|| "reserve the id")
        }
    }
}

/// An id is a file name of letters, digits, `_`, `+`, `-` and `.`, as runc has it.
pub fn check_id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::new("container id cannot be empty"));
    }
    let is_valid = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '+' | '-' | '.');
    if id == "." || id == ".." || id.len() > 255 || !id.chars().all(is_valid) {
        return Err(Error::new(format!("invalid container ID format: {id:?}"))
            .hint("an id has letters, digits, `_`, `+`, `-` and `.`, at most 255"));
    }
    Ok(())
}

/// The ids below a root, sorted.
pub fn ids(root: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::new(format!("read {}: {error}", root.display()))),
    };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut ids: Vec<String> = entries
        .flatten()
        .filter(is_directory)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|id| check_id(id).is_ok())
        .collect();
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_names() {
        for good in ["web", "a.b-c_d+1", "0"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\n"] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }
}
