//! A Query: one statement or several, which are one implicit transaction unless they say otherwise.
//!
//! Text that concerns the leader alone goes through untouched. Everything else is run statement by statement by the
//! extended protocol, up to one Sync, which has the same meaning (documentation, "Multiple Statements in a Simple Query").

use std::sync::Arc;

use bytes::Bytes;

use super::commit::CommitVia;
use super::{AfterDrain, Block, Gate, Script, Session, World};
use crate::catalog::SchemaEpoch;
use crate::plan::{Action, Marks, Memory, Plan, Planned, Transaction};
use crate::reply::{Done, Execution, Note, Shape, To, Undo, What};
use crate::wire::Frame;
use crate::wire::frontend::{self, Format, Target};

/// Whether the next statement of a script may be sent at once.
enum Step {
    Next,
    /// Something must be answered first.
    Wait,
}

impl Session {
    pub(super) fn query(&mut self, sql: Bytes, frame: Frame, world: &mut World<'_>) {
        let readable = self.readable(&sql);
        let plans = if self.in_failed_block() {
            self.plan_in_failed(&readable, world)
        } else {
            match self.plan(&readable, world, || AfterDrain::Frame(frame.clone())) {
                Some(plans) => Some(plans),
                None => return,
            }
        };
        let Some(plans) = plans else { return self.query_raw(&frame, Done::default()) };
        match self.as_a_whole(&readable, &plans.statements) {
            Some(done) => self.query_raw(&frame, done),
            None => self.begin_script(sql, readable, plans.statements, world),
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
    fn as_a_whole(&self, text: &str, statements: &[Planned]) -> Option<Done> {
        if let [planned] = statements
            && let Some(note) = self.raw_note(&planned.plan.action)
        {
            return Some(Done { note, marks: planned.plan.marks, memory: None });
        }
        let mut marks = Marks::default();
        let mut memory = None;
        for Planned { plan, span } in statements {
            if !matches!(plan.action, Action::Leader) || plan.memory.is_some() && statements.len() > 1 {
                return None;
            }
            memory = plan.memory.clone().map(|memory| (memory, Arc::from(&text[span.clone()])));
            marks.sequences |= plan.marks.sequences;
            marks.settings |= plan.marks.settings;
            marks.temporary |= plan.marks.temporary;
        }
        // What follows a change of settings or of temporary tables has to be planned after it.
        (statements.len() <= 1 || !(marks.settings || marks.temporary)).then_some(Done {
            note: Note::None,
            marks,
            memory,
        })
    }

    fn raw_note(&self, action: &Action) -> Option<Note> {
        match action {
            Action::Transaction(Transaction::Commit { .. }) if self.has_effects() => None,
            Action::Transaction(transaction) => Some(Note::Transaction(transaction.clone())),
            Action::Deallocate { name } => Some(Note::Deallocated { name: name.clone() }),
            Action::Discard { all } => Some(Note::Discarded { all: *all }),
            _ => None,
        }
    }

    fn begin_script(&mut self, text: Bytes, readable: Arc<str>, statements: Vec<Planned>, world: &mut World<'_>) {
        self.segment.script =
            Some(Script { text, readable, base: 0, statements, next: 0, epoch: self.catalogs.epoch() });
        self.gate = Gate::Ending;
        self.run_script(world);
    }

    /// Sends as many of the script's statements as can be sent without an answer.
    pub(super) fn run_script(&mut self, world: &mut World<'_>) {
        loop {
            if self.segment.failed || (self.segment.unsettled && !self.replan_script(world)) {
                return;
            }
            let Some(script) = &self.segment.script else { return };
            let Some(planned) = script.statements.get(script.next).cloned() else { return self.end_script() };
            let text = script.text.slice(script.base + planned.span.start..script.base + planned.span.end);
            let before = &script.readable[..script.base + planned.span.start];
            let shift = before.chars().count() as u32;
            if let Action::Execute { name } = &planned.plan.action
                && !self.renew_executed(name, world, || AfterDrain::Script)
            {
                return;
            }
            match self.script_statement(&planned.plan, text, shift) {
                Step::Next => self.step_script(),
                Step::Wait => return,
            }
        }
    }

    /// The epoch in which the script's statements were planned.
    fn script_epoch(&self) -> SchemaEpoch {
        self.segment.script.as_ref().map_or_else(|| self.catalogs.epoch(), |script| script.epoch)
    }

    pub(super) fn step_script(&mut self) {
        if let Some(script) = &mut self.segment.script {
            script.next += 1;
        }
    }

    fn end_script(&mut self) {
        self.segment.synced = true;
        self.gate = Gate::Ending;
        self.sync();
    }

    /// The statements after one that may have changed what they mean are planned again, when it has been answered.
    fn replan_script(&mut self, world: &mut World<'_>) -> bool {
        if !self.owed.is_empty() {
            self.drain(AfterDrain::Script);
            return false;
        }
        let Some(script) = &self.segment.script else { return false };
        let Some(following) = script.statements.get(script.next) else {
            self.segment.unsettled = false;
            return true;
        };
        let base = script.base + following.span.start;
        let rest: Arc<str> = script.readable[base..].into();
        // Until they are planned, the statements stay as they are: they are looked at again when the catalog is known.
        let Some(plans) = self.plan(&rest, world, || AfterDrain::Script) else { return false };
        self.segment.unsettled = false;
        let epoch = self.catalogs.epoch();
        if let Some(script) = &mut self.segment.script {
            (script.base, script.statements, script.next, script.epoch) = (base, plans.statements, 0, epoch);
        }
        true
    }

    fn script_statement(&mut self, plan: &Arc<Plan>, text: Bytes, shift: u32) -> Step {
        let marks = plan.marks;
        self.segment.unsettled |= marks.settings || marks.temporary;
        let resolved = self.resolve(plan).clone();
        match &resolved.action {
            Action::Write(write) => {
                self.wrap();
                let sql = if Arc::ptr_eq(&resolved, plan) { with_append(&text, &write.append) } else { text };
                let formats = self.result_formats(write, &[]);
                let execution = self.write_execution(write, marks, self.script_epoch());
                self.send(&sql, &formats, shape_of(write), execution, shift);
                Step::Next
            }
            Action::Transaction(Transaction::Commit { .. }) => self.script_commit(text, &resolved, shift),
            Action::Ddl(ddl) => {
                let Some(text) = self.ready_for_ddl(ddl, &text, AfterDrain::Script) else { return Step::Wait };
                self.wrap();
                let done = Done { note: Note::Schema(text.clone()), marks, memory: None };
                self.segment.unsettled = true;
                self.send(text.as_bytes(), &[], Shape::Whole, Execution::Pass { done }, shift);
                Step::Next
            }
            Action::CopyIn(copy) => {
                if !self.owed.is_empty() {
                    self.drain(AfterDrain::Script);
                    return Step::Wait;
                }
                self.wrap();
                let execution = self.copy_execution(copy, marks, self.script_epoch());
                self.send(&text, &[], Shape::Whole, execution, shift);
                self.step_script();
                self.drain(AfterDrain::Script);
                Step::Wait
            }
            Action::Utility => self.script_utility(text, shift),
            Action::Refuse(fault) => {
                self.poison(fault.clone(), shift);
                Step::Next
            }
            Action::Unparsed => {
                frontend::parse(&mut self.leader_out, b"", &text, &[]);
                self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, shift);
                self.poison(Self::not_understood(), shift);
                Step::Next
            }
            Action::ShowPoolNodes => {
                let sql = self.pool_nodes.clone();
                self.send(sql.as_bytes(), &[], Shape::Whole, Execution::Pass { done: Done::default() }, shift);
                Step::Next
            }
            action => {
                let (note, append) = self.note_for(action, &text);
                let sql = with_append(&text, append.as_deref().unwrap_or(""));
                self.sent_transaction(action);
                let done = Done { note, marks, memory: remembered(plan, &text) };
                self.send(&sql, &[], Shape::Whole, Execution::Pass { done }, shift);
                Step::Next
            }
        }
    }

    fn script_commit(&mut self, text: Bytes, plan: &Plan, shift: u32) -> Step {
        if !self.owed.is_empty() {
            self.drain(AfterDrain::Script);
            return Step::Wait;
        }
        self.step_script();
        if !self.has_effects() {
            let (note, _) = self.note_for(&plan.action, &text);
            self.sent_transaction(&plan.action);
            let done = Done { note, marks: plan.marks, memory: None };
            self.send(&text, &[], Shape::Whole, Execution::Pass { done }, shift);
            self.drain(AfterDrain::Script);
        } else {
            self.begin_commit(CommitVia::Script(text));
        }
        Step::Wait
    }

    fn script_utility(&mut self, text: Bytes, shift: u32) -> Step {
        let alone = self.segment.script.as_ref().is_some_and(|s| s.statements.len() == 1);
        if !alone || self.block != Block::None {
            // The leader's own error: it cannot run inside a transaction block.
            self.wrap();
            self.send(&text, &[], Shape::Whole, Execution::Pass { done: Done::default() }, shift);
            return Step::Next;
        }
        self.step_script();
        self.begin_commit(CommitVia::Utility(text));
        Step::Wait
    }

    /// One statement by the extended protocol, unnamed. The client, who knows nothing of it, sees the rows' description
    /// and what the execution lets through.
    fn send(&mut self, sql: &[u8], formats: &[i16], shape: Shape, execution: Execution, shift: u32) {
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
pub(super) fn remembered(plan: &Plan, text: &[u8]) -> Option<(Memory, Arc<str>)> {
    Some((plan.memory.clone()?, String::from_utf8_lossy(text).into()))
}

/// The statement with what is put behind its last token.
pub(super) fn with_append(text: &[u8], append: &str) -> Bytes {
    [text, append.as_bytes()].concat().into()
}

pub(super) fn shape_of(write: &crate::plan::Write) -> Shape {
    match write.client_columns {
        crate::plan::ClientColumns::None => Shape::Nothing,
        crate::plan::ClientColumns::Known(_) => Shape::Without(write.effect.columns.len() as u16),
    }
}

impl Session {
    /// Result formats of a write: what the client wants for its columns, and ours for ours.
    pub(super) fn result_formats(&self, write: &crate::plan::Write, wanted: &[i16]) -> Vec<i16> {
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
