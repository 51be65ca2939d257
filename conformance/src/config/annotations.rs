//! Annotations.

use serde_json::json;

use crate::judge::same;
use crate::lab::Lab;
use crate::row::{Row, Verdict, must};

const PLACE: &str = "config.md#configAnnotations";
const UNKNOWN: &[&str] = &["Runtimes MUST handle unknown annotation keys like any other [unknown property]"];

pub const TESTS: &[Row] = &[
    must("annotations", PLACE, &["**`annotations`** (object, OPTIONAL)", "Annotations MUST be a key-value map."], map),
    must("annotations.unknown", PLACE, UNKNOWN, unknown),
    must("annotations.list", PLACE, &["Annotations MUST be a key-value map."], no_map),
    must("annotations.key", PLACE, &["Keys MUST be strings."], keys),
    must("annotations.empty-key", PLACE, &["Keys MUST NOT be an empty string."], empty_key),
    must("annotations.value", PLACE, &["Values MUST be strings."], no_string),
    must("annotations.empty-value", PLACE, &["Values MUST be strings."], empty_value),
];

fn map(lab: &Lab) -> Verdict {
    lab.container()?.set("/annotations", json!({})).runs()?;
    let container = lab.container()?.set("/annotations", json!({"com.example.key": "value", "other": "2"}));
    container.create()?.ok()?;
    let annotations = &container.state()?["annotations"];
    same("an annotation in the state", &annotations["com.example.key"], "value")?;
    same("another", &annotations["other"], "2")
}

fn unknown(lab: &Lab) -> Verdict {
    lab.container()?.set("/annotations", json!({"org.opencontainers.unknown": "x", "nobody.knows": "y"})).runs()
}

fn no_map(lab: &Lab) -> Verdict {
    lab.container()?.set("/annotations", json!(["com.example.key"])).is_refused()
}

/// JSON has no other keys: a document with one is no JSON.
fn keys(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    let text = container.config.to_string();
    std::fs::write(container.dir.join("config.json"), text.replacen('{', "{\"annotations\":{1:\"one\"},", 1))?;
    lab.runtime(["create", "--bundle"]).arg(&container.dir).arg(&container.id).run()?.refused("a key that is a number")
}

fn empty_key(lab: &Lab) -> Verdict {
    lab.container()?.set("/annotations", json!({"": "value"})).is_refused()
}

fn no_string(lab: &Lab) -> Verdict {
    lab.container()?.set("/annotations", json!({"com.example.key": 2})).is_refused()
}

fn empty_value(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/annotations", json!({"com.example.key": ""}));
    container.create()?.ok()?;
    same("the annotation", &container.state()?["annotations"]["com.example.key"], "")
}
