//! How long clients wait, and what they see, at each event: many times over, as a table for `lockstep help operations`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Say;
use super::event::{Event, Lasting, Role};
use super::load::Crew;
use super::meter::{Meter, Reading};
use super::phase::Phase;
use super::stage::Stage;
use crate::chance::Chance;
use crate::cluster::Cluster;

const SERVED: Duration = Duration::from_secs(60);

/// The measure goes on for so long when all is over: what has yet to come would be seen.
const AFTERWARDS: Duration = Duration::from_millis(300);

const EVENTS: [Option<Event>; 12] = [
    None,
    Some(Event::Kill(Role::Follower)),
    Some(Event::Kill(Role::Leader)),
    Some(Event::Stop(Role::Follower, Lasting::UntilFound)),
    Some(Event::Stop(Role::Leader, Lasting::UntilFound)),
    Some(Event::StopPostmaster(Role::Follower, Lasting::UntilFound)),
    Some(Event::StopPostmaster(Role::Leader, Lasting::UntilFound)),
    Some(Event::Partition(Role::Follower, Lasting::UntilFound)),
    Some(Event::Partition(Role::Leader, Lasting::UntilFound)),
    Some(Event::Detach(Role::Follower)),
    Some(Event::Detach(Role::Leader)),
    Some(Event::KillProxy),
];

const NOTHING: &str = "nothing, for comparison";
const RECOVERY: &str = "recover";
const ATTACH: &str = "attach";

/// What was read for each event.
#[derive(Debug, Default)]
pub struct Stalls {
    readings: Vec<(String, Vec<Reading>)>,
    /// Failures of the load beside the probe, but for those that a plain server gives it too.
    load: BTreeMap<String, u64>,
    pub wrong: Vec<String>,
}

impl Stalls {
    fn add(&mut self, event: &str, reading: Reading, load_failed: u64) {
        *self.load.entry(event.to_owned()).or_default() += load_failed;
        match self.readings.iter_mut().find(|(name, _)| name == event) {
            Some((_, readings)) => readings.push(reading),
            None => self.readings.push((event.to_owned(), vec![reading])),
        }
    }

    /// In Markdown.
    pub fn table(&self) -> String {
        let mut lines = vec![
            "| event | times | failed operations | reconnects | longest stall: median | longest |".to_owned(),
            "| --- | --- | --- | --- | --- | --- |".to_owned(),
        ];
        for (event, readings) in &self.readings {
            let mut stalls: Vec<_> = readings.iter().map(|reading| reading.longest_stall.as_millis()).collect();
            stalls.sort_unstable();
            let reconnects: u64 = readings.iter().map(|reading| reading.reconnects).sum();
            lines.push(format!(
                "| {event} | {} | {} | {reconnects} | {} ms | {} ms |",
                readings.len(),
                failures(readings),
                stalls[stalls.len() / 2],
                stalls[stalls.len() - 1]
            ));
        }
        lines.join("\n")
    }

    /// What the load saw, which has transactions open all the time.
    pub fn of_the_load(&self) -> String {
        let lines = self.load.iter().filter(|(_, count)| **count > 0);
        lines.map(|(event, count)| format!("the load beside it: {event}: {count} failed operations\n")).collect()
    }
}

fn failures(readings: &[Reading]) -> String {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in readings.iter().flat_map(|reading| &reading.failures) {
        *kinds.entry(kind).or_default() += count;
    }
    let total: u64 = kinds.values().sum();
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    if total == 0 { "0".into() } else { kinds.join(", ") }
}

/// `only`: events whose name has one of these words; all when empty.
pub fn run(repetitions: usize, only: &[String], crew: Crew, say: Say<'_>) -> Stalls {
    let wanted = |name: &String| only.is_empty() || only.iter().any(|word| name.contains(word));
    let mut stalls = Stalls::default();
    // Where a relay stands, a server that is gone does not refuse connections: there it is found later.
    for relayed in [false, true] {
        let events = EVENTS.into_iter().filter(|event| matches!(event, Some(Event::Partition(..))) == relayed);
        let events: Vec<_> = events.map(|event| (event, name(event))).filter(|(_, name)| wanted(name)).collect();
        if !events.is_empty() && stalls.wrong.is_empty() {
            let builder = Cluster::builder(2).health_as_shipped();
            let stage = Stage::set(if relayed { builder.relayed() } else { builder }, crew);
            play(stage, &events, repetitions, crew.seed, &mut stalls, say);
        }
    }
    stalls
}

fn name(event: Option<Event>) -> String {
    event.map_or_else(|| NOTHING.to_owned(), |event| event.to_string())
}

fn play(
    mut stage: Stage,
    events: &[(Option<Event>, String)],
    repetitions: usize,
    seed: u64,
    stalls: &mut Stalls,
    say: Say<'_>,
) {
    let mut chance = Chance::new(seed);
    for (event, name) in events {
        for repetition in 1..=repetitions {
            say(&format!("{name}, {repetition} of {repetitions}"));
            if let Err(why) = repeat(&mut stage, *event, name, &mut chance, stalls) {
                stalls.wrong.push(format!("{name}: {why}"));
                return;
            }
        }
        stalls.wrong.extend(stage.audit(false));
    }
    stalls.wrong.append(&mut stage.complaints);
}

fn repeat(
    stage: &mut Stage,
    event: Option<Event>,
    name: &str,
    chance: &mut Chance,
    stalls: &mut Stalls,
) -> Result<(), String> {
    measure(stage, name, stalls, |stage| match event {
        Some(event) => happen(stage, event, chance),
        None => {
            std::thread::sleep(Duration::from_secs(1));
            Ok(())
        }
    })?;
    stage.mend(chance);
    match event {
        None => Ok(()),
        Some(Event::Detach(_)) => measure(stage, ATTACH, stalls, Stage::bring_back),
        Some(Event::KillProxy) => stage.bring_back(),
        Some(_) => measure(stage, RECOVERY, stalls, Stage::bring_back),
    }
}

fn happen(stage: &mut Stage, event: Event, chance: &mut Chance) -> Result<(), String> {
    let node = event.role().map_or(0, |role| stage.who_is(role));
    let struck = Instant::now();
    stage.strike(event, node, chance);
    stage.outlast(event, node)?;
    stage.load.everybody_works(struck, SERVED)?;
    stage.load.everybody_works(Instant::now(), SERVED)
}

fn measure(
    stage: &mut Stage,
    name: &str,
    stalls: &mut Stalls,
    happens: impl FnOnce(&mut Stage) -> Result<(), String>,
) -> Result<(), String> {
    stage.load.phase_begins(Phase::quiet(name));
    let failed = |stage: &Stage| stage.load.ledger().entries().tally.unexpected_failures();
    let before = failed(stage);
    let meter = Meter::start(stage);
    let outcome = happens(stage);
    std::thread::sleep(AFTERWARDS);
    stalls.add(name, meter.stop(), failed(stage) - before);
    outcome
}
