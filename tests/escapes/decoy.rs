//! A directory of the host that attacks aim at: it must be the same afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Verdict;
use crate::support::Test;

pub struct Decoy {
    pub dir: PathBuf,
    before: Vec<String>,
}

/// What the decoy's file says, to be seen nowhere inside.
pub const MARK: &str = "the host's own words";

impl Decoy {
    pub fn new(t: &Test) -> Self {
        let dir = t.directory("decoy");
        fs::create_dir(dir.join("x")).expect("mkdir");
        fs::write(dir.join("x/file"), MARK).expect("write");
        fs::write(dir.join("x/ptmx"), MARK).expect("write");
        Decoy { before: listing(&dir), dir }
    }

    /// Takes the present state as the one to keep.
    pub fn settle(mut self) -> Self {
        self.before = listing(&self.dir);
        self
    }

    pub fn verdict(&self) -> Verdict {
        let after = listing(&self.dir);
        if after == self.before {
            return Verdict::Holds;
        }
        Verdict::Vulnerable(format!("the host's directory was {:?} and is {after:?}", self.before))
    }

    /// As links of an image can name it: absolute, and from below.
    pub fn targets(&self, name: &str) -> [PathBuf; 2] {
        let absolute = self.dir.join(name);
        let below = Path::new("../../../../../../../..").join(absolute.strip_prefix("/").expect("absolute"));
        [absolute, below]
    }
}

fn listing(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, data) = (entry.path(), entry.path().symlink_metadata().expect("lstat"));
        let text = if data.is_file() { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let (mode, uid, gid, device) = (data.mode(), data.uid(), data.gid(), data.rdev());
        lines.push(format!("{} {mode:o} {uid}:{gid} {device} {text:?}", path.display()));
        if data.is_dir() {
            lines.extend(listing(&path));
        }
    }
    lines.sort();
    lines
}
