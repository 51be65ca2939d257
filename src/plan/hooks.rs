//! Hooks: programs that the configuration wants run at fixed points of the container's life (config.md, POSIX-platform
//! Hooks).

use std::path::PathBuf;

use oci_spec::runtime::{Hook as Entry, Hooks as Entries};

use super::ConfigPath;
use crate::error::Problem;

/// All hooks, decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// One list a kind, in the order of [`HookKind`].
    lists: [Vec<Hook>; 6],
    /// A file that what they print is appended to, see [`super::annotations`].
    pub stdout: Option<PathBuf>,
    /// The same for their errors.
    pub stderr: Option<PathBuf>,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HookKind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program, absolute.
    pub path: PathBuf,
    /// argv, its name included.
    pub args: Vec<String>,
    /// The whole environment. None: that of the program for a startContainer hook, as runc has it, an empty one for others.
    pub env: Option<Vec<String>>,
    /// Seconds until it is killed.
    pub timeout: Option<u32>,
    /// Its place in the configuration.
    pub at: ConfigPath,
}

impl HookKind {
    /// Every kind, in the order of a container's life.
    pub const ALL: [HookKind; 6] = [
        HookKind::Prestart,
        HookKind::CreateRuntime,
        HookKind::CreateContainer,
        HookKind::StartContainer,
        HookKind::Poststart,
        HookKind::Poststop,
    ];

    /// The name in `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::CreateContainer => "createContainer",
            HookKind::StartContainer => "startContainer",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        }
    }

    const fn place(self) -> ConfigPath {
        ConfigPath::new(match self {
            HookKind::Prestart => "hooks.prestart",
            HookKind::CreateRuntime => "hooks.createRuntime",
            HookKind::CreateContainer => "hooks.createContainer",
            HookKind::StartContainer => "hooks.startContainer",
            HookKind::Poststart => "hooks.poststart",
            HookKind::Poststop => "hooks.poststop",
        })
    }
}

impl Hooks {
    /// There are none at all.
    pub fn is_empty(&self) -> bool {
        self.lists.iter().all(Vec::is_empty)
    }

    /// The hooks of a kind, in listed order.
    pub fn of(&self, kind: HookKind) -> &[Hook] {
        &self.lists[kind as usize]
    }
}

/// Decides the hooks.
pub fn plan(entries: Option<&Entries>, problems: &mut Vec<Problem>) -> Hooks {
    let mut hooks = Hooks::default();
    let Some(entries) = entries else { return hooks };
    for kind in HookKind::ALL {
        #[allow(deprecated)] // "prestart is deprecated" in the specification; Docker still uses it.
        let list = match kind {
            HookKind::Prestart => entries.prestart(),
            HookKind::CreateRuntime => entries.create_runtime(),
            HookKind::CreateContainer => entries.create_container(),
            HookKind::StartContainer => entries.start_container(),
            HookKind::Poststart => entries.poststart(),
            HookKind::Poststop => entries.poststop(),
        };
        let list = list.iter().flatten().enumerate();
        hooks.lists[kind as usize] =
            list.map(|(index, hook)| plan_hook(hook, kind.place().index(index), problems)).collect();
    }
    hooks
}

fn plan_hook(entry: &Entry, at: ConfigPath, problems: &mut Vec<Problem>) -> Hook {
    let path = entry.path();
    if path.is_relative() {
        // "path (string, REQUIRED) … This value MUST be an absolute path."
        problems.push(Problem::new(at.field("path"), format!("must be an absolute path, not {path:?}")));
    }
    // "timeout … If set, timeout MUST be greater than zero."
    let timeout = entry.timeout().and_then(|seconds| {
        let valid = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        if valid.is_none() {
            problems.push(Problem::new(at.field("timeout"), "must be a number of seconds greater than zero"));
        }
        valid
    });
    let args = match entry.args() {
        Some(args) if !args.is_empty() => args.clone(),
        _ => vec![path.to_string_lossy().into_owned()],
    };
    let env = entry.env().clone();
    if args.iter().chain(env.iter().flatten()).any(|string| string.contains('\0')) {
        problems.push(Problem::new(at, "args and env must not hold NUL bytes"));
    }
    Hook { path: path.clone(), args, env, timeout, at }
}
