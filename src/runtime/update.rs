//! `update`: other limits for a container that exists. All or nothing: one that fails leaves the limits as they were.

use std::io::Read;

use oci_spec::runtime::LinuxResources;

use super::Environment;
use crate::cli;
use crate::config;
use crate::container::Container;
use crate::container::status::{self, Verb};
use crate::error::{Context, Error, Result};
use crate::host;
use crate::plan::cgroup;
use crate::plan::intel_rdt;
use crate::plan::update;
use crate::resctrl::{self, Group};

/// The command.
pub fn update(options: &cli::Update, environment: &Environment) -> Result<()> {
    let mut resources = asked_for(options)?;
    // Locked, so that two updates do not put two device programs in force.
    let (container, _lock) = Container::open_locked(&environment.root, &options.id)?;
    status::permit(Verb::Update, container.status()?, &options.id)?;
    if update::drop_kernel_memory(&mut resources) {
        environment.log.warning("Kernel memory settings are ignored and will be removed");
    }
    let cgroup = container.cgroup();
    if resources != LinuxResources::default() {
        cgroup.must_exist().step(|| "change the limits")?;
    }
    if let Some(present) = resources.memory().and_then(|_| cgroup.v2_memory().transpose()) {
        update::complete_memory(&mut resources, present?);
    }
    let mut problems = Vec::new();
    drop_repeated_devices(&mut resources, &container)?;
    let rootless = environment.rootless || host::identity().rootless;
    let plan = cgroup::plan_update(&resources, cgroup.directories()?, rootless, &mut problems);
    if !problems.is_empty() {
        return Err(Error::config(problems));
    }
    let mut class = change_intel_rdt(options, &container, environment)?;
    cgroup.update_limits(&plan).inspect_err(|_| class.iter_mut().for_each(Group::undo))
}

/// Kubernetes repeats the container's own device rules with every change of another limit. They are in force, and to put
/// them in force again would take away what somebody has added beside them since, such as a GPU.
fn drop_repeated_devices(resources: &mut LinuxResources, container: &Container) -> Result<()> {
    if resources.devices().as_ref().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let config = config::parse(container.config_text()?)?;
    let own = config.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    if own.is_some_and(|own| own.devices() == resources.devices()) {
        resources.set_devices(None);
    }
    Ok(())
}

/// With a document all the flags for limits are ignored.
fn asked_for(options: &cli::Update) -> Result<LinuxResources> {
    let Some(file) = options.resources.as_deref().filter(|file| !file.is_empty()) else {
        return update::from_flags(options);
    };
    let mut text = Vec::new();
    let read = match file {
        "-" => std::io::stdin().read_to_end(&mut text).map(drop),
        file => std::fs::read(file).map(|read| text = read),
    };
    let name = if file == "-" { "stdin" } else { file };
    read.map_err(|error| Error::new(format!("read the resources from {name}: {error}")))?;
    let mut resources = config::parse_resources(&text)?;
    update::drop_unchanged(&mut resources);
    Ok(resources)
}

/// Changes the container's class of service; None if nothing of it is to change. The words are runc's.
fn change_intel_rdt(options: &cli::Update, container: &Container, environment: &Environment) -> Result<Option<Group>> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let (cache, bandwidth) = (options.l3_cache_schema.as_deref(), options.mem_bw_schema.as_deref());
    let schemata = intel_rdt::plan_update(cache, bandwidth, &mut problems, &mut warnings);
    if !problems.is_empty() {
        return Err(Error::config(problems));
    }
    if schemata.is_empty() {
        return Ok(None);
    }
    warnings.iter().for_each(|warning| environment.log.warning(warning));
    if let Some(membership) = &container.record.resctrl {
        return Group::change(membership, &schemata).map(Some);
    }
    let message = match cache.is_some_and(|text| !text.is_empty()) {
        _ if resctrl::find().is_some() => "updating a non-existent Intel RDT configuration is not supported",
        true => "Intel RDT/CAT: l3 cache schema is not enabled",
        false => "Intel RDT/MBA: memory bandwidth schema is not enabled",
    };
    Err(Error::new(message).hint("it needs resctrl mounted on /sys/fs/resctrl and a container with linux.intelRdt"))
}
