//! The end of a unit, on its way out: constraints, the commit lock, followers, the leader's COMMIT. Its way back, up to what
//! the client is told, is in [`super::outcome`].

use bytes::Bytes;

use super::client::OWN_NAME;
use super::done::connection_settings;
use super::{Action, AfterDrain, Block, Gate, LockMode, Session, Settings};
use crate::catalog::{Catalog, Cell};
use crate::cluster::Membership;
use crate::effect::names;
use crate::fault::{Fault, SqlState};
use crate::id::NodeId;
use crate::journal::{Touched, Unknown, Witness};
use crate::plan::Utility;
use crate::reply::{Execution, Own, Ready, To, Undo, What};
use crate::unit::commit::{Fate, Task};
use crate::unit::{Batch, Commit, Log, Order, Outcome};
use crate::wire::backend::Status;
use crate::wire::notice::Fields;
use crate::wire::{Frame, frontend};

/// What asked for the commit, and so what the client is told when it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CommitVia {
    /// The end of a segment whose transaction is implicit.
    Segment,
    /// COMMIT in a Query.
    Script {
        sql: Bytes,
        chain: bool,
    },
    /// Execute of a COMMIT.
    Extended {
        execute: Frame,
        chain: bool,
    },
    /// The same, of whose Bind the leader knows nothing; the client is told so much before the outcome.
    Unsent {
        answers: Bytes,
    },
    /// A command that cannot run in a transaction block, in a Query or by Execute: the leader runs it, then the others.
    Utility(Command),
    UtilityExtended(Command),
}

/// A command that each node runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub sql: Bytes,
    pub utility: Utility,
}

impl CommitVia {
    pub(super) fn utility(&self) -> Option<&Command> {
        match self {
            Self::Utility(command) | Self::UtilityExtended(command) => Some(command),
            _ => None,
        }
    }

    /// Whether a transaction follows at once.
    pub(super) fn chains(&self) -> bool {
        matches!(self, Self::Script { chain: true, .. } | Self::Extended { chain: true, .. })
    }

    /// Whether the client's segment goes on after it.
    pub(super) fn is_extended(&self) -> bool {
        matches!(self, Self::Extended { .. } | Self::Unsent { .. } | Self::UtilityExtended(_))
    }
}

/// A running commit.
#[derive(Debug)]
pub(super) struct Committing {
    pub via: CommitVia,
    pub order: Order,
    pub lock: LockMode,
    pub batch: Batch,
    /// What the followers' connections must have set besides.
    pub settings: Settings,
    /// Set when the lock is held.
    pub machine: Option<Commit>,
    /// The leader's word against its COMMIT.
    pub refusal: Option<Fields>,
    /// The tag of the leader's COMMIT.
    pub tag: Option<Bytes>,
    pub schema: bool,
    /// It changes what objects are given that are made later.
    pub defaults: bool,
}

impl Committing {
    /// Plans of others end here. By what is read from now on nobody else plans, until it has been carried out; but a
    /// command outside transactions may wait for transactions of others, which must be able to go on. Such a command
    /// changes definitions on its way, and what was planned then is found to be overtaken at its end.
    fn overtakes(&self, catalogs: &Cell<Catalog>) {
        catalogs.begin_change();
        if self.via.utility().is_some() {
            catalogs.end_change();
        }
    }

    /// It is over: what was planned since its beginning is overtaken, too.
    pub(super) fn has_overtaken(&self, catalogs: &Cell<Catalog>) {
        if self.via.utility().is_some() {
            catalogs.begin_change();
        }
        if self.defaults { catalogs.end_change_of_defaults() } else { catalogs.end_change() }
    }
}

impl Session {
    /// The segment's Sync has been answered, or its script is over.
    pub(super) fn segment_end(&mut self) {
        let ours = self.block == Block::Wrapped || self.told_block == Block::Wrapped;
        match self.status {
            Status::Failed if ours => self.own_query(b"ROLLBACK", Own::Rollback),
            status => self.finish_segment(status),
        }
    }

    pub(super) fn own_query(&mut self, sql: &[u8], purpose: Own) {
        frontend::query(&mut self.leader_out, sql);
        self.owe(What::Own { purpose, error: None, tag: None }, 0);
    }

    pub(super) fn begin_commit(&mut self, via: CommitVia) {
        if !self.unit.overtaken.is_empty() && self.unit.doomed.is_none() {
            return self.drain(AfterDrain::Overtaken(via));
        }
        self.gate = Gate::Commit;
        let mut order = self.unit.order;
        if via.utility().is_some() && self.has_set_role() {
            let why = "this command is refused: it is run on followers by the role of the login, and another is set";
            self.doom(
                Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("RESET ROLE, or log in as that role."),
            );
        }
        let mut settings = Settings::default();
        if let Some(command) = via.utility() {
            order = Order::LeaderFirst;
            self.unit.log = Log::default();
            self.unit.log.text(&String::from_utf8_lossy(&command.sql));
            settings = connection_settings(self.settings.take());
        }
        let schema = self.unit.log.has_schema_change() || via.utility().is_some() || self.unit.waived;
        let lock = match (via.utility().is_some(), schema || order == Order::LeaderFirst) {
            (true, _) => LockMode::Utility,
            (false, true) => LockMode::Exclusive,
            (false, false) => LockMode::Shared,
        };
        debug_assert!(self.status != Status::Failed, "a failed transaction has nothing to commit");
        let empty = self.has_nothing_to_send() && !self.unit.unflushed;
        let batch = Log::default().take_batch();
        let (machine, defaults) = (None, self.unit.defaults);
        self.committing =
            Some(Committing { via, order, lock, batch, settings, machine, refusal: None, tag: None, schema, defaults });
        if let Some(fault) = self.unit.doomed.take() {
            return self.conclude(Outcome::Aborted(fault));
        }
        if empty {
            return self.leader_commit();
        }
        let settles = self.unit.deferrable || self.unit.unflushed;
        if let Some(captured) = self.unit.captured.take().filter(|_| settles) {
            return self.settle_captured(&captured);
        }
        if self.unit.deferrable {
            self.ask("SET CONSTRAINTS ALL IMMEDIATE", Own::Constraints);
            return frontend::flush(&mut self.leader_out);
        }
        self.ask_for_objects();
    }

    /// Whether followers have nothing to do for the unit, by what is known of it now.
    pub(super) fn has_nothing_to_send(&self) -> bool {
        self.unit.log.is_empty() && !self.unit.waived && !self.unit.objects.may_have_changed()
    }

    /// Followers choose names by themselves in what they run as text. What is waived has its differences.
    pub(super) fn ask_for_names(&mut self) {
        if !self.unit.log.has_schema_change() || self.unit.waived {
            return self.take_lock();
        }
        self.ask(names::MADE, Own::Names);
        frontend::flush(&mut self.leader_out);
    }

    /// The leader has told its own.
    pub(super) fn names_told(&mut self, rows: &[Vec<Option<Bytes>>]) {
        if let Some(check) = names::check(rows.iter().filter_map(|row| row.first()?.as_ref())) {
            self.unit.log.text(&check);
            self.spill();
        }
        self.take_lock();
    }

    /// Nothing comes into the log any more.
    ///
    /// DDL may take followers as long as it has taken the leader, and nobody is to wait for that who has nothing to do with
    /// it: they play it before the commit lock is taken, as nothing of it can be in the way of another unit whose locks the
    /// leader would not have seen. All that can go wrong with it is left to the batch proper, under the lock.
    pub(super) fn take_lock(&mut self) {
        let Some(committing) = &mut self.committing else { return };
        let mut log = std::mem::take(&mut self.unit.log);
        if self.unit.deferrable {
            log.defer_constraints();
        }
        let ahead = log.has_schema_change() && committing.order == Order::FollowersFirst && !self.unit.waived;
        committing.batch = log.take_batch();
        if ahead {
            let (of, batch) = (self.commit_number, committing.batch.clone());
            return self.actions.push_back(Action::PlayAhead { of, batch });
        }
        self.ask_for_lock();
    }

    pub(super) fn ask_for_lock(&mut self) {
        if let Some(committing) = &self.committing {
            self.actions.push_back(Action::Lock { of: self.commit_number, mode: committing.lock });
        }
    }

    /// What the journal has to say of the unit that has asked for the lock. `None`: it asks no longer.
    pub fn touched(&self) -> Option<Touched> {
        let committing = self.committing.as_ref()?;
        if committing.schema {
            return Some(Touched::Unknown(Unknown::Statement));
        }
        Some(self.as_journalled(&committing.batch))
    }

    pub(super) fn as_journalled(&self, batch: &Batch) -> Touched {
        if self.client_encoding() != "UTF8" {
            return Touched::Unknown(Unknown::Encoding);
        }
        Touched::of(batch)
    }

    /// The commit lock is held.
    pub(super) fn locked(&mut self, membership: &Membership) {
        self.membership_changed(membership);
        if membership.leader() != Some(self.leader) {
            self.leave_leader();
        }
        if self.commits_astray(membership) || self.is_outdated() {
            return;
        }
        let Some(committing) = &self.committing else { return };
        self.heirs.commits(self.leader, || self.as_journalled(&committing.batch));
        let Some(committing) = &mut self.committing else { return };
        if self.lost.is_some() || membership.leader() != Some(self.leader) {
            return self.conclude(Outcome::Aborted(
                Fault::error(
                    SqlState::SERIALIZATION_FAILURE,
                    "the server that ran the transaction does not lead any more",
                )
                .with_hint("Run the transaction again."),
            ));
        }
        if committing.schema {
            committing.overtakes(&self.catalogs);
        }
        let upkeep = committing.via.utility().is_some_and(|command| command.utility == Utility::Upkeep);
        committing.machine = Some(if upkeep {
            Commit::of_upkeep(self.leader, membership.followers())
        } else {
            Commit::new(committing.order, self.leader, membership.followers())
        });
        self.pump();
    }

    /// Whether all that the leader has said was understood, and does not tell that it has given the unit up, or may have.
    pub fn trusts_leader(&self) -> bool {
        let answered = |what: &What| matches!(what, What::Own { error, tag, .. } if error.is_some() || tag.is_some());
        let machine = self.committing.as_ref().and_then(|committing| committing.machine.as_ref());
        self.lost.is_none()
            && self.last_word.is_none()
            && self.leader_in.is_empty()
            && machine.is_some_and(Commit::trusts_leader)
            && !self.owed.iter().any(|owed| answered(&owed.what))
    }

    pub(super) fn machine(&mut self, input: impl FnOnce(&mut Commit)) {
        if let Some(machine) = self.committing.as_mut().and_then(|c| c.machine.as_mut()) {
            input(machine);
            self.pump();
        }
    }

    /// The nodes to be degraded if this session is dropped as it is now: its commit has reached them in part.
    pub fn abandoned(&self) -> Vec<NodeId> {
        let machine = self.committing.as_ref().and_then(|committing| committing.machine.as_ref());
        machine.map(Commit::abandoned).unwrap_or_default()
    }

    /// Carries the commit's tasks over into actions.
    pub(super) fn pump(&mut self) {
        while let Some(committing) = &mut self.committing {
            let Some(task) = committing.machine.as_mut().and_then(Commit::poll) else { return };
            let of = self.commit_number;
            let action = match task {
                Task::Reserve { node, fresh } => {
                    Action::Reserve { of, node, fresh, settings: committing.settings.clone() }
                }
                Task::Look => Action::Look(of),
                Task::Send { node } => {
                    let send = Action::SendBatch { of, node, batch: committing.batch.clone() };
                    self.vacate();
                    send
                }
                Task::Suspect { node, why } => Action::Suspect { of, node, why },
                Task::Ask { node } => match self.touched().as_ref().and_then(Witness::of) {
                    Some(witness) => Action::Ask { of, node, witness },
                    None => {
                        self.machine(|machine| machine.told(node, Fate::Unknown("no row of it tells".into())));
                        continue;
                    }
                },
                Task::Degrade { node, why } => Action::Degrade { of, node, why },
                Task::LeaderCommit => {
                    self.leader_commit();
                    continue;
                }
                Task::Finished(outcome) => {
                    self.conclude(outcome);
                    continue;
                }
            };
            self.actions.push_back(action);
        }
    }

    pub(super) fn leader_commit(&mut self) {
        match self.committing.as_ref().map(|committing| committing.via.clone()) {
            None => {}
            Some(CommitVia::Segment) if self.block == Block::Implicit => self.own_sync(Own::Commit),
            Some(CommitVia::Segment) => self.own_query(b"COMMIT", Own::Commit),
            Some(CommitVia::Script { sql, .. }) => self.own_query(&sql, Own::Commit),
            Some(CommitVia::Extended { execute, .. }) => {
                self.leader_out.extend_from_slice(&execute.raw);
                frontend::flush(&mut self.leader_out);
                self.owe(What::Execution(Execution::Own(Own::Commit)), 0);
            }
            Some(CommitVia::Unsent { .. }) => self.own_commit(),
            Some(CommitVia::Utility(command) | CommitVia::UtilityExtended(command)) => {
                // What was asked for the plan has begun an implicit transaction, in which it could not run.
                self.sync_ours();
                self.vacate();
                self.note_leftovers();
                self.own_query(&command.sql, Own::Commit);
            }
        }
    }

    /// Followers have been told nothing of it, and what else the leader was to do for it is done.
    pub(super) fn leader_runs_command(&self) -> bool {
        let command = |committing: &Committing| {
            committing.via.utility().is_some() && committing.machine.as_ref().is_some_and(Commit::waits_for_leader)
        };
        let asked = self.owed.front().map(|owed| &owed.what);
        self.committing.as_ref().is_some_and(command) && matches!(asked, Some(What::Own { purpose: Own::Commit, .. }))
    }

    /// A server waits some seconds for others to leave a database (documentation, "DROP DATABASE"): time enough for our
    /// own idle connections.
    fn vacate(&mut self) {
        let command = self.committing.as_ref().and_then(|committing| committing.via.utility());
        if let Some(Command { utility: Utility::Vacates(database), .. }) = command {
            self.actions.push_back(Action::Vacate(database.clone()));
        }
    }

    /// The Sync of an implicit transaction, in place of a query of ours.
    pub(super) fn own_sync(&mut self, purpose: Own) {
        frontend::sync(&mut self.leader_out);
        self.owe(What::Own { purpose, error: None, tag: None }, 0);
    }

    /// COMMIT; by the extended protocol where a Query, which costs the leader less, would end the client's unnamed statement.
    fn own_commit(&mut self) {
        if !self.statements.contains(b"") {
            return self.own_query(b"COMMIT", Own::Commit);
        }
        self.close_left();
        let out = &mut self.leader_out;
        frontend::parse(out, OWN_NAME, b"COMMIT", &[]);
        frontend::bind(out, OWN_NAME, OWN_NAME, frontend::NO_PARAMETERS, &[]);
        frontend::execute(out, OWN_NAME, 0);
        for _ in 0..2 {
            self.owe(What::Ack { to: To::Nobody, undo: Undo::Nothing }, 0);
        }
        self.own_sync(Own::Commit);
        self.own_left = true;
    }

    /// Ends what was sent without a Sync.
    pub(super) fn sync_ours(&mut self) {
        if self.segment.open {
            frontend::sync(&mut self.leader_out);
            self.owe(What::Ready(Ready::Ours), 0);
        }
    }
}
