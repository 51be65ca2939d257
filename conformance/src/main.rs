//! `conformance [--runtime PROGRAM] [FLAGS] [TEST]...`: runs the tests whose ids begin with one of the words, else all.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use conformance::lab::Setup;
use conformance::row::{Level, Row};
use conformance::runner::{self, Ending, Outcome};
use conformance::{coverage, spec, tools};

const USAGE: &str = "usage: conformance [FLAG]... [BEGINNING OF A TEST'S ID]...
  --runtime PROGRAM    the runtime to test [default: minicon beside this program]
  --probe PROGRAM      the static program that runs inside [default: probe beside this program]
  --strict             give the runtime the flag --strict, and expect no deviation
  --hide-cgroup2       take the cgroup2 mount of a hybrid host away: some runtimes refuse such hosts
  --limit SECONDS      how long one call of the runtime may take [default: 10]
  --json FILE          write the results there
  --list               print the tests and run none
  --spec DIRECTORY     only check the table of sentences against a checkout of the specification
  --coverage OUT JSON...           write the table of coverage from recorded results
  --runtime-tools DIRECTORY        run the validation programs of a built checkout of runtime-tools instead";

struct Asked {
    setup: Setup,
    json: Option<PathBuf>,
    one: Option<String>,
    dir: Option<PathBuf>,
    list: bool,
    spec: Option<PathBuf>,
    coverage: Option<PathBuf>,
    tools: Option<PathBuf>,
    words: Vec<String>,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(act) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Asked> {
    let beside = |name| std::env::current_exe().map(|path| path.with_file_name(name));
    let setup = Setup {
        runtime: beside("minicon")?,
        probe: beside("probe")?,
        strict: false,
        hide_cgroup2: false,
        limit: Duration::from_secs(10),
    };
    let mut asked = Asked {
        setup,
        json: None,
        one: None,
        dir: None,
        list: false,
        spec: None,
        coverage: None,
        tools: None,
        words: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--runtime" => asked.setup.runtime = std::path::absolute(value()?)?,
            "--probe" => asked.setup.probe = std::path::absolute(value()?)?,
            "--limit" => asked.setup.limit = Duration::from_secs(value()?.parse()?),
            "--json" => asked.json = Some(value()?.into()),
            "--one" => asked.one = Some(value()?),
            "--dir" => asked.dir = Some(value()?.into()),
            "--spec" => asked.spec = Some(value()?.into()),
            "--coverage" => asked.coverage = Some(value()?.into()),
            "--runtime-tools" => asked.tools = Some(value()?.into()),
            "--strict" => asked.setup.strict = true,
            "--hide-cgroup2" => asked.setup.hide_cgroup2 = true,
            "--list" => asked.list = true,
            flag if flag.starts_with('-') => bail!("{flag}: no such flag\n{USAGE}"),
            _ => asked.words.push(arg),
        }
    }
    Ok(asked)
}

fn act(asked: Asked) -> Result<ExitCode> {
    if let (Some(id), Some(dir)) = (&asked.one, asked.dir) {
        let row = conformance::tests().find(|row| row.id == id).context("no such test")?;
        runner::one(row, asked.setup, dir)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(checkout) = asked.spec {
        return check(spec::differences(&checkout)?);
    }
    if let Some(out) = asked.coverage {
        coverage::write(&out, &asked.words)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(checkout) = asked.tools {
        return tools::run(&checkout, &asked.setup, &asked.words);
    }
    let wrong = spec::inconsistencies();
    if !wrong.is_empty() {
        return check(wrong);
    }
    let named = |row: &&Row| asked.words.is_empty() || asked.words.iter().any(|word| row.id.starts_with(word));
    let tests = conformance::tests().filter(named);
    if asked.list {
        tests.for_each(|row| println!("{:<6} {}  {}", row.level.word(), row.id, row.place));
        return Ok(ExitCode::SUCCESS);
    }
    let results = runner::run(tests, &asked.setup, tell)?;
    if let Some(path) = asked.json {
        coverage::record(&path, &asked.setup, &results)?;
    }
    Ok(count(&results))
}

fn check(wrong: Vec<String>) -> Result<ExitCode> {
    wrong.iter().for_each(|line| println!("{line}"));
    println!("{} differences", wrong.len());
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A line a test; the sentences too where the runtime does not keep them.
fn tell(row: &Row, ending: &Ending) {
    let word = match ending.outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::Deviates => "deviates",
        Outcome::Skipped => "skipped",
    };
    match ending.outcome {
        Outcome::Passed => println!("{word} {}", row.id),
        Outcome::Skipped => println!("{word} {}: {}", row.id, ending.why),
        Outcome::Failed | Outcome::Deviates => {
            println!("{word} {}: {}", row.id, ending.why);
            row.proves.iter().for_each(|quote| println!("       {} {}: {quote}", row.place, row.level.word()));
        }
    }
}

fn count(results: &[(&Row, Ending)]) -> ExitCode {
    let number = |outcome| results.iter().filter(|(_, ending)| ending.outcome == outcome).count();
    let must = |(row, ending): &&(&Row, Ending)| ending.outcome == Outcome::Failed && row.level == Level::Must;
    let deviations = number(Outcome::Deviates);
    if deviations > 0 {
        println!("{deviations} expected deviations without --strict");
    }
    let failed = number(Outcome::Failed);
    if failed > 0 {
        let musts = results.iter().filter(must).count();
        println!("of the failed, {musts} are of a MUST and {} of a SHOULD", failed - musts);
    }
    println!("{} passed, {failed} failed, {} skipped", number(Outcome::Passed), number(Outcome::Skipped));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
