//! An open unit goes on under a new leader: its log is played there, and then what the client has sent is sent.
//!
//! The client is told nothing of it. What was under way is run again, if the client was told nothing of that either.
//!
//! Invariant: only a unit goes on of which it is known that its log and its diary are all that it had on the old leader
//! ([`crate::plan::Leaves`]), it is READ COMMITTED, and the schema is that by which it was planned. Whether its rows are still its own, and when it may go on, is for
//! [`crate::heirs`] to say. Everything else ends with 40001, as any transaction whose server fails.
//!
//! What the client may see of it: `now()` is that of the new transaction, and `currval` and `lastval` know nothing.

use super::client::OWN_NAME;
use super::commit::CommitVia;
use super::segment::Segment;
use super::takeover::{GoesOn, LOST, Lost, lost_transaction};
use super::{Action, Block, Gate, Session};
use crate::effect::capture::{APPLY, INHERIT};
use crate::id::NodeId;
use crate::journal::{Touched, Unknown};
use crate::limits;
use crate::plan::Leaves;
use crate::reply::{Own, What};
use crate::unit::{Commit, Log, Order, Retold};
use crate::wire::backend::{self, Status};
use crate::wire::frontend::{self, Target};
use crate::wire::notice::Fields;
use crate::wire::{Frame, frame};

/// Divides by zero unless the new transaction is of the kind that is brought over.
pub(crate) const OF_THIS_KIND: &str = "SELECT 1 OPERATOR(pg_catalog./) (pg_catalog.current_setting('transaction_isolation') \
    OPERATOR(pg_catalog.=) ANY ('{read committed,read uncommitted}'::pg_catalog.text[]))::pg_catalog.int4";

/// What is said before a unit is played.
const BEGINNING: [&str; 2] = ["BEGIN", OF_THIS_KIND];

impl Session {
    /// A statement is sent.
    pub(super) fn passes_on(&mut self, leaves: Leaves) {
        match leaves {
            Leaves::Nothing => {}
            Leaves::Parts => self.unit.parts = true,
            Leaves::Again => self.bequeaths(),
            Leaves::More => self.binds("it has more on its server than what another one can be given"),
        }
    }

    /// Whether a statement is to be noted for a new leader.
    pub(super) fn notes(&self, leaves: Leaves) -> bool {
        leaves == Leaves::Again && self.block == Block::Explicit && self.unit.bound.is_none()
    }

    /// Such a statement has succeeded.
    pub(super) fn would_tell(&mut self, again: &Retold) {
        let mark = self.unit.log.mark();
        self.has_locked();
        if self.unit.bound.is_none() && !self.unit.diary.again(again.clone(), mark) {
            self.binds("it has too many locks, settings or notifications");
        }
    }

    /// The unit cannot go on under a new leader.
    pub(super) fn binds(&mut self, why: &'static str) {
        self.unit.bound.get_or_insert(why);
        self.unit.unflushed |= self.unit.captured.is_some();
        self.unit.heir = None;
    }

    /// A write is about to be sent: nobody is to be served by a new leader before it has been brought there.
    pub(super) fn bequeaths(&mut self) {
        if self.block == Block::Explicit && self.unit.heir.is_none() && self.unit.bound.is_none() {
            self.unit.heir = Some(self.heirs.enter(self.leader));
        }
    }

    /// Whether what the leader has still to say is worth hearing, though it leads no more: that it has ended the
    /// session by itself, and what the unit has locked was free before it fell.
    pub fn has_heir(&self) -> bool {
        self.unit.heir.is_some() || self.locks.has_heir()
    }

    /// Whether the leader has said that it ends the session.
    pub(super) fn is_ended(&self) -> bool {
        let fatal = |frame: &Frame| {
            frame.tag == backend::ERROR_RESPONSE && Fields::read(frame.body()).is_ok_and(|fields| fields.is_fatal())
        };
        let mut rest = &self.leader_in[..];
        while let Ok(Some((tag, size))) = frame::peek(rest, limits::MESSAGE) {
            let Some((whole, behind)) = rest.split_at_checked(size) else { break };
            if tag == backend::ERROR_RESPONSE && fatal(&Frame { tag, raw: bytes::Bytes::copy_from_slice(whole) }) {
                return true;
            }
            rest = behind;
        }
        self.last_word.is_some()
    }

    /// The leader is out. True: the client's transaction is to go on.
    pub(super) fn goes_on(&mut self) -> bool {
        if let Some(why) = self.ties() {
            tracing::debug!(why, "an open transaction ends with its server");
            return false;
        }
        let failed = self.status == Status::Failed;
        let Some(lost) = &mut self.lost else { return false };
        lost.goes_on = Some(if failed { GoesOn::Failed } else { GoesOn::Open });
        if let Some((mark, entries)) = self.segment.mark.filter(|_| self.segment.begun) {
            self.cut(mark);
            self.unit.diary.cut(entries);
        }
        if let Some(replay) = self.replay.take() {
            let rest = std::mem::replace(&mut self.client_in, replay);
            self.client_in.extend_from_slice(&rest);
        }
        self.segment = Segment::default();
        self.untold.clear();
        self.portals.clear();
        (self.block, self.told_block, self.status) = (Block::Explicit, Block::Explicit, Status::InTransaction);
        self.heed_cancel();
        true
    }

    /// What ties the unit to its server.
    fn ties(&self) -> Option<&'static str> {
        let unit = &self.unit;
        let rows_alone = unit.log.executions().is_some() && !unit.spilled;
        let known = !unit.waived && !unit.own_schema && !self.temporary;
        let same_schema = unit.began_in.is_none_or(|epoch| epoch == self.catalogs.epoch());
        let ended = self.lost.as_ref().is_none_or(|lost| lost.ended);
        let failed = self.status == Status::Failed;
        let locked = !unit.log.is_empty() || unit.diary.tells_again();
        let tied = [
            (failed && (self.segment.begun || !unit.diary.has_savepoints()), "it has failed"),
            (unit.doomed.is_some(), "it cannot be committed"),
            (!rows_alone, "its effects are not rows by key, in memory"),
            (unit.order != Order::FollowersFirst, "only its server can judge it"),
            (!known, "it has changed more than rows"),
            (!same_schema || !unit.overtaken.is_empty(), "the schema has changed since it began"),
            (unit.unrun && !self.segment.begun, "it has a portal"),
            (locked && (unit.heir.is_none() || ended), "its server had let go of what it had locked"),
            (self.segment.begun && !self.replay.is_kept(), "the client knows part of an answer"),
            (self.locks.are_unclear(), "its session may have locks that outlive it"),
        ];
        unit.bound.or_else(|| tied.iter().find(|(tie, _)| *tie).map(|(_, why)| *why))
    }

    /// A commit of which no node has been sent anything: it is as if the client were still to ask for it. False: there
    /// is none.
    pub(super) fn took_back_commit(&mut self) -> bool {
        let Some(committing) = &self.committing else { return false };
        let sent = committing.machine.as_ref().is_some_and(Commit::has_sent);
        let utility = matches!(committing.via, CommitVia::Utility(_) | CommitVia::UtilityExtended(_));
        let plain = committing.order == Order::FollowersFirst && !committing.schema && !utility;
        // A leader that has told rows while it committed has committed.
        if sent || !plain || !self.replay.is_kept() || self.capture.astray {
            return false;
        }
        let Some(committing) = self.committing.take() else { return false };
        if committing.machine.is_some() {
            self.actions.push_back(Action::Release);
        }
        self.unlock();
        if self.unit.log.is_empty() {
            match committing.batch.log() {
                Some(log) => self.unit.log = log,
                None => self.binds("its effects are not rows by key, in memory"),
            }
        }
        if let Some(lost) = &mut self.lost {
            lost.at_commit = lost.block;
        }
        self.untold.clear();
        true
    }

    /// Plays the unit's log. False: it is not to go on after all.
    pub(super) fn plays(&mut self) -> bool {
        let leader = self.leader;
        let hindrance = match &self.unit.heir {
            Some(heir) => heir.hindrance(leader, &self.touched_so_far()),
            None => None,
        };
        if let Some(why) = hindrance.or_else(|| self.ties_again()) {
            self.loses_unit(why);
            return false;
        }
        let Some((templates, executions)) = self.unit.log.executions() else { return false };
        let out = &mut self.leader_out;
        for template in templates {
            // The locks that belong to captured rows are taken with them.
            let sql = if template.id == APPLY.id { INHERIT } else { &template.sql };
            frontend::parse(out, template.id.statement_name().as_bytes(), sql.as_bytes(), &[]);
        }
        for sql in BEGINNING {
            let own = Retold::new(OWN_NAME, sql.as_bytes(), &[], frontend::NO_PARAMETERS, &[]);
            out.extend_from_slice(own.messages());
        }
        self.unit.diary.play(OWN_NAME, executions, out);
        self.recital = self.unit.diary.recital();
        for template in templates {
            frontend::close(out, Target::Statement, template.id.statement_name().as_bytes());
        }
        frontend::close(out, Target::Portal, b"");
        frontend::sync(out);
        self.owe(What::Own { purpose: Own::Play, error: None, tag: None }, 0);
        self.segment.open = false;
        true
    }

    /// The connection is gone, and it is not known yet whether its server is.
    pub(super) fn heir_broke(&self) {
        if let Some(heir) = &self.unit.heir {
            heir.broke(self.touched_so_far());
        }
        self.locks.broke();
    }

    fn touched_so_far(&self) -> Touched {
        if self.unit.diary.tells_again() || self.unit.parts {
            return Touched::Unknown(Unknown::Statement);
        }
        let log = self.unit.log.executions().map(|(templates, body)| Log::of_executions(templates, body, false));
        self.as_journalled(&log.unwrap_or_default().take_batch())
    }

    fn ties_again(&self) -> Option<&'static str> {
        let same = self.unit.began_in.is_none_or(|epoch| epoch == self.catalogs.epoch());
        (!same).then_some("the schema has changed since it began")
    }

    /// The new leader has been told all of it. `error`: it could not do what the old one had done.
    pub(super) fn played(&mut self, error: Option<&Fields>) {
        if let Some(error) = error {
            let (why, state) = (error.message(), String::from_utf8_lossy(error.state()).into_owned());
            tracing::error!(why, state, leader = self.leader.0, "the log of an open transaction cannot be played");
            return self.comes_too_late("its log cannot be played");
        }
        if !std::mem::take(&mut self.recital).is_the_same(BEGINNING.len()) {
            self.comes_too_late("what it has locked is not there any more as it was");
        }
    }

    /// On a connection of which nothing is known any more: another one is made.
    fn comes_too_late(&mut self, why: &'static str) {
        if self.ends_with_its_locks(why) {
            return;
        }
        self.loses_unit(why);
        self.lose_leader();
        self.lost = Some(Lost { block: true, ..Lost::default() });
        self.lead_again();
    }

    /// The client's transaction ends with its server after all.
    fn loses_unit(&mut self, why: &'static str) {
        tracing::warn!(why, "an open transaction could not be brought over to another server");
        self.end_unit();
        self.binds(LOST);
        self.status = Status::Failed;
        self.instead = Some(lost_transaction());
    }

    /// The new leader knows all that is the session's.
    pub(super) fn gather(&mut self) {
        if !self.locks_arrived() {
            return self.end_without_locks("they came too late");
        }
        let late = self.unit.heir.as_ref().is_some_and(|heir| !heir.arrived(self.leader));
        if late {
            return self.comes_too_late("it came too late");
        }
        self.gate = Gate::Gathering;
        self.actions.push_back(Action::Gather(self.leader));
    }

    /// Nobody has anything to bring over to this leader any more.
    pub fn gathered(&mut self, leader: NodeId) {
        if self.gate == Gate::Gathering && self.leader == leader {
            self.gathers = false;
            self.gate = Gate::Drain;
        }
    }
}
