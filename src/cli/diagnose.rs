//! The flags of the commands that change nothing: `explain`, `check`, `trace`.

use std::path::PathBuf;

use clap::Args;

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
