//! When each node answered last: a node that is silent while another answers is alone with it.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use lockstep_core::cluster::health::Meanwhile;
use lockstep_core::id::NodeId;

use crate::clock;

#[derive(Debug)]
pub struct Pulses(Mutex<Vec<Option<Instant>>>);

impl Pulses {
    pub fn of(nodes: usize) -> Self {
        Self(Mutex::new(vec![None; nodes]))
    }

    pub fn felt(&self, node: NodeId) {
        self.all()[usize::from(node.0)] = Some(clock::now());
    }

    pub fn of_others(&self, node: NodeId, when: Range<Instant>) -> Meanwhile {
        let answered =
            |(of, at): (usize, &Option<Instant>)| of != usize::from(node.0) && at.is_some_and(|at| when.contains(&at));
        if self.all().iter().enumerate().any(answered) { Meanwhile::Answered } else { Meanwhile::Unknown }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
