//! podman in a world of its own: namespaces, storage, configuration, clean-up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::image;
use crate::process::{self, Outcome};
use crate::snapshot::{self, PODMANS_PARENT};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the holder of the namespaces does: a /run, a /dev/shm (podman's locks) and a loopback of our own, and the
/// shared mount that podman would put on /run/netns at the first container. Then it waits for the end of its input,
/// which comes even if the suite is killed.
const HOLDER: &str = "
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
mount --bind /run/netns /run/netns
mount --make-rshared /run/netns
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
busybox ip link set lo up
if [ \"$1\" = hide-cgroup2 ]; then umount /sys/fs/cgroup/unified; fi
echo ready
exec cat";

/// One podman with its storage, in a mount and network namespace that `holder` keeps.
pub struct Engine {
    pub runtime: PathBuf,
    pub directory: TempDir,
    holder: Child,
    driver: &'static str,
    /// What the namespace's mounts and the host's cgroups are when no container exists.
    idle_mounts: BTreeSet<String>,
    idle_cgroups: BTreeSet<String>,
    devices: BTreeMap<&'static str, (u32, u32, u32)>,
    /// Parent cgroups that were there before us are not ours to remove.
    old_parents: Vec<PathBuf>,
}

impl Engine {
    /// Makes the namespaces, the configuration and the image.
    ///
    /// # Errors
    /// When a program is missing (the Debian package is named) or podman cannot import the image.
    pub fn start(runtime: &Path) -> Result<Self> {
        for (program, package) in [("podman", "podman"), ("conmon", "conmon"), ("iptables", "iptables")] {
            let found = PATH.split(':').any(|directory| Path::new(directory).join(program).exists());
            ensure!(found, "there is no {program}: apt-get install {package} catatonit netavark busybox-static");
        }
        let directory = tempfile::Builder::new().prefix("engines-").tempdir()?;
        // Containers with a user namespace of their own walk through here as nobody.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o711))?;
        let mut engine = Self {
            runtime: runtime.to_owned(),
            holder: hold_namespaces(runtime)?,
            directory,
            driver: "overlay",
            idle_mounts: BTreeSet::new(),
            idle_cgroups: snapshot::cgroups(),
            devices: snapshot::devices(),
            old_parents: parents(),
        };
        engine.configure()?;
        engine.import_image()?;
        engine.idle_mounts = engine.mounts()?;
        Ok(engine)
    }

    /// The versions of everything that takes part, for the log.
    pub fn versions(&self) -> Result<String> {
        let runtime = self.inside(&[&self.runtime.to_string_lossy(), "--version"])?;
        let conmon = self.inside(&["conmon", "--version"])?;
        let first_line = |outcome: &Outcome| outcome.out.lines().next().unwrap_or("unknown").to_owned();
        Ok(format!(
            "engines: {}; {}; {} ({}); {} storage",
            self.ok("--version")?,
            first_line(&conmon),
            first_line(&runtime),
            self.runtime.display(),
            self.driver
        ))
    }

    /// `podman ARGUMENTS`, split at blanks; an argument with blanks goes to [`Self::podman_with`].
    pub fn podman(&self, arguments: &str) -> Result<Outcome> {
        self.podman_with(arguments, &[])
    }

    /// `podman ARGUMENTS…`: `arguments` split at blanks, then `more` as it is.
    pub fn podman_with(&self, arguments: &str, more: &[&str]) -> Result<Outcome> {
        self.podman_reading(arguments, more, "")
    }

    /// [`Self::podman_with`] with `input` on standard input.
    pub fn podman_reading(&self, arguments: &str, more: &[&str], input: &str) -> Result<Outcome> {
        process::run(&mut self.command(&[], arguments, more), input)
    }

    /// podman on a pseudo-terminal of 37 × 111, its controlling terminal; both streams come back as `out`.
    pub fn podman_on_terminal(&self, arguments: &str, more: &[&str]) -> Result<Outcome> {
        process::run_on_terminal(&mut self.command(&["setsid", "--ctty"], arguments, more), 37, 111)
    }

    /// What a podman command that must succeed prints, without the last newline.
    pub fn ok(&self, arguments: &str) -> Result<String> {
        self.ok_with(arguments, &[])
    }

    /// [`Self::ok`] with arguments that may hold blanks.
    pub fn ok_with(&self, arguments: &str, more: &[&str]) -> Result<String> {
        let outcome = self.podman_with(arguments, more)?;
        ensure!(outcome.code == 0, "podman {arguments} {more:?}: exit code {}: {}", outcome.code, outcome.err.trim());
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

    /// The first process of a running container, as the host numbers it.
    pub fn pid(&self, name: &str) -> Result<i32> {
        self.ok(&format!("inspect --format {{{{.State.Pid}}}} {name}"))?.parse().context("State.Pid")
    }

    /// Waits until the log of `name` contains `text`.
    pub fn await_log(&self, name: &str, text: &str) -> Result<()> {
        let mut seen = String::new();
        let found = process::until(Duration::from_secs(20), || {
            seen = self.ok(&format!("logs {name}"))?;
            Ok(seen.contains(text))
        })?;
        ensure!(found, "the log of {name} never held {text:?}, only {seen:?}");
        Ok(())
    }

    /// Runs a program in podman's namespaces.
    pub fn inside(&self, program: &[&str]) -> Result<Outcome> {
        process::run(self.enter(&[]).args(program), "")
    }

    /// Whether the runtime under test is the one of this name, whose known deviation a case lets pass.
    pub fn is(&self, name: &str) -> bool {
        self.runtime.file_name().is_some_and(|file| file == name)
    }

    /// A process in podman's mount namespace, whose /proc/PID/root shows its mounts.
    pub fn namespace_pid(&self) -> u32 {
        self.holder.id()
    }

    /// A path in the suite's temporary directory.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// The command that runs podman; a case that needs more than [`Self::podman`] builds on it.
    pub fn command(&self, wrapper: &[&str], arguments: &str, more: &[&str]) -> Command {
        let mut command = self.enter(wrapper);
        command.arg("podman").args(self.global_options());
        command.args(arguments.split_whitespace()).args(more);
        command
    }

    /// Removes what a case left in podman, then checks that nothing of it is left anywhere.
    ///
    /// # Errors
    /// Names the processes, mounts and cgroups that stay.
    pub fn settle(&self) -> Result<()> {
        if !self.ok("ps -aq")?.is_empty() {
            self.ok("pod rm -fa -t 0")?;
            // podman races with its own clean-up process for the shm directory of a container with a user namespace,
            // with runc as well: one of the two finds it mounted still. What counts is that it goes.
            if self.podman("rm -fa -t 0")?.code != 0 {
                self.ok("rm -fa -t 0")?;
            }
        }
        let mut left = Vec::new();
        process::until(Duration::from_secs(5), || {
            process::reap(None)?;
            remove_inner_parents();
            left = self.leftovers()?;
            Ok(left.is_empty())
        })?;
        if !left.is_empty() {
            // The next case is not to suffer from this one.
            self.kill_descendants()?;
            bail!("left behind:\n  {}", left.join("\n  "));
        }
        self.check_devices()
    }

    /// Ends every container, process and namespace of the suite and removes its files.
    pub fn end(mut self) -> Result<()> {
        let settled = self.settle();
        self.kill_descendants()?;
        self.remove_parents();
        drop(self.holder.stdin.take());
        process::wait(&self.holder)?;
        self.directory.close().context("the suite's directory")?;
        settled
    }

    /// What would stay if no container were left.
    fn leftovers(&self) -> Result<Vec<String>> {
        let others = process::descendants()?.into_iter().filter(|(pid, _)| *pid != self.holder_pid());
        let mut left: Vec<_> = others.map(|(pid, comm)| format!("process {pid} {comm}")).collect();
        // podman's storage mounts its own directory on itself, and takes that away when it likes.
        let home = format!(" {} ", self.path(&format!("{0}/{0}", self.driver)));
        left.extend(self.mounts()?.difference(&self.idle_mounts).filter(|line| !line.contains(&home)).cloned());
        left.extend(snapshot::cgroups().difference(&self.idle_cgroups).cloned());
        Ok(left)
    }

    /// Checks that no runtime gave the host's /dev/null to a container's user (crun does, when it chowns stdio), and
    /// puts that right.
    fn check_devices(&self) -> Result<()> {
        let now = snapshot::devices();
        if now == self.devices {
            return Ok(());
        }
        for (path, (owner, group, mode)) in &self.devices {
            chown(path, Some(*owner), Some(*group))?;
            fs::set_permissions(path, Permissions::from_mode(*mode))?;
        }
        bail!("the host's devices were {:?} and are {now:?} (owner, group, mode)", self.devices);
    }

    fn kill_descendants(&self) -> Result<()> {
        process::until(Duration::from_secs(10), || {
            process::reap(None)?;
            let mut others = process::descendants()?;
            others.retain(|(pid, _)| *pid != self.holder_pid());
            for (pid, _) in &others {
                // One that is gone already cannot be killed, which is fine.
                kill(*pid, Signal::SIGKILL).ok();
            }
            Ok(others.is_empty())
        })?;
        Ok(())
    }

    /// Removes podman's parent cgroups if they are new; one still in use (by another podman) stays.
    fn remove_parents(&self) {
        for parent in parents().into_iter().filter(|parent| !self.old_parents.contains(parent)) {
            fs::remove_dir(parent.join("conmon")).ok();
            fs::remove_dir(parent).ok();
        }
    }

    fn mounts(&self) -> Result<BTreeSet<String>> {
        snapshot::mounts(&format!("/proc/{}/mountinfo", self.holder.id()))
    }

    fn holder_pid(&self) -> Pid {
        Pid::from_raw(self.holder.id() as i32)
    }

    /// `WRAPPER… nsenter …` with the environment that podman gets: nothing of ours but the path.
    fn enter(&self, wrapper: &[&str]) -> Command {
        let holder = self.holder.id().to_string();
        // The working directory is conmon's too, which leaves a file there when a container runs out of memory.
        let directory = format!("--wdns={}", self.path("home"));
        let nsenter = ["nsenter", "--target", &holder, "--mount", "--net", &directory, "--"];
        let words: Vec<_> = wrapper.iter().chain(&nsenter).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear();
        command.env("PATH", PATH).env("HOME", self.path("home")).env("TMPDIR", self.path("tmp")).env("TERM", "xterm");
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        command
    }

    fn global_options(&self) -> Vec<String> {
        let path = |option: &str, name: &str| format!("--{option}={}", self.path(name));
        vec![
            path("root", self.driver),
            path("runroot", "runroot"),
            path("tmpdir", "tmpdir"),
            format!("--storage-driver={}", self.driver),
            format!("--runtime={}", self.runtime.display()),
            "--cgroup-manager=cgroupfs".to_owned(),
        ]
    }

    /// Writes podman's configuration.
    ///
    /// The limits are equal and within this process's own, because podman's default ones need CAP_SYS_RESOURCE and
    /// a limit that cannot be set is an error.
    fn configure(&self) -> Result<()> {
        for name in ["home", "tmp", "networks"] {
            fs::create_dir(self.path(name))?;
        }
        let name = self.runtime.file_name().unwrap_or_default().display();
        let configuration = format!(
            r#"[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[network]
network_backend = "netavark"
network_config_dir = "{}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["crun", "runc", "minicon", "{name}"]
helper_binaries_dir = ["/usr/lib/podman", "/usr/libexec/podman"]
"#,
            self.path("networks")
        );
        fs::write(self.path("containers.conf"), configuration)?;
        self.configure_storage()
    }

    fn configure_storage(&self) -> Result<()> {
        let (root, runroot) = (self.path(self.driver), self.path("runroot"));
        let storage =
            format!("[storage]\ndriver = \"{}\"\ngraphroot = \"{root}\"\nrunroot = \"{runroot}\"\n", self.driver);
        Ok(fs::write(self.path("storage.conf"), storage)?)
    }

    /// Imports the image, with overlay storage if that works here, else with vfs.
    fn import_image(&mut self) -> Result<()> {
        let tarball = image::pack(self.directory.path())?.display().to_string();
        let import = ["--change", "ENV PATH=/usr/bin:/bin", &tarball, image::NAME];
        if self.podman_with("import", &import)?.code != 0 {
            self.driver = "vfs";
            self.configure_storage()?;
            self.ok_with("import", &import)?;
        }
        Ok(())
    }
}

/// Starts the process that keeps the mount and network namespace, and waits until they are set up.
fn hold_namespaces(runtime: &Path) -> Result<Child> {
    // crun 1.8 refuses to work where v1 controllers and a cgroup2 tree with controllers are both mounted.
    let is_crun = runtime.file_name().is_some_and(|name| name == "crun");
    let mode = if is_crun && Path::new("/sys/fs/cgroup/unified").exists() { "hide-cgroup2" } else { "" };
    let mut holder = Command::new("unshare")
        .args(["--mount", "--net", "--propagation=private", "sh", "-c", HOLDER, "sh", mode])
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("unshare")?;
    let mut line = String::new();
    BufReader::new(holder.stdout.take().context("no pipe")?).read_line(&mut line)?;
    ensure!(line == "ready\n", "the namespaces could not be made");
    Ok(holder)
}

/// Removes the empty cgroups between podman's parent and its containers, as pods have them.
///
/// podman removes them where it made them, in the v1 controllers; in the others (name=systemd, cgroup2) the runtime
/// makes them on its way, and no runtime removes more than its container's own.
fn remove_inner_parents() {
    for entry in parents().iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("libpod-") {
            fs::remove_dir(entry.path().join("conmon")).ok();
            fs::remove_dir(entry.path()).ok();
        }
    }
}

/// podman's parent cgroup in each hierarchy that has it.
fn parents() -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let roots = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]);
    roots.map(|root| root.join(PODMANS_PARENT)).filter(|parent| parent.is_dir()).collect()
}
