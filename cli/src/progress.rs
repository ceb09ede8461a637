//! What a command shows while the proxy works: a bar where there is a measure and somebody watches, else a line for each
//! step. On stderr, so that stdout holds the answer alone.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::control::Progress;
use crate::show;

pub struct Display {
    indent: &'static str,
    terminal: bool,
    /// The step that was shown last, and how many tenths of it.
    last: Option<(String, String, u64)>,
    bar: Option<ProgressBar>,
}

impl Display {
    pub fn new() -> Self {
        Self::indented("")
    }

    /// For a place in a larger text.
    pub fn indented(indent: &'static str) -> Self {
        Self { indent, terminal: std::io::stderr().is_terminal(), last: None, bar: None }
    }

    pub fn show(&mut self, progress: &Progress) {
        let step = (progress.phase.clone(), progress.text.clone(), tenths(progress.bytes));
        let same_phase = self.last.as_ref().is_some_and(|last| last.0 == step.0);
        match progress.bytes {
            Some((done, total)) if self.terminal => self.draw(progress, same_phase, done, total),
            _ if self.last.as_ref() == Some(&step) => (),
            _ => self.print(progress),
        }
        self.last = Some(step);
    }

    fn draw(&mut self, progress: &Progress, same_phase: bool, done: u64, total: u64) {
        if !same_phase {
            self.finish();
        }
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(total).with_style(style()));
        bar.set_length(total);
        bar.set_message(format!("{}{}: {}", self.indent, progress.phase, progress.text));
        bar.set_position(done);
    }

    fn print(&mut self, progress: &Progress) {
        self.finish();
        show::aside(&format!("{}{}", self.indent, line(progress)));
    }

    /// Leaves a finished bar on the screen: it is the record of the step.
    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}

impl Default for Display {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn tenths(bytes: Option<(u64, u64)>) -> u64 {
    bytes.map_or(0, |(done, total)| done.saturating_mul(10) / total.max(1))
}

pub fn line(progress: &Progress) -> String {
    let measure = match progress.bytes {
        Some((done, total)) => format!(" ({} of {} MB)", done >> 20, total >> 20),
        None => String::new(),
    };
    format!("{}: {}{measure}", progress.phase, progress.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_phase_and_how_far_it_is() {
        let progress =
            Progress { phase: "base backup".into(), text: "from midna".into(), bytes: Some((5 << 20, 9 << 20)) };
        assert_eq!(line(&progress), "base backup: from midna (5 of 9 MB)");
        assert_eq!(line(&Progress { bytes: None, ..progress }), "base backup: from midna");
    }

    #[test]
    fn nothing_to_do_is_no_division_by_zero() {
        assert_eq!(tenths(Some((0, 0))), 0);
    }
}
