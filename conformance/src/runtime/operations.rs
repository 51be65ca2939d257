//! Start and kill.

use anyhow::Result;

use crate::judge::{eventually, holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const OPERATIONS: &str = "runtime.md#runtimeOperations";
const START: &str = "runtime.md#runtimeStart";
const KILL: &str = "runtime.md#runtimeKill";
const NO_ID: &[&str] = &["This operation MUST [generate an error](#errors) if it is not provided the container ID."];
const NOT_CREATED: &[&str] = &["Attempting to `start` a container that is not [`created`]"];
const NOT_ALIVE: &[&str] = &["Attempting to send a signal to a container that is neither [`created` nor `running`]"];
const SENDS: &[&str] = &["This operation MUST send the specified signal to the container process."];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("operations", OPERATIONS, &["runtimes MUST support the following operations."], all),
    must("start", START, &["This operation MUST run the user-specified program as specified by"], starts),
    must("start.no-id", START, NO_ID, shared).with(no_id, "start"),
    must("start.unknown", START, NOT_CREATED, shared).with(unknown, "start"),
    must("start.running", START, NOT_CREATED, start_running),
    must("start.stopped", START, NOT_CREATED, start_stopped),
    must("start.without-process", START, &["This operation MUST generate an error if `process` was not set."], without_process),
    must("kill", KILL, SENDS, shared).with(sends, "TERM"),
    must("kill.hup", KILL, SENDS, shared).with(sends, "HUP"),
    must("kill.usr1", KILL, SENDS, shared).with(sends, "USR1"),
    must("kill.number", KILL, SENDS, shared).with(sends, "12"),
    must("kill.kill", KILL, SENDS, kill_kills),
    must("kill.created", KILL, SENDS, kill_created),
    must("kill.no-id", KILL, NO_ID, shared).with(no_id, "kill"),
    must("kill.unknown", KILL, NOT_ALIVE, shared).with(unknown, "kill"),
    must("kill.stopped", KILL, NOT_ALIVE, kill_stopped),
];

fn all(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    container.state()?;
    container.start()?.ok()?;
    container.kill("KILL")?.ok()?;
    container.becomes("stopped")?;
    container.delete()?.ok()?;
    Ok(())
}

fn no_id(lab: &Lab, verb: &'static str) -> Verdict {
    lab.runtime([verb]).run()?.refused(&format!("{verb} without an id"))
}

fn unknown(lab: &Lab, verb: &'static str) -> Verdict {
    let words =
        if verb == "kill" { vec!["kill", "no-such-container", "TERM"] } else { vec![verb, "no-such-container"] };
    lab.runtime(words).run()?.refused(&format!("{verb} of a container that does not exist"))
}

fn starts(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    container.start()?.ok()?;
    let command = std::fs::read_to_string(container.proc("cmdline")?)?;
    same("the container process", &command.replace('\0', " "), "/bin/probe sleep ")
}

fn start_running(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.up()?;
    let before = container.state()?;
    container.start()?.refused("start of a running container")?;
    same("the state", &container.state()?, before)
}

fn start_stopped(lab: &Lab) -> Verdict {
    let container = lab.container()?.share().probe(&["hook", "/share/log", "program"]);
    container.up()?;
    container.becomes("stopped")?;
    container.start()?.refused("start of a stopped container")?;
    same("the status", &container.status()?, "stopped")?;
    same("how often it ran", &std::fs::read_to_string(lab.path("share/log"))?.lines().count(), 1)
}

fn without_process(lab: &Lab) -> Verdict {
    lab.container()?.unset("/process").is_refused_by_start()
}

/// A container whose program waits for any signal and tells its name.
fn waiting(lab: &Lab) -> Result<(crate::container::Container<'_>, crate::call::Output)> {
    let container = lab.container()?.probe(&["signals"]);
    let output = container.up()?;
    eventually("the program waits for a signal", lab.setup.limit, || Ok(output.stdout().contains("ready")))?;
    Ok((container, output))
}

fn sends(lab: &Lab, signal: &'static str) -> Verdict {
    let (container, output) = waiting(lab)?;
    container.kill(signal)?.ok()?;
    container.becomes("stopped")?;
    let name = if signal == "12" { "USR2" } else { signal };
    same("what the program got", &output.stdout(), format!("ready\nSIG{name}\n"))
}

fn kill_kills(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.up()?;
    container.kill("KILL")?.ok()?;
    container.becomes("stopped")
}

fn kill_created(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    container.kill("KILL")?.ok()?;
    container.becomes("stopped")
}

fn kill_stopped(lab: &Lab) -> Verdict {
    let container = lab.container()?.probe(&["true"]);
    container.up()?;
    container.becomes("stopped")?;
    container.kill("TERM")?.refused("a signal to a stopped container")?;
    holds("it is still stopped", container.status()? == "stopped")
}
