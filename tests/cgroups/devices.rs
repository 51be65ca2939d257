//! Device rules as processes feel them, on cgroup v1 and on v2: a process in the cgroup makes nodes and opens them, and
//! is refused exactly where the specification (`model`) says so, through one change of the rules after another.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use minicon::cgroup::Cgroup;
use minicon::error::{Error, Problem};
use minicon::plan::cgroup::plan_update;
use minicon::plan::device_program::Instruction;
use minicon::sys::bpf;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{ForkResult, Pid};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::model::{self, Asked, Entry, MKNOD, READ, WRITE};
use super::{Sandbox, end, file, fork_here, spawn};

/// Devices of the memory driver, harmless to open; and numbers that no driver has: then the open fails, but after the
/// question whether it is allowed. Major numbers 240 to 254 are for local use.
const MAJORS: &[u32] = &[1, 240, 241];
const MINORS: &[u32] = &[3, 5, 7];

const NONE: &str = r#"{"devices": [{"allow": false, "access": "rwm"}]}"#;

fn requests() -> Vec<Asked> {
    let accesses = [MKNOD, READ, WRITE, READ | WRITE];
    let of = |block, major, minor| accesses.map(|access| Asked { block, major, minor, access });
    let pairs = MAJORS.iter().flat_map(|major| MINORS.iter().map(move |minor| (*major, *minor)));
    pairs.flat_map(|(major, minor)| [of(false, major, minor), of(true, major, minor)]).flatten().collect()
}

/// A tmpfs with a node for every device, in the calling thread's own mount namespace.
struct Nodes(tempfile::TempDir);

impl Nodes {
    fn make() -> Nodes {
        let nothing = None::<&str>;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
        let nodes = Nodes(tempfile::tempdir().unwrap());
        mount(Some("tmpfs"), nodes.0.path(), Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
        for asked in requests().iter().filter(|asked| asked.access == MKNOD) {
            nodes.mknod(&nodes.path(asked), asked).unwrap();
        }
        nodes
    }

    fn path(&self, asked: &Asked) -> PathBuf {
        self.0.path().join(format!("{}{}:{}", if asked.block { 'b' } else { 'c' }, asked.major, asked.minor))
    }

    fn mknod(&self, path: &Path, asked: &Asked) -> nix::Result<()> {
        let kind = if asked.block { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
        mknod(path, kind, Mode::S_IRUSR, makedev(asked.major.into(), asked.minor.into()))
    }

    /// Whether the calling process is allowed something: it may still fail, but not with EPERM.
    fn try_one(&self, asked: &Asked) -> bool {
        if asked.access == MKNOD {
            let path = self.0.path().join("new");
            let result = self.mknod(&path, asked);
            let _ = std::fs::remove_file(path);
            return result.is_ok();
        }
        let path = CString::new(self.path(asked).into_os_string().into_encoded_bytes()).unwrap();
        let flags = match asked.access {
            READ => libc::O_RDONLY,
            WRITE => libc::O_WRONLY,
            _ => libc::O_RDWR,
        };
        let flags = nix::fcntl::OFlag::from_bits_truncate(flags | libc::O_NONBLOCK | libc::O_CLOEXEC);
        nix::fcntl::open(path.as_c_str(), flags, Mode::empty()).map(drop) != Err(nix::errno::Errno::EPERM)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = nix::mount::umount(self.0.path());
    }
}

/// A process in a cgroup that tries all requests whenever it is asked, for as long as it is asked.
struct Tester {
    pid: Pid,
    ask: File,
    answers: File,
}

impl Tester {
    fn start(cgroup: &Cgroup, nodes: &Nodes) -> Tester {
        let entrance = cgroup.entrance().unwrap();
        let pipe = || nix::unistd::pipe().unwrap();
        let ((asked, ask), (answers, answer)): ((OwnedFd, OwnedFd), (OwnedFd, OwnedFd)) = (pipe(), pipe());
        let requests = requests();
        match fork_here() {
            ForkResult::Child => {
                drop((ask, answers));
                entrance.join().and_then(|()| entrance.join_v2()).unwrap();
                let (mut asked, mut answer) = (File::from(asked), File::from(answer));
                let mut byte = [0];
                while asked.read(&mut byte).is_ok_and(|length| length == 1) {
                    let verdicts: Vec<u8> = requests.iter().map(|asked| nodes.try_one(asked).into()).collect();
                    answer.write_all(&verdicts).unwrap();
                }
                // Its parent's files are not its own to remove.
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
                unreachable!()
            }
            ForkResult::Parent { child } => Tester { pid: child, ask: ask.into(), answers: answers.into() },
        }
    }

    fn check(&mut self, entries: &[Entry]) {
        self.ask.write_all(b"?").unwrap();
        let requests = requests();
        let mut verdicts = vec![0; requests.len()];
        self.answers.read_exact(&mut verdicts).unwrap();
        for (asked, verdict) in requests.iter().zip(verdicts) {
            assert_eq!(verdict == 1, model::allows(entries, asked), "{asked:?} with {entries:?}");
        }
    }
}

/// Changes the rules of a cgroup of which nothing is known but its record. The problems are those of the plan.
fn update(cgroup: &Cgroup, resources: &str) -> Result<minicon::error::Result<()>, Vec<Problem>> {
    let cgroup = Cgroup::open(&cgroup.paths());
    let mut problems = Vec::new();
    let resources = serde_json::from_str(resources).unwrap();
    let plan = plan_update(&resources, cgroup.directories().unwrap(), false, &mut problems);
    if problems.is_empty() { Ok(cgroup.write_limits(&plan)) } else { Err(problems) }
}

fn updated(cgroup: &Cgroup, resources: &str) {
    update(cgroup, resources).expect("no problems").unwrap_or_else(|error| panic!("{}", error.text()));
}

/// Random rules, one list after another; returns how many could not be had (v1's holes).
fn walk(cgroup: &Cgroup, nodes: &Nodes, rounds: usize) -> usize {
    let mut tester = Tester::start(cgroup, nodes);
    tester.check(&[]);
    let lists = model::entries(MAJORS, MINORS);
    let mut runner = TestRunner::deterministic();
    let mut refused = 0;
    for _ in 0..rounds {
        let entries = lists.new_tree(&mut runner).unwrap().current();
        if entries.is_empty() {
            continue;
        }
        match update(cgroup, &serde_json::json!({ "devices": model::json(&entries) }).to_string()) {
            Ok(result) => {
                result.unwrap_or_else(|error| panic!("{}", error.text()));
                tester.check(&entries);
            }
            Err(_) => refused += 1,
        }
    }
    end(tester.pid);
    refused
}

fn create(sandbox: &Sandbox) -> Cgroup {
    let plan = sandbox.plan(NONE);
    let cgroup = Cgroup::create(&plan).unwrap();
    cgroup.write_limits(&plan).unwrap();
    cgroup
}

/// "The runtime MUST apply entries in the listed order" (config-linux.md, Allowed Device list).
#[test]
fn v2_device_rules_are_those_of_the_specification() {
    let Some(sandbox) = Sandbox::new_v2("rules-v2") else { return };
    let nodes = Nodes::make();
    let cgroup = create(&sandbox);
    assert_eq!(walk(&cgroup, &nodes, 250), 0, "v2 can express every list");
    assert_eq!(names(&cgroup), ["minicon_devices"]);
    cgroup.remove().unwrap();
}

/// As above; a list with a hole in a wider rule is refused, never carried out in part.
#[test]
fn v1_device_rules_are_those_of_the_specification() {
    let Some(sandbox) = Sandbox::new("rules-v1") else { return };
    let nodes = Nodes::make();
    let cgroup = create(&sandbox);
    let refused = walk(&cgroup, &nodes, 250);
    assert!((1..200).contains(&refused), "{refused}");
    cgroup.remove().unwrap();
}

/// The names of the programs that are attached.
fn names(cgroup: &Cgroup) -> Vec<String> {
    let directory = open(cgroup);
    let ids = bpf::query(directory.as_fd()).unwrap();
    ids.into_iter().map(|id| bpf::name(bpf::open(id).unwrap().as_fd()).unwrap()).collect()
}

fn open(cgroup: &Cgroup) -> OwnedFd {
    File::open(&cgroup.paths().controllers[""]).unwrap().into()
}

/// `MOV64 R0, 1; EXIT`: a program of somebody else's, that allows everything.
const ALLOWING: [Instruction; 2] = [
    Instruction { code: 0xb7, registers: 0, offset: 0, immediate: 1 },
    Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
];

#[test]
fn an_update_replaces_only_our_own_program() {
    let Some(sandbox) = Sandbox::new_v2("replace") else { return };
    let cgroup = create(&sandbox);
    let directory = open(&cgroup);
    let others = bpf::load(&ALLOWING, "sd_devices", &mut []).unwrap();
    bpf::attach(directory.as_fd(), others.as_fd(), None).unwrap();
    let before = bpf::query(directory.as_fd()).unwrap();
    assert_eq!(names(&cgroup), ["minicon_devices", "sd_devices"]);
    let everything = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
    for resources in [everything, NONE] {
        updated(&cgroup, resources);
    }
    // Replaced where it stood, and the other one is the same.
    assert_eq!(names(&cgroup), ["minicon_devices", "sd_devices"]);
    let after = bpf::query(directory.as_fd()).unwrap();
    assert!(after[0] != before[0] && after[1] == before[1], "{before:?} {after:?}");
    // Resources without device rules change none.
    updated(&cgroup, r#"{"devices": []}"#);
    assert_eq!(bpf::query(directory.as_fd()).unwrap(), after);
    cgroup.remove().unwrap();
}

#[test]
fn an_update_attaches_a_program_where_there_was_none() {
    let Some(sandbox) = Sandbox::new_v2("attach") else { return };
    let nodes = Nodes::make();
    let cgroup = Cgroup::create(&sandbox.plan(NONE)).unwrap();
    assert_eq!(names(&cgroup), Vec::<String>::new());
    updated(&cgroup, NONE);
    assert_eq!(names(&cgroup), ["minicon_devices"]);
    let mut tester = Tester::start(&cgroup, &nodes);
    tester.check(&[]);
    end(tester.pid);
    cgroup.remove().unwrap();
}

fn explained(error: &Error, parts: &[&str]) {
    let text = error.text();
    for part in parts {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
}

#[test]
fn a_program_that_cannot_be_attached_says_why() {
    let Some(sandbox) = Sandbox::new_v2("refused") else { return };
    let plan = sandbox.plan(NONE);
    let cgroup = Cgroup::create(&plan).unwrap();
    let directory = open(&cgroup);
    // The kernel takes 64 for one cgroup.
    for number in 0..64 {
        let program = bpf::load(&ALLOWING, &format!("other_{number}"), &mut []).unwrap();
        bpf::attach(directory.as_fd(), program.as_fd(), None).unwrap();
    }
    let error = cgroup.write_limits(&plan).expect_err("there is no room");
    explained(
        &error,
        &[
            "allow devices: bpf(BPF_PROG_ATTACH, ",
            "): E2BIG",
            "config: linux.resources.devices",
            "64 programs are attached",
        ],
    );
    cgroup.remove().unwrap();
}

#[test]
fn without_the_right_to_load_programs_the_error_says_so() {
    let Some(sandbox) = Sandbox::new_v2("powerless") else { return };
    let plan = sandbox.plan(NONE);
    let cgroup = Cgroup::create(&plan).unwrap();
    let (said, says) = nix::unistd::pipe().unwrap();
    match fork_here() {
        ForkResult::Child => {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).unwrap();
            let error = cgroup.write_limits(&plan).expect_err("a user namespace has no say in this");
            File::from(says).write_all(error.text().as_bytes()).unwrap();
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        ForkResult::Parent { child } => {
            drop(says);
            let mut text = String::new();
            File::from(said).read_to_string(&mut text).unwrap();
            end(child);
            assert!(text.starts_with("allow devices: bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, "), "{text}");
            assert!(text.contains("): EPERM") && text.contains("config: linux.resources.devices"), "{text}");
            assert!(text.contains("hint:   device rules on cgroup v2 need CAP_BPF"), "{text}");
        }
    }
    cgroup.remove().unwrap();
}

#[test]
fn a_v1_update_writes_only_what_differs() {
    let Some(sandbox) = Sandbox::new("differs") else { return };
    let cgroup = create(&sandbox);
    let devices = || file(&cgroup, "devices", "devices.list");
    let defaults = devices();
    let change = |resources| update(&cgroup, resources).expect("no problems");
    let fuse = r#"{"devices": [{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}"#;
    change(fuse).unwrap();
    // At the end: nothing that was there has been taken away and given again.
    assert_eq!(devices(), format!("{defaults}\nc 10:229 rw"));
    change(NONE).unwrap();
    assert_eq!(devices(), defaults);
    // A cgroup below, as a container's own manager makes them, forbids to begin anew, and need not be in the way.
    let below = cgroup.paths().controllers["devices"].join("below");
    std::fs::create_dir(&below).unwrap();
    change(fuse).unwrap();
    let refused = change(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#).expect_err("there is a cgroup below");
    explained(&refused, &["allow devices: write(", "\"a\"): EINVAL", "hint: "]);
    assert_eq!(devices(), format!("{defaults}\nc 10:229 rw"));
    std::fs::remove_dir(below).unwrap();
    // The kernel forgets it only after a while.
    let started = Instant::now();
    while change(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#).is_err() {
        assert!(started.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(devices(), "a *:* rwm");
    change(NONE).unwrap();
    assert_eq!(devices(), defaults);
    cgroup.remove().unwrap();
}

fn end_with_the_test() {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Between "everything but" and "nothing but", v1 forgets all in between: the processes stand still meanwhile.
#[test]
fn a_v1_process_does_not_notice_that_the_list_is_begun_anew() {
    let Some(sandbox) = Sandbox::new("anew") else { return };
    let cgroup = create(&sandbox);
    let child = spawn(&cgroup, || {
        end_with_the_test();
        // /dev/null is allowed all the time.
        while File::open("/dev/null").is_ok() {}
    });
    for _ in 0..100 {
        for resources in [r#"{"devices": [{"allow": true, "access": "rwm"}]}"#, NONE] {
            updated(&cgroup, resources);
        }
    }
    assert!(!cgroup.is_frozen().unwrap());
    let status = nix::sys::wait::waitpid(child, Some(nix::sys::wait::WaitPidFlag::WNOHANG)).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::StillAlive, "it was refused /dev/null");
    // Who was frozen stays so.
    cgroup.freeze().unwrap();
    updated(&cgroup, r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
    updated(&cgroup, NONE);
    assert!(cgroup.is_frozen().unwrap());
    cgroup.kill(super::KILLED).unwrap();
    end(child);
    cgroup.remove().unwrap();
}

/// The same on v2, where a program takes the place of another at once.
#[test]
fn a_v2_process_does_not_notice_that_the_program_is_replaced() {
    let Some(sandbox) = Sandbox::new_v2("swap") else { return };
    let cgroup = create(&sandbox);
    let child = spawn(&cgroup, || {
        end_with_the_test();
        while File::open("/dev/null").is_ok() && File::open("/dev/kmsg").is_err() {}
    });
    let other = r#"{"devices": [{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}"#;
    for _ in 0..200 {
        for resources in [other, NONE] {
            updated(&cgroup, resources);
        }
    }
    let status = nix::sys::wait::waitpid(child, Some(nix::sys::wait::WaitPidFlag::WNOHANG)).unwrap();
    assert_eq!(
        status,
        nix::sys::wait::WaitStatus::StillAlive,
        "it was refused what it may, or allowed what it may not"
    );
    end(child);
    cgroup.remove().unwrap();
}
