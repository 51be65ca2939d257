//! Places on cgroup v2 alone: where a container's cgroup is, what is made and removed for it, and what is seen of it from
//! inside.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cgroups_v2::{MOUNT_POINT, limited, read, read_at, with_v2};
use crate::support::{Bundle, Cmd, Test, eventually};

/// "In the case of an absolute path (starting with `/`), the runtime MUST take the path to be relative to the cgroups
/// mount point" and "The OCI runtime MUST ensure that the needed cgroup controllers are enabled for the cgroup"
/// (config-linux.md, Cgroups Path and Unified).
#[test]
fn the_controllers_are_enabled_on_the_way_down() {
    let Some(t) = with_v2("memory") else { return };
    let b = t.idle();
    let name = format!("{}-a", b.id);
    let top = Path::new(MOUNT_POINT).join(&name);
    let b = b.set("/linux/cgroupsPath", format!("/{name}/b/c"));
    let b = b.set("/linux/resources/unified", json!({"memory.max": "67108864", "pids.max": "9"}));
    b.up();
    assert_eq!(b.cgroup(""), top.join("b/c"));
    for parent in [top.clone(), top.join("b")] {
        let enabled = read_at(&parent, "cgroup.subtree_control");
        for controller in ["memory", "pids", "cpu"] {
            assert!(enabled.split(' ').any(|name| name == controller), "{controller}: {enabled}");
        }
    }
    assert_eq!((read(&b, "memory.max"), read(&b, "pids.max")), ("67108864".into(), "9".into()));
    b.stop();
    b.delete().ok();
    assert!(!top.exists(), "the parents stay behind");
}

#[test]
fn a_parent_that_was_there_stays() {
    let Some(t) = with_v2("memory") else { return };
    let parent = Parent::make(&t);
    let b = t.idle().set("/linux/cgroupsPath", format!("/{}/b/c", parent.name()));
    let b = b.set("/linux/resources/memory", json!({"limit": 67108864}));
    b.up();
    assert_eq!(read_at(&parent.path.join("b/c"), "memory.max"), "67108864");
    b.verb("delete", &["--force"]).run().ok();
    assert!(!parent.path.join("b").exists());
    assert!(parent.path.exists());
}

/// A cgroup with processes cannot give controllers to those below it: cgroups(7), no internal processes.
#[test]
fn below_a_busy_parent_there_are_no_limits() {
    let Some(t) = with_v2("memory") else { return };
    let parent = Parent::make(&t);
    let busy = Cmd::new("/bin/sleep").arg("1000").spawn();
    fs::write(parent.path.join("cgroup.procs"), busy.pid().to_string()).expect("move a process");
    let b = t.bundle(&["echo", "ran"]).set("/linux/cgroupsPath", format!("/{}/c", parent.name()));
    b.run().ok().prints("ran");
    let b = b.set("/linux/resources/memory", json!({"limit": 67108864}));
    b.run().fails("memory.max").says("linux.resources.memory.limit").says("a parent has processes of its own");
    b.is_gone();
    assert!(!parent.path.join("c").exists());
    let state = ["cgroup.subtree_control", "cgroup.type"].map(|file| read_at(&parent.path, file));
    assert_eq!(state, ["", "domain"], "the parent has changed");
}

/// A cgroup that was there before the container, and is removed with the test.
struct Parent {
    path: PathBuf,
}

impl Parent {
    fn make(t: &Test) -> Parent {
        let path = Path::new(MOUNT_POINT).join(format!("{}-parent", t.idle().id));
        fs::create_dir(&path).expect("mkdir");
        Parent { path }
    }

    fn name(&self) -> String {
        self.path.file_name().expect("a name").to_string_lossy().into_owned()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // Who was in it may still be dying.
        // A test that has failed is cleaned up by the guard.
        if !std::thread::panicking() {
            eventually("the parent is free", || fs::remove_dir(&self.path).is_ok());
        }
    }
}

#[test]
fn without_a_path_the_id_names_the_cgroup_and_a_relative_one_ends_with_its_name() {
    let Some(t) = with_v2("memory") else { return };
    let b = limited(&t, json!({}));
    assert!(b.cgroup("").to_string_lossy().contains(&b.id), "{}", b.cgroup("").display());
    let b = t.idle();
    let path = format!("{}-relative/below", b.id);
    let b = b.set("/linux/cgroupsPath", path.as_str());
    b.up();
    assert!(b.cgroup("").ends_with(&path), "{}", b.cgroup("").display());
}

#[test]
fn a_container_sees_its_cgroup_as_the_root() {
    let Some(t) = with_v2("memory") else { return };
    let script = "cat /proc/self/cgroup /sys/fs/cgroup/memory.max; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused";
    let b = || t.sh(script).unshare("cgroup").set("/linux/resources/memory", json!({"limit": 67108864}));
    b().run().ok().prints("0::/\n67108864\nrefused");
    writable(b()).run().ok().prints("0::/\n67108864");
}

/// Without a cgroup namespace the names are the host's, and so is the tree that is mounted: a program finds itself in it.
#[test]
fn without_a_cgroup_namespace_a_container_finds_itself_in_the_host_s_tree() {
    let Some(t) = with_v2("memory") else { return };
    let script =
        "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && cat memory.max; mkdir x 2>/dev/null || echo refused";
    let b = || t.sh(script).share("cgroup").set("/linux/resources/memory", json!({"limit": 67108864}));
    let before = options_of_the_mount();
    b().run().ok().prints("67108864\nrefused");
    writable(b()).run().ok().prints("67108864");
    // What mounts a cgroup2 anew sets the options of the one that there is: nsdelegate and its like would be gone.
    assert_eq!(options_of_the_mount(), before);
}

fn options_of_the_mount() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("read");
    mounts.lines().find(|line| line.split(' ').nth(1) == Some(MOUNT_POINT)).map(str::to_owned)
}

/// A program may leave its cgroup for another one of the host's tree; what is executed later follows it there.
#[test]
fn exec_finds_init_where_it_has_gone_in_the_host_s_tree() {
    let Some(t) = with_v2("memory") else { return };
    let script = "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/.. && mkdir gone && echo 1 >gone/cgroup.procs && \
                  exec sleep 1000";
    let b = writable(t.sh(script)).share("cgroup");
    let name = format!("{}-tree", b.id);
    let tree = Path::new(MOUNT_POINT).join(&name);
    let b = b.set("/linux/cgroupsPath", format!("/{name}/own"));
    b.up();
    eventually("init has gone", || b.cgroup("") == tree.join("gone"));
    fs::remove_dir(tree.join("own")).expect("rmdir");
    let found = b.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert!(found.stdout.trim_end().ends_with("-tree/gone"), "{}", found.stdout);
    b.verb("delete", &["--force"]).run().ok();
    eventually("its cgroup is empty", || fs::remove_dir(tree.join("gone")).is_ok());
    let _ = fs::remove_dir(tree);
}

/// The cgroup file system may be written to.
fn writable(b: Bundle<'_>) -> Bundle<'_> {
    b.unmount("/sys/fs/cgroup").mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "rw"])
}

#[test]
fn exec_follows_init_into_a_cgroup_of_the_containers_own() {
    let Some(t) = with_v2("pids") else { return };
    let script = "cd /sys/fs/cgroup; mkdir init && echo 1 >init/cgroup.procs && echo +pids >cgroup.subtree_control && \
                  mkdir other && echo ready; sleep 1000 & wait";
    let b = writable(t.sh(script).unshare("cgroup"));
    let output = b.up();
    eventually("it has moved", || output.by_now() == "ready\n");
    b.exec(&["cat", "/proc/self/cgroup"]).ok().prints("0::/init");
    let cgroup = b.cgroup("");
    b.verb("delete", &["--force"]).run().ok();
    assert!(!cgroup.parent().expect("the container's").exists());
}

/// "Runtimes SHOULD change the cgroup ownership if and only if the cgroup filesystem is to be mounted read/write" and "A
/// runtime that changes the cgroup ownership SHOULD only change the ownership of the container's cgroup directory and
/// files within that directory that are listed in `/sys/kernel/cgroup/delegate`" (config-linux.md, Cgroup ownership).
#[test]
fn a_writable_cgroup_belongs_to_the_containers_root() {
    let Some(t) = with_v2("memory") else { return };
    let owner = |b: &Bundle<'_>, file: &str| fs::metadata(b.cgroup("").join(file)).expect("stat").uid();
    let read_only = mapped(t.idle());
    read_only.up();
    assert_eq!((owner(&read_only, "."), owner(&read_only, "cgroup.procs")), (0, 0));
    let own = mapped(writable(t.idle()));
    own.up();
    assert_eq!((owner(&own, "."), owner(&own, "cgroup.procs"), owner(&own, "memory.max")), (100000, 100000, 0));
    own.exec(&["mkdir", "/sys/fs/cgroup/own"]).ok();
}

/// Root inside is another user outside.
fn mapped(b: Bundle<'_>) -> Bundle<'_> {
    let map = json!([{"containerID": 0, "hostID": 100000, "size": 2000}]);
    b.unshare("user").unshare("cgroup").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
}
