//! What may help, by how a call failed and while doing what: one table. It is looked at only when an error is printed, so
//! that no step carries words that are needed once in a thousand runs; what only the step knows (a number, a path, what the
//! kernel itself said) the step adds by itself, and that wins. `docs/errors.md` is made from this table, and
//! `tests/cli/hints` provokes each row.

use rustix::io::Errno;

use crate::error::Call;

/// A row.
#[derive(Debug)]
pub struct Row {
    /// Its name: the heading in `docs/errors.md`.
    pub name: &'static str,
    /// The call that fails; empty where none does, or where any may.
    pub call: &'static str,
    /// How it fails: any of these.
    pub errno: &'static [Errno],
    /// What else must hold.
    pub when: When,
    /// What may help, printed with the error.
    pub hint: &'static str,
    /// Why it happens.
    pub cause: &'static str,
}

/// What else must hold for a row.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// Nothing.
    Always,
    /// The step begins with this.
    Step(&'static str),
    /// The arguments of the call hold this.
    Argument(&'static str),
    /// The message holds this.
    Message(&'static str),
    /// The place in `config.json` begins with this.
    At(&'static str),
}

/// What is known of a failure.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// The step.
    pub step: &'a str,
    /// The message, for what no single call explains.
    pub message: &'a str,
    /// The place in `config.json`.
    pub at: &'a str,
    /// The call.
    pub call: Option<&'a Call>,
}

/// The row for a failure: the first that fits.
pub fn find(failure: Failure<'_>) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.fits(failure))
}

impl Row {
    fn fits(&self, failure: Failure<'_>) -> bool {
        let call = match failure.call {
            Some(call) => {
                (self.call.is_empty() || self.call == call.name)
                    && self.errno.iter().any(|errno| errno.raw_os_error() == call.errno)
            }
            None => self.call.is_empty() && self.errno.is_empty(),
        };
        let arguments = failure.call.map_or("", |call| call.arguments.as_str());
        call && match self.when {
            When::Always => true,
            When::Step(words) => failure.step.starts_with(words),
            When::Argument(words) => arguments.contains(words),
            When::Message(words) => failure.message.contains(words),
            When::At(place) => failure.at.starts_with(place),
        }
    }
}

/// For what the table cannot tell from the failure: the step names these.
pub const PROC: &str = "proc needs a pid namespace of the container's own, and a host /proc that nothing is mounted over \
                        (nested containers mask it): else leave out the pid namespace, and bind /proc with rbind";
#[allow(missing_docs)]
pub const DELEGATE: &str = "it stayed in its creator's, who could make none or wanted none: have one delegated (systemd: Delegate=yes in \
                            a unit of the user's), and create it again";
#[allow(missing_docs)]
pub const SYSFS: &str = "sysfs needs a network namespace of the container's own; bind-mount the host's /sys instead";
#[allow(missing_docs)]
pub const MQUEUE: &str = "mqueue needs an IPC namespace of the container's own";
#[allow(missing_docs)]
pub const DEVPTS: &str =
    "the container needs /dev/pts: mounts should have {\"destination\": \"/dev/pts\", \"type\": \"devpts\"}";
#[allow(missing_docs)]
pub const CPUSET: &str = "not all of these are online, or the parent cgroup does not have them all";
#[allow(missing_docs)]
pub const MEMORY_IN_USE: &str = "less than is in use";

/// Sorted by what they are about; of several that fit a failure the first counts.
pub const ROWS: &[Row] = &[
    // The bundle.
    Row {
        name: "no config.json",
        call: "",
        errno: &[],
        when: When::Message("config.json not found"),
        hint: "name the bundle with --bundle; `minicon spec` writes a configuration to start from",
        cause: "A bundle is a directory with a `config.json`; without `--bundle` it is the current one.",
    },
    Row {
        name: "config.json is not JSON",
        call: "",
        errno: &[],
        when: When::Message("is not valid JSON"),
        hint: "check it with `jq . FILE`; a comma or quote is missing",
        cause: "The parser names the line and the column at which it could not go on.",
    },
    Row {
        name: "no root filesystem",
        call: "",
        errno: &[],
        when: When::Message("is not a directory"),
        hint: "unpack an image there, for example `umoci unpack`, or a busybox",
        cause: "`root.path` must be a directory: absolute, or relative to the bundle.",
    },
    Row {
        name: "id in use",
        call: "",
        errno: &[],
        when: When::Message("already exists"),
        hint: "choose another id, or `minicon delete ID` first",
        cause: "Ids are unique in one state directory; a stopped container keeps its id until it is deleted.",
    },
    Row {
        name: "no state directory",
        call: "mkdir",
        errno: &[Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOENT],
        when: When::Step("make the state directory"),
        hint: "choose another with --root; an ordinary user's is below $XDG_RUNTIME_DIR",
        cause: "minicon keeps a directory for each container, in `/run/minicon` unless told otherwise.",
    },
    // Descriptors.
    Row {
        name: "too many open files",
        call: "",
        errno: &[Errno::MFILE],
        when: When::Always,
        hint: "raise the limit of whoever calls minicon (ulimit -n); that of the container is process.rlimits",
        cause: "Creating a container takes some twenty descriptors at once.",
    },
    Row {
        name: "too many open files on the host",
        call: "",
        errno: &[Errno::NFILE],
        when: When::Always,
        hint: "the whole machine is at its limit: see /proc/sys/fs/file-max",
        cause: "The kernel counts the open files of all processes together.",
    },
    // Processes and namespaces.
    Row {
        name: "no more namespaces",
        call: "clone3",
        errno: &[Errno::NOSPC],
        when: When::Always,
        hint: "the limit of nested or existing namespaces is reached; see /proc/sys/user/max_*_namespaces",
        cause: "Each user may have so many namespaces of each kind, and user namespaces nest 32 deep at most.",
    },
    Row {
        name: "no more processes",
        call: "clone3",
        errno: &[Errno::AGAIN],
        when: When::Always,
        hint: "a limit on processes is reached; see pids.max of the cgroup and RLIMIT_NPROC",
        cause: "Init counts against the limits of the caller until it has joined its own cgroup, and of its own after that.",
    },
    Row {
        name: "namespaces without privileges",
        call: "clone3",
        errno: &[Errno::PERM],
        when: When::Always,
        hint: "creating namespaces needs CAP_SYS_ADMIN, or a new user namespace (linux.namespaces: user)",
        cause: "An ordinary user makes a user namespace first, with id maps, and has the rights inside.",
    },
    Row {
        name: "no right to enter the namespaces",
        call: "setns",
        errno: &[Errno::PERM],
        when: When::Step("join the container's namespaces"),
        hint: "an ordinary user can enter only a container of its own, and only once it has been started",
        cause: "Before that init still has what the runtime gave it, and lets nobody without privileges look into it.",
    },
    Row {
        name: "no right to enter the cgroup",
        call: "clone3",
        errno: &[Errno::ACCESS],
        when: When::Always,
        hint: "a process can be moved only below a cgroup of this user's own: enter the container from the cgroup in which it \
               was made, or make it with --systemd-cgroup, which has systemd move processes",
        cause: "Who moves a process needs to write cgroup.procs of the common ancestor: cgroups(7), delegation containment.",
    },
    Row {
        name: "cgroup with controllers for its children",
        call: "clone3",
        errno: &[Errno::BUSY],
        when: When::Always,
        hint: "the cgroup has controllers enabled for its children, so it takes no process itself: see cgroups(7), \
               no internal processes",
        cause: "On cgroup v2 processes are in the leaves only.",
    },
    Row {
        name: "threaded cgroup",
        call: "clone3",
        errno: &[Errno::OPNOTSUPP],
        when: When::Always,
        hint: "the cgroup is threaded, or its parent is: a process can only join a domain",
        cause: "See cgroups(7), thread mode.",
    },
    Row {
        name: "namespace of another kind",
        call: "",
        errno: &[],
        when: When::Message(" namespace, not "),
        hint: "name a path of this kind in /proc/PID/ns, or change the type",
        cause: "The path leads to a namespace, but not to one of the type that the configuration says.",
    },
    Row {
        name: "not a namespace",
        call: "",
        errno: &[],
        when: When::Message("is not a namespace"),
        hint: "name a path in /proc/PID/ns, or one that such a path is bound to",
        cause: "The path leads to an ordinary file.",
    },
    Row {
        name: "namespace is gone",
        call: "open",
        errno: &[Errno::NOENT],
        when: When::At("linux.namespaces"),
        hint: "the process or the bind mount that held the namespace is gone",
        cause: "A namespace lives as long as a process is inside or something holds it open.",
    },
    Row {
        name: "namespace that is the host's",
        call: "",
        errno: &[],
        when: When::Message("not allowed in the host's"),
        hint: "leave out the namespace's path to get a new one",
        cause: "What would be set in a namespace that the host is in itself would be set for the host.",
    },
    Row {
        name: "id maps overlap",
        call: "write",
        errno: &[Errno::INVAL],
        when: When::Step("write the id map"),
        hint: "ranges must not overlap, on either side, and a map has 340 lines at most",
        cause: "The kernel takes a map whole or not at all: user_namespaces(7).",
    },
    Row {
        name: "id maps of foreign ids",
        call: "write",
        errno: &[Errno::PERM],
        when: When::Step("write the id map"),
        hint: "the outside ids must be mapped in the caller's own user namespace",
        cause: "Nobody can give away ids that they do not have.",
    },
    Row {
        name: "id maps are not granted",
        call: "",
        errno: &[],
        when: When::Message("newuidmap: "),
        hint: "the ranges must be granted in /etc/subuid and /etc/subgid",
        cause: "An ordinary user may map its own id, and more only as subuid(5) and subgid(5) grant them.",
    },
    Row {
        name: "group id maps are not granted",
        call: "",
        errno: &[],
        when: When::Message("newgidmap: "),
        hint: "the ranges must be granted in /etc/subuid and /etc/subgid",
        cause: "An ordinary user may map its own id, and more only as subuid(5) and subgid(5) grant them.",
    },
    Row {
        name: "user is not mapped",
        call: "setresuid",
        errno: &[Errno::INVAL],
        when: When::Always,
        hint: "the user must be mapped by linux.uidMappings",
        cause: "An id that the user namespace does not map cannot be had inside.",
    },
    Row {
        name: "group is not mapped",
        call: "setresgid",
        errno: &[Errno::INVAL],
        when: When::Always,
        hint: "the group must be mapped by linux.gidMappings",
        cause: "An id that the user namespace does not map cannot be had inside.",
    },
    Row {
        name: "supplementary group is not mapped",
        call: "setgroups",
        errno: &[Errno::INVAL],
        when: When::Always,
        hint: "each of process.user.additionalGids must be mapped by linux.gidMappings",
        cause: "An id that the user namespace does not map cannot be had inside.",
    },
    // Cgroups.
    Row {
        name: "cgroup in use",
        call: "",
        errno: &[],
        when: When::Message("cgroup is not empty"),
        hint: "another container has this linux.cgroupsPath, or processes were left there: see its cgroup.procs",
        cause: "Limits and statistics are the container's own only if nobody else is inside.",
    },
    Row {
        name: "frozen cgroup",
        call: "",
        errno: &[],
        when: When::Message("cgroup unexpectedly frozen"),
        hint: "thaw it (freezer.state or cgroup.freeze), or choose another linux.cgroupsPath",
        cause: "Init would be frozen as soon as it joins, and create would wait for ever.",
    },
    Row {
        name: "no cgroup delegated",
        call: "mkdir",
        errno: &[Errno::ACCESS, Errno::PERM],
        when: When::Argument("cgroup"),
        hint: "this user may not create cgroups here: have one delegated (systemd: Delegate=yes in a unit of the user's), \
               or drop the limits",
        cause: "Limits need a cgroup, and who may make one is up to root or systemd.",
    },
    Row {
        name: "cannot move into the cgroup",
        call: "access",
        errno: &[Errno::ACCESS, Errno::PERM],
        when: When::Argument("cgroup"),
        hint: "a process can be moved only below a cgroup of this user's own: use --systemd-cgroup, or start from a \
               leaf of one that is delegated (systemd: Delegate=yes in a unit of the user's), or drop the limits",
        cause: "Who moves a process needs to write cgroup.procs of the common ancestor: cgroups(7), delegation containment.",
    },
    Row {
        name: "read-only cgroups",
        call: "",
        errno: &[Errno::ROFS],
        when: When::At("linux.cgroupsPath"),
        hint: "the cgroup file system is mounted read-only: mount it writable, or do without with --rootless true",
        cause: "Containers see it so; one inside a container needs it writable.",
    },
    Row {
        name: "too many cgroups below a parent",
        call: "mkdir",
        errno: &[Errno::AGAIN],
        when: When::At("linux.cgroupsPath"),
        hint: "cgroup.max.descendants or cgroup.max.depth of a parent is reached",
        cause: "Whoever delegated the parent has set how many cgroups may be below, and how deep.",
    },
    Row {
        name: "too many cgroups",
        call: "mkdir",
        errno: &[Errno::NOSPC],
        when: When::At("linux.cgroupsPath"),
        hint: "the kernel's limit of cgroups in this hierarchy is reached",
        cause: "Cgroups that were left behind count too: see /proc/cgroups.",
    },
    Row {
        name: "controller is missing",
        call: "",
        errno: &[],
        when: When::Message("needs the cgroup controller"),
        hint: "the kernel lacks it, or cgroup_disable= on its command line names it: see /proc/cgroups",
        cause: "A limit is written to a file of its controller, and no hierarchy of this machine has that.",
    },
    Row {
        name: "memory limit below what is in use",
        call: "write",
        errno: &[Errno::BUSY],
        when: When::At("linux.resources.memory"),
        hint: MEMORY_IN_USE,
        cause: "Init and its page tables count too.",
    },
    Row {
        name: "processors that are not there",
        call: "write",
        errno: &[Errno::INVAL, Errno::ACCESS, Errno::NOSPC, Errno::RANGE],
        when: When::At("linux.resources.cpu.cpus"),
        hint: CPUSET,
        cause: "A cpuset is a part of its parent's: see /sys/devices/system/cpu/online.",
    },
    Row {
        name: "killed for want of memory",
        call: "",
        errno: &[],
        when: When::Message("(possibly OOM-killed)"),
        hint: "give the container more memory",
        cause: "Init runs inside the limit before the program does; the kernel kills it where it has too little.",
    },
    Row {
        name: "killed by its filter",
        call: "",
        errno: &[],
        when: When::Message("killed by signal 31"),
        hint: "the filter forbids what init still has to do; with process.noNewPrivileges it is loaded last",
        cause: "SIGSYS: a seccomp rule kills for a call that comes between the filter and the exec.",
    },
    Row {
        name: "killed while it started the program",
        call: "",
        errno: &[],
        when: When::Message("init died while it started the program"),
        hint: "a seccomp filter must let the exec itself pass: execve",
        cause: "Init was there, and was gone before the program ran.",
    },
    // Mounts.
    Row {
        name: "source of a bind mount is missing",
        call: "open_tree",
        errno: &[Errno::NOENT],
        when: When::Step("mount "),
        hint: "the source is not there on the host",
        cause: "The source of a bind mount is looked up on the host; a relative one in the bundle.",
    },
    Row {
        name: "device is missing on the host",
        call: "open_tree",
        errno: &[Errno::NOENT],
        when: When::Step("bind the device"),
        hint: "the host must have this device at the same path",
        cause: "Without the right to make nodes the host's are bound.",
    },
    Row {
        name: "directory on a file",
        call: "openat2",
        errno: &[Errno::NOTDIR],
        when: When::Step("mount "),
        hint: "the source is a directory, the destination is a file or below one",
        cause: "A directory is mounted on a directory.",
    },
    Row {
        name: "file on a directory",
        call: "move_mount",
        errno: &[Errno::INVAL, Errno::NOTDIR],
        when: When::Step("mount "),
        hint: "the source is a file, is the destination a directory?",
        cause: "A file is mounted on a file.",
    },
    Row {
        name: "no mount point on a read-only file system",
        call: "mkdirat",
        errno: &[Errno::ROFS],
        when: When::Always,
        hint: "the file system is read-only: create the directory in the image, or mount there first",
        cause: "A missing mount point is made, where that is possible.",
    },
    Row {
        name: "no file to mount on, on a read-only file system",
        call: "openat",
        errno: &[Errno::ROFS],
        when: When::Step("mount "),
        hint: "the file system is read-only: create an empty file in the image, or mount a directory there first",
        cause: "A missing mount point is made, where that is possible.",
    },
    Row {
        name: "locked mount flags",
        call: "mount_setattr",
        errno: &[Errno::PERM],
        when: When::Step("mount "),
        hint: "in a user namespace a flag that the source's mount has (nosuid, nodev, noexec, ro, atime) is locked: name it too",
        cause: "What a mount of a more privileged namespace forbids cannot be allowed again: mount_namespaces(7).",
    },
    Row {
        name: "mount that knows no id maps",
        call: "mount_setattr",
        errno: &[Errno::INVAL],
        when: When::Step("map the ids of"),
        hint: "the file system of the source must support id-mapped mounts (tmpfs does from Linux 6.3)",
        cause: "Each file system must be prepared for it: mount_setattr(2).",
    },
    Row {
        name: "unknown file system",
        call: "fsopen",
        errno: &[Errno::NODEV],
        when: When::Always,
        hint: "the kernel knows no file system of this type, see /proc/filesystems; for a bind mount add the option \"bind\"",
        cause: "`mounts[].type` is passed to the kernel as it is.",
    },
    Row {
        name: "proc in a nested container",
        call: "",
        errno: &[Errno::PERM],
        when: When::Step("mount /proc"),
        hint: PROC,
        cause: "In a user namespace a new /proc must not show more than the one that is there: mount_namespaces(7), locked \
                mounts.",
    },
    Row {
        name: "sysfs without a network namespace",
        call: "",
        errno: &[Errno::PERM],
        when: When::Step("mount /sys"),
        hint: SYSFS,
        cause: "/sys shows network devices, so it belongs to the owner of the network namespace.",
    },
    Row {
        name: "mqueue without an IPC namespace",
        call: "",
        errno: &[Errno::PERM],
        when: When::Step("mount /dev/mqueue"),
        hint: MQUEUE,
        cause: "The queues belong to the owner of the IPC namespace.",
    },
    Row {
        name: "link where a mount may not follow",
        call: "",
        errno: &[],
        when: When::Message("must be an ordinary directory in the image"),
        hint: "a link there could lead writes of the runtime astray (CVE-2019-19921)",
        cause: "/proc and /sys are mounted on directories of the image only.",
    },
    Row {
        name: "another file where a device should be",
        call: "",
        errno: &[],
        when: When::Message("is another file than the device"),
        hint: "remove it from the image, or mount a tmpfs at /dev",
        cause: "A file that exists must be the device that is asked for: config-linux.md, Devices.",
    },
    Row {
        name: "no pivot_root in an initramfs",
        call: "pivot_root",
        errno: &[Errno::INVAL],
        when: When::Always,
        hint: "pivot_root cannot leave an initramfs; use --no-pivot there",
        cause: "The first root has no parent to be moved to: pivot_root(2).",
    },
    // Terminal.
    Row {
        name: "no console socket",
        call: "connect",
        errno: &[Errno::NOENT, Errno::CONNREFUSED],
        when: When::Step("connect to the console socket"),
        hint: "--console-socket takes an AF_UNIX socket that somebody listens on",
        cause: "Who listens gets the master side of the terminal.",
    },
    Row {
        name: "terminal without a console socket",
        call: "",
        errno: &[],
        when: When::Message("without setting console socket"),
        hint: "add --console-socket, or set process.terminal to false, or use run",
        cause: "create ends before the program runs, so somebody else must hold the terminal.",
    },
    Row {
        name: "console socket without a terminal",
        call: "",
        errno: &[],
        when: When::Message("cannot use console socket"),
        hint: "leave --console-socket out, or set process.terminal to true and create in the background",
        cause: "There is no terminal to hand over, or run keeps it for itself.",
    },
    Row {
        name: "no /dev/pts",
        call: "openat2",
        errno: &[Errno::NOENT],
        when: When::Argument("/dev/pts/ptmx"),
        hint: DEVPTS,
        cause: "A terminal of the container is one of its own /dev/pts: pts(4).",
    },
    // The program.
    Row {
        name: "working directory is missing",
        call: "chdir",
        errno: &[Errno::NOENT],
        when: When::At("process.cwd"),
        hint: "it is not in the image, and could not be made: is it on a read-only mount?",
        cause: "A missing working directory is made, where that is possible, as runc does.",
    },
    Row {
        name: "working directory is a file",
        call: "chdir",
        errno: &[Errno::NOTDIR],
        when: When::At("process.cwd"),
        hint: "process.cwd, or something above it, is no directory in the image",
        cause: "`process.cwd` must be a directory in the container.",
    },
    Row {
        name: "working directory is closed to the user",
        call: "chdir",
        errno: &[Errno::ACCESS],
        when: When::At("process.cwd"),
        hint: "the user may not pass through a directory on the way: chmod +x, in the image",
        cause: "It is entered as root first, and as the user where root may not.",
    },
    Row {
        name: "not found in $PATH",
        call: "",
        errno: &[],
        when: When::Message("executable file not found in $PATH"),
        hint: "is it in the image, and is PATH in process.env right?",
        cause: "A name without a slash is looked for in the directories of the container's PATH.",
    },
    Row {
        name: "program is missing",
        call: "",
        errno: &[],
        when: When::Message(": stat "),
        hint: "is it in the image?",
        cause: "A name with a slash is a path in the container, relative to process.cwd.",
    },
    Row {
        name: "program is a directory",
        call: "",
        errno: &[],
        when: When::Message(": is a directory: permission denied"),
        hint: "process.args[0] names a directory: name the program in it",
        cause: "Only files are executed.",
    },
    Row {
        name: "program may not be executed",
        call: "",
        errno: &[],
        when: When::Message(": permission denied"),
        hint: "the user needs the right to execute it, and its mount must not be noexec",
        cause: "Looked at as the user who will execute it.",
    },
    Row {
        name: "not an executable format",
        call: "execve",
        errno: &[Errno::NOEXEC],
        when: When::Always,
        hint: "not an executable format that this kernel knows: wrong architecture, or a script without a #! line",
        cause: "The kernel looks at the first bytes: execve(2), binfmt_misc.",
    },
    Row {
        name: "interpreter or loader is missing",
        call: "execve",
        errno: &[Errno::NOENT],
        when: When::Step("start the program"),
        hint: "the program exists, so its interpreter (the #! line or the ELF loader) is missing in the container",
        cause: "The kernel starts the interpreter in the program's stead, by the path that the program names.",
    },
    Row {
        name: "interpreter may not be executed",
        call: "execve",
        errno: &[Errno::ACCESS],
        when: When::Always,
        hint: "the program or its interpreter is not executable, or its mount is noexec",
        cause: "The program itself was looked at before, so it is most likely the interpreter.",
    },
    Row {
        name: "arguments are too long",
        call: "execve",
        errno: &[Errno::TOOBIG],
        when: When::Always,
        hint: "one argument or variable is longer than 128 KiB, or all together than a quarter of RLIMIT_STACK",
        cause: "See execve(2), limits on size of arguments and environment.",
    },
    Row {
        name: "no seccomp agent",
        call: "connect",
        errno: &[Errno::NOENT, Errno::CONNREFUSED],
        when: When::At("linux.seccomp.listenerPath"),
        hint: "no agent listens there; it must before the container is created",
        cause: "Calls with SCMP_ACT_NOTIFY wait for an agent to decide, so without one nothing would run: seccomp_unotify(2).",
    },
    // Limits and parameters.
    Row {
        name: "deadlines on some processors only",
        call: "sched_setattr",
        errno: &[Errno::PERM],
        when: When::Argument("policy: 6"),
        hint: "SCHED_DEADLINE needs CAP_SYS_NICE and all processors: leave linux.resources.cpu.cpus out",
        cause: "The kernel promises deadlines only to who may run on every processor of the system: sched_setattr(2).",
    },
    Row {
        name: "resource limit above one's own",
        call: "prlimit64",
        errno: &[Errno::PERM],
        when: When::Always,
        hint: "raising a hard limit needs CAP_SYS_RESOURCE: lower it, or raise the caller's (ulimit -H)",
        cause: "A container cannot have more than whoever makes it, without that right.",
    },
    Row {
        name: "OOM score below one's own",
        call: "write",
        errno: &[Errno::ACCESS, Errno::PERM],
        when: When::At("process.oomScoreAdj"),
        hint: "a value below the caller's needs CAP_SYS_RESOURCE",
        cause: "See proc_pid_oom_score_adj(5).",
    },
    Row {
        name: "parameter that is the host's",
        call: "",
        errno: &[],
        when: When::Message("is not in a separate kernel namespace"),
        hint: "set it on the host with sysctl(8), and leave it out here",
        cause: "Only parameters of the network, IPC and UTS namespaces are the container's own.",
    },
    Row {
        name: "parameter that this kernel lacks",
        call: "openat2",
        errno: &[Errno::NOENT],
        when: When::Step("set the kernel parameter"),
        hint: "this kernel does not have the parameter, or the namespace does not: see /proc/sys",
        cause: "A name of linux.sysctl is a file below /proc/sys.",
    },
    Row {
        name: "parameter with a wrong value",
        call: "write",
        errno: &[Errno::INVAL, Errno::RANGE],
        when: When::Step("set the kernel parameter"),
        hint: "the kernel refuses this value; it is written as it is in config.json",
        cause: "Each parameter has a range of its own: Documentation/admin-guide/sysctl of the kernel.",
    },
    // Hooks.
    Row {
        name: "hook is missing",
        call: "",
        errno: &[],
        when: When::Message("execve("),
        hint: "the hook's path is looked up on the host, for createContainer too; for startContainer in the container",
        cause: "config.md, POSIX-platform Hooks.",
    },
    Row {
        name: "hook takes too long",
        call: "",
        errno: &[],
        when: When::Message("hook ran past specified timeout"),
        hint: "it was killed; raise its timeout, which is in seconds, or find out what it waits for",
        cause: "A hook that waits for its stdin to end, or for a lock, does not end.",
    },
    Row {
        name: "hook fails",
        call: "",
        errno: &[],
        when: When::Message(" hook #"),
        hint: "what it wrote is above; a hook's environment is empty but for its env, so it may lack PATH",
        cause: "A hook that exits with anything but 0 ends the create: runtime.md, Lifecycle.",
    },
    // Network.
    Row {
        name: "network device is missing",
        call: "",
        errno: &[],
        when: When::Message("there is no network device"),
        hint: "see `ip link` on the host; a device that another container has is not there",
        cause: "linux.netDevices names devices of the host.",
    },
    // Labels.
    Row {
        name: "no AppArmor",
        call: "",
        errno: &[],
        when: When::Message("AppArmor is not enabled"),
        hint: "leave out process.apparmorProfile, or boot with apparmor=1 security=apparmor",
        cause: "A container that asks for confinement is not run without.",
    },
    Row {
        name: "no such AppArmor profile",
        call: "write",
        errno: &[Errno::NOENT],
        when: When::At("process.apparmorProfile"),
        hint: "the profile is not loaded: see /sys/kernel/security/apparmor/profiles, and apparmor_parser(8)",
        cause: "The kernel knows profiles by name only when they have been loaded.",
    },
    Row {
        name: "no SELinux",
        call: "",
        errno: &[],
        when: When::Message("SELinux is not enabled"),
        hint: "leave out process.selinuxLabel and linux.mountLabel, or boot with selinux=1",
        cause: "A container that asks for confinement is not run without.",
    },
];

/// The table as a page.
pub fn page() -> String {
    let mut page = String::from(
        "# Errors\n\nA failure names the step, the place in `config.json`, the failing call and, where something is known to \
         help, a hint:\n\n```\nminicon create failed: STEP: CALL(ARGUMENTS): ERRNO (its text)\n  config: PLACE\n  hint:   \
         HINT\n```\n\nThe first line stands alone. With `--log-format json` the same is one object with `step`, `config`, \
         `call`, `errno` and `hint`. This page is made from the table in `src/hints.rs`; `minicon check BUNDLE` finds much \
         of it before anything is done.\n",
    );
    for row in ROWS {
        let errno = row.errno.iter().map(|errno| crate::error::errno_name(errno.raw_os_error())).collect::<Vec<_>>();
        let when = match row.when {
            When::Always => String::new(),
            When::Step(words) => format!("step `{}…`", words),
            When::Argument(words) => format!("with `{words}`"),
            When::Message(words) => format!("`…{words}…`"),
            When::At(place) => format!("config `{place}…`"),
        };
        let call = match (row.call, errno.is_empty()) {
            (_, true) => String::new(),
            ("", false) => format!("any call: {}", errno.join(", ")),
            (call, false) => format!("`{call}`: {}", errno.join(", ")),
        };
        let signs = [call, when].into_iter().filter(|sign| !sign.is_empty()).collect::<Vec<_>>().join("; ");
        page.push_str(&format!("\n## {}\n\n{signs}\n\n{}\n\nHint: {}\n", row.name, row.cause, row.hint));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{ROWS, page};

    #[test]
    fn rows_have_names_of_their_own() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(!row.hint.is_empty() && row.cause.ends_with('.'), "{}", row.name);
        }
    }

    /// `UPDATE=1 cargo test --lib hints` writes it anew.
    #[test]
    fn the_page_is_up_to_date() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, page()).expect("written");
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), page());
    }
}
