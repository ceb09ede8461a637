//! What the journal has to say at this moment, and what of it is written next; the runtime writes.
//!
//! Invariant: a file that begins with what [`Book::whole`] gave, with all that [`Book::take`] gave behind it, speaks of all
//! units that are open.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use super::{Contents, Note, OpenUnit, Origin, Segment, Touched, UnitNumber};
use crate::id::Epoch;

#[derive(Debug, Default)]
pub struct Book {
    /// `None` until somebody serves.
    origin: Option<Origin>,
    /// Of the file that is in its place, and how long that is.
    segment: Option<(Segment, usize)>,
    open: BTreeMap<UnitNumber, OpenUnit>,
    /// While what became of units cannot be known: those that somebody has closed, and that stay open.
    suspended: Option<BTreeSet<UnitNumber>>,
    notes: BTreeMap<String, Note>,
    units: u64,
}

impl Book {
    pub fn has_begun(&self) -> bool {
        self.origin.is_some()
    }

    /// What has been left open here when all nodes were lost.
    pub fn unsettled(&self) -> Option<Contents> {
        let origin = self.origin.clone().filter(|_| self.suspended.is_some())?;
        Some(Contents { origin, notes: self.notes.clone(), open: self.open.clone() })
    }

    /// The current nodes are equal but for the rows of the units that are open now, or those that may not be are out. A new
    /// file is to take the place of the one that is there.
    pub fn begin(&mut self, origin: Origin) {
        self.origin = Some(origin);
        self.notes.clear();
        for unit in self.suspended.take().unwrap_or_default() {
            self.open.remove(&unit);
        }
        self.segment = None;
    }

    /// `node` is active in this epoch, and runs since `start`.
    pub fn note(&mut self, node: &str, epoch: Epoch, start: &str) {
        self.notes.insert(node.to_owned(), Note { epoch, start: start.to_owned() });
        if let Some((segment, _)) = &mut self.segment {
            segment.note(node, epoch, start);
        }
    }

    pub fn open(&mut self, database: &str, touched: Touched) -> UnitNumber {
        self.units += 1;
        let unit = UnitNumber(self.units);
        if let Some((segment, _)) = &mut self.segment {
            segment.open(unit, database, &touched);
        }
        self.open.insert(unit, OpenUnit { database: database.to_owned(), touched });
        unit
    }

    /// It could not be written down, and nothing of it was sent.
    pub fn forget(&mut self, unit: UnitNumber) {
        self.open.remove(&unit);
    }

    /// Whether it is to be written at once. While others are open it is written with what is written next, unless it would
    /// lead to a comparison.
    pub fn close(&mut self, unit: UnitNumber) -> bool {
        if let Some(closed) = &mut self.suspended {
            closed.insert(unit);
            return false;
        }
        let Some(opened) = self.open.remove(&unit) else { return false };
        let Some((segment, _)) = &mut self.segment else { return false };
        segment.close(unit);
        self.open.is_empty() || matches!(opened.touched, Touched::Unknown(_))
    }

    /// All current nodes are lost at once, and current in the epoch `next` as they were in `epoch`: the units that are open
    /// stay open until the next beginning, whoever closes them. False: there is no journal yet. Else a new file is to take
    /// the place of the one that is there.
    pub fn suspend(&mut self, epoch: Epoch, next: Epoch) -> bool {
        if self.origin.is_none() {
            return false;
        }
        self.suspended.get_or_insert_default();
        self.notes.values_mut().filter(|note| note.epoch == epoch).for_each(|note| note.epoch = next);
        self.segment = None;
        true
    }

    /// What is to be written, and where in a file that holds `size` bytes. `None`: a new file is to take its place.
    pub fn take(&mut self, size: usize) -> Option<(usize, BytesMut)> {
        let (segment, end) = self.segment.as_mut()?;
        let (at, bytes) = (*end, segment.take());
        *end += bytes.len();
        if *end > size {
            self.segment = None;
            return None;
        }
        Some((at, bytes))
    }

    /// The first bytes of a new file, with all that is open. `None`: nobody has served yet.
    pub fn whole(&mut self) -> Option<BytesMut> {
        let mut segment = Segment::new(self.origin.as_ref()?);
        self.notes.iter().for_each(|(node, note)| segment.note(node, note.epoch, &note.start));
        self.open.iter().for_each(|(unit, opened)| segment.open(*unit, &opened.database, &opened.touched));
        let first = segment.take();
        self.segment = Some((segment, first.len()));
        Some(first)
    }

    /// The file is not there, or not what it should be.
    pub fn lose_file(&mut self) {
        self.segment = None;
    }
}
