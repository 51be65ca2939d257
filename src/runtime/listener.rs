//! Descriptors that an engine wants: the seccomp notifier's and the pidfd.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::Serialize;

use crate::call;
use crate::console;
use crate::error::{Context, Error, Result};
use crate::hooks::State;
use crate::plan::seccomp::Filter;
use crate::sys::channel;

/// "The container process state", config-linux.md, Seccomp.
#[derive(Serialize)]
struct ContainerProcessState<'a> {
    #[serde(rename = "ociVersion")]
    version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State<'a>,
}

/// Sends the notifier's descriptor and the state to `listenerPath`: one state on a new connection, "the runtime MUST
/// send the file descriptors as ancillary data with SCM_RIGHTS". `pid` is the process that the filter is on.
pub fn send_notifier(filter: &Filter, notifier: &OwnedFd, pid: i32, state: &State<'_>) -> Result<()> {
    let path = filter.listener_path.as_deref().ok_or_else(|| Error::new("there is no listenerPath"))?;
    let metadata = filter.listener_metadata.as_deref();
    let document = ContainerProcessState { version: state.version, fds: ["seccompFd"], pid, metadata, state };
    let text = serde_json::to_vec(&document).map_err(|error| Error::new(error.to_string()))?;
    // The connection is closed when it has got this one state, as the specification wants it.
    let sent = console::connect(path).and_then(|socket| channel::send_whole(&socket, &text, notifier.as_fd()));
    sent.step(|| "hand over the seccomp notifier").at("linux.seccomp.listenerPath")
}

/// Sends a pidfd to `--pidfd-socket`.
pub fn send_pidfd(socket: &Path, pidfd: &OwnedFd) -> Result<()> {
    let duplicate = call!("dup"() => rustix::io::fcntl_dupfd_cloexec(pidfd, 3))?;
    let sent = console::connect(socket).and_then(|socket| channel::send(&socket, b"pidfd", &[duplicate.as_fd()]));
    sent.step(|| format!("hand the pidfd to {}", socket.display()))
}
