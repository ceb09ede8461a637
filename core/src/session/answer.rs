//! What the leader's answers mean, each by what is owed for it.

use bytes::BytesMut;

use super::commit::CommitVia;
use super::encoding::Encoding;
use super::{AfterDrain, Block, Gate, Session};
use crate::fault::{Fault, SqlState};
use crate::reply::kept::Locks;
use crate::reply::{Done, Execution, Note, Owed, Own, Ready, Shape, To, Undo, What, cut_description};
use crate::wire::backend::{self, Status};
use crate::wire::{Frame, Malformed, frontend};

impl Session {
    pub(super) fn leader_answer(&mut self, frame: Frame) -> Result<(), Malformed> {
        let Some(mut front) = self.owed.pop_front() else {
            self.fail(format!("the leader sent a message of type {:?} to nothing", char::from(frame.tag)));
            return Ok(());
        };
        let shift = front.shift;
        let again = match (&mut front.what, frame.tag) {
            (What::Ack { to, undo }, backend::PARSE_COMPLETE | backend::BIND_COMPLETE | backend::CLOSE_COMPLETE) => {
                let (told, again) = (*to == To::Client, self.may_come_again(undo));
                match (told, again) {
                    (true, true) => self.answer(&frame.raw),
                    (true, false) => self.tell_raw(&frame.raw),
                    (false, _) => {}
                }
                false
            }
            (What::Statement { .. }, backend::PARAMETER_DESCRIPTION) => {
                self.answer(&frame.raw);
                true
            }
            (What::Statement { shape }, backend::ROW_DESCRIPTION | backend::NO_DATA) => {
                self.description(&frame, *shape, To::Client)?;
                false
            }
            (What::Portal { shape, to }, backend::ROW_DESCRIPTION | backend::NO_DATA) => {
                self.description(&frame, *shape, *to)?;
                false
            }
            (What::Execution(_), _) => {
                let What::Execution(execution) = front.what else { return Ok(()) };
                self.execution_answer(execution, shift, frame)?;
                return Ok(());
            }
            (What::Raw { .. } | What::Own { .. }, _) => self.query_answer(&mut front.what, &frame)?,
            (What::Ready(ready), backend::READY_FOR_QUERY) => {
                let ready = *ready;
                self.leader_ready(Status::read(frame.body())?);
                match ready {
                    Ready::Segment if self.segment.unchains => self.unchain(),
                    Ready::Segment => self.segment_end(),
                    Ready::Ours => {}
                }
                false
            }
            (what, tag) => return self.strange_answer(what, tag),
        };
        if again {
            self.owed.push_front(front);
        }
        Ok(())
    }

    /// The answer to a Query, of the client or of ours. True: more is to come.
    fn query_answer(&mut self, what: &mut What, frame: &Frame) -> Result<bool, Malformed> {
        let again = match (what, frame.tag) {
            (What::Raw { .. }, backend::COPY_IN_RESPONSE) => {
                self.copy_asked = true;
                self.gate = Gate::Open;
                self.tell_raw(&frame.raw);
                true
            }
            (What::Raw { done: Done { note: Note::MakesObject(format), .. }, .. }, backend::FUNCTION_CALL_RESPONSE) => {
                self.object_made(*format, frame)?;
                self.tell_raw(&frame.raw);
                true
            }
            (What::Raw { done, .. }, backend::COMMAND_COMPLETE) if self.commits_what_was_lost(done) => {
                self.tell_loss(done);
                true
            }
            (What::Raw { .. }, backend::COMMAND_COMPLETE) => {
                self.untold.done(&frame.raw);
                true
            }
            (What::Raw { done, failed }, backend::READY_FOR_QUERY) => {
                if !*failed {
                    let done = done.clone();
                    self.apply(&done);
                }
                let failed = *failed;
                self.leader_ready(Status::read(frame.body())?);
                self.raw_ended(failed);
                false
            }
            (What::Own { purpose: Own::Play, .. }, tag) if tag != backend::READY_FOR_QUERY => {
                self.recital.take(tag, &frame.body());
                true
            }
            (What::Own { tag, .. }, backend::COMMAND_COMPLETE) => {
                *tag = Some(backend::read_command_complete(frame.body())?);
                true
            }
            (What::Own { purpose, error, tag }, backend::READY_FOR_QUERY) => {
                self.leader_ready(Status::read(frame.body())?);
                let (purpose, error, tag) = (*purpose, error.take(), tag.take());
                self.own_done(purpose, error, tag);
                false
            }
            (What::Own { .. }, backend::ROW_DESCRIPTION | backend::DATA_ROW | backend::EMPTY_QUERY_RESPONSE) => true,
            // Whatever the leader had to say to what is given up.
            (What::Own { purpose: Own::Again, .. }, tag) if tag != backend::READY_FOR_QUERY => true,
            (what, tag) => return self.strange_answer(what, tag).map(|()| false),
        };
        Ok(again)
    }

    /// A FunctionCall may have stood in a block of ours.
    fn raw_ended(&mut self, failed: bool) {
        if self.segment.unchains {
            return self.unchain();
        }
        if self.block != Block::Wrapped {
            return self.finish_segment(self.status);
        }
        self.segment.synced = true;
        if failed { self.segment_end() } else { self.begin_commit(CommitVia::Segment) }
    }

    fn strange_answer(&mut self, what: &What, tag: u8) -> Result<(), Malformed> {
        self.fail(format!("the leader answered {what:?} with a message of type {:?}", char::from(tag)));
        Ok(())
    }

    fn leader_ready(&mut self, status: Status) {
        self.status = status;
        self.encoding = Encoding::Reported;
        self.segment.open = !self.owed.is_empty();
    }

    fn description(&mut self, frame: &Frame, shape: Shape, to: To) -> Result<(), Malformed> {
        if frame.tag == backend::NO_DATA {
            if to == To::Client {
                self.answer(&frame.raw);
            }
            return Ok(());
        }
        match shape {
            Shape::Whole => self.answer(&frame.raw),
            Shape::Without(columns) => {
                let mut out = BytesMut::new();
                cut_description(frame.body(), columns, &mut out)?;
                self.answer(&out);
            }
            Shape::Nothing if to == To::Client => {
                let mut out = BytesMut::new();
                backend::bare(&mut out, backend::NO_DATA);
                self.answer(&out);
            }
            Shape::Nothing => {}
        }
        Ok(())
    }

    /// Rows and the end of an execution.
    fn execution_answer(&mut self, mut execution: Execution, shift: u32, frame: Frame) -> Result<(), Malformed> {
        let ended = match frame.tag {
            backend::DATA_ROW => {
                self.row(&mut execution, &frame)?;
                false
            }
            backend::COPY_IN_RESPONSE => {
                if let Execution::Unknown(fault) = execution {
                    frontend::copy_fail(&mut self.leader_out, "lockstep refuses this COPY");
                    self.owed.push_front(Owed { what: What::Refusal(fault), shift });
                    return Ok(());
                }
                self.copy_begins(&execution);
                self.tell_raw(&frame.raw);
                false
            }
            backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE => true,
            backend::PORTAL_SUSPENDED => {
                self.tell_raw(&frame.raw);
                return Ok(());
            }
            _ => return Err(Malformed::Field("type")),
        };
        if !ended {
            self.owed.push_front(Owed { what: What::Execution(execution), shift });
            return Ok(());
        }
        self.executed(execution, &frame);
        Ok(())
    }

    fn row(&mut self, execution: &mut Execution, frame: &Frame) -> Result<(), Malformed> {
        match execution {
            Execution::Write(write) => {
                let ours = write.write.effect.columns.len();
                let mut theirs = BytesMut::new();
                let wants = write.write.client_columns != crate::plan::ClientColumns::None;
                write.rows.take(&frame.body(), ours, wants.then_some(&mut theirs))?;
                if wants {
                    self.share_row(write, theirs);
                }
                self.log_rows(write, false);
            }
            Execution::ImageRows(write) => {
                write.rows.take(&frame.body(), write.write.effect.columns.len(), None)?;
                self.log_rows(write, false);
            }
            Execution::Own(Own::Objects) => self.object_line(frame)?,
            Execution::Own(_) => self.collected.push(backend::read_data_row(frame.body())?),
            Execution::Pass { done } => {
                if let Some(again) = &mut done.again {
                    again.take_row(&frame.body());
                }
                if let Some(Locks::Known(calls)) = done.locks.as_deref() {
                    self.note_locks(calls, frame)?;
                }
                self.answer(&frame.raw);
            }
            _ => self.answer(&frame.raw),
        }
        Ok(())
    }

    fn log_rows(&mut self, write: &mut crate::reply::WriteExecution, end: bool) {
        if !end && write.rows.may_wait(&write.write.effect) {
            return;
        }
        if !write.rows.is_empty() {
            self.note_encoding();
            self.note_role();
        }
        let effect = write.write.effect.clone();
        if let Err(too_many) = write.rows.flush(&effect, &mut self.unit.log, end) {
            self.doom(
                Fault::error(SqlState::PROGRAM_LIMIT_EXCEEDED, too_many.to_string())
                    .with_hint("Change fewer rows at once."),
            );
            write.rows = crate::reply::Rows::default();
        }
        self.spill();
    }

    /// The leader wants COPY data. Syncs that were sent before it have been passed over by it (documentation, "COPY
    /// Operations").
    fn copy_begins(&mut self, execution: &Execution) {
        if matches!(execution, Execution::Copy { ended: true, .. } | Execution::Landing { ended: true }) {
            return;
        }
        self.copy_asked = true;
        self.owed.retain(|o| !matches!(o.what, What::Ready(_)));
        self.after_drain.take_if(|then| matches!(then, AfterDrain::End));
        self.segment.synced = false;
        self.gate = Gate::Open;
    }

    fn executed(&mut self, execution: Execution, frame: &Frame) {
        match execution {
            Execution::Begin { by_client: None } => self.told_block = Block::Wrapped,
            Execution::Begin { by_client: Some(done) } => {
                self.completed(&frame.raw);
                self.apply(&done);
            }
            Execution::Own(Own::Commit) => match backend::read_command_complete(frame.body()) {
                Ok(tag) => self.leader_answered_commit(None, Some(tag)),
                Err(malformed) => {
                    self.fail(format!("the leader answered COMMIT with a malformed message: {malformed}"))
                }
            },
            Execution::Own(purpose) => self.asked(purpose),
            Execution::Pass { done } if self.commits_what_was_lost(&done) => {
                self.apply(&done);
                self.tell_loss(&done);
                self.segment_failed();
            }
            Execution::Pass { done } => {
                self.copy_asked = false;
                self.warn_of(&done);
                self.completed(&frame.raw);
                self.apply(&done);
            }
            Execution::Write(mut write) => {
                self.log_rows(&mut write, true);
                self.unit.deferrable |= write.write.deferrable;
                self.check_source(write.source.clone());
                if write.copies {
                    self.landed(frame);
                } else if write.share.is_suspended() {
                    self.tell(|out| backend::bare(out, backend::PORTAL_SUSPENDED));
                } else {
                    self.completed(&frame.raw);
                }
                let tag = backend::read_command_complete(frame.body()).unwrap_or_default();
                self.keep_rows(&mut write, tag);
                self.apply(&write.done);
            }
            Execution::Image => self.image_run(frame),
            Execution::ImageRows(mut write) => self.log_rows(&mut write, true),
            Execution::Copy { done, source, .. } => {
                self.check_source(*source);
                self.completed(&frame.raw);
                self.apply(&done);
            }
            // Told when its rows have been moved.
            Execution::Landing { .. } => {}
            Execution::Unknown(_) => self.fail("the leader has ended a COPY without data".to_owned()),
        }
    }

    /// In a script the last CommandComplete must not be told before the commit.
    pub(super) fn completed(&mut self, complete: &[u8]) {
        if self.segment.script.is_none() {
            return self.answer(complete);
        }
        if !self.is_watched() && !self.may_hold(complete.len()) {
            self.tell(|_| ());
        }
        self.untold.done(complete);
    }

    /// Whether the segment may be run again though the leader has done this: it is done anew then, to the same end.
    fn may_come_again(&self, undo: &Undo) -> bool {
        match undo {
            Undo::Nothing => true,
            // The unnamed statement is made anew, and nothing before it in the segment has used the one that it replaces.
            Undo::Forget(name) => name.is_empty() && self.untold.is_empty(),
            Undo::Restore(..) | Undo::Outdated(_) => false,
        }
    }
}
