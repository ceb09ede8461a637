//! The journal's file ([`lockstep_core::journal`]).
//!
//! It has its full size from the beginning, so that writing to it needs no room on the disk. When it is full, a new one
//! with the units that are open takes its place. What is written outlives the process. If it has to outlive the machine,
//! too, a unit also waits until it is on disk ([`Journal::force`]), together with all that were written meanwhile.
//!
//! Invariant: the file in its place, and on disk where that matters, speaks of all open units, or there is none. What
//! cannot be written down takes the file away instead; where not even that can be done, units wait.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_core::id::Epoch;
use lockstep_core::journal::{self, Book, Contents, Damage, Origin, Outlives, Touched, UnitNumber};
use lockstep_core::limits;

use crate::clock;
use crate::entropy;
use place::Place;

mod place;

const NAME: &str = "journal";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// From one attempt to begin a file to the next, while it cannot be done.
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no journal of the former proxy.
#[derive(Debug, thiserror::Error)]
pub enum NoJournal {
    #[error("there is none")]
    Absent,
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Damaged(#[from] Damage),
}

#[derive(Debug)]
pub struct Journal {
    place: Place,
    state: Mutex<State>,
    /// How much of what was written is known to be on disk; held by who waits for the disk.
    on_disk: tokio::sync::Mutex<u64>,
}

#[derive(Debug, Default)]
struct State {
    book: Book,
    /// The one in its place, if it is to be believed.
    file: Option<Arc<File>>,
    /// A file that must not be believed is still there.
    stale: bool,
    tried: Option<Instant>,
    /// So often something was written.
    writes: u64,
}

impl Journal {
    pub fn new(directory: &Path, outlives: Outlives) -> Self {
        let place = Place { path: directory.join(NAME), outlives };
        Self { place, state: Mutex::default(), on_disk: tokio::sync::Mutex::default() }
    }

    /// What has to be settled before somebody serves: what the former proxy has left, or what has been left open here when
    /// all nodes were lost.
    pub fn unsettled(&self) -> Result<Contents, NoJournal> {
        let state = self.state();
        if state.book.has_begun() {
            return state.book.unsettled().ok_or(NoJournal::Absent);
        }
        drop(state);
        match fs::read(&self.place.path) {
            Ok(file) => Ok(journal::read(&Bytes::from(file), limits::JOURNAL)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NoJournal::Absent),
            Err(error) => Err(error.into()),
        }
    }

    /// The current nodes are equal but for the rows of the units that are open now, or those that may not be are out: a new
    /// file takes the place of the one that is there.
    pub fn begin(&self, cluster: String) {
        let mut state = self.state();
        state.book.begin(Origin { cluster, boot: boot(), outlives: self.place.outlives });
        (state.stale, state.file) = (true, None);
        // An error has been told; where the former file is still there, units wait until it is not.
        let _ = state.anew(&self.place);
    }

    /// `node` is active in this epoch, and runs since `start`.
    pub fn note(&self, node: &str, epoch: Epoch, start: &str) {
        let mut state = self.state();
        state.book.note(node, epoch, start);
        // An error has been told, and there is no file any more, or units wait.
        let _ = state.write(&self.place);
    }

    /// To be called, and then [`Self::force`], before anything of the unit's commit is sent. When it fails, nothing may be.
    pub fn open(&self, database: &str, touched: Touched) -> io::Result<UnitNumber> {
        let mut state = self.state();
        let unit = state.book.open(database, touched);
        let written = match state.file {
            Some(_) => state.write(&self.place),
            None => state.retry(&self.place),
        };
        if written.is_err() {
            state.book.forget(unit);
        }
        written.map(|()| unit)
    }

    /// Waits until what was written is where it outlives what it has to. When it fails, nothing of the unit's commit may be
    /// sent, as with [`Self::open`].
    pub async fn force(&self) -> io::Result<()> {
        if self.place.outlives == Outlives::Process {
            return Ok(());
        }
        let mine = self.state().writes;
        let mut on_disk = self.on_disk.lock().await;
        if *on_disk >= mine {
            return Ok(());
        }
        let (file, writes) = {
            let mut state = self.state();
            state.discard(&self.place)?;
            (state.file.clone(), state.writes)
        };
        // A new file that takes its place meanwhile is on disk before it does, with all that is open.
        if let Some(file) = file {
            let forced = tokio::task::spawn_blocking(move || file.sync_data()).await;
            if let Err(error) = forced.unwrap_or_else(|failed| Err(io::Error::other(failed))) {
                return self.state().lose(&self.place, &error);
            }
        }
        *on_disk = writes;
        Ok(())
    }

    /// All current nodes agree about the unit, or those that may not are out, and that is on disk. While others are open
    /// that is written with what is written next, unless it would lead to a comparison.
    pub fn close(&self, unit: UnitNumber) {
        let mut state = self.state();
        if state.book.close(unit) {
            // An error has been told, and there is no file any more, or units wait.
            let _ = state.write(&self.place);
        }
    }

    /// All current nodes are lost at once, and current in the epoch `next` as they were in `epoch`: what becomes of the units
    /// that are open cannot be known. They stay open until the next beginning, whoever closes them.
    pub fn suspend(&self, epoch: Epoch, next: Epoch) {
        let mut state = self.state();
        if state.book.suspend(epoch, next) {
            (state.stale, state.file) = (true, None);
            // An error has been told; where the file is still there, units wait until it is not.
            let _ = state.anew(&self.place);
        }
    }

    /// Puts a new file in the place of one that somebody has removed: what is written to that one is nowhere.
    pub fn look_after(&self) {
        let mut state = self.state();
        if state.file.is_some() && !self.place.path.exists() {
            tracing::error!(file = %self.place.path.display(), "the journal has been removed; it is begun anew");
            (state.file, state.stale) = (None, true);
            // An error has been told.
            let _ = state.anew(&self.place);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked here leaves at worst a unit open that is closed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes what the segment has gathered, or puts a new file in place, or takes it away.
    fn write(&mut self, place: &Place) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let Some((at, bytes)) = self.book.take(limits::JOURNAL) else {
            (self.file, self.stale) = (None, true);
            return self.anew(place);
        };
        match file.write_all_at(&bytes, at as u64) {
            Ok(()) => {
                self.writes += 1;
                Ok(())
            }
            Err(error) => self.lose(place, &error),
        }
    }

    /// There is no file: is it time to try again?
    fn retry(&mut self, place: &Place) -> io::Result<()> {
        if self.stale {
            self.discard(place)?;
        }
        let soon = self.tried.is_some_and(|tried| tried.elapsed() < PAUSE);
        if soon || !self.book.has_begun() { Ok(()) } else { self.anew(place) }
    }

    /// A new file with all that is open.
    fn anew(&mut self, place: &Place) -> io::Result<()> {
        let Some(first) = self.book.whole() else { return Ok(()) };
        let replaced = place.write_aside(&first).and_then(|file| {
            self.stale = true;
            place.put_in_place().map(|()| file)
        });
        match replaced {
            Ok(file) => {
                if self.tried.take().is_some() {
                    tracing::info!("the journal is written again");
                }
                self.file = Some(Arc::new(file));
                self.stale = false;
                Ok(())
            }
            Err(error) => self.without(place, &error),
        }
    }

    /// The file does not speak of all open units.
    fn lose(&mut self, place: &Place, error: &io::Error) -> io::Result<()> {
        (self.file, self.stale) = (None, true);
        self.without(place, error)
    }

    /// Goes on without a journal: a crash from now on leads to a full comparison.
    fn without(&mut self, place: &Place, error: &io::Error) -> io::Result<()> {
        self.book.lose_file();
        if self.tried.is_none() {
            let what_follows = "if the proxy is killed now, the next start compares the nodes in full";
            tracing::error!(file = %place.path.display(), %error, what_follows, "the journal cannot be written");
        }
        self.tried = Some(clock::now());
        self.discard(place)
    }

    fn discard(&mut self, place: &Place) -> io::Result<()> {
        if self.stale {
            place.remove().inspect_err(|error| {
                let what_follows = "commits wait until it can be";
                tracing::error!(file = %place.path.display(), %error, what_follows, "a journal that is not true any more cannot be removed");
            })?;
            self.stale = false;
        }
        Ok(())
    }
}

/// The start of the machine. One that does not tell it is never the same.
pub fn boot() -> String {
    fs::read_to_string(BOOT)
        .map_or_else(|_| format!("unknown {:032x}", u128::from_be_bytes(entropy::bytes())), |id| id.trim().to_owned())
}

#[cfg(test)]
mod tests;
