//! A model node: its rows and its connections.

use super::backend::{Backend, Did};
use super::captured::Telling;
use super::faults::Fault;
use super::rng::Rng;
use super::schema::TABLES;
use super::store::Store;
use crate::cluster::{ClusterId, Lineage};
use crate::id::Epoch;

#[derive(Debug)]
pub(super) struct Node {
    pub name: char,
    pub up: bool,
    /// How often it was started.
    pub start: u32,
    pub lineage: Lineage,
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
    pub(super) fn new(number: usize, nodes: usize, fault: Option<Fault>, rng: &mut Rng) -> Self {
        let named = |number: usize| char::from(b'A' + number as u8);
        let name = named(number);
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
        for id in 0..super::workload::DUTIES as i64 {
            store.seed("duty", vec![Some(id), Some(1)]);
        }
        for id in 0..super::workload::KINDS as i64 {
            store.seed("tally", vec![Some(id), Some(0), Some(0)]);
        }
        store.telling = match fault {
            Some(Fault::CapturedAtOnce) => Telling::AsTheyWere,
            Some(Fault::GoneUntold) => Telling::NotOfGone,
            _ => Telling::AsTheyAre,
        };
        let active = (0..nodes).map(named).map(String::from).collect();
        let lineage = Lineage { cluster: ClusterId("c".into()), epoch: Epoch(1), parent: Epoch(0), active };
        Self { name, up: true, start: 1, lineage, store, backends: Vec::new() }
    }

    pub(super) fn has_the_rows_of(&self, other: &Self) -> bool {
        (0..TABLES.len()).all(|table| self.store.committed(table) == other.store.committed(table))
    }

    pub(super) fn connect(&mut self) -> usize {
        self.backends.push(Backend::new(self.backends.len()));
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
