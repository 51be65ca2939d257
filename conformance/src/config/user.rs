//! The user of the process.

use serde_json::json;

use crate::judge::{needs, same};
use crate::lab::Lab;
use crate::row::{Row, Verdict, must, should};

const USER: &str = "config.md#configPOSIXUser";

pub const TESTS: &[Row] = &[
    must("process.user.uid", USER, &["**`uid`** (int, REQUIRED) specifies the user ID"], uid),
    must("process.user.gid", USER, &["**`gid`** (int, REQUIRED) specifies the group ID"], gid),
    must("process.user.namespace", USER, &["specifies the user ID in the [container namespace]"], in_a_user_namespace),
    must(
        "process.user.umask",
        USER,
        &["**`umask`** (int, OPTIONAL) specifies the [umask][umask_2] of the user."],
        umask,
    ),
    should("process.user.umask.unset", USER, &["**`umask`** (int, OPTIONAL)"], umask_unset),
    must("process.user.additionalGids", USER, &["**`additionalGids`** (array of ints, OPTIONAL)"], groups),
    must("process.user.additionalGids.none", USER, &["**`additionalGids`** (array of ints, OPTIONAL)"], no_groups),
];

fn uid(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/process/user", json!({"uid": 1000, "gid": 0})).report(&["user"])?;
    same("the user", &report["user"]["uid"], json!({"real": 1000, "effective": 1000, "saved": 1000}))
}

fn gid(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/process/user", json!({"uid": 0, "gid": 1001})).report(&["user"])?;
    same("the group", &report["user"]["gid"], json!({"real": 1001, "effective": 1001, "saved": 1001}))
}

fn in_a_user_namespace(lab: &Lab) -> Verdict {
    let user = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    let container = lab.container()?.user_namespace(100_000).set("/process/user", user);
    let report = container.report(&["user"])?;
    same("the user inside", &report["user"]["uid"]["real"], 5)?;
    same("the group inside", &report["user"]["gid"]["real"], 6)?;
    same("the groups inside", &report["user"]["groups"], json!([7]))
}

fn umask(lab: &Lab) -> Verdict {
    for (mask, shown) in [(0o077, "0077"), (0, "0000")] {
        let report = lab.container()?.set("/process/user/umask", mask).report(&["user"])?;
        same("the umask", &report["user"]["umask"], shown)?;
    }
    Ok(())
}

/// The sentence's "should" is in small letters, which RFC 2119 gives no meaning.
fn umask_unset(lab: &Lab) -> Verdict {
    needs(lab.setup.strict, "runtimes set 0022, as engines may call with 0; --strict keeps the caller's")?;
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_retain(0o027));
    let report = lab.container()?.report(&["user"]);
    nix::sys::stat::umask(before);
    same("the umask", &report?["user"]["umask"], "0027")
}

fn groups(lab: &Lab) -> Verdict {
    let user = json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 26]});
    let report = lab.container()?.set("/process/user", user).report(&["user"])?;
    same("the groups", &report["user"]["groups"], json!([5, 26]))
}

fn no_groups(lab: &Lab) -> Verdict {
    let report = lab.container()?.set("/process/user", json!({"uid": 1000, "gid": 1000})).report(&["user"])?;
    let groups = report["user"]["groups"].as_array().cloned().unwrap_or_default();
    same("the groups of the caller are gone", &json!(groups.iter().all(|group| group == 1000)), true)
}
