//! `explain`: what create and start would do with a bundle here, and `trace`: what they did. Neither needs a right, and
//! neither changes anything.

use std::path::Path;

use super::{Environment, create, report};
use crate::cli;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::host;
use crate::plan::{Host, Plan, Request, text};
use crate::sys::process;
use crate::trace::read;

/// The command.
pub fn explain(options: &cli::Explain, environment: &Environment) -> Result<()> {
    let bundle = create::find_bundle(options.bundle.as_deref())?;
    let config = config::read_bundle(&bundle, None, environment.strict)?;
    let mut host = host::probe(&config)?;
    host.umask = environment.strict.then(process::umask);
    let plan = plan(&config, &bundle, options.id.as_deref(), &host, environment)?;
    match options.format.as_str() {
        "text" => report::print_as_it_is(&text::text(&plan, options.why)),
        "markdown" => report::print_as_it_is(&text::markdown(&plan, options.why)),
        "json" => report::print(&report::to_json(&text::json(&plan, options.why))?),
        other => Err(Error::new(format!("invalid format: {other}")).hint("it is text, json or markdown")),
    }
}

/// The plan that `create` would carry out.
pub fn plan(config: &Config, bundle: &Path, id: Option<&str>, host: &Host, environment: &Environment) -> Result<Plan> {
    let directory = bundle.file_name().and_then(|name| name.to_str()).unwrap_or("container");
    let request = Request {
        id: id.unwrap_or(directory),
        bundle,
        no_pivot: false,
        no_new_keyring: false,
        rootless: environment.rootless,
        strict: environment.strict,
        cgroup_manager: environment.cgroup_manager,
        notify_directory: None,
        environment: &[],
    };
    Plan::build(config, &request, host)
}

/// The command `trace`.
pub fn draw_trace(options: &cli::Trace) -> Result<()> {
    let text = std::fs::read_to_string(&options.file);
    let text = text.map_err(|error| Error::new(format!("read {}: {error}", options.file.display())))?;
    report::print_as_it_is(&read::draw(&read::spans(&text)?))
}
