//! What both the benchmark and a test need: counting what a command does.

pub mod tracer;
pub mod watchdog;
