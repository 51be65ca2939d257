//! Hooks. The probe is the hook: it adds a line to a file, which tells what it was given and where it ran.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::container::Container;
use crate::judge::{eventually, holds, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared};

const HOOKS: &str = "config.md#configHooks";
const PRESTART: &str = "config.md#configHooksPrestart";
const CREATE_RUNTIME: &str = "config.md#configHooksCreateRuntime";
const CREATE_CONTAINER: &str = "config.md#configHooksCreateContainer";
const START_CONTAINER: &str = "config.md#configHooksStartContainer";
const POSTSTART: &str = "config.md#configHooksPoststart";
const POSTSTOP: &str = "config.md#configHooksPoststop";
const LIFECYCLE: &str = "runtime.md#runtimeLifecycle";

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
const ABSOLUTE: &[&str] = &["This specification extends the IEEE standard in that **`path`** MUST be absolute."];
const TIMEOUT: &[&str] = &["If set, `timeout` MUST be greater than zero."];
const ABORT: &[&str] = &["**`timeout`** (int, OPTIONAL) is the number of seconds before aborting the hook."];
const IN_ORDER: &[&str] = &["Hooks MUST be called in the listed order."];
const STATE: &[&str] = &["The [state](runtime.md#state) of the container MUST be passed to hooks over stdin"];
const PID: &[&str] = &["**`pid`** (int, REQUIRED when `status` is"];
const DESTROYED: &[&str] =
    &["The container MUST be destroyed by undoing the steps performed during create phase (step 2)."];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("hooks.none", HOOKS, &["**`hooks`** (object, OPTIONAL)"], none),
    must("hooks.path.absolute", HOOKS, ABSOLUTE, relative_path),
    must("hooks.path.semantics", HOOKS, &["**`path`** (string, REQUIRED) with similar semantics to"], missing_program),
    must("hooks.args", HOOKS, &["**`args`** (array of strings, OPTIONAL) with the same semantics as"], args),
    must("hooks.env", HOOKS, &["**`env`** (array of strings, OPTIONAL) with the same semantics as"], env),
    must("hooks.timeout", HOOKS, ABORT, timeout),
    must("hooks.timeout.zero", HOOKS, TIMEOUT, shared).with(bad_timeout, "0"),
    must("hooks.timeout.negative", HOOKS, TIMEOUT, shared).with(bad_timeout, "-1"),
    must("hooks.order.prestart", HOOKS, IN_ORDER, shared).with(order, "prestart"),
    must("hooks.order.createRuntime", HOOKS, IN_ORDER, shared).with(order, "createRuntime"),
    must("hooks.order.createContainer", HOOKS, IN_ORDER, shared).with(order, "createContainer"),
    must("hooks.order.startContainer", HOOKS, IN_ORDER, shared).with(order, "startContainer"),
    must("hooks.order.poststart", HOOKS, IN_ORDER, shared).with(order, "poststart"),
    must("hooks.order.poststop", HOOKS, IN_ORDER, shared).with(order, "poststop"),
    must("hooks.state.prestart", HOOKS, STATE, shared).with(state, "prestart"),
    must("hooks.state.createRuntime", HOOKS, STATE, shared).with(state, "createRuntime"),
    must("hooks.state.createContainer", HOOKS, STATE, shared).with(state, "createContainer"),
    must("hooks.state.startContainer", HOOKS, STATE, shared).with(state, "startContainer"),
    must("hooks.state.poststart", HOOKS, STATE, shared).with(state, "poststart"),
    must("hooks.state.poststop", HOOKS, STATE, shared).with(state, "poststop"),
    must("hooks.state.pid.runtime", "runtime.md#runtimeState", PID, pid_of_the_runtime),
    must("hooks.state.pid.container", "runtime.md#runtimeState", PID, pid_of_the_container),

    must("hooks.prestart.namespace", HOOKS, &["**`prestart`** (array of objects", "The `prestart` hooks MUST be executed in", "The value of `path` MUST resolve in the [runtime"], shared).with(runs_outside, "prestart"),
    must("hooks.createRuntime.namespace", HOOKS, &["**`createRuntime`** (array of objects", "The `createRuntime` hooks MUST be executed in", "The value of `path` MUST resolve in the [runtime"], shared).with(runs_outside, "createRuntime"),
    must("hooks.createContainer.namespace", HOOKS, &["**`createContainer`** (array of objects", "The `createContainer` hooks MUST be executed in", "The value of `path` MUST resolve in the [runtime"], shared).with(runs_inside, "createContainer"),
    must("hooks.startContainer.namespace", HOOKS, &["**`startContainer`** (array of objects", "The `startContainer` hooks MUST be executed in", "The value of `path` MUST resolve in the [container"], shared).with(runs_inside, "startContainer"),
    must("hooks.poststart.namespace", HOOKS, &["**`poststart`** (array of objects", "The `poststart` hooks MUST be executed in", "The value of `path` MUST resolve in the [runtime"], shared).with(runs_outside, "poststart"),
    must("hooks.poststop.namespace", HOOKS, &["**`poststop`** (array of objects", "The `poststop` hooks MUST be executed in", "The value of `path` MUST resolve in the [runtime"], shared).with(runs_outside, "poststop"),

    must("hooks.prestart.path", PRESTART, &["The `prestart` hooks' path MUST resolve", "The `prestart` hooks MUST be executed in"], shared).with(runs_outside, "prestart"),
    must("hooks.createRuntime.path", CREATE_RUNTIME, &["The `createRuntime` hooks' path MUST resolve", "The `createRuntime` hooks MUST be executed in"], shared).with(runs_outside, "createRuntime"),
    must("hooks.createContainer.path", CREATE_CONTAINER, &["The `createContainer` hooks' path MUST resolve", "The `createContainer` hooks MUST be executed in"], shared).with(runs_inside, "createContainer"),
    must("hooks.startContainer.path", START_CONTAINER, &["The `startContainer` hooks' path MUST resolve", "The `startContainer` hooks MUST be executed in"], shared).with(runs_inside, "startContainer"),
    must("hooks.poststart.path", POSTSTART, &["The `poststart` hooks' path MUST resolve", "The `poststart` hooks MUST be executed in"], shared).with(runs_outside, "poststart"),
    must("hooks.poststop.path", POSTSTOP, &["The `poststop` hooks' path MUST resolve", "The `poststop` hooks MUST be executed in"], shared).with(runs_outside, "poststop"),

    must("hooks.prestart.when", PRESTART, &["The `prestart` hooks MUST be called as part of"], shared).with(before_the_root, "prestart"),
    must("hooks.createRuntime.when", CREATE_RUNTIME, &["The `createRuntime` hooks MUST be called as part of"], shared).with(before_the_root, "createRuntime"),
    must("hooks.createContainer.when", CREATE_CONTAINER, &["The `createContainer` hooks MUST be called as part of"], shared).with(before_the_root, "createContainer"),
    must("hooks.startContainer.when", START_CONTAINER, &["The `startContainer` hooks MUST be called [before"], before_the_program),
    must("hooks.poststart.when", POSTSTART, &["The `poststart` hooks MUST be called [after"], after_the_program),
    must("hooks.poststop.when", POSTSTOP, &["The `poststop` hooks MUST be called [after"], after_the_container),
    must("hooks.prestart.first", PRESTART, &["The `prestart` hooks MUST be called before the `createRuntime` hooks."], shared).with(comes_before, "prestart createRuntime"),
    must("hooks.createContainer.second", CREATE_CONTAINER, &["The `createContainer` hooks MUST be called after the `createRuntime`"], shared).with(comes_before, "createRuntime createContainer"),

    must("hooks.prestart.invoked", LIFECYCLE, &["The [`prestart` hooks](config.md#prestart) MUST be invoked"], shared).with(invoked, "prestart"),
    must("hooks.createRuntime.invoked", LIFECYCLE, &["The [`createRuntime` hooks](config.md#createRuntime-hooks) MUST be invoked"], shared).with(invoked, "createRuntime"),
    must("hooks.createContainer.invoked", LIFECYCLE, &["The [`createContainer` hooks](config.md#createContainer-hooks) MUST be invoked"], shared).with(invoked, "createContainer"),
    must("hooks.startContainer.invoked", LIFECYCLE, &["The [`startContainer` hooks](config.md#startContainer-hooks) MUST be invoked"], shared).with(invoked, "startContainer"),
    must("hooks.poststart.invoked", LIFECYCLE, &["The [`poststart` hooks](config.md#poststart) MUST be invoked"], shared).with(invoked, "poststart"),
    must("hooks.poststop.invoked", LIFECYCLE, &["The [`poststop` hooks](config.md#poststop) MUST be invoked"], shared).with(invoked, "poststop"),
    must("hooks.prestart.fails", LIFECYCLE, &["If any `prestart` hook fails"], shared).with(is_an_error, "prestart"),
    must("hooks.createRuntime.fails", LIFECYCLE, &["If any `createRuntime` hook fails"], shared).with(is_an_error, "createRuntime"),
    must("hooks.createContainer.fails", LIFECYCLE, &["If any `createContainer` hook fails"], shared).with(is_an_error, "createContainer"),
    must("hooks.startContainer.fails", LIFECYCLE, &["If any `startContainer` hook fails"], shared).with(is_an_error, "startContainer"),
    must("hooks.poststart.fails", LIFECYCLE, &["If any `poststart` hook fails"], shared).with(is_an_error, "poststart"),
    must("hooks.prestart.fails.destroyed", LIFECYCLE, DESTROYED, shared).with(is_destroyed, "prestart"),
    must("hooks.createRuntime.fails.destroyed", LIFECYCLE, DESTROYED, shared).with(is_destroyed, "createRuntime"),
    must("hooks.createContainer.fails.destroyed", LIFECYCLE, DESTROYED, shared).with(is_destroyed, "createContainer"),
    must("hooks.startContainer.fails.destroyed", LIFECYCLE, DESTROYED, shared).with(is_destroyed, "startContainer"),
    must("hooks.poststart.fails.destroyed", LIFECYCLE, DESTROYED, shared).with(is_destroyed, "poststart"),
    must("hooks.poststop.fails", LIFECYCLE, &["If any `poststop` hook fails, the runtime MUST [log a warning]"], only_a_warning),
];

/// A hook of a kind that writes this name down and exits with a status.
fn hook(lab: &Lab, kind: &str, name: &str, status: &str) -> Value {
    // Outside, the path is one that does not exist inside, and the other way round: it must be resolved where it says.
    let (program, file) = match kind {
        "startContainer" => ("/bin/probe".into(), "/share/log".into()),
        _ => (lab.path("host/probe"), lab.path("share/log")),
    };
    json!({"path": program, "args": ["hook", "hook", file, name, status], "env": ["NAME=value"]})
}

/// A container with one hook of each kind, which writes down its kind.
fn with_all(lab: &Lab) -> Result<Container<'_>> {
    let mut container = lab.container()?.share().set("/annotations", json!({"com.example.key": "value"}));
    for kind in KINDS {
        container = container.push(&format!("/hooks/{kind}"), hook(lab, kind, kind, "0"));
    }
    Ok(container)
}

/// Through its whole life.
fn live(container: &Container<'_>) -> Verdict {
    container.up()?;
    // Some return from start, and tell that it runs, before the startContainer hooks have run.
    let started = || Ok(std::fs::read_to_string(container.proc("cmdline")?)?.starts_with("/bin/probe"));
    eventually("the program runs", Duration::from_secs(10), started)?;
    container.stop()?;
    container.delete()?.ok()?;
    Ok(())
}

/// What the hooks wrote down, in order.
fn log(lab: &Lab) -> Result<Vec<Value>> {
    let text = fs::read_to_string(lab.path("share/log")).unwrap_or_default();
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn names(lab: &Lab) -> Result<Vec<String>> {
    Ok(log(lab)?.iter().filter_map(|line| line["name"].as_str().map(str::to_owned)).collect())
}

/// What the hook of this name wrote down by now.
fn of(lab: &Lab, name: &str) -> Result<Value> {
    match log(lab)?.into_iter().find(|line| line["name"] == name) {
        Some(line) => Ok(line),
        None => bail!("the {name} hook did not run"),
    }
}

fn none(lab: &Lab) -> Verdict {
    lab.container()?.set("/hooks", json!({})).runs()?;
    lab.container()?.set("/hooks", json!({"prestart": [], "poststop": []})).runs()
}

fn relative_path(lab: &Lab) -> Verdict {
    // It exists where the runtime runs, so only its form is wrong.
    for path in ["bin/true", "./bin/true", "true"] {
        let container = lab.container()?.push("/hooks/createRuntime", json!({"path": path}));
        let call = container.on_bundle("create", &[])?;
        call.run()?.refused(&format!("the hook path {path}"))?;
        container.is_gone()?;
    }
    Ok(())
}

/// As execv(3): no search, and what does not exist cannot be executed.
fn missing_program(lab: &Lab) -> Verdict {
    lab.container()?.push("/hooks/createRuntime", json!({"path": "/no/such/program"})).is_refused()
}

fn args(lab: &Lab) -> Verdict {
    let mut hook = hook(lab, "createRuntime", "args", "0");
    hook["args"] = json!(["its own name", "hook", lab.path("share/log"), "args", "0"]);
    live(&lab.container()?.push("/hooks/createRuntime", hook.clone()))?;
    same("the arguments", &of(lab, "args")?["args"], hook["args"].clone())
}

fn env(lab: &Lab) -> Verdict {
    live(&lab.container()?.push("/hooks/createRuntime", hook(lab, "createRuntime", "env", "0")))?;
    same("the environment", &of(lab, "env")?["env"], json!({"NAME": "value"}))
}

fn timeout(lab: &Lab) -> Verdict {
    let program = lab.path("host/probe");
    let hook = json!({"path": program, "args": ["probe", "sleep", "3600"], "timeout": 1});
    lab.container()?.push("/hooks/createRuntime", hook).is_refused()
}

fn bad_timeout(lab: &Lab, timeout: &'static str) -> Verdict {
    let mut hook = hook(lab, "createRuntime", "timeout", "0");
    hook["timeout"] = json!(5);
    lab.container()?.push("/hooks/createRuntime", hook.clone()).runs()?;
    hook["timeout"] = json!(timeout.parse::<i64>()?);
    lab.container()?.push("/hooks/createRuntime", hook).is_refused()
}

fn order(lab: &Lab, kind: &'static str) -> Verdict {
    let mut container = lab.container()?.share();
    let wanted = ["one", "two", "three", "four"];
    for name in wanted {
        container = container.push(&format!("/hooks/{kind}"), hook(lab, kind, name, "0"));
    }
    live(&container)?;
    same("the order", &json!(names(lab)?), json!(wanted))
}

fn state(lab: &Lab, kind: &'static str) -> Verdict {
    let container = with_all(lab)?;
    live(&container)?;
    let state = of(lab, kind)?["state"].clone();
    same("id", &state["id"], container.id.clone())?;
    same("bundle", &state["bundle"], json!(container.dir))?;
    same("annotations", &state["annotations"]["com.example.key"], "value")?;
    ensure!(state["ociVersion"].is_string(), "ociVersion is {}", state["ociVersion"]);
    let allowed: &[&str] = match kind {
        "prestart" | "createRuntime" | "createContainer" => &["creating"],
        "startContainer" => &["created"],
        "poststart" => &["running"],
        _ => &["stopped"],
    };
    let status = state["status"].as_str().context("status")?;
    ensure!(allowed.contains(&status), "the status in the {kind} hook is {status}, not {}", allowed[0]);
    Ok(())
}

fn pid_of_the_runtime(lab: &Lab) -> Verdict {
    let container = with_all(lab)?;
    container.up()?;
    let pid = container.pid()?;
    for kind in ["prestart", "createRuntime", "poststart"] {
        same(&format!("the pid in the {kind} hook"), &of(lab, kind)?["state"]["pid"], pid)?;
    }
    Ok(())
}

fn pid_of_the_container(lab: &Lab) -> Verdict {
    with_all(lab)?.up()?;
    for kind in ["createContainer", "startContainer"] {
        eventually("the hook runs", lab.setup.limit, || Ok(of(lab, kind).is_ok()))?;
        same(&format!("the pid in the {kind} hook"), &of(lab, kind)?["state"]["pid"], 1)?;
    }
    Ok(())
}

/// The namespaces that the base configuration makes anew.
const OWN: [&str; 5] = ["mnt", "net", "uts", "ipc", "pid"];

fn runs_outside(lab: &Lab, kind: &'static str) -> Verdict {
    live(&with_all(lab)?)?;
    let namespaces = of(lab, kind)?["namespaces"].clone();
    for name in OWN {
        let own = fs::read_link(format!("/proc/self/ns/{name}"))?;
        same(&format!("the {name} namespace of the {kind} hook"), &namespaces[name], json!(own))?;
    }
    Ok(())
}

fn runs_inside(lab: &Lab, kind: &'static str) -> Verdict {
    let container = with_all(lab)?;
    container.up()?;
    // Some return from start, and tell that it runs, before the startContainer hooks have run.
    eventually("the hook runs", lab.setup.limit, || Ok(of(lab, kind).is_ok()))?;
    let line = of(lab, kind)?;
    for name in OWN {
        let inside = fs::read_link(container.proc(&format!("ns/{name}"))?)?;
        same(&format!("the {name} namespace of the {kind} hook"), &line["namespaces"][name], json!(inside))?;
    }
    // The path of startContainer resolves inside, that of createContainer outside, from where the root is still seen.
    same("it sees the container's root as /", &line["inside"], kind == "startContainer")
}

fn before_the_root(lab: &Lab, kind: &'static str) -> Verdict {
    let container = with_all(lab)?;
    container.create()?.ok()?;
    let line = of(lab, kind)?;
    if kind == "createContainer" {
        return same("the root has been changed already", &line["inside"], false);
    }
    same("the root has been changed already", &line["init"]["inside"], false)?;
    let mounts = line["init"]["mounts"].as_str().unwrap_or_default();
    let proc = container.rootfs("proc");
    holds("the mounts have been made", mounts.contains(&*proc.to_string_lossy()) || mounts.contains(" /proc "))
}

fn before_the_program(lab: &Lab) -> Verdict {
    let container = with_all(lab)?.probe(&["hook", "/share/log", "program"]);
    container.create()?.ok()?;
    holds("the hook did not run at create", !names(lab)?.contains(&"startContainer".into()))?;
    container.start()?.ok()?;
    container.becomes("stopped")?;
    let names = names(lab)?;
    let at = |name: &str| names.iter().position(|other| other == name);
    holds("the hook ran before the program", at("startContainer").is_some() && at("startContainer") < at("program"))
}

fn after_the_program(lab: &Lab) -> Verdict {
    let container = with_all(lab)?;
    container.create()?.ok()?;
    holds("the hook did not run at create", !names(lab)?.contains(&"poststart".into()))?;
    container.start()?.ok()?;
    let line = of(lab, "poststart").context("when start has returned")?;
    same("what the container process was by then", &line["init"]["command"], "/bin/probe sleep ")
}

fn after_the_container(lab: &Lab) -> Verdict {
    let (runtime, root, log) = (&lab.setup.runtime, lab.path("root"), lab.path("share/state"));
    let container = with_all(lab)?;
    let script = format!(
        "{} --root {} state {} >{} 2>&1; echo $? >>{}",
        runtime.display(),
        root.display(),
        container.id,
        log.display(),
        log.display()
    );
    let container = container.push("/hooks/poststop", json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    container.up()?;
    container.stop()?;
    holds("the hook did not run when the program ended", !names(lab)?.contains(&"poststop".into()))?;
    container.delete()?.ok()?;
    of(lab, "poststop").context("when delete has returned")?;
    let said = fs::read_to_string(log)?;
    holds(&format!("the container was deleted before the hook: {said}"), !said.ends_with("\n0\n") && said.trim() != "0")
}

fn invoked(lab: &Lab, kind: &'static str) -> Verdict {
    live(&with_all(lab)?)?;
    same("how often the hook ran", &names(lab)?.iter().filter(|name| *name == kind).count(), 1)
}

fn comes_before(lab: &Lab, kinds: &'static str) -> Verdict {
    let (first, second) = kinds.split_once(' ').unwrap_or_default();
    live(&with_all(lab)?)?;
    let names = names(lab)?;
    let at = |kind: &str| names.iter().position(|name| name == kind);
    holds(&format!("{first} comes before {second}: {names:?}"), at(first).is_some() && at(first) < at(second))
}

/// A container whose second hook of a kind fails.
fn failing<'l>(lab: &'l Lab, kind: &str) -> Result<Container<'l>> {
    let container = lab.container()?.share().push(&format!("/hooks/{kind}"), hook(lab, kind, "good", "0"));
    let container = container.push(&format!("/hooks/{kind}"), hook(lab, kind, "bad", "3"));
    let container = container.push(&format!("/hooks/{kind}"), hook(lab, kind, "after", "0"));
    Ok(container.push("/hooks/poststop", hook(lab, "poststop", "poststop", "0")))
}

/// The operation during which the hook runs is an error, and the program does not run (any more).
fn is_an_error(lab: &Lab, kind: &'static str) -> Verdict {
    let container = failing(lab, kind)?.probe(&["sleep", "3600"]);
    let at_create = KINDS[..3].contains(&kind);
    let created = container.create()?;
    let call = if at_create {
        created
    } else {
        created.ok()?;
        container.start()?
    };
    call.refused(&format!("a failing {kind} hook"))?;
    let names = names(lab)?;
    holds("the hooks up to the failing one ran", names.starts_with(&["good".into(), "bad".into()]))?;
    holds("the hooks after the failing one did not", !names.contains(&"after".into()))?;
    let state = container.verb("state", &[]).run()?;
    holds("the container was stopped", state.code != 0 || state.json()?["status"] == "stopped")
}

/// "Continue the lifecycle at step 12": it is destroyed, and at step 13 the poststop hooks run.
fn is_destroyed(lab: &Lab, kind: &'static str) -> Verdict {
    let container = failing(lab, kind)?;
    if container.create()?.code == 0 {
        container.start()?.refused(&format!("a failing {kind} hook"))?;
    }
    container.is_gone()?;
    holds("its cgroup is gone", crate::host::cgroups_with(&container.id).is_empty())?;
    holds("the poststop hook ran", names(lab)?.last().is_some_and(|name| name == "poststop"))
}

fn only_a_warning(lab: &Lab) -> Verdict {
    let container = lab.container()?.share();
    let container = container.push("/hooks/poststop", hook(lab, "poststop", "bad", "3"));
    let container = container.push("/hooks/poststop", hook(lab, "poststop", "after", "0"));
    container.up()?;
    container.stop()?;
    container.delete()?.ok().context("a failing poststop hook is no error")?;
    same("the hooks", &json!(names(lab)?), json!(["bad", "after"]))?;
    container.is_gone()
}
