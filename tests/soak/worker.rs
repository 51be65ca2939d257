//! A worker owns every eighth container and keeps them coming and going.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::figures::{Figures, Operation, When};
use crate::support::program;

pub const WORKERS: usize = 8;

#[derive(Clone, Copy, PartialEq)]
pub enum Stage {
    Filling,
    Busy,
    Done,
    Interrupted,
}

/// What the workers share.
pub struct Load {
    root: PathBuf,
    bundle: PathBuf,
    tag: String,
    containers: usize,
    stage: AtomicU8,
    running: AtomicUsize,
    filled: AtomicUsize,
    /// The command of each worker, and since when.
    commands: [Mutex<Option<(u32, Instant)>>; WORKERS],
    pub hung: AtomicUsize,
    start: Instant,
}

impl Load {
    pub fn new(root: PathBuf, bundle: PathBuf, tag: String, containers: usize) -> Self {
        let (zero, commands) = (|| AtomicUsize::new(0), std::array::from_fn(|_| Mutex::new(None)));
        let stage = AtomicU8::new(Stage::Filling as u8);
        let (running, filled, hung, start) = (zero(), zero(), zero(), Instant::now());
        Load { root, bundle, tag, containers, stage, running, filled, commands, hung, start }
    }

    pub fn stage(&self) -> Stage {
        let stages = [Stage::Filling, Stage::Busy, Stage::Done, Stage::Interrupted];
        stages[usize::from(self.stage.load(SeqCst))]
    }

    pub fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, SeqCst);
    }

    /// The last worker that has its containers makes all of them busy, if nobody has ended it meanwhile.
    fn has_filled(&self) {
        if self.filled.fetch_add(1, SeqCst) + 1 == WORKERS {
            println!("{} running after {:.1} s", self.running.load(SeqCst), self.start.elapsed().as_secs_f64());
            let _ = self.stage.compare_exchange(Stage::Filling as u8, Stage::Busy as u8, SeqCst, SeqCst);
        }
    }

    pub fn kill_what_hangs(&self, limit: Duration) {
        for command in &self.commands {
            let mut command = command.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((pid, _)) = command.take_if(|(_, since)| since.elapsed() > limit) {
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
                self.hung.fetch_add(1, SeqCst);
            }
        }
    }
}

pub struct Worker<'l> {
    load: &'l Load,
    number: usize,
    /// The numbers of its containers.
    containers: Vec<usize>,
    words: File,
    busy_since: Option<Instant>,
    random: u64,
    figures: Figures,
    errors: Vec<String>,
}

impl<'l> Worker<'l> {
    pub fn new(load: &'l Load, number: usize) -> Self {
        let containers = (number..load.containers).step_by(WORKERS).collect();
        let words = tempfile::tempfile().expect("a temporary file");
        let random = 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1);
        let (figures, errors) = (Figures::default(), Vec::new());
        Worker { load, number, containers, words, busy_since: None, random, figures, errors }
    }

    /// From nothing to nothing.
    pub fn work(mut self) -> (Figures, Vec<String>) {
        for index in 0..self.containers.len() {
            if self.load.stage() == Stage::Filling {
                self.bring_up(index);
            }
        }
        self.load.has_filled();
        while self.load.stage() == Stage::Filling {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.busy_since = Some(Instant::now());
        while self.load.stage() == Stage::Busy && !self.containers.is_empty() {
            let index = self.random() as usize % self.containers.len();
            match self.random() % 4 {
                0 => self.replace(index),
                1 => self.replace_by_force(index),
                _ => drop(self.perform(Operation::Exec, index, &["true"])),
            }
        }
        self.busy_since = None;
        for index in 0..self.containers.len() {
            // One that was never made is no error to delete by force.
            self.perform(Operation::Delete, index, &["--force"]);
        }
        (self.figures, self.errors)
    }

    fn bring_up(&mut self, index: usize) {
        let bundle = self.load.bundle.display().to_string();
        let made = self.perform(Operation::Create, index, &["--bundle", &bundle]);
        if made && self.perform(Operation::Start, index, &[]) {
            self.load.running.fetch_add(1, SeqCst);
        }
    }

    fn replace(&mut self, index: usize) {
        if self.perform(Operation::Kill, index, &["KILL"]) && self.stops(index) {
            self.load.running.fetch_sub(1, SeqCst);
            self.perform(Operation::Delete, index, &[]);
            self.bring_up(index);
        }
    }

    fn replace_by_force(&mut self, index: usize) {
        self.load.running.fetch_sub(1, SeqCst);
        self.perform(Operation::DeleteByForce, index, &["--force"]);
        self.bring_up(index);
    }

    /// The signal was sent; that the last process is gone comes a moment later.
    fn stops(&mut self, index: usize) -> bool {
        for _ in 0..2000 {
            if !self.perform(Operation::State, index, &[]) || self.said().contains("\"stopped\"") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.errors.push(format!("{} does not stop", self.id(index)));
        false
    }

    /// One command, from its start to its end. False, and an error, if it fails.
    fn perform(&mut self, operation: Operation, index: usize, arguments: &[&str]) -> bool {
        let id = self.id(index);
        let mut command = Command::new(program());
        command.arg("--root").arg(&self.load.root).arg(operation.verb());
        match operation {
            Operation::Create | Operation::Delete | Operation::DeleteByForce => command.args(arguments).arg(&id),
            _ => command.arg(&id).args(arguments),
        };
        // A file and no pipe, which a container would keep open.
        self.words.set_len(0).and_then(|()| self.words.rewind()).expect("a file");
        let words = || self.words.try_clone().expect("dup");
        command.stdin(Stdio::null()).stdout(words()).stderr(words());
        let before = Instant::now();
        let status = command.spawn().and_then(|mut child| {
            *self.command() = Some((child.id(), before));
            let status = child.wait();
            *self.command() = None;
            status
        });
        let took = before.elapsed();
        let when = match self.busy_since {
            Some(since) => When::Busy(since.elapsed()),
            None if self.load.stage() == Stage::Filling => When::Filling(self.load.running.load(SeqCst)),
            None => When::Emptying,
        };
        self.figures.record(operation, when, took);
        match status {
            Ok(status) if status.success() => return true,
            Ok(status) => {
                let said = self.said();
                self.errors.push(format!("{} {id}: {status}: {}", operation.verb(), said.trim_end()));
            }
            Err(error) => self.errors.push(format!("{} {id}: {error}", operation.verb())),
        }
        false
    }

    fn command(&self) -> std::sync::MutexGuard<'_, Option<(u32, Instant)>> {
        self.load.commands[self.number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        let read = self.words.rewind().and_then(|()| self.words.read_to_string(&mut text));
        read.map(|_| text).unwrap_or_default()
    }

    fn id(&self, index: usize) -> String {
        format!("{}-{}", self.load.tag, self.containers[index])
    }

    /// Marsaglia's xorshift: the same choices in every run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }
}
