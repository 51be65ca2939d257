//! A plan for people and programs: as text, as Markdown, as JSON. The text without reasons is what golden tests compare.

use std::fmt::{self, Display, Formatter};

use serde_json::{Value, json};

use super::Plan;
use super::steps::{Act, table};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self, false))
    }
}

/// A heading a stage, a line a step: name, what is done, what asks for it and by which call; with `why` a line of reasons
/// below.
pub fn text(plan: &Plan, why: bool) -> String {
    let acts = plan.acts();
    let width = acts.iter().map(|act| act.id.len()).max().unwrap_or(0).min(40);
    let mut text: String = plan.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    for (heading, acts) in stages(&acts) {
        text.push_str(&format!("{heading}\n"));
        for act in acts {
            let (calls, reason) = (act.calls, table::row(&act.id).2);
            let line = format!("  {:<width$}  {:<64}  {:<32} {calls}", act.id, what(act), act.at);
            text.push_str(&format!("{}\n", line.trim_end()));
            if why {
                text.push_str(&format!("  {:width$}    {reason}\n", ""));
            }
        }
    }
    text
}

/// A table a stage.
pub fn markdown(plan: &Plan, why: bool) -> String {
    let escape = |text: &str| text.replace('|', "\\|");
    let mut text: String = plan.warnings.iter().map(|warning| format!("> warning: {warning}\n\n")).collect();
    for (heading, acts) in stages(&plan.acts()) {
        let (title, rule) = if why { (" why |", "---|") } else { ("", "") };
        text.push_str(&format!("### {heading}\n\n| step | what | config | call |{title}\n|---|---|---|---|{rule}\n"));
        for act in acts {
            let (calls, reason) = (act.calls, table::row(&act.id).2);
            let at = if act.at.is_empty() { String::new() } else { format!("`{}`", act.at) };
            let reason = if why { format!(" {} |", escape(reason)) } else { String::new() };
            text.push_str(&format!("| `{}` | {} | {at} | {calls} |{reason}\n", escape(&act.id), escape(&what(act))));
        }
        text.push('\n');
    }
    text
}

/// One object a step, in their order.
pub fn json(plan: &Plan, why: bool) -> Value {
    let step = |act: &Act| {
        let (calls, reason) = (act.calls, table::row(&act.id).2);
        let calls: Vec<&str> = calls.split(", ").collect();
        let mut step = json!({
            "id": act.id, "command": act.stage.command(), "side": act.stage.side(), "stage": act.stage.name(),
            "what": act.what, "calls": calls,
        });
        let more = [
            ("config", Some(act.at.as_str()).filter(|at| !at.is_empty())),
            ("if", act.when.as_deref()),
            ("why", Some(reason).filter(|_| why)),
        ];
        for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            step[name] = value.into();
        }
        step
    };
    json!({ "steps": plan.acts().iter().map(step).collect::<Vec<_>>(), "warnings": plan.warnings })
}

/// Runs of steps of the same stage, with a heading each.
fn stages(acts: &[Act]) -> impl Iterator<Item = (String, &[Act])> {
    acts.chunk_by(|one, other| one.stage == other.stage).map(|acts| {
        let stage = acts[0].stage;
        (format!("{}, {}, {}: {}", stage.command(), stage.side(), stage.name(), stage.title()), acts)
    })
}

fn what(act: &Act) -> String {
    match &act.when {
        Some(when) => format!("{}, if {when}", act.what),
        None => act.what.clone(),
    }
}
