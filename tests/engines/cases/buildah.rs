//! buildah: working containers and builds, whose every step is a create, start, state and delete of the runtime.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::network::needs_bridge;
use super::{Case, exits, field, holds, same};
use crate::buildah::LAYOUT;
use crate::engine::{Engine, Kind};
use crate::image::TAG;
use crate::process::Outcome;

const BUILDAH: &[Kind] = &[Kind::Buildah];

pub const CASES: &[Case] = &[
    Case { name: "run", by: BUILDAH, check: run },
    Case { name: "run_exit_code", by: BUILDAH, check: run_exit_code },
    Case { name: "run_terminal", by: BUILDAH, check: run_terminal },
    Case { name: "run_missing_program", by: BUILDAH, check: run_missing_program },
    Case { name: "run_volume", by: BUILDAH, check: run_volume },
    Case { name: "run_runtime_flags", by: BUILDAH, check: run_runtime_flags },
    Case { name: "run_network", by: BUILDAH, check: run_network },
    Case { name: "run_network_bridge", by: BUILDAH, check: run_network_bridge },
    Case { name: "run_user_and_workdir", by: BUILDAH, check: run_user_and_workdir },
    Case { name: "run_caps", by: BUILDAH, check: run_caps },
    Case { name: "run_hostname", by: BUILDAH, check: run_hostname },
    Case { name: "run_isolation_chroot", by: BUILDAH, check: run_isolation_chroot },
    Case { name: "build", by: BUILDAH, check: build },
    Case { name: "build_from_cache", by: BUILDAH, check: build_from_cache },
    Case { name: "build_memory", by: BUILDAH, check: build_memory },
    Case { name: "build_failing_step", by: BUILDAH, check: build_failing_step },
    Case { name: "commit", by: BUILDAH, check: commit },
];

/// The image as buildah names what is in no storage yet.
fn image() -> String {
    format!("oci:{LAYOUT}:{TAG}")
}

fn from(e: &dyn Engine) -> Result<()> {
    e.ok(&format!("from --name c {}", image())).map(drop)
}

fn run_with(e: &dyn Engine, options: &str, script: &str) -> Result<Outcome> {
    from(e)?;
    let options = if options.contains("--network") { options.to_owned() } else { format!("--network none {options}") };
    let run = format!("run --isolation oci --runtime {} {options} c -- sh -c", e.world().runtime.display());
    e.call_with(&run, &[script])
}

fn sh(e: &dyn Engine, options: &str, script: &str) -> Result<String> {
    let outcome = run_with(e, options, script)?;
    exits(&outcome, 0)?;
    Ok(outcome.out.trim_end().to_owned())
}

fn run(e: &dyn Engine) -> Result<()> {
    let outcome = run_with(e, "", "echo out; echo err >&2; echo $$")?;
    exits(&outcome, 0)?;
    same(outcome.out, "out\n1\n")?;
    holds(outcome.err, "err")
}

fn run_exit_code(e: &dyn Engine) -> Result<()> {
    exits(&run_with(e, "", "exit 42")?, 42)
}

fn run_terminal(e: &dyn Engine) -> Result<()> {
    from(e)?;
    let run = format!("run --network none --terminal --runtime {} c -- sh -c", e.world().runtime.display());
    let script = "tty; until stty size 2>/dev/null | grep -q '^[1-9]'; do sleep 0.1; done; stty size; exit 5";
    let outcome = e.call_on_terminal(&run, &[script])?;
    holds(&outcome.out, "/dev/pts/0\n37 111\n")?;
    exits(&outcome, 5)
}

fn run_missing_program(e: &dyn Engine) -> Result<()> {
    from(e)?;
    let outcome = e.call(&format!("run --network none --runtime {} c -- /bin/nowhere", e.world().runtime.display()))?;
    ensure!(outcome.code != 0, "success?");
    holds(&outcome.err, "/bin/nowhere")?;
    holds(outcome.err, "no such file or directory")
}

fn run_volume(e: &dyn Engine) -> Result<()> {
    let directory = e.path("volume");
    fs::create_dir(&directory)?;
    fs::write(format!("{directory}/file"), "there\n")?;
    let script = "cat /x/file; touch /x/new 2>/dev/null || echo refused";
    same(sh(e, &format!("--volume {directory}:/x:ro"), script)?, "there\nrefused")
}

/// Flags for the runtime: its messages go where we say, one JSON object a line.
fn run_runtime_flags(e: &dyn Engine) -> Result<()> {
    let log = e.path("runtime.log");
    from(e)?;
    let flags = format!("--runtime-flag log={log} --runtime-flag log-format=json");
    let run = format!("run --network none --runtime {} {flags} c -- /bin/nowhere", e.world().runtime.display());
    ensure!(e.call(&run)?.code != 0, "success?");
    let text = fs::read_to_string(log)?;
    let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    ensure!(last["level"] == "error", "{last}");
    holds(last["msg"].as_str().unwrap_or_default(), "/bin/nowhere")
}

fn run_network(e: &dyn Engine) -> Result<()> {
    same(sh(e, "--network none", "ls /sys/class/net")?, "lo")?;
    e.ok("rm --all")?;
    let link = sh(e, "--network host", "readlink /proc/self/ns/net")?;
    same(link, e.inside(&["readlink", "/proc/self/ns/net"])?.out.trim())
}

/// The default network, a bridge by netavark.
fn run_network_bridge(e: &dyn Engine) -> Result<()> {
    needs_bridge(e)?;
    same(sh(e, "--network podman", "ls /sys/class/net")?, "eth0\nlo")
}

fn run_user_and_workdir(e: &dyn Engine) -> Result<()> {
    same(sh(e, "--user app --workingdir /usr/bin --env A=1", "id -u; id -g; pwd; echo $A")?, "1000\n1000\n/usr/bin\n1")
}

fn run_caps(e: &dyn Engine) -> Result<()> {
    let status = sh(e, "--cap-drop CAP_CHOWN --cap-add CAP_NET_ADMIN", "cat /proc/self/status")?;
    same(field(&status, "CapEff")?, "00000000a80435fa")
}

fn run_hostname(e: &dyn Engine) -> Result<()> {
    same(sh(e, "--hostname built.example", "hostname")?, "built.example")
}

/// Without any runtime, beside one.
fn run_isolation_chroot(e: &dyn Engine) -> Result<()> {
    same(sh(e, "", "echo by the runtime > /made; cat /made")?, "by the runtime")?;
    same(e.ok("run --network host --isolation chroot c -- cat /made")?, "by the runtime")
}

/// Builds an image of one step; the client's outcome.
fn build_with(e: &dyn Engine, name: &str, options: &str, script: &str) -> Result<Outcome> {
    let context = e.path(name);
    fs::create_dir_all(&context)?;
    fs::write(format!("{context}/Containerfile"), format!("FROM {}\nRUN {script}\n", image()))?;
    let runtime = e.world().runtime.display();
    e.call(&format!("build --network none --runtime {runtime} {options} --tag localhost/{name} {context}"))
}

fn build(e: &dyn Engine) -> Result<()> {
    let outcome = build_with(e, "built", "", "echo built > /made && echo step && id -u")?;
    exits(&outcome, 0)?;
    holds(outcome.out, "step\n0\n")?;
    e.ok("from --name c localhost/built")?;
    let run = format!("run --network none --runtime {} c -- cat /made", e.world().runtime.display());
    same(e.ok(&run)?, "built")?;
    e.ok("rm c")?;
    e.ok("rmi localhost/built").map(drop)
}

/// A step that is in the cache is not run again.
fn build_from_cache(e: &dyn Engine) -> Result<()> {
    holds(build_with(e, "cached", "--layers", "echo once > /made && echo running")?.out, "running\n")?;
    let again = build_with(e, "cached", "--layers", "echo once > /made && echo running")?;
    exits(&again, 0)?;
    holds(format!("{}{}", again.out, again.err), "using cache")?;
    ensure!(!again.out.contains("\nrunning\n"), "{}", again.out);
    e.ok("rmi localhost/cached").map(drop)
}

/// The limit of a build, seen from inside its step.
fn build_memory(e: &dyn Engine) -> Result<()> {
    let file = "/sys/fs/cgroup/memory$(sed -n 's/.*:memory://p' /proc/self/cgroup)/memory.limit_in_bytes";
    let script =
        format!("cat {file} /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true");
    let outcome = build_with(e, "limited", "--memory 64m", &script)?;
    exits(&outcome, 0)?;
    holds(&outcome.out, "\n67108864\n")?;
    e.ok("rmi localhost/limited").map(drop)
}

fn build_failing_step(e: &dyn Engine) -> Result<()> {
    let outcome = build_with(e, "unbuilt", "", "exit 3")?;
    exits(&outcome, 3)?;
    holds(outcome.err, "exit status 3")
}

fn commit(e: &dyn Engine) -> Result<()> {
    sh(e, "", "echo kept > /made")?;
    e.ok("commit c localhost/committed")?;
    e.ok("rm c")?;
    e.ok("from --name d localhost/committed")?;
    let run = format!("run --network none --runtime {} d -- cat /made", e.world().runtime.display());
    same(e.ok(&run)?, "kept")?;
    e.ok("rm d")?;
    e.ok("rmi localhost/committed").map(drop)
}
