//! Rules of the specification that other runtimes do not hold or hold otherwise; and what `--strict` changes.

use std::fs;

use serde_json::json;

use crate::support::{Bundle, Output, Test, hook, is_minicon, program};

/// A call with `--strict`.
fn strictly(t: &Test, b: &Bundle<'_>, words: &[&str]) -> Output {
    b.write();
    let mut call = t.runtime(["--strict"]).args(words);
    if ["create", "run"].contains(&words[0]) {
        call = call.arg("--bundle").arg(&b.dir);
    }
    call.arg(&b.id).run()
}

/// "MUST be in SemVer v2.0.0 format" (config.md, Specification version), and "The runtime MUST accept this value"
/// (features.md).
#[test]
fn versions_that_engines_write_are_taken() {
    let t = Test::new();
    for version in ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1", "1.3.0"] {
        let b = t.bundle(&["true"]).set("/ociVersion", version);
        let output = b.run().ok();
        assert_eq!(output.stderr, "", "{version}");
        if is_minicon() {
            strictly(&t, &b, &["run"]).ok();
        }
    }
}

#[test]
fn a_version_that_is_none_is_an_error() {
    let Some(t) = Test::of_minicon("runc does not look at it") else { return };
    for version in [json!("1.0"), json!("one"), json!(""), json!("2.0.0"), json!("0.2.0"), json!(1)] {
        t.bundle(&["true"]).set("/ociVersion", version).create().fails("ociVersion");
    }
    t.bundle(&["true"]).unset("/ociVersion").create().fails("ociVersion: is missing");
}

/// "Not compatible with a runtime that supports 1.0 and not 1.1" (config.md, Specification version); but engines write
/// the version of their library, whatever they use of it.
#[test]
fn a_newer_version_is_a_warning_unless_strict() {
    let Some(t) = Test::of_minicon("runc does not look at it") else { return };
    let b = t.bundle(&["true"]).set("/ociVersion", "1.99.0");
    b.run().ok().says("warning: ociVersion: 1.99.0 is newer than 1.3.0");
    strictly(&t, &b, &["run"]).fails("ociVersion: 1.99.0 is newer than 1.3.0");
}

/// "All of the properties configured in config.json except for process MUST be applied" (runtime.md, Create). "This
/// operation MUST generate an error if process was not set" (runtime.md, Start).
#[test]
fn a_container_without_a_process_is_created_and_not_started() {
    let Some(t) = Test::of_minicon("runc's create wants a process") else { return };
    let mark = t.path("mark");
    let b = t.bundle(&[]).unset("/process").set("/hostname", "empty").mount("tmpfs", "tmpfs", "/mnt", &["noexec"]);
    let b = b.own_rootfs().push("/hooks/createRuntime", hook(&format!("touch {}", mark.display())));
    b.create().ok();
    assert!(mark.exists());
    for _ in 0..2 {
        b.start().fails("process property must not be empty").says("config: process");
        assert_eq!(b.status(), "created");
    }
    let pid = b.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the holder of the namespaces");
    for set in ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("its mounts");
    assert!(mounts.lines().any(|line| line.contains(" /mnt ") && line.contains("noexec")), "{mounts}");
    let process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/bin/hostname"]});
    let process = t.file("process.json", &process.to_string());
    b.exec_with(&["--process", process.to_str().expect("UTF-8")], &[]).run().ok().prints("empty");
    b.exec(&["true"]).exits(255).says("process property must not be empty");
    b.kill("KILL").ok();
    b.becomes("stopped");
    b.start().fails("cannot start a container that has stopped");
    b.delete().ok();
    b.run().fails("process property must not be empty");
    b.is_gone();
}

/// "It MAY be a relative path, in which case it MUST be interpreted as relative to "/"" (config.md, Mounts).
#[test]
fn a_relative_destination_is_relative_to_the_root() {
    let t = Test::new();
    let b = t.bundle(&["grep", " /mnt/in ", "/proc/self/mountinfo"]).own_rootfs();
    let b = b.mount("tmpfs", "tmpfs", "mnt/in", &[]);
    let output = b.run().ok().shows(" /mnt/in ");
    if is_minicon() {
        output.says("warning: mounts[7].destination: the relative path \"mnt/in\" is deprecated");
    }
}

/// "Runtimes MUST create the following symlinks if the source file exists after processing mounts" (runtime-linux.md).
#[test]
fn the_links_of_dev_are_there_if_their_targets_are() {
    let t = Test::new();
    let list = "for f in fd stdin stdout stderr; do readlink /dev/$f; done; true";
    t.sh(list).run().ok().prints("/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2");
    if is_minicon() {
        let b = t.sh(list).unmount("/proc").set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
        b.run().ok().prints("");
    }
}

/// "If unspecified, the umask should not be changed from the calling process' umask" (config.md, User).
#[test]
fn the_umask_is_the_one_given_or_022_or_the_callers() {
    let t = Test::new();
    let with_umask = |b: &Bundle<'_>, flags: &[&str]| {
        b.write();
        let call = t.runtime(flags).args(["run", "--bundle"]).arg(&b.dir).arg(&b.id);
        call.through("umask 0027; exec \"$@\"").run().ok().stdout.trim_end().to_owned()
    };
    let b = t.sh("umask");
    assert_eq!(with_umask(&b, &[]), "0022");
    if is_minicon() {
        assert_eq!(with_umask(&b, &["--strict"]), "0027");
    }
    let b = t.sh("umask").set("/process/user/umask", 0o077);
    assert_eq!(with_umask(&b, &[]), "0077");
}

/// "Attempting to `delete` a container that is not `stopped` MUST have no effect on the container and MUST generate an
/// error" (runtime.md, Delete). Engines delete created containers.
#[test]
fn a_strict_delete_wants_a_stopped_container() {
    let Some(t) = Test::of_minicon("runc has no --strict") else { return };
    let b = t.idle();
    b.create().ok();
    strictly(&t, &b, &["delete"]).fails("that is not stopped: created");
    assert_eq!(b.status(), "created");
    b.start().ok();
    strictly(&t, &b, &["delete"]).fails("that is not stopped: running");
    b.stop();
    strictly(&t, &b, &["delete"]).ok();
    b.is_gone();
}

/// "Attempting to send a signal to a container that is neither created nor running MUST have no effect on the container
/// and MUST generate an error" (runtime.md, Kill).
#[test]
fn a_container_that_is_being_created_cannot_be_killed() {
    let Some(t) = Test::of_minicon("runc has no such state") else { return };
    let seen = t.path("seen");
    let b = t.idle();
    let (program, root) = (program().display(), t.root().display());
    let script = format!("{program} --root {root} kill {} >{} 2>&1; true", b.id, seen.display());
    let id = b.id.clone();
    let b = b.push("/hooks/createRuntime", hook(&script));
    b.create().ok();
    assert_eq!(b.status(), "created");
    let seen = fs::read_to_string(seen).expect("what the hook saw");
    assert!(seen.starts_with("container not running"), "{seen}");
    assert!(seen.contains(&format!("\"{id}\" is creating")), "{seen}");
}

/// "Runtimes MUST ignore `consoleSize` if `terminal` is `false` or unset" (config.md, Process).
#[test]
fn a_console_size_without_a_terminal_is_ignored() {
    let t = Test::new();
    t.bundle(&["true"]).set("/process/consoleSize", json!({"height": 10, "width": 20})).run().ok();
    if is_minicon() {
        t.bundle(&["true"]).set("/process/consoleSize", json!({"height": -1})).run().ok();
        let b = t.bundle(&["true"]).set("/process/terminal", true);
        b.set("/process/consoleSize", json!({"height": 1, "width": 65536})).create().fails("process.consoleSize.width");
    }
}

/// "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise MUST be logged as a
/// warning by the runtime. Runtimes SHOULD NOT fail" (config.md, Linux Process).
#[test]
fn a_capability_that_cannot_be_granted_is_a_warning() {
    let t = Test::new();
    let sets = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL", "CAP_FOWNER"], "ambient": ["CAP_KILL", "CAP_SETUID"]});
    let b = t.bundle(&["grep", "^Cap", "/proc/self/status"]).set("/process/capabilities", sets);
    if !is_minicon() {
        return; // runc 1.1.5 fails
    }
    let output = b.run().ok();
    let output = output.says("process.capabilities.effective: ignored, as it is not in the permitted set: CAP_CHOWN");
    let output = output.says("process.capabilities.inheritable: ignored, as it is not in the bounding set: CAP_FOWNER");
    let output = output.says("process.capabilities.ambient: ignored").says("CAP_SETUID");
    let kill = "0000000000000020";
    output.prints(&format!("CapInh:\t{kill}\nCapPrm:\t{kill}\nCapEff:\t{kill}\nCapBnd:\t{kill}\nCapAmb:\t{kill}"));
}

/// A label that is asked for where no module could give it is an error: "If the runtime cannot apply a property as
/// specified in the configuration, it MUST generate an error" (runtime.md, Create).
#[test]
fn a_label_without_its_security_module_is_an_error() {
    let lists = |module: &str| fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|list| list.contains(module));
    let apparmor = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|enabled| enabled.starts_with(b"Y"));
    let possible = is_minicon() && !apparmor && !lists("selinux");
    let Some(t) = Test::where_possible(possible, "a security module is enabled here, or the runtime ignores labels")
    else {
        return;
    };
    for (pointer, place) in [
        ("/process/apparmorProfile", "process.apparmorProfile"),
        ("/process/selinuxLabel", "process.selinuxLabel"),
        ("/linux/mountLabel", "linux.mountLabel"),
    ] {
        t.bundle(&["true"]).set(pointer, "label").create().fails(place).says("is not enabled on this host");
    }
}

/// What a document must have by the specification and may lack for other runtimes.
#[test]
fn a_strict_create_wants_what_is_required() {
    let Some(t) = Test::of_minicon("runc has no --strict") else { return };
    let b = t.bundle(&["true"]).unset("/process/user/gid").unset("/process/rlimits/0/hard");
    let b = b.set("/process/rlimits/0/soft", 0);
    b.run().ok();
    strictly(&t, &b, &["run"]).fails("process.user.gid").says("process.rlimits[0].hard");
    let b = t.bundle(&["true"]);
    b.write();
    let text = b.config.to_string().replacen('{', "{\"hostname\":\"first\",", 1);
    fs::write(b.dir.join("config.json"), &text).expect("write");
    let create = |flags: &[&str]| t.runtime(flags).args(["run", "--bundle"]).arg(&b.dir).arg(&b.id).run();
    create(&["--strict"]).fails("hostname: stands twice in one object");
    create(&[]).ok();
}

/// "Its value is either `shared`, `slave`, `private` or `unbindable`" (config-linux.md, Rootfs Mount Propagation).
#[test]
fn a_strict_create_takes_no_other_values() {
    let Some(t) = Test::of_minicon("runc has no --strict") else { return };
    let b = t.bundle(&["true"]).set("/linux/rootfsPropagation", "rslave");
    assert_eq!(b.run().ok().stderr, "");
    strictly(&t, &b, &["run"]).fails("linux.rootfsPropagation");
    let b = t.bundle(&["true"]).mount("bind", "/tmp", "/mnt", &[]);
    b.run().ok().says("warning: mounts[7]: has the type \"bind\"");
    strictly(&t, &b, &["run"]).fails("mounts[7]");
    strictly(&t, &t.bundle(&["true"]), &["run"]).ok();
}

/// "All configuration JSON MUST be encoded in UTF-8" (glossary.md, JSON).
#[test]
fn a_document_is_utf_8() {
    let Some(t) = Test::of_minicon("Go replaces what is not UTF-8") else { return };
    let b = t.bundle(&["true"]).set("/hostname", "name");
    let text = b.config.to_string().replace("\"name\"", "\"n\u{1}me\"");
    let bytes: Vec<u8> = text.into_bytes().into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    fs::write(b.dir.join("config.json"), bytes).expect("write");
    t.runtime(["create", "--bundle"]).arg(&b.dir).arg(&b.id).run().fails("config.json is not valid JSON");
}
