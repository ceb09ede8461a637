//! The proxy dies: everything that it had in memory is gone, and its connections with it.
//!
//! What it had written to its state file and its journal is there. What it had sent may arrive or not, to any byte; so may
//! what it had told its clients.

use super::faults::Fault;
use super::seat::Seat;
use super::shell;
use super::world::World;
use crate::commitlock::CommitLock;
use crate::heirs::Heirs;
use crate::id::NodeId;
use crate::inflight::InFlight;
use crate::plan::PlanCache;

/// What stands between the clients and the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    Serves,
    Dead,
}

/// What may be found wrong at the next start, and only then.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spoiled {
    pub file: bool,
    pub machine: bool,
    pub node: bool,
    /// A change of members was cut short.
    pub change: bool,
}

impl World {
    /// At any step, and rather while something is being committed.
    pub(super) fn is_killed_now(&mut self) -> bool {
        if self.kills == 0 || self.proxy == Proxy::Dead {
            return false;
        }
        let rarity = if self.seats.iter().any(|seat| seat.lock.is_held()) { 30 } else { 300 };
        self.fates.one_in(rarity)
    }

    /// The proxy is killed in the midst of what it does for the cluster, if its time has come.
    pub(super) fn dies(&mut self) -> bool {
        match &mut self.lives {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(super) fn kill(&mut self) {
        self.kills -= 1;
        self.note(|| "!!! the proxy is killed".into());
        for seat in 0..self.seats.len() {
            self.hang_up(seat);
        }
        if self.cluster.changing.is_some() {
            self.lives = Some(self.fates.below(5));
            self.enact();
            self.lives = None;
            self.spoiled.change = true;
        }
        self.forget();
        self.cut_all();
        self.strike();
        self.proxy = Proxy::Dead;
    }

    /// The client hears what was on its way to it, or some of it, or nothing.
    fn hang_up(&mut self, seat: usize) {
        let of = &mut self.seats[seat];
        if of.closed || !of.client_open {
            return;
        }
        let heard = self.fates.below(of.client.inbox.len() + 1);
        if self.fates.one_in(2) {
            of.client.inbox.truncate(heard);
        }
        self.client_listens(seat);
        let of = &mut self.seats[seat];
        of.client.cut_off();
        of.client.comes_back();
        of.returns = true;
    }

    fn forget(&mut self) {
        (self.lock, self.in_flight, self.heirs) = (CommitLock::new(), InFlight::new(), Heirs::default());
        self.plans = PlanCache::new(shell::PLANS);
        self.pool.clear();
        self.drawing.clear();
        (self.full, self.admission) = (false, None);
        self.cluster.forget();
        self.catalogs = shell::catalogs();
        for (number, former) in std::mem::take(&mut self.seats).into_iter().enumerate() {
            let Seat { client, returns, .. } = former;
            let mut seat = Seat::new(client, self.session(number, NodeId(0)), self.cluster.membership.clone());
            (seat.closed, seat.returns) = (true, returns);
            self.seats.push(seat);
        }
    }

    fn cut_all(&mut self) {
        for node in &mut self.nodes {
            for backend in node.backends.iter_mut().filter(|backend| !backend.ended) {
                let arrives = self.fates.below(backend.inbox.len() + 1);
                match self.fates.below(3) {
                    _ if backend.abandoned => {}
                    0 => backend.inbox.clear(),
                    1 => backend.inbox.truncate(arrives),
                    _ => {}
                }
                backend.abandoned = true;
                backend.out.clear();
            }
        }
    }

    /// Seldom, but always where a fault is looked for that comes of it.
    fn strikes(&mut self, rarity: usize, fault: Fault) -> bool {
        self.fates.one_in(rarity) || self.fault == Some(fault)
    }

    /// What else may have happened at the same time.
    fn strike(&mut self) {
        if self.fates.one_in(4) {
            self.spoiled.file |= self.paper.tear(&mut self.fates);
        }
        self.paper.forget();
        if self.strikes(8, Fault::BootUnseen) {
            self.note(|| "!!! with its machine".into());
            self.paper.lose_machine(&mut self.fates);
            self.spoiled.machine = true;
        }
        if self.strikes(12, Fault::DamageIsTheEnd) {
            self.note(|| "!!! and its journal is damaged".into());
            self.paper.damage(&mut self.fates);
            self.spoiled.file = true;
        }
        let up = self.nodes.iter().filter(|node| node.up).count();
        if up > 1 && self.fates.one_in(10) {
            let node = self.fates.below(self.nodes.len());
            self.nodes[node].crash();
        }
        for node in 0..self.nodes.len() {
            if !self.nodes[node].up && self.fates.one_in(2) {
                self.power_on(node);
            }
        }
    }

    /// A server that was lost is started again, with all that it had committed.
    pub(super) fn power_on(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        (node.up, node.start) = (true, node.start + 1);
        self.spoiled.node = true;
        let name = node.name;
        self.note(|| format!("{name} is started again"));
    }
}
