//! The leader's messages, by what is owed.

use bytes::{Buf, BytesMut};

use super::{AfterDrain, Block, Gate, Session, World};
use crate::effect::RowKind;
use crate::fault::{Fault, SqlState};
use crate::limits;
use crate::plan::ClientColumns;
use crate::reply::{Execution, Own, Ready, Shape, To, Undo, What, WriteExecution, cut_description};
use crate::wire::backend::{self, Status};
use crate::wire::frontend::{self, Target};
use crate::wire::notice::{self, Fields};
use crate::wire::{Frame, Malformed, frame};

/// An INSERT whose client asks for no row: only we do.
fn reads_back_alone(what: &What) -> bool {
    let What::Execution(Execution::Write(WriteExecution { write, .. })) = what else { return false };
    write.client_columns == ClientColumns::None && write.effect.kind == RowKind::Insert
}

const READS_BACK: &str = "What a write has changed is read back to be replicated: besides its other rights the role needs SELECT on the table.";

impl Session {
    /// Takes what the leader has sent. True when something was done.
    pub(super) fn leader_frames(&mut self, world: &mut World<'_>) -> bool {
        let mut progress = false;
        while !self.leader_in.is_empty() {
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
        }
        if self.owed.is_empty() && self.gate == Gate::Drain {
            self.drained(world);
            return true;
        }
        progress
    }

    /// Moves what needs no look on to the client: as many messages as there are in one go, and the part of a long one
    /// that has arrived.
    fn pass_on(&mut self) -> bool {
        if self.passing == 0 {
            let Some(front) = self.owed.front() else { return false };
            let mut end = 0;
            while let Ok(Some((tag, size))) = frame::peek(&self.leader_in[end..], limits::MESSAGE) {
                if !front.passes(tag) {
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
            backend::NOTICE_RESPONSE => {
                if !self.speaks_to_us() {
                    self.tell_raw(&frame.raw);
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
            Some(What::Own { purpose, .. }) => !matches!(purpose, Own::Commit),
            Some(What::Execution(Execution::Begin | Execution::Own(_))) => true,
            _ => false,
        }
    }

    fn leader_error(&mut self, frame: Frame) -> Result<(), Malformed> {
        let mut fields = Fields::read(frame.body())?;
        if fields.is_fatal() {
            // The connection ends. Whether the client is told depends on what is with the node.
            self.last_word = Some(frame);
            return Ok(());
        }
        // What was to close a statement of ours may be among what the leader passes over now.
        self.own_left = true;
        let reads_back = self.owed.iter().any(|owed| reads_back_alone(&owed.what));
        let Some(front) = self.owed.front_mut() else {
            self.fail(format!("the leader sent an error to nothing: {}", fields.message()));
            return Ok(());
        };
        let shift = front.shift;
        if reads_back && fields.state() == SqlState::INSUFFICIENT_PRIVILEGE.0.as_bytes() {
            fields.set_hint(READS_BACK);
        }
        match &mut front.what {
            What::Own { error, .. } => {
                error.get_or_insert(fields);
                return Ok(());
            }
            What::Raw { failed, .. } => {
                *failed = true;
                self.copy_asked = false;
                self.tell_error(&fields);
                return Ok(());
            }
            What::Refusal(fault) => {
                let fault = fault.clone();
                self.cut_owed();
                self.tell(|out| notice::error(out, &fault));
            }
            _ => {
                self.cut_owed();
                if let (Some(position), true) = (fields.position(), shift > 0) {
                    fields.set_position(position + shift);
                }
                self.tell_error(&fields);
            }
        }
        self.segment_failed();
        Ok(())
    }

    /// In a transaction that a takeover has ended, the first error is the reason, not "the transaction is aborted".
    pub(super) fn tell_error(&mut self, fields: &Fields) {
        match self.instead.take_if(|_| fields.state() == SqlState::IN_FAILED_TRANSACTION.0.as_bytes()) {
            Some(fault) => self.tell(|out| notice::error(out, &fault)),
            None => self.tell(|out| fields.write_error(out)),
        }
    }

    /// After an error the leader passes everything over up to Sync, and so does what is owed.
    fn cut_owed(&mut self) {
        let end = self.owed.iter().position(|o| matches!(o.what, What::Ready(_))).unwrap_or(self.owed.len());
        let cut: Vec<_> = self.owed.drain(..end).collect();
        for owed in cut.into_iter().rev() {
            let What::Ack { undo, .. } = owed.what else { continue };
            match undo {
                Undo::Nothing => {}
                Undo::Forget(name) => {
                    self.statements.remove(&name);
                }
                Undo::Restore(target, name, statement) => {
                    let map = match target {
                        Target::Statement => &mut self.statements,
                        Target::Portal => &mut self.portals,
                    };
                    map.insert(name, *statement);
                }
            }
        }
    }

    /// An error was told: the rest of the segment is passed over, by the leader and here.
    fn segment_failed(&mut self) {
        self.segment.failed = true;
        self.segment.held.clear();
        self.block = self.told_block;
        self.copy_asked = false;
        self.copy_words = None;
        self.settings = None;
        self.loader = None;
        self.collected.clear();
        let query_waits = matches!(self.after_drain.take(), Some(AfterDrain::Frame(f)) if f.tag == frontend::QUERY);
        if self.segment.synced {
            self.gate = Gate::Ending;
        } else if self.segment.script.is_some() || query_waits {
            self.segment.synced = true;
            self.gate = Gate::Ending;
            self.sync();
        } else {
            self.gate = Gate::Open;
        }
    }

    fn leader_answer(&mut self, frame: Frame) -> Result<(), Malformed> {
        let Some(mut front) = self.owed.pop_front() else {
            self.fail(format!("the leader sent a message of type {:?} to nothing", char::from(frame.tag)));
            return Ok(());
        };
        let shift = front.shift;
        let again = match (&mut front.what, frame.tag) {
            (What::Ack { to, .. }, backend::PARSE_COMPLETE | backend::BIND_COMPLETE | backend::CLOSE_COMPLETE) => {
                if *to == To::Client {
                    self.tell_raw(&frame.raw);
                }
                false
            }
            (What::Statement { .. }, backend::PARAMETER_DESCRIPTION) => {
                self.tell_raw(&frame.raw);
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
            (What::Raw { .. }, backend::COPY_IN_RESPONSE) => {
                self.copy_asked = true;
                self.gate = Gate::Open;
                self.tell_raw(&frame.raw);
                true
            }
            (What::Raw { done, failed }, backend::READY_FOR_QUERY) => {
                if !*failed {
                    let done = done.clone();
                    self.apply(&done);
                }
                self.leader_ready(Status::read(frame.body())?);
                self.finish_segment(self.status);
                false
            }
            (What::Own { tag, .. }, backend::COMMAND_COMPLETE) => {
                *tag = Some(backend::read_command_complete(frame.body())?);
                true
            }
            (What::Own { .. }, backend::ROW_DESCRIPTION | backend::DATA_ROW | backend::EMPTY_QUERY_RESPONSE) => true,
            (What::Own { purpose, error, tag }, backend::READY_FOR_QUERY) => {
                self.leader_ready(Status::read(frame.body())?);
                let (purpose, error, tag) = (*purpose, error.take(), tag.take());
                self.own_done(purpose, error, tag);
                false
            }
            (What::Ready(ready), backend::READY_FOR_QUERY) => {
                let ready = *ready;
                self.leader_ready(Status::read(frame.body())?);
                if ready == Ready::Segment {
                    self.segment_end();
                }
                false
            }
            _ => {
                self.fail(format!(
                    "the leader answered {:?} with a message of type {:?}",
                    front.what,
                    char::from(frame.tag)
                ));
                return Ok(());
            }
        };
        if again {
            self.owed.push_front(front);
        }
        Ok(())
    }

    fn leader_ready(&mut self, status: Status) {
        self.status = status;
        self.encoding = super::encoding::Encoding::Reported;
        self.segment.open = self.owed.iter().any(|o| matches!(o.what, What::Ready(_)));
    }

    fn description(&mut self, frame: &Frame, shape: Shape, to: To) -> Result<(), Malformed> {
        if frame.tag == backend::NO_DATA {
            if to == To::Client {
                self.tell_raw(&frame.raw);
            }
            return Ok(());
        }
        match shape {
            Shape::Whole => self.tell_raw(&frame.raw),
            Shape::Without(columns) => {
                let mut out = BytesMut::new();
                cut_description(frame.body(), columns, &mut out)?;
                self.tell_raw(&out);
            }
            Shape::Nothing if to == To::Client => self.tell(|out| backend::bare(out, backend::NO_DATA)),
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
            self.owed.push_front(crate::reply::Owed { what: What::Execution(execution), shift });
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
                let wants = write.write.client_columns != ClientColumns::None;
                write.rows.take(&frame.body(), ours, wants.then_some(&mut theirs))?;
                if wants {
                    self.tell_raw(&theirs);
                }
                self.log_rows(write, false);
            }
            Execution::Own(_) => self.collected.push(backend::read_data_row(frame.body())?),
            _ => self.tell_raw(&frame.raw),
        }
        Ok(())
    }

    fn log_rows(&mut self, write: &mut WriteExecution, end: bool) {
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
        if matches!(execution, Execution::Copy { ended: true, .. }) {
            return;
        }
        self.copy_asked = true;
        self.owed.retain(|o| !matches!(o.what, What::Ready(_)));
        self.segment.synced = false;
        self.gate = Gate::Open;
    }

    fn executed(&mut self, execution: Execution, frame: &Frame) {
        match execution {
            Execution::Begin => {
                self.told_block = Block::Wrapped;
                if self.serializable_by_default {
                    self.unit.order = crate::unit::Order::LeaderFirst;
                }
            }
            Execution::Own(purpose) => self.asked(purpose),
            Execution::Pass { done } => {
                self.copy_asked = false;
                self.completed(frame);
                self.apply(&done);
            }
            Execution::Write(mut write) => {
                self.log_rows(&mut write, true);
                self.unit.deferrable |= write.write.deferrable;
                self.check_epoch(write.planned_in);
                self.completed(frame);
                self.apply(&write.done);
            }
            Execution::Copy { done, planned_in, .. } => {
                self.check_epoch(planned_in);
                self.completed(frame);
                self.apply(&done);
            }
        }
    }

    /// A statement holds its table's lock when it has run: what was known of the table then is final. If the schema has
    /// changed since the plan was made, the plan may have missed a trigger or a column.
    fn check_epoch(&mut self, planned_in: crate::catalog::SchemaEpoch) {
        if self.catalogs.epoch() != planned_in {
            self.doom(
                Fault::error(SqlState::SERIALIZATION_FAILURE, "the schema was changed while the statement ran")
                    .with_hint("Run the transaction again."),
            );
        }
    }

    /// In a script the last CommandComplete must not be told before the commit.
    fn completed(&mut self, frame: &Frame) {
        if self.segment.script.is_some() {
            self.tell(|_| ());
            self.segment.held.extend_from_slice(&frame.raw);
        } else {
            self.tell_raw(&frame.raw);
        }
    }

    /// Everything that was sent has been answered.
    fn drained(&mut self, world: &mut World<'_>) {
        match self.after_drain.take() {
            Some(AfterDrain::Frame(frame)) => {
                self.gate = Gate::Open;
                self.client_frame(frame, world);
            }
            Some(AfterDrain::Script) => {
                self.gate = Gate::Ending;
                self.run_script(world);
            }
            None => self.gate = Gate::Open,
        }
    }
}
