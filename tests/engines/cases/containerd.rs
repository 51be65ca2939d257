//! `ctr`, that is containerd's shim io.containerd.runc.v2 with nothing above it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, Skipped, exits, field, harmless_device, has_shares, holds, limit, same};
use crate::engine::{Engine, Kind};
use crate::image::{self, FULL_NAME};
use crate::process::{self, Outcome};
use crate::snapshot::CONTAINERD_NAMESPACE;

const CTR: &[Kind] = &[Kind::Containerd];

pub const CASES: &[Case] = &[
    Case { name: "run", by: CTR, check: run },
    Case { name: "run_exit_code", by: CTR, check: run_exit_code },
    Case { name: "run_missing_program", by: CTR, check: run_missing_program },
    Case { name: "run_terminal", by: CTR, check: run_terminal },
    Case { name: "run_by_default_shim", by: CTR, check: run_by_default_shim },
    Case { name: "run_rootfs", by: CTR, check: run_rootfs },
    Case { name: "run_config", by: CTR, check: run_config },
    Case { name: "run_stdin", by: CTR, check: run_stdin },
    Case { name: "run_systemd_cgroup", by: CTR, check: run_systemd_cgroup },
    Case { name: "create_and_start", by: CTR, check: create_and_start },
    Case { name: "pid_file", by: CTR, check: pid_file },
    Case { name: "detached", by: CTR, check: detached },
    Case { name: "exec", by: CTR, check: exec },
    Case { name: "exec_terminal", by: CTR, check: exec_terminal },
    Case { name: "exec_user_and_cwd", by: CTR, check: exec_user_and_cwd },
    Case { name: "exec_detached", by: CTR, check: exec_detached },
    Case { name: "exec_missing_program", by: CTR, check: exec_missing_program },
    Case { name: "ps", by: CTR, check: ps },
    Case { name: "metrics", by: CTR, check: metrics },
    Case { name: "pause_and_resume", by: CTR, check: pause_and_resume },
    Case { name: "checkpoint", by: CTR, check: checkpoint },
    Case { name: "kill", by: CTR, check: kill },
    Case { name: "kill_caught", by: CTR, check: kill_caught },
    Case { name: "kill_all", by: CTR, check: kill_all },
    Case { name: "delete", by: CTR, check: delete },
    Case { name: "delete_by_force", by: CTR, check: delete_by_force },
    Case { name: "events", by: CTR, check: events },
    Case { name: "memory_oom", by: CTR, check: memory_oom },
    Case { name: "limits", by: CTR, check: limits },
    Case { name: "cgroup", by: CTR, check: cgroup },
    Case { name: "read_only_root", by: CTR, check: read_only_root },
    Case { name: "privileged", by: CTR, check: privileged },
    Case { name: "caps", by: CTR, check: caps },
    Case { name: "seccomp", by: CTR, check: seccomp },
    Case { name: "new_privileges", by: CTR, check: new_privileges },
    Case { name: "mount", by: CTR, check: mount },
    Case { name: "device", by: CTR, check: device },
    Case { name: "env_and_cwd", by: CTR, check: env_and_cwd },
    Case { name: "net_host", by: CTR, check: net_host },
    Case { name: "namespace_by_path", by: CTR, check: namespace_by_path },
    Case { name: "userns", by: CTR, check: userns },
    Case { name: "twenty_at_once", by: CTR, check: twenty_at_once },
];

const FOREVER: &str = "exec sleep 50";

/// `ctr run OPTIONS` of `script`, with the runtime under test.
fn run_with(e: &dyn Engine, options: &str, script: &str) -> Result<Outcome> {
    e.call_with(&format!("run --rm {} {options} {FULL_NAME} c sh -c", binary(e)), &[script])
}

fn sh(e: &dyn Engine, options: &str, script: &str) -> Result<String> {
    let outcome = run_with(e, options, script)?;
    exits(&outcome, 0)?;
    Ok(outcome.out.trim_end().to_owned())
}

/// Starts a container in the background; the pid of its first process.
fn start(e: &dyn Engine, id: &str, options: &str, script: &str) -> Result<i32> {
    e.ok_with(&format!("run --detach {} {options} {FULL_NAME} {id} sh -c", binary(e)), &[script])?;
    Ok(task(e, id)?.0)
}

fn binary(e: &dyn Engine) -> String {
    format!("--runc-binary {}", e.world().runtime.display())
}

/// Pid and status of a task, as `ctr tasks ls` has them.
fn task(e: &dyn Engine, id: &str) -> Result<(i32, String)> {
    let list = e.ok("tasks ls")?;
    let rows = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.first() == Some(&id)).with_context(|| format!("no {id} in {list}"))?;
    Ok((row[1].parse()?, row[2].to_owned()))
}

fn await_status(e: &dyn Engine, id: &str, status: &str) -> Result<()> {
    let there = process::until(Duration::from_secs(10), || Ok(task(e, id)?.1 == status))?;
    ensure!(there, "{id} is {}, not {status}", task(e, id)?.1);
    Ok(())
}

fn run(e: &dyn Engine) -> Result<()> {
    let outcome = run_with(e, "", "echo out; echo err >&2")?;
    same(outcome.out, "out\n")?;
    same(outcome.err, "err\n")?;
    same(e.ok("containers ls --quiet")?, "")?;
    same(e.runtime(&["list", "--quiet"])?.out, "")
}

fn run_exit_code(e: &dyn Engine) -> Result<()> {
    exits(&run_with(e, "", "exit 42")?, 42)
}

/// The runtime's own words, out of its log, arrive at the client.
fn run_missing_program(e: &dyn Engine) -> Result<()> {
    let outcome = e.call(&format!("run --rm {} {FULL_NAME} c /bin/nowhere", binary(e)))?;
    ensure!(outcome.code != 0, "success?");
    holds(&outcome.err, "/bin/nowhere")?;
    holds(outcome.err, "no such file or directory")
}

fn run_terminal(e: &dyn Engine) -> Result<()> {
    let script = "tty; until stty size 2>/dev/null | grep -q '^[1-9]'; do sleep 0.1; done; stty size; exit 5";
    let run = format!("run --rm --tty {} {FULL_NAME} c sh -c", binary(e));
    let outcome = e.call_on_terminal(&run, &[script])?;
    same(&outcome.out, "/dev/pts/0\n37 111\n")?;
    exits(&outcome, 5)
}

/// Without --runc-binary the shim calls `runc` of its path.
fn run_by_default_shim(e: &dyn Engine) -> Result<()> {
    let run = format!("run --detach --runtime io.containerd.runc.v2 {FULL_NAME} c sleep 50");
    e.ok(&run)?;
    same(e.runtime(&["list", "--quiet"])?.out.trim(), "c")
}

fn run_rootfs(e: &dyn Engine) -> Result<()> {
    let root = e.path("plain-root");
    image::build(root.as_ref())?;
    let run = format!("run --rm {} --rootfs {root} c /bin/sh -c", binary(e));
    same(e.ok_with(&run, &["echo written > /file; /bin/cat /file"])?, "written")?;
    same(fs::read_to_string(format!("{root}/file"))?, "written\n")
}

/// A configuration of the caller's, here the runtime's own template with a script and with `change`; its file.
fn configuration(e: &dyn Engine, name: &str, script: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    let bundle = e.path(name);
    fs::create_dir(&bundle)?;
    image::build(format!("{bundle}/rootfs").as_ref())?;
    exits(&e.runtime(&["spec", "--bundle", &bundle])?, 0)?;
    let file = format!("{bundle}/config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    config["root"] = json!({"path": format!("{bundle}/rootfs"), "readonly": true});
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    // Limits above this process's own need CAP_SYS_RESOURCE.
    config["process"]["rlimits"] = json!([]);
    change(&mut config);
    fs::write(&file, config.to_string())?;
    Ok(file)
}

fn run_config(e: &dyn Engine) -> Result<()> {
    let file = configuration(e, "config", "hostname", |config| config["hostname"] = "configured".into())?;
    same(e.ok(&format!("run --rm {} --config {file} c", binary(e)))?, "configured")
}

/// ctr loses the end of its input if that comes before it has made the task, and then waits for ever.
fn run_stdin(e: &dyn Engine) -> Result<()> {
    for seconds in [1, 4, 16] {
        let feed = format!("{{ printf 'one\\ntwo\\n'; sleep {seconds}; }} | timeout -s KILL 20 \"$@\"");
        let run = format!("run --rm {} {FULL_NAME} c cat", binary(e));
        let outcome = process::run(&mut e.command(&["sh", "-c", &feed, "sh"], &run, &[]), "")?;
        if outcome.code == 0 {
            return same(outcome.out, "one\ntwo\n");
        }
        e.clear()?;
    }
    Err(Skipped("ctr lost the end of its input three times").into())
}

/// The shim passes --systemd-cgroup and the path as it is. Where systemd is not, that is an error which says so.
fn run_systemd_cgroup(e: &dyn Engine) -> Result<()> {
    let outcome = run_with(e, "--runc-systemd-cgroup --cgroup system.slice:engines-test:c", "echo ran")?;
    if fs::exists("/run/systemd/system")? && outcome.code == 0 {
        return same(outcome.out, "ran\n");
    }
    ensure!(outcome.code != 0, "it ran without systemd: {}", outcome.out);
    holds(outcome.err, "systemd")
}

/// The two halves of `run`, by the shim's own choice of a runtime, because `containers create` takes none.
fn create_and_start(e: &dyn Engine) -> Result<()> {
    // ctr would take an option of the program's, such as `-c`, for its own.
    e.ok(&format!("containers create --runtime io.containerd.runc.v2 {FULL_NAME} c cat /etc/group /nowhere"))?;
    same(e.ok("containers ls --quiet")?, "c")?;
    same(e.ok("tasks ls --quiet")?, "")?;
    let outcome = e.call("tasks start c")?;
    same(outcome.out.lines().next().unwrap_or_default(), "root:x:0:")?;
    exits(&outcome, 1)
}

fn pid_file(e: &dyn Engine) -> Result<()> {
    let file = e.path("pid");
    let pid = start(e, "c", &format!("--pid-file {file}"), FOREVER)?;
    same(fs::read_to_string(file)?, pid.to_string())
}

fn detached(e: &dyn Engine) -> Result<()> {
    let pid = start(e, "c", "", FOREVER)?;
    same(task(e, "c")?.1, "RUNNING")?;
    same(fs::read_to_string(format!("/proc/{pid}/comm"))?, "sleep\n")?;
    let state: Value = serde_json::from_str(&e.runtime(&["state", "c"])?.out)?;
    ensure!(state["status"] == "running" && state["pid"] == pid, "{state}");
    Ok(())
}

fn exec(e: &dyn Engine) -> Result<()> {
    start(e, "c", "--env A=container", FOREVER)?;
    let outcome = e.call_with("tasks exec --exec-id x c sh -c", &["echo $A; echo err >&2; exit 7"])?;
    same(&outcome.out, "container\n")?;
    same(&outcome.err, "err\n")?;
    exits(&outcome, 7)
}

fn exec_terminal(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", FOREVER)?;
    let script = "until stty size 2>/dev/null | grep -q '^[1-9]'; do sleep 0.1; done; tty; stty size; exit 6";
    let outcome = e.call_on_terminal("tasks exec --tty --exec-id x c sh -c", &[script])?;
    same(&outcome.out, "/dev/pts/0\n37 111\n")?;
    exits(&outcome, 6)
}

fn exec_user_and_cwd(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", FOREVER)?;
    let exec = "tasks exec --exec-id x --user 1000:2000 --cwd /usr/bin c sh -c";
    same(e.ok_with(exec, &["id -u; id -g; pwd"])?, "1000\n2000\n/usr/bin")
}

fn exec_detached(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", FOREVER)?;
    e.ok_with("tasks exec --detach --exec-id x c sh -c", &["echo background > /made; exec sleep 40"])?;
    let made = || Ok(e.call("tasks exec --exec-id y c cat /made")?.out == "background\n");
    ensure!(process::until(Duration::from_secs(10), made)?, "/made did not appear");
    e.ok("tasks kill --signal KILL --exec-id x c").map(drop)
}

fn exec_missing_program(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", FOREVER)?;
    let outcome = e.call("tasks exec --exec-id x c /bin/nowhere")?;
    ensure!(outcome.code != 0, "success?");
    holds(outcome.err, "no such file or directory")
}

fn ps(e: &dyn Engine) -> Result<()> {
    let pid = start(e, "c", "", "sleep 49 & exec sleep 50")?;
    let mut listed = String::new();
    process::until(Duration::from_secs(10), || {
        listed = e.ok("tasks ps c")?;
        Ok(listed.lines().count() == 3)
    })?;
    let pids: Vec<_> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(pids.len() == 2 && pids.contains(&pid.to_string().as_str()), "{listed}");
    for pid in pids {
        same(fs::read_to_string(format!("/proc/{pid}/comm"))?, "sleep\n")?;
    }
    Ok(())
}

fn metrics(e: &dyn Engine) -> Result<()> {
    start(e, "c", "--memory-limit 67108864", FOREVER)?;
    let table = e.ok("tasks metrics c")?;
    let value = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
    };
    ensure!(value("pids.current") == Some(1), "{table}");
    ensure!(value("memory.usage_in_bytes").or(value("memory.usage")).is_some_and(|bytes| bytes > 0), "{table}");
    let json: Value = serde_json::from_str(&e.ok("tasks metrics --format json c")?)?;
    ensure!(json["pids"]["current"] == 1, "{json}");
    Ok(())
}

fn pause_and_resume(e: &dyn Engine) -> Result<()> {
    let pid = start(e, "c", "", FOREVER)?;
    e.ok("tasks pause c")?;
    same(task(e, "c")?.1, "PAUSED")?;
    let frozen = limit(pid, ("freezer", "freezer.state"), "cgroup.freeze")?;
    ensure!(["FROZEN", "1"].contains(&frozen.as_str()), "{frozen}");
    e.ok("tasks resume c")?;
    same(task(e, "c")?.1, "RUNNING")?;
    let thawed = limit(pid, ("freezer", "freezer.state"), "cgroup.freeze")?;
    ensure!(["THAWED", "0"].contains(&thawed.as_str()), "{thawed}");
    same(e.ok("tasks exec --exec-id x c echo again")?, "again")
}

fn checkpoint(e: &dyn Engine) -> Result<()> {
    super::checkpoint::needs_criu(e)?;
    start(e, "c", "", FOREVER)?;
    let (images, work) = (e.path("images"), e.path("work"));
    e.ok(&format!("tasks checkpoint --exit --image-path {images} --work-path {work} c"))?;
    ensure!(fs::exists(format!("{images}/inventory.img"))?, "no images in {images}");
    await_status(e, "c", "STOPPED")
}

fn kill(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", FOREVER)?;
    e.ok("tasks kill --signal KILL c")?;
    await_status(e, "c", "STOPPED")?;
    // `ctr tasks delete` tells the task's code.
    holds(e.call("tasks delete c")?.err, "exit code 137")
}

fn kill_caught(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", "trap 'exit 9' USR1; touch /ready; while :; do sleep 0.05; done")?;
    let ready = || Ok(e.call("tasks exec --exec-id x c test -e /ready")?.code == 0);
    ensure!(process::until(Duration::from_secs(10), ready)?, "not ready");
    e.ok("tasks kill --signal USR1 c")?;
    await_status(e, "c", "STOPPED")?;
    holds(e.call("tasks delete c")?.err, "exit code 9\"")
}

fn kill_all(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", "sleep 49 & sleep 48 & exec sleep 50")?;
    e.ok("tasks kill --all --signal KILL c")?;
    await_status(e, "c", "STOPPED")
}

fn delete(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", FOREVER)?;
    ensure!(e.call("tasks delete c")?.code != 0, "deleted while running");
    same(task(e, "c")?.1, "RUNNING")?;
    start(e, "d", "", "exit 4")?;
    await_status(e, "d", "STOPPED")?;
    holds(e.call("tasks delete d")?.err, "exit code 4\"")?;
    e.ok("containers delete d")?;
    same(e.ok("containers ls --quiet")?, "c")
}

fn delete_by_force(e: &dyn Engine) -> Result<()> {
    start(e, "c", "", "trap '' TERM; sleep 49 & exec sleep 50")?;
    e.call("tasks delete --force c")?;
    e.ok("containers delete c")?;
    same(e.runtime(&["list", "--quiet"])?.out, "")
}

/// What `ctr events` prints while `action` runs.
fn watched(e: &dyn Engine, action: impl FnOnce() -> Result<()>, wanted: &[&str]) -> Result<()> {
    let path = e.path("events");
    let watcher =
        e.command(&[], "events", &[]).stdin(std::process::Stdio::null()).stdout(fs::File::create(&path)?).spawn()?;
    // The subscription is there when an event of ours arrives.
    let mut count = 0;
    let subscribed = process::until(Duration::from_secs(10), || {
        count += 1;
        e.ok(&format!("namespaces create engines-mark{count}"))?;
        e.ok(&format!("namespaces remove engines-mark{count}"))?;
        Ok(!fs::read_to_string(&path)?.is_empty())
    });
    let result = subscribed.and_then(|_| action());
    let mut seen = String::new();
    let found = process::until(Duration::from_secs(10), || {
        seen = fs::read_to_string(&path)?;
        Ok(wanted.iter().all(|topic| seen.contains(topic)))
    })?;
    crate::world::stop_daemon(&watcher)?;
    result?;
    ensure!(found, "not all of {wanted:?} in {seen}");
    Ok(())
}

fn events(e: &dyn Engine) -> Result<()> {
    let action = || exits(&run_with(e, "", "exit 3")?, 3);
    watched(e, action, &["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"])
}

fn memory_oom(e: &dyn Engine) -> Result<()> {
    // The container lives on for a moment after the kill, or the shim might miss it. ctr has no limit for swap.
    let script = "tail /dev/zero; code=$?; sleep 0.5; exit $code";
    let file = configuration(e, "greedy", script, |config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 20 << 20, "swap": 20 << 20});
        config["linux"]["cgroupsPath"] = format!("/{CONTAINERD_NAMESPACE}/greedy").into();
    })?;
    let action = || exits(&e.call(&format!("run --rm {} --config {file} c", binary(e)))?, 137);
    watched(e, action, &["/tasks/oom"])
}

fn limits(e: &dyn Engine) -> Result<()> {
    let options = "--memory-limit 67108864 --cpus 0.5 --cpu-shares 512 --annotation a=b";
    let pid = start(e, "c", options, FOREVER)?;
    same(limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max")?, "67108864")?;
    let quota = limit(pid, ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    ensure!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    has_shares(pid, 512)?;
    Ok(())
}

fn cgroup(e: &dyn Engine) -> Result<()> {
    let pid = start(e, "c", &format!("--cgroup /{CONTAINERD_NAMESPACE}/special"), FOREVER)?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let memory = groups.lines().find(|line| line.contains(":memory:") || line.starts_with("0::/engines"));
    let expected = format!("/{CONTAINERD_NAMESPACE}/special");
    ensure!(memory.is_some_and(|line| line.ends_with(&expected)), "{groups}");
    Ok(())
}

fn read_only_root(e: &dyn Engine) -> Result<()> {
    holds(sh(e, "--read-only", "touch /new 2>&1; true")?, "read-only file system")
}

fn status(e: &dyn Engine, options: &str) -> Result<String> {
    e.ok(&format!("run --rm {} {options} {FULL_NAME} c cat /proc/self/status", binary(e)))
}

fn privileged(e: &dyn Engine) -> Result<()> {
    let ours = field(&fs::read_to_string("/proc/self/status")?, "CapBnd")?;
    same(field(&status(e, "--privileged")?, "CapEff")?, ours)?;
    same(sh(e, "--privileged", "mount -t tmpfs t /mnt && echo mounted")?, "mounted")
}

fn caps(e: &dyn Engine) -> Result<()> {
    same(field(&status(e, "")?, "CapEff")?, "00000000a80425fb")?;
    same(field(&status(e, "--cap-drop CAP_CHOWN --cap-add CAP_NET_ADMIN")?, "CapEff")?, "00000000a80435fa")
}

fn seccomp(e: &dyn Engine) -> Result<()> {
    same(field(&status(e, "")?, "Seccomp")?, "0")?;
    same(field(&status(e, "--seccomp")?, "Seccomp")?, "2")?;
    let options = "--seccomp --cap-add CAP_SYS_ADMIN";
    // The profile allows mount to who may; swapoff(2) is in no list and would itself say EINVAL.
    holds(sh(e, options, "swapoff /bin/busybox 2>&1; true")?, "operation not permitted")
}

fn new_privileges(e: &dyn Engine) -> Result<()> {
    same(field(&status(e, "")?, "NoNewPrivs")?, "1")?;
    same(field(&status(e, "--allow-new-privs")?, "NoNewPrivs")?, "0")
}

fn mount(e: &dyn Engine) -> Result<()> {
    let directory = e.path("mounted");
    fs::create_dir(&directory)?;
    fs::write(format!("{directory}/file"), "there\n")?;
    let options = format!("--mount type=bind,src={directory},dst=/x,options=rbind:ro");
    same(sh(e, &options, "cat /x/file; touch /x/new 2>/dev/null || echo refused")?, "there\nrefused")
}

/// The device is there and may be used; another one made inside may not.
fn device(e: &dyn Engine) -> Result<()> {
    let device = harmless_device()?;
    let script = format!("exec 3<{device} && echo opened; mknod /k c 1 11 && cat /k 2>&1; true");
    let printed = sh(e, &format!("--device {device}"), &script)?;
    holds(&printed, "opened")?;
    holds(printed, "operation not permitted")
}

fn env_and_cwd(e: &dyn Engine) -> Result<()> {
    same(sh(e, "--env A=1 --cwd /usr/bin", "echo $A; pwd")?, "1\n/usr/bin")
}

fn net_host(e: &dyn Engine) -> Result<()> {
    same(sh(e, "--net-host", "readlink /proc/self/ns/net")?, e.inside(&["readlink", "/proc/self/ns/net"])?.out.trim())?;
    same(sh(e, "", "ls /sys/class/net")?, "lo")
}

fn namespace_by_path(e: &dyn Engine) -> Result<()> {
    let pid = start(e, "c", "", FOREVER)?;
    let run =
        format!("run --rm {} --with-ns network:/proc/{pid}/ns/net {FULL_NAME} d readlink /proc/self/ns/net", binary(e));
    same(e.ok(&run)?, fs::read_link(format!("/proc/{pid}/ns/net"))?.display().to_string())
}

fn userns(e: &dyn Engine) -> Result<()> {
    let options = "--uidmap 0:300000:65536 --gidmap 0:400000:65536";
    let script = "id -u; tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map; stat -c %u:%g /bin/busybox";
    same(sh(e, options, script)?, "0\n 0 300000 65536\n 0 400000 65536\n0:0")
}

/// Many shims and runtimes side by side.
fn twenty_at_once(e: &dyn Engine) -> Result<()> {
    let loop_ = ["sh", "-c", "for n in $(seq 20); do \"$@\" many$n sleep 50 & done; wait", "sh"];
    let run = format!("run --detach {} {FULL_NAME}", binary(e));
    exits(&process::run(&mut e.command(&loop_, &run, &[]), "")?, 0)?;
    same(e.ok("tasks ls --quiet")?.lines().count().to_string(), "20")?;
    same(e.runtime(&["list", "--quiet"])?.out.lines().count().to_string(), "20")
}
