//! What was measured: printed as tables while it is measured, kept as JSON, and what charts and tables are made from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Everything of one run of the benchmark.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    /// minicon first; the floor is among them.
    pub runtimes: Vec<Version>,
    pub measures: Vec<Measure>,
    /// What could not be measured, and what else a reader should know.
    pub notes: Vec<String>,
    /// The parts in which minicon failed: there should be none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub failures: Vec<String>,
}

/// What the numbers depend on, and nothing else of the machine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub kernel: String,
    pub date: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Version {
    pub name: String,
    pub version: String,
}

impl Version {
    /// The program's own name and number, as people know it: two of them may be versions of one program.
    pub fn label(&self) -> String {
        let program = self.name.trim_end_matches("-new");
        let number = self.version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        number.map_or(program.to_owned(), |number| format!("{program} {number}"))
    }
}

/// One quantity, for each runtime that could be measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measure {
    /// `v1`, `v2`: what of the cgroup hierarchies could be seen. Empty where that does not matter.
    pub view: String,
    /// `spec`, `real`, or empty.
    pub bundle: String,
    /// The part of the benchmark.
    pub part: String,
    pub name: String,
    pub unit: String,
    pub values: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Value {
    pub p50: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub min: Option<f64>,
    /// The median of minicon's value divided by this one, each within one round.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ratio: Option<f64>,
    /// The same, after the floor's value of that round was taken from both.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub above_floor: Option<f64>,
}

impl Value {
    pub fn single(value: f64) -> Value {
        Value { p50: value, ..Value::default() }
    }
}

/// Values by runtime, one a round; all have as many.
pub type Samples = BTreeMap<String, Vec<f64>>;

/// The runtime that the others are compared with.
pub const OURS: &str = "minicon";
pub const FLOOR: &str = "floor";

impl Measure {
    pub fn of(view: &str, bundle: &str, part: &str, name: &str, unit: &str) -> Measure {
        let [view, bundle, part, name, unit] = [view, bundle, part, name, unit].map(str::to_owned);
        Measure { view, bundle, part, name, unit, values: BTreeMap::new() }
    }

    /// Medians, and ratios within each round: what else the machine does hits all of a round alike.
    pub fn with_samples(mut self, samples: &Samples) -> Measure {
        let ours = samples.get(OURS);
        let floor = samples.get(FLOOR);
        for (name, values) in samples {
            let paired = |of: &dyn Fn(usize) -> f64| (0..values.len()).map(of).collect::<Vec<_>>();
            let ratio = ours.filter(|_| name != OURS).map(|ours| quantile(&paired(&|i| ours[i] / values[i]), 0.5));
            let above_floor = ours.zip(floor).filter(|_| name != OURS && name != FLOOR).map(|(ours, floor)| {
                quantile(&paired(&|i| (ours[i] - floor[i]) / (values[i] - floor[i]).max(f64::MIN_POSITIVE)), 0.5)
            });
            let value = Value {
                p50: quantile(values, 0.5),
                p99: Some(quantile(values, 0.99)),
                min: Some(quantile(values, 0.0)),
                ratio,
                above_floor,
            };
            self.values.insert(name.clone(), value);
        }
        self
    }

    fn has_tails(&self) -> bool {
        self.values.values().any(|value| value.p99.is_some())
    }

    /// One number a runtime.
    pub fn with_values(mut self, values: impl IntoIterator<Item = (String, f64)>) -> Measure {
        let values: BTreeMap<String, f64> = values.into_iter().collect();
        let ours = values.get(OURS).copied();
        for (name, value) in values {
            let ratio = ours.filter(|_| name != OURS && value != 0.0).map(|ours| ours / value);
            self.values.insert(name, Value { ratio, ..Value::single(value) });
        }
        self
    }
}

impl Report {
    /// Keeps a measure and prints its line, below a title where another part begins.
    pub fn add(&mut self, measure: Measure) {
        let place = |m: &Measure| (m.view.clone(), m.bundle.clone(), m.part.clone(), m.unit.clone());
        if self.measures.last().map(place) != Some(place(&measure)) {
            self.print_title(&measure);
        }
        self.print_line(&measure);
        self.measures.push(measure);
    }

    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            println!("note: {note}");
            self.notes.push(note);
        }
    }

    fn print_title(&self, measure: &Measure) {
        let Measure { view, bundle, part, unit, .. } = measure;
        let place = [view.as_str(), bundle].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ");
        println!(
            "\n{part}{}{place} ({unit}: median, p99; then minicon's ratio to each)",
            if place.is_empty() { "" } else { ": " }
        );
        print!("{:24}", "");
        let tail = if measure.has_tails() { format!("{:>9}", "p99") } else { String::new() };
        for runtime in &self.runtimes {
            print!("{:>10}{tail}", runtime.name);
        }
        for runtime in self.runtimes.iter().filter(|runtime| runtime.name != OURS) {
            print!("{:>10}", format!("/{}", runtime.name));
        }
        println!();
    }

    fn print_line(&self, measure: &Measure) {
        print!("{:24}", measure.name);
        let value = |runtime: &Version| measure.values.get(&runtime.name);
        for runtime in &self.runtimes {
            print!("{:>10}", value(runtime).map_or("-".to_owned(), |value| shown(value.p50)));
            if measure.has_tails() {
                print!("{:>9}", value(runtime).and_then(|value| value.p99).map_or(String::new(), shown));
            }
        }
        for runtime in self.runtimes.iter().filter(|runtime| runtime.name != OURS) {
            let ratio = value(runtime).and_then(|value| value.ratio);
            print!("{:>10}", ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
        }
        println!();
    }

    pub fn find(&self, view: &str, bundle: &str, part: &str, name: &str) -> Option<&Measure> {
        let wanted = [view, bundle, part, name];
        self.measures.iter().find(|m| [m.view.as_str(), &m.bundle, &m.part, &m.name] == wanted)
    }

    pub fn read(path: &Path) -> Result<Report, String> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn write(&self, path: &Path) -> Result<(), String> {
        // Three decimals are more than any of these numbers is worth.
        let mut value = serde_json::to_value(self).map_err(|error| error.to_string())?;
        round(&mut value);
        let text = serde_json::to_string_pretty(&value).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn round(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) if number.is_f64() => {
            let rounded = (number.as_f64().unwrap_or_default() * 1e3).round() / 1e3;
            *value = serde_json::json!(rounded);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(round),
        serde_json::Value::Object(values) => values.values_mut().for_each(round),
        _ => {}
    }
}

/// As many digits as say something.
pub fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{FLOOR, Measure, OURS, Samples, quantile};

    #[test]
    fn quantiles_are_values_that_occurred() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.99), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn ratios_are_those_of_one_round() {
        let samples: Samples = [(OURS, [2.0, 20.0, 4.0]), ("crun", [4.0, 40.0, 16.0]), (FLOOR, [1.0, 10.0, 2.0])]
            .map(|(name, values)| (name.to_owned(), values.to_vec()))
            .into();
        let measure = Measure::of("v1", "spec", "run", "cold", "ms").with_samples(&samples);
        assert_eq!(measure.values["crun"].ratio, Some(0.5));
        assert_eq!(measure.values["crun"].above_floor, Some(1.0 / 3.0));
        assert_eq!(measure.values[OURS].ratio, None);
    }
}
