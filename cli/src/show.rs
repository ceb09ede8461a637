//! What people and programs read: lines, marks, tables, JSON. A reader that goes away (`| head`) is no error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Colours, only where somebody sees them.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    pub fn for_stdout() -> Self {
        Self { on: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    pub fn for_stderr() -> Self {
        Self { on: io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    #[cfg(test)]
    pub fn none() -> Self {
        Self { on: false }
    }

    fn in_colour(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    pub fn green(self, text: &str) -> String {
        self.in_colour("32", text)
    }

    pub fn red(self, text: &str) -> String {
        self.in_colour("1;31", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.in_colour("33", text)
    }

    pub fn bold(self, text: &str) -> String {
        self.in_colour("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.in_colour("2", text)
    }

    /// ✓ or x.
    pub fn mark(self, good: bool) -> String {
        if good { self.green("✓") } else { self.red("x") }
    }
}

pub fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// For people who wait; what programs read stays on stdout alone.
pub fn aside(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"));
    line(&text);
}

/// Rows under headings, each column as wide as its widest cell.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..headings.len()).map(width).collect();
    let format = |cells: Vec<&str>| {
        let padded: Vec<_> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![format(headings.to_vec())];
    lines.extend(rows.iter().map(|row| format(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// 1,234,567.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let grouped: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    grouped.join(",")
}

/// 12.3 ms, 1.2 s: as exact as a reader can use.
pub fn time(time: std::time::Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0..1.0 => format!("{:.1} ms", seconds * 1000.0),
        1.0..60.0 => format!("{seconds:.1} s"),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_table_lines_up_and_has_no_trailing_blanks() {
        let rows = vec![vec!["midna".into(), "leader".into()], vec!["alp".into(), "x".into()]];
        assert_eq!(table(&["node", "role"], &rows), "node   role\nmidna  leader\nalp    x");
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_time_is_as_exact_as_a_reader_can_use() {
        let times = [Duration::from_micros(1_250), Duration::from_millis(1_240), Duration::from_secs(125)];
        assert_eq!(times.map(time), ["1.2 ms", "1.2 s", "2 min 5 s"]);
    }

    #[test]
    fn marks_are_plain_without_a_terminal() {
        assert_eq!((Paint::none().mark(true), Paint::none().mark(false)), ("✓".into(), "x".into()));
    }
}
