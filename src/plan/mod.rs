//! DECIDE. Pure functions from the configuration, the options and the host to a plan of steps.
//! Nothing here calls the kernel, reads a file or looks at a clock.

pub mod cgroup;
pub mod device_rules;
mod resources;
mod resources_v1;
mod resources_v2;
pub mod seccomp;

use std::fmt;

/// A place in `config.json`, such as `mounts[3].options` or `linux.seccomp.syscalls[2].args[0]`.
///
/// It is a small copyable value: each step of a plan carries one, and most are never printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigPath {
    segments: [(&'static str, Option<usize>); 3],
}

impl ConfigPath {
    /// A place such as `process.cwd`.
    pub const fn new(name: &'static str) -> Self {
        ConfigPath { segments: [(name, None), ("", None), ("", None)] }
    }

    /// An element of a list: `mounts` and 3 make `mounts[3]`.
    pub const fn index(mut self, index: usize) -> Self {
        let last = self.last();
        self.segments[last].1 = Some(index);
        self
    }

    /// A property of an element: `mounts[3]` and `options` make `mounts[3].options`. At most two deep.
    pub const fn field(mut self, name: &'static str) -> Self {
        let last = self.last();
        if last + 1 < self.segments.len() {
            self.segments[last + 1] = (name, None);
        }
        self
    }

    const fn last(&self) -> usize {
        let mut last = 0;
        while last + 1 < self.segments.len() && !self.segments[last + 1].0.is_empty() {
            last += 1;
        }
        last
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, index)) in self.segments.iter().enumerate().filter(|(_, (name, _))| !name.is_empty()) {
            if position > 0 {
                f.write_str(".")?;
            }
            f.write_str(name)?;
            if let Some(index) = index {
                write!(f, "[{index}]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ConfigPath;

    #[test]
    fn a_config_path_reads_as_in_json() {
        let rule = ConfigPath::new("linux.seccomp.syscalls").index(2);
        assert_eq!(rule.to_string(), "linux.seccomp.syscalls[2]");
        assert_eq!(rule.field("args").index(1).field("op").to_string(), "linux.seccomp.syscalls[2].args[1].op");
        assert_eq!(ConfigPath::new("process.cwd").to_string(), "process.cwd");
    }
}
