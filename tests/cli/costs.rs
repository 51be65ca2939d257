//! What each command does, counted: a guard against getting slower that does not depend on the clock, nor on what else the
//! machine does. The limits are in costs.txt. The bundle is the benchmark's real one, with 434 names of system
//! calls, twelve mounts, limits and six namespaces.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use benches::tracer::{Counts, trace};
use syscalls::Sysno;

use crate::support::{Bundle, Test, program};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/costs.txt");
const COMMANDS: [&str; 7] = ["run", "create", "start", "exec", "state", "kill", "delete"];
/// The columns of the table.
const COLUMNS: [&str; 5] = ["system calls", "processes", "threads", "bytes read", "memory calls"];

#[test]
fn no_command_does_more_than_its_limits() {
    let why = "the limits are those of minicon on a host with cgroup v1";
    let here = crate::support::is_minicon() && Path::new("/sys/fs/cgroup/devices").exists();
    let Some(t) = Test::where_possible(here && cfg!(target_arch = "x86_64"), why) else { return };
    let counted = count(&t);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(TABLE, table(&counted)).expect("the table");
        return;
    }
    let table = std::fs::read_to_string(TABLE).expect("the table");
    let limits = limits(&table);
    let mut broken = String::new();
    for command in COMMANDS {
        let costs = costs(&counted[command]);
        let over: Vec<String> = COLUMNS
            .into_iter()
            .zip(costs.into_iter().zip(limits[command]))
            .filter(|(_, (cost, limit))| cost > limit)
            .map(|(column, (cost, limit))| format!("{cost} {column} instead of at most {limit}"))
            .collect();
        if !over.is_empty() {
            let _ = writeln!(broken, "{command}: {}\n  {}", over.join(", "), names(&counted[command]));
        }
    }
    assert!(
        broken.is_empty(),
        "\n{broken}\nTo see which are new, compare with the state before: strace -f -o FILE {} ... for the calls, \
         strace -f -e read,openat for what is read, --trace FILE for the steps they belong to, ltrace or callgrind for \
         memory. If it is worth its price: UPDATE=1 make test TEST_ARGS=\"--test cli -- costs\" writes costs.txt anew.",
        program().display()
    );
}

/// Init gives back what it does not need while it waits to be started, with a filter as engines have it.
#[test]
fn init_keeps_little_while_it_waits() {
    let Some(t) = Test::where_possible(crate::support::is_minicon(), "the limit is minicon's") else { return };
    let b = Bundle::of_benchmark(&t, "real", &["/bin/true"]);
    b.create().ok();
    let status = std::fs::read_to_string(format!("/proc/{}/status", b.pid())).expect("init");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("what is resident");
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes * 1024 <= 1_000_000, "{kilobytes} kB");
}

/// One container to its end, and one through its life.
fn count(t: &Test) -> BTreeMap<&'static str, Counts> {
    let mut counted = BTreeMap::new();
    let short = Bundle::of_benchmark(t, "real", &["/bin/true"]);
    let b = Bundle::of_benchmark(t, "real", &["/bin/sleep", "1000"]);
    short.write();
    b.write();
    for command in COMMANDS {
        let dir = |b: &Bundle<'_>| b.dir.to_string_lossy().into_owned();
        let arguments: Vec<String> = match command {
            "run" => vec!["--bundle".to_owned(), dir(&short), short.id.clone()],
            "create" => vec!["--bundle".to_owned(), dir(&b), b.id.clone()],
            "exec" => vec![b.id.clone(), "/bin/true".to_owned()],
            "kill" => vec![b.id.clone(), "KILL".to_owned()],
            _ => vec![b.id.clone()],
        };
        if command == "delete" {
            b.becomes("stopped");
        }
        let mut call = Command::new(program());
        call.arg("--root").arg(t.root()).arg(command).args(arguments);
        call.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let counts = trace(call, "busybox").expect("ptrace");
        assert!(counts.success, "{command} fails under ptrace");
        counted.insert(command, counts);
    }
    counted
}

fn costs(counts: &Counts) -> [u64; COLUMNS.len()] {
    let memory = [Sysno::mmap, Sysno::brk, Sysno::mremap].map(|call| call as u64);
    let of_memory: usize = memory.iter().filter_map(|number| counts.by_number.get(number)).sum();
    [counts.calls as u64, counts.processes as u64, counts.threads as u64, counts.bytes_read, of_memory as u64]
}

/// The calls by name, the most frequent first.
fn names(counts: &Counts) -> String {
    let mut calls: Vec<_> = counts.by_number.iter().collect();
    calls.sort_by_key(|(number, times)| (std::cmp::Reverse(**times), **number));
    let name = |number: u64| Sysno::new(number as usize).map_or(number.to_string(), |call| call.name().to_owned());
    calls.into_iter().map(|(number, times)| format!("{times} {}", name(*number))).collect::<Vec<_>>().join(", ")
}

/// A line a command: its name, and a limit for each column.
fn limits(table: &str) -> BTreeMap<&str, [u64; COLUMNS.len()]> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let command = words.next().expect("a command");
            let numbers: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
            (command, numbers.try_into().expect("a number for each column"))
        })
        .collect()
}

/// What was counted, with a little slack for what depends on the host: paths, ids and the length of files in /proc.
fn table(counted: &BTreeMap<&'static str, Counts>) -> String {
    let mut text = "# What a command may do at most on the benchmark's real bundle, on a host with cgroup v1: what was counted\n\
                    # when this was written, and a little more. Lower a number when the command does less. costs.rs compares.\n\
                    # UPDATE=1 make test TEST_ARGS=\"--test cli -- costs\" writes it anew.\n#\n"
        .to_owned();
    let _ =
        writeln!(text, "#{:>19}{:>14}{:>14}{:>14}{:>14}", COLUMNS[0], COLUMNS[1], COLUMNS[2], COLUMNS[3], COLUMNS[4]);
    for command in COMMANDS {
        let [calls, processes, threads, read, memory] = costs(&counted[command]);
        let [calls, read, memory] = [calls + calls / 50 + 2, read + read / 10 + 256, memory + memory / 50 + 1];
        let _ = writeln!(text, "{command:7}{calls:>13}{processes:>14}{threads:>14}{read:>14}{memory:>14}");
    }
    text
}
