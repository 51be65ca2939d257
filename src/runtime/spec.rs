//! `spec`: a configuration to start from, the same as runc's.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::cli;
use crate::error::{Error, Result};
use crate::plan::version;

/// The command.
pub fn write(options: &cli::Spec) -> Result<()> {
    let name = options.file.as_deref().unwrap_or(Path::new("config.json"));
    let file = options.bundle.clone().unwrap_or_default().join(name);
    let mut document = document();
    if !is_cgroup_v2() {
        leave_out(&mut document, "cgroup");
    }
    if options.rootless {
        make_rootless(&mut document);
    }
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(&document, &mut serializer).map_err(|error| Error::new(error.to_string()))?;
    text.push(b'\n');
    // A file that was named may be written over, as with crun; config.json is somebody's work.
    let by_name = options.file.is_some();
    let opened = OpenOptions::new().write(true).create(true).create_new(!by_name).truncate(by_name).open(&file);
    opened.and_then(|mut file| file.write_all(&text)).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::new("File config.json exists. Remove it first"),
        _ => Error::new(format!("write {}: {error}", file.display())),
    })
}

/// On v1 a cgroup namespace hides from a process in which cgroup it is, while its mounts still tell; so runc leaves it out.
fn is_cgroup_v2() -> bool {
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type == libc::CGROUP2_SUPER_MAGIC)
}

fn leave_out(document: &mut Value, kind: &str) {
    if let Some(namespaces) = document["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != kind);
    }
}

/// The default: a shell in new namespaces with three capabilities.
fn document() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let usual = json!(["nosuid", "noexec", "nodev"]);
    json!({
        "ociVersion": version::NEWEST,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "minicon",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": usual },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "cgroup" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// What a user without privileges cannot have: a network of its own with sysfs, groups beyond its own, cgroup limits.
fn make_rootless(document: &mut Value) {
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    document["linux"]["uidMappings"] = map(rustix::process::geteuid().as_raw());
    document["linux"]["gidMappings"] = map(rustix::process::getegid().as_raw());
    if let Some(linux) = document["linux"].as_object_mut() {
        linux.remove("resources");
    }
    leave_out(document, "network");
    if let Some(namespaces) = document["linux"]["namespaces"].as_array_mut() {
        namespaces.push(json!({ "type": "user" }));
    }
    for mount in document["mounts"].as_array_mut().into_iter().flatten() {
        match mount["destination"].as_str() {
            Some("/sys") => {
                *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
            }
            Some("/dev/pts") => {
                if let Some(options) = mount["options"].as_array_mut() {
                    options.retain(|option| option != "gid=5");
                }
            }
            _ => {}
        }
    }
}
