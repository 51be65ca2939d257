//! `ps`: the processes in a container's cgroup, as pids or as the lines of ps(1) about them.

use std::io::ErrorKind;
use std::process::Command;

use super::Environment;
use super::report::print;
use crate::cli;
use crate::container::Container;
use crate::container::status::{self, Verb};
use crate::error::{Context, Error, Result};

/// The command.
pub fn ps(options: &cli::Ps, environment: &Environment) -> Result<()> {
    let container = Container::open(&environment.root, &options.id)?;
    status::permit(Verb::Ps, container.status()?, &options.id)?;
    let cgroup = container.cgroup();
    cgroup.must_exist().step(|| "tell the container's processes from others")?;
    let pids = cgroup.pids()?;
    match options.format.as_str() {
        "table" => print(&table(&listing(&options.options)?, &pids)?),
        // Go prints an empty list like this, and its clients expect it.
        "json" if pids.is_empty() => print("null"),
        "json" => print(&serde_json::to_string(&pids).map_err(|error| Error::new(error.to_string()))?),
        _ => Err(Error::new("invalid format option").hint("it is table or json")),
    }
}

/// What ps(1) of the host prints.
fn listing(options: &[String]) -> Result<String> {
    let options = if options.is_empty() { vec!["-ef".to_owned()] } else { options.to_vec() };
    let output = Command::new("ps").args(options).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::new("exec: \"ps\": executable file not found in $PATH")
            .hint("install procps, or ask for the pids alone with --format json"),
        _ => Error::new(format!("execute ps: {error}")),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::new(format!("ps: {}: {}", output.status, String::from_utf8_lossy(&said).trim_end())))
}

/// The title, and the lines whose column PID has one of these.
fn table(listing: &str, pids: &[i32]) -> Result<String> {
    let mut lines = listing.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID").ok_or_else(|| {
        Error::new("couldn't find PID field in ps output")
            .hint("choose options of ps that show it, such as -o pid,args")
    })?;
    let mut shown = title.to_owned();
    for line in lines.filter(|line| !line.is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = field.parse().map_err(|_| Error::new(format!("unable to parse pid: {field:?}")))?;
        if pids.contains(&pid) {
            shown.push('\n');
            shown.push_str(line);
        }
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn lines_are_chosen_by_their_pid() {
        let listing = "UID   PID PPID CMD\nroot    1    0 init 7\n\nroot    7    1 sh\nroot   17    7 ps\n";
        assert_eq!(table(listing, &[7, 99]).expect("a table"), "UID   PID PPID CMD\nroot    7    1 sh");
        assert_eq!(table(listing, &[]).expect("a table"), "UID   PID PPID CMD");
    }

    #[test]
    fn a_listing_without_pids_is_refused() {
        let words = |listing| table(listing, &[1]).expect_err("refused").headline();
        assert_eq!(words("COMMAND\ninit\n"), "couldn't find PID field in ps output");
        assert_eq!(words(""), "couldn't find PID field in ps output");
        assert_eq!(words("TTY PID\n?\n"), "unable to parse pid: \"\"");
    }
}
