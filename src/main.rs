//! argv to one command, one error printed, one exit code.

fn main() {}
