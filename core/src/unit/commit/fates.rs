//! Whatever becomes of each node and in whatever order it is heard of: the nodes that stay members agree, and the client is
//! told what they agree on.

use proptest::prelude::*;

use super::*;

const LEADER: NodeId = NodeId(0);

/// The nodes as they are, which the commit knows only by what it is told.
struct World {
    commit: Commit,
    pending: Vec<Task>,
    finished: Option<Outcome>,
    /// Which nodes have the unit, by their number.
    has: Vec<bool>,
    out: Vec<bool>,
    leader_alive: bool,
    /// Of followers-first commits; where the leader commits first, none is needed.
    looked: bool,
    /// Whose batch may come once more, for it makes no difference.
    again: Vec<bool>,
    story: Vec<String>,
}

impl World {
    fn new(order: Order, followers: u16) -> Self {
        let commit = Commit::new(order, LEADER, (1..=followers).map(NodeId));
        let nodes = usize::from(followers) + 1;
        let mut world = Self {
            commit,
            pending: Vec::new(),
            finished: None,
            has: vec![false; nodes],
            out: vec![false; nodes],
            leader_alive: true,
            looked: order == Order::LeaderFirst,
            again: vec![false; nodes],
            story: Vec::new(),
        };
        world.collect();
        world
    }

    fn collect(&mut self) {
        while let Some(task) = self.commit.poll() {
            match task {
                Task::Finished(outcome) => self.finished = Some(outcome),
                task => self.pending.push(task),
            }
        }
    }

    /// Lets one of the things happen that may; `choice` says which, and how it ends.
    fn step(&mut self, choice: u16) {
        let (which, how) = (usize::from(choice >> 8), choice & 0xff);
        if self.leader_alive && how > 250 {
            self.leader_breaks(how % 2 == 0);
        } else if how > 244 && self.out.len() > 1 {
            self.leaves(NodeId((which % (self.out.len() - 1)) as u16 + 1));
        } else if !self.pending.is_empty() {
            let task = self.pending.remove(which % self.pending.len());
            self.story.push(format!("{task:?} {}", how % 4));
            self.perform(task, how % 4);
        }
        self.collect();
    }

    fn perform(&mut self, task: Task, how: u16) {
        match (task, how) {
            (Task::Reserve { node, .. }, 2) => self.commit.not_reserved(node, ReserveFault::Full(String::new())),
            (Task::Reserve { node, .. }, 3) => self.commit.not_reserved(node, ReserveFault::Broken(String::new())),
            (Task::Reserve { node, .. }, _) => self.commit.reserved(node),
            (Task::Look, _) => {
                self.looked = true;
                self.commit.clear();
            }
            (Task::Send { .. }, _) if !self.looked => panic!("sent without a look: {:?}", self.story),
            (Task::Send { node }, 2) => {
                let names_differ = self.story.len().is_multiple_of(3);
                self.commit.answered(node, if names_differ { tests::other_names() } else { tests::refused() });
            }
            (Task::Send { node }, 3) => {
                self.has[index(node)] |= self.story.len().is_multiple_of(2);
                self.commit.broken(node, String::new());
            }
            // It may have come to its COMMIT nevertheless.
            (Task::Send { node }, 1) if self.story.len().is_multiple_of(5) => {
                self.has[index(node)] |= self.story.len().is_multiple_of(2);
                self.commit.stuck(node, String::new());
            }
            (Task::Send { node }, _) => {
                assert!(!self.has[index(node)] || self.again[index(node)], "what is there already was sent again");
                self.has[index(node)] = true;
                self.commit.answered(node, BatchResult::Committed);
            }
            (Task::Suspect { node, .. }, 0 | 1) => self.commit.verdict(node, Verdict::Alive),
            (Task::Suspect { node, .. }, _) => {
                self.out[index(node)] = true;
                self.commit.verdict(node, Verdict::Out);
            }
            (Task::Ask { node }, 2) => self.commit.told(node, Fate::Unknown(String::new())),
            (Task::Ask { node }, 3) => {
                self.again[index(node)] = true;
                self.commit.told(node, Fate::Repeatable);
            }
            (Task::Ask { node }, _) => {
                let fate = if self.has[index(node)] { Fate::Committed } else { Fate::NotThere };
                self.commit.told(node, fate);
            }
            (Task::Degrade { node, .. }, _) => {
                // The last one is not put out, whoever asks for it.
                self.out[index(node)] |= self.out.iter().enumerate().any(|(n, out)| n != index(node) && !out);
                self.commit.degraded(node);
            }
            (Task::LeaderCommit, _) if !self.leader_alive => {}
            (Task::LeaderCommit, 2) => self.commit.leader_refused(String::new()),
            (Task::LeaderCommit, 3) => self.leader_breaks(self.story.len().is_multiple_of(2)),
            (Task::LeaderCommit, _) => {
                self.has[0] = true;
                self.commit.leader_committed();
            }
            (Task::Finished(_), _) => unreachable!("it is collected"),
        }
    }

    /// A leader that has been asked may have committed before it broke.
    fn leader_breaks(&mut self, late: bool) {
        self.story.push("the leader breaks".into());
        self.leader_alive = false;
        let asked = matches!(self.commit.leader, Leader::Asked);
        self.has[0] |= asked && late;
        self.commit.leader_lost();
    }

    fn leaves(&mut self, node: NodeId) {
        self.story.push(format!("{node:?} is no member any more"));
        self.out[index(node)] = true;
        self.commit.out(node);
    }

    fn members(&self) -> Vec<bool> {
        self.has.iter().zip(&self.out).filter(|(_, out)| !**out).map(|(has, _)| *has).collect()
    }

    /// What would be if the session ended here: its leader connection is dropped, the nodes it names are put out.
    fn agrees_if_abandoned(&self) -> bool {
        let named = self.commit.abandoned();
        let others = (1..self.has.len()).filter(|n| !self.out[*n] && !named.contains(&NodeId(*n as u16)));
        let may_be = match self.commit.leader {
            Leader::Asked => vec![false, true],
            Leader::Settling | Leader::Out => return true,
            _ => vec![self.has[0]],
        };
        let others: Vec<bool> = others.map(|n| self.has[n]).collect();
        may_be.iter().all(|leader| others.iter().all(|has| has == leader))
    }
}

fn index(node: NodeId) -> usize {
    usize::from(node.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn members_agree_whatever_happens_to_whom(
        leader_first in any::<bool>(),
        followers in 0_u16..4,
        choices in proptest::collection::vec(any::<u16>(), 60),
    ) {
        let order = if leader_first { Order::LeaderFirst } else { Order::FollowersFirst };
        let mut world = World::new(order, followers);
        for choice in choices {
            if world.finished.is_some() {
                break;
            }
            prop_assert!(world.agrees_if_abandoned(), "abandoned: {:?}", world.story);
            world.step(choice);
        }
        let members = world.members();
        let told = |told: bool| members.iter().all(|has| *has == told);
        match &world.finished {
            Some(Outcome::Committed { leader_out }) => {
                prop_assert!(told(true) && !members.is_empty(), "{:?} {:?}", world.has, world.story);
                prop_assert_eq!(*leader_out, world.out[0]);
            }
            // Of a COMMIT that broke, nobody knows; then the leader is alone.
            Some(Outcome::Aborted(fault)) if fault.state == SqlState::CONNECTION_FAILURE => {
                prop_assert!(members.len() <= 1, "{:?}", world.story);
            }
            Some(_) => prop_assert!(told(false), "{:?} {:?}", world.has, world.story),
            None => prop_assert!(!world.pending.is_empty(), "nothing is left to wait for: {:?}", world.story),
        }
    }
}
