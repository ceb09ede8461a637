//! A Query: one statement or several, which are one implicit transaction unless they say otherwise.
//!
//! Text that concerns the leader alone goes through untouched. Everything else is run statement by statement
//! ([`super::script`]) by the extended protocol, up to one Sync, which has the same meaning (documentation, "Multiple
//! Statements in a Simple Query").

use std::sync::Arc;

use bytes::Bytes;

use super::extended::changes_names;
use super::planning::Planning;
use super::{AfterDrain, Gate, Script, Session, World};
use crate::plan::{Action, Marks, Memory, Plan, Planned, Transaction, Write};
use crate::reply::{Done, Execution, Shape, To, Undo, What};
use crate::wire::Frame;
use crate::wire::frontend::{self, Format, Target};

impl Session {
    pub(super) fn query(&mut self, sql: Bytes, frame: Frame, world: &mut World<'_>) {
        if self.segment.pipelined && !self.owed.is_empty() {
            return self.drain(AfterDrain::Pipeline(frame));
        }
        self.forget_unnamed();
        let readable = self.readable(&sql);
        let plans = match self.plan_text(&readable, world, || AfterDrain::Frame(frame.clone())) {
            Planning::Known(plans) => plans.statements,
            Planning::Needless(plans) if plans.statements.len() <= 1 => return self.query_raw(&frame, Done::default()),
            Planning::Needless(plans) => return self.begin_script(sql, readable, plans.statements, true, world),
            Planning::Asked => return,
        };
        // What was sent without a Sync has begun a transaction, which this Query ends.
        let apart =
            |plan: &Plan| plan.kept.is_some() || self.notes(plan.leaves) || plans.len() > 1 && plan.marks.setval;
        let apart = plans.iter().any(|planned| apart(&planned.plan));
        let whole = if self.segment.open || apart { None } else { self.as_a_whole(&sql, &plans) };
        match whole {
            Some(done) => {
                plans.iter().for_each(|planned| self.passes_on(planned.plan.leaves));
                if !self.begin_by_query(&sql, &done) {
                    self.query_raw(&frame, done);
                }
            }
            None => self.begin_script(sql, readable, plans, false, world),
        }
    }

    /// The text as it is: everything that comes back is the client's.
    fn query_raw(&mut self, frame: &Frame, done: Done) {
        self.leader_out.extend_from_slice(&frame.raw);
        self.owe(What::Raw { done, failed: false }, 0);
        self.segment.synced = true;
        self.gate = Gate::Ending;
    }

    /// Whether the whole text may go through as it is, and what its success means.
    fn as_a_whole(&self, sql: &Bytes, statements: &[Planned]) -> Option<Done> {
        if let [Planned { plan, span }] = statements
            && self.goes_alone(&plan.action)
        {
            let note = self.note_for(plan, &sql[span.clone()], self.planned_in);
            return Some(Done { note, marks: plan.marks, ..Done::default() });
        }
        let mut marks = Marks::default();
        let mut memory = None;
        for Planned { plan, span } in statements {
            if !matches!(plan.action, Action::Leader)
                || plan.waived.is_some()
                || plan.memory.is_some() && statements.len() > 1
                || self.runs_on(&plan.action, plan.leaves).is_some()
            {
                return None;
            }
            memory = remembered(plan, &sql[span.clone()]);
            marks = marks.or(plan.marks);
        }
        // What follows a change of settings or of temporary tables has to be planned after it.
        let settled = statements.len() <= 1 || !(marks.settings || marks.temporary);
        settled.then_some(Done { marks, memory, ..Done::default() })
    }

    fn goes_alone(&self, action: &Action) -> bool {
        match action {
            Action::Transaction(Transaction::Commit { .. }) => !self.has_effects(),
            Action::Transaction(_) => true,
            other => changes_names(other),
        }
    }

    /// A Query ends the unnamed statement and the unnamed portal (documentation, "Extended Query").
    fn forget_unnamed(&mut self) {
        self.statements.remove(b"");
        self.portals.remove(b"");
    }

    /// `outdated`: each statement is to be planned when its turn comes.
    fn begin_script(
        &mut self,
        text: Bytes,
        readable: Arc<str>,
        statements: Vec<Planned>,
        outdated: bool,
        world: &mut World<'_>,
    ) {
        if statements.is_empty() {
            self.send(&text, &[], Shape::Whole, Execution::Pass { done: Done::default() }, 0);
        }
        let (alone, planned_in) = (statements.len() <= 1, self.planned_in);
        let script = Script { text, readable, statements, next: 0, planned_in, outdated, counted: (0, 0), alone };
        self.segment.script = Some(Box::new(script));
        self.gate = Gate::Ending;
        self.run_script(world);
    }

    /// One statement by the extended protocol, unnamed. The client, who knows nothing of it, sees the rows' description
    /// and what the execution lets through.
    pub(super) fn send(&mut self, sql: &[u8], formats: &[i16], shape: Shape, execution: Execution, shift: u32) {
        let out = &mut self.leader_out;
        frontend::parse(out, b"", sql, &[]);
        frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, formats);
        if shape != Shape::Nothing {
            frontend::describe(out, Target::Portal, b"");
        }
        frontend::execute(out, b"", 0);
        self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, shift);
        self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, shift);
        if shape != Shape::Nothing {
            self.owe(What::Portal { shape, to: To::Nobody }, shift);
        }
        self.owe(What::Execution(execution), shift);
    }
}

/// What a new leader must be told after this statement.
pub(super) fn remembered(plan: &Plan, text: &[u8]) -> Option<Box<(Memory, Arc<str>)>> {
    Some(Box::new((plan.memory.clone()?, String::from_utf8_lossy(text).into())))
}

/// The statement with what is put behind its last token.
pub(super) fn with_append(text: &[u8], append: &str) -> Bytes {
    [text, append.as_bytes()].concat().into()
}

pub(super) fn shape_of(write: &Write) -> Shape {
    match write.client_columns {
        crate::plan::ClientColumns::None => Shape::Nothing,
        crate::plan::ClientColumns::Known(_) => Shape::Without(write.effect.columns.len() as u16),
    }
}

impl Session {
    /// Result formats of a write: what the client wants for its columns, and ours for ours.
    pub(super) fn result_formats(&self, write: &Write, wanted: &[i16]) -> Vec<i16> {
        let theirs = match write.client_columns {
            crate::plan::ClientColumns::None => 0,
            crate::plan::ClientColumns::Known(count) => usize::from(count),
        };
        let theirs: Vec<i16> = match wanted {
            [] => vec![Format::Text.code(); theirs],
            [one] => vec![*one; theirs],
            // As many as the client gave: a wrong number gets the leader's own error.
            each => each.to_vec(),
        };
        theirs.into_iter().chain(write.effect.columns.iter().map(|c| c.format.code())).collect()
    }
}
