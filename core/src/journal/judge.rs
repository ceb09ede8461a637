//! Whether what was read can settle these nodes, and what settles them.

use std::collections::BTreeMap;

use super::{Contents, OpenUnit, Origin, Outlives, Touch, Touched, Unknown};
use crate::cluster::Membership;
use crate::effect::Change;
use crate::id::{Epoch, NodeId};

/// A node as it is found, that was active when the proxy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    pub name: String,
    /// Since when it runs, as it was noted; `None`: it does not say.
    pub start: Option<String>,
}

/// Why a journal does not settle them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    #[error("it is another cluster's")]
    Cluster,
    #[error("the machine has been started again since, and what was written last may be missing")]
    Boot,
    #[error("it does not say whether {node} was active in epoch {epoch}")]
    Epoch { node: String, epoch: Epoch },
    #[error("{node} has been started again since, and may have lost what it had committed")]
    Restarted { node: String },
    #[error("a unit in {database} that was being committed {}", .unknown.why())]
    Unknown { database: String, unknown: Unknown },
}

/// What brings nodes to one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Has the rows that are right.
    pub right: NodeId,
    pub others: Vec<NodeId>,
    /// So many were open.
    pub units: usize,
    /// Rows that may differ, by database.
    pub touches: BTreeMap<String, Vec<Touch>>,
}

/// `known`: what was in force when the proxy ended. `leader` is to lead now, and `nodes` are to follow. `present`: all of
/// them.
pub fn settle(
    contents: Contents,
    origin: &Origin,
    known: &Membership,
    (leader, nodes): (NodeId, &[NodeId]),
    present: &[Present],
) -> Result<Settlement, Doubt> {
    let open = judge(contents, origin, known.epoch, present)?;
    let all = || std::iter::once(leader).chain(nodes.iter().copied());
    let right = known.leading.filter(|former| all().any(|node| node == *former)).unwrap_or(leader);
    let units = open.len();
    let mut touches: BTreeMap<String, Vec<Touch>> = BTreeMap::new();
    for OpenUnit { database, touched } in open {
        if let Touched::Rows(rows) = touched {
            touches.entry(database).or_default().extend(rows);
        }
    }
    Ok(Settlement { right, others: all().filter(|node| *node != right).collect(), units, touches })
}

/// `origin`: of the journal that is written now. The units whose rows are to be made equal; there may be none.
pub fn judge(contents: Contents, origin: &Origin, epoch: Epoch, nodes: &[Present]) -> Result<Vec<OpenUnit>, Doubt> {
    if contents.origin.cluster != origin.cluster {
        return Err(Doubt::Cluster);
    }
    if contents.origin.outlives == Outlives::Process && contents.origin.boot != origin.boot {
        return Err(Doubt::Boot);
    }
    for Present { name, start } in nodes {
        let note = contents.notes.get(name).filter(|note| note.epoch == epoch);
        let note = note.ok_or_else(|| Doubt::Epoch { node: name.clone(), epoch })?;
        if start.as_ref() != Some(&note.start) {
            return Err(Doubt::Restarted { node: name.clone() });
        }
    }
    for OpenUnit { database, touched } in contents.open.values() {
        if let Touched::Unknown(unknown) = touched {
            return Err(Doubt::Unknown { database: database.clone(), unknown: *unknown });
        }
    }
    Ok(contents.open.into_values().collect())
}

/// What a database does by itself with the rows of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Follows {
    /// Triggers or rules fire also for rows that are copied.
    pub copied: bool,
    /// Rows of other tables go, or change, with those that are deleted here,
    pub deleted: bool,
    /// or with those of which columns are changed that units have changed.
    pub updated: bool,
}

/// Why rows cannot be brought to one state by copying those that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// They may not be all that have changed.
    Followed,
    /// More would come of it.
    Triggers,
}

impl Follows {
    /// `changes`: of what has become of rows of the table.
    pub fn hinders(self, changes: &[Change]) -> Option<Hindrance> {
        match () {
            () if self.copied => Some(Hindrance::Triggers),
            () if self.updated || self.deleted && changes.contains(&Change::Deleted) => Some(Hindrance::Followed),
            () => None,
        }
    }
}
