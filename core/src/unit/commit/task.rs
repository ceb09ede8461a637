//! What a commit wants done, what it is told, and what it comes to.

use crate::fault::{Fault, SqlState};
use crate::id::NodeId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    FollowersFirst,
    LeaderFirst,
}

/// What the shell (or the session) is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Get a connection to this follower ready. `fresh`: a new one, not one from the pool.
    Reserve {
        node: NodeId,
        fresh: bool,
    },
    /// Enter the commits in flight, look, and say when it is clear.
    Look,
    /// Send the batch on the reserved connection.
    Send {
        node: NodeId,
    },
    /// Ask the cluster what is with this node.
    Suspect {
        node: NodeId,
        why: String,
    },
    /// Its answer was lost on the way: find out whether the batch was committed.
    Ask {
        node: NodeId,
    },
    /// Have this node degraded; answer when it is on disk.
    Degrade {
        node: NodeId,
        why: String,
    },
    /// Send COMMIT to the leader.
    LeaderCommit,
    Finished(Outcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// On every active node. `leader_out`: the leader is not among them any more.
    Committed { leader_out: bool },
    /// Nowhere: the leader has still to be rolled back if it lives.
    Aborted(Fault),
    /// The leader itself refused its COMMIT before anybody had committed; its error goes to the client.
    LeaderRefused,
}

/// Whether the leader's connections of all commits in flight were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    NotAsked,
    Asked,
    Clear,
}

/// Why a connection to a follower could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReserveFault {
    /// The node's or our own resources are short; nothing is wrong with the node.
    Full(String),
    /// It cannot be reached or does not answer as it should.
    Broken(String),
}

/// What has become of a batch whose answer was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Committed,
    NotThere,
    /// Not known, and it makes no difference when it comes once more.
    Repeatable,
    Unknown(String),
}

pub(super) fn lost_before_commit() -> Fault {
    Fault::error(SqlState::SERIALIZATION_FAILURE, "the server failed before the transaction was committed")
        .with_hint("Run the transaction again.")
}

pub(super) fn lost_in_commit() -> Fault {
    Fault::error(SqlState::CONNECTION_FAILURE, "the connection to the server broke during COMMIT")
        .with_detail("Whether the transaction was committed is not known.")
        .with_hint("Look whether its changes are there before you repeat it.")
}

pub(super) fn other_names(names: &str) -> Fault {
    let why = format!("other servers would have other names than {names} for what this transaction has made");
    Fault::error(SqlState::SERIALIZATION_FAILURE, why)
        .with_detail(
            "The server chose a name while another transaction had made, dropped or renamed something of that name.",
        )
        .with_hint(
            "Run the transaction again, or give names yourself. If it stays so, `lockstep verify` tells what differs.",
        )
}
