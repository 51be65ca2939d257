//! The cases: one short function each, in a table per subject.

mod errors;
mod exec;
mod image_build;
mod lifecycle;
mod namespaces;
mod network;
mod pods;
mod resources;
mod rights;
mod run;
mod storage;

use std::panic::Location;

use anyhow::{Context, Result, ensure};

use crate::engine::Engine;

/// A named check against a podman that holds no container.
pub struct Case {
    pub name: &'static str,
    pub check: fn(&Engine) -> Result<()>,
}

/// Every case, in the order they run.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let tables = [
        run::CASES,
        lifecycle::CASES,
        exec::CASES,
        errors::CASES,
        rights::CASES,
        resources::CASES,
        namespaces::CASES,
        network::CASES,
        storage::CASES,
        pods::CASES,
        image_build::CASES,
    ];
    tables.into_iter().flatten()
}

/// Checks a text, naming the line that expected another one.
#[track_caller]
fn same(got: impl AsRef<str>, want: impl AsRef<str>) -> Result<()> {
    let (got, want, line) = (got.as_ref(), want.as_ref(), Location::caller());
    ensure!(got == want, "{line}: got {got:?}, want {want:?}");
    Ok(())
}

/// Checks that a text holds another one, whatever the case of its letters.
#[track_caller]
fn holds(got: impl AsRef<str>, want: &str) -> Result<()> {
    let (got, line) = (got.as_ref(), Location::caller());
    ensure!(got.to_lowercase().contains(&want.to_lowercase()), "{line}: got {got:?}, want {want:?} in it");
    Ok(())
}

/// Checks an exit code.
#[track_caller]
fn exits(outcome: &crate::process::Outcome, want: i32) -> Result<()> {
    let line = Location::caller();
    ensure!(outcome.code == want, "{line}: exit code {}, want {want}: {}{}", outcome.code, outcome.out, outcome.err);
    Ok(())
}

/// The value of a `Name:\tvalue` line, as /proc/PID/status has them.
fn field(text: &str, name: &str) -> Result<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name} in {text:?}"))?.trim().to_owned())
}
