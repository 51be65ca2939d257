//! The command line: words between zero bytes.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use minicon::cli::parse::{called, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let words = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let arguments: Vec<OsString> = std::iter::once("minicon".into()).chain(words).take(64).collect();
    let _ = called(arguments.iter().map(|word| word.as_bytes()));
    let _ = parse(arguments);
});
