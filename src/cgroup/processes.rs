//! Who is in a container's cgroups: list them, freeze them, kill them.
//!
//! On v1 a process could be in different cgroups of different hierarchies; as in runc, the devices hierarchy decides.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Cgroup, Member, cgroupfs, files};
use crate::error::{Context, Error, Result};
use crate::hints;
use crate::sys::process;

/// How long to wait for the kernel to freeze or to kill.
const PATIENCE: Duration = Duration::from_secs(2);

impl Cgroup {
    /// The processes in the cgroup and below, as the calling process numbers them. None if the cgroup is gone.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let chosen = self.v1("devices").or_else(|| self.v1("freezer")).or_else(|| self.v2());
        match chosen.or_else(|| self.present().next()) {
            Some(member) => member.pids().step(|| "list the processes"),
            None => Ok(Vec::new()),
        }
    }

    /// Stops every process in the cgroup and below, and returns when they stand still.
    pub fn freeze(&self) -> Result<()> {
        let (freezer, frozen) = self.freezer()?;
        let result = freezer.freeze(frozen).step(|| "freeze the processes");
        if result.is_err() {
            // A container that is half frozen is worse than one that runs.
            let _ = freezer.thaw();
        }
        result
    }

    /// Lets the processes run again.
    pub fn thaw(&self) -> Result<()> {
        self.freezer()?.0.thaw().step(|| "thaw the processes")
    }

    /// Whether the container was frozen here (and not because a parent cgroup is). False if there is no freezer.
    pub fn is_frozen(&self) -> Result<bool> {
        let (file, frozen) = match (self.v1("freezer"), self.v2()) {
            (Some(member), _) => (member.path.join("freezer.self_freezing"), "1"),
            (None, Some(member)) => (member.path.join("cgroup.freeze"), "1"),
            (None, None) => return Ok(false),
        };
        match files::read_value(&file) {
            Ok(value) => Ok(value == frozen),
            Err(error) if files::is_gone(&error) => Ok(false),
            Err(error) => Err(error.step("read the freezer")),
        }
    }

    /// Sends a signal to every process in the cgroup and below. With SIGKILL returns when all are gone on v1, and when
    /// all have got it on v2, where no process can escape it by forking.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let all_v2 = self.present().all(|member| member.version == crate::plan::cgroup::Version::V2);
        if let Some(member) = self.v2().filter(|_| signal == libc::SIGKILL && all_v2) {
            match files::write(&member.path.join("cgroup.kill"), "1") {
                // Before Linux 5.14, or the cgroup is gone and the loop below finds nobody.
                Err(error) if files::is_gone(&error) => {}
                result => return result.step(|| "kill the processes"),
            }
        }
        let started = Instant::now();
        let mut pause = Duration::from_micros(200);
        while self.signal_all(signal)? > 0 && signal == libc::SIGKILL {
            if started.elapsed() > PATIENCE {
                return Err(
                    Error::new("the processes do not die; they may wait for a device").step("kill the processes")
                );
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Freezes, so that nobody forks meanwhile, signals everyone and thaws. Returns how many were signalled.
    fn signal_all(&self, signal: i32) -> Result<usize> {
        // Paused stays paused, but SIGKILL needs a running process to take effect on v1.
        let was_frozen = self.is_frozen()?;
        let frozen_here = !was_frozen && self.freeze().is_ok();
        let signalled = self.pids().and_then(|pids| signal_each(&pids, signal));
        if frozen_here || (was_frozen && signal == libc::SIGKILL) {
            match self.thaw() {
                Err(error) if files::is_gone(&error) => {}
                result => result?,
            }
        }
        signalled
    }

    /// The freezer, and its word for a frozen state that is reached.
    fn freezer(&self) -> Result<(Freezer<'_>, &'static str)> {
        let v1 = self.v1("freezer").map(|member| (Freezer::V1(&member.path), "FROZEN"));
        let found = v1.or_else(|| self.v2().map(|member| (Freezer::V2(&member.path), "frozen 1")));
        found.ok_or_else(|| Error::new("the container has no cgroup with a freezer").hint(hints::DELEGATE))
    }
}

fn signal_each(pids: &[i32], signal: i32) -> Result<usize> {
    let mut signalled = 0;
    // 0 stands for a process that the caller's pid namespace cannot see.
    for pid in pids.iter().filter(|pid| **pid > 0) {
        match process::kill(*pid, signal) {
            Err(error) if error.errno() != Some(Errno::SRCH) => return Err(error.step("signal the processes")),
            Err(_) => {}
            Ok(()) => signalled += 1,
        }
    }
    Ok(signalled)
}

enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Freezer<'_> {
    /// On v1, processes that appear while others freeze can leave the state at FREEZING for good; writing again
    /// helps, and sometimes only letting them run for a moment. v2 gets there by itself.
    fn freeze(&self, reached: &str) -> Result<()> {
        let started = Instant::now();
        let mut rounds = 0u32;
        self.write("FROZEN", "1")?;
        while !self.read()?.lines().any(|line| line == reached) {
            if started.elapsed() > PATIENCE {
                return Err(Error::new("unable to freeze"));
            }
            rounds += 1;
            if let (Freezer::V1(_), 0) = (self, rounds % 50) {
                self.thaw()?;
                std::thread::sleep(Duration::from_millis(10));
            }
            if rounds > 10 {
                std::thread::sleep(Duration::from_micros(100));
            }
            if let Freezer::V1(_) = self {
                self.write("FROZEN", "1")?;
            }
        }
        Ok(())
    }

    fn thaw(&self) -> Result<()> {
        self.write("THAWED", "0")
    }

    fn write(&self, v1: &str, v2: &str) -> Result<()> {
        match self {
            Freezer::V1(path) => files::write(&path.join("freezer.state"), v1),
            Freezer::V2(path) => files::write(&path.join("cgroup.freeze"), v2),
        }
    }

    fn read(&self) -> Result<String> {
        match self {
            Freezer::V1(path) => files::read_value(&path.join("freezer.state")),
            Freezer::V2(path) => files::read_value(&path.join("cgroup.events")),
        }
    }
}

impl Member {
    /// The processes in one hierarchy, below the directory too.
    pub(super) fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        collect_pids(&self.path, &mut pids)?;
        Ok(pids)
    }
}

fn collect_pids(path: &Path, pids: &mut Vec<i32>) -> Result<()> {
    match files::read(&path.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        // Removed meanwhile; or a threaded cgroup, whose processes the domain above lists.
        Err(error) if files::is_gone(&error) || error.errno() == Some(Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    for directory in cgroupfs::subdirectories(path)? {
        collect_pids(&directory, pids)?;
    }
    Ok(())
}
