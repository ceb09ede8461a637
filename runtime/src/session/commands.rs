//! Which backends on followers run commands outside transactions: who waits for one of them waits for no unit.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockstep_core::id::NodeId;

/// By node and process id.
#[derive(Debug, Default)]
pub struct Commands(Mutex<HashSet<(NodeId, u32)>>);

impl Commands {
    /// It does until what is returned is dropped.
    pub fn run_by(self: &Arc<Self>, node: NodeId, backend: u32) -> RunsCommand {
        self.all().insert((node, backend));
        RunsCommand { commands: self.clone(), node, backend }
    }

    pub fn is_run_by(&self, node: NodeId, backend: u32) -> bool {
        self.all().contains(&(node, backend))
    }

    fn all(&self) -> MutexGuard<'_, HashSet<(NodeId, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct RunsCommand {
    commands: Arc<Commands>,
    node: NodeId,
    backend: u32,
}

impl Drop for RunsCommand {
    fn drop(&mut self) {
        self.commands.all().remove(&(self.node, self.backend));
    }
}
