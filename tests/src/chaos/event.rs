//! What can happen to nodes, connections and the proxy, and the plan that a seed makes of it.

use std::fmt;
use std::time::Duration;

use crate::chance::Chance;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
}

/// How long something that can be undone lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// Short enough that nobody has to be given up for it.
    Short(Duration),
    UntilFound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// kill -9 of all processes of a node.
    Kill(Role),
    /// SIGSTOP of all processes of a node.
    Stop(Role, Lasting),
    /// SIGSTOP of its postmaster alone.
    StopPostmaster(Role, Lasting),
    /// Its wire swallows everything.
    Partition(Role, Lasting),
    /// `pg_terminate_backend` of some session there.
    EndBackend(Role),
    /// The operator takes it out.
    Detach(Role),
    /// kill -9 of the proxy, which is started again at once.
    KillProxy,
}

impl Event {
    /// Whose node is meant.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Kill(role) | Self::EndBackend(role) | Self::Detach(role) => Some(*role),
            Self::Stop(role, _) | Self::StopPostmaster(role, _) | Self::Partition(role, _) => Some(*role),
            Self::KillProxy => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Leader { "leader" } else { "follower" })
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Short(_)) { " for a moment" } else { "" })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role) => write!(f, "kill -9 {role}"),
            Self::Stop(role, lasting) => write!(f, "SIGSTOP {role}{lasting}"),
            Self::StopPostmaster(role, lasting) => write!(f, "SIGSTOP postmaster of {role}{lasting}"),
            Self::Partition(role, lasting) => write!(f, "partition {role}{lasting}"),
            Self::EndBackend(role) => write!(f, "end a backend of {role}"),
            Self::Detach(role) => write!(f, "detach {role}"),
            Self::KillProxy => f.write_str("kill -9 proxy"),
        }
    }
}

/// One round of a run: what happens in it, one after the other. At most one node is struck, so that another one is left.
pub fn round(chance: &mut Chance) -> Vec<Event> {
    let mut events = vec![some_event(chance)];
    if chance.one_in(3) {
        let at = chance.below(2) as usize;
        events.insert(at, Event::KillProxy);
    }
    if chance.one_in(4) {
        events.insert(0, Event::EndBackend(some_role(chance)));
    }
    events.dedup();
    events
}

fn some_event(chance: &mut Chance) -> Event {
    let role = some_role(chance);
    match chance.below(10) {
        0..2 => Event::Kill(role),
        2..4 => Event::Stop(role, lasting(chance)),
        4 => Event::StopPostmaster(role, lasting(chance)),
        5..7 => Event::Partition(role, lasting(chance)),
        7 => Event::EndBackend(role),
        8 => Event::Detach(role),
        _ => Event::KillProxy,
    }
}

fn some_role(chance: &mut Chance) -> Role {
    *chance.of(&[Role::Leader, Role::Follower])
}

fn lasting(chance: &mut Chance) -> Lasting {
    if chance.one_in(3) { Lasting::Short(Duration::from_millis(20 + chance.below(500))) } else { Lasting::UntilFound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_plan_and_a_round_strikes_one_node_at_most() {
        let plan = |seed| {
            let mut chance = Chance::new(seed);
            (0..200).map(|_| round(&mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let strikes = |event: &&Event| !matches!(event, Event::KillProxy | Event::EndBackend(_));
        assert!(plan(7).iter().all(|events| events.iter().filter(strikes).count() <= 1));
    }
}
