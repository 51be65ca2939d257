//! Instructions of user space, which do not depend on what else the machine does: by perf(1) where the processor's counter
//! can be used, else by callgrind, which cannot follow a clone into namespaces and so measures only the commands without one.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::lifecycle::{COMMANDS, ID, arguments};
use crate::bench::Bench;
use crate::bundle::Bundle;
use crate::report::Measure;
use crate::runtime::{Runtime, wait_for_end};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counter {
    Perf,
    Callgrind,
}

pub fn measure(bench: &mut Bench) -> Result<(), String> {
    let Some(counter) = counter() else {
        bench.report.note("no instructions counted: perf has no counter here, and there is no valgrind".to_owned());
        return Ok(());
    };
    if counter == Counter::Callgrind {
        let why = "instructions by callgrind, as perf has no counter here: only of commands that clone no container";
        bench.report.note(why.to_owned());
    }
    let plain = bench.makings.plain("real")?;
    let sleeping = bench.makings.sleeping("real")?;
    let file = bench.makings.below.join("instructions");
    let mut found: Vec<(&str, Vec<(String, f64)>)> = COMMANDS.iter().map(|name| (*name, Vec::new())).collect();
    for runtime in bench.whole(&plain)? {
        let mut why = None;
        let life = live(&runtime, &sleeping, |name, command| {
            if counter == Counter::Callgrind && ["create", "exec"].contains(&name) {
                return false;
            }
            match count(command, counter, &file) {
                Ok(count) => {
                    found
                        .iter_mut()
                        .filter(|(it, _)| *it == name)
                        .for_each(|(_, all)| all.push((runtime.name.clone(), count)));
                    true
                }
                Err(error) => {
                    why.get_or_insert(format!("instructions of {} {name}: {error}", runtime.name));
                    false
                }
            }
        });
        life.inspect_err(|_| runtime.remove(ID))?;
        why.into_iter().for_each(|why| bench.report.note(why));
    }
    for (name, values) in found.into_iter().filter(|(_, values)| !values.is_empty()) {
        let measure = Measure::of(bench.view(), "real", "instructions", name, "millions");
        bench.report.add(measure.with_values(values));
    }
    Ok(())
}

fn counter() -> Option<Counter> {
    let perf = Command::new("perf").args(["stat", "-x,", "-e", "instructions:u", "true"]).output();
    let counts = |output: &std::process::Output| {
        let text = String::from_utf8_lossy(&output.stderr);
        output.status.success()
            && text.lines().any(|line| line.split(',').next().is_some_and(|it| it.parse::<u64>().is_ok()))
    };
    if perf.as_ref().is_ok_and(counts) {
        return Some(Counter::Perf);
    }
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    valgrind.is_ok_and(|status| status.success()).then_some(Counter::Callgrind)
}

/// One container through its life; what cannot be counted is performed.
fn live(runtime: &Runtime, bundle: &Bundle, mut counted: impl FnMut(&str, &Command) -> bool) -> Result<(), String> {
    for name in COMMANDS {
        if name == "delete" {
            wait_for_end(runtime.pid(ID)?)?;
        }
        if !counted(name, &runtime.command(&arguments(name, bundle))?) {
            runtime.perform(&arguments(name, bundle))?;
        }
    }
    Ok(())
}

fn count(command: &Command, counter: Counter, file: &Path) -> Result<f64, String> {
    let place = file.display();
    let mut counting = match counter {
        Counter::Perf => Command::new("perf"),
        Counter::Callgrind => Command::new("valgrind"),
    };
    match counter {
        Counter::Perf => counting.args(["stat", "-x,", "-e", "instructions:u", "-o", &place.to_string(), "--"]),
        // What it executes anew, as crun does itself, is part of it; the last file written is the last program's.
        Counter::Callgrind => counting
            .args(["-q", "--tool=callgrind", "--trace-children=yes"])
            .arg(format!("--callgrind-out-file={place}.%p")),
    };
    let output = counting.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
        return Err(format!("{}: {words}", output.status));
    }
    match counter {
        Counter::Perf => {
            let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
            let number = text.lines().find_map(|line| line.split(',').next()?.parse::<f64>().ok());
            number.map(|number| number / 1e6).ok_or_else(|| format!("perf says {text:?}"))
        }
        Counter::Callgrind => totals(file),
    }
}

/// The sum of what the files of all processes say, which are removed.
fn totals(file: &Path) -> Result<f64, String> {
    let directory = file.parent().ok_or("a file in a directory")?;
    let prefix = format!("{}.", file.file_name().unwrap_or_default().to_string_lossy());
    let mut sum = 0.0;
    for entry in fs::read_dir(directory).map_err(|error| error.to_string())?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let text = fs::read_to_string(entry.path()).map_err(|error| error.to_string())?;
            let total = text.lines().find_map(|line| line.strip_prefix("summary:").or(line.strip_prefix("totals:")));
            sum += total.and_then(|number| number.trim().parse::<f64>().ok()).unwrap_or_default();
            fs::remove_file(entry.path()).map_err(|error| error.to_string())?;
        }
    }
    if sum > 0.0 { Ok(sum / 1e6) } else { Err("callgrind has counted nothing".to_owned()) }
}
