//! The executor of device rules that are more than writes: on v2 an eBPF program, on v1 a change of what a running
//! container may use. In both, nobody is refused meanwhile what is allowed before and after.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::limits::LastFile;
use super::{Cgroup, Member, Presence, files};
use crate::call;
use crate::error::{Context, Error, Result};
use crate::plan::cgroup::{CgroupPlan, DeviceControl, FileWrite};
use crate::plan::device_list::{self, DeviceList};
use crate::plan::device_program::Instruction;
use crate::plan::device_rules::{DEVICES, STEP};
use crate::plan::steps::id;
use crate::sys::bpf;
use crate::trace;

/// How our programs are called: by this we know them among those of others (systemd's, an administrator's).
const NAME: &str = "minicon_devices";

impl Cgroup {
    pub(super) fn control_devices(&self, plan: &CgroupPlan) -> Result<()> {
        match &plan.devices {
            None => Ok(()),
            Some(control) => trace::step(|| id::CGROUP_DEVICES, || self.control(control)),
        }
    }

    fn control(&self, control: &DeviceControl) -> Result<()> {
        let (directory, result) = match control {
            DeviceControl::Program { directory, program } => {
                (directory, self.members.get(*directory).map(|member| enforce(program, member)))
            }
            DeviceControl::List { directory, wanted } => {
                (directory, self.members.get(*directory).map(|member| self.change_list(*directory, wanted, member)))
            }
        };
        result.unwrap_or_else(|| Err(Error::new(format!("there is no cgroup {directory}")))).step(|| STEP).at(DEVICES)
    }

    /// Writes what `devices.list` has too little and too much. Where it has to be begun anew the processes stand still
    /// meanwhile, if they can be made to.
    fn change_list(&self, directory: usize, wanted: &DeviceList, member: &Member) -> Result<()> {
        let list = member.path.join("devices.list");
        let before = files::read(&list)?;
        let change = device_list::change(directory, &before, wanted);
        let frozen_here = change.still && !self.is_frozen()? && self.freeze().is_ok();
        let mut result = self.write_all(&change.writes);
        let before = device_list::parse(&before);
        // Of "everything but" we do not know the exceptions: better denied than allowed again.
        if result.is_err() && !before.allow {
            let undone = files::read(&list).map(|now| device_list::change(directory, &now, &before));
            // The failure that led here is the one to report.
            let _ = undone.and_then(|change| self.write_all(&change.writes));
        }
        if frozen_here {
            result = result.and(self.thaw());
        }
        result
    }

    fn write_all(&self, writes: &[FileWrite]) -> Result<()> {
        let mut last = LastFile::default();
        writes.iter().try_for_each(|write| self.write_one(write, &mut last))
    }
}

/// Attaches the program, in place of our earlier one if there is one.
///
/// All programs of a cgroup must allow what a process does, so with a new one beside the old both would restrict it,
/// and with the old one taken away first none would. The kernel replaces it between two of its questions.
fn enforce(program: &[Instruction], member: &Member) -> Result<()> {
    // Another update can replace the program that we have just found.
    const ATTEMPTS: usize = 16;
    if member.presence == Presence::Absent {
        return Err(Error::new("the cgroup is missing"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&member.path, flags, Mode::empty());
    let cgroup = call!("open"(member.path.display()) => opened)?;
    let program = load(program)?;
    let mut attempts = 1;
    loop {
        // A new directory has none.
        let ours = if member.presence == Presence::New { None } else { find_ours(cgroup.as_fd())? };
        match bpf::attach(cgroup.as_fd(), program.as_fd(), ours.as_ref().map(OwnedFd::as_fd)) {
            Err(error) if ours.is_some() && error.errno() == Some(Errno::NOENT) && attempts < ATTEMPTS => attempts += 1,
            result => return result.map_err(explain_attach),
        }
    }
}

/// Others' programs, and those that we may not open, stay as they are: they can only restrict further.
fn find_ours(cgroup: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    for id in bpf::query(cgroup)? {
        match bpf::open(id).and_then(|program| Ok((bpf::name(program.as_fd())?, program))) {
            Ok((name, program)) if name == NAME => return Ok(Some(program)),
            Err(error) if !files::is_gone(&error) && !files::is_permission(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}

fn load(program: &[Instruction]) -> Result<OwnedFd> {
    let error = match bpf::load(program, NAME, &mut []) {
        Err(error) if error.errno() == Some(Errno::PERM) => match load_unlimited(program) {
            Ok(program) => return Ok(program),
            Err(_) => return Err(error.hint(MAY_NOT)),
        },
        Err(error) => error,
        loaded => return loaded,
    };
    let hint = match error.errno() {
        Some(Errno::NOSYS) => "this kernel has no eBPF: it needs CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF".to_owned(),
        Some(Errno::INVAL | Errno::ACCESS | Errno::TOOBIG | Errno::NOSPC) => match verifier_log(program) {
            log if log.is_empty() => "device rules on cgroup v2 need a kernel with CONFIG_CGROUP_BPF".to_owned(),
            log => format!("the verifier says: {log}"),
        },
        _ => return Err(error),
    };
    Err(error.hint(hint))
}

const MAY_NOT: &str = "device rules on cgroup v2 need CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, in the first user \
                       namespace; in a user namespace run minicon as rootless, which goes without them";

/// Before Linux 5.11, programs count against RLIMIT_MEMLOCK, all those of a user together, and too many are EPERM too.
fn load_unlimited(program: &[Instruction]) -> Result<OwnedFd> {
    let before = getrlimit(Resource::Memlock);
    let unlimited = Rlimit { current: None, maximum: None };
    call!("setrlimit"("RLIMIT_MEMLOCK", "unlimited") => setrlimit(Resource::Memlock, unlimited))?;
    let loaded = bpf::load(program, NAME, &mut []);
    // Hooks and what else we start have the limit that we had.
    call!("setrlimit"("RLIMIT_MEMLOCK") => setrlimit(Resource::Memlock, before))?;
    loaded
}

/// What the verifier says about a program that it refuses, on one line; nothing if it was not asked.
fn verifier_log(program: &[Instruction]) -> String {
    let mut log = vec![0; 1 << 16];
    let _ = bpf::load(program, NAME, &mut log);
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let last: Vec<&str> = text.lines().filter(|line| !line.starts_with("processed ")).collect();
    last[last.len().saturating_sub(3)..].join("; ")
}

fn explain_attach(error: Error) -> Error {
    let hint = match error.errno() {
        Some(Errno::PERM) => {
            "not allowed, or a program that does not share (without BPF_F_ALLOW_MULTI) is attached here or to a parent"
        }
        Some(Errno::TOOBIG) => "64 programs are attached to this cgroup, which is the most",
        Some(Errno::INVAL) => "the kernel has no CONFIG_CGROUP_BPF, or cannot replace programs (before Linux 5.6)",
        _ => return error,
    };
    error.hint(hint)
}
