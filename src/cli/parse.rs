//! From argv to one command, with the liberties that engines take: a long flag with one dash, a flag given twice.
//!
//! clap builds only the subcommand that is called: the whole tree would cost more than the rest of `state`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Command, FromArgMatches};

use super::{Action, ENTRIES, Entry, Globals, help};

/// Parses the command line, the program's name first. The error is clap's, which also carries help and usage.
pub fn parse(arguments: Vec<OsString>) -> Result<(Globals, Action), clap::Error> {
    let arguments = with_double_dashes(arguments);
    match parse_plainly(&arguments) {
        Some(parsed) => Ok(parsed),
        None => parse_with_tree(arguments),
    }
}

/// The way of a command line without mistakes: only the subcommand's own flags are built. None for any other.
fn parse_plainly(arguments: &[OsString]) -> Option<(Globals, Action)> {
    let (globals, position) = read_globals(arguments)?;
    let words = arguments.get(position..)?;
    let entry = ENTRIES.iter().find(|entry| words[0] == entry.name)?;
    let matches = subcommand(entry).try_get_matches_from(words).ok()?;
    Some((globals, (entry.read)(&matches).ok()?))
}

/// The flags before the subcommand, and the subcommand's position; None if they are not all well-formed.
fn read_globals(arguments: &[OsString]) -> Option<(Globals, usize)> {
    let mut globals = Globals {
        root: None,
        log: None,
        log_format: "text".to_owned(),
        debug: false,
        systemd_cgroup: false,
        cgroup_manager: None,
        rootless: "auto".to_owned(),
        trace: None,
        trace_format: None,
        strict: false,
        log_level: None,
    };
    let mut position = 1;
    loop {
        let word = arguments.get(position)?.to_str()?;
        position += 1;
        match word {
            "--debug" => globals.debug = true,
            "--systemd-cgroup" => globals.systemd_cgroup = true,
            "--strict" => globals.strict = true,
            flag if flag.starts_with('-') => {
                let (name, value) = match flag.split_once('=') {
                    Some((name, value)) => (name, OsStr::new(value)),
                    None => {
                        position += 1;
                        (flag, arguments.get(position - 1)?.as_os_str())
                    }
                };
                // What is empty, or looks like a flag, is for clap to judge.
                let text = value.to_str().filter(|text| !text.is_empty() && !text.starts_with('-'))?;
                match name {
                    "--root" => globals.root = Some(PathBuf::from(value)),
                    "--log" => globals.log = Some(PathBuf::from(value)),
                    "--log-format" => globals.log_format = text.to_owned(),
                    "--log-level" => globals.log_level = Some(text.to_owned()),
                    "--cgroup-manager" => globals.cgroup_manager = Some(text.to_owned()),
                    "--rootless" => globals.rootless = text.to_owned(),
                    "--trace" => globals.trace = Some(PathBuf::from(value)),
                    "--trace-format" => globals.trace_format = Some(text.to_owned()),
                    _ => return None,
                }
            }
            _ => return Some((globals, position - 1)),
        }
    }
}

/// A command with its flags.
pub(super) fn subcommand(entry: &Entry) -> Command {
    let command = Command::new(entry.name).args_override_self(true).disable_version_flag(true);
    // The flags' own description would be that of their structure.
    (entry.flags)(command).about(entry.about)
}

/// The way of help and of mistakes. Without a subcommand that is known, clap gets all of them, to tell what was meant.
fn parse_with_tree(arguments: Vec<OsString>) -> Result<(Globals, Action), clap::Error> {
    let called = called_subcommand(&arguments);
    let mut command = help::program();
    for entry in ENTRIES.iter().filter(|entry| called.is_none_or(|called| called == entry.name)) {
        command = command.subcommand(help::with_examples(entry));
    }
    let entry = ENTRIES.iter().find(|entry| called == Some(entry.name));
    let matches = command.try_get_matches_from_mut(&arguments).map_err(|error| explain(error, entry, &mut command))?;
    if matches.get_flag("version") {
        return Ok((Globals::from_arg_matches(&matches)?, Action::Version));
    }
    let globals = Globals::from_arg_matches(&matches)?;
    let found = matches
        .subcommand()
        .and_then(|(name, matches)| ENTRIES.iter().find(|entry| entry.name == name).map(|entry| (entry.read)(matches)));
    match found {
        Some(action) => Ok((globals, action?)),
        // No command is a question, too, as for runc.
        None => command.try_get_matches_from_mut(["minicon", "--help"]).and_then(|_| Err(no_command())),
    }
}

fn no_command() -> clap::Error {
    clap::Error::raw(clap::error::ErrorKind::MissingSubcommand, "there is no command\n")
}

/// A wrong number of arguments is told in runc's words.
fn explain(error: clap::Error, entry: Option<&Entry>, command: &mut Command) -> clap::Error {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let is_word =
        matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(word)) if !word.starts_with('-'));
    let is_count = match error.kind() {
        ErrorKind::MissingRequiredArgument => true,
        ErrorKind::UnknownArgument => is_word,
        _ => false,
    };
    match entry.filter(|_| is_count) {
        Some(entry) => {
            let subcommand =
                command.find_subcommand_mut(entry.name).map(|subcommand| subcommand.clone().bin_name("minicon"));
            let mut subcommand = subcommand.unwrap_or_default();
            let mut bounds = entry.arguments.split(" and ");
            let missed = if error.kind() == ErrorKind::MissingRequiredArgument { bounds.next() } else { bounds.last() };
            subcommand.error(error.kind(), format!("{:?} requires {}", entry.name, missed.unwrap_or_default()))
        }
        None => error,
    }
}

/// The global flags that take the next word as their value.
const GLOBALS_WITH_VALUE: [&str; 8] =
    ["--root", "--log", "--log-format", "--log-level", "--cgroup-manager", "--rootless", "--trace", "--trace-format"];

fn called_subcommand(arguments: &[OsString]) -> Option<&str> {
    let mut words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if GLOBALS_WITH_VALUE.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            return ENTRIES.iter().map(|entry| entry.name).find(|name| *name == word);
        }
    }
    None
}

/// The name of the subcommand that a well-formed command line calls. Allocates nothing.
pub fn called<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<&'static str> {
    let mut words = words.skip(1);
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix(b"-") else {
            return ENTRIES.iter().map(|entry| entry.name).find(|name| name.as_bytes() == word);
        };
        let flag = flag.strip_prefix(b"-").unwrap_or(flag);
        if GLOBALS_WITH_VALUE.iter().any(|global| global.as_bytes()[2..] == *flag) {
            words.next();
        }
    }
    None
}

/// Long flags that engines write with one dash, as Go's flag package allows (`-no-subreaper`, from containerd).
const LONG_FLAGS: &[&str] = &[
    "additional-gids",
    "all",
    "apparmor",
    "auto-dedup",
    "blkio-weight",
    "bundle",
    "cap",
    "cgroup",
    "cgroup-manager",
    "config",
    "console-socket",
    "cpu-burst",
    "cpu-idle",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-share",
    "cpuset-cpus",
    "cpuset-mems",
    "cwd",
    "debug",
    "detach",
    "empty-ns",
    "env",
    "ext-unix-sk",
    "file",
    "file-locks",
    "force",
    "format",
    "help",
    "id",
    "ignore-paused",
    "image-path",
    "interval",
    "keep",
    "kernel-memory",
    "kernel-memory-tcp",
    "l3-cache-schema",
    "lazy-pages",
    "leave-running",
    "link-remap",
    "log",
    "log-format",
    "log-level",
    "lsm-mount-context",
    "lsm-profile",
    "manage-cgroups-mode",
    "mem-bw-schema",
    "memory",
    "memory-reservation",
    "memory-swap",
    "network-lock",
    "no-new-keyring",
    "no-new-privs",
    "no-pivot",
    "no-subreaper",
    "page-server",
    "parent-path",
    "pid-file",
    "pidfd-socket",
    "pids-limit",
    "pre-dump",
    "preserve-fds",
    "process",
    "process-label",
    "quiet",
    "regex",
    "resources",
    "root",
    "rootless",
    "shell-job",
    "stats",
    "status-fd",
    "strict",
    "systemd-cgroup",
    "tcp-close",
    "tcp-established",
    "tcp-skip-in-flight",
    "trace",
    "trace-format",
    "tty",
    "user",
    "version",
    "why",
    "work-path",
];

/// Gives such flags their second dash. What follows the container's name is left alone where it is another program's:
/// the words of exec, and those of ps, which may begin with a dash.
fn with_double_dashes(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut rewritten = Vec::with_capacity(arguments.len() + 1);
    let mut arguments = arguments.into_iter();
    rewritten.extend(arguments.next());
    let mut verb: Option<String> = None;
    let mut is_value = false;
    for word in arguments.by_ref() {
        let Some(text) = word.to_str().filter(|_| !is_value) else {
            is_value = false;
            rewritten.push(word);
            continue;
        };
        if text == "--" {
            rewritten.push(word);
            break;
        }
        if text.starts_with('-') && text != "-" {
            is_value = takes_next_word(text, verb.as_deref());
            rewritten.extend(with_double_dash(word));
            continue;
        }
        match verb.as_deref() {
            None => verb = Some(text.to_owned()),
            Some(called) if WITH_PROGRAM.contains(&called) => {
                rewritten.push(word);
                rewritten.extend((called == "ps").then(|| OsString::from("--")));
                break;
            }
            Some(_) => {}
        }
        rewritten.push(word);
    }
    rewritten.extend(arguments);
    rewritten
}

/// A flag with its second dash; None for a switch that is turned off, as Go's flag package takes `--keep=false`.
fn with_double_dash(word: OsString) -> Option<OsString> {
    let Some(text) = word.to_str() else { return Some(word) };
    let (name, value) = match text.trim_start_matches('-').split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text.trim_start_matches('-'), None),
    };
    if name.len() < 2 || !LONG_FLAGS.contains(&name) {
        return Some(word);
    }
    match value.filter(|_| SWITCHES.contains(&name)) {
        Some("true" | "1" | "t" | "T") => Some(OsString::from(format!("--{name}"))),
        Some("false" | "0" | "f" | "F") => None,
        _ if text.starts_with("--") => Some(word),
        _ => Some(OsString::from(format!("-{text}"))),
    }
}

/// Whether the word after a flag is its value, so that it is not taken for the container's name.
fn takes_next_word(flag: &str, verb: Option<&str>) -> bool {
    let name = flag.trim_start_matches('-');
    match name.len() {
        1 => verb.is_some_and(|verb| WITH_PROGRAM.contains(&verb)) && SHORT_WITH_VALUE.contains(&name),
        // As a global flag it has a value, as one of spec it has none.
        _ if name == "rootless" => verb.is_none(),
        _ => LONG_FLAGS.contains(&name) && !SWITCHES.contains(&name),
    }
}

/// The commands that end with another program's words.
const WITH_PROGRAM: &[&str] = &["exec", "ps"];

/// Their short flags that take the next word as their value.
const SHORT_WITH_VALUE: &[&str] = &["c", "e", "f", "g", "p", "u"];

/// The flags without a value.
const SWITCHES: &[&str] = &[
    "all",
    "auto-dedup",
    "debug",
    "detach",
    "ext-unix-sk",
    "file-locks",
    "force",
    "help",
    "ignore-paused",
    "keep",
    "lazy-pages",
    "leave-running",
    "link-remap",
    "no-new-keyring",
    "no-new-privs",
    "no-pivot",
    "no-subreaper",
    "pre-dump",
    "quiet",
    "regex",
    "shell-job",
    "stats",
    "strict",
    "systemd-cgroup",
    "tcp-close",
    "tcp-established",
    "tcp-skip-in-flight",
    "tty",
    "version",
    "why",
];

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    fn parsed(line: &str) -> (Globals, Action) {
        parse(line.split(' ').map(OsString::from).collect()).expect("it parses")
    }

    #[test]
    fn engines_quirks() {
        let (_, action) = parsed("minicon run -no-subreaper -d -d --bundle /b c");
        assert!(matches!(action, Action::Run(run) if run.no_subreaper && run.detach && run.create.id == "c"));
        let (globals, _) = parsed("minicon --log-format=json --root /r --root /s state state");
        assert_eq!((globals.log_format.as_str(), globals.root), ("json", Some("/s".into())));
    }

    #[test]
    fn both_ways_to_parse_agree() {
        for line in [
            "minicon --root /r --log /l --log-format json --debug --systemd-cgroup --rootless true --strict state c",
            "minicon --cgroup-manager disabled --log-level error run --config f c",
            "minicon --cgroup-manager=systemd --root=/r --log=/l --log-format=text --rootless=false run -b /b --keep c",
            "minicon exec -e A=B -e C=D -t -u 1:2 c sh -c --root",
            "minicon kill c KILL",
            "minicon delete --force --force c",
            "minicon spec --rootless",
            "minicon spec --rootless --bundle /b",
            "minicon list -f json",
            "minicon --trace /t.json --trace-format=tree explain --why -f json /b",
            "minicon check",
            "minicon trace /t.json",
            "minicon update --memory -1 --memory-swap=-1 --cpu-quota -1 --pids-limit -5 c",
            "minicon update -r - c",
            "minicon events --interval 1m30s --stats c",
            "minicon ps -f json c -- -e -x",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let plain = parse_plainly(&words).expect("the plain way");
            let tree = parse_with_tree(words).expect("the tree's way");
            assert_eq!(format!("{plain:?}"), format!("{tree:?}"), "{line}");
        }
    }

    #[test]
    fn every_global_flag_is_read_plainly() {
        for flag in Globals::augment_args(Command::new("minicon")).get_arguments() {
            let long = flag.get_long().expect("a long flag");
            let value = if flag.get_action().takes_values() { "=text" } else { "" };
            let words = ["minicon".to_owned(), format!("--{long}{value}"), "list".to_owned()].map(OsString::from);
            assert_eq!(called(words.iter().map(|word| word.as_encoded_bytes())), Some("list"), "{long}");
        }
    }

    #[test]
    fn the_words_of_exec_are_its_own() {
        let (_, action) = parsed("minicon exec -tty c sh -root -c");
        let Action::Exec(exec) = action else { panic!("exec") };
        assert!(exec.tty);
        assert_eq!(exec.command, ["sh", "-root", "-c"]);
        let (_, action) = parsed("minicon exec c -- ls -l");
        assert!(matches!(action, Action::Exec(exec) if exec.command == ["ls", "-l"]));
    }

    #[test]
    fn a_flags_value_is_no_word_of_the_command() {
        let (_, action) = parsed("minicon exec -env A=B -user 1:2 -e C=D -cwd / c sh -root -c");
        let Action::Exec(exec) = action else { panic!("exec") };
        assert_eq!(
            (exec.env.join(" "), exec.user.as_deref(), exec.cwd),
            ("A=B C=D".into(), Some("1:2"), Some("/".into()))
        );
        assert_eq!((exec.id.as_str(), exec.command.join(" ")), ("c", "sh -root -c".into()));
    }

    #[test]
    fn the_words_after_the_name_belong_to_ps() {
        for (line, format, options) in [
            ("minicon ps c", "table", ""),
            ("minicon ps c -e -x", "table", "-e -x"),
            ("minicon ps c -f", "table", "-f"),
            ("minicon --root ps ps c -format", "table", "-format"),
            ("minicon ps -format json c", "json", ""),
            ("minicon ps --format=json c -o pid,args --help", "json", "-o pid,args --help"),
            ("minicon ps -f json c aux", "json", "aux"),
        ] {
            let (_, action) = parsed(line);
            let Action::Ps(ps) = action else { panic!("ps") };
            assert_eq!(
                (ps.id.as_str(), ps.format.as_str(), ps.options.join(" ")),
                ("c", format, options.into()),
                "{line}"
            );
        }
    }

    #[test]
    fn limits_may_be_negative() {
        let (_, action) = parsed("minicon update -memory -1 --cpu-quota -1 --pids-limit=-1 -resources - c");
        let Action::Update(update) = action else { panic!("update") };
        assert_eq!((update.memory.as_deref(), update.cpu_quota.as_deref()), (Some("-1"), Some("-1")));
        assert_eq!((update.pids_limit.as_deref(), update.resources.as_deref()), (Some("-1"), Some("-")));
        assert_eq!(update.id, "c");
    }

    #[test]
    fn every_flag_is_listed() {
        for entry in ENTRIES {
            for flag in (entry.flags)(Command::new(entry.name)).get_arguments() {
                let takes_value = flag.get_action().takes_values();
                if let Some(long) = flag.get_long() {
                    assert!(LONG_FLAGS.contains(&long), "{long}");
                    // rootless is a global flag, too, with a value.
                    assert_ne!(SWITCHES.contains(&long) || long == "rootless", takes_value, "{long}");
                }
                let short = flag.get_short().filter(|_| WITH_PROGRAM.contains(&entry.name));
                if let Some(short) = short.map(String::from) {
                    assert_eq!(SHORT_WITH_VALUE.contains(&short.as_str()), takes_value, "{} -{short}", entry.name);
                }
            }
        }
    }
}
