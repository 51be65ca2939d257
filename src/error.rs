//! The one error type. A failure is recorded where it happens (the failing call, with its arguments
//! and errno), gathers the step and the place in `config.json` on its way up, crosses the handshake
//! whole if it happened in the container process, and is printed once, by `main`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hints;

/// What every fallible function of minicon returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: what was being done, where that is asked for, which call failed and what may help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error(Box<Record>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    step: String,
    message: String,
    at: Option<String>,
    call: Option<Call>,
    hint: Option<String>,
    more: Vec<Problem>,
}

/// A system call that failed: its name as in the man page, its arguments rendered, its errno.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The name in section 2 of the manual.
    pub name: String,
    /// The arguments that matter, rendered; a file descriptor as `[9]</path>`.
    pub arguments: String,
    /// The errno, see errno(3).
    pub errno: i32,
}

/// One thing that is wrong with the configuration. The plan collects all of them before it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The place in `config.json`, such as `mounts[3].options`.
    pub at: String,
    /// What is wrong there, and what is expected.
    pub message: String,
}

impl Problem {
    /// A problem at a place in `config.json`.
    pub fn new(at: impl fmt::Display, message: impl Into<String>) -> Self {
        Problem { at: at.to_string(), message: message.into() }
    }
}

impl Error {
    /// A failure that no single system call explains.
    pub fn new(message: impl Into<String>) -> Self {
        Error(Box::new(Record { message: message.into(), ..Record::default() }))
    }

    /// A failed system call.
    pub fn call(name: &str, arguments: String, errno: rustix::io::Errno) -> Self {
        let call = Call { name: name.to_owned(), arguments, errno: errno.raw_os_error() };
        Error(Box::new(Record { call: Some(call), ..Record::default() }))
    }

    /// A configuration that cannot be carried out; every problem that was found, at least one.
    pub fn config(mut problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty());
        let more = if problems.is_empty() { Vec::new() } else { problems.split_off(1) };
        let Some(first) = problems.pop() else { return Error::new("the configuration is not valid") };
        Error(Box::new(Record { message: first.message, at: Some(first.at), more, ..Record::default() }))
    }

    /// Says what was being done. The innermost step wins: it is the most exact.
    #[must_use]
    pub fn step(mut self, step: impl Into<String>) -> Self {
        if self.0.step.is_empty() {
            self.0.step = step.into();
        }
        self
    }

    /// Says which place in `config.json` asked for it. The innermost place wins.
    #[must_use]
    pub fn at(mut self, at: impl fmt::Display) -> Self {
        if self.0.at.is_none() {
            self.0.at = Some(at.to_string());
        }
        self
    }

    /// Says what may help. The innermost hint wins.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.0.hint.is_none() {
            self.0.hint = Some(hint.into());
        }
        self
    }

    /// Says what may help, before what a deeper hint says.
    #[must_use]
    pub fn hint_first(mut self, hint: &str) -> Self {
        self.0.hint = Some(self.0.hint.map_or_else(|| hint.to_owned(), |deeper| format!("{hint}; {deeper}")));
        self
    }

    /// The errno of the failed call, if a call failed.
    pub fn errno(&self) -> Option<rustix::io::Errno> {
        self.0.call.as_ref().map(|call| rustix::io::Errno::from_raw_os_error(call.errno))
    }

    /// The name of the failed call, if a call failed.
    pub fn call_name(&self) -> Option<&str> {
        self.0.call.as_ref().map(|call| call.name.as_str())
    }

    /// The place in `config.json`, if one asked for what failed.
    pub fn config_path(&self) -> Option<&str> {
        self.0.at.as_deref()
    }

    /// What is wrong with the configuration, one problem each; none if it is something else that failed.
    pub fn problems(&self) -> Vec<Problem> {
        let Record { step, message, at: Some(at), call: None, more, .. } = &*self.0 else { return Vec::new() };
        let first = step.is_empty().then(|| Problem::new(at, message));
        first.into_iter().chain(more.iter().cloned()).collect()
    }

    /// The first line, which stands alone: engines show only that.
    pub fn headline(&self) -> String {
        let record = &self.0;
        let mut line = String::new();
        let mut part = |text: &str| {
            if !text.is_empty() {
                if !line.is_empty() {
                    line.push_str(": ");
                }
                line.push_str(text);
            }
        };
        part(&record.step);
        // A configuration error has no step of its own; the place takes it.
        if record.step.is_empty() && record.call.is_none() {
            part(record.at.as_deref().unwrap_or_default());
        }
        match record.more.len() {
            0 => part(&record.message),
            count => part(&format!("{} (and {count} more)", record.message)),
        }
        if let Some(call) = &record.call {
            part(&call.to_string());
        }
        line
    }

    /// The whole error for a person: the headline, then the place, the further problems and the hint.
    pub fn text(&self) -> String {
        let record = &self.0;
        let mut text = self.headline();
        if let Some(at) = &record.at {
            text.push_str(&format!("\n  config: {at}"));
        }
        for problem in &record.more {
            text.push_str(&format!("\n  also:   {}: {}", problem.at, problem.message));
        }
        if let Some(hint) = self.effective_hint() {
            text.push_str(&format!("\n  hint:   {hint}"));
        }
        text
    }

    /// The fields that the JSON log carries beside `level`, `msg` and `time`.
    pub fn log_fields(&self) -> Vec<(&'static str, serde_json::Value)> {
        let record = &self.0;
        let mut fields = Vec::new();
        let mut field = |name, value: Option<&str>| {
            if let Some(value) = value {
                fields.push((name, serde_json::Value::from(value)));
            }
        };
        field("step", Some(record.step.as_str()).filter(|step| !step.is_empty()));
        field("config", record.at.as_deref());
        field("call", record.call.as_ref().map(|call| format!("{}({})", call.name, call.arguments)).as_deref());
        field("errno", record.call.as_ref().map(|call| errno_name(call.errno)).as_deref());
        field("hint", self.effective_hint().as_deref());
        fields
    }

    /// The hint that the step gave, or else the one in the table.
    pub fn effective_hint(&self) -> Option<String> {
        let Record { step, message, at, call, hint, .. } = &*self.0;
        let at = at.as_deref().unwrap_or_default();
        let failure = || hints::Failure { step, message, at, call: call.as_ref() };
        hint.clone().or_else(|| hints::find(failure()).map(|row| row.hint.to_owned()))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}): {} ({})", self.name, self.arguments, errno_name(self.errno), errno_text(self.errno))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())
    }
}

impl std::error::Error for Error {}

/// The text of strerror(3) with a small first letter, as the engines that match on it expect.
pub fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The symbolic name of an errno, such as `EPERM`; its number if it is not one of the usual ones.
pub fn errno_name(errno: i32) -> String {
    const NAMES: &[(i32, &str)] = &[
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::EBADF, "EBADF"),
        (libc::ECHILD, "ECHILD"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENFILE, "ENFILE"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ESPIPE, "ESPIPE"),
        (libc::EROFS, "EROFS"),
        (libc::EMLINK, "EMLINK"),
        (libc::EPIPE, "EPIPE"),
        (libc::ERANGE, "ERANGE"),
        (libc::EDEADLK, "EDEADLK"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ENOLCK, "ENOLCK"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::ELOOP, "ELOOP"),
        (libc::EPROTO, "EPROTO"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::EUSERS, "EUSERS"),
        (libc::ENOTSOCK, "ENOTSOCK"),
        (libc::EMSGSIZE, "EMSGSIZE"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EADDRINUSE, "EADDRINUSE"),
        (libc::ECONNRESET, "ECONNRESET"),
        (libc::ENOBUFS, "ENOBUFS"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ESTALE, "ESTALE"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::ENOKEY, "ENOKEY"),
        (libc::EKEYREJECTED, "EKEYREJECTED"),
    ];
    NAMES
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

/// Adds the step, the place or a hint to an error that passes by.
pub trait Context<T> {
    /// Says what was being done.
    fn step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T>;
    /// Says which place in `config.json` asked for it.
    fn at(self, at: impl fmt::Display) -> Result<T>;
    /// Says what may help.
    fn hint(self, hint: &str) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.step(step()))
    }
    fn at(self, at: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.at(at))
    }
    fn hint(self, hint: &str) -> Result<T> {
        self.map_err(|error| error.hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn the_first_line_tells_step_call_and_errno() {
        let error = Error::call("mount_setattr", "[9]</r/etc/resolv.conf>, RDONLY".into(), Errno::PERM)
            .step("mount /etc/resolv.conf")
            .step("an outer step that loses")
            .at("mounts[3].options")
            .hint("add \"nodev\"");
        assert_eq!(
            error.text(),
            "mount /etc/resolv.conf: mount_setattr([9]</r/etc/resolv.conf>, RDONLY): EPERM (operation not permitted)\n  \
             config: mounts[3].options\n  hint:   add \"nodev\""
        );
    }

    #[test]
    fn all_config_problems_are_told() {
        let error = Error::config(vec![
            Problem::new("root.path", "is missing"),
            Problem::new("process.cwd", "must be absolute"),
        ]);
        assert_eq!(error.headline(), "root.path: is missing (and 1 more)");
        assert!(error.text().contains("also:   process.cwd: must be absolute"));
    }

    #[test]
    fn an_error_survives_the_handshake() {
        let error =
            Error::call("execve", "/bin/x".into(), Errno::NOEXEC).step("start the program").at("process.args[0]");
        let sent = serde_json::to_vec(&error).expect("an error is plain data");
        assert_eq!(serde_json::from_slice::<Error>(&sent).expect("and comes back"), error);
    }
}
