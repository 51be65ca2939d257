//! The systemd cgroup driver for an ordinary user, whose own systemd makes the units; and what such a user may do without
//! that driver.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::rootless::started_in;
use crate::rootless_v2::{GREEDY, life, limits};
use crate::support::{Cmd, Output, Test, eventually, program, rootfs};
use crate::systemd::{PODMAN, cgroup_of, podman, podman_run, read, runs, shown};

/// An ordinary user with a systemd of its own, which lingering starts; and a bundle of that user's.
struct User<'t> {
    test: &'t Test,
    uid: u32,
    dir: PathBuf,
    id: String,
    /// Where root starts the user's programs, if not where the test is.
    cgroup: Option<PathBuf>,
}

impl<'t> User<'t> {
    /// The first user id that has a user bus. Nothing is opened: another test may be looking at our descriptors.
    fn find() -> Option<u32> {
        (1..=2000).find(|uid| Path::new(&format!("/run/user/{uid}/bus")).exists())
    }

    fn test() -> Option<(Test, u32)> {
        let uid = runs().then(User::find).flatten();
        let test = Test::where_possible(uid.is_some(), "no ordinary user here has a systemd: loginctl enable-linger")?;
        Some((test, uid?))
    }

    fn new(test: &'t Test, uid: u32, args: &[&str], resources: Value) -> Self {
        let dir = test.directory("rootless");
        fs::copy(program(), dir.join("minicon")).expect("copy the runtime");
        rootfs::make(&dir.join("rootfs"));
        test.directory("rootless/run");
        give(&dir, uid);
        // The guard looks for the tag of the test in the names of cgroups.
        let user = User { test, uid, id: test.idle().id.clone(), dir, cgroup: None };
        user.runtime(&["spec", "--rootless"]).run().ok();
        user.configure(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(args);
            config["linux"]["resources"] = resources;
        });
        user
    }

    fn configure(&self, change: impl FnOnce(&mut Value)) {
        let file = self.dir.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("config.json")).expect("JSON");
        change(&mut config);
        fs::write(file, config.to_string()).expect("write config.json");
    }

    fn command(&self, program: impl AsRef<Path>) -> Cmd {
        let ids = [format!("--reuid={}", self.uid), format!("--regid={}", self.uid), "--clear-groups".to_owned()];
        let directory = format!("/run/user/{}", self.uid);
        let bus = format!("unix:path={directory}/bus");
        let command = started_in(self.cgroup.as_deref())
            .args(ids)
            .arg(program.as_ref())
            .dir(&self.dir)
            .env("HOME", &self.dir)
            .env("USER", self.uid.to_string());
        command.env("XDG_RUNTIME_DIR", directory).env("DBUS_SESSION_BUS_ADDRESS", bus)
    }

    fn runtime(&self, args: &[&str]) -> Cmd {
        self.command(self.dir.join("minicon")).arg("--root").arg(self.dir.join("run")).args(args)
    }

    fn create(&self) -> Output {
        self.runtime(&["--systemd-cgroup", "create", &self.id]).run()
    }

    fn unit(&self) -> String {
        format!("minicon-{}.scope", self.id)
    }

    fn show(&self, unit: &str, property: &str) -> String {
        shown(self.command("systemctl").arg("--user"), unit, property)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        if self.dir.join("run").join(&self.id).exists() {
            self.runtime(&["delete", "--force", &self.id]).run();
        }
        let _ = self.test;
    }
}

fn give(path: &Path, uid: u32) {
    if !path.is_symlink() {
        chown(path, Some(uid), Some(uid)).expect("chown");
        if path.is_dir() {
            fs::read_dir(path).expect("a directory").flatten().for_each(|entry| give(&entry.path(), uid));
        }
    }
}

#[test]
fn an_ordinary_user_has_a_scope_too() {
    let Some((t, uid)) = User::test() else { return };
    let limits = json!({"pids": {"limit": 55}, "memory": {"limit": 67108864}});
    let user = User::new(&t, uid, &["sleep", "1000"], limits);
    user.create().ok();
    user.runtime(&["start", &user.id]).run().ok();
    for (property, value) in [
        ("ActiveState", "active"),
        ("Slice", "user.slice"),
        ("TasksMax", "55"),
        ("MemoryMax", "67108864"),
        ("Delegate", "yes"),
    ] {
        assert_eq!(user.show(&user.unit(), property), value, "{property}");
    }
    let state = user.runtime(&["state", &user.id]).run().ok().json();
    let directory = cgroup_of(state["pid"].as_i64().expect("a pid") as i32);
    let expected = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/{}", user.unit());
    assert_eq!(directory, Path::new(&expected));
    assert_eq!((read(&directory, "pids.max").as_str(), read(&directory, "memory.max").as_str()), ("55", "67108864"));
    // We are outside of what the user's systemd has been given, so it takes systemd to move the process.
    let pid_file = user.dir.join("exec.pid");
    let flags = ["exec", "--detach", "--pid-file", pid_file.to_str().expect("UTF-8"), &user.id, "sleep", "1000"];
    user.runtime(&flags).run().ok();
    let pid = fs::read_to_string(&pid_file).expect("a pid file").parse().expect("a pid");
    assert_eq!(cgroup_of(pid), directory);
    // From inside it takes nobody.
    let inside = ["--user", "--scope", "--quiet", "--collect", "--"];
    let exec = user.command("systemd-run").args(inside).arg(user.dir.join("minicon"));
    let exec = exec.arg("--root").arg(user.dir.join("run")).args(["exec", &user.id, "cat", "/proc/self/cgroup"]);
    exec.run().ok().prints("0::/");
    user.runtime(&["delete", "--force", &user.id]).run().ok();
    assert_eq!(user.show(&user.unit(), "LoadState"), "not-found");
    assert!(!directory.exists());
}

/// The directory of the user's own systemd.
fn manager_of(uid: u32) -> PathBuf {
    PathBuf::from(format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service"))
}

#[test]
fn limits_hold_in_a_users_scope() {
    let Some((t, uid)) = User::test() else { return };
    let user = User::new(&t, uid, GREEDY, limits());
    let directory = manager_of(uid).join("user.slice").join(user.unit());
    life(&|args| user.runtime(args), &user.id, &directory, &["--systemd-cgroup"]);
    assert_eq!(user.show(&user.unit(), "LoadState"), "not-found");
    // And with more ids than the user's own.
    let Some(first) = granted(uid) else { return };
    user.configure(|config| {
        for mappings in ["uidMappings", "gidMappings"] {
            config["linux"][mappings] = json!([
                {"containerID": 0, "hostID": uid, "size": 1},
                {"containerID": 1, "hostID": first, "size": 100},
            ]);
        }
        config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    });
    life(&|args| user.runtime(args), &user.id, &directory, &["--systemd-cgroup"]);
    assert_eq!(user.show(&user.unit(), "LoadState"), "not-found");
}

/// The first of the ids that /etc/subuid grants.
fn granted(uid: u32) -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let name = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()))?.split(':').next()?;
    let subuid = fs::read_to_string("/etc/subuid").ok()?;
    subuid.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').next()?.parse().ok())
}

/// Without --systemd-cgroup, in a scope that is the user's to divide: "the service can create sub-cgroups" below, and
/// systemd leaves these alone (systemd.resource-control(5), Delegate=). The user's session is in a leaf of it.
#[test]
fn limits_hold_in_a_delegated_scope() {
    let Some((t, uid)) = User::test() else { return };
    let mut user = User::new(&t, uid, GREEDY, limits());
    let scope = ["--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--", "sh", "-c"];
    let session = "own=/sys/fs/cgroup$(sed s/0::// /proc/self/cgroup); mkdir $own/session \
        && echo $$ >$own/session/cgroup.procs && echo $own >scope && exec sleep 1000";
    let session = user.command("systemd-run").args(scope).arg(session).spawn();
    let own = || fs::read_to_string(user.dir.join("scope")).unwrap_or_default();
    eventually("the session is in its leaf", || own().ends_with('\n'));
    let scope = PathBuf::from(own().trim());
    assert!(scope.starts_with(manager_of(uid)), "{}", scope.display());
    user.cgroup = Some(scope.join("session/cgroup.procs"));
    life(&|args| user.runtime(args), &user.id, &scope.join(&user.id), &[]);
    drop(session);
    eventually("the scope is gone", || !scope.exists());
}

#[test]
fn a_controller_that_is_not_delegated_is_named() {
    let Some((t, uid)) = User::test() else { return };
    // systemd has no huge pages to delegate, whatever user@.service says.
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]});
    let user = User::new(&t, uid, &["true"], limits);
    let output = user.create();
    output
        .fails("the requested cgroup controller `hugetlb` is not available")
        .says("Delegate=cpu cpuset io memory pids");
    assert_eq!(user.show(&user.unit(), "LoadState"), "not-found");
}

#[test]
fn a_user_without_a_bus_is_told() {
    let Some((t, uid)) = User::test() else { return };
    let user = User::new(&t, uid, &["true"], json!({}));
    let create = user.runtime(&["--systemd-cgroup", "create", &user.id]);
    let output = create.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").run();
    output.fails("reach systemd over the user bus: connect(/nonexistent)").says("loginctl enable-linger");
}

#[test]
fn rootless_podman_has_the_users_systemd_make_the_cgroup() {
    let Some((t, uid)) = User::test().filter(|_| Path::new(PODMAN).exists()) else { return };
    let user = User::new(&t, uid, &["true"], json!({}));
    let podman = || podman(user.command(PODMAN), &user.dir);
    let output = podman_run(podman(), &user.dir.join("minicon"), &user.dir.join("rootfs"));
    // It has left a process that holds its user namespace.
    podman().args(["system", "migrate"]).run();
    output.ok().prints("77\n67108864\n0::/");
}
