//! Parse, Bind, Describe, Execute and Close.
//!
//! What is known of a statement is noted when its Parse is sent, for a Bind may follow in the same pipeline; an error
//! before it takes the note back ([`Undo`]). A statement that is not known here is never passed on: it could be a write.

use std::sync::Arc;

use bytes::Bytes;

use super::commit::CommitVia;
use super::simple::{remembered, shape_of, with_append};
use super::{AfterDrain, Block, Session, World};
use crate::fault::{Fault, SqlState};
use crate::limits;
use crate::plan::{Action, Plan, Planned, Transaction};
use crate::reply::{Done, Execution, Note, Shape, Statement, To, Undo, What};
use crate::wire::Frame;
use crate::wire::frontend::{self, Bind, Execute, Named, Parse, Target};

impl Session {
    pub(super) fn parse(&mut self, parse: Parse, frame: Frame, world: &mut World<'_>) {
        if self.segment.unsettled && !self.settle(&frame) {
            return;
        }
        if !self.knows_encoding(&parse.sql) {
            return self.drain(AfterDrain::Frame(frame));
        }
        let readable = self.readable(&parse.sql);
        let mut statement = Statement {
            sql: parse.sql,
            readable: readable.clone(),
            types: parse.types,
            planned: None,
            moment: self.moment(),
        };
        let plans = if self.in_failed_block() {
            self.plan_in_failed(&readable, world)
        } else {
            match self.plan(&readable, world, || AfterDrain::Frame(frame.clone())) {
                Some(plans) => Some(plans),
                None => return,
            }
        };
        // No plan: an empty text, or several statements, which the leader refuses.
        statement.planned = plans.and_then(Self::single);
        self.send_parse(parse.name, statement);
    }

    /// The leader's Parse, by plan.
    fn send_parse(&mut self, name: Bytes, statement: Statement) {
        let action = statement.planned.as_ref().map(|p| p.plan.action.clone());
        match action {
            Some(Action::Refuse(fault)) => return self.poison(fault, 0),
            Some(Action::Ddl(ddl)) if ddl.password.is_some() => {
                let why = "a password in clear is taken in a simple query only";
                let fault = Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why)
                    .with_hint("Send it as a simple query, or give a verifier.");
                return self.poison(fault, 0);
            }
            Some(Action::Unparsed) => {
                frontend::parse(&mut self.leader_out, &name, &statement.sql, &statement.types);
                self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, 0);
                return self.poison(Self::not_understood(), 0);
            }
            _ => {}
        }
        let sql = self.leader_text(&statement);
        frontend::parse(&mut self.leader_out, &name, &sql, &statement.types);
        // A name that exists keeps its statement: the leader refuses the second.
        let known = !name.is_empty() && self.statements.contains_key(&name);
        let undo = if known { Undo::Nothing } else { Undo::Forget(name.clone()) };
        self.owe(What::Ack { to: To::Client, undo }, 0);
        if known {
            return;
        }
        if self.statements.len() >= limits::STATEMENTS_PER_SESSION {
            return self
                .end(&Fault::fatal(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many prepared statements in one session"));
        }
        self.statements.insert(name, statement);
    }

    pub(super) fn leader_text(&self, statement: &Statement) -> Bytes {
        let Some(Planned { span, plan }) = &statement.planned else { return statement.sql.clone() };
        match &plan.action {
            Action::Write(write) => with_append(&statement.sql[..span.end], &write.append),
            Action::Prepare { .. } => {
                let (_, append) = self.note_for(&plan.action, &statement.sql[..span.end]);
                append.map_or(statement.sql.clone(), |append| with_append(&statement.sql[..span.end], &append))
            }
            Action::ShowPoolNodes => self.pool_nodes.clone().into_bytes().into(),
            _ => statement.sql.clone(),
        }
    }

    pub(super) fn bind(&mut self, bind: Bind, frame: Frame, world: &mut World<'_>) {
        if self.segment.unsettled && !self.settle(&frame) {
            return;
        }
        let by_sql = std::str::from_utf8(&bind.statement).ok().filter(|name| self.prepared.contains_key(*name));
        if let Some(name) = by_sql
            && !self.in_failed_block()
            && !self.renew_executed(name, world, || AfterDrain::Frame(frame.clone()))
        {
            return;
        }
        let Some(statement) = self.known(&bind.statement) else {
            let name = String::from_utf8_lossy(&bind.statement).into_owned();
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            return self.poison(Fault::error(SqlState::UNDEFINED_STATEMENT, message), 0);
        };
        let Some(statement) = self.current(&bind.statement, statement, &frame, world) else { return };
        let mut formats = bind.result_formats;
        if let Some(planned) = &statement.planned {
            let plan = self.resolve(&planned.plan).clone();
            match &plan.action {
                Action::Write(write) => {
                    self.wrap();
                    formats = self.result_formats(write, &formats);
                }
                Action::Ddl(_) | Action::CopyIn(_) => self.wrap(),
                _ => {}
            }
        }
        frontend::bind(&mut self.leader_out, &bind.portal, &bind.statement, &bind.parameters, &formats);
        self.owe(What::Ack { to: To::Client, undo: Undo::Nothing }, 0);
        self.portals.insert(bind.portal, statement);
    }

    /// What is known under a statement's name: prepared by Parse or by SQL.
    fn known(&self, name: &Bytes) -> Option<Statement> {
        self.statements.get(name).cloned().or_else(|| {
            let prepared = self.prepared.get(std::str::from_utf8(name).ok()?)?;
            Some(Statement {
                sql: Bytes::copy_from_slice(prepared.sql.as_bytes()),
                readable: prepared.sql.clone(),
                types: Vec::new(),
                planned: Some(Planned {
                    span: 0..prepared.sql.len(),
                    plan: prepared.instead.as_ref().unwrap_or(&prepared.plan).clone(),
                }),
                moment: prepared.moment,
            })
        })
    }

    /// Waits until what may change the meaning of later statements has been answered.
    fn settle(&mut self, frame: &Frame) -> bool {
        if self.owed.is_empty() {
            self.segment.unsettled = false;
            return true;
        }
        self.drain(AfterDrain::Frame(frame.clone()));
        false
    }

    pub(super) fn describe(&mut self, named: Named, frame: &Frame) {
        let statement = match named.target {
            Target::Statement => self.known(&named.name),
            Target::Portal => self.portals.get(&named.name).cloned(),
        };
        let plan = statement.and_then(|s| s.planned).map(|p| self.resolve(&p.plan).clone());
        let shape = match plan.as_ref().map(|p| &p.action) {
            Some(Action::Write(write)) => shape_of(write),
            _ => Shape::Whole,
        };
        self.leader_out.extend_from_slice(&frame.raw);
        let what = match named.target {
            Target::Statement => What::Statement { shape },
            Target::Portal => What::Portal { shape, to: To::Client },
        };
        self.owe(what, 0);
    }

    pub(super) fn close_named(&mut self, named: &Named, frame: &Frame) {
        let map = match named.target {
            Target::Statement => &mut self.statements,
            Target::Portal => &mut self.portals,
        };
        let undo = match map.remove(&named.name) {
            Some(statement) => Undo::Restore(named.target, named.name.clone(), Box::new(statement)),
            None => Undo::Nothing,
        };
        self.leader_out.extend_from_slice(&frame.raw);
        self.owe(What::Ack { to: To::Client, undo }, 0);
    }

    pub(super) fn execute(&mut self, execute: Execute, frame: Frame) {
        // A portal that Bind did not make is a cursor, and reads.
        let statement = self.portals.get(&execute.portal).cloned();
        let Some(Statement { planned: Some(Planned { span, plan }), sql, moment, .. }) = statement else {
            return self.execute_on_leader(&frame, Execution::Pass { done: Done::default() });
        };
        let marks = plan.marks;
        let plan = self.resolve(&plan).clone();
        self.segment.unsettled |= marks.settings || marks.temporary;
        match &plan.action {
            Action::Write(write) => {
                let execution = self.write_execution(write, marks, moment.epoch);
                // A write runs to its end however few rows are asked for, and all of them are needed.
                frontend::execute(&mut self.leader_out, &execute.portal, 0);
                self.owe(What::Execution(execution), 0);
            }
            Action::Transaction(Transaction::Commit { .. }) => self.execute_commit(&plan, sql.slice(span), frame),
            Action::Ddl(ddl) => {
                let Some(text) = self.ready_for_ddl(ddl, &sql.slice(span), AfterDrain::Frame(frame.clone())) else {
                    return;
                };
                self.segment.unsettled = true;
                self.execute_on_leader(
                    &frame,
                    Execution::Pass { done: Done { note: Note::Schema(text), marks, memory: None } },
                );
            }
            Action::CopyIn(_) if !self.owed.is_empty() => self.drain(AfterDrain::Frame(frame)),
            Action::CopyIn(copy) => {
                let execution = self.copy_execution(copy, marks, moment.epoch);
                self.execute_on_leader(&frame, execution);
            }
            Action::Utility => self.execute_utility(sql.slice(span), frame),
            Action::Refuse(fault) => self.poison(fault.clone(), 0),
            action => {
                let (note, _) = self.note_for(action, &sql.slice(span.clone()));
                self.sent_transaction(action);
                let done = Done { note, marks, memory: remembered(&plan, &sql[span]) };
                self.execute_on_leader(&frame, Execution::Pass { done });
            }
        }
    }

    fn execute_on_leader(&mut self, frame: &Frame, execution: Execution) {
        self.leader_out.extend_from_slice(&frame.raw);
        self.owe(What::Execution(execution), 0);
    }

    fn execute_commit(&mut self, plan: &Plan, text: Bytes, frame: Frame) {
        if !self.owed.is_empty() {
            return self.drain(AfterDrain::Frame(frame));
        }
        if !self.has_effects() {
            let (note, _) = self.note_for(&plan.action, &text);
            self.sent_transaction(&plan.action);
            return self.execute_on_leader(&frame, Execution::Pass { done: Done { note, ..Done::default() } });
        }
        self.begin_commit(CommitVia::Extended(text));
    }

    fn execute_utility(&mut self, text: Bytes, frame: Frame) {
        if !self.owed.is_empty() {
            return self.drain(AfterDrain::Frame(frame));
        }
        if self.block != Block::None {
            return self.execute_on_leader(&frame, Execution::Pass { done: Done::default() });
        }
        self.begin_commit(CommitVia::UtilityExtended(text));
    }

    /// Puts a BEGIN before the first write of an implicit transaction, so that its end waits for the followers.
    pub(super) fn wrap(&mut self) {
        if self.block != Block::None {
            return;
        }
        self.block = Block::Wrapped;
        self.run_own(b"BEGIN", Execution::Begin);
    }

    /// What success of a statement that is the leader's alone means, and what is put behind its text.
    pub(super) fn note_for(&self, action: &Action, sql: &[u8]) -> (Note, Option<String>) {
        match action {
            Action::Transaction(transaction) => (Note::Transaction(transaction.clone()), None),
            Action::Deallocate { name } => (Note::Deallocated { name: name.clone() }, None),
            Action::Discard { all } => (Note::Discarded { all: *all }, None),
            Action::Prepare { name, inner: Some(plan) } => {
                let sql: Arc<str> = String::from_utf8_lossy(sql).into();
                let append = match &plan.action {
                    Action::Write(write) => Some(write.append.clone()),
                    _ => None,
                };
                let leader_sql = format!("{sql}{}", append.as_deref().unwrap_or_default()).into();
                (Note::Prepared { name: name.clone(), plan: plan.clone(), sql, leader_sql }, append)
            }
            _ => (Note::None, None),
        }
    }

    /// Follows the client's transaction blocks as they are sent.
    pub(super) fn sent_transaction(&mut self, action: &Action) {
        match action {
            Action::Transaction(Transaction::Begin { .. }) => self.block = Block::Explicit,
            Action::Transaction(Transaction::Commit { chain: false } | Transaction::Rollback { chain: false }) => {
                self.block = Block::None;
            }
            _ => {}
        }
    }
}
