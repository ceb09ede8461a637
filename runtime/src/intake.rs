//! Whether clients may begin something, for all sessions to see: [`lockstep_core::cluster::intake`] carried out.
//!
//! A session looks at it at every turn, and is woken when it changes. While clients are held, each session notes when nothing
//! of its client's is under way any more: once it has, nothing will be until they are let go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockstep_core::cluster::Intake as State;
use lockstep_core::cluster::intake::{Entry, PauseId, PauseRefusal, Place};
use lockstep_core::fault::Fault;
use lockstep_core::id::SessionId;
use tokio::sync::watch;

use crate::clock;

#[derive(Debug, Default)]
pub struct Intake {
    state: Mutex<State>,
    published: watch::Sender<State>,
    /// The pause that is in force, for those who look often; 0: none.
    pausing: AtomicU64,
    /// By session, the last pause in which it stood still.
    still: Mutex<HashMap<SessionId, Arc<AtomicU64>>>,
}

impl Intake {
    pub fn pausing(&self) -> Option<PauseId> {
        Some(self.pausing.load(Ordering::Acquire)).filter(|id| *id != 0).map(PauseId)
    }

    pub fn held_since(&self) -> Option<u64> {
        self.published.borrow().held_since()
    }

    /// Waits until another pause is in force than this one, or none.
    pub async fn not(&self, pause: Option<PauseId>) {
        let mut state = self.published.subscribe();
        // The sender is ours: it does not go.
        let _ = state.wait_for(|state| state.pausing() != pause).await;
    }

    /// Waits while clients are held.
    pub async fn opened(&self) {
        self.wait_for(|entry| matches!(entry, Entry::Open).then_some(())).await;
    }

    /// Waits until nobody may come in any more, and says why.
    pub async fn refused(&self) -> Fault {
        let refusal = |entry| match entry {
            Entry::Refused(fault) => Some(fault),
            Entry::Open | Entry::Waits => None,
        };
        self.wait_for(refusal).await
    }

    async fn wait_for<T>(&self, what: impl Fn(Entry) -> Option<T>) -> T {
        let mut state = self.published.subscribe();
        loop {
            if let Some(found) = what(state.borrow_and_update().entry()) {
                return found;
            }
            if state.changed().await.is_err() {
                // The sender is ours: it does not go before we do.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until clients are not served here.
    pub async fn gone_elsewhere(&self) {
        // The sender is ours: it does not go.
        let _ = self.published.subscribe().wait_for(|state| state.elsewhere().is_some()).await;
    }

    pub fn is_at(&self, place: Place) {
        self.change(|state| state.is_at(place));
    }

    /// Why clients are not served here.
    pub fn elsewhere(&self) -> Option<String> {
        self.published.borrow().elsewhere().map(str::to_owned)
    }

    /// Nobody comes in any more.
    pub fn stop(&self) {
        self.change(State::stop);
    }

    /// From here on nothing new begins. Dropped before it has settled, it is taken back.
    pub fn pause(&self) -> Result<Pausing<'_>, PauseRefusal> {
        self.change(State::pause).map(|id| Pausing { intake: self, id })
    }

    pub fn resume(&self) -> bool {
        self.change(State::resume)
    }

    pub fn seat(self: &Arc<Self>, session: SessionId) -> Seat {
        let still = Arc::<AtomicU64>::default();
        self.seats().insert(session, still.clone());
        Seat { intake: self.clone(), session, still }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut state);
        self.pausing.store(state.pausing().map_or(0, |id| id.0), Ordering::Release);
        self.published.send_replace(state.clone());
        outcome
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<AtomicU64>>> {
        self.still.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place among those that a pause waits for.
#[derive(Debug)]
pub struct Seat {
    intake: Arc<Intake>,
    session: SessionId,
    still: Arc<AtomicU64>,
}

impl Seat {
    pub fn pausing(&self) -> Option<PauseId> {
        self.intake.pausing()
    }

    pub fn stands_still(&self, pause: PauseId) {
        self.still.store(pause.0, Ordering::Release);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.intake.seats().remove(&self.session);
    }
}

/// A pause that waits for what is under way.
pub struct Pausing<'a> {
    intake: &'a Intake,
    id: PauseId,
}

impl Pausing<'_> {
    /// Clients with something under way.
    pub fn at_work(&self) -> usize {
        self.intake.seats().values().filter(|still| still.load(Ordering::Acquire) != self.id.0).count()
    }

    pub fn is_in_force(&self) -> bool {
        self.intake.pausing() == Some(self.id)
    }

    /// Nothing is under way: the pause stays. False: somebody has ended it meanwhile.
    pub fn settle(self) -> bool {
        self.intake.change(|state| state.settle(self.id, clock::unix_seconds()))
    }
}

impl Drop for Pausing<'_> {
    fn drop(&mut self) {
        self.intake.change(|state| state.take_back(self.id));
    }
}
