//! A span, and how it is written.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Outcome;
use crate::error::Error;

/// How spans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line a step, as it ends, below the heading of its stage: for people.
    Tree,
    /// An object a line.
    Json,
    /// Chrome's trace events, which Perfetto opens: an array that may lack its last bracket.
    Chrome,
}

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Kind {
    Command,
    Stage,
    Step,
}

/// A span, as a line of JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The step's name, as `explain` prints it.
    pub id: String,
    /// What it is of.
    pub kind: Kind,
    /// `runtime` or `init`.
    pub side: String,
    /// The container's name, or empty.
    pub container: String,
    /// In nanoseconds of the host's CLOCK_MONOTONIC.
    pub start: i64,
    /// In nanoseconds.
    pub took: i64,
    /// `done`, `skipped`, `failed`, or `begun` for one that another process ends.
    pub outcome: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It is the end of a step that was begun by another process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
}

/// How a step went, or that it goes on.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Event {
    Done,
    Skipped,
    Begun,
    Failed(String),
}

impl Event {
    /// What a result says.
    pub fn of(error: Option<&Error>, outcome: Outcome) -> Event {
        match (error, outcome) {
            (Some(error), _) => Event::Failed(error.headline()),
            (None, Outcome::Done) => Event::Done,
            (None, Outcome::Skipped) => Event::Skipped,
        }
    }

    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Done => "done",
            Event::Skipped => "skipped",
            Event::Begun => "begun",
            Event::Failed(_) => "failed",
        }
    }

    /// Why it failed.
    pub fn error(self) -> Option<String> {
        if let Event::Failed(error) = self { Some(error) } else { None }
    }
}

impl Format {
    /// By the value of `--trace-format`.
    pub fn named(name: &str) -> Option<Format> {
        match name {
            "tree" => Some(Format::Tree),
            "json" => Some(Format::Json),
            "chrome" => Some(Format::Chrome),
            _ => None,
        }
    }

    /// `.json` is what Perfetto opens, `.jsonl` and `.ndjson` are lines, all else is for people.
    pub fn of_file(file: &Path) -> Format {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Format::Chrome,
            Some("jsonl" | "ndjson") => Format::Json,
            _ => Format::Tree,
        }
    }

    /// What stands before the spans of a command.
    pub fn prologue(self, is_empty: bool, container: &str) -> String {
        match self {
            Format::Json => String::new(),
            Format::Tree => format!("{:>10} {:>9}  {:<8} step\n", "ms", "took ms", "process"),
            Format::Chrome => {
                let name = |what: &str, thread: u32, name: &str| {
                    let event = json!({"name": what, "ph": "M", "pid": process(container), "tid": thread, "args": {"name": name}});
                    format!("{event},\n")
                };
                let names = [
                    name("process_name", 1, container),
                    name("thread_name", 1, "runtime"),
                    name("thread_name", 2, "init"),
                ];
                format!("{}{}", if is_empty { "[\n" } else { "" }, names.concat())
            }
        }
    }

    /// One span; `depth` and `began` are for people.
    pub fn render(self, span: &Span, depth: usize, began: i64) -> String {
        match self {
            Format::Json => format!("{}\n", serde_json::to_string(span).unwrap_or_default()),
            Format::Chrome => format!("{},\n", chrome(span)),
            Format::Tree => {
                let (start, took) = (milliseconds(span.start - began), milliseconds(span.took));
                let note = match span.outcome.as_str() {
                    "done" => String::new(),
                    "failed" => format!(": {}", span.error.as_deref().unwrap_or_default()),
                    outcome => format!(" ({outcome})"),
                };
                let indent = "  ".repeat(depth);
                format!("{start:>10.3} {took:>9.3}  {:<8} {indent}{}{note}\n", span.side, span.id)
            }
        }
    }
}

/// The line for a stage or a command, written when it begins.
pub fn heading(side: &str, name: &str, depth: usize, start: i64) -> String {
    format!("{:>10.3} {:>9}  {side:<8} {}{name}:\n", milliseconds(start), "", "  ".repeat(depth))
}

/// Nanoseconds as milliseconds.
pub fn milliseconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// A complete event (X), the beginning of one (B) or its end (E). A container is a process of the view, its two sides are
/// the threads.
fn chrome(span: &Span) -> Value {
    let thread = if span.side == "init" { 2 } else { 1 };
    let phase = match (span.outcome.as_str(), span.ends) {
        ("begun", _) => "B",
        (_, true) => "E",
        _ => "X",
    };
    let (start, took) = (span.start as f64 / 1e3, span.took as f64 / 1e3);
    json!({
        "name": span.id, "cat": span.kind, "ph": phase, "ts": start, "dur": took, "pid": process(&span.container),
        "tid": thread, "args": span,
    })
}

/// A number for a container's name: create and start may write to one file (FNV-1a).
fn process(container: &str) -> u32 {
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    container.bytes().fold(2_166_136_261, hash) >> 1
}
