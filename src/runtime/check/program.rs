//! The program of a bundle, as far as the image tells: found as `PATH` says, executable, for this processor, with its
//! loader or interpreter. What a mount brings cannot be seen before it is made.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Report;
use crate::plan::rootfs::What;
use crate::plan::{Plan, Program};
use crate::root::{self, Root};

/// Looks for argv[0].
pub fn look(report: &mut Report, plan: &Plan, program: &Program, root: &Root) {
    let identity = &program.identity;
    let name = identity.argv[0].to_string_lossy().into_owned();
    let environment = identity.environment.iter().map(|variable| variable.to_string_lossy());
    let path = environment.filter_map(|variable| variable.strip_prefix("PATH=").map(str::to_owned)).next();
    let candidates: Vec<PathBuf> = match name.contains('/') {
        true => vec![identity.cwd.join(&name)],
        false => path
            .as_deref()
            .unwrap_or("/bin:/usr/bin")
            .split(':')
            .map(|one| identity.cwd.join(one).join(&name))
            .collect(),
    };
    if candidates.iter().any(|candidate| is_covered(plan, candidate)) {
        return report.fine("program", format!("{name:?} may come from a mount"));
    }
    let found = candidates.iter().find_map(|candidate| Some((candidate, root.find(candidate).ok().flatten()?)));
    let Some((path, file)) = found else {
        report.failure("program", format!("{name:?} is not in the image"), "see process.args, and PATH in process.env");
        return report.at("process.args[0]");
    };
    let is_executable = root::stat(&file).is_ok_and(|stat| !root::is_directory(&stat) && stat.st_mode & 0o111 != 0);
    if !is_executable {
        report.failure("program", format!("{} cannot be executed", path.display()), "chmod +x, in the image");
        return report.at("process.args[0]");
    }
    match head(&file) {
        Some(head) => format(report, path, &head, root),
        None => report.fine("program", format!("{} cannot be read by us", path.display())),
    }
}

/// Whether a mount lies over the path, or above it.
fn is_covered(plan: &Plan, path: &Path) -> bool {
    let steps = plan.rootfs.furnish.iter();
    steps
        .filter_map(|step| if let What::Mount(mount) = &step.what { Some(mount) } else { None })
        .any(|mount| path.starts_with(&mount.destination))
}

/// The beginning of a file that is open as a place.
fn head(place: &OwnedFd) -> Option<Vec<u8>> {
    let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).ok()?;
    let mut head = Vec::new();
    file.take(64 * 1024).read_to_end(&mut head).ok()?;
    Some(head)
}

fn format(report: &mut Report, path: &Path, head: &[u8], root: &Root) {
    let shown = path.display();
    let needed = if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let words = String::from_utf8_lossy(line).into_owned();
        words.split_whitespace().next().map(str::to_owned)
    } else if head.starts_with(b"\x7fELF") {
        let machine = number(head, 18, 2);
        if machine != native() {
            report.failure(
                "program",
                format!("{shown} is for another processor (ELF machine {machine})"),
                "use an image for this one, or binfmt_misc with QEMU",
            );
            return report.at("process.args[0]");
        }
        loader(head)
    } else {
        report.failure(
            "program",
            format!("{shown} is neither ELF nor a script with #!"),
            "the kernel will answer ENOEXEC, unless binfmt_misc knows it",
        );
        return report.at("process.args[0]");
    };
    match needed.filter(|needed| root.find(Path::new(needed)).ok().flatten().is_none()) {
        None => report.fine("program", shown.to_string()),
        Some(needed) => {
            report.failure(
                "program",
                format!("{shown} needs {needed}, which is not in the image"),
                "the exec will say ENOENT: add it to the image, or link statically",
            );
            report.at("process.args[0]");
        }
    }
}

/// elf(5): EM_X86_64, EM_AARCH64.
const fn native() -> u64 {
    if cfg!(target_arch = "x86_64") { 62 } else { 183 }
}

/// The loader that a 64-bit program names (PT_INTERP), if it does.
fn loader(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let (table, size, count) = (number(head, 32, 8), number(head, 54, 2), number(head, 56, 2));
    let entry = |index: u64| usize::try_from(table + index * size).ok();
    let entry = (0..count).filter_map(entry).find(|entry| number(head, *entry, 4) == PT_INTERP)?;
    let (start, length) = (number(head, entry + 8, 8) as usize, number(head, entry + 32, 8) as usize);
    let name = head.get(start..start.checked_add(length)?)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

/// A little-endian number; 0 beyond the end.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = at.checked_add(length).and_then(|end| bytes.get(at..end)).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::loader;

    #[test]
    fn the_loader_of_a_program() {
        let mut elf = vec![0; 200];
        elf[32] = 64; // the table of segments
        (elf[54], elf[56]) = (56, 1);
        elf[64] = 3; // PT_INTERP
        (elf[72], elf[96]) = (150, 10);
        elf[150..160].copy_from_slice(b"/lib/ld.1\0");
        assert_eq!(loader(&elf).as_deref(), Some("/lib/ld.1"));
        elf[96] = 255;
        assert_eq!(loader(&elf), None);
        assert_eq!(loader(b"\x7fELF"), None);
    }
}
