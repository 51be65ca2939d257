//! bpf(2), for programs that decide about devices: `BPF_PROG_TYPE_CGROUP_DEVICE`, attached to a cgroup.
//!
//! Each command takes the first fields of one struct in the `union bpf_attr` of linux/bpf.h; the kernel takes those that
//! are not given for zero. The descriptors are close-on-exec.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::{Fd, outcome};
use crate::call;
use crate::error::Result;
use crate::plan::device_program::Instruction;

/// The commands, and other numbers of linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;
const BPF_OBJ_NAME_LEN: usize = 16;
/// The most that one cgroup can have (`BPF_CGROUP_MAX_PROGS` in kernel/bpf/cgroup.c).
const MAX_PROGRAMS: usize = 64;

/// The name is cut to 15 bytes; letters, digits, `_` and `.` may be in it. What the verifier says goes into `log`, as
/// text that ends with a NUL, unless that is empty: then it says nothing.
pub fn load(program: &[Instruction], name: &str, log: &mut [u8]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; BPF_OBJ_NAME_LEN],
    }
    // No helper function is called, so any licence will do.
    const LICENSE: &CStr = c"Apache-2.0";
    let mut prog_name = [0; BPF_OBJ_NAME_LEN];
    prog_name.iter_mut().zip(name.bytes().take(BPF_OBJ_NAME_LEN - 1)).for_each(|(to, from)| *to = from);
    let attributes = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).unwrap_or(u32::MAX),
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kern_version: 0,
        prog_flags: 0,
        prog_name,
    };
    // SAFETY: `insns` and `license` point to what outlives the call: `program`, which has at least `insn_cnt` elements,
    // laid out as `struct bpf_insn` (checked below), and a constant with its NUL. `log_buf` points to at least `log_size`
    // bytes that nobody else has, or is null with a level of zero. The kernel keeps no pointer.
    let returned = unsafe { bpf(BPF_PROG_LOAD, attributes) };
    let (_, number) = call!("bpf"("BPF_PROG_LOAD", "BPF_PROG_TYPE_CGROUP_DEVICE", format_args!("{} instructions", program.len())) => returned)?;
    Ok(owned(number))
}

/// Attaches a program to the cgroup whose directory is open, beside those that are there, or in the place of one of them
/// (`BPF_F_REPLACE`, Linux 5.6): ENOENT if that one is not there.
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, replaced: Option<BorrowedFd<'_>>) -> Result<()> {
    #[repr(C)]
    struct Attach {
        target_fd: RawFd,
        attach_bpf_fd: RawFd,
        attach_type: u32,
        attach_flags: u32,
        replace_bpf_fd: RawFd,
    }
    let attributes = Attach {
        target_fd: cgroup.as_raw_fd(),
        attach_bpf_fd: program.as_raw_fd(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | if replaced.is_some() { BPF_F_REPLACE } else { 0 },
        replace_bpf_fd: replaced.map_or(0, |replaced| replaced.as_raw_fd()),
    };
    // SAFETY: the command's struct has no pointers.
    let returned = unsafe { bpf(BPF_PROG_ATTACH, attributes) };
    let flags = if replaced.is_some() { "BPF_F_ALLOW_MULTI|BPF_F_REPLACE" } else { "BPF_F_ALLOW_MULTI" };
    call!("bpf"("BPF_PROG_ATTACH", Fd(&cgroup), "BPF_CGROUP_DEVICE", flags) => returned)?;
    Ok(())
}

/// The ids of the programs that are attached to the cgroup itself.
pub fn query(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>> {
    #[repr(C)]
    struct Query {
        target_fd: RawFd,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        // The kernel writes no further than the size it is told, but would a struct end here, it had 4 bytes of padding.
        padding: u32,
    }
    let mut ids = vec![0; MAX_PROGRAMS];
    let attributes = Query {
        target_fd: cgroup.as_raw_fd(),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        padding: 0,
    };
    // SAFETY: `prog_ids` points to `prog_cnt` numbers of 32 bits that nobody else has and that outlive the call; the
    // kernel writes there, and keeps no pointer.
    let returned = unsafe { bpf(BPF_PROG_QUERY, attributes) };
    let (found, _) = call!("bpf"("BPF_PROG_QUERY", Fd(&cgroup), "BPF_CGROUP_DEVICE") => returned)?;
    ids.truncate(found.prog_cnt as usize);
    Ok(ids)
}

/// Opens a program: ENOENT if there is none of this id any more.
pub fn open(id: u32) -> Result<OwnedFd> {
    #[repr(C)]
    struct Open {
        prog_id: u32,
        next_id: u32,
        open_flags: u32,
    }
    // SAFETY: the command's struct has no pointers.
    let returned = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, Open { prog_id: id, next_id: 0, open_flags: 0 }) };
    let (_, number) = call!("bpf"("BPF_PROG_GET_FD_BY_ID", id) => returned)?;
    Ok(owned(number))
}

/// The name that a program was loaded with.
pub fn name(program: BorrowedFd<'_>) -> Result<String> {
    /// The beginning of `struct bpf_prog_info`.
    #[repr(C)]
    struct ProgramInfo {
        before: [u64; 8],
        name: [u8; BPF_OBJ_NAME_LEN],
    }
    #[repr(C)]
    struct GetInfo {
        bpf_fd: RawFd,
        info_len: u32,
        info: u64,
    }
    let mut info = ProgramInfo { before: [0; 8], name: [0; BPF_OBJ_NAME_LEN] };
    let attributes = GetInfo {
        bpf_fd: program.as_raw_fd(),
        info_len: size_of::<ProgramInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` points to `info_len` bytes that nobody else has and that outlive the call. The kernel fills them,
    // and any bytes will do for the struct. The lengths and pointers in it (all of them in `before`) are zero, so that it
    // writes nowhere else, and it keeps no pointer.
    let returned = unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, attributes) };
    call!("bpf"("BPF_OBJ_GET_INFO_BY_FD", Fd(&program)) => returned)?;
    let name = info.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Makes the call and gives back the attributes, where the kernel writes what a command finds.
///
/// # Safety
/// `attributes` are the beginning of the command's struct, without padding, and the pointers in them are as that wants.
unsafe fn bpf<A>(command: libc::c_int, mut attributes: A) -> Result<(A, libc::c_long), Errno> {
    let (pointer, size) = (&raw mut attributes, size_of::<A>());
    // SAFETY: the kernel reads and writes `size` bytes at `pointer`, which are there; the rest is the caller's promise.
    let returned = outcome(unsafe { libc::syscall(libc::SYS_bpf, libc::c_long::from(command), pointer, size) })?;
    Ok((attributes, returned))
}

fn owned(number: libc::c_long) -> OwnedFd {
    // SAFETY: both callers have it from a command that returns a new file descriptor, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number as RawFd) }
}

const _: () = {
    assert!(size_of::<Instruction>() == 8);
    assert!(std::mem::offset_of!(Instruction, code) == 0);
    assert!(std::mem::offset_of!(Instruction, registers) == 1);
    assert!(std::mem::offset_of!(Instruction, offset) == 2);
    assert!(std::mem::offset_of!(Instruction, immediate) == 4);
};
