//! Annotations that change what the runtime does, as crun knows them and engines set them.

use std::fs;

use serde_json::json;

use crate::support::terminal::FdSocket;
use crate::support::{Bundle, Cmd, Test, hook, is_minicon};

/// Every runtime but crun ignores them: "Implementations … MUST NOT generate an error if they encounter an unknown key."
fn test() -> Option<Test> {
    Test::of_minicon("runc does not know crun's annotations")
}

fn annotated<'t>(b: Bundle<'t>, name: &str, value: &str) -> Bundle<'t> {
    b.set("/annotations", json!({ name: value }))
}

/// The call, by somebody who is in these groups as well.
fn in_groups(call: Cmd, groups: &str) -> Cmd {
    call.through(&format!("exec setpriv --groups {groups} -- \"$@\""))
}

const GROUPS: [&str; 3] = ["sh", "-c", "grep Groups /proc/self/status | tr -s '\\t ' ' '"];

/// podman's `--group-add keep-groups`.
#[test]
fn the_groups_of_the_caller_are_kept_if_that_is_asked_for() {
    let Some(t) = test() else { return };
    for (value, shown) in [("1", "Groups: 1234 4321"), ("0", "Groups:")] {
        let b = annotated(t.bundle(&GROUPS), "run.oci.keep_original_groups", value);
        let b = b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        in_groups(b.on_bundle("run", &[]), "1234,4321").run().ok().prints(shown);
    }
    let b = t.bundle(&GROUPS);
    in_groups(b.on_bundle("run", &[]), "1234,4321").run().ok().prints("Groups:");
}

#[test]
fn the_groups_of_the_caller_are_kept_by_exec() {
    let Some(t) = test() else { return };
    let b = annotated(t.idle(), "run.oci.keep_original_groups", "1");
    b.up();
    in_groups(b.exec_with(&[], &GROUPS), "77").run().ok().prints("Groups: 77");
}

/// A group that is not mapped has no number there, and still counts; the kernel sorts them as they are outside.
#[test]
fn the_groups_of_the_caller_are_kept_in_a_user_namespace() {
    let Some(t) = test() else { return };
    let map = json!([{"containerID": 0, "hostID": 100000, "size": 1000}]);
    let b = annotated(t.bundle(&GROUPS), "run.oci.keep_original_groups", "1").unshare("user");
    let b = b.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    in_groups(b.on_bundle("run", &[]), "100005,77").run().ok().prints("Groups: 65534 5");
}

#[test]
fn what_hooks_print_goes_where_it_is_wanted() {
    let Some(t) = test() else { return };
    let (out, err) = (t.file("out", "first\n"), t.path("err"));
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let mut b = t.sh("echo ran");
    for kind in kinds {
        let words = hook(&format!("echo {kind}; echo {kind} failed >&2"));
        b = b.push(&format!("/hooks/{kind}"), words);
    }
    let b = b.set("/annotations", json!({"run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err}));
    b.run().ok().prints("ran");
    assert_eq!(fs::read_to_string(out).expect("out"), format!("first\n{}\n", kinds.join("\n")));
    assert_eq!(fs::read_to_string(err).expect("err"), format!("{} failed\n", kinds.join(" failed\n")));
}

/// What is not sent elsewhere is still told of a hook that fails.
#[test]
fn a_hook_that_fails_tells_its_errors_if_only_its_output_is_redirected() {
    let Some(t) = test() else { return };
    let b = t.bundle(&["true"]).push("/hooks/createRuntime", hook("echo said; echo wrong >&2; exit 4"));
    let b = annotated(b, "run.oci.hooks.stdout", t.path("out").to_str().expect("UTF-8"));
    b.run().fails("exit status 4, output: \"wrong\"");
    b.is_gone();
}

#[test]
fn a_file_for_hooks_that_cannot_be_opened_is_an_error_before_any_hook_runs() {
    let Some(t) = test() else { return };
    let b = t.bundle(&["true"]).push("/hooks/createRuntime", hook(&format!("echo > {}", t.path("ran").display())));
    let b = annotated(b, "run.oci.hooks.stderr", "/no/such/directory/file");
    b.run().fails("open(/no/such/directory/file): ENOENT").says("annotations[\"run.oci.hooks.stderr\"]");
    assert!(!t.path("ran").exists());
    b.is_gone();
}

#[test]
fn a_pidfd_goes_to_the_receiver() {
    let Some(t) = test() else { return };
    let socket = FdSocket::listen(&t, "pidfd");
    let b = annotated(t.idle(), "run.oci.pidfd_receiver", socket.arg());
    b.create().ok();
    let (_, descriptors) = socket.receive();
    let number = std::os::fd::AsRawFd::as_raw_fd(&descriptors[0]);
    let information = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).expect("fdinfo");
    assert!(information.contains(&format!("Pid:\t{}\n", b.pid())), "{information}");
    let b = annotated(t.bundle(&["true"]), "run.oci.pidfd_receiver", "/no/such/socket");
    b.run().fails("/no/such/socket").says("annotations[\"run.oci.pidfd_receiver\"]");
    b.is_gone();
}

/// What would run otherwise than it was asked to is refused; what would only be placed otherwise is told.
#[test]
fn an_annotation_that_is_not_carried_out_is_told() {
    let Some(t) = test() else { return };
    for (name, value) in [("run.oci.handler", "krun"), ("run.oci.seccomp_bpf_data", "AAAA")] {
        annotated(t.bundle(&["true"]), name, value).run().fails(&format!("annotations[\"{name}\"]"));
    }
    for (name, value) in [("run.oci.systemd.subgroup", "sub"), ("run.oci.delegate-cgroup", "sub")] {
        let b = annotated(t.bundle(&["echo", "ran"]), name, value);
        b.run()
            .ok()
            .prints("ran")
            .says(&format!("annotations[\"{name}\"]: this annotation of crun is not carried out"));
    }
    annotated(t.bundle(&["echo", "ran"]), "run.oci.systemd.subgroup", "").run().ok().prints("ran");
}

#[test]
fn a_value_that_makes_no_sense_is_an_error() {
    let Some(t) = test() else { return };
    for (name, value) in [
        ("run.oci.mount_context_type", "subcontext"),
        ("run.oci.hooks.stdout", "relative"),
        ("run.oci.seccomp.receiver", "relative"),
    ] {
        annotated(t.bundle(&["true"]), name, value).run().fails(&format!("annotations[\"{name}\"]"));
    }
    annotated(t.bundle(&["true"]), "run.oci.mount_context_type", "rootcontext").run().ok();
}

/// "The runtime … MUST NOT generate an error if they encounter an unknown key" (config.md, Annotations): only those that
/// crun has given a meaning are looked at.
#[test]
fn other_annotations_are_nobodys_business() {
    let t = Test::new();
    let b = annotated(t.bundle(&["echo", "ran"]), "run.oci.unheard-of", "x");
    let output = b.run().ok().prints("ran");
    assert!(!is_minicon() || output.stderr.is_empty(), "{}", output.stderr);
}
