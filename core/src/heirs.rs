//! Open units that a new leader is to inherit: who has still to play his log there, and whether he may.
//!
//! A unit's effects are absolute rows, and right for as long as nobody else has written those rows. While its leader lives the
//! leader's locks see to that; when it dies they are gone. So of the units that were open then:
//!
//! - **Nobody is served before all have played.** [`Heirs::poll_gathered`] is ready for a new leader when every unit that was
//!   open under another has played its log there, and so holds its locks again, or is over. Who comes too late
//!   ([`Heirs::give_up`]) may not go on, whatever it has played: [`Heir::arrived`] says so.
//! - **Only where the leader fell silent.** One that ends its sessions in an orderly way, one after the other, lets locks go
//!   while other sessions still write: what they write may be acknowledged, and the log of one that was ended before would
//!   undo it. A server that is killed, cut off or stopped lets nothing go ([`Heirs::fell`]).
//! - **Not over an orphan.** A unit that followers have committed, and whose leader did not, may have lost its locks before the
//!   leader died ([`Heirs::orphaned`]): who has written one of its rows since did so from a row that is not there any more.
//! - **Two that have the same row** cannot both play: the second waits for the first one's lock, comes too late, and ends.
//!
//! What is relied on: a server that lives says why it ends a session. A connection that is cut without the server's or our
//! being told of it for a while (a firewall that forgets it) is held for open on our side, as it is at COMMIT.
//!
//! Units enter before their first write is sent, so whoever is served by a new leader finds all that could have written under
//! the old one. Nothing is lost: dropping an [`Heir`], on any thread, is being over, and wakes who waits.

use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::id::NodeId;
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::unit::Touched;

/// A handle on the registry; clones are the same registry.
#[derive(Debug, Clone, Default)]
pub struct Heirs {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Who serves: all units that were open before are here, too late or over. `None`: nobody has been served yet.
    serves: Option<NodeId>,
    open: Vec<Open>,
    next: u64,
    /// Former leaders that ended without a word.
    silent: Vec<NodeId>,
    /// Rows of units that followers have and their leader may have lost.
    orphans: Vec<(NodeId, Touched)>,
    waits: Vec<Waker>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    /// Where its locks are.
    leader: NodeId,
    late: bool,
}

/// An open unit that writes; dropping it is its end.
#[derive(Debug)]
#[must_use = "whoever drops it has no open unit"]
pub struct Heir {
    of: Heirs,
    number: u64,
}

impl Heirs {
    /// A unit is about to write under this leader.
    pub fn enter(&self, leader: NodeId) -> Heir {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let late = state.serves.is_some_and(|serves| serves != leader);
        state.open.push(Open { number, leader, late });
        drop(state);
        Heir { of: self.clone(), number }
    }

    /// A leader is out. To be said before another can be seen to lead.
    pub fn fell(&self, leader: NodeId, silently: bool) {
        let mut state = self.state();
        state.silent.retain(|known| *known != leader);
        if silently {
            state.silent.push(leader);
        }
    }

    /// Followers have committed a unit whose leader may have lost it. To be said before the commit lock is given back.
    pub fn orphaned(&self, leader: NodeId, touched: Touched) {
        self.state().orphans.push((leader, touched));
    }

    /// Ready when nobody who may still come has anything to play at this leader. To be asked when no commit is under way any
    /// more that began under another one.
    pub fn poll_gathered(&self, leader: NodeId, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.serves == Some(leader) {
            return Poll::Ready(());
        }
        if state.open.iter().all(|open| open.late || open.leader == leader) {
            let waits = state.open_for(leader);
            drop(state);
            waits.into_iter().for_each(Waker::wake);
            return Poll::Ready(());
        }
        if !state.waits.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waits.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Those who have not played yet are waited for no longer. How many they were.
    pub fn give_up(&self, leader: NodeId) -> usize {
        let mut state = self.state();
        if state.serves == Some(leader) {
            return 0;
        }
        let late = state.open.iter().filter(|open| !open.late && open.leader != leader).count();
        let waits = state.open_for(leader);
        drop(state);
        waits.into_iter().for_each(Waker::wake);
        late
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open_for(&mut self, leader: NodeId) -> Vec<Waker> {
        self.serves = Some(leader);
        self.open.iter_mut().filter(|open| open.leader != leader).for_each(|open| open.late = true);
        self.silent.clear();
        self.orphans.clear();
        std::mem::take(&mut self.waits)
    }

    fn of(&mut self, number: u64) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| open.number == number)
    }
}

impl Heir {
    /// Why a unit that has touched these rows cannot be played at a new leader; `None`: it may be tried. To be asked when no
    /// commit is under way any more that began under another leader.
    pub fn hindrance(&self, touched: &Touched) -> Option<&'static str> {
        let mut state = self.of.state();
        let Some(Open { leader, late, .. }) = state.of(self.number).map(|open| &*open) else { return Some(LATE) };
        let (leader, late) = (*leader, *late);
        if late {
            return Some(LATE);
        }
        if !state.silent.contains(&leader) {
            return Some("its server did not fall silent, but let go of what its transactions had locked");
        }
        let orphaned = state.orphans.iter().any(|(of, rows)| *of == leader && rows.meets(touched));
        orphaned.then_some("another transaction, which its server had not committed yet, has the same rows")
    }

    /// The unit holds its locks at this leader. False: it comes too late, and must not go on.
    pub fn arrived(&self, leader: NodeId) -> bool {
        let mut state = self.of.state();
        let Some(open) = state.of(self.number).filter(|open| !open.late) else { return false };
        open.leader = leader;
        let waits = std::mem::take(&mut state.waits);
        drop(state);
        waits.into_iter().for_each(Waker::wake);
        true
    }
}

const LATE: &str = "it could not be brought over in time";

impl Drop for Heir {
    fn drop(&mut self) {
        let mut state = self.of.state();
        if let Some(at) = state.open.iter().position(|open| open.number == self.number) {
            state.open.swap_remove(at);
        }
        let waits = std::mem::take(&mut state.waits);
        drop(state);
        waits.into_iter().for_each(Waker::wake);
    }
}

#[cfg(all(test, not(lockstep_loom)))]
mod tests {
    use super::*;

    const OLD: NodeId = NodeId(0);
    const NEW: NodeId = NodeId(1);

    fn is_gathered(heirs: &Heirs, leader: NodeId) -> bool {
        heirs.poll_gathered(leader, &Context::from_waker(Waker::noop())).is_ready()
    }

    fn led_by_the_old_one() -> Heirs {
        let heirs = Heirs::default();
        assert!(is_gathered(&heirs, OLD));
        heirs
    }

    #[test]
    fn a_new_leader_serves_nobody_before_every_open_unit_has_played_or_is_over() {
        let heirs = led_by_the_old_one();
        let (plays, ends) = (heirs.enter(OLD), heirs.enter(OLD));
        heirs.fell(OLD, true);
        assert!(!is_gathered(&heirs, NEW));
        assert!(plays.arrived(NEW));
        assert!(!is_gathered(&heirs, NEW));
        drop(ends);
        assert!(is_gathered(&heirs, NEW));
    }

    #[test]
    fn who_comes_after_the_others_are_served_does_not_go_on() {
        let heirs = led_by_the_old_one();
        let early = heirs.enter(OLD);
        heirs.fell(OLD, true);
        assert_eq!(early.hindrance(&Touched::default()), None);
        assert_eq!(heirs.give_up(NEW), 1);
        assert!(is_gathered(&heirs, NEW));
        assert!(!early.arrived(NEW) && early.hindrance(&Touched::default()).is_some());
        // And who has not heard yet that another leads.
        let late = heirs.enter(OLD);
        assert!(is_gathered(&heirs, NEW) && !late.arrived(NEW));
    }

    #[test]
    fn a_leader_that_did_not_fall_silent_leaves_nothing() {
        let heirs = led_by_the_old_one();
        let heir = heirs.enter(OLD);
        assert!(heir.hindrance(&Touched::default()).is_some());
        heirs.fell(OLD, true);
        heirs.fell(OLD, false);
        assert!(heir.hindrance(&Touched::default()).is_some());
    }

    #[test]
    fn rows_of_a_unit_that_only_followers_have_are_not_played_over() {
        let heirs = led_by_the_old_one();
        let heir = heirs.enter(OLD);
        heirs.fell(OLD, true);
        let row = |value: &[u8]| Touched::row("t", ["id"], [value]);
        heirs.orphaned(OLD, row(b"1"));
        assert!(heir.hindrance(&row(b"1")).is_some());
        assert_eq!(heir.hindrance(&row(b"2")), None);
    }

    #[test]
    fn a_unit_that_has_played_plays_again_when_that_leader_dies_too() {
        let heirs = led_by_the_old_one();
        let (first, second) = (heirs.enter(OLD), heirs.enter(OLD));
        heirs.fell(OLD, true);
        assert!(first.arrived(NEW) && !is_gathered(&heirs, NEW));
        heirs.fell(NEW, true);
        let third = NodeId(2);
        assert!(first.hindrance(&Touched::default()).is_none() && second.hindrance(&Touched::default()).is_none());
        assert!(first.arrived(third) && !is_gathered(&heirs, third));
        assert!(second.arrived(third) && is_gathered(&heirs, third));
    }
}
