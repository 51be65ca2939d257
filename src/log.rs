//! Messages for the engine or the person: one line each, as text or as JSON, to a file or stderr.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Where messages go.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

impl Log {
    /// Opens the log as the global flags ask.
    pub fn open(file: Option<&Path>, format: &str, debug: bool) -> Result<Log> {
        let json = match format {
            "text" => false,
            "json" => true,
            other => return Err(Error::new(format!("invalid log-format: {other}")).hint("it is text or json")),
        };
        let open = |path: &Path| {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| Error::new(format!("open the log {}: {error}", path.display())))
        };
        Ok(Log { file: file.map(open).transpose()?, json, debug })
    }

    /// The error that ends this command. With a log file it goes to stderr as well.
    pub fn error(&self, prefix: &str, error: &Error) {
        let line = |text: String| if prefix.is_empty() { text } else { format!("{prefix}: {text}") };
        // A line a message in a file; to a person the whole, on lines of its own.
        let text = if self.file.is_some() { error.text().replace("\n  ", "; ") } else { error.text() };
        self.write("error", &line(error.headline()), error.log_fields(), &line(text));
        if self.file.is_some() {
            eprintln!("{}", line(error.text()));
        }
    }

    /// Something that is no reason to fail.
    pub fn warning(&self, message: &str) {
        self.write("warning", message, Vec::new(), &format!("warning: {message}"));
    }

    /// Something for whoever looks for a fault.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            let message = message();
            self.write("debug", &message, Vec::new(), &format!("debug: {message}"));
        }
    }

    /// The fields `level`, `msg` and `time` are what engines read.
    fn write(&self, level: &str, message: &str, fields: Vec<(&'static str, serde_json::Value)>, text: &str) {
        let line = if self.json {
            let mut object = serde_json::Map::new();
            object.insert("level".into(), level.into());
            object.insert("msg".into(), message.into());
            object.insert("time".into(), now().into());
            object.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
            serde_json::Value::Object(object).to_string()
        } else {
            text.to_owned()
        };
        // One write a line: several minicons may append to one file. A log that cannot be written stops nothing.
        let _ = match &self.file {
            Some(file) => (&mut &*file).write_all(format!("{line}\n").as_bytes()),
            None => std::io::stderr().write_all(format!("{line}\n").as_bytes()),
        };
    }
}

/// The time as RFC 3339 in UTC, with nanoseconds.
pub fn now() -> String {
    humantime::format_rfc3339_nanos(SystemTime::now()).to_string()
}
