//! Who the process is and what it may do: users, capabilities, seccomp, no_new_privs, devices, hidden paths.

use anyhow::{Result, ensure};

use super::{Case, EVERY, PODMANS, ROOTFUL, field, harmless_device, holds, same};
use crate::engine::{Engine, Kind};
use crate::image::NAME;

pub const CASES: &[Case] = &[
    Case { name: "user", by: EVERY, check: user },
    Case { name: "group_add", by: EVERY, check: group_add },
    Case { name: "caps_default", by: EVERY, check: caps_default },
    Case { name: "cap_drop_all", by: EVERY, check: cap_drop_all },
    Case { name: "cap_add", by: EVERY, check: cap_add },
    Case { name: "caps_of_a_user", by: EVERY, check: caps_of_a_user },
    Case { name: "no_new_privileges", by: EVERY, check: no_new_privileges },
    Case { name: "seccomp_default", by: EVERY, check: seccomp_default },
    Case { name: "seccomp_unconfined", by: EVERY, check: seccomp_unconfined },
    Case { name: "seccomp_file", by: EVERY, check: seccomp_file },
    Case { name: "privileged", by: EVERY, check: privileged },
    Case { name: "device", by: EVERY, check: device },
    Case { name: "device_denied", by: ROOTFUL, check: device_denied },
    Case { name: "masked_paths", by: EVERY, check: masked_paths },
    Case { name: "unmask", by: PODMANS, check: unmask },
    Case { name: "umask", by: PODMANS, check: umask },
];

/// The status file of a process in a new container, whose program is `cat` itself.
fn status(e: &dyn Engine, options: &str) -> Result<String> {
    e.ok(&format!("run --rm --network none {options} {NAME} cat /proc/self/status"))
}

fn user(e: &dyn Engine) -> Result<()> {
    same(e.sh("--user 1000:1000", "id")?, "uid=1000(app) gid=1000(app) groups=1000(app)")?;
    same(
        e.sh("--user app", "id; pwd; echo $HOME")?,
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n/\n/home/app",
    )?;
    same(e.sh("--user 4321:1234", "id -u; id -g")?, "4321\n1234")
}

fn group_add(e: &dyn Engine) -> Result<()> {
    let groups = e.sh("--user 1000:1000 --group-add 3333 --group-add extra", "id -G")?;
    let mut groups: Vec<_> = groups.split(' ').collect();
    groups.sort_unstable();
    same(groups.join(" "), "1000 2000 3333")
}

/// podman's default set, in all sets but the inheritable and the ambient one.
fn caps_default(e: &dyn Engine) -> Result<()> {
    let status = status(e, "")?;
    // chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod
    // audit_write setfcap: what podman 4.3 has built in.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        same(field(&status, set)?, "00000000a80425fb")?;
    }
    same(field(&status, "CapInh")?, "0000000000000000")?;
    same(field(&status, "CapAmb")?, "0000000000000000")
}

fn cap_drop_all(e: &dyn Engine) -> Result<()> {
    let status = status(e, "--cap-drop all")?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        same(field(&status, set)?, "0000000000000000")?;
    }
    Ok(())
}

fn cap_add(e: &dyn Engine) -> Result<()> {
    let status = status(e, "--cap-drop all --cap-add net_admin")?;
    same(field(&status, "CapEff")?, "0000000000001000")?;
    same(field(&status, "CapBnd")?, "0000000000001000")
}

/// Another user than root has none, except what is asked for, which is then ambient.
fn caps_of_a_user(e: &dyn Engine) -> Result<()> {
    let plain = status(e, "--user 1000")?;
    same(field(&plain, "CapEff")?, "0000000000000000")?;
    same(field(&plain, "CapBnd")?, "00000000a80425fb")?;
    let asked = status(e, "--user 1000 --cap-add net_admin")?;
    // docker gives no ambient ones, so it has the bounding set in mind only.
    let (set, other) = if e.is_docker() { ("CapBnd", "00000000a80435fb") } else { ("CapEff", "0000000000001000") };
    same(field(&asked, set)?, other)?;
    same(field(&asked, "CapAmb")?, if e.is_docker() { "0000000000000000" } else { "0000000000001000" })
}

fn no_new_privileges(e: &dyn Engine) -> Result<()> {
    same(field(&status(e, "--security-opt no-new-privileges")?, "NoNewPrivs")?, "1")?;
    same(field(&status(e, "")?, "NoNewPrivs")?, "0")
}

/// The default profile is a filter in force: it answers EPERM for swapoff(2), which itself would say EINVAL.
fn seccomp_default(e: &dyn Engine) -> Result<()> {
    same(field(&status(e, "")?, "Seccomp")?, "2")?;
    holds(e.sh("--cap-add sys_admin", "swapoff /bin/busybox 2>&1; true")?, "operation not permitted")
}

fn seccomp_unconfined(e: &dyn Engine) -> Result<()> {
    same(field(&status(e, "--security-opt seccomp=unconfined")?, "Seccomp")?, "0")
}

/// A profile of our own, with two rules for one call: by argument and by the errno it answers with.
fn seccomp_file(e: &dyn Engine) -> Result<()> {
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]}"#;
    std::fs::write(e.path("profile.json"), profile)?;
    let options = format!("--security-opt seccomp={}", e.path("profile.json"));
    // 28 is ENOSPC; signal 10 is SIGUSR1, and CONT is left alone.
    let script = "mkdir /new 2>&1; kill -CONT $$ && echo continued; kill -USR1 $$ 2>&1; echo alive";
    let printed = e.sh(&options, script)?;
    holds(&printed, "no space left on device")?;
    holds(&printed, "continued")?;
    holds(&printed, "operation not permitted")?;
    holds(&printed, "alive")
}

/// Everything this machine can give, no filter, a writable /sys, the host's devices.
fn privileged(e: &dyn Engine) -> Result<()> {
    let status = status(e, "--privileged")?;
    same(field(&status, "CapEff")?, e.all_capabilities()?)?;
    same(field(&status, "Seccomp")?, "0")?;
    let script = "mount -t tmpfs t /mnt && echo mounted; grep -c ' /sys sysfs rw' /proc/mounts";
    // A device of the host's that no container has by default.
    let device = format!("test -c {} && echo there", harmless_device()?);
    same(e.sh("--privileged", &format!("{script}; {device}"))?, "mounted\n1\nthere")
}

fn device(e: &dyn Engine) -> Result<()> {
    let script = "ls -l /dev/x | tr -s ' ' | cut -d' ' -f1,3-6; echo gone > /dev/x && cat /dev/x";
    let printed = e.sh("--device /dev/null:/dev/x", script)?;
    // An ordinary user cannot make one: it is the host's, whose owner has no name inside.
    holds(printed, if e.kind() == Kind::Rootless { "crw-rw-rw- 65534 65534 1, 3" } else { "crw-rw-rw- root root 1, 3" })
}

/// A device that is not asked for can be made, but not opened; one asked for to read cannot be written.
fn device_denied(e: &dyn Engine) -> Result<()> {
    holds(
        e.sh("", "mknod /k c 1 11 && echo made; cat /k 2>&1; true")?,
        "made\ncat: can't open '/k': operation not permitted",
    )?;
    let device = harmless_device()?;
    let script = "exec 3</dev/k && echo read; (exec 3>/dev/k) 2>&1; true";
    let allowed = e.sh(&format!("--device {device}:/dev/k:r"), script)?;
    holds(&allowed, "read")?;
    holds(allowed, "operation not permitted")
}

/// Masked files are empty, masked directories too; what is read-only refuses to be written.
fn masked_paths(e: &dyn Engine) -> Result<()> {
    same(
        e.sh("", "cat /proc/keys /proc/timer_list | wc -c; ls /proc/acpi /sys/firmware | grep -v : | wc -w")?,
        "0\n0",
    )?;
    let script = "(echo 0 > /proc/sys/kernel/panic) 2>&1; (echo 3 > /proc/irq/default_smp_affinity) 2>&1; true";
    let refused = e.sh("", script)?;
    ensure!(refused.matches("Read-only file system").count() == 2, "{refused}");
    if e.is_docker() {
        return Ok(());
    }
    same(e.sh("--security-opt mask=/usr/bin:/etc/passwd", "ls /usr/bin | wc -l; wc -c < /etc/passwd")?, "0\n0")
}

fn unmask(e: &dyn Engine) -> Result<()> {
    let script = "wc -c < /proc/keys; grep -c ' /proc/' /proc/mounts || true";
    let printed = e.sh("--security-opt unmask=ALL", script)?;
    ensure!(!printed.starts_with("0\n") && printed.ends_with("\n0"), "{printed}");
    Ok(())
}

fn umask(e: &dyn Engine) -> Result<()> {
    same(e.sh("--umask 0027", "umask")?, "0027")
}
