//! Writes what follows from the command line: `xtask man DIRECTORY`, `xtask completions DIRECTORY`.
//!
//! Both are committed, so that installing needs no Rust beyond the runtime itself; a test holds them up to date.

mod completions;
mod man;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A file that is generated: its name and its text.
type Generated = (String, Vec<u8>);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["man", directory] => write(Path::new(directory), man::pages()?),
        ["completions", directory] => write(Path::new(directory), completions::scripts()),
        _ => bail!("usage: xtask man|completions DIRECTORY"),
    }
}

/// Makes the directory hold these files and no others.
fn write(directory: &Path, files: Vec<Generated>) -> Result<()> {
    fs::create_dir_all(directory)?;
    for entry in fs::read_dir(directory)?.flatten() {
        if !files.iter().any(|(name, _)| entry.file_name() == name.as_str()) {
            fs::remove_file(entry.path())?;
        }
    }
    for (name, text) in files {
        fs::write(directory.join(&name), text).with_context(|| name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is committed below the repository's root is what would be written now.
    fn is_up_to_date(directory: &str, files: Vec<Generated>, how: &str) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
        let there: BTreeSet<String> = fs::read_dir(&directory)
            .expect("a directory")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(there, files.iter().map(|(name, _)| name.clone()).collect(), "`make {how}` writes them");
        for (name, text) in files {
            let committed = fs::read(directory.join(&name)).expect("a file");
            assert!(committed == text, "{name} is out of date: `make {how}` writes it");
        }
    }

    #[test]
    fn the_man_pages_are_up_to_date() {
        is_up_to_date("docs/man", man::pages().expect("pages"), "docs");
    }

    #[test]
    fn the_completions_are_up_to_date() {
        is_up_to_date("completions", completions::scripts(), "completions");
    }
}
