//! podman, as root and as an ordinary user: configuration, storage, clean-up.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::engine::{Engine, Kind};
use crate::image;
use crate::process::Outcome;
use crate::world::World;

/// The ordinary user's number and name. Only the suite's mount namespace knows them.
pub const USER: u32 = 64321;
const USER_NAME: &str = "engines-user";

/// What the user may map: ranges for newuidmap, and one that podman takes pieces of for --userns=auto as root.
const RANGES: &str = "engines-user:300000:65536\ncontainers:400000:1000000\n";

pub struct Podman {
    kind: Kind,
    world: World,
    driver: &'static str,
}

impl Podman {
    /// Makes the namespaces, the configuration and the image.
    ///
    /// # Errors
    /// When a program is missing (the Debian package is named) or podman cannot import the image.
    pub fn start(kind: Kind, runtime: &Path) -> Result<Box<dyn Engine>> {
        let programs = [("podman", "podman catatonit netavark"), ("conmon", "conmon"), ("iptables", "iptables")];
        let rootless = [("newuidmap", "uidmap"), ("slirp4netns", "slirp4netns"), ("setpriv", "util-linux")];
        let needed = if kind == Kind::Rootless { [&programs[..], &rootless].concat() } else { programs.to_vec() };
        let mut podman = Self { kind, world: World::make(runtime, &needed)?, driver: "overlay" };
        podman.bind_over("/etc/subuid", RANGES)?;
        podman.bind_over("/etc/subgid", RANGES)?;
        if kind == Kind::Rootless {
            podman.make_user()?;
        }
        podman.configure()?;
        podman.import_image()?;
        podman.world.rest()?;
        Ok(Box::new(podman))
    }

    /// An ordinary user that exists in this mount namespace only.
    fn make_user(&self) -> Result<()> {
        let home = self.world.path("home");
        let add = |file: &str, line: String| {
            let old = fs::read_to_string(file)?;
            self.bind_over(file, &format!("{old}{line}\n"))
        };
        add("/etc/passwd", format!("{USER_NAME}:x:{USER}:{USER}::{home}:/bin/sh"))?;
        add("/etc/group", format!("{USER_NAME}:x:{USER}:"))?;
        let run = format!("/run/user/{USER}");
        self.world.must(&["install", "-d", "-m", "700", "-o", USER_NAME, "-g", USER_NAME, &run])?;
        // Who may open it differs from host to host; slirp4netns must.
        let tun = "mknod -m 666 /run/nodes/tun c 10 200 && mount --bind /run/nodes/tun /dev/net/tun";
        self.world.must(&["sh", "-c", tun])?;
        for path in [self.world.directory.path(), Path::new(&home), Path::new(&self.world.path("tmp"))] {
            chown(path, Some(USER), Some(USER))?;
        }
        Ok(())
    }

    /// Mounts a file with `text` over a file, in our mount namespace only.
    fn bind_over(&self, file: &str, text: &str) -> Result<()> {
        let ours = self.world.path(&file.replace('/', "-"));
        fs::write(&ours, text)?;
        fs::set_permissions(&ours, Permissions::from_mode(0o644))?;
        self.world.must(&["mount", "--bind", &ours, file]).map(drop)
    }

    /// Writes podman's configuration.
    ///
    /// The limits are equal and within this process's own, because podman's default ones need CAP_SYS_RESOURCE and
    /// a limit that cannot be set is an error.
    fn configure(&self) -> Result<()> {
        let networks = self.world.path("networks");
        fs::create_dir(&networks)?;
        if self.kind == Kind::Rootless {
            chown(&networks, Some(USER), Some(USER))?;
        }
        let (path, name) = (self.world.runtime.display(), self.runtime_name());
        let configuration = format!(
            r#"[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[network]
network_backend = "netavark"
network_config_dir = "{networks}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{name}"
runtime_supports_json = ["crun", "runc", "minicon", "{name}"]
runtime_supports_nocgroup = ["crun", "minicon"]
helper_binaries_dir = ["/usr/lib/podman", "/usr/libexec/podman"]
[engine.runtimes]
{name} = ["{path}"]
"#
        );
        fs::write(self.world.path("containers.conf"), configuration)?;
        self.configure_storage()
    }

    /// What the configuration calls the runtime under test. podman knows by this name what a runtime can do.
    fn runtime_name(&self) -> String {
        self.world.runtime.file_name().unwrap_or_default().display().to_string()
    }

    fn configure_storage(&self) -> Result<()> {
        let (root, runroot) = (self.world.path(self.driver), self.world.path("runroot"));
        let storage =
            format!("[storage]\ndriver = \"{}\"\ngraphroot = \"{root}\"\nrunroot = \"{runroot}\"\n", self.driver);
        Ok(fs::write(self.world.path("storage.conf"), storage)?)
    }

    /// Imports the image, with overlay storage if that works here, else with vfs.
    fn import_image(&mut self) -> Result<()> {
        let tarball = image::pack(self.world.directory.path())?.display().to_string();
        let import = ["--change", "ENV PATH=/usr/bin:/bin", &tarball, image::NAME];
        let engine: &dyn Engine = self;
        if engine.call_with("import", &import)?.code != 0 {
            self.driver = "vfs";
            self.configure_storage()?;
            let engine: &dyn Engine = self;
            engine.ok_with("import", &import)?;
        }
        Ok(())
    }
}

impl Engine for Podman {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn versions(&self) -> Result<String> {
        let runtime = self.world.inside(&[&self.world.runtime.to_string_lossy(), "--version"])?;
        let conmon = self.world.inside(&["conmon", "--version"])?;
        let first_line = |outcome: &Outcome| outcome.out.lines().next().unwrap_or("unknown").to_owned();
        let engine: &dyn Engine = self;
        Ok(format!(
            "{}; {}; {} ({}); {} storage",
            engine.ok("--version")?,
            first_line(&conmon),
            first_line(&runtime),
            self.world.runtime.display(),
            self.driver
        ))
    }

    fn client(&self) -> Vec<String> {
        let path = |option: &str, name: &str| format!("--{option}={}", self.world.path(name));
        vec![
            "podman".to_owned(),
            path("root", self.driver),
            path("runroot", "runroot"),
            path("tmpdir", "tmpdir"),
            format!("--storage-driver={}", self.driver),
            "--cgroup-manager=cgroupfs".to_owned(),
        ]
    }

    fn enter(&self, wrapper: &[&str]) -> Command {
        let mut command = self.world.enter(wrapper);
        command.env("CONTAINERS_CONF", self.world.path("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.world.path("storage.conf"));
        if self.kind == Kind::Rootless {
            let id = USER.to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
            command.env("USER", USER_NAME).env("XDG_RUNTIME_DIR", format!("/run/user/{USER}"));
        }
        command
    }

    fn clear(&self) -> Result<()> {
        let engine: &dyn Engine = self;
        if !engine.ok("ps -aq")?.is_empty() {
            engine.ok("pod rm -fa -t 0")?;
            // podman races with its own clean-up process for the shm directory of a container with a user namespace,
            // with runc as well: one of the two finds it mounted still. What counts is that it goes.
            if engine.call("rm -fa -t 0")?.code != 0 {
                engine.ok("rm -fa -t 0")?;
            }
        }
        Ok(())
    }

    /// podman's storage mounts its own directory on itself, and takes that away when it likes.
    fn owns_mount(&self, line: &str) -> bool {
        line.contains(&format!(" {} ", self.world.path(&format!("{0}/{0}", self.driver))))
    }

    fn stop(self: Box<Self>) -> Result<Vec<World>> {
        Ok(vec![self.world])
    }
}
