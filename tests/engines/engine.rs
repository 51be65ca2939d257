//! What the cases see of an engine, whichever it is.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::image;
use crate::process::{self, Outcome};
use crate::world::World;

/// Which client drives the runtime. A case says for which ones it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Podman,
    Rootless,
    Docker,
    Containerd,
    Buildah,
    Umoci,
    Swarm,
}

impl Kind {
    /// What `ENGINES=all` stands for.
    pub const ALL: [Self; 6] =
        [Self::Podman, Self::Rootless, Self::Docker, Self::Containerd, Self::Buildah, Self::Umoci];

    /// What only a nightly run has time for.
    pub const LONG: [Self; 1] = [Self::Swarm];

    /// What stands before the name of its cases.
    pub fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Rootless => "rootless",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Buildah => "buildah",
            Self::Umoci => "umoci",
            Self::Swarm => "swarm",
        }
    }
}

/// One engine with its storage in a [`World`].
pub trait Engine {
    fn kind(&self) -> Kind;
    fn world(&self) -> &World;
    /// The versions of everything that takes part, for the log.
    fn versions(&self) -> Result<String>;
    /// The client and the options that every call has.
    fn client(&self) -> Vec<String>;
    /// Where the engine has the runtime keep its state; `None` for the runtime's own choice.
    fn state_root(&self) -> Option<String> {
        None
    }
    /// `WRAPPER… nsenter …` with the client's environment and user.
    fn enter(&self, wrapper: &[&str]) -> Command;
    /// Removes every container that a case left.
    fn clear(&self) -> Result<()>;
    /// The other node of two.
    fn worker(&self) -> Option<&dyn Engine> {
        None
    }
    /// Removes what a case left in the engine, then checks that nothing of it is left anywhere.
    ///
    /// # Errors
    /// Names the processes, mounts and cgroups that stay.
    fn settle(&self) -> Result<()> {
        self.clear()?;
        self.world().settle(&|line| self.owns_mount(line))
    }
    /// Whether a line about a mount is about one that the engine itself makes and takes away when it likes.
    fn owns_mount(&self, _line: &str) -> bool {
        false
    }
    /// Ends the engine's daemons; the worlds that they were in.
    fn stop(self: Box<Self>) -> Result<Vec<World>>;
}

/// Calls that look the same for every engine. podman's and docker's command lines are the same where a case runs
/// with both.
impl dyn Engine + '_ {
    /// `CLIENT ARGUMENTS`, split at blanks; an argument with blanks goes to [`Self::call_with`].
    pub fn call(&self, arguments: &str) -> Result<Outcome> {
        self.call_with(arguments, &[])
    }

    /// `CLIENT ARGUMENTS…`: `arguments` split at blanks, then `more` as it is.
    pub fn call_with(&self, arguments: &str, more: &[&str]) -> Result<Outcome> {
        self.call_reading(arguments, more, "")
    }

    /// [`Self::call_with`] with `input` on standard input.
    pub fn call_reading(&self, arguments: &str, more: &[&str], input: &str) -> Result<Outcome> {
        process::run(&mut self.command(&[], arguments, more), input)
    }

    /// The client on a pseudo-terminal of 37 × 111, its controlling terminal; both streams come back as `out`.
    pub fn call_on_terminal(&self, arguments: &str, more: &[&str]) -> Result<Outcome> {
        process::run_on_terminal(&mut self.command(&["setsid", "--ctty"], arguments, more), 37, 111)
    }

    /// What a command that must succeed prints, without the last newline.
    pub fn ok(&self, arguments: &str) -> Result<String> {
        self.ok_with(arguments, &[])
    }

    /// [`Self::ok`] with arguments that may hold blanks.
    pub fn ok_with(&self, arguments: &str, more: &[&str]) -> Result<String> {
        let outcome = self.call_with(arguments, more)?;
        ensure!(outcome.code == 0, "{arguments} {more:?}: exit code {}: {}", outcome.code, outcome.err.trim());
        Ok(outcome.out.trim_end().to_owned())
    }

    /// What `script` prints in a new container with `options` and without a network.
    pub fn sh(&self, options: &str, script: &str) -> Result<String> {
        self.ok_with(&format!("run --rm --network none {options} {} sh -c", image::NAME), &[script])
    }

    /// Starts a container that runs `script` in the background; its id.
    pub fn start_sh(&self, name: &str, options: &str, script: &str) -> Result<String> {
        self.ok_with(&format!("run -d --network none --name {name} {options} {} sh -c", image::NAME), &[script])
    }

    /// Removes containers by force, without waiting for them to leave by themselves.
    pub fn remove(&self, names: &str) -> Result<()> {
        // docker kills at once and has no such option.
        let time = if self.is_docker() { "" } else { "--time 0" };
        self.ok(&format!("rm --force {time} {names}")).map(drop)
    }

    /// The first process of a running container, as the host numbers it.
    pub fn pid(&self, name: &str) -> Result<i32> {
        self.ok(&format!("inspect --format {{{{.State.Pid}}}} {name}"))?.parse().context("State.Pid")
    }

    /// Waits until the log of `name` contains `text`.
    pub fn await_log(&self, name: &str, text: &str) -> Result<()> {
        let mut seen = String::new();
        let found = process::until(Duration::from_secs(20), || {
            let logs = self.call(&format!("logs {name}"))?;
            seen = format!("{}{}", logs.out, logs.err);
            Ok(seen.contains(text))
        })?;
        ensure!(found, "the log of {name} never held {text:?}, only {seen:?}");
        Ok(())
    }

    /// The command that runs the client; a case that needs more than [`Self::call`] builds on it.
    pub fn command(&self, wrapper: &[&str], arguments: &str, more: &[&str]) -> Command {
        let mut command = self.enter(wrapper);
        command.args(self.client()).args(arguments.split_whitespace()).args(more);
        command
    }

    /// Calls the runtime itself where the engine's containers are.
    pub fn runtime(&self, arguments: &[&str]) -> Result<Outcome> {
        let mut command = self.enter(&[]);
        command.arg(&self.world().runtime);
        if let Some(root) = self.state_root() {
            command.arg("--root").arg(root);
        }
        process::run(command.args(arguments), "")
    }

    /// Whether the runtime under test is the one of this name, whose known deviation a case lets pass.
    pub fn is(&self, name: &str) -> bool {
        self.world().runtime.file_name().is_some_and(|file| file == name)
    }

    /// Whether the client is docker, where it differs from podman.
    pub fn is_docker(&self) -> bool {
        self.kind() == Kind::Docker
    }

    /// Where containers on the default bridge find the engine's own namespace.
    pub fn gateway(&self) -> &'static str {
        if self.is_docker() { "172.17.0.1" } else { "10.88.0.1" }
    }

    /// The capabilities of a privileged container: all that there are for us and that the engine knows of.
    pub fn all_capabilities(&self) -> Result<String> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd")?;
        let ours = u64::from_str_radix(bounding.trim(), 16)?;
        let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?.trim().parse()?;
        let every = (2 << last) - 1;
        let these = match self.kind() {
            // In its user namespace root has every capability, whatever we have.
            Kind::Rootless => every,
            // dockerd 20.10 has a list that ends with CAP_AUDIT_READ.
            Kind::Docker => ours & 0x3f_ffff_ffff,
            _ => ours,
        };
        Ok(format!("{these:016x}"))
    }

    /// A path in the suite's temporary directory.
    pub fn path(&self, name: &str) -> String {
        self.world().path(name)
    }

    /// Runs a program in the engine's namespaces, as root.
    pub fn inside(&self, program: &[&str]) -> Result<Outcome> {
        self.world().inside(program)
    }
}

/// Ends the engine and its world.
pub fn end(engine: Box<dyn Engine>) -> Result<()> {
    let settled = engine.settle();
    World::end(engine.stop()?)?;
    settled
}
