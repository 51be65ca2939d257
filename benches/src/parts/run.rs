//! `run /bin/true`: all that a container takes from its beginning to its end.

use crate::bench::Bench;
use crate::report::Measure;
use crate::runtime::PAUSES;

pub fn measure(bench: &mut Bench) -> Result<(), String> {
    for kind in ["spec", "real"] {
        let bundle = bench.makings.plain(kind)?;
        let runtimes = bench.able(&bundle)?;
        for (label, pause) in PAUSES {
            let found = bench.rounds(&runtimes, bench.rounds, |runtime, record| {
                record("run", runtime.timed(pause, runtime.run(&bundle, "bench-run")?)?);
                Ok(())
            })?;
            let measure = Measure::of(bench.view(), kind, "run", label, "ms");
            bench.report.add(measure.with_samples(&found["run"]));
        }
    }
    Ok(())
}
