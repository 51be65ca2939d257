//! Intel RDT, as far as a host without it can tell.

use std::path::Path;

use serde_json::json;

use crate::judge::needs;
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const PLACE: &str = "config-linux.md#configLinuxIntelRdt";
const NONE: &[&str] = &["If no mounted `resctrl` pseudo-filesystem is available in the [runtime mount namespace]"];

pub const TESTS: &[Row] = &[
    must("linux.intelRdt.unavailable", PLACE, NONE, shared).with(refused, r#"{"closID": "conformance"}"#),
    must("linux.intelRdt.unavailable.schemata", PLACE, NONE, shared).with(refused, r#"{"schemata": ["L3:0=f"]}"#),
    must("linux.intelRdt.unavailable.schema", PLACE, NONE, shared).with(refused, r#"{"l3CacheSchema": "L3:0=f"}"#),
    must("linux.intelRdt.unavailable.monitoring", PLACE, NONE, shared).with(refused, r#"{"enableMonitoring": true}"#),
];

fn refused(lab: &Lab, value: &'static str) -> Verdict {
    needs(!Path::new("/sys/fs/resctrl/schemata").exists(), "this host has resctrl")?;
    let value: serde_json::Value = serde_json::from_str(value)?;
    lab.container()?.set("/linux/intelRdt", json!(value)).is_refused()
}
