//! The host before and after a test: the two must be the same.
//!
//! Processes are those below the test process. It is a subreaper, so whatever a runtime leaves behind is below it,
//! and what others do on the machine is not. Each test has a mount namespace of its own, for the same reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::FromRead;
use procfs::process::{MountInfos, Process, all_processes};

use super::command::{patience, reap};

/// The names of cgroups that are somebody else's business: session managers and engines make and remove them at any
/// time. A container of this test below them still counts.
const FOREIGN_CGROUPS: &[&str] = &[".slice", ".scope", "process_api", "libpod_parent", "docker", "buildah", "kubepods"];

/// Where runtimes keep their state if nobody says otherwise.
const DEFAULT_ROOTS: &[&str] = &["/run/minicon", "/run/runc"];

/// How long a difference may last, in seconds: what others do passes, a leak stays.
const PATIENCE: u64 = 3;

/// The host as it is now, as comparable lines by kind.
#[derive(PartialEq)]
pub struct Snapshot(BTreeMap<&'static str, BTreeSet<String>>);

impl Snapshot {
    pub fn take(root: &Path, tag: &str) -> Self {
        reap();
        Snapshot(BTreeMap::from([
            ("process", descendants().iter().map(process_line).collect()),
            ("mount", mounts()),
            ("cgroup", cgroups().iter().map(|p| p.display().to_string()).filter(|p| is_ours(p, tag)).collect()),
            ("network device", names(Path::new("/sys/class/net"))),
            ("state directory", state_directories(root)),
            ("open file", open_files()),
        ]))
    }

    fn differences(&self, after: &Snapshot) -> BTreeSet<String> {
        let mut differences = BTreeSet::new();
        for (kind, before) in &self.0 {
            let after = &after.0[kind];
            let left = after.difference(before).filter(|line| *kind != "cgroup" || !holds_processes(line));
            differences.extend(left.map(|line| format!("left behind, {kind}: {line}")));
            // Cgroups that go are not this test's: it began with none.
            let lost = before.difference(after).filter(|_| *kind != "cgroup");
            differences.extend(lost.map(|line| format!("lost, {kind}: {line}")));
        }
        differences
    }
}

/// Gives this thread mounts of its own, which nobody else sees or changes.
pub fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("the tests must run as root: unshare(CLONE_NEWNS)");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("make / private");
}

/// Fails if the host is not as it was; then also cleans up, so that the next test starts well.
pub fn compare(before: &Snapshot, root: &Path, tag: &str) {
    let lines: Vec<_> = lasting_differences(before, root, tag).into_iter().collect();
    if !lines.is_empty() {
        clean_up(tag);
        panic!("the host has changed:\n  {}", lines.join("\n  "));
    }
}

/// How the host differs. A difference counts if every look sees it, until patience ends: what others do comes and goes.
pub fn lasting_differences(before: &Snapshot, root: &Path, tag: &str) -> BTreeSet<String> {
    let start = Instant::now();
    let mut lasting = before.differences(&Snapshot::take(root, tag));
    while !lasting.is_empty() && start.elapsed() <= patience(PATIENCE) {
        std::thread::sleep(Duration::from_millis(10));
        let seen = before.differences(&Snapshot::take(root, tag));
        lasting.retain(|difference| seen.contains(difference));
    }
    lasting
}

/// Ends everything below the test process and removes the cgroups and the states whose name holds the tag.
pub fn clean_up(tag: &str) {
    for process in descendants() {
        let _ = kill(Pid::from_raw(process.pid()), Signal::SIGKILL);
    }
    std::thread::sleep(Duration::from_millis(100));
    reap();
    // Deepest first.
    for path in cgroups().into_iter().rev().filter(|path| path.to_string_lossy().contains(tag)) {
        let _ = fs::remove_dir(path);
    }
    for root in DEFAULT_ROOTS {
        for name in names(Path::new(root)).into_iter().filter(|name| name.contains(tag)) {
            let _ = fs::remove_dir_all(Path::new(root).join(name));
        }
    }
}

/// Takes away the mounts that a failed test has left in its directory, which could not be removed otherwise.
pub fn unmount_below(directory: &Path) {
    let mountinfo = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let points = mountinfo.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    for point in points.filter(|point| point.starts_with(directory)) {
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
}

fn descendants() -> Vec<Process> {
    let all: Vec<_> = all_processes().expect("/proc").flatten().filter_map(|p| Some((p.stat().ok()?, p))).collect();
    let mut family = BTreeSet::from([std::process::id() as i32]);
    loop {
        let known = family.len();
        family.extend(
            all.iter().filter(|(stat, _)| family.contains(&stat.ppid)).map(|(stat, _)| stat.pid).collect::<Vec<_>>(),
        );
        if family.len() == known {
            break;
        }
    }
    family.remove(&(std::process::id() as i32));
    all.into_iter().filter(|(stat, _)| family.contains(&stat.pid)).map(|(_, process)| process).collect()
}

fn process_line(process: &Process) -> String {
    match process.stat() {
        Ok(stat) => format!("{} {} since {}", stat.pid, stat.comm, stat.starttime),
        Err(_) => format!("{} just gone", process.pid()),
    }
}

/// The mounts of this thread; their ids differ from one look to the next, if somebody mounts.
fn mounts() -> BTreeSet<String> {
    let file = fs::File::open("/proc/thread-self/mountinfo").expect("mountinfo");
    let infos = MountInfos::from_read(file).expect("mountinfo as in proc_pid_mountinfo(5)");
    let line = |info: procfs::process::MountInfo| {
        let (point, root, kind) = (info.mount_point.display().to_string(), info.root, info.fs_type);
        let options: BTreeSet<_> = info.mount_options.into_keys().collect();
        format!("{} {point} {kind} {root} {options:?} {:?}", info.majmin, info.opt_fields)
    };
    infos.into_iter().map(line).collect()
}

/// The directories in all hierarchies, parents before children.
pub fn cgroups() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/sys/fs/cgroup")];
    let mut next = 0;
    while next < found.len() {
        let entries = fs::read_dir(&found[next]).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        found.extend(directories.map(|entry| entry.path()).collect::<Vec<_>>());
        next += 1;
    }
    found
}

/// Whether a cgroup, if it comes or goes, is of interest.
fn is_ours(path: &str, tag: &str) -> bool {
    path.contains(tag) || !path.split('/').any(|name| FOREIGN_CGROUPS.iter().any(|known| name.contains(known)))
}

/// Whether a cgroup is in use. If so by a process of ours, that one is told; else it is of somebody else.
fn holds_processes(cgroup: &str) -> bool {
    fs::read_to_string(Path::new(cgroup).join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty())
}

fn state_directories(root: &Path) -> BTreeSet<String> {
    let roots = DEFAULT_ROOTS.iter().map(Path::new).chain([root]);
    roots.flat_map(|root| names(root).into_iter().map(|name| format!("{}/{name}", root.display()))).collect()
}

fn open_files() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc/self/fd").flatten();
    let own = format!("/proc/{}/fd", std::process::id());
    let lines = entries.filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)));
    lines
        .filter(|(_, to)| *to != Path::new(&own))
        .map(|(fd, to)| format!("{} {}", fd.display(), to.display()))
        .collect()
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
