//! What a process inside can reach of those that come in, and what it is given itself.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};

use serde_json::json;

use crate::support::terminal::Terminal;
use crate::support::{Bundle, Cmd, Test, program};
use crate::{Verdict, checksum};

const EVERY_CAPABILITY: &[&str] = &[
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_CHOWN",
    "CAP_FOWNER",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_KILL",
];

/// Root of a user namespace, who may trace whom he can, looks into every process that is not of his container's
/// programs, and whose name is the same before and after the look; that one holds capabilities and descriptors of the
/// host's until it executes the program.
pub fn looker(t: &Test) -> Bundle<'_> {
    let map = || json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let look = "while :; do for p in /proc/[0-9]*; do read c < $p/comm || continue; case $c in \
                sh|sleep|true|busybox) continue;; esac; echo $c >> /tmp/seen; \
                for f in $p/root $p/cwd $p/exe $p/fd/*; do l=$(readlink $f) && read d < $p/comm && [ $c = $d ] && echo $c $f $l >> /tmp/leaks; done; \
                done; done 2>/dev/null";
    let b = t.sh(look).own_rootfs().capabilities(EVERY_CAPABILITY);
    b.unshare("user").set("/linux/uidMappings", map()).set("/linux/gidMappings", map())
}

pub fn looking_into_exec() -> Verdict {
    let t = Test::new();
    let b = looker(&t);
    b.up();
    let found = |name: &str| fs::read_to_string(b.rootfs().join("tmp").join(name)).unwrap_or_default();
    for _ in 0..30 {
        b.exec(&["true"]).ok();
    }
    let (seen, leaks) = (found("seen"), found("leaks"));
    b.stop();
    b.delete().ok();
    match leaks.is_empty() {
        true => {
            println!("# the runtime was looked at {} times", seen.lines().count());
            Verdict::Holds
        }
        false => Verdict::Vulnerable(format!("could look into {leaks:?}")),
    }
}

/// Three ways to the binary: init's own before it executes, those of `exec` that arrive, and an image that executes it.
pub fn overwriting_the_runtime() -> Verdict {
    let t = Test::new();
    let rounds = 20;
    let before = checksum(program());
    if let Some(vulnerable) = through_init(&t) {
        return vulnerable;
    }
    // Not `:`, whose failing redirection would end the shell.
    let write = "while :; do for p in /proc/[0-9]*; do echo pwned >> $p/exe; true > $p/exe; done; done 2>/dev/null";
    let b = t.sh(write).own_rootfs().capabilities(EVERY_CAPABILITY);
    b.up();
    for _ in 0..rounds {
        b.exec(&["true"]).ok();
        b.exec(&["/proc/self/exe"]);
    }
    b.stop();
    b.delete().ok();
    let b = t.bundle(&["/script"]).own_rootfs().capabilities(EVERY_CAPABILITY);
    let script = b.rootfs().join("script");
    fs::write(&script, "#!/proc/self/exe\n").expect("write");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    b.run();
    match checksum(program()) == before {
        true => Verdict::Holds,
        false => Verdict::Vulnerable("the runtime's binary has changed".to_owned()),
    }
}

/// The proxy of the race: what was opened as a place while init was a copy of the runtime is opened for writing after.
fn through_init(t: &Test) -> Option<Verdict> {
    let b = t.idle();
    b.create().ok();
    let path = format!("/proc/{}/exe", b.pid());
    let place = OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::PATH.bits() as i32).open(&path);
    let place = place.expect("its program");
    b.start().ok();
    b.becomes("running");
    let again = OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", place.as_raw_fd()));
    let own = fs::metadata(program()).expect("stat");
    let is_own = |file: &fs::File| file.metadata().is_ok_and(|data| (data.dev(), data.ino()) == (own.dev(), own.ino()));
    let writable = again.is_ok_and(|mut file| is_own(&file) || file.write(b"x").is_ok());
    b.stop();
    b.delete().ok();
    writable.then(|| Verdict::Vulnerable("init's program could be opened for writing".to_owned()))
}

/// All of them are in effect, or it is an error.
pub fn long_id_maps() -> Verdict {
    let t = Test::new();
    let map: Vec<_> = (0..4000).map(|id| json!({"containerID": id, "hostID": 100_000 + 2 * id, "size": 1})).collect();
    let b = t.idle().unshare("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    if b.create().code != 0 {
        return Verdict::Holds;
    }
    let lines = fs::read_to_string(format!("/proc/{}/uid_map", b.pid())).expect("uid_map").lines().count();
    if lines == 4000 { Verdict::Holds } else { Verdict::Vulnerable(format!("{lines} of 4000 are in effect")) }
}

pub fn inheritable_capabilities() -> Verdict {
    let t = Test::new();
    let b = t.idle().capabilities(&["CAP_KILL", "CAP_CHOWN", "CAP_NET_ADMIN"]);
    b.up();
    let read = ["grep", "-E", "CapInh|CapAmb", "/proc/self/status"];
    let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";
    let outputs = [
        t.bundle(&read).capabilities(&["CAP_KILL", "CAP_CHOWN"]).run(),
        b.exec(&read),
        b.exec_with(&["--cap", "CAP_NET_ADMIN"], &read).run(),
    ];
    let given = outputs.iter().find(|output| output.code == 0 && output.stdout != none);
    given.map_or(Verdict::Holds, |output| Verdict::Vulnerable(output.stdout.clone()))
}

/// The working directory through any number that a descriptor of the runtime may have; and what is open inside.
pub fn a_leaked_directory() -> Verdict {
    let t = Test::new();
    let b = t.idle().own_rootfs();
    b.up();
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let ran = t.bundle(&["ls", "-a", "../../../../.."]).set("/process/cwd", cwd.as_str()).run();
        let exec = b.exec_with(&["--cwd", &cwd], &["ls", "-a", "../../../../.."]).run();
        if ran.code == 0 || exec.code == 0 {
            return Verdict::Vulnerable(format!("{cwd} is a directory: {}{}", ran.stdout, exec.stdout));
        }
    }
    let list = ["sh", "-c", "for f in /proc/$$/fd/*; do [ ${f##*/} -gt 2 ] && readlink $f; done; true"];
    let outputs = [t.bundle(&list).run(), b.exec(&list)];
    let open = outputs.iter().map(|output| output.stdout.as_str()).find(|open| open.lines().any(is_foreign));
    open.map_or(Verdict::Holds, |open| Verdict::Vulnerable(format!("open inside: {open}")))
}

/// The shell keeps its script or its directory open.
fn is_foreign(link: &str) -> bool {
    !(link.starts_with("/proc/") || link.starts_with("/dev/"))
}

/// A number is that user, anything else an error.
pub fn odd_users() -> Verdict {
    let t = Test::new();
    let b = t.idle();
    b.up();
    for user in ["0", "1", "10", "1000", "65534", "0:5", "1:1", "1000:1000", "65534:65534"] {
        let output = b.exec_with(&["--user", user], &["sh", "-c", "echo $(id -u):$(id -g)"]).run().ok();
        let right = match user.contains(':') {
            true => output.stdout.trim_end() == user,
            false => output.stdout.starts_with(&format!("{user}:")),
        };
        if !right {
            return Verdict::Vulnerable(format!("--user {user} is {}", output.stdout));
        }
    }
    for user in ["0x10", "1e3", "-1", " 1", "1 ", "1:", ":", "4294967296", "18446744073709551616", "1:4294967296", "+1"]
    {
        let output = b.exec_with(&[&format!("--user={user}")], &["id", "-u"]).run();
        if output.code == 0 {
            return Verdict::Vulnerable(format!("--user {user:?} is {}", output.stdout));
        }
    }
    Verdict::Holds
}

/// TIOCSTI wants the terminal to be the caller's controlling one, see ioctl_tty(2): no process inside may have it.
pub fn typing_into_the_terminal() -> Verdict {
    let t = Test::new();
    let b = t.idle();
    b.up();
    let script = "set -- $(cat /proc/self/stat); echo tty=$7.";
    let (mut terminal, slave) = Terminal::open(24, 80);
    let call = Cmd::new("setsid").args(["--ctty", "--wait"]).arg(program()).arg("--root").arg(t.root());
    let running = call.args(["exec", &b.id, "sh", "-c", script]).terminal(slave);
    let seen = terminal.sees(".").to_owned();
    running.wait().ok();
    if seen.contains("tty=0.") { Verdict::Holds } else { Verdict::Vulnerable(format!("it has the terminal: {seen}")) }
}
