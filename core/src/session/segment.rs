//! A segment: the client's messages up to a Sync, or one Query; and what is told of it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Session;
use super::commit::CommitVia;
use crate::catalog::SchemaEpoch;
use crate::limits;
use crate::plan::Planned;
use crate::reply::{Owed, Ready, What};
use crate::unit::Mark;
use crate::wire::backend::{self, Status};
use crate::wire::{Frame, frontend};

/// Why the client's next message is not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// The segment is complete; its ReadyForQuery has not been told.
    Ending,
    /// Answers to all that was sent are awaited, then what [`Session::after_drain`] says.
    Drain,
    /// The shell is asked to have tables captured; then it is Drain.
    Capturing,
    /// The commit of a unit.
    Commit,
    /// There is no leader connection; one is being made.
    Leaderless,
    /// Others have still to bring their units over to the new leader.
    Gathering,
    /// The connection ends.
    Closed,
}

/// Transactions as the client sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    None,
    /// An implicit transaction that writes. Its Sync waits for the followers; until then the leader keeps it open.
    Implicit,
    /// The same for a string of several statements. A BEGIN was put before them, for PostgreSQL runs them in a block too.
    Wrapped,
    Explicit,
}

/// What to do when everything owed has been answered.
#[derive(Debug)]
pub(super) enum AfterDrain {
    /// Handle this message of the client (again).
    Frame(Frame),
    /// Handle this Query, unless what was sent before it without a Sync fails: then it is passed over up to a Sync.
    Pipeline(Frame),
    /// Go on with the script.
    Script,
    /// End the segment, whose implicit transaction has written.
    End,
    /// Go on with DDL whose rows the leader makes.
    Image,
    /// Go on with a commit whose statements the schema may have overtaken.
    Overtaken(CommitVia),
}

impl AfterDrain {
    /// Whether it is a statement of the client's, or a commit, that the leader knows nothing of.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Frame(_) | Self::Pipeline(_) | Self::Script | Self::Overtaken(_) => true,
            Self::End | Self::Image => false,
        }
    }
}

/// A Query's statements.
#[derive(Debug)]
pub(super) struct Script {
    pub text: Bytes,
    /// The text as it was planned: a copy where the client's encoding is not UTF-8, with every byte in its place.
    pub readable: Arc<str>,
    pub statements: Vec<Planned>,
    pub next: usize,
    pub planned_in: SchemaEpoch,
    /// A statement has changed what those after it mean: each is planned again when its turn comes.
    pub outdated: bool,
    /// Bytes of the text that were counted, and their characters: what error positions are moved by.
    pub counted: (usize, u32),
    /// It is one statement at most: PostgreSQL makes no block of it.
    pub alone: bool,
}

#[derive(Debug, Default)]
pub(super) struct Segment {
    /// The client has sent something of it.
    pub begun: bool,
    /// The leader was sent something for which no ReadyForQuery has come.
    pub open: bool,
    /// The shell was given bytes of it for the leader.
    pub given: bool,
    /// The client has sent messages of the extended protocol in it.
    pub pipelined: bool,
    /// An error was told: the rest of the segment is passed over.
    pub failed: bool,
    /// The client has asked for a cancel while its next statement had to wait here.
    pub cancelled: bool,
    /// Something was told to the client: the segment cannot be run again unseen.
    pub told: bool,
    /// The client's Sync has come (extended), or the script is over (simple).
    pub synced: bool,
    /// Where the unit's log and its diary ended before it.
    pub mark: Option<(Mark, usize)>,
    pub script: Option<Box<Script>>,
    /// The schema by which its writes were planned, if it has any.
    pub planned_in: Option<SchemaEpoch>,
    /// The client has asked for what there is to tell (Flush).
    pub flushed: bool,
    /// A statement was sent that may change what later ones mean.
    pub unsettled: bool,
    /// The client was told an error for its COMMIT AND CHAIN, after which no transaction is open.
    pub unchains: bool,
}

/// What the client has sent of a segment as long as it can be run again: it is not too much, and nothing was told of it.
/// The buffer stays for the next segment.
#[derive(Debug, Default)]
pub(super) struct Replay {
    kept: bool,
    bytes: BytesMut,
}

impl Replay {
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    pub fn begin(&mut self) {
        self.kept = true;
        self.bytes.clear();
    }

    /// False: it has become too much, and is given up.
    #[must_use]
    pub fn add(&mut self, message: &[u8]) -> bool {
        if self.bytes.len() + message.len() > limits::SEGMENT_REPLAY {
            self.give_up();
            return false;
        }
        self.bytes.extend_from_slice(message);
        true
    }

    pub fn give_up(&mut self) {
        self.kept = false;
        if self.bytes.capacity() > limits::REPLAY_AT_REST {
            self.bytes = BytesMut::new();
        }
    }

    pub fn take(&mut self) -> Option<BytesMut> {
        std::mem::take(&mut self.kept).then(|| std::mem::take(&mut self.bytes))
    }
}

/// What the leader has answered and the client is not told yet. The buffer stays for the next segment.
#[derive(Debug, Default)]
pub(super) struct Untold {
    bytes: BytesMut,
    /// Where what is told in any case ends. Behind it is a CommandComplete that is told only with what follows it, so that
    /// "done" is not said before the commit.
    sure: usize,
}

impl Untold {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sure = 0;
    }

    pub fn answer(&mut self, answer: &[u8]) {
        self.bytes.extend_from_slice(answer);
        self.sure = self.bytes.len();
    }

    /// What was held is told in any case, this with what follows it.
    pub fn done(&mut self, complete: &[u8]) {
        self.sure = self.bytes.len();
        self.bytes.extend_from_slice(complete);
    }

    /// What was said on the way to the commit.
    pub fn before_done(&mut self, notice: &[u8]) {
        let done = self.bytes.split_off(self.sure);
        self.bytes.extend_from_slice(notice);
        self.sure = self.bytes.len();
        self.bytes.extend_from_slice(&done);
    }

    pub fn forget_done(&mut self) {
        self.bytes.truncate(self.sure);
    }

    fn release(&mut self, out: &mut BytesMut) {
        if out.is_empty() {
            std::mem::swap(out, &mut self.bytes);
        } else {
            out.extend_from_slice(&self.bytes);
        }
        self.clear();
    }
}

impl Session {
    pub(super) fn owe(&mut self, what: What, shift: u32) {
        self.segment.open = true;
        match what.locks() {
            Some(locks) => self.may_lock(locks),
            None => self.locks.may |= what.marks().locks,
        }
        // Also if it fails, is refused later, or is never answered: its values are drawn all the same.
        if what.marks().sequences && !self.unit.sequences {
            self.move_sequences();
        }
        // Also if its rows are never fetched to the end.
        if what.marks().locks_objects {
            self.objects_locked();
        }
        self.owed.push_back(Owed { what, shift });
    }

    /// The client's Sync, or the end of its string.
    pub(super) fn segment_over(&mut self) {
        self.segment.synced = true;
        if !self.segment.open && self.segment.told {
            // A commit has ended it at the leader.
            return self.finish_segment(self.status);
        }
        if self.begin_by_execute() {
            return;
        }
        match self.block {
            Block::Implicit | Block::Wrapped => self.drain(AfterDrain::End),
            Block::None | Block::Explicit => {
                self.gate = Gate::Ending;
                self.sync();
            }
        }
    }

    /// Ends the segment at the leader.
    pub(super) fn sync(&mut self) {
        frontend::sync(&mut self.leader_out);
        self.owe(What::Ready(Ready::Segment), 0);
    }

    /// Tells the client something, after what was held back before it.
    pub(super) fn tell(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.runs_once();
        if !self.untold.is_empty() {
            self.untold.release(&mut self.client_out);
        }
        write(&mut self.client_out);
    }

    /// Tells the client something that it may as well learn at the end of the segment, if that can still be run again: as a
    /// server would, which keeps some KiB of answers to itself until a Sync or a Flush.
    pub(super) fn answer(&mut self, raw: &[u8]) {
        if self.may_hold(raw.len()) {
            self.untold.answer(raw);
        } else {
            self.tell_raw(raw);
        }
    }

    /// In a segment that reads alone nothing is held: its end is as near as its answers.
    pub(super) fn may_hold(&self, more: usize) -> bool {
        self.replay.is_kept()
            && self.block != Block::None
            && !self.segment.flushed
            && self.untold.bytes.len() + more <= limits::ANSWERS_HELD
    }

    /// The client asks for what there is to tell.
    pub(super) fn flush_asked(&mut self) {
        self.segment.flushed = true;
        if !self.untold.is_empty() {
            self.tell(|_| ());
        }
    }

    /// The segment cannot be run again unseen.
    pub(super) fn runs_once(&mut self) {
        self.segment.told = true;
        self.replay.give_up();
    }

    pub(super) fn tell_raw(&mut self, raw: &[u8]) {
        self.tell(|out| out.extend_from_slice(raw));
    }

    /// Ends the segment: the client is ready for the next.
    pub(super) fn finish_segment(&mut self, status: Status) {
        self.tell(|out| backend::ready_for_query(out, status));
        let failed = self.segment.failed;
        self.settle_locks();
        self.segment = Segment::default();
        self.block = if status == Status::Idle { Block::None } else { Block::Explicit };
        self.told_block = self.block;
        if status == Status::Idle {
            self.instead = None;
            if !failed {
                self.learn();
            }
            self.end_unit();
        }
        self.gate = if self.owed.is_empty() { Gate::Open } else { Gate::Drain };
        if self.client_gone {
            self.close();
        }
    }
}
