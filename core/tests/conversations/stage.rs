//! A session between a client and a leader that are played, with what happens in an order of the test's own.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lockstep_core::catalog::{Catalog, Cell, Loader};
use lockstep_core::cluster::{Member, MemberState, Membership, Verdict};
use lockstep_core::heirs::Heirs;
use lockstep_core::id::{Epoch, NodeId, SessionId};
use lockstep_core::plan::{PlanCache, Policy};
use lockstep_core::session::{Action, Answers, Birth, CommitNumber, LevelNumber, Session, World};
use lockstep_core::unit::batch::BatchResult;

use super::leader::Leader;

pub const LEADER: NodeId = NodeId(0);
pub const FOLLOWER: NodeId = NodeId(1);

/// Steps in which any conversation of these tests is over.
const SETTLED: usize = 10_000;

/// What was seen to happen, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    FollowerCommitted(Bytes),
    LeaderCommitted(Vec<String>),
    /// There is a new leader.
    Dialled,
}

pub struct Stage {
    pub session: Session,
    pub catalogs: Arc<Cell<Catalog>>,
    pub heirs: Heirs,
    pub leader: Leader,
    /// What the client has still to send.
    pub to_send: BytesMut,
    /// All that the client has been sent.
    pub told: BytesMut,
    pub events: Vec<Event>,
    /// The session has ended.
    pub closed: bool,
    /// Nothing is to begin outside a transaction block.
    pub held: bool,
    /// Questions for followers' sequences, which nobody answers by himself.
    pub levels: Vec<LevelNumber>,
    /// What the session wants to have answered.
    wanted: VecDeque<Action>,
    plans: PlanCache,
    membership: Membership,
}

/// One thing that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    ClientSends,
    LeaderReads,
    LeaderAnswers,
    WorldAnswers,
}

pub const STEPS: [Step; 4] = [Step::ClientSends, Step::LeaderReads, Step::LeaderAnswers, Step::WorldAnswers];

/// Each row of the catalog: the number of the query that it answers, and its columns.
pub fn catalog_rows() -> impl Iterator<Item = (usize, Vec<Option<Bytes>>)> {
    include_str!("../plans/catalog.tsv").lines().map(|line| {
        let mut columns = line.split('\t');
        let query = columns.next().expect("the query's number").parse().expect("a number");
        (query, columns.map(|c| (c != "\\N").then(|| Bytes::from(c.replace("\\\\", "\\")))).collect())
    })
}

pub fn catalog() -> Catalog {
    let mut loader = Loader::new();
    for (query, row) in catalog_rows() {
        loader.row(query, row).expect("a row");
    }
    loader.finish().expect("a catalog")
}

thread_local! {
    static CATALOG: Arc<Catalog> = Arc::new(catalog());
}

impl Stage {
    pub fn new() -> Self {
        let stage = Self::before_the_catalog_is_read();
        stage.catalog_is_read();
        stage
    }

    pub fn before_the_catalog_is_read() -> Self {
        let catalogs = Arc::new(Cell::new(0));
        let heirs = Heirs::default();
        let birth = Birth {
            id: SessionId(1),
            leader: LEADER,
            catalogs: catalogs.clone(),
            parameters: Vec::new(),
            policy: Policy::default(),
            heirs: heirs.clone(),
        };
        let member = |name: &str| Member {
            name: name.into(),
            address: String::new(),
            weight: 1,
            state: MemberState::Active,
            reason: String::new(),
            since: 0,
        };
        Self {
            session: Session::new(birth),
            catalogs,
            heirs,
            leader: Leader::default(),
            to_send: BytesMut::new(),
            told: BytesMut::new(),
            events: Vec::new(),
            closed: false,
            levels: Vec::new(),
            held: false,
            wanted: VecDeque::new(),
            plans: PlanCache::new(1 << 20),
            membership: Membership {
                epoch: Epoch(1),
                members: vec![member("leader"), member("follower")],
                leading: Some(LEADER),
            },
        }
    }

    /// By another session.
    pub fn catalog_is_read(&self) {
        CATALOG.with(|catalog| self.catalogs.publish(self.catalogs.epoch(), catalog.clone()));
    }

    /// The schema has changed: of another session's making, and to what it was.
    pub fn schema_changes(&self) {
        self.catalogs.begin_change();
        self.catalogs.end_change();
        self.catalog_is_read();
    }

    /// The leader's connection breaks; its node turns out to be dead when the cluster is asked.
    pub fn leader_dies(&mut self) {
        if self.membership.leader() == Some(LEADER) {
            self.leader = Leader::default();
            self.session.leader_lost("it closed the connection".into());
            self.turn();
        }
    }

    /// The follower leads, and the session has not been told yet.
    pub fn follower_leads(&mut self) {
        self.heirs.fell(LEADER, true);
        self.membership.members[0].state = MemberState::Degraded;
        self.membership.leading = Some(FOLLOWER);
    }

    /// The follower leads, for whatever reason; the connection to the old leader still stands.
    pub fn follower_takes_over(&mut self) {
        if self.membership.leader() == Some(LEADER) {
            self.follower_leads();
            self.session.membership_changed(&self.membership);
            self.turn();
        }
    }

    /// The leader's connection breaks, and its node is dead.
    pub fn loses_its_leader(&mut self) {
        self.leader = Leader::default();
        self.session.leader_lost("reset".into());
        self.leader_is_judged(Verdict::Out);
    }

    /// What the session has asked about its leader is answered.
    pub fn leader_is_judged(&mut self, verdict: Verdict) {
        self.turn();
        let leader = self.session.leader();
        let asked = |action: &Action| match action {
            Action::Suspect { of, node, .. } if *node == leader => Some(*of),
            _ => None,
        };
        let of = self.wanted.iter().rev().find_map(asked).expect("it has asked");
        self.answers(of, |answers| answers.verdict(leader, verdict));
        self.turn();
    }

    /// A follower's answer to the batch of a commit.
    pub fn follower_has_committed(&mut self, of: CommitNumber) {
        self.answers(of, |answers| answers.answered(FOLLOWER, BatchResult::Committed));
        self.turn();
    }

    /// Lets things happen until the follower is to be sent a batch, which it does not answer by itself; of which commit?
    pub fn until_a_batch_is_sent(&mut self) -> CommitNumber {
        loop {
            if let Some(Action::SendBatch { of, .. }) = self.wanted.front() {
                let of = *of;
                self.wanted.pop_front();
                return of;
            }
            assert!(STEPS.iter().any(|step| self.step(*step, usize::MAX)), "a batch is sent");
        }
    }

    pub fn follower_becomes(&mut self, state: MemberState) {
        self.membership.members[usize::from(FOLLOWER.0)].state = state;
        self.session.membership_changed(&self.membership);
        self.turn();
    }

    fn answers(&mut self, of: CommitNumber, tell: impl FnOnce(Answers<'_>)) {
        if let Some(answers) = self.session.answers(of) {
            tell(answers);
        }
    }

    /// The same while the session commits: the node is put out, and another one leads.
    pub fn loses_its_leader_in_commit(&mut self) {
        self.leader = Leader::default();
        self.session.leader_lost("reset".into());
        self.turn();
        let asked = |action: &Action| match action {
            Action::Degrade { of, node: LEADER, .. } => Some(*of),
            _ => None,
        };
        if let Some(of) = self.wanted.iter().find_map(asked) {
            self.answers(of, |answers| answers.degraded(LEADER));
        }
        self.session.dialled(NodeId(1), Vec::new());
        self.turn();
    }

    /// The leader's node is out, though its connection says nothing of that.
    pub fn another_node_leads(&mut self) {
        self.membership.members[0].state = MemberState::Degraded;
        self.membership.leading = Some(NodeId(1));
        self.session.membership_changed(&self.membership);
        self.turn();
    }

    pub fn is_led_again(&mut self) {
        self.session.dialled(LEADER, Vec::new());
        self.turn();
    }

    pub fn sends(&mut self, write: impl FnOnce(&mut BytesMut)) -> &mut Self {
        write(&mut self.to_send);
        self
    }

    /// Clients are held from here on, or let go; returns what the client was told.
    pub fn holds(&mut self, held: bool) -> Vec<u8> {
        let before = self.told.len();
        self.held = held;
        self.turn();
        self.settle();
        self.told[before..].to_vec()
    }

    pub fn is_levelled(&mut self, number: LevelNumber) -> Vec<u8> {
        let before = self.told.len();
        self.session.levelled(number);
        self.turn();
        self.settle();
        self.told[before..].to_vec()
    }

    /// Lets everything happen that can, and returns what the client was told meanwhile.
    pub fn settle(&mut self) -> Vec<u8> {
        let before = self.told.len();
        let mut steps = 0;
        while STEPS.iter().any(|step| self.step(*step, usize::MAX)) {
            steps += 1;
            assert!(steps < SETTLED, "it never comes to rest");
        }
        self.told[before..].to_vec()
    }

    /// One thing happens, with at most so many bytes; false: it cannot happen now.
    pub fn step(&mut self, step: Step, bytes: usize) -> bool {
        match step {
            Step::ClientSends if self.session.wants_client() && !self.to_send.is_empty() => {
                let piece = self.to_send.split_to(bytes.min(self.to_send.len()));
                self.session.client_in.extend_from_slice(&piece);
            }
            Step::LeaderReads => {
                let Some(out) = self.session.to_leader() else { return false };
                let mut piece = out.split_to(bytes.min(out.len()));
                self.leader.take(&mut piece);
                let committed = self.leader.committed.drain(..).map(Event::LeaderCommitted);
                self.events.extend(committed);
            }
            Step::LeaderAnswers if self.session.wants_leader() && !self.leader.out.is_empty() => {
                let piece = self.leader.out.split_to(bytes.min(self.leader.out.len()));
                self.session.leader_in.extend_from_slice(&piece);
            }
            Step::WorldAnswers if !self.wanted.is_empty() => self.answer(),
            _ => return false,
        }
        self.turn();
        true
    }

    fn turn(&mut self) {
        loop {
            let mut random = |bytes: &mut [u8]| bytes.fill(7);
            let (plans, membership) = (&mut self.plans, &self.membership);
            let mut world = World { plans, membership, held: self.held, random: &mut random };
            self.session.turn(&mut world);
            self.told.extend_from_slice(&self.session.client_out.split());
            let Some(action) = self.session.poll_action() else { return };
            self.act(action);
            while let Some(action) = self.session.poll_action() {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Close { .. } => self.closed = true,
            Action::Orphaned { leader, touched } => self.heirs.orphaned(leader, touched),
            Action::PlayAhead { .. }
            | Action::Lock { .. }
            | Action::Look(_)
            | Action::Reserve { .. }
            | Action::SendBatch { .. }
            | Action::Suspect { .. }
            | Action::Degrade { .. }
            | Action::Gather(_) => self.wanted.push_back(action),
            Action::Level(number) => self.levels.push(number),
            Action::Dial => {
                self.leader = Leader::default();
                self.wanted.push_back(action);
            }
            _ => {}
        }
    }

    fn answer(&mut self) {
        let membership = self.membership.clone();
        match self.wanted.pop_front() {
            Some(Action::PlayAhead { of, .. }) => self.answers(of, |answers| answers.played()),
            Some(Action::Lock { of, .. }) => self.answers(of, |answers| answers.locked(&membership)),
            Some(Action::Reserve { of, node, .. }) => self.answers(of, |answers| answers.reserved(node)),
            Some(Action::Look(of)) => self.answers(of, |answers| answers.clear(&membership)),
            Some(Action::SendBatch { of, node, batch }) => {
                self.events.push(Event::FollowerCommitted(batch.tail().clone()));
                self.answers(of, |answers| answers.answered(node, BatchResult::Committed));
            }
            Some(Action::Suspect { of, node, .. }) => {
                self.follower_takes_over();
                self.answers(of, |answers| answers.verdict(node, Verdict::Out));
            }
            Some(Action::Degrade { of, node, .. }) => {
                self.follower_takes_over();
                self.answers(of, |answers| answers.degraded(node));
            }
            Some(Action::Gather(node)) => {
                self.heirs.give_up(node);
                self.session.gathered(node);
            }
            Some(Action::Dial) => {
                self.events.push(Event::Dialled);
                let leader = self.membership.leader().expect("somebody leads");
                self.session.dialled(leader, Vec::new());
            }
            _ => {}
        }
    }
}
