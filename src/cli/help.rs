//! What `--help` says beside the flags: the commands in groups, and examples. The whole tree, which no command needs, is
//! for man pages and completions.

use std::fmt::Write;

use clap::{Arg, ArgAction, Args, Command};

use super::parse::subcommand;
use super::{ENTRIES, Entry, Globals};

/// The commands in the order in which a person meets them.
const GROUPS: &[(&str, &[&str])] = &[
    ("The life of a container", &["run", "create", "start", "kill", "delete"]),
    ("While it lives", &["exec", "pause", "resume", "update"]),
    ("To see", &["list", "state", "ps", "events"]),
    ("To save", &["checkpoint", "restore"]),
    ("To understand", &["explain", "check", "trace"]),
    ("Without a container", &["spec", "features"]),
];

/// Command lines, each with what it does. Those of the program itself have no name.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "",
        &[
            ("minicon spec", "write a config.json to start from; unpack an image to rootfs beside it"),
            ("minicon run web", "run the bundle in this directory as the container web"),
            ("minicon exec -t web sh", "a shell in it"),
            ("minicon list", "the containers and what they are doing"),
            ("minicon delete --force web", "kill it, and leave nothing behind"),
            ("podman --runtime minicon run IMAGE", "the same through an engine"),
        ],
    ),
    (
        "run",
        &[
            ("minicon run --bundle /srv/web web", "until the program ends; its exit status is minicon's"),
            ("minicon run -d --pid-file pid web", "in the background"),
        ],
    ),
    (
        "create",
        &[
            ("minicon create --bundle /srv/web web", "all but the program: hooks and networks can be set up now"),
            ("minicon start web", "the program"),
        ],
    ),
    ("start", &[("minicon start web", "lets the program of the created container web start")]),
    (
        "kill",
        &[
            ("minicon kill web", "SIGTERM"),
            ("minicon kill web KILL", "by name or number; SIGKILL ends all of its processes"),
            ("minicon kill --regex '^test-' KILL", "every container whose name matches"),
        ],
    ),
    (
        "delete",
        &[
            ("minicon delete web", "a container that has stopped or was never started"),
            ("minicon delete --force web", "any; no error if there is none"),
            ("minicon delete --force --regex '^test-'", "every container whose name matches"),
        ],
    ),
    (
        "exec",
        &[
            ("minicon exec -t web sh", "a shell on a terminal of its own"),
            ("minicon exec -u 1000:1000 -e A=B web env", "as another user, with one more variable"),
            ("minicon exec --process process.json web", "as a file says, which is a process of config.json"),
        ],
    ),
    ("pause", &[("minicon pause web", "freezes all of its processes")]),
    ("resume", &[("minicon resume web", "undoes it")]),
    (
        "update",
        &[
            ("minicon update --memory 512m --pids-limit 100 web", "single limits"),
            ("minicon update --resources - web <limits.json", "linux.resources of config.json"),
        ],
    ),
    (
        "list",
        &[
            ("minicon list", "a table"),
            ("minicon list --format json", "for programs"),
            ("minicon list -q | xargs -n 1 minicon delete -f", "removes them all"),
        ],
    ),
    ("state", &[("minicon state web", "status, pid, bundle and annotations")]),
    (
        "ps",
        &[
            ("minicon ps web", "as ps -ef shows them"),
            ("minicon ps web -o pid,rss,args", "with options of ps(1)"),
            ("minicon ps --format json web", "the pids alone"),
        ],
    ),
    (
        "events",
        &[
            ("minicon events --stats web", "once"),
            ("minicon events --interval 1s web", "each second, and at once when memory ran out"),
        ],
    ),
    (
        "checkpoint",
        &[
            ("minicon checkpoint --image-path /tmp/web web", "saves it, and ends it"),
            ("minicon checkpoint --leave-running web", "into ./checkpoint, and it goes on"),
        ],
    ),
    ("restore", &[("minicon restore --image-path /tmp/web --bundle /srv/web web", "where it was saved")]),
    (
        "spec",
        &[
            ("minicon spec --bundle /srv/web", "a shell in new namespaces"),
            ("minicon spec --rootless", "what a user without privileges can run"),
        ],
    ),
    (
        "explain",
        &[
            ("minicon explain /srv/web", "each step of create, start and delete"),
            ("minicon explain --why --format markdown /srv/web", "with reasons, as tables"),
        ],
    ),
    (
        "check",
        &[
            ("minicon check", "this machine; the first question of a bug report"),
            ("minicon check --format json /srv/web", "a bundle, for programs; the exit status is 1 if it would fail"),
        ],
    ),
    (
        "trace",
        &[
            ("minicon --trace web.json run --bundle /srv/web web", "records; Perfetto opens web.json"),
            ("minicon trace web.json", "the tree, and the slowest steps"),
        ],
    ),
    ("features", &[("minicon features | jq .mountOptions", "namespaces, capabilities, mount options and so on")]),
];

/// The program with its global flags, without commands.
pub fn program() -> Command {
    let options = "{before-help}{about-with-newline}\n{usage-heading} {usage}\n\n";
    let template = format!("{options}{}Options:\n{{options}}{{after-help}}", groups());
    Globals::augment_args(Command::new("minicon"))
        .about("Run containers from OCI bundles, with the command line of runc")
        .override_usage("minicon [OPTIONS] COMMAND ...")
        .help_template(template)
        .after_help(examples("") + "\nminicon COMMAND --help tells more of a command.")
        .args_override_self(true)
        .disable_version_flag(true)
        .arg(Arg::new("version").short('v').long("version").help("Print the version").action(ArgAction::SetTrue))
}

/// A command with its examples.
pub fn with_examples(entry: &Entry) -> Command {
    subcommand(entry).after_help(examples(entry.name))
}

/// The program with all its commands, in the order of its help.
pub fn tree() -> Command {
    let names = GROUPS.iter().flat_map(|(_, names)| names.iter());
    let entries = names.filter_map(|name| ENTRIES.iter().find(|entry| entry.name == *name));
    entries.fold(program(), |program, entry| program.subcommand(with_examples(entry)))
}

fn groups() -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let _ = writeln!(text, "{title}:");
        for entry in names.iter().filter_map(|name| ENTRIES.iter().find(|entry| entry.name == *name)) {
            let _ = writeln!(text, "  {:<11} {}", entry.name, entry.about);
        }
        text.push('\n');
    }
    text
}

/// Examples with what they do, one a line.
fn examples(name: &str) -> String {
    let mut text = "Examples:\n".to_owned();
    let lines = examples_of(name);
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    for (line, does) in lines {
        let _ = writeln!(text, "  {line:<width$}   {does}");
    }
    text
}

/// The examples of a command, or of the program for no name.
pub fn examples_of(name: &str) -> &'static [(&'static str, &'static str)] {
    EXAMPLES.iter().find(|(of, _)| *of == name).map_or(&[], |(_, lines)| lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_begins_with_what_a_command_does() {
        for entry in ENTRIES {
            let help = with_examples(entry).render_help().to_string();
            assert!(help.starts_with(entry.about), "{help}");
            assert!(program().render_help().to_string().contains(&format!("{:<11} {}", entry.name, entry.about)));
        }
    }

    #[test]
    fn every_command_is_in_one_group_and_has_examples_that_parse() {
        for entry in ENTRIES {
            let groups = GROUPS.iter().filter(|(_, names)| names.contains(&entry.name)).count();
            assert_eq!((groups, examples_of(entry.name).is_empty()), (1, false), "{}", entry.name);
        }
        for line in EXAMPLES.iter().flat_map(|(_, lines)| lines.iter()).map(|(line, _)| *line) {
            let end = line.find(['|', '<']).unwrap_or(line.len());
            let words = line[..end].split_ascii_whitespace().map(|word| word.trim_matches('\'').into());
            assert!(!line.starts_with("minicon") || super::super::parse(words.collect()).is_ok(), "{line}");
        }
        assert_eq!(tree().get_subcommands().count(), ENTRIES.len());
    }

    #[test]
    fn lines_are_short() {
        assert!(ENTRIES.iter().all(|entry| entry.about.len() < 80));
        for (name, _) in EXAMPLES {
            assert_eq!(examples(name).lines().find(|line| line.len() > 110), None);
        }
    }
}
