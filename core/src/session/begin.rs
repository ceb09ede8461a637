//! BEGIN outside a block: the client is told at once that it is done; the leader gets it with what the client sends next.
//!
//! So a transaction costs a round trip less. A leader has no reason to refuse it; should it ever, what follows is passed
//! over, for no Sync stands between, and the client gets the error as the answer to that.

use super::{Block, Gate, Session};
use crate::plan::Transaction;
use crate::reply::{Done, Execution, Note, Owed, Own, What};
use crate::wire::backend::{self, Status};

impl Session {
    /// A Query that is nothing but a BEGIN. False: it cannot wait, or is something else.
    pub(super) fn begin_by_query(&mut self, text: &[u8], done: &Done) -> bool {
        let Some(tag) = begins(done).filter(|_| self.owed.is_empty() && self.rests()) else { return false };
        self.run_own(text, &[], Execution::Own(Own::Begin));
        self.begun(tag, done);
        true
    }

    /// A segment that is nothing but the execution of a BEGIN. False: it cannot wait, or is something else.
    pub(super) fn begin_by_execute(&mut self) -> bool {
        let Some(Owed { what: What::Execution(Execution::Pass { done }), .. }) = self.owed.back() else { return false };
        let Some(tag) = begins(done).filter(|_| self.rests()) else { return false };
        let done = done.clone();
        let Some(unsent) = self.unsent().filter(|unsent| unsent.executed) else { return false };
        if let Some(last) = self.owed.back_mut() {
            last.what = What::Execution(Execution::Own(Own::Begin));
        }
        self.keep_answers();
        self.tell_raw(&unsent.answers);
        self.begun(tag, &done);
        true
    }

    /// Whether the leader is idle outside a block, as far as the client was told. A session that listens does not let it
    /// wait: an idle leader would give it notifications, which have no place in a transaction.
    fn rests(&self) -> bool {
        self.status == Status::Idle && self.told_block == Block::None && !self.segment.told && !self.memory.listens()
    }

    fn begun(&mut self, tag: &str, done: &Done) {
        self.waiting = self.leader_out.len();
        self.tell(|out| backend::command_complete(out, tag));
        self.apply(done);
        self.status = Status::InTransaction;
        self.finish_segment(self.status);
        self.gate = Gate::Open;
    }
}

fn begins(done: &Done) -> Option<&'static str> {
    match &done.note {
        Note::Transaction(Transaction::Begin { tag, .. }) => Some(tag),
        _ => None,
    }
}
