//! The lowest `memory.limit` under which `/bin/true` still runs: what a container costs its own limit.

use std::time::Duration;

use serde_json::json;

use crate::bench::Bench;
use crate::bundle::Bundle;
use crate::report::Measure;
use crate::runtime::Runtime;

const KIB: u64 = 1024;
/// The limits that are told apart.
const STEP: u64 = 32 * KIB;
const HIGHEST: u64 = 64 * KIB * KIB;
/// It has to succeed as often, because a run now and then needs a page more.
const TRIES: usize = 3;
const ID: &str = "bench-limit";

pub fn measure(bench: &mut Bench) -> Result<(), String> {
    if !bench.makings.limits {
        bench.report.note(format!("{}: no memory controller, so no lowest limit", bench.view.title()));
        return Ok(());
    }
    let mut bundle = bench.makings.bundle("spec", "limit", &["/bin/true"], |_| ())?;
    let runtimes = bench.whole(&bundle)?;
    let mut lowest = Vec::new();
    for runtime in &runtimes {
        let limit = search(|limit| holds(runtime, &mut bundle, limit))?;
        lowest.push((runtime.name.clone(), limit as f64 / 1e6));
    }
    let measure = Measure::of(bench.view(), "spec", "memory", "lowest memory.limit", "MB");
    bench.report.add(measure.with_values(lowest));
    Ok(())
}

/// The lowest limit that holds, if those above it do too.
fn search(mut holds: impl FnMut(u64) -> Result<bool, String>) -> Result<u64, String> {
    let (mut low, mut high) = (0, HIGHEST / STEP);
    while low + 1 < high {
        let middle = low.midpoint(high);
        match holds(middle * STEP)? {
            true => high = middle,
            false => low = middle,
        }
    }
    Ok(high * STEP)
}

fn holds(runtime: &Runtime, bundle: &mut Bundle, limit: u64) -> Result<bool, String> {
    bundle.config["linux"]["resources"]["memory"] = json!({ "limit": limit });
    bundle.write()?;
    for _ in 0..TRIES {
        if !runtime.succeeds(runtime.run(bundle, ID)?, Duration::from_secs(5))? {
            runtime.remove(ID);
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{STEP, search};

    #[test]
    fn the_lowest_limit_that_holds_is_found() {
        assert_eq!(search(|limit| Ok(limit >= 1_000_000)), Ok(1_000_000_u64.div_ceil(STEP) * STEP));
    }
}
