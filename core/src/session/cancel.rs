//! A CancelRequest when the leader has nothing to cancel: what the client waits for has not been begun, for clients are held
//! or there is no leader, or it cannot be planned yet, or its commit waits for the commit lock.
//!
//! What has not been begun is the first segment in `client_in`, and is taken out of there. What cannot be planned waits in
//! [`AfterDrain`] for what is asked about the schema, and as long as another session's definition is being committed that is
//! asked again and again.

use bytes::Buf;

use super::takeover::GoesOn;
use super::{AfterDrain, Block, Gate, Segment, Session};
use crate::fault::{Fault, SqlState};
use crate::limits;
use crate::unit::Outcome;
use crate::wire::backend::{self, Status};
use crate::wire::{frame, frontend, notice};

impl Session {
    /// Gives up what waits here. False: nothing does, and the leader may have something to cancel.
    pub fn cancel_waiting(&mut self) -> bool {
        if self.waits_for_lock() {
            self.conclude(Outcome::Aborted(cancelled()));
            return true;
        }
        match self.gate {
            Gate::Open if self.is_held() => self.give_up_unbegun(),
            Gate::Leaderless if !self.segment.begun => self.give_up_unbegun(),
            Gate::Leaderless => match &mut self.lost {
                // What becomes of the segment is not known yet.
                Some(lost) => lost.cancelled = true,
                None => return false,
            },
            Gate::Capturing => {
                self.segment.cancelled = true;
                self.gate = Gate::Drain;
            }
            Gate::Drain => {
                // The leader may be at what came before it, or have to wait for an answer to us.
                self.segment.cancelled = self.after_drain.as_ref().is_some_and(AfterDrain::is_unsent);
                return false;
            }
            _ => return false,
        }
        true
    }

    /// What was to be done next has been cancelled: to the leader it is a statement that has failed.
    pub(super) fn give_up_unsent(&mut self, then: AfterDrain) {
        match then {
            AfterDrain::Overtaken(via) => {
                self.doom(cancelled());
                self.unit.overtaken.clear();
                self.begin_commit(via);
            }
            AfterDrain::Frame(frame) | AfterDrain::Pipeline(frame) => {
                self.gate = Gate::Open;
                self.poison(cancelled(), 0);
                if matches!(frame.tag, frontend::QUERY | frontend::FUNCTION_CALL) {
                    self.segment_over();
                }
            }
            AfterDrain::Script | AfterDrain::Image | AfterDrain::End => {
                self.poison(cancelled(), 0);
                self.await_answers();
            }
        }
    }

    /// Nothing of its commit has been sent to anybody. Not so where the leader has committed, and the lock is waited for to
    /// put out who lacks what it has.
    fn waits_for_lock(&self) -> bool {
        let asked = self.committing.as_ref().is_some_and(|committing| committing.machine.is_none());
        asked && !self.capture.astray && self.owed.is_empty() && self.gate == Gate::Commit
    }

    /// The segment is to be run again on the next leader: not if it was cancelled meanwhile.
    pub(super) fn heed_cancel(&mut self) {
        if self.lost.as_mut().is_some_and(|lost| std::mem::take(&mut lost.cancelled)) {
            self.give_up_unbegun();
        }
    }

    /// Nothing is given up of which only a part has come: it may be no statement.
    fn give_up_unbegun(&mut self) {
        let Ok(Some((tag, size))) = frame::peek(&self.client_in, limits::MESSAGE) else { return };
        if self.client_in.len() < size || matches!(tag, frontend::SYNC | frontend::FLUSH | frontend::TERMINATE) {
            return;
        }
        self.tell(|out| notice::error(out, &cancelled()));
        self.fail_block();
        if matches!(tag, frontend::QUERY | frontend::FUNCTION_CALL) {
            self.client_in.advance(size);
            return self.given_up();
        }
        while let Ok(Some((tag, size))) = frame::peek(&self.client_in, limits::MESSAGE)
            && self.client_in.len() >= size
        {
            self.client_in.advance(size);
            if tag == frontend::SYNC {
                return self.given_up();
            }
        }
        // What comes of it is passed over up to its Sync, as after any error.
        (self.segment.begun, self.segment.failed) = (true, true);
    }

    fn given_up(&mut self) {
        let status = if self.block == Block::None { Status::Idle } else { Status::Failed };
        self.tell(|out| backend::ready_for_query(out, status));
        self.segment = Segment::default();
    }

    /// The statement was one of a transaction, which has failed by that; a savepoint may be gone back to.
    fn fail_block(&mut self) {
        if let Some(how) = self.lost.as_mut().and_then(|lost| lost.goes_on.as_mut()) {
            *how = GoesOn::Failed;
        }
    }
}

fn cancelled() -> Fault {
    Fault::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}
