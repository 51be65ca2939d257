//! AppArmor profiles, where the kernel has it enabled.

use std::fs;

use crate::support::{Cmd, Test};

const PARSER: &str = "/sbin/apparmor_parser";

/// A profile that confines nothing, loaded as long as this lives.
struct Profile {
    file: std::path::PathBuf,
    name: &'static str,
}

impl Profile {
    fn load(t: &Test, name: &'static str) -> Self {
        let rules = "file, capability, network, signal, ptrace, mount, umount, pivot_root, unix,";
        let text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  {rules}\n}}\n");
        let file = t.file("profile", &text);
        Cmd::new(PARSER).args(["--replace", "--skip-cache"]).arg(&file).run().ok();
        Profile { file, name }
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        Cmd::new(PARSER).arg("--remove").arg(&self.file).run();
    }
}

fn enabled() -> Option<Test> {
    let enabled = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|enabled| enabled.starts_with(b"Y"));
    Test::where_possible(enabled && std::path::Path::new(PARSER).exists(), "AppArmor, or its parser, is not there")
}

/// "`apparmorProfile` specifies the name of the AppArmor profile for the process" (config.md, Linux Process).
#[test]
fn the_program_runs_under_its_profile() {
    let Some(t) = enabled() else { return };
    let profile = Profile::load(&t, "minicon-test");
    let label = format!("{} (enforce)", profile.name);
    for no_new_privs in [true, false] {
        let b = t.sh("cat /proc/self/attr/current; sleep 1000 & wait");
        let b = b.set("/process/apparmorProfile", profile.name).set("/process/noNewPrivileges", no_new_privs);
        b.up();
        b.becomes("running");
        let seen = fs::read_to_string(format!("/proc/{}/attr/current", b.pid())).expect("the label");
        assert_eq!(seen.trim_end(), label);
        b.exec(&["cat", "/proc/self/attr/current"]).ok().prints(&label);
    }
}

#[test]
fn a_profile_that_is_not_loaded_is_an_error() {
    let Some(t) = enabled() else { return };
    let b = t.bundle(&["true"]).set("/process/apparmorProfile", "minicon-no-such-profile");
    b.run().exits(1).says("apparmor");
    b.is_gone();
}
