//! Operations that worked, and those that did not: by what was going on and by cause.

use std::collections::BTreeMap;
use std::fmt;

use super::phase::Phase;
use super::trouble::Trouble;

#[derive(Debug, Default, Clone)]
pub struct Tally {
    phases: BTreeMap<String, Counts>,
}

#[derive(Debug, Default, Clone)]
struct Counts {
    rounds: u64,
    succeeded: u64,
    reconnects: u64,
    /// By operation and cause.
    failures: BTreeMap<(String, String), Failures>,
}

#[derive(Debug, Default, Clone)]
struct Failures {
    count: u64,
    /// It was to be expected.
    expected: bool,
    /// What was said the first time.
    said: String,
}

impl Tally {
    pub fn phase_begins(&mut self, phase: &Phase) {
        self.of(phase).rounds += 1;
    }

    pub fn succeeded(&mut self, phase: &Phase) {
        self.of(phase).succeeded += 1;
    }

    pub fn reconnected(&mut self, phase: &Phase) {
        self.of(phase).reconnects += 1;
    }

    pub fn failed(&mut self, phase: &Phase, operation: &str, trouble: &Trouble, expected: bool) {
        let key = (operation.to_owned(), trouble.cause.clone());
        let first = || Failures { count: 0, expected, said: trouble.said.clone() };
        self.of(phase).failures.entry(key).or_insert_with(first).count += 1;
    }

    pub fn operations(&self) -> u64 {
        self.phases.values().map(|counts| counts.succeeded).sum()
    }

    pub fn failures(&self) -> u64 {
        self.phases.values().flat_map(|counts| counts.failures.values()).map(|failures| failures.count).sum()
    }

    pub fn unexpected_failures(&self) -> u64 {
        let all = self.phases.values().flat_map(|counts| counts.failures.values());
        all.filter(|failures| !failures.expected).map(|failures| failures.count).sum()
    }

    /// Failures that the protocol does not call for, a line each.
    pub fn unexpected(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (phase, counts) in &self.phases {
            for ((operation, cause), failures) in counts.failures.iter().filter(|(_, failures)| !failures.expected) {
                let Failures { count, said, .. } = failures;
                found.push(format!("{phase}: {operation}: {cause}, {count} times, first: {said}"));
            }
        }
        found
    }

    fn of(&mut self, phase: &Phase) -> &mut Counts {
        if !self.phases.contains_key(&phase.name) {
            self.phases.insert(phase.name.clone(), Counts::default());
        }
        self.phases.get_mut(&phase.name).expect("just put there")
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (phase, counts) in &self.phases {
            let (rounds, succeeded, reconnects) = (counts.rounds, counts.succeeded, counts.reconnects);
            writeln!(f, "  {phase}: {rounds} times, {succeeded} operations succeeded, {reconnects} reconnects")?;
            for ((operation, cause), Failures { count, expected, .. }) in &counts.failures {
                let mark = if *expected { "" } else { "  UNEXPECTED" };
                writeln!(f, "      {count:>5}  {operation}: {cause}{mark}")?;
            }
        }
        Ok(())
    }
}
