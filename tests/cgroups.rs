//! Cgroups on this machine, as root: made, limited, joined, frozen, killed and removed through the library. Every test
//! makes only children of the runtime's own cgroups, each with its own name, and leaves nothing.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "cgroups/devices.rs"]
mod devices;
#[path = "devices/model.rs"]
mod model;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use minicon::cgroup::{Cgroup, CgroupPaths, probe};
use minicon::error::{Problem, Result};
use minicon::plan::cgroup::{CgroupHost, CgroupPlan, Manager, Mode, Request, plan, plan_update};
use minicon::plan::systemd::{Bus, UnitName};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use oci_spec::runtime::LinuxResources;

const KILLED: i32 = libc::SIGKILL;

/// A cgroup of this test's own; whatever happens, nothing of it stays.
struct Sandbox {
    name: String,
    host: CgroupHost,
    restored: Option<Restored>,
}

/// The controllers that the root of the v2 hierarchy gives its children, which the plan of a test may change: put
/// back at its end, one test at a time.
struct Restored {
    file: PathBuf,
    before: String,
    _turn: MutexGuard<'static, ()>,
}

impl Restored {
    fn of(host: &CgroupHost) -> Option<Restored> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let file = host.v2.as_ref()?.mount_point.join("cgroup.subtree_control");
        Some(Restored { before: std::fs::read_to_string(&file).unwrap(), file, _turn: turn })
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        for controller in std::fs::read_to_string(&self.file).unwrap_or_default().split_whitespace() {
            if !self.before.split_whitespace().any(|known| known == controller) {
                let _ = std::fs::write(&self.file, format!("-{controller}"));
            }
        }
    }
}

impl Sandbox {
    /// None, with a reason printed, where the machine cannot run these tests.
    fn new(test: &str) -> Option<Sandbox> {
        Sandbox::on(test, &[Mode::V1, Mode::Hybrid])
    }

    /// Shows the calling thread, and what it forks, cgroup v2 alone, in a mount namespace of its own.
    fn new_v2(test: &str) -> Option<Sandbox> {
        use nix::mount::{MsFlags, mount};
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), nothing).unwrap();
        Sandbox::on(test, &[Mode::V2])
    }

    fn on(test: &str, modes: &[Mode]) -> Option<Sandbox> {
        let host = probe().unwrap();
        if !nix::unistd::geteuid().is_root() || !modes.contains(&host.mode()) {
            println!("skipped: needs root and cgroups {modes:?} (found {:?})", host.mode());
            return None;
        }
        let restored = if host.mode() == Mode::V2 { Restored::of(&host) } else { None };
        Some(Sandbox { name: format!("minicon-test-{}-{test}", std::process::id()), host, restored })
    }

    fn plan(&self, resources: &str) -> CgroupPlan {
        self.plan_at(None, resources)
    }

    fn plan_at(&self, path: Option<&str>, resources: &str) -> CgroupPlan {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let request = Request {
            id: &self.name,
            manager: Manager::Cgroupfs,
            annotations: None,
            cgroups_path: path.map(Path::new),
            resources: Some(&resources),
            rootless: false,
            owner: None,
        };
        let mut problems = Vec::new();
        let plan = plan(&request, &self.host, &mut problems);
        assert_eq!(problems, Vec::<Problem>::new());
        plan
    }

    /// Every directory of this test that is still there.
    fn left(&self) -> Vec<PathBuf> {
        let v1 = self.host.v1.iter().map(|hierarchy| (&hierarchy.mount_point, &hierarchy.own));
        let v2 = self.host.v2.iter().map(|unified| (&unified.mount_point, &unified.own));
        let own = |(mount, own): (&PathBuf, &PathBuf)| mount.join(own.strip_prefix("/").unwrap()).join(&self.name);
        v1.chain(v2).map(own).filter(|path| path.exists()).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let left = self.left();
        for path in &left {
            let controllers = [("x".to_owned(), path.clone())].into();
            let _ = Cgroup::open(&CgroupPaths { controllers, ..CgroupPaths::default() }).remove();
        }
        if !std::thread::panicking() {
            assert_eq!(left, Vec::<PathBuf>::new(), "directories were left behind");
        }
    }
}

/// A process in the cgroup: the child joins by itself, as init does, and then runs `body`.
fn spawn(cgroup: &Cgroup, body: fn()) -> Pid {
    let entrance = cgroup.entrance().unwrap();
    let (ready, joined) = nix::unistd::pipe().unwrap();
    match fork_here() {
        ForkResult::Child => {
            let outcome = entrance.join().and_then(|()| entrance.join_v2());
            let _ = nix::unistd::write(&joined, if outcome.is_ok() { b"y" } else { b"n" });
            body();
            std::process::exit(0);
        }
        ForkResult::Parent { child } => {
            drop(joined);
            let mut answer = [0];
            assert_eq!(nix::unistd::read(&ready, &mut answer), Ok(1));
            assert_eq!(&answer, b"y", "the child could not join");
            child
        }
    }
}

#[allow(unsafe_code)]
fn fork_here() -> ForkResult {
    // SAFETY: the child makes system calls and allocates, which glibc allows after fork(2) in a process with threads.
    unsafe { fork() }.unwrap()
}

fn sleep_long() {
    std::thread::sleep(Duration::from_secs(60));
}

fn file(cgroup: &Cgroup, controller: &str, name: &str) -> String {
    let path = cgroup.paths().controllers[controller].join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

fn end(child: Pid) -> WaitStatus {
    let _ = kill(child, Signal::SIGKILL);
    waitpid(child, None).unwrap()
}

#[test]
fn limits_arrive_and_removal_leaves_nothing() -> Result<()> {
    let Some(sandbox) = Sandbox::new("limits") else { return Ok(()) };
    let plan = sandbox.plan(
        r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "swappiness": 10, "kernel": 1048576},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 10000, "cpus": "0"},
            "pids": {"limit": 17},
            "devices": [{"allow": false, "access": "rwm"}]}"#,
    );
    let cgroup = Cgroup::create(&plan)?;
    cgroup.write_limits(&plan)?;
    assert_eq!(file(&cgroup, "memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(file(&cgroup, "memory", "memory.memsw.limit_in_bytes"), "134217728");
    assert_eq!(file(&cgroup, "memory", "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(file(&cgroup, "memory", "memory.swappiness"), "10");
    assert_eq!(file(&cgroup, "cpu", "cpu.shares"), "512");
    assert_eq!(file(&cgroup, "cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(file(&cgroup, "cpu", "cpu.cfs_burst_us"), "10000");
    assert_eq!(file(&cgroup, "cpuset", "cpuset.cpus"), "0");
    assert!(!file(&cgroup, "cpuset", "cpuset.mems").is_empty());
    assert_eq!(file(&cgroup, "pids", "pids.max"), "17");
    let devices = "c *:* m\nb *:* m\nc 1:3 rwm\nc 1:5 rwm\nc 1:7 rwm\nc 1:8 rwm\nc 1:9 rwm\nc 5:0 rwm\nc 5:2 rwm\n\
                   c 136:* rwm\nc 10:200 rwm";
    assert_eq!(file(&cgroup, "devices", "devices.list"), devices);
    let child = spawn(&cgroup, sleep_long);
    assert_eq!(cgroup.pids()?, [child.as_raw()]);
    let memberships = std::fs::read_to_string(format!("/proc/{child}/cgroup")).unwrap();
    assert!(memberships.lines().all(|line| line.ends_with(&sandbox.name)), "{memberships}");
    end(child);
    cgroup.remove()?;
    assert_eq!(sandbox.left(), Vec::<PathBuf>::new());
    cgroup.remove()
}

#[test]
fn a_privileged_container_may_use_all_devices() -> Result<()> {
    let Some(sandbox) = Sandbox::new("privileged") else { return Ok(()) };
    let plan = sandbox.plan(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
    let cgroup = Cgroup::create(&plan)?;
    cgroup.write_limits(&plan)?;
    assert_eq!(file(&cgroup, "devices", "devices.list"), "a *:* rwm");
    cgroup.remove()
}

#[test]
fn limits_move_both_ways() -> Result<()> {
    let Some(sandbox) = Sandbox::new("update") else { return Ok(()) };
    let plan = sandbox.plan(
        r#"{"memory": {"limit": 67108864, "swap": 67108864}, "cpu": {"quota": 20000, "burst": 20000}, "pids": {"limit": 9}}"#,
    );
    let cgroup = Cgroup::create(&plan)?;
    cgroup.write_limits(&plan)?;
    let steps = [
        (
            r#"{"memory": {"limit": 134217728, "swap": 134217728}, "cpu": {"quota": 90000, "burst": 80000}}"#,
            ["134217728", "134217728", "90000", "80000"],
        ),
        (
            r#"{"memory": {"limit": 33554432, "swap": 33554432}, "cpu": {"quota": 10000, "burst": 5000}}"#,
            ["33554432", "33554432", "10000", "5000"],
        ),
        (
            r#"{"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0}}"#,
            ["33554432", "33554432", "10000", "5000"],
        ),
        (
            r#"{"memory": {"limit": -1}, "cpu": {"quota": -1, "burst": 0}, "pids": {"limit": -1}}"#,
            ["9223372036854771712", "9223372036854771712", "-1", "0"],
        ),
    ];
    for (resources, [memory, swap, quota, burst]) in steps {
        let again = Cgroup::open(&cgroup.paths());
        let mut problems = Vec::new();
        let update = plan_update(&serde_json::from_str(resources).unwrap(), again.directories()?, false, &mut problems);
        assert_eq!(problems, Vec::<Problem>::new());
        again.write_limits(&update)?;
        assert_eq!(file(&cgroup, "memory", "memory.limit_in_bytes"), memory, "{resources}");
        assert_eq!(file(&cgroup, "memory", "memory.memsw.limit_in_bytes"), swap, "{resources}");
        assert_eq!(file(&cgroup, "cpu", "cpu.cfs_quota_us"), quota, "{resources}");
        assert_eq!(file(&cgroup, "cpu", "cpu.cfs_burst_us"), burst, "{resources}");
    }
    assert_eq!(file(&cgroup, "pids", "pids.max"), "max");
    cgroup.remove()
}

#[test]
fn huge_pages_are_limited_where_the_controller_is() -> Result<()> {
    let Some(mut sandbox) = Sandbox::new("hugetlb") else { return Ok(()) };
    if !sandbox.host.v2.iter().any(|unified| unified.controllers.iter().any(|name| name == "hugetlb")) {
        println!("skipped: no hugetlb controller in cgroup v2");
        return Ok(());
    }
    sandbox.restored = Restored::of(&sandbox.host);
    let plan = sandbox.plan(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}]}"#);
    let cgroup = Cgroup::create(&plan)?;
    cgroup.write_limits(&plan)?;
    assert_eq!(file(&cgroup, "", "hugetlb.2MB.max"), "209715200");
    assert_eq!(file(&cgroup, "", "hugetlb.2MB.rsvd.max"), "209715200");
    let sizes = sandbox.plan(r#"{"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}"#);
    let error = cgroup.write_limits(&sizes).expect_err("there are no such pages");
    assert!(error.text().contains("no huge pages of this size"), "{}", error.text());
    cgroup.remove()
}

#[test]
fn processes_freeze_and_thaw() -> Result<()> {
    let Some(sandbox) = Sandbox::new("freeze") else { return Ok(()) };
    let cgroup = Cgroup::create(&sandbox.plan("{}"))?;
    let child = spawn(&cgroup, || {
        loop {
            std::hint::spin_loop();
        }
    });
    assert!(!cgroup.is_frozen()?);
    cgroup.freeze()?;
    assert!(cgroup.is_frozen()?);
    let used = || file(&cgroup, "cpuacct", "cpuacct.usage");
    let before = used();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(used(), before, "a frozen process used the processor");
    cgroup.thaw()?;
    assert!(!cgroup.is_frozen()?);
    // SIGKILL reaches a paused container too.
    cgroup.freeze()?;
    cgroup.kill(KILLED)?;
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Signaled(child, Signal::SIGKILL, false)));
    cgroup.remove()
}

#[test]
fn kill_reaches_everyone_below_and_removal_takes_nested_cgroups() -> Result<()> {
    let Some(sandbox) = Sandbox::new("kill") else { return Ok(()) };
    let cgroup = Cgroup::create(&sandbox.plan("{}"))?;
    let paths = cgroup.paths();
    let nested = |controller: &str| paths.controllers[controller].join("inner/inmost");
    for controller in paths.controllers.keys() {
        std::fs::create_dir_all(nested(controller)).unwrap();
    }
    let children = [spawn(&cgroup, sleep_long), spawn(&cgroup, sleep_long)];
    std::fs::write(nested("devices").join("cgroup.procs"), children[0].to_string()).unwrap();
    let mut pids = cgroup.pids()?;
    pids.sort_unstable();
    assert_eq!(pids, children.map(Pid::as_raw));
    let again = Cgroup::open(&paths);
    again.kill(libc::SIGTERM)?;
    for child in children {
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Signaled(child, Signal::SIGTERM, false)));
    }
    assert_eq!(again.pids()?, Vec::<i32>::new());
    again.remove()
}

#[test]
fn a_fork_bomb_dies() -> Result<()> {
    let Some(sandbox) = Sandbox::new("bomb") else { return Ok(()) };
    let plan = sandbox.plan(r#"{"pids": {"limit": 40}}"#);
    let cgroup = Cgroup::create(&plan)?;
    cgroup.write_limits(&plan)?;
    #[allow(unsafe_code)]
    let first = spawn(&cgroup, || {
        loop {
            // SAFETY: the child goes on with this loop, which only forks.
            let _ = unsafe { fork() };
        }
    });
    std::thread::sleep(Duration::from_millis(20));
    cgroup.kill(KILLED)?;
    assert_eq!(cgroup.pids()?, Vec::<i32>::new());
    assert_eq!(waitpid(first, None), Ok(WaitStatus::Signaled(first, Signal::SIGKILL, false)));
    cgroup.remove()
}

#[test]
fn a_cgroup_with_processes_is_refused_and_kept() -> Result<()> {
    let Some(sandbox) = Sandbox::new("occupied") else { return Ok(()) };
    let plan = sandbox.plan("{}");
    let cgroup = Cgroup::create(&plan)?;
    let child = spawn(&cgroup, sleep_long);
    let refused = Cgroup::create(&plan).expect_err("the cgroup is in use");
    assert!(refused.headline().ends_with("container's cgroup is not empty: 1 process(es) found"), "{refused}");
    assert_eq!(sandbox.left().len(), plan.directories.len());
    end(child);
    // Empty, it may be used again.
    Cgroup::create(&plan)?;
    cgroup.remove()
}

#[test]
fn a_failure_half_way_undoes_everything() -> Result<()> {
    let Some(sandbox) = Sandbox::new("undo") else { return Ok(()) };
    let mut broken = sandbox.plan_at(Some(&format!("{}/a/b", sandbox.name)), "{}");
    // The last directory has a name that the kernel does not take.
    let last = broken.directories.last_mut().unwrap();
    last.path.push("a\nb");
    let error = Cgroup::create(&broken).expect_err("a newline is no part of a name");
    assert_eq!(error.errno(), Some(rustix::io::Errno::INVAL));
    assert_eq!(sandbox.left(), Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn parents_go_with_the_last_container() -> Result<()> {
    let Some(sandbox) = Sandbox::new("parents") else { return Ok(()) };
    let one = Cgroup::create(&sandbox.plan_at(Some(&format!("{}/parent/one", sandbox.name)), "{}"))?;
    let two = Cgroup::create(&sandbox.plan_at(Some(&format!("{}/parent/two", sandbox.name)), "{}"))?;
    assert_eq!(two.paths().parents, Vec::<PathBuf>::new());
    two.remove()?;
    let record = serde_json::to_string(&one.paths()).unwrap();
    let one = Cgroup::open(&serde_json::from_str(&record).unwrap());
    one.remove()?;
    assert_eq!(sandbox.left(), Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn an_impossible_limit_says_why() -> Result<()> {
    let Some(sandbox) = Sandbox::new("impossible") else { return Ok(()) };
    let plan = sandbox.plan(r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 7, "rate": 600}]}}"#);
    let cgroup = Cgroup::create(&plan)?;
    let error = cgroup.write_limits(&plan).expect_err("there is no such disk");
    assert!(error.headline().starts_with("limit block io: write("), "{}", error.headline());
    assert!(error.text().contains("config: linux.resources.blockIO.throttleReadBpsDevice[0]"), "{}", error.text());
    assert!(error.text().contains("no such block device"), "{}", error.text());
    cgroup.remove()
}

#[test]
fn a_limit_below_the_use_is_refused() -> Result<()> {
    let Some(sandbox) = Sandbox::new("below-use") else { return Ok(()) };
    let cgroup = Cgroup::create(&sandbox.plan("{}"))?;
    let child = spawn(&cgroup, || {
        let pages = vec![1u8; 32 << 20];
        std::hint::black_box(&pages);
        sleep_long();
        std::hint::black_box(&pages);
    });
    let started = Instant::now();
    let used = || file(&cgroup, "memory", "memory.usage_in_bytes").parse::<u64>().unwrap();
    while used() < 32 << 20 && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut problems = Vec::new();
    // No swap may be used either, or the kernel makes room there.
    let resources = r#"{"memory": {"limit": 4194304, "swap": 4194304}}"#;
    let update = plan_update(&serde_json::from_str(resources).unwrap(), cgroup.directories()?, false, &mut problems);
    match cgroup.write_limits(&update) {
        Err(error) => {
            assert!(error.text().contains("limit memory: write("), "{}", error.text());
            assert!(error.text().contains("current usage: "), "{}", error.text());
        }
        Ok(()) => println!("the machine has swap and made room there"),
    }
    end(child);
    cgroup.remove()
}

#[test]
fn exec_may_ask_for_a_cgroup_below() -> Result<()> {
    let Some(sandbox) = Sandbox::new("below") else { return Ok(()) };
    let cgroup = Cgroup::create(&sandbox.plan("{}"))?;
    let record = cgroup.paths();
    std::fs::create_dir(record.controllers["pids"].join("sub")).unwrap();
    let below = Cgroup::open(&record).below(&["pids"], Path::new("/sub"))?;
    let child = spawn(&below, sleep_long);
    let memberships = std::fs::read_to_string(format!("/proc/{child}/cgroup")).unwrap();
    let in_sub = |line: &str| line.ends_with("/sub") == line.contains(":pids:");
    assert!(memberships.lines().all(in_sub), "{memberships}");
    assert!(Cgroup::open(&record).below(&[], Path::new("a/../../b")).is_err());
    assert!(Cgroup::open(&record).below(&["nonesuch"], Path::new("a")).is_err());
    end(child);
    cgroup.remove()
}

#[test]
fn v2_alone_works_too() -> Result<()> {
    let Some(sandbox) = Sandbox::new_v2("v2") else { return Ok(()) };
    let resources = r#"{"devices": [{"allow": false, "access": "rwm"}], "unified": {"cgroup.max.descendants": "7"}}"#;
    let plan = sandbox.plan_at(Some(&format!("/{}/parent/one", sandbox.name)), resources);
    let cgroup = Cgroup::create(&plan)?;
    cgroup.write_limits(&plan)?;
    assert_eq!(file(&cgroup, "", "cgroup.max.descendants"), "7");
    let nested = cgroup.paths().controllers[""].join("inner/inmost");
    std::fs::create_dir_all(&nested).unwrap();
    let children = [spawn(&cgroup, sleep_long), spawn(&cgroup, sleep_long)];
    std::fs::write(nested.join("cgroup.procs"), children[0].to_string()).unwrap();
    let refused = Cgroup::create(&plan).expect_err("the cgroup is in use");
    assert!(refused.headline().ends_with("container's cgroup is not empty: 2 process(es) found"), "{refused}");
    cgroup.freeze()?;
    assert!(cgroup.is_frozen()?);
    cgroup.kill(libc::SIGTERM)?;
    assert!(cgroup.is_frozen()?);
    cgroup.thaw()?;
    assert!(!cgroup.is_frozen()?);
    for child in children {
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Signaled(child, Signal::SIGTERM, false)));
    }
    let child = spawn(&cgroup, sleep_long);
    cgroup.freeze()?;
    cgroup.kill(KILLED)?;
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Signaled(child, Signal::SIGKILL, false)));
    Cgroup::open(&cgroup.paths()).remove()
}

#[test]
fn a_v2_cgroup_can_be_delegated() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let Some(sandbox) = Sandbox::new_v2("delegate") else { return Ok(()) };
    let cgroup = Cgroup::create(&sandbox.plan("{}"))?;
    cgroup.give_to(1234)?;
    let directory = cgroup.paths().controllers[""].clone();
    let owner = |path: PathBuf| std::fs::metadata(path).unwrap().uid();
    assert_eq!(owner(directory.clone()), 1234);
    assert_eq!(owner(directory.join("cgroup.procs")), 1234);
    assert_eq!(owner(directory.join("cgroup.max.depth")), 0);
    cgroup.remove()
}

#[test]
fn the_probe_finds_what_the_kernel_lists() {
    let host = probe().unwrap();
    let listed = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let v1 = listed.lines().filter(|line| !line.contains("::")).count();
    assert!(host.v1.len() <= v1);
    for hierarchy in &host.v1 {
        let own = hierarchy.mount_point.join(hierarchy.own.strip_prefix("/").unwrap());
        assert!(own.join("tasks").exists(), "{}", own.display());
    }
    if let Some(unified) = &host.v2 {
        assert!(unified.mount_point.join("cgroup.controllers").exists());
    }
}

/// `update` tells systemd too, or it would write the old values again when it next reloads.
#[test]
fn properties_of_a_unit_are_changed() {
    if !Path::new("/run/systemd/system").exists() {
        eprintln!("skipped: properties_of_a_unit_are_changed: systemd is not PID 1 here");
        return;
    }
    let unit = UnitName { name: format!("minicon-test-{}.scope", std::process::id()), bus: Bus::System };
    let mut scope = std::process::Command::new("systemd-run")
        .args(["--scope", "--quiet", "--collect", "--unit", &unit.name, "sleep", "1000"])
        .spawn()
        .unwrap();
    let systemctl = |args: &[&str]| {
        let output = std::process::Command::new("systemctl").args(args).arg(&unit.name).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let started = Instant::now();
    while systemctl(&["is-active"]) != "active" && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let resources = serde_json::from_str(r#"{"pids": {"limit": 9}, "memory": {"limit": 67108864}}"#).unwrap();
    let path = PathBuf::from("/sys/fs/cgroup/system.slice").join(&unit.name);
    let paths =
        CgroupPaths { controllers: [(String::new(), path)].into(), unit: Some(unit.clone()), ..CgroupPaths::default() };
    let cgroup = Cgroup::open(&paths);
    let update = plan_update(&resources, cgroup.directories().unwrap(), false, &mut Vec::new());
    let changed = cgroup.set_properties(&update);
    let now = systemctl(&["show", "--value", "-p", "TasksMax", "-p", "MemoryMax", "--"]);
    scope.kill().unwrap();
    scope.wait().unwrap();
    changed.unwrap();
    let mut now: Vec<&str> = now.split_whitespace().collect();
    now.sort_unstable();
    assert_eq!(now, ["67108864", "9"]);
    // Once nobody is left in it, the unit is gone.
    let gone =
        || Cgroup::open(&CgroupPaths { unit: Some(unit.clone()), ..CgroupPaths::default() }).set_properties(&update);
    while gone().is_ok() && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(gone().unwrap_err().headline().contains("NoSuchUnit"));
}

/// Neither is there such a unit, nor, on most machines that run this, a systemd to know one.
#[test]
fn an_update_that_systemd_cannot_be_told_of_is_taken_back() -> Result<()> {
    let Some(sandbox) = Sandbox::new("untold") else { return Ok(()) };
    let plan = sandbox.plan(r#"{"pids": {"limit": 55}}"#);
    let cgroup = Cgroup::create(&plan)?;
    cgroup.write_limits(&plan)?;
    let unit = UnitName { name: format!("{}.scope", sandbox.name), bus: Bus::System };
    let of_unit = Cgroup::open(&CgroupPaths { unit: Some(unit), ..cgroup.paths() });
    let resources = serde_json::from_str(r#"{"pids": {"limit": 66}}"#).unwrap();
    let update = plan_update(&resources, of_unit.directories()?, false, &mut Vec::new());
    assert!(of_unit.update_limits(&update).is_err());
    assert_eq!(file(&cgroup, "pids", "pids.max"), "55");
    cgroup.update_limits(&plan_update(&resources, cgroup.directories()?, false, &mut Vec::new()))?;
    assert_eq!(file(&cgroup, "pids", "pids.max"), "66");
    cgroup.remove()
}
