//! The lifecycle up to `created`, and the create operation.

use std::fs;

use serde_json::json;

use crate::host;
use crate::judge::{holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const LIFECYCLE: &str = "runtime.md#runtimeLifecycle";
const CREATE: &str = "runtime.md#runtimeCreate";
const UNIQUE: &[&str] = &["If the ID provided is not unique across all containers within the scope of the runtime"];
const NOT_RUN: &[&str] =
    &["MUST be created, the user-specified program (from [`process`](config.md#process)) MUST NOT be run"];
const NOT_PROVIDED: &[&str] = &["if it is not provided a path to the bundle and the container ID"];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("lifecycle.scope", "runtime.md#runtimeScopeContainer", &["MUST be able to use the operations defined in this specification"], whole_life),
    must("lifecycle.environment", LIFECYCLE, &["The container's runtime environment MUST be created according to the configuration"], environment),
    must("lifecycle.environment.impossible", LIFECYCLE, &["If the runtime is unable to create the environment specified"], impossible),
    must("lifecycle.program.waits", LIFECYCLE, NOT_RUN, program_waits),
    must("lifecycle.config.updates", LIFECYCLE, &["after this step MUST NOT affect the container."], config_changes),
    must("lifecycle.program.runs", LIFECYCLE, &["The runtime MUST run the user-specified program, as specified by"], program_runs),
    must("lifecycle.destroyed", LIFECYCLE, &["The container MUST be destroyed by undoing the steps"], destroyed),
    must("create", CREATE, &["This operation MUST create a new container."], creates),
    must("create.no-id", CREATE, NOT_PROVIDED, no_id),
    must("create.no-bundle", CREATE, NOT_PROVIDED, no_bundle),
    must("create.id.used", CREATE, UNIQUE, used_id),
    must("create.id.slash", CREATE, UNIQUE, shared).with(invalid_id, "a/b"),
    must("create.id.parent", CREATE, UNIQUE, shared).with(invalid_id, ".."),
    must("create.id.empty", CREATE, UNIQUE, shared).with(invalid_id, ""),
    must("create.applies", CREATE, &["All of the properties configured in [`config.json`](config.md) except for [`process`]"], applies),
    must("create.args", CREATE, &["MUST NOT be applied until triggered by the [`start`](#start) operation."], program_waits),
    must("create.cannot-apply", CREATE, &["If the runtime cannot apply a property as specified in the [configuration]"], cannot_apply),
];

fn whole_life(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    container.state()?;
    container.start()?.ok()?;
    container.stop()?;
    container.delete()?.ok()?;
    container.is_gone()
}

/// What can be seen of a created container from outside, before its program runs.
fn environment(lab: &Lab) -> Verdict {
    let container = lab.container()?.mount("tmpfs", "here", "/place", &[]);
    container.create()?.ok()?;
    for name in ["pid", "net", "ipc", "uts", "mnt"] {
        let (own, inside) = (format!("/proc/self/ns/{name}"), container.proc(&format!("ns/{name}"))?);
        holds(&format!("the {name} namespace is new"), fs::read_link(own)? != fs::read_link(inside)?)?;
    }
    let mounts = fs::read_to_string(container.proc("mountinfo")?)?;
    holds("the mounts are made", mounts.lines().any(|line| line.contains(" /place ") && line.contains(" here ")))?;
    holds("the root is its own", container.proc("root/marker")?.exists())
}

fn impossible(lab: &Lab) -> Verdict {
    lab.container()?.mount("bind", "/no/such/source", "/place", &["bind"]).is_refused()
}

fn program_waits(lab: &Lab) -> Verdict {
    let container = lab.container()?.share().probe(&["hook", "/share/log", "program"]);
    container.create()?.ok()?;
    std::thread::sleep(std::time::Duration::from_millis(50));
    holds("the program has not run", !lab.path("share/log").exists())?;
    same("the status", &container.status()?, "created")?;
    container.start()?.ok()?;
    container.becomes("stopped")?;
    holds("the program has run after start", lab.path("share/log").exists())
}

fn config_changes(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/hostname", "before").share().probe(&["report", "uts", "args"]);
    let output = container.create()?.ok()?;
    container.clone().set("/hostname", "after").probe(&["report", "uts", "env"]).write()?;
    container.start()?.ok()?;
    container.becomes("stopped")?;
    let report = output.json()?;
    same("the hostname", &report["uts"]["hostname"], "before")?;
    same("the arguments", &report["args"][3], "args")?;
    fs::remove_file(container.dir.join("config.json"))?;
    same("the status without config.json", &container.status()?, "stopped")?;
    container.delete()?.ok()?;
    Ok(())
}

fn program_runs(lab: &Lab) -> Verdict {
    let container = lab.container()?.probe(&["echo", "here"]);
    let output = container.up()?;
    container.becomes("stopped")?;
    same("what it printed", &output.stdout(), "here\n")
}

fn destroyed(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.up()?;
    let pid = container.pid()?;
    container.stop()?;
    container.delete()?.ok()?;
    container.is_gone()?;
    let left = host::cgroups_with(&container.id);
    holds(&format!("no cgroup is left: {left:?}"), left.is_empty())?;
    holds("no process is left", host::descendants().into_iter().all(|other| i64::from(other) != pid))
}

fn creates(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.create()?.ok()?;
    same("the status", &container.status()?, "created")
}

fn no_id(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.write()?;
    lab.runtime(["create", "--bundle"]).arg(&container.dir).run()?.refused("create without an id")
}

/// On the command line, runtimes take the current directory for it: here, one that is no bundle.
fn no_bundle(lab: &Lab) -> Verdict {
    std::env::set_current_dir(lab.path("share"))?;
    let id = lab.new_id();
    lab.runtime(["create", &id]).run()?.refused("create without a bundle")?;
    lab.runtime(["create", "--bundle", "/no/such/bundle", &id]).run()?.refused("a bundle that does not exist")?;
    lab.runtime(["state", &id]).run()?.refused("state of what was not created")
}

fn used_id(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    container.up()?;
    let before = container.state()?;
    container.create()?.refused("an id that is used")?;
    same("the state of the first", &container.state()?, before)
}

fn invalid_id(lab: &Lab, id: &'static str) -> Verdict {
    let container = lab.container()?;
    container.write()?;
    let id = if id == ".." || id.is_empty() { id.to_owned() } else { format!("{}{id}", lab.tag()) };
    lab.runtime(["create", "--bundle"]).arg(&container.dir).arg(id).run()?.refused("an invalid id")
}

/// Properties of several kinds at once, seen from outside while the program waits.
fn applies(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/linux/resources", json!({"pids": {"limit": 50}}));
    let container = container.set("/root/readonly", true).set("/linux/sysctl", json!({"net.core.somaxconn": "200"}));
    container.create()?.ok()?;
    let limit = fs::read_to_string(container.cgroup("pids")?.join("pids.max"))?;
    same("pids.max", &limit.trim().to_owned(), "50")?;
    let mounts = fs::read_to_string(container.proc("mountinfo")?)?;
    let root = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default();
    holds(
        &format!("the root is read-only: {root}"),
        root.split(' ').nth(5).is_some_and(|options| options.starts_with("ro")),
    )
}

fn cannot_apply(lab: &Lab) -> Verdict {
    lab.container()?.set("/linux/sysctl", json!({"net.ipv4.conformance": "1"})).is_refused()?;
    lab.container()?.mount("nosuchfs", "none", "/place", &[]).is_refused()?;
    lab.container()?.join("network", "/no/such/namespace").is_refused()
}
