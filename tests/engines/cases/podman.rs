//! What only podman does: play kube, cgroup modes, user namespaces by itself, hooks from a directory, pods at work.

use std::fs;

use anyhow::{Result, ensure};

use super::network::needs_bridge;
use super::{Case, PODMAN, PODMANS, Skipped, exits, field, holds, same};
use crate::engine::Engine;
use crate::image::NAME;
use crate::process;

pub const CASES: &[Case] = &[
    Case { name: "play_kube", by: PODMAN, check: play_kube },
    Case { name: "pod_at_work", by: PODMAN, check: pod_at_work },
    Case { name: "cgroups_disabled", by: PODMAN, check: cgroups_disabled },
    Case { name: "cgroups_no_conmon", by: PODMAN, check: cgroups_no_conmon },
    Case { name: "cgroups_split", by: PODMAN, check: cgroups_split },
    Case { name: "userns_auto", by: PODMAN, check: userns_auto },
    Case { name: "hooks_directory", by: PODMAN, check: hooks_directory },
    Case { name: "top_by_ps", by: PODMANS, check: top_by_ps },
    Case { name: "systemd_mode", by: PODMAN, check: systemd_mode },
    Case { name: "rootfs_overlay", by: PODMAN, check: rootfs_overlay },
    Case { name: "runtime_by_path", by: PODMANS, check: runtime_by_path },
    Case { name: "runtime_flags", by: PODMAN, check: runtime_flags },
    Case { name: "build_runtime_flags", by: PODMAN, check: build_runtime_flags },
    Case { name: "healthcheck_interval", by: PODMAN, check: healthcheck_interval },
    Case { name: "system_df", by: PODMAN, check: system_df },
];

/// A Kubernetes pod with two containers, limits and a probe of the shared namespaces.
fn play_kube(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    let container = |name: &str, script: &str| {
        format!(
            "  - name: {name}\n    image: {NAME}:latest\n    imagePullPolicy: Never\n    command: [sh, -c, \"{script}\"]\n    \
             resources:\n      limits:\n        memory: 64Mi\n        cpu: 500m\n"
        )
    };
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube\nspec:\n  hostname: kubehost\n  containers:\n{}{}",
        container("one", "hostname; exec sleep 50"),
        container("two", "exec sleep 50")
    );
    let file = e.path("kube.yaml");
    fs::write(&file, text)?;
    e.ok(&format!("play kube {file}"))?;
    e.await_log("kube-one", "kubehost")?;
    let net = |name: &str| e.ok(&format!("exec {name} readlink /proc/self/ns/net"));
    same(net("kube-one")?, net("kube-two")?)?;
    let limit = |file| super::limit(e.pid("kube-one")?, file, "");
    same(limit(("memory", "memory.limit_in_bytes"))?, "67108864")?;
    same(limit(("cpu", "cpu.cfs_quota_us"))?, "50000")?;
    e.ok(&format!("play kube --down {file}")).map(drop)
}

fn pod_at_work(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    e.ok("pod create --name pod")?;
    e.start_in_pod("one")?;
    e.start_in_pod("two")?;
    same(e.ok("pod top pod pid args")?.matches("sleep 50").count().to_string(), "2")?;
    holds(e.ok("pod stats --no-stream pod")?, "one")?;
    e.ok("pod pause pod")?;
    same(e.ok("inspect --format {{.State.Status}} one two")?, "paused\npaused")?;
    e.ok("pod unpause pod")?;
    same(e.ok("exec one echo awake")?, "awake")?;
    e.ok("pod kill pod")?;
    same(e.ok("wait one two")?, "137\n137")?;
    e.ok("pod rm --force --time 0 pod").map(drop)
}

impl dyn Engine + '_ {
    fn start_in_pod(&self, name: &str) -> Result<String> {
        self.ok(&format!("run -d --pod pod --name {name} {NAME} sleep 50"))
    }
}

/// No cgroup is made: the container stays in the one of conmon.
fn cgroups_disabled(e: &dyn Engine) -> Result<()> {
    // podman asks its list of runtimes, by the name of the file, whether this can be.
    if e.is("runc") {
        return Err(Skipped("runc cannot do without cgroups, which podman knows").into());
    }
    let id = e.start_sh("free", "--cgroups disabled", "exec sleep 50")?;
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", e.pid("free")?))?;
    ensure!(!groups.contains(&id), "{groups}");
    same(&groups, fs::read_to_string("/proc/self/cgroup")?)?;
    same(e.ok("exec free echo in")?, "in")?;
    e.ok("stop --time 0 free").map(drop)
}

fn cgroups_no_conmon(e: &dyn Engine) -> Result<()> {
    let id = e.start_sh("alone", "--cgroups no-conmon --memory 64m", "exec sleep 50")?;
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", e.pid("alone")?))?;
    holds(groups, &id)?;
    same(super::limit(e.pid("alone")?, ("memory", "memory.limit_in_bytes"), "memory.max")?, "67108864")
}

fn cgroups_split(_e: &dyn Engine) -> Result<()> {
    if !fs::exists("/sys/fs/cgroup/cgroup.controllers")? {
        return Err(Skipped("podman looks for the cgroup2 line of its own and needs a pure cgroup v2 host").into());
    }
    same(_e.sh("--cgroups split", "echo split")?, "split")
}

/// podman takes a piece of the range of the user `containers` by itself.
fn userns_auto(e: &dyn Engine) -> Result<()> {
    let map = e.sh("--userns auto:size=2048", "tr -s ' ' < /proc/self/uid_map")?;
    same(map, " 0 400000 2048")
}

/// A hook that podman adds from a directory; it gets the container's state.
fn hooks_directory(e: &dyn Engine) -> Result<()> {
    let (directory, seen) = (e.path("hooks"), e.path("hook-saw"));
    fs::create_dir(&directory)?;
    let hook = format!(
        r#"{{"version": "1.0.0", "hook": {{"path": "/bin/sh", "args": ["sh", "-c", "cat > {seen}"]}},
            "when": {{"always": true}}, "stages": ["createRuntime"]}}"#
    );
    fs::write(format!("{directory}/hook.json"), hook)?;
    let mut command = e.enter(&[]);
    command.args(e.client()).args(["--hooks-dir", &directory]);
    command.args(["run", "--rm", "--network", "none", NAME, "echo", "ran"]);
    same(process::run(&mut command, "")?.out, "ran\n")?;
    let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(seen)?)?;
    ensure!(state["status"] == "creating" || state["status"] == "created", "{state}");
    ensure!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    Ok(())
}

/// With options of ps podman runs the host's ps in the container's pid namespace.
fn top_by_ps(e: &dyn Engine) -> Result<()> {
    e.start_sh("busy", "", "exec sleep 50")?;
    holds(e.ok("top busy -eo pid,args")?, "sleep 50")
}

/// --systemd: the mounts that systemd in a container needs, and its own stop signal.
fn systemd_mode(e: &dyn Engine) -> Result<()> {
    let script = "for path in /run /run/lock /tmp; do grep -c \" $path tmpfs rw\" /proc/mounts; done
        grep ' /sys/fs/cgroup/systemd ' /proc/mounts | tail -n 1 | cut -d' ' -f4 | cut -d, -f1";
    same(e.sh("--systemd always", script)?, "1\n1\n1\nrw")?;
    e.start_sh("init", "--systemd always", "exec sleep 50")?;
    same(e.ok("inspect --format {{.Config.StopSignal}} init")?, "37")
}

/// `:O`: the directory is the lower layer of a root that vanishes.
fn rootfs_overlay(e: &dyn Engine) -> Result<()> {
    let root = e.path("lower");
    crate::image::build(root.as_ref())?;
    let run = format!("run --rm --network none --rootfs {root}:O /bin/sh -c");
    same(e.ok_with(&run, &["echo written > /file; /bin/cat /file"])?, "written")?;
    ensure!(!fs::exists(format!("{root}/file"))?, "written to the lower directory");
    Ok(())
}

/// Without a word about it in any configuration.
fn runtime_by_path(e: &dyn Engine) -> Result<()> {
    let path = e.world().runtime.display().to_string();
    e.ok(&format!("--runtime {path} run -d --name by-path --network none {NAME} sleep 50"))?;
    same(e.ok("inspect --format {{.OCIRuntime}} by-path")?, path)?;
    same(e.ok("exec by-path echo in")?, "in")
}

/// Global flags that podman hands to every call of the runtime.
fn runtime_flags(e: &dyn Engine) -> Result<()> {
    let mut command = e.enter(&[]);
    command.args(e.client()).args(["--runtime-flag", "debug"]);
    command.args(["run", "--rm", "--network", "none", NAME, "cat", "/proc/self/status"]);
    let outcome = process::run(&mut command, "")?;
    exits(&outcome, 0)?;
    same(field(&outcome.out, "Seccomp")?, "2")
}

fn build_runtime_flags(e: &dyn Engine) -> Result<()> {
    let context = e.path("with-flags");
    fs::create_dir(&context)?;
    fs::write(format!("{context}/Containerfile"), format!("FROM {NAME}\nRUN echo made > /made\n"))?;
    e.ok(&format!("build --network none --runtime-flag debug --tag localhost/with-flags {context}"))?;
    same(e.ok("run --rm --network none localhost/with-flags cat /made")?, "made")?;
    e.ok("rmi localhost/with-flags").map(drop)
}

/// Whether or not systemd is there to run the command every so often, podman runs it when it is asked to.
fn healthcheck_interval(e: &dyn Engine) -> Result<()> {
    e.start_sh("healthy", "--health-interval 1h --health-cmd true", "exec sleep 50")?;
    exits(&e.call("healthcheck run healthy")?, 0)?;
    same(e.ok("inspect --format {{.State.Health.Status}} healthy")?, "healthy")
}

fn system_df(e: &dyn Engine) -> Result<()> {
    e.start_sh("counted", "", "exec sleep 50")?;
    let shown = e.ok("system df --format {{.Type}},{{.Total}},{{.Active}}")?;
    ensure!(shown.lines().any(|line| line == "Containers,1,1"), "{shown}");
    Ok(())
}
