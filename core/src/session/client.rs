//! The client's messages, one by one.

use super::{AfterDrain, Block, Gate, Session, World};
use crate::catalog::model::FIRST_USER_OID;
use crate::fault::Fault;
use crate::limits;
use crate::reply::What;
use crate::wire::frame::HEADER;
use crate::wire::frontend::{self, Bind, Execute, Named, Parse};
use crate::wire::{Frame, Malformed, take_frame};

impl Session {
    pub(super) fn takes_client(&self) -> bool {
        self.gate == Gate::Open && !self.is_held()
    }

    /// Takes messages while the gate is open. True when something was done.
    pub(super) fn client_frames(&mut self, world: &mut World<'_>) -> bool {
        let mut progress = false;
        while self.takes_client() && !self.waits_for_leader() {
            let frame = match take_frame(&mut self.client_in, limits::MESSAGE) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(fault) => {
                    self.end(&Fault::protocol(fault.to_string()));
                    return true;
                }
            };
            progress = true;
            self.remember(&frame);
            self.client_frame(frame, world);
        }
        progress
    }

    /// Keeps the segment's messages as long as it can be run again unseen, and small.
    fn remember(&mut self, frame: &Frame) {
        let segment = &mut self.segment;
        segment.begun = true;
        let runs_again = matches!(self.block, Block::None | Block::Explicit);
        let fresh = !segment.open && !segment.told && !segment.failed && runs_again;
        if fresh && !self.replay.is_kept() {
            self.replay.begin();
            segment.mark = Some((self.unit.log.mark(), self.unit.diary.len()));
        }
        if self.replay.is_kept() && !self.replay.add(&frame.raw) {
            // Too much to be run again.
            self.tell(|_| ());
        }
    }

    pub(super) fn client_frame(&mut self, frame: Frame, world: &mut World<'_>) {
        if self.segment.failed && !matches!(frame.tag, frontend::SYNC | frontend::TERMINATE) {
            // The protocol: after an error everything up to Sync is passed over.
            return;
        }
        let tag = frame.tag;
        if let Err(malformed) = self.dispatch(frame, world) {
            self.end(&Fault::protocol(format!("invalid message of type {:?}: {malformed}", char::from(tag))));
        }
    }

    fn dispatch(&mut self, frame: Frame, world: &mut World<'_>) -> Result<(), Malformed> {
        let empty = matches!(frame.tag, frontend::FLUSH | frontend::SYNC | frontend::COPY_DONE | frontend::TERMINATE);
        if empty && frame.raw.len() > HEADER {
            return Err(Malformed::Trailing);
        }
        if self.copy_asked {
            match frame.tag {
                frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL | frontend::TERMINATE => {}
                // Passed over (documentation, "COPY Operations").
                frontend::FLUSH | frontend::SYNC => return Ok(()),
                _ => {
                    self.intrude(&frame);
                    return Ok(());
                }
            }
        }
        use frontend::{BIND, CLOSE, DESCRIBE, EXECUTE, PARSE};
        self.segment.pipelined |= matches!(frame.tag, PARSE | BIND | DESCRIBE | EXECUTE | CLOSE);
        match frame.tag {
            frontend::QUERY => self.query(frontend::read_query(frame.body())?, frame, world),
            frontend::PARSE => self.parse(Parse::read(frame.body())?, frame, world),
            frontend::BIND => self.bind(&Bind::read(frame.content())?, &frame, world),
            frontend::DESCRIBE => self.describe(&Named::read(frame.content())?, &frame),
            frontend::EXECUTE => self.execute(&Execute::read(frame.content())?, &frame),
            frontend::CLOSE => self.close_named(&Named::read(frame.content())?, &frame),
            frontend::FLUSH => {
                frontend::flush(&mut self.leader_out);
                self.flush_asked();
            }
            frontend::SYNC => self.segment_over(),
            frontend::FUNCTION_CALL => self.function_call(&frame)?,
            frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => self.copy_input(&frame),
            frontend::TERMINATE => self.close(),
            other => self.end(&Fault::protocol(format!("invalid frontend message type {other}"))),
        }
        Ok(())
    }

    /// Refuses a statement in its place in the pipeline: the leader is sent a text that cannot be parsed, so that its
    /// transaction fails as it would for any error, and its answer is replaced by ours.
    pub(super) fn poison(&mut self, fault: Fault, shift: u32) {
        frontend::parse(&mut self.leader_out, OWN_NAME, b"lockstep refuses this statement", &[]);
        self.owe(What::Refusal(Box::new(fault)), shift);
    }

    pub(super) fn drain(&mut self, then: AfterDrain) {
        self.await_answers();
        self.after_drain = Some(then);
    }

    /// Handles this message again when all that was sent has been answered.
    pub(super) fn postpone(&mut self, frame: &Frame) {
        self.drain(AfterDrain::Frame(frame.clone()));
    }

    /// Takes the client's next message when all that was sent has been answered.
    pub(super) fn await_answers(&mut self) {
        frontend::flush(&mut self.leader_out);
        self.gate = Gate::Drain;
    }
}

/// The name of our own statements and portals on a leader connection.
pub(super) const OWN_NAME: &[u8] = b"lockstep";

/// Whether a function draws from a sequence, or sets one.
pub(super) fn moves_sequence(oid: u32) -> bool {
    matches!(oid, 1574 | 1576 | 1765)
}

/// Why a function may not be called by its OID.
pub(super) fn refused_function(oid: u32) -> Option<&'static str> {
    match oid {
        FIRST_USER_OID.. => Some("it calls a function of the database by its number, which may write"),
        oid if WRITING_OIDS.contains(&oid) => Some("it changes what is not replicated, or runs text that is not known"),
        _ => None,
    }
}

/// The functions that `catalog::builtin` has by name (src/include/catalog/pg_proc.dat of PostgreSQL 15).
const WRITING_OIDS: [u32; 68] = [
    275, 715, 764, 765, 767, 955, 957, 964, 1004, 2078, 2923, 2924, 2926, 2927, 2929, 2930, 2933, 2935, 2936, 2938,
    3086, 3098, 3172, 3436, 3445, 3457, 3460, 3577, 3578, 3582, 3584, 3586, 3587, 3588, 3589, 3590, 3591, 3684, 3685,
    3689, 3690, 3779, 3780, 3782, 3783, 3786, 3878, 4083, 4101, 4220, 4221, 4222, 4223, 4224, 4390, 4391, 4545, 4546,
    4547, 4548, 6003, 6004, 6006, 6007, 6010, 6011, 6012, 6241,
];
