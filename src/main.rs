//! argv to one command, one error printed, one exit code.
#![no_main]

use std::ffi::OsString;

use minicon::cli::{self, Action};
use minicon::log::Log;
use minicon::runtime;
use minicon::sys::arena::Arena;
use minicon::sys::entry::Arguments;

#[global_allocator]
static MEMORY: Arena = Arena::new();

minicon::main!(protect, perform);

/// Before all else, as it starts this program again. Should it fail, the command will try again and tell.
fn protect(arguments: Arguments) {
    if runtime::seal::is_copy() || cli::called(arguments.words()).is_some_and(runtime::puts_process_inside) {
        let _ = runtime::seal::execute_from_read_only_copy(Some(&arguments));
    }
}

fn perform(arguments: Vec<OsString>) -> u8 {
    let (globals, action) = match cli::parse(arguments) {
        Ok(parsed) => parsed,
        Err(usage) => {
            let _ = usage.print();
            return u8::from(usage.use_stderr());
        }
    };
    let (prefix, failure) = words_of_failure(&action);
    let log = match Log::open(globals.log.as_deref(), &globals.log_format, globals.log_level.as_deref(), globals.debug)
    {
        Ok(log) => log,
        Err(error) => {
            Log::default().error("", &error);
            return 1;
        }
    };
    match runtime::perform(action, &globals, log) {
        Ok(status) => status as u8,
        Err((log, error)) => {
            log.error(prefix, &error);
            failure
        }
    }
}

/// How a failure of a command begins, and its exit status: engines know both.
fn words_of_failure(action: &Action) -> (&'static str, u8) {
    match action {
        Action::Create(_) => ("minicon create failed", 1),
        Action::Run(_) => ("minicon run failed", 1),
        Action::Exec(_) => ("exec failed", 255),
        Action::Restore(_) => ("minicon restore failed", 1),
        _ => ("", 1),
    }
}
