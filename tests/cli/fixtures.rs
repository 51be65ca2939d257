//! What real engines wrote, run: the documents of tests/fixtures/captured with the paths that a test can supply.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::Test;

/// The names of the documents that can run; the rootless one joins the namespaces of a process that is gone, so its
/// namespaces are new here.
const DOCUMENTS: [&str; 9] = [
    "buildah",
    "ctr-seccomp",
    "docker-swarm",
    "docker",
    "podman-rootful",
    "podman-rootless",
    "podman-tty",
    "podman-userns",
    "umoci",
];

fn document(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/captured/{name}.config.json"));
    serde_json::from_slice(&fs::read(file).expect("the document")).expect("JSON")
}

/// Replaces what only existed where the document was written: the root, the sources of bind mounts, namespaces by path,
/// the engine's own hook. Everything else stays as the engine wrote it.
fn supply(t: &Test, document: &mut Value, rootfs: &Path, id: &str) {
    document["root"]["path"] = json!(rootfs);
    document["process"]["args"] = json!(["sh", "-c", "echo ran as $(id -u); grep -c . /proc/self/mountinfo"]);
    document["process"]["terminal"] = json!(false);
    if document["linux"]["cgroupsPath"].is_string() {
        document["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    }
    for namespace in document["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        namespace.as_object_mut().expect("an object").remove("path");
    }
    for mount in document["mounts"].as_array_mut().into_iter().flatten() {
        let source = mount["source"].as_str().map(PathBuf::from).unwrap_or_default();
        if source.is_absolute() && source != Path::new("/sys") {
            let name = source.file_name().expect("a name").to_string_lossy().into_owned();
            mount["source"] = json!(if name == "shm" { t.directory(&name) } else { t.file(&name, "supplied\n") });
        }
    }
    for hook in document["hooks"]["prestart"].as_array_mut().into_iter().flatten() {
        *hook = json!({ "path": "/bin/cat" });
    }
}

/// Engines give the root filesystem of a user namespace to the user that is root in it.
fn give_to_mapped_root(config: &Value, path: &Path) {
    let Some(owner) = config["linux"]["uidMappings"][0]["hostID"].as_u64() else { return };
    std::os::unix::fs::lchown(path, Some(owner as u32), Some(owner as u32)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).expect("a directory").flatten().for_each(|entry| give_to_mapped_root(config, &entry.path()));
    }
}

#[test]
fn what_engines_wrote_runs() {
    for name in DOCUMENTS {
        let t = Test::new();
        let mut b = t.bundle(&["true"]).own_rootfs();
        b.config = document(name);
        let (rootfs, id) = (b.rootfs(), b.id.clone());
        supply(&t, &mut b.config, &rootfs, &id);
        give_to_mapped_root(&b.config, &rootfs);
        let output = b.run().ok();
        assert!(output.stdout.starts_with("ran as 0\n"), "{name}: {}", output.stdout);
        b.is_gone();
    }
}
