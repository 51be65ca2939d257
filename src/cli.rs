//! Every flag and subcommand; no logic, which is in [`parse`](self::parse()). Names and meanings are runc's, so that
//! engines notice no difference.

mod diagnose;
mod help;
#[doc(hidden)] // Public for fuzz/.
pub mod parse;

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, FromArgMatches};

pub use self::diagnose::{Check, Explain, Trace};
pub use self::help::{examples_of, tree};
pub use self::parse::{called, parse};

/// Flags before the subcommand.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Directory of the containers' state [default: /run/minicon; rootless: $XDG_RUNTIME_DIR/minicon]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Where messages go: a file, journald: or syslog: [default: stderr]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Format of messages: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: String,
    /// The least grave message that is written: error, warning or debug [default: warning]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Write messages for debugging, as --log-level debug
    #[arg(long)]
    pub debug: bool,
    /// Make cgroups through systemd; cgroupsPath is then slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Who makes cgroups: cgroupfs, systemd or disabled (none of its own) [default: cgroupfs]
    #[arg(long, value_name = "MANAGER")]
    pub cgroup_manager: Option<String>,
    /// Tolerate cgroup permission errors: true, false or auto
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub rootless: String,
    /// File to append each step to, and how long it took [default: $MINICON_TRACE]
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// tree, json (lines) or chrome (for Perfetto) [default: by the name: .jsonl, .json]
    #[arg(long, value_name = "FORMAT")]
    pub trace_format: Option<String>,
    /// Refuse what the specification does, also where engines rely on more
    #[arg(long)]
    pub strict: bool,
}

/// Flags that create and run share.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Directory with config.json [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Configuration to use instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// AF_UNIX socket that receives the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// AF_UNIX socket that receives a pidfd of init
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// File to write init's pid to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root (for an initramfs)
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Hand N further file descriptors, from 3 on, to the container
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub create: Create,
    /// Leave the container in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Keep the container when it has exited
    #[arg(long)]
    pub keep: bool,
    /// Do not become the reaper of the container's orphans
    #[arg(long)]
    pub no_subreaper: bool,
}

/// A command that only needs a container.
#[derive(Debug, Clone, Args)]
pub struct One {
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `kill`.
#[derive(Debug, Clone, Args)]
pub struct Kill {
    /// Signal every process of the container
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// ID is a regular expression: signal every container whose name it matches
    #[arg(short, long)]
    pub regex: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Number or name, with or without SIG
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", allow_hyphen_values = true)]
    pub signal: String,
}

/// `delete`.
#[derive(Debug, Clone, Args)]
pub struct Delete {
    /// Kill the container first if it runs
    #[arg(short, long)]
    pub force: bool,
    /// ID is a regular expression: delete every container whose name it matches
    #[arg(short, long)]
    pub regex: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `exec`.
#[derive(Debug, Clone, Args)]
pub struct Exec {
    /// AF_UNIX socket that receives the master of the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// AF_UNIX socket that receives a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Environment variable NAME=VALUE, may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Allocate a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// User, as UID or UID:GID
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Supplementary group, may be repeated
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<String>,
    /// File with the process as JSON, as in config.json
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Leave the process in the background
    #[arg(short, long)]
    pub detach: bool,
    /// File to write the process's pid to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// Capability to add, may be repeated
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Hand N further file descriptors, from 3 on, to the process
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Cgroup below the container's to run in, may be repeated
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub cgroup: Vec<String>,
    /// Execute even if the container is paused
    #[arg(long)]
    pub ignore_paused: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// What `checkpoint` and `restore` share: most of it is for criu, see criu(8).
#[derive(Debug, Clone, Args)]
pub struct Criu {
    /// Directory of the image files [default: ./checkpoint]
    #[arg(long, value_name = "DIR")]
    pub image_path: Option<PathBuf>,
    /// Directory of criu's logs and temporary files [default: that of the image files]
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Save and restore open TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// Save and restore one end of UNIX sockets whose other is outside
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Save and restore a program whose session or terminal is the caller's
    #[arg(long)]
    pub shell_job: bool,
    /// Save and restore file locks
    #[arg(long)]
    pub file_locks: bool,
    /// What criu does about cgroups: soft, full, strict or ignore [default: soft]
    #[arg(long, value_name = "MODE")]
    pub manage_cgroups_mode: Option<String>,
    /// Make a namespace but leave it empty: network, as it is always
    #[arg(long, value_name = "NAMESPACE")]
    pub empty_ns: Vec<String>,
    /// Leave out of older images what a newer one holds
    #[arg(long)]
    pub auto_dedup: bool,
    /// Fetch memory only when it is used, see userfaultfd(2)
    #[arg(long)]
    pub lazy_pages: bool,
    /// How the network is held meanwhile: iptables, nftables or skip
    #[arg(long, value_name = "METHOD")]
    pub network_lock: Option<String>,
}

/// `checkpoint`.
#[derive(Debug, Clone, Args)]
pub struct Checkpoint {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub criu: Criu,
    /// Directory of the images of an earlier pre-dump, relative to the image path
    #[arg(long, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,
    /// Leave the container running
    #[arg(long)]
    pub leave_running: bool,
    /// Leave out TCP connections that are being made
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Give open files without a name one for the time being
    #[arg(long)]
    pub link_remap: bool,
    /// Descriptor that a NUL byte is written to when lazy pages can be fetched
    #[arg(long, value_name = "FD", default_value_t = -1, allow_negative_numbers = true)]
    pub status_fd: i32,
    /// Send memory to a criu page-server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Save memory only, and leave the container running
    #[arg(long)]
    pub pre_dump: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `restore`.
#[derive(Debug, Clone, Args)]
pub struct Restore {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub criu: Criu,
    /// Directory with config.json [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// AF_UNIX socket that receives the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Leave the container in the background
    #[arg(short, long)]
    pub detach: bool,
    /// File to write init's pid to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not become the reaper of the container's orphans
    #[arg(long)]
    pub no_subreaper: bool,
    /// Do not use pivot_root (for an initramfs)
    #[arg(long)]
    pub no_pivot: bool,
    /// Label of a security module, as TYPE:NAME
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// SELinux context of the mounts
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
    /// Restore TCP sockets closed
    #[arg(long)]
    pub tcp_close: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `update`. The values are text, as runc takes them: an empty one counts as not given.
#[derive(Debug, Clone, Default, Args)]
pub struct Update {
    /// File with the resources as JSON, as in config.json, or - for stdin; all other flags are then ignored
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    pub resources: Option<String>,
    /// Weight of block I/O, from 10 to 1000
    #[arg(long, value_name = "WEIGHT", allow_hyphen_values = true)]
    pub blkio_weight: Option<String>,
    /// Period of the CPU quota, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub cpu_period: Option<String>,
    /// CPU time in each period, in microseconds; -1 for no limit
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub cpu_quota: Option<String>,
    /// CPU time that may be saved up for a burst, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub cpu_burst: Option<String>,
    /// CPU shares, relative to other containers
    #[arg(long, value_name = "SHARES", allow_hyphen_values = true)]
    pub cpu_share: Option<String>,
    /// Period of the realtime quota, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub cpu_rt_period: Option<String>,
    /// Realtime CPU time in each period, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<String>,
    /// 1 to run only when nothing else does (SCHED_IDLE), 0 not to
    #[arg(long, value_name = "0|1", allow_hyphen_values = true)]
    pub cpu_idle: Option<String>,
    /// Processors to run on, such as 0-2,7
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to allocate from
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub cpuset_mems: Option<String>,
    /// Obsolete and ignored
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub kernel_memory: Option<String>,
    /// Obsolete and ignored
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub kernel_memory_tcp: Option<String>,
    /// Limit of memory, such as 512m; -1 for none, of swap neither
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory that is kept when the host runs short
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Limit of memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Limit of processes; -1 for none
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<String>,
    /// Schema of the level 3 cache, for Intel RDT
    #[arg(long, value_name = "SCHEMA", allow_hyphen_values = true)]
    pub l3_cache_schema: Option<String>,
    /// Schema of memory bandwidth, for Intel RDT
    #[arg(long, value_name = "SCHEMA", allow_hyphen_values = true)]
    pub mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `events`.
#[derive(Debug, Clone, Args)]
pub struct Events {
    /// Time between two statistics, such as 500ms or 1m30s
    #[arg(long, value_name = "DURATION", default_value = "5s", allow_hyphen_values = true)]
    pub interval: String,
    /// Print the statistics once
    #[arg(long)]
    pub stats: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `ps`.
#[derive(Debug, Clone, Args)]
pub struct Ps {
    /// table or json
    #[arg(short, long, default_value = "table")]
    pub format: String,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Options of ps(1) [default: -ef]
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// `list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// table or json
    #[arg(short, long, default_value = "table")]
    pub format: String,
    /// Only the names
    #[arg(short, long)]
    pub quiet: bool,
}

/// `spec`.
#[derive(Debug, Clone, Args)]
pub struct Spec {
    /// Directory to write config.json into [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// File to write instead, over what is there
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// For a user without privileges
    #[arg(long)]
    pub rootless: bool,
}

/// `features`.
#[derive(Debug, Clone, Args)]
pub struct Features {}

/// A subcommand with its flags.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Action {
    Create(Create),
    Start(One),
    State(One),
    Kill(Kill),
    Delete(Delete),
    Run(Run),
    Exec(Box<Exec>),
    Checkpoint(Box<Checkpoint>),
    Restore(Box<Restore>),
    Pause(One),
    Resume(One),
    Update(Box<Update>),
    Events(Events),
    Ps(Ps),
    List(List),
    Spec(Spec),
    Features(Features),
    Explain(Explain),
    Check(Check),
    Trace(Trace),
    Version,
}

/// One row a subcommand: its name, what it does, its flags, and how they are read.
struct Entry {
    name: &'static str,
    about: &'static str,
    /// How many words without a dash, in runc's words.
    arguments: &'static str,
    flags: fn(Command) -> Command,
    read: fn(&ArgMatches) -> Result<Action, clap::Error>,
}

macro_rules! entry {
    ($name:literal, $about:literal, $arguments:expr, $flags:ty, $make:expr) => {
        Entry {
            name: $name,
            about: $about,
            arguments: $arguments,
            flags: <$flags as Args>::augment_args,
            read: |matches| <$flags as FromArgMatches>::from_arg_matches(matches).map($make),
        }
    };
}

const EXACTLY_ONE: &str = "exactly 1 argument(s)";

const ENTRIES: &[Entry] = &[
    entry!(
        "create",
        "Make a container from a bundle; its program waits for start",
        EXACTLY_ONE,
        Create,
        Action::Create
    ),
    entry!("start", "Start the program of a created container", EXACTLY_ONE, One, Action::Start),
    entry!("state", "Print the state of a container as JSON", EXACTLY_ONE, One, Action::State),
    entry!(
        "kill",
        "Send a signal to a container's init",
        "a minimum of 1 argument(s) and a maximum of 2 argument(s)",
        Kill,
        Action::Kill
    ),
    entry!("delete", "Remove a stopped container", EXACTLY_ONE, Delete, Action::Delete),
    entry!("run", "Create and start a container, wait for it and delete it", EXACTLY_ONE, Run, Action::Run),
    entry!("exec", "Execute another program in a running container", "a minimum of 1 argument(s)", Exec, |exec| {
        Action::Exec(Box::new(exec))
    }),
    entry!("checkpoint", "Save a running container into files, with criu", EXACTLY_ONE, Checkpoint, |checkpoint| {
        Action::Checkpoint(Box::new(checkpoint))
    }),
    entry!("restore", "Make a container again from saved files, with criu", EXACTLY_ONE, Restore, |restore| {
        Action::Restore(Box::new(restore))
    }),
    entry!("pause", "Stop every process of a container where it stands", EXACTLY_ONE, One, Action::Pause),
    entry!("resume", "Let the processes of a paused container go on", EXACTLY_ONE, One, Action::Resume),
    entry!("update", "Change the limits of a container", EXACTLY_ONE, Update, |update| {
        Action::Update(Box::new(update))
    }),
    entry!("events", "Print statistics and out-of-memory events of a container", EXACTLY_ONE, Events, Action::Events),
    entry!("ps", "Show the processes of a container", "a minimum of 1 argument(s)", Ps, Action::Ps),
    entry!("list", "List the containers", "exactly 0 argument(s)", List, Action::List),
    entry!("spec", "Write a config.json to start from", "exactly 0 argument(s)", Spec, Action::Spec),
    entry!(
        "explain",
        "Print, step by step, what create and start will do; does nothing",
        "a maximum of 1 argument(s)",
        Explain,
        Action::Explain
    ),
    entry!(
        "check",
        "Tell what would fail on this machine, and the remedy; does nothing",
        "a maximum of 1 argument(s)",
        Check,
        Action::Check
    ),
    entry!("trace", "Draw what --trace has recorded", EXACTLY_ONE, Trace, Action::Trace),
    entry!("features", "Print what this runtime supports as JSON", "exactly 0 argument(s)", Features, Action::Features),
];
