//! The commands of an engine, one after the other.

use std::time::Duration;

use crate::bench::{Bench, Yield};
use crate::bundle::Bundle;
use crate::report::{Measure, Samples};
use crate::runtime::{PAUSES, Runtime, wait_for_end};

/// The commands, in the order in which they are timed.
pub const COMMANDS: [&str; 6] = ["create", "state", "start", "exec", "kill", "delete"];
/// What engines do in a row.
const SUMS: [(&str, &[&str]); 2] =
    [("create+start", &["create", "start"]), ("create+start+delete", &["create", "start", "delete"])];

pub const ID: &str = "bench-life";

/// What follows the runtime's global flags.
pub fn arguments<'a>(command: &'a str, bundle: &'a Bundle) -> Vec<&'a str> {
    match command {
        "create" => vec![command, "--bundle", bundle.path(), ID],
        "exec" => vec![command, ID, "/bin/true"],
        "kill" => vec![command, ID, "KILL"],
        _ => vec![command, ID],
    }
}

pub fn measure(bench: &mut Bench) -> Result<(), String> {
    // Fewer rounds than for `run`, as each has six commands.
    let count = bench.rounds.div_ceil(3);
    for kind in ["spec", "real"] {
        let bundle = bench.makings.sleeping(kind)?;
        let runtimes = bench.whole(&bench.makings.plain(kind)?)?;
        for (label, pause) in PAUSES {
            let mut found = bench.rounds(&runtimes, count, |runtime, record| live(runtime, pause, &bundle, record))?;
            for (name, parts) in SUMS {
                let sum = sum(&found, parts);
                found.insert(name, sum);
            }
            for name in COMMANDS.into_iter().chain(SUMS.map(|(name, _)| name)) {
                let measure = Measure::of(bench.view(), kind, "lifecycle", &format!("{name}, {label}"), "ms");
                bench.report.add(measure.with_samples(&found[name]));
            }
        }
    }
    Ok(())
}

/// One container through its life, each command timed.
fn live(
    runtime: &Runtime,
    pause: Duration,
    bundle: &Bundle,
    record: &mut dyn FnMut(&'static str, f64),
) -> Result<(), String> {
    let mut pid = 0;
    for name in COMMANDS {
        if name == "kill" {
            pid = runtime.pid(ID)?;
        }
        if name == "delete" {
            wait_for_end(pid)?;
        }
        record(name, runtime.timed(pause, runtime.command(&arguments(name, bundle))?)?);
    }
    Ok(())
}

/// Each round's sum of several commands.
fn sum(found: &Yield, parts: &[&str]) -> Samples {
    let mut sums = Samples::new();
    for part in parts {
        for (runtime, values) in &found[part] {
            let sum = sums.entry(runtime.clone()).or_insert_with(|| vec![0.0; values.len()]);
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::{Yield, sum};

    #[test]
    fn sums_are_those_of_one_round() {
        let samples = |values: [f64; 2]| [("crun".to_owned(), values.to_vec())].into();
        let found: Yield = [("create", samples([1.0, 2.0])), ("start", samples([10.0, 20.0]))].into();
        assert_eq!(sum(&found, &["create", "start"])["crun"], [11.0, 22.0]);
    }
}
