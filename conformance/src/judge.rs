//! What tests say about what they saw.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::call;
use crate::row::Verdict;

/// A test could not run here, and why.
#[derive(Debug)]
pub struct Skipped(pub String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// Ends a test that cannot run here.
pub fn skip<T>(why: impl Into<String>) -> Result<T> {
    Err(Skipped(why.into()).into())
}

/// Ends the test unless this machine has what it needs.
pub fn needs(there: bool, why: &str) -> Verdict {
    if there { Ok(()) } else { skip(why) }
}

/// Two values are equal.
pub fn same<G: Into<Value> + Clone, W: Into<Value>>(what: &str, got: &G, want: W) -> Verdict {
    let (got, want) = (got.clone().into(), want.into());
    if got != want {
        bail!("{what} is {got}, not {want}");
    }
    Ok(())
}

/// Something holds.
pub fn holds(what: &str, is: bool) -> Verdict {
    if !is {
        bail!("it is not so that {what}");
    }
    Ok(())
}

/// A list of texts in JSON holds, or lacks, a word.
pub fn listed(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == word))
}

/// Waits until something holds.
pub fn eventually(what: &str, limit: Duration, mut is: impl FnMut() -> Result<bool>) -> Verdict {
    let start = Instant::now();
    while !is()? {
        if start.elapsed() > limit {
            bail!("it never came to this: {what}");
        }
        call::reap();
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
