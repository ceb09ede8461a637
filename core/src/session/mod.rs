//! A session: one client and the leader connection that serves it.
//!
//! Bytes and events in, bytes and actions out. The shell drives it like this, and in no other way:
//!
//! 1. put what was read into [`Session::client_in`] or [`Session::leader_in`] (only while [`Session::wants_client`] or
//!    [`Session::wants_leader`] says so: that is the back-pressure), or call the method of the event that happened;
//! 2. call [`Session::turn`];
//! 3. carry out [`Session::poll_action`] until it gives nothing; write out `client_out` and [`Session::to_leader`].
//!
//! The client's messages up to a Sync (or one Query) are a *segment*. A segment is passed on as it comes, and the next one
//! begins when the client has been told that this one is ready. Within a segment the session waits only where it must
//! know an answer before it can go on (the *gate*): a plan that needs the catalog, a COMMIT with effects.
//!
//! A segment that writes outside a transaction block is an implicit transaction, which the leader keeps open until it gets
//! a Sync. So the Sync is held back until the followers have committed, and is the leader's COMMIT. A string of several
//! statements, which PostgreSQL runs in a block, is put into one with BEGIN.
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
//! | `segment` | the client's messages up to a Sync, and what is told of them |
//! | `work` | what the unit has come to |
//! | `client` | the client's messages, one by one |
//! | `simple` | a Query |
//! | `script` | its statements, one after the other |
//! | `extended`, `execute` | Parse, Bind, Describe and Close; Execute |
//! | `names` | prepared statements, by protocol and by SQL |
//! | `portal` | rows that wait for the client |
//! | `byname` | both, by name |
//! | `parameters` | settings that the leader reports |
//! | `encoding` | the client's encoding |
//! | `role` | as whom followers apply effects |
//! | `copying` | COPY … FROM STDIN |
//! | `copy` | words in COPY data that mean another value on each server |
//! | `landing` | COPY whose rows the leader makes whole |
//! | `image` | DDL whose rows the leader makes |
//! | `planning` | plans, and what they need to be known of the catalog |
//! | `leader` | the leader's messages, by what is owed |
//! | `answer` | what each answer means |
//! | `done` | what a statement's success changes |
//! | `begin` | a BEGIN that waits for what follows it |
//! | `unsent` | messages of the client that the leader has not been given yet |
//! | `commit`, `outcome` | the end of a unit: what is sent for it, what comes of it |
//! | `answers` | of the shell to what a commit asks for |
//! | `leftover` | what a command that failed halfway leaves |
//! | `capture` | rows that triggers of ours tell |
//! | `objects` | large objects |
//! | `waive` | statements that are not exact and allowed |
//! | `watch` | text that functions run |
//! | `takeover` | another leader |
//! | `cancel` | a CancelRequest where the leader has nothing to cancel |
//! | `rest` | between two segments: held, idle |
//! | `inherit` | an open unit goes on under it |
//! | `locks` | advisory locks of the session, which it is asked for |
//! | `stale` | plans that the schema has overtaken |

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::catalog::{Catalog, Cell, Loader, SchemaEpoch, SearchPath};
use crate::fault::Fault;
use crate::heirs::Heirs;
use crate::id::{NodeId, SessionId};
use crate::limits;
use crate::plan::Policy;
use crate::reply::{Owed, Statement};
use crate::unit::{Order, Recital};
use crate::wire::backend::Status;
use crate::wire::notice;
use crate::wire::{Frame, frontend};

mod action;
mod answer;
mod answers;
mod begin;
mod byname;
mod cancel;
mod capture;
mod client;
mod commit;
mod copy;
mod copying;
mod done;
mod encoding;
mod execute;
mod extended;
mod image;
mod inherit;
mod landing;
mod leader;
mod leftover;
mod locks;
mod names;
mod objects;
mod outcome;
mod parameters;
mod planning;
mod portal;
mod rest;
mod role;
mod script;
mod segment;
mod simple;
mod stale;
mod takeover;
mod unsent;
mod waive;
mod watch;
mod work;

pub use action::{Action, LockMode, Settings, World};
pub use answers::{Answers, CommitNumber};
use byname::ByName;
use capture::Capture;
pub use capture::CaptureNumber;
use commit::Committing;
use encoding::Encoding;
#[cfg(feature = "sim")]
pub(crate) use inherit::OF_THIS_KIND;
pub use leader::LevelNumber;
pub use leftover::Attachment;
use parameters::Parameters;
use portal::Portal;
use role::Role;
use segment::{AfterDrain, Block, Gate, Replay, Script, Segment, Untold};
use work::Unit;

pub struct Session {
    id: SessionId,
    policy: Policy,
    pub client_in: BytesMut,
    pub client_out: BytesMut,
    pub leader_in: BytesMut,
    pub leader_out: BytesMut,
    /// So many bytes of it, a BEGIN, wait for what follows them.
    waiting: usize,
    actions: VecDeque<Action>,
    owed: VecDeque<Owed>,
    /// Bytes of a message of the leader that go to the client without a look.
    passing: usize,
    gate: Gate,
    after_drain: Option<AfterDrain>,
    segment: Segment,
    untold: Untold,
    /// While a unit is played.
    recital: Recital,
    /// What the client has sent of the segment, so that it can be run on another leader.
    replay: Replay,
    /// As of what was sent; `told_block` as of what was answered.
    block: Block,
    told_block: Block,
    status: Status,
    unit: Unit,
    committing: Option<Committing>,
    commit_number: CommitNumber,
    statements: ByName<Arc<Statement>>,
    portals: ByName<Portal>,
    portals_made: u64,
    /// The schema by which the last text was planned.
    planned_in: SchemaEpoch,
    catalogs: Arc<Cell<Catalog>>,
    /// A catalog of the session's own: with its temporary tables, or its unit's uncommitted DDL.
    own_catalog: Option<(SchemaEpoch, Arc<Catalog>)>,
    own_catalogs_made: u64,
    temporary: bool,
    /// Its locks on its leader that outlive a transaction.
    locks: locks::SessionLocks,
    search_path: Option<(SchemaEpoch, SearchPath)>,
    path_asked_in: SchemaEpoch,
    /// How often the session may have changed what names mean.
    renamings: u64,
    encoding: Encoding,
    role: Role,
    /// Settings that were read for the DDL statement that waits to be executed.
    settings: Option<Vec<Vec<Option<Bytes>>>>,
    loader: Option<(SchemaEpoch, Loader)>,
    collected: Vec<Vec<Option<Bytes>>>,
    serializable_by_default: bool,
    parameters: Parameters,
    memory: takeover::Memory,
    /// A query whose rows are the answer to SHOW pool_nodes.
    pool_nodes: String,
    leader: NodeId,
    /// Whether it leads still, as of the membership of this turn.
    leads: bool,
    /// What has arrived of the leader was made known to hold values of sequences.
    values_noted: bool,
    levelling: leader::Levelling,
    level_number: leader::LevelNumber,
    /// A statement of ours may be left on the leader connection, because an error came before its Close.
    own_left: bool,
    /// For hashing a password that stands in clear in a statement.
    salt: [u8; 16],
    lost: Option<takeover::Lost>,
    heirs: Heirs,
    /// Nothing new is sent before other units have been brought over to this leader.
    gathers: bool,
    again: Option<stale::Again>,
    /// The server's reason for ending the connection.
    last_word: Option<Frame>,
    /// What the client is told in place of "the transaction is aborted", once.
    instead: Option<Fault>,
    capture: Capture,
    /// The leader has asked for COPY data.
    copy_asked: bool,
    copy_words: Option<copy::Words>,
    landing: Option<landing::Landing>,
    imaging: Option<image::Imaging>,
    client_gone: bool,
    /// Nothing is to begin outside a transaction block.
    held: bool,
}

/// What a session begins with, when both logins are done.
pub struct Birth {
    pub id: SessionId,
    pub leader: NodeId,
    pub catalogs: Arc<Cell<Catalog>>,
    /// ParameterStatus as the leader gave them.
    pub parameters: Vec<(Bytes, Bytes)>,
    pub policy: Policy,
    /// Shared by all sessions.
    pub heirs: Heirs,
}

impl Session {
    pub fn new(birth: Birth) -> Self {
        let mut session = Self {
            id: birth.id,
            policy: birth.policy,
            client_in: BytesMut::new(),
            client_out: BytesMut::new(),
            leader_in: BytesMut::new(),
            leader_out: BytesMut::new(),
            waiting: 0,
            actions: VecDeque::new(),
            owed: VecDeque::new(),
            passing: 0,
            gate: Gate::Open,
            after_drain: None,
            segment: Segment::default(),
            untold: Untold::default(),
            recital: Recital::default(),
            replay: Replay::default(),
            block: Block::None,
            told_block: Block::None,
            status: Status::Idle,
            unit: Unit::default(),
            committing: None,
            commit_number: CommitNumber::default(),
            statements: ByName::default(),
            portals: ByName::default(),
            portals_made: 0,
            planned_in: birth.catalogs.epoch(),
            catalogs: birth.catalogs,
            own_catalog: None,
            own_catalogs_made: 0,
            temporary: false,
            locks: locks::SessionLocks::default(),
            search_path: None,
            path_asked_in: SchemaEpoch(0),
            renamings: 0,
            encoding: Encoding::Reported,
            role: Role::OfLogin,
            settings: None,
            loader: None,
            collected: Vec::new(),
            serializable_by_default: false,
            parameters: Parameters::new(birth.parameters),
            memory: takeover::Memory::default(),
            pool_nodes: String::new(),
            leader: birth.leader,
            leads: true,
            values_noted: false,
            levelling: leader::Levelling::Not,
            level_number: leader::LevelNumber::default(),
            own_left: false,
            salt: [0; 16],
            lost: None,
            heirs: birth.heirs,
            gathers: false,
            again: None,
            last_word: None,
            instead: None,
            capture: Capture::default(),
            copy_asked: false,
            copy_words: None,
            landing: None,
            imaging: None,
            client_gone: false,
            held: false,
        };
        session.introduce();
        session
    }

    /// Messages of the client may wait in `client_in` until the leader has taken what it was sent: once it has, the
    /// session is to be turned again, for nothing else will happen.
    pub fn waits_for_leader(&self) -> bool {
        self.leader_out.len() >= limits::OUT_HIGH_WATER
    }

    /// What is to be written to the leader now, if there is anything.
    pub fn to_leader(&mut self) -> Option<&mut BytesMut> {
        if self.leader_out.len() <= self.waiting {
            return None;
        }
        self.waiting = 0;
        self.segment.given = true;
        Some(&mut self.leader_out)
    }

    /// Whether the client may be read from.
    pub fn wants_client(&self) -> bool {
        self.gate != Gate::Closed
            && !self.waits_for_leader()
            && (self.takes_client() || self.client_in.len() < limits::OUT_HIGH_WATER)
    }

    /// Whether the leader may be read from: not while the client does not take what it was sent. But a unit that
    /// commits does not wait for its client, for others may wait for it.
    pub fn wants_leader(&self) -> bool {
        let commits = self.committing.as_ref().is_some_and(|committing| committing.order == Order::FollowersFirst);
        let room = self.client_out.len() < limits::OUT_HIGH_WATER
            && (self.leads || self.leader_in.len() < limits::OUT_HIGH_WATER);
        commits || self.client_gone || room
    }

    /// Works off all that has arrived. To be called again, with the membership of that moment, when actions came of it.
    pub fn turn(&mut self, world: &mut World<'_>) {
        self.leads = world.membership.leader() == Some(self.leader);
        self.held = world.held;
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

    /// Whether a CancelRequest of the client has something to cancel on the leader: not while the session commits, but for
    /// a command outside transactions.
    pub fn cancellable(&self) -> bool {
        if self.committing.is_some() {
            return self.leader_runs_command();
        }
        self.gate != Gate::Leaderless && (self.segment.open || self.gate == Gate::Ending)
    }

    /// A session must not be ended now: its unit is on its way to the nodes.
    pub fn is_committing(&self) -> bool {
        self.committing.is_some()
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
        if self.unit.sequences {
            self.move_sequences();
        }
        self.locks = locks::SessionLocks::default();
        let draws = self.unit.sequences && !self.owed.is_empty();
        self.actions.push_back(Action::Close { draws });
    }

    /// A broken leader or a bug of ours: nothing that follows can be trusted.
    fn fail(&mut self, why: String) {
        tracing::error!(why, "a session cannot go on");
        self.end(&Fault::fatal(crate::fault::SqlState::INTERNAL, why));
    }
}
