//! The systemd cgroup driver, where systemd is PID 1: units, their properties and their end, seen through `systemctl`
//! and the cgroup files.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Bundle, Cmd, Output, Test, eventually, hook, program, rootfs, slowness};

pub fn runs() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// With cgroup v2 alone: a machine with systemd and cgroup v1 has other files.
fn with_systemd() -> Option<Test> {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Test::where_possible(runs() && v2, "systemd is not PID 1 here, with cgroup v2 alone")
}

fn with_systemd_and_podman() -> Option<Test> {
    let possible = runs() && Path::new(PODMAN).exists();
    Test::where_possible(possible, "systemd is not PID 1 here, or there is no podman")
}

/// The runtime with the flag that engines give.
fn with_flag(t: &Test, b: &Bundle<'_>, verb: &str) -> Cmd {
    b.write();
    t.runtime(["--systemd-cgroup", verb, "--bundle"]).arg(&b.dir).arg(&b.id)
}

#[track_caller]
fn up(t: &Test, b: &Bundle<'_>) {
    with_flag(t, b, "create").run().ok();
    b.start().ok();
}

/// The unit that a container has without a path.
fn unit(b: &Bundle<'_>) -> String {
    format!("minicon-{}.scope", b.id)
}

fn show(unit: &str, property: &str) -> String {
    shown(Cmd::new("systemctl"), unit, property)
}

pub fn shown(systemctl: Cmd, unit: &str, property: &str) -> String {
    let output = systemctl.args(["show", "--value", "--property", property, "--", unit]).run().ok();
    output.stdout.trim().to_owned()
}

#[track_caller]
fn is_unknown(unit: &str) {
    assert_eq!(show(unit, "LoadState"), "not-found", "{unit}");
    assert_eq!(show(unit, "ActiveState"), "inactive", "{unit}");
}

/// The cgroup v2 of a process.
pub fn cgroup_of(pid: i32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("/proc/PID/cgroup");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup v2");
    Path::new("/sys/fs/cgroup").join(path)
}

pub fn read(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).expect("a file of the cgroup").trim().to_owned()
}

#[test]
fn a_container_is_a_scope_with_its_limits() {
    let Some(t) = with_systemd() else { return };
    let limits = json!({
        "memory": {"limit": 67108864, "reservation": 33554432},
        "pids": {"limit": 55},
        "cpu": {"shares": 512, "quota": 12345, "period": 100_000, "cpus": "0", "mems": "0"},
        "unified": {"memory.high": "60000000", "cgroup.max.depth": "7"},
    });
    let b = t.idle().set("/linux/resources", limits);
    up(&t, &b);
    for (property, value) in [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemoryHigh", "60000000"),
        ("TasksMax", "55"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "130ms"),
        ("CPUQuotaPeriodUSec", "100ms"),
        ("AllowedCPUs", "0"),
        ("AllowedMemoryNodes", "0"),
        ("MemoryAccounting", "yes"),
        ("TasksAccounting", "yes"),
        ("CPUAccounting", "yes"),
        ("IOAccounting", "yes"),
        ("Description", &format!("minicon container {}", b.id)),
    ] {
        assert_eq!(show(&unit(&b), property), value, "{property}");
    }
    let directory = Path::new("/sys/fs/cgroup/system.slice").join(unit(&b));
    assert_eq!(cgroup_of(b.pid()), directory);
    let files = [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.high", "60000000"),
        ("pids.max", "55"),
        ("cpu.weight", "59"),
        // Not rounded, as systemd would have it.
        ("cpu.max", "12345 100000"),
        ("cpuset.cpus", "0"),
        ("cgroup.max.depth", "7"),
    ];
    for (file, value) in files {
        // The kernel counts memory in pages.
        let expected = if file == "memory.high" { "59998208" } else { value };
        assert_eq!(read(&directory, file), expected, "{file}");
    }
    // systemd writes its properties into the files again: they must say the same.
    Cmd::new("systemctl").arg("daemon-reload").run().ok();
    assert_eq!(read(&directory, "memory.max"), "67108864");
    assert_eq!(read(&directory, "pids.max"), "55");
    assert_eq!(read(&directory, "cpuset.cpus"), "0");
}

#[test]
fn minus_one_lifts_what_systemd_would_limit() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle().set("/linux/resources", json!({"pids": {"limit": -1}}));
    up(&t, &b);
    assert_eq!(show(&unit(&b), "TasksMax"), "infinity");
    assert_eq!(read(&cgroup_of(b.pid()), "pids.max"), "max");
}

#[test]
fn exec_joins_the_scope() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle();
    up(&t, &b);
    let pid_file = t.path("pid");
    let flags = ["--detach", "--pid-file", pid_file.to_str().expect("UTF-8")];
    b.exec_with(&flags, &["sleep", "1000"]).run().ok();
    let pid = fs::read_to_string(&pid_file).expect("a pid file").parse().expect("a pid");
    assert_eq!(cgroup_of(pid), cgroup_of(b.pid()));
}

#[test]
fn the_unit_ends_with_the_container() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle();
    up(&t, &b);
    let directory = cgroup_of(b.pid());
    t.runtime(["delete", "--force", &b.id]).run().ok();
    is_unknown(&unit(&b));
    assert!(!directory.exists());
    // One whose processes have ended is gone before delete asks for it.
    up(&t, &b);
    b.stop();
    b.delete().ok();
    is_unknown(&unit(&b));
    with_flag(&t, &b.set("/process/args", json!(["true"])), "run").run().ok();
}

/// Processes that outlive init, since they share the host's pid namespace, and cgroups that the container has made.
#[test]
fn what_is_left_in_the_unit_ends_too() {
    let Some(t) = with_systemd() else { return };
    let b = t.sh("sleep 1000 & exec sleep 1000").share("pid");
    up(&t, &b);
    let directory = cgroup_of(b.pid());
    fs::create_dir(directory.join("inner")).expect("mkdir");
    t.runtime(["delete", "--force", &b.id]).run().ok();
    is_unknown(&unit(&b));
    assert!(!directory.exists());
}

#[test]
fn a_path_names_the_slice() {
    let Some(t) = with_systemd() else { return };
    for (slice, name, directory) in [
        ("mctest-deep.slice", "mctest-deep.slice", "mctest.slice/mctest-deep.slice/"),
        ("machine.slice", "machine.slice", "machine.slice/"),
        ("-", "-.slice", ""),
        ("", "system.slice", "system.slice/"),
    ] {
        let b = t.idle();
        let b = t.idle().set("/linux/cgroupsPath", format!("{slice}:libpod:{}", b.id));
        up(&t, &b);
        let unit = b.config["linux"]["cgroupsPath"].as_str().expect("a path").rsplit(':').next().map(str::to_owned);
        let unit = format!("libpod-{}.scope", unit.expect("a name"));
        assert_eq!(show(&unit, "Slice"), name);
        assert_eq!(cgroup_of(b.pid()), Path::new("/sys/fs/cgroup").join(directory).join(&unit));
        t.runtime(["delete", "--force", &b.id]).run().ok();
        is_unknown(&unit);
    }
}

#[test]
fn a_name_that_is_a_slice_makes_one() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle();
    let slice = format!("{}.slice", b.id.replace('-', "_"));
    let b = b.set("/linux/cgroupsPath", format!(":x:{slice}")).set("/linux/resources/pids/limit", 9);
    up(&t, &b);
    assert_eq!(show(&slice, "ActiveState"), "active");
    assert_eq!(show(&slice, "TasksMax"), "9");
    assert_eq!(cgroup_of(b.pid()), Path::new("/sys/fs/cgroup").join(&slice));
    t.runtime(["delete", "--force", &b.id]).run().ok();
    assert_eq!(show(&slice, "ActiveState"), "inactive");
    assert!(!Path::new("/sys/fs/cgroup").join(&slice).exists());
}

#[test]
fn annotations_are_properties() {
    let Some(t) = with_systemd() else { return };
    let given = |name: &str, value: &str| {
        let mut annotations = serde_json::Map::new();
        annotations.insert(format!("org.systemd.property.{name}"), value.into());
        Value::from(annotations)
    };
    let b = t.idle().set("/annotations", given("TimeoutStopSec", "uint64 7"));
    up(&t, &b);
    assert_eq!(show(&unit(&b), "TimeoutStopUSec"), "7s");
    for (name, value, message) in [
        ("TimeoutStopSec", "soon", "a string needs quotes"),
        ("NoSuchThing", "true", "Cannot set property NoSuchThing"),
        ("CollectMode", "'sometimes'", "CollectMode"),
    ] {
        let b = t.idle().set("/annotations", given(name, value));
        let output = with_flag(&t, &b, "create").run();
        output.fails(message).says(&format!("config: annotations[\"org.systemd.property.{name}\"]"));
        b.is_gone();
        is_unknown(&unit(&b));
    }
}

#[test]
fn a_create_that_is_killed_leaves_nothing_after_delete() {
    let Some(t) = with_systemd() else { return };
    // At a known step, with an init that cannot notice: the unit would go with it.
    let script = "init=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); kill -STOP $init; kill -KILL $PPID";
    let b = t.idle().set("/hooks/createRuntime", json!([hook(script)]));
    with_flag(&t, &b, "create").run();
    assert_eq!(show(&unit(&b), "ActiveState"), "active");
    t.runtime(["delete", "--force", &b.id]).run().ok();
    is_unknown(&unit(&b));
    // And wherever the time takes it.
    for round in 0..12u64 {
        let b = t.idle();
        let mut create = with_flag(&t, &b, "create").spawn();
        std::thread::sleep(std::time::Duration::from_millis(25 * round));
        create.kill();
        create.wait();
        t.runtime(["delete", "--force", &b.id]).run().ok();
        b.is_gone();
        let unit = unit(&b);
        let state = || ["ActiveState", "SubState", "Result"].map(|name| show(&unit, name)).join(" ");
        let is_gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            show(&unit, "LoadState") == "not-found"
        });
        assert!(is_gone, "round {round}: {}", state());
        assert!(!Path::new("/sys/fs/cgroup/system.slice").join(&unit).exists());
    }
}

/// A create that is killed when it has said on disk which unit it wants, and before systemd has heard of it.
fn kill_before_it_asks(t: &Test, b: &Bundle<'_>) {
    let bus = t.path("silent-bus");
    let _ = fs::remove_file(&bus);
    let listener = UnixListener::bind(&bus).expect("bind");
    listener.set_nonblocking(true).expect("a listener that does not wait");
    let create = with_flag(t, b, "create");
    let mut create = create.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", bus.display())).spawn();
    eventually("it wants to talk to systemd", || listener.accept().is_ok());
    create.kill();
    create.wait();
}

/// A call of systemd's interface; true if it succeeds.
fn manager_does(member: &str, args: &[&str]) -> bool {
    let systemd = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
    Cmd::new("busctl").arg("call").args(systemd).arg(member).args(args).run().code == 0
}

/// systemd knows a unit as soon as another names it, and for as long: nothing runs there, so there is nothing to wait for.
#[test]
fn a_claim_on_a_unit_that_systemd_knows_by_name_alone_takes_no_time() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle();
    kill_before_it_asks(&t, &b);
    let (unit, holder) = (unit(&b), format!("{}-holder", b.id));
    let after = format!("--property=After={unit}");
    Cmd::new("systemd-run").args(["--quiet", "--unit", &holder, &after, "sleep", "1000"]).run().ok();
    assert!(manager_does("GetUnit", &["s", &unit]), "systemd knows the unit");
    // Half of the time for which systemd is waited for.
    let half = 12 / u64::from(slowness());
    t.runtime(["delete", "--force", &b.id]).limit(half).run().ok();
    b.is_gone();
    Cmd::new("systemctl").args(["stop", &holder]).run().ok();
}

#[test]
fn a_slice_that_was_claimed_goes_if_it_is_empty_and_a_containers() {
    let Some(t) = with_systemd() else { return };
    let claim = || {
        let b = t.idle();
        let slice = format!("{}.slice", b.id.replace('-', "_"));
        let b = b.set("/linux/cgroupsPath", format!(":x:{slice}"));
        kill_before_it_asks(&t, &b);
        (b, slice)
    };
    let start = |slice: &str| {
        let properties = ["1", "Description", "s", "a container's", "0"];
        let body = [&["ssa(sv)a(sa(sv))", slice, "replace"][..], &properties].concat();
        assert!(manager_does("StartTransientUnit", &body), "systemd starts {slice}");
        eventually("it is active", || show(slice, "ActiveState") == "active");
    };
    // As the killed create would have had it.
    let (b, slice) = claim();
    start(&slice);
    t.runtime(["delete", "--force", &b.id]).run().ok();
    assert_eq!(show(&slice, "ActiveState"), "inactive");
    assert!(!Path::new("/sys/fs/cgroup").join(&slice).exists());
    // Somebody else is in it.
    let (b, slice) = claim();
    start(&slice);
    let inside = ["--scope", "--quiet", "--collect", "--slice", &slice, "sleep", "1000"];
    let mut other = Cmd::new("systemd-run").args(inside).spawn();
    eventually("it is in the slice", || cgroup_of(other.pid()).starts_with(Path::new("/sys/fs/cgroup").join(&slice)));
    t.runtime(["delete", "--force", &b.id]).run().ok();
    assert_eq!(show(&slice, "ActiveState"), "active");
    assert!(!other.has_ended(), "who is in it lives on");
    drop(other);
    Cmd::new("systemctl").args(["stop", &slice]).run().ok();
    // Nobody is in it, but it is not one that a runtime has made.
    let (b, slice) = claim();
    Cmd::new("systemctl").args(["start", &slice]).run().ok();
    t.runtime(["delete", "--force", &b.id]).run().ok();
    assert_eq!(show(&slice, "ActiveState"), "active");
    Cmd::new("systemctl").args(["stop", &slice]).run().ok();
}

#[test]
fn a_failing_create_takes_the_unit_away() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle().set("/hooks/createRuntime", json!([hook("exit 7")]));
    with_flag(&t, &b, "create").run().fails("createRuntime");
    b.is_gone();
    is_unknown(&unit(&b));
    let b = t.idle().set("/linux/resources", json!({"unified": {"memory.max": "much"}}));
    with_flag(&t, &b, "create").run().fails("memory.max").says("config: linux.resources.unified");
    is_unknown(&unit(&b));
}

#[test]
fn a_unit_of_somebody_else_is_left_alone() {
    let Some(t) = with_systemd() else { return };
    let first = t.idle();
    up(&t, &first);
    let other_root = t.directory("other");
    let again = Cmd::new(program()).arg("--root").arg(&other_root).args(["--systemd-cgroup", "create", "--bundle"]);
    let output = again.arg(&first.dir).arg(&first.id).run();
    output.fails("the unit exists already").says("config: linux.cgroupsPath").says("choose another id");
    assert_eq!((show(&unit(&first), "ActiveState").as_str(), first.status().as_str()), ("active", "running"));
    assert_eq!(fs::read_dir(&other_root).expect("a directory").count(), 0);
}

#[test]
fn a_failed_unit_of_the_same_name_is_reset() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle();
    let unit = unit(&b);
    let flags = ["--scope", "--quiet", "--unit", &unit, "--property", "RuntimeMaxSec=100ms", "sleep", "100"];
    Cmd::new("systemd-run").args(flags).run();
    eventually("the unit has failed", || show(&unit, "ActiveState") == "failed");
    up(&t, &b);
    assert_eq!(show(&unit, "ActiveState"), "active");
}

#[test]
fn a_bus_that_is_not_there_is_told() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle();
    let output = with_flag(&t, &b, "create").env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus").run();
    output.fails("reach systemd over the system bus: connect(/nonexistent/bus): ENOENT").says("needs systemd as PID 1");
    b.is_gone();
    // What was made while it was there can be deleted when it is gone: systemd notices that nobody is left.
    up(&t, &b);
    let delete = t.runtime(["delete", "--force", &b.id]).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    delete.run().ok();
    eventually("the unit is gone", || show(&unit(&b), "LoadState") == "not-found");
}

#[test]
fn an_update_that_systemd_is_not_told_of_changes_nothing() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle().set("/linux/resources", json!({"pids": {"limit": 55}}));
    up(&t, &b);
    let update = |limit| t.runtime(["update", "--pids-limit", limit, &b.id]);
    update("66").env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus").run().fails("reach systemd");
    assert_eq!(read(&cgroup_of(b.pid()), "pids.max"), "55");
    update("66").run().ok();
    assert_eq!((read(&cgroup_of(b.pid()), "pids.max"), show(&unit(&b), "TasksMax")), ("66".into(), "66".into()));
}

/// systemd puts init into what it finds.
#[test]
fn a_frozen_cgroup_is_refused() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle();
    let b = {
        let path = format!("system.slice:frozen:{}", b.id);
        b.set("/linux/cgroupsPath", path)
    };
    let directory = Path::new("/sys/fs/cgroup/system.slice").join(format!("frozen-{}.scope", b.id));
    fs::create_dir(&directory).expect("mkdir");
    fs::write(directory.join("cgroup.freeze"), "1").expect("freeze");
    with_flag(&t, &b, "create").run().fails("container's cgroup unexpectedly frozen").says("config: linux.cgroupsPath");
    fs::remove_dir(&directory).expect("rmdir");
    b.is_gone();
}

/// systemd writes what it makes of a property, which for the BFQ scheduler is another number: ours come after.
#[test]
fn an_update_is_written_as_it_was_asked_for() {
    let Some(t) = with_systemd() else { return };
    let b = t.idle().set("/linux/resources", json!({"blockIO": {"weight": 333}}));
    up(&t, &b);
    let weight = || fs::read_to_string(cgroup_of(b.pid()).join("io.bfq.weight")).ok();
    // Without the scheduler there is no such file, and the weight is that of systemd's property.
    let has_bfq = weight().is_some();
    t.runtime(["update", "--blkio-weight", "111", &b.id]).run().ok();
    assert_eq!(show(&unit(&b), "IOWeight"), "1021");
    assert!(!has_bfq || weight().is_some_and(|text| text.starts_with("default 111\n")), "{:?}", weight());
}

#[test]
fn without_systemd_the_flag_is_an_error() {
    let Some(t) = Test::where_possible(!runs(), "systemd is PID 1 here") else { return };
    let b = t.idle();
    let output = with_flag(&t, &b, "create").run();
    output.fails("systemd not running on this host, cannot use systemd cgroups manager").says("cgroupfs");
    b.is_gone();
    with_flag(&t, &b, "restore").run().fails("systemd not running on this host, cannot use systemd cgroups manager");
    b.is_gone();
    let b = b.set("/linux/cgroupsPath", "/a/b");
    with_flag(&t, &b, "create").run().fails("expected cgroupsPath to be of format \"slice:prefix:name\"");
}

#[test]
fn without_a_manager_the_container_stays_where_its_caller_is() {
    let Some(t) = Test::of_minicon("the flag is crun's") else { return };
    let b = t.sh("cat /proc/self/cgroup").share("cgroup").unset("/linux/resources");
    b.write();
    let disabled =
        |b: &Bundle<'_>| t.runtime(["--cgroup-manager", "disabled", "run", "--bundle"]).arg(&b.dir).arg(&b.id);
    let own = fs::read_to_string("/proc/self/cgroup").expect("our cgroups");
    disabled(&b).run().ok().prints(own.trim());
    let b = t.idle().set("/linux/resources", json!({"pids": {"limit": 9}}));
    b.write();
    disabled(&b).run().fails("needs the cgroup controller pids").says("linux.resources.pids.limit");
    t.runtime(["--cgroup-manager", "none", "run", "x"]).run().fails("unknown cgroup manager specified `none`");
}

/// podman with a storage of its own.
pub fn podman(command: Cmd, dir: &Path) -> Cmd {
    let command = command.arg("--root").arg(dir.join("storage")).arg("--runroot").arg(dir.join("runroot"));
    let command = command.args(["--storage-driver=vfs", "--cgroup-manager=systemd", "--events-backend=none"]);
    command.arg("--tmpdir").arg(dir.join("tmp")).limit(120)
}

/// podman calls `RUNTIME --systemd-cgroup create …`, with `machine.slice:libpod:ID` as the path.
pub fn podman_run(podman: Cmd, runtime: &Path, rootfs: &Path) -> Output {
    let run = ["run", "--rm", "--network=none", "--log-driver=none", "--pids-limit=77", "--memory=64m", "--rootfs"];
    podman.arg("--runtime").arg(runtime).args(run).arg(rootfs).args(["sh", "-c", LIMITS]).run()
}

pub const PODMAN: &str = "/usr/bin/podman";

const LIMITS: &str = "cd /sys/fs/cgroup; cat pids.max memory.max; cat /proc/self/cgroup";

#[test]
fn podman_has_systemd_make_the_cgroup() {
    let Some(t) = with_systemd_and_podman() else { return };
    let rootfs = t.path("rootfs");
    rootfs::make(&rootfs);
    let podman = podman(Cmd::new(PODMAN), &t.directory("podman"));
    podman_run(podman, program(), &rootfs).ok().prints("77\n67108864\n0::/");
}
