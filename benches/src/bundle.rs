//! The bundles: what `spec` writes, and one as podman writes it, with limits and namespaces of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Where the root filesystem of all bundles is; it is shared, so that it is in the page cache for all alike.
#[derive(Debug, Clone)]
pub struct Makings {
    pub rootfs: PathBuf,
    pub real: PathBuf,
    /// What minicon's `spec` has written.
    pub spec: Value,
    /// A directory on a tmpfs: the disk is not what is compared.
    pub below: PathBuf,
    /// Whether limits can be set in this view.
    pub limits: bool,
}

#[derive(Debug, Clone)]
pub struct Bundle {
    /// `spec` or `real`: what the floor is told.
    pub kind: &'static str,
    directory: String,
    pub config: Value,
}

impl Makings {
    /// A bundle whose program is this one, with changes to its configuration.
    pub fn bundle(
        &self,
        kind: &'static str,
        name: &str,
        args: &[&str],
        change: impl FnOnce(&mut Value),
    ) -> Result<Bundle, String> {
        let directory = self.below.join(name);
        let mut config = match kind {
            "spec" => self.spec.clone(),
            _ => read(&self.real)?,
        };
        fs::create_dir_all(directory.join("shm")).map_err(|error| error.to_string())?;
        for file in ["hosts", "hostname", "resolv.conf", ".containerenv"] {
            fs::write(directory.join(file), "").map_err(|error| error.to_string())?;
        }
        config["process"]["args"] = json!(args);
        config["process"]["terminal"] = json!(false);
        // What runtimes of some years ago know.
        config["ociVersion"] = json!("1.0.2");
        config["root"]["path"] = json!(self.rootfs);
        for mount in config["mounts"].as_array_mut().into_iter().flatten().filter(|mount| mount["type"] == "bind") {
            mount["source"] = json!(directory.join(mount["source"].as_str().unwrap_or_default()));
        }
        if !self.limits {
            for limit in ["memory", "pids", "cpu"] {
                config["linux"]["resources"].as_object_mut().map(|resources| resources.remove(limit));
            }
        }
        change(&mut config);
        // For the floor, which has no configuration to read the place of the root from.
        let root = directory.join("rootfs");
        if !root.exists() {
            symlink(&self.rootfs, &root).map_err(|error| format!("{}: {error}", root.display()))?;
        }
        let bundle = Bundle { kind, directory: directory.to_string_lossy().into_owned(), config };
        bundle.write()?;
        Ok(bundle)
    }

    pub fn plain(&self, kind: &'static str) -> Result<Bundle, String> {
        self.bundle(kind, kind, &["/bin/true"], |_| ())
    }

    pub fn sleeping(&self, kind: &'static str) -> Result<Bundle, String> {
        self.bundle(kind, &format!("{kind}.sleep"), &["/bin/sleep", "3600"], |_| ())
    }
}

impl Bundle {
    pub fn path(&self) -> &str {
        &self.directory
    }

    pub fn write(&self) -> Result<(), String> {
        let path = Path::new(&self.directory).join("config.json");
        fs::write(&path, self.config.to_string()).map_err(|error| format!("{}: {error}", path.display()))
    }
}

pub fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}
