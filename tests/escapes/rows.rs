//! The table: what was published, what goes wrong there, the attack, and the rule of SECURITY.md that stops it.

use crate::race::Raced;
use crate::{Verdict, attacks, mounts, process, racers};

/// A published hole, or several that are alike.
pub struct Row {
    pub cve: &'static str,
    pub class: &'static str,
    /// The numbers of the rules in SECURITY.md.
    pub rule: &'static str,
    /// It could harm the machine if the runtime is open to it.
    pub dangerous: bool,
    /// How it is tried, or why it cannot be.
    pub attack: Result<fn() -> Verdict, &'static str>,
    /// The race that it was published as, or could be.
    pub racer: Option<fn() -> Raced>,
}

impl Row {
    const fn raced(mut self, racer: fn() -> Raced) -> Row {
        self.racer = Some(racer);
        self
    }
}

const fn row(cve: &'static str, class: &'static str, rule: &'static str, attack: fn() -> Verdict) -> Row {
    Row { cve, class, rule, dangerous: false, attack: Ok(attack), racer: None }
}

const fn dangerous(cve: &'static str, class: &'static str, rule: &'static str, attack: fn() -> Verdict) -> Row {
    Row { cve, class, rule, dangerous: true, attack: Ok(attack), racer: None }
}

const fn none(cve: &'static str, class: &'static str, reason: &'static str) -> Row {
    Row { cve, class, rule: "", dangerous: false, attack: Err(reason), racer: None }
}

pub const ROWS: &[Row] = &[
    row("CVE-2016-9962", "a process inside looks into the one that arrives", "5, 4", process::looking_into_exec)
        .raced(racers::looking_into_exec),
    dangerous("CVE-2019-5736", "the runtime's binary is overwritten", "6", process::overwriting_the_runtime),
    row("CVE-2019-16884", "a volume plays /proc and catches labels", "2", attacks::a_volume_at_proc),
    row("CVE-2019-18837", "a mount follows a link of the image", "1", mounts::a_link_in_a_destination),
    row("CVE-2019-19921", "/proc of the image is a link to a volume", "2, 1", attacks::proc_links_to_a_volume)
        .raced(racers::proc_is_swapped),
    row("CVE-2021-30465", "a destination becomes a link while it is mounted on", "1", mounts::a_destination_is_swapped)
        .raced(racers::a_destination_is_swapped),
    row("CVE-2021-43784", "long id maps overflow the length of a message", "9", process::long_id_maps),
    row(
        "CVE-2022-24769, CVE-2022-27650, CVE-2022-29162, CVE-2025-27612",
        "inheritable capabilities that nobody asked for",
        "7",
        process::inheritable_capabilities,
    ),
    row("CVE-2023-25809", "the cgroup tree can be written to", "`ro` is kept", attacks::writing_to_cgroups)
        .raced(racers::cgroup_is_swapped),
    row(
        "CVE-2023-27561, CVE-2023-28642, CVE-2025-54867",
        "/proc or /sys of the image is a link",
        "1, 2",
        attacks::proc_or_sys_is_a_link,
    ),
    row("CVE-2024-21626", "the working directory is a descriptor of the host's", "4, 8", process::a_leaked_directory),
    row("CVE-2024-45310", "directories for a mount are made on the host", "1", mounts::directories_through_a_link)
        .raced(racers::directories_are_swapped),
    row("CVE-2025-24965", "a file is written through a link of the image", "1", attacks::a_file_of_the_runtime),
    dangerous("CVE-2025-31133, CVE-2025-62161", "/dev/null is a link, and masks bind it", "3", attacks::a_fake_null)
        .raced(racers::null_is_swapped),
    dangerous(
        "CVE-2025-52565",
        "/dev/console is a link, and a terminal is bound on it",
        "1, 3",
        attacks::a_fake_console,
    )
    .raced(racers::console_is_swapped),
    row(
        "CVE-2025-52881, CVE-2025-62596",
        "writes to /proc are led elsewhere by mounts on it",
        "2",
        attacks::mounts_over_proc,
    ),
    row("CVE-2026-30892", "exec --user is misread", "9", process::odd_users),
    dangerous("CVE-2026-41579, CVE-2026-47766", "/dev of the image is a link", "1", attacks::dev_is_a_link)
        .raced(racers::dev_is_swapped),
    none("CVE-2026-84042", "a program of the image runs on the host", "there is no virtual machine handler"),
    dangerous("CVE-2026-88264", "/dev/console of the image is a link, and made", "1", attacks::console_in_the_image),
    dangerous(
        "CVE-2026-88265",
        "/dev/null of the image is a link, and given away",
        "3, 1",
        attacks::null_changes_owner,
    ),
    row(
        "CVE-2016-10124",
        "keys are typed into the caller's terminal",
        "a session of its own",
        process::typing_into_the_terminal,
    ),
    none("CVE-2017-5985, CVE-2018-6556, CVE-2022-47952", "lxc-user-nic", "nothing is set-user-id"),
    none("CVE-2026-94603", "podman's annotation for checkpoints", "it is the engine's"),
    none("CVE-2026-53489, CVE-2026-53492", "containerd", "it is the engine's"),
    none("GHSA-4v98", "BuildKit", "it is the engine's"),
];
