//! What the operator has chosen for statements that cannot be replicated exactly, or need our triggers for it.

use std::sync::Arc;

use crate::fault::Fault;

/// Of `[replication]`. It does not change while the proxy runs, so plans are kept without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    pub inexact: Inexact,
    pub capture: Capturing,
}

/// `unsafe`: a statement that cannot be replicated exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inexact {
    #[default]
    Reject,
    /// It runs, and the client is told what that means.
    Warn,
    Allow,
}

/// `capture`: tables that get our trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capturing {
    /// Those that need it.
    #[default]
    Auto,
    Off,
    All,
}

/// A statement that is carried out though it should be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waived {
    pub reason: Arc<str>,
    /// What reaches the other servers all the same.
    pub way: Way,
    pub warns: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Each server runs the text.
    Text,
    /// It runs on the leader; followers get what our triggers tell of it.
    Leader,
}

impl Waived {
    /// What the policy makes of a refusal; `None`: it stands.
    pub fn of(policy: Policy, fault: &Fault, way: Way) -> Option<Self> {
        let warns = match policy.inexact {
            Inexact::Allow if fault.waivable => false,
            Inexact::Warn if fault.waivable => true,
            _ => return None,
        };
        let message = fault.message.as_ref();
        let reason = message.strip_prefix("this statement is refused: ").unwrap_or(message).into();
        Some(Self { reason, way, warns })
    }

    pub fn text(&self) -> String {
        let way = match self.way {
            Way::Text => "each server runs this statement by itself, and they may come to differ",
            Way::Leader => {
                "this statement runs on one server, and of what it changes the others get only rows of tables that are \
                 captured"
            }
        };
        format!("{way}: {}", self.reason)
    }
}
