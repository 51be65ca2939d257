//! runtime-linux.md: file descriptors and links in /dev.

use anyhow::Result;
use serde_json::{Value, json};

use crate::judge::{holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const DESCRIPTORS: &str = "runtime-linux.md#runtimeLinuxFileDescriptors";
const LINKS: &str = "runtime-linux.md#runtimeLinuxDevSymbolicLinks";
const STANDARD: &[&str] = &["By default, only the `stdin`, `stdout` and `stderr` file descriptors are kept open"];
const EXISTS: &[&str] = &["runtimes MUST create the following symlinks if the source file exists"];

/// The tests of this chapter.
pub const TESTS: &[Row] = &[
    must("descriptors", DESCRIPTORS, STANDARD, standard_only),
    must("descriptors.exec", DESCRIPTORS, STANDARD, standard_only_in_exec),
    must("dev-links.fd", LINKS, EXISTS, shared).with(link, "fd /proc/self/fd"),
    must("dev-links.stdin", LINKS, EXISTS, shared).with(link, "stdin /proc/self/fd/0"),
    must("dev-links.stdout", LINKS, EXISTS, shared).with(link, "stdout /proc/self/fd/1"),
    must("dev-links.stderr", LINKS, EXISTS, shared).with(link, "stderr /proc/self/fd/2"),
];

/// Descriptors that the runtime inherits, and that are not close-on-exec.
fn leak(lab: &Lab) -> Result<[std::os::fd::OwnedFd; 3]> {
    let file = std::fs::File::open(lab.path(""))?;
    Ok([nix::unistd::dup(&file)?, nix::unistd::dup(&file)?, nix::unistd::dup(&file)?])
}

fn numbers(report: &Value) -> Vec<Value> {
    report["fds"].as_array().into_iter().flatten().map(|fd| fd["fd"].clone()).collect()
}

fn standard_only(lab: &Lab) -> Verdict {
    let _leaked = leak(lab)?;
    let report = lab.container()?.report(&["fds"])?;
    same("the descriptors", &json!(numbers(&report)), json!([0, 1, 2]))
}

fn standard_only_in_exec(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.up()?;
    let _leaked = leak(lab)?;
    same("the descriptors", &json!(numbers(&container.exec_report(&["fds"])?)), json!([0, 1, 2]))
}

fn link(lab: &Lab, words: &'static str) -> Verdict {
    let (name, target) = words.split_once(' ').unwrap_or_default();
    let path = format!("/dev/{name}");
    let found = lab.container()?.report(&[&format!("stat={path}")])?["stat"][&path].clone();
    holds(&format!("{path} is a link: {found}"), found["kind"] == "link")?;
    same("where it leads", &found["target"], target)
}
