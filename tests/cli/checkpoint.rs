//! A container saved by criu and made again: it goes on where it was.

use std::fs;
use std::process::Command;

use crate::support::{Bundle, Test, eventually};

/// criu must be there and able to work with this kernel, which it says itself.
fn with_criu() -> Option<Test> {
    let works = || Command::new("criu").arg("check").output().is_ok_and(|checked| checked.status.success());
    Test::where_found(|| works().then_some(()), "criu is not installed or cannot work on this kernel")
        .map(|(test, ())| test)
}

/// The caller's files are of another tree, which criu does not save.
const ALONE: &str = "exec </dev/null >/dev/null 2>&1";

/// A container that counts in a file of its root, and in its memory.
fn counting(t: &Test) -> Bundle<'_> {
    t.sh(&format!("{ALONE}; i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.05; done")).own_rootfs()
}

fn count(b: &Bundle<'_>) -> u32 {
    fs::read_to_string(b.rootfs().join("count")).unwrap_or_default().trim().parse().unwrap_or(0)
}

#[track_caller]
fn counts_beyond(b: &Bundle<'_>, start: u32) {
    eventually("the program goes on counting", || count(b) > start + 3);
}

fn save(t: &Test, b: &Bundle<'_>, flags: &[&str]) {
    let images = t.path("images");
    t.runtime(["checkpoint", "--image-path"]).arg(images).args(flags).arg(&b.id).limit(120).run().ok();
}

fn restore(t: &Test, b: &Bundle<'_>) {
    let images = t.path("images");
    t.runtime(["restore", "--detach", "--image-path"])
        .arg(images)
        .args(["--bundle"])
        .arg(&b.dir)
        .arg(&b.id)
        .limit(120)
        .run()
        .ok();
}

#[test]
fn a_counter_goes_on_where_it_was() {
    let Some(t) = with_criu() else { return };
    let b = counting(&t);
    b.up();
    counts_beyond(&b, 10);
    save(&t, &b, &[]);
    b.is_gone();
    let saved = count(&b);
    assert!(saved > 10);
    restore(&t, &b);
    assert_eq!(b.status(), "running");
    counts_beyond(&b, saved);
    b.exec(&["true"]).ok();
    // It can be done again, by what was restored.
    save(&t, &b, &[]);
    restore(&t, &b);
    counts_beyond(&b, saved);
    b.stop();
    b.delete().ok();
}

#[test]
fn it_may_go_on_running_while_it_is_saved() {
    let Some(t) = with_criu() else { return };
    let b = counting(&t);
    b.up();
    save(&t, &b, &["--leave-running"]);
    assert_eq!(b.status(), "running");
    counts_beyond(&b, count(&b));
    b.stop();
    b.delete().ok();
}

#[test]
fn bind_mounts_and_masks_come_back() {
    let Some(t) = with_criu() else { return };
    let (volume, file) = (t.directory("volume"), t.file("file", "hello"));
    let b = counting(&t).mount("none", &volume, "/vol", &["bind", "rw"]);
    let b = b
        .mount("none", &file, "/there/file", &["bind", "ro"])
        .set("/linux/maskedPaths", vec!["/proc/kcore", "/proc/acpi"]);
    b.up();
    counts_beyond(&b, 0);
    save(&t, &b, &[]);
    let saved = count(&b);
    restore(&t, &b);
    counts_beyond(&b, saved);
    b.exec(&["sh", "-c", "cat /there/file >/vol/copy"]).ok();
    assert_eq!(fs::read_to_string(volume.join("copy")).expect("the volume"), "hello");
    b.exec(&["cat", "/proc/kcore"]).ok().prints("");
    b.stop();
    b.delete().ok();
}

/// In runc's words: engines know them.
#[test]
fn only_what_runs_can_be_saved() {
    let t = Test::new();
    let b = t.idle();
    b.create().ok();
    b.verb("checkpoint", &[]).run().fails("Container cannot be checkpointed in created state");
}

#[test]
fn a_restore_without_images_changes_nothing() {
    let Some(t) = Test::of_minicon("runc makes the directory") else { return };
    let b = t.idle();
    b.write();
    let images = t.path("nothing");
    t.runtime(["restore", "--image-path"])
        .arg(&images)
        .args(["--bundle"])
        .arg(&b.dir)
        .arg(&b.id)
        .run()
        .fails("there are no image files");
    b.is_gone();
}

/// podman asks for the help to learn whether checkpoints are supported.
#[test]
fn the_help_of_checkpoint_is_there() {
    let t = Test::new();
    t.runtime(["checkpoint", "--help"]).run().ok().shows("--leave-running");
}
