//! `linux.intelRdt`: a share of the cache and of the memory bandwidth, see the kernel's filesystems/resctrl.rst.

use std::path::PathBuf;

use oci_spec::runtime::LinuxIntelRdt;

use super::{ConfigPath, Host};
use crate::error::Problem;

/// What a container has of resctrl, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelRdt {
    /// Where resctrl is mounted.
    pub root: PathBuf,
    /// The directory of the class of service.
    pub class: PathBuf,
    /// Whose class that is.
    pub kind: Class,
    /// What is written to its `schemata`, in this order.
    pub schemata: Vec<Schema>,
    /// The directory of the container's own monitoring group.
    pub monitoring: Option<PathBuf>,
}

/// Whose class of service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The container's: made if it is not there, and then removed with the container.
    Own,
    /// One that has a name and schemata: made if it is not there, compared if it is, never removed.
    Shared,
    /// One that somebody has configured: it must be there.
    Configured,
}

/// A line or more for the file `schemata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The text, without the last newline.
    pub text: String,
    /// "if closID directory in a mounted resctrl pseudo-filesystem exists, runtimes MUST compare l3CacheSchema and/or
    /// memBwSchema value with schemata file" (config-linux.md, IntelRdt).
    pub compared: bool,
    /// Its place in the configuration.
    pub at: ConfigPath,
}

/// Directories that the kernel makes in a group.
const RESERVED: [&str; 3] = ["info", "mon_data", "mon_groups"];

/// Decides the class of service, the schemata and the monitoring group.
pub fn plan(
    rdt: &LinuxIntelRdt,
    id: &str,
    host: &Host,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<IntelRdt> {
    let at = ConfigPath::new("linux.intelRdt");
    let schemata = plan_schemata(rdt, problems, warnings);
    let given = rdt.clos_id().as_deref().filter(|name| !name.is_empty());
    let name = match given {
        Some("/") => "", // "the container MUST be assigned to the default CLOS (the root of the resctrl filesystem)"
        Some(name) => name,
        None => id, // "If closID is not set, runtimes MUST use the container ID"
    };
    if name.contains(['/', '\n']) || [".", ".."].contains(&name) || RESERVED.contains(&name) {
        problems.push(Problem::new(at.field("closID"), format!("{name:?} cannot be a class of service")));
    }
    let Some(root) = host.resctrl.clone() else {
        // "If no mounted resctrl pseudo-filesystem is available in the runtime mount namespace, the runtime MUST
        // generate an error."
        let message = "no resctrl is mounted: mount -t resctrl resctrl /sys/fs/resctrl, if the processor has it";
        problems.push(Problem::new(at, message));
        return None;
    };
    let class = if name.is_empty() { root.clone() } else { root.join(name) };
    let kind = match given {
        None => Class::Own,
        Some(_) if schemata.is_empty() => Class::Configured,
        Some(_) => Class::Shared,
    };
    let monitoring = rdt.enable_monitoring().unwrap_or(false).then(|| class.join("mon_groups").join(id));
    Some(IntelRdt { root, class, kind, schemata, monitoring })
}

/// What `update` writes, in the same order, from its flags.
pub fn plan_update(
    cache: Option<&str>,
    bandwidth: Option<&str>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Vec<Schema> {
    let mut rdt = LinuxIntelRdt::default();
    rdt.set_l3_cache_schema(cache.map(str::to_owned)).set_mem_bw_schema(bandwidth.map(str::to_owned));
    plan_schemata(&rdt, problems, warnings)
}

/// "The runtimes MUST write l3CacheSchema first and memBwSchema last. … the value of schemata field must be written last"
fn plan_schemata(rdt: &LinuxIntelRdt, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Vec<Schema> {
    let at = ConfigPath::new("linux.intelRdt");
    let (cache, bandwidth, lines) = (at.field("l3CacheSchema"), at.field("memBwSchema"), at.field("schemata"));
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut schemata = Vec::new();
    if let Some(text) = given(rdt.l3_cache_schema()) {
        if !text.starts_with("L3:") || text.contains('\n') {
            warnings.push(format!("{cache} should start with \"L3:\" and be one line"));
        }
        schemata.push(Schema { text: text.trim_end_matches('\n').to_owned(), compared: true, at: cache });
    }
    if let Some(text) = given(rdt.mem_bw_schema()) {
        if !text.starts_with("MB:") || text.contains('\n') {
            problems.push(Problem::new(bandwidth, "must start with \"MB:\" and be one line"));
        }
        schemata.push(Schema { text, compared: true, at: bandwidth });
    }
    let own = rdt.schemata().as_deref().unwrap_or_default();
    for (index, _) in own.iter().enumerate().filter(|(_, line)| line.contains('\n') || line.is_empty()) {
        problems.push(Problem::new(lines.index(index), "must be one line"));
    }
    if !own.is_empty() {
        schemata.push(Schema { text: own.join("\n"), compared: false, at: lines });
    }
    schemata
}

/// Whether the text of a `schemata` file says what a schema asks for. The kernel pads names and numbers, adds domains
/// that are not mentioned and rounds bandwidth up to its granularity.
pub fn agrees(schema: &str, current: &str, granularity: u64) -> bool {
    schema.lines().filter_map(parse).all(|(resource, wanted)| {
        let found = current.lines().filter_map(parse).find(|(name, _)| *name == resource);
        let found = found.map(|(_, domains)| domains).unwrap_or_default();
        let value = |text: &str| match resource {
            "MB" => text.parse::<u64>().ok().map(|percent| percent.next_multiple_of(granularity.max(1))),
            _ => u64::from_str_radix(text.trim_start_matches("0x"), 16).ok(),
        };
        wanted.iter().all(|(domain, wanted)| {
            let there = found.iter().find(|(known, _)| known == domain);
            there.is_some_and(|(_, there)| wanted == there || value(wanted).is_some() && value(wanted) == value(there))
        })
    })
}

/// `L3:0=7f0;1=1f`: the resource, and the value of each domain.
fn parse(line: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (resource, domains) = line.split_once(':')?;
    let pairs = domains.split(';').filter_map(|domain| domain.split_once('='));
    Some((resource.trim(), pairs.map(|(domain, value)| (domain.trim(), value.trim())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = (Option<IntelRdt>, Vec<String>, Vec<String>);

    fn planned(text: &str, root: Option<&str>) -> Found {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let host = Host { resctrl: root.map(PathBuf::from), ..Host::default() };
        let rdt = serde_json::from_str(text).expect("an intelRdt");
        let planned = plan(&rdt, "web", &host, &mut problems, &mut warnings);
        (planned, problems.into_iter().map(|problem| problem.at).collect(), warnings)
    }

    fn valid(text: &str) -> IntelRdt {
        let (planned, problems, warnings) = planned(text, Some("/r"));
        assert_eq!((problems, warnings), (vec![], vec![]), "{text}");
        planned.expect("resctrl is there")
    }

    #[test]
    fn the_class_is_the_containers_a_named_one_or_the_default() {
        for (text, class, kind) in [
            ("{}", "/r/web", Class::Own),
            (r#"{"closID":""}"#, "/r/web", Class::Own),
            (r#"{"l3CacheSchema":"L3:0=f"}"#, "/r/web", Class::Own),
            (r#"{"closID":"gold"}"#, "/r/gold", Class::Configured),
            (r#"{"closID":"gold","memBwSchema":"MB:0=20"}"#, "/r/gold", Class::Shared),
            (r#"{"closID":"gold","schemata":["L2:0=f"]}"#, "/r/gold", Class::Shared),
            (r#"{"closID":"/"}"#, "/r", Class::Configured),
        ] {
            let planned = valid(text);
            assert_eq!((planned.class, planned.kind), (PathBuf::from(class), kind), "{text}");
        }
    }

    #[test]
    fn the_monitoring_group_is_the_containers_own() {
        assert_eq!(valid("{}").monitoring, None);
        let group = |text| valid(text).monitoring.expect("a group");
        assert_eq!(group(r#"{"enableMonitoring":true}"#), PathBuf::from("/r/web/mon_groups/web"));
        assert_eq!(group(r#"{"enableMonitoring":true,"closID":"gold"}"#), PathBuf::from("/r/gold/mon_groups/web"));
        assert_eq!(group(r#"{"enableMonitoring":true,"closID":"/"}"#), PathBuf::from("/r/mon_groups/web"));
    }

    #[test]
    fn schemata_have_their_order() {
        let text = r#"{"schemata":["L2:0=f","MB:0=30"],"memBwSchema":"MB:0=20","l3CacheSchema":"L3:0=f"}"#;
        let written: Vec<(String, bool)> =
            valid(text).schemata.into_iter().map(|one| (one.text, one.compared)).collect();
        let expected = [("L3:0=f", true), ("MB:0=20", true), ("L2:0=f\nMB:0=30", false)];
        assert_eq!(written, expected.map(|(text, compared)| (text.to_owned(), compared)));
    }

    #[test]
    fn what_cannot_be_is_an_error_at_its_place() {
        for (text, field) in [
            (r#"{"closID":"a/b"}"#, "closID"),
            (r#"{"closID":".."}"#, "closID"),
            (r#"{"closID":"info"}"#, "closID"),
            (r#"{"memBwSchema":"L3:0=f"}"#, "memBwSchema"),
            (r#"{"memBwSchema":"MB:0=1\nMB:1=2"}"#, "memBwSchema"),
            (r#"{"schemata":["L3:0=f","L2:0=f\nL2:1=f"]}"#, "schemata[1]"),
        ] {
            assert_eq!(planned(text, Some("/r")).1, [format!("linux.intelRdt.{field}")], "{text}");
        }
        assert_eq!(planned("{}", None).1, ["linux.intelRdt"]);
        assert_eq!(planned(r#"{"l3CacheSchema":"L3CODE:0=f"}"#, Some("/r")).2.len(), 1);
    }

    #[test]
    fn a_schema_agrees_with_what_the_kernel_shows() {
        let current = "    L3:0=007f0;1=0001f\n    MB:0= 20;1= 70\n";
        for schema in ["L3:0=7f0", "L3:1=1f;0=7f0", "L3:0=0x7F0", "MB:0=20", "MB:1=65;0=15"] {
            assert!(agrees(schema, current, 10), "{schema}");
        }
        for schema in ["L3:0=7ff", "L3:2=1f", "L2:0=f", "MB:0=30", "MB:0=x", "L3:0=7f0\nMB:1=20"] {
            assert!(!agrees(schema, current, 10), "{schema}");
        }
    }
}
