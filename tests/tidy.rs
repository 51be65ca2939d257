//! What the architecture forbids, as a test (ARCHITECTURE.md tells why). The sources are read as text without
//! comments, strings and unit tests; the rules are simple enough for that.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path from the top of the repository, its text as written, and what of it is code.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file");
        let bare = code(&text);
        let code = without_unit_tests(&bare).to_owned();
        let path = path.strip_prefix(root).expect("below the top").to_string_lossy().into_owned();
        Source { path, text, code }
    }

    fn is_under(&self, directory: &str) -> bool {
        self.path.starts_with(directory)
    }

    /// Whether a path such as `std::fs` is named, alone or out of a list such as `use std::{fs, io};`.
    fn names(&self, path: &str) -> bool {
        let (parent, last) = path.rsplit_once("::").unwrap_or(("", path));
        let prefix = format!("{parent}::");
        let code = self.code.split_whitespace().collect::<Vec<_>>().join(" ");
        code.match_indices(&prefix).any(|(at, _)| {
            let rest = code[at + prefix.len()..].trim_start();
            let starts_a_path = !code[..at].ends_with(|c: char| c == ':' || c == '_' || c.is_alphanumeric());
            starts_a_path && heads(rest).iter().any(|head| head == last)
        })
    }
}

/// Where the host side becomes the container side.
const DOORS: &[&str] = &["src/runtime/spawn.rs", "src/runtime/exec.rs"];

/// Every rule: what it forbids, and where a source breaks it.
type Rule = (&'static str, fn(&Source) -> bool);

const RULES: &[Rule] = &[
    ("unsafe code is in src/sys only", |source| {
        !source.is_under("src/sys/") && (has_word(&source.code, "unsafe") || allows_unsafe(source))
    }),
    ("plan is pure: no layer below or beside it", |source| {
        let layers = [
            "sys",
            "runtime",
            "init",
            "container",
            "cgroup",
            "dbus",
            "criu",
            "handshake",
            "console",
            "hooks",
            "log",
            "netlink",
            "resctrl",
            "trace",
        ];
        let reached = layers.iter().any(|layer| source.names(&format!("crate::{layer}")));
        source.is_under("src/plan/") && (reached || source.names("host::probe") || source.names("crate::host"))
    }),
    ("plan is pure: no system calls, no files, no clock", |source| {
        let forbidden = ["std::fs", "std::process", "std::env", "std::net", "std::os"];
        let used = forbidden.iter().any(|path| source.names(path));
        let words = ["File", "Instant", "SystemTime"].iter().any(|word| has_word(&source.code, word));
        source.is_under("src/plan/") && (used || words || calls(&source.code))
    }),
    ("the container side does not use the host side", |source| {
        source.is_under("src/init/") && source.names("crate::runtime")
    }),
    // spawn.rs and exec.rs hold the doors: in the child of the clone they call init and never come back.
    ("the host side does not use the container side", |source| {
        source.is_under("src/runtime/") && !DOORS.contains(&source.path.as_str()) && source.names("crate::init")
    }),
    ("no unwrap outside tests: say in an expect why it holds", |source| source.code.contains(".unwrap()")),
    ("no imports of everything: say what is used", |source| source.code.contains("::*")),
    ("no threads: a thread makes setns, unshare and fork unsafe", |source| {
        ["spawn", "scope", "Builder"].iter().any(|way| source.code.contains(&format!("thread::{way}")))
    }),
];

#[test]
fn the_sources_keep_the_rules() {
    let mut broken = Vec::new();
    for source in sources("src") {
        broken.extend(
            RULES.iter().filter(|(_, breaks)| breaks(&source)).map(|(rule, _)| format!("{}: {rule}", source.path)),
        );
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_file_is_declared_by_a_module() {
    let mut orphans = Vec::new();
    for top in ["src", "tests"] {
        let sources = sources(top);
        let declared = |path: &str| sources.iter().any(|source| declares(source, path));
        orphans.extend(
            sources
                .iter()
                .map(|source| source.path.as_str())
                .filter(|path| !is_root(path) && !declared(path))
                .map(str::to_owned),
        );
    }
    assert!(orphans.is_empty(), "no module declares {orphans:?}");
}

/// Whether cargo finds a file by itself: a test is a file in `tests`, or a directory there with a `main.rs`.
fn is_root(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    matches!(parts[..], ["src", "lib.rs" | "main.rs"] | ["tests", _] | ["tests", _, "main.rs"])
}

/// Whether a file declares another as its module, by the rules of the language or by `#[path]`.
fn declares(source: &Source, path: &str) -> bool {
    let file = Path::new(path);
    let directory = Path::new(&source.path).parent().expect("a directory");
    if source
        .text
        .split("#[path = \"")
        .skip(1)
        .any(|rest| rest.split('"').next().is_some_and(|to| directory.join(to) == file))
    {
        return true;
    }
    let (name, home) = if file.ends_with("mod.rs") {
        (file.parent().and_then(Path::file_name), file.parent().and_then(Path::parent))
    } else {
        (file.file_stem(), file.parent())
    };
    let (name, home) = (name.expect("a name").to_string_lossy(), home.expect("a directory"));
    let own = Path::new(&source.path);
    let children =
        if is_root(&source.path) || own.ends_with("mod.rs") { directory.to_owned() } else { own.with_extension("") };
    children == home
        && code(&source.text).split([';', '}']).any(|item| item.trim_end().ends_with(&format!("mod {name}")))
}

/// All the source files below a directory of the repository.
fn sources(top: &str) -> Vec<Source> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut directories = vec![root.join(top)];
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(Source::read(&root, &path));
            }
        }
    }
    assert!(!sources.is_empty(), "no sources below {top}");
    sources
}

/// The one permission is `pub mod sys` in `src/lib.rs`.
fn allows_unsafe(source: &Source) -> bool {
    let permission = "allow(unsafe_code)";
    let permitted = source.path == "src/lib.rs" && source.code.contains("#[allow(unsafe_code)]\npub mod sys;");
    source.code.matches(permission).count() > usize::from(permitted)
}

/// Whether system calls may be made: an errno of rustix is data, and so are libc's constants and types; the rest of
/// rustix and libc's functions are calls.
fn calls(code: &str) -> bool {
    let called = |rest: &str| {
        let name: String = rest.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect();
        name.starts_with(char::is_lowercase) && rest[name.len()..].starts_with('(')
    };
    code.split("libc::").skip(1).any(called) || has_word(&code.replace("rustix::io::Errno", ""), "rustix")
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !(c == '_' || c.is_alphanumeric())).any(|other| other == word)
}

/// What may follow `crate::`: one name, or the first name of each path in braces.
fn heads(rest: &str) -> Vec<String> {
    let name =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect() };
    let Some(list) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut heads, mut item) = (1, Vec::new(), String::new());
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            break;
        }
        if c == ',' && depth == 1 {
            heads.push(name(&std::mem::take(&mut item)));
        } else {
            item.push(c);
        }
    }
    heads.push(name(&item));
    heads
}

/// The code before the unit tests, which are the last thing in a file.
fn without_unit_tests(code: &str) -> &str {
    let is_module = |line: &str| line.ends_with('{') && line.split(' ').any(|word| word == "mod");
    let marks = code.match_indices("#[cfg(test)]\n").map(|(at, mark)| (at, code[at + mark.len()..].lines().next()));
    let mut modules = marks.filter(|(_, line)| line.is_some_and(is_module));
    modules.next().map_or(code, |(at, _)| &code[..at])
}

/// The text without comments and without what is between quotes.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_length(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw_string_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            rest = &rest[skipped..];
        }
    }
    code
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// 0 if it is a raw identifier.
fn raw_string_length(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text[hashes + 2..].find(&end).map_or(text.len(), |at| hashes + 2 + at + end.len())
}

/// 0 if it is a lifetime.
fn character_length(text: &str) -> usize {
    let characters: Vec<_> = text.char_indices().take(12).collect();
    match characters.get(1) {
        Some((_, '\\')) => characters.iter().skip(3).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        Some(_) => characters.get(2).filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// The reader must see what it is there to see.
#[test]
fn the_rules_find_what_they_forbid() {
    let source = |path: &str, text: &str| {
        let bare = code(text);
        Source { path: path.into(), text: text.into(), code: without_unit_tests(&bare).into() }
    };
    let broken = |path: &str, text: &str| RULES.iter().filter(|(_, breaks)| breaks(&source(path, text))).count();
    for (path, text) in [
        ("src/init/mod.rs", "fn f() { unsafe { g() } }"),
        ("src/init/mod.rs", "#[allow(unsafe_code)]\nmod sys;"),
        ("src/init/mod.rs", "use crate::{error::Result, runtime::spawn};"),
        ("src/runtime/create.rs", "crate::init::start()"),
        ("src/plan/mod.rs", "use std::{fmt, fs};"),
        ("src/plan/mod.rs", "use crate::sys::mount;"),
        ("src/plan/mod.rs", "let now = std::time::Instant::now();"),
        ("src/plan/mod.rs", "unistd; libc::getpid()"),
        ("src/plan/mod.rs", "rustix::process::getpid()"),
        ("src/cli.rs", "let x = y.unwrap();"),
        ("src/cli.rs", "use crate::error::*;"),
        ("src/cli.rs", "std::thread::spawn(f);"),
    ] {
        assert_eq!(broken(path, text), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/lib.rs", "#[allow(unsafe_code)]\npub mod sys;"),
        ("src/sys/mod.rs", "unsafe { g() }"),
        (
            "src/plan/mod.rs",
            "// std::fs is not used\nuse std::fmt; use rustix::io::Errno; const S: &str = \"crate::sys\"; libc::EPERM",
        ),
        (
            "src/plan/mod.rs",
            "fn f<'a>(x: &'a str) -> char { '\"' }\n#[cfg(test)]\nmod tests {\n use super::*; x.unwrap() }",
        ),
    ] {
        assert_eq!(broken(path, text), 0, "{path}: {text}");
    }
}
