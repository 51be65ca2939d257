//! `run` beside many containers that run already, each runtime beside its own.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::parallel::batch;
use crate::bench::Bench;
use crate::bundle::Bundle;
use crate::report::{FLOOR, Measure, OURS, Samples};
use crate::runtime::{Runtime, WARM, wait_for_end};

/// How many run meanwhile.
const COUNTS: [usize; 4] = [0, 1, 100, 500];
/// How long the machine is left alone after some were begun.
const SETTLE: Duration = Duration::from_secs(2);
/// How many are begun or deleted at once.
const AT_ONCE: usize = 4;

pub fn measure(bench: &mut Bench) -> Result<(), String> {
    let plain = bench.makings.plain("spec")?;
    let sleeping = bench.makings.sleeping("spec")?;
    let able = bench.able(&plain)?;
    let floor = able.iter().find(|runtime| runtime.name == FLOOR).cloned();
    let mut found = vec![Samples::new(); COUNTS.len()];
    for runtime in able.into_iter().filter(|runtime| !runtime.is_floor()) {
        // What the kernel alone takes beside so many shows what of the growth is the runtime's.
        let beside = floor.clone().filter(|_| runtime.name == OURS);
        let pair: Vec<_> = std::iter::once(runtime.clone()).chain(beside).collect();
        let mut up = 0;
        let mut stages = Vec::new();
        for count in COUNTS {
            if let Err(error) = begin(&runtime, &sleeping, up, count) {
                bench.leave_out(&runtime, format!("{count} running: {error}"))?;
                up = 0;
                break;
            }
            // What the kernel has put off while they were begun is not what is measured.
            sleep(if count > up { SETTLE } else { Duration::ZERO });
            up = count;
            stages.push(stage(bench, &pair, &plain)?);
        }
        if let Err(error) = end(&runtime, up) {
            bench.leave_out(&runtime, format!("{up} running: {error}"))?;
        }
        for (all, samples) in found.iter_mut().zip(stages) {
            all.extend(samples);
        }
    }
    for (samples, count) in found.iter().zip(COUNTS) {
        let measure = Measure::of(bench.view(), "spec", "running", &format!("run beside {count} running"), "ms");
        bench.report.add(measure.with_samples(samples));
    }
    Ok(())
}

fn stage(bench: &mut Bench, pair: &[Runtime], bundle: &Bundle) -> Result<Samples, String> {
    let found = bench.rounds(pair, bench.rounds, |runtime, record| {
        record("run", runtime.timed(WARM, runtime.run(bundle, "bench-beside")?)?);
        Ok(())
    })?;
    Ok(found.into_values().next().unwrap_or_default())
}

fn id(number: usize) -> String {
    format!("bench-up-{number}")
}

fn begin(runtime: &Runtime, bundle: &Bundle, up: usize, count: usize) -> Result<(), String> {
    batch(runtime, count - up, AT_ONCE, |number| {
        runtime.command(&["run", "--detach", "--bundle", bundle.path(), &id(up + number)])
    })
    .map(drop)
}

/// All are killed at once, and then deleted by their runtime.
fn end(runtime: &Runtime, up: usize) -> Result<(), String> {
    for number in 0..up {
        if let Ok(pid) = runtime.pid(&id(number)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            wait_for_end(pid)?;
        }
    }
    batch(runtime, up, AT_ONCE, |number| runtime.command(&["delete", "--force", &id(number)])).map(drop)
}
