//! The registry under loom: small models, each tried in every interleaving of its threads.
//!
//! `cargo loom` runs them with those of the commit lock, whose `model` says what bounded runs do not show.
//!
//! | model | fails with `LOCKSTEP_BUG` |
//! | --- | --- |
//! | [`nobody_is_served_by_a_new_leader_before_every_heir_is_there_or_over`] | `FirstIsEnough` |
//! | [`who_is_waited_for_no_longer_does_not_go_on`] | `LateUnmarked`, `TornArrival` |
//! | [`who_enters_under_a_former_leader_does_not_go_on_beside_those_who_are_served`] | `EntersInTime` |
//! | [`one_who_waits_is_woken_when_the_last_heir_arrives`] | `LostWakeup`, `ArrivalUnheard` |
//! | [`an_heir_that_vanishes_lets_all_go_who_wait`] | `GhostHeir`, `VanishedUnheard` |
//! | [`who_waits_no_longer_lets_the_others_go`] | `GivenUpUnheard` |
//! | [`one_who_is_served_in_a_leaders_last_moments_takes_nothing_from_its_heirs`] | `LastMomentsForgotten` |
//!
//! [`every_planted_bug_is_found_by_its_model`] runs each line of this table.

use std::future::poll_fn;
use std::process::Command;
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::bug::Bug;
use super::{Heir, Heirs};
use crate::id::NodeId;
use crate::journal::{Touched, Unknown};

/// Each fault, the model that is there for it, and what the model then says.
const MODELS: [(Bug, &str, &str); 10] = [
    (
        Bug::FirstIsEnough,
        "nobody_is_served_by_a_new_leader_before_every_heir_is_there_or_over",
        "served before all were there",
    ),
    (Bug::LateUnmarked, "who_is_waited_for_no_longer_does_not_go_on", "goes on beside those who are served"),
    (Bug::TornArrival, "who_is_waited_for_no_longer_does_not_go_on", "goes on beside those who are served"),
    (
        Bug::EntersInTime,
        "who_enters_under_a_former_leader_does_not_go_on_beside_those_who_are_served",
        "goes on beside those who are served",
    ),
    (Bug::LostWakeup, "one_who_waits_is_woken_when_the_last_heir_arrives", "deadlock"),
    (Bug::ArrivalUnheard, "one_who_waits_is_woken_when_the_last_heir_arrives", "deadlock"),
    (Bug::GhostHeir, "an_heir_that_vanishes_lets_all_go_who_wait", "deadlock"),
    (Bug::VanishedUnheard, "an_heir_that_vanishes_lets_all_go_who_wait", "deadlock"),
    (Bug::GivenUpUnheard, "who_waits_no_longer_lets_the_others_go", "deadlock"),
    (
        Bug::LastMomentsForgotten,
        "one_who_is_served_in_a_leaders_last_moments_takes_nothing_from_its_heirs",
        "its server did not fall silent",
    ),
];

const OLD: NodeId = NodeId(0);
const NEW: NodeId = NodeId(1);

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

fn led_by_the_old_one() -> Heirs {
    let heirs = Heirs::default();
    block_on(gathered(&heirs, OLD));
    heirs
}

/// The old one is out, with an open unit of each of so many sessions.
fn left_by_the_old_one<const UNITS: usize>() -> (Heirs, [Heir; UNITS]) {
    let heirs = led_by_the_old_one();
    let units = [(); UNITS].map(|()| heirs.enter(OLD));
    heirs.fell(OLD, true);
    (heirs, units)
}

async fn gathered(heirs: &Heirs, leader: NodeId) {
    poll_fn(|context| heirs.poll_gathered(leader, context)).await;
}

/// The counter is written relaxed: that its value is seen by who is served is the registry's doing.
#[test]
fn nobody_is_served_by_a_new_leader_before_every_heir_is_there_or_over() {
    explore(|| {
        let (heirs, [plays, ends]) = left_by_the_old_one();
        let there = Arc::new(AtomicUsize::new(0));
        let (played, ended) = (Arc::clone(&there), Arc::clone(&there));
        let plays = thread::spawn(move || {
            played.fetch_add(1, Ordering::Relaxed);
            assert!(plays.arrived(NEW));
            plays
        });
        let ends = thread::spawn(move || {
            ended.fetch_add(1, Ordering::Relaxed);
            drop(ends);
        });
        block_on(gathered(&heirs, NEW));
        assert_eq!(there.load(Ordering::Relaxed), 2, "served before all were there");
        drop(plays.join().unwrap());
        ends.join().unwrap();
    });
}

#[test]
fn who_is_waited_for_no_longer_does_not_go_on() {
    explore(|| {
        let (heirs, [heir]) = left_by_the_old_one();
        let plays = thread::spawn(move || (heir.arrived(NEW), heir));
        let late = heirs.give_up(NEW);
        let (goes_on, _heir) = plays.join().unwrap();
        assert_eq!(goes_on, late == 0, "goes on beside those who are served");
    });
}

#[test]
fn who_enters_under_a_former_leader_does_not_go_on_beside_those_who_are_served() {
    explore(|| {
        let (heirs, []) = left_by_the_old_one();
        let has_played = Arc::new(AtomicBool::new(false));
        let (unaware, played) = (heirs.clone(), Arc::clone(&has_played));
        let unaware = thread::spawn(move || {
            let heir = unaware.enter(OLD);
            played.store(true, Ordering::Relaxed);
            (heir.arrived(NEW), heir)
        });
        block_on(gathered(&heirs, NEW));
        let before = has_played.load(Ordering::Relaxed);
        let (goes_on, _heir) = unaware.join().unwrap();
        assert!(before || !goes_on, "goes on beside those who are served");
    });
}

#[test]
fn one_who_waits_is_woken_when_the_last_heir_arrives() {
    explore(|| {
        let (heirs, [heir]) = left_by_the_old_one();
        let plays = thread::spawn(move || (heir.arrived(NEW), heir));
        block_on(gathered(&heirs, NEW));
        let (goes_on, _heir) = plays.join().unwrap();
        assert!(goes_on, "it was waited for");
    });
}

#[test]
fn an_heir_that_vanishes_lets_all_go_who_wait() {
    explore(|| {
        let (heirs, [heir]) = left_by_the_old_one();
        let vanishes = thread::spawn(move || drop(heir));
        let other = {
            let heirs = heirs.clone();
            thread::spawn(move || block_on(gathered(&heirs, NEW)))
        };
        block_on(gathered(&heirs, NEW));
        vanishes.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn who_waits_no_longer_lets_the_others_go() {
    explore(|| {
        let (heirs, [_never_comes]) = left_by_the_old_one();
        let impatient = {
            let heirs = heirs.clone();
            thread::spawn(move || heirs.give_up(NEW))
        };
        block_on(gathered(&heirs, NEW));
        impatient.join().unwrap();
    });
}

/// Until the new leader is in force, who logs in finds the old one.
#[test]
fn one_who_is_served_in_a_leaders_last_moments_takes_nothing_from_its_heirs() {
    explore(|| {
        let heirs = led_by_the_old_one();
        let heir = heirs.enter(OLD);
        let newcomer = {
            let heirs = heirs.clone();
            thread::spawn(move || heirs.poll_gathered(OLD, &Context::from_waker(Waker::noop())).is_ready())
        };
        heirs.fell(OLD, true);
        let served = newcomer.join().unwrap();
        assert!(served);
        assert_eq!(heir.hindrance(NEW, &Touched::Unknown(Unknown::Statement)), None);
        assert!(heir.arrived(NEW));
        block_on(gathered(&heirs, NEW));
    });
}

/// In a process for each, because a model that fails may abort.
#[test]
fn every_planted_bug_is_found_by_its_model() {
    let me = std::env::current_exe().expect("a running test has a file");
    let (_, here) = module_path!().split_once("::").expect("this is a module of the crate");
    for (bug, model, complaint) in MODELS {
        let run = Command::new(&me)
            .args([&format!("{here}::{model}"), "--exact", "--nocapture"])
            .env("LOCKSTEP_BUG", format!("{bug:?}"))
            .output()
            .expect("the test program starts");
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && said.contains(complaint), "{model} does not see {bug:?}:\n{said}");
    }
}
