//! Groups of the resctrl file system: a class of service and a monitoring group of a container, see
//! [`crate::plan::intel_rdt`]. Runs in the host process.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::ConfigPath;
use crate::plan::intel_rdt::{Class, IntelRdt, Schema, agrees};
use crate::sys::file;

/// `RDTGROUP_SUPER_MAGIC` of linux/magic.h.
const MAGIC: i64 = 0x0765_5821;

/// Where resctrl is mounted: usually `/sys/fs/resctrl`, but that is up to who mounts it.
pub fn find() -> Option<PathBuf> {
    let is_resctrl = |path: &Path| rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == MAGIC);
    let usual = Path::new("/sys/fs/resctrl");
    if is_resctrl(usual) {
        return Some(usual.to_owned());
    }
    let table = file::read(Path::new("/proc/self/mountinfo")).ok()?;
    mount_points(&table).into_iter().find(|path| is_resctrl(path))
}

/// The mounts of type resctrl, see proc_pid_mountinfo(5). Something else may lie over them.
fn mount_points(table: &str) -> Vec<PathBuf> {
    let point = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let path = mount.split(' ').nth(4)?;
        filesystem.starts_with("resctrl ").then(|| PathBuf::from(path.replace("\\040", " ")))
    };
    table.lines().filter_map(point).collect()
}

/// What a container has in resctrl, for its record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The groups that its processes belong to: the class of service, then the monitoring group.
    pub groups: Vec<PathBuf>,
    /// Those that go with the container.
    pub owned: Vec<PathBuf>,
}

impl Membership {
    /// What will be there, for the record that is written before anything is made: what is missing now is what will have
    /// been made.
    pub fn planned(plan: &IntelRdt) -> Membership {
        let owned = match &plan.monitoring {
            // "If closID is not set and the runtime has created the sub-directory, the runtime MUST remove the
            // sub-directory when the container is deleted." Its monitoring groups go with it.
            _ if plan.kind == Class::Own && !plan.class.exists() => vec![plan.class.clone()],
            Some(group) if !group.exists() => vec![group.clone()],
            _ => Vec::new(),
        };
        let groups = std::iter::once(&plan.class).chain(&plan.monitoring).cloned().collect();
        Membership { groups, owned }
    }

    /// Puts a process into the groups. One that is gone is passed over: the kernel has put the container's processes back
    /// into the default group.
    pub fn admit(&self, pid: i32) -> Result<()> {
        self.groups.iter().filter(|group| group.exists()).try_for_each(|group| admit(group, pid))
    }

    /// Removes what goes with the container; where that is not certain, what nobody uses. The kernel would remove a group
    /// with all its processes in it.
    pub fn remove(&self, is_claim: bool) -> Result<()> {
        let is_ours = |group: &&PathBuf| !is_claim || !is_used(group);
        self.owned.iter().filter(is_ours).try_for_each(|group| remove(group))
    }
}

/// The groups of a container that is being made; what was made and changed can be taken back.
#[derive(Debug)]
pub struct Group {
    root: PathBuf,
    groups: Vec<PathBuf>,
    made: Vec<PathBuf>,
    /// What the schemata of a class were that somebody else has made.
    changed: Option<(PathBuf, String)>,
}

impl Group {
    /// Makes what is missing and writes the schemata. If that fails, all is as it was.
    pub fn make(plan: &IntelRdt) -> Result<Group> {
        let mut group =
            Group { root: plan.root.clone(), groups: vec![plan.class.clone()], made: Vec::new(), changed: None };
        match group.fill(plan) {
            Ok(()) => Ok(group),
            Err(error) => {
                group.undo();
                Err(error.step("set up resctrl").at(ConfigPath::new("linux.intelRdt")))
            }
        }
    }

    fn fill(&mut self, plan: &IntelRdt) -> Result<()> {
        let at = ConfigPath::new("linux.intelRdt");
        let is_there = match plan.kind {
            _ if plan.class == plan.root => true,
            Class::Configured if !plan.class.is_dir() => {
                return Err(Error::new(format!("{} is not there", plan.class.display()))
                    .at(at.field("closID"))
                    .hint("make it, or say with l3CacheSchema, memBwSchema or schemata what it is to be"));
            }
            Class::Configured => true,
            Class::Own | Class::Shared => !self.make_directory(&plan.class)?,
        };
        if is_there && !plan.schemata.is_empty() {
            self.compare(plan)?;
        }
        self.write_schemata(&plan.class, &plan.schemata)?;
        if let Some(monitoring) = &plan.monitoring {
            // "the runtime MUST create a dedicated MON group for the container": one that is there is somebody else's.
            if !self.make_directory(monitoring).at(at.field("enableMonitoring"))? {
                return Err(Error::new(format!("{} is there already", monitoring.display()))
                    .at(at.field("enableMonitoring"))
                    .hint("another container of that name uses it, or one has left it behind"));
            }
            self.groups.push(monitoring.clone());
        }
        Ok(())
    }

    /// Changes the schemata of a container's class (`update`). If that fails, they are as they were.
    pub fn change(membership: &Membership, schemata: &[Schema]) -> Result<Group> {
        let groups = membership.groups.clone();
        let class = groups.first().cloned().ok_or_else(|| Error::new("the container has no class of service"))?;
        // The default class is the root itself.
        let root = class.ancestors().take(2).find(|directory| directory.join("info").is_dir()).unwrap_or(&class);
        let file = class.join("schemata");
        let before = file::read(&file).step(|| "change resctrl").at(ConfigPath::new("linux.intelRdt"))?;
        let mut group = Group { root: root.to_owned(), groups, made: Vec::new(), changed: Some((file, before)) };
        let written = group.write_schemata(&class, schemata).step(|| "change resctrl");
        written.inspect_err(|_| group.undo()).map(|()| group)
    }

    fn write_schemata(&self, class: &Path, schemata: &[Schema]) -> Result<()> {
        let file = class.join("schemata");
        schemata.iter().try_for_each(|schema| {
            write(&file, &format!("{}\n", schema.text)).map_err(|error| self.explain(error)).at(schema.at)
        })
    }

    /// Puts init into the groups: the class first, as a monitoring group takes only processes of its class.
    pub fn admit(&self, pid: i32) -> Result<()> {
        self.groups.iter().try_for_each(|group| {
            admit(group, pid).map_err(|error| self.explain(error)).at(ConfigPath::new("linux.intelRdt"))
        })
    }

    /// Takes back what was made, unless somebody else has come to use it, and what was changed.
    pub fn undo(&mut self) {
        for group in self.made.drain(..).rev() {
            if !is_used(&group) {
                let _ = remove(&group);
            }
        }
        if let Some((file, before)) = self.changed.take() {
            let _ = write(&file, &before);
        }
    }

    /// "if closID directory in a mounted resctrl pseudo-filesystem exists, runtimes MUST compare l3CacheSchema and/or
    /// memBwSchema value with schemata file, and generate an error if doesn't match." (config-linux.md, IntelRdt)
    fn compare(&mut self, plan: &IntelRdt) -> Result<()> {
        let file = plan.class.join("schemata");
        let current = file::read(&file)?;
        let granularity = file::read_line(&self.root.join("info/MB/bandwidth_gran"));
        let granularity = granularity.ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let compared = plan.schemata.iter().filter(|schema| schema.compared && plan.kind == Class::Shared);
        for schema in compared {
            if !agrees(&schema.text, &current, granularity) {
                return Err(Error::new(format!("{} exists and has other schemata: {current:?}", plan.class.display()))
                    .at(schema.at)
                    .hint("containers that share a class of service must agree on it"));
            }
        }
        self.changed = Some((file, current));
        Ok(())
    }

    /// False if it is there already.
    fn make_directory(&mut self, path: &Path) -> Result<bool> {
        match call!("mkdir"(path.display()) => rustix::fs::mkdir(path, rustix::fs::Mode::from_raw_mode(0o755))) {
            Ok(()) => {
                self.made.push(path.to_owned());
                Ok(true)
            }
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The kernel says there why the last write or mkdir has failed.
    fn explain(&self, error: Error) -> Error {
        match file::read_line(&self.root.join("info/last_cmd_status")) {
            Ok(status) if status != "ok" && !status.is_empty() => error.hint(format!("the kernel says: {status}")),
            _ => error,
        }
    }
}

fn admit(group: &Path, pid: i32) -> Result<()> {
    write(&group.join("tasks"), &pid.to_string()).step(|| "join the resctrl group")
}

fn write(file: &Path, text: &str) -> Result<()> {
    let as_errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    call!("write"(file.display(), format_args!("{text:?}")) => fs::write(file, text).map_err(as_errno))
}

fn is_used(group: &Path) -> bool {
    file::read(&group.join("tasks")).is_ok_and(|tasks| !tasks.trim().is_empty())
}

fn remove(group: &Path) -> Result<()> {
    match call!("rmdir"(group.display()) => rustix::fs::rmdir(group)) {
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_tells_where_resctrl_is() {
        let table = "25 1 0:23 / /sys/fs/resctrl rw,relatime shared:7 - resctrl resctrl rw\n\
                     26 1 0:24 / /mnt/two\\040words rw - resctrl none rw,mba_MBps\n\
                     27 1 0:25 / /tmp/resctrl rw - tmpfs resctrl rw\n";
        assert_eq!(mount_points(table), ["/sys/fs/resctrl", "/mnt/two words"].map(PathBuf::from));
    }
}
