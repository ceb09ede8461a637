//! Which nodes are active, who leads, and how that changes.

use crate::id::{Epoch, NodeId};

pub mod membership;

pub use membership::{Member, MemberState, Membership};

/// What became of a node that somebody suspects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The node is healthy and a member: only the connection was broken. Dial again.
    Alive,
    /// The node is out, and that is on disk.
    Out,
}

/// A membership change that is on disk and in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    pub node: NodeId,
    pub epoch: Epoch,
}
