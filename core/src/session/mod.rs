//! A session: one client and the leader connection that serves it.
//!
//! Bytes and events in, bytes and actions out. The shell drives it like this, and in no other way:
//!
//! 1. put what was read into [`Session::client_in`] or [`Session::leader_in`] (only while [`Session::wants_client`] or
//!    [`Session::wants_leader`] says so: that is the back-pressure), or call the method of the event that happened;
//! 2. call [`Session::turn`];
//! 3. carry out [`Session::poll_action`] until it gives nothing; write out `client_out` and `leader_out`.
//!
//! The client's messages up to a Sync (or one Query) are a *segment*. A segment is passed on as it comes, and the next one
//! begins when the client has been told that this one is ready. Within a segment the session waits only where it must
//! know an answer before it can go on (the *gate*): a plan that needs the catalog, a COMMIT with effects.
//!
//! ```text
//!            Query, first message             ReadyForQuery told
//!  Open ───────────────────────▶ in a segment ───────────────────▶ Open
//!   │ leader lost                    │ Sync sent        ▲
//!   ▼                                ▼                  │ effects: Lock → Commit → leader's COMMIT
//!  Leaderless ── dialled ──▶ Open   Ending ─────────────┘
//! ```
//!
//! | file | |
//! | --- | --- |
//! | `client` | the client's messages, one by one |
//! | `simple` | a Query's statements, one after the other |
//! | `extended` | Parse, Bind, Describe, Execute, Close |
//! | `encoding` | the client's encoding |
//! | `copy` | words in COPY data that mean another value on each server |
//! | `planning` | plans, and what they need to be known of the catalog |
//! | `renew` | statements that were prepared before what they name changed |
//! | `role` | as whom followers apply effects |
//! | `leader` | the leader's messages, by what is owed |
//! | `done` | what a statement's success changes |
//! | `commit` | the end of a unit |
//! | `takeover` | another leader |

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::catalog::{Catalog, Cell, Loader, SchemaEpoch, SearchPath};
use crate::fault::Fault;
use crate::id::{NodeId, SessionId};
use crate::limits;
use crate::plan::{Memory, Plan, Planned};
use crate::reply::{Moment, Owed, Ready, Statement, What};
use crate::unit::{Batch, Commit, Log, Mark, Order};
use crate::wire::backend::{self, Status};
use crate::wire::notice::{self, Fields};
use crate::wire::{Frame, frontend};

mod action;
mod client;
mod commit;
mod copy;
mod done;
mod encoding;
mod extended;
mod leader;
mod planning;
mod renew;
mod role;
mod simple;
mod takeover;

pub use action::{Action, LockMode, World};
use commit::CommitVia;
use role::Role;

/// Why the client's next message is not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// The segment is complete; its ReadyForQuery has not been told.
    Ending,
    /// Answers to all that was sent are awaited, then what [`Session::after_drain`] says.
    Drain,
    /// The commit of a unit.
    Commit,
    /// There is no leader connection; one is being made.
    Leaderless,
    /// The connection ends.
    Closed,
}

/// Transactions as the client sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    /// The proxy has put a BEGIN before an implicit transaction that writes.
    Wrapped,
    Explicit,
}

/// What to do when everything owed has been answered.
#[derive(Debug)]
enum AfterDrain {
    /// Handle this message of the client (again).
    Frame(Frame),
    /// Go on with the script.
    Script,
}

/// A Query's statements.
#[derive(Debug)]
struct Script {
    text: Bytes,
    /// The text as it was planned: a copy where the client's encoding is not UTF-8, with every byte in its place.
    readable: Arc<str>,
    /// Where planning began; statements before it are done.
    base: usize,
    statements: Vec<Planned>,
    /// When they were planned.
    epoch: SchemaEpoch,
    next: usize,
}

#[derive(Debug, Default)]
struct Segment {
    /// The leader was sent something for which no ReadyForQuery has come.
    open: bool,
    /// An error was told: the rest of the segment is passed over.
    failed: bool,
    /// Something was told to the client: the segment cannot be run again unseen.
    told: bool,
    /// The Sync has been sent (extended), or the script is over (simple).
    synced: bool,
    script: Option<Script>,
    /// What the client sent, so that it can be run on another leader; `None`: too much, or not repeatable.
    replay: Option<BytesMut>,
    /// A CommandComplete that is told only with what follows it, so that "done" is not said before the commit.
    held: BytesMut,
    /// A statement was sent that may change what later ones mean.
    unsettled: bool,
}

#[derive(Debug)]
struct Unit {
    log: Log,
    savepoints: Vec<(String, Mark)>,
    /// Deferrable constraints are checked before followers commit.
    deferrable: bool,
    order: Order,
    /// DDL has run: the shared catalog does not tell what this unit sees.
    own_schema: bool,
    sequences: bool,
    /// It has changed what names mean, perhaps for itself alone.
    renames: bool,
    /// The client's, when something first went into the log.
    encoding: Option<Bytes>,
    /// The settings that the log's DDL was last given.
    settings: String,
    /// The role that the log was last given; `None`: that of the login, unless a savepoint was gone back to.
    role: Option<String>,
    /// Part of the log is in the shell's file.
    spilled: bool,
    /// Why it cannot be committed.
    doomed: Option<Fault>,
    /// What a new leader must be told if the transaction succeeds.
    learned: Vec<(Memory, Arc<str>)>,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            log: Log::default(),
            savepoints: Vec::new(),
            deferrable: false,
            order: Order::FollowersFirst,
            own_schema: false,
            sequences: false,
            renames: false,
            encoding: None,
            settings: String::new(),
            role: None,
            spilled: false,
            doomed: None,
            learned: Vec::new(),
        }
    }
}

/// A running commit.
#[derive(Debug)]
struct Committing {
    via: CommitVia,
    order: Order,
    lock: LockMode,
    batch: Batch,
    /// Set when the lock is held.
    machine: Option<Commit>,
    /// The leader's word against its COMMIT.
    refusal: Option<Fields>,
    /// The tag of the leader's COMMIT.
    tag: Option<Bytes>,
    schema: bool,
}

/// A statement prepared by SQL: its plan, and its text for planning it again.
#[derive(Debug, Clone)]
struct Prepared {
    plan: Arc<Plan>,
    /// A refusal: its plan would be another now.
    instead: Option<Arc<Plan>>,
    moment: Moment,
    sql: Arc<str>,
    /// With what is put behind it.
    leader_sql: Arc<str>,
}

pub struct Session {
    id: SessionId,
    pub client_in: BytesMut,
    pub client_out: BytesMut,
    pub leader_in: BytesMut,
    pub leader_out: BytesMut,
    actions: VecDeque<Action>,
    owed: VecDeque<Owed>,
    /// Bytes of a message of the leader that go to the client without a look.
    passing: usize,
    gate: Gate,
    after_drain: Option<AfterDrain>,
    segment: Segment,
    /// As of what was sent; `told_block` as of what was answered.
    block: Block,
    told_block: Block,
    status: Status,
    unit: Unit,
    committing: Option<Committing>,
    statements: HashMap<Bytes, Statement>,
    portals: HashMap<Bytes, Statement>,
    prepared: HashMap<String, Prepared>,
    catalogs: Arc<Cell<Catalog>>,
    /// A catalog of the session's own: with its temporary tables, or its unit's uncommitted DDL.
    own_catalog: Option<Arc<Catalog>>,
    own_catalogs_made: u64,
    temporary: bool,
    search_path: Option<(SchemaEpoch, SearchPath)>,
    /// How often the session may have changed what names mean.
    renamings: u64,
    encoding: encoding::Encoding,
    role: Role,
    /// Settings that were read for the DDL statement that waits to be executed.
    settings: Option<Vec<Vec<Option<Bytes>>>>,
    loader: Option<(SchemaEpoch, Loader)>,
    collected: Vec<Vec<Option<Bytes>>>,
    serializable_by_default: bool,
    parameters: HashMap<Bytes, Bytes>,
    memory: takeover::Memory,
    /// A query whose rows are the answer to SHOW pool_nodes.
    pool_nodes: String,
    leader: NodeId,
    /// The client has changed its search path: a command as text may name another table on a follower.
    path_changed: bool,
    /// A statement of ours may be left on the leader connection, because an error came before its Close.
    own_left: bool,
    /// For hashing a password that stands in clear in a statement.
    salt: [u8; 16],
    lost: Option<takeover::Lost>,
    /// The server's reason for ending the connection.
    last_word: Option<Frame>,
    /// What the client is told in place of "the transaction is aborted", once.
    instead: Option<Fault>,
    /// The leader has asked for COPY data.
    copy_asked: bool,
    copy_words: Option<copy::Words>,
    client_gone: bool,
}

/// What a session begins with, when both logins are done.
pub struct Birth {
    pub id: SessionId,
    pub leader: NodeId,
    pub catalogs: Arc<Cell<Catalog>>,
    /// ParameterStatus as the leader gave them.
    pub parameters: Vec<(Bytes, Bytes)>,
}

impl Session {
    pub fn new(birth: Birth) -> Self {
        Self {
            id: birth.id,
            client_in: BytesMut::new(),
            client_out: BytesMut::new(),
            leader_in: BytesMut::new(),
            leader_out: BytesMut::new(),
            actions: VecDeque::new(),
            owed: VecDeque::new(),
            passing: 0,
            gate: Gate::Open,
            after_drain: None,
            segment: Segment::default(),
            block: Block::None,
            told_block: Block::None,
            status: Status::Idle,
            unit: Unit::default(),
            committing: None,
            statements: HashMap::new(),
            portals: HashMap::new(),
            prepared: HashMap::new(),
            catalogs: birth.catalogs,
            own_catalog: None,
            own_catalogs_made: 0,
            temporary: false,
            search_path: None,
            renamings: 0,
            encoding: encoding::Encoding::Reported,
            role: Role::OfLogin,
            settings: None,
            loader: None,
            collected: Vec::new(),
            serializable_by_default: false,
            parameters: birth.parameters.into_iter().collect(),
            memory: takeover::Memory::default(),
            pool_nodes: String::new(),
            leader: birth.leader,
            path_changed: false,
            own_left: false,
            salt: [0; 16],
            lost: None,
            last_word: None,
            instead: None,
            copy_asked: false,
            copy_words: None,
            client_gone: false,
        }
    }

    /// Whether the client may be read from.
    pub fn wants_client(&self) -> bool {
        self.gate != Gate::Closed
            && self.leader_out.len() < limits::OUT_HIGH_WATER
            && (self.takes_client() || self.client_in.len() < limits::OUT_HIGH_WATER)
    }

    /// Whether the leader may be read from: not while the client does not take what it was sent.
    pub fn wants_leader(&self) -> bool {
        self.client_gone || self.client_out.len() < limits::OUT_HIGH_WATER
    }

    /// Works off all that has arrived.
    pub fn turn(&mut self, world: &mut World<'_>) {
        loop {
            let leader = self.leader_frames(world);
            let client = self.client_frames(world);
            if !leader && !client {
                return;
            }
        }
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The client has closed its connection or it broke. The commit phase of a unit goes on without it.
    pub fn client_gone(&mut self) {
        self.client_gone = true;
        self.client_in.clear();
        self.client_out.clear();
        if self.committing.is_none() {
            self.close();
        }
    }

    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// The node on which a CancelRequest of the client has something to cancel: not while the session commits.
    pub fn cancellable(&self) -> bool {
        self.committing.is_none() && self.gate != Gate::Leaderless && (self.segment.open || self.gate == Gate::Ending)
    }

    /// Idle and outside a transaction: the session can be ended without losing anything of the client's.
    pub fn is_idle(&self) -> bool {
        self.gate == Gate::Open && !self.segment.open && self.block == Block::None && self.client_in.is_empty()
    }

    /// Tells the client why and ends.
    pub fn end(&mut self, fault: &Fault) {
        if self.gate != Gate::Closed {
            notice::error(&mut self.client_out, fault);
            self.close();
        }
    }

    fn close(&mut self) {
        self.gate = Gate::Closed;
        if self.lost.is_none() {
            frontend::terminate(&mut self.leader_out);
        }
        self.actions.push_back(Action::Close);
    }

    fn owe(&mut self, what: What, shift: u32) {
        self.segment.open = true;
        self.owed.push_back(Owed { what, shift });
    }

    /// Ends the segment at the leader.
    fn sync(&mut self) {
        frontend::sync(&mut self.leader_out);
        self.owe(What::Ready(Ready::Segment), 0);
    }

    /// Tells the client something, after what was held back before it.
    fn tell(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.segment.told = true;
        self.segment.replay = None;
        if !self.segment.held.is_empty() {
            let held = std::mem::take(&mut self.segment.held);
            self.client_out.extend_from_slice(&held);
        }
        write(&mut self.client_out);
    }

    fn tell_raw(&mut self, raw: &[u8]) {
        self.tell(|out| out.extend_from_slice(raw));
    }

    /// Ends the segment: the client is ready for the next.
    fn finish_segment(&mut self, status: Status) {
        self.tell(|out| backend::ready_for_query(out, status));
        let failed = std::mem::take(&mut self.segment).failed;
        self.block = if status == Status::Idle { Block::None } else { Block::Explicit };
        self.told_block = self.block;
        if status == Status::Idle {
            if !failed {
                self.learn();
            }
            self.end_unit();
        }
        self.gate = Gate::Open;
        if self.client_gone {
            self.close();
        }
    }

    /// What the transaction has set outlives it.
    fn learn(&mut self) {
        for (memory, sql) in std::mem::take(&mut self.unit.learned) {
            self.memory.note(memory, &sql);
        }
    }

    /// No transaction is open any more.
    fn end_unit(&mut self) {
        let unit = std::mem::take(&mut self.unit);
        if unit.spilled {
            self.actions.push_back(Action::CutSpill(0));
        }
        if unit.sequences {
            self.actions.push_back(Action::SequencesMoved);
        }
        if unit.own_schema {
            self.own_catalog = None;
        }
        if unit.renames {
            self.forget_names();
        }
        if self.serializable_by_default {
            self.unit.order = Order::LeaderFirst;
        }
        // Portals end with their transaction (documentation, "Extended Query").
        self.portals.clear();
    }

    /// A broken leader or a bug of ours: nothing that follows can be trusted.
    fn fail(&mut self, why: String) {
        tracing::error!(why, "a session cannot go on");
        self.end(&Fault::fatal(crate::fault::SqlState::INTERNAL, why));
    }

    /// The unit cannot be replicated as it is: its COMMIT will fail with this.
    fn doom(&mut self, fault: Fault) {
        self.unit.doomed.get_or_insert(fault);
    }

    /// Whether the unit's COMMIT concerns more than the leader. A failed transaction has none: its COMMIT is a ROLLBACK.
    fn has_effects(&self) -> bool {
        self.status != Status::Failed && (!self.unit.log.is_empty() || self.unit.doomed.is_some())
    }

    /// The file of the unit's effects cannot be written: the unit cannot be committed.
    pub fn spill_failed(&mut self, why: &str) {
        let message = format!("the effects of the transaction cannot be kept on disk: {why}");
        self.doom(Fault::error(crate::fault::SqlState::DISK_FULL, message).with_hint("Make room in state_dir."));
    }

    fn spill(&mut self) {
        if let Some(bytes) = self.unit.log.take_spill() {
            self.unit.spilled = true;
            self.actions.push_back(Action::Spill(bytes));
        }
    }
}
