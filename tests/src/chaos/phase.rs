//! What is going on just now, and which failures of clients go with it.

use super::event::{Event, Role};
use super::trouble::{CLOSED, REFUSED};

#[derive(Debug, Clone, Default)]
pub struct Phase {
    pub name: String,
    /// The proxy went, and every connection with it.
    lost_connections: bool,
    /// A leader went, or a session of one: who was in a transaction may have to try again.
    lost_leader: bool,
    /// A session's backend was ended: that session gets what PostgreSQL gives it.
    ended_backend: bool,
}

/// What a driver knows how to try again.
const RETRIED: [&str; 3] = ["40001", "57P01", "08006"];

impl Phase {
    /// Nobody may notice anything.
    pub fn quiet(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub fn of(events: &[Event]) -> Self {
        let names: Vec<_> = events.iter().map(ToString::to_string).collect();
        Self {
            name: names.join(", "),
            lost_connections: events.iter().any(|event| matches!(event, Event::KillProxy)),
            lost_leader: events.iter().any(|event| event.role() == Some(Role::Leader)),
            ended_backend: events.contains(&Event::EndBackend(Role::Leader)),
        }
    }

    pub fn expects(&self, cause: &str) -> bool {
        let retried = RETRIED.contains(&cause);
        (self.lost_connections && (retried || [CLOSED, REFUSED].contains(&cause)))
            || (self.lost_leader && retried)
            || (self.ended_backend && cause == CLOSED)
    }
}
