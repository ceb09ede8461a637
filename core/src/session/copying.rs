//! COPY … FROM STDIN in a session, from its start to the end of its data.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::copy::Words;
use super::{Gate, Session};
use crate::fault::{Fault, SqlState};
use crate::plan::{Action, CopyIn, Marks};
use crate::quote::quote_literal;
use crate::reply::{Done, Execution, Own, Shape, Source, What};
use crate::wire::frame::HEADER;
use crate::wire::{Frame, frontend};

impl Session {
    pub(super) fn script_copy(&mut self, action: &Action, text: Bytes, marks: Marks, source: Source, shift: u32) {
        let (text, execution) = match action {
            Action::CopyIn(copy) => (Some(text), self.copy_execution(copy, marks, source)),
            Action::CopyRows(copy) => {
                let text = self.begin_landing(copy, &text, marks, source, shift as usize);
                (text, Execution::Landing { ended: copy.of_file })
            }
            Action::CopyUnknown(fault) => (Some(text), Execution::Unknown(Box::new(fault.clone()))),
            _ => return,
        };
        if let Some(text) = text {
            self.send(&text, &[], Shape::Whole, execution, shift);
            self.move_from_file(action);
        }
    }

    /// The data comes from a file of the leader, to its end: the client has nothing to send.
    pub(super) fn move_from_file(&mut self, action: &Action) {
        if matches!(action, Action::CopyRows(copy) if copy.of_file) {
            self.move_landed();
        }
    }

    pub(super) fn copy_execution(&mut self, copy: &Arc<CopyIn>, marks: Marks, source: Source) -> Execution {
        self.writes(source.planned_in);
        self.unit.deferrable |= copy.deferrable;
        self.copy_words = Words::of(copy, &self.client_encoding());
        let settings = self.copy_settings();
        self.note_encoding();
        self.note_role();
        self.unit.log.copy_begin(&settings, &copy.follower_sql);
        Execution::Copy { source: Box::new(source), done: Done { marks, ..Done::default() }, ended: false }
    }

    /// The settings by which the leader reads COPY data, which it reports.
    fn copy_settings(&self) -> String {
        let calls = ["DateStyle", "IntervalStyle", "TimeZone"].iter().filter_map(|name| {
            let value = std::str::from_utf8(self.parameters.get(name.as_bytes())?).ok()?;
            Some(format!("pg_catalog.set_config({}, {}, true)", quote_literal(name), quote_literal(value)))
        });
        format!("SELECT {}", calls.collect::<Vec<_>>().join(", "))
    }

    /// CopyData, CopyDone and CopyFail. Outside a COPY a server passes them over, for the COPY may have failed.
    pub(super) fn copy_input(&mut self, frame: &Frame) {
        let Some(logged) = self.copying() else { return };
        self.leader_out.extend_from_slice(&frame.raw);
        if logged && frame.tag != frontend::COPY_FAIL {
            let piece = if frame.tag == frontend::COPY_DONE { b"\n" } else { &frame.raw[HEADER..] };
            if let Some(word) = self.copy_words.as_mut().and_then(|words| words.find(piece)) {
                let why = format!("this COPY is refused: {word} means another time on each server");
                self.doom(Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("Write the time out."));
            }
            self.unit.log.copy_frame(&frame.raw);
            self.spill();
        }
        if frame.tag != frontend::COPY_DATA {
            self.copy_ended(frame.tag == frontend::COPY_DONE);
        }
    }

    /// A message that has no place in a COPY. Whether the COPY still goes on only the leader knows, so it is asked with an
    /// empty message of this type: it ends the connection, or says that this is no message. Then the message has its turn.
    pub(super) fn intrude(&mut self, frame: &Frame) {
        let simple = matches!(self.owed.front(), Some(owed) if matches!(owed.what, What::Raw { .. }));
        frontend::message(&mut self.leader_out, frame.tag, |_| {});
        if !(simple && matches!(frame.tag, frontend::QUERY | frontend::FUNCTION_CALL)) {
            frontend::sync(&mut self.leader_out);
        }
        self.owe(What::Own { purpose: Own::Intrusion, error: None, tag: None }, 0);
        let rest = std::mem::replace(&mut self.client_in, BytesMut::from(&frame.raw[..]));
        self.client_in.extend_from_slice(&rest);
        self.gate = Gate::Drain;
    }

    /// Whether a COPY takes data now, and whether followers are to have it too.
    fn copying(&self) -> Option<bool> {
        self.owed.iter().find_map(|owed| match &owed.what {
            What::Execution(Execution::Copy { ended: false, .. }) => Some(true),
            What::Execution(Execution::Landing { ended: false }) => Some(false),
            What::Execution(Execution::Pass { .. }) | What::Raw { .. } if self.copy_asked => Some(false),
            _ => None,
        })
    }

    fn copy_ended(&mut self, done: bool) {
        self.copy_asked = false;
        self.copy_words = None;
        let mut landed = false;
        for owed in &mut self.owed {
            match &mut owed.what {
                What::Execution(Execution::Copy { ended, .. }) => *ended = true,
                What::Execution(Execution::Landing { ended }) => {
                    *ended = true;
                    landed = done;
                }
                _ => {}
            }
        }
        if landed {
            self.move_landed();
        }
        if done {
            self.copied_captured();
        }
        if self.segment.script.is_some() {
            self.gate = Gate::Drain;
            frontend::flush(&mut self.leader_out);
        } else if matches!(self.owed.front(), Some(owed) if matches!(owed.what, What::Raw { .. })) {
            self.gate = Gate::Ending;
        }
    }
}
