use std::path::PathBuf;

use lockstep_core::journal::Unknown;

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lockstep-journal-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn read(&self) -> Result<Contents, NoJournal> {
        Journal::new(&self.0, Outlives::Process).unsettled()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn begun(directory: &Directory) -> Journal {
    let journal = Journal::new(&directory.0, Outlives::Process);
    journal.begin("c".into());
    journal
}

fn unit(journal: &Journal) -> UnitNumber {
    journal.open("app", Touched::Unknown(Unknown::NoKey)).unwrap()
}

#[test]
fn who_comes_after_reads_what_was_open() {
    let directory = Directory::new("open");
    assert!(matches!(directory.read(), Err(NoJournal::Absent)));
    let journal = begun(&directory);
    let (first, second) = (unit(&journal), unit(&journal));
    journal.close(first);
    journal.note("midna", Epoch(4), "today");
    let contents = directory.read().unwrap();
    assert_eq!(contents.open.keys().copied().collect::<Vec<_>>(), [second]);
    assert_eq!(contents.notes["midna"].epoch, Epoch(4));
    assert!(matches!(journal.unsettled(), Err(NoJournal::Absent)), "its own units are under way");
}

#[test]
fn a_full_file_gives_way_to_one_with_the_open_units() {
    let directory = Directory::new("full");
    let journal = begun(&directory);
    journal.note("midna", Epoch(4), "today");
    let kept = unit(&journal);
    let large = Touched::Rows(vec![journal::Touch::Captured(vec![b'x'; limits::JOURNALLED].into())]);
    for _ in 0..limits::JOURNAL / limits::JOURNALLED + 2 {
        journal.close(journal.open("app", large.clone()).unwrap());
    }
    let last = unit(&journal);
    let contents = directory.read().unwrap();
    assert!(contents.open.contains_key(&kept) && contents.open.contains_key(&last));
    assert_eq!(contents.notes["midna"].epoch, Epoch(4));
}

#[test]
fn units_that_were_open_when_all_nodes_were_lost_stay_open_until_a_new_beginning() {
    let directory = Directory::new("suspended");
    let journal = begun(&directory);
    journal.note("midna", Epoch(4), "today");
    journal.note("out", Epoch(3), "today");
    journal.close(unit(&journal));
    let lost = unit(&journal);
    journal.suspend(Epoch(4), Epoch(6));
    let late = unit(&journal);
    journal.close(lost);
    for contents in [journal.unsettled().unwrap(), directory.read().unwrap()] {
        assert_eq!(contents.open.keys().copied().collect::<Vec<_>>(), [lost, late]);
        assert_eq!(contents.notes["midna"].epoch, Epoch(6), "it is current in the new epoch, too");
        assert_eq!(contents.notes["out"].epoch, Epoch(3));
    }
    journal.begin("c".into());
    assert_eq!(directory.read().unwrap().open.keys().copied().collect::<Vec<_>>(), [late]);
    assert!(matches!(journal.unsettled(), Err(NoJournal::Absent)));
}

#[test]
fn a_journal_that_cannot_be_written_is_not_there_and_units_go_on() {
    let directory = Directory::new("unwritable");
    let journal = begun(&directory);
    fs::create_dir(directory.0.join("journal.new")).unwrap();
    journal.begin("c".into());
    let kept = unit(&journal);
    assert!(matches!(directory.read(), Err(NoJournal::Absent)));
    fs::remove_dir(directory.0.join("journal.new")).unwrap();
    journal.state().tried = None;
    unit(&journal);
    assert!(directory.read().unwrap().open.contains_key(&kept));
}

#[tokio::test]
async fn what_has_to_outlive_the_machine_is_waited_for_and_says_so() {
    let directory = Directory::new("forced");
    let journal = Journal::new(&directory.0, Outlives::Machine);
    journal.begin("c".into());
    let units = [unit(&journal), unit(&journal)];
    let (first, second) = tokio::join!(journal.force(), journal.force());
    first.and(second).unwrap();
    let contents = directory.read().unwrap();
    assert_eq!(contents.origin.outlives, Outlives::Machine);
    assert_eq!(contents.open.keys().copied().collect::<Vec<_>>(), units);
    assert_eq!(*journal.on_disk.lock().await, journal.state().writes);
}

#[tokio::test]
async fn a_disk_that_does_not_take_the_journal_costs_the_journal_and_no_unit() {
    let directory = Directory::new("refused");
    let journal = Journal::new(&directory.0, Outlives::Machine);
    journal.begin("c".into());
    unit(&journal);
    // A pipe cannot be forced to disk.
    let (_reader, writer) = std::io::pipe().unwrap();
    journal.state().file = Some(Arc::new(File::from(std::os::fd::OwnedFd::from(writer))));
    journal.force().await.unwrap();
    assert!(matches!(directory.read(), Err(NoJournal::Absent)));
    journal.force().await.unwrap();
}
