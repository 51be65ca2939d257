//! Without any privilege: what `spec --rootless` describes, made and run by an ordinary user.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Cmd, Test, eventually, program, rootfs};

pub const USER: u32 = 1000;

/// A bundle that belongs to the user, and a copy of the runtime that the user can reach.
pub struct Rootless<'t> {
    test: &'t Test,
    pub dir: PathBuf,
    /// Where root starts the user's programs, if not where the test is.
    cgroup: Option<PathBuf>,
}

impl<'t> Rootless<'t> {
    pub fn new(test: &'t Test) -> Self {
        let dir = test.directory("rootless");
        let runtime = dir.join("minicon");
        fs::copy(program(), &runtime).expect("copy the runtime");
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).expect("chmod");
        rootfs::make(&dir.join("rootfs"));
        test.directory("rootless/run");
        give(&dir);
        let rootless = Rootless { test, dir, cgroup: None };
        rootless.runtime(&["spec", "--rootless"]).run().ok();
        rootless
    }

    /// The same user, in a session that root has put into a cgroup.
    pub fn in_cgroup(mut self, cgroup: &Path) -> Self {
        self.cgroup = Some(cgroup.join("cgroup.procs"));
        self
    }

    /// The same user, in a session that is where the test is.
    pub fn in_no_cgroup(&mut self) {
        self.cgroup = None;
    }

    /// A program of the user's.
    fn program(&self, program: impl AsRef<OsStr>) -> Cmd {
        let ids = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()];
        started_in(self.cgroup.as_deref()).args(ids).arg(program).dir(&self.dir)
    }

    /// The runtime as the user would call it: its state goes below XDG_RUNTIME_DIR.
    pub fn runtime(&self, args: &[&str]) -> Cmd {
        self.runtime_behind(&[], args)
    }

    /// As [`Rootless::runtime`], started by another program of the user's.
    fn runtime_behind(&self, starter: &[&str], args: &[&str]) -> Cmd {
        let command = self.program("env").args(starter).arg(self.dir.join("minicon")).args(args);
        command.env("XDG_RUNTIME_DIR", self.dir.join("run"))
    }

    /// A shell as root of a user namespace of the user's own, which is how rootless engines call a runtime: without USER.
    pub fn shell_of_an_engine(&self, script: &str) -> Cmd {
        self.program("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", script])
            .no_env()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("XDG_RUNTIME_DIR", self.dir.join("run"))
    }

    /// As [`Self::configure`], for a container that stays in the user namespace of the caller, in a bundle of its own.
    pub fn configure_for_engine(&self, name: &str, change: impl FnOnce(&mut Value)) {
        fs::create_dir(self.dir.join(name)).expect("a directory for the bundle");
        let mut config: Value =
            serde_json::from_slice(&fs::read(self.dir.join("config.json")).expect("config.json")).expect("JSON");
        config["process"]["terminal"] = json!(false);
        config["root"]["path"] = json!(self.dir.join("rootfs"));
        for mappings in ["uidMappings", "gidMappings"] {
            config["linux"][mappings] = json!([]);
        }
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "user" && namespace["type"] != "cgroup");
        change(&mut config);
        fs::write(self.dir.join(name).join("config.json"), config.to_string()).expect("write config.json");
        give(&self.dir.join(name));
    }

    pub fn configure(&self, change: impl FnOnce(&mut Value)) {
        let file = self.dir.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("config.json")).expect("JSON");
        config["process"]["terminal"] = json!(false);
        change(&mut config);
        fs::write(file, config.to_string()).expect("write config.json");
    }
}

/// setpriv(1), started by root in the cgroup of these `cgroup.procs`, or here.
pub fn started_in(procs: Option<&Path>) -> Cmd {
    match procs {
        Some(procs) => Cmd::new("sh").args(["-c", "echo $$ >$0 && exec \"$@\""]).arg(procs).arg("setpriv"),
        None => Cmd::new("setpriv"),
    }
}

impl Drop for Rootless<'_> {
    fn drop(&mut self) {
        let state = self.dir.join("run/minicon");
        for entry in fs::read_dir(state).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            self.test.runtime(["--root"]).arg(self.dir.join("run/minicon")).args(["delete", "--force", &id]).run();
        }
    }
}

fn give(path: &Path) {
    if !path.is_symlink() {
        chown(path, Some(USER), Some(USER)).expect("chown");
        if path.is_dir() {
            fs::read_dir(path).expect("a directory").flatten().for_each(|entry| give(&entry.path()));
        }
    }
}

#[test]
fn an_ordinary_user_runs_a_container() {
    let Some(t) = Test::of_minicon("the command line of this test is minicon's") else { return };
    let rootless = Rootless::new(&t);
    let script =
        "id -u; cat /proc/self/uid_map; hostname; touch /made && stat -c %u /made; echo x >/dev/null && echo ok";
    rootless.configure(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["root"]["readonly"] = json!(false);
    });
    let output = rootless.runtime(&["run", "rootless"]).run().ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "1000", "1", "minicon", "0", "ok"], "{}", output.stdout);
}

#[test]
fn an_ordinary_user_enters_a_container() {
    let Some(t) = Test::of_minicon("the command line of this test is minicon's") else { return };
    let rootless = Rootless::new(&t);
    rootless.configure(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    rootless.runtime(&["create", "entered"]).run().ok();
    rootless.runtime(&["start", "entered"]).run().ok();
    let output = rootless.runtime(&["exec", "entered", "sh", "-c", "id -u; hostname; cat /proc/1/comm"]).run().ok();
    output.prints("0\nminicon\nsleep");
    assert!(rootless.runtime(&["state", "entered"]).run().ok().stdout.contains("\"running\""));
    rootless.runtime(&["kill", "entered", "KILL"]).run().ok();
    rootless.runtime(&["delete", "--force", "entered"]).run().ok();
    rootless.runtime(&["state", "entered"]).run().fails("container does not exist");
}

/// podman calls from its user namespace, where it is root, with XDG_RUNTIME_DIR and without USER.
#[test]
fn root_of_a_user_namespace_finds_the_users_containers() {
    let Some(t) = Test::of_minicon("runc's directory has another name") else { return };
    let rootless = Rootless::new(&t);
    rootless.configure(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    rootless.runtime(&["create", "kept"]).run().ok();
    // What lies in XDG_RUNTIME_DIR without the sticky bit may be tidied up (XDG Base Directory Specification).
    let mode = fs::metadata(rootless.dir.join("run/minicon")).expect("the state directory").permissions().mode();
    assert_eq!(mode & 0o7777, 0o1700);
    let as_root = ["env", "-u", "USER", "unshare", "--user", "--map-root-user"];
    rootless.runtime_behind(&as_root, &["list", "--quiet"]).run().ok().prints("kept");
    rootless.runtime(&["delete", "--force", "kept"]).run().ok();
}

/// Mapping more than one's own id needs newuidmap, and a range that /etc/subuid grants; neither is guessed.
#[test]
fn ids_that_are_not_granted_cannot_be_mapped() {
    let Some(t) = Test::of_minicon("runc says it otherwise") else { return };
    let rootless = Rootless::new(&t);
    rootless.configure(|config| {
        let map =
            json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 700_000, "size": 9}]);
        config["linux"]["uidMappings"] = map;
    });
    rootless.runtime(&["run", "mapped"]).run().fails("newuidmap").says("config: linux.");
}

/// Without rights over cgroups the container stays in the caller's, and that is what its cgroup mount shows.
#[test]
fn an_engine_of_a_user_gets_its_own_cgroup_bound() {
    let Some(t) = Test::of_minicon("the command line of this test is minicon's") else { return };
    let rootless = Rootless::new(&t);
    rootless.configure_for_engine("engine", |config| {
        config["process"]["args"] = json!(["sh", "-c", "find /sys/fs/cgroup/ -name cgroup.procs | head -n 1 | wc -l"]);
        let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]});
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    rootless.shell_of_an_engine("./minicon run --bundle engine engine").run().ok().prints("1");
}

/// Root of a user namespace has no way back from a pid namespace that it joins, setns(2).
#[test]
fn an_engine_of_a_user_joins_a_pid_namespace() {
    let Some(t) = Test::of_minicon("the command line of this test is minicon's") else { return };
    let rootless = Rootless::new(&t);
    rootless.configure_for_engine("first", |config| config["process"]["args"] = json!(["sleep", "1000"]));
    rootless.configure_for_engine("second", |config| {
        config["process"]["args"] = json!(["cat", "/proc/1/comm"]);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "pid");
        namespaces.push(json!({"type": "pid", "path": "/proc/PID/ns/pid"}));
    });
    let script = "./minicon run --detach --pid-file pid --bundle first first </dev/null >/dev/null 2>&1 \
        && sed -i s/PID/$(cat pid)/ second/config.json && ./minicon run --bundle second second
        code=$?; ./minicon delete --force first; exit $code";
    rootless.shell_of_an_engine(script).run().ok().prints("sleep");
}

/// The user's part of a life, on this container: what needs no cgroup works without one, and what does says so.
#[test]
fn without_a_cgroup_each_command_does_its_part_or_tells_why_not() {
    let Some(t) = Test::of_minicon("runc says it otherwise") else { return };
    let rootless = Rootless::new(&t);
    rootless.configure(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    rootless.runtime(&["run", "--detach", "plain"]).run().ok();
    let stats = rootless.runtime(&["events", "--stats", "plain"]).run().ok().json();
    assert_eq!((&stats["type"], &stats["data"]["memory"]), (&json!("stats"), &json!({})));
    let following = rootless.runtime(&["events", "plain"]).spawn();
    for (verb, rest) in [("ps", "plain"), ("pause", "plain")] {
        rootless.runtime(&[verb, rest]).run().fails("the container has no cgroup").says("hint").says("Delegate=yes");
    }
    let update = rootless.runtime(&["update", "--pids-limit", "5", "plain"]).run();
    update.fails("change the limits: the container has no cgroup of its own").says("Delegate=yes");
    rootless.runtime(&["kill", "plain", "KILL"]).run().ok();
    following.wait().ok().says("no memory controller");
    rootless.runtime(&["delete", "--force", "plain"]).run().ok();
}

/// "newuidmap verifies that the caller is the owner of the process indicated by pid and that for each of the above sets,
/// each of the UIDs in the range [loweruid, loweruid+count) is allowed to the caller according to /etc/subuid"
/// (newuidmap(1)).
#[test]
fn ranges_that_are_granted_are_mapped_by_newuidmap_and_newgidmap() {
    let Some(t) = Test::with_program("/usr/bin/newuidmap") else { return };
    let _granted = Granted::new(&t, "ann:300000:100\n");
    let rootless = Rootless::new(&t);
    rootless.configure(|config| {
        for mappings in ["uidMappings", "gidMappings"] {
            config["linux"][mappings] = json!([
                {"containerID": 0, "hostID": USER, "size": 1},
                {"containerID": 1, "hostID": 300_000, "size": 100},
            ]);
        }
        config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
        config["process"]["args"] = json!(["sh", "-c", "echo $(id -u) $(id -G); cat /proc/self/uid_map; sleep 1000"]);
    });
    let output = rootless.runtime(&["run", "--detach", "mapped"]).run().ok();
    eventually("the program has told who it is", || output.by_now().lines().count() == 3);
    let told: Vec<_> = output.by_now().split_whitespace().map(str::to_owned).collect();
    assert_eq!(told, ["5", "6", "7", "0", "1000", "1", "1", "300000", "100"]);
    rootless.runtime(&["exec", "--user", "9:9", "mapped", "id", "-u"]).run().ok().prints("9");
    rootless.runtime(&["events", "--stats", "mapped"]).run().ok().shows("\"stats\"");
    rootless.runtime(&["kill", "mapped", "KILL"]).run().ok();
    rootless.runtime(&["delete", "--force", "mapped"]).run().ok();
}

#[test]
fn ranges_beyond_what_is_granted_are_not() {
    let Some(t) = Test::with_program("/usr/bin/newuidmap") else { return };
    let _granted = Granted::new(&t, "ann:300000:100\n");
    let rootless = Rootless::new(&t);
    rootless.configure(|config| {
        for mappings in ["uidMappings", "gidMappings"] {
            config["linux"][mappings] = json!([{"containerID": 0, "hostID": 300_000, "size": 101}]);
        }
    });
    rootless.runtime(&["run", "beyond"]).run().fails("gidmap").says("/etc/subuid");
}

/// Gives the user a name and ranges, in the test's own mount namespace, until dropped.
pub struct Granted;

const GRANTED_IN: [&str; 3] = ["/etc/passwd", "/etc/subuid", "/etc/subgid"];

impl Granted {
    pub fn new(t: &Test, ranges: &str) -> Self {
        let passwd = t.file("passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n");
        let ranges = t.file("ranges", ranges);
        for (file, place) in [&passwd, &ranges, &ranges].into_iter().zip(GRANTED_IN) {
            let none = None::<&str>;
            nix::mount::mount(Some(file), place, none, nix::mount::MsFlags::MS_BIND, none).expect("bind");
        }
        Granted
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        for place in GRANTED_IN {
            nix::mount::umount(place).expect("umount");
        }
    }
}

/// Cgroups that were given to the user, with the container's below: limits hold, and what is used is told.
#[test]
fn limits_hold_in_cgroups_that_are_delegated() {
    let found = || is_v1().then(|| Delegated::new("minicon-delegated"));
    let Some((t, delegated)) = Test::where_found(found, "takes cgroup v1; for v2 see rootless_v2.rs") else {
        return;
    };
    let rootless = Rootless::new(&t);
    rootless.configure(|config| {
        config["linux"]["cgroupsPath"] = json!("/minicon-delegated/limited");
        config["linux"]["resources"] =
            json!({"pids": {"limit": 20}, "memory": {"limit": 8_388_608, "swap": 8_388_608}});
        let greedy = "head -c 60000000 /dev/zero | tail -c 60000000 >/dev/null; echo over; sleep 1000";
        config["process"]["args"] = json!(["sh", "-c", greedy]);
    });
    let output = rootless.runtime(&["create", "limited"]).run().ok();
    let tasks = fs::read_to_string("/sys/fs/cgroup/pids/minicon-delegated/limited/tasks");
    assert!(tasks.is_ok_and(|tasks| !tasks.is_empty()), "init is in the cgroup");
    let following = rootless.runtime(&["events", "--interval", "1h", "limited"]).spawn();
    // On v1 the kernel tells by an eventfd: cgroups(7) points to Documentation/admin-guide/cgroup-v1/memory.rst.
    eventually("it is watched", || has_open(following.pid(), "eventfd"));
    rootless.runtime(&["start", "limited"]).run().ok();
    eventually("the process has been killed", || output.by_now().contains("over"));
    let stats = rootless.runtime(&["events", "--stats", "limited"]).run().ok().json();
    assert_eq!(stats["data"]["pids"]["limit"], json!(20));
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], json!(8_388_608));
    assert!(rootless.runtime(&["ps", "--format", "json", "limited"]).run().ok().json().is_array());
    rootless.runtime(&["update", "--pids-limit", "30", "limited"]).run().ok();
    rootless.runtime(&["pause", "limited"]).run().ok();
    rootless.runtime(&["resume", "limited"]).run().ok();
    rootless.runtime(&["exec", "limited", "grep", "-c", "minicon-delegated/limited", "/proc/self/cgroup"]).run().ok();
    rootless.runtime(&["kill", "limited", "KILL"]).run().ok();
    following.wait().ok().shows("\"type\":\"oom\"");
    rootless.runtime(&["delete", "--force", "limited"]).run().ok();
    assert!(delegated.0.iter().all(|directory| !directory.join("limited").exists()), "nothing is left");
}

/// Whether a process has such a file open.
pub fn has_open(pid: i32, kind: &str) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| link.to_string_lossy().contains(kind))
}

fn is_v1() -> bool {
    Path::new("/sys/fs/cgroup/memory/tasks").exists() && Path::new("/sys/fs/cgroup/pids/tasks").exists()
}

/// A cgroup in each hierarchy that belongs to the user, gone when dropped.
struct Delegated(Vec<PathBuf>);

impl Delegated {
    fn new(name: &str) -> Self {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("/sys/fs/cgroup").flatten();
        let made = hierarchies.map(|entry| entry.path().join(name)).filter(|directory| {
            let made = fs::create_dir(directory).is_ok();
            if made {
                inherit_cpuset(directory);
                chown(directory, Some(USER), Some(USER)).expect("chown");
                let files = fs::read_dir(directory).expect("its files").flatten();
                files.for_each(|file| chown(file.path(), Some(USER), Some(USER)).expect("chown"));
            }
            made
        });
        Delegated(made.collect())
    }
}

/// A new cpuset has no processors, cpuset(7).
fn inherit_cpuset(directory: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(text) = fs::read_to_string(directory.join("..").join(file)) {
            let _ = fs::write(directory.join(file), text);
        }
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for directory in &self.0 {
            let _ = fs::remove_dir(directory.join("limited"));
            let _ = fs::remove_dir(directory);
        }
    }
}

/// From a user namespace whose root has no right over the host's mounts: "holding CAP_SYS_ADMIN within the user namespace
/// associated with a process's mount namespace" is what mounting takes (user_namespaces(7)). The container's own has it.
#[test]
fn root_of_a_user_namespace_alone_makes_containers() {
    let Some(t) = Test::of_minicon("runc 1.1.5 cannot") else { return };
    let rootless = Rootless::new(&t);
    rootless.configure_for_engine("nested", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.push(json!({"type": "user"}));
        for mappings in ["uidMappings", "gidMappings"] {
            config["linux"][mappings] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        }
        config["process"]["args"] = json!(["sleep", "1000"]);
    });
    let script =
        "./minicon run --detach --bundle nested nested </dev/null >/dev/null 2>&1 && ./minicon exec nested id -u \
        && ./minicon events --stats nested | grep -o '\"stats\"' && ./minicon kill nested KILL
        code=$?; ./minicon delete --force nested; exit $code";
    rootless.shell_of_an_engine(script).run().ok().prints("0\n\"stats\"");
}
