//! The leader's messages, by what is owed.

use bytes::{Buf, BytesMut};

use super::commit::CommitVia;
use super::{AfterDrain, Gate, Session, World};
use crate::effect::RowKind;
use crate::fault::SqlState;
use crate::limits;
use crate::plan::ClientColumns;
use crate::reply::{Execution, Own, What};
use crate::wire::backend::{self};
use crate::wire::frontend;
use crate::wire::notice::{self, Fields};
use crate::wire::{Frame, Malformed, frame};

/// What was said while deferred triggers fired: as if nobody but the server had made them fire.
fn settled(frame: &Frame) -> Result<Fields, Malformed> {
    let mut fields = Fields::read(frame.body())?;
    fields.forget_caller("lockstep.settle()", "SET CONSTRAINTS ");
    fields.forget_caller("lockstep.settle_hidden(", "lockstep.settle_hidden(");
    Ok(fields)
}

/// An INSERT whose client asks for no row: only we do.
fn reads_back_alone(what: &What) -> bool {
    let What::Execution(Execution::Write(execution)) = what else { return false };
    let write = &execution.write;
    write.client_columns == ClientColumns::None && write.effect.kind == RowKind::Insert
}

/// How far followers' sequences are with the setval whose answer is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Levelling {
    Not,
    Asked,
    Done,
}

/// Which question for a level it was: the answer to one that was given up is not that to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LevelNumber(u64);

const READS_BACK: &str = "What a write has changed is read back to be replicated: besides its other rights the role needs SELECT on the table.";

impl Session {
    /// Takes what the leader has sent. True when something was done.
    pub(super) fn leader_frames(&mut self, world: &mut World<'_>) -> bool {
        let mut progress = false;
        if self.lost.is_some() {
            // One that does not lead any more may not know it.
            self.leader_in.clear();
        }
        if !self.leader_in.is_empty() && !self.may_tell_values() {
            return false;
        }
        while !self.leader_in.is_empty() {
            if self.is_overtaken() {
                self.run_again();
            }
            if self.passing == 0 && self.awaits_level() {
                return progress;
            }
            if self.pass_on() {
                progress = true;
                continue;
            }
            let (tag, size) = match frame::peek(&self.leader_in, limits::MESSAGE) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(fault) => {
                    self.fail(format!("the leader's messages cannot be followed: {fault}"));
                    return true;
                }
            };
            if self.leader_in.len() < size {
                break;
            }
            progress = true;
            let frame = Frame { tag, raw: self.leader_in.split_to(size).freeze() };
            if let Err(malformed) = self.leader_frame(frame) {
                self.fail(format!("the leader sent a malformed message of type {:?}: {malformed}", char::from(tag)));
                return true;
            }
            self.put_out_who_lacks_rows(world.membership);
        }
        self.values_noted = false;
        if self.owed.is_empty() && self.gate == Gate::Drain {
            self.drained(world);
            return true;
        }
        progress
    }

    /// Whether values that were drawn from sequences may go to the client: when it is known that sequences have moved, and
    /// the leader still leads after that was made known. So whoever makes another node lead either knows of it, and moves
    /// that node's sequences past them, or the client does not get them.
    ///
    /// It was told when the statement was sent, but since then sequences may have been found level.
    fn may_tell_values(&mut self) -> bool {
        if !self.owed.iter().any(|owed| owed.what.marks().sequences) {
            return true;
        }
        if self.leads && !self.values_noted {
            self.move_sequences();
            self.values_noted = true;
            // Who leads is looked up once more before the next turn.
            return false;
        }
        self.leads
    }

    /// Whether the end of a setval is next, and followers' sequences are not known to be there, too. A value that was put by
    /// hand is in no row, and may be lower than what was given out: a new leader could not tell it.
    fn awaits_level(&mut self) -> bool {
        if self.leader_in.first() != Some(&backend::COMMAND_COMPLETE) || !self.sets_sequence() {
            return false;
        }
        match self.levelling {
            Levelling::Not => {
                self.level_number.0 += 1;
                self.levelling = Levelling::Asked;
                self.actions.push_back(super::Action::Level(self.level_number));
                true
            }
            Levelling::Asked => true,
            Levelling::Done => {
                self.levelling = Levelling::Not;
                false
            }
        }
    }

    fn sets_sequence(&self) -> bool {
        self.owed.front().is_some_and(|owed| owed.what.marks().setval)
    }

    /// Followers' sequences are where the leader's were when that was asked for, or could not be put there.
    pub fn levelled(&mut self, number: LevelNumber) {
        if self.levelling == Levelling::Asked && number == self.level_number {
            self.levelling = Levelling::Done;
        }
    }

    /// Moves what needs no look on to the client: as many messages as there are in one go, and the part of a long one
    /// that has arrived.
    fn pass_on(&mut self) -> bool {
        if self.passing == 0 {
            let Some(front) = self.owed.front() else { return false };
            let mut end = 0;
            while let Ok(Some((tag, size))) = frame::peek(&self.leader_in[end..], limits::MESSAGE) {
                // The end of a setval is looked at by itself.
                let is_end = tag == backend::COMMAND_COMPLETE && end > 0 && front.what.marks().setval;
                if is_end || !front.passes(tag) {
                    break;
                }
                end += size;
                if end >= self.leader_in.len() {
                    break;
                }
            }
            self.passing = end;
        }
        let now = self.passing.min(self.leader_in.len());
        if now == 0 {
            return false;
        }
        self.passing -= now;
        let whole = now == self.leader_in.len();
        self.tell(|_| ());
        if whole && self.client_out.is_empty() {
            std::mem::swap(&mut self.client_out, &mut self.leader_in);
        } else {
            self.client_out.extend_from_slice(&self.leader_in[..now]);
            self.leader_in.advance(now);
        }
        true
    }

    fn leader_frame(&mut self, frame: Frame) -> Result<(), Malformed> {
        match frame.tag {
            backend::NOTICE_RESPONSE if self.is_flushing() => self.captured_row(&frame)?,
            backend::NOTICE_RESPONSE => {
                if !self.note_object(&frame)? {
                    self.check_notice(&frame)?;
                    if self.is_settling() {
                        let mut notice = BytesMut::new();
                        settled(&frame)?.write_notice(&mut notice);
                        self.untold.before_done(&notice);
                    } else if !self.speaks_to_us() {
                        self.tell_raw(&frame.raw);
                    }
                }
            }
            // Neither belongs to a statement: the segment can still be run again unseen.
            backend::NOTIFICATION_RESPONSE => self.client_out.extend_from_slice(&frame.raw),
            backend::PARAMETER_STATUS => {
                let (name, value) = backend::read_parameter_status(frame.body())?;
                self.parameters.insert(name, value);
                self.client_out.extend_from_slice(&frame.raw);
            }
            backend::ERROR_RESPONSE => self.leader_error(frame)?,
            _ => self.leader_answer(frame)?,
        }
        Ok(())
    }

    /// Whether notices are about something that we put in.
    fn speaks_to_us(&self) -> bool {
        match self.owed.front().map(|o| &o.what) {
            Some(What::Own { purpose, .. } | What::Execution(Execution::Own(purpose))) => {
                !matches!(purpose, Own::Commit)
            }
            Some(What::Execution(Execution::Begin { .. })) => true,
            _ => false,
        }
    }

    /// Deferred triggers of users fire, within a function of ours.
    fn is_settling(&self) -> bool {
        matches!(self.owed.front().map(|o| &o.what), Some(What::Execution(Execution::Own(Own::Settle))))
    }

    fn leader_error(&mut self, frame: Frame) -> Result<(), Malformed> {
        let mut fields = if self.is_settling() { settled(&frame)? } else { Fields::read(frame.body())? };
        if fields.is_fatal() && fields.state() == SqlState::PROTOCOL_VIOLATION.0.as_bytes() {
            // What the client has sent is passed on as it is where a COPY takes it: it is the client's fault.
            self.tell_raw(&frame.raw);
            self.close();
            return Ok(());
        }
        if fields.is_fatal() {
            // The connection ends. Whether the client is told depends on what is with the node.
            self.last_word = Some(frame);
            return Ok(());
        }
        if self.changed_unseen(&fields) {
            return Ok(());
        }
        if self.unit.watch.is_some() {
            self.doubt_prepared();
        }
        self.forget_captured();
        // What was to close a statement of ours may be among what the leader passes over now.
        self.own_left = true;
        if self.committing.is_some() && !matches!(self.owed.front().map(|o| &o.what), Some(What::Own { .. })) {
            self.cut_owed();
            // The check of constraints, or COMMIT by Execute.
            self.leader_answered_commit(Some(fields), None);
            return Ok(());
        }
        let reads_back = self.owed.iter().any(|owed| reads_back_alone(&owed.what));
        if reads_back && fields.state() == SqlState::INSUFFICIENT_PRIVILEGE.0.as_bytes() {
            fields.hint(READS_BACK);
        }
        self.place_before(&mut fields);
        let Some(front) = self.owed.front_mut() else {
            self.fail(format!("the leader sent an error to nothing: {}", fields.message()));
            return Ok(());
        };
        let shift = front.shift;
        match &mut front.what {
            What::Own { error, .. } => {
                error.get_or_insert(fields);
                return Ok(());
            }
            What::Raw { failed, .. } => {
                *failed = true;
                self.copy_asked = false;
                self.gate = Gate::Ending;
                self.tell_error(&fields);
                return Ok(());
            }
            What::Refusal(fault) => {
                let fault = fault.clone();
                let fault = self.by_the_present_schema(fault);
                self.cut_owed();
                self.tell(|out| notice::error(out, &fault));
            }
            _ => {
                if self.landing.is_some() {
                    self.reword_for_copy(&mut fields);
                } else if let (Some(position), true) = (fields.position(), shift > 0) {
                    fields.set_position(position + shift);
                }
                self.cut_owed();
                self.tell_error(&fields);
            }
        }
        self.segment_failed();
        Ok(())
    }

    /// In a transaction that a takeover has ended, the first error is the reason, not "the transaction is aborted", nor that
    /// the savepoint which is gone back to does not exist.
    pub(super) fn tell_error(&mut self, fields: &Fields) {
        let of_the_loss = [SqlState::IN_FAILED_TRANSACTION, SqlState::NO_SUCH_SAVEPOINT];
        match self.instead.take_if(|_| of_the_loss.iter().any(|state| fields.state() == state.0.as_bytes())) {
            Some(fault) => self.tell(|out| notice::error(out, &fault)),
            None => self.tell(|out| fields.write_error(out)),
        }
    }

    /// After an error the leader passes everything over up to Sync, and so does what is owed.
    fn cut_owed(&mut self) {
        let end = self
            .owed
            .iter()
            .position(|o| matches!(o.what, What::Ready(_) | What::Own { .. }))
            .unwrap_or(self.owed.len());
        let cut: Vec<_> = self.owed.drain(..end).collect();
        for owed in cut.into_iter().rev() {
            let What::Ack { undo, .. } = owed.what else { continue };
            self.undo(undo);
        }
    }

    /// An error was told: the rest of the segment is passed over, by the leader and here.
    pub(super) fn segment_failed(&mut self) {
        self.segment.failed = true;
        self.untold.clear();
        self.block = self.told_block;
        self.forget_answers();
        let sync_is_ours = match self.after_drain.take() {
            Some(AfterDrain::End) => true,
            Some(AfterDrain::Frame(frame)) if frame.tag == frontend::QUERY => true,
            _ => self.segment.script.is_some() && !self.segment.synced,
        };
        // Or a BEGIN that had waited has failed, and the leader passes over the Query behind it.
        let unanswered = self.segment.synced && self.owed.is_empty();
        if sync_is_ours || unanswered {
            self.segment.synced = true;
            self.sync();
        }
        self.gate = if self.segment.synced { Gate::Ending } else { Gate::Open };
    }

    /// Everything that was sent has been answered.
    fn drained(&mut self, world: &mut World<'_>) {
        if self.gathers {
            return self.gather();
        }
        let cancelled = std::mem::take(&mut self.segment.cancelled);
        match self.after_drain.take() {
            Some(then) if cancelled && then.is_unsent() => self.give_up_unsent(then),
            Some(AfterDrain::Frame(frame) | AfterDrain::Pipeline(frame)) => {
                self.gate = Gate::Open;
                self.client_frame(frame, world);
            }
            Some(AfterDrain::Script) => {
                self.gate = Gate::Ending;
                self.run_script(world);
            }
            Some(AfterDrain::Image) => self.image_step(world),
            Some(AfterDrain::Overtaken(via)) => self.check_overtaken(via, world),
            Some(AfterDrain::End) => self.begin_commit(CommitVia::Segment),
            None => self.gate = Gate::Open,
        }
    }
}
