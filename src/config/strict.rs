//! What only `--strict` asks of a document, and what its types cannot tell any more: that every REQUIRED property is
//! there (absent, it is 0 or empty), and that no name stands twice in an object.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::Problem;

/// Where an object may be (`*` is each entry of a list), and the properties that it must have.
const REQUIRED: &[(&str, &[&str])] = &[
    ("", &["ociVersion", "root"]),
    ("root", &["path"]),
    ("mounts.*", &["destination"]),
    ("mounts.*.uidMappings.*", ID_MAP),
    ("mounts.*.gidMappings.*", ID_MAP),
    ("process", &["cwd", "user", "args"]),
    ("process.user", &["uid", "gid"]),
    ("process.consoleSize", &["height", "width"]),
    ("process.rlimits.*", &["type", "soft", "hard"]),
    ("process.scheduler", &["policy"]),
    ("process.ioPriority", &["class", "priority"]),
    ("hooks.*.*", &["path"]),
    ("linux.namespaces.*", &["type"]),
    ("linux.uidMappings.*", ID_MAP),
    ("linux.gidMappings.*", ID_MAP),
    ("linux.devices.*", &["type", "path"]),
    ("linux.resources.devices.*", &["allow"]),
    ("linux.resources.blockIO.weightDevice.*", &["major", "minor"]),
    ("linux.resources.blockIO.throttleReadBpsDevice.*", RATE),
    ("linux.resources.blockIO.throttleWriteBpsDevice.*", RATE),
    ("linux.resources.blockIO.throttleReadIOPSDevice.*", RATE),
    ("linux.resources.blockIO.throttleWriteIOPSDevice.*", RATE),
    ("linux.resources.hugepageLimits.*", &["pageSize", "limit"]),
    ("linux.resources.network.priorities.*", &["name", "priority"]),
    ("linux.memoryPolicy", &["mode"]),
    ("linux.seccomp", &["defaultAction"]),
    ("linux.seccomp.syscalls.*", &["names", "action"]),
    ("linux.seccomp.syscalls.*.args.*", &["index", "value", "op"]),
    ("linux.personality", &["domain"]),
];

const ID_MAP: &[&str] = &["containerID", "hostID", "size"];
const RATE: &[&str] = &["major", "minor", "rate"];

/// All that is wrong in this way. A text that is no JSON has nothing wrong here: reading it has told already.
pub fn problems(text: &[u8]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Reading { place: String::new(), problems: &mut problems }.deserialize(&mut reader);
    let Ok(document) = read else { return problems };
    for (pattern, names) in REQUIRED {
        let segments: Vec<&str> = pattern.split('.').filter(|segment| !segment.is_empty()).collect();
        require(&document, &segments, "", names, &mut problems);
    }
    // "major, minor (int64, REQUIRED unless type is p)", config-linux.md, Devices.
    for (index, device) in
        document.pointer("/linux/devices").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        if device["type"] != "p" {
            require(device, &[], &format!("linux.devices[{index}]"), &["major", "minor"], &mut problems);
        }
    }
    problems
}

fn require(value: &Value, segments: &[&str], place: &str, names: &[&str], problems: &mut Vec<Problem>) {
    let Some((first, rest)) = segments.split_first() else {
        let Some(object) = value.as_object() else { return };
        for name in names.iter().filter(|name| object.get(**name).is_none_or(Value::is_null)) {
            problems.push(Problem::new(below(place, name), "is REQUIRED by the specification"));
        }
        return;
    };
    match value {
        Value::Array(entries) if *first == "*" => {
            for (index, entry) in entries.iter().enumerate() {
                require(entry, rest, &format!("{place}[{index}]"), names, problems);
            }
        }
        Value::Object(object) => {
            for (name, entry) in object.iter().filter(|(name, _)| *first == "*" || name == first) {
                require(entry, rest, &below(place, name), names, problems);
            }
        }
        _ => {}
    }
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// Reads a value and notes every name that an object has twice: "JSON objects MUST NOT include duplicate names"
/// (glossary.md, JSON).
struct Reading<'p> {
    place: String,
    problems: &'p mut Vec<Problem>,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let next = |index: usize| format!("{}[{index}]", self.place);
        let mut reading = Reading { place: next(0), problems: &mut *self.problems };
        while let Some(entry) = entries.next_element_seed(reading)? {
            list.push(entry);
            reading = Reading { place: next(list.len()), problems: &mut *self.problems };
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let place = below(&self.place, &name);
            if object.contains_key(&name) {
                self.problems.push(Problem::new(&place, "stands twice in one object"));
            }
            let value = entries.next_value_seed(Reading { place, problems: &mut *self.problems })?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::problems;

    fn places(text: &str) -> Vec<String> {
        problems(text.as_bytes()).into_iter().map(|problem| problem.at).collect()
    }

    #[test]
    fn a_complete_document_has_no_problems() {
        let text = r#"{"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "mounts": [{"destination": "/x"}],
            "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["x"]},
            "linux": {"devices": [{"type": "p", "path": "/x"}, {"type": "c", "path": "/y", "major": 1, "minor": 3}]}}"#;
        assert!(places(text).is_empty());
    }

    #[test]
    fn what_is_required_must_be_there() {
        let text = r#"{"root": {}, "process": {"cwd": "/", "user": {"uid": 0}, "args": ["x"], "rlimits": [{"type": "X"}]},
            "mounts": [{"destination": "/x"}, {"uidMappings": [{"hostID": 1, "size": 1}]}],
            "hooks": {"poststop": [{"path": "/x"}, {}]}, "linux": {"devices": [{"type": "c", "path": "/x", "major": 1}]}}"#;
        let expected = [
            "ociVersion",
            "root.path",
            "mounts[1].destination",
            "mounts[1].uidMappings[0].containerID",
            "process.user.gid",
            "process.rlimits[0].soft",
            "process.rlimits[0].hard",
            "hooks.poststop[1].path",
            "linux.devices[0].minor",
        ];
        assert_eq!(places(text), expected);
    }

    #[test]
    fn no_name_stands_twice() {
        let text = r#"{"ociVersion": "1.3.0", "root": {"path": "a", "path": "b"}, "hostname": "a", "hostname": "b",
            "linux": {"namespaces": [{"type": "pid"}, {"type": "uts", "type": "ipc"}]}}"#;
        assert_eq!(places(text), ["root.path", "hostname", "linux.namespaces[1].type"]);
    }

    #[test]
    fn what_is_no_json_is_told_elsewhere() {
        assert!(places("{").is_empty());
    }
}
