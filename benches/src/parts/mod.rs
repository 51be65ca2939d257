//! The parts of the benchmark, each a function that measures and adds to the report.

pub mod growth;
pub mod instructions;
pub mod layout;
pub mod lifecycle;
pub mod lowest_limit;
pub mod parallel;
pub mod run;
pub mod running;
pub mod size;
pub mod trace;

use crate::bench::Bench;

/// A part's name on the command line, whether cgroup v1 is enough, and what performs it.
pub struct Part {
    pub name: &'static str,
    pub once: bool,
    pub perform: fn(&mut Bench) -> Result<(), String>,
}

const fn part(name: &'static str, once: bool, perform: fn(&mut Bench) -> Result<(), String>) -> Part {
    Part { name, once, perform }
}

/// In the order in which they are performed: what makes the machine busy for long stands last.
pub const PARTS: [Part; 11] = [
    part("size", true, size::measure),
    part("run", false, run::measure),
    part("lifecycle", false, lifecycle::measure),
    part("trace", false, trace::measure),
    part("instructions", true, instructions::measure),
    part("limit", true, lowest_limit::measure),
    part("mounts", true, growth::measure_mounts),
    part("seccomp", true, growth::measure_seccomp),
    part("parallel", true, parallel::measure),
    part("running", true, running::measure),
    part(LAYOUT, false, layout::measure),
];

/// Performed only if it is named: it measures nothing.
pub const LAYOUT: &str = "layout";
