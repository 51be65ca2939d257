//! argv to one command, one error printed, one exit code.

use std::process::ExitCode;

use minicon::cli::{self, Action};
use minicon::log::Log;
use minicon::runtime;

fn main() -> ExitCode {
    let (globals, action) = match cli::parse(std::env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(u8::from(usage.use_stderr()));
        }
    };
    let (prefix, failure) = words_of_failure(&action);
    let log = match Log::open(globals.log.as_deref(), &globals.log_format, globals.debug) {
        Ok(log) => log,
        Err(error) => {
            Log::default().error("", &error);
            return ExitCode::FAILURE;
        }
    };
    match runtime::perform(action, &globals, log) {
        Ok(status) => ExitCode::from(status as u8),
        Err((log, error)) => {
            log.error(prefix, &error);
            ExitCode::from(failure)
        }
    }
}

/// How a failure of a command begins, and its exit status: engines know both.
fn words_of_failure(action: &Action) -> (&'static str, u8) {
    match action {
        Action::Create(_) => ("minicon create failed", 1),
        Action::Run(_) => ("minicon run failed", 1),
        Action::Exec(_) => ("exec failed", 255),
        _ => ("", 1),
    }
}
