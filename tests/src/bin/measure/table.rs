//! The lines that are printed, and the verdict over all of them.

use std::process::ExitCode;

/// How wide what stands before the target is.
const WIDTH: usize = 86;

#[derive(Debug, Default)]
pub struct Table {
    missed: Vec<String>,
    lines: usize,
}

impl Table {
    /// Starts a part; `columns` names what stands behind each line's name.
    pub fn heading(&self, name: &str, columns: &str) {
        println!("\n{name:<40}{columns}");
    }

    /// A figure and its target; `details` is for people.
    pub fn line(&mut self, name: &str, details: &str, target: &str, passed: bool) {
        let mark = if passed { "pass" } else { "MISS" };
        let left = format!("  {name:<38}{details}");
        println!("{left:<WIDTH$}  {target:<12}{mark}");
        self.lines += 1;
        if !passed {
            self.missed.push(name.to_owned());
        }
    }

    /// A figure without a target.
    pub fn note(&self, name: &str, details: &str) {
        println!("  {name:<38}{details}");
    }

    pub fn verdict(self) -> ExitCode {
        let reached = self.lines - self.missed.len();
        println!("\n{reached} of {} targets reached", self.lines);
        if self.missed.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!("missed: {}", self.missed.join("; "));
        ExitCode::FAILURE
    }
}
