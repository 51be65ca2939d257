//! The process: terminal, arguments, environment, limits, capabilities, scheduling.

use std::fs;

use anyhow::{Context, Result, ensure};
use caps::{CapSet, Capability};
use serde_json::{Value, json};

use crate::container::{PROBE, read_terminal};
use crate::host;
use crate::judge::{holds, needs, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared, should};

const PROCESS: &str = "config.md#configProcess";
const POSIX: &str = "config.md#configPOSIXProcess";
const LINUX: &str = "config.md#configLinuxProcess";
const DUPLICATE: &[&str] = &["If `rlimits` contains duplicated entries with same `type`"];
const UNMAPPED: &[&str] =
    &["The runtime MUST [generate an error](runtime.md#errors) for any values which cannot be mapped"];
const CANNOT_GRANT: &[&str] = &["Runtimes SHOULD NOT fail if the container configuration requests capabilities"];
const LOGGED: &[&str] =
    &["Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise MUST be"];
const SCHEDULER: &[&str] = &["**`scheduler`** (object, OPTIONAL)", "**`policy`** (string, REQUIRED)"];
const DEADLINE: &[&str] = &[
    "**`runtime`** (uint64, OPTIONAL) represents the amount of time",
    "**`deadline`** (uint64, OPTIONAL)",
    "**`period`** (uint64, OPTIONAL)",
];
const IO: &[&str] = &[
    "**`ioPriority`** (object, OPTIONAL)",
    "**`class`** (string, REQUIRED)",
    "**`priority`** (int, REQUIRED) specifies the priority level within the class.",
];

pub const TESTS: &[Row] = &[
    must("process.at-create", PROCESS, &["**`process`** (object, OPTIONAL)"], not_needed_at_create),
    must("process.at-start", PROCESS, &["This property is REQUIRED when [`start`]"], needed_at_start),
    must("process.terminal", PROCESS, &["**`terminal`** (bool, OPTIONAL)"], terminal),
    must("process.terminal.false", PROCESS, &["**`terminal`** (bool, OPTIONAL)"], no_terminal),
    must("process.consoleSize", PROCESS, &["**`consoleSize`** (object", "**`height`**", "**`width`**"], console_size),
    must("process.consoleSize.ignored", PROCESS, &["Runtimes MUST ignore `consoleSize` if `terminal` is"], no_console),
    must("process.cwd", PROCESS, &["**`cwd`** (string, REQUIRED)"], cwd),
    must("process.cwd.relative", PROCESS, &["This value MUST be an absolute path."], relative_cwd),
    must("process.env", PROCESS, &["**`env`** (array of strings, OPTIONAL)"], env),
    must("process.args", PROCESS, &["**`args`** (array of strings, OPTIONAL) with similar semantics"], args),
    must("process.args.path", PROCESS, &["used with the same semantics as `execvp`'s *file*."], search_path),
    must("process.args.empty", PROCESS, &["at least one entry is REQUIRED (non-Windows)"], no_args),
    must("process.rlimits", POSIX, &["**`rlimits`** (array", "**`type`** (string, REQUIRED) the platform"], limits),
    must("process.rlimits.soft", POSIX, &["**`soft`** (uint64", "`rlim.rlim_cur` MUST match"], limits),
    must("process.rlimits.hard", POSIX, &["**`hard`** (uint64", "`rlim.rlim_max` MUST match"], limits),
    must("process.rlimits.every", POSIX, &["For each entry in `rlimits`, a [`getrlimit(3)`]"], every_limit),
    must("process.rlimits.unknown", POSIX, UNMAPPED, unknown_limit),
    must("process.rlimits.impossible", POSIX, &["`rlim.rlim_cur` MUST match the configured value."], soft_above_hard),
    must("process.rlimits.duplicate", POSIX, DUPLICATE, duplicate_limit),
    must("process.capabilities", LINUX, &["**`capabilities`** (object, OPTIONAL)"], capabilities),
    must("process.capabilities.none", LINUX, &["**`capabilities`** (object, OPTIONAL)"], no_capabilities),
    must("process.capabilities.effective", LINUX, &["**`effective`** (array"], shared).with(set_of, "effective"),
    must("process.capabilities.bounding", LINUX, &["**`bounding`** (array"], shared).with(set_of, "bounding"),
    must("process.capabilities.inheritable", LINUX, &["**`inheritable`** (array"], shared).with(set_of, "inheritable"),
    must("process.capabilities.permitted", LINUX, &["**`permitted`** (array"], shared).with(set_of, "permitted"),
    must("process.capabilities.ambient", LINUX, &["**`ambient`** (array"], shared).with(set_of, "ambient"),
    must("process.capabilities.unknown", LINUX, LOGGED, unknown_capability),
    should("process.capabilities.ungrantable", LINUX, CANNOT_GRANT, ungrantable_capability),
    must("process.noNewPrivileges", LINUX, &["**`noNewPrivileges`** (bool, OPTIONAL)"], no_new_privileges),
    must("process.apparmorProfile", LINUX, &["**`apparmorProfile`** (string, OPTIONAL)"], apparmor),
    must("process.selinuxLabel", LINUX, &["**`selinuxLabel`** (string, OPTIONAL)"], selinux),
    must(
        "process.oomScoreAdj",
        LINUX,
        &["**`oomScoreAdj`** *(int", "If `oomScoreAdj` is set, the runtime MUST set"],
        score,
    ),
    must("process.oomScoreAdj.unset", LINUX, &["If `oomScoreAdj` is not set, the runtime MUST NOT"], no_score),
    must("process.scheduler.other", LINUX, &["**`nice`** (int32, OPTIONAL)"], other),
    must("process.scheduler.batch", LINUX, SCHEDULER, shared).with(policy, "SCHED_BATCH"),
    must("process.scheduler.idle", LINUX, SCHEDULER, shared).with(policy, "SCHED_IDLE"),
    must("process.scheduler.fifo", LINUX, &["**`priority`** (int32, OPTIONAL)"], shared).with(real_time, "SCHED_FIFO"),
    must("process.scheduler.rr", LINUX, &["**`priority`** (int32, OPTIONAL)"], shared).with(real_time, "SCHED_RR"),
    must("process.scheduler.deadline", LINUX, DEADLINE, deadline),
    must("process.scheduler.flags", LINUX, &["**`flags`** (array of strings, OPTIONAL)"], flags),
    must("process.ioPriority.be", LINUX, IO, shared).with(io_priority, "IOPRIO_CLASS_BE"),
    must("process.ioPriority.idle", LINUX, IO, shared).with(io_priority, "IOPRIO_CLASS_IDLE"),
    must("process.ioPriority.rt", LINUX, IO, shared).with(io_priority, "IOPRIO_CLASS_RT"),
    must(
        "process.execCPUAffinity",
        LINUX,
        &["**`execCPUAffinity`** (object", "**`final`** (string, OPTIONAL)"],
        affinity,
    ),
    must("process.execCPUAffinity.initial", LINUX, &["**`initial`** (string, OPTIONAL)"], initial_affinity),
    should("process.execCPUAffinity.unset", LINUX, &["If omitted or empty, runtime SHOULD NOT change"], no_affinity),
];

fn not_needed_at_create(lab: &Lab) -> Verdict {
    let container = lab.container()?.unset("/process");
    container.create()?.ok()?;
    same("the status", &container.status()?, "created")
}

fn needed_at_start(lab: &Lab) -> Verdict {
    lab.container()?.unset("/process").is_refused_by_start()
}

fn terminal(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/process/terminal", true).probe(&["report", "terminals"]);
    let report = on_terminal(&container)?;
    for stream in ["stdin", "stdout", "stderr"] {
        same(stream, &report["terminals"][stream]["terminal"], true)?;
    }
    same("a controlling terminal", &report["terminals"]["controlling"], true)
}

fn on_terminal(container: &crate::container::Container<'_>) -> Result<Value> {
    let text = read_terminal(container.up_on_terminal()?);
    serde_json::from_str(&text).with_context(|| format!("from the terminal: {text:?}"))
}

fn no_terminal(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/process/terminal", false).report(&["terminals"])?;
    same("stdin is a terminal", &report["terminals"]["stdin"]["terminal"], false)
}

fn console_size(lab: &Lab) -> Verdict {
    let size = json!({"height": 33, "width": 77});
    let container = lab.container()?.set("/process/terminal", true).set("/process/consoleSize", size);
    let report = on_terminal(&container.probe(&["report", "terminals"]))?;
    same("rows", &report["terminals"]["stdin"]["rows"], 33)?;
    same("columns", &report["terminals"]["stdin"]["columns"], 77)
}

fn no_console(lab: &Lab) -> Verdict {
    let size = json!({"height": 33, "width": 77});
    lab.container()?.set("/process/consoleSize", size.clone()).runs()?;
    lab.container()?.set("/process/terminal", false).set("/process/consoleSize", size).runs()
}

fn cwd(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/process/cwd", "/tmp").report(&["process"])?;
    same("the working directory", &report["process"]["cwd"], "/tmp")
}

fn relative_cwd(lab: &Lab) -> Verdict {
    lab.container()?.set("/process/cwd", "tmp").is_refused_by_start()
}

fn env(lab: &Lab) -> Verdict {
    let env = json!(["PATH=/bin", "HOME=/home", "EMPTY=", "TWO=a=b", "SPACE= x "]);
    let report = lab.container()?.set("/process/env", env.clone()).report(&["env"])?;
    let sorted = |list: &Value| {
        let mut list: Vec<String> = list.as_array().into_iter().flatten().map(ToString::to_string).collect();
        list.sort();
        list
    };
    ensure!(sorted(&report["env"]) == sorted(&env), "the environment is {}", report["env"]);
    Ok(())
}

fn args(lab: &Lab) -> Verdict {
    let args = json!([PROBE, "report", "args", "args"]);
    let report = lab.container()?.set("/process/args", args.clone()).run()?.ok()?.json()?;
    same("the arguments", &report["args"], args)?;
    let echo = json!([PROBE, "echo", "", "two words", "$HOME", "*"]);
    let output = lab.container()?.set("/process/args", echo).run()?.ok()?;
    same("the words printed", &output.stdout(), " two words $HOME *\n")
}

fn search_path(lab: &Lab) -> Verdict {
    let container = lab.container()?.set("/process/args", json!(["probe", "report", "args"]));
    let report = container.set("/process/env", json!(["PATH=/nowhere:/bin", "HOME=/"])).run()?.ok()?.json()?;
    same("the program's own name", &report["args"][0], "probe")?;
    lab.container()?.set("/process/args", json!(["no-such-program"])).is_refused_by_start()?;
    lab.container()?.set("/process/args", json!(["/marker"])).is_refused_by_start()
}

fn no_args(lab: &Lab) -> Verdict {
    lab.container()?.set("/process/args", json!([])).is_refused_by_start()?;
    lab.container()?.unset("/process/args").is_refused_by_start()
}

fn limits(lab: &Lab) -> Verdict {
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 333, "hard": 444},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 1_048_576},
        {"type": "RLIMIT_FSIZE", "soft": 1_000_001, "hard": 1_000_001}
    ]);
    let report = lab.container()?.set("/process/rlimits", limits.clone()).report(&["rlimits"])?;
    for limit in limits.as_array().into_iter().flatten() {
        let name = limit["type"].as_str().unwrap_or_default();
        same(name, &report["rlimits"][name], json!({"soft": limit["soft"], "hard": limit["hard"]}))?;
    }
    Ok(())
}

/// Every limit of getrlimit(2), as it is anyway: raising one needs a capability that not every host has.
fn every_limit(lab: &Lab) -> Verdict {
    let now = lab.container()?.report(&["rlimits"])?["rlimits"].clone();
    let number = |limit: &Value| if limit.is_u64() { limit.clone() } else { json!(u64::MAX) };
    let entry = |(name, limit): (&String, &Value)| json!({"type": name, "soft": number(&limit["soft"]), "hard": number(&limit["hard"])});
    let limits: Vec<Value> = now.as_object().context("limits")?.iter().map(entry).collect();
    ensure!(limits.len() == 16, "the probe knows {} limits", limits.len());
    let report = lab.container()?.set("/process/rlimits", limits).report(&["rlimits"])?;
    same("the limits", &report["rlimits"], now)
}

fn unknown_limit(lab: &Lab) -> Verdict {
    let limit = json!([{"type": "RLIMIT_CONFORMANCE", "soft": 1, "hard": 1}]);
    lab.container()?.set("/process/rlimits", limit).is_refused_by_start()
}

fn soft_above_hard(lab: &Lab) -> Verdict {
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 500, "hard": 400}]);
    lab.container()?.set("/process/rlimits", limit).is_refused_by_start()
}

fn duplicate_limit(lab: &Lab) -> Verdict {
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": 400, "hard": 400});
    lab.container()?.set("/process/rlimits", json!([limit])).runs()?;
    lab.container()?.set("/process/rlimits", json!([limit, limit])).is_refused_by_start()
}

fn capabilities(lab: &Lab) -> Verdict {
    let set = json!(["CAP_CHOWN", "CAP_KILL"]);
    let sets = json!({"bounding": set, "effective": set, "permitted": set, "inheritable": set, "ambient": set});
    let report = lab.container()?.set("/process/capabilities", sets).report(&["capabilities"])?;
    for name in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        same(name, &report["capabilities"][name]["names"], set.clone())?;
    }
    Ok(())
}

fn no_capabilities(lab: &Lab) -> Verdict {
    let empty = json!({"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []});
    let report = lab.container()?.set("/process/capabilities", empty).report(&["capabilities"])?;
    for name in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        same(name, &report["capabilities"][name]["names"], json!([]))?;
    }
    Ok(())
}

/// A set with its own content. The kernel demands that some sets are within others, and execve(2) computes permitted and
/// effective anew: root's from bounding and inheritable, anybody else's from ambient (capabilities(7)).
fn set_of(lab: &Lab, name: &'static str) -> Verdict {
    let (little, much) = (json!(["CAP_KILL"]), json!(["CAP_CHOWN", "CAP_KILL"]));
    let (sets, user) = match name {
        "bounding" => (json!({"bounding": much, "effective": little, "permitted": little}), 1000),
        "inheritable" => (json!({"bounding": much, "permitted": much, "inheritable": much, "effective": little}), 1000),
        "ambient" => (json!({"bounding": much, "permitted": much, "inheritable": much, "ambient": much}), 1000),
        _ => (json!({"bounding": much, "permitted": much, "effective": much}), 0),
    };
    let container = lab.container()?.set("/process/capabilities", sets).set("/process/user/uid", user);
    let report = container.report(&["capabilities"])?;
    same(name, &report["capabilities"][name]["names"], much)
}

fn unknown_capability(lab: &Lab) -> Verdict {
    let container = lab.container()?.push("/process/capabilities/bounding", "CAP_CONFORMANCE");
    let container = container.push("/process/capabilities/permitted", "CAP_CONFORMANCE");
    let report = container.report(&["capabilities"])?;
    same("the others", &report["capabilities"]["bounding"]["names"], json!(["CAP_KILL", "CAP_MKNOD"]))
}

fn ungrantable_capability(lab: &Lab) -> Verdict {
    let own = caps::read(None, CapSet::Bounding)?;
    let missing = caps::all().into_iter().find(|capability| !own.contains(capability));
    // Where the caller has all, one is taken from it.
    let missing = match missing {
        Some(capability) => capability,
        None => {
            caps::drop(None, CapSet::Bounding, Capability::CAP_WAKE_ALARM)?;
            for set in [CapSet::Effective, CapSet::Permitted] {
                caps::drop(None, set, Capability::CAP_WAKE_ALARM)?;
            }
            Capability::CAP_WAKE_ALARM
        }
    };
    let mut container = lab.container()?;
    for set in ["bounding", "effective", "permitted"] {
        container = container.push(&format!("/process/capabilities/{set}"), missing.to_string());
    }
    let report = container.report(&["capabilities"])?;
    same("the others", &report["capabilities"]["effective"]["names"], json!(["CAP_KILL", "CAP_MKNOD"]))
}

fn no_new_privileges(lab: &Lab) -> Verdict {
    for wanted in [true, false] {
        let report = lab.container()?.set("/process/noNewPrivileges", wanted).report(&["privileges"])?;
        same("no_new_privs", &report["privileges"]["no_new_privs"], wanted)?;
    }
    Ok(())
}

/// Where the module is not active, the property cannot be applied, which MUST be an error (runtime.md, Create).
fn apparmor(lab: &Lab) -> Verdict {
    let container = lab.container()?;
    if !host::has_lsm("apparmor") {
        return container.set("/process/apparmorProfile", "acme_secure_profile").is_refused_by_start();
    }
    container.clone().set("/process/apparmorProfile", "no-such-profile").is_refused_by_start()?;
    let report = lab.container()?.set("/process/apparmorProfile", "unconfined").report(&["privileges"])?;
    same("the label", &report["privileges"]["lsm_label"], "unconfined")
}

fn selinux(lab: &Lab) -> Verdict {
    let label = "system_u:system_r:svirt_lxc_net_t:s0:c124,c675";
    if !host::has_lsm("selinux") {
        return lab.container()?.set("/process/selinuxLabel", label).is_refused_by_start();
    }
    crate::judge::skip("SELinux is active, but which labels its policy has is not known")
}

fn score(lab: &Lab) -> Verdict {
    for wanted in [100, 321] {
        let report = lab.container()?.set("/process/oomScoreAdj", wanted).report(&["oom_score_adj"])?;
        same("oom_score_adj", &report["oom_score_adj"], wanted)?;
    }
    Ok(())
}

fn no_score(lab: &Lab) -> Verdict {
    fs::write("/proc/self/oom_score_adj", "77")?;
    let report = lab.container()?.report(&["oom_score_adj"])?;
    same("oom_score_adj", &report["oom_score_adj"], 77)
}

fn other(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 5}));
    let report = report.report(&["scheduling"])?;
    same("the policy", &report["scheduling"]["policy"], "SCHED_OTHER")?;
    same("the nice value", &report["scheduling"]["nice"], 5)
}

fn policy(lab: &Lab, name: &'static str) -> Verdict {
    let report = lab.container()?.set("/process/scheduler", json!({"policy": name})).report(&["scheduling"])?;
    same("the policy", &report["scheduling"]["policy"], name)
}

/// With RT_GROUP_SCHED a new cgroup has no real-time budget, so it must be given one.
fn real_time(lab: &Lab, name: &'static str) -> Verdict {
    let mut container = lab.container()?.set("/process/scheduler", json!({"policy": name, "priority": 7}));
    if host::hierarchy("cpu").is_some_and(|cpu| cpu.join("cpu.rt_runtime_us").exists()) {
        container =
            container.set("/linux/resources/cpu", json!({"realtimePeriod": 1_000_000, "realtimeRuntime": 10_000}));
    }
    let possible = lab.host("/usr/bin/chrt", &["-f", "7", "/bin/true"]).is_ok();
    needs(possible, "this host does not allow real-time policies")?;
    let report = container.report(&["scheduling"])?;
    same("the policy", &report["scheduling"]["policy"], name)?;
    same("the priority", &report["scheduling"]["priority"], 7)
}

fn deadline(lab: &Lab) -> Verdict {
    let words = ["-d", "-T", "1000000", "-D", "2000000", "-P", "4000000", "0", "/bin/true"];
    needs(lab.host("/usr/bin/chrt", &words).is_ok(), "this host does not allow SCHED_DEADLINE")?;
    let scheduler =
        json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 2_000_000, "period": 4_000_000});
    let report = lab.container()?.set("/process/scheduler", scheduler).report(&["scheduling"])?;
    let got = &report["scheduling"];
    let got = json!([got["policy"], got["runtime"], got["deadline"], got["period"]]);
    same("the scheduling", &got, json!(["SCHED_DEADLINE", 1_000_000, 2_000_000, 4_000_000]))
}

fn flags(lab: &Lab) -> Verdict {
    let scheduler = json!({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let report = lab.container()?.set("/process/scheduler", scheduler).report(&["scheduling"])?;
    same("SCHED_FLAG_RESET_ON_FORK", &report["scheduling"]["flags"].as_u64().map(|flags| flags & 1), 1)
}

fn io_priority(lab: &Lab, class: &'static str) -> Verdict {
    let priority = if class == "IOPRIO_CLASS_IDLE" { 0 } else { 5 };
    let wanted = json!({"class": class, "priority": priority});
    let report = lab.container()?.set("/process/ioPriority", wanted.clone()).report(&["io_priority"])?;
    same("the I/O priority", &report["io_priority"], wanted)
}

/// What `exec` of a process with this affinity gets, in a container that may use all processors.
fn exec_with(lab: &Lab, affinity: &Value) -> Result<(Value, Value)> {
    let container = lab.container()?;
    container.up()?;
    let before = container.exec_report(&["scheduling"])?["scheduling"]["cpus"].clone();
    let mut process = container.config["process"].clone();
    process["args"] = json!([PROBE, "report", "scheduling"]);
    process["execCPUAffinity"] = affinity.clone();
    let file = lab.file("process.json", &process.to_string())?;
    let call = lab.runtime(["exec", "--process"]).arg(file).arg(&container.id);
    let after = call.run()?.ok()?.json()?["scheduling"]["cpus"].clone();
    Ok((before, after))
}

fn affinity(lab: &Lab) -> Verdict {
    let (before, after) = exec_with(lab, &json!({"final": "0"}))?;
    needs(before.as_array().is_some_and(|cpus| cpus.len() > 1), "this host has one processor")?;
    same("the processors", &after, json!([0]))?;
    // It is of exec alone.
    let init = lab.container()?.set("/process/execCPUAffinity", json!({"final": "0"})).report(&["scheduling"])?;
    same("the processors of init", &init["scheduling"]["cpus"], before)
}

/// Before the cgroup is joined; joining a cpuset sets all that it allows, and without one `initial` stays.
fn initial_affinity(lab: &Lab) -> Verdict {
    let (_, after) = exec_with(lab, &json!({"initial": "0", "final": "1"}))?;
    same("the processors: final wins", &after, json!([1]))?;
    holds("an unknown list is refused", exec_with(lab, &json!({"initial": "x"})).is_err())
}

fn no_affinity(lab: &Lab) -> Verdict {
    let (before, after) = exec_with(lab, &json!({"initial": "0", "final": ""}))?;
    holds(&format!("the affinity is the kernel's: {after}"), after == before || after == json!([0]))
}
