//! The host before and after, and calls of minicon with a fault in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bundles::{DEVICE, MARK, Variant};
use crate::executioner::{Executioner, descendants};
use crate::support::{Cmd, Output, Test, command::reap, guard, patience};

/// How long a difference may last: the dead are reaped and cgroups emptied in the background.
const PATIENCE: u64 = 2;
/// How long a call with a fault may take, in seconds. A call that waits for ever is a leak too.
const LIMIT: u64 = 15;

pub struct Lab<'t> {
    pub test: &'t Test,
    pub executioner: Executioner,
    before: BTreeSet<String>,
}

impl<'t> Lab<'t> {
    pub fn new(test: &'t Test) -> Self {
        let executioner = Executioner::new(test.path("faults"));
        Lab { test, executioner, before: host(test) }
    }

    /// Takes the host as it is for what it was: namespaces are held, for one.
    pub fn look(&mut self) {
        self.before = host(self.test);
    }

    /// A call in which a process may have to be killed. None if it does not end.
    pub fn call(&mut self, cmd: Cmd) -> Option<Output> {
        let started = Instant::now();
        let mut running = cmd.spawn();
        while !running.has_ended() {
            self.executioner.serve(running.pid());
            // A pid namespace ends when its last process is reaped, and orphans are ours.
            reap();
            if started.elapsed() > patience(LIMIT) {
                return None; // killed when dropped
            }
        }
        Some(running.wait())
    }

    /// The same with a fault at a step.
    pub fn call_with(&mut self, cmd: Cmd, kind: &str, step: &str) -> Option<Output> {
        let fault = format!("{} {kind} {step}", self.executioner.path.display());
        self.call(cmd.env("MINICON_FAULT", fault))
    }

    /// What is not as it was, if it stays so.
    pub fn leaks(&self) -> BTreeSet<String> {
        let started = Instant::now();
        loop {
            let after = host(self.test);
            let left = after.difference(&self.before).map(|line| format!("left: {line}"));
            let lost = self.before.difference(&after).map(|line| format!("lost: {line}"));
            let lasting: BTreeSet<String> = left.chain(lost).collect();
            if lasting.is_empty() || started.elapsed() > patience(PATIENCE) {
                return lasting;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Restores by other means what minicon has not, so that the next case begins well.
    pub fn clean_up(&mut self, variant: &Variant<'_>) {
        for pid in descendants().into_iter().filter(|pid| !self.before.iter().any(|line| is_of(line, *pid))) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(50));
        reap();
        for path in guard::cgroups().iter().rev().filter(|path| path.to_string_lossy().contains(&self.test.tag())) {
            let _ = fs::remove_dir(path);
        }
        guard::unmount_below(&variant.bundle.dir);
        let _ = fs::remove_dir_all(self.test.root().join(&variant.bundle.id));
        self.look();
    }
}

fn is_of(line: &str, pid: i32) -> bool {
    line.strip_prefix("process ").is_some_and(|rest| rest.split(' ').next() == Some(&pid.to_string()))
}

/// What minicon could change: the processes below this one, which is a subreaper; mounts, in a namespace of this
/// process's own; cgroups by the name of the test's containers; state directories; open files.
fn host(test: &Test) -> BTreeSet<String> {
    reap();
    let mut seen: BTreeSet<String> = descendants().into_iter().map(process).collect();
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    seen.extend(mounts.lines().map(|line| format!("mount {line}")));
    let tag = test.tag();
    let top = Path::new("/sys/fs/cgroup");
    // A hierarchy, or where it is the only one a slice.
    for hierarchy in [top.to_owned()].into_iter().chain(entries(top)) {
        let own = entries(&hierarchy).filter(|path| path.to_string_lossy().contains(&tag));
        seen.extend(own.map(|path| format!("cgroup {}", path.display())));
    }
    seen.extend(entries(test.root()).map(|path| format!("state {}", path.display())));
    let files = entries(Path::new("/proc/self/fd")).filter_map(|path| fs::read_link(path).ok());
    let files = files
        .map(|file| file.display().to_string())
        // Not its own look, the executioner's guests and what calls have printed.
        .filter(|file| !["/proc/", "socket:"].iter().any(|of| file.starts_with(of)) && !file.ends_with("(deleted)"));
    seen.extend(files.map(|file| format!("open file {file}")));
    seen
}

fn process(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} {}", name.trim())
}

fn entries(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

impl Variant<'_> {
    /// What a case begins with: the device to move, and no mark.
    pub fn prepare(&self) {
        let _ = fs::remove_file(self.bundle.dir.join(MARK));
        if self.has_device && !devices().contains(DEVICE.0) {
            let (one, other) = DEVICE;
            // The other end goes some time after the namespace that the first was in.
            let script = format!(
                "ip link delete {other} 2>/dev/null; ip link add {one} type veth peer {other} && \
                 ip address add 10.99.1.1/24 dev {one} && ip link set {one} up"
            );
            Cmd::new("/bin/sh").args(["-c", &script]).run().ok();
        }
    }

    /// What else could be left: the mark of a hook, and network devices. A device that was moved dies with the
    /// container's namespace if nobody is left to bring it back.
    pub fn leaks(&self, must_be_back: bool) -> BTreeSet<String> {
        let mut leaks = BTreeSet::new();
        if self.bundle.dir.join(MARK).exists() {
            leaks.insert("what a hook made on the host: its poststop hook has not run".to_owned());
        }
        let devices = devices();
        let known = |name: &&String| ["lo", DEVICE.0, DEVICE.1].contains(&name.as_str());
        leaks.extend(devices.iter().filter(|name| !known(name)).map(|name| format!("network device {name}")));
        if self.by_systemd {
            leaks.extend(units(&self.bundle.id));
        }
        if must_be_back && self.has_device && !devices.contains(DEVICE.0) {
            leaks.insert(format!("network device {} is not back", DEVICE.0));
        }
        leaks
    }
}

/// Those of this process's network namespace: `/sys` shows another's.
fn devices() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").expect("/proc/net/dev");
    table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}

/// systemd's units of a container. It takes a moment until it sees that one is empty.
fn units(id: &str) -> Vec<String> {
    let started = Instant::now();
    loop {
        let listed = Cmd::new("systemctl").args(["list-units", "--all", "--plain", "--no-legend"]).run().stdout;
        let own: Vec<String> =
            listed.lines().filter(|line| line.contains(id)).map(|line| format!("unit {line}")).collect();
        if own.is_empty() || started.elapsed() > patience(PATIENCE) {
            return own;
        }
    }
}
