//! Mount options, one test each. What an option does is read from mountinfo; those that leave no trace there (the
//! kernel does not tell of `iversion` and `silent`) must at least not arrive at the file system, which would refuse them.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use anyhow::{Result, bail};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::container::{Container, uppermost};
use crate::judge::{holds, listed, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, shared, should};

const OPTIONS: &str = "config.md#configLinuxMountOptions";
const ALL: &[&str] = &[
    "Runtimes MUST/SHOULD/MAY implement the following option strings for Linux:",
    "The \"MUST\" options correspond to [`mount(8)`][mount.8].",
];
const IDMAP: &[&str] = &["`idmap`          | SHOULD      | Indicates that the mount MUST have an idmapping applied."];
const RIDMAP: &[&str] =
    &["`ridmap`         | SHOULD      | Indicates that the mount MUST have an idmapping applied, and"];
const UNKNOWN: &[&str] = &["Runtimes SHOULD treat unknown options as [filesystem-specific ones]"];

#[rustfmt::skip]
pub const TESTS: &[Row] = &[
    must("mounts.options.together", OPTIONS, ALL, all_together),
    must("mounts.options.async", OPTIONS, &["`async`          | MUST"], shared).with(clears_of_the_file_system, "async"),
    must("mounts.options.atime", OPTIONS, &["`atime`          | MUST"], shared).with(clears, "atime"),
    must("mounts.options.bind", OPTIONS, &["`bind`           | MUST"], bind),
    must("mounts.options.defaults", OPTIONS, &["`defaults`       | MUST"], defaults),
    must("mounts.options.dev", OPTIONS, &["`dev`            | MUST"], shared).with(clears, "dev"),
    must("mounts.options.diratime", OPTIONS, &["`diratime`       | MUST"], shared).with(clears, "diratime"),
    must("mounts.options.dirsync", OPTIONS, &["`dirsync`        | MUST"], shared).with(sets_of_the_file_system, "dirsync"),
    must("mounts.options.exec", OPTIONS, &["`exec`           | MUST"], shared).with(clears, "exec"),
    must("mounts.options.iversion", OPTIONS, &["`iversion`       | MUST"], shared).with(is_no_data, "iversion"),
    must("mounts.options.lazytime", OPTIONS, &["`lazytime`       | MUST"], shared).with(sets_of_the_file_system, "lazytime"),
    must("mounts.options.loud", OPTIONS, &["`loud`           | MUST"], shared).with(is_no_data, "loud"),
    must("mounts.options.noatime", OPTIONS, &["`noatime`        | MUST"], shared).with(sets, "noatime"),
    must("mounts.options.nodev", OPTIONS, &["`nodev`          | MUST"], shared).with(sets, "nodev"),
    must("mounts.options.nodiratime", OPTIONS, &["`nodiratime`     | MUST"], shared).with(sets, "nodiratime"),
    must("mounts.options.noexec", OPTIONS, &["`noexec`         | MUST"], shared).with(sets, "noexec"),
    must("mounts.options.noiversion", OPTIONS, &["`noiversion`     | MUST"], shared).with(is_no_data, "noiversion"),
    must("mounts.options.nolazytime", OPTIONS, &["`nolazytime`     | MUST"], shared).with(clears_of_the_file_system, "nolazytime"),
    must("mounts.options.norelatime", OPTIONS, &["`norelatime`     | MUST"], shared).with(leaves_access_times, "norelatime"),
    must("mounts.options.nostrictatime", OPTIONS, &["`nostrictatime`  | MUST"], shared).with(leaves_access_times, "nostrictatime"),
    must("mounts.options.nosuid", OPTIONS, &["`nosuid`         | MUST"], shared).with(sets, "nosuid"),
    should("mounts.options.nosymfollow", OPTIONS, &["`nosymfollow`    | SHOULD"], shared).with(sets, "nosymfollow"),
    must("mounts.options.private", OPTIONS, &["`private`        | MUST"], shared).with(propagates, "private"),
    should("mounts.options.ratime", OPTIONS, &["`ratime`         | SHOULD"], shared).with(clears_below, "ratime"),
    must("mounts.options.rbind", OPTIONS, &["`rbind`          | MUST"], rbind),
    should("mounts.options.rdev", OPTIONS, &["`rdev`           | SHOULD"], shared).with(clears_below, "rdev"),
    should("mounts.options.rdiratime", OPTIONS, &["`rdiratime`      | SHOULD"], shared).with(clears_below, "rdiratime"),
    must("mounts.options.relatime", OPTIONS, &["`relatime`       | MUST"], shared).with(sets, "relatime"),
    must("mounts.options.remount", OPTIONS, &["`remount`        | MUST"], remount),
    should("mounts.options.rexec", OPTIONS, &["`rexec`          | SHOULD"], shared).with(clears_below, "rexec"),
    should("mounts.options.rnoatime", OPTIONS, &["`rnoatime`       | SHOULD"], shared).with(sets_below, "rnoatime"),
    should("mounts.options.rnodiratime", OPTIONS, &["`rnodiratime`    | SHOULD"], shared).with(sets_below, "rnodiratime"),
    should("mounts.options.rnoexec", OPTIONS, &["`rnoexec`        | SHOULD"], shared).with(sets_below, "rnoexec"),
    should("mounts.options.rnorelatime", OPTIONS, &["`rnorelatime`    | SHOULD"], shared).with(access_times_below, "rnorelatime"),
    should("mounts.options.rnostrictatime", OPTIONS, &["`rnostrictatime` | SHOULD"], shared).with(access_times_below, "rnostrictatime"),
    should("mounts.options.rnosuid", OPTIONS, &["`rnosuid`        | SHOULD"], shared).with(sets_below, "rnosuid"),
    should("mounts.options.rnosymfollow", OPTIONS, &["`rnosymfollow`   | SHOULD"], shared).with(sets_below, "rnosymfollow"),
    must("mounts.options.ro", OPTIONS, &["`ro`             | MUST"], shared).with(sets, "ro"),
    must("mounts.options.rprivate", OPTIONS, &["`rprivate`       | MUST"], shared).with(propagates, "rprivate"),
    should("mounts.options.rrelatime", OPTIONS, &["`rrelatime  `    | SHOULD"], shared).with(sets_below, "rrelatime"),
    should("mounts.options.rro", OPTIONS, &["`rro`            | SHOULD"], shared).with(sets_below, "rro"),
    should("mounts.options.rrw", OPTIONS, &["`rrw`            | SHOULD"], shared).with(clears_below, "rrw"),
    must("mounts.options.rshared", OPTIONS, &["`rshared`        | MUST"], shared).with(propagates, "rshared"),
    must("mounts.options.rslave", OPTIONS, &["`rslave`         | MUST"], shared).with(propagates, "rslave"),
    should("mounts.options.rstrictatime", OPTIONS, &["`rstrictatime`   | SHOULD"], shared).with(access_times_below, "rstrictatime"),
    should("mounts.options.rsuid", OPTIONS, &["`rsuid`          | SHOULD"], shared).with(clears_below, "rsuid"),
    should("mounts.options.rsymfollow", OPTIONS, &["`rsymfollow`     | SHOULD"], shared).with(clears_below, "rsymfollow"),
    must("mounts.options.runbindable", OPTIONS, &["`runbindable`    | MUST"], shared).with(propagates, "runbindable"),
    must("mounts.options.rw", OPTIONS, &["`rw`             | MUST"], shared).with(clears, "rw"),
    must("mounts.options.shared", OPTIONS, &["`shared`         | MUST"], shared).with(propagates, "shared"),
    must("mounts.options.silent", OPTIONS, &["`silent`         | MUST"], shared).with(is_no_data, "silent"),
    must("mounts.options.slave", OPTIONS, &["`slave`          | MUST"], shared).with(propagates, "slave"),
    must("mounts.options.strictatime", OPTIONS, &["`strictatime`    | MUST"], strictatime),
    must("mounts.options.suid", OPTIONS, &["`suid`           | MUST"], shared).with(clears, "suid"),
    should("mounts.options.symfollow", OPTIONS, &["`symfollow`      | SHOULD"], shared).with(clears, "symfollow"),
    must("mounts.options.sync", OPTIONS, &["`sync`           | MUST"], shared).with(sets_of_the_file_system, "sync"),
    must("mounts.options.unbindable", OPTIONS, &["`unbindable`     | MUST"], shared).with(propagates, "unbindable"),
    must("mounts.options.idmap", OPTIONS, IDMAP, shared).with(ids_are_mapped, "idmap"),
    must("mounts.options.idmap.without-mapping", OPTIONS, IDMAP, shared).with(no_mapping, "idmap"),
    must("mounts.options.idmap.container-mapping", OPTIONS, IDMAP, shared).with(mapping_of_the_container, "idmap"),
    must("mounts.options.ridmap", OPTIONS, RIDMAP, shared).with(ids_are_mapped, "ridmap"),
    must("mounts.options.ridmap.without-mapping", OPTIONS, RIDMAP, shared).with(no_mapping, "ridmap"),
    should("mounts.options.data", OPTIONS, UNKNOWN, data),
    should("mounts.options.data.unknown", OPTIONS, UNKNOWN, unknown_data),
];

/// The option that another takes back, and the other way round.
const OPPOSITES: &[(&str, &str)] = &[
    ("dev", "nodev"),
    ("exec", "noexec"),
    ("suid", "nosuid"),
    ("atime", "noatime"),
    ("diratime", "nodiratime"),
    ("rw", "ro"),
    ("symfollow", "nosymfollow"),
    ("async", "sync"),
    ("nolazytime", "lazytime"),
];

fn opposite(option: &str) -> Result<&'static str> {
    match OPPOSITES.iter().find(|(does, _)| *does == option) {
        Some((_, undone)) => Ok(undone),
        None => bail!("{option} has no opposite"),
    }
}

/// A tmpfs with these options, as mountinfo has it.
fn tmpfs(lab: &Lab, options: &[&str]) -> Result<Value> {
    lab.container()?.mount("tmpfs", "tmpfs", "/place", options).mounted("/place")
}

fn sets(lab: &Lab, option: &'static str) -> Verdict {
    let mount = tmpfs(lab, &[option])?;
    holds(&format!("the mount is {option}: {}", mount["options"]), listed(&mount["options"], option))
}

/// The later of two opposites wins, as with mount(8).
fn clears(lab: &Lab, option: &'static str) -> Verdict {
    let undone = opposite(option)?;
    let mount = tmpfs(lab, &[undone, option])?;
    holds(&format!("{option} after {undone} wins: {}", mount["options"]), !listed(&mount["options"], undone))
}

fn sets_of_the_file_system(lab: &Lab, option: &'static str) -> Verdict {
    let mount = tmpfs(lab, &[option])?;
    holds(&format!("the file system is {option}: {}", mount["super_options"]), listed(&mount["super_options"], option))
}

fn clears_of_the_file_system(lab: &Lab, option: &'static str) -> Verdict {
    let undone = opposite(option)?;
    let mount = tmpfs(lab, &[undone, option])?;
    holds(
        &format!("{option} after {undone} wins: {}", mount["super_options"]),
        !listed(&mount["super_options"], undone),
    )
}

/// tmpfs refuses data that it does not know.
fn is_no_data(lab: &Lab, option: &'static str) -> Verdict {
    lab.container()?.mount("tmpfs", "tmpfs", "/place", &[option]).runs()
}

/// Whether the kernel's default, relatime, is in force then or every access is noted depends on how the mount is made.
fn leaves_access_times(lab: &Lab, option: &'static str) -> Verdict {
    let before = option.trim_start_matches("no");
    let mount = tmpfs(lab, &[before, option])?;
    holds(&format!("accesses are noted: {}", mount["options"]), !listed(&mount["options"], "noatime"))
}

fn defaults(lab: &Lab) -> Verdict {
    let mount = tmpfs(lab, &["defaults"])?;
    let restricted = ["ro", "nosuid", "nodev", "noexec", "sync"].iter().any(|word| listed(&mount["options"], word));
    holds(&format!("the mount has the defaults: {}", mount["options"]), !restricted)
}

fn strictatime(lab: &Lab) -> Verdict {
    let mount = tmpfs(lab, &["strictatime"])?;
    let lax = ["relatime", "noatime"].iter().any(|word| listed(&mount["options"], word));
    holds(&format!("every access is noted: {}", mount["options"]), !lax)
}

fn all_together(lab: &Lab) -> Verdict {
    let mount = tmpfs(lab, &["nosuid", "nodev", "noexec", "ro", "noatime", "size=64k", "mode=700"])?;
    for word in ["nosuid", "nodev", "noexec", "ro", "noatime"] {
        holds(&format!("the mount is {word}: {}", mount["options"]), listed(&mount["options"], word))?;
    }
    holds("the file system has its own options", listed(&mount["super_options"], "mode=700"))
}

/// A tree of two mounts of the host: `source`, and `source/below` with a file in it.
fn tree(lab: &Lab, flags: MsFlags) -> Result<PathBuf> {
    let source = lab.tmpfs("source", MsFlags::empty())?;
    let below = lab.tmpfs("source/below", MsFlags::empty())?;
    for path in [&below, &source] {
        fs::write(path.join("file"), "here\n")?;
        chown(path.join("file"), Some(1000), Some(1000))?;
        if !flags.is_empty() {
            let again = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags;
            mount(None::<&str>, path, None::<&str>, again, None::<&str>)?;
        }
    }
    Ok(source)
}

fn bind(lab: &Lab) -> Verdict {
    let source = tree(lab, MsFlags::empty())?;
    let container = lab.container()?.mount("none", source, "/place", &["bind"]);
    let report = container.report(&["read=/place/file", "stat=/place/below"])?;
    same("the file", &report["read"]["/place/file"], "here")?;
    same("what the mount below shows", &report["stat"]["/place/below"]["entries"], 0)
}

fn rbind(lab: &Lab) -> Verdict {
    let source = tree(lab, MsFlags::empty())?;
    let report = lab.container()?.mount("none", source, "/place", &["rbind"]).report(&["read=/place/below/file"])?;
    same("the file in the mount below", &report["read"]["/place/below/file"], "here")
}

fn remount(lab: &Lab) -> Verdict {
    let source = tree(lab, MsFlags::empty())?;
    let container = lab.container()?.mount("none", &source, "/place", &["bind"]);
    let mounts = container.mount("none", &source, "/place", &["bind", "remount", "ro"]).mounts()?;
    let mount = uppermost(&mounts, "/place")?;
    holds(&format!("the remount made it read-only: {}", mount["options"]), listed(&mount["options"], "ro"))
}

fn propagates(lab: &Lab, option: &'static str) -> Verdict {
    let source = tree(lab, MsFlags::empty())?;
    mount(None::<&str>, &source, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>)?;
    let mounts = lab.container()?.mount("none", source, "/place", &["rbind", option]).mounts()?;
    let recursive = option.strip_prefix('r');
    for destination in ["/place"].into_iter().chain(recursive.map(|_| "/place/below")) {
        let mount = uppermost(&mounts, destination)?;
        let (shared, slave) = (!mount["shared"].is_null(), !mount["slave_of"].is_null());
        let is = match recursive.unwrap_or(option) {
            "shared" => shared,
            "slave" => slave && !shared,
            "unbindable" => mount["unbindable"] == true,
            _ => !shared && !slave && mount["unbindable"] == false,
        };
        holds(&format!("{destination} is {option}: {mount}"), is)?;
    }
    Ok(())
}

/// The two mounts of a tree, inside, as their options.
fn both(lab: &Lab, flags: MsFlags, options: &[&str]) -> Result<[(&'static str, Value); 2]> {
    let source = tree(lab, flags)?;
    let mounts = lab.container()?.mount("none", source, "/place", options).mounts()?;
    let options = |destination| Ok::<_, anyhow::Error>(uppermost(&mounts, destination)?["options"].clone());
    Ok([("/place", options("/place")?), ("/place/below", options("/place/below")?)])
}

fn sets_below(lab: &Lab, option: &'static str) -> Verdict {
    let flag = &option[1..];
    for (destination, options) in both(lab, MsFlags::MS_NOATIME, &["rbind", option])? {
        holds(&format!("{destination} is {flag}: {options}"), listed(&options, flag))?;
    }
    Ok(())
}

fn clears_below(lab: &Lab, option: &'static str) -> Verdict {
    let undone = opposite(&option[1..])?;
    let flags = [
        ("nodev", MsFlags::MS_NODEV),
        ("noexec", MsFlags::MS_NOEXEC),
        ("nosuid", MsFlags::MS_NOSUID),
        ("noatime", MsFlags::MS_NOATIME),
        ("nodiratime", MsFlags::MS_NODIRATIME),
        ("ro", MsFlags::MS_RDONLY),
        ("nosymfollow", MsFlags::from_bits_retain(256)),
    ];
    let flag = flags.iter().find(|(name, _)| *name == undone).map_or(MsFlags::empty(), |(_, flag)| *flag);
    for (destination, options) in both(lab, flag, &["rbind", option])? {
        holds(&format!("{destination} is no longer {undone}: {options}"), !listed(&options, undone))?;
    }
    Ok(())
}

fn access_times_below(lab: &Lab, option: &'static str) -> Verdict {
    let before = if option == "rstrictatime" { MsFlags::MS_NOATIME } else { MsFlags::MS_RELATIME };
    for (destination, options) in both(lab, before, &["rbind", option])? {
        let lax = listed(&options, "noatime") || option == "rstrictatime" && listed(&options, "relatime");
        holds(&format!("{option} is in force on {destination}: {options}"), !lax)?;
    }
    Ok(())
}

/// A bind mount with an option that maps ids.
fn mapped<'l>(lab: &'l Lab, option: &str, container: Container<'l>, map: Option<Value>) -> Result<Container<'l>> {
    let source = tree(lab, MsFlags::empty())?;
    let bind = if option == "ridmap" { "rbind" } else { "bind" };
    let mut mount = json!({"type": "none", "source": source, "destination": "/place", "options": [bind, option]});
    if let Some(map) = map {
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map;
    }
    Ok(container.push("/mounts", mount))
}

fn ids_are_mapped(lab: &Lab, option: &'static str) -> Verdict {
    let map = json!([{"containerID": 1000, "hostID": 3000, "size": 1}]);
    let report =
        mapped(lab, option, lab.container()?, Some(map))?.report(&["stat=/place/file", "stat=/place/below/file"])?;
    same("the owner", &report["stat"]["/place/file"]["uid"], 3000)?;
    if option == "ridmap" {
        same("the owner below", &report["stat"]["/place/below/file"]["uid"], 3000)?;
    }
    Ok(())
}

fn no_mapping(lab: &Lab, option: &'static str) -> Verdict {
    mapped(lab, option, lab.container()?, None)?.is_refused()
}

/// The runtime MAY take the container's mapping; if it does not, it must refuse.
fn mapping_of_the_container(lab: &Lab, option: &'static str) -> Verdict {
    let container = mapped(lab, option, lab.container()?.user_namespace(100_000), None)?;
    let output = container.clone().probe(&["report", "stat=/place/file"]).run()?;
    if output.code != 0 {
        return container.is_gone();
    }
    same("the owner", &output.json()?["stat"]["/place/file"]["uid"], 1000)
}

fn data(lab: &Lab) -> Verdict {
    let mount = tmpfs(lab, &["size=128k", "nr_inodes=77"])?;
    holds("the file system got the first", listed(&mount["super_options"], "size=128k"))?;
    holds("the file system got the second", listed(&mount["super_options"], "nr_inodes=77"))
}

/// Unknown to the runtime and to the file system: the latter refuses it, so it must not be dropped on the way.
fn unknown_data(lab: &Lab) -> Verdict {
    lab.container()?.mount("tmpfs", "tmpfs", "/place", &["conformance_unknown=1"]).is_refused()
}
