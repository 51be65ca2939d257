//! dockerd with a containerd of its own, and the docker client.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::containerd;
use crate::engine::{Engine, Kind};
use crate::image;
use crate::process;
use crate::world::{World, find_program, stop_daemon};

/// What the daemon calls the runtime under test, which is also its default one.
pub const RUNTIME: &str = "tested";

const SOCKET: &str = "unix:///run/docker.sock";

pub struct Docker {
    pub world: World,
    containerd: Child,
    dockerd: Child,
    client: String,
}

impl Docker {
    /// Makes the namespaces, starts both daemons and imports the image.
    ///
    /// # Errors
    /// When a program is missing (the Debian package is named) or a daemon does not answer.
    pub fn start(runtime: &Path) -> Result<Box<dyn Engine>> {
        let mut docker = Self::node(runtime)?;
        docker.world.rest()?;
        Ok(Box::new(docker))
    }

    /// The same, of a world that is not yet at rest.
    pub fn node(runtime: &Path) -> Result<Self> {
        let programs = [("dockerd", "docker.io"), ("containerd", "containerd"), ("iptables", "iptables")];
        let world = World::make(runtime, &programs)?;
        let client = find_client()?;
        let containerd = containerd::start_daemon(&world)?;
        let dockerd = start_daemon(&world)?;
        await_answer(&world, &client)?;
        let tarball = image::pack(world.directory.path())?.display().to_string();
        world.must(&[&client, "-H", SOCKET, "import", "-c", "ENV PATH=/usr/bin:/bin", &tarball, image::NAME])?;
        Ok(Self { world, containerd, dockerd, client })
    }
}

/// The client of the daemon's own package if there is one: another may be older than the daemon likes, or newer.
fn find_client() -> Result<String> {
    let packaged = Path::new("/usr/bin/docker");
    let client = if packaged.exists() { Some(packaged.to_owned()) } else { find_program("docker") };
    Ok(client.context("there is no docker: apt-get install docker.io")?.display().to_string())
}

/// Experimental are the checkpoints. The limits are this process's own, because docker's default ones need CAP_SYS_RESOURCE.
fn start_daemon(world: &World) -> Result<Child> {
    let (data, configuration) = (world.path("docker"), world.path("daemon.json"));
    let runtime = world.runtime.display();
    let text = format!(
        r#"{{"runtimes": {{"{RUNTIME}": {{"path": "{runtime}"}}}}, "default-runtime": "{RUNTIME}",
        "experimental": true,
        "default-ulimits": {{"nofile": {{"Name": "nofile", "Soft": 20000, "Hard": 20000}}}}}}"#
    );
    fs::write(&configuration, text)?;
    let by_flag = format!("{RUNTIME}-by-flag={runtime}");
    let mut arguments =
        vec!["--config-file", &configuration, "--add-runtime", &by_flag, "--containerd", containerd::SOCKET];
    arguments.extend(["--host", SOCKET, "--data-root", &data]);
    arguments.extend(["--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"]);
    if !world.has_bridges()? {
        // It would not start.
        arguments.extend(["--iptables=false", "--bridge=none"]);
    }
    world.daemon("dockerd", &arguments)
}

fn await_answer(world: &World, client: &str) -> Result<()> {
    let answers = || Ok(world.inside(&[client, "-H", SOCKET, "version"])?.code == 0);
    ensure!(process::until(Duration::from_secs(60), answers)?, "dockerd does not answer: {}", world.log("dockerd"));
    Ok(())
}

impl Engine for Docker {
    fn kind(&self) -> Kind {
        Kind::Docker
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn versions(&self) -> Result<String> {
        let runtime = self.world.must(&[&self.world.runtime.to_string_lossy(), "--version"])?;
        let format = "client {{.Client.Version}}, dockerd {{.Server.Version}}";
        let versions = self.world.must(&[&self.client, "-H", SOCKET, "version", "--format", format])?;
        let containerd = self.world.must(&["containerd", "--version"])?;
        let runtime = runtime.lines().next().unwrap_or("unknown");
        Ok(format!("docker {versions}; {containerd}; {runtime} ({}); {}", self.world.runtime.display(), self.client))
    }

    fn client(&self) -> Vec<String> {
        vec![self.client.clone(), "-H".to_owned(), SOCKET.to_owned()]
    }

    fn state_root(&self) -> Option<String> {
        // Whatever the runtime's name is.
        Some("/run/docker/runtime-runc/moby".to_owned())
    }

    fn enter(&self, wrapper: &[&str]) -> Command {
        let mut command = self.world.enter(wrapper);
        // `docker build` with BuildKit needs a plugin that is in no Debian package; the classic builder calls runtimes.
        command.env("DOCKER_BUILDKIT", "0");
        command
    }

    fn clear(&self) -> Result<()> {
        let engine: &dyn Engine = self;
        let left = engine.ok("ps --all --quiet")?.replace('\n', " ");
        if !left.is_empty() {
            engine.ok(&format!("rm --force --volumes {left}"))?;
        }
        engine.ok("network prune --force").map(drop)
    }

    /// The first container on the host's network makes it, for all others.
    fn owns_mount(&self, line: &str) -> bool {
        line.contains(" /run/docker/netns/default ")
    }

    fn stop(self: Box<Self>) -> Result<Vec<World>> {
        stop_daemon(&self.dockerd)?;
        stop_daemon(&self.containerd)?;
        Ok(vec![self.world])
    }
}
