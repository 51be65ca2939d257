//! The stages of a container's life: who acts, in which command, and what it is about.

/// A part of a container's life. A stage may be entered twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The runtime makes what init inherits, and init.
    Prepare,
    /// Init is there and holds.
    Hold,
    /// The runtime maps its ids and limits it.
    Admit,
    /// Init enters its namespaces.
    Enter,
    /// Init builds the root while the host's tree is in view.
    Furnish,
    /// The runtime runs the host's hooks.
    Hooks,
    /// Init leaves the host's tree.
    Leave,
    /// Init becomes the user, with the rights that are left.
    Assume,
    /// The runtime limits the process just before that.
    Limit,
    /// The runtime records the container as created.
    Commit,
    /// The runtime lets init go on.
    Open,
    /// Init becomes the program.
    Execute,
    /// The runtime, once the program runs.
    Started,
    /// The runtime gives everything back.
    Delete,
}

impl Stage {
    /// Its name in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Prepare => "prepare",
            Stage::Hold => "hold",
            Stage::Admit => "admit",
            Stage::Enter => "enter",
            Stage::Furnish => "furnish",
            Stage::Hooks => "hooks",
            Stage::Leave => "leave",
            Stage::Assume => "assume",
            Stage::Limit => "limit",
            Stage::Commit => "commit",
            Stage::Open => "open",
            Stage::Execute => "execute",
            Stage::Started => "started",
            Stage::Delete => "delete",
        }
    }

    /// The process that acts: the runtime on the host's side, or init on the container's.
    pub const fn side(self) -> &'static str {
        match self {
            Stage::Hold | Stage::Enter | Stage::Furnish | Stage::Leave | Stage::Assume | Stage::Execute => "init",
            _ => "runtime",
        }
    }

    /// The command that it belongs to.
    pub const fn command(self) -> &'static str {
        match self {
            Stage::Open | Stage::Execute | Stage::Started => "start",
            Stage::Delete => "delete",
            _ => "create",
        }
    }

    /// What it is about, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Stage::Prepare => "make what init inherits, and init",
            Stage::Hold => "wait to be recorded",
            Stage::Admit => "ids, limits, devices",
            Stage::Enter => "the namespaces, and who it is in them",
            Stage::Furnish => "build the root while the host's tree is in view",
            Stage::Hooks => "hooks on the host",
            Stage::Leave => "the host's tree is gone",
            Stage::Assume => "give up every right that is not granted",
            Stage::Limit => "limits, while its user is still ours",
            Stage::Commit => "the container exists",
            Stage::Open => "let init go on",
            Stage::Execute => "become the program",
            Stage::Started => "the program runs",
            Stage::Delete => "give everything back",
        }
    }
}
