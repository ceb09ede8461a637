//! Open units that a new leader is to inherit: who has still to play his log there, and whether he may.
//!
//! A unit's effects are absolute rows, and right for as long as nobody else has changed those rows. While its leader
//! lives the leader's locks see to that; when it dies they are gone. So nobody is served by a new leader before every
//! unit that was open under another has played its log there, and so holds its locks again, or is over:
//! [`Heirs::poll_gathered`]. Who comes too late ([`Heirs::give_up`]) may not go on, whatever it has played:
//! [`Heir::arrived`] says so.
//!
//! # Why that is enough
//!
//! Let A's unit, open under the leader O, be played at its successor N. That is wrong only if B has changed a row of
//! A's since A did, and A does not know. B's change came
//!
//! 1. *by N, for B's client.* Units enter before their first write is sent, so A was here when B asked whether it may
//!    be served: A had its locks at N by then, or was over, or late.
//! 2. *by N, out of B's own log.* Then one of the two waits for the other's lock there, which is not let go before the
//!    barrier opens: it comes too late, and ends.
//! 3. *by a commit under O.* B had the row's lock at O after A, and A had not ended: O has let A's lock go while it
//!    lived.
//!    - It has ended A's session. It says so before it lets the locks go, to A, who takes all that O has said before it
//!      plays ([`crate::session::Session::has_heir`]), and to the standing connection where all sessions are ended
//!      ([`Heirs::fell`]). One that is killed, cut off or stopped says nothing, and lets nothing go.
//!    - We have closed A's connection. That is when O is out, and from then on nobody enters a commit under O: who
//!      leads is read when the commit lock is held.
//!    - A's connection was reset on its way. Then A's rows are noted ([`Heir::broke`]), and who commits one of them
//!      under O, before O is out, undoes A ([`Heirs::commits`]).
//! 4. *by a commit under O that followers have and O has not.* O may have let B's lock go, and A may have built on the
//!    row without B's change: B's rows are noted before its commit is over, and who has one of them ends
//!    ([`Heirs::orphaned`]).
//!
//! And it is wrong if A has built on what B has committed at O ahead of the followers (SERIALIZABLE), who never got it
//! because O is out: A may have read it anywhere. So that is noted as any row at all, and everybody who was open under O
//! ends.
//!
//! So it does not matter whether O is dead or only cut off. Its backends may hold their locks, answer those who have
//! not heard yet that it is out, and execute a COMMIT that was sent to it: such a unit is on all followers (they commit
//! first), and O comes back by recovery only. Nor does it matter when a session hears of it: it is waited for, or late.
//! Commits that were under way are over before anybody asks N for a connection; one that has sent nothing to any
//! follower is open again.
//!
//! When N dies in the middle of that, its successor is one for whom nobody is there yet: who had arrived at N comes
//! again, for the log is kept until the unit is over, and locks at N were as good as those at O. Who was late stays
//! late.
//!
//! What is relied on: a server says why it ends a session before it lets the locks go, and of a connection that was
//! reset we hear before another has taken its locks, changed its rows and begun to commit. (See [`crate::inflight`].)
//!
//! What a unit has locked without changing it is not known here: while its connection is broken any commit under its leader
//! undoes it, and any orphan ends it. That its locks at N are on what it had locked at O, is for [`crate::unit::diary`].
//!
//! A session with advisory locks of its own is an heir too, in a unit or not, as long as it has one
//! (`crate::session`): it may rely on any row, so any orphan ends it, and any commit while its connection is broken undoes
//! it. That is the above with the lock for the row: B has got the lock since A had it, and A does not know. By N's grace it
//! has not (1), and out of its own log or its own session it has not, for A asks N for its locks without waiting, and who
//! is the second of the two ends (2). Under O, A's was let go while O lived: A has heard so, or its connection was reset,
//! and B's taking of any such lock undoes it, too, before B is told (3).
//!
//! Nothing is lost: dropping an [`Heir`], on any thread, is being over, and wakes who waits. Every interleaving of a few
//! threads is in `model`, and `bug` holds the faults that the models must find. That no change is lost so is shown by the
//! simulator.

mod bug;

#[cfg(all(test, lockstep_loom))]
mod model;

use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::id::NodeId;
use crate::journal::Touched;
use crate::sync::{Arc, Mutex, MutexGuard};
use bug::{Bug, planted};

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
    /// Rows of units that followers have and their leader may have lost, or the other way round.
    orphans: Vec<(NodeId, Touched)>,
    waits: Vec<Waker>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    /// Where its locks are.
    leader: NodeId,
    late: bool,
    /// What it has touched, once its connection has broken and what is with its leader is not known.
    broken: Option<Touched>,
    /// Another has had one of its rows since.
    undone: bool,
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
        let late = state.serves.is_some_and(|serves| serves != leader) && !planted(Bug::EntersInTime);
        state.open.push(Open { number, leader, late, broken: None, undone: false });
        drop(state);
        Heir { of: self.clone(), number }
    }

    /// A leader is out. To be said before another can be seen to lead.
    pub fn fell(&self, leader: NodeId, silently: bool) {
        let mut state = self.state();
        // Should it ever lead again, everybody gathers anew.
        state.serves.take_if(|serves| *serves == leader);
        state.silent.retain(|known| *known != leader);
        if silently {
            state.silent.push(leader);
        }
    }

    /// Followers have committed a unit whose leader may have lost it, or it has committed one that they will not. To be said before the commit lock is given back.
    pub fn orphaned(&self, leader: NodeId, touched: Touched) {
        self.state().orphans.push((leader, touched));
    }

    /// A unit commits under this leader, and so has the locks of all that it has touched. To be said when the commit
    /// lock is held, before anything is sent. Or a session has got a lock of its own, before its client is told.
    pub fn commits(&self, leader: NodeId, touched: impl FnOnce() -> Touched) {
        let mut state = self.state();
        let mut broken: Vec<&mut Open> =
            state.open.iter_mut().filter(|open| open.leader == leader && open.broken.is_some()).collect();
        if broken.is_empty() {
            return;
        }
        let touched = touched();
        for open in &mut broken {
            open.undone |= open.broken.as_ref().is_some_and(|rows| rows.may_meet(&touched));
        }
    }

    /// Ready when nobody who may still come has anything to play at this leader. To be asked when no commit is under
    /// way any more that began under another one.
    pub fn poll_gathered(&self, leader: NodeId, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.serves == Some(leader) {
            return Poll::Ready(());
        }
        if state.is_gathered(leader) {
            let waits = state.open_for(leader);
            drop(state);
            waits.into_iter().for_each(Waker::wake);
            return Poll::Ready(());
        }
        if planted(Bug::LostWakeup) {
            drop(state);
            state = self.state();
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
        let mut waits = state.open_for(leader);
        if planted(Bug::GivenUpUnheard) {
            waits.clear();
        }
        drop(state);
        waits.into_iter().for_each(Waker::wake);
        late
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_gathered(&self, leader: NodeId) -> bool {
        let mut open = self.open.iter();
        if planted(Bug::FirstIsEnough) {
            return self.open.is_empty() || open.any(|open| open.leader == leader);
        }
        open.all(|open| open.late || open.leader == leader)
    }

    fn open_for(&mut self, leader: NodeId) -> Vec<Waker> {
        self.serves = Some(leader);
        let late = !planted(Bug::LateUnmarked);
        self.open.iter_mut().filter(|open| open.leader != leader).for_each(|open| open.late = late);
        // One whose end has been said still serves who comes, until everybody sees another lead. Its heirs are yet to go.
        if !self.silent.contains(&leader) || planted(Bug::LastMomentsForgotten) {
            self.silent.clear();
            self.orphans.clear();
        }
        std::mem::take(&mut self.waits)
    }

    fn of(&mut self, number: u64) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| open.number == number)
    }
}

impl Heir {
    /// Its connection has broken: until its leader is known to be out, others may get what it had locked.
    pub fn broke(&self, touched: Touched) {
        if let Some(open) = self.of.state().of(self.number) {
            open.broken = Some(touched);
        }
    }

    /// Why a unit that has touched these rows cannot be played at a new leader; `None`: it may be tried. To be asked
    /// when no commit is under way any more that began under another leader.
    pub fn hindrance(&self, next: NodeId, touched: &Touched) -> Option<&'static str> {
        let mut state = self.of.state();
        let Some(Open { leader, late, undone, .. }) = state.of(self.number) else { return Some(LATE) };
        let (leader, late, undone) = (*leader, *late, *undone);
        if late {
            return Some(LATE);
        }
        if undone {
            return Some("another transaction has changed the same rows since its connection broke");
        }
        if leader == next || !state.silent.contains(&leader) {
            return Some("its server did not fall silent, but let go of what the transaction had locked");
        }
        let orphaned = state.orphans.iter().any(|(of, rows)| *of == leader && rows.may_meet(touched));
        orphaned.then_some("another transaction, which its server had not committed yet, has the same rows")
    }

    /// The unit holds its locks at this leader. False: it comes too late, and must not go on.
    pub fn arrived(&self, leader: NodeId) -> bool {
        let mut state = self.of.state();
        if state.of(self.number).is_none_or(|open| open.late) {
            return false;
        }
        if planted(Bug::TornArrival) {
            drop(state);
            state = self.of.state();
        }
        state.of(self.number).into_iter().for_each(|open| (open.leader, open.broken) = (leader, None));
        let mut waits = std::mem::take(&mut state.waits);
        if planted(Bug::ArrivalUnheard) {
            waits.clear();
        }
        drop(state);
        waits.into_iter().for_each(Waker::wake);
        true
    }
}

const LATE: &str = "it could not be brought over in time";

impl Drop for Heir {
    fn drop(&mut self) {
        let mut state = self.of.state();
        let at = state.open.iter().position(|open| open.number == self.number);
        if let Some(at) = at.filter(|_| !planted(Bug::GhostHeir)) {
            state.open.swap_remove(at);
        }
        let mut waits = std::mem::take(&mut state.waits);
        if planted(Bug::VanishedUnheard) {
            waits.clear();
        }
        drop(state);
        waits.into_iter().for_each(Waker::wake);
    }
}

#[cfg(all(test, not(lockstep_loom)))]
mod tests {
    use super::*;
    use crate::effect::{Change, Finder, FoundBy};
    use crate::journal::Touch;
    use crate::wire::frontend::Format;

    const OLD: NodeId = NodeId(0);
    const NEW: NodeId = NodeId(1);

    fn is_gathered(heirs: &Heirs, leader: NodeId) -> bool {
        heirs.poll_gathered(leader, &Context::from_waker(Waker::noop())).is_ready()
    }

    fn row(id: u8) -> Touched {
        let table = "t".to_owned();
        let (by, change) = (FoundBy::Key("x.id = $1".into()), Change::Updated(vec!["n".into()]));
        let finder = Finder { table, by, parameters: vec![(0, Format::Binary)], width: 1, change };
        Touched::Rows(vec![Touch::ByKey { finder: finder.into(), keys: [0, 0, 0, 1, id][..].into() }])
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
        assert_eq!(early.hindrance(NEW, &row(1)), None);
        assert_eq!(heirs.give_up(NEW), 1);
        assert!(is_gathered(&heirs, NEW));
        assert!(!early.arrived(NEW) && early.hindrance(NEW, &row(1)).is_some());
        // And who has not heard yet that another leads.
        let late = heirs.enter(OLD);
        assert!(is_gathered(&heirs, NEW) && !late.arrived(NEW));
    }

    #[test]
    fn a_leader_that_did_not_fall_silent_leaves_nothing() {
        let heirs = led_by_the_old_one();
        let heir = heirs.enter(OLD);
        assert!(heir.hindrance(NEW, &row(1)).is_some());
        heirs.fell(OLD, true);
        heirs.fell(OLD, false);
        assert!(heir.hindrance(NEW, &row(1)).is_some());
    }

    #[test]
    fn who_comes_to_a_leader_whose_end_has_just_been_said_takes_nothing_from_its_heirs() {
        let heirs = led_by_the_old_one();
        let (heir, orphan) = (heirs.enter(OLD), heirs.enter(OLD));
        heirs.fell(OLD, true);
        heirs.orphaned(OLD, row(1));
        assert!(is_gathered(&heirs, OLD));
        assert_eq!(heir.hindrance(NEW, &row(2)), None);
        assert!(orphan.hindrance(NEW, &row(1)).is_some());
        assert!(!is_gathered(&heirs, NEW) && heir.arrived(NEW));
        drop(orphan);
        assert!(is_gathered(&heirs, NEW) && !heirs.enter(OLD).arrived(NEW));
    }

    #[test]
    fn rows_of_a_unit_that_only_followers_have_are_not_played_over() {
        let heirs = led_by_the_old_one();
        let heir = heirs.enter(OLD);
        heirs.fell(OLD, true);
        heirs.orphaned(OLD, row(1));
        assert!(heir.hindrance(NEW, &row(1)).is_some());
        assert_eq!(heir.hindrance(NEW, &row(2)), None);
    }

    #[test]
    fn a_unit_that_lost_its_connection_to_a_leader_that_lives_does_not_go_on_there() {
        let heirs = led_by_the_old_one();
        let heir = heirs.enter(OLD);
        heirs.fell(OLD, true);
        assert!(heir.arrived(NEW));
        assert!(heir.hindrance(NEW, &row(1)).is_some());
    }

    #[test]
    fn who_leads_again_gathers_again() {
        let heirs = led_by_the_old_one();
        heirs.fell(OLD, true);
        let heir = heirs.enter(NEW);
        assert!(!is_gathered(&heirs, OLD));
        drop(heir);
        assert!(is_gathered(&heirs, OLD));
    }

    #[test]
    fn a_unit_that_has_played_plays_again_when_that_leader_dies_too() {
        let heirs = led_by_the_old_one();
        let (first, second) = (heirs.enter(OLD), heirs.enter(OLD));
        heirs.fell(OLD, true);
        assert!(first.arrived(NEW) && !is_gathered(&heirs, NEW));
        heirs.fell(NEW, true);
        let third = NodeId(2);
        assert!(first.hindrance(third, &row(1)).is_none() && second.hindrance(third, &row(2)).is_none());
        assert!(first.arrived(third) && !is_gathered(&heirs, third));
        assert!(second.arrived(third) && is_gathered(&heirs, third));
    }
}
