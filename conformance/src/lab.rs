//! What a test has: a directory and a mount namespace of its own, the runtime, and containers made from raw JSON.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::call::Call;
use crate::container::Container;
use crate::host;

/// What is tested, and how.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The runtime's program.
    pub runtime: PathBuf,
    /// The static program that runs inside.
    pub probe: PathBuf,
    /// Whether the runtime is told `--strict`.
    pub strict: bool,
    /// Whether the cgroup2 hierarchy of a hybrid host is taken away: some runtimes refuse such hosts.
    pub hide_cgroup2: bool,
    /// How long a call may take.
    pub limit: Duration,
}

/// A running test.
pub struct Lab {
    /// What is tested.
    pub setup: Setup,
    dir: PathBuf,
    made: Cell<u32>,
    /// Ids that may exist in the runtime.
    pub used: RefCell<Vec<String>>,
}

impl Lab {
    /// In this directory, whose name is the tag of all that the test makes. The process must have a mount namespace of
    /// its own.
    pub fn new(setup: Setup, dir: PathBuf) -> Result<Self> {
        let lab = Lab { setup, dir, made: Cell::new(0), used: RefCell::default() };
        for name in ["root", "share", "host"] {
            fs::create_dir(lab.path(name))?;
        }
        fs::copy(&lab.setup.probe, lab.path("host/probe")).context("the probe")?;
        Ok(lab)
    }

    /// A path of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A directory of this test.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A file of this test.
    pub fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Mounts a tmpfs on a directory of this test, which no one outside sees.
    pub fn tmpfs(&self, name: &str, flags: MsFlags) -> Result<PathBuf> {
        let path = self.directory(name)?;
        mount(Some("tmpfs"), &path, Some("tmpfs"), flags, None::<&str>).with_context(|| format!("tmpfs on {name}"))?;
        Ok(path)
    }

    /// The word that is in every id of this test.
    pub fn tag(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// An id that no container of this host has.
    pub fn new_id(&self) -> String {
        self.made.set(self.made.get() + 1);
        let id = format!("{}-{}", self.tag(), self.made.get());
        self.used.borrow_mut().push(id.clone());
        id
    }

    /// A bundle whose program stays until it is killed.
    pub fn container(&self) -> Result<Container<'_>> {
        Container::new(self)
    }

    /// The runtime, with its state under this test's root.
    pub fn runtime<I: IntoIterator<Item: AsRef<OsStr>>>(&self, words: I) -> Call {
        let call = Call::new(&self.setup.runtime, self.setup.limit).arg("--root").arg(self.path("root"));
        let call = if self.setup.strict { call.arg("--strict") } else { call };
        call.args(words)
    }

    /// A program of the host.
    pub fn host(&self, program: impl AsRef<OsStr>, words: &[&str]) -> Result<String> {
        Ok(Call::new(program, self.setup.limit).args(words).run()?.ok()?.stdout())
    }

    /// Deletes what the test left, as far as the runtime does.
    pub fn clean(&self) {
        for id in self.used.borrow().iter() {
            let left = self.path("root").join(id).exists() || !host::cgroups_with(id).is_empty();
            if left {
                let _ = self.runtime(["delete", "--force", id]).run();
            }
        }
    }
}
