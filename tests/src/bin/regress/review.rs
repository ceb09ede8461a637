//! The reviewed list of differences. A line is: suite, test, the most lines that may differ, cause, reason.

use std::collections::BTreeMap;

use crate::args::SuiteName;

const LIST: &str = include_str!("differences.txt");

#[derive(Debug)]
pub struct Reviewed {
    pub most_lines: usize,
    pub cause: &'static str,
}

#[derive(Debug)]
pub struct Review(BTreeMap<String, Reviewed>);

impl Review {
    pub fn read() -> Result<Self, String> {
        let mut entries = BTreeMap::new();
        for line in LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, reviewed) = entry(line).ok_or_else(|| format!("the list of differences: {line}"))?;
            if entries.insert(key, reviewed).is_some() {
                return Err(format!("the list of differences has it twice: {line}"));
            }
        }
        Ok(Self(entries))
    }

    pub fn of(&self, suite: SuiteName, test: &str) -> Option<&Reviewed> {
        self.0.get(&key(suite.text(), test))
    }
}

fn key(suite: &str, test: &str) -> String {
    format!("{suite} {test}")
}

fn entry(line: &'static str) -> Option<(String, Reviewed)> {
    let mut words = line.split_whitespace();
    let key = key(words.next()?, words.next()?);
    let most_lines = words.next()?.parse().ok()?;
    let cause = words.next()?;
    words.next()?; // A reason there must be.
    Some((key, Reviewed { most_lines, cause }))
}
