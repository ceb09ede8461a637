//! The catalog of one database as all its sessions share it, and the count of what has changed it.
//!
//! A session that finds no valid catalog loads one through its own leader connection and publishes it. Invariant: what
//! [`Cell::current`] gives was read entirely after the last change had been committed on the leader, because a change
//! moves the epoch before and after its COMMIT, and [`Cell::publish`] takes only what was read within one epoch.

use std::collections::BTreeSet;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard};

/// Counts changes of a database's schema. What was planned in another epoch has to be planned again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaEpoch(pub u64);

#[derive(Debug)]
pub struct Cell<T> {
    /// Tells the databases of one process apart.
    number: u32,
    epoch: AtomicU64,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    changing: u32,
    /// When a change of what new objects are given was last at its end.
    defaults_set: SchemaEpoch,
    catalog: Option<Arc<T>>,
    /// Tables that text has changed unseen, by their names as the server writes them.
    missed: BTreeSet<String>,
}

impl<T> Default for Inner<T> {
    fn default() -> Self {
        Self { changing: 0, defaults_set: SchemaEpoch(0), catalog: None, missed: BTreeSet::new() }
    }
}

impl<T> Cell<T> {
    /// `number` is another one for each database.
    pub fn new(number: u32) -> Self {
        Self { number, epoch: AtomicU64::new(1), inner: Mutex::new(Inner::default()) }
    }

    /// A number for what was read in an epoch that no other catalog of this process has.
    pub fn version(&self, read_in: SchemaEpoch) -> u64 {
        (u64::from(self.number) << 40) | (read_in.0 & 0xff_ffff_ffff)
    }

    pub fn epoch(&self) -> SchemaEpoch {
        SchemaEpoch(self.epoch.load(Ordering::Acquire))
    }

    pub fn current(&self) -> Option<Arc<T>> {
        self.lock().catalog.clone()
    }

    /// A change is about to be committed on the leader.
    pub fn begin_change(&self) {
        let mut inner = self.lock();
        inner.changing += 1;
        self.invalidate(&mut inner);
    }

    /// The change has been committed, or has not happened.
    pub fn end_change(&self) {
        let mut inner = self.lock();
        inner.changing -= 1;
        self.invalidate(&mut inner);
    }

    /// The same for a change of what objects are given that others make.
    pub fn end_change_of_defaults(&self) {
        let mut inner = self.lock();
        inner.changing -= 1;
        self.invalidate(&mut inner);
        inner.defaults_set = self.epoch();
    }

    /// Whether such a change has been committed since, or was about to be.
    pub fn set_defaults_since(&self, epoch: SchemaEpoch) -> bool {
        epoch < self.lock().defaults_set
    }

    /// Offers a catalog whose reading began in epoch `read_in`.
    pub fn publish(&self, read_in: SchemaEpoch, catalog: Arc<T>) {
        let mut inner = self.lock();
        if inner.changing == 0 && self.epoch() == read_in {
            inner.catalog = Some(catalog);
        }
    }

    /// Text that functions run has changed tables without our trigger: whoever may run such text has to plan it again.
    pub fn miss(&self, tables: &BTreeSet<String>) {
        let mut inner = self.lock();
        inner.missed.extend(tables.iter().cloned());
        self.invalidate(&mut inner);
    }

    /// For who has triggers made on them; whether that can be done or not, they are not missed any more.
    pub fn take_missed(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.lock().missed)
    }

    fn invalidate(&self, inner: &mut Inner<T>) {
        inner.catalog = None;
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(all(test, not(lockstep_loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_has_begun_before_the_end_of_a_change_of_defaults_may_not_have_seen_it() {
        let cell: Cell<&str> = Cell::new(0);
        let before = cell.epoch();
        cell.begin_change();
        let during = cell.epoch();
        cell.end_change_of_defaults();
        let after = cell.epoch();
        cell.begin_change();
        cell.end_change();
        assert_eq!([before, during, after].map(|epoch| cell.set_defaults_since(epoch)), [true, true, false]);
    }

    #[test]
    fn a_catalog_read_before_or_during_a_change_is_not_shared() {
        let cell = Cell::new(0);
        let before = cell.epoch();
        cell.begin_change();
        cell.publish(before, Arc::new("old"));
        cell.publish(cell.epoch(), Arc::new("half"));
        assert_eq!(cell.current(), None);
        let during = cell.epoch();
        cell.end_change();
        cell.publish(during, Arc::new("half"));
        assert_eq!(cell.current(), None);
        cell.publish(cell.epoch(), Arc::new("new"));
        assert_eq!(cell.current(), Some(Arc::new("new")));
    }

    #[test]
    fn a_change_moves_the_epoch_before_and_after_its_commit() {
        let cell = Cell::<()>::new(0);
        let start = cell.epoch();
        cell.begin_change();
        let during = cell.epoch();
        cell.end_change();
        assert!(start < during && during < cell.epoch());
    }
}
