//! A runtime, how its commands are called, and how one call is timed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use benches::watchdog;

use crate::bundle::Bundle;
use crate::report::FLOOR;

/// Between two commands that people or engines give: long enough for the kernel to go idle, so that its grace periods show.
pub const COLD: Duration = Duration::from_millis(40);
pub const WARM: Duration = Duration::ZERO;
/// The words for the two in the names of measures.
pub const PAUSES: [(&str, Duration); 2] = [("cold", COLD), ("warm", WARM)];

#[derive(Debug, Clone)]
pub struct Runtime {
    pub name: String,
    pub program: PathBuf,
    /// Where it keeps its state, and what it last said.
    directory: PathBuf,
}

impl Runtime {
    /// NAME=PROGRAM, with its state below a directory.
    pub fn new(argument: &str, below: &Path) -> Result<Runtime, String> {
        let (name, program) = argument.split_once('=').ok_or_else(|| format!("{argument} is not NAME=PROGRAM"))?;
        let program = fs::canonicalize(program).map_err(|error| format!("{program}: {error}"))?;
        let directory = below.join(format!("of-{name}"));
        fs::create_dir_all(directory.join("state")).map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Runtime { name: name.to_owned(), program, directory })
    }

    pub fn is_floor(&self) -> bool {
        self.name == FLOOR
    }

    /// The call of a command, which reads nothing and whose words go to a file that is read if it fails.
    pub fn command(&self, arguments: &[&str]) -> Result<Command, String> {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.directory.join("state")).args(arguments);
        self.with_streams(command)
    }

    fn with_streams(&self, mut command: Command) -> Result<Command, String> {
        let words = File::create(self.words()).map_err(|error| format!("{}: {error}", self.words().display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words);
        Ok(command)
    }

    fn words(&self) -> PathBuf {
        self.directory.join("stderr")
    }

    /// `run`, of whose container the program ends at once.
    pub fn run(&self, bundle: &Bundle, id: &str) -> Result<Command, String> {
        if !self.is_floor() {
            return self.command(&["run", "--bundle", bundle.path(), id]);
        }
        let mut command = Command::new(&self.program);
        command.args([bundle.kind, bundle.path(), id, "/bin/true"]);
        self.with_streams(command)
    }

    /// Performs a command after a pause; milliseconds.
    pub fn timed(&self, pause: Duration, mut command: Command) -> Result<f64, String> {
        sleep(pause);
        let before = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let watched = watchdog::watch(child.id());
        let status = child.wait().map_err(|error| error.to_string())?;
        let took = before.elapsed();
        drop(watched);
        self.check(&command, status)?;
        Ok(took.as_secs_f64() * 1e3)
    }

    /// A command that fails early looks fast; so none may.
    pub fn check(&self, command: &Command, status: ExitStatus) -> Result<(), String> {
        if status.success() {
            return Ok(());
        }
        let verb = command.get_args().nth(2).unwrap_or_default().to_string_lossy();
        let words = fs::read_to_string(self.words()).unwrap_or_default();
        let words = words.trim().lines().last().unwrap_or("it said nothing").to_owned();
        Err(format!("{} {verb}: {status}: {words}", self.name))
    }

    /// Performs a command that may fail or hang; whether it succeeded in that time.
    pub fn succeeds(&self, mut command: Command, limit: Duration) -> Result<bool, String> {
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let start = Instant::now();
        loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => return Ok(status.success()),
                None if start.elapsed() > limit => {
                    stop(&mut child)?;
                    return Ok(false);
                }
                None => sleep(Duration::from_millis(1)),
            }
        }
    }

    pub fn perform(&self, arguments: &[&str]) -> Result<(), String> {
        self.timed(WARM, self.command(arguments)?).map(drop)
    }

    /// Takes away what a failure may have left.
    pub fn remove(&self, id: &str) {
        if !self.is_floor() {
            let _ = self.command(&["delete", "--force", id]).and_then(|c| self.succeeds(c, Duration::from_secs(20)));
        }
    }

    /// All that are left.
    pub fn remove_all(&self) {
        for entry in fs::read_dir(self.directory.join("state")).into_iter().flatten().flatten() {
            self.remove(&entry.file_name().to_string_lossy());
        }
    }

    /// The container's first process.
    pub fn pid(&self, id: &str) -> Result<i32, String> {
        let mut command = self.command(&["state", id])?;
        let output = command.stdout(Stdio::piped()).output().map_err(|error| error.to_string())?;
        self.check(&command, output.status)?;
        let state: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        state["pid"].as_i64().map(|pid| pid as i32).ok_or_else(|| format!("{}: no pid in the state", self.name))
    }
}

/// Kills what was started here, and takes its status.
pub fn stop(child: &mut Child) -> Result<(), String> {
    child.kill().and_then(|()| child.wait()).map(drop).map_err(|error| error.to_string())
}

/// Waits for a process that somebody else collects, or has not collected yet.
pub fn wait_for_end(pid: i32) -> Result<(), String> {
    for _ in 0..50_000 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().chars().next());
        if !matches!(state, Some(Some(state)) if state != 'Z' && state != 'X') {
            return Ok(());
        }
        sleep(Duration::from_micros(200));
    }
    Err(format!("process {pid} does not end"))
}
