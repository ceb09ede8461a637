//! Which nodes are active, who leads, and how that changes: decisions only, the runtime carries them out.
//!
//! Invariant: a node that is not known to hold all that was ever acknowledged is never active, and the last node that
//! does is never given up. [`change`] is the one place that moves a node from one state to another:
//!
//! ```text
//!            opening: nothing to compare with, or equal
//!   New ──────────────────────────────────────────────▶ Active ◀──────────┐
//!    │ recover                  lost, diverged │  ▲  │ lost, none is left  │ it is back
//!    ▼                                         ▼  │  └──▶ Unreachable ─────┘
//!   Recovering ◀──────── recover ──────── Degraded│
//!        └────────────── joined ──────────────────┘   (Detached: as Degraded, by the operator)
//! ```
//!
//! A node that comes into the configuration while the proxy serves is New; one that is taken out of it is Removed for good.
//!
//! | file | decides |
//! | --- | --- |
//! | [`health`] | what an attempt to reach a node says about it |
//! | [`change`] | what an event does to the membership |
//! | [`membership`] | who leads, who follows |
//! | [`compare`], [`sequence`] | what differs; where sequences are to be put |
//! | [`pace`] | how fast that may be done |
//! | [`pieces`] | how a table is compared piece by piece |
//! | [`recovery`] | the steps of a recovery, and what undoes them |
//! | [`intake`] | whether clients may begin something |
//! | [`guard`] | whether the service is here, by its name |
//! | [`lineage`], [`opening`] | whose data is what it was; who serves at a start |
//! | [`takeover`] | whose data goes on when a machine is gone |

use crate::id::{Epoch, NodeId};

pub mod change;
pub mod compare;
pub mod guard;
pub mod health;
pub mod intake;
pub mod lineage;
pub mod membership;
pub mod opening;
pub mod pace;
pub mod pieces;
pub mod recovery;
pub mod sequence;
pub mod takeover;

pub use change::{Configured, Event, Refusal};
pub use intake::Intake;
pub use lineage::{ClusterId, Kinship, Lineage};
pub use membership::{Member, MemberState, Membership};
pub use opening::Record;

/// What became of a node that somebody suspects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The node is healthy and a member, or nothing could be shown against it: only the connection was broken. Dial again.
    Alive,
    /// The node does not serve, and that is on disk.
    Out,
}

/// A membership change that is on disk and in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    pub node: NodeId,
    pub epoch: Epoch,
}
