//! features.md and features-linux.md: what the runtime says of itself, held against what it does.

use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::judge::{holds, needs, same, skip};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared, should};

const TOP: &str = "features.md#features";
const VERSION: &str = "features.md#featuresSpecificationVersion";
const HOOKS: &str = "features.md#featuresHooks";
const OPTIONS: &str = "features.md#featuresMountOptions";
const ANNOTATIONS: &str = "features.md#featuresAnnotations";
const UNSAFE: &str = "features.md#featuresPotentiallyUnsafeConfigAnnotations";
const NAMESPACES: &str = "features-linux.md#linuxFeaturesNamespaces";
const CAPABILITIES: &str = "features-linux.md#linuxFeaturesCapabilities";
const CGROUP: &str = "features-linux.md#linuxFeaturesCgroup";
const SECCOMP: &str = "features-linux.md#linuxFeaturesSeccomp";
const LSM: &str = "features-linux.md#linuxFeaturesApparmor";
const POLICY: &str = "features-linux.md#linuxFeaturesMemoryPolicy";
const RDT: &str = "features-linux.md#linuxFeaturesIntelRdt";
const MOUNTS: &str = "features-linux.md#linuxFeaturesMountExtensions";
const DEVICES: &str = "features-linux.md#linuxFeaturesNetDevices";
const ACCEPT: &str = "The runtime MUST accept this value as the [`ociVersion` property of `config.json`]";

/// The tests of this chapter.
#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    should("features.compile-time", TOP, &["SHOULD be determined on the compilation time of the runtime"], same_anywhere),
    must("features.null", TOP, &["The `null` value MUST NOT be confused with an empty value"], types),
    must("features.ociVersionMin", VERSION, &["**`ociVersionMin`** (string, REQUIRED)", ACCEPT], shared).with(accepts, "ociVersionMin"),
    must("features.ociVersionMax", VERSION, &["**`ociVersionMax`** (string, REQUIRED)", ACCEPT], shared).with(accepts, "ociVersionMax"),
    must("features.ociVersion.order", VERSION, &["The value MUST NOT be less than the value of the `ociVersionMin`"], in_order),
    must("features.undefined", VERSION, &["The Features structure MUST NOT contain properties that are not defined"], defined_only),
    must("features.hooks", HOOKS, &["**`hooks`** (array of strings", "The runtime MUST support the elements in this array"], hooks),
    must("features.mountOptions", OPTIONS, &["**`mountOptions`** (array", "The runtime MUST recognize the elements in this array"], mount_options),
    should("features.mountOptions.no-data", OPTIONS, &["this array SHOULD NOT contain filesystem-specific mount options"], no_data),
    must("features.annotations", ANNOTATIONS, &["**`annotations`** (object", "Annotations MUST be a key-value map"], annotations),
    must("features.unsafe-annotations", UNSAFE, &["**`potentiallyUnsafeConfigAnnotations`**"], unsafe_annotations),
    must("features.linux", "features.md#featuresPlatformSpecificFeatures", &["**`linux`** (object, OPTIONAL)"], linux),
    must("features.namespaces", NAMESPACES, &["**`namespaces`** (array", "The runtime MUST recognize the elements"], namespaces),
    must("features.capabilities", CAPABILITIES, &["**`capabilities`** (array", "The runtime MUST recognize the elements"], capabilities),
    must("features.cgroup", CGROUP, &["**`cgroup`** (object", "**`v1`** (bool", "**`v2`** (bool", "**`systemd`** (bool", "**`systemdUser`**", "**`rdma`**"], cgroup),
    must("features.seccomp", SECCOMP, &["**`seccomp`** (object", "**`enabled`** (bool"], seccomp),
    must("features.seccomp.actions", SECCOMP, &["**`actions`**", "recognize the elements in this array in the [`syscalls[].action`"], shared).with(seccomp_words, "actions"),
    must("features.seccomp.operators", SECCOMP, &["**`operators`**", "recognize the elements in this array in the [`syscalls[].args[].op`"], shared).with(seccomp_words, "operators"),
    must("features.seccomp.archs", SECCOMP, &["**`archs`**", "recognize the elements in this array in the [`architectures`"], shared).with(seccomp_words, "archs"),
    must("features.seccomp.knownFlags", SECCOMP, &["**`knownFlags`**", "MUST recognize the elements in this array in the [`flags`"], known_flags),
    must("features.seccomp.supportedFlags", SECCOMP, &["**`supportedFlags`**", "The runtime MUST recognize and support the elements"], shared).with(seccomp_words, "supportedFlags"),
    must("features.apparmor", LSM, &["**`apparmor`** (object", "represents whether the runtime supports AppArmor."], shared).with(enabled, "apparmor"),
    must("features.selinux", LSM, &["**`selinux`** (object", "represents whether the runtime supports SELinux."], shared).with(enabled, "selinux"),
    must("features.memoryPolicy.modes", POLICY, &["**`memoryPolicy`** (object", "**`modes`**", "recognize the elements in this array as the [`mode`"], policy_modes),
    must("features.memoryPolicy.flags", POLICY, &["**`flags`**", "recognize the elements in this in the [`flags`"], policy_flags),
    must("features.intelRdt", RDT, &["**`intelRdt`** (object", "**`enabled`** (bool", "**`schemata`** (bool", "**`monitoring`** (bool"], shared).with(enabled, "intelRdt"),
    must("features.idmap", MOUNTS, &["**`mountExtensions`** (object", "**`idmap`** (object", "**`enabled`** (bool", "runtimes MUST still set this value to `true`"], idmap),
    must("features.netDevices", DEVICES, &["**`netDevices`** (object", "**`enabled`** (bool"], shared).with(enabled, "netDevices"),
];

/// The document. A runtime MAY provide it.
fn features(lab: &Lab) -> Result<Value> {
    let output = lab.runtime(["features"]).run()?;
    needs(output.code == 0, "the runtime has no features document, which it MAY have")?;
    output.json()
}

/// A list in the document; a runtime may leave it out.
fn list(value: &Value, name: &str) -> Result<Vec<String>> {
    match value {
        Value::Null => skip(format!("{name} is absent or null: unknown")),
        Value::Array(list) => list.iter().map(|item| Ok(item.as_str().context("a text")?.to_owned())).collect(),
        other => bail!("{name} is {other}, not a list"),
    }
}

/// What has the name of a thing that the host has or lacks, with the host's cgroups and sysfs out of sight.
fn same_anywhere(lab: &Lab) -> Verdict {
    let before = features(lab)?;
    for path in ["/sys/fs/cgroup", "/sys/kernel"] {
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    }
    same("the document where the host has less", &features(lab)?, before)
}

fn types(lab: &Lab) -> Verdict {
    let all = features(lab)?;
    let lists = ["/hooks", "/mountOptions", "/linux/namespaces", "/linux/capabilities", "/linux/seccomp/actions"];
    for pointer in lists {
        let value = all.pointer(pointer).unwrap_or(&Value::Null);
        holds(&format!("{pointer} is a list or unknown: {value}"), value.is_array() || value.is_null())?;
    }
    let bools = ["/linux/cgroup/v1", "/linux/cgroup/v2", "/linux/seccomp/enabled", "/linux/apparmor/enabled"];
    for pointer in bools {
        let value = all.pointer(pointer).unwrap_or(&Value::Null);
        holds(&format!("{pointer} is true, false or unknown: {value}"), value.is_boolean() || value.is_null())?;
    }
    Ok(())
}

fn accepts(lab: &Lab, name: &'static str) -> Verdict {
    let version = features(lab)?[name].as_str().with_context(|| format!("{name} is REQUIRED"))?.to_owned();
    lab.container()?.set("/ociVersion", version).runs()
}

/// Three numbers, and whether it is a release: 1.1.0-rc.1 comes before 1.1.0.
fn parse(version: &str) -> Result<(Vec<u32>, bool)> {
    let core = version.split('+').next().unwrap_or_default();
    let (core, before) = core.split_once('-').map_or((core, false), |(core, _)| (core, true));
    Ok((core.split('.').map(str::parse).collect::<Result<_, _>>()?, !before))
}

fn in_order(lab: &Lab) -> Verdict {
    let all = features(lab)?;
    let text = |name: &str| all[name].as_str().map(str::to_owned).context("a version");
    let (min, max) = (text("ociVersionMin")?, text("ociVersionMax")?);
    holds(&format!("{min} is not above {max}"), parse(&min)? <= parse(&max)?)
}

const DEFINED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "ociVersionMin",
            "ociVersionMax",
            "hooks",
            "mountOptions",
            "linux",
            "annotations",
            "potentiallyUnsafeConfigAnnotations",
        ],
    ),
    (
        "/linux",
        &[
            "namespaces",
            "capabilities",
            "cgroup",
            "seccomp",
            "apparmor",
            "selinux",
            "memoryPolicy",
            "intelRdt",
            "mountExtensions",
            "netDevices",
        ],
    ),
    ("/linux/cgroup", &["v1", "v2", "systemd", "systemdUser", "rdma"]),
    ("/linux/seccomp", &["enabled", "actions", "operators", "archs", "knownFlags", "supportedFlags"]),
    ("/linux/apparmor", &["enabled"]),
    ("/linux/selinux", &["enabled"]),
    ("/linux/memoryPolicy", &["modes", "flags"]),
    ("/linux/intelRdt", &["enabled", "schemata", "monitoring"]),
    ("/linux/mountExtensions", &["idmap"]),
    ("/linux/mountExtensions/idmap", &["enabled"]),
    ("/linux/netDevices", &["enabled"]),
];

fn defined_only(lab: &Lab) -> Verdict {
    let all = features(lab)?;
    for (pointer, names) in DEFINED {
        for name in all.pointer(pointer).and_then(Value::as_object).into_iter().flat_map(|object| object.keys()) {
            holds(&format!("{pointer}/{name} is defined"), names.contains(&name.as_str()))?;
        }
    }
    Ok(())
}

fn hooks(lab: &Lab) -> Verdict {
    for name in list(&features(lab)?["hooks"], "hooks")? {
        let (program, file) = match name.as_str() {
            "startContainer" => ("/bin/probe".into(), "/share/log".into()),
            _ => (lab.path("host/probe"), lab.path("share/log")),
        };
        let hook = json!({"path": program, "args": ["hook", "hook", file, name]});
        lab.container()?.share().push(&format!("/hooks/{name}"), hook).runs()?;
        let log = std::fs::read_to_string(lab.path("share/log")).unwrap_or_default();
        holds(
            &format!("the {name} hook runs"),
            log.lines().last().is_some_and(|line| line.contains(&format!("\"name\":\"{name}\""))),
        )?;
    }
    Ok(())
}

/// tmpfs refuses as data what the runtime does not recognise.
fn mount_options(lab: &Lab) -> Verdict {
    let mut refused = Vec::new();
    for option in list(&features(lab)?["mountOptions"], "mountOptions")? {
        let container = lab.container()?;
        let source = lab.directory("source")?;
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        let container = match option.as_str() {
            "bind" | "rbind" => container.mount("none", source, "/place", &[&option]),
            "remount" => container.mount("none", &source, "/place", &["bind"]).mount(
                "none",
                &source,
                "/place",
                &["bind", "remount"],
            ),
            "idmap" | "ridmap" => container.push(
                "/mounts",
                json!({"type": "none", "source": source, "destination": "/place",
                "options": ["bind", option], "uidMappings": map, "gidMappings": map}),
            ),
            // Options of certain file systems, which tmpfs does not have.
            "acl" | "noacl" => continue,
            other => container.mount("tmpfs", "tmpfs", "/place", &[other]),
        };
        if container.runs().is_err() {
            refused.push(option);
        }
    }
    holds(&format!("all are recognised; these are not: {}", refused.join(" ")), refused.is_empty())
}

fn no_data(lab: &Lab) -> Verdict {
    let all = list(&features(lab)?["mountOptions"], "mountOptions")?;
    for word in
        ["size", "mode", "uid", "gid", "nr_inodes", "data", "lowerdir", "subvol", "hidepid", "newinstance", "gid=5"]
    {
        holds(&format!("{word} is not among the options"), !all.iter().any(|option| option == word))?;
    }
    holds("no option has a value", !all.iter().any(|option| option.contains('=')))
}

fn annotations(lab: &Lab) -> Verdict {
    match &features(lab)?["annotations"] {
        Value::Null => skip("there are no annotations, which are OPTIONAL"),
        Value::Object(map) => holds(
            "keys are not empty, values are text",
            map.iter().all(|(key, value)| !key.is_empty() && value.is_string()),
        ),
        other => bail!("annotations are {other}"),
    }
}

fn unsafe_annotations(lab: &Lab) -> Verdict {
    let all = list(&features(lab)?["potentiallyUnsafeConfigAnnotations"], "potentiallyUnsafeConfigAnnotations")?;
    holds("none is empty", all.iter().all(|key| !key.is_empty()))
}

fn linux(lab: &Lab) -> Verdict {
    let linux = &features(lab)?["linux"];
    holds(&format!("linux is an object: {linux}"), linux.is_object())
}

fn namespaces(lab: &Lab) -> Verdict {
    for name in list(&features(lab)?["linux"]["namespaces"], "namespaces")? {
        needs(Path::new("/proc/self/ns/time").exists() || name != "time", "this kernel has no time namespaces")?;
        let container = lab.container()?;
        let container = if name == "user" { container.user_namespace(100_000) } else { container.unshare(&name) };
        container.runs().with_context(|| name)?;
    }
    Ok(())
}

/// A recognised capability that cannot be granted is a warning, so all of them at once run.
fn capabilities(lab: &Lab) -> Verdict {
    let names = list(&features(lab)?["linux"]["capabilities"], "capabilities")?;
    let container = lab.container()?.set("/process/capabilities", json!({"bounding": names}));
    let report = container.report(&["capabilities"])?;
    let own = caps::read(None, caps::CapSet::Bounding)?;
    let mut wanted: Vec<String> = own.iter().map(ToString::to_string).filter(|name| names.contains(name)).collect();
    wanted.sort();
    same("the bounding set", &report["capabilities"]["bounding"]["names"], json!(wanted))
}

/// The version of this host's controllers must be supported, if the document speaks of it: the tests run here.
fn cgroup(lab: &Lab) -> Verdict {
    let cgroup = features(lab)?["linux"]["cgroup"].clone();
    let version = if crate::host::cgroups() == crate::host::Cgroups::V1 { "v1" } else { "v2" };
    lab.container()?.set("/linux/resources/pids/limit", 50).runs()?;
    for name in ["v1", "v2", "systemd", "systemdUser", "rdma"] {
        holds(&format!("{name} is true, false or unknown"), cgroup[name].is_boolean() || cgroup[name].is_null())?;
    }
    holds(&format!("{version} is supported"), cgroup[version] != false)
}

fn seccomp(lab: &Lab) -> Verdict {
    let enabled = features(lab)?["linux"]["seccomp"]["enabled"].clone();
    let seccomp =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
    let works = lab.container()?.set("/linux/seccomp", seccomp).runs().is_ok();
    needs(!enabled.is_null(), "enabled is absent: unknown")?;
    same("enabled", &enabled, works)
}

const BIG_ENDIAN: &[&str] =
    &["_MIPS", "_MIPS64", "_MIPS64N32", "_PPC", "_PPC64", "_S390", "_S390X", "_PARISC", "_PARISC64", "_M68K", "_SHEB"];

/// Each word of a list in a filter of its own.
fn seccomp_words(lab: &Lab, name: &'static str) -> Verdict {
    let mut refused = Vec::new();
    for word in list(&features(lab)?["linux"]["seccomp"][name], name)? {
        let mut rule = json!({"names": ["swapon"], "action": "SCMP_ACT_ERRNO"});
        let mut seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        match name {
            // Without a listener a runtime may refuse to notify.
            "actions" if word == "SCMP_ACT_NOTIFY" => continue,
            "actions" => rule["action"] = json!(word),
            "operators" => rule["args"] = json!([{"index": 0, "value": 1, "valueTwo": 1, "op": word}]),
            // One filter has one byte order.
            "archs" if BIG_ENDIAN.iter().any(|name| word.ends_with(name)) => continue,
            "archs" => seccomp["architectures"] = json!([word]),
            // Means something only with a listener.
            _ if word == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => continue,
            _ => seccomp["flags"] = json!([word]),
        }
        seccomp["syscalls"] = json!([rule]);
        if lab.container()?.set("/linux/seccomp", seccomp).runs().is_err() {
            refused.push(word);
        }
    }
    holds(&format!("all are recognised; these are not: {}", refused.join(" ")), refused.is_empty())
}

/// Known, but the kernel may not support it: then the error must not be that it is unknown.
fn known_flags(lab: &Lab) -> Verdict {
    let all = features(lab)?["linux"]["seccomp"].clone();
    let (known, supported) = (list(&all["knownFlags"], "knownFlags")?, list(&all["supportedFlags"], "supportedFlags")?);
    holds("what is supported is known", supported.iter().all(|flag| known.contains(flag)))?;
    holds("each is one of the specification's", known.iter().all(|flag| flag.starts_with("SECCOMP_FILTER_FLAG_")))
}

/// Absent is unknown; what is there is true or false, and not false if the runtime does it.
fn enabled(lab: &Lab, name: &'static str) -> Verdict {
    let value = features(lab)?["linux"][name]["enabled"].clone();
    needs(!value.is_null(), "it is absent: unknown")?;
    holds(&format!("{name}.enabled is true or false: {value}"), value.is_boolean())
}

fn policy_modes(lab: &Lab) -> Verdict {
    for mode in list(&features(lab)?["linux"]["memoryPolicy"]["modes"], "modes")? {
        let none = ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode.as_str());
        let policy = if none { json!({"mode": mode}) } else { json!({"mode": mode, "nodes": "0"}) };
        lab.container()?.set("/linux/memoryPolicy", policy).runs().with_context(|| mode)?;
    }
    Ok(())
}

fn policy_flags(lab: &Lab) -> Verdict {
    for flag in list(&features(lab)?["linux"]["memoryPolicy"]["flags"], "flags")? {
        let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]});
        lab.container()?.set("/linux/memoryPolicy", policy).runs().with_context(|| flag)?;
    }
    Ok(())
}

/// A runtime that maps ids of mounts says so.
fn idmap(lab: &Lab) -> Verdict {
    let value = features(lab)?["linux"]["mountExtensions"]["idmap"]["enabled"].clone();
    let source = lab.directory("source")?;
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let mount = json!({"type": "none", "source": source, "destination": "/place", "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map});
    let report = lab.container()?.push("/mounts", mount).report(&["stat=/place"]);
    let maps = report.is_ok_and(|report| report["stat"]["/place"]["uid"] == 1000);
    needs(!value.is_null(), "it is absent: unknown")?;
    holds(&format!("what the runtime does (maps: {maps}) is not denied by enabled: {value}"), value == true || !maps)
}
