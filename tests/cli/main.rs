//! The black-box tests: a container runtime, seen from outside, on this machine, as root.
//!
//! The runtime is minicon as built here (`cargo build --profile quick`), or the one that `RUNTIME` names: the suite
//! holds for runc too, but for the tests that say why not.

mod commands;
mod lifecycle;
mod mount_options;
mod mounts;
mod process;
mod support;
mod zz;
