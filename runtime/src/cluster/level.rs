//! The sequence leveller.

use std::collections::BTreeSet;
use std::sync::Mutex;

use tokio::sync::Notify;

/// Databases whose sequences may have moved on the leader since they were last level.
#[derive(Debug, Default)]
pub struct Dirty {
    databases: Mutex<BTreeSet<String>>,
    marked: Notify,
}

impl Dirty {
    pub fn mark(&self, database: &str) {
        let mut databases = self.databases();
        if !databases.contains(database) {
            databases.insert(database.to_owned());
            self.marked.notify_one();
        }
    }

    fn databases(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // A set of names is whole after every step.
        self.databases.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
