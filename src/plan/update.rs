//! DECIDE what `update` asks for: its flags as the resources of the specification, completed with what the container
//! has now where cgroup v2 counts in another way.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use crate::cli;
use crate::error::{Error, Result};

/// The resources that the flags name. An empty value counts as not given, as in runc.
pub fn from_flags(flags: &cli::Update) -> Result<LinuxResources> {
    let mut cpu = LinuxCpu::default();
    cpu.set_period(number("cpu-period", &flags.cpu_period)?);
    cpu.set_quota(number("cpu-quota", &flags.cpu_quota)?);
    cpu.set_burst(number("cpu-burst", &flags.cpu_burst)?);
    cpu.set_shares(number("cpu-share", &flags.cpu_share)?);
    cpu.set_realtime_period(number("cpu-rt-period", &flags.cpu_rt_period)?);
    cpu.set_realtime_runtime(number("cpu-rt-runtime", &flags.cpu_rt_runtime)?);
    cpu.set_idle(number("cpu-idle", &flags.cpu_idle)?);
    cpu.set_cpus(flags.cpuset_cpus.clone());
    cpu.set_mems(flags.cpuset_mems.clone());
    let mut memory = LinuxMemory::default();
    memory.set_limit(size("memory", &flags.memory)?);
    memory.set_reservation(size("memory-reservation", &flags.memory_reservation)?);
    memory.set_swap(size("memory-swap", &flags.memory_swap)?);
    memory.set_kernel(size("kernel-memory", &flags.kernel_memory)?);
    memory.set_kernel_tcp(size("kernel-memory-tcp", &flags.kernel_memory_tcp)?);
    let mut block_io = LinuxBlockIo::default();
    block_io.set_weight(number("blkio-weight", &flags.blkio_weight)?);
    let pids = number("pids-limit", &flags.pids_limit)?.map(|limit| {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        pids
    });
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu)).set_memory(Some(memory)).set_block_io(Some(block_io)).set_pids(pids);
    resources.set_devices(None);
    Ok(resources)
}

/// Takes out of a document what says nothing: engines send sections full of zeros for "unchanged". (The other zeros are
/// known to the plan. For a new container a limit of 0 processes is one, so that is told apart here.)
pub fn drop_unchanged(resources: &mut LinuxResources) {
    if resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0) {
        resources.set_pids(None);
    }
}

/// Takes out the limits of kernel memory, which runc ignores and the kernel has given up; tells whether there were any.
pub fn drop_kernel_memory(resources: &mut LinuxResources) -> bool {
    let Some(memory) = resources.memory_mut() else { return false };
    let is_set = |value: Option<i64>| value.is_some_and(|value| value != 0);
    let had_any = is_set(memory.kernel()) || is_set(memory.kernel_tcp());
    memory.set_kernel(None);
    memory.set_kernel_tcp(None);
    had_any
}

/// The limits that a cgroup v2 has now; None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentMemory {
    /// `memory.max`.
    pub limit: Option<i64>,
    /// `memory.swap.max`: of swap alone.
    pub swap: Option<i64>,
}

/// The specification, and cgroup v1, limit memory and swap together; v2 limits swap alone. Where only one of the two is
/// to change, the other keeps its present value as the specification counts it, as it does on v1 and with runc.
pub fn complete_memory(resources: &mut LinuxResources, present: PresentMemory) {
    let Some(memory) = resources.memory_mut() else { return };
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    match (given(memory.limit()), given(memory.swap())) {
        (None, Some(swap)) if swap > 0 => {
            memory.set_limit(Some(present.limit.unwrap_or(-1)));
        }
        (Some(limit), None) if limit > 0 => {
            if let (Some(limit), Some(swap)) = (present.limit, present.swap) {
                memory.set_swap(Some(limit.saturating_add(swap)));
            }
        }
        _ => {}
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: &Option<String>) -> Result<Option<T>> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let parsed = text.parse().map_err(|_| invalid(flag, text, "a decimal number in its range"));
    parsed.map(Some)
}

fn size(flag: &str, text: &Option<String>) -> Result<Option<i64>> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    match text {
        "-1" => Ok(Some(-1)),
        text => bytes(text)
            .map(Some)
            .ok_or_else(|| invalid(flag, text, "a number of bytes, or with k, m, g, t or p, such as 512m; or -1")),
    }
}

fn invalid(flag: &str, text: &str, expected: &str) -> Error {
    Error::new(format!("invalid value for {flag}: {text:?}")).hint(format!("--{flag} takes {expected}"))
}

/// A size as docker's command line takes it: `64`, `64b`, `512m`, `1.5GiB`, `2 kb`; the factor is always 1024.
fn bytes(text: &str) -> Option<i64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let is_plain = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift).filter(|_| is_plain);
    }
    let is_fraction = is_plain && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value = number.parse::<f64>().ok().filter(|_| is_fraction)? * (1i64 << shift) as f64;
    (value < i64::MAX as f64).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("64", Some(64)),
            ("64b", Some(64)),
            ("1k", Some(1024)),
            ("1 kb", Some(1024)),
            ("512m", Some(512 << 20)),
            ("512M", Some(512 << 20)),
            ("2MiB", Some(2 << 20)),
            ("1.5g", Some(3 << 29)),
            (".5k", Some(512)),
            ("3tb", Some(3 << 40)),
            ("1p", Some(1 << 50)),
            ("9223372036854775807", Some(i64::MAX)),
            ("", None),
            ("m", None),
            ("-2", None),
            ("+2", None),
            ("1x", None),
            ("1ib", None),
            ("1bb", None),
            ("1mm", None),
            ("1.2.3", None),
            ("1e3", None),
            ("0x10", None),
            ("9223372036854775808", None),
            ("9000p", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn flags_become_resources() {
        let text = |text: &str| Some(text.to_owned());
        let flags = cli::Update {
            memory: text("1g"),
            memory_swap: text("-1"),
            cpu_quota: text("-1"),
            cpuset_cpus: text("0-1"),
            pids_limit: text("9"),
            cpu_period: text(""),
            ..cli::Update::default()
        };
        let resources = from_flags(&flags).expect("they are valid");
        let expected = serde_json::json!({"memory": {"limit": 1 << 30, "swap": -1},
            "cpu": {"quota": -1, "cpus": "0-1"}, "pids": {"limit": 9}, "blockIO": {}});
        assert_eq!(serde_json::to_value(resources).expect("JSON"), expected);
    }

    #[test]
    fn a_flag_that_is_no_number_is_named() {
        let flags = cli::Update { cpu_period: Some("-5".into()), ..cli::Update::default() };
        assert_eq!(from_flags(&flags).expect_err("negative").headline(), "invalid value for cpu-period: \"-5\"");
        let flags = cli::Update { memory: Some("1x".into()), ..cli::Update::default() };
        assert_eq!(from_flags(&flags).expect_err("no unit").headline(), "invalid value for memory: \"1x\"");
    }

    #[test]
    fn on_v2_the_other_of_memory_and_swap_stays() {
        let completed = |resources: &str, limit, swap| {
            let mut resources: LinuxResources = serde_json::from_str(resources).expect("resources");
            complete_memory(&mut resources, PresentMemory { limit, swap });
            let memory = resources.memory().expect("memory");
            (memory.limit(), memory.swap())
        };
        let limit = r#"{"memory": {"limit": 60}}"#;
        assert_eq!(completed(limit, Some(50), Some(50)), (Some(60), Some(100)));
        assert_eq!(completed(limit, Some(50), None), (Some(60), None));
        assert_eq!(completed(limit, None, Some(50)), (Some(60), None));
        let swap = r#"{"memory": {"limit": 0, "swap": 100}}"#;
        assert_eq!(completed(swap, Some(50), Some(0)), (Some(50), Some(100)));
        assert_eq!(completed(swap, None, None), (Some(-1), Some(100)));
        for unchanged in [r#"{"memory": {"limit": -1}}"#, r#"{"memory": {"swap": -1}}"#, r#"{"memory": {}}"#] {
            let before: LinuxResources = serde_json::from_str(unchanged).expect("resources");
            let memory = before.memory().expect("memory");
            assert_eq!(completed(unchanged, Some(50), Some(50)), (memory.limit(), memory.swap()), "{unchanged}");
        }
    }

    #[test]
    fn zeros_change_nothing() {
        let mut resources: LinuxResources =
            serde_json::from_str(r#"{"pids": {}, "memory": {"kernel": 0}}"#).expect("resources");
        drop_unchanged(&mut resources);
        assert!(resources.pids().is_none());
        assert!(!drop_kernel_memory(&mut resources));
        let mut resources: LinuxResources = serde_json::from_str(r#"{"memory": {"kernelTCP": 7}}"#).expect("resources");
        assert!(drop_kernel_memory(&mut resources));
        assert_eq!(resources.memory().and_then(|memory| memory.kernel_tcp()), None);
    }
}
