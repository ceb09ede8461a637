//! What came of the tests: a line each, and counts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::args::SuiteName;
use crate::diff;
use crate::review::Review;

/// One test, run both ways.
#[derive(Debug)]
pub struct Outcome {
    pub suite: SuiteName,
    pub test: String,
    pub direct_as_expected: bool,
    pub as_expected: bool,
    /// Between the direct answer and the proxy's.
    pub diff: String,
    pub took: Duration,
    pub troubles: Vec<String>,
}

impl Outcome {
    fn is_like_direct(&self) -> bool {
        self.diff.is_empty()
    }

    /// What nobody has reviewed; nothing else makes a run bad.
    pub fn unexpected(&self, review: &Review) -> Option<String> {
        let lines = diff::lines(&self.diff);
        if !self.troubles.is_empty() {
            return Some(self.troubles.join("; "));
        }
        match review.of(self.suite, &self.test) {
            _ if self.is_like_direct() => None,
            None => Some(format!("{lines} lines differ, and the reviewed list has nothing of it")),
            Some(reviewed) if lines > reviewed.most_lines => {
                Some(format!("{lines} lines differ, and the reviewed list allows {}", reviewed.most_lines))
            }
            Some(_) => None,
        }
    }

    pub fn line(&self, review: &Review) -> String {
        let verdict = match (self.as_expected, self.is_like_direct()) {
            (true, _) => "as expected".into(),
            (false, true) => "as directly".into(),
            (false, false) => {
                let cause = review.of(self.suite, &self.test).map_or("not reviewed", |reviewed| reviewed.cause);
                format!("{} lines differ: {cause}", diff::lines(&self.diff))
            }
        };
        let direct = if self.direct_as_expected { "" } else { " (directly not as expected)" };
        let seconds = self.took.as_secs_f32();
        let mut line = format!("{:<9} {:<32} {seconds:>6.1} s  {verdict}{direct}", self.suite.text(), self.test);
        for trouble in &self.troubles {
            line += &format!("\n          TROUBLE: {trouble}");
        }
        line
    }
}

/// The counts of one suite.
#[derive(Debug, Default)]
struct Counts {
    tests: usize,
    directly_as_expected: usize,
    as_expected: usize,
    as_directly: usize,
    by_cause: BTreeMap<&'static str, usize>,
}

#[derive(Debug)]
pub struct Report<'a> {
    pub outcomes: Vec<Outcome>,
    pub differences: Vec<String>,
    pub review: &'a Review,
}

impl Report<'_> {
    pub fn is_good(&self) -> bool {
        self.differences.is_empty() && self.outcomes.iter().all(|outcome| outcome.unexpected(self.review).is_none())
    }

    fn counts(&self, suite: SuiteName) -> Counts {
        let mut counts = Counts::default();
        for outcome in self.outcomes.iter().filter(|outcome| outcome.suite == suite) {
            counts.tests += 1;
            counts.directly_as_expected += usize::from(outcome.direct_as_expected);
            counts.as_expected += usize::from(outcome.as_expected);
            counts.as_directly += usize::from(outcome.is_like_direct());
            if !outcome.is_like_direct() {
                let cause = self.review.of(suite, &outcome.test).map_or("not reviewed", |reviewed| reviewed.cause);
                *counts.by_cause.entry(cause).or_default() += 1;
            }
        }
        counts
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for suite in SuiteName::ALL {
            let Counts { tests, directly_as_expected, as_expected, as_directly, by_cause } = self.counts(suite);
            if tests == 0 {
                continue;
            }
            writeln!(f, "{}: {tests} tests; {directly_as_expected} directly as expected", suite.text())?;
            writeln!(f, "  through the proxy: {as_expected} as expected, {as_directly} as directly")?;
            for (cause, count) in by_cause {
                writeln!(f, "  {count:>4} differ: {cause}")?;
            }
        }
        let unexpected = self.outcomes.iter().filter_map(|o| Some((o, o.unexpected(self.review)?)));
        for (outcome, why) in unexpected {
            writeln!(f, "UNEXPECTED {} {}: {why}", outcome.suite.text(), outcome.test)?;
        }
        match self.differences.as_slice() {
            [] => write!(f, "the nodes are equal"),
            found => write!(f, "THE NODES DIFFER\n{}", found.join("\n")),
        }
    }
}
