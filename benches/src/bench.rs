//! What all parts share: who takes part, in what order, and where the results go.

use std::collections::BTreeMap;

use crate::bundle::{Bundle, Makings};
use crate::report::{OURS, Report, Samples};
use crate::runtime::Runtime;
use crate::view::View;

pub struct Bench {
    pub view: View,
    pub rounds: usize,
    pub runtimes: Vec<Runtime>,
    pub makings: Makings,
    pub report: Report,
}

/// What each round of each runtime has yielded, by the name of the measure.
pub type Yield = BTreeMap<&'static str, Samples>;

impl Bench {
    pub fn view(&self) -> &'static str {
        self.view.name()
    }

    /// Those that run this bundle in this view. Others are told, with what they say; minicon must.
    pub fn able(&mut self, bundle: &Bundle) -> Result<Vec<Runtime>, String> {
        let mut able = Vec::new();
        for runtime in self.runtimes.clone() {
            let id = "bench-able";
            let tried = runtime.run(bundle, id).and_then(|command| runtime.timed(std::time::Duration::ZERO, command));
            match tried {
                Ok(_) => able.push(runtime),
                Err(error) => self.leave_out(&runtime, format!("{} bundle: {error}", bundle.kind))?,
            }
        }
        Ok(able)
    }

    /// Those with all the commands of an engine.
    pub fn whole(&mut self, bundle: &Bundle) -> Result<Vec<Runtime>, String> {
        Ok(self.able(bundle)?.into_iter().filter(|runtime| !runtime.is_floor()).collect())
    }

    /// Rounds in which all take turns, another one first each time, so that what else the machine does hits all alike,
    /// and nobody always follows the same one. Another runtime that fails is told and left out; minicon must not fail.
    pub fn rounds(
        &mut self,
        runtimes: &[Runtime],
        count: usize,
        mut turn: impl FnMut(&Runtime, &mut dyn FnMut(&'static str, f64)) -> Result<(), String>,
    ) -> Result<Yield, String> {
        let mut found = Yield::new();
        let mut taking_part = runtimes.to_vec();
        for round in 0..count {
            for index in 0..runtimes.len() {
                let runtime = &runtimes[(round + index) % runtimes.len()];
                if !taking_part.iter().any(|other| other.name == runtime.name) {
                    continue;
                }
                let done = turn(runtime, &mut |name, value| {
                    found.entry(name).or_default().entry(runtime.name.clone()).or_default().push(value);
                });
                if let Err(error) = done {
                    self.leave_out(runtime, error)?;
                    taking_part.retain(|other| other.name != runtime.name);
                    found.values_mut().for_each(|samples| drop(samples.remove(&runtime.name)));
                }
            }
        }
        Ok(found)
    }

    /// Tells that one takes no further part.
    pub fn leave_out(&mut self, runtime: &Runtime, error: String) -> Result<(), String> {
        runtime.remove_all();
        if runtime.name == OURS {
            return Err(error);
        }
        self.report.note(format!("{}: left out: {error}", self.view.title()));
        Ok(())
    }
}
