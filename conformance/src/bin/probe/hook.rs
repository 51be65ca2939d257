//! The probe as a hook: what it is given and where it runs, as a line of JSON added to a file.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// `FILE NAME [STATUS]`; the file may be away, if its directory is not where the hook runs.
pub fn record(args: &[String]) -> Result<u8> {
    let [file, name, status @ ..] = args else { anyhow::bail!("hook FILE NAME [STATUS]") };
    let mut stdin = String::new();
    std::io::stdin().read_to_string(&mut stdin)?;
    let state: Value = serde_json::from_str(&stdin).unwrap_or(Value::Null);
    let init = state["pid"].as_i64().map(|pid| Path::new("/proc").join(pid.to_string()));
    let line = json!({
        "name": name,
        "state": state,
        "args": std::env::args().collect::<Vec<_>>(),
        "env": std::env::vars().collect::<BTreeMap<_, _>>(),
        "namespaces": namespaces(),
        "inside": Path::new("/marker").exists(),
        "init": init.map(|init| json!({
            "command": fs::read_to_string(init.join("cmdline")).ok().map(|text| text.replace('\0', " ")),
            "inside": init.join("root/marker").exists(),
            "mounts": fs::read_to_string(init.join("mountinfo")).ok(),
        })),
    });
    let mut file = OpenOptions::new().append(true).create(true).open(file).context(file.clone())?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(status.first().map_or(Ok(0), |status| status.parse())?)
}

fn namespaces() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
    let link = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), target.to_string_lossy().into_owned()))
    };
    entries.filter_map(link).collect()
}
