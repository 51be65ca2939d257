//! The table of the specification's sentences, and what holds tests and table together.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::row::Row;

/// `document, anchor, level, sentence, reason`; see the head of the file.
const SENTENCES: &str = include_str!("../spec/sentences.tsv");
/// `property, what, tests, reason`.
const PROPERTIES: &str = include_str!("../spec/properties.tsv");

/// The words that make a sentence normative.
const KEYWORDS: [&str; 4] = ["MUST", "SHOULD", "REQUIRED", "RECOMMENDED"];

/// One sentence of the specification.
#[derive(Debug, Clone)]
pub struct Sentence {
    /// `config.md`.
    pub document: &'static str,
    /// The anchor of the heading above it.
    pub anchor: &'static str,
    /// MUST, SHOULD, REQUIRED, or OPTIONAL for a property that has a meaning but no demand.
    pub level: &'static str,
    /// Verbatim, but for line breaks.
    pub text: &'static str,
    /// Why no test proves it, if none does.
    pub reason: &'static str,
}

impl Sentence {
    /// Whether a test quotes it.
    pub fn is_proved_by(&self, row: &Row) -> bool {
        row.place.split_once('#') == Some((self.document, self.anchor))
            && row.proves.iter().any(|quote| self.text.contains(quote))
    }

    /// The tests that quote it.
    pub fn proofs(&self) -> impl Iterator<Item = &'static Row> + '_ {
        crate::tests().filter(|row| self.is_proved_by(row))
    }
}

/// A property of the configuration or an operation, as readers of a table want it.
#[derive(Debug, Clone)]
pub struct Property {
    /// `process.rlimits`.
    pub name: &'static str,
    /// What it means, in a few words.
    pub what: &'static str,
    /// Beginnings of the ids of its tests.
    pub tests: Vec<&'static str>,
    /// Why it has none.
    pub reason: &'static str,
}

impl Property {
    /// Its tests.
    pub fn proofs(&self) -> impl Iterator<Item = &'static Row> + '_ {
        crate::tests().filter(|row| self.tests.iter().any(|start| is_below(row.id, start)))
    }
}

/// `process.user` and `process.user.uid` are below `process.user`, `process.username` is not.
fn is_below(id: &str, start: &str) -> bool {
    id.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Every sentence, in the order of the documents.
pub fn sentences() -> Vec<Sentence> {
    let row = |line: &'static str| {
        let mut cells = line.split('\t');
        let mut next = || cells.next().unwrap_or_default();
        Sentence { document: next(), anchor: next(), level: next(), text: next(), reason: next() }
    };
    rows(SENTENCES).map(row).collect()
}

/// Every property.
pub fn properties() -> Vec<Property> {
    let row = |line: &'static str| {
        let mut cells = line.split('\t');
        let mut next = || cells.next().unwrap_or_default();
        let (name, what, tests, reason) = (next(), next(), next(), next());
        Property { name, what, tests: tests.split_whitespace().collect(), reason }
    };
    rows(PROPERTIES).map(row).collect()
}

fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// What is wrong between the tests and the tables; nothing, if all is well.
pub fn inconsistencies() -> Vec<String> {
    let sentences = sentences();
    let mut wrong = Vec::new();
    let mut ids = BTreeSet::new();
    for row in crate::tests() {
        if !ids.insert(row.id) {
            wrong.push(format!("two tests are called {}", row.id));
        }
        for quote in row.proves {
            let here = |s: &&Sentence| row.place.split_once('#') == Some((s.document, s.anchor));
            if !sentences.iter().filter(here).any(|sentence| sentence.text.contains(quote)) {
                wrong.push(format!("{}: not a sentence at {}: {quote}", row.id, row.place));
            }
        }
    }
    for sentence in &sentences {
        let place = format!("{}#{}: {}", sentence.document, sentence.anchor, sentence.text);
        match (sentence.proofs().next().is_some(), sentence.reason.is_empty()) {
            (false, true) => wrong.push(format!("neither a test nor a reason: {place}")),
            (true, false) => wrong.push(format!("a test and a reason why there is none: {place}")),
            _ => {}
        }
    }
    for property in properties() {
        for start in &property.tests {
            if !crate::tests().any(|row| is_below(row.id, start)) {
                wrong.push(format!("{}: no test is called {start}", property.name));
            }
        }
        if property.tests.is_empty() == property.reason.is_empty() {
            wrong.push(format!("{}: either tests or a reason", property.name));
        }
    }
    for row in crate::tests() {
        if !properties().iter().any(|property| property.tests.iter().any(|start| is_below(row.id, start))) {
            wrong.push(format!("{}: no row of properties.tsv has it", row.id));
        }
    }
    wrong
}

/// What of the table is not in a checkout of the specification, and what of the specification is not in the table.
pub fn differences(checkout: &Path) -> Result<Vec<String>> {
    let sentences = sentences();
    let documents: BTreeSet<_> = sentences.iter().map(|sentence| sentence.document).collect();
    let mut wrong = Vec::new();
    for document in documents {
        let path = checkout.join(document);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = prose(&text);
        let mut covered = vec![false; text.len()];
        for sentence in sentences.iter().filter(|sentence| sentence.document == document) {
            let mut found = false;
            for (at, hit) in text.match_indices(sentence.text) {
                covered[at..at + hit.len()].fill(true);
                found = true;
            }
            if !found {
                wrong.push(format!("not in {document}: {}", sentence.text));
            }
        }
        for keyword in KEYWORDS {
            for (at, _) in text.match_indices(keyword).filter(|(at, _)| !covered[*at]) {
                let (start, end) = (text.floor_char_boundary(at.saturating_sub(60)), text.floor_char_boundary(at + 80));
                wrong.push(format!("not in the table: {document}: …{}…", &text[start..end.min(text.len())]));
            }
        }
    }
    Ok(wrong)
}

/// A document without its examples, its line breaks and its marks of lists and headings.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut words = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let line = line.trim_start();
            let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
            let numbered = digits.len() < line.len() && digits.starts_with(". ");
            let line = if numbered { &digits[2..] } else { line.strip_prefix("* ").unwrap_or(line) };
            words.push(line.trim_end());
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_sentence_has_a_test_or_a_reason() {
        let wrong = super::inconsistencies();
        assert!(wrong.is_empty(), "{} things:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn prose_joins_lines_and_drops_examples() {
        assert_eq!(super::prose("1. a\n   b\n```\nMUST\n```\n* c\n"), "a b c");
    }

    /// Where `SPEC` names a checkout of the specification.
    #[test]
    fn the_table_is_the_specification() {
        if let Some(checkout) = std::env::var_os("SPEC") {
            let wrong = super::differences(checkout.as_ref()).expect("a checkout");
            assert!(wrong.is_empty(), "{} things:\n{}", wrong.len(), wrong.join("\n"));
        }
    }
}
