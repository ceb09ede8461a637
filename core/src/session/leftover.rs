//! What a command that failed halfway leaves on the leader: CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY an index
//! that is not valid, DETACH PARTITION … CONCURRENTLY a partition of which the table knows only in part. Followers were
//! never given the command, so it is undone: the index is dropped, the partition attached as it was.
//!
//! Which index it is tells a list of those that were there before, kept in a setting of the leader's session. Another
//! session may be making one at the same time: it holds its table's lock meanwhile, which is waited for, and then looked
//! again. The partition is known by its name; only a superuser can attach it, and so the shell does it. Invariant: the
//! client is told of the failure when the leader is again as the others are, or is out.

use std::sync::Arc;

use super::commit::CommitVia;
use super::{Action, Session};
use crate::plan::{Partition, Utility};
use crate::reply::Own;
use crate::unit::Commit;
use crate::wire::notice::Fields;

const BEFORE: &str = "SELECT pg_catalog.set_config('lockstep.invalid_indexes', (SELECT pg_catalog.array_agg(indexrelid)::text \
    FROM pg_catalog.pg_index WHERE NOT indisvalid), false)";

const DROP: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 0; \
    SET LOCAL lock_timeout = 0; SET LOCAL search_path = pg_catalog; \
    DO LANGUAGE plpgsql $lockstep$ DECLARE found record; \
    known oid[] := coalesce(nullif(current_setting('lockstep.invalid_indexes'), ''), '{}')::oid[]; \
    BEGIN FOR found IN SELECT i.indexrelid AS index, i.indrelid AS owner FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
        WHERE NOT i.indisvalid AND i.indexrelid <> ALL (known) AND c.relkind IN ('r', 'm') AND pg_has_role(c.relowner, 'USAGE') \
    LOOP \
        EXECUTE 'LOCK TABLE ONLY ' || found.owner::regclass || ' IN SHARE UPDATE EXCLUSIVE MODE'; \
        IF EXISTS (SELECT 1 FROM pg_index WHERE indexrelid = found.index AND NOT indisvalid) \
            THEN EXECUTE 'DROP INDEX ' || found.index::regclass; END IF; \
    END LOOP; END $lockstep$; COMMIT";

/// Errors of a DETACH that was refused before it began: a name, a right, another one of the table that is under way.
const NOT_BEGUN: [&str; 2] = ["42", "55000"];

/// What the leader says of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// As it was before.
    Whole,
    /// It is no partition of the table, or not there at all.
    Gone,
}

/// Whether a command that fails may leave an index.
fn leaves_an_index(sql: &[u8]) -> bool {
    ["create ", "create\n", "create\t", "reindex"]
        .iter()
        .any(|start| sql.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start.as_bytes())))
}

impl Session {
    fn may_leave_an_index(&self) -> bool {
        match self.committing.as_ref().map(|committing| &committing.via) {
            Some(CommitVia::Utility(command) | CommitVia::UtilityExtended(command)) => leaves_an_index(&command.sql),
            _ => false,
        }
    }

    /// The leader is about to be given a command of its own.
    pub(super) fn note_leftovers(&mut self) {
        if self.may_leave_an_index() {
            self.own_query(BEFORE.as_bytes(), Own::Memory);
        }
    }

    /// Whether the command's failure is told later, when what it has left is gone.
    pub(super) fn drop_leftovers(&mut self, error: &Fields) -> bool {
        if !self.may_leave_an_index() || self.lost.is_some() {
            return false;
        }
        if let Some(committing) = &mut self.committing {
            committing.refusal = Some(error.clone());
        }
        self.own_query(DROP.as_bytes(), Own::Leftover);
        // For a transaction in which that has failed; else it is passed over with a warning.
        self.own_query(b"ROLLBACK", Own::Refused);
        true
    }

    /// It could not be dropped.
    pub(super) fn leftover_stays(&mut self, error: &Fields) {
        tracing::error!(error = error.message(), "an index that is not valid may be left on the leader alone");
        if let Some(fields) = self.committing.as_mut().and_then(|committing| committing.refusal.as_mut()) {
            fields.hint("An index that is not valid may be left on the preferred server alone: drop it there.");
        }
    }

    fn detached(&self) -> Option<Arc<Partition>> {
        match &self.committing.as_ref()?.via.utility()?.utility {
            Utility::Detaches(partition) => Some(partition.clone()),
            _ => None,
        }
    }

    /// Whether the command's failure is told later, when the partition is attached again.
    pub(super) fn undo_detach(&mut self, error: &Fields) -> bool {
        let begun = !NOT_BEGUN.iter().any(|start| error.state().starts_with(start.as_bytes()));
        let Some(partition) = self.detached().filter(|_| begun && self.lost.is_none()) else { return false };
        if let Some(committing) = &mut self.committing {
            committing.refusal = Some(error.clone());
        }
        self.actions.push_back(Action::Reattach(partition));
        true
    }

    /// The leader has said that it ends the session, which was waiting for its command. False: its commit machine has to
    /// see what that means.
    pub(super) fn ended_in_utility(&mut self) -> bool {
        let Some(committing) = &mut self.committing else { return false };
        let word = self.last_word.as_ref().and_then(|word| Fields::read(word.body()).ok());
        let Some(word) = word.filter(|_| committing.machine.as_ref().is_some_and(Commit::waits_for_leader)) else {
            return false;
        };
        match committing.via.utility().map(|command| &command.utility) {
            Some(Utility::Detaches(partition)) => {
                self.actions.push_back(Action::Reattach(partition.clone()));
                committing.refusal = Some(word);
            }
            Some(Utility::Upkeep) => self.machine(|machine| machine.leader_refused(word.message())),
            _ => return false,
        }
        true
    }

    /// What has become of the partition that was to be detached.
    pub fn reattached(&mut self, outcome: Result<Attachment, String>) {
        if self.detached().is_none() {
            return;
        }
        let Some(refusal) = self.committing.as_mut().and_then(|committing| committing.refusal.take()) else { return };
        match outcome {
            // One that has failed has not detached it; but one that was ended may have been over.
            Ok(Attachment::Gone) if self.lost.is_some() => {
                self.machine(|machine| {
                    machine.leader_differs("it has detached a partition before it was ended".into())
                });
            }
            Ok(_) => self.leader_answered_commit(Some(refusal), None),
            Err(why) => {
                if let Some(committing) = &mut self.committing {
                    committing.refusal = Some(refusal);
                }
                let why = format!("a partition was left half detached there, and cannot be attached again: {why}");
                self.machine(|machine| machine.leader_differs(why));
            }
        }
    }
}
