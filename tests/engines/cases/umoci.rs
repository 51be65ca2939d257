//! Bundles that `umoci unpack` made, run by the runtime's own commands.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Case, exits, same};
use crate::engine::{Engine, Kind};
use crate::image::TAG;
use crate::process;

const UMOCI: &[Kind] = &[Kind::Umoci];

pub const CASES: &[Case] = &[
    Case { name: "run", by: UMOCI, check: run },
    Case { name: "run_on_terminal", by: UMOCI, check: run_on_terminal },
    Case { name: "run_rootless", by: UMOCI, check: run_rootless },
    Case { name: "life", by: UMOCI, check: life },
    Case { name: "repack", by: UMOCI, check: repack },
];

/// Unpacks the image into a new bundle and lets `change` have its config.json; the bundle's path.
fn bundle(e: &dyn Engine, name: &str, options: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    let path = e.path(name);
    e.ok(&format!("unpack {options} --image {}:{TAG} {path}", e.path("layout")))?;
    let file = format!("{path}/config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    change(&mut config);
    fs::write(&file, config.to_string())?;
    Ok(path)
}

/// umoci's template wants a terminal and a shell.
fn script(script: &'static str) -> impl FnOnce(&mut Value) {
    move |config| {
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(["sh", "-c", script]);
    }
}

fn run(e: &dyn Engine) -> Result<()> {
    let path = bundle(e, "bundle", "", script("echo $PATH; cat /etc/group | wc -l; exit 5"))?;
    let outcome = e.runtime(&["run", "--bundle", &path, "c"])?;
    same(&outcome.out, "/usr/bin:/bin\n3\n")?;
    exits(&outcome, 5)
}

/// The configuration as it is: a shell on a terminal, here with its input's end in the first line.
fn run_on_terminal(e: &dyn Engine) -> Result<()> {
    let path = bundle(e, "on-terminal", "", |config| {
        config["process"]["args"] = json!(["sh", "-c", "tty; test -t 0 && echo terminal; exit 6"]);
    })?;
    let mut command = e.world().enter(&["setsid", "--ctty"]);
    command.arg(&e.world().runtime).args(["--root", &e.path("state"), "run", "--bundle", &path, "c"]);
    let outcome = process::run_on_terminal(&mut command, 37, 111)?;
    same(&outcome.out, "/dev/pts/0\nterminal\n")?;
    exits(&outcome, 6)
}

/// A bundle of an ordinary user, whose own id is all that it maps.
fn run_rootless(e: &dyn Engine) -> Result<()> {
    let (home, id) = (e.path("user"), "64321");
    let enter = |program: &[&str]| {
        let mut command = e.world().enter(&[]);
        command.args(["setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--"]).args(program);
        command.env("HOME", &home).env("XDG_RUNTIME_DIR", &home);
        process::run(&mut command, "")
    };
    e.world().must(&["install", "-d", "-o", id, "-g", id, &home])?;
    let (image, path) = (format!("{}:{TAG}", e.path("layout")), format!("{home}/bundle"));
    exits(&enter(&["umoci", "unpack", "--rootless", "--image", &image, &path])?, 0)?;
    let file = format!("{path}/config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    script("id -u; tr -s ' ' < /proc/self/uid_map")(&mut config);
    fs::write(&file, config.to_string())?;
    let outcome = enter(&[&e.world().runtime.to_string_lossy(), "run", "--bundle", &path, "c"])?;
    exits(&outcome, 0)?;
    same(outcome.out, format!("0\n 0 {id} 1\n"))
}

/// create, state, start, exec, kill, delete.
fn life(e: &dyn Engine) -> Result<()> {
    let path = bundle(e, "living", "", script("exec sleep 50"))?;
    let must = |arguments: &[&str]| {
        let outcome = e.runtime(arguments)?;
        exits(&outcome, 0)?;
        Ok::<_, anyhow::Error>(outcome.out)
    };
    must(&["create", "--bundle", &path, "--pid-file", &e.path("pid"), "c"])?;
    let status = || {
        let state: Value = serde_json::from_str(&must(&["state", "c"])?)?;
        Ok::<_, anyhow::Error>(state["status"].as_str().unwrap_or_default().to_owned())
    };
    same(status()?, "created")?;
    must(&["start", "c"])?;
    same(status()?, "running")?;
    same(must(&["exec", "c", "cat", "/proc/1/comm"])?, "sleep\n")?;
    must(&["kill", "c", "KILL"])?;
    let stopped = process::until(std::time::Duration::from_secs(10), || {
        process::reap(None)?;
        Ok(status()? == "stopped")
    })?;
    ensure!(stopped, "it is {}", status()?);
    must(&["delete", "c"])?;
    ensure!(!Path::new(&e.path("state/c")).exists(), "its state is still there");
    Ok(())
}

/// What the container wrote is the new layer, and nothing the runtime made is in it.
fn repack(e: &dyn Engine) -> Result<()> {
    let path = bundle(e, "repacked", "", script("echo kept > /made"))?;
    exits(&e.runtime(&["run", "--bundle", &path, "c"])?, 0)?;
    e.ok(&format!("repack --image {}:more {path}", e.path("layout")))?;
    let again = e.path("again");
    e.ok(&format!("unpack --image {}:more {again}", e.path("layout")))?;
    same(fs::read_to_string(format!("{again}/rootfs/made"))?, "kept\n")?;
    let changed = e.inside(&["diff", "-rq", "--no-dereference", &format!("{again}/rootfs"), &e.path("image")])?;
    same(changed.out.trim(), format!("Only in {again}/rootfs: made"))
}
