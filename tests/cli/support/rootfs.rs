//! The root filesystem of the tests: busybox and the few files that a user database needs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, chown};

const BUSYBOX: &str = "/bin/busybox";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n";
const GROUP: &str = "root:x:0:\nann:x:1000:\ntape:x:26:ann\n";

/// The one that tests share because they do not write to it. It is kept from run to run.
pub fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rootfs");
        let _ = fs::remove_dir_all(&path);
        make(&path);
        path
    })
}

/// Makes one at a path that does not exist yet.
pub fn make(path: &Path) {
    for directory in ["bin", "dev", "etc", "home/ann", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin"] {
        fs::create_dir_all(path.join(directory)).expect("a directory of the root filesystem");
    }
    fs::set_permissions(path.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    chown(&path.join("home/ann"), Some(Uid::from_raw(1000)), Some(Gid::from_raw(1000))).expect("chown");
    fs::write(path.join("etc/passwd"), PASSWD).expect("passwd");
    fs::write(path.join("etc/group"), GROUP).expect("group");
    fs::copy(BUSYBOX, path.join("bin/busybox")).expect("the tests need /bin/busybox of Debian's busybox-static");
    for applet in applets() {
        let _ = symlink("busybox", path.join("bin").join(applet));
    }
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let output = std::process::Command::new(BUSYBOX).arg("--list").output().expect("busybox --list");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    })
}
