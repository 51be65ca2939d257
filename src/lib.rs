//! minicon: an OCI container runtime that decides first and acts afterwards.
//!
//! Modules in reading order. A module may use those above it and, where noted, beside it;
//! `tests/tidy.rs` holds the rules:
//!
//! - `plan` is pure: no system calls, no files, no clock;
//! - `unsafe` lives in `sys` only;
//! - `init` (the container side) and `runtime` (the host side) never use each other.
#![deny(unsafe_code)]

pub mod error;
pub mod hints;
pub mod log;
#[allow(unsafe_code)]
pub mod sys;

pub mod config;
#[cfg(feature = "faults")]
pub mod fault;
pub mod host;
pub mod plan;
pub mod trace;

pub mod dbus;

pub mod cgroup;
pub mod console;
pub mod container;
pub mod criu;
pub mod handshake;
pub mod hooks;
pub mod netlink;
pub mod resctrl;
pub mod root;

pub mod init;
pub mod runtime;

pub mod cli;
