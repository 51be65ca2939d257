//! `config.json` as written: read once, parsed into the types of the specification (crate `oci-spec`).
//!
//! The crate refuses a whole document for a few values that the specification wants tolerated or that are valid. They
//! are mended here, in one place, and only after a first parse has failed, so that a good document costs nothing.

mod strict;

use std::path::Path;

use oci_spec::runtime::{Capability, LinuxResources, PosixRlimitType, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Context, Error, Problem, Result};
use crate::plan::ConfigPath;
use crate::sys::file;

/// A configuration and what to warn about.
#[derive(Debug, Clone)]
pub struct Config {
    /// The document.
    pub spec: Spec,
    /// The document's bytes, kept because what counts after create is this copy, not the bundle's file.
    pub text: Vec<u8>,
    /// Values that the specification tells a runtime to warn about and ignore.
    pub warnings: Vec<String>,
    /// What is wrong already, to be told together with what the plan finds.
    pub problems: Vec<Problem>,
}

/// Reads `config.json` of a bundle directory (runtime-spec, bundle.md), or another file in its place; with `strict`, all
/// that the specification requires must be there.
pub fn read_bundle(bundle: &Path, other: Option<&Path>, strict: bool) -> Result<Config> {
    let file = other.map_or_else(|| bundle.join("config.json"), Path::to_owned);
    let opened = std::fs::File::open(&file).map_err(|error| match (error.kind(), other) {
        // Engines know these words.
        (std::io::ErrorKind::NotFound, None) => {
            Error::new(format!("JSON specification file config.json not found in {}", bundle.display()))
        }
        _ => Error::new(format!("read {}: {error}", file.display())),
    })?;
    let text = file::read_up_to(&opened.into(), usize::MAX).step(|| format!("read {}", file.display()))?;
    let mut config = parse(text)?;
    if strict {
        config.problems.extend(strict::problems(&config.text));
    }
    Ok(config)
}

/// Parses a configuration document.
pub fn parse(text: Vec<u8>) -> Result<Config> {
    let (spec, found) = parse_document::<Spec>(&text, "config.json", "process")?;
    Ok(Config { spec, text, warnings: found.warnings, problems: found.problems })
}

/// Reads and parses the process document of `exec --process`; its capabilities may be unknown as well.
pub fn read_process(file: &Path) -> Result<(Process, Vec<String>)> {
    let text = std::fs::read(file).map_err(|error| Error::new(format!("read {}: {error}", file.display())))?;
    let (process, found) = parse_document::<Process>(&text, "the process document", "")?;
    if found.problems.is_empty() { Ok((process, found.warnings)) } else { Err(Error::config(found.problems)) }
}

/// Parses the resources document of `update --resources`: `linux.resources` of the specification.
pub fn parse_resources(text: &[u8]) -> Result<LinuxResources> {
    let (resources, _) = parse_document::<LinuxResources>(text, "the resources document", "")?;
    Ok(resources)
}

/// What was noticed while a document was mended.
#[derive(Default)]
struct Found {
    warnings: Vec<String>,
    problems: Vec<Problem>,
}

fn parse_document<T: DeserializeOwned>(text: &[u8], name: &str, process: &str) -> Result<(T, Found)> {
    if let Ok(document) = serde_json::from_slice(text) {
        return Ok((document, Found::default()));
    }
    let mut value: Value =
        serde_json::from_slice(text).map_err(|error| Error::new(format!("{name} is not valid JSON: {error}")))?;
    let mut found = Found::default();
    mend(&mut value, process, &mut found);
    serde_path_to_error::deserialize(value).map(|document| (document, found)).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { name.to_owned() } else { path };
        Error::config(vec![Problem::new(at, error.into_inner().to_string())])
    })
}

/// Takes out or rewrites the values that the crate `oci-spec` refuses although they are no reason to fail.
fn mend(document: &mut Value, process: &str, found: &mut Found) {
    mend_foreign(document);
    let process = if process.is_empty() { Some(&mut *document) } else { document.get_mut(process) };
    if let Some(process) = process.filter(|process| process.is_object()) {
        mend_console_size(process);
        mend_required(process);
        mend_rlimits(process, &mut found.problems);
        mend_capabilities(process, &mut found.warnings);
        mend_scheduler_flags(process);
        mend_cpu_affinity(process);
    }
    if let Some(Value::Array(devices)) = document.pointer_mut("/linux/devices") {
        // "major, minor (int64, REQUIRED unless type is p)", config-linux.md, Devices.
        for device in devices.iter_mut().filter_map(Value::as_object_mut) {
            if device.get("type").and_then(Value::as_str) == Some("p") {
                device.entry("major").or_insert(0.into());
                device.entry("minor").or_insert(0.into());
            }
        }
    }
}

/// Sections for other platforms say nothing here, and the last two are no property of the specification at this place.
fn mend_foreign(document: &mut Value) {
    let Some(document) = document.as_object_mut() else { return };
    for name in ["freebsd", "solaris", "windows", "vm", "zos", "uidMappings", "gidMappings"] {
        document.remove(name);
    }
}

/// "Runtimes MUST ignore `consoleSize` if `terminal` is `false` or unset." (config.md, Process)
fn mend_console_size(process: &mut Value) {
    let has_terminal = process.get("terminal").and_then(Value::as_bool).unwrap_or(false);
    if let Some(process) = process.as_object_mut().filter(|_| !has_terminal) {
        process.remove("consoleSize");
    }
}

/// What is missing is left for the plan to find, which knows what else is wrong. No user is root, as in runc.
fn mend_required(process: &mut Value) {
    let Some(process) = process.as_object_mut() else { return };
    process.entry("cwd").or_insert("".into());
    if let Some(user) = process.entry("user").or_insert(serde_json::json!({})).as_object_mut() {
        user.entry("uid").or_insert(0.into());
        user.entry("gid").or_insert(0.into());
    }
}

/// "The runtime MUST generate an error for any values which cannot be mapped to a relevant kernel interface" (config.md,
/// POSIX process, rlimits).
fn mend_rlimits(process: &mut Value, problems: &mut Vec<Problem>) {
    let Some(Value::Array(rlimits)) = process.get_mut("rlimits") else { return };
    let mut index = 0;
    rlimits.retain(|rlimit| {
        let name = rlimit.get("type").filter(|name| name.is_string());
        let is_known = name.is_none_or(|name| serde_json::from_value::<PosixRlimitType>(name.clone()).is_ok());
        if let Some(name) = name.filter(|_| !is_known) {
            let at = ConfigPath::new("process.rlimits").index(index).field("type");
            problems.push(Problem::new(at, format!("unknown resource limit {name}: see getrlimit(2)")));
        }
        index += 1;
        is_known
    });
}

/// "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise, MUST be logged as
/// a warning by the runtime. Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot
/// be granted" (config.md, Linux Process).
fn mend_capabilities(process: &mut Value, warnings: &mut Vec<String>) {
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else { return };
    for (set, names) in sets.iter_mut().filter_map(|(set, names)| Some((set, names.as_array_mut()?))) {
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known && name.is_string() {
                warnings.push(format!("process.capabilities.{set}: unknown capability {name} is ignored"));
            }
            known || !name.is_string()
        });
    }
}

/// The specification spells two flags in a way that the crate does not.
fn mend_scheduler_flags(process: &mut Value) {
    let Some(Value::Array(flags)) = process.pointer_mut("/scheduler/flags") else { return };
    for flag in flags {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            _ => {}
        }
    }
}

/// An empty affinity means no change, as if it were absent; blanks and empty elements are passed over, as in runc.
fn mend_cpu_affinity(process: &mut Value) {
    let Some(Value::Object(affinity)) = process.get_mut("execCPUAffinity") else { return };
    for list in affinity.values_mut() {
        if let Some(text) = list.as_str() {
            let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
            *list = elements.collect::<Vec<_>>().join(",").into();
        }
    }
    affinity.retain(|_, list| list.as_str() != Some(""));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(process: &str) -> Vec<u8> {
        format!(r#"{{"ociVersion":"1.3.0","process":{{"user":{{"uid":0,"gid":0}},"cwd":"/"{process}}}}}"#).into_bytes()
    }

    #[test]
    fn an_unknown_capability_is_a_warning() {
        let config = parse(document(r#","capabilities":{"bounding":["CAP_KILL","CAP_FLY"]}"#)).expect("it parses");
        assert_eq!(config.warnings, ["process.capabilities.bounding: unknown capability \"CAP_FLY\" is ignored"]);
    }

    #[test]
    fn the_scheduler_flags_of_the_specification_are_understood() {
        let process =
            r#","scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN"]}"#;
        assert!(parse(document(process)).is_ok());
    }

    #[test]
    fn an_empty_affinity_is_no_affinity() {
        assert!(parse(document(r#","execCPUAffinity":{"initial":"","final":" 0, 1,"}"#)).is_ok());
    }

    #[test]
    fn the_wrong_shape_is_named() {
        let error = parse(br#"{"ociVersion":"1.3.0","mounts":[{"destination":7}]}"#.to_vec()).expect_err("a number");
        assert_eq!(error.config_path(), Some("mounts[0].destination"));
    }

    #[test]
    fn resources_are_read_as_engines_send_them() {
        // Docker's and podman's, as captured; and what a later version of the specification may add.
        for text in [
            r#"{"memory":{"limit":50331648,"reservation":0,"swap":50331648,"kernel":0},"cpu":{"shares":0,"quota":25000,"period":100000},"pids":{"limit":128},"blockIO":{"weight":0}}"#,
            r#"{"cpu":{"quota":25000,"period":100000}}"#,
            r#"{"cpu":{"cores":7},"future":[]}"#,
            r#"{"memory":null,"pids":{}}"#,
            "{}",
        ] {
            assert!(parse_resources(text.as_bytes()).is_ok(), "{text}");
        }
        let error = parse_resources(br#"{"memory":{"limit":"64m"}}"#).expect_err("text, no number");
        assert_eq!(error.config_path(), Some("memory.limit"));
        let error = parse_resources(b"{").expect_err("cut off");
        assert!(error.headline().starts_with("the resources document is not valid JSON"), "{error}");
    }

    #[test]
    fn what_is_not_json_is_told_with_line_and_column() {
        let error = parse(b"{\n  \"ociVersion\": }".to_vec()).expect_err("not JSON");
        assert!(error.headline().contains("line 2 column"), "{error}");
    }
}
