//! What happens to every number, on every architecture that a filter can meet: the named ones by their rules, the
//! others by the default, those newer than the policy with ENOSYS, those of unlisted architectures by a kill.

use oci_spec::runtime::Arch;

use super::architectures::{ARM_BASE, Architecture, X32_BIT};
use super::compile::{Range, Section};
use super::precedence::{Contradiction, Verdict};
use super::{
    Call, Condition, Operator, Policy, RET_ALLOW, RET_DATA, RET_ERRNO, RET_LOG, RET_TRACE, Rule, SYSCALLS,
    UNKNOWN_ARCHITECTURE,
};
use crate::error::Problem;

const ENOSYS: u32 = RET_ERRNO | libc::ENOSYS as u32;

/// What the policy says, for each value of `seccomp_data.arch` that can occur. The native architecture is always
/// covered, of the others those that are listed; what a kernel of this family cannot run is left out.
pub fn all(policy: &Policy, listed: &[Arch], native: Architecture, problems: &mut Vec<Problem>) -> Vec<Section> {
    let is_covered = |architecture: Architecture| architecture == native || listed.contains(&architecture.spec());
    let mut sections: Vec<Section> = Vec::with_capacity(2);
    for &architecture in Architecture::family(native).iter().filter(|architecture| is_covered(**architecture)) {
        let audit = architecture.audit();
        if sections.last().is_none_or(|section| section.audit != audit) {
            sections.push(Section { audit, ranges: Vec::with_capacity(256) });
        }
        if let Some(section) = sections.last_mut() {
            add_ranges(&mut section.ranges, policy, architecture, problems);
            if architecture == Architecture::X86_64 && !is_covered(Architecture::X32) {
                refuse_x32(&mut section.ranges, policy.default);
            }
        }
    }
    sections
}

/// Without x32 among the architectures its numbers are those of an unknown one. Number -1 gets the default: a
/// tracer sets it to skip a call, and the filter runs again after that (seccomp(2)).
fn refuse_x32(ranges: &mut Vec<Range>, default: u32) {
    add_range(ranges, X32_BIT, Verdict::Always(UNKNOWN_ARCHITECTURE));
    add_range(ranges, u32::MAX, Verdict::Always(default));
}

/// Appends the verdicts for all numbers of an architecture.
fn add_ranges(ranges: &mut Vec<Range>, policy: &Policy, architecture: Architecture, problems: &mut Vec<Problem>) {
    let mut verdicts = verdicts(policy, architecture, problems);
    let newest = newest(policy, architecture);
    // A name counts as known even if its rules do nothing.
    let numbers = policy.calls.iter().filter_map(|call| call.numbers.on(architecture));
    for number in numbers.filter(|number| newest.is_some_and(|newest| *number >= newest)) {
        if let Err(place) = verdicts.binary_search_by_key(&number, |(number, _)| *number) {
            verdicts.insert(place, (number, Verdict::Always(policy.default)));
        }
    }
    let unnamed = |number| match newest {
        Some(newest) if number > newest => Verdict::Always(ENOSYS),
        _ => Verdict::Always(policy.default),
    };
    let mut next = if architecture == Architecture::X32 { X32_BIT } else { 0 };
    for (number, verdict) in verdicts {
        if number > next {
            add_range(ranges, next, unnamed(next));
        }
        add_range(ranges, number, verdict);
        next = number + 1;
    }
    add_range(ranges, next, unnamed(next));
}

fn add_range(ranges: &mut Vec<Range>, start: u32, verdict: Verdict) {
    if ranges.last().is_none_or(|last| last.verdict != verdict) {
        ranges.push(Range { start, verdict });
    }
}

/// The greatest number that the policy names, if greater ones get ENOSYS. A libc probes for new calls and falls
/// back on ENOSYS only, so runc gives that in place of a default that refuses: a call newer than the policy was
/// not refused by anyone who knew it.
fn newest(policy: &Policy, architecture: Architecture) -> Option<u32> {
    if matches!(policy.default & !RET_DATA, RET_ALLOW | RET_LOG | RET_TRACE) {
        return None;
    }
    let numbers = policy.calls.iter().filter_map(|call| call.numbers.on(architecture));
    numbers.filter(|number| architecture != Architecture::Arm || *number < ARM_BASE).max()
}

/// The verdicts for the numbers that have rules, ascending.
fn verdicts(policy: &Policy, architecture: Architecture, problems: &mut Vec<Problem>) -> Vec<(u32, Verdict)> {
    let mut rewritten = Vec::new();
    let mut uses: Vec<(u32, u32)> = Vec::with_capacity(policy.calls.len());
    for call in &policy.calls {
        let number = call.numbers.on(architecture);
        for index in call.rules.clone() {
            if let (Architecture::X86, Some((multiplexer, first))) = (architecture, call.multiplexed)
                && decides(policy, call, index)
            {
                uses.push((multiplexer, (policy.rules.len() + rewritten.len()) as u32));
                rewritten.push(policy.rules[index].multiplexed(first));
            }
            uses.extend(number.map(|number| (number, index as u32)));
        }
    }
    // Stable, so that the rules of one number stay in the policy's order.
    uses.sort_by_key(|(number, _)| *number);

    let wide = architecture.is_wide();
    let mut verdicts: Vec<(u32, Verdict)> = Vec::with_capacity(uses.len());
    for (number, index) in uses {
        let index = index as usize;
        let rule = policy.rules.get(index).unwrap_or_else(|| &rewritten[index - policy.rules.len()]);
        match verdicts.last_mut() {
            Some((last, verdict)) if *last == number => {
                // On a 32-bit architecture rules may only seem to contradict each other, because their values are
                // cut or a multiplexer hides what tells them apart. Then the first of them decides.
                if let Err(contradiction) = verdict.add(rule, wide)
                    && wide
                {
                    report(contradiction, problems);
                }
            }
            _ => verdicts.push((number, Verdict::new(rule, wide))),
        }
    }
    verdicts
}

/// Whether a rule says something of a call behind a multiplexer: there a rule without conditions has one, and would no
/// longer beat those of the same call that have more. As in libseccomp a rule about the call's own first argument alone,
/// which is lost there, is one without conditions.
fn decides(policy: &Policy, call: &Call, index: usize) -> bool {
    let is_unconditional = |index: usize| policy.rules[index].conditions.iter().all(|one| one.argument == 0);
    let mut same = policy.calls.iter().filter(|other| other.multiplexed == call.multiplexed);
    is_unconditional(index) || !same.any(|same| same.rules.clone().any(is_unconditional))
}

impl Rule {
    /// The rule for the multiplexer: its first argument tells the call. As in libseccomp that replaces a
    /// condition on the call's own first argument, which the filter cannot see; so a rule that allows a call
    /// under such a condition allows it here in any case, unless another refuses the multiplexer.
    fn multiplexed(&self, call: u64) -> Rule {
        let which = Condition { argument: 0, operator: Operator::Equal, value: call, mask: u64::MAX };
        let others = self.conditions.iter().filter(|condition| condition.argument > 0).copied();
        Rule { conditions: std::iter::once(which).chain(others).collect(), ..*self }
    }
}

fn report(Contradiction { first, second }: Contradiction, problems: &mut Vec<Problem>) {
    let message = format!("has the conditions of {}, but another action", SYSCALLS.index(first));
    let problem = Problem::new(SYSCALLS.index(second), message);
    if !problems.contains(&problem) {
        problems.push(problem);
    }
}
