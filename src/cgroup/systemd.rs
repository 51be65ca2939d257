//! The systemd driver: has systemd start a transient unit around the container's init, looks where that has put it, and
//! has systemd stop it again. One connection and as few round trips as possible for each.
//!
//! Limits are given to systemd as properties, and written into the files as well (`limits.rs`): systemd has no property
//! for many of them, and may round those that it has.

mod stop;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use self::stop::{clear, stop};
use super::probe::parse_membership;
use super::{Cgroup, Presence, cgroupfs, files};
use crate::dbus::{Address, Connection, Message, Refusal, parse_addresses};
use crate::error::{Context, Error, Result};
use crate::plan::cgroup::{Before, CgroupPlan, DeviceControl, Directory, Driver, FileWrite, Version, When};
use crate::plan::systemd::{Bus, Property, Unit, UnitName};
use crate::plan::unit_properties;
use crate::plan::variant::Value;

/// How long systemd may take for all that one command wants of it. An engine waits longer for us.
const PATIENCE: Duration = Duration::from_secs(25);

/// Fails if this machine does not run systemd; sd_booted(3). The words are runc's.
pub fn check_runs() -> Result<()> {
    if Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    Err(Error::new("systemd not running on this host, cannot use systemd cgroups manager").hint(
        "--systemd-cgroup needs systemd as PID 1 (there is no /run/systemd/system); leave it out, engines call that \
         cgroup manager \"cgroupfs\"",
    ))
}

/// Which systemd makes the cgroups of this caller. A root without rights over the host is an ordinary user there, unless
/// it has none of that user's things: then it is root of a container with a systemd of its own.
pub fn choose_bus(rootless: bool, in_user_namespace: bool) -> Bus {
    match rootless || (in_user_namespace && !addresses_of_user().is_empty()) {
        true => Bus::User,
        false => Bus::System,
    }
}

impl Cgroup {
    /// Has systemd make its part of a plan's cgroups, with init in them. True if there was something to make; then the
    /// container's directories are known better than before.
    pub fn place(&mut self, plan: &CgroupPlan, pid: i32) -> Result<bool> {
        let Driver::Systemd(unit) = &plan.driver else { return Ok(false) };
        start(unit, pid, &mut self.is_started).at("linux.cgroupsPath")?;
        let text = files::read(Path::new(&format!("/proc/{pid}/cgroup"))).step(|| "find init's cgroup")?;
        for (member, directory) in self.members.iter_mut().zip(&plan.directories) {
            if member.presence != Presence::Awaited {
                continue;
            }
            member.presence = Presence::Existing;
            match unit.is_slice() {
                true => files::write(&member.path.join("cgroup.procs"), &pid.to_string())
                    .step(|| format!("put init into {}", unit.id.name))?,
                false => member.path = found(&text, directory, &unit.id)?,
            }
            if directory.version == Version::V2 {
                let found = Directory { path: member.path.clone(), ..directory.clone() };
                cgroupfs::enable_controllers(&found)?;
                check_controllers(plan, &found, &unit.id)?;
            }
        }
        Ok(true)
    }

    /// The unit, and the way from it to the cgroup, if it takes systemd to move a process of ours in. That needs the right
    /// to write `cgroup.procs` of the nearest cgroup above both, see cgroups(7), "Delegation containment": a user's session
    /// is outside of what the user's systemd has been given.
    pub fn needs_attaching(&self) -> Option<(&UnitName, PathBuf)> {
        let (unit, member) = (self.unit.as_ref().filter(|unit| unit.bus == Bus::User)?, self.v2()?);
        let here = super::probe().ok()?.v2?;
        let inside: PathBuf = member.path.iter().skip_while(|name| *name != unit.name.as_str()).skip(1).collect();
        let path = member.path.strip_prefix(&here.mount_point).ok()?;
        let both = path.iter().zip(here.own.iter().skip(1)).take_while(|(one, other)| one == other);
        let above: PathBuf = both.map(|(name, _)| name).collect();
        let procs = here.mount_point.join(above).join("cgroup.procs");
        let may_write = rustix::fs::access(&procs, rustix::fs::Access::WRITE_OK).is_ok();
        (!may_write).then_some((unit, inside))
    }

    /// Tells systemd what an update changes, so that it does not write the old values again when it next reloads. Nothing
    /// is done for a container that systemd did not make: false.
    pub fn set_properties(&self, update: &CgroupPlan) -> Result<bool> {
        match &self.unit {
            Some(unit) => {
                let mut properties = unit_properties::of_limits(&update.writes);
                if let Some(DeviceControl::List { wanted, .. }) = &update.devices {
                    properties.extend(unit_properties::of_devices(wanted));
                }
                set_properties(unit, &properties).map(|()| true)
            }
            None => Ok(false),
        }
    }
}

/// Where systemd has put init in one hierarchy.
fn found(memberships: &str, directory: &Directory, unit: &UnitName) -> Result<PathBuf> {
    let is_it = |controllers: &[String]| match directory.version {
        Version::V2 => controllers.is_empty(),
        Version::V1 => controllers == directory.controllers,
    };
    let mut found = memberships.lines().filter_map(parse_membership).filter(|(controllers, _)| is_it(controllers));
    let path = found.next().map(|(_, path)| path).unwrap_or(Path::new("/"));
    if !path.components().any(|component| component.as_os_str() == unit.name.as_str()) {
        return Err(Error::new(format!("systemd has started {}, but init is in {}", unit.name, path.display()))
            .step("find init's cgroup")
            .hint(
                "a program that moves processes between cgroups may be at work; or this is another cgroup namespace",
            ));
    }
    Ok(directory.mount_point.join(path.strip_prefix("/").unwrap_or(path)))
}

/// A limit whose controller is missing would fail with a file that does not exist. The words are crun's.
fn check_controllers(plan: &CgroupPlan, found: &Directory, unit: &UnitName) -> Result<()> {
    let enabled = files::read_value(&found.path.join("cgroup.controllers")).step(|| "find the cgroup's controllers")?;
    let controller = |write: &FileWrite| write.file.split('.').next().unwrap_or_default().to_owned();
    let is_missing = |write: &&FileWrite| {
        let controller = controller(write);
        controller != "cgroup" && !enabled.split(' ').any(|known| known == controller)
    };
    let here = |write: &&FileWrite| plan.directories[write.directory].version == Version::V2;
    let needed = plan.writes.iter().filter(|write| write.when != When::Existing && write.before == Before::Nothing);
    match needed.filter(here).find(is_missing) {
        None => Ok(()),
        Some(write) => {
            let error = Error::new(format!("the requested cgroup controller `{}` is not available", controller(write)));
            Err(error.step(write.step).at(write.at).hint(match unit.bus {
                Bus::System => "see cgroup.controllers and cgroup.subtree_control of the cgroups above",
                Bus::User => {
                    "it is not delegated to this user's systemd: \"Delegate=cpu cpuset io memory pids\" below [Service] in \
                     /etc/systemd/system/user@.service.d/delegate.conf, then log in again"
                }
            }))
        }
    }
}

/// Starts a unit around a process and waits until it has been. `is_started` says whether there is something to stop.
fn start(unit: &Unit, pid: i32, is_started: &mut bool) -> Result<()> {
    let UnitName { name, bus } = &unit.id;
    let explain = |error: Error| explain(error, &unit.id, "start", "StartTransientUnit");
    let mut connection = connect(*bus)?;
    connection.subscribe(&job_rule(name));
    let mut properties: Vec<&Property> = unit.properties.iter().collect();
    let mut was_reset = false;
    loop {
        let body = vec![
            Value::string(name),
            Value::string("replace"),
            with_process(&properties, (!unit.is_slice()).then_some(pid)),
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
        ];
        let call = connection.call(manager("StartTransientUnit", body));
        *is_started = true;
        match connection.reply(call).map_err(explain)? {
            Ok(answer) => {
                let result = finish_job(&mut connection, &answer).map_err(explain)?;
                return match result.as_str() {
                    "done" => Ok(()),
                    result => Err(explain(Error::new(format!("the job ended as {result:?}")))),
                };
            }
            Err(refusal) if refusal.is("UnitExists") => {
                *is_started = false; // it is not ours
                if was_reset {
                    let error = Error::new(format!("the unit exists already: {}", refusal.text));
                    return Err(explain(error.hint("choose another id, or another name in linux.cgroupsPath")));
                }
                // One that has failed stays until somebody has seen it.
                let reset = connection.call(manager("ResetFailedUnit", vec![Value::string(name)]));
                let _ = connection.reply(reset).map_err(explain)?;
                was_reset = true;
            }
            Err(refusal) => {
                *is_started = false;
                leave_out_unknown(&mut properties, &refusal).map_err(explain)?;
            }
        }
    }
}

/// systemd looks at properties one by one: where it does not know one, or not this value of it, it names it. If we can do
/// without, it is taken away, for another attempt.
fn leave_out_unknown(properties: &mut Vec<&Property>, refusal: &Refusal) -> Result<()> {
    let is_named = |property: &&Property| {
        let mut words = refusal.text.split(|letter: char| !letter.is_ascii_alphanumeric());
        words.any(|word| word == property.name)
    };
    let error = Error::new(refusal.to_string());
    match properties.iter().position(is_named) {
        Some(index) if properties[index].dispensable => {
            properties.remove(index);
            Ok(())
        }
        Some(index) => Err(error.at(&properties[index].at)),
        None => Err(error),
    }
}

/// Has systemd move a process into the unit, or a cgroup below it, where we have no right to by ourselves.
pub fn attach(unit: &UnitName, below: &Path, pid: i32) -> Result<()> {
    let explain = |error: Error| explain(error, unit, "take a process into", "AttachProcessesToUnit");
    let below = match below.as_os_str().is_empty() {
        true => String::new(),
        false => format!("/{}", below.display()),
    };
    let mut connection = connect(unit.bus)?;
    let pids = Value::Array("u".to_owned(), vec![Value::Uint32(pid as u32)]);
    let call =
        connection.call(manager("AttachProcessesToUnit", vec![Value::string(&unit.name), Value::string(below), pids]));
    match connection.reply(call).map_err(explain)? {
        Ok(_) => Ok(()),
        Err(refusal) => Err(explain(Error::new(refusal.to_string()))),
    }
}

/// Changes properties of a running unit, until the machine's next boot.
fn set_properties(unit: &UnitName, properties: &[Property]) -> Result<()> {
    let explain = |error: Error| explain(error, unit, "change", "SetUnitProperties");
    let mut properties: Vec<&Property> = properties.iter().collect();
    if properties.is_empty() {
        return Ok(());
    }
    let mut connection = connect(unit.bus)?;
    loop {
        let body = vec![Value::string(&unit.name), Value::Boolean(true), with_process(&properties, None)];
        let call = connection.call(manager("SetUnitProperties", body));
        match connection.reply(call).map_err(explain)? {
            Ok(_) => break,
            Err(refusal) => leave_out_unknown(&mut properties, &refusal).map_err(explain)?,
        }
    }
    // It answers before it writes the files, and takes the next message after.
    let again = connection.call(manager("GetUnit", vec![Value::string(&unit.name)]));
    connection.reply(again).map_err(explain).map(drop)
}

fn manager(member: &str, body: Vec<Value>) -> Message {
    const SYSTEMD: &str = "org.freedesktop.systemd1";
    Message::call(SYSTEMD, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", member, body)
}

/// Only the jobs of this unit: on a busy machine there are many. No letter of a unit's name needs escaping here.
fn job_rule(unit: &str) -> String {
    format!(
        "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',\
         member='JobRemoved',arg2='{unit}'"
    )
}

/// Waits until the job that an answer names is done, and tells how it ended.
fn finish_job(connection: &mut Connection, answer: &[Value]) -> Result<String> {
    let Some(job) = answer.first().and_then(Value::text) else { return Err(Error::new("systemd names no job")) };
    loop {
        let signal = connection.signal("JobRemoved")?;
        let mut fields = signal.body.iter().map(Value::text);
        if let (Some(Some(removed)), Some(Some(result))) = (fields.nth(1), fields.nth(1))
            && removed == job
        {
            return Ok(result.to_owned());
        }
    }
}

/// The properties as D-Bus takes them, with the process that is put into the unit.
fn with_process(properties: &[&Property], pid: Option<i32>) -> Value {
    let one = |name: &str, value: Value| Value::Struct(vec![Value::string(name), Value::Variant(Box::new(value))]);
    let mut all: Vec<Value> = properties.iter().map(|property| one(&property.name, property.value.clone())).collect();
    all.extend(pid.map(|pid| one("PIDs", Value::Array("u".to_owned(), vec![Value::Uint32(pid as u32)]))));
    Value::Array("(sv)".to_owned(), all)
}

fn connect(bus: Bus) -> Result<Connection> {
    let addresses = match bus {
        Bus::System => addresses_of_system(),
        Bus::User => addresses_of_user(),
    };
    let hint = match bus {
        Bus::System => "--systemd-cgroup needs systemd as PID 1 and its system bus: see `systemctl status dbus`",
        Bus::User => {
            "--systemd-cgroup of an ordinary user needs that user's systemd and its bus, which logging in starts, or \
             `loginctl enable-linger USER`; DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR must tell where"
        }
    };
    Connection::open(&addresses, PATIENCE).step(|| format!("reach systemd over the {bus} bus")).hint(hint)
}

fn addresses_of_system() -> Vec<Address> {
    match std::env::var("DBUS_SYSTEM_BUS_ADDRESS") {
        Ok(list) if !list.is_empty() => parse_addresses(&list),
        _ => vec![Address::Path("/run/dbus/system_bus_socket".into())],
    }
}

fn addresses_of_user() -> Vec<Address> {
    match (std::env::var("DBUS_SESSION_BUS_ADDRESS"), std::env::var_os("XDG_RUNTIME_DIR")) {
        (Ok(list), _) if !list.is_empty() => parse_addresses(&list),
        (_, Some(directory)) if !directory.is_empty() => vec![Address::Path(Path::new(&directory).join("bus"))],
        _ => Vec::new(),
    }
}

fn explain(error: Error, unit: &UnitName, verb: &str, call: &str) -> Error {
    let UnitName { name, bus } = unit;
    let flag = if *bus == Bus::User { " --user" } else { "" };
    error.step(format!("have systemd {verb} {name} ({call} over the {bus} bus)")).hint(format!(
        "`systemctl{flag} status {name}`, `systemctl{flag} list-jobs` and `journalctl -xe` tell more; is PID 1 systemd?"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(version: Version, controllers: &[&str], mount_point: &str) -> Directory {
        let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
        let (path, mount_point) = (PathBuf::new(), mount_point.into());
        Directory { path, mount_point, version, controllers, common_parent: None, cpuset: false, required_by: None }
    }

    #[test]
    fn init_is_looked_for_where_systemd_has_put_it() {
        let unit = UnitName { name: "a-b.scope".into(), bus: Bus::System };
        let text = "4:cpu,cpuacct:/x\n1:name=systemd:/system.slice/a-b.scope\n0::/x.slice/a-b.scope/container\n";
        let v2 = directory(Version::V2, &["cpu"], "/sys/fs/cgroup/unified");
        assert_eq!(
            found(text, &v2, &unit).expect("it is there"),
            Path::new("/sys/fs/cgroup/unified/x.slice/a-b.scope/container")
        );
        let named = directory(Version::V1, &["name=systemd"], "/sys/fs/cgroup/systemd");
        assert_eq!(
            found(text, &named, &unit).expect("it is there"),
            Path::new("/sys/fs/cgroup/systemd/system.slice/a-b.scope")
        );
        let elsewhere = found("0::/user.slice\n", &v2, &unit).expect_err("it is not there").headline();
        assert!(elsewhere.contains("init is in /user.slice"), "{elsewhere}");
    }

    #[test]
    fn what_an_old_systemd_does_not_know_is_left_out() {
        let property = |name: &str, dispensable| Property {
            name: name.into(),
            value: Value::Boolean(true),
            at: format!("the place of {name}"),
            dispensable,
        };
        let all = [property("MemoryMax", true), property("Memory", true), property("Delegate", false)];
        let left = |text: &str| {
            let mut properties: Vec<&Property> = all.iter().collect();
            let refusal = Refusal { name: "org.freedesktop.DBus.Error.PropertyReadOnly".into(), text: text.into() };
            let error = leave_out_unknown(&mut properties, &refusal).err();
            (properties.len(), error.and_then(|error| error.config_path().map(str::to_owned)))
        };
        assert_eq!(left("Cannot set property MemoryMax, or unknown property."), (2, None));
        assert_eq!(
            left("Cannot set property Delegate, or unknown property."),
            (3, Some("the place of Delegate".into()))
        );
        assert_eq!(left("No such process"), (3, None));
    }
}
