//! The end of a unit: of a container's, and of one that a killed create has only claimed.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{PATIENCE, connect, explain, finish_job, job_rule, manager};
use crate::dbus::{Connection, Message};
use crate::error::{Error, Result};
use crate::plan::systemd::UnitName;
use crate::plan::variant::Value;

/// Stops a unit, waits until it is gone, and has systemd forget how it ended. One that is gone is fine. So is a systemd that
/// cannot be reached, if it sees by itself that nobody is left. (Were the directory removed by us at that moment, it would
/// not see that any more, and keep the unit.)
pub fn stop(unit: &UnitName, directory: Option<&Path>) -> Result<()> {
    let explain = |error: Error| explain(error, unit, "stop", "StopUnit");
    let mut connection = match connect(unit.bus) {
        Ok(connection) => connection,
        Err(_) if directory.is_none_or(is_going) => return Ok(()),
        Err(error) => return Err(error),
    };
    connection.subscribe(&job_rule(&unit.name));
    let call = connection.call(manager("StopUnit", vec![Value::string(&unit.name), Value::string("replace")]));
    match connection.reply(call).map_err(explain)? {
        Ok(answer) => {
            // However it has ended: what matters is whether the directory can be removed.
            finish_job(&mut connection, &answer).map_err(explain)?;
            let reset = connection.call(manager("ResetFailedUnit", vec![Value::string(&unit.name)]));
            let _ = connection.reply(reset).map_err(explain)?;
            Ok(())
        }
        Err(refusal) if refusal.is("NoSuchUnit") => Ok(()),
        Err(refusal) => Err(explain(Error::new(refusal.to_string()))),
    }
}

/// Has systemd stop and forget a unit that nobody is in. Where the runtime was killed while it asked for one, init ends by
/// itself or is killed, and systemd keeps a unit that has failed, a slice, or a scope that it never saw a process in. One
/// with processes may be somebody else's and is left; one of ours ends with its init, for which a busy machine is given a
/// moment.
pub fn clear(unit: &UnitName) -> Result<()> {
    let explain = |error: Error| explain(error, unit, "clear", "GetUnit");
    let Ok(mut connection) = connect(unit.bus) else { return Ok(()) };
    let started = Instant::now();
    loop {
        let patience = match condition(&mut connection, unit).map_err(explain)? {
            Condition::Idle => return Ok(()),
            Condition::Empty => return stop(unit, None),
            Condition::Changing => PATIENCE,
            Condition::Used => Duration::from_secs(1),
            Condition::Failed => {
                let reset = connection.call(manager("ResetFailedUnit", vec![Value::string(&unit.name)]));
                let _ = connection.reply(reset).map_err(explain)?;
                Duration::from_secs(1)
            }
        };
        if started.elapsed() > patience {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a unit needs to be gone.
enum Condition {
    /// Nothing: it is not there, or it does not run and nobody has asked for it. (systemd also knows units by name alone,
    /// because another one mentions them.)
    Idle,
    /// To be forgotten, for it has ended and is kept until somebody has seen how.
    Failed,
    /// To be stopped, for it runs and nobody is in it.
    Empty,
    /// Time, for systemd starts or stops it.
    Changing,
    /// The end of its processes; or it is somebody else's slice.
    Used,
}

fn condition(connection: &mut Connection, unit: &UnitName) -> Result<Condition> {
    let known = connection.call(manager("GetUnit", vec![Value::string(&unit.name)]));
    let Ok(known) = connection.reply(known)? else { return Ok(Condition::Idle) };
    let path = known.first().and_then(Value::text).unwrap_or_default();
    let has_job = match property(connection, path, "Job")? {
        Some(Value::Struct(job)) => job.first().is_some_and(|id| *id != Value::Uint32(0)),
        _ => false,
    };
    let state = property(connection, path, "ActiveState")?;
    Ok(match state.as_ref().and_then(Value::text).unwrap_or("inactive") {
        _ if has_job => Condition::Changing,
        "inactive" => Condition::Idle,
        "failed" => Condition::Failed,
        _ if is_used(connection, unit)? => Condition::Used,
        "active" if unit.name.ends_with(".scope") => Condition::Empty,
        // Slices that a unit names, and those that have a file, are no container's.
        "active" if property(connection, path, "Transient")? == Some(Value::Boolean(true)) => Condition::Empty,
        "active" => Condition::Used,
        _ => Condition::Changing,
    })
}

/// Whether there are processes in it, or in what is below a slice; yes where systemd cannot tell.
fn is_used(connection: &mut Connection, unit: &UnitName) -> Result<bool> {
    let inside = connection.call(manager("GetUnitProcesses", vec![Value::string(&unit.name)]));
    let inside = connection.reply(inside)?;
    Ok(!inside.is_ok_and(|inside| matches!(&inside[..], [Value::Array(_, nobody)] if nobody.is_empty())))
}

/// A property of org.freedesktop.systemd1.Unit, org.freedesktop.systemd1(5). None if the unit has gone meanwhile.
fn property(connection: &mut Connection, unit: &str, name: &str) -> Result<Option<Value>> {
    let asked = vec![Value::string("org.freedesktop.systemd1.Unit"), Value::string(name)];
    let message = Message::call("org.freedesktop.systemd1", unit, "org.freedesktop.DBus.Properties", "Get", asked);
    let call = connection.call(message);
    Ok(match connection.reply(call)?.map(|answer| answer.into_iter().next()) {
        Ok(Some(Value::Variant(value))) => Some(*value),
        _ => None,
    })
}

fn is_going(directory: &Path) -> bool {
    let started = Instant::now();
    while directory.exists() && started.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(5));
    }
    !directory.exists()
}
