//! What is to be reached, and whether it was: the project's targets as one table.

use crate::report::{Report, Value, shown};

/// How a number is found.
#[derive(Clone, Copy)]
enum Of {
    /// minicon's value by that of another, in the same round.
    Ratio(&'static str),
    /// The same, of what both take above the floor.
    AboveFloor(&'static str),
    /// minicon's value itself.
    Ours,
    /// minicon's value by its value of this other name.
    To(&'static str),
}

struct Target {
    view: &'static str,
    bundle: &'static str,
    part: &'static str,
    name: &'static str,
    of: Of,
    at_most: f64,
    /// Not required, only hoped for.
    aim: bool,
}

const fn at_most(place: [&'static str; 4], of: Of, at_most: f64) -> Target {
    let [view, bundle, part, name] = place;
    Target { view, bundle, part, name, of, at_most, aim: false }
}

const fn aim(place: [&'static str; 4], of: Of, at_most_: f64) -> Target {
    Target { aim: true, ..at_most(place, of, at_most_) }
}

const CRUN: Of = Of::Ratio("crun");
const RUNC: Of = Of::Ratio("runc");
const NEWEST: Of = Of::Ratio("crun-new");

const TARGETS: &[Target] = &[
    at_most(["v1", "spec", "run", "cold"], Of::AboveFloor("crun"), 0.25),
    at_most(["v1", "real", "run", "cold"], Of::AboveFloor("crun"), 0.25),
    at_most(["v1", "spec", "run", "cold"], RUNC, 0.25),
    at_most(["v1", "real", "run", "cold"], RUNC, 0.25),
    aim(["v1", "spec", "run", "cold"], NEWEST, 0.5),
    aim(["v1", "real", "run", "cold"], NEWEST, 0.5),
    at_most(["v1", "spec", "parallel", "100, 1 at once"], CRUN, 0.6),
    at_most(["v1", "spec", "parallel", "50, 50 at once"], CRUN, 0.6),
    at_most(["v1", "spec", "lifecycle", "create+start, cold"], CRUN, 0.33),
    at_most(["v1", "real", "lifecycle", "create+start, cold"], CRUN, 0.33),
    at_most(["v1", "spec", "lifecycle", "exec, cold"], CRUN, 0.33),
    at_most(["v1", "real", "lifecycle", "exec, cold"], CRUN, 0.33),
    at_most(["v1", "spec", "lifecycle", "state, cold"], CRUN, 0.4),
    at_most(["v1", "spec", "lifecycle", "start, cold"], CRUN, 0.4),
    at_most(["v1", "spec", "lifecycle", "kill, cold"], CRUN, 0.4),
    at_most(["v1", "spec", "lifecycle", "delete, cold"], CRUN, 0.4),
    at_most(["v1", "real", "lifecycle", "state, cold"], CRUN, 0.4),
    at_most(["v1", "real", "lifecycle", "start, cold"], CRUN, 0.4),
    at_most(["v1", "real", "lifecycle", "kill, cold"], CRUN, 0.4),
    at_most(["v1", "real", "lifecycle", "delete, cold"], CRUN, 0.4),
    at_most(["v2", "spec", "run", "cold"], CRUN, 0.6),
    at_most(["v2", "real", "run", "cold"], CRUN, 0.6),
    at_most(["v2", "spec", "run", "warm"], CRUN, 0.6),
    at_most(["v2", "real", "run", "warm"], CRUN, 0.6),
    at_most(["v2", "spec", "run", "cold"], NEWEST, 0.6),
    at_most(["v2", "real", "run", "cold"], NEWEST, 0.6),
    at_most(["v2", "spec", "run", "warm"], NEWEST, 0.6),
    at_most(["v2", "real", "run", "warm"], NEWEST, 0.6),
    at_most(["v1", "real", "memory", "create"], CRUN, 1.0),
    aim(["v1", "real", "memory", "create"], Of::Ours, 2.0),
    at_most(["v1", "real", "memory", "init at the gate"], Of::Ours, 1.0),
    at_most(["v1", "spec", "memory", "lowest memory.limit"], CRUN, 1.0),
    at_most(["v1", "real", "calls", "run"], Of::Ours, 450.0),
    at_most(["v1", "real", "processes", "run"], Of::Ours, 2.0),
    at_most(["v1", "real", "threads", "run"], Of::Ours, 0.0),
    at_most(["v1", "spec", "mounts", "each of 1000 mounts"], Of::To("each of 10 mounts"), 2.5),
    at_most(["v1", "spec", "running", "run beside 500 running"], Of::To("run beside 0 running"), 1.15),
];

/// One target, and what was measured of it.
pub struct Verdict {
    pub what: String,
    pub value: Option<f64>,
    pub at_most: f64,
    pub aim: bool,
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self.value {
            None => "not measured",
            Some(value) if value <= self.at_most => "met",
            Some(_) if self.aim => "not yet",
            Some(_) => "MISSED",
        }
    }
}

pub fn verdicts(report: &Report) -> Vec<Verdict> {
    TARGETS.iter().map(|target| target.judge(report)).collect()
}

impl Target {
    fn judge(&self, report: &Report) -> Verdict {
        let measure = |name| report.find(self.view, self.bundle, self.part, name);
        let ours = |name| measure(name).and_then(|measure| measure.values.get(crate::report::OURS));
        let theirs = |name: &str| measure(self.name).and_then(|measure| measure.values.get(name));
        let median = |value: &Value| value.p50;
        let value = match self.of {
            Of::Ratio(other) => theirs(other).and_then(|value| value.ratio),
            Of::AboveFloor(other) => theirs(other).and_then(|value| value.above_floor),
            Of::Ours => ours(self.name).map(median),
            // What is below zero was lost in noise.
            Of::To(other) => {
                let pair = ours(self.name).zip(ours(other)).filter(|(_, other)| other.p50 > 0.0);
                pair.map(|(value, other)| value.p50 / other.p50)
            }
        };
        Verdict { what: self.text(), value, at_most: self.at_most, aim: self.aim }
    }

    fn text(&self) -> String {
        let Target { view, bundle, part, name, .. } = self;
        let what = format!("{part} {name}, {bundle} bundle, {view}");
        match self.of {
            Of::Ratio(other) => format!("{what}: minicon / {other}"),
            Of::AboveFloor(other) => format!("{what}: (minicon - floor) / ({other} - floor)"),
            Of::Ours => what,
            Of::To(other) => format!("{what}, by {other}"),
        }
    }
}

/// The table for people, and how many of the required ones are missed.
pub fn print(report: &Report) {
    let verdicts = verdicts(report);
    println!("\ntargets");
    for verdict in verdicts.iter().filter(|verdict| verdict.value.is_some()) {
        let Verdict { what, value, at_most, aim } = verdict;
        let value = value.map_or("-".to_owned(), shown);
        let bound = if *aim { "aim" } else { "at most" };
        println!("{:>8} {value:>8} ({bound} {at_most})  {what}", verdict.word());
    }
    let absent = verdicts.iter().filter(|verdict| verdict.value.is_none()).count();
    if absent > 0 {
        println!("{absent} more were not measured in this run");
    }
}

#[cfg(test)]
mod tests {
    use super::{TARGETS, verdicts};
    use crate::report::{Measure, OURS, Report};

    #[test]
    fn a_target_is_met_missed_or_not_measured() {
        let mut report = Report::default();
        assert!(verdicts(&report).iter().all(|verdict| verdict.word() == "not measured"));
        let of =
            |calls| Measure::of("v1", "real", "calls", "run", "system calls").with_values([(OURS.to_owned(), calls)]);
        report.measures.push(of(450.0));
        let word = |report: &Report| {
            let index = TARGETS.iter().position(|target| target.part == "calls").expect("a target");
            verdicts(report)[index].word()
        };
        assert_eq!(word(&report), "met");
        report.measures[0] = of(451.0);
        assert_eq!(word(&report), "MISSED");
    }
}
