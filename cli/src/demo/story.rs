//! What the demo says. Every claim was checked before it is printed, and the story is true only if all of them held.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::probe::Tally;
use crate::show::{self, Paint};

pub struct Story {
    paint: Paint,
    begun: Instant,
    chapters: u32,
    broken: u32,
    ended: bool,
}

impl Story {
    pub fn begin(paint: Paint) -> Self {
        Self { paint, begun: Instant::now(), chapters: 0, broken: 0, ended: false }
    }

    pub fn title(&self, text: &str) {
        show::line(&format!("\n{}\n", self.paint.bold(text)));
    }

    pub fn chapter(&mut self, text: &str) {
        self.chapters += 1;
        show::line(&format!("\n{}", self.paint.bold(&format!("{}. {text}", self.chapters))));
    }

    pub fn say(&self, text: &str) {
        show::line(&self.paint.dim(&format!("   {text}")));
    }

    /// Call with what was measured, never with what is hoped for.
    pub fn claim(&mut self, holds: bool, text: &str) {
        self.broken += u32::from(!holds);
        let text = if holds { text.into() } else { self.paint.red(text) };
        show::line(&format!(" {} {text}", self.paint.mark(holds)));
    }

    /// What the application went through: nothing, that is.
    pub fn claim_unharmed(&mut self, tally: &Tally, over: Duration) {
        let unharmed = tally.operations() > 0 && tally.failed() == 0 && tally.reconnects == 0;
        self.claim(unharmed, &experience(tally, over));
        for (kind, times) in &tally.failures {
            self.say(&format!("{} × {kind}", show::count(*times)));
        }
    }

    /// Whether it was told to its end, and every claim held.
    pub fn is_true(&self) -> bool {
        self.ended && self.broken == 0
    }

    pub fn has_broken(&self) -> bool {
        self.broken > 0
    }

    pub fn end(&mut self) {
        self.ended = true;
        let time = show::time(self.begun.elapsed());
        let text = match self.broken {
            0 => format!("That took {time}, and every line with a {} was checked.", self.paint.mark(true)),
            1 => "1 claim did not hold.".into(),
            broken => format!("{broken} claims did not hold."),
        };
        show::line(&format!("\n{text}"));
    }
}

fn experience(tally: &Tally, over: Duration) -> String {
    let operations = tally.operations();
    let rate = (operations as f64 / over.as_secs_f64().max(0.001)) as u64;
    let connections = match tally.reconnects {
        0 => "no connection lost".into(),
        lost => format!("{lost} connections lost"),
    };
    format!(
        "{} operations ({} a second), {} failed, {connections}; the slowest took {}",
        show::count(operations),
        show::count(rate),
        show::count(tally.failed()),
        show::time(tally.slowest)
    )
}

/// A sign of life on a terminal, and nothing elsewhere; gone when dropped.
pub struct Waiting(ProgressBar);

impl Waiting {
    pub fn for_(text: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(text.to_owned());
        if let Ok(style) = ProgressStyle::with_template(" {spinner} {msg} …") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Failure;

    #[test]
    fn a_story_is_true_when_every_claim_held_to_its_end() {
        let mut story = Story::begin(Paint::none());
        story.claim(true, "the sun rises");
        assert!(!story.is_true(), "it is not at its end");
        story.end();
        assert!(story.is_true());
    }

    #[test]
    fn one_claim_that_does_not_hold_spoils_the_story() {
        let mut story = Story::begin(Paint::none());
        story.claim(false, "the sun rises in the west");
        story.claim(true, "every day");
        story.end();
        assert!(!story.is_true());
    }

    #[test]
    fn an_application_that_lost_a_connection_or_did_nothing_was_not_unharmed() {
        let good = Tally { succeeded: 10, ..Tally::default() };
        let lost = Tally { reconnects: 1, ..good.clone() };
        let mut failed = good.clone();
        failed.add(&Err(Failure::Broken("reset".into())));
        for (tally, unharmed) in [(good, true), (lost, false), (failed, false), (Tally::default(), false)] {
            let mut story = Story::begin(Paint::none());
            story.claim_unharmed(&tally, Duration::from_secs(1));
            story.end();
            assert_eq!(story.is_true(), unharmed, "{tally:?}");
        }
    }

    #[test]
    fn the_experience_is_told_in_figures() {
        let tally = Tally { succeeded: 3_000, slowest: Duration::from_millis(23), ..Tally::default() };
        let text = experience(&tally, Duration::from_secs(4));
        assert_eq!(text, "3,000 operations (750 a second), 0 failed, no connection lost; the slowest took 23.0 ms");
    }
}
