//! When each node answered of late: a node that is silent while another answers is alone with it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lockstep_core::cluster::health::Meanwhile;
use lockstep_core::id::NodeId;

use crate::clock;

#[derive(Debug, Default)]
pub struct Pulses(Mutex<Vec<VecDeque<Instant>>>);

/// So many answers of each node are kept; a moment before them counts as one without an answer.
const KEPT: usize = 32;

impl Pulses {
    pub fn felt(&self, node: NodeId) {
        let mut all = self.all();
        if all.len() <= usize::from(node.0) {
            all.resize_with(usize::from(node.0) + 1, VecDeque::new);
        }
        let answers = &mut all[usize::from(node.0)];
        answers.truncate(KEPT - 1);
        answers.push_front(clock::now());
    }

    pub fn of_others(&self, node: NodeId, when: Range<Instant>) -> Meanwhile {
        let answered = |(of, answers): (usize, &VecDeque<Instant>)| {
            of != usize::from(node.0) && answers.iter().any(|at| when.contains(at))
        };
        if self.all().iter().enumerate().any(answered) { Meanwhile::Answered } else { Meanwhile::Unknown }
    }

    fn all(&self) -> MutexGuard<'_, Vec<VecDeque<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_of_another_counts_in_its_time_however_many_came_after_it() {
        let (pulses, begun) = (Pulses::default(), clock::now());
        pulses.felt(NodeId(1));
        let over = clock::now() + Duration::from_nanos(1);
        pulses.felt(NodeId(1));
        assert_eq!(pulses.of_others(NodeId(0), begun..over), Meanwhile::Answered);
        assert_eq!(pulses.of_others(NodeId(1), begun..over), Meanwhile::Unknown, "its own says nothing");
        (0..KEPT).for_each(|_| pulses.felt(NodeId(1)));
        assert_eq!(pulses.of_others(NodeId(0), begun..over), Meanwhile::Unknown);
    }
}
