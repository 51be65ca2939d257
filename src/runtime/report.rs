//! What only prints: `state`, `list`, `--version`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::Environment;
use crate::cli;
use crate::container::status::Status;
use crate::container::{self, Container};
use crate::error::{Error, Result};
use crate::plan::version;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What it was built from.
pub const COMMIT: &str = match option_env!("MINICON_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The state of runtime.md, with the additions of runc that engines read.
#[derive(Serialize)]
struct State<'a> {
    #[serde(rename = "ociVersion")]
    version: &'a str,
    id: &'a str,
    pid: i32,
    status: String,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: String,
}

impl<'a> State<'a> {
    fn of(container: &'a Container) -> Result<State<'a>> {
        let record = &container.record;
        let status = container.status()?;
        let pid = if status == Status::Stopped { 0 } else { record.init_process_pid };
        Ok(State {
            version: &record.version,
            id: &record.id,
            pid,
            status: status.to_string(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner: user_name(record.owner),
        })
    }
}

/// `state`.
pub fn state(id: &str, environment: &Environment) -> Result<()> {
    let container = Container::open(&environment.root, id)?;
    print(&to_json(&State::of(&container)?)?)
}

/// `list`. A container that cannot be read is told on stderr and left out.
pub fn list(options: &cli::List, environment: &Environment) -> Result<()> {
    if !["table", "json"].contains(&options.format.as_str()) {
        return Err(Error::new(format!("invalid format option: {}", options.format)).hint("it is table or json"));
    }
    if environment.root_is_given && !environment.root.exists() {
        return Err(Error::new(format!("{} does not exist", environment.root.display())).step("look for containers"));
    }
    let mut containers = Vec::new();
    let tell = |id: &str, error: &Error| environment.log.warning(&format!("{id}: {}", error.headline()));
    for id in container::ids(&environment.root)? {
        match Container::open(&environment.root, &id) {
            Ok(container) => containers.push(container),
            Err(error) => tell(&id, &error),
        }
    }
    if options.quiet {
        let ids: String = containers.iter().map(|container| format!("{}\n", container.record.id)).collect();
        return print_as_it_is(&ids);
    }
    let mut states = Vec::new();
    for container in &containers {
        match State::of(container) {
            Ok(state) => states.push(state),
            Err(error) => tell(&container.record.id, &error),
        }
    }
    match options.format.as_str() {
        // Go prints an empty list like this, and its clients expect it.
        "json" if states.is_empty() => print("null"),
        "json" => print(&serde_json::to_string(&states).map_err(|error| Error::new(error.to_string()))?),
        _ => print_as_it_is(&table(&states)),
    }
}

fn table(states: &[State<'_>]) -> String {
    let title = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |state: &State<'_>| {
        let bundle = state.bundle.display().to_string();
        let (id, pid, created) = (state.id.to_owned(), state.pid.to_string(), state.created.to_owned());
        [id, pid, state.status.clone(), bundle, created, state.owner.clone()]
    };
    let rows: Vec<[String; 6]> = std::iter::once(title).chain(states.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(9) + 3;
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let line: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The user's name in /etc/passwd, or the number.
fn user_name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_string())
}

/// `--version`: engines split at "version " and at ": ".
pub fn version() -> Result<()> {
    print(&format!("minicon version {VERSION}\ncommit: {COMMIT}\nspec: {}", version::NEWEST))
}

/// JSON with the indentation that runc uses.
pub fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::new(error.to_string()))
}

/// Prints a text and ends the line.
pub fn print(text: &str) -> Result<()> {
    print_as_it_is(&format!("{text}\n"))
}

/// Prints a text.
pub fn print_as_it_is(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Error::new(format!("write to stdout: {error}")))
}
