//! The flags of the commands that change nothing: `explain`, `check`, `trace`; and what a trace calls all commands.

use std::path::PathBuf;

use clap::Args;

use super::Action;

/// `explain`.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// Directory with config.json [default: the current directory]
    #[arg(value_name = "BUNDLE")]
    pub bundle: Option<PathBuf>,
    /// Add to each step why it is needed, and what to read about it
    #[arg(long)]
    pub why: bool,
    /// text, json or markdown
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub format: String,
    /// Name that the container would have [default: that of the directory]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
}

/// `check`.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Directory with config.json; without it only this machine is looked at
    #[arg(value_name = "BUNDLE")]
    pub bundle: Option<PathBuf>,
    /// text or json
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub format: String,
}

/// `trace`.
#[derive(Debug, Clone, Args)]
pub struct Trace {
    /// What --trace FILE.json or FILE.jsonl wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

impl Action {
    /// For the trace: the command's name, and that of the container if it is about one.
    pub fn names(&self) -> (&'static str, &str) {
        match self {
            Action::Create(options) => ("create", &options.id),
            Action::Start(options) => ("start", &options.id),
            Action::State(options) => ("state", &options.id),
            Action::Kill(options) => ("kill", &options.id),
            Action::Delete(options) => ("delete", &options.id),
            Action::Run(options) => ("run", &options.create.id),
            Action::Exec(options) => ("exec", &options.id),
            Action::Checkpoint(options) => ("checkpoint", &options.id),
            Action::Restore(options) => ("restore", &options.id),
            Action::Pause(options) => ("pause", &options.id),
            Action::Resume(options) => ("resume", &options.id),
            Action::Update(options) => ("update", &options.id),
            Action::Events(options) => ("events", &options.id),
            Action::Ps(options) => ("ps", &options.id),
            Action::List(_) => ("list", ""),
            Action::Spec(_) => ("spec", ""),
            Action::Features(_) => ("features", ""),
            Action::Explain(_) => ("explain", ""),
            Action::Check(_) => ("check", ""),
            Action::Trace(_) => ("trace", ""),
            Action::Version => ("version", ""),
        }
    }
}
