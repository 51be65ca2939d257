//! The parts of a report that name a path: `stat=`, `read=`, `write=`, `open=`, `mknod=`, `sysctl=`.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Result, bail};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, major, makedev, minor, mknod};
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};

/// What is to be told of one path. The outer error is for a key that does not exist, the inner for the path.
pub fn look(key: &str, value: &str) -> Result<Result<Value>> {
    Ok(match key {
        "stat" => stat(Path::new(value)),
        "read" => read(Path::new(value)),
        "write" => write(Path::new(value)),
        "open" => open(value),
        "mknod" => make_node(value),
        "sysctl" => read(&sysctl_path(value)),
        _ => bail!("{key}: no such key"),
    })
}

fn stat(path: &Path) -> Result<Value> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let name = match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "link",
        () if kind.is_char_device() => "character device",
        () if kind.is_block_device() => "block device",
        () if kind.is_fifo() => "fifo",
        () => "socket",
    };
    let device = kind.is_char_device() || kind.is_block_device();
    Ok(json!({
        "kind": name,
        "mode": format!("{:04o}", meta.mode() & 0o7777),
        "uid": meta.uid(),
        "gid": meta.gid(),
        "size": meta.size(),
        "inode": meta.ino(),
        "on": format!("{}:{}", major(meta.dev()), minor(meta.dev())),
        "device": device.then(|| format!("{}:{}", major(meta.rdev()), minor(meta.rdev()))),
        "target": fs::read_link(path).ok(),
        "entries": fs::read_dir(path).ok().filter(|_| kind.is_dir()).map(Iterator::count),
    }))
}

/// A file's text without its last newline, or a directory's names in order.
fn read(path: &Path) -> Result<Value> {
    if fs::metadata(path)?.is_dir() {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        return Ok(json!(names));
    }
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    Ok(json!(text.strip_suffix('\n').unwrap_or(&text)))
}

/// Nothing is changed: a file is opened and closed again, and of a directory access(2) is asked, which also knows
/// read-only mounts (EROFS).
fn write(path: &Path) -> Result<Value> {
    if fs::metadata(path)?.is_dir() {
        access(path, AccessFlags::W_OK)?;
    } else {
        OpenOptions::new().write(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits()).open(path)?;
    }
    Ok(json!(true))
}

/// Unlike `write`, also of devices that are no use without reading, and without a look at what is there.
fn open(value: &str) -> Result<Value> {
    let Some((mode, path)) = value.split_once(':') else { bail!("open=MODE:PATH") };
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let (read, write) = (mode.contains('r'), mode.contains('w'));
    OpenOptions::new().read(read).write(write).custom_flags(flags).open(path)?;
    Ok(json!(true))
}

fn make_node(value: &str) -> Result<Value> {
    let mut parts = value.splitn(3, ':');
    let (Some(first), Some(second), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        bail!("mknod=MAJOR:MINOR:PATH")
    };
    let device = makedev(first.parse()?, second.parse()?);
    mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, device)?;
    Ok(json!(true))
}

/// `net.ipv4.ip_forward` or `net/ipv4/ip_forward`; the latter for names with dots in them (sysctl.d(5)).
fn sysctl_path(name: &str) -> std::path::PathBuf {
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    Path::new("/proc/sys").join(path)
}
