//! `linux.seccomp` to a BPF program.
