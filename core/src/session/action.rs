//! Everything a session can want from the shell, besides bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::{CaptureNumber, CommitNumber, LevelNumber};
use crate::cluster::Membership;
use crate::id::NodeId;
use crate::journal::{Touched, Witness};
use crate::plan::{Partition, PlanCache};
use crate::unit::Batch;

/// To be done in order; answers come back as the events that are named, those that have a [`CommitNumber`] through
/// [`super::Session::answers`].
#[derive(Debug)]
pub enum Action {
    /// Append to the unit's file of effects.
    Spill(Bytes),
    /// Cut the unit's file to this length; 0 when the unit is over.
    CutSpill(u64),
    /// Have each follower play the batch, but for its COMMIT → [`super::Answers::played`], when each has done it, or cannot
    /// or may not be waited for. Not before units that the leader has committed first are on the followers: so it comes after
    /// whoever holds the commit lock now in exclusive mode. Connections on which it was played are what `Reserve` gives, and
    /// `SendBatch` then sends no more than the COMMIT. `Unlock` ends what of it is not used, where it still runs as well.
    PlayAhead { of: CommitNumber, batch: Batch },
    /// Take the commit lock → [`super::Answers::locked`].
    Lock { of: CommitNumber, mode: LockMode },
    /// Give the commit lock back, or stop waiting for it.
    Unlock,
    /// Have a connection to a follower ready → `reserved` or `not_reserved`.
    Reserve { of: CommitNumber, node: NodeId, fresh: bool, settings: Settings },
    /// Enter the commits in flight ([`crate::inflight`]) and look → [`super::Answers::clear`]. It is left with the lock.
    Look(CommitNumber),
    /// Send the batch on the reserved connection → `answered` or `broken`.
    SendBatch { of: CommitNumber, node: NodeId, batch: Batch },
    /// Close every idle follower connection to this database, whoever may have used it.
    Vacate(Arc<str>),
    /// The unit needs no follower connections any more.
    Release,
    /// Ask the cluster about a node → `verdict`.
    Suspect { of: CommitNumber, node: NodeId, why: String },
    /// Its answer was lost: see to it that nothing of the batch is on its way to the node any more, then look for this
    /// witness → `told`.
    Ask { of: CommitNumber, node: NodeId, witness: Witness },
    /// Have a node degraded → `degraded`, when that is on disk.
    Degrade { of: CommitNumber, node: NodeId, why: String },
    /// Have these tables of the session's database captured on every node → [`super::Session::captured`].
    Capture { number: CaptureNumber, tables: Arc<[String]> },
    /// Close the leader connection, if there is one, and dial the leader of the moment → `dialled` or `not_dialled`, but
    /// not while a commit is under way that began under another leader: its batch may still be on its way to this one.
    Dial,
    /// Wait until all open units that may have been brought over to this leader → [`super::Session::gathered`].
    Gather(NodeId),
    /// Note that followers have committed a unit that its leader may have lost, or the other way round
    /// ([`crate::heirs::Heirs::orphaned`]).
    Orphaned { leader: NodeId, touched: Touched },
    /// The leader has left this partition attached in part: attach it there as it was → `reattached`.
    Reattach(Arc<Partition>),
    /// A statement has run that could not be replicated exactly, because the operator allows it: to be counted.
    Waived,
    /// Sequences of the session's database may have moved.
    SequencesMoved,
    /// Put followers' sequences of the session's database where the leader's are → `levelled`, also when it cannot be done.
    Level(LevelNumber),
    /// Flush what there is for the client and close its connection. `draws`: a statement that draws from a sequence may go on
    /// at the leader; when the leader has closed its end, sequences of the session's database have moved.
    Close { draws: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Not the commit lock: a command may run for minutes and wait for transactions (CREATE INDEX CONCURRENTLY). Nodes
    /// join and are compared only while none of them runs.
    Utility,
    Shared,
    Exclusive,
}

/// Parameters that a follower connection is to be started with, by name.
pub type Settings = Arc<[(Bytes, Bytes)]>;

/// What a session sees of the world during one turn.
pub struct World<'a> {
    pub plans: &'a mut PlanCache,
    pub membership: &'a Membership,
    /// Clients are held: nothing is to begin outside a transaction block.
    pub held: bool,
    /// Fills a buffer with random bytes.
    pub random: &'a mut dyn FnMut(&mut [u8]),
}
