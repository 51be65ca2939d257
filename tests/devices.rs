//! Device rules: the eBPF program for cgroup v2, interpreted, against what the specification says (`model`), against
//! what cgroup v1 would do with the same rules, and in the running kernel's verifier. What processes feel is in
//! `tests/cgroups/devices.rs`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "devices/model.rs"]
mod model;

use minicon::plan::device_list::DeviceList;
use minicon::plan::device_program::{Instruction, compile};
use minicon::plan::device_rules::{Access, DevicePolicy, Devices, decide};
use minicon::sys::bpf;
use model::{Asked, Entry, MKNOD, READ, WRITE};
use proptest::prelude::{Strategy, any};
use proptest::{prop_assert_eq, proptest, sample};

const MAJORS: &[u32] = &[0, 1, 5, 136, 0x8000_0001, u32::MAX - 1];
const MINORS: &[u32] = &[0, 3, 200, 0x8000_0001, u32::MAX - 1];

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    model::entries(MAJORS, MINORS)
}

fn asked() -> impl Strategy<Value = Asked> {
    let request = (any::<bool>(), sample::select(MAJORS), sample::select(MINORS), 0..8_u32);
    request.prop_map(|(block, major, minor, access)| Asked { block, major, minor, access })
}

fn policy(entries: &[Entry]) -> DevicePolicy {
    let mut problems = Vec::new();
    let policy = decide(&serde_json::from_value::<Vec<_>>(model::json(entries)).unwrap(), &mut problems);
    assert_eq!(problems, []);
    policy
}

fn program(policy: &DevicePolicy) -> Vec<Instruction> {
    let mut problems = Vec::new();
    let program = compile(policy, &mut problems);
    assert_eq!(problems, []);
    program
}

/// Runs a program over a `struct bpf_cgroup_dev_ctx`.
fn run(program: &[Instruction], asked: &Asked) -> bool {
    let bytes = |i: &Instruction| {
        let mut bytes = vec![i.code, i.registers];
        bytes.extend(i.offset.to_le_bytes());
        bytes.extend(i.immediate.to_le_bytes());
        bytes
    };
    let bytes: Vec<u8> = program.iter().flat_map(bytes).collect();
    let machine = rbpf::EbpfVmRaw::new(Some(&bytes)).expect("a program");
    let kind = if asked.block { 1 } else { 2 };
    let mut context: Vec<u8> =
        [asked.access << 16 | kind, asked.major, asked.minor].iter().flat_map(|word| word.to_le_bytes()).collect();
    let answer = machine.execute_program(&mut context).expect("a run");
    assert!(answer <= 1, "{answer}");
    answer == 1
}

/// What `match_exception` and `match_exception_partial` of the kernel's security/device_cgroup.c make of a list.
fn v1_allows(list: &DeviceList, asked: &Asked) -> bool {
    let bits = |access: Access| {
        u32::from(access.mknod) * MKNOD + u32::from(access.read) * READ + u32::from(access.write) * WRITE
    };
    let names = |devices: Devices| {
        let number = |named: Option<u32>, asked| named.is_none_or(|named| named == asked);
        devices.block == asked.block && number(devices.major, asked.major) && number(devices.minor, asked.minor)
    };
    let mut named = list.exceptions.iter().filter(|exception| names(exception.devices));
    match list.allow {
        false => named.any(|exception| asked.access & !bits(exception.access) == 0),
        true => !named.any(|exception| asked.access & bits(exception.access) != 0),
    }
}

proptest! {
    #[test]
    fn the_program_decides_as_the_specification(entries in entries(), asked in proptest::collection::vec(asked(), 40)) {
        let program = program(&policy(&entries));
        for asked in &asked {
            prop_assert_eq!(run(&program, asked), model::allows(&entries, asked), "{:?}", asked);
        }
    }

    /// The kernel asks for making a node, or for reading or writing or both, never for a node and more; what v1 would
    /// decide otherwise for other requests does not matter.
    #[test]
    fn v1_decides_alike_where_it_can(entries in entries(), asked in proptest::collection::vec(asked(), 40)) {
        let mut problems = Vec::new();
        let list = DeviceList::of(&policy(&entries), &mut problems);
        let possible = |asked: &&Asked| problems.is_empty() && (asked.access == MKNOD || asked.access & MKNOD == 0);
        for asked in asked.iter().filter(possible) {
            prop_assert_eq!(v1_allows(&list, asked), model::allows(&entries, asked), "{:?} {:?}", asked, list);
        }
    }

    #[test]
    fn every_program_passes_the_verifier(entries in entries()) {
        load(&program(&policy(&entries)));
    }
}

/// Loads a program into the running kernel, if that is possible here.
fn load(program: &[Instruction]) {
    match bpf::load(program, "minicon_test", &mut []) {
        Err(error) if !nix::unistd::geteuid().is_root() => println!("skipped: {}", error.headline()),
        Err(error) => {
            let mut log = vec![0; 1 << 16];
            let _ = bpf::load(program, "minicon_test", &mut log);
            panic!("{}: {}", error.headline(), String::from_utf8_lossy(&log).trim_end_matches('\0'));
        }
        Ok(_) => {}
    }
}

/// Rules of every form, about as many as fit: what the verifier has to follow grows with them, not with their square.
#[test]
fn thousands_of_rules_pass_the_verifier() {
    let entry = |number: u32| {
        let access = ["rwm", "r", "rw", "w"][number as usize % 4].to_owned();
        let (major, minor) =
            [(Some(number), Some(7)), (Some(7), Some(number)), (Some(number), None), (None, Some(number))]
                [number as usize / 4 % 4];
        Entry {
            allow: !number.is_multiple_of(3),
            kind: Some(['b', 'c'][number as usize / 16 % 2]),
            major,
            minor,
            access,
        }
    };
    let entries: Vec<Entry> = (0..9_000).map(entry).collect();
    let program = program(&policy(&entries));
    assert!(program.len() > 40_000, "{}", program.len());
    load(&program);
}

#[test]
fn a_refused_program_tells_the_call_and_fills_the_log() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    // Without an answer.
    let program = [Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 }];
    let mut log = vec![0; 4096];
    let error = bpf::load(&program, "minicon_test", &mut log).expect_err("the verifier refuses it");
    let expected = "bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, 1 instructions): EACCES";
    assert!(error.headline().starts_with(expected), "{}", error.headline());
    assert!(String::from_utf8_lossy(&log).contains("R0 !read_ok"), "{}", String::from_utf8_lossy(&log));
}
