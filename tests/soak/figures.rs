//! How long the commands took.

use std::collections::BTreeMap;
use std::time::Duration;

/// What is compared at the beginning and at the end.
const WINDOW: Duration = Duration::from_secs(60);

/// So many containers are told together while there are ever more.
const STEP: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Create,
    Start,
    Exec,
    Kill,
    State,
    Delete,
    DeleteByForce,
}

impl Operation {
    pub fn verb(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Start => "start",
            Operation::Exec => "exec",
            Operation::Kill => "kill",
            Operation::State => "state",
            Operation::Delete | Operation::DeleteByForce => "delete",
        }
    }

    fn title(self) -> &'static str {
        if self == Operation::DeleteByForce { "delete --force" } else { self.verb() }
    }
}

/// What there was when a command ran.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// So many containers were there.
    Filling(usize),
    /// All were there since then.
    Busy(Duration),
    Emptying,
}

/// Every command that was timed.
#[derive(Default)]
pub struct Figures(BTreeMap<Operation, Vec<(When, Duration)>>);

impl Figures {
    pub fn record(&mut self, operation: Operation, when: When, took: Duration) {
        self.0.entry(operation).or_default().push((when, took));
    }

    pub fn add(&mut self, other: Figures) {
        for (operation, times) in other.0 {
            self.0.entry(operation).or_default().extend(times);
        }
    }

    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub fn print(&self) {
        self.print_filling();
        let since = |when: When| if let When::Busy(since) = when { since } else { Duration::ZERO };
        let length = self.0.values().flatten().map(|(when, _)| since(*when)).max().unwrap_or_default();
        println!("\n{:16}{:>8}   first minute, p50 p99 ms   last minute, p50 p99 ms", "all running", "count");
        for operation in self.0.keys() {
            let during = |from: Duration, to: Duration| {
                self.select(*operation, |when| matches!(when, When::Busy(since) if (from..to).contains(&since)))
            };
            let all = during(Duration::ZERO, Duration::MAX);
            if all.is_empty() {
                continue;
            }
            // Of a short run, the first and the last half.
            let window = WINDOW.min(length / 2);
            let (first, last) = (during(Duration::ZERO, window), during(length - window, Duration::MAX));
            print!("{:16}{:>8}", operation.title(), all.len());
            println!(
                "   {:>14} {:>9}   {:>13} {:>9}",
                at(&first, 0.5),
                at(&first, 0.99),
                at(&last, 0.5),
                at(&last, 0.99)
            );
        }
        println!();
    }

    /// Whether the time of a command grows with the number of containers is seen here.
    fn print_filling(&self) {
        println!("\nwhile there are ever more containers: p50 p99 ms");
        for operation in [Operation::Create, Operation::Start] {
            print!("{:16}", operation.title());
            for step in 0.. {
                let has = |when: When| matches!(when, When::Filling(running) if running / STEP == step);
                let times = self.select(operation, has);
                if times.is_empty() {
                    break;
                }
                print!("  from {}: {} {}", step * STEP, at(&times, 0.5), at(&times, 0.99));
            }
            println!();
        }
    }

    /// In order of size.
    fn select(&self, operation: Operation, has: impl Fn(When) -> bool) -> Vec<Duration> {
        let times = self.0.get(&operation).into_iter().flatten();
        let mut chosen: Vec<_> = times.filter(|(when, _)| has(*when)).map(|(_, took)| *took).collect();
        chosen.sort_unstable();
        chosen
    }
}

fn at(sorted: &[Duration], part: f64) -> String {
    let last = sorted.len().saturating_sub(1);
    let time = sorted.get((last as f64 * part).round() as usize);
    time.map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3))
}
