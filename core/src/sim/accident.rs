//! What the world does to us: nodes and connections end, and a leader is taken for dead.

use super::node::Link;
use super::rng::Rng;
use super::seat::Seat;
use super::world::World;
use crate::cluster::Event;
use crate::id::NodeId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accident {
    Crash,
    /// The leader does, while a unit is open on it whose session is slow to hear of it. It comes when there is one.
    LeaderFalls,
    /// The same, but it has only stood still: it is taken for dead, and goes on for those who have not heard of that.
    LeaderWakes,
    /// A connection is reset: what was on its way may be lost.
    Cut,
    /// `pg_terminate_backend`
    Terminate,
    /// The same, of a session for whose rows another waits, and which is slow to hear of it. It comes when there is
    /// one.
    TerminateHolder,
    /// The same of one that is at its commit, and has sent nothing yet.
    TerminateCommitter,
    /// A follower has no connection to give, once.
    Full,
    /// A client goes without a word.
    ClientVanishes,
}

impl Accident {
    /// It happens in one of so many steps.
    pub(super) fn rarity(self) -> usize {
        match self {
            Self::TerminateHolder => 8,
            Self::TerminateCommitter => 1,
            Self::LeaderFalls | Self::LeaderWakes => 40,
            _ => 150,
        }
    }

    fn waits(self) -> bool {
        use Accident::{LeaderFalls, LeaderWakes, TerminateCommitter, TerminateHolder};
        matches!(self, TerminateHolder | TerminateCommitter | LeaderFalls | LeaderWakes)
    }
}

impl World {
    pub(super) fn happen(&mut self) {
        let Some(accident) = self.accidents.pop() else { return };
        self.disturbed |= accident != Accident::ClientVanishes && !accident.waits();
        match accident {
            Accident::Crash => {
                let node = self.rng.below(self.nodes.len());
                if self.nodes.iter().filter(|node| node.up).count() > 1 && self.nodes[node].up {
                    let name = self.nodes[node].name;
                    self.note(|| format!("!!! {name} crashes"));
                    self.nodes[node].crash();
                }
            }
            Accident::Cut | Accident::Terminate => {
                let links = self.live_links();
                if links.is_empty() {
                    return;
                }
                let link = links[self.rng.below(links.len())];
                let name = self.nodes[link.node].name;
                self.note(|| format!("!!! {accident:?} {name}{}", link.backend));
                self.cut(link, accident);
            }
            Accident::TerminateHolder | Accident::TerminateCommitter => self.terminate_holder(accident),
            Accident::LeaderFalls | Accident::LeaderWakes => self.take_leader(accident),
            Accident::Full => self.full = true,
            Accident::ClientVanishes => {
                let seat = self.rng.below(self.seats.len());
                self.client_vanishes(seat);
            }
        }
    }

    fn terminate_holder(&mut self, accident: Accident) {
        let holds = |seat: &usize| {
            if accident == Accident::TerminateCommitter && self.seats[*seat].asked.is_empty() {
                return false;
            }
            let link = self.seats[*seat].leader;
            link.is_some_and(|link| self.backend_of(link).is_waited_for(&self.nodes[link.node].store))
        };
        let holders: Vec<usize> = (0..self.seats.len()).filter(holds).collect();
        if holders.is_empty() {
            return self.accidents.push(accident);
        }
        self.disturbed = true;
        let seat = holders[self.rng.below(holders.len())];
        let Some(link) = self.seats[seat].leader else { return };
        self.slow = self.nodes.len() + seat;
        let name = self.nodes[link.node].name;
        self.note(|| format!("!!! Terminate {name}{}, for which another waits", link.backend));
        self.cut(link, Accident::Terminate);
    }

    fn take_leader(&mut self, accident: Accident) {
        let open: Vec<usize> = (0..self.seats.len()).filter(|seat| self.seats[*seat].session.has_heir()).collect();
        let up = |node: &NodeId| self.nodes[usize::from(node.0)].up;
        let membership = &self.cluster.membership;
        let leader = membership.leader().filter(|leader| up(leader) && membership.active().filter(up).count() > 1);
        let Some(leader) = leader.filter(|_| !open.is_empty() && self.cluster.changing.is_none()) else {
            return self.accidents.push(accident);
        };
        self.disturbed = true;
        self.slow = self.nodes.len() + open[self.rng.below(open.len())];
        self.note(|| format!("!!! {accident:?}: {leader}"));
        if accident == Accident::LeaderFalls {
            self.nodes[usize::from(leader.0)].crash();
        } else {
            self.change(Event::Lost { node: leader, why: "it stands still".into() });
        }
    }

    /// Connections that may end now: of followers, of leaders whose units followers may have, or of all leaders, each
    /// as often as the others, though there are few of the first at any time.
    fn live_links(&mut self) -> Vec<Link> {
        let which = self.rng.below(3);
        let links: Vec<Link> = if which == 0 {
            let exchanges = self.seats.iter().flat_map(|seat| &seat.exchanges);
            exchanges.map(|exchange| exchange.follower.link).collect()
        } else {
            let half_done = |seat: &&Seat| which == 2 || !seat.session.abandoned().is_empty();
            self.seats.iter().filter(half_done).filter_map(|seat| seat.leader).collect()
        };
        links.into_iter().filter(|link| !self.backend_of(*link).ended).collect()
    }

    fn cut(&mut self, link: Link, accident: Accident) {
        let node = &mut self.nodes[link.node];
        let backend = &mut node.backends[link.backend];
        if accident == Accident::Terminate {
            return backend.terminate(&mut node.store);
        }
        if self.rng.one_in(2) {
            backend.inbox.clear();
        }
        backend.abandoned = true;
        backend.out.clear();
        let lost = self.seats.iter().position(|seat| seat.leader == Some(link));
        if let Some(seat) = lost {
            return self.leader_lost(seat, "reset");
        }
        let find = |seat: &Seat| seat.exchanges.iter().position(|exchange| exchange.follower.link == link);
        let found = self.seats.iter().enumerate().find_map(|(n, seat)| Some((n, find(seat)?)));
        if let Some((seat, exchange)) = found {
            self.break_exchange(seat, exchange);
        }
    }
}

/// Six of seven worlds are disturbed.
pub(super) fn accidents(rng: &mut Rng) -> Vec<Accident> {
    let kinds: &[Accident] = match rng.below(7) {
        0 => &[],
        4 => &[Accident::TerminateHolder, Accident::TerminateCommitter],
        1 => &[Accident::Cut, Accident::Terminate, Accident::Full, Accident::ClientVanishes],
        2 => &[Accident::Crash],
        5 => &[Accident::LeaderFalls],
        6 => &[Accident::LeaderFalls, Accident::LeaderWakes, Accident::TerminateHolder],
        _ => &[Accident::Cut, Accident::Crash, Accident::TerminateHolder, Accident::ClientVanishes],
    };
    if kinds.is_empty() {
        return Vec::new();
    }
    (0..1 + rng.below(3)).map(|_| kinds[rng.below(kinds.len())]).collect()
}
