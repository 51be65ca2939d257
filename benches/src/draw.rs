//! Charts, and the tables of README.md and docs/performance.md, from the results.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::chart::{Group, bars};
use crate::report::{FLOOR, Machine, Measure, OURS, Report, Version, shown};
use crate::targets::verdicts;

/// A chart: its file, its title, its unit, and its groups as a title and the place of a measure.
type Chart = (&'static str, &'static str, &'static str, &'static [(&'static str, [&'static str; 4])]);

const CHARTS: &[Chart] = &[
    (
        "run",
        "run /bin/true, 40 ms apart (median)",
        "ms",
        &[
            ("v1, spec bundle", ["v1", "spec", "run", "cold"]),
            ("v1, real bundle", ["v1", "real", "run", "cold"]),
            ("cgroup2, spec bundle", ["v2", "spec", "run", "cold"]),
            ("cgroup2, real bundle", ["v2", "real", "run", "cold"]),
        ],
    ),
    (
        "lifecycle",
        "the commands of an engine, 40 ms apart (median; v1, real bundle)",
        "ms",
        &[
            ("create", ["v1", "real", "lifecycle", "create, cold"]),
            ("start", ["v1", "real", "lifecycle", "start, cold"]),
            ("exec", ["v1", "real", "lifecycle", "exec, cold"]),
            ("state", ["v1", "real", "lifecycle", "state, cold"]),
            ("kill", ["v1", "real", "lifecycle", "kill, cold"]),
            ("delete", ["v1", "real", "lifecycle", "delete, cold"]),
        ],
    ),
    (
        "memory",
        "memory (v1, real bundle)",
        "MB",
        &[
            ("peak of run", ["v1", "real", "memory", "run"]),
            ("peak of create", ["v1", "real", "memory", "create"]),
            ("peak of exec", ["v1", "real", "memory", "exec"]),
            ("init, waiting", ["v1", "real", "memory", "init at the gate"]),
            ("lowest memory.limit", ["v1", "spec", "memory", "lowest memory.limit"]),
        ],
    ),
    (
        "parallel",
        "containers to their end, some at once (v1, spec bundle)",
        "s",
        &[
            ("100, one by one", ["v1", "spec", "parallel", "100, 1 at once"]),
            ("100, 8 at once", ["v1", "spec", "parallel", "100, 8 at once"]),
            ("50 at once", ["v1", "spec", "parallel", "50, 50 at once"]),
            ("100 at once", ["v1", "spec", "parallel", "100, 100 at once"]),
        ],
    ),
    (
        "mounts",
        "run with many mounts, 1024 open files allowed (v1, spec bundle)",
        "ms",
        &[
            ("0 more", ["v1", "spec", "mounts", "run, 0 mounts"]),
            ("10 more", ["v1", "spec", "mounts", "run, 10 mounts"]),
            ("100 more", ["v1", "spec", "mounts", "run, 100 mounts"]),
            ("1000 more", ["v1", "spec", "mounts", "run, 1000 mounts"]),
        ],
    ),
];

/// Writes a chart for each that was measured, and the sections of these documents that are made from results.
pub fn draw(json: &Path, directory: &Path, documents: &[String]) -> Result<(), String> {
    let report = Report::read(json)?;
    for (name, _, text) in charts(&report) {
        let path = directory.join(format!("{name}.svg"));
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for document in documents {
        let text = fs::read_to_string(document).map_err(|error| format!("{document}: {error}"))?;
        let new = filled(&text, &report).map_err(|error| format!("{document}: {error}"))?;
        fs::write(document, new).map_err(|error| format!("{document}: {error}"))?;
    }
    Ok(())
}

/// Name, title and text of each chart whose numbers are there.
fn charts(report: &Report) -> Vec<(&'static str, &'static str, String)> {
    let mut charts = Vec::new();
    for (name, title, unit, rows) in CHARTS {
        let groups: Vec<Group> = rows.iter().filter_map(|(title, place)| group(report, title, *place)).collect();
        if !groups.is_empty() {
            let label = |name: &str| {
                let runtime = report.runtimes.iter().find(|runtime| runtime.name == name);
                runtime.map_or(name.to_owned(), |runtime| runtime.label())
            };
            charts.push((*name, *title, bars(title, unit, &groups, label)));
        }
    }
    charts
}

fn group(report: &Report, title: &str, [view, bundle, part, name]: [&str; 4]) -> Option<Group> {
    let measure = report.find(view, bundle, part, name)?;
    let value = |runtime: &str| measure.values.get(runtime).map(|value| (runtime.to_owned(), value.p50));
    let bars: Vec<_> = report.runtimes.iter().filter_map(|runtime| value(&runtime.name)).collect();
    (!bars.is_empty()).then(|| Group { title: title.to_owned(), bars })
}

const BEGIN: &str = "<!-- bench: ";
const END: &str = "<!-- end of bench -->";

/// The text with its generated sections made anew; each begins with its name and ends with a mark.
fn filled(text: &str, report: &Report) -> Result<String, String> {
    let mut new = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let after = &rest[at + BEGIN.len()..];
        let (name, behind) = after.split_once(" -->\n").ok_or("a section's name does not end")?;
        let (_, left) = behind.split_once(END).ok_or_else(|| format!("section {name} does not end"))?;
        let section = match name {
            "summary" => summary(report),
            "tables" => tables(report),
            "targets" => targets(report),
            _ => return Err(format!("there is no section {name}")),
        };
        let _ = write!(new, "{}{BEGIN}{name} -->\n{section}{END}", &rest[..at]);
        rest = left;
    }
    Ok(new + rest)
}

/// The table of README.md: ratios, which hold elsewhere better than milliseconds do.
fn summary(report: &Report) -> String {
    let rows = [
        ("`run /bin/true`, 40 ms apart", ["v1", "real", "run", "cold"]),
        ("`run /bin/true`, back to back", ["v1", "real", "run", "warm"]),
        ("the same where there is cgroup2 only", ["v2", "real", "run", "warm"]),
        ("50 containers at once", ["v1", "spec", "parallel", "50, 50 at once"]),
        ("`create`, 40 ms apart", ["v1", "real", "lifecycle", "create, cold"]),
        ("`exec`, 40 ms apart", ["v1", "real", "lifecycle", "exec, cold"]),
        ("`state`, 40 ms apart", ["v1", "real", "lifecycle", "state, cold"]),
        ("peak memory of `create`", ["v1", "real", "memory", "create"]),
        ("memory of a container that waits to be started", ["v1", "real", "memory", "init at the gate"]),
    ];
    let others: Vec<_> = report.runtimes.iter().filter(|it| ![OURS, FLOOR].contains(&it.name.as_str())).collect();
    let titles: Vec<_> = others.iter().map(|other| other.label()).collect();
    let mut text = preamble(report);
    let _ = writeln!(text, "\n| minicon's part of | {} |\n|---|{}", titles.join(" | "), "---|".repeat(others.len()));
    for (title, [view, bundle, part, name]) in rows {
        let Some(measure) = report.find(view, bundle, part, name) else { continue };
        let ratio = |other: &&Version| {
            let ratio = measure.values.get(&other.name).and_then(|value| value.ratio);
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let _ = writeln!(text, "| {title} | {} |", others.iter().map(ratio).collect::<Vec<_>>().join(" | "));
    }
    for (name, title) in
        charts(report).into_iter().map(|(name, title, _)| (name, title)).filter(|(name, _)| SHOWN.contains(name))
    {
        let _ = write!(text, "\n![{title}](benches/results/{name}.svg)\n");
    }
    text
}

/// The charts in README.md.
const SHOWN: [&str; 3] = ["run", "lifecycle", "memory"];

fn preamble(report: &Report) -> String {
    let Machine { processor, kernel, date } = &report.machine;
    let labels: Vec<_> = report.runtimes.iter().filter(|it| it.name != FLOOR).map(Version::label).collect();
    format!("{processor}, Linux {kernel}, {date}, {} rounds; {}.\n", report.rounds, labels.join(", "))
}

/// Every measure, for docs/performance.md.
fn tables(report: &Report) -> String {
    let mut text = preamble(report);
    let mut last = None;
    for measure in &report.measures {
        let Measure { view, bundle, part, unit, .. } = measure;
        let place = (view, bundle, part, unit);
        if last != Some(place) {
            let names: Vec<_> = report.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
            let words = [part.as_str(), view, bundle].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
            let _ = writeln!(
                text,
                "\n### {}\n\n| {unit} | {} |\n|---|{}",
                words.join(", "),
                names.join(" | "),
                "---|".repeat(names.len())
            );
            last = Some(place);
        }
        let cells: Vec<_> = report.runtimes.iter().map(|runtime| cell(measure, &runtime.name)).collect();
        let _ = writeln!(text, "| {} | {} |", measure.name, cells.join(" | "));
    }
    if !report.notes.is_empty() {
        text += "\n### Notes\n\n";
        for note in &report.notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    text
}

fn cell(measure: &Measure, runtime: &str) -> String {
    let Some(value) = measure.values.get(runtime) else { return "-".to_owned() };
    let tail = value.p99.map_or(String::new(), |p99| format!(" ({})", shown(p99)));
    let ratio = value.ratio.map_or(String::new(), |ratio| format!(", {ratio:.2}"));
    format!("{}{tail}{ratio}", shown(value.p50))
}

fn targets(report: &Report) -> String {
    let mut text = "| target | measured | at most | |\n|---|---|---|---|\n".to_owned();
    for verdict in verdicts(report) {
        let value = verdict.value.map_or("-".to_owned(), shown);
        let aim = if verdict.aim { " (aim)" } else { "" };
        let _ = writeln!(text, "| {} | {value} | {}{aim} | {} |", verdict.what, verdict.at_most, verdict.word());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{END, charts, filled};
    use crate::report::Report;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let text = format!("before\n<!-- bench: targets -->\nof yore\n{END}\nafter\n");
        let new = filled(&text, &Report::default()).expect("filled");
        assert!(
            new.starts_with("before\n<!-- bench: targets -->\n| target") && new.ends_with(&format!("{END}\nafter\n")),
            "{new}"
        );
        assert!(!new.contains("of yore"));
        assert_eq!(filled(&new, &Report::default()), Ok(new));
    }

    #[test]
    fn a_section_of_no_name_or_no_end_is_an_error() {
        assert!(filled("<!-- bench: targets -->\n", &Report::default()).is_err());
        assert!(filled(&format!("<!-- bench: other -->\n{END}"), &Report::default()).is_err());
    }

    /// `make bench` writes them all; this fails where one was changed by hand, or its results were not committed.
    #[test]
    fn what_is_committed_is_made_from_the_results() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
        let results = top.join("benches/results");
        // Before the first whole run there is nothing to hold.
        let Ok(report) = Report::read(&results.join("latest.json")) else { return };
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        for (name, _, chart) in charts(&report) {
            assert!(text(&results.join(format!("{name}.svg"))) == chart, "{name}.svg: make bench-draw");
        }
        for document in ["README.md", "docs/performance.md"] {
            let text = text(&top.join(document));
            assert!(filled(&text, &report).as_deref() == Ok(&text), "{document}: make bench-draw");
        }
    }
}
