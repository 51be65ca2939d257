//! Without any privilege: what `spec --rootless` describes, made and run by an ordinary user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Cmd, Test, program, rootfs};

const USER: u32 = 1000;

/// A bundle that belongs to the user, and a copy of the runtime that the user can reach.
pub struct Rootless<'t> {
    test: &'t Test,
    dir: PathBuf,
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
        let rootless = Rootless { test, dir };
        rootless.runtime(&["spec", "--rootless"]).run().ok();
        rootless
    }

    /// The runtime as the user would call it: its state goes below XDG_RUNTIME_DIR.
    pub fn runtime(&self, args: &[&str]) -> Cmd {
        self.runtime_behind(&[], args)
    }

    /// As [`Rootless::runtime`], started by another program of the user's.
    fn runtime_behind(&self, starter: &[&str], args: &[&str]) -> Cmd {
        let ids = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()];
        let command = Cmd::new("setpriv").args(ids).args(starter).arg(self.dir.join("minicon")).args(args);
        command.dir(&self.dir).env("XDG_RUNTIME_DIR", self.dir.join("run"))
    }

    /// A shell as root of a user namespace of the user's own, which is how rootless engines call a runtime: without USER.
    fn shell_of_an_engine(&self, script: &str) -> Cmd {
        let ids = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()];
        Cmd::new("setpriv")
            .args(ids)
            .args(["unshare", "--user", "--map-root-user", "sh", "-c", script])
            .dir(&self.dir)
            .no_env()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("XDG_RUNTIME_DIR", self.dir.join("run"))
    }

    /// As [`Self::configure`], for a container that stays in the user namespace of the caller, in a bundle of its own.
    fn configure_for_engine(&self, name: &str, change: impl FnOnce(&mut Value)) {
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
