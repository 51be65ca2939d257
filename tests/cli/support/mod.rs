//! What the tests share. A test begins with `Test::new()`; all it makes borrows from that and is gone before the
//! guard in it looks at the host again.

pub mod bundle;
pub mod command;
pub mod guard;
pub mod json_types;
pub mod limits;
pub mod rootfs;
pub mod terminal;

use std::cell::Cell;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use bundle::Bundle;
pub use command::{Cmd, Output, Running, eventually, patience, slowness};
use guard::Snapshot;

/// One test at a time: the guard compares the whole host.
static TURN: Mutex<()> = Mutex::new(());
/// The tests that run or wait for their turn, and those that were skipped.
pub static ACTIVE: AtomicUsize = AtomicUsize::new(0);
pub static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// A running test: its turn, its directories, and the host as it was before.
pub struct Test {
    made: Cell<u32>,
    root: PathBuf,
    dir: TempDir,
    before: Snapshot,
    _turn: MutexGuard<'static, ()>,
}

impl Test {
    pub fn new() -> Self {
        ACTIVE.fetch_add(1, SeqCst);
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        nix::sys::prctl::set_child_subreaper(true).expect("prctl(PR_SET_CHILD_SUBREAPER)");
        guard::own_mounts();
        rootfs::shared();
        let dir = tempfile::Builder::new().prefix("minicon-test-").tempdir().expect("a temporary directory");
        // A user namespace's root must get through.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let root = dir.path().join("root");
        std::fs::create_dir(&root).expect("mkdir");
        let before = Snapshot::take(&root, &tag_of(&dir));
        Test { made: Cell::new(0), before, root, dir, _turn: turn }
    }

    /// A test of what minicon does better than others: skipped for them, with the reason.
    pub fn of_minicon(reason: &str) -> Option<Self> {
        if is_minicon() {
            return Some(Test::new());
        }
        count_skip(reason);
        None
    }

    /// A test of what this kernel may not have. `possible` must be what was found out, not what was guessed.
    pub fn where_possible(possible: bool, reason: &str) -> Option<Self> {
        if possible {
            return Some(Test::new());
        }
        count_skip(reason);
        None
    }

    /// As `where_possible`, of something that is found by opening files: in turn, or the guard of another test sees them.
    pub fn where_found<T>(find: impl FnOnce() -> Option<T>, reason: &str) -> Option<(Self, T)> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let found = find();
        drop(turn);
        if found.is_none() {
            count_skip(reason);
        }
        found.map(|found| (Test::new(), found))
    }

    /// A test that needs a program of the host. In CI it must be there.
    pub fn with_program(path: &str) -> Option<Self> {
        if Path::new(path).exists() {
            return Some(Test::new());
        }
        count_skip(&format!("there is no {path}"));
        assert!(std::env::var("CI").is_err(), "CI lacks {path}");
        None
    }

    /// A directory of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of this test with this text, and its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write");
        path
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("mkdir");
        path
    }

    /// Where the runtime keeps the state of this test's containers.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The runtime, with its state under this test's root.
    pub fn runtime<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(&self, args: I) -> Cmd {
        Cmd::new(program()).arg("--root").arg(&self.root).args(args)
    }

    /// A bundle whose program is this one.
    pub fn bundle(&self, args: &[&str]) -> Bundle<'_> {
        Bundle::new(self, args)
    }

    /// A bundle whose program is a line of shell.
    pub fn sh(&self, script: &str) -> Bundle<'_> {
        self.bundle(&["sh", "-c", script])
    }

    /// A bundle whose program stays until it is killed.
    pub fn idle(&self) -> Bundle<'_> {
        // The first process of a pid namespace ignores a signal that it does not handle.
        self.sh("trap 'exit 0' TERM; sleep 1000 & wait")
    }

    /// An id that no other container of this machine has.
    fn new_id(&self) -> String {
        self.made.set(self.made.get() + 1);
        format!("{}-{}", self.tag(), self.made.get())
    }

    pub fn tag(&self) -> String {
        tag_of(&self.dir)
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        if std::thread::panicking() {
            guard::clean_up(&self.tag());
            guard::unmount_below(self.dir.path());
            ACTIVE.fetch_sub(1, SeqCst);
            return;
        }
        ACTIVE.fetch_sub(1, SeqCst);
        guard::compare(&self.before, &self.root, &self.tag());
    }
}

/// What the names of a test's containers and cgroups begin with.
fn tag_of(dir: &TempDir) -> String {
    let name = dir.path().file_name().unwrap_or_default().to_string_lossy();
    format!("mc{}", name.trim_start_matches("minicon-test-"))
}

/// The runtime under test: `RUNTIME`, else `MINICON`, else the newest minicon that this workspace has built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let named = ["RUNTIME", "MINICON"].iter().find_map(std::env::var_os);
        named.map(PathBuf::from).or_else(built).unwrap_or_else(|| {
            panic!(
                "there is no minicon to test: build it with `cargo build --profile quick` (or --release), or name a \
                 runtime with RUNTIME=/usr/sbin/runc"
            )
        })
    })
}

fn built() -> Option<PathBuf> {
    // The test program is TARGET/PROFILE/deps/cli-HASH.
    let own = std::env::current_exe().ok()?;
    let target = own.ancestors().nth(3)?;
    let binaries = ["quick", "release"].map(|profile| target.join(profile).join("minicon"));
    let time = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    binaries.into_iter().filter(|path| path.exists()).max_by_key(time)
}

pub fn is_minicon() -> bool {
    runtime_name() == "minicon"
}

/// The name of the runtime's program.
pub fn runtime_name() -> String {
    program().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Counts a test that does not run. Written past the capture of the test harness.
fn count_skip(reason: &str) {
    SKIPPED.fetch_add(1, SeqCst);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    // In one write(2), so that it stays a line beside what other tests print.
    let _ = std::io::stderr().write_all(format!("skipped: {test}: {reason}\n").as_bytes());
}

/// A hook that runs a line of shell on the host (or in the container, for those that run there).
pub fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]})
}
