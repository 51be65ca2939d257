//! The files of a container's cgroups, as v1 or v2 has them: what a test wants to see is told for both.

use std::fs;
use std::path::{Path, PathBuf};

use super::Bundle;

/// Whether this machine has cgroup v2 alone.
pub fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The container's directory in the v2 hierarchy, also on a machine that has v1 beside it.
#[track_caller]
pub fn v2_directory(b: &Bundle<'_>) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", b.pid())).expect("/proc/PID/cgroup");
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("a line for v2");
    let mount_point = if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
    Path::new(mount_point).join(path)
}

/// The container's directory that has a controller, by its name on v1.
#[track_caller]
pub fn directory(b: &Bundle<'_>, controller: &str) -> PathBuf {
    if is_v2() { v2_directory(b) } else { b.cgroup(controller) }
}

/// What a file of the controller says: the first name is that of v1, the second that of v2.
#[track_caller]
pub fn read(b: &Bundle<'_>, controller: &str, v1: &str, v2: &str) -> String {
    let path = directory(b, controller).join(if is_v2() { v2 } else { v1 });
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

/// A file of the controller says this: file and text on v1, file and text on v2.
#[track_caller]
pub fn shows(b: &Bundle<'_>, controller: &str, v1: (&str, &str), v2: (&str, &str)) {
    let ((file, text), found) = (if is_v2() { v2 } else { v1 }, read(b, controller, v1.0, v2.0));
    assert_eq!(found, text, "{file}");
}

/// The limits of memory, and of memory and swap together; None is no limit.
#[track_caller]
pub fn memory(b: &Bundle<'_>) -> (Option<u64>, Option<u64>) {
    // v1 tells the largest number of pages for none.
    let number = |text: String| text.parse::<u64>().ok().filter(|limit| *limit < 1 << 60);
    let limit = number(read(b, "memory", "memory.limit_in_bytes", "memory.max"));
    let swap = number(read(b, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"));
    match is_v2() {
        true => (limit, swap.map(|swap| swap + limit.unwrap_or_default())),
        false => (limit, swap),
    }
}
