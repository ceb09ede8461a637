//! Parse, Bind, Describe and Close.
//!
//! What is known of a statement is noted when its Parse is sent, for a Bind may follow in the same pipeline; an error
//! before it takes the note back ([`Undo`]).

use std::sync::Arc;

use bytes::Bytes;

use super::client::OWN_NAME;
use super::names::{Meaning, OWN_PREPARED};
use super::planning::Planning;
use super::portal::{Portal, Run};
use super::simple::shape_of;
use super::stale::overtaken;
use super::{AfterDrain, Block, Session, World};
use crate::catalog::SchemaEpoch;
use crate::fault::{Fault, SqlState};
use crate::plan::{Action, Marks, Transaction};
use crate::reply::kept::Given;
use crate::reply::{Execution, Maker, Shape, Statement, To, Undo, What};
use crate::unit::Retold;
use crate::wire::Frame;
use crate::wire::frontend::{self, Bind, Named, Parse, Target};

impl Session {
    pub(super) fn parse(&mut self, parse: Parse, frame: Frame, world: &mut World<'_>) {
        if self.segment.unsettled && !self.settle(&frame) {
            return;
        }
        if !self.knows_encoding(&parse.sql) {
            return self.drain(AfterDrain::Frame(frame));
        }
        let (readable, renamings) = (self.readable(&parse.sql), self.renamings);
        let planned = match self.plan_text(&readable, world, || AfterDrain::Frame(frame.clone())) {
            // None: an empty text, or several statements, which the leader refuses.
            Planning::Known(plans) => Self::single(plans),
            Planning::Needless(_) => None,
            Planning::Asked => return,
        };
        let epoch = self.planned_in;
        let (sql, types, maker) = (parse.sql, parse.types, Maker::Parse);
        let statement = Statement { sql, readable, types, planned, epoch, renamings, maker };
        self.send_parse(&parse.name, Arc::new(statement));
    }

    /// The leader's Parse, by plan.
    fn send_parse(&mut self, name: &[u8], statement: Arc<Statement>) {
        match statement.planned.as_ref().map(|p| &p.plan.action) {
            Some(Action::Refuse(fault)) => return self.poison(fault.clone(), 0),
            Some(Action::Ddl(ddl)) if ddl.password.is_some() => {
                let why = "a password in clear is taken in a simple query only";
                let fault = Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why)
                    .with_hint("Send it as a simple query, or give a verifier.");
                return self.poison(fault, 0);
            }
            Some(Action::Unparsed) => return self.refuse_parsed(name, &statement, Self::not_understood()),
            Some(Action::Unknown(fault)) => return self.refuse_parsed(name, &statement, fault.clone()),
            _ => {}
        }
        let sql = self.leader_text(&statement);
        frontend::parse(&mut self.leader_out, name, &sql, &statement.types);
        // A name that exists keeps its statement: the leader refuses the second.
        let known = !name.is_empty() && self.statements.contains(name);
        let undo = if known { Undo::Nothing } else { Undo::Forget(Bytes::copy_from_slice(name)) };
        self.owe(What::Ack { to: To::Client, undo }, 0);
        if !known {
            self.name(name, statement);
        }
    }

    /// The leader may have an error of its own for it.
    fn refuse_parsed(&mut self, name: &[u8], statement: &Statement, fault: Fault) {
        self.segment.planned_in.get_or_insert(statement.epoch);
        frontend::parse(&mut self.leader_out, name, &statement.sql, &statement.types);
        self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, 0);
        self.poison(fault, 0);
    }

    pub(super) fn bind(&mut self, bind: &Bind<&[u8]>, frame: &Frame, world: &mut World<'_>) {
        if self.segment.unsettled && !self.settle(frame) {
            return;
        }
        let then = || AfterDrain::Frame(frame.clone());
        let Some(statement) = self.known(bind.statement, world, then) else { return };
        let meaning = match statement.plan().cloned() {
            Some(plan) => match self.meaning(&plan, world, then) {
                Some(meaning) => meaning,
                None => return,
            },
            // An empty text.
            None => Meaning { plan: Arc::new(Action::Leader.into()), named: None, prepared: None },
        };
        self.send_bind(bind, frame, &statement, &meaning);
        self.portals_made += 1;
        self.unit.unrun = true;
        let again = self.told_again(bind, &statement, &meaning);
        let given = match meaning.named {
            // Its arguments are those of EXECUTE.
            Some(_) => Given::NOTHING,
            None => Given { types: &statement.types, parameters: bind.parameters },
        };
        let keeps = self.keeps(&meaning.plan, given);
        if let Action::Captured(captured) = &meaning.plan.action {
            self.may_capture(captured);
        }
        let portal = Portal { statement, meaning, run: Run::Not, serial: self.portals_made, again, keeps };
        self.portals.insert(bind.portal, portal);
    }

    /// How a new leader would be told what this portal runs.
    fn told_again(&self, bind: &Bind<&[u8]>, statement: &Statement, meaning: &Meaning) -> Option<Box<Retold>> {
        let leaves = statement.plan()?.leaves.max(meaning.plan.leaves);
        let again = self.notes(leaves).then(|| {
            let sql = self.leader_text(statement);
            Retold::new(OWN_NAME, &sql, &statement.types, bind.parameters, &bind.result_formats)
        });
        again.map(Box::new)
    }

    fn send_bind(&mut self, bind: &Bind<&[u8]>, frame: &Frame, statement: &Statement, meaning: &Meaning) {
        use Action::{Captured, CopyIn, CopyRows, Ddl, Image, Objects, Write};
        let action = &meaning.plan.action;
        if matches!(action, Write(_) | Ddl(_) | Image(_) | CopyIn(_) | CopyRows(_) | Captured(_) | Objects(_)) {
            self.changes_schema(statement.epoch, meaning.plan.marks);
        }
        let formats = match action {
            // The portal of an EXECUTE whose statement lacks our columns is never executed.
            Write(write) if meaning.prepared.is_none() => Some(self.result_formats(write, &bind.result_formats)),
            _ => None,
        };
        let ours = statement.is_bare_write();
        if ours {
            self.prepare_own(statement);
        }
        if ours || formats.is_some() {
            let name = if ours { OWN_PREPARED.as_bytes() } else { bind.statement };
            let formats = formats.as_ref().unwrap_or(&bind.result_formats);
            frontend::bind(&mut self.leader_out, bind.portal, name, bind.parameters, formats);
        } else {
            self.leader_out.extend_from_slice(&frame.raw);
        }
        self.owe(What::Ack { to: To::Client, undo: Undo::Nothing }, 0);
        if ours {
            self.close_own();
        }
    }

    /// Waits until what may change the meaning of later statements has been answered.
    fn settle(&mut self, frame: &Frame) -> bool {
        if self.owed.is_empty() {
            self.segment.unsettled = false;
            return true;
        }
        self.postpone(frame);
        false
    }

    pub(super) fn describe(&mut self, named: &Named<&[u8]>, frame: &Frame) {
        let what = match named.target {
            Target::Statement => What::Statement { shape: self.statement_shape(named.name) },
            Target::Portal if named.name.is_empty() && !self.portals.contains(named.name) => {
                return self.poison(no_portal(), 0);
            }
            Target::Portal => What::Portal { shape: self.portal_shape(named.name), to: To::Client },
        };
        self.leader_out.extend_from_slice(&frame.raw);
        self.owe(what, 0);
    }

    fn statement_shape(&self, name: &[u8]) -> Shape {
        let Some(statement) = self.statements.get(name).filter(|statement| !statement.is_bare_write()) else {
            return Shape::Whole;
        };
        match statement.plan().map(|plan| &plan.action) {
            Some(Action::Write(write)) => shape_of(write),
            Some(Action::Execute { name }) => self.statement_shape(name.as_bytes()),
            _ => Shape::Whole,
        }
    }

    fn portal_shape(&self, name: &[u8]) -> Shape {
        match self.portals.get(name).map(|portal| &portal.meaning) {
            Some(Meaning { plan, prepared: None, .. }) => match &plan.action {
                Action::Write(write) => shape_of(write),
                _ => Shape::Whole,
            },
            _ => Shape::Whole,
        }
    }

    pub(super) fn close_named(&mut self, named: &Named<&[u8]>, frame: &Frame) {
        let undo = match named.target {
            Target::Statement => match self.statements.remove(named.name) {
                Some(statement) => Undo::Restore(Bytes::copy_from_slice(named.name), statement),
                None => Undo::Nothing,
            },
            Target::Portal => {
                self.portals.remove(named.name);
                Undo::Nothing
            }
        };
        self.leader_out.extend_from_slice(&frame.raw);
        self.owe(What::Ack { to: To::Client, undo }, 0);
    }

    /// From here on the end of an implicit transaction waits for the followers.
    pub(super) fn writes(&mut self, planned_in: SchemaEpoch) {
        self.segment.planned_in.get_or_insert(planned_in);
        self.leaves_more();
    }

    /// DDL is about to be sent. What upkeep is about may have gone when it comes to it.
    pub(super) fn changes_schema(&mut self, planned_in: SchemaEpoch, marks: Marks) {
        if marks.upkeep {
            self.leaves_more();
        } else {
            self.writes(planned_in);
        }
    }

    pub(super) fn leaves_more(&mut self) {
        if self.unit.old_view {
            self.doom(overtaken());
        }
        if self.block == Block::None {
            self.block = Block::Implicit;
        }
        self.bequeaths();
    }

    /// Puts a BEGIN before the rest of an implicit transaction.
    pub(super) fn wrap(&mut self) {
        if matches!(self.block, Block::Wrapped | Block::Explicit) {
            return;
        }
        self.block = Block::Wrapped;
        self.run_own(b"BEGIN", &[], Execution::Begin { by_client: None });
    }

    /// Follows the client's transaction blocks as they are sent.
    pub(super) fn sent_transaction(&mut self, transaction: &Transaction) {
        match transaction {
            Transaction::Begin { .. } => self.block = Block::Explicit,
            Transaction::Commit { chain: false } | Transaction::Rollback { chain: false } => self.block = Block::None,
            _ => {}
        }
    }
}

/// Whether it changes what names of prepared statements mean.
pub(super) fn changes_names(action: &Action) -> bool {
    matches!(action, Action::Prepare { .. } | Action::Deallocate { .. } | Action::Discard { .. })
}

/// Whether what comes after it can be planned only when it has been answered: the end of a transaction, or of a part of
/// it, may take a search path or a role back.
pub(super) fn unsettles(action: &Action) -> bool {
    use Transaction::{Commit, Rollback, RollbackTo};
    changes_names(action) || matches!(action, Action::Transaction(Commit { .. } | Rollback { .. } | RollbackTo { .. }))
}

pub(super) fn no_portal() -> Fault {
    Fault::error(SqlState::UNDEFINED_PORTAL, "portal \"\" does not exist")
}
