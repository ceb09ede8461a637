//! Whether what was read can settle these nodes.

use super::{Contents, OpenUnit, Origin, Outlives, Touched, Unknown};
use crate::id::Epoch;

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
