//! The table: steps by faults, and in each cell how much was left.

use crate::KINDS;

#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    NotTried,
    /// It cannot happen there: nobody else is there to die, or the step cannot fail.
    NotReached,
    Clean,
    Leaks(Vec<String>),
}

#[derive(Default)]
pub struct Table {
    pub rows: Vec<(String, [Cell; KINDS.len()])>,
    /// Steps whose condition does not hold on this machine.
    pub skipped: usize,
    totals: Vec<String>,
}

impl Table {
    /// Leaks, and steps that no fault has reached.
    pub fn failures(&self) -> usize {
        let leaks = self.cells().filter(|cell| matches!(cell, Cell::Leaks(_))).count();
        leaks + self.rows.iter().filter(|(_, row)| is_missed(row)).count()
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.rows.iter().flat_map(|(_, row)| row)
    }

    pub fn text(&self, variant: &str, command: &str, whole: bool) -> String {
        let mut text = format!("{variant}: {command}: {} steps, {} not here\n", self.rows.len(), self.skipped);
        if whole {
            text += &format!("  {:<44}", "step");
            KINDS.iter().for_each(|kind| text += &format!("{kind:>8}"));
            text.push('\n');
        }
        for (id, row) in &self.rows {
            let has_failed = is_missed(row) || row.iter().any(|cell| matches!(cell, Cell::Leaks(_)));
            if whole || has_failed {
                text += &format!("  {:<44}", id);
                row.iter().for_each(|cell| text += &format!("{:>8}", cell.word()));
                text.push('\n');
            }
            for (kind, cell) in KINDS.iter().zip(row) {
                if let Cell::Leaks(leaks) = cell {
                    leaks.iter().for_each(|leak| text += &format!("    FAILED: {kind} {id}: {leak}\n"));
                }
            }
            if is_missed(row) {
                text += &format!("    FAILED: no fault has reached {id}\n");
            }
        }
        text
    }

    /// A line of the summary.
    pub fn add_totals(&mut self, variant: &str, command: &str, of: &Table) {
        let count = |kind: usize| {
            of.rows.iter().filter(|(_, row)| matches!(row[kind], Cell::Clean | Cell::Leaks(_))).count().to_string()
        };
        let leaks: usize = of.cells().map(|cell| if let Cell::Leaks(leaks) = cell { leaks.len() } else { 0 }).sum();
        let tried = [count(0), count(1), count(2), count(3), count(4)].join(" | ");
        self.totals.push(format!("| {variant} | {command} | {} | {tried} | {leaks} |\n", of.rows.len()));
    }

    pub fn summary(&self) -> String {
        let heading = "| container | command | steps | fails | killed before | killed after | the other killed | both killed | leaks |\n\
                       |---|---|---|---|---|---|---|---|---|\n";
        format!("{heading}{}", self.totals.concat())
    }
}

fn is_missed(row: &[Cell; KINDS.len()]) -> bool {
    row.iter().all(|cell| matches!(cell, Cell::NotReached | Cell::NotTried))
}

impl Cell {
    fn word(&self) -> String {
        match self {
            Cell::NotTried => String::new(),
            Cell::NotReached => "-".to_owned(),
            Cell::Clean => "0".to_owned(),
            Cell::Leaks(leaks) => format!("{}!", leaks.len()),
        }
    }
}
