//! The image under test: a busybox root, imported into podman's storage.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process;

/// The image's name in podman's storage.
pub const NAME: &str = "localhost/busybox-test";

/// What a login and podman's `--user NAME` look up.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\nextra:x:2000:app\n";

/// Builds the root file system in `directory` and packs it; the tarball's path.
pub fn pack(directory: &Path) -> Result<PathBuf> {
    let root = directory.join("image");
    build(&root)?;
    let tarball = directory.join("image.tar");
    let packed = process::run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tarball).arg("."), "")?;
    ensure!(packed.code == 0, "tar: {}", packed.err);
    Ok(tarball)
}

/// A root file system of busybox and its names, also unpacked for `podman run --rootfs`.
pub fn build(root: &Path) -> Result<()> {
    for name in ["bin", "dev", "etc", "home/app", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "var"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists());
    let busybox = busybox.context("there is no busybox: apt-get install busybox-static")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    let applets = process::run(Command::new(busybox).arg("--list"), "")?.out;
    for applet in applets.lines().filter(|&applet| applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/group"), GROUP)?;
    // A file that may not be executed, and a script whose interpreter is missing: the two ways to 126 and 127.
    fs::write(root.join("bin/not-executable"), "#!/bin/sh\n")?;
    fs::set_permissions(root.join("bin/not-executable"), Permissions::from_mode(0o644))?;
    fs::write(root.join("bin/no-interpreter"), "#!/bin/nowhere\n")?;
    fs::set_permissions(root.join("bin/no-interpreter"), Permissions::from_mode(0o755))?;
    Ok(())
}
