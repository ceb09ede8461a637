//! The journal's file ([`lockstep_core::journal`]).
//!
//! It has its full size from the beginning, so that writing to it needs no room on the disk, and is written without
//! waiting for the disk: what was written outlives the process, not the machine. When it is full, a new one with the units
//! that are open takes its place.
//!
//! Invariant: the file in its place speaks of all open units, or there is none. What cannot be written down takes the file
//! away instead; where not even that can be done, units wait.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_core::id::Epoch;
use lockstep_core::journal::{self, Contents, Damage, Note, OpenUnit, Origin, Segment, Touched, UnitNumber};
use lockstep_core::limits;

use crate::clock;
use crate::entropy;

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
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until somebody serves.
    origin: Option<Origin>,
    file: Option<Writing>,
    /// A file that must not be believed is still there.
    stale: bool,
    tried: Option<Instant>,
    open: BTreeMap<UnitNumber, OpenUnit>,
    /// While what became of units cannot be known: those that somebody has closed, and that stay open.
    suspended: Option<BTreeSet<UnitNumber>>,
    notes: BTreeMap<String, Note>,
    units: u64,
}

#[derive(Debug)]
struct Writing {
    file: File,
    segment: Segment,
    at: usize,
}

impl Journal {
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join(NAME), state: Mutex::default() }
    }

    /// What has to be settled before somebody serves: what the former proxy has left, or what has been left open here when
    /// all nodes were lost.
    pub fn unsettled(&self) -> Result<Contents, NoJournal> {
        let state = self.state();
        if let Some(origin) = &state.origin {
            return match state.suspended {
                Some(_) => {
                    Ok(Contents { origin: origin.clone(), notes: state.notes.clone(), open: state.open.clone() })
                }
                None => Err(NoJournal::Absent),
            };
        }
        drop(state);
        match fs::read(&self.path) {
            Ok(file) => Ok(journal::read(&Bytes::from(file), limits::JOURNAL)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NoJournal::Absent),
            Err(error) => Err(error.into()),
        }
    }

    /// The current nodes are equal but for the rows of the units that are open now, or those that may not be are out: a new
    /// file takes the place of the one that is there.
    pub fn begin(&self, cluster: String) {
        let mut state = self.state();
        state.origin = Some(Origin { cluster, boot: boot() });
        state.notes.clear();
        for unit in state.suspended.take().unwrap_or_default() {
            state.open.remove(&unit);
        }
        (state.stale, state.file) = (true, None);
        // An error has been told; where the former file is still there, units wait until it is not.
        let _ = state.anew(&self.path);
    }

    /// `node` is active in this epoch, and runs since `start`.
    pub fn note(&self, node: &str, epoch: Epoch, start: &str) {
        let mut state = self.state();
        state.notes.insert(node.to_owned(), Note { epoch, start: start.to_owned() });
        if let Some(writing) = &mut state.file {
            writing.segment.note(node, epoch, start);
            // An error has been told, and there is no file any more, or units wait.
            let _ = state.write(&self.path);
        }
    }

    /// To be called before anything of the unit's commit is sent. When it fails, nothing may be.
    pub fn open(&self, database: &str, touched: Touched) -> io::Result<UnitNumber> {
        let mut state = self.state();
        state.units += 1;
        let unit = UnitNumber(state.units);
        let opened = OpenUnit { database: database.to_owned(), touched };
        if let Some(writing) = &mut state.file {
            writing.segment.open(unit, database, &opened.touched);
        }
        state.open.insert(unit, opened);
        let written = match state.file {
            Some(_) => state.write(&self.path),
            None => state.retry(&self.path),
        };
        if written.is_err() {
            state.open.remove(&unit);
        }
        written.map(|()| unit)
    }

    /// All current nodes agree about the unit, or those that may not are out, and that is on disk. While others are open
    /// that is written with what is written next, unless it would lead to a comparison.
    pub fn close(&self, unit: UnitNumber) {
        let mut state = self.state();
        if let Some(closed) = &mut state.suspended {
            closed.insert(unit);
            return;
        }
        let Some(opened) = state.open.remove(&unit) else { return };
        if let Some(writing) = &mut state.file {
            writing.segment.close(unit);
            if state.open.is_empty() || matches!(opened.touched, Touched::Unknown(_)) {
                // An error has been told, and there is no file any more, or units wait.
                let _ = state.write(&self.path);
            }
        }
    }

    /// All current nodes are lost at once, and current in the epoch `next` as they were in `epoch`: what becomes of the units
    /// that are open cannot be known. They stay open until the next beginning, whoever closes them.
    pub fn suspend(&self, epoch: Epoch, next: Epoch) {
        let mut state = self.state();
        if state.origin.is_some() {
            state.suspended.get_or_insert_default();
            state.notes.values_mut().filter(|note| note.epoch == epoch).for_each(|note| note.epoch = next);
            (state.stale, state.file) = (true, None);
            // An error has been told; where the file is still there, units wait until it is not.
            let _ = state.anew(&self.path);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked here leaves at worst a unit open that is closed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes what the segment has gathered, or puts a new file in place, or takes it away.
    fn write(&mut self, path: &Path) -> io::Result<()> {
        let Some(writing) = &mut self.file else { return Ok(()) };
        let bytes = writing.segment.take();
        if writing.at + bytes.len() > limits::JOURNAL {
            self.file = None;
            self.stale = true;
            return self.anew(path);
        }
        match writing.file.write_all_at(&bytes, writing.at as u64) {
            Ok(()) => {
                writing.at += bytes.len();
                Ok(())
            }
            Err(error) => {
                (self.file, self.stale) = (None, true);
                self.without(path, &error)
            }
        }
    }

    /// There is no file: is it time to try again?
    fn retry(&mut self, path: &Path) -> io::Result<()> {
        if self.stale {
            self.discard(path)?;
        }
        let soon = self.tried.is_some_and(|tried| tried.elapsed() < PAUSE);
        if soon || self.origin.is_none() { Ok(()) } else { self.anew(path) }
    }

    /// A new file with all that is open.
    fn anew(&mut self, path: &Path) -> io::Result<()> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let mut segment = Segment::new(origin);
        self.notes.iter().for_each(|(node, note)| segment.note(node, note.epoch, &note.start));
        self.open.iter().for_each(|(unit, opened)| segment.open(*unit, &opened.database, &opened.touched));
        match replace(path, &segment.take()) {
            Ok((file, at)) => {
                if self.tried.take().is_some() {
                    tracing::info!("the journal is written again");
                }
                self.file = Some(Writing { file, segment, at });
                self.stale = false;
                Ok(())
            }
            Err(error) => self.without(path, &error),
        }
    }

    /// Goes on without a journal: a crash from now on leads to a full comparison.
    fn without(&mut self, path: &Path, error: &io::Error) -> io::Result<()> {
        if self.tried.is_none() {
            let what_follows = "if the proxy is killed now, the next start compares the nodes in full";
            tracing::error!(file = %path.display(), %error, what_follows, "the journal cannot be written");
        }
        self.tried = Some(clock::now());
        self.discard(path)
    }

    fn discard(&mut self, path: &Path) -> io::Result<()> {
        if self.stale {
            remove(path).inspect_err(|error| {
                let what_follows = "commits wait until it can be";
                tracing::error!(file = %path.display(), %error, what_follows, "a journal that is not true any more cannot be removed");
            })?;
            self.stale = false;
        }
        Ok(())
    }
}

/// Writes a file aside and puts it in place. Gives it, and where to go on.
fn replace(path: &Path, first: &[u8]) -> io::Result<(File, usize)> {
    if first.len() > limits::JOURNAL {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let aside = path.with_extension("new");
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    nix::fcntl::posix_fallocate(&file, 0, limits::JOURNAL as i64)?;
    file.write_all_at(first, 0)?;
    fs::rename(&aside, path)?;
    Ok((file, first.len()))
}

/// A file without contents is as little believed as one that is not there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            File::options().write(true).truncate(true).open(path).map(drop).map_err(|_| error)
        }
        _ => Ok(()),
    }
}

/// The start of the machine. One that does not tell it is never the same.
pub fn boot() -> String {
    fs::read_to_string(BOOT)
        .map_or_else(|_| format!("unknown {:032x}", u128::from_be_bytes(entropy::bytes())), |id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use lockstep_core::journal::Unknown;

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lockstep-journal-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn read(&self) -> Result<Contents, NoJournal> {
            Journal::new(&self.0).unsettled()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn begun(place: &Place) -> Journal {
        let journal = Journal::new(&place.0);
        journal.begin("c".into());
        journal
    }

    fn unit(journal: &Journal) -> UnitNumber {
        journal.open("app", Touched::Unknown(Unknown::NoKey)).unwrap()
    }

    #[test]
    fn who_comes_after_reads_what_was_open() {
        let place = Place::new("open");
        assert!(matches!(place.read(), Err(NoJournal::Absent)));
        let journal = begun(&place);
        let (first, second) = (unit(&journal), unit(&journal));
        journal.close(first);
        journal.note("midna", Epoch(4), "today");
        let contents = place.read().unwrap();
        assert_eq!(contents.open.keys().copied().collect::<Vec<_>>(), [second]);
        assert_eq!(contents.notes["midna"].epoch, Epoch(4));
        assert!(matches!(journal.unsettled(), Err(NoJournal::Absent)), "its own units are under way");
    }

    #[test]
    fn a_full_file_gives_way_to_one_with_the_open_units() {
        let place = Place::new("full");
        let journal = begun(&place);
        journal.note("midna", Epoch(4), "today");
        let kept = unit(&journal);
        let large = Touched::Rows(vec![journal::Touch::Captured(vec![b'x'; limits::JOURNALLED].into())]);
        for _ in 0..limits::JOURNAL / limits::JOURNALLED + 2 {
            journal.close(journal.open("app", large.clone()).unwrap());
        }
        let last = unit(&journal);
        let contents = place.read().unwrap();
        assert!(contents.open.contains_key(&kept) && contents.open.contains_key(&last));
        assert_eq!(contents.notes["midna"].epoch, Epoch(4));
    }

    #[test]
    fn units_that_were_open_when_all_nodes_were_lost_stay_open_until_a_new_beginning() {
        let place = Place::new("suspended");
        let journal = begun(&place);
        journal.note("midna", Epoch(4), "today");
        journal.note("out", Epoch(3), "today");
        journal.close(unit(&journal));
        let lost = unit(&journal);
        journal.suspend(Epoch(4), Epoch(6));
        let late = unit(&journal);
        journal.close(lost);
        for contents in [journal.unsettled().unwrap(), place.read().unwrap()] {
            assert_eq!(contents.open.keys().copied().collect::<Vec<_>>(), [lost, late]);
            assert_eq!(contents.notes["midna"].epoch, Epoch(6), "it is current in the new epoch, too");
            assert_eq!(contents.notes["out"].epoch, Epoch(3));
        }
        journal.begin("c".into());
        assert_eq!(place.read().unwrap().open.keys().copied().collect::<Vec<_>>(), [late]);
        assert!(matches!(journal.unsettled(), Err(NoJournal::Absent)));
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_not_there_and_units_go_on() {
        let place = Place::new("unwritable");
        let journal = begun(&place);
        fs::create_dir(place.0.join("journal.new")).unwrap();
        journal.begin("c".into());
        let kept = unit(&journal);
        assert!(matches!(place.read(), Err(NoJournal::Absent)));
        fs::remove_dir(place.0.join("journal.new")).unwrap();
        journal.state().tried = None;
        unit(&journal);
        assert!(place.read().unwrap().open.contains_key(&kept));
    }
}
