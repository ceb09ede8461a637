//! The scheduler: which of the things that can happen next does.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::Chance;
use super::accident::{Accident, accidents};
use super::backend::{Backend, Did};
use super::cluster::Cluster;
use super::exchange::Follower;
use super::faults::Fault;
use super::kill::{Proxy, Spoiled};
use super::node::{Link, Node};
use super::paper::{Disk, Paper};
use super::rng::{Rng, Tape};
use super::seat::{Asked, Seat};
use super::shell;
use super::start::Admission;
use crate::catalog::{Catalog, Cell};
use crate::commitlock::CommitLock;
use crate::heirs::Heirs;
use crate::id::NodeId;
use crate::inflight::InFlight;
use crate::plan::PlanCache;

pub(super) struct World {
    pub nodes: Vec<Node>,
    pub seats: Vec<Seat>,
    pub cluster: Cluster,
    pub lock: CommitLock,
    pub in_flight: InFlight<Link>,
    pub heirs: Heirs,
    pub plans: PlanCache,
    pub catalogs: Arc<Cell<Catalog>>,
    pub paper: Paper,
    pub proxy: Proxy,
    pub admission: Option<Admission>,
    pub rng: Rng,
    pub fault: Option<Fault>,
    /// Idle follower connections.
    pub pool: Vec<Follower>,
    /// Former leader connections on which a statement may still draw from a sequence.
    pub drawing: Vec<Link>,
    /// What is still to go wrong.
    pub accidents: Vec<Accident>,
    /// The next connection to a follower is refused.
    pub full: bool,
    /// Nobody waits any more for units that are brought over.
    pub impatient: bool,
    /// Something has gone wrong that is the world's fault, not ours.
    pub disturbed: bool,
    /// The first thing that must not have happened.
    pub failure: Option<String>,
    /// A node, or a seat behind the nodes, whose turn comes seldom.
    pub slow: usize,
    /// What decides about the death of the proxy, and what comes of it.
    pub fates: Rng,
    /// So often it is still to be killed.
    pub kills: usize,
    /// After so many things that it still does for the cluster.
    pub lives: Option<usize>,
    pub spoiled: Spoiled,
    /// What decides about advisory locks, in a world that has them.
    pub keys: Option<Rng>,
    /// Who was found to have each of them last, and when.
    pub holders: BTreeMap<i64, (usize, u64)>,
    /// Counts what has happened.
    pub moment: u64,
    history: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    ClientSpeaks(usize),
    ClientBytes(usize),
    ClientListens(usize),
    LeaderReads(usize),
    Answer(usize, usize),
    Exchange(usize, usize),
    Enter(usize),
    Look(usize),
    SeesMembers(usize),
    Backend(Link),
    Enact,
    Judge(NodeId),
    Level,
    Drawn(usize),
    Start,
    ComesBack(usize),
    Admit,
}

impl Step {
    /// Whose turn it is.
    fn slot(self, nodes: usize) -> usize {
        match self {
            Self::ClientSpeaks(seat)
            | Self::ClientBytes(seat)
            | Self::ClientListens(seat)
            | Self::LeaderReads(seat)
            | Self::Answer(seat, _)
            | Self::Exchange(seat, _)
            | Self::Enter(seat)
            | Self::Look(seat)
            | Self::ComesBack(seat)
            | Self::SeesMembers(seat) => nodes + seat,
            Self::Backend(link) => link.node,
            Self::Enact | Self::Judge(_) | Self::Level | Self::Drawn(_) | Self::Start | Self::Admit => usize::MAX,
        }
    }
}

/// More would be a circle.
const STEPS: usize = 60_000;

/// In a third of the worlds. A fault that has to do with it is looked for in such worlds only, and any other by the seeds
/// that found it without.
fn kills(fault: Option<Fault>, fates: &mut Rng) -> usize {
    let times = 1 + fates.below(2);
    match fault {
        Some(fault) if fault.is_of_the_next_start() => times,
        None if fates.one_in(3) => times,
        _ => 0,
    }
}

/// What decides about something that is in a fourth of the worlds, and with faults as above; another stream for each mark.
fn seldom(own: Fault, mark: u64, fault: Option<Fault>, (seed, tape): (u64, Option<&Tape>)) -> Option<Rng> {
    let mut chance = Rng::steered(seed ^ mark, tape);
    let is_there = match fault {
        Some(fault) => fault == own,
        None => chance.one_in(4),
    };
    is_there.then_some(chance)
}

const OF_LOCKS: u64 = 1 << 63;
const OF_DISKS: u64 = 1 << 62;

impl World {
    pub(super) fn new(chance: Chance<'_>, fault: Option<Fault>, keeps_history: bool) -> Self {
        let tape = chance.decisions.map(Tape::new);
        let source = (chance.seed, tape.as_ref());
        let mut rng = Rng::steered(chance.seed, tape.as_ref());
        let nodes = 2 + usize::from(rng.one_in(3));
        let seats = 2 + rng.below(4);
        let nodes: Vec<Node> = (0..nodes).map(|number| Node::new(number, nodes, fault, &mut rng)).collect();
        // Which node or seat, the batches on followers, or none.
        let slow = if rng.one_in(4) { nodes.len() + seats } else { rng.below(2 * (nodes.len() + seats)) };
        let mut fates = Rng::steered(!chance.seed, tape.as_ref());
        let kills = kills(fault, &mut fates);
        // Then another node leads after a start.
        let heaviest_last = kills > 0 && fates.one_in(4);
        let mut world = Self {
            cluster: Cluster::new(nodes.len(), heaviest_last),
            nodes,
            seats: Vec::new(),
            lock: CommitLock::new(),
            in_flight: InFlight::new(),
            heirs: Heirs::default(),
            plans: PlanCache::new(shell::PLANS),
            catalogs: shell::catalogs(),
            paper: Paper::new(&mut fates, Disk::new(seldom(Fault::StaleKept, OF_DISKS, fault, source), fault)),
            proxy: Proxy::Serves,
            admission: None,
            fault,
            pool: Vec::new(),
            drawing: Vec::new(),
            accidents: accidents(&mut rng),
            full: false,
            impatient: false,
            disturbed: false,
            failure: None,
            slow,
            kills,
            fates,
            lives: None,
            spoiled: Spoiled::default(),
            keys: seldom(Fault::HoldsUnseen, OF_LOCKS, fault, source),
            holders: BTreeMap::new(),
            moment: 0,
            history: keeps_history.then(Vec::new),
            rng,
        };
        world.begin_journal();
        world.sit_down(seats);
        world
    }

    /// Lets everything happen until nothing is left to do.
    pub(super) fn run(&mut self) {
        for step in 0..STEPS {
            if self.failure.is_some() {
                return;
            }
            if self.is_killed_now() {
                self.kill();
            }
            if let Some(accident) = self.accidents.last().filter(|_| self.proxy == Proxy::Serves)
                && self.rng.one_in(accident.rarity())
            {
                self.happen();
            }
            self.impatient = self.rng.one_in(200);
            let mut steps = self.steps();
            if steps.is_empty() && !self.impatient {
                self.impatient = true;
                steps = self.steps();
            }
            if steps.is_empty() {
                self.accidents.clear();
                return self.judge();
            }
            let mut chosen = steps[self.rng.below(steps.len())];
            if self.is_slow(chosen) && step % 8 != 0 {
                chosen = steps[self.rng.below(steps.len())];
            }
            self.moment += 1;
            self.step(chosen);
        }
        self.fail("it goes on for ever".into());
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, seat) in self.seats.iter().enumerate().filter(|(_, seat)| !seat.closed) {
            self.steps_of_client(number, seat, &mut steps);
            let leader = seat.leader.map(|link| self.backend_of(link));
            if leader
                .is_some_and(|b| (!b.out.is_empty() && seat.session.wants_leader()) || (b.out.is_empty() && b.ended))
            {
                steps.push(Step::LeaderReads(number));
            }
            let asked = seat.asked.iter().enumerate().filter(|(_, asked)| self.can_answer(asked));
            steps.extend(asked.map(|(n, _)| Step::Answer(number, n)));
            let exchanges = seat.exchanges.iter().enumerate().filter(|(_, exchange)| self.exchange_can_step(exchange));
            steps.extend(exchanges.map(|(n, _)| Step::Exchange(number, n)));
            if seat.lock.is_called() {
                steps.push(Step::Enter(number));
            }
            if seat.looks.as_ref().is_some_and(|(_, bell)| bell.has_rung()) {
                steps.push(Step::Look(number));
            }
            if seat.seen != self.cluster.membership {
                steps.push(Step::SeesMembers(number));
            }
        }
        for (node, of_node) in self.nodes.iter().enumerate() {
            let backends = (0..of_node.backends.len()).filter(|backend| of_node.can_step(*backend));
            steps.extend(backends.map(|backend| Step::Backend(Link { node, backend })));
            let id = NodeId(node as u16);
            if !of_node.up
                && self.proxy == Proxy::Serves
                && self.cluster.is_active(id)
                && self.cluster.changing.is_none()
            {
                steps.push(Step::Judge(id));
            }
        }
        if self.cluster.changing.is_some() {
            steps.push(Step::Enact);
        }
        if self.cluster.can_level() {
            steps.push(Step::Level);
        }
        let drawn = self.drawing.iter().enumerate().filter(|(_, link)| self.backend_of(**link).ended);
        steps.extend(drawn.map(|(n, _)| Step::Drawn(n)));
        steps.extend(Some(Step::Start).filter(|_| self.proxy == Proxy::Dead));
        steps.extend(Some(Step::Admit).filter(|_| self.can_admit()));
        let back = (0..self.seats.len()).filter(|seat| self.can_come_back(*seat));
        steps.extend(back.map(Step::ComesBack));
        steps
    }

    fn steps_of_client(&self, number: usize, seat: &Seat, steps: &mut Vec<Step>) {
        if seat.client_open && !seat.client.waiting && !seat.client.said_goodbye && seat.client.inbox.is_empty() {
            steps.push(Step::ClientSpeaks(number));
        }
        if seat.client_open && !seat.sent.is_empty() && seat.session.wants_client() {
            steps.push(Step::ClientBytes(number));
        }
        if !seat.client.inbox.is_empty() {
            steps.push(Step::ClientListens(number));
        }
    }

    fn can_answer(&self, asked: &Asked) -> bool {
        match asked {
            Asked::Reserve(..) | Asked::Fate(..) | Asked::Key(_) | Asked::EnterAfterLook(_) => true,
            Asked::Verdict(..) | Asked::Degraded(..) => self.cluster.changing.is_none(),
            Asked::Dial => self.cluster.changing.is_none() && self.is_settled(),
            // Or they have been waited for as long as one may.
            Asked::Gathered(node) => {
                self.fault == Some(Fault::NoBarrier) || !self.leads(*node) || self.impatient || self.is_gathered(*node)
            }
        }
    }

    /// Whether no commit is under way that began under another leader.
    pub(super) fn is_settled(&self) -> bool {
        let leader = self.cluster.membership.leader();
        let under_way = |seat: &Seat| seat.lock.is_held() && Some(seat.session.leader()) != leader;
        !self.seats.iter().any(under_way)
    }

    pub(super) fn leads(&self, node: NodeId) -> bool {
        self.cluster.membership.leader() == Some(node)
    }

    pub(super) fn is_gathered(&self, leader: NodeId) -> bool {
        self.heirs.poll_gathered(leader, &Context::from_waker(Waker::noop())).is_ready()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::ClientSpeaks(seat) => self.client_speaks(seat),
            Step::ClientBytes(seat) => {
                let of = &mut self.seats[seat];
                let length = if self.rng.one_in(4) { 1 + self.rng.below(of.sent.len()) } else { of.sent.len() };
                let piece = of.sent.split_to(length.min(of.sent.len()));
                of.session.client_in.extend_from_slice(&piece);
                self.turn(seat);
            }
            Step::ClientListens(seat) => self.client_listens(seat),
            Step::LeaderReads(seat) => self.leader_reads(seat),
            Step::Answer(seat, asked) => self.answer(seat, asked),
            Step::Exchange(seat, exchange) => self.step_exchange(seat, exchange),
            Step::Enter(seat) => self.enter(seat),
            Step::Look(seat) => {
                self.look(seat);
                self.turn(seat);
            }
            Step::SeesMembers(seat) => {
                self.hear_out_if_out(seat);
                let seen = self.cluster.membership.clone();
                self.seats[seat].session.membership_changed(&seen);
                self.seats[seat].seen = seen;
                self.turn(seat);
            }
            Step::Backend(link) => self.step_backend(link),
            Step::Enact => self.enact(),
            Step::Judge(node) => self.lost(node),
            Step::Level => self.step_level(),
            Step::Drawn(number) => {
                self.drawing.remove(number);
                self.sequences_moved();
            }
            Step::Start => self.start(),
            Step::ComesBack(seat) => self.come_back(seat),
            Step::Admit => self.admit(),
        }
    }

    /// A node, a seat, or the batches on followers.
    fn is_slow(&self, step: Step) -> bool {
        let batches = self.nodes.len() + self.seats.len();
        match step {
            Step::Backend(link) if self.slow == batches => self.is_follower(link),
            step => step.slot(self.nodes.len()) == self.slow,
        }
    }

    fn step_backend(&mut self, link: Link) {
        let did = self.nodes[link.node].step(link.backend);
        let name = self.nodes[link.node].name;
        match &did {
            Did::Nothing => {}
            Did::Statement(what) => self.note(|| format!("    {name}{}: {what}", link.backend)),
            Did::Waits(tx) => self.note(|| format!("    {name}{}: waits for transaction {}", link.backend, tx.0)),
        }
        if self.nodes[link.node].store.skewed {
            self.fail(format!("on {name} nobody is on call, which each serializable transaction has seen to"));
        }
        if matches!(did, Did::Waits(_)) && self.is_follower(link) && !self.disturbed {
            self.fail(format!("{name}{} waits on a follower for another transaction", link.backend));
        }
    }

    fn is_follower(&self, link: Link) -> bool {
        self.seats.iter().any(|seat| seat.exchanges.iter().any(|exchange| exchange.follower.link == link))
    }

    pub(super) fn backend(&mut self, link: Link) -> &mut Backend {
        &mut self.nodes[link.node].backends[link.backend]
    }

    pub(super) fn backend_of(&self, link: Link) -> &Backend {
        &self.nodes[link.node].backends[link.backend]
    }

    /// Our end of a connection is closed.
    pub(super) fn abandon(&mut self, link: Link) {
        self.backend(link).abandoned = true;
    }

    pub(super) fn fail(&mut self, why: String) {
        self.note(|| format!("*** {why}"));
        self.failure.get_or_insert(why);
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(what());
        }
    }

    pub(super) fn history(&self) -> String {
        let lines = self.history.iter().flatten().enumerate();
        lines.fold(String::new(), |mut text, (n, line)| {
            let _ = writeln!(text, "{n:5} {line}");
            text
        })
    }
}
