//! What a session's unit has come to: its log, and what is known of its transaction.

use std::sync::Arc;

use bytes::Bytes;

use super::objects::Objects;
use super::{Action, Session};
use crate::catalog::{Catalog, Cell, SchemaEpoch};
use crate::fault::{Fault, SqlState};
use crate::heirs::Heir;
use crate::plan::modes::Modes;
use crate::plan::watch::Watch;
use crate::plan::{Captured, Memory};
use crate::reply::Source;
use crate::unit::{Diary, Log, Order};
use crate::wire::backend::Status;

#[derive(Debug)]
pub(super) struct Unit {
    pub log: Log,
    /// Savepoints, and what a new leader would be told besides the log.
    pub diary: Diary,
    /// Deferrable constraints are checked before followers commit.
    pub deferrable: bool,
    /// Rows of it were captured, by this, or a portal was made whose rows are to be.
    pub captured: Option<Arc<Captured>>,
    /// Since our triggers were last made to fire something ran that may have run such a portal on, or a cursor that a
    /// function has opened: FETCH, MOVE, a function that fetches.
    pub unflushed: bool,
    /// A statement of it ran text, and what was deferred may.
    pub watch: Option<Watch>,
    pub modes: Modes,
    pub order: Order,
    /// A statement has been sent that may have done what is not known, DDL too.
    pub waived: bool,
    /// DDL has run: the shared catalog does not tell what this unit sees.
    pub own_schema: bool,
    pub sequences: bool,
    /// It has DDL that may come to something else on followers if others have changed the schema meanwhile.
    pub depends: bool,
    /// It has DDL that changes what objects are given that are made later.
    pub defaults: bool,
    /// The settings that the log's DDL was last given.
    pub settings: String,
    /// The role that the log was last given; `None`: that of the login, unless a savepoint was gone back to.
    pub role: Option<String>,
    /// It has changed what names mean, perhaps for itself alone.
    pub renames: bool,
    /// The client's encoding when something first went into the log.
    pub encoding: Option<Bytes>,
    /// The schema when its first statement was planned.
    pub began_in: Option<SchemaEpoch>,
    /// Its snapshot is older than the schema, which its statements run on all the same: what can be read of it is not so.
    pub old_view: bool,
    /// Statements that ran when the schema was another than the one that they were planned by.
    pub overtaken: Vec<Source>,
    /// Part of the log is in the shell's file.
    pub spilled: bool,
    /// Large objects that it may have changed.
    pub objects: Objects,
    /// Why it cannot be committed.
    pub doomed: Option<Fault>,
    /// Its place among those that a new leader inherits, once it writes in a block.
    pub heir: Option<Heir>,
    /// Why it cannot go on under a new leader.
    pub bound: Option<&'static str>,
    /// A portal was made and has not been run.
    pub unrun: bool,
    /// It has rows of partitions.
    pub parts: bool,
    /// What a new leader must be told if the transaction succeeds.
    pub learned: Vec<(Memory, Arc<str>)>,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            log: Log::default(),
            diary: Diary::default(),
            deferrable: false,
            captured: None,
            unflushed: false,
            watch: None,
            modes: Modes::default(),
            order: Order::FollowersFirst,
            waived: false,
            own_schema: false,
            sequences: false,
            depends: false,
            defaults: false,
            settings: String::new(),
            role: None,
            renames: false,
            encoding: None,
            began_in: None,
            old_view: false,
            overtaken: Vec::new(),
            spilled: false,
            objects: Objects::default(),
            doomed: None,
            heir: None,
            bound: None,
            unrun: false,
            parts: false,
            learned: Vec::new(),
        }
    }
}

impl Unit {
    /// Its DDL may come to something else on followers, who run it now, than on the leader.
    pub fn is_outdated(&self, catalogs: &Cell<Catalog>) -> bool {
        let changed = |began| self.depends && began != catalogs.epoch() || catalogs.set_defaults_since(began);
        self.began_in.is_some_and(changed)
    }
}

impl Session {
    /// What the transaction has set outlives it.
    pub(super) fn learn(&mut self) {
        for (memory, sql) in std::mem::take(&mut self.unit.learned) {
            self.memory.note(memory, &sql);
        }
    }

    /// No transaction is open any more.
    pub(super) fn end_unit(&mut self) {
        if self.unit.spilled {
            self.actions.push_back(Action::CutSpill(0));
        }
        if self.unit.sequences {
            self.actions.push_back(Action::SequencesMoved);
        }
        // What an old snapshot has shown counts no longer, either.
        if self.unit.own_schema || self.unit.old_view {
            self.own_catalog = None;
        }
        // What was planned by a schema of its own may be no more.
        if self.unit.renames || self.unit.own_schema {
            self.forget_names();
        }
        self.forget_triggers();
        self.unit = Unit::default();
        if self.serializable_by_default {
            self.unit.order = Order::LeaderFirst;
        }
        // Portals end with their transaction (documentation, "Extended Query").
        self.portals.clear();
    }

    /// The same, but a `chained` one follows at once, with the characteristics of the one that ends (documentation, "COMMIT").
    pub(super) fn end_unit_before(&mut self, chained: bool) {
        let (modes, order, bound) = (self.unit.modes, self.unit.order, self.unit.bound);
        self.end_unit();
        if chained {
            (self.unit.modes, self.unit.order, self.unit.bound) = (modes, order, bound);
        }
    }

    /// A statement draws from a sequence, or has drawn: to be told before the client can see the value.
    pub(super) fn move_sequences(&mut self) {
        self.unit.sequences = true;
        self.actions.push_back(Action::SequencesMoved);
    }

    /// The unit cannot be replicated as it is: its COMMIT will fail with this.
    pub(super) fn doom(&mut self, fault: Fault) {
        self.unit.doomed.get_or_insert(fault);
    }

    /// Whether the unit's COMMIT concerns more than the leader. A failed transaction has none: its COMMIT is a ROLLBACK.
    pub(super) fn has_effects(&self) -> bool {
        let unit = &self.unit;
        let something = !unit.log.is_empty()
            || unit.doomed.is_some()
            || unit.waived
            || unit.unflushed
            || unit.objects.may_have_changed();
        self.status != Status::Failed && something
    }

    /// The file of the unit's effects cannot be written: the unit cannot be committed.
    pub fn spill_failed(&mut self, why: &str) {
        let message = format!("the effects of the transaction cannot be kept on disk: {why}");
        self.doom(Fault::error(SqlState::DISK_FULL, message).with_hint("Make room in state_dir."));
    }

    pub(super) fn spill(&mut self) {
        if let Some(bytes) = self.unit.log.take_spill() {
            self.unit.spilled = true;
            self.actions.push_back(Action::Spill(bytes));
        }
    }
}
