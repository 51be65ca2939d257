//! Other limits for cgroups in use. What is there is read first, so that an update that fails half way can be taken back.

use super::{Cgroup, Member, files};
use crate::error::{Context, Result};
use crate::plan::cgroup::{CgroupPlan, FileWrite, Version};
use crate::plan::update::PresentMemory;

impl Cgroup {
    /// Writes the limits of an update, and tells systemd of them if it has made the cgroup. If one is refused, or systemd
    /// cannot be told, they become what they were. What systemd writes in turn may be less exact (the weight of the BFQ
    /// scheduler it makes from that of the other), so ours are written last. (Device rules stay: what has been denied is not allowed again.)
    pub fn update_limits(&self, plan: &CgroupPlan) -> Result<()> {
        let mut before: Vec<Before<'_>> = plan.writes.iter().filter_map(|write| self.before(write)).collect();
        let told =
            |()| self.set_properties(plan).and_then(|told| if told { self.write(plan, |_| true) } else { Ok(()) });
        self.write_limits(plan).and_then(told).inspect_err(|_| {
            before.reverse();
            // Twice, because the kernel checks some values against each other. The failure that led here is the one
            // to report.
            before.retain(|one| files::write(&one.member.path.join(one.file), &one.value).is_err());
            before.retain(|one| files::write(&one.member.path.join(one.file), &one.value).is_err());
        })
    }

    /// The limits of memory and of swap alone, on v2; None where v1 has the controller, or nobody.
    pub fn v2_memory(&self) -> Result<Option<PresentMemory>> {
        let Some(member) = self.v2().filter(|_| self.v1("memory").is_none()) else { return Ok(None) };
        let limit = |file| match files::read_value(&member.path.join(file)) {
            Ok(text) => Ok(Some(text.parse().ok())),
            Err(error) if files::is_gone(&error) => Ok(None),
            Err(error) => Err(error).step(|| "read the limit of memory"),
        };
        // Without swap accounting there is no limit of swap.
        let Some(memory) = limit("memory.max")? else { return Ok(None) };
        Ok(Some(PresentMemory { limit: memory, swap: limit("memory.swap.max")?.flatten() }))
    }

    /// What a write will replace; None where that cannot be known.
    fn before<'a>(&'a self, write: &'a FileWrite) -> Option<Before<'a>> {
        let member = self.members.get(write.directory)?;
        let given = (&*write.file, write.value.as_str());
        let instead = write.instead.as_ref().map(|(file, value)| (*file, value.as_str()));
        [Some(given), instead].into_iter().flatten().find_map(|(file, value)| {
            let text = files::read(&member.path.join(file)).ok()?;
            Some(Before { member, file, value: restoring(file, value, &text, member.version)? })
        })
    }
}

/// What a file said before it was written to, in the form that is written.
struct Before<'a> {
    member: &'a Member,
    file: &'a str,
    value: String,
}

/// What has to be written to make a file say `text` again after `value` was written to it.
fn restoring(file: &str, value: &str, text: &str, version: Version) -> Option<String> {
    if file == "memory.oom_control" {
        return text.lines().find_map(|line| line.strip_prefix("oom_kill_disable ")).map(str::to_owned);
    }
    let key = match value.split_once(' ') {
        // One line for each device or interface, and only of those that have a value of their own.
        Some((key, _)) if file != "cpu.max" => key,
        // A cpuset is emptied with a newline; nothing at all would not be written.
        _ => return Some(if text.is_empty() { "\n".to_owned() } else { text.to_owned() }),
    };
    let present = text.lines().find(|line| line.split(' ').next() == Some(key));
    Some(match (present, version) {
        (Some(line), _) => line.to_owned(),
        (None, Version::V2) if file == "io.max" => format!("{key} rbps=max wbps=max riops=max wiops=max"),
        (None, Version::V1) if file.starts_with("blkio.throttle.") => format!("{key} 0"),
        (None, _) if file.contains("weight") => format!("{key} default"),
        (None, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_written_back_in_the_form_of_its_file() {
        use Version::{V1, V2};
        for (version, file, value, text, expected) in [
            (V1, "memory.limit_in_bytes", "100", "9223372036854771712\n", Some("9223372036854771712\n")),
            (V1, "memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", Some("0")),
            (V1, "blkio.throttle.read_bps_device", "8:0 7", "8:0 99\n8:16 1\n", Some("8:0 99")),
            (V1, "blkio.throttle.read_bps_device", "8:0 7", "8:16 1\n", Some("8:0 0")),
            (V1, "blkio.bfq.weight_device", "8:0 7", "100\n", Some("8:0 default")),
            (V2, "cpu.max", "5000 10000", "max 100000\n", Some("max 100000\n")),
            (V2, "cpuset.cpus", "0", "", Some("\n")),
            (V2, "cpuset.cpus", "0", "\n", Some("\n")),
            (
                V2,
                "io.max",
                "8:0 rbps=7",
                "8:0 rbps=9 wbps=max riops=max wiops=max\n",
                Some("8:0 rbps=9 wbps=max riops=max wiops=max"),
            ),
            (V2, "io.max", "8:0 rbps=7", "", Some("8:0 rbps=max wbps=max riops=max wiops=max")),
            (
                V2,
                "rdma.max",
                "a hca_handle=1",
                "a hca_handle=max hca_object=9\n",
                Some("a hca_handle=max hca_object=9"),
            ),
            (V2, "rdma.max", "b hca_handle=1", "", None),
        ] {
            assert_eq!(restoring(file, value, text, version).as_deref(), expected, "{file} <- {value}");
        }
    }
}
