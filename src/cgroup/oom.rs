//! Being told when a cgroup runs out of memory: a descriptor to poll, and the question whether it really happened.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::EventfdFlags;
use rustix::fs::{Mode, OFlags, inotify};

use super::{Cgroup, files, stats};
use crate::call;
use crate::error::{Context, Result};

/// A watch on a container's memory.
#[derive(Debug)]
pub enum OomWatch {
    /// An eventfd(2) that the kernel counts up, when memory runs out and when the cgroup is removed.
    V1 {
        /// The eventfd.
        told: OwnedFd,
        /// A file that is there as long as the cgroup is.
        witness: PathBuf,
    },
    /// An inotify(7) watch on `memory.events`, which changes for other reasons too.
    V2 {
        /// The inotify descriptor.
        told: OwnedFd,
        /// `memory.events`.
        file: PathBuf,
        /// The processes killed when we last looked.
        killed: u64,
    },
}

impl Cgroup {
    /// Starts to watch. None if the container's cgroups have no memory controller.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        self.watch().step(|| "watch for the end of memory")
    }

    fn watch(&self) -> Result<Option<OomWatch>> {
        if let Some(member) = self.v1("memory") {
            let path = member.path.join("memory.oom_control");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let control = call!("open"(path.display()) => rustix::fs::open(&path, flags, Mode::empty()))?;
            let told = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
            let told = call!("eventfd2"() => told)?;
            // Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control".
            let witness = member.path.join("cgroup.event_control");
            files::write(&witness, &format!("{} {}", told.as_raw_fd(), control.as_raw_fd()))?;
            return Ok(Some(OomWatch::V1 { told, witness }));
        }
        let Some(file) = self.v2().map(|member| member.path.join("memory.events")) else { return Ok(None) };
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let told = call!("inotify_init1"() => inotify::init(flags))?;
        let watched = inotify::add_watch(&told, &file, inotify::WatchFlags::MODIFY);
        match call!("inotify_add_watch"(file.display()) => watched) {
            Err(error) if files::is_gone(&error) => Ok(None),
            watched => watched.map(|_| {
                // Counted after the watch began, so that nothing falls between.
                let killed = count_killed(&file);
                Some(OomWatch::V2 { told, file, killed })
            }),
        }
    }
}

impl OomWatch {
    /// What to poll.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            OomWatch::V1 { told, .. } | OomWatch::V2 { told, .. } => told.as_fd(),
        }
    }

    /// Whether memory has run out since this was last asked. Does not block.
    pub fn happened(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self {
            // The count that is read says nothing about how often: notifications in a row are one.
            OomWatch::V1 { told, witness } => rustix::io::read(&*told, &mut buffer[..8]).is_ok() && witness.exists(),
            OomWatch::V2 { told, file, killed } => {
                while rustix::io::read(&*told, &mut buffer).is_ok_and(|length| length > 0) {}
                let before = std::mem::replace(killed, count_killed(file));
                *killed > before
            }
        }
    }
}

fn count_killed(file: &std::path::Path) -> u64 {
    let text = files::read(file).unwrap_or_default();
    stats::table(&text).get("oom_kill").copied().unwrap_or_default()
}
