//! Device rules, compiled to eBPF and interpreted, against the specification as `tests/devices/model.rs` has it; and the
//! parser of the kernel's devices.list.
#![no_main]
#![allow(dead_code)]

mod choices;
#[path = "../../tests/devices/model.rs"]
mod model;

use choices::Choices;
use minicon::plan::device_list::{self, DeviceList};
use minicon::plan::device_program::{Instruction, compile};
use minicon::plan::device_rules::decide;
use model::{Asked, Entry};

const NUMBERS: &[u32] = &[0, 1, 3, 5, 136, 200, 0x8000_0001, u32::MAX - 1];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = device_list::parse(&String::from_utf8_lossy(bytes));
    let entries = Choices(bytes).list(20, entry);
    let mut problems = Vec::new();
    let rules: Vec<_> = serde_json::from_value(model::json(&entries)).expect("rules");
    let policy = decide(&rules, &mut problems);
    let program = compile(&policy, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    // What v1 cannot express is a problem, not a panic.
    let _ = DeviceList::of(&policy, &mut problems);
    for (block, major) in [false, true].iter().flat_map(|block| NUMBERS.iter().map(move |major| (*block, *major))) {
        for (minor, access) in NUMBERS.iter().flat_map(|minor| (0..8).map(move |access| (*minor, access))) {
            let asked = Asked { block, major, minor, access };
            assert_eq!(run(&program, &asked), model::allows(&entries, &asked), "{entries:?} {asked:?}");
        }
    }
});

fn run(program: &[Instruction], asked: &Asked) -> bool {
    let code =
        |i: &Instruction| [&[i.code, i.registers][..], &i.offset.to_le_bytes(), &i.immediate.to_le_bytes()].concat();
    let code: Vec<u8> = program.iter().flat_map(code).collect();
    let machine = rbpf::EbpfVmRaw::new(Some(&code)).expect("a program");
    let kind = if asked.block { 1 } else { 2 };
    let words = [asked.access << 16 | kind, asked.major, asked.minor];
    let mut context: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    machine.execute_program(&mut context).expect("a run") == 1
}

fn entry(choices: &mut Choices<'_>) -> Entry {
    Entry {
        allow: choices.of(&[true, false]),
        kind: choices.of(&[Some('c'), Some('b'), Some('a'), None]),
        major: number(choices),
        minor: number(choices),
        access: choices.of(&["r", "w", "m", "rw", "rm", "wm", "rwm"]).to_owned(),
    }
}

/// Rarely any: entries for everything end the others.
fn number(choices: &mut Choices<'_>) -> Option<u32> {
    let number = choices.byte();
    NUMBERS.get(usize::from(number % 10)).copied()
}
