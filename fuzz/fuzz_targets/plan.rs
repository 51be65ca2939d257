//! `config.json`, as any bytes, to a plan: an error or a plan, never a panic, and in bounded time (`-timeout`).
#![no_main]

mod planning;

libfuzzer_sys::fuzz_target!(|text: &[u8]| planning::plan(text));
