//! The executor of a plan's writes: in order, retried where the kernel checks two values against each other, and
//! explained where they fail.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::{Cgroup, Member, Presence, files};
use crate::error::{Error, Result};
use crate::hints;
use crate::plan::cgroup::{Before, CgroupPlan, FileWrite, Version, When};
use crate::plan::steps::id;
use crate::sys::descriptors::Spent;
use crate::trace::{self, Outcome};

impl Cgroup {
    /// Writes the limits and device rules of the plan that the cgroups were created for, or of an update.
    pub fn write_limits(&self, plan: &CgroupPlan) -> Result<()> {
        // What must hold before anyone joins was written into new directories when they were made.
        let update = self.present().all(|member| member.presence == Presence::Existing);
        self.write(plan, |when| update || when != When::BeforeJoining)?;
        self.control_devices(plan)
    }

    /// Makes the writes that `due` chooses, in order; those that the kernel refuses for the sake of a value still to
    /// come are tried again after the others.
    pub(super) fn write(&self, plan: &CgroupPlan, due: impl Fn(When) -> bool) -> Result<()> {
        let mut last = LastFile::default();
        let mut waiting = Vec::new();
        for write in plan.writes.iter().filter(|write| due(write.when)) {
            match self.write_one(write, &mut last) {
                Err(error) if write.retried && error.errno() == Some(Errno::INVAL) => waiting.push((write, error)),
                result => result?,
            }
        }
        // Each round settles at least one, or the values do not fit together.
        while let Some(tried) = Some(waiting.len()).filter(|length| *length > 0) {
            let mut refused = Vec::new();
            for (write, _) in waiting {
                match self.write_one(write, &mut last) {
                    Err(error) if error.errno() == Some(Errno::INVAL) => refused.push((write, error)),
                    result => result?,
                }
            }
            if refused.len() == tried {
                return Err(refused.swap_remove(0).1);
            }
            waiting = refused;
        }
        Ok(())
    }

    pub(super) fn write_one<'a>(&self, write: &'a FileWrite, last: &mut LastFile<'a>) -> Result<()> {
        trace::conditional(|| id::write(write), || self.write_if_due(write, last))
    }

    fn write_if_due<'a>(&self, write: &'a FileWrite, last: &mut LastFile<'a>) -> Result<Outcome> {
        let Some(member) = self.members.get(write.directory) else { return Ok(Outcome::Skipped) };
        let new = member.presence == Presence::New;
        if !member.presence.is_there() || (new && write.when == When::Existing) {
            return Ok(Outcome::Skipped);
        }
        let result = match &write.before {
            _ if new => last.write(write, &write.value, member),
            Before::Nothing => last.write(write, &write.value, member),
            Before::UsageBelow(file, limits) => {
                refuse_below_use(file, limits, member).and_then(|()| last.write(write, &write.value, member))
            }
            Before::FirstWord => keep_first_word(write, member).and_then(|value| last.write(write, &value, member)),
        };
        match (result, &write.instead) {
            (Err(error), Some((file, value))) if error.errno() == Some(Errno::NOENT) => {
                files::write(&member.path.join(file), value).map_err(|error| explain(error, write, member))
            }
            (Err(error), _) if error.errno().is_some_and(|errno| write.tolerated.contains(&errno)) => Ok(()),
            // What lifts a limit is done where there cannot be one.
            (Err(error), _) if write.when == When::Existing && error.errno() == Some(Errno::NOENT) => Ok(()),
            (result, _) => result.map_err(|error| explain(error, write, member)),
        }
        .map(|()| Outcome::Done)
    }
}

/// The file of the last write, kept open: device rules are many writes into one file.
#[derive(Default)]
pub(super) struct LastFile<'a> {
    file: Option<(usize, &'a str, OwnedFd)>,
    /// Those before it.
    spent: Spent,
}

impl<'a> LastFile<'a> {
    fn write(&mut self, write: &'a FileWrite, value: &str, member: &Member) -> Result<()> {
        if let Some((directory, name, file)) = &self.file
            && (*directory, *name) == (write.directory, &*write.file)
        {
            return files::write_to(file, value);
        }
        let file = files::open_to_write(&member.path.join(&*write.file))?;
        let result = files::write_to(&file, value);
        if let Some((.., before)) = self.file.replace((write.directory, &write.file, file)) {
            self.spent.add(before);
        }
        result
    }
}

/// The words are runc's.
fn refuse_below_use(file: &str, limits: &[(&str, u64)], member: &Member) -> Result<()> {
    let Ok(usage) = files::read_value(&member.path.join(file))?.parse::<u64>() else { return Ok(()) };
    match limits.iter().find(|(_, limit)| *limit <= usage) {
        Some((name, limit)) => Err(Error::new(format!("rejecting {name} limit {limit} <= usage {usage}"))),
        None => Ok(()),
    }
}

fn keep_first_word(write: &FileWrite, member: &Member) -> Result<String> {
    let present = files::read_value(&member.path.join(&*write.file))?;
    let kept = present.split(' ').next().unwrap_or_default();
    let rest = write.value.split_once(' ').map_or("", |(_, rest)| rest);
    Ok(format!("{kept} {rest}"))
}

/// Says which limit failed, and why if that is known.
fn explain(error: Error, write: &FileWrite, member: &Member) -> Error {
    let error = error.step(write.step).at(write.at);
    match hint(error.errno(), write, member) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn hint(errno: Option<Errno>, write: &FileWrite, member: &Member) -> Option<String> {
    let file = &*write.file;
    let controller = file.split('.').next().unwrap_or_default();
    let hint = match errno? {
        Errno::BUSY if matches!(file, "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes") => {
            let number = |file| files::read_value(&member.path.join(file)).unwrap_or_default();
            let (used, peak) = (number("memory.usage_in_bytes"), number("memory.max_usage_in_bytes"));
            return Some(format!("{} (current usage: {used}, peak usage: {peak})", hints::MEMORY_IN_USE));
        }
        Errno::NOENT if controller == "hugetlb" => "no huge pages of this size here; see /sys/kernel/mm/hugepages",
        Errno::NOENT if file.starts_with("memory.memsw") || file == "memory.swap.max" => {
            "the kernel does not count swap: it needs CONFIG_SWAP, and swapaccount=1 before Linux 5.8"
        }
        Errno::NOENT if file.contains("weight") && matches!(controller, "blkio" | "io") => {
            "no I/O scheduler with weights is in use; BFQ has them"
        }
        Errno::NOENT if member.version == Version::V2 && !is_enabled(controller, member) => {
            return Some(format!(
                "the controller {controller} is not enabled here: a parent has processes of its own, or it is not \
                 delegated (systemd: Delegate={controller} in the unit above, such as user@.service)"
            ));
        }
        Errno::NOENT => "this kernel does not have the file",
        Errno::NODEV if matches!(controller, "blkio" | "io") => "no such block device, or it is a partition",
        Errno::INVAL if file == "memory.limit_in_bytes" => {
            "more than memory and swap together may be (memory.memsw.limit_in_bytes): change memory.swap with it"
        }
        Errno::INVAL if file == "memory.memsw.limit_in_bytes" => {
            "less than memory alone may be (memory.limit_in_bytes): change memory.limit with it"
        }
        Errno::INVAL if file.starts_with("cpu.") => "out of range, or more than the parent cgroup has",
        Errno::INVAL | Errno::ACCESS | Errno::NOSPC | Errno::RANGE if controller == "cpuset" => hints::CPUSET,
        Errno::INVAL if controller == "devices" => {
            "while there are cgroups below, v1 cannot change between \"everything but\" and \"nothing but\""
        }
        Errno::PERM if controller == "devices" => "the parent cgroup does not allow these devices",
        Errno::ROFS => "the cgroup file system is mounted read-only",
        Errno::ACCESS | Errno::PERM => "the cgroup is not delegated to this user (systemd: Delegate=yes)",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Whether a v2 directory has the files of a controller; those of the hierarchy itself it has always.
fn is_enabled(controller: &str, member: &Member) -> bool {
    let enabled = files::read_value(&member.path.join("cgroup.controllers")).unwrap_or_default();
    controller == "cgroup" || enabled.split(' ').any(|name| name == controller)
}
