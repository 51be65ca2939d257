//! The configurations that docs/engines.md tells people to write, for the engines to be run with.

use std::path::Path;

use anyhow::{Context, Result};

const PAGE: &str = include_str!("../../docs/engines.md");

/// Where minicon lies in the examples.
const EXAMPLE: &str = "/usr/local/bin/minicon";

/// The name that the examples give it.
pub const NAME: &str = "minicon";

/// The blocks in a language in the section of this title, joined, for a runtime at `runtime`.
///
/// # Errors
/// When the page has no such section or block.
pub fn blocks(title: &str, language: &str, runtime: &Path) -> Result<String> {
    let (_, section) = PAGE.split_once(&format!("\n## {title}\n")).with_context(|| format!("no section {title}"))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let opening = format!("```{language}\n");
    let blocks = section.split(&opening).skip(1).filter_map(|block| block.split("```").next());
    let text = blocks.collect::<Vec<_>>().join("\n").replace(EXAMPLE, &runtime.display().to_string());
    (!text.is_empty()).then_some(text).with_context(|| format!("{title} has no block in {language}"))
}
