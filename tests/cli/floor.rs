//! The floor of the benchmark (benches/floor/floor.c) makes what minicon makes: the same program, run in both, sees the
//! same. Otherwise the floor would be too low, or too high.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Bundle, Cmd, Test};

/// What the benchmark shows to all: one kind of hierarchy. Run in a mount namespace of its own.
const VIEWS: [(&str, &str); 2] = [
    ("v1", "if mountpoint -q /sys/fs/cgroup/unified; then umount -l /sys/fs/cgroup/unified; fi"),
    (
        "v2",
        "if [ $(stat -f -c %T /sys/fs/cgroup) != cgroup2fs ]; then
            umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup; fi",
    ),
];

/// All that the floor is to have in common with a container. Numbers that differ from run to run are left out.
const LOOK: &str = r#"
echo "pid $$, $(hostname), $(pwd), $(umask), files $(ulimit -n) $(ulimit -Hn)"
env | grep -v -E '^(SHLVL|PWD|OLDPWD|HOME|_)=' | sort | sed 's/^/env /'
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status
sed 's/^[0-9]*:/cgroup /' /proc/self/cgroup | sort
awk '{ line = "mount " $5 " " $6; for (i = 7; i <= NF; i++) line = line " " $i; gsub(/:[0-9]+/, ":N", line); print line }' \
    /proc/self/mountinfo | sort
for node in /dev/*; do echo "node $node $(stat -c '%f %t:%T' $node) $(readlink $node)"; done
for link in /proc/self/ns/*; do echo "ns ${link##*/} $(readlink $link)"; done
echo "lo $(cat /sys/class/net/lo/flags), $(ls /sys/class/net)"
for limit in memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_period_us cpu/cpu.cfs_quota_us devices/devices.list; do
    if [ -e /sys/fs/cgroup/$limit ]; then sort /sys/fs/cgroup/$limit | sed "s|^|$limit |"; fi
done
for file in /proc/kcore /proc/keys /proc/timer_list /proc/sys/vm/swappiness /etc/hosts; do
    echo "$file $(stat -c %t:%T $file), $( (echo 60 > $file) 2>&1 | sed 's/.*: //')"
done
if mknod /dev/forbidden c 10 229 2>/dev/null; then (cat < /dev/forbidden) 2>&1 | sed 's/.*: /forbidden: /'; fi
"#;

#[test]
fn the_floor_makes_what_minicon_makes() {
    for (view, enter) in VIEWS {
        for kind in ["spec", "real"] {
            let Some(t) = Test::with_program("/usr/bin/gcc") else { return };
            if view == "v1" && !Path::new("/sys/fs/cgroup/devices").exists() {
                continue;
            }
            let (b, floor) = (bundle(&t, kind, view), build(&t));
            let inside = |words: &[&str]| {
                let script = format!("{enter}\nexec \"$@\"");
                let words = ["--mount", "sh", "-c", &script, "sh"].into_iter().chain(words.iter().copied());
                Cmd::new("unshare").args(words).run().ok().stdout
            };
            let program = crate::support::program().to_string_lossy().into_owned();
            let (root, dir) = (t.root().to_string_lossy().into_owned(), b.dir.to_string_lossy().into_owned());
            b.write();
            let ours = inside(&[&program, "--root", &root, "run", "--bundle", &dir, &b.id]);
            let floors = inside(&[&floor.to_string_lossy(), kind, &dir, &b.id, "/bin/sh", "-c", LOOK]);
            compare(&format!("{kind}, {view}"), &seen(&ours), &seen(&floors));
        }
    }
}

fn build(t: &Test) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/floor/floor.c");
    let program = t.path("floor");
    let flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"];
    Cmd::new("gcc").args(flags).arg(&program).arg(source).limit(60).run().ok();
    program
}

/// The benchmark's two bundles, as they are in this view.
fn bundle<'t>(t: &'t Test, kind: &str, view: &str) -> Bundle<'t> {
    let b = Bundle::of_benchmark(t, kind, &["sh", "-c", LOOK]);
    // The floor's are at the top; minicon's own would be below those that the test runs in.
    let path = format!("/{}", b.id);
    let mut b = b.set("/linux/cgroupsPath", path);
    // As in the benchmark: where v1 has the controllers, the cgroup2 tree has none.
    if view == "v2" {
        let resources = b.config["linux"]["resources"].as_object_mut().expect("resources");
        resources.retain(|name, _| name == "devices");
        // `spec` asks for it where there is cgroup2 only.
        b = b.unshare("cgroup");
    }
    b
}

/// What a program saw, line by line. Of a namespace counts whether it is the host's.
fn seen(text: &str) -> Vec<String> {
    let host: BTreeMap<String, String> = fs::read_dir("/proc/self/ns")
        .expect("namespaces")
        .flatten()
        .map(|entry| {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            (entry.file_name().to_string_lossy().into_owned(), link.to_string_lossy().into_owned())
        })
        .collect();
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["ns", name, link] => format!("ns {name}: the host's is {}", host.get(name).is_some_and(|it| it == link)),
            _ => line.trim_end().to_owned(),
        }
    };
    text.lines().map(line).collect()
}

#[track_caller]
fn compare(what: &str, ours: &[String], floors: &[String]) {
    assert!(ours.len() > 40, "{what}: {ours:?}");
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let (missing, surplus) = (only(ours, floors), only(floors, ours));
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "{what}\nonly in minicon's container:\n  {}\nonly in the floor's:\n  {}",
        missing.join("\n  "),
        surplus.join("\n  ")
    );
}
