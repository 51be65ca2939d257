//! Measures minicon, other runtimes and the floor side by side, and draws what was measured.
//!
//! `bench measure` moves into a private mount namespace for each view of the cgroup hierarchies and performs the parts
//! there, all runtimes in turn within a round. A command that fails ends it: who refuses early would look fast. `bench
//! draw` makes charts and tables from the results. docs/decisions/0021-the-benchmark.md says why it is as it is.

mod bench;
mod bundle;
mod chart;
mod draw;
mod parts;
mod report;
mod runtime;
mod targets;
mod view;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use benches::watchdog;

use bench::Bench;
use bundle::Makings;
use parts::{PARTS, Part};
use report::{Machine, OURS, Report, Version};
use runtime::Runtime;
use view::View;

const USAGE: &str = "\
usage: bench measure rounds=N rootfs=DIRECTORY real=CONFIG json=FILE [parts=NAMES] [views=NAMES] NAME=PROGRAM...
       bench draw JSON DIRECTORY DOCUMENT...";

/// What the limit on open files is for all that is measured.
const FILES: u64 = 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        Some(("measure", rest)) => Options::parse(rest).and_then(|options| options.measure(rest)),
        Some(("draw", [json, directory, documents @ ..])) => {
            draw::draw(Path::new(json), Path::new(directory), documents)
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    rounds: usize,
    rootfs: PathBuf,
    real: PathBuf,
    json: PathBuf,
    parts: Vec<String>,
    views: Vec<String>,
    /// The one that this process is to perform.
    view: Option<View>,
    runtimes: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        for argument in arguments {
            let (name, value) = argument.split_once('=').ok_or(USAGE)?;
            let words = || value.split_whitespace().map(str::to_owned).collect();
            match name {
                "rounds" => options.rounds = value.parse().map_err(|_| format!("{value} is no number of rounds"))?,
                "rootfs" => options.rootfs = absolute(value)?,
                "real" => options.real = absolute(value)?,
                "json" => options.json = PathBuf::from(value),
                "parts" => options.parts = words(),
                "views" => options.views = words(),
                "view" => options.view = View::named(value),
                _ => options.runtimes.push(argument.clone()),
            }
        }
        let known = |name: &String| PARTS.iter().any(|part| part.name == name);
        if let Some(unknown) = options.parts.iter().find(|name| !known(name)) {
            return Err(format!("there is no part {unknown}; there are {}", PARTS.map(|part| part.name).join(" ")));
        }
        if options.views.is_empty() {
            options.views = vec!["v1".to_owned(), "v2".to_owned()];
        }
        match options.runtimes.first() {
            Some(first) if first.starts_with(&format!("{OURS}=")) => Ok(options),
            _ => Err(format!("the first runtime is to be {OURS}\n{USAGE}")),
        }
    }

    /// Each view in a process of its own, as a mount namespace is left by nobody.
    fn measure(&self, arguments: &[String]) -> Result<(), String> {
        if let Some(view) = self.view {
            return self.perform(view);
        }
        let mut whole: Option<Report> = None;
        for name in &self.views {
            let json = self.json.with_extension(name);
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            let status = Command::new(own)
                .arg("measure")
                .args(arguments)
                .args([format!("view={name}"), format!("json={}", json.display())])
                .status()
                .map_err(|error| error.to_string())?;
            if !status.success() {
                return Err(format!("{name} was not measured"));
            }
            let report = Report::read(&json)?;
            fs::remove_file(&json).map_err(|error| error.to_string())?;
            match &mut whole {
                None => whole = Some(report),
                // Of a view that cannot be had here there are only notes.
                Some(whole) => {
                    if whole.runtimes.is_empty() {
                        whole.runtimes = report.runtimes;
                    }
                    whole.measures.extend(report.measures);
                    whole.notes.extend(report.notes);
                    whole.failures.extend(report.failures);
                }
            }
        }
        let whole = whole.ok_or("there is no view to measure in")?;
        targets::print(&whole);
        whole.write(&self.json)?;
        match whole.failures.is_empty() {
            true => Ok(()),
            false => Err(format!("minicon failed in {}", whole.failures.join("; "))),
        }
    }

    fn perform(&self, view: View) -> Result<(), String> {
        let mut report = Report { machine: machine()?, rounds: self.rounds, ..Report::default() };
        if let Err(why) = view.enter() {
            report.note(format!("{}: left out: {why}", view.title()));
            return report.write(&self.json);
        }
        let (_, highest) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
        setrlimit(Resource::RLIMIT_NOFILE, FILES.min(highest), FILES.min(highest))
            .map_err(|error| error.to_string())?;
        watchdog::begin();
        let scratch = Scratch::new()?;
        let mut bench = self.prepare(view, &scratch.0, report)?;
        self.introduce(&bench);
        let before = view::cgroups();
        for part in self.parts(view) {
            // What was measured before is worth keeping, and so is what comes after.
            if let Err(error) = (part.perform)(&mut bench) {
                let failure = format!("{}, {}: {error}", part.name, view.name());
                eprintln!("bench: FAILED: {failure}");
                bench.report.failures.push(failure);
                bench.runtimes.iter().for_each(Runtime::remove_all);
            }
        }
        bench.runtimes.iter().for_each(Runtime::remove_all);
        clear_cgroups(&before, &mut bench.report);
        bench.report.write(&self.json)
    }

    /// What is measured in one view only is measured in the first.
    fn parts(&self, view: View) -> impl Iterator<Item = &'static Part> {
        let first = self.views.first().is_some_and(|name| name == view.name());
        PARTS.iter().filter(move |part| {
            let named = self.parts.iter().any(|name| name == part.name);
            let chosen = named || self.parts.is_empty() && part.name != parts::LAYOUT;
            chosen && (first || !part.once)
        })
    }

    fn prepare(&self, view: View, below: &Path, mut report: Report) -> Result<Bench, String> {
        let rootfs = below.join("rootfs");
        shell(&["cp", "-a", &self.rootfs.to_string_lossy(), &rootfs.to_string_lossy()])?;
        let mut runtimes = Vec::new();
        for argument in &self.runtimes {
            let runtime = Runtime::new(argument, below)?;
            report.runtimes.push(Version { name: runtime.name.clone(), version: version(&runtime)? });
            runtimes.push(runtime);
        }
        let program = &runtimes.first().ok_or(USAGE)?.program;
        shell(&[&program.to_string_lossy(), "spec", "--bundle", &below.to_string_lossy()])?;
        let spec = bundle::read(&below.join("config.json"))?;
        let limits = view == View::V1 || view::has_controllers_of_limits();
        if !limits {
            report.note(format!("{}: no memory, cpu and pids controllers there, so no limits", view.title()));
        }
        let makings = Makings { rootfs, real: self.real.clone(), spec, below: below.to_owned(), limits };
        Ok(Bench { view, rounds: self.rounds, runtimes, makings, report })
    }

    fn introduce(&self, bench: &Bench) {
        let Machine { processor, kernel, .. } = &bench.report.machine;
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        println!("\n== {}: {processor}, Linux {kernel}, {} rounds, load {load}", bench.view.title(), self.rounds);
        for Version { name, version } in &bench.report.runtimes {
            println!("   {name}: {version}");
        }
    }
}

/// A tmpfs: state directories are on one (/run) everywhere, and the disk is not what is compared.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, String> {
        let scratch = Scratch(std::env::temp_dir().join(format!("minicon-bench.{}", std::process::id())));
        fs::create_dir(&scratch.0).map_err(|error| format!("{}: {error}", scratch.0.display()))?;
        mount(Some("bench"), &scratch.0, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .map_err(|error| format!("mount tmpfs: {error}"))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))
}

fn shell(words: &[&str]) -> Result<String, String> {
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| format!("{}: {error}", words[0]))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn version(runtime: &Runtime) -> Result<String, String> {
    if runtime.is_floor() {
        return Ok("benches/floor/floor.c".to_owned());
    }
    let text = shell(&[&runtime.program.to_string_lossy(), "--version"])?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn machine() -> Result<Machine, String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").map_err(|error| error.to_string())?;
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let models: Vec<_> = cpuinfo.lines().filter(|line| line.starts_with("model name")).filter_map(value).collect();
    Ok(Machine {
        processor: format!("{} x {}", models.len(), models.first().map_or("?", String::as_str)),
        // What follows the number names a distribution's build.
        kernel: shell(&["uname", "-r"])?.split('-').next().unwrap_or_default().to_owned(),
        date: shell(&["date", "-u", "+%Y-%m-%d"])?,
    })
}

/// Cgroups of the containers that a runtime has left, told and removed.
fn clear_cgroups(before: &[PathBuf], report: &mut Report) {
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("bench-"));
    let left: Vec<_> = view::cgroups().into_iter().filter(|path| !before.contains(path) && ours(path)).collect();
    for path in left.iter().rev() {
        let _ = fs::remove_dir(path);
    }
    if !left.is_empty() {
        report.note(format!(
            "{} cgroups were left by containers and removed, such as {}",
            left.len(),
            left[0].display()
        ));
    }
}
