//! `ociVersion`: which version of the specification a configuration is written for (config.md, Specification version).

use std::cmp::Ordering;

use super::ConfigPath;
use crate::error::Problem;

/// The oldest version that is read; `features` tells it.
pub const OLDEST: &str = "1.0.0";
/// The version that is implemented; `features` tells it.
pub const NEWEST: &str = "1.3.0";

/// A version as SemVer 2.0.0 has it. What follows a `+` does not count for the order and is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version<'a> {
    major: u64,
    minor: u64,
    patch: u64,
    pre_release: &'a str,
}

/// How a configuration's version stands to those that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Between the oldest and the newest.
    Known,
    /// Of the same major version, but older or newer: what it means can be read, if not always done.
    Foreign(Problem),
    /// Nothing that this program could know.
    Wrong(Problem),
}

/// Judges `ociVersion`. "It is compatible with all runtimes that support any 1.1 or later release": a patch never makes a
/// difference, and neither does what follows it; so `1.3.1` and `1.3.0+dev` are known.
pub fn judge(text: &str) -> Verdict {
    let problem = |message: String| Problem::new(ConfigPath::new("ociVersion"), message);
    let Some(version) = parse(text) else {
        let message = match text {
            "" => "is missing: it names the version of the specification, such as \"1.3.0\"".to_owned(),
            _ => format!("must be a version in the format of SemVer 2.0.0, not {text:?}"),
        };
        return Verdict::Wrong(problem(message));
    };
    let (oldest, newest) = (known(OLDEST), known(NEWEST));
    if version.major != newest.major {
        return Verdict::Wrong(problem(format!("{text} is unknown: versions from {OLDEST} to {NEWEST} are known")));
    }
    if version.minor > newest.minor {
        let message = format!("{text} is newer than {NEWEST}; what is new in it is not known here");
        return Verdict::Foreign(problem(message));
    }
    match version.compare(&oldest) {
        Ordering::Less => Verdict::Foreign(problem(format!("{text} is older than {OLDEST}, the first release"))),
        _ => Verdict::Known,
    }
}

fn known(text: &'static str) -> Version<'static> {
    parse(text).expect("our own versions are well-formed")
}

/// `MAJOR.MINOR.PATCH`, then perhaps `-PRE.RELEASE` and `+BUILD` (SemVer, items 2, 9 and 10).
fn parse(text: &str) -> Option<Version<'_>> {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre_release) = rest.split_once('-').map_or((rest, None), |(core, name)| (core, Some(name)));
    let is_name = |name: &str| {
        name.split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-'))
    };
    let has_leading_zero =
        |name: &str| name.split('.').any(|part| is_number(part) && part.len() > 1 && part.starts_with('0'));
    if build.is_some_and(|build| !is_name(build))
        || pre_release.is_some_and(|name| !is_name(name) || has_leading_zero(name))
    {
        return None;
    }
    let mut numbers = core.split('.');
    let (major, minor, patch) = (number(numbers.next()?)?, number(numbers.next()?)?, number(numbers.next()?)?);
    numbers.next().is_none().then_some(Version { major, minor, patch, pre_release: pre_release.unwrap_or_default() })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit())
}

/// Digits without leading zeros.
fn number(text: &str) -> Option<u64> {
    let is_plain = is_number(text) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}

impl Version<'_> {
    /// The order of SemVer, item 11, as far as it is needed: any pre-release comes before its release.
    fn compare(&self, other: &Version<'_>) -> Ordering {
        let core = |version: &Version<'_>| (version.major, version.minor, version.patch);
        let is_release = |version: &Version<'_>| version.pre_release.is_empty();
        core(self).cmp(&core(other)).then(is_release(self).cmp(&is_release(other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_write_is_known() {
        for text in
            ["1.0.0", "1.0.1", "1.0.2-dev", "1.1.0", "1.1.0+dev", "1.2.1", "1.3.0", "1.3.0+dev", "1.3.1", "1.2.0-rc.1"]
        {
            assert_eq!(judge(text), Verdict::Known, "{text}");
        }
    }

    /// "not compatible with a runtime that supports 1.0 and not 1.1" (config.md, Specification version).
    #[test]
    fn another_minor_version_may_be_read() {
        for text in ["1.4.0", "1.4.0-rc.1", "1.20.3", "1.0.0-rc5-dev"] {
            assert!(matches!(judge(text), Verdict::Foreign(_)), "{text}");
        }
    }

    /// "MUST be in SemVer v2.0.0 format" (config.md, Specification version).
    #[test]
    fn anything_else_is_wrong() {
        for text in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "v1.0.0",
            "1.0.x",
            "01.0.0",
            "1.0.0-",
            "1.0.0-01",
            "1.0.0+",
            "1.0.0-a..b",
            "1.0.0-ä",
            " 1.0.0",
            "0.2.0",
            "2.0.0",
            "99999999999999999999.0.0",
        ] {
            assert!(matches!(judge(text), Verdict::Wrong(_)), "{text:?}");
        }
    }
}
