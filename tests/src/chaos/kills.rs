//! kill -9 of the proxy under load, many times: what is lost, who is given up, and how long nobody is served.

use std::fmt;
use std::time::{Duration, Instant};

use super::Say;
use super::event::Event;
use super::load::Crew;
use super::phase::Phase;
use super::stage::Stage;
use super::tally::Tally;
use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::wait;

/// Rounds between two audits.
const AUDIT: usize = 10;
const SERVED: Duration = Duration::from_secs(60);

/// Clients are to be served again within this time.
const WANTED: Duration = Duration::from_secs(1);

/// After a start that the journal settles, nobody has to wait for this.
const AT_ONCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub struct Report {
    pub rounds: usize,
    pub acknowledged: usize,
    /// From the start of the new proxy to the end of the first operation that began after it, round by round.
    pub served_after: Vec<Duration>,
    /// Rounds in which a node was not active again at once.
    pub degraded: usize,
    pub wrong: Vec<String>,
    pub complaints: Vec<String>,
    pub tally: Tally,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty() && self.complaints.is_empty() && self.tally.unexpected().is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.served_after.clone();
        times.sort_unstable();
        let millis = |time: Option<&Duration>| time.map_or(0, Duration::as_millis);
        let (median, longest) = (millis(times.get(times.len() / 2)), millis(times.last()));
        writeln!(f, "{} kills, {} acknowledged inserts,", self.rounds, self.acknowledged)?;
        writeln!(f, "{} rounds with a node that was not active at once,", self.degraded)?;
        let within = times.iter().filter(|time| **time <= WANTED).count();
        writeln!(
            f,
            "served again after {median} ms (median), {longest} ms (longest), {within} times within {WANTED:?}\n"
        )?;
        writeln!(f, "{}", self.tally)?;
        self.wrong.iter().try_for_each(|line| writeln!(f, "WRONG: {line}"))?;
        self.complaints.iter().try_for_each(|line| writeln!(f, "complaint: {line}"))?;
        self.tally.unexpected().iter().try_for_each(|line| writeln!(f, "unexpected: {line}"))?;
        f.write_str(if self.is_good() { "nothing is lost, and the nodes are equal" } else { "NOT all holds" })
    }
}

pub fn run(kills: usize, crew: Crew, say: Say<'_>) -> Report {
    let mut stage = Stage::set(Cluster::builder(2), crew);
    let mut chance = Chance::new(crew.seed);
    let mut report = Report::default();
    while report.rounds < kills && report.wrong.is_empty() {
        report.rounds += 1;
        report.wrong.extend(kill(&mut stage, &mut chance, &mut report.served_after, &mut report.degraded));
        if report.wrong.is_empty() && (report.rounds.is_multiple_of(AUDIT) || report.rounds == kills) {
            report.wrong.extend(stage.audit(report.rounds == kills));
            say(&format!("{} kills, {} rounds with a node not active at once", report.rounds, report.degraded));
        }
    }
    let entries = stage.load.ledger().entries();
    (report.acknowledged, report.tally) = (entries.told.len(), entries.tally.clone());
    drop(entries);
    report.complaints = std::mem::take(&mut stage.complaints);
    report
}

fn kill(stage: &mut Stage, chance: &mut Chance, served: &mut Vec<Duration>, degraded: &mut usize) -> Option<String> {
    stage.load.phase_begins(Phase::of(&[Event::KillProxy]));
    std::thread::sleep(Duration::from_millis(100 + chance.below(400)));
    stage.cluster.proxy.kill9();
    let begun = Instant::now();
    stage.cluster.proxy.launch();
    if let Err(why) = stage.load.somebody_works(begun, SERVED) {
        return Some(why);
    }
    served.push(begun.elapsed());
    if let Err(why) = stage.load.everybody_works(begun, SERVED) {
        return Some(why);
    }
    if wait::within(AT_ONCE, || stage.all_active().then_some(())).is_none() {
        *degraded += 1;
    }
    stage.bring_back().err()
}
