//! config.md: the platform-neutral configuration.

use crate::row::Row;

mod annotations;
mod hooks;
mod mount_options;
mod mounts;
mod process;
mod root;
mod user;
mod values;

/// The chapters.
pub const CHAPTERS: &[&[Row]] = &[
    root::TESTS,
    mounts::TESTS,
    mount_options::TESTS,
    process::TESTS,
    user::TESTS,
    hooks::TESTS,
    annotations::TESTS,
    values::TESTS,
];
