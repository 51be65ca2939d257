//! Which steps a container's life has: recorded in a life without faults, and held against what `explain` lists.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::bundles::Variant;
use crate::lab::Lab;
use crate::support::terminal::FdSocket;
use crate::support::{Bundle, Cmd, Test};

pub struct Step {
    pub command: &'static str,
    pub id: String,
    /// Its condition does not hold here.
    pub is_skipped: bool,
}

/// Another memory limit and more: steps that a container in use may have.
pub fn update(test: &Test, b: &Bundle<'_>) -> Cmd {
    let flags = ["--memory", "134217728", "--pids-limit", "32", "--cpu-share", "256", "--cpu-quota", "40000"];
    test.runtime(["update"]).args(flags).arg(&b.id)
}

/// The steps of each command, in order, a name once. An error if one that `explain` lists was not reached.
pub fn of(lab: &mut Lab<'_>, variant: &Variant<'_>) -> Result<Vec<Step>, String> {
    let (b, test) = (&variant.bundle, lab.test);
    let file = test.path("steps.jsonl");
    let _ = fs::remove_file(&file);
    let mut steps: Vec<Step> = Vec::new();
    let mut known = 0;
    let _ = fs::remove_file(test.path("console-of-steps"));
    let socket = FdSocket::listen(test, "console-of-steps");
    let console = if variant.has_terminal { vec!["--console-socket", socket.arg()] } else { vec![] };
    let mut calls =
        vec![("create", variant.planning(b.on_bundle("create", &console))), ("start", b.verb("start", &[]))];
    for command in variant.commands {
        match *command {
            "exec" => calls.push(("exec", b.exec_with(&[], &["true"]))),
            "update" => calls.push(("update", update(test, b))),
            _ => {}
        }
    }
    calls.push(("delete", b.verb("delete", &["--force"])));
    for (command, call) in calls {
        let output = lab.call(call.env("MINICON_TRACE", &file)).ok_or_else(|| format!("{command} does not end"))?;
        if output.code != 0 {
            return Err(format!("{command} without a fault: {}", output.stderr));
        }
        let spans = spans(&file);
        for span in spans.iter().skip(known).filter(|span| span["kind"] == "step" && span["ends"] != true) {
            let id = span["id"].as_str().unwrap_or_default().to_owned();
            if !steps.iter().any(|step| (step.command, &step.id) == (command, &id)) {
                steps.push(Step { command, id, is_skipped: span["outcome"] == "skipped" });
            }
        }
        known = spans.len();
    }
    drop(socket);
    let _ = fs::remove_file(test.path("console-of-steps"));
    let explained =
        variant.planning(test.runtime(["explain", "--format", "json", "--id", &b.id]).arg(&b.dir)).run().ok().json();
    let is_reached =
        |wanted: &&Value| steps.iter().any(|step| wanted["command"] == step.command && wanted["id"] == *step.id);
    let listed = explained["steps"].as_array().into_iter().flatten();
    let missing: Vec<String> = listed
        .filter(|wanted| !is_reached(wanted))
        .map(|wanted| format!("{} {}", wanted["command"], wanted["id"]))
        .collect();
    if missing.is_empty() { Ok(steps) } else { Err(format!("explain lists what was never reached: {missing:?}")) }
}

fn spans(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
