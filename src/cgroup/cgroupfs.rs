//! The cgroupfs driver: makes the directories of a plan, writes its files, removes everything again.
//!
//! The files are opened by path, not below a descriptor of the directory: most directories get one write or none, and
//! nobody but their owner can replace a directory of a cgroup file system.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::{Cgroup, Member, Presence, files};
use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::cgroup::{CgroupPlan, Directory, Version, When};
use crate::plan::steps::id;
use crate::sys::descriptors::Spent;
use crate::trace::{self, Outcome};

impl Cgroup {
    /// Makes the directories of a plan, with their parents, ready to be joined. On failure everything that was made
    /// is removed again. A directory that exists is taken if it is empty and not frozen; one that systemd makes is left to
    /// [`Cgroup::place`].
    pub fn create(plan: &CgroupPlan) -> Result<Cgroup> {
        let cgroup = Cgroup { unit: super::unit_name(plan), ..Cgroup::default() };
        let mut new = Creating { cgroup, made: Vec::new() };
        for directory in &plan.directories {
            if plan.is_made_by_systemd(directory) {
                refuse_frozen(directory).at("linux.cgroupsPath")?;
                new.push(directory, Presence::Awaited);
                continue;
            }
            let limited = plan.writes.iter().any(|write| write.directory == new.cgroup.members.len());
            trace::conditional(|| id::directory(directory), || new.add(directory, limited))?;
        }
        new.cgroup.refuse_occupied().at("linux.cgroupsPath")?;
        for (index, directory) in plan.directories.iter().enumerate() {
            let presence = new.cgroup.members[index].presence;
            match directory.version {
                _ if !presence.is_there() => {}
                Version::V2 => enable_controllers(directory)?,
                Version::V1 if directory.cpuset => {
                    let given = |file: &str| plan.writes.iter().any(|w| w.directory == index && w.file == file);
                    inherit_cpuset(directory, presence == Presence::New, given).step(|| "inherit the cpuset")?;
                }
                Version::V1 => {}
            }
        }
        new.cgroup.write(plan, |when| when == When::BeforeJoining)?;
        Ok(new.release())
    }

    /// The container's cgroup may hold nobody else (config-linux.md, "Control groups"). The words are runc's.
    fn refuse_occupied(&self) -> Result<()> {
        let existing = || self.members.iter().filter(|member| member.presence == Presence::Existing);
        let mut pids = Vec::new();
        for member in existing() {
            pids.extend(member.pids()?);
        }
        pids.sort_unstable();
        pids.dedup();
        if !pids.is_empty() {
            return Err(Error::new(format!("container's cgroup is not empty: {} process(es) found", pids.len())));
        }
        if existing().next().is_some() && self.is_frozen()? {
            return Err(Error::new("container's cgroup unexpectedly frozen"));
        }
        Ok(())
    }

    /// Removes the directories, with any that the container made inside, then the parents that were made for it, if
    /// nobody else uses them. Those that were there before the container stay. What is gone already is fine. Goes on after
    /// a failure and returns the first.
    pub(super) fn remove_directories(&self) -> Result<()> {
        let mut failed = None;
        for member in self.present() {
            let removed = match member.stays {
                true => {
                    subdirectories(&member.path).and_then(|inside| inside.iter().try_for_each(|one| remove_tree(one)))
                }
                false => remove_tree(&member.path),
            };
            if let Err(error) = removed {
                failed.get_or_insert(error.step("remove the cgroup"));
            }
        }
        if self.members.is_empty() {
            self.await_the_last();
        }
        for parent in self.parents.iter().rev() {
            match call!("rmdir"(parent.display()) => rustix::fs::rmdir(parent)) {
                Err(error) if !files::is_gone(&error) && !is_in_use(&error) => {
                    failed.get_or_insert(error.step("remove the cgroup"));
                }
                _ => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// A create that was killed has left a claim on directories and perhaps an init in them, which ends by itself as soon as
    /// it sees that. Whoever is still there after a while is somebody else.
    fn await_the_last(&self) {
        let started = Instant::now();
        let is_busy = |path: &PathBuf| files::read(&path.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty());
        while started.elapsed() < Duration::from_secs(1) && self.parents.iter().any(is_busy) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Gives the v2 directory to a user of the host, as config-linux.md, "Cgroup ownership", describes: the directory
    /// and the files in it that the kernel lists as safe.
    pub fn give_to(&self, owner: u32) -> Result<()> {
        let Some(member) = self.v2() else { return Ok(()) };
        let listed = files::read(Path::new("/sys/kernel/cgroup/delegate"));
        let listed = listed.as_deref().unwrap_or("cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n");
        let inside = listed.lines().map(|file| member.path.join(file));
        for path in inside.chain([member.path.clone()]) {
            let chown = rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(owner)), None);
            match call!("chown"(path.display(), owner) => chown) {
                // A file that this kernel does not have, though it lists it.
                Err(error) if !files::is_gone(&error) => {
                    return Err(error.step("give the cgroup to the container's user").at("linux.namespaces"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A directory that is there before its unit is, and frozen: systemd would put init into it, and it would never answer.
fn refuse_frozen(directory: &Directory) -> Result<()> {
    if directory.version == Version::V1 {
        return Ok(()); // its freezer is not systemd's
    }
    match files::read_value(&directory.path.join("cgroup.freeze")) {
        Ok(value) if value == "1" => Err(Error::new("container's cgroup unexpectedly frozen")),
        Err(error) if !files::is_gone(&error) => Err(error.step("read the freezer")),
        _ => Ok(()),
    }
}

/// Undoes what was made unless it is released.
struct Creating {
    cgroup: Cgroup,
    /// Every directory that was made, in that order.
    made: Vec<PathBuf>,
}

impl Creating {
    fn add(&mut self, directory: &Directory, limited: bool) -> Result<Outcome> {
        let made =
            check_may_join(directory).and_then(|()| make(&directory.path, &directory.mount_point, &mut self.made));
        let presence = match made {
            Ok(true) => Presence::New,
            Ok(false) => Presence::Existing,
            Err(error) if files::is_permission(&error) && directory.required_by.is_none() => Presence::Absent,
            Err(error) => return Err(explain_make(error, directory, limited)),
        };
        self.push(directory, presence);
        Ok(if presence == Presence::Absent { Outcome::Skipped } else { Outcome::Done })
    }

    fn push(&mut self, directory: &Directory, presence: Presence) {
        self.cgroup.members.push(Member {
            path: directory.path.clone(),
            version: directory.version,
            controllers: directory.controllers.clone(),
            presence,
            required: directory.required_by.is_some(),
            stays: presence == Presence::Existing,
        });
    }

    fn release(mut self) -> Cgroup {
        let mut cgroup = std::mem::take(&mut self.cgroup);
        let own = |path: &PathBuf| cgroup.members.iter().any(|member| member.path == *path);
        cgroup.parents = std::mem::take(&mut self.made).into_iter().filter(|path| !own(path)).collect();
        cgroup
    }
}

impl Drop for Creating {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // The failure that led here is the one to report.
            let _ = rustix::fs::rmdir(path);
        }
    }
}

/// What the kernel will check when init is cloned into the directory, asked before anything is made.
fn check_may_join(directory: &Directory) -> Result<()> {
    let Some(parent) = &directory.common_parent else { return Ok(()) };
    let file = parent.join("cgroup.procs");
    call!("access"(file.display(), "W_OK") => rustix::fs::access(&file, rustix::fs::Access::WRITE_OK))
}

/// Makes a directory and its missing parents; tells whether it was missing itself.
fn make(path: &Path, mount_point: &Path, made: &mut Vec<PathBuf>) -> Result<bool> {
    // Another container's end may remove a parent as soon as we have seen it.
    const ATTEMPTS: usize = 32;
    for attempt in 1.. {
        let mode = Mode::from_raw_mode(0o755);
        match call!("mkdir"(path.display(), "0755") => rustix::fs::mkdir(path, mode)) {
            Ok(()) => {
                made.push(path.to_owned());
                return Ok(true);
            }
            Err(error) if error.errno() == Some(Errno::EXIST) => return Ok(false),
            Err(error) if error.errno() == Some(Errno::NOENT) && attempt < ATTEMPTS => {
                match path.parent().filter(|parent| *parent != mount_point) {
                    Some(parent) => make(parent, mount_point, made)?,
                    None => return Err(error),
                };
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// The steps of a missing permission are runc's words, which its users know.
fn explain_make(error: Error, directory: &Directory, limited: bool) -> Error {
    let step = match directory.version {
        Version::V1 if limited && files::is_permission(&error) => {
            format!("cannot set {} limit: container could not join or create cgroup", directory.controllers.join(","))
        }
        Version::V2 if limited && files::is_permission(&error) => {
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups".to_owned()
        }
        _ => "unable to apply cgroup configuration".to_owned(),
    };
    match directory.required_by {
        Some(at) if files::is_permission(&error) => error.step(step).at(at),
        _ => error.step(step).at("linux.cgroupsPath"),
    }
}

/// A v1 cpuset starts empty and takes nobody: gives it what its parent has, unless the plan gives it something, and
/// fills parents that are empty too.
fn inherit_cpuset(directory: &Directory, new: bool, given: impl Fn(&str) -> bool) -> Result<()> {
    let path = &directory.path;
    let Some(parent) = path.parent() else { return Ok(()) };
    let mut spent = Spent::default();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !new && !files::read_value(&path.join(file))?.is_empty() {
            continue;
        }
        let inherited = cpuset_or_inherited(parent, &directory.mount_point, file)?;
        if !given(file) {
            let open = files::open_to_write(&path.join(file))?;
            files::write_to(&open, &inherited)?;
            spent.add(open);
        }
    }
    Ok(())
}

fn cpuset_or_inherited(path: &Path, mount_point: &Path, file: &str) -> Result<String> {
    let value = files::read_value(&path.join(file))?;
    match path.parent() {
        Some(parent) if value.is_empty() && path != mount_point => {
            let inherited = cpuset_or_inherited(parent, mount_point, file)?;
            files::write(&path.join(file), &inherited)?;
            Ok(inherited)
        }
        _ => Ok(value),
    }
}

/// Enables the controllers for the directory in all its parents that lack them. What cannot be enabled is left: the
/// write of the limit that needs it fails and says so.
pub(super) fn enable_controllers(directory: &Directory) -> Result<()> {
    if directory.controllers.is_empty() {
        return Ok(());
    }
    let list = |path: &Path| files::read_value(&path.join("cgroup.controllers")).step(|| "enable cgroup controllers");
    let is_in = |list: &str, name: &str| list.split(' ').any(|known| known == name);
    let enabled = list(&directory.path)?;
    let missing = directory.controllers.iter().filter(|name| !is_in(&enabled, name));
    let missing: Vec<String> = missing.map(|name| format!("+{name}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let below_mount = |path: &&Path| path.starts_with(&directory.mount_point);
    let mut parents: Vec<&Path> = directory.path.ancestors().skip(1).take_while(below_mount).collect();
    parents.reverse();
    for parent in parents {
        // One that is not to be had spoils the write for all.
        let offered = list(parent)?;
        let wanted: Vec<&str> = missing.iter().map(String::as_str).filter(|name| is_in(&offered, &name[1..])).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let file = parent.join("cgroup.subtree_control");
        match files::write(&file, &wanted.join(" ")) {
            // The parent has processes of its own. Some controllers could be enabled all the same, but only at the price
            // that the directory becomes part of a threaded subtree, which takes no container (cgroups(7)).
            Err(error) if error.errno() == Some(Errno::BUSY) => return Ok(()),
            Err(_) => wanted.iter().for_each(|one| drop(files::write(&file, one))),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Removes a directory and those inside, depth first. A process that has just died may still count for a moment.
fn remove_tree(path: &Path) -> Result<()> {
    let mut pause = Duration::from_micros(500);
    let longest = Duration::from_millis(256);
    loop {
        let error = match call!("rmdir"(path.display()) => rustix::fs::rmdir(path)) {
            Err(error) if is_in_use(&error) => error,
            Err(error) if !files::is_gone(&error) => return Err(error),
            _ => return Ok(()),
        };
        let inside = subdirectories(path)?;
        if inside.is_empty() {
            // Doubling up to the longest pause makes about one second in all.
            if pause > longest {
                return Err(error.hint("processes are still inside; kill them first"));
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        for directory in inside {
            remove_tree(&directory)?;
        }
    }
}

fn is_in_use(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::BUSY | Errno::NOTEMPTY))
}

/// The cgroups directly below one; none if it is gone.
pub(super) fn subdirectories(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::call("getdents64", path.display().to_string(), errno)
    };
    let entries = match std::fs::read_dir(path).map_err(failed) {
        Err(error) if files::is_gone(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
