//! The registry under loom: small models, each tried in every interleaving of its threads.
//!
//! `cargo loom` runs them with those of the commit lock, whose `model` says what bounded runs do not show.
//!
//! | model | fails with `LOCKSTEP_BUG` |
//! | --- | --- |
//! | [`one_who_was_ended_and_one_who_has_his_locks_never_both_send`] | `OwnForgotten`, `LooksFirst` |
//! | [`a_last_word_that_was_read_and_not_understood_yet_is_not_quiet`] | `ReadUnmarked` |
//! | [`one_who_waits_is_woken_when_the_other_has_left`] | `LostWakeup`, `LeftUnheard` |
//! | [`one_who_waits_is_woken_when_the_other_is_trusted_again`] | `TrustUnheard` |
//!
//! [`every_planted_bug_is_found_by_its_model`] runs each line of this table.

use std::future::poll_fn;
use std::process::Command;
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::bug::{Bug, planted};
use super::{Flight, InFlight};

/// Each fault, the model that is there for it, and what the model then says.
const MODELS: [(Bug, &str, &str); 6] = [
    (Bug::OwnForgotten, "one_who_was_ended_and_one_who_has_his_locks_never_both_send", "both have sent"),
    (Bug::LooksFirst, "one_who_was_ended_and_one_who_has_his_locks_never_both_send", "both have sent"),
    (Bug::ReadUnmarked, "a_last_word_that_was_read_and_not_understood_yet_is_not_quiet", "not seen"),
    (Bug::LostWakeup, "one_who_waits_is_woken_when_the_other_has_left", "deadlock"),
    (Bug::LeftUnheard, "one_who_waits_is_woken_when_the_other_has_left", "deadlock"),
    (Bug::TrustUnheard, "one_who_waits_is_woken_when_the_other_is_trusted_again", "deadlock"),
];

/// Whether something is there to be read. The mutex stands for the kernel's lock of a socket.
#[derive(Debug, Clone)]
struct Wire(Arc<Mutex<bool>>);

impl Wire {
    fn new(said: bool) -> Self {
        Self(Arc::new(Mutex::new(said)))
    }

    fn say(&self) {
        *self.0.lock().unwrap() = true;
    }

    fn take(&self) -> bool {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn is_quiet(&self) -> bool {
        !*self.0.lock().unwrap()
    }
}

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

/// One look.
fn is_clear(flight: &Flight<Wire>) -> bool {
    flight.poll_clear(&Context::from_waker(Waker::noop()), Wire::is_quiet).is_ready()
}

/// What a commit does before it sends; whether it may.
fn look(registry: &InFlight<Wire>, wire: &Wire) -> (Flight<Wire>, bool) {
    if planted(Bug::LooksFirst) {
        let elsewhere = registry.enter(wire.clone(), true);
        let clear = is_clear(&elsewhere);
        drop(elsewhere);
        return (registry.enter(wire.clone(), true), clear);
    }
    let flight = registry.enter(wire.clone(), true);
    let clear = is_clear(&flight);
    (flight, clear)
}

async fn clear(flight: &Flight<Wire>) {
    poll_fn(|context| flight.poll_clear(context, Wire::is_quiet)).await;
}

/// The first is ended, which is said before its locks go; the second goes on with them.
#[test]
fn one_who_was_ended_and_one_who_has_his_locks_never_both_send() {
    explore(|| {
        let (registry, wire) = (InFlight::new(), Wire::new(false));
        let ended = {
            let (registry, wire) = (registry.clone(), wire.clone());
            thread::spawn(move || look(&registry, &wire))
        };
        wire.say();
        let (_in_flight, sends) = look(&registry, &Wire::new(false));
        let (_settles_later, has_sent) = ended.join().unwrap();
        assert!(!(sends && has_sent), "both have sent");
    });
}

#[test]
fn a_last_word_that_was_read_and_not_understood_yet_is_not_quiet() {
    explore(|| {
        let (registry, wire) = (InFlight::new(), Wire::new(false));
        let flight = registry.enter(wire.clone(), true);
        let reader = {
            let wire = wire.clone();
            thread::spawn(move || {
                flight.busy();
                if !wire.take() {
                    flight.trusted();
                }
                flight
            })
        };
        wire.say();
        let (_in_flight, sends) = look(&registry, &Wire::new(false));
        assert!(!sends, "a last word was not seen");
        drop(reader.join().unwrap());
    });
}

#[test]
fn one_who_waits_is_woken_when_the_other_has_left() {
    explore(|| {
        let registry = InFlight::new();
        let lost = registry.enter(Wire::new(true), true);
        let other = thread::spawn(move || drop(lost));
        block_on(clear(&registry.enter(Wire::new(false), true)));
        other.join().unwrap();
    });
}

#[test]
fn one_who_waits_is_woken_when_the_other_is_trusted_again() {
    explore(|| {
        let (registry, wire) = (InFlight::new(), Wire::new(true));
        let flight = registry.enter(wire.clone(), true);
        let reader = thread::spawn(move || {
            flight.busy();
            assert!(wire.take());
            flight.trusted();
            flight
        });
        block_on(clear(&registry.enter(Wire::new(false), true)));
        drop(reader.join().unwrap());
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
