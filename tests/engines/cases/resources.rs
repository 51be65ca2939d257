//! Limits: cgroups, rlimits, oom score, /dev/shm, sysctls; read back where the kernel keeps them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, ensure};

use super::{Case, EVERY, ROOTFUL, Skipped, exits, has_shares, limit, same};
use crate::engine::Engine;
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "memory_pids_cpus", by: ROOTFUL, check: memory_pids_cpus },
    Case { name: "memory_seen_inside", by: ROOTFUL, check: memory_seen_inside },
    Case { name: "memory_oom", by: ROOTFUL, check: memory_oom },
    Case { name: "pids_limit_in_force", by: ROOTFUL, check: pids_limit_in_force },
    Case { name: "cpu_shares_and_cpuset", by: ROOTFUL, check: cpu_shares_and_cpuset },
    Case { name: "block_device_limit", by: ROOTFUL, check: block_device_limit },
    Case { name: "cgroup_parent", by: ROOTFUL, check: cgroup_parent },
    Case { name: "ulimit", by: EVERY, check: ulimit },
    Case { name: "oom_score_adj", by: EVERY, check: oom_score_adj },
    Case { name: "shm_size", by: EVERY, check: shm_size },
    Case { name: "sysctl", by: EVERY, check: sysctl },
];

fn memory_pids_cpus(e: &dyn Engine) -> Result<()> {
    e.start_sh("limited", "--memory 64m --pids-limit 50 --cpus 0.5", "exec sleep 50")?;
    let pid = e.pid("limited")?;
    same(limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max")?, "67108864")?;
    same(limit(pid, ("pids", "pids.max"), "pids.max")?, "50")?;
    let quota = limit(pid, ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    let period = limit(pid, ("cpu", "cpu.cfs_period_us"), "cpu.max")?;
    ensure!((quota == "50000" && period == "100000") || quota == "50000 100000", "{quota} of {period}");
    // podman doubles the memory for memory and swap, where the kernel counts swap.
    let with_swap = limit(pid, ("memory", "memory.memsw.limit_in_bytes"), "memory.swap.max")?;
    ensure!(["134217728", "67108864"].contains(&with_swap.as_str()), "{with_swap}");
    Ok(())
}

/// The same limits through the container's own /sys/fs/cgroup.
fn memory_seen_inside(e: &dyn Engine) -> Result<()> {
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us || \
        cat memory.max pids.max cpu.max";
    let seen = e.sh("--memory 64m --pids-limit 50 --cpus 0.5", script)?;
    ensure!(["67108864\n50\n50000", "67108864\n50\n50000 100000"].contains(&seen.as_str()), "{seen:?}");
    Ok(())
}

/// A process over the limit is killed, and conmon hears of it.
fn memory_oom(e: &dyn Engine) -> Result<()> {
    // The container lives on for a moment after the kill, or conmon might miss it.
    let run = format!("run --name greedy --network none --memory 20m --memory-swap 20m {NAME} sh -c");
    exits(&e.call_with(&run, &["tail /dev/zero; code=$?; sleep 0.5; exit $code"])?, 137)?;
    // conmon 2.1.6 notes it in the file `oom` of its working directory, where this podman does not look.
    let noted = fs::exists(e.path("home/oom"))? || e.ok("inspect --format {{.State.OOMKilled}} greedy")? == "true";
    ensure!(noted, "no out-of-memory event");
    Ok(())
}

fn pids_limit_in_force(e: &dyn Engine) -> Result<()> {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done 2>&1; true";
    let outcome = e.call_with(&format!("run --rm --network none --pids-limit 4 {NAME} sh -c"), &[script])?;
    super::holds(format!("{}{}", outcome.out, outcome.err), "can't fork")
}

fn cpu_shares_and_cpuset(e: &dyn Engine) -> Result<()> {
    e.start_sh("placed", "--cpu-shares 512 --cpuset-cpus 0", "exec sleep 50")?;
    let pid = e.pid("placed")?;
    has_shares(pid, 512)?;
    same(limit(pid, ("cpuset", "cpuset.cpus"), "cpuset.cpus")?, "0")?;
    same(super::field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "Cpus_allowed_list")?, "0")
}

/// Bytes a second, of a disk by its name.
fn block_device_limit(e: &dyn Engine) -> Result<()> {
    let disk = ["/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0"].into_iter().find(|path| Path::new(path).exists());
    let disk = disk.ok_or(Skipped("there is no disk to limit"))?;
    let device = fs::metadata(disk)?.rdev();
    e.start_sh("slow", &format!("--device-read-bps {disk}:1mb"), "exec sleep 50")?;
    let got = limit(e.pid("slow")?, ("blkio", "blkio.throttle.read_bps_device"), "io.max")?;
    let number = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    ensure!(got == format!("{number} 1048576") || got.starts_with(&format!("{number} rbps=1048576 ")), "{got}");
    Ok(())
}

fn cgroup_parent(e: &dyn Engine) -> Result<()> {
    let id = e.start_sh("nested", "--cgroup-parent /libpod_parent/inner", "exec sleep 50")?;
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", e.pid("nested")?))?;
    let expected = format!("/libpod_parent/inner/{}{id}", if e.is_docker() { "" } else { "libpod-" });
    let memory = groups.lines().find(|line| line.contains(":memory:") || line.starts_with("0::/libpod"));
    ensure!(memory.is_some_and(|line| line.ends_with(&expected)), "{groups}");
    Ok(())
}

fn ulimit(e: &dyn Engine) -> Result<()> {
    let options = "--ulimit nofile=64:128 --ulimit core=0:0 --ulimit nproc=500:600";
    same(
        e.sh(options, "ulimit -Sn; ulimit -Hn; ulimit -c; awk '/processes/ { print $3, $4 }' /proc/self/limits")?,
        "64\n128\n0\n500 600",
    )?;
    same(e.sh("", "ulimit -Sn; ulimit -Hn")?, "20000\n20000")
}

fn oom_score_adj(e: &dyn Engine) -> Result<()> {
    same(e.sh("--oom-score-adj 500", "cat /proc/self/oom_score_adj")?, "500")
}

fn shm_size(e: &dyn Engine) -> Result<()> {
    same(e.sh("--shm-size 3m", "df -k /dev/shm | awk 'END { print $2 }'")?, "3072")
}

fn sysctl(e: &dyn Engine) -> Result<()> {
    let options = "--sysctl kernel.msgmax=4242 --sysctl net.ipv4.ip_default_ttl=42";
    same(e.sh(options, "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_default_ttl")?, "4242\n42")
}
