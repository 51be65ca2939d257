//! Recorded results, and the tables that are made from them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::host::{self, Cgroups};
use crate::lab::Setup;
use crate::row::Row;
use crate::runner::{Ending, Outcome};
use crate::spec::{self, Sentence};

/// One run, as it is kept in `results/`.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The program's name: the column.
    runtime: String,
    /// What it says of its version.
    version: String,
    /// Where: kernel and cgroups.
    host: String,
    strict: bool,
    /// By id: `passed`, or another outcome and why.
    results: BTreeMap<String, String>,
}

/// Keeps the results of a run.
pub fn record(path: &Path, setup: &Setup, results: &[(&Row, Ending)]) -> Result<()> {
    let name = setup.runtime.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let said = Call::new(&setup.runtime, setup.limit).arg("--version").run()?.stdout();
    let version = said.lines().next().unwrap_or_default().trim_start_matches(&name);
    let version = version.trim_start_matches(" version").trim_start_matches([':', ' ']).trim().to_owned();
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let kernel = kernel.split('-').next().unwrap_or_default().to_owned();
    let cgroups = match (host::cgroups(), setup.hide_cgroup2) {
        (Cgroups::V2, _) => "cgroup v2",
        (Cgroups::V1, true) => "cgroup v1",
        (Cgroups::V1, false) => "cgroup v1 and v2 (hybrid)",
    };
    let results = results.iter().map(|(row, ending)| (row.id.to_owned(), written(ending))).collect();
    let record =
        Record { runtime: name, version, host: format!("Linux {kernel}, {cgroups}"), strict: setup.strict, results };
    fs::write(path, serde_json::to_string_pretty(&record)? + "\n").with_context(|| path.display().to_string())
}

/// An ending as one line, without what differs from run to run.
fn written(ending: &Ending) -> String {
    let word = match ending.outcome {
        Outcome::Passed => return "passed".into(),
        Outcome::Failed => "failed",
        Outcome::Deviates => "deviates",
        Outcome::Skipped => "skipped",
    };
    let mut why = ending.why.split_whitespace().filter(|part| !part.starts_with("time=")).collect::<Vec<_>>().join(" ");
    if why.chars().count() > 160 {
        why = why.chars().take(160).collect::<String>() + "...";
    }
    format!("{word}: {why}")
}

/// A runtime's column: all its runs together.
struct Column {
    runtime: String,
    version: String,
    hosts: Vec<String>,
    results: BTreeMap<String, String>,
}

impl Column {
    /// What a test came to; a run in which it was skipped counts only if there is no other.
    fn outcome(&self, row: &Row) -> Option<Outcome> {
        Some(match self.results.get(row.id)?.split(':').next()? {
            "passed" => Outcome::Passed,
            "failed" => Outcome::Failed,
            "deviates" => Outcome::Deviates,
            _ => Outcome::Skipped,
        })
    }

    /// What several tests came to: failed if one is, skipped if all are.
    fn verdict<'t>(&self, tests: impl Iterator<Item = &'t Row>) -> &'static str {
        let outcomes: Vec<Outcome> = tests.filter_map(|row| self.outcome(row)).collect();
        let some = |outcome| outcomes.contains(&outcome);
        match () {
            () if some(Outcome::Failed) => "**no**",
            () if some(Outcome::Deviates) => "deviates",
            () if some(Outcome::Passed) => "yes",
            () if some(Outcome::Skipped) => "skipped",
            () => "",
        }
    }
}

/// Runs of one runtime, on several hosts, become one column.
fn columns(files: &[String]) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).with_context(|| file.clone())?;
        let record: Record = serde_json::from_str(&text).with_context(|| file.clone())?;
        match columns.iter_mut().find(|column| column.runtime == record.runtime) {
            None => columns.push(Column {
                runtime: record.runtime,
                version: record.version,
                hosts: vec![record.host],
                results: record.results,
            }),
            Some(column) => {
                column.hosts.push(record.host);
                for (id, result) in record.results {
                    let old = column.results.entry(id).or_insert_with(|| result.clone());
                    if old.starts_with("skipped") || result.starts_with("failed") {
                        *old = result;
                    }
                }
            }
        }
    }
    let order = ["minicon", "runc", "crun", "youki"];
    columns.sort_by_key(|column| order.iter().position(|name| *name == column.runtime).unwrap_or(order.len()));
    Ok(columns)
}

/// Writes `OUT/COVERAGE.md` and, beside the documentation, the short table: `OUT` is the directory of this crate.
pub fn write(out: &Path, files: &[String]) -> Result<()> {
    let columns = columns(files)?;
    fs::write(out.join("COVERAGE.md"), coverage(&columns)?)?;
    fs::write(out.join("../docs/conformance.md"), properties(&columns)?)?;
    Ok(())
}

const GENERATED: &str = "<!-- Made by `make conformance-coverage` from conformance/results; do not edit. -->";

/// Every sentence, and what each runtime does about it.
fn coverage(columns: &[Column]) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "{GENERATED}\n\n# Coverage of the OCI runtime specification 1.3, sentence by sentence\n")?;
    writeln!(
        text,
        "`yes`: every test of the sentence passes. `no`: at least one fails. `deviates`: nobody keeps it by"
    )?;
    writeln!(
        text,
        "default, and clients rely on that. `skipped`: the recorded hosts cannot tell. OPTIONAL sentences say what"
    )?;
    writeln!(text, "a property means, which `create` MUST apply.\n")?;
    heads(&mut text, columns)?;
    let mut place = "";
    for sentence in spec::sentences() {
        if sentence.anchor != place {
            place = sentence.anchor;
            writeln!(text, "\n## {}#{place}\n\n| | | {} | |", sentence.document, names(columns))?;
            writeln!(text, "|---|---|{}---|", "---|".repeat(columns.len()))?;
        }
        line(&mut text, columns, &sentence)?;
    }
    failures(&mut text, columns)?;
    Ok(text)
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.runtime.as_str()).collect::<Vec<_>>().join(" | ")
}

/// What was run, and how it ended.
fn heads(text: &mut String, columns: &[Column]) -> Result<()> {
    writeln!(
        text,
        "| runtime | version | host | passed | failed | deviates | skipped |\n|---|---|---|---|---|---|---|"
    )?;
    for column in columns {
        let number = |outcome| crate::tests().filter(|row| column.outcome(row) == Some(outcome)).count();
        let counts = [Outcome::Passed, Outcome::Failed, Outcome::Deviates, Outcome::Skipped].map(number);
        let [passed, failed, deviates, skipped] = counts;
        let (name, version, hosts) = (&column.runtime, &column.version, column.hosts.join("; "));
        writeln!(text, "| {name} | {version} | {hosts} | {passed} | {failed} | {deviates} | {skipped} |")?;
    }
    Ok(())
}

fn line(text: &mut String, columns: &[Column], sentence: &Sentence) -> Result<()> {
    let shown = plain(sentence.text);
    if !sentence.reason.is_empty() {
        let blanks = "| ".repeat(columns.len());
        writeln!(text, "| {} | {shown} {blanks}| not tested: {} |", sentence.level, sentence.reason)?;
        return Ok(());
    }
    let verdicts: Vec<_> = columns.iter().map(|column| column.verdict(sentence.proofs())).collect();
    let tests: Vec<_> = sentence.proofs().map(|row| format!("`{}`", row.id)).collect();
    let shortened = if tests.len() > 6 {
        format!("{} and {} more", tests[..5].join(" "), tests.len() - 5)
    } else {
        tests.join(" ")
    };
    writeln!(text, "| {} | {shown} | {} | {shortened} |", sentence.level, verdicts.join(" | "))?;
    Ok(())
}

/// A sentence without the targets of its links, and without what ends a cell of a table.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(']') {
        let (before, after) = rest.split_at(at);
        shown.push_str(before);
        let after = &after[1..];
        let target = [('(', ')'), ('[', ']')].into_iter().find(|(open, _)| after.starts_with(*open));
        rest = match target.and_then(|(_, close)| after.find(close)) {
            Some(end) => &after[end + 1..],
            None => after,
        };
    }
    shown.push_str(rest);
    shown.replace('[', "").replace('|', "\\|")
}

/// What fails, with what was seen.
fn failures(text: &mut String, columns: &[Column]) -> Result<()> {
    for column in columns {
        writeln!(text, "\n## What {} {} does not do\n", column.runtime, column.version)?;
        for row in crate::tests() {
            if let (Some(Outcome::Failed | Outcome::Deviates), Some(result)) =
                (column.outcome(row), column.results.get(row.id))
            {
                writeln!(text, "- `{}` ({}): {}", row.id, row.level.word(), result.replace('\n', " "))?;
            }
        }
    }
    Ok(())
}

/// The short table.
fn properties(columns: &[Column]) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "{GENERATED}\n\n# What of the OCI runtime specification 1.3 is kept\n")?;
    writeln!(text, "Tests passed of those that the recorded hosts could run, by property. Every sentence is in")?;
    writeln!(
        text,
        "[conformance/COVERAGE.md](../conformance/COVERAGE.md); `make conformance RUNTIME=...` tests any runtime.\n"
    )?;
    heads(&mut text, columns)?;
    writeln!(text, "\n| property | | {} |\n|---|---|{}", names(columns), "---|".repeat(columns.len()))?;
    for property in spec::properties() {
        if !property.reason.is_empty() {
            writeln!(
                text,
                "| {} | {}; not tested: {} |{}",
                property.name,
                property.what,
                property.reason,
                " |".repeat(columns.len())
            )?;
            continue;
        }
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                let outcomes: Vec<_> = property.proofs().filter_map(|row| column.outcome(row)).collect();
                let number = |outcome| outcomes.iter().filter(|other| **other == outcome).count();
                let ran = outcomes.len() - number(Outcome::Skipped);
                if ran == 0 { "skipped".into() } else { format!("{}/{ran}", number(Outcome::Passed)) }
            })
            .collect();
        writeln!(text, "| {} | {} | {} |", property.name, property.what, cells.join(" | "))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn links_lose_their_targets() {
        assert_eq!(super::plain("a [b](c#d) e [f][g] h[i] |"), "a b e f hi \\|");
    }
}
