//! Plans that the schema has overtaken.
//!
//! A statement that waits for DDL of another session runs, when that has committed, on a schema that it was not planned
//! for. Then nothing of its segment may have been told yet: it is undone, and run again from the client's own messages. If
//! something was told, or it stands in the client's block, its text is planned again before the commit; when the plan is
//! the same, all is well, for the locks that the statement holds keep its tables as they are.

use std::sync::Arc;

use bytes::BytesMut;

use super::client::OWN_NAME;
use super::commit::CommitVia;
use super::{AfterDrain, Block, Gate, Segment, Session, World};
use crate::fault::{Fault, SqlState};
use crate::limits;
use crate::reply::{Own, Source, To, Undo, What};
use crate::unit::Outcome;
use crate::wire::backend::Status;
use crate::wire::frontend::{self, Target};

impl Session {
    /// Whether what comes now comes from statements whose plans are of another schema, and nobody has seen any of it.
    pub(super) fn is_overtaken(&self) -> bool {
        self.is_of_another_schema() && self.is_unseen() && self.committing.is_none()
    }

    fn is_of_another_schema(&self) -> bool {
        self.segment.planned_in.is_some_and(|epoch| epoch != self.catalogs.epoch())
    }

    /// A refusal by what the schema was is none: the leader may have understood what was not known here.
    pub(super) fn by_the_present_schema(&self, fault: Box<Fault>) -> Box<Fault> {
        let refuses = fault.state == SqlState::FEATURE_NOT_SUPPORTED;
        if refuses && self.is_of_another_schema() { Box::new(overtaken()) } else { fault }
    }

    fn is_unseen(&self) -> bool {
        let segment = &self.segment;
        self.replay.is_kept() && self.told_block != Block::Explicit && !segment.told && !segment.failed
    }

    /// Whether the unit that is to be committed now has DDL that may come to something else on followers. Then its segment is
    /// run again, or the client is told to do so.
    pub(super) fn is_outdated(&mut self) -> bool {
        let schema = self.committing.as_ref().is_some_and(|committing| committing.schema);
        if !schema || self.lost.is_some() || !self.unit.is_outdated(&self.catalogs) {
            return false;
        }
        if !self.is_unseen() || !self.owed.is_empty() {
            self.conclude(Outcome::Aborted(outdated()));
            return true;
        }
        self.committing = None;
        self.unlock();
        self.run_again();
        true
    }

    /// Undoes the segment; its messages are handled again when the leader has answered.
    pub(super) fn run_again(&mut self) {
        let replay = self.replay.take().unwrap_or_default();
        let made = self.unnote_owed();
        let out = &mut self.leader_out;
        // For a COPY that has begun; anywhere else it is passed over.
        frontend::copy_fail(out, "lockstep: the schema was changed");
        frontend::parse(out, OWN_NAME, b"lockstep runs this again", &[]);
        frontend::sync(out);
        self.owed.clear();
        self.forget_captured();
        self.after_drain = None;
        self.forget_answers();
        self.owe(What::Own { purpose: Own::Again, error: None, tag: None }, 0);
        self.gate = Gate::Drain;
        self.again = Some(Again { replay, made });
    }

    /// The segment has been undone.
    pub(super) fn undone(&mut self) {
        if self.status != Status::Idle {
            return self.own_query(b"ROLLBACK", Own::Again);
        }
        let Some(Again { mut replay, made }) = self.again.take() else { return };
        for name in made {
            frontend::close(&mut self.leader_out, Target::Statement, &name);
            self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, 0);
        }
        self.end_unit();
        (self.block, self.told_block) = (Block::None, Block::None);
        self.segment = Segment::default();
        self.untold.clear();
        replay.extend_from_slice(&self.client_in);
        self.client_in = replay;
        self.gate = Gate::Open;
    }

    /// Takes back what was noted of messages that were not answered. Returns the names of statements that Parse may have
    /// made at the leader.
    pub(super) fn unnote_owed(&mut self) -> Vec<bytes::Bytes> {
        let mut made = Vec::new();
        for owed in std::mem::take(&mut self.owed).into_iter().rev() {
            let What::Ack { undo, .. } = owed.what else { continue };
            match undo {
                Undo::Forget(name) => {
                    self.statements.remove(&name);
                    made.push(name);
                }
                // Whether the leader still has it is not known.
                Undo::Restore(name, statement) => {
                    self.statements.insert(&name, statement);
                    self.undo(Undo::Outdated(name));
                }
                other => self.undo(other),
            }
        }
        made
    }

    /// A statement holds its tables' locks when it has run: what is known of them then is final.
    pub(super) fn check_source(&mut self, source: Source) {
        if source.planned_in == self.catalogs.epoch() {
            return;
        }
        if self.unit.overtaken.iter().any(|known| Arc::ptr_eq(&known.plan, &source.plan)) {
            return;
        }
        self.unit.overtaken.push(source);
        if self.unit.overtaken.len() > limits::OVERTAKEN_PLANS {
            self.unit.overtaken.clear();
            self.doom(overtaken());
        }
    }

    /// Plans overtaken statements again before the commit, then goes on with it.
    pub(super) fn check_overtaken(&mut self, via: CommitVia, world: &mut World<'_>) {
        while let Some(source) = self.unit.overtaken.last().cloned() {
            let Some(plans) = self.plan(&source.text, world, || AfterDrain::Overtaken(via.clone())) else { return };
            let same = Self::single(plans).is_some_and(|planned| planned.plan == source.plan);
            self.unit.overtaken.pop();
            if !same || self.unit.old_view {
                self.doom(overtaken());
                self.unit.overtaken.clear();
            }
        }
        self.begin_commit(via);
    }
}

/// A segment that is to be run again.
#[derive(Debug)]
pub(super) struct Again {
    replay: BytesMut,
    /// Statements that it may have made.
    made: Vec<bytes::Bytes>,
}

fn outdated() -> Fault {
    Fault::error(SqlState::SERIALIZATION_FAILURE, "the schema was changed while the transaction ran")
        .with_detail(
            "A command with IF EXISTS, IF NOT EXISTS, ON ALL or OWNED BY, or the other's ALTER DEFAULT PRIVILEGES, may not come \
             to the same on all servers.",
        )
        .with_hint("Run the transaction again.")
}

pub(super) fn overtaken() -> Fault {
    Fault::error(SqlState::SERIALIZATION_FAILURE, "the schema was changed while the statement ran")
        .with_hint("Run the transaction again.")
}
