//! A model node: its rows and its connections.

use super::backend::{Backend, Did};
use super::rng::Rng;
use super::store::Store;

#[derive(Debug)]
pub(super) struct Node {
    pub name: char,
    pub up: bool,
    pub store: Store,
    /// By number, for good.
    pub backends: Vec<Backend>,
}

/// A connection to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub node: usize,
    pub backend: usize,
}

impl Node {
    pub(super) fn new(number: usize, rng: &mut Rng) -> Self {
        let name = char::from(b'A' + number as u8);
        let mut store = Store::new(rng.fork());
        for id in 0..super::workload::ACCOUNTS as i64 {
            store.seed("account", vec![Some(id), Some(0), Some(0)]);
        }
        for id in 0..super::workload::JOBS as i64 {
            store.seed("job", vec![Some(id), Some(0), None]);
        }
        for id in 0..super::workload::PARENTS as i64 {
            store.seed("parent", vec![Some(id), Some(0)]);
        }
        Self { name, up: true, store, backends: Vec::new() }
    }

    pub(super) fn connect(&mut self) -> usize {
        self.backends.push(Backend::default());
        self.backends.len() - 1
    }

    pub(super) fn can_step(&self, backend: usize) -> bool {
        self.up && self.backends[backend].can_step(&self.store)
    }

    pub(super) fn step(&mut self, backend: usize) -> Did {
        self.backends[backend].step(&mut self.store)
    }

    /// Power is lost: connections break, and what was not committed is gone. What is committed is safe.
    pub(super) fn crash(&mut self) {
        self.up = false;
        for backend in &mut self.backends {
            backend.inbox.clear();
            backend.end(&mut self.store);
        }
    }
}
