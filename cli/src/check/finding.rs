//! What a check says: a mark, what it is about, what was found, and what to do about it.

use serde::Serialize;

use crate::show::Paint;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    Good,
    /// Works, but somebody may be sorry one day.
    Advice,
    /// Must be put right before the cluster can be trusted.
    Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub mark: Mark,
    /// A node's name, a section of the configuration, or `nodes` for what holds between them.
    pub about: String,
    pub found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn good(&mut self, about: &str, found: impl Into<String>) {
        self.findings.push(Finding { mark: Mark::Good, about: about.into(), found: found.into(), remedy: None });
    }

    pub fn advice(&mut self, about: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(Mark::Advice, about, found.into(), remedy.into());
    }

    pub fn problem(&mut self, about: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(Mark::Problem, about, found.into(), remedy.into());
    }

    fn add(&mut self, mark: Mark, about: &str, found: String, remedy: String) {
        self.findings.push(Finding { mark, about: about.into(), found, remedy: Some(remedy) });
    }

    pub fn count(&self, mark: Mark) -> usize {
        self.findings.iter().filter(|finding| finding.mark == mark).count()
    }

    pub fn text(&self, paint: Paint) -> String {
        let mut lines: Vec<_> = self.findings.iter().map(|finding| line(finding, paint)).collect();
        lines.push(String::new());
        lines.push(match (self.count(Mark::Problem), self.count(Mark::Advice)) {
            (0, 0) => format!("{} all is well", paint.mark(true)),
            (0, advice) => format!("{} fit to run; {advice} to think about", paint.mark(true)),
            (1, _) => format!("{} 1 thing must be put right", paint.mark(false)),
            (problems, _) => format!("{} {problems} things must be put right", paint.mark(false)),
        });
        lines.join("\n")
    }
}

fn line(finding: &Finding, paint: Paint) -> String {
    let mark = match finding.mark {
        Mark::Good => paint.mark(true),
        Mark::Advice => paint.yellow("!"),
        Mark::Problem => paint.mark(false),
    };
    let remedy = finding.remedy.as_ref().map(|remedy| format!(" → {remedy}")).unwrap_or_default();
    format!("{mark} {}: {}{remedy}", finding.about, finding.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_on_a_line_with_its_remedy() {
        let mut report = Report::default();
        report.good("midna", "PostgreSQL 15.6");
        report.advice("alp", "fsync is off", "turn it on");
        report.problem("alp", "does not answer", "start it");
        let text = report.text(Paint::none());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "✓ midna: PostgreSQL 15.6");
        assert_eq!(lines[1], "! alp: fsync is off → turn it on");
        assert_eq!(lines[2], "x alp: does not answer → start it");
        assert_eq!(lines[4], "x 1 thing must be put right");
    }

    #[test]
    fn advice_alone_lets_it_run() {
        let mut report = Report::default();
        report.advice("alp", "fsync is off", "turn it on");
        assert!(report.text(Paint::none()).ends_with("✓ fit to run; 1 to think about"));
    }
}
