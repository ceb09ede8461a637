//! Things by [`NodeId`](lockstep_core::id::NodeId), one for each node.
//!
//! Invariant: what has a place keeps it, so that it can be borrowed for as long as the roster lives; nodes come while the
//! proxy runs, and what belonged to one that has gone is left where it is.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// More nodes than a process will ever see.
const PLACES: usize = 1024;

#[derive(Debug, thiserror::Error)]
#[error("{PLACES} nodes have been in the configuration since the proxy started; start it again")]
pub struct Full;

pub struct Roster<T> {
    places: Box<[OnceLock<Box<T>>]>,
    taken: AtomicUsize,
    growing: Mutex<()>,
}

impl<T> Roster<T> {
    pub fn push(&self, value: T) -> Result<(), Full> {
        let _one = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.len();
        let place = self.places.get(taken).ok_or(Full)?;
        place.set(Box::new(value)).map_err(|_| Full)?;
        self.taken.store(taken + 1, Ordering::Release);
        Ok(())
    }

    pub fn has_room_for(&self, more: usize) -> Result<(), Full> {
        if self.len() + more <= self.places.len() { Ok(()) } else { Err(Full) }
    }

    pub fn len(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator + Clone {
        (0..self.len()).map(|place| &self[place])
    }
}

impl<T> Index<usize> for Roster<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        self.places[place].get().expect("a node that somebody has an id of has its place")
    }
}

impl<T> IndexMut<usize> for Roster<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        self.places[place].get_mut().expect("a node that somebody has an id of has its place")
    }
}

impl<T> FromIterator<T> for Roster<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut places: Vec<_> = values.into_iter().map(|value| OnceLock::from(Box::new(value))).collect();
        let taken = AtomicUsize::new(places.len());
        places.resize_with(PLACES.max(places.len()), OnceLock::new);
        Self { places: places.into(), taken, growing: Mutex::default() }
    }
}

impl<T: Clone> Clone for Roster<T> {
    fn clone(&self) -> Self {
        self.iter().cloned().collect()
    }
}

impl<T: fmt::Debug> fmt::Debug for Roster<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_borrowed_stays_where_it_is_while_others_come() {
        let roster: Roster<String> = ["a".to_owned()].into_iter().collect();
        let first = &roster[0];
        (1..PLACES).for_each(|place| roster.push(place.to_string()).unwrap());
        assert_eq!((first.as_str(), roster[PLACES - 1].as_str(), roster.len()), ("a", "1023", PLACES));
        assert!(
            roster.has_room_for(0).is_ok() && roster.has_room_for(1).is_err() && roster.push(String::new()).is_err()
        );
        assert_eq!(roster.iter().count(), PLACES);
    }
}
