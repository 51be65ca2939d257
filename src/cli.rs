//! Every flag and subcommand; no logic. Names and meanings are runc's, so that engines notice no difference.
//!
//! clap builds only the subcommand that is called: the whole tree would cost more than the rest of `state`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// Flags before the subcommand.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Directory of the containers' state [default: /run/minicon; rootless: $XDG_RUNTIME_DIR/minicon]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// File to append messages to [default: stderr]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Format of messages: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: String,
    /// Write messages for debugging
    #[arg(long)]
    pub debug: bool,
    /// Make cgroups through systemd; cgroupsPath is then slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Tolerate cgroup permission errors: true, false or auto
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub rootless: String,
}

/// Flags that create and run share.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Directory with config.json [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// AF_UNIX socket that receives the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// AF_UNIX socket that receives a pidfd of init
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// File to write init's pid to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root (for an initramfs)
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Hand N further file descriptors, from 3 on, to the container
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub create: Create,
    /// Leave the container in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Keep the container when it has exited
    #[arg(long)]
    pub keep: bool,
    /// Do not become the reaper of the container's orphans
    #[arg(long)]
    pub no_subreaper: bool,
}

/// A command that only needs a container.
#[derive(Debug, Clone, Args)]
pub struct One {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `kill`.
#[derive(Debug, Clone, Args)]
pub struct Kill {
    /// Signal every process of the container
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Number or name, with or without SIG
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", allow_hyphen_values = true)]
    pub signal: String,
}

/// `delete`.
#[derive(Debug, Clone, Args)]
pub struct Delete {
    /// Kill the container first if it runs
    #[arg(short, long)]
    pub force: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `exec`.
#[derive(Debug, Clone, Args)]
pub struct Exec {
    /// AF_UNIX socket that receives the master of the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// AF_UNIX socket that receives a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Environment variable NAME=VALUE, may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Allocate a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// User, as UID or UID:GID
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Supplementary group, may be repeated
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<String>,
    /// File with the process as JSON, as in config.json
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Leave the process in the background
    #[arg(short, long)]
    pub detach: bool,
    /// File to write the process's pid to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// Capability to add, may be repeated
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Hand N further file descriptors, from 3 on, to the process
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Cgroup below the container's to run in, may be repeated
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub cgroup: Vec<String>,
    /// Execute even if the container is paused
    #[arg(long)]
    pub ignore_paused: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// table or json
    #[arg(short, long, default_value = "table")]
    pub format: String,
    /// Only the names
    #[arg(short, long)]
    pub quiet: bool,
}

/// `spec`.
#[derive(Debug, Clone, Args)]
pub struct Spec {
    /// Directory to write config.json into [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// For a user without privileges
    #[arg(long)]
    pub rootless: bool,
}

/// `features`.
#[derive(Debug, Clone, Args)]
pub struct Features {}

/// A subcommand with its flags.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Action {
    Create(Create),
    Start(One),
    State(One),
    Kill(Kill),
    Delete(Delete),
    Run(Run),
    Exec(Box<Exec>),
    List(List),
    Spec(Spec),
    Features(Features),
    Version,
}

/// One row a subcommand: its name, what it does, its flags, and how they are read.
struct Entry {
    name: &'static str,
    about: &'static str,
    /// How many words without a dash, in runc's words.
    arguments: &'static str,
    flags: fn(Command) -> Command,
    read: fn(&ArgMatches) -> Result<Action, clap::Error>,
}

macro_rules! entry {
    ($name:literal, $about:literal, $arguments:expr, $flags:ty, $make:expr) => {
        Entry {
            name: $name,
            about: $about,
            arguments: $arguments,
            flags: <$flags as Args>::augment_args,
            read: |matches| <$flags as FromArgMatches>::from_arg_matches(matches).map($make),
        }
    };
}

const EXACTLY_ONE: &str = "exactly 1 argument(s)";

const ENTRIES: &[Entry] = &[
    entry!(
        "create",
        "Make a container from a bundle; its program waits for start",
        EXACTLY_ONE,
        Create,
        Action::Create
    ),
    entry!("start", "Start the program of a created container", EXACTLY_ONE, One, Action::Start),
    entry!("state", "Print the state of a container as JSON", EXACTLY_ONE, One, Action::State),
    entry!(
        "kill",
        "Send a signal to a container's init",
        "a minimum of 1 argument(s) and a maximum of 2 argument(s)",
        Kill,
        Action::Kill
    ),
    entry!("delete", "Remove a stopped container", EXACTLY_ONE, Delete, Action::Delete),
    entry!("run", "Create and start a container, wait for it and delete it", EXACTLY_ONE, Run, Action::Run),
    entry!("exec", "Execute another program in a running container", "a minimum of 1 argument(s)", Exec, |exec| {
        Action::Exec(Box::new(exec))
    }),
    entry!("list", "List the containers", "exactly 0 argument(s)", List, Action::List),
    entry!("spec", "Write a config.json to start from", "exactly 0 argument(s)", Spec, Action::Spec),
    entry!("features", "Print what this runtime supports as JSON", "exactly 0 argument(s)", Features, Action::Features),
];

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
        rootless: "auto".to_owned(),
    };
    let mut position = 1;
    loop {
        let word = arguments.get(position)?.to_str()?;
        position += 1;
        match word {
            "--debug" => globals.debug = true,
            "--systemd-cgroup" => globals.systemd_cgroup = true,
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
                    "--rootless" => globals.rootless = text.to_owned(),
                    _ => return None,
                }
            }
            _ => return Some((globals, position - 1)),
        }
    }
}

fn subcommand(entry: &Entry) -> Command {
    let command = Command::new(entry.name).about(entry.about).args_override_self(true).disable_version_flag(true);
    (entry.flags)(command)
}

/// The way of help and of mistakes. Without a subcommand that is known, clap gets all of them, to tell what was meant.
fn parse_with_tree(arguments: Vec<OsString>) -> Result<(Globals, Action), clap::Error> {
    let called = called_subcommand(&arguments);
    let mut command = Globals::augment_args(Command::new("minicon"))
        .about("Run containers from OCI bundles, as runc does; see `minicon COMMAND --help`")
        .args_override_self(true)
        .disable_version_flag(true)
        .arg(Arg::new("version").short('v').long("version").help("Print the version").action(ArgAction::SetTrue));
    for entry in ENTRIES.iter().filter(|entry| called.is_none_or(|called| called == entry.name)) {
        command = command.subcommand(subcommand(entry));
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
        None => {
            let help = command.render_help();
            Err(command.error(clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, help))
        }
    }
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
const GLOBALS_WITH_VALUE: [&str; 4] = ["--root", "--log", "--log-format", "--rootless"];

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

/// The name of the subcommand that a well-formed command line calls.
pub fn called(arguments: &[OsString]) -> Option<&'static str> {
    let arguments = with_double_dashes(arguments.to_vec());
    let (_, position) = read_globals(&arguments)?;
    ENTRIES.iter().map(|entry| entry.name).find(|name| arguments[position] == *name)
}

/// Long flags that engines write with one dash, as Go's flag package allows (`-no-subreaper`, from containerd).
const LONG_FLAGS: &[&str] = &[
    "all",
    "additional-gids",
    "apparmor",
    "bundle",
    "cap",
    "cgroup",
    "console-socket",
    "cwd",
    "debug",
    "detach",
    "env",
    "force",
    "format",
    "help",
    "ignore-paused",
    "keep",
    "log",
    "log-format",
    "no-new-keyring",
    "no-new-privs",
    "no-pivot",
    "no-subreaper",
    "pid-file",
    "pidfd-socket",
    "preserve-fds",
    "process",
    "process-label",
    "quiet",
    "root",
    "rootless",
    "systemd-cgroup",
    "tty",
    "user",
    "version",
];

/// Gives such flags their second dash. The words of a program that exec is to run are left alone: they come after the
/// second word that is no flag.
fn with_double_dashes(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut is_exec = false;
    let mut finished = false;
    let rewrite = |word: OsString| {
        let Some(text) = word.to_str().filter(|_| !finished) else { return Some(word) };
        if !text.starts_with('-') {
            finished = is_exec;
            is_exec |= text == "exec";
            return Some(word);
        }
        finished = text == "--";
        let (name, value) = match text.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.trim_start_matches('-'), None),
        };
        if name.len() < 2 || !LONG_FLAGS.contains(&name) {
            return Some(word);
        }
        match value.filter(|_| SWITCHES.contains(&name)) {
            // Go's flag package also takes `--keep=false`.
            Some("true" | "1" | "t" | "T") => Some(OsString::from(format!("--{name}"))),
            Some("false" | "0" | "f" | "F") => None,
            _ if text.starts_with("--") => Some(word),
            _ => Some(OsString::from(format!("-{text}"))),
        }
    };
    arguments.into_iter().filter_map(rewrite).collect()
}

/// The flags without a value.
const SWITCHES: &[&str] = &[
    "all",
    "debug",
    "detach",
    "force",
    "ignore-paused",
    "keep",
    "no-new-keyring",
    "no-new-privs",
    "no-pivot",
    "no-subreaper",
    "quiet",
    "systemd-cgroup",
    "tty",
];

#[cfg(test)]
mod tests {
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
            "minicon --root /r --log /l --log-format json --debug --systemd-cgroup --rootless true state c",
            "minicon --root=/r --log=/l --log-format=text --rootless=false run -b /b --keep c",
            "minicon exec -e A=B -e C=D -t -u 1:2 c sh -c --root",
            "minicon kill c KILL",
            "minicon delete --force --force c",
            "minicon spec --rootless",
            "minicon list -f json",
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
            assert_eq!(called(&words), Some("list"), "{long}");
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
    fn every_long_flag_is_listed_for_one_dash() {
        for entry in ENTRIES {
            for flag in (entry.flags)(Command::new(entry.name)).get_arguments().filter_map(Arg::get_long) {
                assert!(LONG_FLAGS.contains(&flag), "{flag}");
            }
        }
    }
}
