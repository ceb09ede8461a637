//! Statements that were prepared before the schema, the search path or the role changed: are they planned right?
//!
//! PostgreSQL analyses a prepared statement again when what it names may be something else, so its plan here is made
//! again, too. Where that is another, the leader's statement is prepared anew, with what is put behind the new plan.

use std::sync::Arc;

use bytes::Bytes;

use super::encoding::Encoding;
use super::role::Role;
use super::{AfterDrain, Session, World};
use crate::fault::{Fault, SqlState};
use crate::plan::{Action, Planned};
use crate::reply::{Moment, Statement, To, Undo, What};
use crate::wire::Frame;
use crate::wire::frontend::{self, Target};

impl Session {
    pub(super) fn moment(&self) -> Moment {
        Moment { epoch: self.catalogs.epoch(), renamings: self.renamings }
    }

    /// Names may mean something else from here on.
    pub(super) fn forget_names(&mut self) {
        self.search_path = None;
        self.renamings += 1;
        self.role = Role::Unknown;
        self.encoding = if self.segment.open { Encoding::Unknown } else { Encoding::Reported };
    }

    fn is_current(&self, moment: Moment) -> bool {
        moment == self.moment() && !self.unit.own_schema && !self.temporary
    }

    /// The statement with a plan of the present schema and names; `None`: `frame` is handled again later, or was refused.
    pub(super) fn current(
        &mut self,
        name: &Bytes,
        statement: Statement,
        frame: &Frame,
        world: &mut World<'_>,
    ) -> Option<Statement> {
        if self.in_failed_block() {
            return Some(statement);
        }
        // What was prepared by SQL is looked at by `renew_executed`.
        let by_protocol = self.statements.contains_key(name);
        let statement = match self.is_current(statement.moment) || !by_protocol {
            true => statement,
            false => self.renew(name, statement, world, || AfterDrain::Frame(frame.clone()))?,
        };
        if let Some(Planned { plan, .. }) = &statement.planned
            && let Action::Execute { name } = &plan.action
            && !self.renew_executed(name, world, || AfterDrain::Frame(frame.clone()))
        {
            return None;
        }
        Some(statement)
    }

    fn renew(
        &mut self,
        name: &Bytes,
        mut statement: Statement,
        world: &mut World<'_>,
        then: impl FnOnce() -> AfterDrain,
    ) -> Option<Statement> {
        let plans = self.plan(&statement.readable.clone(), world, then)?;
        let planned = Self::single(plans);
        let changed = planned.as_ref().map(|p| &p.plan) != statement.planned.as_ref().map(|p| &p.plan);
        statement.planned = planned;
        statement.moment = self.moment();
        if changed && !self.prepare_again(name, &statement) {
            return None;
        }
        if let Some(known) = self.statements.get_mut(name) {
            *known = statement.clone();
        }
        Some(statement)
    }

    fn prepare_again(&mut self, name: &Bytes, statement: &Statement) -> bool {
        if let Some(Planned { plan, .. }) = &statement.planned
            && let Action::Refuse(fault) = &plan.action
        {
            self.poison(fault.clone(), 0);
            return false;
        }
        let sql = self.leader_text(statement);
        frontend::close(&mut self.leader_out, Target::Statement, name);
        frontend::parse(&mut self.leader_out, name, &sql, &statement.types);
        self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, 0);
        self.owe(What::Ack { to: To::Nobody, undo: Undo::Forget(name.clone()) }, 0);
        true
    }

    /// Before EXECUTE in SQL. False: something is asked first, or the statement was refused.
    pub(super) fn renew_executed(
        &mut self,
        name: &str,
        world: &mut World<'_>,
        then: impl FnOnce() -> AfterDrain,
    ) -> bool {
        let Some(prepared) = self.prepared.get(name) else {
            let name = Bytes::copy_from_slice(name.as_bytes());
            let known = self.statements.get(&name).filter(|s| !self.is_current(s.moment)).cloned();
            return known.is_none_or(|statement| self.renew(&name, statement, world, then).is_some());
        };
        if self.is_current(prepared.moment) {
            return true;
        }
        let Some(plans) = self.plan(&prepared.sql.clone(), world, then) else { return false };
        let inner = Self::single(plans).and_then(|planned| match &planned.plan.action {
            Action::Prepare { inner, .. } => inner.clone(),
            _ => Some(planned.plan),
        });
        let moment = self.moment();
        if let Some(prepared) = self.prepared.get_mut(name) {
            prepared.moment = moment;
            prepared.instead = match inner {
                Some(plan) if plan == prepared.plan => None,
                Some(plan) if matches!(plan.action, Action::Refuse(_)) => Some(plan),
                // The text that the leader has prepared returns what the former plan needed.
                _ => Some(Arc::new(changed().into())),
            };
        }
        true
    }
}

fn changed() -> Fault {
    let why = "this statement is refused: what it names has changed since it was prepared";
    Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("DEALLOCATE it, and PREPARE it again.")
}
