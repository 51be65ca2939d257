//! How `run` grows with what is asked for: mounts, and the system calls that a seccomp profile names.

use std::fs;

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::bundle::{Bundle, read};
use crate::report::{Measure, Samples};
use crate::runtime::{Runtime, WARM};

/// The quickest of so many counts, as what a few mounts take is less than the machine's moods.
const TRIES: usize = 3;
const MOUNTS: [usize; 4] = [0, 10, 100, 1000];
const NAMES: [usize; 4] = [0, 10, 100, 350];

/// Under a limit of 1024 open files, which `main` has set: who holds a descriptor a mount fails.
pub fn measure_mounts(bench: &mut Bench) -> Result<(), String> {
    let source = bench.makings.below.join("mounted");
    fs::create_dir_all(&source).map_err(|error| error.to_string())?;
    for i in 0..MOUNTS[3] {
        fs::create_dir_all(bench.makings.rootfs.join(format!("mnt/{i}"))).map_err(|error| error.to_string())?;
    }
    let options = ["rbind", "rprivate", "nosuid"];
    let mount = |i| json!({"type": "bind", "source": source, "destination": format!("/mnt/{i}"), "options": options});
    let found = grow(bench, "mounts", MOUNTS, |config, count| {
        config["mounts"].as_array_mut().into_iter().for_each(|mounts| mounts.extend((0..count).map(mount)));
    })?;
    let (none, some) = found.split_first().ok_or("no sizes")?;
    for (count, samples) in MOUNTS[1..].iter().zip(some) {
        let mut each = Samples::new();
        for (name, values) in samples {
            let Some(bare) = none.get(name) else { continue };
            let one = |(with, without): (&f64, &f64)| (with - without) * 1e3 / *count as f64;
            each.insert(name.clone(), values.iter().zip(bare).map(one).collect());
        }
        let measure = Measure::of(bench.view(), "spec", "mounts", &format!("each of {count} mounts"), "us");
        bench.report.add(measure.with_samples(&each));
    }
    Ok(())
}

/// What `true` and whoever starts it call; it is not named, so that nothing is logged.
const CALLED: [&str; 22] = [
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "close",
    "close_range",
    "execve",
    "exit",
    "exit_group",
    "fcntl",
    "fstat",
    "futex",
    "getrandom",
    "getuid",
    "mmap",
    "mprotect",
    "munmap",
    "prctl",
    "prlimit64",
    "read",
    "write",
];

pub fn measure_seccomp(bench: &mut Bench) -> Result<(), String> {
    let profile = read(&bench.makings.real)?["linux"]["seccomp"].clone();
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    let names: Vec<Value> = rules
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule.get("args").is_none())
        .flat_map(|rule| rule["names"].as_array().into_iter().flatten().cloned())
        .filter(|name| !name.as_str().is_some_and(|name| CALLED.contains(&name)))
        .collect();
    grow(bench, "seccomp", NAMES, |config, count| {
        if count > 0 {
            let names: Vec<_> = names.iter().take(count).collect();
            let rules = json!([{"names": names, "action": "SCMP_ACT_LOG"}]);
            let architectures = &profile["architectures"];
            config["linux"]["seccomp"] =
                json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "syscalls": rules});
        }
    })?;
    Ok(())
}

/// Times `run` for each size, all sizes within a round; the samples by size.
fn grow(
    bench: &mut Bench,
    part: &'static str,
    sizes: [usize; 4],
    change: impl Fn(&mut Value, usize),
) -> Result<Vec<Samples>, String> {
    let mut bundles = Vec::new();
    for size in sizes {
        let bundle =
            bench.makings.bundle("spec", &format!("{part}.{size}"), &["/bin/true"], |config| change(config, size));
        bundles.push(bundle?);
    }
    let whole = bench.whole(&bundles[0])?;
    let mut able: Vec<Vec<Runtime>> = Vec::new();
    for (bundle, size) in bundles.iter().zip(sizes) {
        able.push(of_size(bench, bundle, &whole, &format!("{size} {part}")));
    }
    let count = bench.rounds.div_ceil(5);
    let mut found: Vec<Samples> = vec![Samples::new(); sizes.len()];
    for _ in 0..count {
        for (index, bundle) in bundles.iter().enumerate() {
            let once = bench.rounds(&able[index], 1, |runtime, record| {
                let mut quickest = f64::INFINITY;
                for _ in 0..TRIES {
                    quickest = quickest.min(runtime.timed(WARM, runtime.run(bundle, "bench-growth")?)?);
                }
                record("run", quickest);
                Ok(())
            })?;
            for (name, values) in once.into_values().flatten() {
                found[index].entry(name).or_default().extend(values);
            }
        }
    }
    for (samples, size) in found.iter().zip(sizes) {
        let measure = Measure::of(bench.view(), "spec", part, &format!("run, {size} {part}"), "ms");
        bench.report.add(measure.with_samples(samples));
    }
    Ok(found)
}

/// Those that can do so much.
fn of_size(bench: &mut Bench, bundle: &Bundle, runtimes: &[Runtime], what: &str) -> Vec<Runtime> {
    let mut able = Vec::new();
    for runtime in runtimes {
        let tried = runtime.run(bundle, "bench-growth").and_then(|command| runtime.timed(WARM, command));
        match tried {
            Ok(_) => able.push(runtime.clone()),
            Err(error) => {
                runtime.remove("bench-growth");
                bench.report.note(format!("{what}: {error}"));
            }
        }
    }
    able
}
