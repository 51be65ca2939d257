//! Races: somebody who swaps two names as fast as the kernel can, while containers are made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How often a race is run: 1000 times with `ESCAPES_RACE`, else not at all.
pub fn rounds() -> usize {
    if std::env::var_os("ESCAPES_RACE").is_some() { 1000 } else { 0 }
}

/// Exchanges two names until dropped, and leaves them as they were.
pub struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    pub fn start(one: &Path, other: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (one, other, ended): (PathBuf, PathBuf, _) = (one.to_owned(), other.to_owned(), Arc::clone(&stop));
        let swap = move || renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("RENAME_EXCHANGE");
        let thread = std::thread::spawn(move || {
            while !ended.load(SeqCst) {
                swap();
                swap();
            }
        });
        Swapper { stop, thread: Some(thread) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
