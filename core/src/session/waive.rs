//! Statements that cannot be replicated exactly and are allowed (`[replication] unsafe`).
//!
//! Nobody knows what they do. So they run in a block, where the leader lets them end no transaction; the schema is read
//! anew behind them, by this session at once and by the others after the commit, which is alone; and each is counted.

use super::{Action, Session};
use crate::catalog::SchemaEpoch;
use crate::fault::{Fault, SqlState};
use crate::plan::Plan;
use crate::reply::Done;
use crate::wire::notice;

impl Session {
    /// A statement is about to be sent; it may be one of them.
    pub(super) fn waive(&mut self, plan: &Plan, planned_in: SchemaEpoch) {
        if plan.waived.is_none() {
            return;
        }
        self.wrap();
        self.writes(planned_in);
        self.unit.waived = true;
    }

    /// One has run. It is counted also if its transaction is rolled back: what it did elsewhere is not.
    pub(super) fn waived(&mut self) {
        self.unit.own_schema = true;
        self.own_catalog = None;
        self.actions.push_back(Action::Waived);
    }

    /// Before the client is told that it is done.
    pub(super) fn warn_of(&mut self, done: &Done) {
        let Some(waived) = &done.waived else { return };
        tracing::debug!(reason = %waived.reason, "a statement that is not exact has run");
        if waived.warns {
            let warning = Fault::error(SqlState::WARNING, waived.text());
            self.tell(|out| notice::warning(out, &warning));
        }
    }
}
