//! The black-box tests: a container runtime, seen from outside, on this machine, as root.
//!
//! The runtime is minicon as built here (`cargo build --profile quick`), or the one that `RUNTIME` names: the suite
//! holds for runc too, but for the tests that say why not.

mod affinity;
mod annotations;
mod apparmor;
mod cgroups;
mod cgroups_v2;
mod cgroups_v2_tree;
mod check;
mod checkpoint;
mod commands;
mod costs;
mod descriptors;
mod docs;
mod errors;
mod events;
mod exec;
mod fixtures;
mod flags;
mod floor;
mod hardening;
mod hints;
mod hooks;
mod id_maps;
mod json_types;
mod lifecycle;
mod load;
mod memory_policy;
mod mount_options;
mod mounts;
mod namespaces;
mod nested;
mod net_devices;
mod pause;
mod process;
mod ps;
mod rootless;
mod rootless_v2;
mod rules;
mod scheduling;
mod seccomp;
mod support;
mod systemd;
mod systemd_user;
mod trace;
mod tty;
mod update;
mod zz;
