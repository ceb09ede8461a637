//! Rows that triggers of ours tell: how they come into the log, and how tables come to their triggers.
//!
//! A captured statement runs as the client wrote it. Behind it, in the same pipeline, our triggers are made to fire; what
//! they say in INFO messages is taken out of the leader's stream. It is believed because of where it stands: while our own
//! statement runs nothing of a client's does. A message of the same form anywhere else is the client's own.

use std::sync::Arc;

use bytes::Bytes;

use super::commit::Committing;
use super::portal::Portal;
use super::watch::Watching;
use super::{Action, AfterDrain, Block, Gate, Session};
use crate::cluster::Membership;
use crate::effect::Template;
use crate::effect::capture::{CaptureKey, CapturedRows, NO_LIMIT, PATIENCE, Triggers, make_triggers, parameters};
use crate::fault::{Fault, SqlState};
use crate::limits;
use crate::plan::{self, Captured, Leaves, Plan, Planned, Script as Plans, Transaction};
use crate::reply::{Execution, Note, Own, What};
use crate::unit::{Commit, Outcome};
use crate::wire::frontend::{self, Format};
use crate::wire::notice::Fields;
use crate::wire::{Frame, Malformed};

/// Deferred constraints and triggers of users, before the commit of a unit with captured rows.
const SETTLE: &str = "SELECT lockstep.settle()";

#[derive(Debug, Default)]
pub(super) struct Capture {
    /// Known once the shell has said that the nodes know it.
    key: Option<Arc<CaptureKey>>,
    rows: CapturedRows,
    number: CaptureNumber,
    /// Tables that were asked for last, until a statement can be planned.
    asked: Option<Arc<[String]>>,
    /// Tables to which only this transaction can give our trigger.
    own: Option<Arc<[String]>>,
    /// What followers are to run when it has.
    making: Option<String>,
    /// Those to which it has given it, until a statement can be planned.
    made: Option<Arc<[String]>>,
    /// What is to be done when the data of a COPY has come.
    copying: Option<Arc<Captured>>,
    /// Why they do not have our trigger.
    refused: Option<Fault>,
    pub watching: Watching,
    /// The leader has told rows while it committed, which are on no other node.
    pub astray: bool,
}

/// Which question it was: the answer to one that was given up is not that to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureNumber(u64);

/// Why a node cannot stay that lacks such rows.
const ASTRAY: &str = "rows that were changed while the leader committed a transaction are on the leader alone";

impl Session {
    /// Whether all statements can run as planned. If not, the shell is asked for what is missing, and `then` is handled
    /// when it is there; or what cannot be had makes a refusal of the plan.
    pub(super) fn is_capturing(&mut self, plans: &mut Plans, then: impl FnOnce() -> AfterDrain) -> bool {
        self.need_what_text_changed(plans);
        if let Some(own) = &self.capture.own {
            self.capture.watching.needs.get_or_insert(own.clone());
        }
        let needed = plans.statements.iter().find_map(|planned| self.missing(&planned.plan));
        let Some(tables) = needed else {
            (self.capture.asked, self.capture.own, self.capture.made) = (None, None, None);
            return true;
        };
        if let Some(fault) = self.capture.refused.take() {
            self.capture.asked = None;
            plans.statements.iter_mut().for_each(|planned| refuse(planned, &fault));
            return true;
        }
        if self.capture.made.take_if(|made| *made == tables).is_some() {
            let why = format!(
                "{} must get a trigger that tells what changes, and has none when it is made",
                tables.join(", ")
            );
            let fault = Fault::error(SqlState::FEATURE_NOT_SUPPORTED, format!("this statement is refused: {why}"));
            plans.statements.iter_mut().for_each(|planned| refuse(planned, &fault));
            return true;
        }
        if self.capture.own.take_if(|own| *own == tables).is_some() {
            if self.is_in_transaction() {
                self.make_triggers(tables, then());
                return false;
            }
            self.capture.asked = None;
            let why = format!("{} is not there any more, or not as it was", tables.join(", "));
            let fault = Fault::error(SqlState::SERIALIZATION_FAILURE, why).with_hint("Run the statement again.");
            plans.statements.iter_mut().for_each(|planned| refuse(planned, &fault));
            return true;
        }
        if self.capture.asked.as_ref() == Some(&tables) {
            // It is there, but this transaction's snapshot is older.
            self.capture.asked = None;
            let why = format!("{} became captured after the transaction began", tables.join(", "));
            let fault = Fault::error(SqlState::SERIALIZATION_FAILURE, why).with_hint("Run the transaction again.");
            plans.statements.iter_mut().for_each(|planned| refuse(planned, &fault));
            return true;
        }
        self.capture.asked = Some(tables.clone());
        self.ask_to_capture(tables, then());
        false
    }

    /// Whether what is asked now is within the client's transaction, and not one of its own.
    fn is_in_transaction(&self) -> bool {
        self.block == Block::Explicit || self.segment.open
    }

    /// As a statement of the transaction's own, as if it were DDL of the client's.
    fn make_triggers(&mut self, tables: Arc<[String]>, then: AfterDrain) {
        let fresh = !self.segment.open;
        if self.settings.is_none() {
            self.capture.own = Some(tables);
            self.ask_settings();
        } else if let Some(key) = &self.capture.key {
            let here = make_triggers(key, &tables, PATIENCE);
            self.capture.making = Some(make_triggers(key, &tables, NO_LIMIT));
            (self.capture.asked, self.capture.made) = (None, Some(tables));
            self.writes(self.planned_in);
            self.ask(&here, Own::Triggers);
        }
        if fresh {
            self.sync_ours();
        }
        self.drain(then);
    }

    /// What the transaction has made, or was about to, is no more, or stays.
    pub(super) fn forget_triggers(&mut self) {
        (self.capture.own, self.capture.made) = (None, None);
    }

    /// The transaction has given tables our trigger.
    pub(super) fn triggers_made(&mut self) {
        if let Some(sql) = self.capture.making.take() {
            self.apply_schema(&sql);
        }
    }

    pub(super) fn capture_key(&self) -> Option<Arc<CaptureKey>> {
        self.capture.key.clone()
    }

    /// Whether the nodes have our functions. If not, the shell is asked for them, and `then` is handled when they are there.
    pub(super) fn knows_key(&mut self, then: AfterDrain) -> bool {
        if self.capture.key.is_some() {
            return true;
        }
        match self.capture.refused.take() {
            Some(fault) => {
                self.poison(fault, 0);
                self.segment_over();
            }
            None => self.ask_to_capture(Arc::new([]), then),
        }
        false
    }

    fn ask_to_capture(&mut self, tables: Arc<[String]>, then: AfterDrain) {
        self.capture.watching.needs = None;
        self.capture.number.0 += 1;
        self.actions.push_back(Action::Capture { number: self.capture.number, tables });
        self.after_drain = Some(then);
        if !self.owed.is_empty() {
            frontend::flush(&mut self.leader_out);
        }
        self.gate = Gate::Capturing;
    }

    fn missing(&self, plan: &Plan) -> Option<Arc<[String]>> {
        match &plan.action {
            plan::Action::Capture(tables) => Some(tables.clone()),
            plan::Action::Captured(captured) if captured.watch.is_some() && self.capture.watching.needs.is_some() => {
                self.capture.watching.needs.clone()
            }
            plan::Action::Captured(_) if self.capture.key.is_none() => Some(Arc::new([])),
            _ if plan.marks.objects && self.capture.key.is_none() => Some(Arc::new([])),
            plan::Action::Prepare { inner, .. } => self.missing(inner),
            _ => None,
        }
    }

    /// All nodes know the key, and who gives the tables our trigger; or why none can have it.
    pub fn captured(&mut self, number: CaptureNumber, outcome: Result<(CaptureKey, Triggers), Fault>) {
        if number != self.capture.number {
            return;
        }
        match outcome {
            Ok((key, triggers)) => {
                self.capture.key = Some(Arc::new(key));
                self.capture.own = self.capture.asked.clone().filter(|_| triggers == Triggers::LeftToSession);
            }
            Err(fault) => self.capture.refused = Some(fault),
        }
        if self.gate == Gate::Capturing {
            self.gate = Gate::Drain;
        } else {
            (self.capture.refused, self.capture.own) = (None, None);
        }
    }

    /// A captured statement is about to be sent.
    pub(super) fn before_capture(&mut self, captured: &Captured) {
        if captured.watch.is_some() {
            self.unit.watch.clone_from(&captured.watch);
        }
        self.watch();
        if captured.settles {
            self.ask(SETTLE, Own::Settle);
            self.ask(&captured.flush, Own::Flush);
        }
    }

    /// A captured statement was sent: behind it our triggers are made to fire.
    pub(super) fn capture_rows(&mut self, captured: &Arc<Captured>) {
        self.may_capture(captured);
        if captured.copies && self.capture.copying.is_none() {
            self.capture.copying = Some(captured.clone());
            return;
        }
        self.capture.copying = None;
        self.ask(&captured.flush, Own::Flush);
        self.end_watch();
        self.unit.unflushed = false;
    }

    /// Rows that this changes, now or when FETCH runs its portal, are captured.
    pub(super) fn may_capture(&mut self, captured: &Arc<Captured>) {
        self.unit.deferrable |= captured.defers;
        self.unit.captured = Some(captured.clone());
    }

    /// A statement that is not known to run nothing but itself may run on a portal whose query runs text: it is looked at as
    /// if it were that query.
    pub(super) fn runs_on(&self, action: &plan::Action, leaves: Leaves) -> Option<Arc<Captured>> {
        let query = |portal: &Portal| match &portal.meaning.plan.action {
            plan::Action::Captured(captured) if captured.watch.is_some() && !captured.copies => Some(captured.clone()),
            _ => None,
        };
        let may = matches!(action, plan::Action::Leader) && leaves == Leaves::More;
        may.then(|| self.portals.iter().find_map(|(_, portal)| query(portal))).flatten()
    }

    /// The data of a COPY has come.
    pub(super) fn copied_captured(&mut self) {
        if let Some(captured) = self.capture.copying.clone() {
            self.capture_rows(&captured);
        }
    }

    /// Before the commit: what of users was deferred may change rows too.
    pub(super) fn settle_captured(&mut self, captured: &Captured) {
        self.watch();
        if self.unit.deferrable {
            self.ask(SETTLE, Own::Settle);
        }
        self.ask(&captured.flush, Own::Flush);
        self.end_watch();
        frontend::flush(&mut self.leader_out);
    }

    pub(super) fn is_flushing(&self) -> bool {
        matches!(self.owed.front().map(|o| &o.what), Some(What::Execution(Execution::Own(Own::Flush))))
    }

    /// A message that came while our triggers fire.
    pub(super) fn captured_row(&mut self, frame: &Frame) -> Result<(), Malformed> {
        let fields = Fields::read(frame.body())?;
        let Some(message) = fields.get(b'M') else { return Ok(()) };
        if !self.capture.rows.take(message) {
            return Ok(());
        }
        if self.capture.rows.bytes() > limits::CAPTURED_AT_ONCE && self.capture.rows.can_be_parted() {
            let part = self.capture.rows.take_part();
            self.log_captured(part);
        }
        if self.capture.rows.bytes() > limits::WHOLE_STATEMENT {
            self.capture.rows = CapturedRows::default();
            let why = "too many rows of a table without a key were changed at once";
            self.doom(Fault::error(SqlState::PROGRAM_LIMIT_EXCEEDED, why).with_hint("Give the table a primary key."));
        }
        Ok(())
    }

    /// A message that came with something else than our own statement. If it has the form of a captured row, then our
    /// triggers have fired too early, or somebody wants it to look so: either way the unit is not to be trusted.
    pub(super) fn check_notice(&mut self, frame: &Frame) -> Result<(), Malformed> {
        let fields = Fields::read(frame.body())?;
        let is_row = |message: &Bytes| CapturedRows::default().take(message);
        if !fields.is_info() || !fields.get(b'M').is_some_and(is_row) {
            return Ok(());
        }
        if self.leader_commits() {
            tracing::error!("{ASTRAY}");
            self.capture.astray = true;
            return Ok(());
        }
        let why = "this transaction is refused: a message of it looks like a captured row";
        self.doom(Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("Do not raise such a message."));
        Ok(())
    }

    /// Whether what the leader does now is the end of a transaction.
    fn leader_commits(&self) -> bool {
        match self.owed.front().map(|owed| &owed.what) {
            Some(What::Ready(_) | What::Own { purpose: Own::Commit, .. }) => true,
            Some(What::Execution(Execution::Own(Own::Commit))) => true,
            Some(What::Raw { done, .. } | What::Execution(Execution::Pass { done })) => {
                matches!(done.note, Note::Transaction(Transaction::Commit { .. }))
            }
            _ => false,
        }
    }

    /// The leader has committed what no follower was told of: whoever lacks it goes. If no follower was to be told of
    /// anything, who they are is known when the lock is held.
    pub(super) fn leader_committed(&mut self) {
        match &self.committing {
            Some(committing) if !self.capture.astray => match committing.machine {
                Some(_) => self.machine(Commit::leader_committed),
                None => self.conclude(Outcome::Committed { leader_out: false }),
            },
            Some(Committing { machine: None, .. }) => self.ask_for_lock(),
            Some(_) => {
                self.capture.astray = false;
                self.machine(|machine| machine.leader_committed_alone(ASTRAY));
            }
            None => {}
        }
    }

    /// Takes what [`Self::leader_committed`] has left for when the lock is held.
    pub(super) fn commits_astray(&mut self, membership: &Membership) -> bool {
        let leads = membership.leader() == Some(self.leader) && self.lost.is_none();
        if !leads || !std::mem::take(&mut self.capture.astray) {
            return false;
        }
        if let Some(committing) = &mut self.committing {
            let mut machine = Commit::new(committing.order, self.leader, membership.followers());
            machine.leader_committed_alone(ASTRAY);
            committing.machine = Some(machine);
        }
        self.pump();
        true
    }

    /// The same where the client's own COMMIT was passed on, for nothing was known that followers would have to be told.
    pub(super) fn put_out_who_lacks_rows(&mut self, membership: &Membership) {
        if self.committing.is_none() && std::mem::take(&mut self.capture.astray) && self.leads {
            let of = self.commit_number;
            let degrade = |node| Action::Degrade { of, node, why: ASTRAY.to_owned() };
            self.actions.extend(membership.followers().map(degrade));
        }
    }

    /// Our triggers have fired.
    pub(super) fn flushed(&mut self) {
        if let Some(last) = self.capture.rows.take_last() {
            self.log_captured(last);
        }
        if self.unit.watch.is_none() {
            self.captured_all();
        }
    }

    /// Nothing of a statement, or of a unit that is about to be committed, is captured any more.
    pub(super) fn captured_all(&mut self) {
        match self.unit.doomed.take_if(|_| self.committing.is_some()) {
            Some(fault) => self.conclude(Outcome::Aborted(fault)),
            None if self.committing.is_some() && self.has_nothing_to_send() => self.leader_commit(),
            None => self.ask_for_objects(),
        }
    }

    fn log_captured(&mut self, (template, rows): (&Template, Bytes)) {
        let Some(key) = &self.capture.key else {
            return self.fail("rows were captured though no key is known".to_owned());
        };
        self.unit.log.execute(template, &[Format::Text], 2, &parameters(key, &rows));
        self.spill();
    }

    /// What was said by a statement that has failed is no row.
    pub(super) fn forget_captured(&mut self) {
        self.capture.rows = CapturedRows::default();
        self.capture.copying = None;
        self.capture.watching.begun = None;
    }
}

pub(super) fn refuse(planned: &mut Planned, fault: &Fault) {
    let captured = matches!(planned.plan.action, plan::Action::Capture(_) | plan::Action::Captured(_));
    if captured || planned.plan.marks.objects {
        planned.plan = Arc::new(fault.clone().into());
    }
}
