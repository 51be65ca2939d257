//! Which runtime podman is to call.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

/// The runtime's path: `RUNTIME`, else `MINICON`, else the newest of the optimised builds.
///
/// # Errors
/// When what the environment names does not exist, or nothing is built.
pub fn find() -> Result<PathBuf> {
    for variable in ["RUNTIME", "MINICON"] {
        if let Some(value) = env::var_os(variable) {
            // podman looks names up in its own table of runtimes; only an absolute path is surely the file we mean.
            return fs::canonicalize(&value).with_context(|| format!("{variable}={}", value.display()));
        }
    }
    let target = target_directory()?;
    let candidates = ["release", "quick"].map(|profile| target.join(profile).join("minicon"));
    let newest = candidates.iter().filter_map(|path| Some((built(path)?, path))).max();
    let Some((_, path)) = newest else {
        bail!(
            "minicon is not built: there is neither {} nor {}; run `cargo build --profile quick`, or set RUNTIME",
            candidates[0].display(),
            candidates[1].display()
        );
    };
    Ok(path.clone())
}

/// The target directory this test was built into, which is how CARGO_TARGET_DIR and cargo's config are respected.
fn target_directory() -> Result<PathBuf> {
    let program = env::current_exe()?;
    // TARGET/PROFILE/deps/engines-HASH
    let target = program.ancestors().nth(3).map(Path::to_path_buf);
    let target = target.with_context(|| format!("{} is in no target directory", program.display()))?;
    ensure!(target.is_dir(), "{} is not a directory", target.display());
    Ok(target)
}

fn built(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
