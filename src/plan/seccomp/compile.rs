//! Verdicts to BPF instructions.
//!
//! The program looks at the architecture, then searches the system call's number in ranges that share a verdict,
//! and only then, if the verdict depends on them, at the arguments. Up to there it uses nothing but LD, JA, JEQ,
//! JGE, JSET, AND and RET, because the kernel keeps a bitmap of the numbers that are always allowed, and can fill
//! it only by following those (`seccomp_is_const_allow` in kernel/seccomp.c).
//!
//! BPF jumps only forward, so the program is built from its end: a jump is written when its target is known.

use super::architectures::{Architecture, X32_BIT};
use super::precedence::Verdict;
use super::{Condition, Instruction, Operator, Rule};

/// From this number on, up to the next range, the verdict holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first number.
    pub start: u32,
    /// What happens to all of them.
    pub verdict: Verdict,
}

/// All the numbers of the architectures that share a value of `seccomp_data.arch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The value of `seccomp_data.arch`.
    pub audit: u32,
    /// Ascending; the first starts at 0.
    pub ranges: Vec<Range>,
}

/// linux/bpf_common.h and linux/filter.h.
const LD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JA: u16 = 0x05; // BPF_JMP | BPF_JA
const JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JGT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JGE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JSET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RET: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data` (linux/seccomp.h). Both 64-bit architectures are little-endian.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

/// Builds the program. An architecture that has no section is answered with `otherwise`; a call whose arguments
/// match no rule with `default`.
pub fn program(sections: &[Section], default: u32, otherwise: u32) -> Vec<Instruction> {
    let mut assembler = Assembler { default, ..Assembler::default() };
    let fallback = assembler.answer(otherwise);
    // The first section, the native one, comes out nearest to the program's start.
    let starts: Vec<Label> = sections.iter().rev().map(|section| assembler.section(section)).collect();
    let mut start = fallback;
    for (section, target) in sections.iter().rev().zip(starts) {
        start = assembler.branch(JEQ, section.audit, target, start);
    }
    assembler.load(OFFSET_ARCHITECTURE, start);
    assembler.reversed.reverse();
    assembler.reversed
}

/// An instruction's place, counted from the program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label(usize);

#[derive(Default)]
struct Assembler {
    reversed: Vec<Instruction>,
    default: u32,
    /// The last RET of each value, and the code for each set of rules, to be used again.
    answers: Vec<(u32, Label)>,
    blocks: Vec<(Vec<Rule>, bool, Label)>,
}

impl Assembler {
    fn section(&mut self, section: &Section) -> Label {
        let search = self.search(&section.ranges, section.audit);
        match section.ranges.len() {
            1 => search,
            _ => self.load(OFFSET_NUMBER, search),
        }
    }

    /// A binary search; where one verdict's range has only single numbers in it, a row of comparisons.
    fn search(&mut self, ranges: &[Range], audit: u32) -> Label {
        if let Some(around) = islands(ranges) {
            let mut otherwise = self.verdict(around, audit);
            for island in ranges.iter().skip(1).step_by(2).rev() {
                let target = self.verdict(island, audit);
                otherwise = self.branch(JEQ, island.start, target, otherwise);
            }
            return otherwise;
        }
        let (below, above) = ranges.split_at(ranges.len() / 2);
        let from = above[0].start;
        let above = self.search(above, audit);
        let below = self.search(below, audit);
        self.branch(JGE, from, above, below)
    }

    fn verdict(&mut self, range: &Range, audit: u32) -> Label {
        match &range.verdict {
            Verdict::Always(action) => self.answer(*action),
            Verdict::ByArguments(rules) => {
                let wide = is_wide(audit, range.start);
                if let Some((.., label)) = self.blocks.iter().find(|(known, w, _)| *w == wide && known == rules) {
                    return *label;
                }
                let label = self.rules(rules, wide);
                self.blocks.push((rules.clone(), wide, label));
                label
            }
        }
    }

    fn rules(&mut self, rules: &[Rule], wide: bool) -> Label {
        let mut next = self.answer(self.default);
        for rule in rules.iter().rev() {
            let mut matches = self.answer(rule.action);
            for condition in rule.conditions.iter().rev() {
                matches = match wide {
                    true => self.condition64(condition, matches, next),
                    false => self.condition32(condition, matches, next),
                };
            }
            next = matches;
        }
        next
    }

    fn condition64(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        let Condition { argument, operator, value, mask } = *condition;
        let low_offset = OFFSET_ARGUMENTS + 8 * u32::from(argument);
        let high_offset = low_offset + 4;
        let (high, low) = ((value >> 32) as u32, value as u32);
        match operator {
            Operator::Equal => {
                let high = self.word(JEQ, high_offset, high, yes, no);
                self.word(JEQ, low_offset, low, high, no)
            }
            Operator::NotEqual => {
                let high = self.word(JEQ, high_offset, high, no, yes);
                self.word(JEQ, low_offset, low, high, yes)
            }
            Operator::MaskedEqual => {
                let high = self.masked(high_offset, (mask >> 32) as u32, high, yes, no);
                self.masked(low_offset, mask as u32, low, high, no)
            }
            Operator::Greater | Operator::GreaterOrEqual => {
                let code = if operator == Operator::Greater { JGT } else { JGE };
                let low = self.word(code, low_offset, low, yes, no);
                let equal = self.branch(JEQ, high, low, no);
                self.word(JGT, high_offset, high, yes, equal)
            }
            Operator::LessOrEqual => self.condition64(&condition.with(Operator::Greater), no, yes),
            Operator::Less => self.condition64(&condition.with(Operator::GreaterOrEqual), no, yes),
        }
    }

    fn condition32(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        let offset = OFFSET_ARGUMENTS + 8 * u32::from(condition.argument);
        let value = condition.value as u32;
        match condition.operator {
            Operator::Equal => self.word(JEQ, offset, value, yes, no),
            Operator::NotEqual => self.word(JEQ, offset, value, no, yes),
            Operator::MaskedEqual => self.masked(offset, condition.mask as u32, value, yes, no),
            Operator::Greater => self.word(JGT, offset, value, yes, no),
            Operator::GreaterOrEqual => self.word(JGE, offset, value, yes, no),
            Operator::LessOrEqual => self.word(JGT, offset, value, no, yes),
            Operator::Less => self.word(JGE, offset, value, no, yes),
        }
    }

    fn masked(&mut self, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        match (mask, value) {
            (0, _) => yes,
            (u32::MAX, _) => self.word(JEQ, offset, value, yes, no),
            (_, 0) => self.word(JSET, offset, mask, no, yes),
            _ => {
                self.branch(JEQ, value, yes, no);
                self.push(Instruction { code: AND, jt: 0, jf: 0, k: mask });
                self.load_here(offset)
            }
        }
    }

    fn word(&mut self, code: u16, offset: u32, value: u32, yes: Label, no: Label) -> Label {
        let compare = self.branch(code, value, yes, no);
        self.load(offset, compare)
    }

    /// Loads a word, and goes on at the instruction that was built last.
    fn load(&mut self, offset: u32, next: Label) -> Label {
        debug_assert_eq!(next.0 + 1, self.reversed.len());
        self.load_here(offset)
    }

    fn load_here(&mut self, offset: u32) -> Label {
        self.push(Instruction { code: LD_WORD, jt: 0, jf: 0, k: offset })
    }

    fn answer(&mut self, action: u32) -> Label {
        if let Some((_, label)) = self.answers.iter().find(|(known, _)| *known == action)
            && self.reaches(*label)
        {
            return *label;
        }
        let label = self.push(Instruction { code: RET, jt: 0, jf: 0, k: action });
        self.answers.retain(|(known, _)| *known != action);
        self.answers.push((action, label));
        label
    }

    fn branch(&mut self, code: u16, value: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return self.next_to_here(yes);
        }
        let yes = self.near(yes);
        let no = self.near(no);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(Instruction { code, jt, jf, k: value })
    }

    /// A label that a conditional jump can reach: the same, or a copy of the RET there, or a long jump.
    fn near(&mut self, label: Label) -> Label {
        match self.reversed[label.0] {
            _ if self.reaches(label) => label,
            Instruction { code: RET, k, .. } => self.answer(k),
            _ => self.push(Instruction { code: JA, jt: 0, jf: 0, k: self.distance(label) as u32 }),
        }
    }

    /// The same, as the instruction that was built last.
    fn next_to_here(&mut self, label: Label) -> Label {
        match self.distance(label) {
            0 => label,
            distance => self.push(Instruction { code: JA, jt: 0, jf: 0, k: distance as u32 }),
        }
    }

    /// Whether a conditional jump reaches so far, even if one more instruction is built first.
    fn reaches(&self, label: Label) -> bool {
        self.distance(label) < usize::from(u8::MAX)
    }

    /// How many instructions the next one would jump over to get there.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - 1 - label.0
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len() - 1)
    }
}

/// Whether `ranges` is one verdict with at most three single numbers in it; then a range of that verdict.
fn islands(ranges: &[Range]) -> Option<&Range> {
    let around = ranges.first()?;
    let regular = ranges.len() <= 7
        && ranges.len() % 2 == 1
        && ranges.windows(3).step_by(2).all(|pair| pair[2].verdict == around.verdict)
        && ranges.windows(3).step_by(2).all(|pair| pair[2].start == pair[1].start + 1);
    regular.then_some(around)
}

fn is_wide(audit: u32, number: u32) -> bool {
    let is_x32 = audit == Architecture::X32.audit() && number >= X32_BIT;
    !is_x32 && (audit == Architecture::X86_64.audit() || audit == Architecture::Aarch64.audit())
}
