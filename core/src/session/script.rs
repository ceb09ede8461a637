//! A Query's statements, one after the other.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::client::OWN_NAME;
use super::commit::{Command, CommitVia};
use super::done::for_followers;
use super::extended::unsettles;
use super::locks::Keeps;
use super::names::{Meaning, renamed};
use super::planning::Planning;
use super::simple::{remembered, shape_of, with_append};
use super::{AfterDrain, Block, Gate, Script, Session, World};
use crate::catalog::SchemaEpoch;
use crate::fault::{Fault, SqlState};
use crate::plan::{Action, Captured, Ddl, Leaves, Marks, Plan, Planned, Transaction, Utility, Write};
use crate::reply::kept::Given;
use crate::reply::{Done, Execution, Note, Shape, Share, Source, To, Undo, What};
use crate::unit::Retold;
use crate::wire::frontend;
use crate::wire::notice;

/// Whether the next statement of a script may be sent at once.
enum Step {
    Next,
    /// Something must be answered first.
    Wait,
}

/// A statement of a script whose turn has come.
struct Next {
    text: Bytes,
    /// Characters of the client's text before it.
    shift: u32,
    marks: Marks,
    leaves: Leaves,
    meaning: Meaning,
    source: Source,
}

impl Script {
    /// Characters before this byte, which is never before one that was asked for.
    fn shift(&mut self, to: usize) -> u32 {
        let (from, characters) = self.counted;
        self.counted = (to, characters + self.readable[from..to].chars().count() as u32);
        self.counted.1
    }
}

impl Session {
    /// Sends as many of the script's statements as can be sent without an answer.
    pub(super) fn run_script(&mut self, world: &mut World<'_>) {
        while !self.segment.failed {
            if self.segment.unsettled && !self.settle_script() {
                return;
            }
            let Some(script) = &mut self.segment.script else { return };
            let Some(Planned { span, plan }) = script.statements.get(script.next).cloned() else {
                return self.segment_over();
            };
            let (text, shift) = (script.text.slice(span.clone()), script.shift(span.start));
            let Some(source) = self.present_plan(plan, span, world) else { return };
            let plan = source.plan.clone();
            let Some(meaning) = self.meaning(&plan, world, || AfterDrain::Script) else {
                if matches!(self.gate, Gate::Drain | Gate::Capturing) {
                    return;
                }
                // It was refused.
                self.step_script();
                continue;
            };
            self.waive(&plan, source.planned_in);
            let leaves = plan.leaves.max(meaning.plan.leaves);
            self.passes_on(leaves);
            let marks = plan.marks.or(meaning.plan.marks);
            let source = meaning.named.clone().unwrap_or(source);
            let statement = Next { text, shift, marks, leaves, meaning, source };
            match self.script_statement(statement) {
                Step::Next => self.step_script(),
                Step::Wait => return,
            }
        }
    }

    pub(super) fn script_is_over(&self) -> bool {
        self.segment.script.as_ref().is_some_and(|script| script.next >= script.statements.len())
    }

    pub(super) fn step_script(&mut self) {
        if let Some(script) = &mut self.segment.script {
            script.next += 1;
        }
    }

    /// Waits for a statement that may have changed what those after it mean.
    fn settle_script(&mut self) -> bool {
        if !self.owed.is_empty() {
            self.drain(AfterDrain::Script);
            return false;
        }
        self.segment.unsettled = false;
        if let Some(script) = &mut self.segment.script {
            script.outdated = true;
        }
        true
    }

    /// A statement's plan by the present schema. Statements are planned again one by one: a string of thousands of DDL
    /// statements is read twice, not once for each.
    fn present_plan(&mut self, plan: Arc<Plan>, span: Range<usize>, world: &mut World<'_>) -> Option<Source> {
        let script = self.segment.script.as_ref()?;
        let text: Arc<str> = script.readable[span].into();
        if !script.outdated && script.planned_in == self.catalogs.epoch() {
            return Some(Source { text, plan, planned_in: script.planned_in });
        }
        let plan = match self.plan_text(&text, world, || AfterDrain::Script) {
            Planning::Known(plans) => Self::single(plans).map_or(plan, |planned| planned.plan),
            Planning::Needless(_) => plan,
            Planning::Asked => return None,
        };
        Some(Source { text, plan, planned_in: self.planned_in })
    }

    fn script_statement(&mut self, statement: Next) -> Step {
        let Next { text, shift, marks, leaves, meaning, source } = statement;
        let plan = meaning.plan.clone();
        let spelled = self.spelled(&text, &source.text, plan.marks);
        self.segment.unsettled |= marks.settings || marks.temporary || unsettles(&plan.action);
        if !self.stands_alone() && !matches!(plan.action, Action::Transaction(Transaction::Begin { .. })) {
            self.wrap();
        }
        if let (Block::Wrapped, Action::Transaction(transaction)) = (self.block, &plan.action)
            && let Some(step) = self.outside_of_a_block(transaction, &text, shift)
        {
            return step;
        }
        match &plan.action {
            Action::Write(write) => {
                let execution = Execution::Write(self.write_execution(write, marks, source, Share::default()));
                self.script_write(&spelled, write, &meaning, execution, shift);
                Step::Next
            }
            Action::Captured(captured) => self.script_captured(&spelled, captured, marks, source, shift),
            Action::Objects(objects) => {
                let done = self.objects_run(objects, marks, source);
                self.send(&spelled, &[], Shape::Whole, Execution::Pass { done }, shift);
                Step::Next
            }
            Action::Transaction(Transaction::Commit { chain }) => self.script_commit(text, *chain, shift),
            Action::Ddl(ddl) => self.script_ddl(&text, ddl, marks, &plan, source.planned_in, shift),
            Action::Image(image) => {
                self.script_image(image, &text, marks, source, shift);
                Step::Wait
            }
            Action::CopyIn(_) | Action::CopyRows(_) | Action::CopyUnknown(_) => {
                if self.owed.is_empty() {
                    self.script_copy(&plan.action, text, marks, source, shift);
                    self.step_script();
                }
                self.drain(AfterDrain::Script);
                Step::Wait
            }
            Action::Utility(utility) => self.script_utility(text, utility.clone(), shift),
            Action::Refuse(fault) => {
                self.poison(fault.clone(), shift);
                Step::Next
            }
            Action::Unparsed => self.script_unknown(&text, Self::not_understood(), source.planned_in, shift),
            Action::Unknown(fault) => self.script_unknown(&text, fault.clone(), source.planned_in, shift),
            Action::ShowPoolNodes => {
                let sql = self.pool_nodes.clone();
                self.send(sql.as_bytes(), &[], Shape::Whole, Execution::Pass { done: Done::default() }, shift);
                Step::Next
            }
            _ => {
                let next = Next { text, shift, marks, leaves, meaning, source };
                self.script_passed(&plan, &next);
                Step::Next
            }
        }
    }

    /// The leader may have an error of its own for it.
    fn script_unknown(&mut self, text: &Bytes, fault: Fault, planned_in: SchemaEpoch, shift: u32) -> Step {
        self.segment.planned_in.get_or_insert(planned_in);
        frontend::parse(&mut self.leader_out, b"", text, &[]);
        self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, shift);
        self.poison(fault, shift);
        Step::Next
    }

    /// What the leader runs as it is, and followers get nothing of.
    fn script_passed(&mut self, plan: &Arc<Plan>, next: &Next) {
        let Next { text, shift, marks, leaves, source, .. } = next;
        if let Action::Transaction(transaction) = &plan.action {
            self.sent_transaction(transaction);
        }
        let note = self.note_for(plan, text, source.planned_in);
        let runs_on = self.runs_on(&plan.action, *leaves);
        if let Some(captured) = &runs_on {
            self.writes(source.planned_in);
            self.before_capture(captured);
        }
        let Keeps { memory, locks } = self.keeps(plan, Given::NOTHING);
        let memory = remembered(plan, text).or(memory);
        let again = self.notes(*leaves).then(|| Retold::new(OWN_NAME, text, &[], frontend::NO_PARAMETERS, &[]));
        let (again, waived, looks) = (again.map(Box::new), plan.waived.clone(), locks.is_some());
        let done = Done { note, marks: *marks, memory, waived, source: None, again, locks };
        self.send(text, &[], Shape::Whole, Execution::Pass { done }, *shift);
        if let Some(captured) = &runs_on {
            self.capture_rows(captured);
        }
        self.look_at_locks(looks);
    }

    fn script_captured(
        &mut self,
        text: &Bytes,
        captured: &Arc<Captured>,
        marks: Marks,
        source: Source,
        shift: u32,
    ) -> Step {
        if captured.copies && !self.owed.is_empty() {
            self.drain(AfterDrain::Script);
            return Step::Wait;
        }
        self.writes(source.planned_in);
        self.before_capture(captured);
        let waived = source.plan.waived.clone();
        let done = Done { marks, source: Some(Box::new(source)), waived, ..Done::default() };
        self.send(text, &[], Shape::Whole, Execution::Pass { done }, shift);
        self.capture_rows(captured);
        if !captured.copies {
            return Step::Next;
        }
        self.step_script();
        self.drain(AfterDrain::Script);
        Step::Wait
    }

    fn script_ddl(
        &mut self,
        text: &Bytes,
        ddl: &Ddl,
        marks: Marks,
        plan: &Plan,
        planned_in: SchemaEpoch,
        shift: u32,
    ) -> Step {
        let Some(text) = self.ready_for_ddl(ddl, text, AfterDrain::Script) else { return Step::Wait };
        self.changes_schema(planned_in, marks);
        let note = Note::Schema(for_followers(&text, marks));
        let done = Done { note, marks, waived: plan.waived.clone(), ..Done::default() };
        self.segment.unsettled = true;
        self.send(text.as_bytes(), &[], Shape::Whole, Execution::Pass { done }, shift);
        Step::Next
    }

    fn script_write(&mut self, text: &Bytes, write: &Write, meaning: &Meaning, execution: Execution, shift: u32) {
        let (formats, shape) = (self.result_formats(write, &[]), shape_of(write));
        if let Some(prepared) = &meaning.prepared {
            self.prepare_own(prepared);
            let text = renamed(text, &self.readable(text));
            self.send(&text, &formats, shape, execution, shift);
            self.close_own();
        } else if meaning.named.is_some() {
            self.send(text, &formats, shape, execution, shift);
        } else {
            self.send(&with_append(text, &write.append), &formats, shape, execution, shift);
        }
    }

    /// Transaction control in a string's implicit transaction: to the client there is no block. `None`: it goes its way.
    fn outside_of_a_block(&mut self, transaction: &Transaction, text: &Bytes, shift: u32) -> Option<Step> {
        let refused = match transaction {
            Transaction::Begin { .. } => {
                self.sent_transaction(transaction);
                let done = Done { note: Note::Transaction(transaction.clone()), ..Done::default() };
                self.send(text, &[], Shape::Whole, Execution::Begin { by_client: Some(done) }, shift);
                return Some(Step::Next);
            }
            Transaction::Commit { chain: false } | Transaction::Rollback { chain: false } => {
                if !self.owed.is_empty() {
                    self.drain(AfterDrain::Script);
                    return Some(Step::Wait);
                }
                let none = Fault::error(SqlState::NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
                self.tell(|out| notice::warning(out, &none));
                return None;
            }
            Transaction::Modes { .. } => return None,
            Transaction::Commit { chain: true } => "COMMIT AND CHAIN",
            Transaction::Rollback { chain: true } => "ROLLBACK AND CHAIN",
            Transaction::Savepoint { .. } => "SAVEPOINT",
            Transaction::Release { .. } => "RELEASE SAVEPOINT",
            Transaction::RollbackTo { .. } => "ROLLBACK TO SAVEPOINT",
        };
        let why = format!("{refused} can only be used in transaction blocks");
        self.poison(Fault::error(SqlState::NO_ACTIVE_TRANSACTION, why), 0);
        Some(Step::Next)
    }

    /// Whether the Query is one statement.
    fn stands_alone(&self) -> bool {
        self.segment.script.as_ref().is_some_and(|s| s.alone)
    }

    fn script_commit(&mut self, text: Bytes, chain: bool, shift: u32) -> Step {
        if !self.owed.is_empty() {
            self.drain(AfterDrain::Script);
            return Step::Wait;
        }
        self.step_script();
        let refused = chain && self.block != Block::Explicit;
        if self.has_effects() && !refused {
            self.begin_commit(CommitVia::Script { sql: text, chain });
            return Step::Wait;
        }
        let commit = Transaction::Commit { chain };
        self.sent_transaction(&commit);
        let done = Done { note: Note::Transaction(commit), ..Done::default() };
        self.send(&text, &[], Shape::Whole, Execution::Pass { done }, shift);
        self.drain(AfterDrain::Script);
        Step::Wait
    }

    fn script_utility(&mut self, sql: Bytes, utility: Utility, shift: u32) -> Step {
        if !self.stands_alone() || self.block != Block::None {
            // The leader's own error: it cannot run inside a transaction block.
            self.wrap();
            self.send(&sql, &[], Shape::Whole, Execution::Pass { done: Done::default() }, shift);
            return Step::Next;
        }
        if !self.knows_settings(AfterDrain::Script) {
            return Step::Wait;
        }
        self.step_script();
        self.begin_commit(CommitVia::Utility(Command { sql, utility }));
        Step::Wait
    }
}
