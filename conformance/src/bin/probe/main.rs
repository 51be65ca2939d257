//! What a process inside a container sees, told as JSON. The probe reports; tests judge.
//!
//! One small static program, so that a root file system with nothing else in it will do:
//!
//! ```text
//! probe report [SECTION|KEY=VALUE]...  one JSON object; no section named: all of them
//!     sysctl=NAME    the value of a sysctl, dots or slashes between its parts
//!     stat=PATH      kind, mode, owner, device numbers, entries; of a link, the link
//!     read=PATH      the text of a file, or the entries of a directory
//!     write=PATH     whether the path can be opened for writing, or, a directory, written to
//!     open=MODE:PATH whether the path can be opened; the mode is r, w or rw
//!     mknod=MAJOR:MINOR:PATH whether a character device can be made there
//! probe syscall NUMBER [ARGUMENT]...   makes one system call with number arguments: {"result":…, "errno":…}
//! probe signals                        prints "ready", waits for a signal, prints its name
//! probe hook FILE NAME [STATUS]        adds a line to the file: the name, the state on stdin, where and as what it runs
//! probe hello | exit N | sleep [SECONDS]
//! ```
//!
//! Called by the name of `echo`, `true`, `false`, `cat`, `id` or `sleep` it stands in for that program, as far as the
//! bundles need it where there is no busybox.

#![no_main]

mod hook;
mod paths;
mod sections;
mod sys;

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use serde_json::{Map, Value, json};

/// What the process does, called from the C `main` in `sys`; returns the exit status.
fn start() -> u8 {
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    run(&args).unwrap_or_else(|error| {
        eprintln!("probe: {error:#}");
        125
    })
}

fn run(args: &[String]) -> Result<u8> {
    let name = args.first().and_then(|path| path.rsplit('/').next()).unwrap_or("probe");
    let rest = args.get(1..).unwrap_or_default();
    match name {
        "echo" | "true" | "false" | "cat" | "id" | "sleep" => command(name, rest),
        _ => match rest.split_first() {
            Some((command_name, rest)) => command(command_name, rest),
            None => bail!("what to do? report, syscall, signals, hook, hello, exit or sleep"),
        },
    }
}

fn command(name: &str, args: &[String]) -> Result<u8> {
    match name {
        "report" => print(&report(args)?)?,
        "syscall" => print(&syscall(args)?)?,
        "signals" => signals()?,
        "hook" => return hook::record(args),
        "hello" => say("hello from inside")?,
        "echo" => say(&args.join(" "))?,
        "id" => say(&format!("uid={} gid={}", nix::unistd::getuid(), nix::unistd::getgid()))?,
        "cat" => cat(args)?,
        "sleep" => sleep(args)?,
        "true" => {}
        "false" => return Ok(1),
        "exit" => return args.first().context("exit with what?")?.parse().context("an exit status is 0 to 255"),
        other => bail!("{other}: no such command"),
    }
    Ok(0)
}

/// The sections and paths asked for. What cannot be found out is told in its place, as `{"error": …}`.
fn report(asked: &[String]) -> Result<Value> {
    let all = !asked.iter().any(|word| !word.contains('='));
    let mut report = Map::new();
    for (name, section) in sections::SECTIONS {
        if all || asked.iter().any(|word| word == name) {
            report.insert((*name).into(), or_error(section()));
        }
    }
    for word in asked {
        match word.split_once('=') {
            Some((key, value)) => {
                let found = or_error(paths::look(key, value)?);
                let group = report.entry(key).or_insert_with(|| json!({}));
                group.as_object_mut().context("a section of that name")?.insert(value.into(), found);
            }
            None if report.contains_key(word) => {}
            None => bail!("{word}: no such section"),
        }
    }
    Ok(Value::Object(report))
}

fn or_error(value: Result<Value>) -> Value {
    value.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }))
}

fn syscall(args: &[String]) -> Result<Value> {
    let mut numbers = [0i64; 7];
    if args.is_empty() || args.len() > numbers.len() {
        bail!("a system call number and at most six arguments");
    }
    for (number, word) in numbers.iter_mut().zip(args) {
        *number = parse_number(word).with_context(|| format!("{word}: not a number"))?;
    }
    Ok(match sys::syscall(numbers) {
        Ok(result) => json!({ "result": result, "errno": null }),
        Err(errno) => json!({ "result": -1, "errno": errno as i32, "name": format!("{errno:?}") }),
    })
}

fn parse_number(word: &str) -> Result<i64> {
    Ok(match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16)?.cast_signed(),
        None => word.parse()?,
    })
}

/// Blocks every signal before it says that it is ready, so that none that follows is missed.
fn signals() -> Result<()> {
    let all = SigSet::all();
    all.thread_block()?;
    say("ready")?;
    let signal: Signal = all.wait()?;
    say(signal.as_str())
}

fn sleep(args: &[String]) -> Result<()> {
    match args.first() {
        Some(seconds) if seconds != "infinity" => {
            std::thread::sleep(Duration::try_from_secs_f64(seconds.parse()?)?);
            Ok(())
        }
        _ => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
}

fn cat(paths: &[String]) -> Result<()> {
    let mut text = Vec::new();
    if paths.is_empty() {
        std::io::stdin().read_to_end(&mut text)?;
    }
    for path in paths {
        text.extend(std::fs::read(path).with_context(|| path.clone())?);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&text)?;
    Ok(out.flush()?)
}

fn print(value: &Value) -> Result<()> {
    say(&value.to_string())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
