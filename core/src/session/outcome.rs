//! The end of a unit, on its way back: what the leader and the commit machine have answered, and what the client is told.

use bytes::Bytes;

use super::client::OWN_NAME;
use super::commit::CommitVia;
use super::{Action, AfterDrain, Block, Gate, Session};
use crate::fault::Fault;
use crate::journal::{Touched, Unknown};
use crate::reply::Own;
use crate::unit::{Order, Outcome};
use crate::wire::backend::{self, Status};
use crate::wire::frontend;
use crate::wire::notice::{self, Fields};

impl Session {
    /// A Query of ours has been answered.
    pub(super) fn own_done(&mut self, purpose: Own, error: Option<Fields>, tag: Option<Bytes>) {
        match (purpose, error) {
            (Own::Commit, Some(error)) if self.drop_leftovers(&error) || self.undo_detach(&error) => {}
            (Own::Leftover, Some(error)) => self.leftover_stays(&error),
            (Own::Refused, _) => {
                let refusal = self.committing.as_mut().and_then(|committing| committing.refusal.take());
                self.leader_answered_commit(refusal, None);
            }
            (Own::Commit, error) => self.leader_answered_commit(error, tag),
            (Own::Rollback, _) => self.rolled_back(),
            (Own::Again, _) => self.undone(),
            (Own::Play, error) => self.played(error.as_ref()),
            (Own::TakeLocks, error) => self.locks_taken(error.as_ref()),
            _ => {}
        }
    }

    pub(super) fn leader_answered_commit(&mut self, error: Option<Fields>, tag: Option<Bytes>) {
        let Some(committing) = &mut self.committing else { return };
        // A COMMIT of a failed transaction succeeds as a ROLLBACK.
        let refused = error.is_some() || tag.as_deref() == Some(b"ROLLBACK");
        committing.tag = tag;
        let why = error.as_ref().map_or_else(|| "it rolled back".to_owned(), Fields::message);
        committing.refusal = error;
        match (&mut committing.machine, refused) {
            (_, false) => self.leader_committed(),
            (None, true) => self.conclude(Outcome::LeaderRefused),
            (Some(_), true) => self.machine(|m| m.leader_refused(why)),
        }
    }

    pub(super) fn conclude(&mut self, outcome: Outcome) {
        let Some(committing) = &self.committing else { return };
        self.capture.astray = false;
        if let Some(machine) = &committing.machine {
            // A leader that has refused it has shown it to nobody.
            let ahead = committing.order == Order::LeaderFirst && machine.has_sent() && self.lost.is_some();
            if ahead && matches!(outcome, Outcome::Aborted(_)) {
                // Whoever was open there may have read what nobody else has: his rows are not to be played, whichever.
                let touched = Touched::Unknown(Unknown::Statement);
                self.actions.push_back(Action::Orphaned { leader: self.leader, touched });
            }
            let leader_out = matches!(outcome, Outcome::Committed { leader_out: true });
            if leader_out || self.lost.is_some() && matches!(outcome, Outcome::Committed { .. }) {
                let touched = self.as_journalled(&committing.batch);
                self.actions.push_back(Action::Orphaned { leader: self.leader, touched });
            }
            if committing.schema {
                committing.has_overtaken(&self.catalogs);
            }
            self.actions.push_back(Action::Release);
        }
        self.unlock();
        match outcome {
            Outcome::Committed { leader_out } => self.committed(leader_out),
            Outcome::LeaderRefused => self.refused(),
            Outcome::Aborted(fault) => self.aborted(fault),
        }
    }

    fn committed(&mut self, leader_out: bool) {
        let Some(committing) = self.committing.take() else { return };
        self.learn();
        self.end_unit_before(committing.via.chains());
        if committing.schema {
            self.search_path = None;
        }
        let (gone, chains) = (leader_out || self.lost.is_some(), committing.via.chains());
        if gone {
            // The leader's last word about it was of before the commit.
            self.status = if chains { Status::Failed } else { Status::Idle };
        }
        let tag = committing.tag.as_deref().map_or("COMMIT", |tag| std::str::from_utf8(tag).unwrap_or("COMMIT"));
        match committing.via {
            CommitVia::Segment => self.finish_segment(Status::Idle),
            CommitVia::Script { .. } | CommitVia::Utility(_) => {
                // Now, for it is not to be said of it that it was lost, should the next leader go as well.
                self.tell(|out| backend::command_complete(out, tag));
                if gone && self.script_is_over() {
                    self.finish_segment(self.status);
                } else {
                    self.after_script_commit();
                }
            }
            CommitVia::Extended { chain, .. } => {
                self.tell(|out| backend::command_complete(out, tag));
                self.block = if chain { Block::Explicit } else { Block::None };
                self.told_block = self.block;
                self.gate = Gate::Open;
            }
            CommitVia::Unsent { answers } => {
                self.tell_raw(&answers);
                self.tell(|out| backend::command_complete(out, tag));
                self.after_block();
                self.gate = Gate::Open;
            }
            CommitVia::UtilityExtended(_) => {
                self.tell(|out| backend::command_complete(out, tag));
                self.after_block();
                self.gate = Gate::Open;
            }
        }
        if gone {
            self.lead_elsewhere(chains);
        }
        self.end_if_gone();
    }

    fn after_block(&mut self) {
        self.block = if self.status == Status::Idle { Block::None } else { Block::Explicit };
        self.told_block = self.block;
    }

    fn after_script_commit(&mut self) {
        self.after_block();
        self.gate = Gate::Drain;
        self.after_drain = Some(AfterDrain::Script);
    }

    /// The leader's error is the client's; the unit is nowhere.
    fn refused(&mut self) {
        let Some(committing) = self.committing.take() else { return };
        if let Some(word) = self.last_word.take_if(|_| self.lost.is_some()) {
            // The session has ended with its command.
            self.untold.forget_done();
            self.tell_raw(&word.raw);
            return self.close();
        }
        self.tell_answers(&committing.via);
        match &committing.refusal {
            Some(fields) => {
                self.untold.forget_done();
                self.tell_error(fields);
            }
            None => {
                let tag =
                    committing.tag.as_deref().map_or("ROLLBACK", |t| std::str::from_utf8(t).unwrap_or("ROLLBACK"));
                self.tell(|out| backend::command_complete(out, tag));
            }
        }
        self.roll_back(committing.via);
    }

    fn aborted(&mut self, fault: Fault) {
        let Some(committing) = self.committing.take() else { return };
        self.untold.forget_done();
        self.tell_answers(&committing.via);
        self.tell(|out| notice::error(out, &fault));
        self.roll_back(committing.via);
    }

    fn tell_answers(&mut self, via: &CommitVia) {
        if let CommitVia::Unsent { answers } = via {
            self.tell_raw(answers);
        }
    }

    /// Brings the leader out of the transaction, then ends or goes on with the segment.
    fn roll_back(&mut self, via: CommitVia) {
        self.segment.failed = true;
        self.segment.synced = !via.is_extended();
        if self.lost.is_some() || self.status == Status::Idle && !self.segment.open {
            self.rolled_back();
        } else if self.block == Block::Implicit {
            // An error, and the Sync is a ROLLBACK.
            frontend::parse(&mut self.leader_out, OWN_NAME, b"lockstep gives this transaction up", &[]);
            self.own_sync(Own::Rollback);
        } else {
            self.sync_ours();
            self.own_query(b"ROLLBACK", Own::Rollback);
        }
    }

    fn rolled_back(&mut self) {
        self.end_unit();
        self.block = Block::None;
        self.told_block = Block::None;
        if self.lost.is_some() {
            self.status = Status::Idle;
        }
        if self.segment.synced {
            self.finish_segment(Status::Idle);
        } else {
            self.gate = Gate::Open;
        }
        if self.lost.is_some() {
            self.lead_again();
        }
        self.end_if_gone();
    }

    fn end_if_gone(&mut self) {
        if self.client_gone && self.gate != Gate::Closed {
            self.close();
        }
    }
}
