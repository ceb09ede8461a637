//! What the leader has not been given yet, and need not be given as it is: a BEGIN or COMMIT by the extended protocol.
//!
//! The client's messages of one segment usually arrive together. When they are Parse, Bind, Describe and Execute of one
//! portal whose statement cannot fail, what the leader would answer is known.

use bytes::{Bytes, BytesMut};

use super::Session;
use crate::limits;
use crate::reply::{To, What};
use crate::wire::frontend::{self, Bind, Execute, Named, Parse, Target};
use crate::wire::{Frame, backend, take_frame};

/// The messages of one portal.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Bytes of a Parse of the unnamed statement.
    parse: usize,
    portal: Bytes,
    pub executed: bool,
    /// What the leader would answer up to the Execute.
    pub answers: BytesMut,
}

impl Session {
    /// All that the segment has for the leader, if the leader was given none of it and it is of this simple kind.
    pub(super) fn unsent(&self) -> Option<Unsent> {
        if self.segment.given {
            return None;
        }
        let mut bytes = BytesMut::from(&self.leader_out[..]);
        let mut unsent = Unsent::default();
        let mut step = 0;
        let mut messages = 0;
        while let Ok(Some(frame)) = take_frame(&mut bytes, limits::MESSAGE) {
            step = unsent.take(step, &frame)?;
            messages += 1;
        }
        (bytes.is_empty() && step > BIND && messages == self.owed.len()).then_some(unsent)
    }

    /// Takes it back but for the Parse, whose answer the client is told by us with the others.
    pub(super) fn take_back(&mut self, unsent: &Unsent) {
        self.leader_out.truncate(unsent.parse);
        self.owed.truncate(usize::from(unsent.parse > 0));
        self.keep_answers();
    }

    /// The client is told by us.
    pub(super) fn keep_answers(&mut self) {
        for owed in &mut self.owed {
            if let What::Ack { to, .. } | What::Portal { to, .. } = &mut owed.what {
                *to = To::Nobody;
            }
        }
    }
}

/// The places of messages in their order.
const PARSE: usize = 0;
const BIND: usize = 1;
const DESCRIBE: usize = 2;
const EXECUTE: usize = 3;
const END: usize = 4;

impl Unsent {
    /// Which message may come next, if this one may come now.
    fn take(&mut self, step: usize, frame: &Frame) -> Option<usize> {
        match frame.tag {
            frontend::PARSE if step == PARSE => {
                let parse = Parse::read(frame.body()).ok()?;
                // Another name may be taken, and Parse would fail.
                (parse.name.is_empty() && parse.types.is_empty()).then_some(())?;
                self.parse = frame.raw.len();
                backend::bare(&mut self.answers, backend::PARSE_COMPLETE);
                Some(BIND)
            }
            frontend::BIND if step <= BIND => {
                let bind = Bind::read(frame.body()).ok()?;
                let own = self.parse == 0 || bind.statement.is_empty();
                let plain = bind.parameters == frontend::NO_PARAMETERS && bind.result_formats.len() <= 1;
                (own && plain).then_some(())?;
                self.portal = bind.portal;
                backend::bare(&mut self.answers, backend::BIND_COMPLETE);
                Some(DESCRIBE)
            }
            frontend::DESCRIBE if step == DESCRIBE => {
                let named = Named::read(frame.body()).ok()?;
                (named.target == Target::Portal && named.name == self.portal).then_some(())?;
                backend::bare(&mut self.answers, backend::NO_DATA);
                Some(EXECUTE)
            }
            frontend::EXECUTE if matches!(step, DESCRIBE | EXECUTE) => {
                self.executed = Execute::read(frame.body()).ok()?.portal == self.portal;
                self.executed.then_some(END)
            }
            _ => None,
        }
    }
}
