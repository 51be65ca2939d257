//! The image under test: a busybox root, as a tarball and as an OCI image.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process;

/// The image's name in the storage of an engine that gives names itself.
pub const NAME: &str = "localhost/busybox-test";

/// Its name in containerd, where a name is taken as it is.
pub const FULL_NAME: &str = "localhost/busybox-test:latest";

/// Its tag in an OCI layout.
pub const TAG: &str = "latest";

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

/// An OCI image layout (image-spec, image-layout.md) of the packed root in the directory `layout`; its path.
pub fn oci_layout(directory: &Path) -> Result<PathBuf> {
    let layout = directory.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let layer = add_blob(&blobs, &fs::read(pack(directory)?)?)?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"]},
        "history": [{"created_by": "the test"}],
        "rootfs": {"type": "layers", "diff_ids": [&layer.digest]}});
    let config = add_blob(&blobs, config.to_string().as_bytes())?;
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")]});
    let mut manifest =
        add_blob(&blobs, manifest.to_string().as_bytes())?.descriptor("application/vnd.oci.image.manifest.v1+json");
    // The first is what containerd looks for, the second what all others do.
    manifest["annotations"] = json!({"io.containerd.image.name": FULL_NAME, "org.opencontainers.image.ref.name": TAG});
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())?;
    fs::write(layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    Ok(layout)
}

/// The layout in one file; its path.
pub fn oci_archive(directory: &Path) -> Result<PathBuf> {
    let layout = oci_layout(directory)?;
    let archive = directory.join("layout.tar");
    let packed = process::run(Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg("."), "")?;
    ensure!(packed.code == 0, "tar: {}", packed.err);
    Ok(archive)
}

struct Blob {
    digest: String,
    size: usize,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size})
    }
}

/// Writes a blob under the name of its digest.
fn add_blob(blobs: &Path, bytes: &[u8]) -> Result<Blob> {
    let new = blobs.join("new");
    fs::write(&new, bytes)?;
    let sum = process::run(Command::new("sha256sum").arg(&new), "")?;
    let digest = sum.out.split(' ').next().filter(|digest| digest.len() == 64).context("sha256sum")?;
    fs::rename(&new, blobs.join(digest))?;
    Ok(Blob { digest: format!("sha256:{digest}"), size: bytes.len() })
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
