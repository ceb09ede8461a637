//! What a command that failed halfway leaves on the leader: CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY an index
//! that is not valid. Followers were never given the command, so it is dropped.
//!
//! Which one it is tells a list of those that were there before, kept in a setting of the leader's session. Another
//! session may be making one at the same time: it holds its table's lock meanwhile, which is waited for, and then looked
//! again.

use super::Session;
use super::commit::CommitVia;
use crate::reply::Own;
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

/// Whether a command that fails may leave an index.
fn leaves_an_index(sql: &[u8]) -> bool {
    ["create ", "create\n", "create\t", "reindex"]
        .iter()
        .any(|start| sql.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start.as_bytes())))
}

impl Session {
    fn may_leave_an_index(&self) -> bool {
        match self.committing.as_ref().map(|committing| &committing.via) {
            Some(CommitVia::Utility(utility) | CommitVia::UtilityExtended(utility)) => leaves_an_index(&utility.sql),
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
}
