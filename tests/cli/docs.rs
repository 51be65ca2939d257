//! The commands of README.md and docs/tour.md, run as they are printed, and what they print compared.
//!
//! In a block marked `console` a line that begins with `$ ` is a command, `> ` goes on with it, and what follows is what it
//! prints: `[..]` stands for anything on the line, a line `...` for any lines. All commands of a page run in one shell.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Cmd, Test, program};

/// A command, and the lines that it is said to print.
struct Step {
    command: String,
    printed: Vec<String>,
}

/// The commands of a page. A block that starts as a shell's (`sh`) would not be compared, so there may be none.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), line.strip_prefix("> "), steps.last_mut()) {
                (Some(command), _, _) => steps.push(Step { command: command.to_owned(), printed: Vec::new() }),
                (None, Some(more), Some(step)) => step.command.push_str(&format!("\n{more}")),
                (None, None, Some(step)) => step.printed.push(line.to_owned()),
                _ => panic!("output before the first command: {line}"),
            },
            (false, _) => {}
        }
    }
    steps
}

/// Whether lines are as printed.
fn agrees(printed: &[String], lines: &[&str]) -> bool {
    match printed.split_first() {
        None => lines.is_empty(),
        Some((dots, rest)) if dots == "..." => (0..=lines.len()).any(|skipped| agrees(rest, &lines[skipped..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| fits(first, line) && agrees(rest, lines))
        }
    }
}

fn fits(pattern: &str, line: &str) -> bool {
    match pattern.split_once("[..]") {
        None => pattern == line,
        Some((start, rest)) => line
            .strip_prefix(start)
            .is_some_and(|line| line.char_indices().any(|(at, _)| fits(rest, &line[at..])) || fits(rest, "")),
    }
}

/// Runs a page in the repository, with a minicon in PATH that keeps its state in the test's directory.
fn run(t: &Test, page: &str) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("the page");
    let bin = t.directory("bin");
    let wrapper = format!("#!/bin/sh\nexec {} --root {} \"$@\"\n", program().display(), t.root().display());
    fs::write(bin.join("minicon"), wrapper).expect("write");
    fs::set_permissions(bin.join("minicon"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let here = |text: &str| {
        let text =
            text.replace("target/release/minicon", "minicon").replace("/run/minicon", &t.root().to_string_lossy());
        text.replace("/tmp/tour", &t.path("tour").to_string_lossy())
    };
    let steps = steps(&text);
    assert!(!steps.is_empty(), "{page} has no commands");
    let mark = |index: usize| format!("\u{1e}{index}\n");
    let script: String = steps
        .iter()
        .enumerate()
        .map(|(index, step)| format!("printf '{}'\n{}\n", mark(index), here(&step.command)))
        .collect();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = Cmd::new("/bin/sh").args(["-c", &format!("exec 2>&1\n{script}")]).env("PATH", path);
    let output = output.dir(Path::new(env!("CARGO_MANIFEST_DIR"))).limit(60).run();
    for (index, step) in steps.iter().enumerate() {
        let after = output.stdout.split_once(&mark(index)).map_or("", |(_, after)| after);
        let lines: Vec<&str> = after.split('\u{1e}').next().unwrap_or_default().lines().collect();
        let printed: Vec<String> = step.printed.iter().map(|line| here(line)).collect();
        assert!(
            agrees(&printed, &lines),
            "{page}: $ {}\nprints\n{}\ninstead of\n{}",
            step.command,
            lines.join("\n"),
            printed.join("\n")
        );
    }
}

#[test]
fn the_tour_is_true() {
    let Some(t) = Test::of_minicon("a page about minicon") else { return };
    run(&t, "docs/tour.md");
}

#[test]
fn the_readme_is_true() {
    let Some(t) = Test::of_minicon("a page about minicon") else { return };
    run(&t, "README.md");
}

/// A block of commands that is not compared must say who runs it.
#[test]
fn every_command_is_run_by_somebody() {
    for page in ["README.md", "docs/tour.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("the page");
        let lines: Vec<&str> = text.lines().collect();
        for (index, _) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("```sh")) {
            assert!(index > 1 && lines[index - 1].starts_with("<!-- run by "), "{page}, line {}", index + 1);
        }
    }
}

#[test]
fn what_differs_is_noticed() {
    let printed = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(agrees(&printed("a [..] c\n...\nz"), &["a b c", "x", "y", "z"]));
    assert!(agrees(&printed("a[..]\n..."), &["a"]));
    assert!(!agrees(&printed("a [..] c"), &["a b d"]));
    assert!(!agrees(&printed("a\n...\nz"), &["a", "x"]));
    assert!(!agrees(&printed(""), &["a"]));
}
