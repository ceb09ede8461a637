//! The journal's file, and what may happen to it when the proxy dies.

use bytes::Bytes;

use super::faults::Fault;
use super::rng::Rng;
use crate::id::Epoch;
use crate::journal::{self, Book, Contents, Damage, Origin, Outlives, Touched, UnitNumber};

/// All sessions are in one.
const DATABASE: &str = "d";
/// `lockstep journal 2\n\0`
const MAGIC: usize = 20;
/// Length and digest of a record.
const HEADER: usize = 12;

#[derive(Debug)]
pub(super) struct Paper {
    book: Book,
    file: Option<Vec<u8>>,
    /// Of what was written, and of what was forced to disk.
    end: usize,
    forced: usize,
    size: usize,
    outlives: Outlives,
    /// How often the machine was started.
    boot: u32,
    disk: Disk,
    /// A fault of ours: a file that does not speak of all units any more is left where it is.
    left: Option<Vec<u8>>,
}

/// Where it is.
#[derive(Debug)]
pub(super) struct Disk {
    /// When it takes nothing, for a while; `None`: it takes everything.
    chance: Option<Rng>,
    fails: usize,
    keeps_stale: bool,
}

impl Disk {
    /// `fails`: what decides when.
    pub(super) fn new(fails: Option<Rng>, fault: Option<Fault>) -> Self {
        Self { chance: fails, fails: 0, keeps_stale: fault == Some(Fault::StaleKept) }
    }

    /// What is written or forced now is not, or not all of it: so much of so many bytes is.
    fn fails(&mut self, bytes: usize) -> Option<usize> {
        let chance = self.chance.as_mut()?;
        if self.fails == 0 && chance.one_in(12) {
            self.fails = 1 + chance.below(8);
        }
        self.fails = self.fails.checked_sub(1)?;
        Some(chance.below(bytes + 1))
    }
}

impl Paper {
    pub(super) fn new(rng: &mut Rng, disk: Disk) -> Self {
        let size = if rng.one_in(2) { 2048 } else { 1 << 14 };
        let outlives = if rng.one_in(3) { Outlives::Machine } else { Outlives::Process };
        Self { book: Book::default(), file: None, end: 0, forced: 0, size, outlives, boot: 1, disk, left: None }
    }

    pub(super) fn origin(&self, cluster: &str) -> Origin {
        Origin { cluster: cluster.into(), boot: self.boot.to_string(), outlives: self.outlives }
    }

    pub(super) fn begin(&mut self, cluster: &str) {
        self.book.begin(self.origin(cluster));
        self.anew();
    }

    pub(super) fn note(&mut self, node: &str, epoch: Epoch, start: u32) {
        self.book.note(node, epoch, &start.to_string());
        self.write();
    }

    /// What has to outlive the machine is forced to disk before the unit goes on.
    pub(super) fn open(&mut self, touched: Touched) -> UnitNumber {
        let unit = self.book.open(DATABASE, touched);
        if self.file.is_some() {
            self.write()
        } else {
            self.anew()
        }
        if self.outlives == Outlives::Machine && self.disk.fails(0).is_some() {
            self.lose();
        }
        self.forced = self.end;
        unit
    }

    pub(super) fn close(&mut self, unit: UnitNumber) {
        if self.book.close(unit) {
            self.write();
        }
    }

    pub(super) fn suspend(&mut self, epoch: Epoch, next: Epoch) {
        if self.book.suspend(epoch, next) {
            self.anew();
        }
    }

    fn write(&mut self) {
        let Some(file) = &mut self.file else { return };
        match self.book.take(self.size) {
            None => self.anew(),
            Some((at, bytes)) => {
                let failed = self.disk.fails(bytes.len());
                let there = failed.unwrap_or(bytes.len());
                self.end = at + there;
                file[at..self.end].copy_from_slice(&bytes[..there]);
                if failed.is_some() {
                    self.lose();
                }
            }
        }
    }

    /// The file does not speak of all open units: it is taken away, and units go on without.
    fn lose(&mut self) {
        let stale = self.file.take();
        if self.disk.keeps_stale {
            self.left = stale.or(self.left.take());
        }
        self.book.lose_file();
    }

    fn anew(&mut self) {
        if self.book.whole().is_some() && self.disk.fails(0).is_some() {
            return self.lose();
        }
        self.left = None;
        self.file = self.book.whole().filter(|first| first.len() <= self.size).map(|first| {
            let mut file = first.to_vec();
            (self.end, self.forced) = (file.len(), file.len());
            file.resize(self.size, 0);
            file
        });
        if self.file.is_none() {
            self.book.lose_file();
        }
    }

    /// A unit was just being written down, of which nothing has been sent: what came before it is there, and of it some
    /// bytes. Whether they are not all.
    pub(super) fn tear(&mut self, rng: &mut Rng) -> bool {
        self.book.open(DATABASE, Touched::Rows(Vec::new()));
        // A new file takes the place of a full one as a whole, or not at all.
        let (Some(file), Some((at, bytes))) = (&mut self.file, self.book.take(self.size)) else { return false };
        let there = rng.below(bytes.len() + 1);
        file[at..at + there].copy_from_slice(&bytes[..there]);
        self.end = at + there;
        there < bytes.len()
    }

    pub(super) fn forget(&mut self) {
        self.book = Book::default();
    }

    /// What was not forced to disk may be lost with the machine.
    pub(super) fn lose_machine(&mut self, rng: &mut Rng) {
        self.boot += 1;
        let safe = if self.outlives == Outlives::Machine { self.forced } else { 0 };
        self.end = safe + rng.below(self.end.saturating_sub(safe) + 1);
        self.file.iter_mut().for_each(|file| file[self.end..].fill(0));
    }

    /// One byte is not what was written.
    pub(super) fn damage(&mut self, rng: &mut Rng) {
        let (at, bit) = (rng.below(self.end), rng.below(8));
        self.file.iter_mut().for_each(|file| file[at] ^= 1 << bit);
    }

    pub(super) fn read(&self) -> Option<Result<Contents, Damage>> {
        let file = self.file.as_ref().or(self.left.as_ref());
        file.map(|file| journal::read(&Bytes::from(file.clone()), self.size))
    }

    /// A fault of ours: where it is damaged it has its end.
    pub(super) fn read_up_to_the_damage(&self) -> Option<Result<Contents, Damage>> {
        let mut file = self.file.clone()?;
        loop {
            let place = match journal::read(&Bytes::from(file.clone()), self.size) {
                Err(Damage::Record(place) | Damage::Malformed { place, .. }) if place > 0 => place,
                whole => return Some(whole),
            };
            let length = |at: usize| file[at..at + 4].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let at = (0..place).fold(MAGIC, |at, _| at + HEADER + length(at));
            file[at..].fill(0);
        }
    }
}
