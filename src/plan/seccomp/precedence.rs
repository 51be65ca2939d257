//! Which rule decides when several match.
//!
//! The spec does not say; what every profile was tested with is libseccomp, so its order is kept. There the rules
//! of one system call form a tree: a rule is a chain of comparisons of 32-bit words, chains share their
//! beginnings, and the branches of a node are kept in an order of their own, whatever the order in the profile.
//! Here the same tree is kept flat, as the sequence in which it tries its rules: the first that matches decides.

use super::{Condition, Operator, Rule};

/// The rules of one system call on one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same action whatever the arguments are.
    Always(u32),
    /// The action of the first rule that matches, else the default one.
    ByArguments(Vec<Rule>),
}

/// Two rules of one system call that have the same conditions and different actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction {
    /// The entry of `linux.seccomp.syscalls` that came first.
    pub first: usize,
    /// The entry that contradicts it.
    pub second: usize,
}

impl Verdict {
    /// The verdict of one rule alone, as an architecture sees it that compares arguments as 64-bit (`wide`)
    /// or as 32-bit values.
    pub fn new(rule: &Rule, wide: bool) -> Verdict {
        if rule.conditions.is_empty() {
            return Verdict::Always(rule.action);
        }
        let rule = narrowed(rule, wide);
        match rule.conditions.is_empty() {
            true => Verdict::Always(rule.action),
            false => Verdict::ByArguments(vec![rule]),
        }
    }

    /// Adds a later rule: one without conditions beats those with, the first without conditions beats all.
    pub fn add(&mut self, rule: &Rule, wide: bool) -> Result<(), Contradiction> {
        match (&mut *self, Verdict::new(rule, wide)) {
            (Verdict::Always(_), _) => Ok(()),
            (_, always @ Verdict::Always(_)) => {
                *self = always;
                Ok(())
            }
            (Verdict::ByArguments(rules), Verdict::ByArguments(added)) => {
                added.into_iter().try_for_each(|rule| insert(rules, rule, wide))
            }
        }
    }
}

/// The rule with its values cut to the width of the arguments, and without conditions that always hold.
fn narrowed(rule: &Rule, wide: bool) -> Rule {
    let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let cut = |condition: &Condition| {
        let mask = condition.mask & width;
        Condition { mask, value: condition.value & mask, ..*condition }
    };
    let conditions = rule.conditions.iter().map(cut).filter(|condition| condition.mask != 0).collect();
    Rule { conditions, ..*rule }
}

/// Puts a rule where libseccomp's tree would try it.
fn insert(rules: &mut Vec<Rule>, rule: Rule, wide: bool) -> Result<(), Contradiction> {
    let new = chain(&rule, wide);
    // The number of leading words in which the new chain runs along the branch that was found so far.
    let mut shared = 0;
    let mut place = 0;
    while place < rules.len() {
        let old = chain(&rules[place], wide);
        if old.len() < shared || old[..shared] != new[..shared] {
            break;
        }
        while shared < old.len() && shared < new.len() && old[shared] == new[shared] {
            shared += 1;
        }
        if shared == old.len() {
            // The old rule matches whatever the new one does and is tried first: the new one adds nothing.
            let contradicts = shared == new.len() && rules[place].action != rule.action;
            return match contradicts {
                true => Err(Contradiction { first: rules[place].entry, second: rule.entry }),
                false => Ok(()),
            };
        }
        if shared < new.len() && old[shared].priority() < new[shared].priority() {
            break;
        }
        place += 1;
    }
    rules.insert(place, rule);
    Ok(())
}

/// One comparison of a chain: of the high or the low word of an argument. Two are equal if libseccomp makes
/// them one node of its tree and goes on below it on the same side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    argument: u8,
    high: bool,
    operator: Operator,
    value: u32,
    mask: u32,
}

impl Word {
    /// libseccomp tries the greatest first.
    fn priority(self) -> (u8, bool, u8, u32) {
        let (class, value) = match self.operator {
            Operator::Equal | Operator::NotEqual | Operator::MaskedEqual => (3, self.value),
            Operator::Less | Operator::LessOrEqual => (2, !self.value),
            Operator::Greater | Operator::GreaterOrEqual => (1, self.value),
        };
        (self.argument, self.high, class, value)
    }
}

fn chain(rule: &Rule, wide: bool) -> Vec<Word> {
    let mut words = Vec::with_capacity(rule.conditions.len() * 2);
    for condition in &rule.conditions {
        let Condition { argument, operator, value, mask } = *condition;
        if wide {
            // The high word is compared alike for both members of a pair such as = and ≠, < and ≤.
            let operator = match operator {
                Operator::NotEqual => Operator::Equal,
                Operator::LessOrEqual => Operator::Less,
                Operator::GreaterOrEqual => Operator::Greater,
                other => other,
            };
            words.push(Word { argument, high: true, operator, value: (value >> 32) as u32, mask: (mask >> 32) as u32 });
        }
        words.push(Word { argument, high: false, operator, value: value as u32, mask: mask as u32 });
    }
    words
}
