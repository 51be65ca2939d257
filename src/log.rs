//! Messages for the engine or the person: one line each, as text or as JSON, to stderr, a file, the journal or syslog.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Where messages go.
#[derive(Debug, Default)]
pub struct Log {
    target: Target,
    json: bool,
    level: Level,
}

#[derive(Debug, Default)]
enum Target {
    #[default]
    Stderr,
    File(File),
    /// systemd-journald(8), and a field `ID`.
    Journal(UnixDatagram, String),
    /// syslog(3), and the program's name there.
    Syslog(UnixDatagram, String),
}

/// How grave a message is; the order is that of [`Log`]'s threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    #[default]
    Warning,
    Debug,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Debug => "debug",
        }
    }

    /// See syslog(3).
    const fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Debug => 7,
        }
    }
}

impl Log {
    /// Opens the log as the global flags ask: `target` is a file, or as crun has it `file:PATH`, `journald:[ID]` or
    /// `syslog:[NAME]`.
    pub fn open(target: Option<&Path>, format: &str, level: Option<&str>, debug: bool) -> Result<Log> {
        let json = match format {
            "text" | "" => false,
            "json" => true,
            other => return Err(Error::new(format!("invalid log-format: {other}")).hint("it is text or json")),
        };
        let level = match level {
            _ if debug => Level::Debug,
            None | Some("warning") => Level::Warning,
            Some("error") => Level::Error,
            Some("debug") => Level::Debug,
            Some(other) => {
                return Err(Error::new(format!("invalid log-level: {other}")).hint("it is error, warning or debug"));
            }
        };
        let target = target.filter(|path| !path.as_os_str().is_empty()).map_or(Ok(Target::Stderr), Target::open)?;
        Ok(Log { target, json, level })
    }

    fn is_stderr(&self) -> bool {
        matches!(self.target, Target::Stderr)
    }

    /// The error that ends this command. With a log file it goes to stderr as well.
    pub fn error(&self, prefix: &str, error: &Error) {
        let line = |text: String| if prefix.is_empty() { text } else { format!("{prefix}: {text}") };
        // A line a message in a file; to a person the whole, on lines of its own.
        let text = if self.is_stderr() { error.text() } else { error.text().replace("\n  ", "; ") };
        self.write(Level::Error, &line(error.headline()), error.log_fields(), &line(text));
        if !self.is_stderr() {
            eprintln!("{}", line(error.text()));
        }
    }

    /// Something that is no reason to fail.
    pub fn warning(&self, message: &str) {
        self.write(Level::Warning, message, Vec::new(), &format!("warning: {message}"));
    }

    /// Something for whoever looks for a fault.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.level == Level::Debug {
            let message = message();
            self.write(Level::Debug, &message, Vec::new(), &format!("debug: {message}"));
        }
    }

    /// The fields `level`, `msg` and `time` are what engines read.
    fn write(&self, level: Level, message: &str, fields: Vec<(&'static str, serde_json::Value)>, text: &str) {
        if level > self.level {
            return;
        }
        let line = if self.json {
            let mut object = serde_json::Map::new();
            object.insert("level".into(), level.name().into());
            object.insert("msg".into(), message.into());
            object.insert("time".into(), now().into());
            object.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
            serde_json::Value::Object(object).to_string()
        } else {
            text.to_owned()
        };
        self.target.write(level, &line);
    }
}

impl Target {
    fn open(target: &Path) -> Result<Target> {
        let name_or = |name: &str, default: &str| if name.is_empty() { default.to_owned() } else { name.to_owned() };
        let text = target.to_str().unwrap_or_default();
        if let Some(id) = text.strip_prefix("journald:") {
            return connect("/run/systemd/journal/socket").map(|socket| Target::Journal(socket, id.to_owned()));
        }
        if let Some(name) = text.strip_prefix("syslog:") {
            return connect("/dev/log").map(|socket| Target::Syslog(socket, name_or(name, "minicon")));
        }
        let path = text.strip_prefix("file:").map_or(target, Path::new);
        let opened = OpenOptions::new().create(true).append(true).mode(0o644).open(path);
        opened.map(Target::File).map_err(|error| Error::new(format!("open the log {}: {error}", path.display())))
    }

    /// One write a line: several minicons may append to one file. A log that cannot be written stops nothing.
    fn write(&self, level: Level, line: &str) {
        let _ = match self {
            Target::Stderr => std::io::stderr().write_all(format!("{line}\n").as_bytes()),
            Target::File(file) => (&mut &*file).write_all(format!("{line}\n").as_bytes()),
            Target::Journal(socket, id) => socket.send(&journal_entry(level, line, id)).map(drop),
            Target::Syslog(socket, name) => {
                const LOG_USER: u8 = 1 << 3;
                let (priority, pid) = (LOG_USER | level.priority(), std::process::id());
                socket.send(format!("<{priority}>{name}[{pid}]: {line}").as_bytes()).map(drop)
            }
        };
    }
}

fn connect(path: &str) -> Result<UnixDatagram> {
    let connected = UnixDatagram::unbound().and_then(|socket| socket.connect(path).map(|()| socket));
    connected.map_err(|error| Error::new(format!("open the log {path}: {error}")).hint("does the log's daemon run?"))
}

/// The fields of an entry, see systemd's "Native Journal Protocol". One whose value has several lines has its length in
/// front.
fn journal_entry(level: Level, line: &str, id: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    let (priority, name) = (level.priority().to_string(), "minicon");
    for (field, value) in [("PRIORITY", &*priority), ("SYSLOG_IDENTIFIER", name), ("ID", id), ("MESSAGE", line)] {
        entry.extend_from_slice(field.as_bytes());
        if value.contains('\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value.as_bytes());
        entry.push(b'\n');
    }
    entry
}

/// The time as RFC 3339 in UTC, with nanoseconds.
pub fn now() -> String {
    humantime::format_rfc3339_nanos(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Level, journal_entry};

    #[test]
    fn the_journal_gets_fields_and_a_message_of_several_lines_whole() {
        let entry = journal_entry(Level::Error, "a\nb", "web");
        assert_eq!(entry, b"PRIORITY=3\nSYSLOG_IDENTIFIER=minicon\nID=web\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
    }
}
