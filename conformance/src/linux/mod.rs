//! config-linux.md: the Linux-specific configuration.

use crate::row::Row;

mod cgroups;
mod devices;
mod memory_policy;
mod namespaces;
mod network_devices;
mod ownership;
mod paths;
mod rdt;
mod resources;
mod seccomp;
mod seccomp_listener;
mod unified;

/// The chapters.
pub const CHAPTERS: &[&[Row]] = &[
    namespaces::TESTS,
    devices::TESTS,
    network_devices::TESTS,
    cgroups::TESTS,
    ownership::TESTS,
    resources::TESTS,
    unified::TESTS,
    rdt::TESTS,
    memory_policy::TESTS,
    seccomp::TESTS,
    seccomp_listener::TESTS,
    paths::TESTS,
];
