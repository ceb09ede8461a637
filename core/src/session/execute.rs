//! Execute: a portal runs, by its statement's plan.

use std::sync::Arc;

use bytes::Bytes;

use super::commit::{Command, CommitVia};
use super::done::for_followers;
use super::extended::{no_portal, unsettles};
use super::locks::Keeps;
use super::names::renamed;
use super::portal::{Portal, Run};
use super::simple::remembered;
use super::{AfterDrain, Block, Session};
use crate::plan::{Action, Captured, Ddl, Leaves, Marks, Plan, Planned, Transaction, Utility, Write};
use crate::reply::{Done, Execution, Note, Share, Source, What};
use crate::wire::Frame;
use crate::wire::frontend::{self, Execute};

impl Session {
    pub(super) fn execute(&mut self, execute: &Execute<&[u8]>, frame: &Frame) {
        let Some(portal) = self.portals.get(execute.portal).cloned() else {
            if execute.portal.is_empty() {
                // The leader may have one of ours.
                return self.poison(no_portal(), 0);
            }
            return self.execute_cursor(frame);
        };
        let Some(Planned { span, plan: outer }) = &portal.statement.planned else {
            return self.execute_on_leader(frame, Execution::Pass { done: Done::default() });
        };
        let text = || portal.statement.sql.slice(span.clone());
        let plan = &portal.meaning.plan;
        let marks = outer.marks.or(plan.marks);
        self.segment.unsettled |= marks.settings || marks.temporary || unsettles(&plan.action);
        self.waive(plan, portal.statement.epoch);
        let leaves = outer.leaves.max(plan.leaves);
        self.runs_portal(execute, leaves);
        match &plan.action {
            Action::Write(write) if matches!(portal.run, Run::Not) => {
                self.execute_write(execute, &portal, write, marks)
            }
            Action::Write(write) => self.execute_again(execute, &portal, write, frame),
            Action::Captured(captured) if captured.copies && !self.owed.is_empty() => {
                self.postpone(frame);
            }
            Action::Captured(captured) => self.execute_captured(captured, marks, portal.source(), frame),
            Action::Objects(objects) => {
                let done = self.objects_run(objects, marks, portal.source());
                self.execute_on_leader(frame, Execution::Pass { done });
            }
            Action::Transaction(Transaction::Commit { chain }) => self.execute_commit(*chain, frame),
            Action::Ddl(ddl) => self.execute_ddl(ddl, &text(), marks, plan, frame),
            Action::Image(image) => {
                let then = AfterDrain::Frame(frame.clone());
                if self.begin_image(image, &text(), marks, portal.source(), then) {
                    self.segment.unsettled = true;
                    self.execute_on_leader(frame, Execution::Image);
                    self.drain(AfterDrain::Image);
                }
            }
            Action::CopyIn(_) | Action::CopyRows(_) if !self.owed.is_empty() => self.postpone(frame),
            Action::CopyIn(copy) => {
                let execution = self.copy_execution(copy, marks, portal.source());
                self.execute_on_leader(frame, execution);
            }
            Action::Utility(utility) => self.execute_utility(text(), utility.clone(), frame),
            Action::CopyRows(copy) => {
                let before = portal.statement.readable[..span.start].chars().count();
                if self.begin_landing(copy, &text(), marks, portal.source(), before).is_some() {
                    self.execute_on_leader(frame, Execution::Landing { ended: copy.of_file });
                    self.move_from_file(&plan.action);
                }
            }
            Action::CopyUnknown(fault) => {
                self.execute_on_leader(frame, Execution::Unknown(Box::new(fault.clone())));
                self.await_answers();
            }
            Action::Refuse(fault) => self.poison(fault.clone(), 0),
            _ => self.execute_passed(&portal, &text(), marks, leaves, frame),
        }
    }

    /// What the leader runs as it is, and followers get nothing of.
    fn execute_passed(&mut self, portal: &Portal, text: &Bytes, marks: Marks, leaves: Leaves, frame: &Frame) {
        let plan = &portal.meaning.plan;
        let note = self.note_for(plan, text, portal.statement.epoch);
        if let Action::Transaction(transaction) = &plan.action {
            self.sent_transaction(transaction);
        }
        let again = portal.again.clone().filter(|_| self.notes(leaves));
        if again.is_none() && self.notes(leaves) {
            self.passes_on(Leaves::More);
        }
        let runs_on = self.runs_on(&plan.action, leaves);
        if let Some(captured) = &runs_on {
            self.writes(portal.statement.epoch);
            self.before_capture(captured);
        }
        let Keeps { memory, locks } = portal.keeps.clone();
        let (memory, waived, looks) = (remembered(plan, text).or(memory), plan.waived.clone(), locks.is_some());
        let done = Done { note, marks, memory, waived, source: None, again, locks };
        self.execute_on_leader(frame, Execution::Pass { done });
        if let Some(captured) = &runs_on {
            self.capture_rows(captured);
        }
        self.look_at_locks(looks);
    }

    /// A portal that Bind did not make is a cursor.
    fn execute_cursor(&mut self, frame: &Frame) {
        self.passes_on(Leaves::More);
        let runs_on = self.runs_on(&Action::Leader, Leaves::More);
        if let Some(captured) = &runs_on {
            self.writes(self.planned_in);
            self.before_capture(captured);
        }
        self.execute_on_leader(frame, Execution::Pass { done: Done::default() });
        if let Some(captured) = &runs_on {
            self.capture_rows(captured);
        }
    }

    fn runs_portal(&mut self, execute: &Execute<&[u8]>, leaves: Leaves) {
        let whole = execute.portal.is_empty() && execute.max_rows == 0;
        self.passes_on(if whole { leaves } else { Leaves::More });
        self.unit.unrun = false;
    }

    fn execute_ddl(&mut self, ddl: &Ddl, text: &Bytes, marks: Marks, plan: &Plan, frame: &Frame) {
        let Some(text) = self.ready_for_ddl(ddl, text, AfterDrain::Frame(frame.clone())) else { return };
        self.segment.unsettled = true;
        let note = Note::Schema(for_followers(&text, marks));
        let done = Done { note, marks, waived: plan.waived.clone(), ..Done::default() };
        self.execute_on_leader(frame, Execution::Pass { done });
    }

    fn execute_captured(&mut self, captured: &Arc<Captured>, marks: Marks, source: Source, frame: &Frame) {
        self.before_capture(captured);
        let waived = source.plan.waived.clone();
        let done = Done { marks, source: Some(Box::new(source)), waived, ..Done::default() };
        self.execute_on_leader(frame, Execution::Pass { done });
        self.capture_rows(captured);
    }

    fn execute_on_leader(&mut self, frame: &Frame, execution: Execution) {
        self.leader_out.extend_from_slice(&frame.raw);
        self.owe(What::Execution(execution), 0);
    }

    fn execute_write(&mut self, execute: &Execute<&[u8]>, portal: &Portal, write: &Arc<Write>, marks: Marks) {
        let limit = match write.client_columns {
            crate::plan::ClientColumns::None => 0,
            crate::plan::ClientColumns::Known(_) => usize::try_from(execute.max_rows).unwrap_or(0),
        };
        let share = Share::of_portal(Bytes::copy_from_slice(execute.portal), portal.serial, limit);
        let execution = Execution::Write(self.write_execution(write, marks, portal.source(), share));
        match &portal.meaning.prepared {
            None => {
                // A write runs to its end however few rows are asked for, and all of them are needed.
                frontend::execute(&mut self.leader_out, execute.portal, 0);
                self.owe(What::Execution(execution), 0);
            }
            Some(prepared) => {
                let text = renamed(&portal.statement.sql, &portal.statement.readable);
                let formats = self.result_formats(write, &[]);
                self.prepare_own(prepared);
                self.run_own(&text, &formats, execution);
                self.close_own();
            }
        }
        if let Some(portal) = self.portals.get_mut(execute.portal) {
            portal.run = Run::Sent;
        }
    }

    fn execute_commit(&mut self, chain: bool, frame: &Frame) {
        if !chain
            && self.block == Block::Explicit
            && self.has_effects()
            && let Some(unsent) = self.unsent().filter(|unsent| !unsent.executed)
        {
            self.take_back(&unsent);
            return self.begin_commit(CommitVia::Unsent { answers: unsent.answers.freeze() });
        }
        if !self.owed.is_empty() {
            return self.postpone(frame);
        }
        let refused = chain && self.block != Block::Explicit;
        if self.has_effects() && !refused {
            return self.begin_commit(CommitVia::Extended { execute: frame.clone(), chain });
        }
        let commit = Transaction::Commit { chain };
        self.sent_transaction(&commit);
        let done = Done { note: Note::Transaction(commit), ..Done::default() };
        self.execute_on_leader(frame, Execution::Pass { done });
    }

    fn execute_utility(&mut self, sql: Bytes, utility: Utility, frame: &Frame) {
        if !self.owed.is_empty() {
            return self.postpone(frame);
        }
        if self.block != Block::None {
            // The leader's own error: it cannot run inside a transaction block.
            self.wrap();
            return self.execute_on_leader(frame, Execution::Pass { done: Done::default() });
        }
        if self.knows_settings(AfterDrain::Frame(frame.clone())) {
            self.begin_commit(CommitVia::UtilityExtended(Command { sql, utility }));
        }
    }
}
