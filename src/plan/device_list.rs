//! DECIDE what is written into `devices.allow` and `devices.deny`, cgroup v1's files for device rules.
//!
//! The kernel keeps no rules there but their outcome: either everything is denied but for some exceptions, or
//! everything is allowed but for some. A rule takes effect as an exception that it adds or takes away, and only one for
//! exactly the same devices can be taken away. See security/device_cgroup.c of the kernel, which decides thus: denied,
//! unless *one* exception has all that is asked for; or allowed, unless an exception has any of it.

use std::fmt;

use rustix::io::Errno;

use super::ConfigPath;
use super::device_rules::{Access, DEVICES, DevicePolicy, Devices, Rule, STEP};
use super::resources::Writes;
use crate::error::Problem;
use crate::plan::cgroup::FileWrite;

/// What a cgroup allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceList {
    /// What holds for devices without an exception.
    pub allow: bool,
    /// The devices for which the contrary holds, in the order of the rules.
    pub exceptions: Vec<Exception>,
}

/// Devices and what may (or may not) be done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Which devices.
    pub devices: Devices,
    /// What.
    pub access: Access,
    /// The rule it comes from.
    pub at: ConfigPath,
}

impl DeviceList {
    /// What a policy comes to. Some cannot be had: they are problems.
    pub fn of(policy: &DevicePolicy, problems: &mut Vec<Problem>) -> DeviceList {
        let mut list = DeviceList { allow: policy.allow, exceptions: Vec::new() };
        for rule in &policy.rules {
            let exception = Exception { devices: rule.devices, access: rule.access, at: rule.at };
            match rule.allow == list.allow {
                false => list.add(exception),
                true => list.remove(rule).unwrap_or_else(|problem| problems.push(problem)),
            }
        }
        if !list.allow {
            list.join_reading_and_writing();
        }
        list
    }

    /// What is written into the files of a cgroup about which nothing is known.
    pub(super) fn write(&self, to: &mut Writes<'_>) {
        self.write_rest(to);
        self.write_exceptions(to);
    }

    fn write_exceptions(&self, to: &mut Writes<'_>) {
        self.exceptions.iter().for_each(|exception| exception.write(!self.allow, exception.access, to));
    }

    fn write_rest<'a>(&self, to: &'a mut Writes<'_>) -> &'a mut FileWrite {
        to.write(file(self.allow), ALL, DEVICES)
    }

    fn add(&mut self, exception: Exception) {
        match self.exceptions.iter_mut().find(|known| known.devices == exception.devices) {
            Some(known) => known.access = known.access.or(exception.access),
            None => self.exceptions.push(exception),
        }
    }

    /// The kernel silently ignores the removal of a part of an exception's devices, which would leave a device usable
    /// that the user denied: an error here, as in runc.
    fn remove(&mut self, rule: &Rule) -> Result<(), Problem> {
        let in_part = |known: &&Exception| {
            known.devices.and(rule.devices).is_some()
                && !rule.devices.contain(known.devices)
                && known.access.overlaps(rule.access)
        };
        if let Some(known) = self.exceptions.iter().find(in_part) {
            let message = format!("cgroup v1 cannot take an exception from the wider rule \"{known}\"");
            return Err(Problem::new(rule.at, message));
        }
        for known in self.exceptions.iter_mut().filter(|known| rule.devices.contain(known.devices)) {
            known.access = known.access.without(rule.access);
        }
        self.exceptions.retain(|known| known.access != Access::NONE);
        Ok(())
    }

    /// Who opens a device for reading and writing needs one exception that has both. If one rule allows reading and
    /// another writing, then the devices that they have in common get an exception of their own.
    fn join_reading_and_writing(&mut self) {
        let half = |exception: &&Exception| exception.access.read != exception.access.write;
        let halves: Vec<Exception> = self.exceptions.iter().filter(half).copied().collect();
        for (index, one) in halves.iter().enumerate() {
            for other in halves[index + 1..].iter().filter(|other| other.access.read != one.access.read) {
                if let Some(devices) = one.devices.and(other.devices) {
                    let access = Access { read: true, write: true, mknod: false };
                    self.add(Exception { devices, access, at: other.at });
                }
            }
        }
    }
}

/// `a`, then all that the kernel knows about the cgroup is forgotten.
const ALL: &str = "a";

fn file(allow: bool) -> &'static str {
    if allow { "devices.allow" } else { "devices.deny" }
}

impl Exception {
    fn write(&self, allow: bool, access: Access, to: &mut Writes<'_>) {
        to.write(file(allow), format_args!("{} {access}", self.devices), self.at);
    }
}

/// What is written into a cgroup with processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// In order.
    pub writes: Vec<FileWrite>,
    /// The cgroup has too much or too little meanwhile, so that its processes should stand still.
    pub still: bool,
}

/// Decides how a cgroup comes to allow what is wanted, so that none of its processes is refused meanwhile what it may
/// use both before and after: what is new is allowed first, what is no more is denied then, and the rest is not touched.
/// `present` is the text of its `devices.list`.
///
/// Between "everything but" and "nothing but" there is no such way: the first write forgets all exceptions, even before
/// it changes what holds without one, and the others follow. The kernel does not tell the exceptions of "everything but"
/// either, so they are forgotten too; it refuses to if there are cgroups below, and then those that are there stay.
pub fn change(directory: usize, present: &str, wanted: &DeviceList) -> Change {
    let present = parse(present);
    let (mut writes, mut problems) = (Vec::new(), Vec::new());
    let mut to = Writes { directory, step: STEP, out: &mut writes, problems: &mut problems };
    if wanted.allow || present.allow {
        let first = wanted.write_rest(&mut to);
        if wanted.allow && present.allow {
            first.tolerated = &[Errno::INVAL];
        }
        wanted.write_exceptions(&mut to);
        let still = wanted.allow != present.allow || !wanted.exceptions.is_empty();
        return Change { writes, still };
    }
    for (allow, from, into) in [(true, wanted, &present), (false, &present, wanted)] {
        for exception in &from.exceptions {
            let known = into.exceptions.iter().find(|known| known.devices == exception.devices);
            let more = exception.access.without(known.map_or(Access::NONE, |known| known.access));
            if more != Access::NONE {
                exception.write(allow, more, &mut to);
            }
        }
    }
    Change { writes, still: false }
}

/// Parses `devices.list`. What is written there is allowed; the exceptions of "everything but" are not.
pub fn parse(text: &str) -> DeviceList {
    let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
    let exception = |line: &str| {
        let mut words = line.split([' ', ':']);
        let block = words.next()? == "b";
        let (major, minor) = (number(words.next()?)?, number(words.next()?)?);
        let letters = words.next()?;
        let has = |letter| letters.contains(letter);
        let access = Access { read: has('r'), write: has('w'), mknod: has('m') };
        Some(Exception { devices: Devices { block, major, minor }, access, at: DEVICES })
    };
    match text.starts_with(ALL) {
        true => DeviceList { allow: true, exceptions: Vec::new() },
        false => DeviceList { allow: false, exceptions: text.lines().filter_map(exception).collect() },
    }
}

/// As the kernel writes it in `devices.list`: `c 1:3 rwm`.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.devices, self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::super::device_rules::decide;
    use super::*;

    /// The exceptions without the defaults, and the problems.
    fn listed(json: &str) -> (bool, Vec<String>, Vec<String>) {
        let mut problems = Vec::new();
        let list = list(json, &mut problems);
        let defaults = list_of(DEFAULTS_ONLY);
        let own = list.exceptions.iter().filter(|exception| !defaults.exceptions.contains(exception));
        let problems = problems.iter().map(|problem| format!("{}: {}", problem.at, problem.message)).collect();
        (list.allow, own.map(Exception::to_string).collect(), problems)
    }

    const DEFAULTS_ONLY: &str = "[]";

    fn list_of(json: &str) -> DeviceList {
        list(json, &mut Vec::new())
    }

    fn list(json: &str, problems: &mut Vec<Problem>) -> DeviceList {
        let policy = decide(&serde_json::from_str::<Vec<_>>(json).expect("device rules"), problems);
        DeviceList::of(&policy, problems)
    }

    #[test]
    fn rules_merge() {
        let (allow, lines, problems) = listed(
            r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
                {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "w"}]"#,
        );
        assert_eq!((allow, problems), (false, vec![]));
        assert_eq!(lines, ["c 10:229 rw", "c 1:3 rwm", "b 8:0 r"]);
    }

    #[test]
    fn denials_take_away_what_was_allowed() {
        let (_, lines, problems) = listed(
            r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
                {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"},
                {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "r"},
                {"allow": false, "type": "b", "major": 8, "access": "rwm"}]"#,
        );
        assert_eq!((lines, problems), (vec!["c 10:229 rm".to_owned()], vec![]));
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused() {
        let hole = |minor| {
            let allowed = format!(r#"{{"allow": true, "type": "b", {minor}, "access": "rwm"}}"#);
            listed(&format!(r#"[{allowed}, {{"allow": false, "type": "b", "major": 8, "access": "w"}}]"#)).2
        };
        assert_eq!(hole(r#""major": 8"#), Vec::<String>::new());
        for (allowed, shown) in [(r#""minor": 1"#, "b *:1 rwm"), (r#""major": -1"#, "b *:* rwm")] {
            let message = format!("cgroup v1 cannot take an exception from the wider rule \"{shown}\"");
            assert_eq!(hole(allowed), [format!("linux.resources.devices[1]: {message}")]);
        }
    }

    #[test]
    fn reading_by_one_rule_and_writing_by_another_are_joined() {
        let (_, lines, _) = listed(
            r#"[{"allow": true, "type": "c", "major": 10, "access": "r"}, {"allow": true, "type": "c", "minor": 3, "access": "w"},
                {"allow": true, "type": "b", "access": "r"}, {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "w"}]"#,
        );
        assert_eq!(lines, ["c 10:* r", "c *:3 w", "b *:* rm", "b 8:1 rw", "c 10:3 rw"]);
    }

    fn changed(present: &str, json: &str) -> Vec<String> {
        change(0, present, &list_of(json)).writes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_change_allows_first_and_denies_then() {
        let lines: Vec<String> = list_of(DEFAULTS_ONLY).exceptions.iter().map(Exception::to_string).collect();
        let present = lines.join("\n") + "\n";
        assert_eq!(changed(&present, DEFAULTS_ONLY), Vec::<String>::new());
        let with = present.clone() + "b 8:1 rw\nc 10:229 rwm\n";
        let rule = r#"[{"allow": true, "type": "b", "major": 8, "minor": 1, "access": "wm"}]"#;
        assert_eq!(
            changed(&with, rule),
            [r#"devices.allow <- "b 8:1 m""#, r#"devices.deny <- "b 8:1 r""#, r#"devices.deny <- "c 10:229 rwm""#]
        );
        assert_eq!(changed("", "[]").len(), 11);
    }

    #[test]
    fn a_change_from_or_to_everything_begins_anew() {
        let all = r#"[{"allow": true, "access": "rwm"}]"#;
        let but = r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "access": "w"}]"#;
        assert_eq!(changed("c *:* m\n", all), [r#"devices.allow <- "a""#]);
        assert_eq!(changed("a *:* rwm\n", but), [r#"devices.allow <- "a""#, r#"devices.deny <- "b *:* w""#]);
        assert_eq!(changed("a *:* rwm\n", "[]")[..2], [r#"devices.deny <- "a""#, r#"devices.allow <- "c *:* m""#]);
        let still = |present, json| change(0, present, &list_of(json)).still;
        assert!(still("a *:* rwm\n", "[]") && still("a *:* rwm\n", but) && still("", all));
        assert!(!still("a *:* rwm\n", all) && !still("", "[]"));
    }
}
