//! Many containers at once: how long each takes, and all of them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use benches::watchdog;
use nix::sys::wait::{WaitStatus, wait};

use crate::bench::Bench;
use crate::report::{Measure, Samples, Value, quantile};
use crate::runtime::Runtime;

/// How many are made in all, and how many of them at once.
const BATCHES: [(usize, usize); 4] = [(100, 1), (100, 8), (50, 50), (100, 100)];

pub fn measure(bench: &mut Bench) -> Result<(), String> {
    let bundle = bench.makings.plain("spec")?;
    let mut runtimes = bench.able(&bundle)?;
    let count = bench.rounds.div_ceil(16);
    let (mut each, mut whole) = (Vec::new(), Vec::new());
    for (total, at_once) in BATCHES {
        let mut latencies = Samples::new();
        let found = bench.rounds(&runtimes, count, |runtime, record| {
            let start = Instant::now();
            let took = batch(runtime, total, at_once, |number| runtime.run(&bundle, &format!("bench-{number}")))?;
            record("batch", start.elapsed().as_secs_f64());
            latencies.entry(runtime.name.clone()).or_default().extend(took);
            Ok(())
        })?;
        let mut measure = Measure::of(bench.view(), "spec", "parallel", &format!("each of {at_once} at once"), "ms");
        for (name, took) in latencies.iter().filter(|(name, _)| found["batch"].contains_key(*name)) {
            let [p50, p99] = [0.5, 0.99].map(|part| quantile(took, part));
            measure.values.insert(name.clone(), Value { p99: Some(p99), ..Value::single(p50) });
        }
        each.push(measure);
        let measure = Measure::of(bench.view(), "spec", "parallel", &format!("{total}, {at_once} at once"), "s");
        whole.push(measure.with_samples(&found["batch"]));
        // Who hung once is not waited for again.
        runtimes.retain(|runtime| found["batch"].contains_key(&runtime.name));
    }
    each.into_iter().chain(whole).for_each(|measure| bench.report.add(measure));
    Ok(())
}

/// Performs a command for each of so many numbers, some of them at once; milliseconds of each.
pub fn batch(
    runtime: &Runtime,
    total: usize,
    at_once: usize,
    command: impl Fn(usize) -> Result<Command, String>,
) -> Result<Vec<f64>, String> {
    let mut begun = 0;
    let mut running = BTreeMap::new();
    let mut took = Vec::new();
    while took.len() < total {
        if begun < total && running.len() < at_once {
            let mut command = command(begun)?;
            let before = Instant::now();
            let child = command.spawn().map_err(|error| format!("{}: {error}", runtime.name))?;
            running.insert(child.id() as i32, (before, watchdog::watch(child.id())));
            begun += 1;
            continue;
        }
        let status = wait().map_err(|error| format!("wait: {error}"))?;
        let Some((before, ..)) = status.pid().and_then(|pid| running.remove(&pid.as_raw())) else { continue };
        let time = before.elapsed();
        if !matches!(status, WaitStatus::Exited(_, 0)) {
            let how = match status {
                WaitStatus::Exited(_, code) => format!("exit status {code}"),
                WaitStatus::Signaled(_, signal, _) => format!("ended by {signal}, which it gets when it hangs"),
                _ => "no end".to_owned(),
            };
            let words = format!("{}, {at_once} at once: {how}", runtime.name);
            while !running.is_empty() {
                let ended = wait().map_err(|error| format!("wait: {error}"))?;
                ended.pid().and_then(|pid| running.remove(&pid.as_raw()));
            }
            return Err(words);
        }
        took.push(time.as_secs_f64() * 1e3);
    }
    Ok(took)
}
