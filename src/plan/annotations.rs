//! Annotations that change what the runtime does: crun's `run.oci.*`, which engines and people set for it (podman's
//! `--group-add keep-groups`, for one). All other annotations mean nothing here.

use std::collections::HashMap;
use std::path::PathBuf;

use super::hooks::Hooks;
use super::{Host, seccomp};
use crate::error::Problem;

/// What the annotations ask for, decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// The program keeps the supplementary groups of the runtime's caller.
    pub keep_groups: bool,
    /// Files that what hooks print is appended to.
    pub hooks_stdout: Option<PathBuf>,
    #[allow(missing_docs)]
    pub hooks_stderr: Option<PathBuf>,
    /// A socket that gets a pidfd of init.
    pub pidfd_receiver: Option<PathBuf>,
    /// A socket that gets the seccomp notifier, if the policy has no `listenerPath`.
    pub seccomp_receiver: Option<PathBuf>,
    /// A system call that the policy names and nobody knows is an error.
    pub fail_unknown_syscall: bool,
}

/// The annotations that are carried out, `features` lists them. Those of crun that are not are in decision record 0014.
pub const KNOWN: &[&str] = &[
    "run.oci.hooks.stderr",
    "run.oci.hooks.stdout",
    "run.oci.keep_original_groups",
    MOUNT_CONTEXT_TYPE,
    "run.oci.pidfd_receiver",
    "run.oci.seccomp.receiver",
    "run.oci.seccomp_fail_unknown_syscall",
];

/// Those of crun that would change how a container is confined or where it is: to pass over them would be to run
/// something else than what was asked for.
const REFUSED: &[(&str, &str)] = &[
    ("run.oci.handler", "minicon runs programs on this kernel only, not in a virtual machine or a wasm engine"),
    ("run.oci.seccomp.plugins", "minicon loads no libraries; use linux.seccomp.listenerPath"),
    ("run.oci.seccomp_bpf_data", "minicon takes a filter as linux.seccomp only"),
];

/// Those of crun that only place a container's processes in the cgroup tree; without them the limits are the same.
const PASSED_OVER: &[&str] =
    &["run.oci.delegate-cgroup", "run.oci.systemd.force_cgroup_v1", "run.oci.systemd.subgroup"];

const MOUNT_CONTEXT_TYPE: &str = "run.oci.mount_context_type";

/// Its values: the mount options that carry a label, see mount(8), "SELinux mount options".
const CONTEXT_TYPES: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// The mount option that carries `linux.mountLabel`.
pub fn mount_context_type(given: Option<&HashMap<String, String>>) -> &'static str {
    let wanted = given.and_then(|given| given.get(MOUNT_CONTEXT_TYPE));
    CONTEXT_TYPES.into_iter().find(|known| wanted.is_some_and(|wanted| wanted == known)).unwrap_or("context")
}

/// Decides what the annotations ask for.
pub fn plan(
    given: Option<&HashMap<String, String>>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Annotations {
    let mut asked = Annotations::default();
    let mut given: Vec<(&String, &String)> =
        given.into_iter().flatten().filter(|(name, _)| name.starts_with("run.oci.")).collect();
    given.sort();
    for (name, value) in given {
        let mut problem = |message: String| problems.push(Problem::new(place(name), message));
        let mut path = || match value.starts_with('/') && !value.contains('\0') {
            true => Some(PathBuf::from(value)),
            false => {
                problem(format!("must be an absolute path, not {value:?}"));
                None
            }
        };
        match name.as_str() {
            "run.oci.keep_original_groups" => asked.keep_groups = value != "0",
            "run.oci.hooks.stdout" => asked.hooks_stdout = path(),
            "run.oci.hooks.stderr" => asked.hooks_stderr = path(),
            "run.oci.pidfd_receiver" => asked.pidfd_receiver = path(),
            "run.oci.seccomp.receiver" => asked.seccomp_receiver = path(),
            "run.oci.seccomp_fail_unknown_syscall" => asked.fail_unknown_syscall = value != "0",
            MOUNT_CONTEXT_TYPE if CONTEXT_TYPES.contains(&value.as_str()) => {}
            MOUNT_CONTEXT_TYPE => problem(format!("must be one of {}, not {value:?}", CONTEXT_TYPES.join(", "))),
            // An empty value is how a setting of the engine's is taken back; for a subgroup it means none, as here.
            _ if value.is_empty() => {}
            name if PASSED_OVER.contains(&name) => {
                warnings.push(format!("{}: this annotation of crun is not carried out", place(name)));
            }
            name => {
                if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
                    problem((*why).to_owned());
                }
            }
        }
    }
    asked
}

impl Annotations {
    /// What concerns the seccomp filter. The caller may name the agent in its environment, too.
    pub fn for_seccomp<'a>(&'a self, host: &'a Host) -> seccomp::Extra<'a> {
        let receiver = self.seccomp_receiver.as_deref().or(host.seccomp_receiver.as_deref());
        seccomp::Extra { receiver, fail_unknown_syscall: self.fail_unknown_syscall }
    }

    /// Sends what hooks print where it is wanted.
    pub fn redirect(&self, hooks: &mut Hooks) {
        hooks.stdout.clone_from(&self.hooks_stdout);
        hooks.stderr.clone_from(&self.hooks_stderr);
    }
}

/// The names hold dots, so the place is written as jq has it.
fn place(name: &str) -> String {
    format!("annotations[{name:?}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(name: &str, value: &str) -> (Annotations, Vec<Problem>, Vec<String>) {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let given = HashMap::from([(name.to_owned(), value.to_owned())]);
        let annotations = plan(Some(&given), &mut problems, &mut warnings);
        (annotations, problems, warnings)
    }

    #[test]
    fn each_that_is_known_changes_something() {
        for name in KNOWN.iter().filter(|name| **name != MOUNT_CONTEXT_TYPE) {
            let (annotations, problems, warnings) = planned(name, "/a/path");
            assert_ne!(annotations, Annotations::default(), "{name}");
            assert!(problems.is_empty() && warnings.is_empty(), "{name}: {problems:?}");
        }
    }

    #[test]
    fn the_label_has_the_option_that_is_wanted() {
        let given = HashMap::from([(MOUNT_CONTEXT_TYPE.to_owned(), "rootcontext".to_owned())]);
        assert_eq!(mount_context_type(Some(&given)), "rootcontext");
        assert_eq!((mount_context_type(None), mount_context_type(Some(&HashMap::new()))), ("context", "context"));
    }

    #[test]
    fn nothing_else_does() {
        for name in ["run.oci.keep_original_groups", "run.oci.seccomp_fail_unknown_syscall"] {
            assert_eq!(planned(name, "0").0, Annotations::default(), "{name}");
        }
        for name in ["run.oci.unheard-of", "org.example.key", "run.oci"] {
            assert_eq!(planned(name, "1"), (Annotations::default(), Vec::new(), Vec::new()), "{name}");
        }
    }

    #[test]
    fn what_would_confine_otherwise_is_refused_and_what_only_places_is_told() {
        for (name, _) in REFUSED {
            let (_, problems, _) = planned(name, "krun");
            assert_eq!(problems[0].at, format!("annotations[{name:?}]"));
        }
        for name in PASSED_OVER {
            let (_, problems, warnings) = planned(name, "x");
            assert!(problems.is_empty() && warnings[0].contains(name), "{warnings:?}");
            assert!(planned(name, "").2.is_empty());
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_an_error() {
        for (name, value) in [
            ("run.oci.hooks.stdout", "log"),
            ("run.oci.pidfd_receiver", ""),
            ("run.oci.mount_context_type", "subcontext"),
        ] {
            let (annotations, problems, _) = planned(name, value);
            assert_eq!((annotations, problems.len()), (Annotations::default(), 1), "{name}");
        }
    }
}
