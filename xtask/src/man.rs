//! Manual pages, section 8: one for the program, one for each command.

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use minicon::cli::{examples_of, tree};

use crate::Generated;

/// What the flags do not say, a section each; in roff, with the macros of man(7).
const SECTIONS: &[(&str, &str)] = &[
    ("BUNDLES AND ANNOTATIONS", include_str!("man/bundles.roff")),
    ("EXIT STATUS", include_str!("man/exit_status.roff")),
    ("ENVIRONMENT", include_str!("man/environment.roff")),
    ("FILES", include_str!("man/files.roff")),
];

/// Every page with the name of its file.
pub fn pages() -> Result<Vec<Generated>> {
    let tree = tree();
    let mut pages = vec![("minicon.8".to_owned(), program(&tree)?)];
    for command in tree.get_subcommands() {
        let name = command.get_name();
        let page = page_of_command(command).with_context(|| name.to_owned())?;
        pages.push((format!("minicon-{name}.8"), page));
    }
    Ok(pages)
}

fn program(tree: &Command) -> Result<Vec<u8>> {
    let mut text = head(tree.clone(), "minicon", "minicon [OPTIONS] COMMAND [ARGUMENT]...")?;
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    for command in tree.get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        commands.control("TP", []);
        commands.text([clap_mangen::roff::bold(format!("minicon-{}", command.get_name())), roman("(8)")]);
        commands.text([roman(about)]);
    }
    commands.to_writer(&mut text)?;
    for (title, body) in SECTIONS {
        text.extend_from_slice(format!(".SH \"{title}\"\n{}", body).as_bytes());
    }
    examples("").to_writer(&mut text)?;
    let others = tree.get_subcommands().map(|command| format!("minicon-{}(8)", command.get_name()));
    see_also(others.chain(["runc(8)", "crun(1)", "podman(1)", "cgroups(7)", "namespaces(7)"].map(str::to_owned)))
        .to_writer(&mut text)?;
    Ok(text)
}

fn page_of_command(command: &Command) -> Result<Vec<u8>> {
    let name = command.get_name();
    let usage = command.clone().bin_name(format!("minicon {name}")).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replacen("minicon ", "minicon [GLOBAL OPTIONS] ", 1);
    let mut text = head(command.clone(), &format!("minicon-{name}"), &usage)?;
    examples(name).to_writer(&mut text)?;
    see_also(std::iter::once("minicon(8)".to_owned())).to_writer(&mut text)?;
    Ok(text)
}

/// Title, name, synopsis and options. No date: a page is the same whenever it is written.
fn head(command: Command, title: &str, usage: &str) -> Result<Vec<u8>> {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let mut text = Vec::new();
    let mut top = Roff::new();
    let source = format!("minicon {version}");
    top.control("TH", [&*title.to_uppercase(), "8", "", &*source, "System Administration"]);
    top.control("SH", ["NAME"]);
    top.text([roman(format!("{title} - {about}"))]);
    top.control("SH", ["SYNOPSIS"]);
    top.text([roman(usage)]);
    top.to_writer(&mut text)?;
    Man::new(command.disable_help_subcommand(true)).render_options_section(&mut text)?;
    Ok(text)
}

fn examples(name: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (line, does) in examples_of(name) {
        roff.control("TP", []);
        roff.text([clap_mangen::roff::bold(*line)]);
        roff.text([roman(*does)]);
    }
    roff
}

fn see_also(pages: impl Iterator<Item = String>) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(pages.collect::<Vec<_>>().join(", "))]);
    roff
}

#[cfg(test)]
mod tests {
    use super::pages;

    #[test]
    fn there_is_a_page_for_each_command_and_none_is_empty() {
        let pages = pages().expect("pages");
        assert_eq!(pages.len(), 1 + minicon::cli::tree().get_subcommands().count());
        for (name, text) in &pages {
            let text = String::from_utf8_lossy(text);
            for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "\"SEE ALSO\""] {
                assert!(text.contains(&format!(".SH {section}\n")), "{name} has no {section}");
            }
        }
    }
}
