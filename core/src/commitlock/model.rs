//! The commit lock under loom: small models, each tried in every interleaving of its threads.
//!
//! `cargo loom` runs them all in a few seconds (`.cargo/config.toml`: the cfg, a build without pg_query, a target
//! directory of its own). `LOOM_MAX_PREEMPTIONS` is 2 unless set; set it to 3 before a release.
//!
//! | model | fails with `LOCKSTEP_BUG` |
//! | --- | --- |
//! | [`shared_and_exclusive_never_meet`] | `NoExclusion` |
//! | [`the_last_one_out_wakes_the_one_who_waits`] | `LostWakeup` |
//! | [`one_who_gives_up_in_the_line_is_not_waited_for`] | `GhostInLine` |
//! | [`one_who_gives_up_after_being_admitted_passes_the_room_on`] | `LeakedGrant` |
//! | [`nobody_who_comes_later_enters_before_an_exclusive_request`] | `Barging` |
//! | [`passes_dropped_elsewhere_at_the_same_time_are_all_given_back`] | `TornRelease` |
//!
//! [`every_planted_bug_is_found_by_its_model`] runs each line of this table, so a plain `cargo loom` also shows that the
//! models can fail. To see one fail: `LOCKSTEP_BUG=LostWakeup LOOM_LOG=trace cargo loom the_last_one_out`.
//!
//! What this does not show: a run with bounded preemptions is not exhaustive; loom treats `SeqCst` as `AcqRel` and does
//! not explore load buffering; only loom's own types are seen, so no runtime, channel or other lock may be in a model.
//! Absence of starvation is no loom property (its scheduler is unfair on purpose): it is put as safety, "nobody who
//! comes after me enters before me".

use std::pin::pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::CommitLock;
use super::bug::Bug;

/// Each fault, the model that is there for it, and what the model then says.
const MODELS: [(Bug, &str, &str); 6] = [
    (Bug::NoExclusion, "shared_and_exclusive_never_meet", "shared beside exclusive"),
    (Bug::LostWakeup, "the_last_one_out_wakes_the_one_who_waits", "deadlock"),
    (Bug::GhostInLine, "one_who_gives_up_in_the_line_is_not_waited_for", "deadlock"),
    (Bug::LeakedGrant, "one_who_gives_up_after_being_admitted_passes_the_room_on", "deadlock"),
    (Bug::Barging, "nobody_who_comes_later_enters_before_an_exclusive_request", "a newcomer passed one who waits"),
    (Bug::TornRelease, "passes_dropped_elsewhere_at_the_same_time_are_all_given_back", "deadlock"),
];

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

/// Polls once and drops the future.
fn give_up<T>(future: impl Future<Output = T>) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

/// The counter is written relaxed: that its value is seen by the next one in is the lock's doing.
#[test]
fn shared_and_exclusive_never_meet() {
    explore(|| {
        let lock = CommitLock::new();
        let inside = Arc::new(AtomicUsize::new(0));
        let readers = [0, 1].map(|_| {
            let (lock, inside) = (lock.clone(), Arc::clone(&inside));
            thread::spawn(move || {
                let pass = block_on(lock.shared());
                assert_eq!(inside.load(Ordering::Relaxed), 0, "shared beside exclusive");
                drop(pass);
            })
        });
        let pass = block_on(lock.exclusive());
        inside.store(1, Ordering::Relaxed);
        thread::yield_now();
        inside.store(0, Ordering::Relaxed);
        drop(pass);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn the_last_one_out_wakes_the_one_who_waits() {
    explore(|| {
        let lock = CommitLock::new();
        let holders = [0, 1].map(|_| {
            let pass = lock.try_shared();
            thread::spawn(move || drop(pass))
        });
        drop(block_on(lock.exclusive()));
        holders.into_iter().for_each(|holder| holder.join().unwrap());
    });
}

/// The shared pass is held until both are through: what lets the second shared request in is the other's giving up.
#[test]
fn one_who_gives_up_in_the_line_is_not_waited_for() {
    explore(|| {
        let lock = CommitLock::new();
        let held = lock.try_shared();
        let fickle = {
            let lock = lock.clone();
            thread::spawn(move || give_up(lock.exclusive()))
        };
        let patient = {
            let lock = lock.clone();
            thread::spawn(move || drop(block_on(lock.shared())))
        };
        fickle.join().unwrap();
        patient.join().unwrap();
        drop(held);
    });
}

#[test]
fn one_who_gives_up_after_being_admitted_passes_the_room_on() {
    explore(|| {
        let lock = CommitLock::new();
        let held = block_on(lock.exclusive());
        let fickle = {
            let lock = lock.clone();
            thread::spawn(move || give_up(lock.exclusive()))
        };
        drop(held);
        drop(block_on(lock.exclusive()));
        fickle.join().unwrap();
    });
}

#[test]
fn nobody_who_comes_later_enters_before_an_exclusive_request() {
    explore(|| {
        let lock = CommitLock::new();
        let in_line = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicBool::new(false));
        let held = lock.try_shared();

        let (newcomer_lock, was_in_line, was_served) = (lock.clone(), Arc::clone(&in_line), Arc::clone(&served));
        let newcomer = thread::spawn(move || {
            let late = was_in_line.load(Ordering::Acquire);
            let pass = block_on(newcomer_lock.shared());
            assert!(!late || was_served.load(Ordering::Relaxed), "a newcomer passed one who waits");
            drop(pass);
        });
        let holder = thread::spawn(move || drop(held));

        let mut request = lock.exclusive();
        let first = pin!(&mut request).poll(&mut Context::from_waker(Waker::noop()));
        in_line.store(true, Ordering::Release);
        let pass = match first {
            Poll::Ready(pass) => pass,
            Poll::Pending => block_on(request),
        };
        served.store(true, Ordering::Relaxed);
        drop(pass);
        newcomer.join().unwrap();
        holder.join().unwrap();
    });
}

#[test]
fn passes_dropped_elsewhere_at_the_same_time_are_all_given_back() {
    explore(|| {
        let lock = CommitLock::new();
        let mine = lock.try_shared();
        let theirs = lock.try_shared();
        let other = thread::spawn(move || drop(theirs));
        drop(mine);
        other.join().unwrap();
        drop(block_on(lock.exclusive()));
    });
}

/// In a process for each, because a model that fails may abort: passes are dropped while it unwinds.
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
