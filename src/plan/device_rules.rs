//! DECIDE which devices a container may use: `linux.resources.devices` and the defaults that every container gets.
//!
//! "The runtime MUST apply entries in the listed order" (config-linux.md, "Allowed Device list"), so a later rule
//! overrules an earlier one, for each kind of access by itself, and a request is allowed if all that it asks for is.
//! Nothing is allowed to begin with (as in runc), so a container without rules cannot reach the host's disks by making
//! a node. How this is put to the kernel: `device_list.rs` for cgroup v1, `device_program.rs` for v2.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::ConfigPath;
use crate::error::Problem;

/// Where the rules are in `config.json`.
pub const DEVICES: ConfigPath = ConfigPath::new("linux.resources.devices");

/// What is done for device rules, so that an error can name it.
pub const STEP: &str = "allow devices";

/// The rules in effect, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevicePolicy {
    /// What holds where no rule says anything.
    pub allow: bool,
    /// The last one that names a device and an access decides.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// Which devices.
    pub devices: Devices,
    /// What may, or may not, be done with them.
    pub access: Access,
    /// Where it is written.
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

/// Checks the rules and adds the defaults.
pub fn decide(rules: &[LinuxDeviceCgroup], problems: &mut Vec<Problem>) -> DevicePolicy {
    let mut policy = DevicePolicy::default();
    for (index, rule) in rules.iter().enumerate() {
        if let Err(problem) = policy.add(rule, DEVICES.index(index)) {
            problems.push(problem);
        }
    }
    // "Everything but" already covers the defaults; taking its exceptions away again would overrule the user.
    if !policy.allow {
        let defaults = DEFAULTS.iter();
        policy.rules.extend(defaults.map(|&(devices, access)| Rule { allow: true, devices, access, at: DEVICES }));
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

impl DevicePolicy {
    fn add(&mut self, rule: &LinuxDeviceCgroup, at: ConfigPath) -> Result<(), Problem> {
        let allow = rule.allow();
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
        // cgroup v1 takes `a` for every access to every device, whatever else the line says. So only a rule that means
        // this is one; a narrower rule for both types (`a 10:229 r`) is two.
        if types.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
            *self = DevicePolicy { allow, rules: Vec::new() };
            return Ok(());
        }
        let rule = |&block: &bool| Rule { allow, devices: Devices { block, major, minor }, access, at };
        self.rules.extend(types.iter().map(rule));
        Ok(())
    }
}

/// A device number; -1 is what runc's users write for "all".
fn number(value: Option<i64>, at: ConfigPath) -> Result<Option<u32>, Problem> {
    match value {
        None | Some(-1) => Ok(None),
        // The last number means "all" to cgroup v1, which is not what a rule with it says.
        Some(value) => match u32::try_from(value) {
            Ok(number) if number != u32::MAX => Ok(Some(number)),
            _ => Err(Problem::new(at, format!("{value} is no device number"))),
        },
    }
}

impl Devices {
    /// Whether all of the others are among them.
    pub(super) fn contain(self, other: Devices) -> bool {
        let covers = |all: Option<u32>, one: Option<u32>| all.is_none() || all == one;
        self.block == other.block && covers(self.major, other.major) && covers(self.minor, other.minor)
    }

    /// Those in both.
    pub(super) fn and(self, other: Devices) -> Option<Devices> {
        let both = |one: Option<u32>, other: Option<u32>| match (one, other) {
            (Some(one), Some(other)) if one != other => None,
            (one, other) => Some(one.or(other)),
        };
        let (major, minor) = (both(self.major, other.major)?, both(self.minor, other.minor)?);
        (self.block == other.block).then_some(Devices { block: self.block, major, minor })
    }
}

impl Access {
    /// `rwm`
    pub const ALL: Access = Access { read: true, write: true, mknod: true };

    fn parse(text: &str, at: ConfigPath) -> Result<Access, Problem> {
        let mut access = Access::NONE;
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
        match access == Access::NONE {
            true => Err(Problem::new(at, "must not be empty: r (read), w (write), m (mknod)")),
            false => Ok(access),
        }
    }

    /// None.
    pub const NONE: Access = Access { read: false, write: false, mknod: false };

    /// What is in one or the other.
    pub(super) fn or(self, other: Access) -> Access {
        Access { read: self.read || other.read, write: self.write || other.write, mknod: self.mknod || other.mknod }
    }

    /// What the other does not have.
    pub(super) fn without(self, other: Access) -> Access {
        Access { read: self.read && !other.read, write: self.write && !other.write, mknod: self.mknod && !other.mknod }
    }

    /// Whether they have something in common.
    pub(super) fn overlaps(self, other: Access) -> bool {
        self.without(other) != self
    }
}

/// As cgroup v1 writes them: `c 1:3`.
impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{} {}:{}", if self.block { 'b' } else { 'c' }, number(self.major), number(self.minor))
    }
}

/// As cgroup v1 writes it: `rwm`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [('r', self.read), ('w', self.write), ('m', self.mknod)];
        letters.iter().filter(|(_, held)| *held).try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What holds without a rule, the rules before the defaults, and the problems.
    fn decided(json: &str) -> (bool, Vec<String>, Vec<String>) {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).expect("device rules");
        let mut problems = Vec::new();
        let mut policy = decide(&rules, &mut problems);
        let defaults = if policy.allow { 0 } else { DEFAULTS.len() };
        policy.rules.truncate(policy.rules.len() - defaults);
        let line = |rule: &Rule| format!("{}{} {}", if rule.allow { '+' } else { '-' }, rule.devices, rule.access);
        let problems = problems.iter().map(|problem| format!("{}: {}", problem.at, problem.message)).collect();
        (policy.allow, policy.rules.iter().map(line).collect(), problems)
    }

    #[test]
    fn nothing_is_allowed_but_the_defaults() {
        let policy = decide(&[], &mut Vec::new());
        assert!(!policy.allow && policy.rules.iter().all(|rule| rule.allow));
        let lines: Vec<String> = policy.rules.iter().map(|rule| format!("{} {}", rule.devices, rule.access)).collect();
        assert_eq!((lines.len(), lines[0].as_str(), lines[9].as_str()), (11, "c *:* m", "c 136:* rwm"));
        assert_eq!(decided(r#"[{"allow": false, "access": "rwm"}]"#), (false, vec![], vec![]));
    }

    #[test]
    fn a_rule_for_everything_forgets_those_before() {
        let rules = r#"[{"allow": true, "type": "c", "major": 1, "access": "r"}, {"allow": false, "access": "rwm"},
            {"allow": true, "type": "a", "major": -1, "minor": -1, "access": "rwm"}]"#;
        assert_eq!(decided(rules), (true, vec![], vec![]));
        let rules = r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "w"}]"#;
        assert_eq!(decided(rules), (true, vec!["-c 1:3 w".to_owned()], vec![]));
    }

    #[test]
    fn rules_keep_their_order() {
        let rules = r#"[{"allow": true, "type": "b", "major": 8, "access": "rwm"},
            {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "w"}]"#;
        assert_eq!(decided(rules), (false, ["+b 8:* rwm", "-b 8:1 w"].map(str::to_owned).to_vec(), vec![]));
    }

    #[test]
    fn a_rule_for_both_types_that_is_not_for_everything_stays_narrow() {
        let (allow, lines, _) = decided(r#"[{"allow": true, "major": 10, "minor": 229, "access": "rw"}]"#);
        assert_eq!((allow, lines), (false, ["+c 10:229 rw", "+b 10:229 rw"].map(str::to_owned).to_vec()));
        let (allow, lines, _) = decided(r#"[{"allow": true, "type": "a", "access": "r"}]"#);
        assert_eq!((allow, lines), (false, ["+c *:* r", "+b *:* r"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn nonsense_is_refused() {
        let (_, _, problems) = decided(
            r#"[{"allow": true, "type": "c", "access": ""}, {"allow": true, "type": "p", "access": "r"},
                {"allow": true, "access": "rx"}, {"allow": true, "type": "c", "major": -2, "access": "r"},
                {"allow": true, "type": "c", "minor": 4294967295, "access": "r"}]"#,
        );
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert!(problems[3].starts_with("linux.resources.devices[3].major: -2"));
    }

    #[test]
    fn sets_of_devices_have_parts_in_common() {
        let set = |major, minor| Devices { block: false, major, minor };
        assert_eq!(set(Some(1), None).and(set(None, Some(3))), Some(set(Some(1), Some(3))));
        assert_eq!(set(Some(1), None).and(set(Some(2), None)), None);
        assert_eq!(set(None, None).and(Devices { block: true, major: None, minor: None }), None);
        assert!(set(None, Some(3)).contain(set(Some(1), Some(3))) && !set(Some(1), None).contain(set(None, None)));
    }
}
