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

/// Has systemd forget a unit that nobody is in. Where the runtime was killed while it asked for one, init ends by itself or
/// is killed, and systemd keeps a unit that has failed, or a scope that it never saw a process in. One with processes may
/// be somebody else's and is left; one of ours ends with its init, for which a busy machine is given a moment.
pub fn clear(unit: &UnitName) -> Result<()> {
    let explain = |error: Error| explain(error, unit, "clear", "GetUnit");
    let Ok(mut connection) = connect(unit.bus) else { return Ok(()) };
    let started = Instant::now();
    loop {
        let known = connection.call(manager("GetUnit", vec![Value::string(&unit.name)]));
        let Ok(known) = connection.reply(known).map_err(explain)? else { return Ok(()) };
        let path = known.first().and_then(Value::text).unwrap_or_default();
        let is_active = active_state(&mut connection, path).map_err(explain)? == "active";
        if is_active && unit.name.ends_with(".scope") {
            let inside = connection.call(manager("GetUnitProcesses", vec![Value::string(&unit.name)]));
            let inside = connection.reply(inside).map_err(explain)?;
            if inside.is_ok_and(|inside| matches!(&inside[..], [Value::Array(_, nobody)] if nobody.is_empty())) {
                return stop(unit, None);
            }
        }
        if started.elapsed() > if is_active { Duration::from_secs(1) } else { PATIENCE } {
            return Ok(());
        }
        // An answer for each: the unit may still be on its way to having failed.
        let reset = connection.call(manager("ResetFailedUnit", vec![Value::string(&unit.name)]));
        let _ = connection.reply(reset).map_err(explain)?;
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// "active", "failed", …: org.freedesktop.systemd1(5), Properties of units. Empty if the unit has gone meanwhile.
fn active_state(connection: &mut Connection, unit: &str) -> Result<String> {
    let asked = vec![Value::string("org.freedesktop.systemd1.Unit"), Value::string("ActiveState")];
    let message = Message::call("org.freedesktop.systemd1", unit, "org.freedesktop.DBus.Properties", "Get", asked);
    let call = connection.call(message);
    Ok(match connection.reply(call)? {
        Ok(answer) => match answer.first() {
            Some(Value::Variant(state)) => state.text().unwrap_or_default().to_owned(),
            _ => String::new(),
        },
        Err(_) => String::new(),
    })
}

fn is_going(directory: &Path) -> bool {
    let started = Instant::now();
    while directory.exists() && started.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(5));
    }
    !directory.exists()
}
