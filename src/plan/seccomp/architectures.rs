//! The architectures a filter can meet, and the numbers each gives to a system call's name.
//!
//! The numbers come from the crate `syscalls`. They are put into one hash table at compile time: it holds no
//! pointers, so loading the binary relocates nothing, and one look-up answers for every architecture.

use oci_spec::runtime::Arch;
use syscalls::{aarch64, arm, x86, x86_64};

/// An architecture whose system calls a process can make on a kernel that minicon runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86 (i386), on an x86_64 kernel.
    X86,
    /// The x32 ABI: x86_64 with 32-bit pointers. The kernel reports it as x86_64 with bit 30 of the number set.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM (EABI), on an aarch64 kernel.
    Arm,
}

/// Bit 30 of a system call's number marks the x32 ABI (`__X32_SYSCALL_BIT` in asm/unistd.h).
pub const X32_BIT: u32 = 0x4000_0000;

/// The value of `seccomp_data.arch`: the ELF machine, `__AUDIT_ARCH_64BIT` and `__AUDIT_ARCH_LE` (linux/audit.h).
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;

impl Architecture {
    /// The architecture that this binary was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Architecture = Architecture::X86_64;
    /// The architecture that this binary was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Architecture = Architecture::Aarch64;

    /// What the kernel writes to `seccomp_data.arch`. x32 has no value of its own.
    pub const fn audit(self) -> u32 {
        match self {
            Architecture::X86_64 | Architecture::X32 => AUDIT_ARCH_X86_64,
            Architecture::X86 => AUDIT_ARCH_I386,
            Architecture::Aarch64 => AUDIT_ARCH_AARCH64,
            Architecture::Arm => AUDIT_ARCH_ARM,
        }
    }

    /// Whether arguments are compared as 64-bit values; the others compare the low 32 bits, as libseccomp does.
    pub const fn is_wide(self) -> bool {
        matches!(self, Architecture::X86_64 | Architecture::Aarch64)
    }

    /// The architectures that a kernel of the `native` one can run: the native one first, those that share a value
    /// of `seccomp_data.arch` together, by number.
    pub const fn family(native: Architecture) -> &'static [Architecture] {
        match native {
            Architecture::X86_64 | Architecture::X86 | Architecture::X32 => {
                &[Architecture::X86_64, Architecture::X32, Architecture::X86]
            }
            Architecture::Aarch64 | Architecture::Arm => &[Architecture::Aarch64, Architecture::Arm],
        }
    }

    /// The spec's name of this architecture.
    pub const fn spec(self) -> Arch {
        match self {
            Architecture::X86_64 => Arch::ScmpArchX86_64,
            Architecture::X86 => Arch::ScmpArchX86,
            Architecture::X32 => Arch::ScmpArchX32,
            Architecture::Aarch64 => Arch::ScmpArchAarch64,
            Architecture::Arm => Arch::ScmpArchArm,
        }
    }
}

/// The numbers of one system call, by architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers([u32; 5]);

impl Numbers {
    const ABSENT: u32 = u32::MAX;

    /// The number on `architecture`, with bit 30 for x32; nothing if the system call does not exist there.
    pub const fn on(&self, architecture: Architecture) -> Option<u32> {
        match self.0[architecture as usize] {
            Numbers::ABSENT => None,
            number => Some(number),
        }
    }
}

/// Finds a system call by its name.
pub fn find(name: &str) -> Option<&'static Numbers> {
    match TABLE.slots[TABLE.slot(name.as_bytes())] {
        Table::EMPTY => None,
        entry => Some(&TABLE.entries[entry as usize].numbers),
    }
}

/// What i386 reaches through one of its two multiplexed system calls as well: the number of the multiplexer
/// (socketcall(2) or ipc(2)) and the value of its first argument (linux/net.h, linux/ipc.h).
pub fn multiplexed(name: &str) -> Option<(u32, u64)> {
    const SOCKETCALL: u32 = x86::Sysno::socketcall as u32;
    const IPC: u32 = x86::Sysno::ipc as u32;
    let (multiplexer, call) = match name {
        "socket" => (SOCKETCALL, 1),
        "bind" => (SOCKETCALL, 2),
        "connect" => (SOCKETCALL, 3),
        "listen" => (SOCKETCALL, 4),
        "accept" => (SOCKETCALL, 5),
        "getsockname" => (SOCKETCALL, 6),
        "getpeername" => (SOCKETCALL, 7),
        "socketpair" => (SOCKETCALL, 8),
        "send" => (SOCKETCALL, 9),
        "recv" => (SOCKETCALL, 10),
        "sendto" => (SOCKETCALL, 11),
        "recvfrom" => (SOCKETCALL, 12),
        "shutdown" => (SOCKETCALL, 13),
        "setsockopt" => (SOCKETCALL, 14),
        "getsockopt" => (SOCKETCALL, 15),
        "sendmsg" => (SOCKETCALL, 16),
        "recvmsg" => (SOCKETCALL, 17),
        "accept4" => (SOCKETCALL, 18),
        "recvmmsg" => (SOCKETCALL, 19),
        "sendmmsg" => (SOCKETCALL, 20),
        "semop" => (IPC, 1),
        "semget" => (IPC, 2),
        "semctl" => (IPC, 3),
        "semtimedop" => (IPC, 4),
        "msgsnd" => (IPC, 11),
        "msgrcv" => (IPC, 12),
        "msgget" => (IPC, 13),
        "msgctl" => (IPC, 14),
        "shmat" => (IPC, 21),
        "shmdt" => (IPC, 22),
        "shmget" => (IPC, 23),
        "shmctl" => (IPC, 24),
        _ => return None,
    };
    Some((multiplexer, call))
}

/// The x32 ABI's own numbers, without bit 30: the calls whose arguments hold pointers in memory
/// (arch/x86/entry/syscalls/syscall_64.tbl, abi `x32`).
const X32_OWN: &[(&str, u32)] = &[
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// What x86_64 has and x32 has not (the same table, abi `64` without an `x32` row).
const X32_LACKS: &[&str] = &[
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
    "map_shadow_stack",
];

/// 32-bit ARM's own calls start here, far above the common ones (`__ARM_NR_BASE` in asm/unistd.h).
pub const ARM_BASE: u32 = 0x000f_0000;

/// From `ARM_BASE`.
const ARM_OWN: &[(&str, u32)] =
    &[("breakpoint", 1), ("cacheflush", 2), ("usr26", 3), ("usr32", 4), ("set_tls", 5), ("get_tls", 6)];

/// What the crate calls otherwise than the kernel and libseccomp do.
const AARCH64_OWN: &[(&str, u32)] = &[("newfstatat", 79)];

/// What the crate does not know yet. Since Linux 5.1 a new call has the same number everywhere.
const NEW: &[(&str, u32)] = &[("listns", 470), ("rseq_slice_yield", 471)];

/// The numbers of the calls with 64-bit times that only 32-bit architectures have (asm-generic/unistd.h); the
/// crate gives them to aarch64 too.
const TIME64: std::ops::RangeInclusive<u32> = 403..=423;

#[derive(Clone, Copy)]
struct Entry {
    start: u16,
    length: u16,
    numbers: Numbers,
}

/// Open addressing with linear probing; `slots` holds indexes into `entries`, whose names are parts of `names`.
struct Table {
    slots: [u16; Table::SLOTS],
    entries: [Entry; Table::ENTRIES],
    names: [u8; Table::NAMES],
}

static TABLE: Table = Table::build();

impl Table {
    const SLOTS: usize = 2048;
    const ENTRIES: usize = 640;
    const NAMES: usize = 10240;
    const EMPTY: u16 = u16::MAX;

    /// The slot that holds `name`, or the empty one where it belongs.
    const fn slot(&self, name: &[u8]) -> usize {
        let mut slot = hash(name) as usize % Table::SLOTS;
        while self.slots[slot] != Table::EMPTY && !self.is_named(self.slots[slot], name) {
            slot = (slot + 1) % Table::SLOTS;
        }
        slot
    }

    const fn is_named(&self, entry: u16, name: &[u8]) -> bool {
        let Entry { start, length, .. } = self.entries[entry as usize];
        if length as usize != name.len() {
            return false;
        }
        let mut at = 0;
        while at < name.len() {
            if self.names[start as usize + at] != name[at] {
                return false;
            }
            at += 1;
        }
        true
    }

    const fn build() -> Table {
        let empty = Entry { start: 0, length: 0, numbers: Numbers([Numbers::ABSENT; 5]) };
        let mut table =
            Table { slots: [Table::EMPTY; Table::SLOTS], entries: [empty; Table::ENTRIES], names: [0; Table::NAMES] };
        let mut used = Used { entries: 0, names: 0 };
        macro_rules! add_crate {
            ($architecture:ident, $crate_table:ident) => {
                let mut number = 0;
                while number <= $crate_table::Sysno::last().id() as u32 {
                    if let Some(call) = $crate_table::Sysno::new(number as usize) {
                        table.add(&mut used, call.name(), Architecture::$architecture, number);
                    }
                    number += 1;
                }
            };
        }
        add_crate!(X86_64, x86_64);
        add_crate!(X86, x86);
        add_crate!(Aarch64, aarch64);
        add_crate!(Arm, arm);
        table.add_new(&mut used);
        table.add_all(&mut used, AARCH64_OWN, Architecture::Aarch64, 0);
        table.add_all(&mut used, ARM_OWN, Architecture::Arm, ARM_BASE);
        table.add_x32(&mut used);
        table
    }

    const fn add_new(&mut self, used: &mut Used) {
        self.add_all(used, NEW, Architecture::X86_64, 0);
        self.add_all(used, NEW, Architecture::X86, 0);
        self.add_all(used, NEW, Architecture::Aarch64, 0);
        self.add_all(used, NEW, Architecture::Arm, 0);
    }

    const fn add_x32(&mut self, used: &mut Used) {
        let mut entry = 0;
        while entry < used.entries {
            let numbers = &mut self.entries[entry].numbers.0;
            let shared = numbers[Architecture::X86_64 as usize];
            if shared != Numbers::ABSENT {
                numbers[Architecture::X32 as usize] = shared | X32_BIT;
            }
            entry += 1;
        }
        self.add_all(used, X32_OWN, Architecture::X32, X32_BIT);
        let mut lacking = 0;
        while lacking < X32_LACKS.len() {
            self.add(used, X32_LACKS[lacking], Architecture::X32, Numbers::ABSENT);
            lacking += 1;
        }
    }

    const fn add_all(&mut self, used: &mut Used, calls: &[(&str, u32)], architecture: Architecture, base: u32) {
        let mut at = 0;
        while at < calls.len() {
            self.add(used, calls[at].0, architecture, base + calls[at].1);
            at += 1;
        }
    }

    const fn add(&mut self, used: &mut Used, name: &str, architecture: Architecture, number: u32) {
        // The crate writes a name that is a keyword of Rust as `r#break`.
        let name = match name.as_bytes() {
            [b'r', b'#', name @ ..] => name,
            name => name,
        };
        if architecture as usize == Architecture::Aarch64 as usize
            && *TIME64.start() <= number
            && number <= *TIME64.end()
        {
            return;
        }
        let slot = self.slot(name);
        if self.slots[slot] == Table::EMPTY {
            self.slots[slot] = used.entries as u16;
            self.entries[used.entries].start = used.names as u16;
            self.entries[used.entries].length = name.len() as u16;
            used.entries += 1;
            let mut at = 0;
            while at < name.len() {
                self.names[used.names] = name[at];
                used.names += 1;
                at += 1;
            }
        }
        self.entries[self.slots[slot] as usize].numbers.0[architecture as usize] = number;
    }
}

/// How much of a [`Table`] is filled, while it is built.
struct Used {
    entries: usize,
    names: usize,
}

/// FNV-1a, which is short and good enough for 500 names.
const fn hash(name: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::{Architecture, Numbers, find};

    #[test]
    fn a_name_has_a_number_on_each_architecture_that_knows_it() {
        let on = |name, architecture| find(name).and_then(|numbers: &Numbers| numbers.on(architecture));
        assert_eq!(on("read", Architecture::X86_64), Some(0));
        assert_eq!(on("read", Architecture::X86), Some(3));
        assert_eq!(on("read", Architecture::X32), Some(0x4000_0000));
        assert_eq!(on("readv", Architecture::X32), Some(0x4000_0000 + 515));
        assert_eq!(on("uselib", Architecture::X32), None);
        assert_eq!(on("openat", Architecture::Aarch64), Some(56));
        assert_eq!(on("newfstatat", Architecture::Aarch64), Some(79));
        assert_eq!(on("clock_gettime64", Architecture::Aarch64), None);
        assert_eq!(on("clock_gettime64", Architecture::Arm), Some(403));
        assert_eq!(on("break", Architecture::X86), Some(17));
        assert_eq!(on("open", Architecture::Aarch64), None);
        assert_eq!(on("cacheflush", Architecture::Arm), Some(0x000f_0002));
        assert_eq!(find("no_such_call"), None);
        assert_eq!(find(""), None);
    }
}
