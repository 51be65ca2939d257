//! What is no fault of a step: a host without room, rights, memory or descriptors, a cgroup or an init that is gone, two at
//! once, a death at any time, and what belongs to others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bundles::Variant;
use crate::executioner::is_alive;
use crate::lab::Lab;
use crate::support::{Bundle, Cmd, Output, Running, Test};

type Situation = fn(&mut Lab<'_>, &Bundle<'_>) -> Vec<String>;

const SITUATIONS: &[(&str, Situation)] = &[
    ("the state directory is full", no_room),
    ("the state directory is read-only", read_only),
    ("there is no memory", no_memory),
    ("there are no descriptors", no_descriptors),
    ("the cgroup is gone", vanished_cgroup),
    ("init is dead before start", dead_init),
    ("two at once", two_at_once),
    ("killed at any time", killed_at_any_time),
    ("a cgroup of others is not touched", cgroup_of_others),
    ("a cgroup that was there before stays", cgroup_from_before),
];

/// How many went wrong.
pub fn try_all(lab: &mut Lab<'_>, wanted: &dyn Fn(&str) -> bool) -> usize {
    let mut failed = 0;
    for (name, situation) in SITUATIONS.iter().filter(|(name, _)| wanted(name)) {
        // Without a pid namespace, so that processes can be left.
        let bundle = lab.test.bundle(&["sleep", "1000"]).share("pid");
        let variant = Variant {
            name: "situation",
            bundle,
            commands: &[],
            has_device: false,
            has_terminal: false,
            by_systemd: false,
        };
        variant.bundle.write();
        lab.look();
        let mut wrong = situation(lab, &variant.bundle);
        lab.executioner.rest();
        wrong.extend(force(lab, &variant.bundle).and_then(|output| complaint("delete --force", &output)));
        wrong.extend(lab.leaks());
        println!("{name}: {}", if wrong.is_empty() { "ok" } else { "FAILED" });
        wrong.iter().for_each(|what| println!("    FAILED: {what}"));
        if !wrong.is_empty() {
            failed += 1;
            lab.clean_up(&variant);
        }
    }
    failed
}

fn force(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Option<Output> {
    lab.call(b.verb("delete", &["--force"]))
}

fn complaint(what: &str, output: &Output) -> Option<String> {
    (output.code != 0).then(|| format!("{what}: {}", output.stderr.trim()))
}

/// After a round: `delete --force`, and the host must be as it was.
fn settle(lab: &mut Lab<'_>, b: &Bundle<'_>, round: &str) -> Vec<String> {
    let mut wrong: Vec<String> = match force(lab, b) {
        Some(output) => complaint("delete --force", &output).into_iter().collect(),
        None => vec!["delete --force does not end".to_owned()],
    };
    wrong.extend(lab.leaks());
    wrong.into_iter().map(|what| format!("{round}: {what}")).collect()
}

/// A state directory of so many pages.
fn small(test: &Test, pages: usize) {
    let options = format!("size={}", pages * 4096);
    mount(Some("tmpfs"), test.root(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("mount");
}

fn no_room(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for free in 0..8 {
        small(lab.test, 16);
        let filled = fs::write(lab.test.root().join("filling"), vec![0; (16 - free) * 4096]);
        lab.look();
        let created = lab.call(b.on_bundle("create", &[]));
        if free == 0
            && created.as_ref().is_none_or(|output| output.code == 0 || !output.stderr.contains("No space left"))
        {
            let said = created.map_or(String::new(), |output| output.stderr);
            wrong.push(format!("create on a full disk ({filled:?}) says: {said}"));
        }
        wrong.extend(settle(lab, b, &format!("{free} pages free")));
        umount(lab.test.root()).expect("umount");
    }
    lab.look();
    wrong
}

fn read_only(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let remount =
        |test: &Test, flags| mount(None::<&str>, test.root(), None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>);
    small(lab.test, 64);
    remount(lab.test, MsFlags::MS_RDONLY).expect("remount");
    lab.look();
    match lab.call(b.on_bundle("create", &[])) {
        Some(output) if output.code == 1 && output.stderr.contains("EROFS") => {}
        output => wrong.push(format!("create: {:?}", output.map(|output| output.stderr))),
    }
    wrong.extend(settle(lab, b, "read-only"));
    remount(lab.test, MsFlags::empty()).expect("remount");
    lab.look();
    wrong.extend(lab.call(b.on_bundle("create", &[])).and_then(|output| complaint("create", &output)));
    remount(lab.test, MsFlags::MS_RDONLY).expect("remount");
    let refused = force(lab, b);
    if refused.is_none_or(|output| output.code == 0) {
        wrong.push("delete --force succeeds although it cannot give the name back".to_owned());
    }
    remount(lab.test, MsFlags::empty()).expect("remount");
    wrong.extend(settle(lab, b, "after it can be written again"));
    umount(lab.test.root()).expect("umount");
    lab.look();
    wrong
}

/// One limit after the other, until the container comes into being.
fn limited(lab: &mut Lab<'_>, b: &Bundle<'_>, limits: impl Iterator<Item = u32>, flag: &str) -> Vec<String> {
    let (mut wrong, mut codes) = (Vec::new(), Vec::new());
    for limit in limits {
        let cmd = b.on_bundle("create", &[]).through(&format!("ulimit {flag} {limit} && exec \"$@\""));
        codes.push(lab.call(cmd).map(|output| output.code));
        wrong.extend(settle(lab, b, &format!("ulimit {flag} {limit}")));
    }
    if codes.contains(&None) {
        wrong.push(format!("one does not end: {codes:?}"));
    }
    if codes.iter().all(|code| *code == Some(0)) || codes.last() != Some(&Some(0)) {
        wrong.push(format!("the limits do not reach from none to enough: {codes:?}"));
    }
    wrong
}

fn no_memory(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    // In KiB, of addresses. The program is shown no less by the kernel than it takes to load it.
    limited(lab, b, (2000..10_000).step_by(100).chain([65_536]), "-v")
}

fn no_descriptors(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    limited(lab, b, (4..64).chain([1024]), "-n")
}

/// The container's directories in all hierarchies.
fn cgroups(id: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten();
    let mut own: Vec<PathBuf> = hierarchies.map(|entry| entry.path().join(id)).filter(|path| path.is_dir()).collect();
    own.extend([PathBuf::from("/sys/fs/cgroup").join(id)].into_iter().filter(|path| path.is_dir()));
    own
}

fn vanished_cgroup(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for command in ["start", "exec", "update", "pause", "kill", "delete"] {
        wrong.extend(lab.call(b.on_bundle("create", &[])).and_then(|output| complaint("create", &output)));
        let pid = b.pid();
        for path in cgroups(&b.id) {
            let above = path.parent().expect("a hierarchy").join("cgroup.procs");
            fs::write(above, pid.to_string()).expect("init can be moved out");
            fs::remove_dir(&path).unwrap_or_else(|error| panic!("rmdir {}: {error}", path.display()));
        }
        let call = match command {
            "exec" => b.exec_with(&[], &["true"]),
            "update" => lab.test.runtime(["update", "--pids-limit", "7", &b.id]),
            "kill" => b.verb("kill", &["KILL"]),
            other => b.verb(other, &[]),
        };
        match (command, lab.call(call)) {
            (_, None) => wrong.push(format!("{command} does not end")),
            ("start" | "kill" | "delete", Some(output)) => wrong.extend(complaint(command, &output)),
            (_, Some(output)) if output.code == 0 => wrong.push(format!("{command} succeeds without a cgroup")),
            (_, Some(_)) => {}
        }
        wrong.extend(settle(lab, b, command));
        if is_alive(pid) {
            wrong.push(format!("{command}: init lives on"));
        }
    }
    wrong
}

fn dead_init(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(lab.call(b.on_bundle("create", &[])).and_then(|output| complaint("create", &output)));
    kill(Pid::from_raw(b.pid()), Signal::SIGKILL).expect("kill");
    b.becomes("stopped");
    let started = lab.call(b.verb("start", &[])).map(|output| (output.code, output.stderr));
    if !started.as_ref().is_some_and(|(code, said)| *code == 1 && said.contains("has stopped")) {
        wrong.push(format!("start: {started:?}"));
    }
    wrong.extend(lab.call(b.verb("delete", &[])).and_then(|output| complaint("delete", &output)));
    wrong.extend(lab.leaks());
    wrong
}

/// Two calls of which the second begins a little later, more so from round to round.
fn both(one: Cmd, other: Cmd, round: u64) -> [Output; 2] {
    let first = one.spawn();
    std::thread::sleep(Duration::from_micros(round * 400));
    let second: Running = other.spawn();
    [first.wait(), second.wait()]
}

fn two_at_once(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for round in 0..25 {
        let outputs = both(b.on_bundle("create", &[]), b.on_bundle("create", &[]), round / 4);
        let won = outputs.iter().filter(|output| output.code == 0).count();
        let told = outputs.iter().any(|output| output.stderr.contains("already exists"));
        if won != 1 || !told {
            wrong.push(format!(
                "create and create: {won} have succeeded: {}",
                outputs.map(|output| output.stderr).concat()
            ));
        }
        wrong.extend(settle(lab, b, "create and create"));

        both(b.on_bundle("create", &[]), b.verb("delete", &["--force"]), round);
        wrong.extend(settle(lab, b, "create and delete --force"));

        b.create().ok();
        let outputs = both(b.verb("start", &[]), b.verb("start", &[]), round / 4);
        let won = outputs.iter().filter(|output| output.code == 0).count();
        if won != 1 {
            wrong.push(format!(
                "start and start: {won} have succeeded: {}",
                outputs.map(|output| output.stderr).concat()
            ));
        }
        wrong.extend(settle(lab, b, "start and start"));

        b.create().ok();
        both(b.verb("start", &[]), b.verb("delete", &["--force"]), round / 2);
        wrong.extend(settle(lab, b, "start and delete --force"));

        b.create().ok();
        let outputs = both(b.verb("delete", &["--force"]), b.verb("delete", &["--force"]), round / 4);
        wrong.extend(outputs.iter().filter_map(|output| complaint("delete and delete", output)));
        wrong.extend(settle(lab, b, "delete and delete"));
    }
    wrong
}

/// Not only at steps.
fn killed_at_any_time(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for round in 0..80 {
        let kill_after = |cmd: Cmd| {
            let mut running = cmd.spawn();
            std::thread::sleep(Duration::from_micros(round * 250));
            running.kill();
            running.wait();
        };
        kill_after(b.on_bundle("create", &[]));
        wrong.extend(settle(lab, b, "create"));
        if round < 20 {
            b.create().ok();
            kill_after(b.verb("start", &[]));
            wrong.extend(settle(lab, b, "start"));
            b.up();
            kill_after(b.verb("delete", &["--force"]));
            wrong.extend(settle(lab, b, "delete"));
        }
    }
    wrong
}

/// Somebody's process in a cgroup of the name that the container is to have.
fn settle_in(id: &str) -> (Running, Vec<PathBuf>) {
    let hierarchies = ["pids", "devices", "memory", "freezer", "unified", ""];
    let hierarchies = hierarchies.map(|name| Path::new("/sys/fs/cgroup").join(name));
    let paths = hierarchies.iter().filter(|path| path.join("cgroup.procs").exists()).map(|path| path.join(id));
    let foreigner = Cmd::new("/bin/sleep").arg("1000").spawn();
    let paths: Vec<PathBuf> = paths.collect();
    for path in &paths {
        fs::create_dir_all(path).expect("mkdir");
        fs::write(path.join("cgroup.procs"), foreigner.pid().to_string()).expect("join");
    }
    (foreigner, paths)
}

fn cgroup_of_others(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    // Killed before it could refuse the cgroup, which was there; or before it could see that somebody was faster.
    for (kind, step, is_late) in [
        ("after", "cgroup:mkdir:pids", false),
        ("before", "clone", false),
        ("after", "gate", true),
        ("error", "cgroup:mkdir:pids", false),
    ] {
        let step = if Path::new("/sys/fs/cgroup/pids").exists() { step } else { &*step.replace(":pids", ":v2") };
        let early = (!is_late).then(|| settle_in(&b.id));
        let created = lab.call_with(b.on_bundle("create", &[]), kind, step).map(|output| output.code);
        if created == Some(0) {
            wrong.push(format!("{kind} {step}: create takes the cgroup of somebody else"));
        }
        lab.executioner.rest();
        let (foreigner, paths) = early.unwrap_or_else(|| settle_in(&b.id));
        let killed_all = lab.call(b.verb("kill", &["--all", "KILL"]));
        let output = force(lab, b);
        wrong.extend(output.and_then(|output| complaint("delete --force", &output)));
        if !is_alive(foreigner.pid()) {
            wrong.push(format!("{kind} {step}: somebody else's process was killed ({:?})", killed_all.map(|o| o.code)));
        }
        let gone = paths.iter().filter(|path| !path.is_dir());
        wrong.extend(gone.map(|path| format!("{kind} {step}: {} was removed", path.display())));
        drop(foreigner);
        paths.iter().for_each(|path| drop(fs::remove_dir(path)));
        wrong.extend(lab.leaks().into_iter().map(|leak| format!("{kind} {step}: {leak}")));
    }
    wrong
}

/// "Note that resources associated with the container, but not created by this container, MUST NOT be deleted."
/// (runtime.md, Delete)
fn cgroup_from_before(lab: &mut Lab<'_>, b: &Bundle<'_>) -> Vec<String> {
    let pids = Path::new("/sys/fs/cgroup/pids");
    let path = if pids.exists() { pids.join(&b.id) } else { Path::new("/sys/fs/cgroup").join(&b.id) };
    fs::create_dir(&path).expect("mkdir");
    lab.look();
    let mut wrong = Vec::new();
    // A create that fails, one that is killed, and one that succeeds.
    for (kind, step) in [("error", "record"), ("error", "commit"), ("after", "record"), ("after", "clone"), ("", "")] {
        match kind {
            "" => drop(lab.call(b.on_bundle("create", &[]))),
            kind => drop(lab.call_with(b.on_bundle("create", &[]), kind, step)),
        }
        lab.executioner.rest();
        if kind == "error" {
            wrong.extend(lab.leaks().into_iter().map(|leak| format!("{kind} {step}: {leak}")));
        }
        wrong.extend(settle(lab, b, &format!("{kind} {step}")));
    }
    wrong.extend(fs::remove_dir(&path).err().map(|error| format!("what was there before: {error}")));
    lab.look();
    wrong
}
