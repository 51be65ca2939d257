//! `check`: what would fail on this machine, and the remedy, found out without doing anything: files are read, calls are
//! asked for what they are sure to refuse. Without a bundle it describes the machine.
//!
//! ```text
//! machine.rs   what any container needs
//! bundle.rs    what this one needs
//! program.rs   its program, as far as the image tells
//! ```

mod bundle;
mod machine;
mod program;

use std::fmt::Display;

use serde_json::{Value, json};

use super::{Environment, create, report};
use crate::cli;
use crate::error::{Error, Result};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// How it is.
    Fine,
    /// Something will be different from what one may expect.
    Warning,
    /// `create` or `start` will fail.
    Failure,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    level: Level,
    topic: &'static str,
    what: String,
    at: Option<String>,
    remedy: Option<String>,
}

/// All that was found.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn fine(&mut self, topic: &'static str, what: impl Into<String>) {
        self.push(Level::Fine, topic, what.into(), None);
    }

    fn warning(&mut self, topic: &'static str, what: impl Into<String>, remedy: &str) {
        self.push(Level::Warning, topic, what.into(), Some(remedy.to_owned()));
    }

    fn failure(&mut self, topic: &'static str, what: impl Into<String>, remedy: &str) {
        self.push(Level::Failure, topic, what.into(), Some(remedy.to_owned()));
    }

    fn push(&mut self, level: Level, topic: &'static str, what: String, remedy: Option<String>) {
        let remedy = remedy.filter(|remedy| !remedy.is_empty());
        self.findings.push(Finding { level, topic, what, at: None, remedy });
    }

    /// The place in `config.json` of what was found last.
    fn at(&mut self, at: impl Display) {
        if let Some(last) = self.findings.last_mut() {
            last.at = Some(at.to_string());
        }
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// The command. The exit status is 1 if something would fail.
pub fn check(options: &cli::Check, environment: &Environment) -> Result<i32> {
    let mut report = Report::default();
    machine::look(&mut report, environment);
    if let Some(bundle) = &options.bundle {
        bundle::look(&mut report, &create::find_bundle(Some(bundle))?, environment);
    }
    match options.format.as_str() {
        "text" => report::print_as_it_is(&text(&report))?,
        "json" => report::print(&report::to_json(&as_json(&report))?)?,
        other => return Err(Error::new(format!("invalid format: {other}")).hint("it is text or json")),
    }
    Ok(i32::from(report.count(Level::Failure) > 0))
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Fine => "ok",
        Level::Warning => "warning",
        Level::Failure => "failure",
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Finding { level, topic, what, at, remedy } in &report.findings {
        let place = at.as_ref().map(|at| format!("  ({at})")).unwrap_or_default();
        text.push_str(&format!("{:<8} {topic:<11} {what}{place}\n", word(*level)));
        if let Some(remedy) = remedy {
            text.push_str(&format!("{:20} -> {remedy}\n", ""));
        }
    }
    let (failures, warnings) = (report.count(Level::Failure), report.count(Level::Warning));
    text.push_str(&format!("{failures} would fail, {warnings} to know\n"));
    text
}

fn as_json(report: &Report) -> Value {
    let finding = |finding: &Finding| {
        let mut object = json!({"level": word(finding.level), "topic": finding.topic, "what": finding.what});
        for (name, value) in [("config", &finding.at), ("remedy", &finding.remedy)] {
            if let Some(value) = value {
                object[name] = value.as_str().into();
            }
        }
        object
    };
    let findings: Vec<Value> = report.findings.iter().map(finding).collect();
    json!({"ok": report.count(Level::Failure) == 0, "findings": findings})
}
