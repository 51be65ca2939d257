//! As `plan`, of documents that engines wrote, edited: the bytes choose the document, the places and the new values.
#![no_main]

mod planning;

use serde_json::{Value, json};

const DOCUMENTS: &[&str] = &[
    include_str!("../../tests/cli/support/config.json"),
    include_str!("../../tests/fixtures/captured/docker.config.json"),
    include_str!("../../tests/fixtures/captured/podman-rootless.config.json"),
    include_str!("../../tests/fixtures/captured/podman-userns.config.json"),
    include_str!("../../bundles/limits/config.json"),
    include_str!("../../bundles/hooks/config.json"),
    include_str!("../everything.json"),
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.iter().copied();
    let Some(which) = bytes.next() else { return };
    let mut document: Value =
        serde_json::from_str(DOCUMENTS[usize::from(which) % DOCUMENTS.len()]).expect("a document");
    for _ in 0..16 {
        if edit(&mut document, &mut bytes).is_none() {
            break;
        }
    }
    planning::plan(document.to_string().as_bytes());
});

/// Goes down from the top, at each level to the child that a byte names, until a byte says stop; and changes what is there.
fn edit(mut at: &mut Value, bytes: &mut impl Iterator<Item = u8>) -> Option<()> {
    loop {
        let choice = usize::from(bytes.next()?);
        let count = match at {
            Value::Object(object) => object.len(),
            Value::Array(list) => list.len(),
            _ => 0,
        };
        if count == 0 || choice >= 240 {
            break;
        }
        at = match at {
            Value::Object(object) => object.values_mut().nth(choice % count)?,
            Value::Array(list) => &mut list[choice % count],
            _ => break,
        };
    }
    let value = bytes.next()?;
    match (value, at) {
        // Twice the same entry.
        (0..=31, Value::Array(list)) if !list.is_empty() && list.len() < 100 => {
            list.push(list[usize::from(value) % list.len()].clone());
        }
        (32..=47, Value::Object(object)) if !object.is_empty() => {
            let name = object.keys().nth(usize::from(value) % object.len())?.clone();
            object.remove(&name);
        }
        (48..=95, Value::String(text)) => {
            // A character in between.
            let place = text.char_indices().map(|(place, _)| place).nth(usize::from(bytes.next()?));
            text.insert(place.unwrap_or(text.len()), char::from(bytes.next()?));
        }
        (_, at) => *at = VALUES.get(usize::from(value) % 64).map_or_else(|| json!(u64::from(value)), |value| value()),
    }
    Some(())
}

const VALUES: &[fn() -> Value] = &[
    || json!(null),
    || json!(true),
    || json!(false),
    || json!(0),
    || json!(1),
    || json!(-1),
    || json!(i64::MIN),
    || json!(i64::MAX),
    || json!(u64::MAX),
    || json!(u32::MAX),
    || json!(u32::MAX as u64 + 1),
    || json!(1.5),
    || json!(1e300),
    || json!(""),
    || json!("/"),
    || json!("/../.."),
    || json!("a/../../b"),
    || json!("."),
    || json!("\0"),
    || json!("\n"),
    || json!("é\u{1f4a9}"),
    || json!("x".repeat(70_000)),
    || json!("/x".repeat(3000)),
    || json!("0-18446744073709551615"),
    || json!("0-4294967295"),
    || json!("0,1-"),
    || json!("rbind"),
    || json!("idmap=uids=0-0-0;gids=0-0-0"),
    || json!([]),
    || json!({}),
    || json!([null]),
    || json!([[], {}, 0, ""]),
    || json!({"": ""}),
    || json!({"a": {"b": 1}}),
    || json!({"org.systemd.property.X": "[<(1, 'a')>]"}),
    || json!([{"containerID": 0, "hostID": 0, "size": u32::MAX}, {"containerID": 5, "hostID": u32::MAX, "size": 2}]),
    || json!([{"type": "user"}, {"type": "user", "path": "/proc/1/ns/user"}, {"type": "time"}]),
    || json!("SCMP_ACT_ERRNO"),
    || json!("system.slice:minicon:x"),
    || json!("rwm"),
];
