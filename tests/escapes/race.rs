//! Races: somebody who swaps two names as fast as the kernel can, while containers are made.
//!
//! A race that nobody can win proves nothing, so each is run against a naive reference too, which checks a path and then
//! uses it: that one must lose. Racers only look, or aim at a decoy, so they run on the machine itself; the processors of an
//! emulated one take turns, which is no race.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::Verdict;

/// How long each race is run, by `ESCAPES_RACE`: the seconds, or 20 if it is 1.
pub fn length() -> Option<Duration> {
    let seconds = std::env::var("ESCAPES_RACE").ok()?.parse().unwrap_or(1);
    Some(Duration::from_secs(if seconds == 1 { 20 } else { seconds }))
}

/// Most of what a naive reference is given.
const NAIVE_ROUNDS: usize = 20_000;

/// What came of a race.
#[derive(Default)]
pub struct Raced {
    pub rounds: usize,
    pub won: usize,
    pub swaps: u64,
    /// Of the naive reference, if there is one.
    pub naive: Option<(usize, usize)>,
    /// How it was won.
    pub how: String,
}

impl Raced {
    pub fn fails(&self) -> bool {
        self.won > 0 || self.rounds == 0 || self.naive.is_some_and(|(_, won)| won == 0)
    }
}

/// Two names that are swapped, one round of the runtime, and one of the reference, which tells whether it lost.
pub fn race(names: (&Path, &Path), mut round: impl FnMut() -> Verdict, mut naive: impl FnMut() -> bool) -> Raced {
    let swapper = Swapper::start(names.0, names.1);
    let mut raced = Raced::default();
    let (mut rounds, mut lost, start) = (0, 0, Instant::now());
    // Ten are enough to show that it can be won.
    while rounds < NAIVE_ROUNDS && lost < 10 && start.elapsed() < Duration::from_secs(20) {
        lost += usize::from(naive());
        rounds += 1;
    }
    raced.naive = Some((rounds, lost));
    run(&mut raced, &mut round);
    raced.swaps = swapper.swaps.load(SeqCst);
    assert!(swapper.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "nobody swaps any more");
    raced
}

/// Rounds of the runtime as long as a race takes; a lost one ends it.
pub fn run(raced: &mut Raced, round: &mut impl FnMut() -> Verdict) {
    let start = Instant::now();
    while raced.won == 0 && start.elapsed() < length().unwrap_or_default() {
        raced.rounds += 1;
        match round() {
            Verdict::Holds => {}
            verdict => {
                raced.won += 1;
                raced.how = format!("{verdict:?}");
            }
        }
    }
}

/// Exchanges two names until dropped, and leaves them as they were.
struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn start(one: &Path, other: &Path) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (one, other, ended): (PathBuf, PathBuf, _) = (one.to_owned(), other.to_owned(), Arc::clone(&stop));
        let swap = move || renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("RENAME_EXCHANGE");
        let count = Arc::clone(&swaps);
        let thread = std::thread::spawn(move || {
            // What is mounted on in one's own namespace cannot be renamed.
            unshare(CloneFlags::CLONE_NEWNS).expect("unshare(CLONE_NEWNS)");
            while !ended.load(SeqCst) {
                swap();
                swap();
                count.fetch_add(2, SeqCst);
            }
        });
        Swapper { stop, swaps, thread: Some(thread) }
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
