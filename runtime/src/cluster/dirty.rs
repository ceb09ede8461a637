//! Which databases may have sequences that are not level.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Databases whose sequences may have moved on the leader since they were last level on all active nodes. A name stays
/// from the first mark until a levelling that began after the last mark has succeeded.
#[derive(Debug, Default)]
pub struct Dirty {
    marks: Mutex<BTreeMap<String, Mark>>,
    marked: Notify,
}

/// How often a database had been marked when its levelling began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Dirty {
    /// Never waits: it is called in the middle of a client's statement.
    pub fn mark(&self, database: &str) {
        let mut marks = self.marks();
        match marks.get_mut(database) {
            Some(mark) => mark.0 += 1,
            None => {
                marks.insert(database.to_owned(), Mark(1));
                self.marked.notify_one();
            }
        }
    }

    pub fn all(&self) -> Vec<(String, Mark)> {
        self.marks().iter().map(|(database, mark)| (database.clone(), *mark)).collect()
    }

    /// `database` was level at some moment after it had been marked for the `mark`th time.
    pub fn clear(&self, database: &str, mark: Mark) {
        let mut marks = self.marks();
        if marks.get(database) == Some(&mark) {
            marks.remove(database);
        }
    }

    /// Returns when there may be a database to level.
    pub async fn wait(&self) {
        while self.marks().is_empty() {
            self.marked.notified().await;
        }
    }

    fn marks(&self) -> MutexGuard<'_, BTreeMap<String, Mark>> {
        // The map is whole between any two statements.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_made_while_levelling_is_not_lost() {
        let dirty = Dirty::default();
        dirty.mark("app");
        let before = dirty.all();
        dirty.mark("app");
        dirty.clear("app", before[0].1);
        assert_eq!(dirty.all().len(), 1);
        dirty.clear("app", dirty.all()[0].1);
        assert!(dirty.all().is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let dirty = std::sync::Arc::new(Dirty::default());
        let waiter = tokio::spawn({
            let dirty = dirty.clone();
            async move { dirty.wait().await }
        });
        dirty.mark("app");
        waiter.await.unwrap();
    }
}
