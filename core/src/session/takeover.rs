//! Another leader: the connection to the leader is gone.
//!
//! | the session was | what the client sees |
//! | --- | --- |
//! | idle, or in a segment of which it was told nothing yet, outside a block | nothing: the segment is run on the new leader |
//! | in a transaction block, idle or in a statement of which it was told nothing yet | nothing, if the unit can go on on the new leader ([`super::inherit`]); else 40001, as the answer or for its next statement |
//! | in a block that has failed | nothing: it still has |
//! | in a statement of which it was told a part | 40001 |
//! | in COMMIT | what the followers decide ([`crate::unit::commit`]); if they have been sent nothing, as before it |
//!
//! In any of these, a session that had what outlives transactions and cannot be given to the next leader, as temporary
//! tables and some advisory locks ([`super::locks`]), ends with 57P01.
//!
//! If the node is healthy and had said why it ends the connection (pg_terminate_backend), the client is told just that.

use std::sync::Arc;

use bytes::Bytes;

use super::{Action, AfterDrain, Block, Gate, Segment, Session};
use crate::cluster::{Membership, Verdict};
use crate::fault::{Fault, SqlState};
use crate::id::NodeId;
use crate::plan::{Memory as Learned, Transaction};
use crate::reply::{Done, Maker, Note, Own, Ready, Statement, To, Undo, What};
use crate::unit::{Commit, Outcome};
use crate::wire::backend::{self, Status};
use crate::wire::{frontend, notice};

/// Why there is no leader connection.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// The transaction that the leader took with it is the client's own block.
    pub block: bool,
    /// It is to be brought over to the next leader.
    pub goes_on: Option<GoesOn>,
    /// The server has said that it ends the session.
    pub ended: bool,
    /// It was at its COMMIT, with which it is over either way.
    pub at_commit: bool,
    /// The client wants its statement cancelled, of which it is not known yet whether it is run again.
    pub cancelled: bool,
}

/// How a transaction is brought over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoesOn {
    Open,
    /// A statement of it has failed, and a savepoint may be gone back to.
    Failed,
}

/// What a new leader has to be told, besides statements prepared by protocol.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// SET and LISTEN statements in their order, the last of each name.
    settings: Vec<(String, String)>,
}

impl Memory {
    pub fn clear(&mut self) {
        self.settings.clear();
    }

    pub fn note(&mut self, memory: Learned, sql: &str) {
        match memory {
            Learned::Set { name } => self.keep(name, sql),
            Learned::Listen { channel } => self.keep(listen(&channel), sql),
            Learned::Reset { name } => self.forget(|known| known == name),
            Learned::ResetAll => self.forget(|known| !known.starts_with(LISTEN)),
            Learned::Unlisten { channel: Some(channel) } => self.forget(|known| known == listen(&channel)),
            Learned::Unlisten { channel: None } => self.forget(|known| known.starts_with(LISTEN)),
            Learned::Each(all) => all.into_iter().for_each(|(memory, sql)| self.note(memory, &sql)),
        }
    }

    pub fn listens(&self) -> bool {
        self.settings.iter().any(|(known, _)| known.starts_with(LISTEN))
    }

    fn keep(&mut self, name: String, sql: &str) {
        self.forget(|known| known == name);
        self.settings.push((name, sql.to_owned()));
    }

    fn forget(&mut self, which: impl Fn(&str) -> bool) {
        self.settings.retain(|(known, _)| !which(known));
    }

    fn sets(&self, name: &[u8]) -> bool {
        self.settings.iter().any(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// No setting's name has a blank.
const LISTEN: &str = "listen ";

fn listen(channel: &str) -> String {
    format!("{LISTEN}{channel}")
}

impl Session {
    /// The leader's connection has ended or broken.
    pub fn leader_lost(&mut self, why: String) {
        if self.gate == Gate::Closed || self.lost.is_some() {
            return;
        }
        self.lose_leader();
        if self.gate == Gate::Closed || self.lost_in_commit() {
            return;
        }
        self.gate = Gate::Leaderless;
        self.heir_broke();
        self.actions.push_back(Action::Suspect { of: self.commit_number, node: self.leader, why });
    }

    pub(super) fn lose_leader(&mut self) {
        self.lost = Some(Lost {
            block: self.told_block == Block::Explicit,
            goes_on: None,
            ended: self.is_ended(),
            at_commit: false,
            cancelled: false,
        });
        self.leader_in.clear();
        self.leader_out.clear();
        self.waiting = 0;
        self.levelling = super::leader::Levelling::Not;
        self.unnote_owed();
        self.forget_answers();
        self.forget_captured();
        self.again = None;
        self.own_left = false;
        // A Query that was not begun yet is the end of its segment all the same.
        let query = |then: &AfterDrain| matches!(then, AfterDrain::Frame(frame) if frame.tag == frontend::QUERY);
        self.segment.synced |= self.after_drain.take().as_ref().is_some_and(query);
        if self.passing > 0 {
            // Half a message has been passed on: nothing can be said any more that the client would understand.
            self.close();
        }
    }

    /// What the leader was in the middle of telling, or of taking: the rest will not come.
    pub(super) fn forget_answers(&mut self) {
        self.collected.clear();
        self.loader = None;
        self.settings = None;
        self.copy_asked = false;
        self.copy_words = None;
        self.landing = None;
        self.imaging = None;
    }

    /// Whether the leader was lost in a commit, whose machine then decides.
    fn lost_in_commit(&mut self) -> bool {
        if self.took_back_commit() {
            return false;
        }
        if self.ended_in_utility() {
            return true;
        }
        let Some(committing) = &mut self.committing else { return false };
        match &mut committing.machine {
            Some(machine) => {
                machine.leader_lost();
                self.pump();
            }
            // Nothing has been sent to a follower: the unit is nowhere.
            None => self.conclude(Outcome::Aborted(lost_transaction())),
        }
        true
    }

    /// The membership is another. If somebody else leads now, or nobody and its leader is out, the session leaves that one,
    /// whatever its connection says: what it did there will not be committed.
    pub fn membership_changed(&mut self, membership: &Membership) {
        if self.committing.is_some() && membership.active().next().is_none() && membership.current().nth(1).is_some() {
            return self.commit_without_anybody();
        }
        self.machine(|machine| membership.out().for_each(|node| machine.out(node)));
        let goes = match membership.leader() {
            Some(leader) => leader != self.leader,
            None => !membership.member(self.leader).state.is_current(),
        };
        if goes {
            self.leave_leader();
        }
    }

    /// Its leader is out, or will be.
    pub(super) fn leave_leader(&mut self) {
        if self.lost.is_some() || self.gate == Gate::Closed {
            return;
        }
        self.lose_leader();
        self.last_word = None;
        if self.gate == Gate::Closed || self.lost_in_commit() {
            return;
        }
        self.settle_segment(true);
        self.lead_again();
    }

    /// All nodes were lost in the middle of a commit, and any of them may be the one that goes on: the leader's answer says
    /// nothing any more.
    fn commit_without_anybody(&mut self) {
        if self.lost.is_none() {
            self.last_word = None;
            self.lose_leader();
        }
        if self.gate == Gate::Closed {
            return;
        }
        match self.committing.as_mut().map(|committing| committing.machine.is_some()) {
            Some(true) => self.machine(Commit::nobody_leads),
            _ => self.conclude(Outcome::Aborted(lost_transaction())),
        }
    }

    pub(super) fn leader_verdict(&mut self, verdict: Verdict) {
        if let (Verdict::Alive, Some(word)) = (verdict, self.last_word.take()) {
            // What is not committed is not to be heard as done.
            self.untold.forget_done();
            self.tell_raw(&word.raw);
            return self.close();
        }
        self.settle_segment(verdict == Verdict::Out);
        self.lead_again();
    }

    /// The leader is out, though its connection may still stand; the unit has been committed by the others. The transaction
    /// that was chained to it, if one was, is lost.
    pub(super) fn lead_elsewhere(&mut self, chained: bool) {
        if self.gate == Gate::Closed {
            return;
        }
        // What comes after the commit is still to be done.
        let then = self.after_drain.take();
        if self.lost.is_none() {
            self.lose_leader();
        }
        self.after_drain = then;
        let ended = self.lost.as_ref().is_some_and(|lost| lost.ended);
        self.lost = Some(Lost { block: chained, ended, ..Lost::default() });
        self.instead = chained.then(lost_transaction);
        if chained {
            self.binds(LOST);
        }
        self.segment.open = false;
        // All that was asked for is answered.
        self.segment.begun &= self.segment.script.is_some();
        self.lead_again();
    }

    /// Dials the leader of the moment.
    pub(super) fn lead_again(&mut self) {
        if self.gate != Gate::Closed {
            self.gate = Gate::Leaderless;
            self.actions.push_back(Action::Dial);
        }
    }

    /// What becomes of the segment that was under way, and of the unit. `out`: its leader is.
    fn settle_segment(&mut self, out: bool) {
        if self.lost.as_ref().is_some_and(|lost| lost.block) && out && self.goes_on() {
            return;
        }
        if let Some(lost) = self.lost.as_mut().filter(|lost| lost.at_commit) {
            lost.block = false;
            self.replay.give_up();
        }
        let block = self.lost.as_ref().is_some_and(|lost| lost.block);
        // Of one that has failed the client knows already.
        let unknown = self.status != Status::Failed || self.unit.diary.has_savepoints();
        // One may be chained to it.
        self.end_unit_before(block);
        if block {
            self.binds(LOST);
        }
        self.block = if block { Block::Explicit } else { Block::None };
        self.told_block = self.block;
        self.status = if block { Status::Failed } else { Status::Idle };
        if !self.segment.begun {
            // What it was not told of an earlier loss it still has to be told.
            let untold = self.instead.take().or_else(|| unknown.then(lost_transaction));
            self.instead = untold.filter(|_| block);
            return;
        }
        self.instead = None;
        if let Some(replay) = self.replay.take().filter(|_| !block && !self.segment.told) {
            let rest = std::mem::replace(&mut self.client_in, replay);
            self.client_in.extend_from_slice(&rest);
            self.segment = Segment::default();
            self.untold.clear();
            return self.heed_cancel();
        }
        if !self.segment.failed {
            self.untold.clear();
            self.tell(|out| notice::error(out, &lost_transaction()));
            self.segment.failed = true;
        }
        if self.segment.synced || self.segment.script.is_some() {
            let status = self.status;
            self.tell(|out| backend::ready_for_query(out, status));
            self.segment = Segment::default();
        } else {
            self.segment.open = false;
        }
    }

    /// There is a leader connection again, logged in as the client.
    pub fn dialled(&mut self, node: NodeId, parameters: Vec<(Bytes, Bytes)>) {
        if self.temporary {
            return self.end(&Fault::fatal(
                SqlState::ADMIN_SHUTDOWN,
                "the server that held this session's temporary tables has failed",
            ));
        }
        if let Some(why) = self.locks_lost(node) {
            return self.end_without_locks(why);
        }
        let Some(lost) = self.lost.take() else { return };
        // What another leader had that no follower has is gone with it.
        self.capture.astray &= node == self.leader;
        self.leader = node;
        self.last_word = None;
        self.forget_names();
        self.own_catalog = None;
        self.passing = 0;
        for (name, value) in parameters {
            if self.parameters.get(&name) != Some(&value) && !self.memory.sets(&name) {
                backend::parameter_status(&mut self.client_out, &name, &value);
                self.parameters.insert(name, value);
            }
        }
        self.take_locks_again();
        self.remind();
        self.gathers = true;
        if let Some(how) = lost.goes_on.filter(|_| self.plays()) {
            if how == GoesOn::Failed {
                self.own_query(b"lockstep: the transaction had failed", Own::Memory);
            }
        } else if lost.block && self.told_block == Block::Explicit {
            // The block goes on as what it is: failed. So the leader itself gives the right answers in it.
            self.own_query(format!("BEGIN{}", self.unit.modes).as_bytes(), Own::Memory);
            self.own_query(b"lockstep: the transaction was lost with its server", Own::Memory);
        }
        self.gate = Gate::Drain;
    }

    /// A COMMIT of a transaction of whose loss the client does not know: that it was rolled back is told by an error, for few
    /// clients look whether the answer to their COMMIT is ROLLBACK.
    pub(super) fn commits_what_was_lost(&self, done: &Done) -> bool {
        self.instead.is_some() && matches!(done.note, Note::Transaction(Transaction::Commit { .. }))
    }

    pub(super) fn tell_loss(&mut self, done: &Done) {
        self.segment.unchains = matches!(done.note, Note::Transaction(Transaction::Commit { chain: true }));
        if let Some(fault) = self.instead.take() {
            self.tell(|out| notice::error(out, &fault));
        }
    }

    /// A COMMIT AND CHAIN that fails begins no transaction, but to the leader it has not failed.
    pub(super) fn unchain(&mut self) {
        self.segment.synced = true;
        self.own_query(b"ROLLBACK", Own::Rollback);
    }

    pub fn not_dialled(&mut self, fault: &Fault) {
        self.end(fault);
    }

    /// Settings, then prepared statements, each by itself: one that fails is as if it had never been.
    fn remind(&mut self) {
        let settings: Vec<String> = self.memory.settings.iter().map(|(_, sql)| sql.clone()).collect();
        for sql in settings {
            self.own_query(sql.as_bytes(), Own::Memory);
        }
        let mut statements: Vec<(Bytes, Arc<Statement>)> =
            self.statements.iter().map(|(n, s)| (n, s.clone())).collect();
        // A Query ends the unnamed one.
        statements.sort_by_key(|(name, _)| name.is_empty());
        for (name, statement) in statements {
            if statement.maker == Maker::Sql {
                self.own_query(&statement.sql, Own::Memory);
                continue;
            }
            let sql = self.leader_text(&statement);
            frontend::parse(&mut self.leader_out, &name, &sql, &statement.types);
            frontend::sync(&mut self.leader_out);
            self.owe(What::Ack { to: To::Nobody, undo: Undo::Forget(name) }, 0);
            self.owe(What::Ready(Ready::Ours), 0);
        }
    }
}

/// The block that is made for it on the next leader must not be taken for it when that leader goes, too.
pub(super) const LOST: &str = "it was lost before";

pub(super) fn lost_transaction() -> Fault {
    Fault::error(
        SqlState::SERIALIZATION_FAILURE,
        "the server that ran this transaction has failed; another has taken over",
    )
    .with_hint("Run the transaction again.")
}
