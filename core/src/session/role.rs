//! As whom followers apply a unit's effects: the role that the client has set.
//!
//! Followers log in as the client did. Where it has set another role since, that one may own tables that the login may
//! not touch, and owns what DDL makes. So the log sets it before the first effect under it, for its transaction.

use super::Session;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// Nobody has changed it since the login.
    OfLogin,
    /// As the server calls it: `none` for that of the login.
    Set(String),
    /// A statement may have changed it.
    Unknown,
}

impl Role {
    fn name(&self) -> &str {
        match self {
            Self::Set(name) => name,
            Self::OfLogin | Self::Unknown => "none",
        }
    }
}

impl Session {
    pub(super) fn has_set_role(&self) -> bool {
        self.role.name() != "none"
    }

    /// An effect goes into the log: it is to be applied under the role of now.
    pub(super) fn note_role(&mut self) {
        debug_assert!(self.role != Role::Unknown, "a write is planned only when the role is known");
        let now = self.role.name();
        if self.unit.role.as_deref().unwrap_or("none") == now {
            return;
        }
        self.unit.log.role(now);
        self.unit.role = Some(now.to_owned());
    }
}
