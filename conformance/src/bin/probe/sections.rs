//! The sections of a report, one function each. Where a system call tells a thing it is asked, not /proc: there may be
//! none.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Result;
use caps::CapSet;
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getgroups, getpgrp, getpid, getppid, getresgid, getresuid, getsid, isatty, ttyname};
use procfs::process::{MountInfo, MountOptFields, Process};
use serde_json::{Map, Value, json};

use crate::sys;

type Section = fn() -> Result<Value>;

pub const SECTIONS: &[(&str, Section)] = &[
    ("process", process),
    ("user", user),
    ("args", || Ok(json!(texts(std::env::args_os())))),
    ("env", environment),
    ("capabilities", capabilities),
    ("privileges", privileges),
    ("signals", signals),
    ("rlimits", rlimits),
    ("oom_score_adj", || Ok(json!(Process::myself()?.oom_score_adj()?))),
    ("uts", uts),
    ("namespaces", namespaces),
    ("id_maps", id_maps),
    ("mounts", mounts),
    ("cgroups", cgroups),
    ("fds", fds),
    ("terminals", terminals),
    ("clocks", clocks),
    ("scheduling", scheduling),
    ("io_priority", io_priority),
    ("memory_policy", memory_policy),
    ("personality", || Ok(json!(u64::from_str_radix(&line("/proc/self/personality")?, 16)?))),
    ("keyring", keyring),
];

fn process() -> Result<Value> {
    Ok(json!({
        "pid": getpid().as_raw(),
        "ppid": getppid().as_raw(),
        "pgid": getpgrp().as_raw(),
        "sid": getsid(None)?.as_raw(),
        "cwd": std::env::current_dir().ok(),
        "exe": fs::read_link("/proc/self/exe").ok(),
        "comm": prctl::get_name()?.to_string_lossy(),
        "dumpable": prctl::get_dumpable()?,
        "child_subreaper": prctl::get_child_subreaper()?,
        "parent_death_signal": prctl::get_pdeathsig()?.map(|signal| signal.as_str()),
        "threads": fs::read_dir("/proc/self/task").ok().map(Iterator::count),
    }))
}

fn user() -> Result<Value> {
    let (uids, gids) = (getresuid()?, getresgid()?);
    let groups: Vec<u32> = getgroups()?.iter().map(|group| group.as_raw()).collect();
    let mask = umask(Mode::empty());
    umask(mask);
    Ok(json!({
        "uid": { "real": uids.real.as_raw(), "effective": uids.effective.as_raw(), "saved": uids.saved.as_raw() },
        "gid": { "real": gids.real.as_raw(), "effective": gids.effective.as_raw(), "saved": gids.saved.as_raw() },
        "groups": groups,
        "umask": format!("{:04o}", mask.bits()),
    }))
}

/// In order and with duplicates, as a list, because a map would hide both.
fn environment() -> Result<Value> {
    Ok(json!(texts(std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }))))
}

/// Each set as names and, for the capabilities that are newer than the list of names, as the kernel's mask.
fn capabilities() -> Result<Value> {
    let status = Process::myself().and_then(|process| process.status()).ok();
    let mask = |pick: fn(&procfs::process::Status) -> Option<u64>| {
        status.as_ref().and_then(pick).map(|bits| format!("{bits:016x}"))
    };
    let sets = [
        ("bounding", CapSet::Bounding, mask(|s| s.capbnd)),
        ("effective", CapSet::Effective, mask(|s| Some(s.capeff))),
        ("permitted", CapSet::Permitted, mask(|s| Some(s.capprm))),
        ("inheritable", CapSet::Inheritable, mask(|s| Some(s.capinh))),
        ("ambient", CapSet::Ambient, mask(|s| s.capamb)),
    ];
    let mut report = Map::new();
    for (name, set, mask) in sets {
        let mut names: Vec<String> = caps::read(None, set)?.iter().map(ToString::to_string).collect();
        names.sort();
        report.insert(name.into(), json!({ "names": names, "mask": mask }));
    }
    Ok(Value::Object(report))
}

fn privileges() -> Result<Value> {
    Ok(json!({
        "no_new_privs": prctl::get_no_new_privs()?,
        "keep_caps": prctl::get_keepcaps()?,
        "seccomp": status_field("Seccomp"),
        "seccomp_filters": status_field("Seccomp_filters"),
        "lsm_label": line("/proc/self/attr/current").ok(),
    }))
}

fn signals() -> Result<Value> {
    let status = Process::myself()?.status()?;
    let names = |bits: u64| -> Vec<u32> { (1..=64).filter(|signal| bits >> (signal - 1) & 1 == 1).collect() };
    Ok(json!({
        "blocked": names(status.sigblk),
        "ignored": names(status.sigign),
        "pending": names(status.sigpnd | status.shdpnd),
    }))
}

fn rlimits() -> Result<Value> {
    const KINDS: [(&str, Resource); 16] = [
        ("RLIMIT_AS", Resource::RLIMIT_AS),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", Resource::RLIMIT_NICE),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
        ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK),
    ];
    let amount = |limit| if limit == RLIM_INFINITY { json!("unlimited") } else { json!(limit) };
    let mut report = Map::new();
    for (name, kind) in KINDS {
        let (soft, hard) = getrlimit(kind)?;
        report.insert(name.into(), json!({ "soft": amount(soft), "hard": amount(hard) }));
    }
    Ok(Value::Object(report))
}

fn uts() -> Result<Value> {
    let names = nix::sys::utsname::uname()?;
    let text = |name: &OsStr| name.to_string_lossy().into_owned();
    Ok(json!({
        "hostname": text(names.nodename()),
        "domainname": text(names.domainname()),
        "machine": text(names.machine()),
    }))
}

fn namespaces() -> Result<Value> {
    let mut report = Map::new();
    for entry in fs::read_dir("/proc/self/ns")? {
        let entry = entry?;
        report.insert(entry.file_name().to_string_lossy().into_owned(), json!(fs::read_link(entry.path())?));
    }
    Ok(Value::Object(report))
}

fn id_maps() -> Result<Value> {
    let map = |path| -> Result<Vec<Vec<u64>>> {
        let text = fs::read_to_string(path)?;
        text.lines().map(|row| row.split_whitespace().map(|word| Ok(word.parse()?)).collect()).collect()
    };
    Ok(json!({
        "uid": map("/proc/self/uid_map")?,
        "gid": map("/proc/self/gid_map")?,
        "setgroups": line("/proc/self/setgroups")?,
    }))
}

fn mounts() -> Result<Value> {
    let mounts = Process::myself()?.mountinfo()?;
    Ok(mounts.iter().map(mount).collect())
}

fn mount(mount: &MountInfo) -> Value {
    let peer = |pick: fn(&MountOptFields) -> Option<u32>| mount.opt_fields.iter().find_map(pick);
    json!({
        "id": mount.mnt_id,
        "parent": mount.pid,
        "device": mount.majmin,
        "root": mount.root,
        "destination": mount.mount_point,
        "options": options(&mount.mount_options),
        "shared": peer(|field| match field { MountOptFields::Shared(group) => Some(*group), _ => None }),
        "slave_of": peer(|field| match field { MountOptFields::Master(group) => Some(*group), _ => None }),
        "unbindable": mount.opt_fields.iter().any(|field| matches!(field, MountOptFields::Unbindable)),
        "type": mount.fs_type,
        "source": mount.mount_source,
        "super_options": options(&mount.super_options),
    })
}

fn options(options: &HashMap<String, Option<String>>) -> Vec<String> {
    let join = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    let mut list: Vec<String> = options.iter().map(join).collect();
    list.sort();
    list
}

fn cgroups() -> Result<Value> {
    let cgroups = Process::myself()?.cgroups()?;
    let tell = |group: &procfs::ProcessCGroup| json!({ "hierarchy": group.hierarchy, "controllers": group.controllers, "path": group.pathname });
    Ok(cgroups.0.iter().map(tell).collect())
}

/// Open files but the one that lists them, by number.
fn fds() -> Result<Value> {
    let list: PathBuf = format!("/proc/{}/fd", getpid()).into();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let number: i32 = entry?.file_name().to_string_lossy().parse()?;
        // Also gone by the time it is asked: whatever read_dir used.
        let Ok(target) = fs::read_link(format!("/proc/self/fd/{number}")) else { continue };
        if target == list {
            continue;
        }
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let field = |name: &str| info.lines().find_map(|row| Some(row.strip_prefix(name)?.trim().to_owned()));
        found.push((
            number,
            json!({
                "fd": number,
                "target": target,
                "flags": field("flags:"),
                "mount": field("mnt_id:"),
            }),
        ));
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, fd)| fd).collect())
}

fn terminals() -> Result<Value> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut report = Map::new();
    for (name, fd) in [("stdin", stdin.as_fd()), ("stdout", stdout.as_fd()), ("stderr", stderr.as_fd())] {
        let size = sys::window_size(fd).ok();
        report.insert(
            name.into(),
            json!({
                "terminal": isatty(fd).unwrap_or(false),
                "name": ttyname(fd).ok(),
                "rows": size.map(|size| size.0),
                "columns": size.map(|size| size.1),
            }),
        );
    }
    report.insert("controlling".into(), json!(fs::File::open("/dev/tty").is_ok()));
    Ok(Value::Object(report))
}

fn clocks() -> Result<Value> {
    let offsets = fs::read_to_string("/proc/self/timens_offsets").ok();
    let row = |row: &str| -> Option<(String, Value)> {
        let mut words = row.split_whitespace();
        let name = words.next()?.to_owned();
        let numbers: Vec<i64> = words.filter_map(|word| word.parse().ok()).collect();
        Some((name, json!({ "secs": numbers.first()?, "nanosecs": numbers.get(1)? })))
    };
    let offsets: Option<Map<String, Value>> = offsets.map(|text| text.lines().filter_map(row).collect());
    Ok(json!({
        "offsets": offsets,
        "monotonic": sys::clock(libc::CLOCK_MONOTONIC)?,
        "boottime": sys::clock(libc::CLOCK_BOOTTIME)?,
    }))
}

fn scheduling() -> Result<Value> {
    let attr = sys::sched_attr()?;
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect();
    let policy = match attr.sched_policy {
        0 => "SCHED_OTHER",
        1 => "SCHED_FIFO",
        2 => "SCHED_RR",
        3 => "SCHED_BATCH",
        5 => "SCHED_IDLE",
        6 => "SCHED_DEADLINE",
        7 => "SCHED_EXT",
        _ => "unknown",
    };
    Ok(json!({
        "policy": policy,
        "flags": attr.sched_flags,
        "nice": attr.sched_nice,
        "priority": attr.sched_priority,
        "runtime": attr.sched_runtime,
        "deadline": attr.sched_deadline,
        "period": attr.sched_period,
        "cpus": cpus,
    }))
}

fn io_priority() -> Result<Value> {
    let (class, level) = sys::ioprio()?;
    let name = match class {
        0 => "IOPRIO_CLASS_NONE",
        1 => "IOPRIO_CLASS_RT",
        2 => "IOPRIO_CLASS_BE",
        3 => "IOPRIO_CLASS_IDLE",
        _ => "unknown",
    };
    Ok(json!({ "class": name, "priority": level }))
}

/// Modes as in set_mempolicy(2); the high bits are the MPOL_F_ flags.
fn memory_policy() -> Result<Value> {
    const NAMES: [&str; 7] = [
        "MPOL_DEFAULT",
        "MPOL_PREFERRED",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_LOCAL",
        "MPOL_PREFERRED_MANY",
        "MPOL_WEIGHTED_INTERLEAVE",
    ];
    let (mode, nodes) = sys::memory_policy()?;
    let name = usize::try_from(mode & 0x1fff).ok().and_then(|index| NAMES.get(index)).copied();
    Ok(json!({ "mode": name.unwrap_or("unknown"), "flags": mode & !0x1fff, "nodes": nodes }))
}

fn keyring() -> Result<Value> {
    let (id, description) = sys::session_keyring()?;
    Ok(json!({ "session": id, "description": description }))
}

/// A field of /proc/self/status that procfs has no name for, or that must not cost the section if it is missing.
fn status_field(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|row| row.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

fn line(path: impl AsRef<Path>) -> Result<String> {
    Ok(fs::read_to_string(path)?.trim_end_matches(['\n', '\0']).to_owned())
}

fn texts(words: impl Iterator<Item = std::ffi::OsString>) -> Vec<String> {
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}
