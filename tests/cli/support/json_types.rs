//! The types into which engines decode what a runtime prints, from tests/fixtures/json-types.txt, and the check of a
//! value against one, as strict as Go's encoding/json and stricter: a key that nobody has listed is a failure too.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

const TABLE: &str = include_str!("../../fixtures/json-types.txt");

/// The words for a status that podman and containerd know (runtime.md has no `paused`).
const STATUSES: [&str; 4] = ["created", "running", "paused", "stopped"];

/// A type with keys.
#[derive(Default)]
struct Type {
    /// Each with its type, and whether it is always there.
    keys: BTreeMap<&'static str, (&'static str, bool)>,
    /// What is printed and this reader does not know.
    beside: Vec<&'static str>,
}

fn types() -> &'static BTreeMap<&'static str, Type> {
    static TYPES: OnceLock<BTreeMap<&str, Type>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let (mut types, mut name) = (BTreeMap::<_, Type>::new(), "");
        for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some((section, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
                name = section;
                assert!(types.insert(name, Type::default()).is_none(), "{name} is there twice");
                continue;
            }
            let current = types.get_mut(name).expect("a type comes first");
            let (key, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{name}: {line}"));
            if key == "beside" {
                current.beside.extend(rest.split(' '));
            } else {
                let (key, needed) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
                assert!(current.keys.insert(key, (rest, needed)).is_none(), "{name}: {key} is there twice");
            }
        }
        types
    })
}

/// What a reader that decodes `value` into the type of this name would miss, or stumble over; empty if nothing.
pub fn problems(value: &Value, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    check(name, value, name, &mut found);
    found
}

/// Checks that `value` is what a reader takes for the type of this name.
#[track_caller]
pub fn fits(value: &Value, name: &str) {
    let found = problems(value, name);
    assert!(found.is_empty(), "not a {name}:\n{}\n{value:#}", found.join("\n"));
}

fn check(at: &str, value: &Value, kind: &str, found: &mut Vec<String>) {
    if let Some(item) = kind.strip_prefix("[]") {
        match value {
            Value::Null => {}
            Value::Array(items) => items.iter().for_each(|value| check(&format!("{at}[]"), value, item, found)),
            _ => found.push(format!("{at} is no list: {value}")),
        }
    } else if let Some(item) = kind.strip_prefix("map ") {
        match value {
            Value::Null => {}
            Value::Object(map) => map.iter().for_each(|(key, value)| check(&format!("{at}.{key}"), value, item, found)),
            _ => found.push(format!("{at} is no object: {value}")),
        }
    } else if let Some(kind) = kind.strip_suffix('?') {
        if !value.is_null() {
            check(at, value, kind, found);
        }
    } else if !is_scalar(value, kind).unwrap_or_else(|| has_keys(at, value, kind, found)) {
        found.push(format!("{at} is no {kind}: {value}"));
    }
}

/// Whether Go decodes a value into a type without keys; `None` if it has keys.
fn is_scalar(value: &Value, kind: &str) -> Option<bool> {
    Some(match kind {
        "string" => value.is_string(),
        "status" => value.as_str().is_some_and(|word| STATUSES.contains(&word)),
        "time" => value.as_str().is_some_and(|text| humantime::parse_rfc3339(text).is_ok()),
        "bool" => value.is_boolean(),
        "int" => value.is_i64(),
        "uint16" => value.as_u64().is_some_and(|number| u16::try_from(number).is_ok()),
        "uint64" => value.is_u64(),
        "float" => value.is_number(),
        _ => return None,
    })
}

/// Checks the keys of an object, each; false if it is none.
fn has_keys(at: &str, value: &Value, kind: &str, found: &mut Vec<String>) -> bool {
    let known = types().get(kind).unwrap_or_else(|| panic!("{at}: the table has no type {kind}"));
    let Value::Object(object) = value else { return false };
    for (key, (inner, needed)) in &known.keys {
        match object.get(*key) {
            Some(value) => check(&format!("{at}.{key}"), value, inner, found),
            None if *needed => found.push(format!("{at} has no {key}")),
            None => {}
        }
    }
    unknown(object, known).for_each(|key| found.push(format!("{at}.{key} is not listed")));
    true
}

/// The keys that are neither the reader's nor listed beside them. Go takes a key in capitals for the same.
fn unknown<'a>(object: &'a Map<String, Value>, known: &'a Type) -> impl Iterator<Item = &'a str> {
    let is_known = |key: &str| known.keys.contains_key(key) || known.beside.contains(&key);
    object.keys().map(String::as_str).filter(move |key| !is_known(key))
}

/// Every type that the table speaks of is in it, and no key listed beside others is one of theirs but for its capitals.
#[test]
fn the_table_is_whole() {
    for (name, kind) in types() {
        for (key, (inner, _)) in &kind.keys {
            let inner = inner.trim_start_matches("[]").trim_start_matches("map ").trim_end_matches('?');
            let is_known = is_scalar(&Value::Null, inner).is_some() || types().contains_key(inner);
            assert!(is_known, "{name}.{key}: {inner}");
            let same = |other: &&&str| other.eq_ignore_ascii_case(key);
            assert_eq!(kind.beside.iter().find(same), None, "{name}.{key}");
        }
    }
}

#[test]
fn what_does_not_fit_is_noticed() {
    let problem = |text: &str, kind: &str| problems(&serde_json::from_str(text).expect("JSON"), kind).join("; ");
    assert_eq!(problem(r#"{"current": 1, "limit": 2}"#, "Pids"), "");
    assert_eq!(problem(r#"{"current": -1}"#, "Pids"), "Pids.current is no uint64: -1");
    assert_eq!(problem(r#"{"current": 1.0}"#, "Pids"), "Pids.current is no uint64: 1.0");
    assert_eq!(problem(r#"{"current": "1"}"#, "Pids"), r#"Pids.current is no uint64: "1""#);
    assert_eq!(problem(r#"{"Current": 1}"#, "Pids"), "Pids.Current is not listed");
    assert_eq!(problem(r#"{"limit": 18446744073709551615}"#, "MemoryEntry"), "MemoryEntry has no failcnt");
    assert_eq!(problem(r#"[70000]"#, "[]uint16"), "[]uint16[] is no uint16: 70000");
    assert_eq!(problem(r#""2026-01-02""#, "time"), r#"time is no time: "2026-01-02""#);
    assert_eq!(problem("null", "features.Linux?") + &problem("null", "map string"), "");
    assert_eq!(problem("null", "features.Linux"), "features.Linux is no features.Linux: null");
}
