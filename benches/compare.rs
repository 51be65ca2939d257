//! Times runtimes side by side: compare ROUNDS STATE BUNDLE NAME=PROGRAM...
//!
//! BUNDLE's program runs at once to its end; the same bundle with `.sleep` appended holds one that stays. Every command
//! is started by posix_spawn and timed to its exit, and one that fails ends the comparison: a runtime that refuses early
//! would look fast. The runtimes take turns, so that what else the machine does hits them alike, and what counts are the
//! ratios of one round's times. *Warm* is back to back; *cold* has a pause before each command, as between commands that
//! people and engines give, and then the kernel's RCU grace periods show.

use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for the kernel to go idle.
const PAUSE: Duration = Duration::from_millis(40);

fn main() -> ExitCode {
    match compare(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &[String]) -> Result<(), String> {
    let [rounds, state, bundle, runtimes @ ..] = arguments else {
        return Err("usage: compare ROUNDS STATE BUNDLE NAME=PROGRAM...".to_owned());
    };
    let rounds: usize = rounds.parse().map_err(|_| format!("{rounds} is no number of rounds"))?;
    let runtimes: Vec<Runtime> =
        runtimes.iter().map(|runtime| Runtime::new(runtime, state)).collect::<Result<_, _>>()?;
    println!("\n{rounds} rounds each; milliseconds, and the median of the ratios within a round\n");
    title(&runtimes);
    for (label, pause) in [("warm", Duration::ZERO), ("cold", PAUSE)] {
        let mut times = Times::new(&runtimes, vec![format!("run, {label}")]);
        for round in 0..rounds {
            for index in turns(&runtimes, round) {
                let took = runtimes[index].timed(pause, &["run", "--bundle", bundle, "compare"])?;
                times.0[0].1[index].push(took);
            }
        }
        times.print(&runtimes);
    }
    // The commands of an engine, one after the other; fewer rounds, as each has six.
    for (label, pause) in [("warm", Duration::ZERO), ("cold", PAUSE)] {
        let mut times = Times::new(&runtimes, COMMANDS.iter().map(|name| format!("{name}, {label}")).collect());
        for round in 0..rounds.div_ceil(2) {
            for index in turns(&runtimes, round) {
                runtimes[index].live(pause, &format!("{bundle}.sleep"), |command, took| {
                    times.0[command].1[index].push(took);
                })?;
            }
        }
        times.print(&runtimes);
    }
    Ok(())
}

/// Another one begins each round, so that nobody always follows the same one.
fn turns(runtimes: &[Runtime], round: usize) -> impl Iterator<Item = usize> + use<> {
    let count = runtimes.len();
    (0..count).map(move |turn| (round + turn) % count)
}

/// The commands in a container's life, in the order in which they are timed.
const COMMANDS: [&str; 6] = ["create", "state", "start", "exec", "kill", "delete"];

struct Runtime {
    name: String,
    program: String,
    root: String,
}

impl Runtime {
    fn new(argument: &str, state: &str) -> Result<Runtime, String> {
        let (name, program) = argument.split_once('=').ok_or_else(|| format!("{argument} is not NAME=PROGRAM"))?;
        Ok(Runtime { name: name.to_owned(), program: program.to_owned(), root: format!("{state}/{name}") })
    }

    /// Performs one command; its time in milliseconds.
    fn timed(&self, pause: Duration, arguments: &[&str]) -> Result<f64, String> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null());
        sleep(pause);
        let before = Instant::now();
        let status = command.status().map_err(|error| format!("{}: {error}", self.program))?;
        let took = before.elapsed();
        match status.success() {
            true => Ok(took.as_secs_f64() * 1e3),
            false => Err(format!("{} {}: {status}", self.name, arguments.join(" "))),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--root", &self.root]).args(arguments).stdin(Stdio::null());
        command
    }

    /// One container through its life, each command timed.
    fn live(&self, pause: Duration, bundle: &str, mut record: impl FnMut(usize, f64)) -> Result<(), String> {
        let commands: [&[&str]; COMMANDS.len()] = [
            &["create", "--bundle", bundle, "compare"],
            &["state", "compare"],
            &["start", "compare"],
            &["exec", "compare", "/bin/true"],
            &["kill", "compare", "KILL"],
            &["delete", "compare"],
        ];
        for (index, arguments) in commands.into_iter().enumerate() {
            if arguments[0] == "delete" {
                self.wait_until_stopped()?;
            }
            record(index, self.timed(pause, arguments)?);
        }
        Ok(())
    }

    fn wait_until_stopped(&self) -> Result<(), String> {
        for _ in 0..200 {
            let output = self.command(&["state", "compare"]).output().map_err(|error| error.to_string())?;
            if String::from_utf8_lossy(&output.stdout).contains("\"stopped\"") {
                return Ok(());
            }
            sleep(Duration::from_millis(1));
        }
        Err(format!("{}: the container does not stop", self.name))
    }
}

/// Rows of a title and the times of each runtime.
struct Times(Vec<(String, Vec<Vec<f64>>)>);

impl Times {
    fn new(runtimes: &[Runtime], titles: Vec<String>) -> Times {
        Times(titles.into_iter().map(|title| (title, vec![Vec::new(); runtimes.len()])).collect())
    }

    fn print(&self, runtimes: &[Runtime]) {
        for (title, times) in &self.0 {
            print!("{title:14}");
            for (index, _) in runtimes.iter().enumerate() {
                let [median, p99] = [0.5, 0.99].map(|part| quantile(&times[index], part));
                print!("{median:9.2}{p99:8.2}");
            }
            for other in 1..runtimes.len() {
                let ratios: Vec<f64> = times[0].iter().zip(&times[other]).map(|(ours, theirs)| ours / theirs).collect();
                print!("{:>14.2}", quantile(&ratios, 0.5));
            }
            println!();
        }
    }
}

fn title(runtimes: &[Runtime]) {
    print!("{:14}", "");
    for runtime in runtimes {
        print!("{:>9}{:>8}", runtime.name, "p99");
    }
    for other in runtimes.iter().skip(1) {
        print!("{:>14}", format!("to {}", other.name));
    }
    println!();
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}
