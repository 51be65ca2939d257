//! Rules about the document as a whole: its version, its annotations, and what engines write although the specification
//! has it otherwise. Such a deviation is done as they mean it, and refused with `--strict` (decision 0011).

use oci_spec::runtime::Spec;

use super::ConfigPath;
use super::version::{self, Verdict};
use crate::error::Problem;

/// Something that the specification does not allow and that can be done all the same.
struct Deviation {
    problem: Problem,
    /// Without `--strict` it is worth a warning; not if some engine writes it every day.
    is_told: bool,
}

/// Checks the document. Problems are errors; deviations are with `strict`, else warnings or nothing.
pub fn check(spec: &Spec, strict: bool, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) {
    let mut deviations = Vec::new();
    match version::judge(spec.version()) {
        Verdict::Known => {}
        Verdict::Foreign(problem) => deviations.push(Deviation { problem, is_told: true }),
        Verdict::Wrong(problem) => problems.push(problem),
    }
    check_annotations(spec, problems);
    check_destinations(spec, warnings);
    deviations.extend(bind_by_type(spec));
    deviations.extend(recursive_propagation(spec));
    for Deviation { problem, is_told } in deviations {
        match (strict, is_told) {
            (true, _) => problems.push(problem),
            (false, true) => warnings.push(format!("{}: {}", problem.at, problem.message)),
            (false, false) => {}
        }
    }
}

/// "Keys MUST NOT be an empty string." (config.md, Annotations) That values are strings the document's type has seen to.
fn check_annotations(spec: &Spec, problems: &mut Vec<Problem>) {
    if spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key("")) {
        problems.push(Problem::new(ConfigPath::new("annotations"), "a key must not be an empty string"));
    }
}

/// "It MAY be a relative path, in which case it MUST be interpreted as relative to "/". Relative paths are deprecated."
/// (config.md, Mounts)
fn check_destinations(spec: &Spec, warnings: &mut Vec<String>) {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let destination = mount.destination();
        if destination.is_relative() && !destination.as_os_str().is_empty() {
            let at = ConfigPath::new("mounts").index(index).field("destination");
            warnings.push(format!("{at}: the relative path {destination:?} is deprecated and taken relative to /"));
        }
    }
}

/// "A mount is a bind mount if it has either `bind` or `rbind` in the options." (config.md, Mounts)
fn bind_by_type(spec: &Spec) -> Vec<Deviation> {
    let mut deviations = Vec::new();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let mut options = mount.options().iter().flatten();
        let has_option = options.any(|option| ["bind", "rbind", "remount"].contains(&option.as_str()));
        if let Some(kind @ ("bind" | "rbind")) = mount.typ().as_deref()
            && !has_option
        {
            let at = ConfigPath::new("mounts").index(index);
            let message =
                format!("has the type {kind:?} but not the option, which makes a bind mount: add {kind:?} to options");
            deviations.push(Deviation { problem: Problem::new(at, message), is_told: true });
        }
    }
    deviations
}

/// "Its value is either `shared`, `slave`, `private` or `unbindable`." (config-linux.md, Rootfs Mount Propagation) The CRI of
/// containerd writes `rslave` and `rshared` for a volume that asks for it.
fn recursive_propagation(spec: &Spec) -> Option<Deviation> {
    let value = spec.linux().as_ref()?.rootfs_propagation().as_deref()?;
    let plain = value.strip_prefix('r').filter(|plain| ["shared", "slave", "private", "unbindable"].contains(plain))?;
    let message = format!("{value} is no value of the specification; there it is {plain}");
    let problem = Problem::new(ConfigPath::new("linux.rootfsPropagation"), message);
    Some(Deviation { problem, is_told: false })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::check;

    /// What is told of a document: the errors' places, and the warnings.
    fn told(strict: bool, document: Value) -> (Vec<String>, Vec<String>) {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let spec = serde_json::from_value(document).expect("a configuration");
        check(&spec, strict, &mut problems, &mut warnings);
        (problems.into_iter().map(|problem| problem.at).collect(), warnings)
    }

    #[test]
    fn a_deviation_is_an_error_only_where_strict() {
        for (property, value, place, is_told) in [
            ("ociVersion", json!("1.4.0"), "ociVersion", true),
            ("mounts", json!([{"destination": "/x", "type": "bind", "source": "/y"}]), "mounts[0]", true),
            ("linux", json!({"rootfsPropagation": "rslave"}), "linux.rootfsPropagation", false),
        ] {
            let mut document = json!({"ociVersion": "1.3.0"});
            document[property] = value;
            let (problems, warnings) = told(false, document.clone());
            assert_eq!((problems.len(), warnings.len()), (0, usize::from(is_told)), "{property}");
            assert!(!is_told || warnings[0].starts_with(place), "{warnings:?}");
            assert_eq!(told(true, document), (vec![place.to_owned()], vec![]), "{property}");
        }
    }

    #[test]
    fn what_the_specification_allows_is_allowed_with_strict() {
        let document = json!({
            "ociVersion": "1.0.2-dev",
            "annotations": {"": "x"},
            "mounts": [{"destination": "x/y", "type": "none", "source": "/y", "options": ["rbind"]}],
            "linux": {"rootfsPropagation": "slave"},
        });
        for strict in [false, true] {
            let (problems, warnings) = told(strict, document.clone());
            assert_eq!(problems, ["annotations"]);
            assert_eq!(warnings.len(), 1);
            assert!(warnings[0].starts_with("mounts[0].destination: the relative path \"x/y\""), "{warnings:?}");
        }
    }
}
