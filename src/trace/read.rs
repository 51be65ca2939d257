//! Spans from a file, for `minicon trace`: as a tree, and the slowest of them.

use super::span::{Kind, Span, milliseconds};
use crate::error::{Error, Result};

/// How many of the slowest steps are listed.
const SLOWEST: usize = 10;

/// The spans of a file of JSON lines or Chrome events, those of two processes put together, in the order of their start.
pub fn spans(text: &str) -> Result<Vec<Span>> {
    let mut spans: Vec<Span> = Vec::new();
    for line in text.lines().map(|line| line.trim().trim_end_matches(',')) {
        if matches!(line, "" | "[" | "]") {
            continue;
        }
        let value: serde_json::Value = serde_json::from_str(line).map_err(|_| {
            Error::new("this is no trace of lines of JSON or of Chrome events")
                .hint("--trace FILE.jsonl or FILE.json writes one; a tree is to be read as it is")
        })?;
        let is_event = value.get("ph").is_some();
        let value = if is_event { value["args"].clone() } else { value };
        let Ok(span) = serde_json::from_value::<Span>(value) else { continue }; // a name of a process
        if !span.ends {
            spans.push(span);
            continue;
        }
        let is_begun = |other: &&mut Span| other.outcome == "begun" && other.container == span.container;
        for begun in spans.iter_mut().filter(is_begun) {
            begun.took = span.start - begun.start;
            begun.outcome = span.outcome.clone();
            begun.error = span.error.clone();
        }
    }
    // One that holds another begins no later and lasts longer.
    spans.sort_by_key(|span| (span.start, -span.took));
    Ok(spans)
}

/// The tree of each process, then the slowest steps.
pub fn draw(spans: &[Span]) -> String {
    let Some(first) = spans.first().map(|span| span.start) else { return "the trace is empty\n".to_owned() };
    let mut text = String::new();
    let mut tracks: Vec<(&str, &str)> = Vec::new();
    for span in spans {
        let track = (span.container.as_str(), span.side.as_str());
        if !tracks.contains(&track) {
            tracks.push(track);
        }
    }
    for (container, side) in tracks {
        text.push_str(&format!("{side} of {container:?}\n{:>10} {:>9}\n", "ms", "took ms"));
        let own: Vec<&Span> = spans.iter().filter(|span| span.container == container && span.side == side).collect();
        draw_track(&own, first, &mut text);
    }
    text.push_str("slowest steps\n");
    let mut steps: Vec<&Span> =
        spans.iter().filter(|span| span.kind == Kind::Step && span.outcome != "begun").collect();
    steps.sort_by_key(|span| -span.took);
    for span in steps.iter().take(SLOWEST) {
        text.push_str(&format!("{:>20.3}  {:<8} {}\n", milliseconds(span.took), span.side, span.id));
    }
    text
}

/// A span is inside the last one that has not ended when it begins.
fn draw_track(spans: &[&Span], first: i64, text: &mut String) {
    // What we are inside of: its end, and whether anything follows beside it.
    let mut open: Vec<(i64, bool)> = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        open.retain(|(end, _)| *end > span.start);
        let (end, around) = (span.start + span.took, open.last().map_or(i64::MAX, |(end, _)| *end));
        let later = spans[index + 1..].iter().take_while(|later| later.start < around);
        let is_last = !later.into_iter().any(|later| later.start >= end);
        let above: String = open.iter().skip(1).map(|(_, is_last)| if *is_last { "   " } else { "|  " }).collect();
        let branch = match (open.is_empty(), is_last) {
            (true, _) => "",
            (_, true) => "`- ",
            (_, false) => "|- ",
        };
        let (start, took) = (milliseconds(span.start - first), milliseconds(span.took));
        text.push_str(&format!("{start:>10.3} {took:>9.3}  {above}{branch}{}{}\n", span.id, note(span)));
        if span.kind != Kind::Step {
            open.push((end, is_last));
        }
    }
}

fn note(span: &Span) -> String {
    match (span.outcome.as_str(), span.error.as_deref()) {
        ("done", _) => String::new(),
        ("failed", Some(error)) if !error.is_empty() => format!(": {error}"),
        ("begun", _) => " (unfinished)".to_owned(),
        (outcome, _) => format!(" ({outcome})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Format;

    fn span(id: &str, kind: Kind, start: i64, took: i64, outcome: &str) -> Span {
        let (side, container) = ("init".to_owned(), "c".to_owned());
        let (id, outcome) = (id.to_owned(), outcome.to_owned());
        Span { id, kind, side, container, start, took, outcome, error: None, ends: false }
    }

    #[test]
    fn both_formats_are_read_and_drawn() {
        let end = Span { ends: true, ..span("execve", Kind::Step, 3_000_000, 0, "done") };
        let written = [
            span("cwd", Kind::Step, 1_200_000, 100_000, "done"),
            span("mask:/x", Kind::Step, 1_400_000, 0, "skipped"),
            span("assume", Kind::Stage, 1_000_000, 900_000, "done"),
            span("execve", Kind::Step, 2_000_000, 0, "begun"),
            end,
        ];
        for format in [Format::Json, Format::Chrome] {
            let mut text = format.prologue(true, "c");
            written.iter().for_each(|span| text.push_str(&format.render(span, 0, 0)));
            let drawn = draw(&spans(&text).expect("it is read"));
            let tree = "     0.000     0.900  assume\n     0.200     0.100  |- cwd\n     \
                        0.400     0.000  `- mask:/x (skipped)\n     1.000     1.000  execve\n";
            assert!(drawn.contains(tree), "{format:?}:\n{drawn}");
        }
        assert!(spans("        ms  took ms\n").is_err());
    }
}
