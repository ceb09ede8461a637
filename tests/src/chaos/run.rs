//! Rounds of accidents, each with an audit at its end.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::event::{self, Event, Role};
use super::load::{Crew, PATIENCE};
use super::phase::Phase;
use super::stage::Stage;
use super::tally::Tally;
use super::{DATABASE, Say};
use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::process;
use crate::scratch;

/// Longer than a client waits.
const SERVED: Duration = PATIENCE.saturating_add(Duration::from_secs(15));

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// No round begins after that.
    pub time: Duration,
    /// No more rounds than that.
    pub rounds: usize,
    pub clients: usize,
    pub pace: Duration,
    /// Where everything goes when something was wrong.
    pub keep: Option<PathBuf>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub rounds: usize,
    pub acknowledged: usize,
    pub tally: Tally,
    /// What must not be; empty when all holds.
    pub wrong: Vec<String>,
    pub complaints: Vec<String>,
    pub kept: Option<PathBuf>,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty() && self.complaints.is_empty() && self.tally.unexpected().is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} rounds, {} acknowledged inserts,", self.seed, self.rounds, self.acknowledged)?;
        writeln!(f, "{} operations succeeded, {} failed\n", self.tally.operations(), self.tally.failures())?;
        writeln!(f, "{}", self.tally)?;
        self.wrong.iter().try_for_each(|line| writeln!(f, "WRONG: {line}"))?;
        self.complaints.iter().try_for_each(|line| writeln!(f, "complaint: {line}"))?;
        self.tally.unexpected().iter().try_for_each(|line| writeln!(f, "unexpected: {line}"))?;
        if let Some(kept) = &self.kept {
            writeln!(f, "servers, state and logs are kept in {}", kept.display())?;
        }
        f.write_str(if self.is_good() { "all holds" } else { "NOT all holds" })
    }
}

pub fn run(plan: &Plan, say: Say<'_>) -> Report {
    let crew = Crew { clients: plan.clients, pace: plan.pace, seed: plan.seed };
    let mut stage = Stage::set(Cluster::builder(2).relayed(), crew);
    let (begun, mut rounds, mut wrong) = (Instant::now(), 0, Vec::new());
    while wrong.is_empty() && rounds < plan.rounds && begun.elapsed() < plan.time {
        rounds += 1;
        let mut chance = chance(plan.seed, rounds);
        let events = event::round(&mut chance);
        let phase = Phase::of(&events);
        let leader = stage.who_is(Role::Leader);
        say(&format!("round {rounds}, node{leader} leads: {}", phase.name));
        let played = Instant::now();
        let ended = survive(|| round(&mut stage, &events, phase, &mut chance));
        wrong.extend(ended.into_iter().map(|what| format!("seed {} round {rounds}: {what}", plan.seed)));
        let operations = stage.load.ledger().entries().tally.operations();
        say(&format!("         {:.1} s, {operations} operations so far", played.elapsed().as_secs_f64()));
    }
    if wrong.is_empty() {
        wrong.extend(survive(|| stage.audit(true)));
    }
    let entries = stage.load.ledger().entries();
    let (acknowledged, tally) = (entries.told.len(), entries.tally.clone());
    drop(entries);
    let complaints = std::mem::take(&mut stage.complaints);
    let mut report = Report { seed: plan.seed, rounds, acknowledged, tally, wrong, complaints, kept: None };
    report.kept = plan.keep.clone().filter(|_| !report.is_good()).inspect(|place| keep(place));
    report
}

/// A round is the same whatever came before it. The factors are odd and large, for neighbours begin alike.
fn chance(seed: u64, round: usize) -> Chance {
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Chance::new(seed.wrapping_add((round as u64).wrapping_mul(0xd1b5_4a32_d192_ed03)))
}

/// A harness that gives up has found something, too.
fn survive(what: impl FnOnce() -> Vec<String>) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        vec![text.unwrap_or("a panic without words").to_owned()]
    })
}

/// What was wrong.
fn round(stage: &mut Stage, events: &[Event], phase: Phase, chance: &mut Chance) -> Vec<String> {
    if let Err(why) = accidents(stage, events, phase, chance) {
        return vec![why];
    }
    stage.load.phase_begins(Phase::quiet("bringing nodes back"));
    if let Err(why) = stage.bring_back() {
        return vec![why];
    }
    if chance.one_in(4) {
        let verified = stage.run(&["verify", "--database", DATABASE, "--rate", "none"]);
        if !verified.status.success() {
            return vec![format!("verify: {}", process::said(&verified))];
        }
    }
    stage.audit(false)
}

/// One after the other, with no time or a little between them; until everybody is served again.
fn accidents(stage: &mut Stage, events: &[Event], phase: Phase, chance: &mut Chance) -> Result<(), String> {
    let roles = [Role::Leader, Role::Follower].map(|role| (role, stage.who_is(role)));
    let node = |event: &Event| roles.iter().find(|(role, _)| event.role() == Some(*role)).map_or(0, |(_, node)| *node);
    std::thread::sleep(Duration::from_millis(chance.below(800)));
    stage.load.phase_begins(phase);
    for event in events {
        stage.strike(*event, node(event), chance);
        if chance.one_in(2) {
            std::thread::sleep(Duration::from_millis(chance.below(400)));
        }
    }
    let struck = Instant::now();
    for event in events {
        stage.outlast(*event, node(event))?;
    }
    let served = stage.load.everybody_works(struck, SERVED);
    stage.mend(chance);
    served?;
    stage.load.everybody_works(Instant::now(), SERVED)
}

fn keep(place: &Path) {
    let mut copy = std::process::Command::new("cp");
    process::run(copy.arg("-a").arg(scratch::root()).arg(place));
}
