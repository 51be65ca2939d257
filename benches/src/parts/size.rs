//! Bytes on disk: the program, and the shared libraries that it is nothing without.

use std::fs;
use std::process::Command;

use crate::bench::Bench;
use crate::report::Measure;
use crate::runtime::Runtime;

pub fn measure(bench: &mut Bench) -> Result<(), String> {
    let runtimes: Vec<_> = bench.runtimes.iter().filter(|runtime| !runtime.is_floor()).cloned().collect();
    let mut program = Vec::new();
    let mut whole = Vec::new();
    for runtime in &runtimes {
        let own = length(&runtime.program.to_string_lossy())?;
        program.push((runtime.name.clone(), own));
        whole.push((runtime.name.clone(), own + libraries(runtime)?));
    }
    let measure = |name| Measure::of("", "", "size", name, "MB");
    bench.report.add(measure("program").with_values(program));
    bench.report.add(measure("with its libraries").with_values(whole));
    Ok(())
}

fn length(path: &str) -> Result<f64, String> {
    fs::metadata(path).map(|it| it.len() as f64 / 1e6).map_err(|error| format!("{path}: {error}"))
}

/// ldd(1) fails for a static program.
fn libraries(runtime: &Runtime) -> Result<f64, String> {
    let output = Command::new("ldd").arg(&runtime.program).output().map_err(|error| format!("ldd: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    if !output.status.success() { Ok(0.0) } else { paths.map(length).sum() }
}
