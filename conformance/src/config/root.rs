//! Specification version, root, hostname and domain name.

use anyhow::ensure;
use serde_json::json;

use crate::judge::same;
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, should};

const VERSION: &str = "config.md#configSpecificationVersion";
const ROOT: &str = "config.md#configRoot";
const SEMVER: &[&str] = &["**`ociVersion`** (string, REQUIRED) MUST be in [SemVer v2.0.0]"];

pub const TESTS: &[Row] = &[
    must("ociVersion.accepted", VERSION, SEMVER, versions_are_accepted),
    must("ociVersion.not-semver", VERSION, SEMVER, no_version),
    must("ociVersion.missing", VERSION, SEMVER, missing_version),
    must(
        "root.path.relative",
        ROOT,
        &["**`path`** (string, REQUIRED)", "On all other platforms, this field is REQUIRED."],
        relative,
    ),
    must("root.path.absolute", ROOT, &["**`root`** (object, OPTIONAL)", "**`path`** (string, REQUIRED)"], absolute),
    must("root.missing", ROOT, &["On all other platforms, this field is REQUIRED."], missing_root),
    must("root.path.exists", ROOT, &["A directory MUST exist at the path declared by the field."], must_exist),
    must("root.path.directory", ROOT, &["A directory MUST exist at the path declared by the field."], no_directory),
    should("root.path.conventional", ROOT, &["The value SHOULD be the conventional `rootfs`."], relative),
    must("root.readonly.true", ROOT, &["If true then the root filesystem MUST be read-only"], read_only),
    must("root.readonly.false", ROOT, &["inside the container, defaults to false."], writable),
    must("hostname", "config.md#configHostname", &["**`hostname`** (string, OPTIONAL)"], hostname),
    must("domainname", "config.md#configDomainname", &["**`domainname`** (string, OPTIONAL)"], domainname),
];

fn versions_are_accepted(lab: &Lab) -> Verdict {
    for version in ["1.0.0", "1.0.2", "1.0.2-dev"] {
        lab.container()?.set("/ociVersion", version).runs()?;
    }
    Ok(())
}

fn no_version(lab: &Lab) -> Verdict {
    for version in ["", "one", "1.0", "v1.0.0", "1.0.0.0"] {
        lab.container()?.set("/ociVersion", version).is_refused()?;
    }
    Ok(())
}

fn missing_version(lab: &Lab) -> Verdict {
    lab.container()?.unset("/ociVersion").is_refused()
}

fn relative(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/root/path", "rootfs").report(&["read=/marker"])?;
    same("the marker in the root", &report["read"]["/marker"], "inside")
}

fn absolute(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    let path = container.rootfs("");
    let report = container.set("/root/path", json!(path)).report(&["read=/marker"])?;
    same("the marker in the root", &report["read"]["/marker"], "inside")
}

fn missing_root(lab: &Lab) -> Verdict {
    lab.container()?.unset("/root").is_refused()
}

fn must_exist(lab: &Lab) -> Verdict {
    lab.container()?.set("/root/path", "nowhere").is_refused()
}

fn no_directory(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    std::fs::write(container.dir.join("file"), "")?;
    container.set("/root/path", "file").is_refused()
}

fn read_only(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/root/readonly", true).report(&["write=/", "write=/marker", "write=/bin"])?;
    for path in ["/", "/marker", "/bin"] {
        let error = report["write"][path]["error"].as_str().unwrap_or("nothing");
        ensure!(error.contains("EROFS") || error.contains("Read-only"), "writing to {path} gives {error}");
    }
    Ok(())
}

fn writable(lab: &Lab) -> Verdict {
    let report = lab.container()?.report(&["write=/", "write=/marker"])?;
    same("writing to /", &report["write"]["/"], true)?;
    same("writing to /marker", &report["write"]["/marker"], true)
}

fn hostname(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/hostname", "mrsdalloway").report(&["uts"])?;
    same("the hostname", &report["uts"]["hostname"], "mrsdalloway")
}

fn domainname(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/domainname", "foobarbaz.test").report(&["uts"])?;
    same("the domain name", &report["uts"]["domainname"], "foobarbaz.test")
}
