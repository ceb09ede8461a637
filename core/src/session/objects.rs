//! Large objects that a unit may have changed: which those are, and what goes into the log for them.
//!
//! What makes one or opens one for writing is noted while the unit runs ([`crate::plan::objects`]; by FunctionCall, its
//! arguments and its result say so). At the end of the unit, when nothing of the client's runs any more, the leader is
//! asked once what has become of them. Noting too many does no harm: an object that this transaction has not changed is
//! not told.
//!
//! Locks: PostgreSQL lets two transactions write to different pages of one large object, and lets one write to an object
//! that another drops. So the leader takes a lock of ours on each changed object before it tells its state, in one order
//! for all, and nothing but the commit comes after that: whoever waits for such a lock waits for a commit that is under
//! way, and what is told then includes it. Followers see one unit at a time change an object.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{AfterDrain, Block, Session};
use crate::effect::capture::parameters;
use crate::effect::objects::{APPLY, Noted, ObjectLines, noted};
use crate::fault::{Fault, SqlState};
use crate::limits;
use crate::plan::{Marks, objects};
use crate::reply::{Done, Execution, Note, Own, Source, Undo, What};
use crate::unit::Outcome;
use crate::wire::frontend::{self, Format, FunctionCall};
use crate::wire::notice::Fields;
use crate::wire::{Cursor, Frame, Malformed};

#[derive(Debug, Default)]
pub(super) struct Objects {
    made: BTreeSet<u32>,
    opened: BTreeSet<u32>,
    /// Others may have been changed, which PostgreSQL has locked.
    locked: bool,
    lines: ObjectLines,
}

impl Objects {
    pub fn may_have_changed(&self) -> bool {
        self.locked || !self.made.is_empty() || !self.opened.is_empty()
    }

    /// A part of the unit was rolled back: somebody else may have made what it had made.
    pub fn rolled_back(&mut self) {
        self.opened.append(&mut self.made);
    }

    /// False: there are too many.
    fn note(&mut self, how: Noted, number: u32) -> bool {
        match how {
            Noted::Made => self.made.insert(number),
            Noted::Opened => self.opened.insert(number),
        };
        self.made.len() + self.opened.len() <= limits::OBJECTS_PER_UNIT
    }

    fn question(&self) -> String {
        let list = |numbers: &BTreeSet<u32>| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        format!(
            "SELECT line FROM lockstep.objects('{{{}}}'::pg_catalog.oid[], '{{{}}}'::pg_catalog.oid[]) AS line",
            list(&self.made),
            list(&self.opened)
        )
    }
}

/// Functions by their numbers (src/include/catalog/pg_proc.dat), as far as they change large objects.
mod oid {
    pub const CREATE: u32 = 715;
    pub const OPEN: u32 = 952;
    pub const WRITE: u32 = 955;
    pub const CREAT: u32 = 957;
    pub const UNLINK: u32 = 964;
    pub const TRUNCATE: u32 = 1004;
    pub const TRUNCATE64: u32 = 3172;
    pub const FROM_BYTEA: u32 = 3457;
    pub const PUT: u32 = 3460;

    pub const ALL: [u32; 9] = [CREATE, OPEN, WRITE, CREAT, UNLINK, TRUNCATE, TRUNCATE64, FROM_BYTEA, PUT];
}

/// Asks `lo_open` for the right to write (src/include/libpq/libpq-fs.h, `INV_WRITE`).
const FOR_WRITING: u32 = 0x0002_0000;

/// What a FunctionCall has to do with large objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calling {
    Nothing,
    /// By a descriptor that `lo_open` has given.
    Through,
    Makes(Format),
    Opens(u32),
    Unlinks,
    /// It is not known of which object it is.
    Unclear,
}

impl Calling {
    pub fn of(call: &FunctionCall) -> Self {
        match call.oid {
            oid::CREATE | oid::CREAT | oid::FROM_BYTEA => Self::Makes(call.result),
            oid::PUT => Self::opens(call),
            oid::OPEN => match call.arguments.get(1) {
                Some((format, Some(mode))) if read_number(*format, mode).is_some_and(|m| m & FOR_WRITING == 0) => {
                    Self::Through
                }
                _ => Self::opens(call),
            },
            oid::UNLINK => Self::Unlinks,
            oid::WRITE | oid::TRUNCATE | oid::TRUNCATE64 => Self::Through,
            _ => Self::Nothing,
        }
    }

    fn opens(call: &FunctionCall) -> Self {
        match call.arguments.first() {
            Some((format, Some(value))) => read_number(*format, value).map_or(Self::Unclear, Self::Opens),
            // Of NULL nothing comes, and without arguments an error.
            Some((_, None)) | None => Self::Through,
        }
    }

    /// Whether it may change an object though none was noted before.
    pub fn changes(self) -> bool {
        matches!(self, Self::Makes(_) | Self::Opens(_) | Self::Unlinks)
    }
}

/// In text, plain digits only: with others before them they may be octal to one server and decimal to another.
fn read_number(format: Format, value: &[u8]) -> Option<u32> {
    match format {
        Format::Binary => Some(u32::from_be_bytes(value.try_into().ok()?)),
        Format::Text => match value {
            [b'1'..=b'9', ..] | [b'0'] => std::str::from_utf8(value).ok()?.parse().ok(),
            _ => None,
        },
    }
}

impl Session {
    /// What the leader is sent for a client's statement.
    pub(super) fn spelled(&self, text: &Bytes, readable: &str, marks: Marks) -> Bytes {
        if marks.objects { objects::respelled(text, readable).into() } else { text.clone() }
    }

    /// A statement that may change large objects, these among them, is about to be sent.
    pub(super) fn objects_run(&mut self, objects: &[u32], marks: Marks, source: Source) -> Done {
        self.writes(source.planned_in);
        objects.iter().for_each(|number| self.object_changes(Noted::Opened, *number));
        let waived = source.plan.waived.clone();
        Done { marks, source: Some(Box::new(source)), waived, ..Done::default() }
    }

    /// Moves the position in an error to its place in the client's text.
    pub(super) fn place_before(&self, fields: &mut Fields) {
        let Some(position) = fields.position() else { return };
        let statement = match self.owed.front().map(|owed| &owed.what) {
            Some(What::Raw { .. } | What::Own { .. }) => return,
            Some(What::Ack { undo: Undo::Forget(name), .. }) => self.statements.get(name).and_then(|statement| {
                let plan = &statement.planned.as_ref()?.plan;
                plan.marks.objects.then(|| statement.readable.clone())
            }),
            _ => self
                .owed
                .iter()
                .find_map(|owed| match &owed.what {
                    What::Execution(Execution::Own(_) | Execution::Begin { .. }) => None,
                    What::Execution(execution) => Some(execution),
                    _ => None,
                })
                .and_then(text_of),
        };
        if let Some(text) = statement {
            fields.set_position(objects::place_before(&text, position));
        }
    }

    /// Takes a message that notes an object. False: it is none.
    pub(super) fn note_object(&mut self, frame: &Frame) -> Result<bool, Malformed> {
        let fields = Fields::read(frame.body())?;
        let found = fields.get(b'M').filter(|_| fields.is_info()).and_then(|message| noted(message));
        if let Some((how, number)) = found {
            self.object_changes(how, number);
        }
        Ok(found.is_some())
    }

    pub(super) fn object_changes(&mut self, how: Noted, number: u32) {
        if !self.unit.objects.note(how, number) {
            let why = format!("more than {} large objects were changed in one transaction", limits::OBJECTS_PER_UNIT);
            self.doom(Fault::error(SqlState::PROGRAM_LIMIT_EXCEEDED, why).with_hint("Commit more often."));
            self.unit.objects = Objects::default();
        }
    }

    /// Objects that nothing notes may have been changed.
    pub(super) fn objects_locked(&mut self) {
        self.unit.objects.locked = true;
    }

    /// Nothing of the client's comes any more: what comes into the log last.
    pub(super) fn ask_for_objects(&mut self) {
        if self.committing.is_none() || !self.unit.objects.may_have_changed() {
            return self.ask_for_names();
        }
        let question = self.unit.objects.question();
        self.ask(&question, Own::Objects);
        frontend::flush(&mut self.leader_out);
    }

    /// A line of the leader's answer.
    pub(super) fn object_line(&mut self, frame: &Frame) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(frame.body());
        cursor.count()?;
        self.unit.objects.lines.take(&cursor.value()?.ok_or(Malformed::Field("large object"))?);
        if self.unit.objects.lines.bytes() > limits::OBJECTS_AT_ONCE {
            self.log_objects();
        }
        Ok(())
    }

    fn log_objects(&mut self) {
        let Some(lines) = self.unit.objects.lines.take_all() else { return };
        let Some(key) = self.capture_key() else {
            return self.fail("large objects were told of though no key is known".to_owned());
        };
        self.unit.log.execute(&APPLY, &[Format::Text], 2, &parameters(&key, &lines));
        self.spill();
    }

    /// The leader has told all of it.
    pub(super) fn objects_told(&mut self) {
        self.log_objects();
        if let Some(fault) = self.unit.doomed.take() {
            return self.conclude(Outcome::Aborted(fault));
        }
        if self.unit.log.is_empty() && !self.unit.waived { self.leader_commit() } else { self.ask_for_names() }
    }

    /// FunctionCall, the fast path: a function by its OID, so that no text tells what it does.
    pub(super) fn function_call(&mut self, frame: &Frame) -> Result<(), Malformed> {
        let oid = Cursor::new(frame.body()).u32()?;
        let calling =
            if oid::ALL.contains(&oid) { Calling::of(&FunctionCall::read(frame.body())?) } else { Calling::Nothing };
        if calling.changes() && !self.knows_key(AfterDrain::Frame(frame.clone())) {
            return Ok(());
        }
        let refusal = match calling {
            Calling::Nothing => super::client::refused_function(oid),
            Calling::Unclear => Some("the number of the large object is not understood"),
            _ => None,
        };
        if let Some(reason) = refusal {
            let why = format!("this function call is refused: {reason}");
            let fault = Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("Call the function with SELECT.");
            self.poison(fault, 0);
            self.segment_over();
            return Ok(());
        }
        self.binds("a function was called by its number in it");
        self.locks.may = true;
        if super::client::moves_sequence(oid) {
            self.move_sequences();
        }
        if calling.changes() && self.block == Block::None {
            self.block = Block::Implicit;
        }
        if matches!(self.block, Block::Implicit | Block::Wrapped) {
            // It would end the transaction. And it has an end of its own, so that nothing before it can be undone by a Sync.
            self.wrap();
            self.replay.give_up();
        }
        let note = match calling {
            Calling::Makes(format) => Note::MakesObject(format),
            Calling::Opens(object) => {
                self.object_changes(Noted::Opened, object);
                Note::None
            }
            Calling::Unlinks => {
                self.objects_locked();
                Note::None
            }
            Calling::Nothing | Calling::Through | Calling::Unclear => Note::None,
        };
        self.leader_out.extend_from_slice(&frame.raw);
        self.owe(What::Raw { done: Done { note, ..Done::default() }, failed: false }, 0);
        // Behind an error it is passed over, up to the client's Sync if one is to come.
        self.segment.synced = !self.segment.pipelined;
        self.gate = super::Gate::Ending;
        Ok(())
    }

    /// A function has given the number of an object that it has made.
    pub(super) fn object_made(&mut self, format: Format, frame: &Frame) -> Result<(), Malformed> {
        let value = Cursor::new(frame.body()).value()?;
        if let Some(number) = value.and_then(|value| read_number(format, &value)) {
            self.object_changes(Noted::Made, number);
        }
        Ok(())
    }
}

fn text_of(execution: &Execution) -> Option<Arc<str>> {
    match execution {
        Execution::Write(write) if write.done.marks.objects => Some(write.source.text.clone()),
        Execution::Pass { done } if done.marks.objects => Some(done.source.as_ref()?.text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calling(oid: u32, arguments: &[(Format, &'static [u8])]) -> Calling {
        let arguments = arguments.iter().map(|(format, value)| (*format, Some(Bytes::from_static(value)))).collect();
        Calling::of(&FunctionCall { oid, arguments, result: Format::Binary })
    }

    #[test]
    fn a_function_call_says_which_object_it_may_change() {
        use Format::{Binary, Text};
        let write: &[u8] = &[0, 2, 0, 0];
        for (oid, arguments, expected) in [
            (oid::OPEN, vec![(Binary, &[0u8, 0, 18, 103][..]), (Binary, write)], Calling::Opens(4711)),
            (oid::OPEN, vec![(Binary, &[0, 0, 18, 103]), (Binary, &[0, 4, 0, 0])], Calling::Through),
            (oid::OPEN, vec![(Text, b"4294967295"), (Text, b"393216")], Calling::Opens(u32::MAX)),
            (oid::OPEN, vec![(Text, b"5"), (Text, b"0x40000")], Calling::Opens(5)),
            (oid::OPEN, vec![(Text, b"010"), (Text, b"131072")], Calling::Unclear),
            (oid::OPEN, vec![(Text, b"0x5"), (Text, b"262144")], Calling::Through),
            (oid::PUT, vec![(Text, b"5")], Calling::Opens(5)),
            (oid::CREATE, vec![(Text, b"0")], Calling::Makes(Binary)),
            (oid::UNLINK, vec![(Text, b"5")], Calling::Unlinks),
            (oid::WRITE, vec![(Binary, &[0, 0, 0, 0]), (Binary, b"x")], Calling::Through),
            (954, vec![], Calling::Nothing),
        ] {
            assert_eq!(calling(oid, &arguments), expected, "{oid} {arguments:?}");
        }
    }

    #[test]
    fn what_was_made_before_a_rollback_may_since_be_made_by_somebody_else() {
        let mut objects = Objects::default();
        assert!(!objects.may_have_changed());
        assert!(objects.note(Noted::Made, 7) && objects.note(Noted::Opened, 5));
        assert!(objects.may_have_changed());
        let question = |made: &str, opened: &str| {
            format!(
                "SELECT line FROM lockstep.objects('{made}'::pg_catalog.oid[], '{opened}'::pg_catalog.oid[]) AS line"
            )
        };
        assert_eq!(objects.question(), question("{7}", "{5}"));
        objects.rolled_back();
        assert_eq!(objects.question(), question("{}", "{5,7}"));
    }
}
