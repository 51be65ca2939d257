//! A world of its own for an engine: a mount and a network namespace, a directory, and what was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::process::{self, Outcome};
use crate::snapshot;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the holder of the namespaces does: a /run, a /dev/shm and a /var/cache (podman's locks) and a loopback of our own, the shared
/// mount that podman would put on /run/netns at the first container, and device nodes of our own, because a runtime that
/// gives its standard streams to the container's user gives away the host's /dev/null. Then it waits for the end of
/// its input, which comes even if the suite is killed.
const HOLDER: &str = "
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
mount --bind /run/netns /run/netns
mount --make-rshared /run/netns
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /var/cache
busybox ip link set lo up
mkdir /run/nodes
node() { mknod -m 666 /run/nodes/$1 c $2 $3; mount --bind /run/nodes/$1 /dev/$1; }
node null 1 3; node zero 1 5; node full 1 7; node random 1 8; node tty 5 0
if [ \"$1\" = hide-cgroup2 ]; then umount /sys/fs/cgroup/unified; fi
echo ready
exec cat";

/// Namespaces that `holder` keeps, and a directory for all that the engine writes.
pub struct World {
    pub runtime: PathBuf,
    pub directory: TempDir,
    holder: Child,
    /// What there is when the engine runs and no container exists: the namespace's mounts, cgroups, processes.
    idle_mounts: BTreeSet<String>,
    idle_cgroups: BTreeSet<String>,
    idle_processes: BTreeSet<Pid>,
    devices: BTreeMap<String, (u32, u32, u32)>,
    /// Parent cgroups that were there before us are not ours to remove.
    old_parents: Vec<PathBuf>,
}

impl World {
    /// Makes the namespaces and the directory.
    ///
    /// # Errors
    /// When one of `programs` is missing (pairs of a program and its Debian package) or unshare fails.
    pub fn make(runtime: &Path, programs: &[(&str, &str)]) -> Result<Self> {
        for (program, package) in programs {
            ensure!(find_program(program).is_some(), "there is no {program}: apt-get install {package}");
        }
        let directory = tempfile::Builder::new().prefix("engines-").tempdir()?;
        // Containers with a user namespace of their own walk through here as nobody.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o711))?;
        for name in ["bin", "home", "tmp"] {
            fs::create_dir(directory.path().join(name))?;
        }
        symlink(runtime, directory.path().join("bin/runc"))?;
        let holder = hold_namespaces(runtime)?;
        let devices = snapshot::devices(holder.id());
        let idle_processes = BTreeSet::from([Pid::from_raw(holder.id() as i32)]);
        Ok(Self {
            runtime: runtime.to_owned(),
            holder,
            directory,
            idle_mounts: BTreeSet::new(),
            idle_cgroups: snapshot::cgroups(),
            idle_processes,
            devices,
            old_parents: snapshot::parents(),
        })
    }

    /// Declares what is there now to be the idle engine's: mounts and processes.
    pub fn rest(&mut self) -> Result<()> {
        process::reap(None)?;
        self.idle_mounts = self.mounts()?;
        self.idle_processes = process::descendants()?.into_iter().map(|(pid, _)| pid).collect();
        Ok(())
    }

    /// `WRAPPER… nsenter …` with the environment that an engine gets: nothing of ours but the path.
    pub fn enter(&self, wrapper: &[&str]) -> Command {
        let holder = self.holder.id().to_string();
        // The working directory is conmon's too, which leaves a file there when a container runs out of memory.
        let directory = format!("--wdns={}", self.path("home"));
        let nsenter = ["nsenter", "--target", &holder, "--mount", "--net", &directory, "--"];
        let words: Vec<_> = wrapper.iter().chain(&nsenter).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear();
        command.env("PATH", PATH).env("HOME", self.path("home")).env("TMPDIR", self.path("tmp")).env("TERM", "xterm");
        command
    }

    /// Runs a program in the namespaces, as root.
    pub fn inside(&self, program: &[&str]) -> Result<Outcome> {
        process::run(self.enter(&[]).args(program), "")
    }

    /// Runs a program in the namespaces, which must succeed; what it prints.
    pub fn must(&self, program: &[&str]) -> Result<String> {
        let outcome = self.inside(program)?;
        ensure!(outcome.code == 0, "{program:?}: exit code {}: {}", outcome.code, outcome.err.trim());
        Ok(outcome.out.trim_end().to_owned())
    }

    /// Starts a daemon in the namespaces; what it prints goes to the file NAME.log. `runc` in its path is the runtime
    /// under test, which is how a shim finds one that nobody has named.
    pub fn daemon(&self, name: &str, arguments: &[&str]) -> Result<Child> {
        let log = fs::File::create(self.path(&format!("{name}.log")))?;
        // It does not outlive the suite, even if that is killed.
        let mut command = self.enter(&["setpriv", "--pdeathsig", "TERM", "--"]);
        command.env("PATH", format!("{}:{PATH}", self.path("bin")));
        command.arg(name).args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| name.to_owned())
    }

    /// Whether engines can make their default networks here: a bridge, and rules as they write them, tried where they
    /// hinder nobody.
    pub fn has_bridges(&self) -> Result<bool> {
        let rule = "iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -m addrtype --src-type LOCAL -j MASQUERADE";
        let script = format!("busybox ip link add probe type bridge && {rule}");
        Ok(self.inside(&["unshare", "--net", "sh", "-c", &script])?.code == 0)
    }

    /// The end of the log of a daemon, for a message.
    pub fn log(&self, name: &str) -> String {
        let log = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// A path in the world's temporary directory.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A process in the mount namespace, whose /proc/PID/root shows its mounts.
    pub fn namespace_pid(&self) -> u32 {
        self.holder.id()
    }

    /// Waits until the idle engine is all there is, apart from mounts whose line `is_engines` knows.
    ///
    /// # Errors
    /// Names the processes, mounts and cgroups that stay.
    pub fn settle(&self, is_engines: &dyn Fn(&str) -> bool) -> Result<()> {
        let mut left = Vec::new();
        process::until(Duration::from_secs(20), || {
            process::reap(None)?;
            snapshot::remove_inner_parents();
            left = self.leftovers(is_engines)?;
            Ok(left.is_empty())
        })?;
        if !left.is_empty() {
            // The next case is not to suffer from this one.
            self.kill_others()?;
            snapshot::remove_cgroups(&self.idle_cgroups);
            bail!("left behind:\n  {}", left.join("\n  "));
        }
        self.check_devices()
    }

    /// Ends every process and the namespaces of all worlds, and removes the files.
    pub fn end(worlds: Vec<Self>) -> Result<()> {
        let holders: BTreeSet<_> = worlds.iter().map(|world| Pid::from_raw(world.holder.id() as i32)).collect();
        process::kill_descendants(&|pid| holders.contains(&pid))?;
        for mut world in worlds {
            snapshot::remove_parents(&world.old_parents);
            drop(world.holder.stdin.take());
            process::wait(&world.holder)?;
            world.directory.close().context("the suite's directory")?;
        }
        Ok(())
    }

    fn leftovers(&self, is_engines: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut left: Vec<_> = self.others()?.iter().map(|(pid, comm)| format!("process {pid} {comm}")).collect();
        left.extend(self.mounts()?.difference(&self.idle_mounts).filter(|line| !is_engines(line)).cloned());
        left.extend(snapshot::cgroups().difference(&self.idle_cgroups).cloned());
        Ok(left)
    }

    /// Our descendants that are not the idle engine's.
    fn others(&self) -> Result<Vec<(Pid, String)>> {
        let mut others = process::descendants()?;
        others.retain(|(pid, _)| !self.idle_processes.contains(pid));
        Ok(others)
    }

    /// Checks that no runtime gave /dev/null to a container's user (crun does, when it chowns stdio), and puts that
    /// right.
    fn check_devices(&self) -> Result<()> {
        let now = snapshot::devices(self.holder.id());
        if now == self.devices {
            return Ok(());
        }
        for (path, (owner, group, mode)) in &self.devices {
            chown(path, Some(*owner), Some(*group))?;
            fs::set_permissions(path, Permissions::from_mode(*mode))?;
        }
        bail!("the devices were {:?} and are {now:?} (owner, group, mode)", self.devices);
    }

    fn kill_others(&self) -> Result<()> {
        process::kill_descendants(&|pid| self.idle_processes.contains(&pid))
    }

    fn mounts(&self) -> Result<BTreeSet<String>> {
        snapshot::mounts(&format!("/proc/{}/mountinfo", self.holder.id()))
    }
}

/// The path of a program, if it is installed.
pub fn find_program(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|directory| Path::new(directory).join(name)).find(|path| path.exists())
}

/// Asks a daemon to end and waits for it.
pub fn stop_daemon(daemon: &Child) -> Result<()> {
    // One that has ended already cannot be asked, which the wait below finds out.
    kill(Pid::from_raw(daemon.id() as i32), Signal::SIGTERM).ok();
    ensure!(process::wait(daemon)?.is_some(), "the daemon {} had to be killed", daemon.id());
    Ok(())
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
