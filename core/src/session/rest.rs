//! Between two segments: when a session can be held, ended, or has been idle in its transaction.
//!
//! A session that is held takes nothing of its client's until it is let go; what the client sends waits, in the buffer and
//! then in its socket. A transaction block that is open goes on to its end first, for it may hold locks.

use super::{Block, Gate, Session};
use crate::fault::{Fault, SqlState};

impl Session {
    /// Nothing of the client's is under way, in no block, and nothing begins: it is held.
    pub fn stands_still(&self) -> bool {
        self.held && self.at_rest() && self.committing.is_none()
    }

    /// Whether the client's next message is not taken.
    pub(super) fn is_held(&self) -> bool {
        self.held && self.at_rest()
    }

    fn at_rest(&self) -> bool {
        self.block == Block::None && !self.segment.begun && !self.segment.open
    }

    /// Idle and outside a transaction: the session can be ended without losing anything of the client's. What is held, or
    /// waits for a leader, has not been begun.
    pub fn is_idle(&self) -> bool {
        match self.gate {
            Gate::Open => self.at_rest() && (self.held || self.client_in.is_empty()),
            Gate::Leaderless => self.at_rest() && self.committing.is_none(),
            _ => false,
        }
    }

    /// The client has a transaction open and has been told all: it is its turn.
    pub fn idles_in_transaction(&self) -> bool {
        self.gate == Gate::Open && self.block == Block::Explicit && !self.segment.begun
    }

    /// It has been so for too long. The leader rolls its transaction back, for the connection goes.
    pub fn idled_too_long(&mut self) {
        let state = SqlState::IDLE_IN_TRANSACTION_TIMEOUT;
        self.end(&Fault::fatal(state, "terminating connection due to idle-in-transaction timeout"));
    }
}
