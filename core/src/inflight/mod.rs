//! Commits in flight: what keeps a unit from building on locks that the leader has let go of by accident.
//!
//! Followers commit first, so between a unit's batches and its COMMIT on the leader only the leader's locks keep others
//! away from what it has changed. If its connection there ends in that time, the leader rolls it back and lets its locks
//! go, while followers have it or will. A unit that then goes on from the old rows must not reach the followers.
//!
//! What is relied on: a server says that it ends a session, or that it rolls back at COMMIT, *before* it lets the locks go.
//! So whoever has had an answer of the leader that those locks had kept back finds, when he looks afterwards, something on
//! the other's connection. He looks before he sends his batches, and waits while anybody's connection is not quiet.
//!
//! ```text
//!  enter ──▶ poll_clear ──── all trusted and quiet ────▶ the batches go out ──▶ settled: dropped
//!                │  ▲
//!                ▼  │ somebody left, or is trusted again
//!              waits for the one whose connection is not quiet, or who is busy with what it said
//! ```
//!
//! - **Enter, then look**, at one's own connection too. Of two commits at least one has entered when the other looks: either
//!   that one is seen, or he sees his own connection.
//! - **Never quiet by being read.** [`Flight::busy`] comes before bytes are taken off a connection, [`Flight::trusted`] after
//!   all of them are known to mean no harm; between the two it is waited for. One who has lost his leader stays busy.
//! - **No circle.** One who waits has sent nothing and goes on reading his own connection; one who has sent waits for nobody
//!   here. How long he takes to settle is bounded by health and by the watchdog of his batches, not here.
//! - **Nothing is lost.** Dropping a [`Flight`], on any thread, is leaving, and wakes who waits.
//!
//! `L` is what a look at a connection needs. Looks happen under the mutex, so that none falls between a reader's `busy`
//! and his bytes: they must neither wait nor come back here. Wakers are woken after it is let go of.
//!
//! Threads are in `tests`, every interleaving in `model`, and `bug` holds the faults that the models must find. That units
//! are not lost so is shown by the simulator.

mod bug;

#[cfg(all(test, lockstep_loom))]
mod model;
#[cfg(all(test, not(lockstep_loom)))]
mod tests;

use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex, MutexGuard};
use bug::{Bug, planted};

/// A handle on the registry; clones are the same registry.
#[derive(Debug)]
pub struct InFlight<L> {
    state: Arc<Mutex<State<L>>>,
}

#[derive(Debug)]
struct State<L> {
    /// As many as commit at once: few, so they are walked.
    entries: Vec<Entry<L>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<L> {
    number: u64,
    leader: L,
    /// All that was taken off the connection is known to mean no harm.
    trusted: bool,
    /// The last look was not clear; who is to look again when something has changed.
    waits: Option<Waker>,
}

/// One commit in flight, until it is settled: dropping it is leaving.
#[derive(Debug)]
#[must_use = "whoever drops it has left"]
pub struct Flight<L> {
    of: InFlight<L>,
    number: u64,
}

impl<L> Clone for InFlight<L> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<L> Default for InFlight<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L> InFlight<L> {
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State { entries: Vec::new(), next: 0 })) }
    }

    /// A commit is about to look, with this connection to its leader; `trusted`: see [`Flight::trusted`].
    pub fn enter(&self, leader: L, trusted: bool) -> Flight<L> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.entries.push(Entry { number, leader, trusted, waits: None });
        drop(state);
        Flight { of: self.clone(), number }
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Flight<L> {
    /// Ready when every connection of commits in flight is trusted and quiet, this one's included. Else the task is woken
    /// when it is worth looking again: that is also when this one has read its own connection.
    pub fn poll_clear(&self, context: &Context<'_>, mut is_quiet: impl FnMut(&L) -> bool) -> Poll<()> {
        let mut state = self.of.state();
        let own = self.number;
        let passes = |entry: &Entry<L>| planted(Bug::OwnForgotten) && entry.number == own;
        let clear = state.entries.iter().all(|entry| passes(entry) || entry.trusted && is_quiet(&entry.leader));
        if clear {
            return Poll::Ready(());
        }
        if planted(Bug::LostWakeup) {
            drop(state);
            state = self.of.state();
        }
        let replaced = state.own(own).and_then(|entry| entry.waits.replace(context.waker().clone()));
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Bytes are about to be taken off the connection, or it is known to be lost.
    pub fn busy(&self) {
        if !planted(Bug::ReadUnmarked) {
            self.of.state().own(self.number).into_iter().for_each(|entry| entry.trusted = false);
        }
    }

    /// All that was taken off the connection has been understood, and the leader goes on with the unit.
    pub fn trusted(&self) {
        let mut state = self.of.state();
        state.own(self.number).into_iter().for_each(|entry| entry.trusted = true);
        if !planted(Bug::TrustUnheard) {
            wake(state);
        }
    }
}

impl<L> Drop for Flight<L> {
    fn drop(&mut self) {
        let mut state = self.of.state();
        let at = state.entries.iter().position(|entry| entry.number == self.number);
        let left = at.map(|at| state.entries.swap_remove(at));
        if !planted(Bug::LeftUnheard) {
            wake(state);
        }
        drop(left);
    }
}

impl<L> State<L> {
    fn own(&mut self, number: u64) -> Option<&mut Entry<L>> {
        self.entries.iter_mut().find(|entry| entry.number == number)
    }
}

/// Lets go of the mutex, then wakes all who wait: most look in vain, but they are few and it is rare.
fn wake<L>(mut state: MutexGuard<'_, State<L>>) {
    let wakers: Vec<Waker> = state.entries.iter_mut().filter_map(|entry| entry.waits.take()).collect();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}
