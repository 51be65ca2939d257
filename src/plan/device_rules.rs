//! DECIDE which devices a container may use: `linux.resources.devices` and the defaults that every container gets.
//!
//! The rules are applied in the listed order to a model of the v1 device controller: either everything is denied but
//! for some exceptions, or everything is allowed but for some. The model starts from "all denied" (as runc does), so a
//! container without rules cannot reach the host's disks by making a node.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::ConfigPath;
use crate::error::Problem;

/// Where the rules are in `config.json`.
pub const DEVICES: ConfigPath = ConfigPath::new("linux.resources.devices");

/// What the rules amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevicePolicy {
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

/// A set of devices of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Devices {
    /// Block devices, else character devices.
    pub block: bool,
    /// The major number; all if none.
    pub major: Option<u32>,
    /// The minor number; all if none.
    pub minor: Option<u32>,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// `r`
    pub read: bool,
    /// `w`
    pub write: bool,
    /// `m`
    pub mknod: bool,
}

/// Applies the rules in order, then the defaults.
pub fn decide(rules: &[LinuxDeviceCgroup], problems: &mut Vec<Problem>) -> DevicePolicy {
    let mut policy = DevicePolicy::default();
    for (index, rule) in rules.iter().enumerate() {
        if let Err(problem) = apply(&mut policy, rule, DEVICES.index(index)) {
            problems.push(problem);
        }
    }
    // "Everything but" already covers the defaults; taking its exceptions away again would overrule the user.
    if !policy.allow {
        for (devices, access) in DEFAULTS {
            policy.add(Exception { devices: *devices, access: *access, at: DEVICES });
        }
    }
    policy
}

/// runc's defaults: making any node is harmless without the right to open it, and init must make some; then the
/// devices of config-linux.md, "Default Devices"; /dev/pts/*; and /dev/net/tun, which users have come to rely on.
const DEFAULTS: &[(Devices, Access)] = &[
    (Devices { block: false, major: None, minor: None }, Access { read: false, write: false, mknod: true }),
    (Devices { block: true, major: None, minor: None }, Access { read: false, write: false, mknod: true }),
    (char_device(1, Some(3)), Access::ALL),
    (char_device(1, Some(5)), Access::ALL),
    (char_device(1, Some(7)), Access::ALL),
    (char_device(1, Some(8)), Access::ALL),
    (char_device(1, Some(9)), Access::ALL),
    (char_device(5, Some(0)), Access::ALL),
    (char_device(5, Some(2)), Access::ALL),
    (char_device(136, None), Access::ALL),
    (char_device(10, Some(200)), Access::ALL),
];

const fn char_device(major: u32, minor: Option<u32>) -> Devices {
    Devices { block: false, major: Some(major), minor }
}

fn apply(policy: &mut DevicePolicy, rule: &LinuxDeviceCgroup, at: ConfigPath) -> Result<(), Problem> {
    let access = Access::parse(rule.access().as_deref().unwrap_or_default(), at.field("access"))?;
    let major = number(rule.major(), at.field("major"))?;
    let minor = number(rule.minor(), at.field("minor"))?;
    let types: &[bool] = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => &[false, true],
        LinuxDeviceType::C => &[false],
        LinuxDeviceType::B => &[true],
        LinuxDeviceType::U | LinuxDeviceType::P => {
            return Err(Problem::new(at.field("type"), "must be a (all), b (block) or c (character)"));
        }
    };
    // The kernel takes `a` for every access to every device, whatever else the line says. So only a rule that means
    // this becomes one; a narrower rule for both types (`a 10:229 r`) becomes two.
    if types.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
        *policy = DevicePolicy { allow: rule.allow(), exceptions: Vec::new() };
        return Ok(());
    }
    for &block in types {
        let exception = Exception { devices: Devices { block, major, minor }, access, at };
        match rule.allow() == policy.allow {
            false => policy.add(exception),
            true => policy.remove(exception)?,
        }
    }
    Ok(())
}

/// A device number; -1 is what runc's users write for "all".
fn number(value: Option<i64>, at: ConfigPath) -> Result<Option<u32>, Problem> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => {
            let number = u32::try_from(value).map_err(|_| Problem::new(at, format!("{value} is no device number")))?;
            Ok(Some(number))
        }
    }
}

impl DevicePolicy {
    fn add(&mut self, exception: Exception) {
        match self.exceptions.iter_mut().find(|known| known.devices == exception.devices) {
            Some(known) => known.access = known.access.and(exception.access),
            None => self.exceptions.push(exception),
        }
    }

    /// The kernel removes only exceptions for exactly the same devices and silently ignores other removals, which
    /// would leave a device usable that the user denied: an error here, as in runc.
    fn remove(&mut self, rule: Exception) -> Result<(), Problem> {
        let wider = |known: &&Exception| {
            known.devices != rule.devices && known.devices.contain(rule.devices) && known.access.overlaps(rule.access)
        };
        if let Some(known) = self.exceptions.iter().find(wider) {
            return Err(Problem::new(rule.at, format!("cannot take an exception from the wider rule \"{known}\"")));
        }
        for known in self.exceptions.iter_mut().filter(|known| rule.devices.contain(known.devices)) {
            known.access = known.access.without(rule.access);
        }
        self.exceptions.retain(|known| known.access != Access::default());
        Ok(())
    }
}

impl Devices {
    fn contain(&self, other: Devices) -> bool {
        let covers = |all: Option<u32>, one: Option<u32>| all.is_none() || all == one;
        self.block == other.block && covers(self.major, other.major) && covers(self.minor, other.minor)
    }
}

impl Access {
    /// `rwm`
    pub const ALL: Access = Access { read: true, write: true, mknod: true };

    fn parse(text: &str, at: ConfigPath) -> Result<Access, Problem> {
        let mut access = Access::default();
        for letter in text.chars() {
            match letter {
                'r' => access.read = true,
                'w' => access.write = true,
                'm' => access.mknod = true,
                // Some configurations have it, meaning nothing; runc ignores it.
                'a' => {}
                _ => return Err(Problem::new(at, format!("{letter:?} is none of r (read), w (write), m (mknod)"))),
            }
        }
        match access == Access::default() {
            true => Err(Problem::new(at, "must not be empty: r (read), w (write), m (mknod)")),
            false => Ok(access),
        }
    }

    fn and(self, other: Access) -> Access {
        Access { read: self.read || other.read, write: self.write || other.write, mknod: self.mknod || other.mknod }
    }

    fn without(self, other: Access) -> Access {
        Access { read: self.read && !other.read, write: self.write && !other.write, mknod: self.mknod && !other.mknod }
    }

    fn overlaps(self, other: Access) -> bool {
        self.without(other) != self
    }
}

/// As the kernel writes it in `devices.list`: `c 1:3 rwm`.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let Devices { block, major, minor } = self.devices;
        write!(f, "{} {}:{} ", if block { 'b' } else { 'c' }, number(major), number(minor))?;
        let Access { read, write, mknod } = self.access;
        for (letter, _) in [('r', read), ('w', write), ('m', mknod)].iter().filter(|(_, held)| *held) {
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(json: &str) -> (bool, Vec<String>, Vec<String>) {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).expect("device rules");
        let mut problems = Vec::new();
        let policy = decide(&rules, &mut problems);
        let lines = policy.exceptions.iter().map(Exception::to_string).collect();
        (policy.allow, lines, problems.iter().map(|problem| format!("{}: {}", problem.at, problem.message)).collect())
    }

    const DEFAULT_LINES: [&str; 11] = [
        "c *:* m",
        "b *:* m",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:2 rwm",
        "c 136:* rwm",
        "c 10:200 rwm",
    ];

    #[test]
    fn without_rules_all_but_the_defaults_is_denied() {
        assert_eq!(decided("[]"), (false, DEFAULT_LINES.map(str::to_owned).to_vec(), vec![]));
        assert_eq!(decided(r#"[{"allow": false, "access": "rwm"}]"#), decided("[]"));
    }

    #[test]
    fn a_privileged_container_may_use_everything() {
        let rules = r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "a", "major": -1, "minor": -1, "access": "rwm"}]"#;
        assert_eq!(decided(rules), (true, vec![], vec![]));
    }

    #[test]
    fn rules_keep_their_order_and_merge() {
        let (allow, lines, problems) = decided(
            r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
                {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "w"}]"#,
        );
        assert_eq!((allow, problems), (false, vec![]));
        assert_eq!(lines[..4], ["c 10:229 rw", "c 1:3 rwm", "b 8:0 r", "c *:* m"].map(str::to_owned));
        assert_eq!(lines.iter().filter(|line| line.starts_with("c 1:3 ")).count(), 1);
    }

    #[test]
    fn a_rule_for_both_types_that_is_not_for_everything_stays_narrow() {
        let (allow, lines, _) = decided(r#"[{"allow": true, "major": 10, "minor": 229, "access": "rw"}]"#);
        assert!(!allow);
        assert_eq!(lines[..2], ["c 10:229 rw", "b 10:229 rw"].map(str::to_owned));
        let (allow, lines, _) = decided(r#"[{"allow": true, "type": "a", "access": "r"}]"#);
        assert!(!allow);
        assert_eq!(lines[..2], ["c *:* rm", "b *:* rm"].map(str::to_owned));
    }

    #[test]
    fn denials_take_away_what_was_allowed() {
        let (_, lines, problems) = decided(
            r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
                {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"},
                {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "r"},
                {"allow": false, "type": "b", "major": 8, "access": "rwm"}]"#,
        );
        assert_eq!((lines[0].as_str(), lines.len(), problems), ("c 10:229 rm", 12, vec![]));
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused() {
        let (_, _, problems) = decided(
            r#"[{"allow": true, "type": "b", "major": 8, "access": "rwm"},
                {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "w"}]"#,
        );
        assert_eq!(
            problems,
            [r#"linux.resources.devices[1]: cannot take an exception from the wider rule "b 8:* rwm""#]
        );
    }

    #[test]
    fn everything_but_keeps_its_exceptions() {
        let rules = r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "w"}]"#;
        assert_eq!(decided(rules), (true, vec!["c 1:3 w".to_owned()], vec![]));
    }

    #[test]
    fn nonsense_is_refused() {
        let (_, _, problems) = decided(
            r#"[{"allow": true, "type": "c", "access": ""}, {"allow": true, "type": "p", "access": "r"},
                {"allow": true, "access": "rx"}, {"allow": true, "type": "c", "major": -2, "access": "r"}]"#,
        );
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[3].starts_with("linux.resources.devices[3].major: -2"));
    }
}
