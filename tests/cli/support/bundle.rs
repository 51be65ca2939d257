//! A bundle on disk and the container that is made from it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::command::{Cmd, Output, eventually};
use super::{Test, rootfs};

/// What `runc spec` writes, but without a terminal.
const BASE: &str = include_str!("config.json");

/// A bundle, and the id of its container. Dropped, the container is deleted by force.
pub struct Bundle<'t> {
    test: &'t Test,
    pub dir: PathBuf,
    pub id: String,
    pub config: Value,
}

impl<'t> Bundle<'t> {
    pub fn new(test: &'t Test, args: &[&str]) -> Self {
        let id = test.new_id();
        let dir = test.directory(&format!("bundle-{id}"));
        let mut config: Value = serde_json::from_str(BASE).expect("the base is JSON");
        config["root"]["path"] = json!(rootfs::shared());
        config["process"]["args"] = json!(args);
        Bundle { test, dir, id, config }
    }

    /// A bundle of the benchmark: `spec`, as minicon's `spec` writes it, or `real`, as podman writes it. Its root filesystem
    /// is its own.
    pub fn of_benchmark(test: &'t Test, kind: &str, args: &[&str]) -> Self {
        let mut bundle = Bundle::new(test, args).own_rootfs();
        let file = match kind {
            "spec" => {
                test.runtime(["spec", "--bundle"]).arg(&bundle.dir).run().ok();
                bundle.dir.join("config.json")
            }
            _ => Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bundles/real.json"),
        };
        bundle.config = serde_json::from_slice(&fs::read(file).expect("a configuration")).expect("JSON");
        bundle = bundle.set("/process/args", json!(args)).set("/process/terminal", false).set("/root/path", "rootfs");
        let mounts = bundle.config["mounts"].as_array_mut().into_iter().flatten();
        for mount in mounts.filter(|mount| mount["type"] == "bind") {
            let source = bundle.dir.join(mount["source"].as_str().expect("a source"));
            match mount["destination"] == "/dev/shm" {
                true => fs::create_dir(&source).expect("mkdir"),
                false => fs::write(&source, "").expect("write"),
            }
            mount["source"] = json!(source);
        }
        bundle
    }

    /// Sets a property, named by a JSON pointer; objects on the way are made.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *place(&mut self.config, pointer) = value.into();
        self
    }

    /// Adds to a list, which is made if it is not there.
    pub fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let list = place(&mut self.config, pointer);
        if list.is_null() {
            *list = json!([]);
        }
        list.as_array_mut().expect("a list").push(value.into());
        self
    }

    /// Removes a property.
    pub fn unset(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        place(&mut self.config, parent).as_object_mut().expect("an object").remove(name);
        self
    }

    /// Adds a mount.
    pub fn mount(self, kind: &str, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Self {
        let source = source.as_ref();
        self.push("/mounts", json!({"type": kind, "source": source, "destination": destination, "options": options}))
    }

    /// Leaves out the mount on a destination.
    pub fn unmount(mut self, destination: &str) -> Self {
        let mounts = self.config["mounts"].as_array_mut().expect("a list");
        mounts.retain(|mount| mount["destination"] != destination);
        self
    }

    /// Leaves out a namespace: the container has the runtime's.
    pub fn share(mut self, kind: &str) -> Self {
        let namespaces = self.config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Joins a namespace by path.
    pub fn join(self, kind: &str, path: impl AsRef<Path>) -> Self {
        self.share(kind).push("/linux/namespaces", json!({"type": kind, "path": path.as_ref()}))
    }

    /// Asks for a new namespace.
    pub fn unshare(self, kind: &str) -> Self {
        self.share(kind).push("/linux/namespaces", json!({"type": kind}))
    }

    /// Gives all the capabilities named, in all sets but the ambient one.
    pub fn capabilities(mut self, names: &[&str]) -> Self {
        let set = json!(names);
        self.config["process"]["capabilities"] = json!({"bounding": set, "effective": set, "permitted": set});
        self
    }

    /// A root filesystem of its own, that may be written to.
    pub fn own_rootfs(self) -> Self {
        rootfs::make(&self.rootfs());
        self.set("/root/path", "rootfs").set("/root/readonly", false)
    }

    /// Where the root filesystem of its own is.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Writes `config.json`.
    pub fn write(&self) {
        fs::write(self.dir.join("config.json"), self.config.to_string()).expect("write config.json");
    }

    /// A call on this bundle: the verb, its flags, the id.
    pub fn on_bundle(&self, verb: &str, flags: &[&str]) -> Cmd {
        self.write();
        self.test.runtime([verb, "--bundle"]).arg(&self.dir).args(flags).arg(&self.id)
    }

    /// A call on this container: the verb, the id, what follows.
    pub fn verb(&self, verb: &str, rest: &[&str]) -> Cmd {
        self.test.runtime([verb, &self.id]).args(rest)
    }

    pub fn run(&self) -> Output {
        self.on_bundle("run", &[]).run()
    }

    pub fn create(&self) -> Output {
        self.on_bundle("create", &[]).run()
    }

    pub fn start(&self) -> Output {
        self.verb("start", &[]).run()
    }

    /// Creates and starts; the output is that of `create`, which the container goes on writing to.
    #[track_caller]
    pub fn up(&self) -> Output {
        let output = self.create().ok();
        self.start().ok();
        output
    }

    pub fn kill(&self, signal: &str) -> Output {
        self.verb("kill", &[signal]).run()
    }

    pub fn delete(&self) -> Output {
        self.verb("delete", &[]).run()
    }

    pub fn exec(&self, args: &[&str]) -> Output {
        self.exec_with(&[], args).run()
    }

    /// `exec` with flags.
    pub fn exec_with(&self, flags: &[&str], args: &[&str]) -> Cmd {
        self.test.runtime(["exec"]).args(flags).arg(&self.id).args(args)
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        self.verb("state", &[]).run().ok().json()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().expect("a pid") as i32
    }

    /// Where the running container is in the hierarchy that has a controller: cgroup v1's, else that of v2.
    #[track_caller]
    pub fn cgroup(&self, controller: &str) -> PathBuf {
        let groups =
            procfs::process::Process::new(self.pid()).and_then(|init| init.cgroups()).expect("/proc/PID/cgroup");
        let has = |group: &&procfs::ProcessCGroup| group.controllers.iter().any(|name| name == controller);
        let v1 = groups.0.iter().find(has).map(|group| (Path::new("/sys/fs/cgroup").join(controller), group));
        // The v2 hierarchy has the number 0 there, and no controllers.
        let v2 = || groups.0.iter().find(|group| group.hierarchy == 0).map(|group| (v2_mount_point(), group));
        let (mount_point, group) = v1.or_else(v2).expect("a hierarchy");
        mount_point.join(group.pathname.trim_start_matches('/'))
    }

    /// Waits for a status; the container need not exist yet.
    #[track_caller]
    pub fn becomes(&self, status: &str) {
        eventually(&format!("the status is {status}"), || {
            let state = self.verb("state", &[]).run();
            state.code == 0 && state.json()["status"] == status
        });
    }

    /// Kills and waits for the end.
    #[track_caller]
    pub fn stop(&self) {
        self.kill("KILL").ok();
        self.becomes("stopped");
    }

    /// There is no such container.
    #[track_caller]
    pub fn is_gone(&self) {
        self.verb("state", &[]).run().fails("container does not exist");
    }
}

impl Drop for Bundle<'_> {
    fn drop(&mut self) {
        if self.test.root().join(&self.id).exists() {
            self.test.runtime(["delete", "--force", &self.id]).run();
        }
    }
}

/// The value at a JSON pointer; `null` and the objects on the way to it are made.
fn place<'v>(value: &'v mut Value, pointer: &str) -> &'v mut Value {
    pointer.split('/').skip(1).fold(value, |at, name| match name.parse::<usize>() {
        Ok(index) => &mut at[index],
        Err(_) => &mut at[name],
    })
}

/// Where the v2 hierarchy is mounted: by itself, or beside those of v1.
fn v2_mount_point() -> PathBuf {
    let alone = Path::new("/sys/fs/cgroup");
    if alone.join("cgroup.procs").exists() { alone.to_owned() } else { alone.join("unified") }
}
