//! What every kind of step calls and why it is needed, with the page to read. Beside it nothing is told twice: what a
//! step does to a certain container is in the list itself.

/// A row: the name of a step or the beginning of it, the calls of section 2 of the manual (or the programs) that do it,
/// and why, with the page or section that says more.
pub type Row = (&'static str, &'static str, &'static str);

/// The row of a step: of all whose name begins it, the longest.
pub fn row(id: &str) -> Row {
    let begins = |row: &&Row| {
        id.strip_prefix(row.0).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '.', '[', ' ']))
    };
    ROWS.iter().filter(begins).max_by_key(|row| row.0.len()).copied().unwrap_or(("", "", ""))
}

/// In the order of a container's life.
pub const ROWS: &[Row] = &[
    (
        "state",
        "mkdir, flock, write",
        "The intent is on disk before anything is done, so that a killed create can be taken back (runtime.md, Lifecycle).",
    ),
    (
        "gate",
        "mkfifo, open",
        "Init will wait in the first fifo for start, and tell in the second how the exec went: fifo(7).",
    ),
    (
        "cgroup:mkdir",
        "mkdir",
        "A cgroup holds the container's processes together, counts and limits what they use: cgroups(7).",
    ),
    (
        "cgroup:unit",
        "sendto, recvfrom",
        "systemd makes the cgroup around init, and knows it as a unit: org.freedesktop.systemd1(5), StartTransientUnit.",
    ),
    (
        "cgroup",
        "open, write",
        "The kernel enforces the limit for all processes of the cgroup together: cgroups(7), config-linux.md, Control groups.",
    ),
    (
        "cgroup:devices",
        "bpf",
        "Which device nodes may be used; cgroup v2 asks an eBPF program of ours: bpf(2), config-linux.md, Allowed Device list.",
    ),
    (
        "cgroup:devices.deny",
        "open, write",
        "What may be used of the devices on cgroup v1 is a list, which starts empty: config-linux.md, Allowed Device list.",
    ),
    (
        "cgroup:devices.allow",
        "open, write",
        "One rule more of the devices that may be used or made: config-linux.md, Allowed Device list.",
    ),
    ("namespace:open", "open, ioctl", "The path must lead to a namespace of the kind that is said: ioctl_nsfs(2)."),
    (
        "clone",
        "clone3",
        "A new process in new namespaces sees names, ids and mounts of its own: clone(2), namespaces(7).",
    ),
    (
        "record",
        "write, rename",
        "Pid and start time together tell a process for good, so they are on disk before it goes on: proc_pid_stat(5).",
    ),
    (
        "cgroup:join",
        "write",
        "On cgroup v1 a process joins by a write; on v2 it was born inside: cgroups(7), clone(2).",
    ),
    (
        "idmap",
        "open, write",
        "Which ids of the host the ids of the container are; without it nobody inside is anybody: user_namespaces(7).",
    ),
    (
        "cgroup:owner",
        "chown",
        "The user that is root inside may make cgroups below: config-linux.md, Cgroup ownership.",
    ),
    (
        "resctrl",
        "mkdir, write",
        "A share of the processor's cache and memory bandwidth: the kernel's filesystems/resctrl.rst.",
    ),
    ("resctrl:admit", "write", "The process joins the class of service; its children follow: filesystems/resctrl.rst."),
    (
        "oom_score_adj",
        "open, write",
        "How soon the kernel kills it when memory runs out: proc_pid_oom_score_adj(5), config.md, Linux Process.",
    ),
    (
        "net-device",
        "sendto, recvfrom",
        "A device of the host changes its network namespace: netlink(7), config-linux.md, Network Devices.",
    ),
    (
        "affinity",
        "sched_setaffinity",
        "All processors of the cpuset, not those of whoever called minicon: sched_setaffinity(2).",
    ),
    ("session", "setsid", "Signals of the caller's terminal do not reach a session of its own: setsid(2)."),
    ("keyring", "keyctl", "The caller's keys stay with the caller: session-keyring(7)."),
    ("namespace:time", "unshare, write, setns", "Clocks that count from elsewhere: time_namespaces(7)."),
    (
        "hide",
        "prctl",
        "Nobody inside may look into this process, which still has the host's rights: PR_SET_DUMPABLE(2const).",
    ),
    ("namespace:join", "setns", "The container shares this namespace with whoever has it: setns(2)."),
    ("namespace:cgroup", "unshare", "The container's own cgroup is the root of what it sees: cgroup_namespaces(7)."),
    (
        "namespace:root",
        "setgroups, setresgid, setresuid",
        "Id 0 of the new user namespace, to make files that somebody owns: user_namespaces(7).",
    ),
    ("hostname", "sethostname", "The name in the UTS namespace: uts_namespaces(7), config.md, Hostname."),
    ("domainname", "setdomainname", "The NIS name in the UTS namespace: uts_namespaces(7), config.md, Domainname."),
    ("loopback", "ioctl", "A new network namespace has a loopback device that is down: network_namespaces(7)."),
    (
        "procfs",
        "fsopen, fsconfig, fsmount",
        "Kernel parameters and labels are written through a /proc that no image can fake (CVE-2019-16884).",
    ),
    (
        "root",
        "open_tree, move_mount",
        "The root becomes a mount of its own, which pivot_root needs, and is reached by its descriptor only: open_tree(2).",
    ),
    (
        "mount",
        "mount, fsopen, fsconfig, fsmount, move_mount",
        "At the open place below the root and nowhere else: mount(2), or made detached and attached, fsopen(2); config.md, Mounts.",
    ),
    ("remount", "openat2, mount_setattr", "What is mounted there gets other options: mount_setattr(2)."),
    (
        "device",
        "mknodat, fchownat",
        "A device node, or the host's bound where none may be made: mknod(2), config-linux.md, Default Devices.",
    ),
    ("link", "symlinkat", "What programs expect to find in /dev: runtime-linux.md, Dev symbolic links."),
    ("mkdir:cwd", "mkdirat", "The working directory, if the image lacks it, as runc has it: config.md, Process."),
    (
        "hook",
        "fork, execve, waitpid",
        "A program of the configuration, the container's state on its stdin: config.md, POSIX-platform Hooks.",
    ),
    ("leave", "pivot_root, umount2, chdir", "The host's tree goes; a chroot alone could be left again: pivot_root(2)."),
    (
        "console",
        "openat, mount, ioctl",
        "A new terminal is /dev/console, the session's and the standard streams: pty(7), runtime-linux.md, Console.",
    ),
    (
        "propagation",
        "mount_setattr",
        "Whether later mounts are seen on the other side: mount_namespaces(7), config-linux.md, Rootfs Mount Propagation.",
    ),
    (
        "read-only",
        "open_tree, mount_setattr, move_mount",
        "The path lies over itself, and cannot be written to there: mount_setattr(2), config-linux.md, Readonly Paths.",
    ),
    (
        "mask",
        "open_tree, move_mount",
        "The null device or an empty directory lies over what tells too much of the host: config-linux.md, Masked Paths.",
    ),
    (
        "sysctl",
        "openat2, write",
        "A parameter that belongs to one of the container's namespaces: proc_sys(5), config-linux.md, Sysctl.",
    ),
    ("scheduler", "sched_setattr", "How it is scheduled: sched(7), config.md, Linux Process."),
    ("io-priority", "ioprio_set", "How its I/O is scheduled: ioprio_set(2), config.md, Linux Process."),
    ("personality", "personality", "Which kernel it believes to be on: personality(2), config-linux.md, Personality."),
    (
        "memory-policy",
        "set_mempolicy",
        "From which nodes its memory comes: set_mempolicy(2), config-linux.md, Memory policy.",
    ),
    ("label", "open, write", "What the security module calls the program from its exec on: proc_pid_attr(5)."),
    (
        "stdio",
        "fchown, dup3",
        "The user may open /dev/stdout, and no descriptor leads to the host's null device: stdio(3).",
    ),
    ("cwd", "chdir, getcwd", "And a look at where that led, which must be inside (CVE-2024-21626): chdir(2)."),
    (
        "rlimit",
        "prlimit64",
        "Set by the runtime, which may have rights that init has lost: getrlimit(2), config.md, POSIX process.",
    ),
    ("seccomp", "seccomp", "From here on the filter judges each system call: seccomp(2), config-linux.md, Seccomp."),
    ("capabilities:bounding", "prctl", "What is dropped from this set no exec can bring back: capabilities(7)."),
    ("user", "setgroups, setresgid, setresuid, umask", "Who it is from here on: credentials(7), config.md, User."),
    (
        "capabilities",
        "capset, prctl",
        "The rights that the configuration grants and no other: capabilities(7), config.md, Linux Process.",
    ),
    (
        "no_new_privs",
        "prctl",
        "No exec gives rights any more, set-user-ID programs included: PR_SET_NO_NEW_PRIVS(2const).",
    ),
    ("nobody", "prctl, capset", "Nothing will be executed, so nothing needs a right: runtime.md, Create."),
    ("find-program", "stat, access", "Looked for as the user who will execute it, as execvp(3) does."),
    (
        "commit",
        "write, rename",
        "The status becomes \"created\"; nothing is taken back any more (runtime.md, Lifecycle).",
    ),
    ("gate:wait", "read", "Init blocks until start: runtime.md, Create."),
    ("gate:open", "open, write", "One byte lets init through: runtime.md, Start."),
    ("execve", "execve", "Init becomes the program: execve(2), config.md, Process."),
    (
        "mounts:remove",
        "umount2",
        "Without a mount namespace they are the host's, and nobody else takes them away: mount_namespaces(7).",
    ),
    ("cgroup:remove", "rmdir", "With all that the container made inside: cgroups(7), runtime.md, Delete."),
    ("resctrl:remove", "rmdir", "Only what was made for this container: config-linux.md, IntelRdt."),
    ("state:remove", "unlink, rmdir", "The id is free again: runtime.md, Delete."),
];
