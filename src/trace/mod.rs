//! What was done, by whom, when, and how it went: a span a step, for `--trace`. Off by default, and then a step costs one
//! look at a variable.
//!
//! Runtime and init append to one file, opened before the clone and close-on-exec: no message between them, no thread and
//! no lock, as one write(2) to a file opened with O_APPEND is whole. Their clock is CLOCK_MONOTONIC; in a time namespace
//! of its own init takes the offset off again. Nothing is written between the program's filter and its exec, which the
//! filter might not let pass: there init says before that it begins, and `start` says that it is done.
//!
//! ```text
//! mod.rs      records
//! span.rs     a span, and how it is written: a line for people, JSON, an event for Chrome
//! read.rs     spans from a file, as a tree
//! ```

pub mod read;
pub mod span;

use std::fmt::Display;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};

pub use self::span::Format;
use self::span::{Event, Kind, Span};
use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::steps::Stage;

/// Whether a step was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Done,
    /// Its condition did not hold.
    Skipped,
}

struct Trace {
    file: OwnedFd,
    format: Format,
    container: String,
    began: i64,
}

/// There is one trace a process: a step is deep in calls that have no other use for it.
static TRACE: OnceLock<Trace> = OnceLock::new();
/// The clone's copy of this tells init from the runtime.
static IS_INIT: AtomicBool = AtomicBool::new(false);
/// How far our clock is from the host's, in nanoseconds.
static OFFSET: AtomicI64 = AtomicI64::new(0);
/// How many stages and commands we are in.
static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// Begins a trace. The format is named, or told by the file's name.
pub fn open(file: &Path, format: Option<&str>, container: &str) -> Result<()> {
    let format = match format {
        Some(name) => Format::named(name).ok_or_else(|| {
            Error::new(format!("invalid trace-format: {name}")).hint("it is tree, json (a line a span) or chrome")
        })?,
        None => Format::of_file(file),
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
    let opened = rustix::fs::open(file, flags, Mode::from_raw_mode(0o644));
    let opened = call!("open"(file.display()) => opened).step(|| "open the trace")?;
    let is_empty = rustix::fs::fstat(&opened).is_ok_and(|stat| stat.st_size == 0);
    let trace = Trace { file: opened, format, container: container.to_owned(), began: now() };
    write(&trace, &format.prologue(is_empty, container));
    let _ = TRACE.set(trace);
    Ok(())
}

/// Whether there is a trace.
pub fn is_on() -> bool {
    TRACE.get().is_some()
}

/// The descriptors that a clone must keep.
pub fn numbers() -> impl Iterator<Item = RawFd> {
    let own = TRACE.get().map(|trace| trace.file.as_raw_fd());
    #[cfg(feature = "faults")]
    return own.into_iter().chain(crate::fault::number());
    #[cfg(not(feature = "faults"))]
    own.into_iter()
}

/// This process is init from here on.
pub fn become_init() {
    IS_INIT.store(true, Relaxed);
    DEPTH.store(0, Relaxed);
}

/// Our clock is the host's and this many seconds and nanoseconds more.
pub fn set_clock_offset(seconds: i64, nanoseconds: i64) {
    OFFSET.store(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds), Relaxed);
}

/// A step.
pub fn step<T: Outcomes, I: Display>(id: impl FnOnce() -> I, act: impl FnOnce() -> T) -> T {
    #[cfg(feature = "faults")]
    let (id, act) = crate::fault::armed(id, act);
    let began = begin();
    let result = act();
    if let Some(began) = began {
        record(&id(), Kind::Step, began, Event::of(result.error(), Outcome::Done));
    }
    result
}

/// What a step returns.
pub trait Outcomes: Sized {
    /// Why it failed, if it did.
    fn error(&self) -> Option<&Error>;

    /// One that has failed, if it can.
    #[cfg(feature = "faults")]
    fn failed(error: Error) -> Option<Self>;
}

impl<T> Outcomes for Result<T> {
    fn error(&self) -> Option<&Error> {
        self.as_ref().err()
    }

    #[cfg(feature = "faults")]
    fn failed(error: Error) -> Option<Self> {
        Some(Err(error))
    }
}

/// Of a step that cannot fail.
impl Outcomes for () {
    fn error(&self) -> Option<&Error> {
        None
    }

    #[cfg(feature = "faults")]
    fn failed(_error: Error) -> Option<Self> {
        None
    }
}

/// A step that may turn out to have nothing to do.
pub fn conditional<I: Display>(id: impl FnOnce() -> I, act: impl FnOnce() -> Result<Outcome>) -> Result<()> {
    #[cfg(feature = "faults")]
    let (id, act) = crate::fault::armed(id, act);
    let began = begin();
    let result = act();
    if let Some(began) = began {
        let outcome = *result.as_ref().unwrap_or(&Outcome::Done);
        record(&id(), Kind::Step, began, Event::of(result.as_ref().err(), outcome));
    }
    result.map(drop)
}

/// A step whose condition is known not to hold.
pub fn skipped<I: Display>(id: impl FnOnce() -> I) {
    if let Some(began) = begin() {
        record(&id(), Kind::Step, began, Event::Skipped);
    }
}

/// Enters a stage: a part of a container's life, with steps inside.
pub fn enter(stage: Stage) -> Group {
    Group::begin(stage.name(), Kind::Stage)
}

/// Enters a command, with stages inside.
pub fn command(name: &'static str) -> Group {
    Group::begin(name, Kind::Command)
}

/// What steps belong to. Dropped before its end it has failed.
#[derive(Debug)]
#[must_use]
pub struct Group {
    name: &'static str,
    kind: Kind,
    began: Option<i64>,
}

impl Group {
    fn begin(name: &'static str, kind: Kind) -> Group {
        let group = Group { name, kind, began: begin() };
        if let Some(began) = group.began {
            group.open(began);
        }
        group
    }

    /// Ends this stage and enters the next.
    pub fn next(&mut self, stage: Stage) {
        if let Some(began) = self.began.take() {
            self.close(began, Event::Done);
            *self = enter(stage);
        }
    }

    /// Ends it.
    pub fn end(mut self) {
        if let Some(began) = self.began.take() {
            self.close(began, Event::Done);
        }
    }

    /// For people its name stands above what is inside.
    #[cold]
    fn open(&self, began: i64) {
        let depth = DEPTH.fetch_add(1, Relaxed);
        if let Some(trace) = TRACE.get().filter(|trace| trace.format == Format::Tree) {
            write(trace, &span::heading(side(), self.name, depth, began - trace.began));
        }
    }

    #[cold]
    fn close(&self, began: i64, event: Event) {
        DEPTH.fetch_sub(1, Relaxed);
        if TRACE.get().is_some_and(|trace| trace.format != Format::Tree) {
            record(&self.name, self.kind, began, event);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(began) = self.began.take() {
            self.close(began, Event::Failed(String::new()));
        }
    }
}

/// A step that another process will end, with [`end`].
pub fn begin_for_other(id: &str) -> Result<()> {
    #[cfg(feature = "faults")]
    crate::fault::before(id).map_or(Ok(()), Err)?;
    if let Some(began) = begin() {
        record(&id, Kind::Step, began, Event::Begun);
    }
    Ok(())
}

/// Ends a step of init's, which has become the program or failed to, and all that it had begun.
pub fn end(id: &str, error: Option<&Error>) {
    #[cfg(feature = "faults")]
    crate::fault::after(id);
    if let (Some(trace), Some(began)) = (TRACE.get(), begin()) {
        let event = Event::of(error, Outcome::Done);
        let span = Span { side: "init".into(), ends: true, ..span(trace, &id, Kind::Step, began, event) };
        write(trace, &trace.format.render(&span, 0, trace.began));
    }
}

/// The time, if there is a trace.
fn begin() -> Option<i64> {
    TRACE.get().map(|_| now())
}

#[cold]
fn record(id: &dyn Display, kind: Kind, began: i64, event: Event) {
    if let Some(trace) = TRACE.get() {
        write(trace, &trace.format.render(&span(trace, id, kind, began, event), DEPTH.load(Relaxed), trace.began));
    }
}

fn span(trace: &Trace, id: &dyn Display, kind: Kind, began: i64, event: Event) -> Span {
    Span {
        id: id.to_string(),
        kind,
        side: side().into(),
        container: trace.container.clone(),
        start: began,
        took: now() - began,
        outcome: event.name().into(),
        error: event.error(),
        ends: false,
    }
}

fn side() -> &'static str {
    if IS_INIT.load(Relaxed) { "init" } else { "runtime" }
}

fn now() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec - OFFSET.load(Relaxed)
}

/// A trace that cannot be written stops nothing.
fn write(trace: &Trace, text: &str) {
    if !text.is_empty() {
        let _ = rustix::io::write(&trace.file, text.as_bytes());
    }
}
