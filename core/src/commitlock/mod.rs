//! The commit lock: the replication scheduler.
//!
//! Shared for the commit of an ordinary unit; exclusive for what must see or change all nodes at one point (DDL, utility
//! commands, leader-first commits, the start of a comparison, a node that joins, the hold of a recovery). It knows
//! nothing of units or nodes: whoever holds a [`Pass`] may do what the pass is for.
//!
//! ```text
//!  shared() ─ first poll ─┬─ nobody waits, room free ────────────────▶ inside (Pass) ── drop ──▶ out
//!  exclusive()            └─ else: a ticket, Pending ── admitted ─────▶    ▲                      │
//!                              │                          │               Ready                   │ admits the
//!                              └── future dropped ────────┴── dropped before its poll ──▶ out ────┘ next in line
//! ```
//!
//! - **Exclusion.** An exclusive pass is alone (`queue::Inside` cannot express anything else).
//! - **Order.** First come, first served, counted from a future's first poll. The number of newcomers that pass one who
//!   waits is zero, for [`CommitLock::try_shared`] too; an exclusive request is passed by nobody and waits for those
//!   alone who were there before it. Shared requests that stand next to each other enter together.
//! - **Nothing is lost.** Whoever is admitted is inside from that moment; a future that is dropped then passes its place
//!   on. A pass may be dropped on any thread.
//! - **No reentry.** One who holds a pass and waits for another waits for himself as soon as an exclusive request stands
//!   between the two. A unit takes one pass.
//! - **Nothing foreign runs under the mutex**: wakers are woken and dropped after it is let go of. So it cannot be
//!   poisoned from outside, and where it were, the state is whole and is used on.
//!
//! How long an exclusive holder may stay is for the holder to bound (the core has no clock): it drops its pass. To wait
//! with a deadline, drop the future.
//!
//! Why not tokio's `RwLock`: the core has no runtime in it, sessions live on several single-threaded runtimes, and this
//! one can be model-checked whole.
//!
//! `queue` decides who enters next (property tests there), this file adds mutex and wakers (threads in `tests`, every
//! interleaving in `model`), `bug` holds the faults that the models must find.

mod bug;
mod queue;

#[cfg(all(test, lockstep_loom))]
mod model;
#[cfg(all(test, not(lockstep_loom)))]
mod tests;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex, MutexGuard};
use bug::{Bug, planted};
use queue::{Mode, Queue, Ticket};

/// A handle on the lock; clones are the same lock.
#[derive(Debug, Clone)]
pub struct CommitLock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// One for each ticket in the line, and for nobody else.
    wakers: BTreeMap<Ticket, Waker>,
}

impl Default for CommitLock {
    fn default() -> Self {
        Self::new()
    }
}

impl CommitLock {
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State { queue: Queue::new(), wakers: BTreeMap::new() })) }
    }

    /// A shared pass, if it can be had without waiting and without passing anybody who waits.
    pub fn try_shared(&self) -> Option<Pass> {
        let entered = self.state().queue.try_enter(Mode::Shared);
        entered.then(|| self.pass())
    }

    /// A future that gives a shared pass.
    pub fn shared(&self) -> Shared {
        Shared(Entry::new(self, Mode::Shared))
    }

    /// A future that gives the exclusive pass.
    pub fn exclusive(&self) -> Exclusive {
        Exclusive(Entry::new(self, Mode::Exclusive))
    }

    fn pass(&self) -> Pass {
        Pass { lock: self.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self) {
        if planted(Bug::TornRelease) {
            let mut read = self.state().queue.clone();
            let _ = read.leave();
            self.state().queue = read;
            return;
        }
        let mut state = self.state();
        let admitted = state.queue.leave();
        wake(state, &admitted);
    }

    fn withdraw(&self, ticket: Ticket) {
        let mut state = self.state();
        let waited = state.queue.waits(ticket);
        if planted(if waited { Bug::GhostInLine } else { Bug::LeakedGrant }) {
            return;
        }
        let own_waker = state.wakers.remove(&ticket);
        let admitted = state.queue.withdraw(ticket);
        wake(state, &admitted);
        drop(own_waker);
    }
}

/// Lets go of the mutex, then wakes those who were admitted.
fn wake(mut state: MutexGuard<'_, State>, admitted: &[Ticket]) {
    let wakers: Vec<Waker> = admitted.iter().filter_map(|ticket| state.wakers.remove(ticket)).collect();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

/// The right to be inside. Dropping it, on any thread, is leaving.
#[derive(Debug)]
#[must_use = "whoever drops the pass has left"]
pub struct Pass {
    lock: CommitLock,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.lock.leave();
    }
}

/// Resolves to a shared [`Pass`]. Stands in line from its first poll on; dropping it gives up the place.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Shared(Entry);

/// Resolves to the exclusive [`Pass`]. Stands in line from its first poll on; dropping it gives up the place.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Exclusive(Entry);

impl Future for Shared {
    type Output = Pass;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pass> {
        self.0.poll(cx)
    }
}

impl Future for Exclusive {
    type Output = Pass;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pass> {
        self.0.poll(cx)
    }
}

/// One request to enter. `ticket` is there from the first poll that had to wait until the pass is handed out.
#[derive(Debug)]
struct Entry {
    lock: CommitLock,
    mode: Mode,
    ticket: Option<Ticket>,
}

impl Entry {
    fn new(lock: &CommitLock, mode: Mode) -> Self {
        Self { lock: lock.clone(), mode, ticket: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Pass> {
        let waker = cx.waker().clone();
        let mut state = self.lock.state();
        self.ticket = match self.ticket {
            None => state.queue.enter(self.mode),
            Some(ticket) => state.queue.waits(ticket).then_some(ticket),
        };
        let Some(ticket) = self.ticket else {
            drop(state);
            return Poll::Ready(self.lock.pass());
        };
        if planted(Bug::LostWakeup) {
            drop(state);
            state = self.lock.state();
        }
        let replaced = state.wakers.insert(ticket, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.lock.withdraw(ticket);
        }
    }
}
