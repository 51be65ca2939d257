//! A bundle on disk, written as raw JSON, and the container that is made from it.

use std::fs;
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::call::{Call, Output};
use crate::host;
use crate::judge::eventually;
use crate::lab::Lab;
use crate::row::Verdict;

/// Where the probe is inside.
pub const PROBE: &str = "/bin/probe";

/// A bundle, the id of its container, and its configuration before it is written.
#[derive(Clone)]
pub struct Container<'l> {
    lab: &'l Lab,
    /// The bundle.
    pub dir: PathBuf,
    /// The container's id.
    pub id: String,
    /// `config.json`.
    pub config: Value,
}

/// Properties that most containers have: namespaces of their own, the usual mounts, no resources.
fn base(id: &str) -> Value {
    json!({
        "ociVersion": "1.0.0",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": [PROBE, "sleep"],
            "env": ["PATH=/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_MKNOD"],
                "effective": ["CAP_KILL", "CAP_MKNOD"],
                "permitted": ["CAP_KILL", "CAP_MKNOD"]
            }
        },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
            },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ]
        }
    })
}

impl<'l> Container<'l> {
    /// With a root file system that has the probe in it and nothing else.
    pub fn new(lab: &'l Lab) -> Result<Self> {
        let id = lab.new_id();
        let dir = lab.directory(&format!("bundle-{id}"))?;
        let container = Container { lab, dir, config: base(&id), id };
        for name in ["bin", "dev", "etc", "proc", "share", "sys", "tmp", "place"] {
            fs::create_dir_all(container.rootfs(name))?;
        }
        fs::set_permissions(container.rootfs("tmp"), fs::Permissions::from_mode(0o1777))?;
        fs::copy(&lab.setup.probe, container.rootfs("bin/probe"))?;
        fs::write(container.rootfs("marker"), "inside\n")?;
        Ok(container)
    }

    /// A path of the host in the container's root file system.
    pub fn rootfs(&self, name: &str) -> PathBuf {
        self.dir.join("rootfs").join(name)
    }

    /// Sets a property, named by a JSON pointer; objects on the way are made.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *place(&mut self.config, pointer) = value.into();
        self
    }

    /// Adds to a list, which is made if it is not there.
    pub fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let list = place(&mut self.config, pointer);
        match list.as_array_mut() {
            Some(list) => list.push(value.into()),
            None => *list = json!([value.into()]),
        }
        self
    }

    /// Removes a property.
    pub fn unset(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
        if let Some(object) = place(&mut self.config, parent).as_object_mut() {
            object.remove(name);
        }
        self
    }

    /// Its program: the probe with these words.
    pub fn probe(self, words: &[&str]) -> Self {
        let args: Vec<&str> = std::iter::once(PROBE).chain(words.iter().copied()).collect();
        self.set("/process/args", json!(args))
    }

    /// Adds a mount.
    pub fn mount(self, kind: &str, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Self {
        let source = source.as_ref();
        self.push("/mounts", json!({"type": kind, "source": source, "destination": destination, "options": options}))
    }

    /// Leaves out the mount on a destination.
    pub fn unmount(mut self, destination: &str) -> Self {
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["destination"] != destination);
        }
        self
    }

    /// Leaves out a namespace: the container has the runtime's.
    pub fn inherit(mut self, kind: &str) -> Self {
        if let Some(namespaces) = self.config["linux"]["namespaces"].as_array_mut() {
            namespaces.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// Asks for a new namespace.
    pub fn unshare(self, kind: &str) -> Self {
        self.inherit(kind).push("/linux/namespaces", json!({"type": kind}))
    }

    /// Joins a namespace by path.
    pub fn join(self, kind: &str, path: impl AsRef<Path>) -> Self {
        self.inherit(kind).push("/linux/namespaces", json!({"type": kind, "path": path.as_ref()}))
    }

    /// A user namespace in which the container's ids from 0 on are these of the host.
    pub fn user_namespace(self, first: u32) -> Self {
        let map = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
        self.unshare("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// A directory that the test and the container see, at `/share` inside.
    pub fn share(self) -> Self {
        let share = self.lab.path("share");
        self.mount("none", share, "/share", &["rbind"])
    }

    /// Writes `config.json`.
    pub fn write(&self) -> Result<()> {
        fs::write(self.dir.join("config.json"), self.config.to_string())?;
        Ok(())
    }

    /// A call on this bundle: the verb, its flags, the id.
    pub fn on_bundle(&self, verb: &str, flags: &[&str]) -> Result<Call> {
        self.write()?;
        Ok(self.lab.runtime([verb, "--bundle"]).arg(&self.dir).args(flags).arg(&self.id))
    }

    /// A call on this container: the verb, the id, what follows.
    pub fn verb(&self, verb: &str, rest: &[&str]) -> Call {
        self.lab.runtime([verb, &self.id]).args(rest)
    }

    /// `create`.
    pub fn create(&self) -> Result<Output> {
        self.on_bundle("create", &[])?.run()
    }

    /// `start`.
    pub fn start(&self) -> Result<Output> {
        self.verb("start", &[]).run()
    }

    /// `create`, `start`, the end and `delete` in one.
    pub fn run(&self) -> Result<Output> {
        self.on_bundle("run", &[])?.run()
    }

    /// `create` and `start`; the output is that of the program.
    pub fn up(&self) -> Result<Output> {
        let output = self.create()?.ok()?;
        self.start()?.ok()?;
        Ok(output)
    }

    /// `kill`.
    pub fn kill(&self, signal: &str) -> Result<Output> {
        self.verb("kill", &[signal]).run()
    }

    /// `delete`.
    pub fn delete(&self) -> Result<Output> {
        self.verb("delete", &[]).run()
    }

    /// `state`, which must succeed.
    pub fn state(&self) -> Result<Value> {
        self.verb("state", &[]).run()?.ok()?.json()
    }

    /// The status that `state` tells.
    pub fn status(&self) -> Result<String> {
        Ok(self.state()?["status"].as_str().context("state has no status")?.to_owned())
    }

    /// The container process.
    pub fn pid(&self) -> Result<i64> {
        self.state()?["pid"].as_i64().context("state has no pid")
    }

    /// A path below `/proc/PID` of the container process.
    pub fn proc(&self, name: &str) -> Result<PathBuf> {
        Ok(Path::new("/proc").join(self.pid()?.to_string()).join(name))
    }

    /// Its cgroup in a controller's hierarchy.
    pub fn cgroup(&self, controller: &str) -> Result<PathBuf> {
        host::cgroup_of(self.pid()?, controller)
    }

    /// Waits for a status.
    pub fn becomes(&self, status: &str) -> Verdict {
        eventually(&format!("the status is {status}"), self.lab.setup.limit, || Ok(self.status()? == status))
    }

    /// Kills it and waits for its end.
    pub fn stop(&self) -> Verdict {
        self.kill("KILL")?.ok()?;
        self.becomes("stopped")
    }

    /// There is no such container.
    pub fn is_gone(&self) -> Verdict {
        self.verb("state", &[]).run()?.refused("state of a container that must not exist")
    }

    /// It can be created, started and ends well.
    pub fn runs(&self) -> Verdict {
        self.clone().probe(&["true"]).run()?.ok()?;
        Ok(())
    }

    /// `create` is an error, and then there is no container.
    pub fn is_refused(&self) -> Verdict {
        self.create()?.refused("what must be one at create")?;
        self.is_gone()
    }

    /// `create` is an error, or `start` is: properties of the process may be applied by either.
    pub fn is_refused_by_start(&self) -> Verdict {
        if self.create()?.code != 0 {
            return self.is_gone();
        }
        self.start()?.refused("what must be one at create or at start")
    }

    /// What the probe reports from inside.
    pub fn report(&self, words: &[&str]) -> Result<Value> {
        let words: Vec<&str> = std::iter::once("report").chain(words.iter().copied()).collect();
        self.clone().probe(&words).run()?.ok()?.json()
    }

    /// What the probe reports from inside the container that runs already.
    pub fn exec_report(&self, words: &[&str]) -> Result<Value> {
        self.verb("exec", &[PROBE, "report"]).args(words).run()?.ok()?.json()
    }

    /// One mount as the probe sees it, and those below it.
    pub fn mounts(&self) -> Result<Vec<Value>> {
        Ok(self.report(&["mounts"])?["mounts"].as_array().context("mounts")?.clone())
    }

    /// The mount that is uppermost on a destination.
    pub fn mounted(&self, destination: &str) -> Result<Value> {
        uppermost(&self.mounts()?, destination)
    }

    /// Creates and starts it on a terminal whose other end this returns.
    pub fn up_on_terminal(&self) -> Result<std::fs::File> {
        let socket = self.dir.join("console.sock");
        let listener = UnixListener::bind(&socket)?;
        let call = self.on_bundle("create", &["--console-socket", &socket.to_string_lossy()])?.run()?.ok();
        call?;
        let (stream, _) = listener.accept()?;
        let mut bytes = [0u8; 4096];
        let master = receive(stream.as_raw_fd(), &mut bytes)?.1.pop().context("no terminal came over the socket")?;
        self.start()?.ok()?;
        Ok(master.into())
    }
}

/// Text up to the end of the other side of a terminal.
pub fn read_terminal(mut master: std::fs::File) -> String {
    let mut text = Vec::new();
    let mut part = [0u8; 4096];
    // EIO is how a terminal ends.
    while let Ok(length @ 1..) = master.read(&mut part) {
        text.extend_from_slice(&part[..length]);
    }
    String::from_utf8_lossy(&text).replace("\r\n", "\n")
}

/// One message and the descriptors that came with it.
pub fn receive(socket: i32, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(list) = part {
            fds.extend(list.into_iter().map(owned));
        }
    }
    Ok((message.bytes, fds))
}

/// The mount that is uppermost on a destination.
pub fn uppermost(mounts: &[Value], destination: &str) -> Result<Value> {
    match mounts.iter().rev().find(|mount| mount["destination"] == destination) {
        Some(mount) => Ok(mount.clone()),
        None => bail!("nothing is mounted on {destination}"),
    }
}

/// A descriptor that the kernel has just given to this process alone.
fn owned(fd: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: recvmsg(2) made it for this message, and it is told nowhere else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The value at a JSON pointer; `null` and the objects on the way to it are made.
fn place<'v>(value: &'v mut Value, pointer: &str) -> &'v mut Value {
    pointer.split('/').skip(1).fold(value, |at, name| {
        let name = name.replace("~1", "/");
        match name.parse::<usize>() {
            Ok(index) if at.is_array() => &mut at[index],
            _ => &mut at[name],
        }
    })
}
