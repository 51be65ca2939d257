//! Destinations of mounts that lead out.

use std::fs;
use std::os::unix::fs::symlink;

use crate::Verdict;
use crate::decoy::{Decoy, MARK};
use crate::support::{Bundle, Test};

pub const SEARCH: &str = "grep -rl \"the host's own words\" /vol /out 2>/dev/null; true";

/// Runs it; whatever came of it, the host's file was not seen and the decoy is as it was.
pub fn run_and_judge(b: &Bundle<'_>, decoy: &Decoy) -> Verdict {
    let output = b.run();
    match output.stdout.is_empty() && !output.stderr.contains(MARK) {
        true => decoy.verdict(),
        false => Verdict::Vulnerable(format!("seen inside: {}", output.stdout)),
    }
}

/// `destination` goes through a link to the host, absolute or from below, and through `..` behind a link.
pub fn a_link_in_a_destination() -> Verdict {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    let source = t.directory("source");
    for target in decoy.targets("x") {
        for destination in ["/out/lnk/new", "/out/lnk/../new", "/out/lnk"] {
            let b = t.sh(SEARCH).own_rootfs().mount("bind", &source, destination, &["bind"]);
            fs::create_dir(b.rootfs().join("out")).expect("mkdir");
            symlink(&target, b.rootfs().join("out/lnk")).expect("symlink");
            let verdict = run_and_judge(&b, &decoy);
            if verdict != Verdict::Holds {
                return verdict;
            }
        }
    }
    Verdict::Holds
}

/// The proxy: a volume where the destination of the next mount is a link to the host already.
pub fn a_destination_is_swapped() -> Verdict {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    let volume = t.directory("volume");
    symlink(decoy.dir.join("x"), volume.join("b")).expect("symlink");
    let b = t.sh(SEARCH).own_rootfs().mount("bind", &volume, "/vol", &["bind"]);
    let b = (0..16).fold(b, |b, n| b.mount("tmpfs", "tmpfs", &format!("/vol/b/{n}"), &[]));
    run_and_judge(&b, &decoy)
}

/// The directories of a destination are made; one of them is a link to the host.
pub fn directories_through_a_link() -> Verdict {
    let t = Test::new();
    let decoy = Decoy::new(&t);
    let volume = t.directory("volume");
    symlink(&decoy.dir, volume.join("b")).expect("symlink");
    let b = t.sh(SEARCH).own_rootfs().mount("bind", &volume, "/vol", &["bind"]);
    let b = b.mount("bind", t.directory("source"), "/vol/b/new/deeper", &["bind"]);
    let b = b.mount("bind", "/etc/hostname", "/vol/b/made/file", &["bind", "ro"]);
    run_and_judge(&b, &decoy)
}
