//! What the kernel does with a filter: classic BPF over `struct seccomp_data`, checked as strictly as the kernel
//! checks it (`seccomp_check_filter` in kernel/seccomp.c, `bpf_check_classic` in net/core/filter.c).

use minicon::plan::seccomp::Instruction;

/// A system call as a filter sees it: `struct seccomp_data` without the instruction pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The number.
    pub number: u32,
    /// The value of `AUDIT_ARCH_*`.
    pub audit: u32,
    /// The arguments.
    pub arguments: [u64; 6],
}

/// What a run found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The value of the RET that was reached.
    pub answer: u32,
    /// How many instructions ran.
    pub steps: usize,
    /// Whether an argument was loaded: then the kernel cannot keep the number in its bitmap.
    pub looked_at_arguments: bool,
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        let argument = || self.arguments[(offset as usize - 16) / 8];
        match (offset, offset % 8) {
            (0, _) => self.number,
            (4, _) => self.audit,
            (8 | 12, _) => 0,
            (16..64, 0) => argument() as u32,
            (16..64, 4) => (argument() >> 32) as u32,
            _ => panic!("load from offset {offset}"),
        }
    }
}

/// Runs a program. Panics where the kernel would have refused it.
pub fn run(program: &[Instruction], call: &Call) -> Outcome {
    let mut accumulator = 0_u32;
    let mut at = 0;
    let mut outcome = Outcome { answer: 0, steps: 0, looked_at_arguments: false };
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        outcome.steps += 1;
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                accumulator = call.word(k);
                outcome.looked_at_arguments |= k >= 16;
            }
            0x05 => at += k as usize,
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x45 => jump(accumulator & k != 0),
            0x54 => accumulator &= k,
            0x06 => {
                outcome.answer = k;
                return outcome;
            }
            _ => panic!("instruction {code:#x} at {}", at - 1),
        }
    }
}

/// Checks what the kernel checks when a program is loaded: its length, its codes, and that no path leaves it.
pub fn check(program: &[Instruction]) {
    assert!((1..=4096).contains(&program.len()), "{} instructions", program.len());
    for (at, instruction) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match instruction.code {
            0x15 | 0x25 | 0x35 | 0x45 => assert!(left > usize::from(instruction.jt.max(instruction.jf)), "at {at}"),
            0x05 => assert!(left > instruction.k as usize, "at {at}"),
            0x20 => assert!(instruction.k % 4 == 0 && instruction.k < 64, "at {at}"),
            0x06 | 0x54 => {}
            code => panic!("instruction {code:#x} at {at}"),
        }
    }
    assert_eq!(program.last().map(|last| last.code), Some(0x06), "the last instruction returns");
}
