//! Kills what does not end: a runtime that hangs now and then would stop the whole benchmark. A thread looks at the clock, so
//! that what is timed is not disturbed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Nothing that is measured takes a tenth of it, but where a hundred run at once.
const LIMIT: Duration = Duration::from_secs(15);

static WATCHED: Mutex<BTreeMap<u32, Instant>> = Mutex::new(BTreeMap::new());

/// A process that is being waited for.
pub struct Watched(u32);

/// To be called once, when the mount namespace has been entered: a thread keeps a process from entering one.
pub fn begin() {
    spawn(|| {
        loop {
            sleep(Duration::from_secs(1));
            let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
            watched.retain(|pid, deadline| {
                let late = *deadline < Instant::now();
                if late {
                    let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
                }
                !late
            });
        }
    });
}

/// Kills this child when it is late, unless what is returned is dropped before.
pub fn watch(pid: u32) -> Watched {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, Instant::now() + LIMIT);
    Watched(pid)
}

impl Drop for Watched {
    fn drop(&mut self) {
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
