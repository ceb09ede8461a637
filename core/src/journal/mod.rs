//! The journal: which rows a proxy that was killed may have left different on the nodes.
//!
//! Before anything of a unit's commit goes to a node, the keys of the rows that it has touched are in the journal; when all
//! active nodes agree about the unit, that is noted too, at some later time. After a crash, and when all nodes were lost at
//! once and are back, the nodes are made equal in the rows of the units that are open in the journal, and in nothing else.
//!
//! **Why that is enough.** Let every former backend be gone, so that nothing is on its way.
//!
//! 1. *Active nodes differ only in rows of open units.* Nodes that are active were equal when the journal was begun, or
//!    when they joined, which is when no commit is under way. From then on every change comes by a unit that was open in
//!    the journal before the change was sent, and is closed only when every active node has it, or none. A node that may
//!    not agree is out, and that is on disk, before the unit is closed. Nothing depends on the order of records: an open
//!    unit that was committed everywhere long ago, and whose rows others have changed since, names rows that are equal.
//! 2. *Each active node is in a state that a client could have seen.* Followers commit first, so each has all that was
//!    acknowledged, and besides some units that nobody was told of. A unit that has changed a row after another has got
//!    that row's lock at the leader's COMMIT of the other, which came when every follower had committed it. So no node has
//!    a unit without those on which it rests. (Where the leader commits first it is alone, and has what was acknowledged.)
//! 3. So the state of any of them is right, and the others get it: in each row that is found, on either node, by a key of
//!    an open unit, what is there goes and the row of the chosen node comes. A row that an open unit has touched is found
//!    on both by that key, for the key is not among what the unit changes. The chosen node is the former leader where it
//!    is there, for its state is the one that clients have read.
//!
//! Where a table has no key, a row is found by all its values, and it is the number of such rows that is made equal: units
//! that put in or take out a row like it are the only ones that change it.
//!
//! **What it does not say, it does not settle.** A unit with DDL or COPY, or with too many rows, is written down as such.
//! Sequences are not in it: they are levelled at every start. A journal that is not whole, of another start of the machine,
//! of another cluster, or about servers that have been started again since, settles nothing either. Then the nodes are
//! compared in full.
//!
//! Invariant: [`read`] gives what was written, or says why it cannot; never less.
//!
//! | file | |
//! | --- | --- |
//! | `touched` | the rows of a unit, out of its batch |
//! | `book` | what is open, and what is to be written of it |
//! | `segment` | writing |
//! | `read` | reading |
//! | `judge` | whether what was read can settle these nodes, and what settles them |
//! | `witness` | whether one node has committed a unit whose answer was lost |

mod book;
mod judge;
mod read;
mod segment;
mod touched;
mod witness;

pub use book::Book;
pub use judge::{Doubt, Follows, Hindrance, Present, Settlement, judge, settle};
pub use read::{Contents, Damage, Note, OpenUnit, read};
pub use segment::Segment;
pub use touched::{Touch, Touched, Unknown};
pub use witness::Witness;

/// Names a unit within one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitNumber(pub u64);

/// For which nodes a journal speaks, and since when it can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub cluster: String,
    /// The start of the machine.
    pub boot: String,
    pub outlives: Outlives,
}

/// Of what nothing that had to be in the journal is lost with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outlives {
    #[default]
    Process,
    /// It is forced to disk.
    Machine,
}

/// First bytes of the file, with the version of its format.
const MAGIC: &[u8; 20] = b"lockstep journal 2\n\0";

/// Length, digest.
const HEADER: usize = 4 + DIGEST;
const DIGEST: usize = 8;

const ORIGIN: u8 = b'o';
const NOTE: u8 = b'n';
const FINDER: u8 = b'f';
const OPEN: u8 = b'u';
const CLOSE: u8 = b'c';

/// The place of a record is part of its digest: one that is lost, repeated or misplaced is noticed.
fn digest(place: u64, body: &[u8]) -> [u8; DIGEST] {
    use sha2::{Digest, Sha256};
    let whole = Sha256::new().chain_update(place.to_be_bytes()).chain_update(body).finalize();
    std::array::from_fn(|n| whole[n])
}

#[cfg(test)]
mod tests;
