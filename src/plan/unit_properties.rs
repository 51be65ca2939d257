//! DECIDE what limits and annotations are as properties of a systemd unit; systemd.resource-control(5).
//!
//! Limits are turned into properties from the file writes that they have become: these are what resources and `unified`
//! have in common, and what systemd must know, as it writes its properties into the same files again when it reloads. A
//! limit without a property, or with a value that makes none, is only in its file.

use std::collections::{BTreeMap, HashMap};

use super::ConfigPath;
use super::cgroup::{Before, FileWrite};
use super::device_list::{DeviceList, Exception};
use super::device_rules::{DEVICES, Devices};
use super::gvariant;
use super::systemd::Property;
use super::variant::Value;
use crate::error::Problem;

/// What stands for infinity.
const UNLIMITED: u64 = u64::MAX;

/// The properties of limits, new ones or those that an update changes.
pub fn of_limits(writes: &[FileWrite]) -> Vec<Property> {
    let mut properties: Vec<Property> = Vec::new();
    let (mut bandwidth, mut idle) = (Bandwidth::default(), None);
    for write in writes {
        bandwidth.take(write);
        if write.file == "cpu.idle" && write.value == "1" {
            idle = Some(write.at);
        }
        if let Some((name, value)) = of_write(write) {
            properties.push(Property { dispensable: true, ..Property::new(name, value, write.at) });
        }
    }
    properties.extend(bandwidth.properties());
    // "CPUWeight=idle" is this number, since systemd 252. It outranks a weight, as in the kernel.
    let idle = idle.map(|at| Property { dispensable: true, ..Property::new("CPUWeight", Value::Uint64(0), at) });
    properties.extend(idle);
    let last = |index: usize, name: &str| !properties[index + 1..].iter().any(|later| later.name == name);
    let kept: Vec<bool> = properties.iter().enumerate().map(|(index, property)| last(index, &property.name)).collect();
    properties.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(property, _)| property).collect()
}

/// The device rules of cgroup v1. systemd writes into the same files whenever it makes up its mind about the unit anew, and
/// without these it writes "everything is allowed" there. (On v2 it has a program of its own, beside ours, which can only
/// restrict.) Exceptions of "everything but", and rules for one minor number of every major one, it cannot be told.
pub fn of_devices(list: &DeviceList) -> Vec<Property> {
    let device = |exception: &Exception| {
        let Devices { block, major, minor } = exception.devices;
        let kind = if block { "block" } else { "char" };
        let name = match (major, minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(major), None) => format!("{kind}-{major}"),
            (None, None) => format!("{kind}-*"),
            (None, Some(_)) => return None,
        };
        Some(Value::Struct(vec![Value::String(name), Value::String(exception.access.to_string())]))
    };
    let (policy, allowed) = match list.allow {
        true => ("auto", Vec::new()),
        false => ("strict", list.exceptions.iter().filter_map(device).collect()),
    };
    let array = |devices| Value::Array("(ss)".to_owned(), devices);
    // An empty list takes away what was there; another adds to it.
    [("DevicePolicy", Value::string(policy)), ("DeviceAllow", array(Vec::new())), ("DeviceAllow", array(allowed))]
        .map(|(name, value)| Property::new(name, value, DEVICES))
        .into()
}

/// The files with one number for one property.
fn of_write(write: &FileWrite) -> Option<(&'static str, Value)> {
    const NUMBERS: [(&str, &str); 10] = [
        ("memory.max", "MemoryMax"),
        ("memory.high", "MemoryHigh"),
        ("memory.low", "MemoryLow"),
        ("memory.min", "MemoryMin"),
        ("memory.swap.max", "MemorySwapMax"),
        ("memory.limit_in_bytes", "MemoryLimit"),
        ("pids.max", "TasksMax"),
        ("cpu.weight", "CPUWeight"),
        ("cpu.shares", "CPUShares"),
        ("blkio.weight", "BlockIOWeight"),
    ];
    let value = write.value.trim();
    if let Some((_, property)) = NUMBERS.iter().find(|(file, _)| *file == write.file) {
        return Some((property, Value::Uint64(number(value)?)));
    }
    let bits =
        |list| bits(list).map(|bytes| Value::Array("y".to_owned(), bytes.into_iter().map(Value::Byte).collect()));
    match (write.file.as_ref(), &write.instead) {
        ("cpuset.cpus", _) => Some(("AllowedCPUs", bits(value)?)),
        ("cpuset.mems", _) => Some(("AllowedMemoryNodes", bits(value)?)),
        // systemd counts from 1 to 10000 and converts for BFQ by itself.
        ("io.bfq.weight", Some(("io.weight", weight))) => Some(("IOWeight", Value::Uint64(number(weight)?))),
        ("io.weight", _) => Some(("IOWeight", Value::Uint64(number(value.trim_start_matches("default "))?))),
        _ => None,
    }
}

/// A number, or what stands for no limit.
fn number(value: &str) -> Option<u64> {
    match value {
        "max" => Some(UNLIMITED),
        value if value.starts_with('-') => value.parse::<i64>().ok().map(|_| UNLIMITED),
        value => value.parse().ok(),
    }
}

/// A list such as `0-2,5` as a mask: processor 0 is the lowest bit of the first byte.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More processors or nodes than any kernel knows.
    const MOST: usize = 1 << 16;
    let mut bytes = Vec::new();
    for range in list.split(',').map(str::trim) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        bytes.resize(bytes.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|bit| bytes[bit / 8] |= 1 << (bit % 8));
    }
    Some(bytes)
}

/// The processor time that a cgroup may use, from one file on v2 and from two on v1.
#[derive(Default)]
struct Bandwidth {
    quota: Option<(u64, ConfigPath)>,
    period: Option<(u64, ConfigPath)>,
}

impl Bandwidth {
    fn take(&mut self, write: &FileWrite) {
        let (value, at) = (write.value.trim(), write.at);
        let with_place = |value: Option<u64>| value.map(|value| (value, at));
        match write.file.as_ref() {
            "cpu.cfs_quota_us" => self.quota = with_place(number(value)),
            "cpu.cfs_period_us" => self.period = with_place(number(value)),
            "cpu.max" => {
                let mut words = value.split_whitespace();
                let (quota, period) = (words.next().and_then(number), words.next().and_then(number));
                // Where the first word is kept, it says nothing.
                self.quota = if write.before == Before::FirstWord { None } else { with_place(quota) };
                self.period = with_place(period);
            }
            _ => {}
        }
    }

    /// systemd keeps the quota for a second, in whole hundredths of a processor; rounded down, it would allow less than
    /// was asked for.
    fn properties(&self) -> Vec<Property> {
        const KERNELS_PERIOD: u64 = 100_000;
        const HUNDREDTH: u64 = 10_000;
        let period = self.period.filter(|(period, _)| *period > 0);
        let a_second = |quota: u64| match quota {
            UNLIMITED => UNLIMITED,
            quota => {
                let period = u128::from(period.map_or(KERNELS_PERIOD, |(period, _)| period));
                let exact = (u128::from(quota) * 1_000_000).div_ceil(period);
                u64::try_from(exact)
                    .map_or(UNLIMITED, |exact| exact.checked_next_multiple_of(HUNDREDTH).unwrap_or(UNLIMITED))
            }
        };
        let property = |name: &str, value: u64, at: ConfigPath| Property {
            dispensable: true,
            ..Property::new(name, Value::Uint64(value), at)
        };
        let period = period.map(|(period, at)| property("CPUQuotaPeriodUSec", period, at));
        let quota = self.quota.filter(|(quota, _)| *quota > 0);
        let quota = quota.map(|(quota, at)| property("CPUQuotaPerSecUSec", a_second(quota), at));
        period.into_iter().chain(quota).collect()
    }
}

/// The properties that annotations `org.systemd.property.NAME` give as GVariant text.
pub(super) fn of_annotations(
    annotations: Option<&HashMap<String, String>>,
    problems: &mut Vec<Problem>,
) -> Vec<Property> {
    let sorted: BTreeMap<_, _> = annotations.into_iter().flatten().collect();
    let given = sorted.into_iter().filter_map(|(annotation, text)| {
        Some((format!("annotations[{annotation:?}]"), annotation.strip_prefix("org.systemd.property.")?, text))
    });
    let mut properties = Vec::new();
    for (at, name, text) in given {
        match of_annotation(name, text) {
            Ok((name, value)) => properties.push(Property::new(&name, value, at)),
            Err(message) => problems.push(Problem::new(at, message)),
        }
    }
    properties
}

/// A name as in the man pages; a time in seconds is called and counted in microseconds on D-Bus.
fn of_annotation(name: &str, text: &str) -> Result<(String, Value), String> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(format!("{name:?} is no name of a property: at least three letters, and nothing but letters"));
    }
    let value = gvariant::parse(text)?;
    match name.strip_suffix("Sec").filter(|name| name.ends_with(|letter: char| letter.is_ascii_lowercase())) {
        Some(stem) => Ok((format!("{stem}USec"), Value::Uint64(microseconds(&value)?))),
        None => Ok((name.to_owned(), value)),
    }
}

fn microseconds(seconds: &Value) -> Result<u64, String> {
    const MICRO: u64 = 1_000_000;
    let whole = match seconds {
        Value::Double(number) if *number >= 0.0 => return Ok((number * MICRO as f64) as u64),
        Value::Byte(number) => Some(u64::from(*number)),
        Value::Uint16(number) => Some(u64::from(*number)),
        Value::Uint32(number) => Some(u64::from(*number)),
        Value::Uint64(number) => Some(*number),
        Value::Int16(number) => u64::try_from(*number).ok(),
        Value::Int32(number) => u64::try_from(*number).ok(),
        Value::Int64(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let whole = whole.ok_or(format!("{seconds} is not a number of seconds"))?;
    whole.checked_mul(MICRO).ok_or(format!("{seconds} seconds are too many"))
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::tests::{hybrid, planned, unified};
    use super::super::cgroup::{CgroupHost, plan_update};
    use super::*;

    fn of(host: &CgroupHost, resources: &str) -> Vec<String> {
        let (plan, problems) = planned(host, Some("/c"), resources, false);
        assert_eq!(problems, Vec::<String>::new(), "{resources}");
        let line = |property: Property| format!("{}={} {}", property.name, property.value, property.at);
        of_limits(&plan.writes).into_iter().map(line).collect()
    }

    #[test]
    fn limits_of_v2() {
        let resources = r#"{"memory": {"limit": 100, "swap": 300, "reservation": 50}, "pids": {"limit": -1},
            "cpu": {"shares": 1024, "quota": 12345, "period": 100000, "cpus": "0-1,9", "mems": "0"},
            "blockIO": {"weight": 750}}"#;
        assert_eq!(
            of(&unified(), resources),
            [
                "MemorySwapMax=uint64 200 linux.resources.memory.swap",
                "MemoryMax=uint64 100 linux.resources.memory.limit",
                "MemoryLow=uint64 50 linux.resources.memory.reservation",
                "CPUWeight=uint64 100 linux.resources.cpu.shares",
                "AllowedCPUs=[byte 3, byte 2] linux.resources.cpu.cpus",
                "AllowedMemoryNodes=[byte 1] linux.resources.cpu.mems",
                "TasksMax=uint64 18446744073709551615 linux.resources.pids.limit",
                "IOWeight=uint64 7475 linux.resources.blockIO.weight",
                "CPUQuotaPeriodUSec=uint64 100000 linux.resources.cpu.quota",
                "CPUQuotaPerSecUSec=uint64 130000 linux.resources.cpu.quota",
            ]
        );
    }

    #[test]
    fn limits_of_v1() {
        let resources = r#"{"memory": {"limit": 100, "swap": 300}, "pids": {"limit": 7},
            "cpu": {"shares": 512, "quota": 5000, "period": 10000}, "blockIO": {"weight": 500}}"#;
        assert_eq!(
            of(&hybrid(), resources),
            [
                "MemoryLimit=uint64 100 linux.resources.memory.limit",
                "CPUShares=uint64 512 linux.resources.cpu.shares",
                "TasksMax=uint64 7 linux.resources.pids.limit",
                "BlockIOWeight=uint64 500 linux.resources.blockIO.weight",
                "CPUQuotaPeriodUSec=uint64 10000 linux.resources.cpu.period",
                "CPUQuotaPerSecUSec=uint64 500000 linux.resources.cpu.quota",
            ]
        );
    }

    #[test]
    fn files_of_unified_that_have_a_property() {
        let names = |files: &str| {
            let lines = of(&unified(), &format!(r#"{{"unified": {{{files}}}}}"#));
            let cut = |line: &String| line.trim_end_matches(" linux.resources.unified").to_owned();
            lines.iter().map(cut).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names(r#""memory.high": "5", "memory.min": "max""#),
            "MemoryHigh=uint64 5 MemoryMin=uint64 18446744073709551615"
        );
        assert_eq!(
            names(r#""cpu.max": "max 20000""#),
            "CPUQuotaPeriodUSec=uint64 20000 CPUQuotaPerSecUSec=uint64 18446744073709551615"
        );
        assert_eq!(names(r#""cpu.max": "30000""#), "CPUQuotaPerSecUSec=uint64 300000");
        assert_eq!(names(r#""cpu.weight": "7""#), "CPUWeight=uint64 7");
        assert_eq!(names(r#""cpu.idle": "1", "cpu.weight": "7""#), "CPUWeight=uint64 0");
        assert_eq!(names(r#""cpu.idle": "0""#), "");
        assert_eq!(
            names(r#""cpuset.cpus": "1", "cpuset.mems": "0""#),
            "AllowedCPUs=[byte 2] AllowedMemoryNodes=[byte 1]"
        );
        assert_eq!(names(r#""io.weight": "default 50""#), "IOWeight=uint64 50");
        // The kernel says what is wrong with these when they are written.
        assert_eq!(names(r#""cpu.max": "x", "memory.max": "1G", "cpuset.cpus": "0-3:1/2", "pids.max": """#), "");
        assert_eq!(names(r#""memory.oom.group": "1", "cgroup.max.depth": "3""#), "");
        // What is given twice counts as it is written last.
        let both = r#"{"memory": {"limit": 100}, "unified": {"memory.max": "200"}}"#;
        assert_eq!(of(&unified(), both), ["MemoryMax=uint64 200 linux.resources.unified"]);
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let resources = serde_json::from_str(r#"{"cpu": {"period": 50000}}"#).expect("resources");
        let directories = planned(&unified(), Some("/c"), "{}", false).0.directories;
        let plan = plan_update(&resources, directories, false, &mut Vec::new());
        let changed: Vec<_> = of_limits(&plan.writes).into_iter().map(|property| property.name).collect();
        assert_eq!(changed, ["CPUQuotaPeriodUSec"]);
    }

    #[test]
    fn masks() {
        for (list, mask) in [("0", vec![1]), ("7-8", vec![0x80, 1]), ("0-2,4 , 9", vec![0x17, 2])] {
            assert_eq!(bits(list), Some(mask), "{list}");
        }
        for bad in ["", "a", "2-1", "1-", "-1", "0-9999999999", "0,,1"] {
            assert_eq!(bits(bad), None, "{bad}");
        }
    }

    #[test]
    fn annotations() {
        for (name, text, expected) in [
            ("TimeoutStopSec", "uint64 5", Ok("TimeoutStopUSec=uint64 5000000")),
            ("TimeoutStopSec", "5", Ok("TimeoutStopUSec=uint64 5000000")),
            ("TimeoutStopSec", "0.5", Ok("TimeoutStopUSec=uint64 500000")),
            ("TimeoutStopUSec", "uint64 5", Ok("TimeoutStopUSec=uint64 5")),
            ("CollectMode", "'inactive'", Ok("CollectMode='inactive'")),
            ("After", "['a.service']", Ok("After=['a.service']")),
            ("TimeoutStopSec", "'5'", Err("'5' is not a number of seconds")),
            ("TimeoutStopSec", "-5", Err("-5 is not a number of seconds")),
            ("TimeoutStopSec", "uint64 18446744073709551615", Err("too many")),
            ("ab", "5", Err("at least three letters")),
            ("A.B.C", "5", Err("nothing but letters")),
            ("CollectMode", "inactive", Err("a string needs quotes")),
        ] {
            let given = HashMap::from([(format!("org.systemd.property.{name}"), text.to_owned())]);
            let mut problems = Vec::new();
            let properties = of_annotations(Some(&given), &mut problems);
            match expected {
                Ok(expected) => {
                    let properties: Vec<_> =
                        properties.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
                    assert_eq!((properties.join(" ").as_str(), problems.len()), (expected, 0));
                }
                Err(message) => {
                    assert_eq!(problems[0].at, format!("annotations[\"org.systemd.property.{name}\"]"));
                    assert!(problems[0].message.contains(message), "{}", problems[0].message);
                }
            }
        }
    }
}
