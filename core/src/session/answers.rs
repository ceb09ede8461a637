//! Answers to what the session has asked the shell for around a commit.
//!
//! A commit may be over before all that it has asked for is answered: it was cancelled, another leader took its unit over, a
//! node went out. Such an answer must not be taken for one to the next commit, which may ask the same node for the same. So
//! each commit has a number, which goes with what it asks for and comes back with the answer, and an answer can only be given
//! through [`Session::answers`].

use super::{Action, Session};
use crate::cluster::{Membership, Verdict};
use crate::id::NodeId;
use crate::unit::Commit;
use crate::unit::batch::BatchResult;
use crate::unit::commit::{Fate, ReserveFault};

/// Which commit of its session asks. What is asked for between two of them has the number of the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitNumber(u64);

/// Takes the answers to what the present commit has asked for.
pub struct Answers<'a>(&'a mut Session);

impl Session {
    /// `None`: that commit is over, and nobody waits for its answers.
    pub fn answers(&mut self, of: CommitNumber) -> Option<Answers<'_>> {
        (of == self.commit_number).then_some(Answers(self))
    }

    /// A commit is over, or taken back.
    pub(super) fn unlock(&mut self) {
        self.actions.push_back(Action::Unlock);
        self.commit_number.0 += 1;
    }
}

impl Answers<'_> {
    /// Followers have played the batch ahead, as far as they can.
    pub fn played(self) {
        self.0.ask_for_lock();
    }

    /// The commit lock is held; `membership` was read after it was taken.
    pub fn locked(self, membership: &Membership) {
        self.0.locked(membership);
    }

    pub fn reserved(self, node: NodeId) {
        self.0.machine(|machine| machine.reserved(node));
    }

    pub fn not_reserved(self, node: NodeId, fault: ReserveFault) {
        self.0.machine(|machine| machine.not_reserved(node, fault));
    }

    /// No commit in flight may have lost its leader connection unnoticed; `membership` was read after the look, for one that
    /// had lost it may have had the leader put out.
    pub fn clear(self, membership: &Membership) {
        self.0.membership_changed(membership);
        self.0.machine(Commit::clear);
    }

    pub fn answered(self, node: NodeId, result: BatchResult) {
        self.0.machine(|machine| machine.answered(node, result));
    }

    pub fn broken(self, node: NodeId, why: String) {
        self.0.machine(|machine| machine.broken(node, why));
    }

    pub fn stuck(self, node: NodeId, why: String) {
        self.0.machine(|machine| machine.stuck(node, why));
    }

    pub fn verdict(self, node: NodeId, verdict: Verdict) {
        if node == self.0.leader && self.0.lost.is_some() {
            return self.0.leader_verdict(verdict);
        }
        self.0.machine(|machine| machine.verdict(node, verdict));
    }

    pub fn told(self, node: NodeId, fate: Fate) {
        self.0.machine(|machine| machine.told(node, fate));
    }

    pub fn degraded(self, node: NodeId) {
        self.0.machine(|machine| machine.degraded(node));
    }
}
