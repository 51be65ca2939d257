//! What a test is.

use crate::lab::Lab;

/// What the specification demands by a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// MUST, MUST NOT, REQUIRED; also what a property means, because `create` MUST apply all of them.
    Must,
    /// SHOULD, SHOULD NOT, RECOMMENDED.
    Should,
}

impl Level {
    /// As the specification writes it.
    pub fn word(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
        }
    }
}

/// Nothing, or why the runtime does not do what the sentences say. See [`judge::skip`](crate::judge::skip) for the third
/// possibility.
pub type Verdict = anyhow::Result<()>;

/// One test.
pub struct Row {
    /// The property or operation it is about, and what of it.
    pub id: &'static str,
    /// `DOCUMENT#ANCHOR`.
    pub place: &'static str,
    /// How strong the sentences are.
    pub level: Level,
    /// The sentences, verbatim, or as much of each as makes it unique at this place.
    pub proves: &'static [&'static str],
    /// Drives the runtime and judges.
    pub judge: Judge,
    /// Why runtimes are expected to fail this, unless they are told to be strict.
    pub deviation: Option<&'static str>,
}

/// A test's function; where many rows differ in one word only, they share it.
pub enum Judge {
    /// By itself.
    Of(fn(&Lab) -> Verdict),
    /// With the word in which the row differs.
    With(fn(&Lab, &'static str) -> Verdict, &'static str),
}

/// A test of a MUST.
pub const fn must(
    id: &'static str,
    place: &'static str,
    proves: &'static [&'static str],
    judge: fn(&Lab) -> Verdict,
) -> Row {
    Row { id, place, level: Level::Must, proves, judge: Judge::Of(judge), deviation: None }
}

/// A test of a SHOULD.
pub const fn should(
    id: &'static str,
    place: &'static str,
    proves: &'static [&'static str],
    judge: fn(&Lab) -> Verdict,
) -> Row {
    Row { id, place, level: Level::Should, proves, judge: Judge::Of(judge), deviation: None }
}

impl Row {
    /// The same, as one of many that share a function: the function, and the word in which this one differs.
    pub const fn with(mut self, judge: fn(&Lab, &'static str) -> Verdict, word: &'static str) -> Self {
        self.judge = Judge::With(judge, word);
        self
    }

    /// A failure is expected of everybody, for this reason.
    pub const fn deviates(mut self, why: &'static str) -> Self {
        self.deviation = Some(why);
        self
    }

    /// Runs it.
    pub fn run(&self, lab: &Lab) -> Verdict {
        match self.judge {
            Judge::Of(judge) => judge(lab),
            Judge::With(judge, word) => judge(lab, word),
        }
    }
}

/// The function of rows that get theirs from [`Row::with`].
pub fn shared(_: &Lab) -> Verdict {
    anyhow::bail!("this row was given no function")
}
