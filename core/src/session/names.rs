//! Prepared statements by name: of Parse and of SQL's PREPARE, which share one namespace.
//!
//! At the leader a statement that Parse has made is with our columns behind its RETURNING. One that PREPARE has made is as
//! the client wrote it, for anybody may look at its text; when it writes, the like of it with our columns is made for each
//! use, under a name of ours, and closed again.

use std::sync::Arc;

use bytes::Bytes;

use super::encoding::Encoding;
use super::role::Role;
use super::simple::with_append;
use super::{AfterDrain, Session, World};
use crate::catalog::SchemaEpoch;
use crate::fault::{Fault, SqlState};
use crate::plan::{Action, ClientColumns, Plan, Planned};
use crate::reply::{Execution, Maker, Note, Own, Source, Statement, To, Undo, What};
use crate::sql::lex;
use crate::wire::frontend::{self, Target};

/// The name of what EXECUTE runs in place of a write that PREPARE has made.
pub(super) const OWN_PREPARED: &str = "lockstep execute";

/// No statement is planned in it: that of which this is said is made again at the leader before its next use.
const DOUBTFUL: SchemaEpoch = SchemaEpoch(0);

/// What a plan comes to when what EXECUTE names is known.
#[derive(Debug, Clone)]
pub(super) struct Meaning {
    pub plan: Arc<Plan>,
    /// What the plan was made of, if EXECUTE has named it.
    pub named: Option<Source>,
    /// The write that PREPARE has made, to be run under our own name.
    pub prepared: Option<Arc<Statement>>,
}

impl Statement {
    /// What it does when it is bound or named by EXECUTE.
    pub(super) fn plan(&self) -> Option<&Arc<Plan>> {
        let plan = &self.planned.as_ref()?.plan;
        match (&plan.action, self.maker) {
            (Action::Prepare { inner, .. }, Maker::Sql) => Some(inner),
            _ => Some(plan),
        }
    }

    /// What its plan was made of; `otherwise` is the plan of a text that is no statement.
    pub(super) fn source(&self, otherwise: &Arc<Plan>) -> Source {
        let plan = self.planned.as_ref().map_or(otherwise, |planned| &planned.plan).clone();
        Source { text: self.readable.clone(), plan, planned_in: self.epoch }
    }

    /// Whether the leader's statement of this name lacks our columns.
    pub(super) fn is_bare_write(&self) -> bool {
        self.maker == Maker::Sql && self.plan().is_some_and(|plan| matches!(plan.action, Action::Write(_)))
    }

    fn client_columns(&self) -> Option<ClientColumns> {
        match &self.plan()?.action {
            Action::Write(write) => Some(write.client_columns),
            _ => None,
        }
    }
}

impl Session {
    /// What a statement means; `None`: something is asked first, or it has been refused.
    pub(super) fn meaning(
        &mut self,
        plan: &Arc<Plan>,
        world: &mut World<'_>,
        then: impl Fn() -> AfterDrain,
    ) -> Option<Meaning> {
        let Action::Execute { name } = &plan.action else {
            return Some(Meaning { plan: plan.clone(), named: None, prepared: None });
        };
        if self.in_failed_block() {
            return Some(Meaning { plan: Arc::new(Action::Leader.into()), named: None, prepared: None });
        }
        let statement = self.known(name.as_bytes(), world, then)?;
        let plan = statement.plan().cloned().unwrap_or_else(|| Arc::new(Action::Leader.into()));
        let named = Some(statement.source(&plan));
        Some(Meaning { plan, named, prepared: Some(statement).filter(|statement| statement.is_bare_write()) })
    }

    /// The statement of this name, with a plan of the present schema. One that is not known here is never passed on: it
    /// could be a write.
    pub(super) fn known(
        &mut self,
        name: &[u8],
        world: &mut World<'_>,
        then: impl Fn() -> AfterDrain,
    ) -> Option<Arc<Statement>> {
        match self.statements.get(name).cloned() {
            Some(statement) => self.current(name, statement, world, then),
            None => {
                self.poison(unknown(name), 0);
                None
            }
        }
    }

    /// If the schema is another since it was planned, or names may mean something else, it is planned again, and the leader's statement is made again.
    fn current(
        &mut self,
        name: &[u8],
        statement: Arc<Statement>,
        world: &mut World<'_>,
        then: impl Fn() -> AfterDrain,
    ) -> Option<Arc<Statement>> {
        self.unit.began_in.get_or_insert(self.catalogs.epoch());
        let as_then = statement.epoch == self.catalogs.epoch() && statement.renamings == self.renamings;
        let settled = as_then && !self.unit.own_schema && !self.temporary;
        if settled || self.in_failed_block() {
            return Some(statement);
        }
        let plans = self.plan(&statement.readable.clone(), world, then)?;
        let (planned, epoch) = (Self::single(plans), self.planned_in);
        let now = Statement { planned, epoch, renamings: self.renamings, ..Statement::clone(&statement) };
        let changed = now.planned.as_ref().map(|p| &p.plan) != statement.planned.as_ref().map(|p| &p.plan);
        let doubtful = statement.epoch == DOUBTFUL;
        if (changed || doubtful) && !self.prepare_again(name, &now, statement.client_columns(), doubtful) {
            return None;
        }
        let now = Arc::new(now);
        self.statements.insert(name, now.clone());
        Some(now)
    }

    /// Names may mean something else from here on.
    pub(super) fn forget_names(&mut self) {
        self.search_path = None;
        self.renamings += 1;
        self.role = Role::Unknown;
        self.encoding = if self.segment.open { Encoding::Unknown } else { Encoding::Reported };
    }

    /// What a statement that has failed did with what is prepared, by text that it ran, has stayed: before their next use
    /// all are made again.
    pub(super) fn doubt_prepared(&mut self) {
        self.statements.values_mut().for_each(|statement| Arc::make_mut(statement).epoch = DOUBTFUL);
    }

    fn prepare_again(
        &mut self,
        name: &[u8],
        statement: &Statement,
        columns: Option<ClientColumns>,
        doubtful: bool,
    ) -> bool {
        if let Some(Action::Refuse(fault)) = statement.plan().map(|plan| &plan.action) {
            self.poison(fault.clone(), 0);
            return false;
        }
        if columns.is_some_and(|before| statement.client_columns().is_some_and(|now| now != before)) {
            let why = "cached plan must not change result type";
            self.poison(Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why), 0);
            return false;
        }
        if statement.maker == Maker::Sql {
            if doubtful {
                frontend::close(&mut self.leader_out, Target::Statement, name);
                let undo = Undo::Outdated(Bytes::copy_from_slice(name));
                self.owe(What::Ack { to: To::Nobody, undo }, 0);
                self.run_own(&statement.sql, &[], Execution::Own(Own::Prepare));
            }
            return true;
        }
        let sql = self.leader_text(statement);
        frontend::close(&mut self.leader_out, Target::Statement, name);
        frontend::parse(&mut self.leader_out, name, &sql, &statement.types);
        for _ in 0..2 {
            let undo = Undo::Outdated(Bytes::copy_from_slice(name));
            self.owe(What::Ack { to: To::Nobody, undo }, 0);
        }
        true
    }

    /// What the leader is sent for a statement.
    pub(super) fn leader_text(&self, statement: &Statement) -> Bytes {
        let Some(Planned { span, plan }) = &statement.planned else { return statement.sql.clone() };
        match &plan.action {
            Action::Write(write) => {
                let (text, readable) = (statement.sql.slice(..span.end), &statement.readable[..span.end]);
                with_append(&self.spelled(&text, readable, plan.marks), &write.append)
            }
            Action::CopyRows(copy) => {
                let texts = copy.texts(&statement.sql[span.clone()], &statement.readable[span.clone()]);
                texts.map_or(statement.sql.clone(), |texts| texts.copy)
            }
            Action::Image(image) => image.sent(&statement.sql.slice(span.clone())),
            Action::ShowPoolNodes => self.pool_nodes.clone().into_bytes().into(),
            _ => self.spelled(&statement.sql, &statement.readable, plan.marks),
        }
    }

    /// PREPARE as it will be known when it has succeeded.
    pub(super) fn prepared(&self, text: &[u8], planned_in: SchemaEpoch, plan: &Arc<Plan>) -> Arc<Statement> {
        let sql = Bytes::copy_from_slice(text);
        Arc::new(Statement {
            readable: self.readable(&sql),
            planned: Some(Planned { span: 0..sql.len(), plan: plan.clone() }),
            sql,
            types: Vec::new(),
            epoch: planned_in,
            renamings: self.renamings,
            maker: Maker::Sql,
        })
    }

    /// Makes the like of a write that PREPARE has made, with our columns.
    pub(super) fn prepare_own(&mut self, statement: &Statement) {
        let Some(Action::Write(write)) = statement.plan().map(|plan| &plan.action) else { return };
        let text = with_append(&renamed(&statement.sql, &statement.readable), &write.append);
        self.close_own();
        self.run_own(&text, &[], Execution::Own(Own::Prepare));
    }

    /// Closes it: portals and executions of it do not need it any more.
    pub(super) fn close_own(&mut self) {
        frontend::close(&mut self.leader_out, Target::Statement, OWN_PREPARED.as_bytes());
        self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, 0);
    }

    pub(super) fn note_names(&mut self, note: &Note) {
        match note {
            Note::Prepared { name, statement } => {
                self.name(name, statement.clone());
            }
            Note::Deallocated { name: Some(name) } => {
                self.statements.remove(name.as_bytes());
            }
            Note::Deallocated { name: None } => self.statements.clear(),
            _ => {}
        }
    }

    /// Takes back what was noted of a message that the leader has passed over.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Forget(name) => {
                self.statements.remove(&name);
            }
            Undo::Restore(name, statement) => {
                self.statements.insert(&name, statement);
            }
            Undo::Outdated(name) => {
                if let Some(statement) = self.statements.get_mut(&name).map(Arc::make_mut) {
                    (statement.planned, statement.epoch) = (None, DOUBTFUL);
                }
            }
        }
    }

    /// Notes a statement under its name.
    pub(super) fn name(&mut self, name: &[u8], statement: Arc<Statement>) {
        if self.statements.len() >= crate::limits::STATEMENTS_PER_SESSION {
            let why = "too many prepared statements in one session";
            return self.end(&Fault::fatal(SqlState::PROGRAM_LIMIT_EXCEEDED, why));
        }
        self.statements.insert(name, statement);
    }
}

fn unknown(name: &[u8]) -> Fault {
    let name = String::from_utf8_lossy(name);
    let message = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        format!("prepared statement \"{name}\" does not exist")
    };
    Fault::error(SqlState::UNDEFINED_STATEMENT, message)
}

/// PREPARE or EXECUTE with our name in place of the client's: the second token of the text.
pub(super) fn renamed(text: &[u8], readable: &str) -> Vec<u8> {
    let Some(name) = lex(readable).ok().and_then(|tokens| tokens.get(1).copied()) else { return text.to_vec() };
    [&text[..name.start], format!("\"{OWN_PREPARED}\"").as_bytes(), &text[name.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_prepare_and_execute_is_replaced_wherever_it_stands() {
        for (text, expected) in [
            ("EXECUTE w(10)", "EXECUTE \"lockstep execute\"(10)"),
            ("prepare /* w */ \"W w\" (int) as select w", "prepare /* w */ \"lockstep execute\" (int) as select w"),
        ] {
            assert_eq!(renamed(text.as_bytes(), text), expected.as_bytes());
        }
    }
}
