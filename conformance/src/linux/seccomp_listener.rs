//! The seccomp listener: what the runtime sends to the agent's socket, and how.

use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc;
use serde_json::{Value, json};

use crate::container::{Container, receive};
use crate::judge::{eventually, holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must};

const PLACE: &str = "config-linux.md#configLinuxSeccomp";
const STATE: &str = "config-linux.md#containerprocessstate";

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("seccomp.listenerPath", PLACE, &["**`listenerPath`** *(string, OPTIONAL)*", "**`seccompFd`** (string, REQUIRED)"], listens),
    must("seccomp.listenerPath.stream", PLACE, &["This socket MUST use `AF_UNIX` domain and `SOCK_STREAM` type."], no_stream),
    must("seccomp.listenerPath.once", PLACE, &["The runtime MUST send exactly one", "The connection MUST NOT be reused"], once),
    must("seccomp.listenerPath.fails", PLACE, &["If sending to this socket fails, the runtime MUST"], nobody_listens),
    must("seccomp.listenerPath.unused", PLACE, &["**`listenerPath`** *(string, OPTIONAL)*"], unused),
    must("seccomp.listenerMetadata", PLACE, &["**`listenerMetadata`** *(string, OPTIONAL)*"], metadata),
    must("seccomp.listenerMetadata.alone", PLACE, &["This field MUST NOT be set if `listenerPath` is not set."], metadata_alone),
    must("seccomp.state", STATE, &["The container runtime MUST send the container process state over", "**`ociVersion`** (string, REQUIRED)", "**`pid`** (int, REQUIRED)", "**`state`** ([state]"], state),
    must("seccomp.state.fds", STATE, &["**`fds`** (array, OPTIONAL)", "the file descriptors MUST be sent only in the first call."], descriptors),
    must("seccomp.state.metadata", STATE, &["**`metadata`** (string, OPTIONAL)"], metadata),
];

/// What came over one connection.
struct Heard {
    state: Value,
    fds: usize,
    /// Descriptors that came after the first message.
    late: usize,
}

/// A container one of whose system calls asks the agent.
fn asking(lab: &Lab) -> Result<Container<'_>> {
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": lab.path("agent.sock"),
        "listenerMetadata": "some data",
        "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_NOTIFY"}]
    });
    Ok(lab.container()?.set("/linux/seccomp", seccomp).set("/annotations", json!({"com.example.key": "value"})))
}

/// The agent: takes what comes over one connection, to its end, and lets go of the descriptors.
fn hear(stream: &UnixStream) -> Result<Heard> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut text, mut fds, mut late) = (Vec::new(), 0, 0);
    let mut bytes = [0u8; 8192];
    loop {
        let (length, came) =
            receive(stream.as_raw_fd(), &mut bytes).context("the connection must be closed by the runtime")?;
        if text.is_empty() {
            fds += came.len()
        } else {
            late += came.len()
        }
        if length == 0 {
            break;
        }
        text.extend_from_slice(&bytes[..length]);
    }
    Ok(Heard { state: serde_json::from_slice(&text).context("the state is one JSON document")?, fds, late })
}

/// Creates and starts the container, and tells what the agent heard.
fn heard(lab: &Lab) -> Result<(Heard, Container<'_>, Vec<UnixStream>)> {
    let listener = UnixListener::bind(lab.path("agent.sock"))?;
    listener.set_nonblocking(true)?;
    let container = asking(lab)?.probe(&["sleep"]);
    container.up()?;
    let mut streams = Vec::new();
    eventually("the runtime connects to the agent", lab.setup.limit, || {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            streams.push(stream);
        }
        Ok(!streams.is_empty())
    })?;
    let heard = hear(&streams[0])?;
    Ok((heard, container, streams))
}

fn listens(lab: &Lab) -> Verdict {
    let (heard, ..) = heard(lab)?;
    same("the names of the descriptors", &heard.state["fds"], json!(["seccompFd"]))?;
    same("how many came", &heard.fds, 1)
}

fn no_stream(lab: &Lab) -> Verdict {
    let _socket = UnixDatagram::bind(lab.path("agent.sock"))?;
    asking(lab)?.is_refused_by_start()
}

fn once(lab: &Lab) -> Verdict {
    let (_, _, streams) = heard(lab)?;
    same("how many connections there were", &streams.len(), 1)
}

fn nobody_listens(lab: &Lab) -> Verdict {
    asking(lab)?.is_refused_by_start()
}

/// Without an action that notifies, the path is ignored.
fn unused(lab: &Lab) -> Verdict {
    asking(lab)?.set("/linux/seccomp/syscalls/0/action", "SCMP_ACT_ALLOW").runs()
}

fn metadata(lab: &Lab) -> Verdict {
    let (heard, ..) = heard(lab)?;
    same("the metadata", &heard.state["metadata"], "some data")
}

fn metadata_alone(lab: &Lab) -> Verdict {
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "some data"});
    lab.container()?.set("/linux/seccomp", seccomp).is_refused_by_start()
}

fn state(lab: &Lab) -> Verdict {
    let (heard, container, _) = heard(lab)?;
    let pid = container.pid()?;
    holds("there is an ociVersion", heard.state["ociVersion"].is_string())?;
    same("pid", &heard.state["pid"], pid)?;
    let state = &heard.state["state"];
    same("id", &state["id"], container.id.clone())?;
    same("bundle", &state["bundle"], json!(container.dir))?;
    same("the pid in the state", &state["pid"], pid)?;
    same("annotations", &state["annotations"]["com.example.key"], "value")?;
    holds("the state has an ociVersion and a status", state["ociVersion"].is_string() && state["status"].is_string())
}

fn descriptors(lab: &Lab) -> Verdict {
    let (heard, ..) = heard(lab)?;
    same("how many names there are", &heard.state["fds"].as_array().map(Vec::len), heard.fds)?;
    same("descriptors that came late", &heard.late, 0)?;
    holds("the kernel knows the call", libc::SYS_seccomp > 0)
}
