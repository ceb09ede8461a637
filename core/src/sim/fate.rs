//! What has become of a batch whose answer was lost.

use super::faults::Fault;
use super::rows::Keys;
use super::world::World;
use crate::id::NodeId;
use crate::journal::{Touch, Witness};
use crate::session::CommitNumber;
use crate::unit::commit::Fate;

impl World {
    pub(super) fn tell_fate(&mut self, seat: usize, of: CommitNumber, node: NodeId, witness: Witness) {
        let number = usize::from(node.0);
        let asked = &mut self.nodes[number];
        let fate = if !asked.up {
            Fate::Unknown("connection refused".into())
        } else {
            if let Some(backend) = self.seats[seat].sent_to.get(&node) {
                asked.backends[*backend].end(&mut asked.store);
            }
            match witness {
                _ if self.fault == Some(Fault::TakenForCommitted) => Fate::Committed,
                Witness::NotNeeded => Fate::Repeatable,
                Witness::Row { row, there_after } => Witness::fate(self.is_there(number, &row), there_after),
            }
        };
        self.note(|| format!("s{seat}: {node} is asked what became of its batch: {fate:?}"));
        self.answers(seat, of, |answers| answers.told(node, fate));
    }

    fn is_there(&mut self, node: usize, row: &Touch) -> bool {
        let Some(keys) = Keys::of(row) else {
            self.fail(format!("a witness that is not of the model: {row:?}"));
            return false;
        };
        self.nodes[node].find(&keys).values().any(|rows| !rows.is_empty())
    }
}
