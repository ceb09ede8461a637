//! Recovery as steps with undo: a node's data is replaced by a copy of an active node's, and the node joins.
//!
//! Invariants: nothing of the target is touched before its source is proven reachable from it; only the server of the
//! configured data directory is ever stopped; a failure undoes what was done and leaves the node out, as it was.

use std::time::Duration;

/// In the order in which they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// What is in the data directory, and does a server run on it?
    Inspect,
    /// Can the target reach the source, and may it copy?
    Prove,
    Stop,
    /// Sets the old data aside, or clears it away where there is no room for both.
    Clear,
    Backup,
    /// As a streaming standby.
    Start,
    CatchUp,
    /// Commits wait from here to the end of `Join`.
    Hold,
    /// The target replays the source's last byte.
    Drain,
    Promote,
    /// What a physical copy does not bring: exact sequences, unlogged tables.
    Level,
    Join,
    /// Old data and the slot go.
    CleanUp,
}

impl Step {
    pub const ALL: [Step; 13] = [
        Self::Inspect,
        Self::Prove,
        Self::Stop,
        Self::Clear,
        Self::Backup,
        Self::Start,
        Self::CatchUp,
        Self::Hold,
        Self::Drain,
        Self::Promote,
        Self::Level,
        Self::Join,
        Self::CleanUp,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Prove => "reach the source",
            Self::Stop => "stop",
            Self::Clear => "clear",
            Self::Backup => "base backup",
            Self::Start => "start",
            Self::CatchUp => "catch up",
            Self::Hold => "hold commits",
            Self::Drain => "replay the rest",
            Self::Promote => "promote",
            Self::Level => "level",
            Self::Join => "join",
            Self::CleanUp => "clean up",
        }
    }
}

/// What takes a step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    StopTarget,
    /// The copy goes, the old data comes back if it was set aside.
    PutDataBack,
    /// The server that ran before it was stopped for the recovery.
    StartAgain,
    DropSlot,
}

/// What the target was like before anything was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    pub ran: bool,
    pub room: Room,
}

impl Before {
    /// Whether its old data is there, or back, when `failed` has been undone.
    fn keeps_data(self, failed: Step) -> bool {
        failed < Step::Clear || self.room == Room::SetAside
    }

    /// How the target is left when `failed` has been undone; `None`: it was not touched.
    pub fn left(self, failed: Step) -> Option<&'static str> {
        match (self.keeps_data(failed), self.ran) {
            _ if failed < Step::Stop => None,
            (true, true) => Some("its old data is as it was, and its server runs on it again"),
            (true, false) => Some("its data directory is as it was, and no server runs on it, as before"),
            (false, _) => Some(
                "its old data is gone, for there was no room for the copy beside it, and no server can run on it until a \
                 recovery succeeds",
            ),
        }
    }
}

/// What is to be undone when `failed` did not succeed, in this order. A step that failed may have been half done.
pub fn undo(failed: Step, before: Before) -> Vec<Undo> {
    let mut undo = Vec::new();
    if failed == Step::CleanUp {
        return undo;
    }
    if failed >= Step::Start {
        undo.push(Undo::StopTarget);
    }
    if failed >= Step::Clear {
        undo.push(Undo::PutDataBack);
    }
    if failed >= Step::Stop && before.ran && before.keeps_data(failed) {
        undo.push(Undo::StartAgain);
    }
    if failed >= Step::Backup {
        undo.push(Undo::DropSlot);
    }
    undo
}

/// What is in the target's data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    Missing,
    Empty,
    /// A PostgreSQL data directory, perhaps half a one that an earlier recovery left.
    Data,
    Foreign,
}

/// What `Inspect` found on the target's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub contents: Contents,
    /// Port of a server that runs on the directory.
    pub running: Option<u16>,
    /// The directory can be renamed; a mount point cannot.
    pub movable: bool,
    pub free_bytes: u64,
    pub has_tablespaces: bool,
    /// Major version of the PostgreSQL programs that were found; `None`: none were.
    pub programs: Option<u32>,
}

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub bytes: u64,
    pub major: u32,
    pub has_tablespaces: bool,
}

/// How `Clear` makes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    SetAside,
    Delete,
}

/// Why the target is left alone; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the data directory is neither empty nor PostgreSQL's; check data_directory, or empty it by hand")]
    Foreign,
    #[error("the server that runs on the data directory listens on port {found}, not {expected}; check data_directory")]
    AnotherServer { found: u16, expected: u16 },
    #[error("PostgreSQL {needed}'s programs are not found on the target; install them or set bin_directory")]
    NoPrograms { needed: u32 },
    #[error("the target has PostgreSQL {found}, the source {needed}; a copy needs the same major version")]
    Version { found: u32, needed: u32 },
    #[error("there are tablespaces, which a plain copy does not place; set `backup` to a command that does")]
    Tablespaces,
    #[error("the copy needs {needed} MB, and there are {free} MB free; make room")]
    NoRoom { needed: u64, free: u64 },
}

/// The copy, the log written meanwhile, and some air.
const AIR: u64 = 256 << 20;

/// May the target be replaced, and how is room made? `own_backup`: the operator has a command of their own for the copy.
pub fn fit(target: &Target, source: Source, port: u16, old_bytes: u64, own_backup: bool) -> Result<Room, Unfit> {
    if target.contents == Contents::Foreign {
        return Err(Unfit::Foreign);
    }
    if let Some(found) = target.running.filter(|found| *found != port) {
        return Err(Unfit::AnotherServer { found, expected: port });
    }
    if !own_backup {
        let found = target.programs.ok_or(Unfit::NoPrograms { needed: source.major })?;
        if found != source.major {
            return Err(Unfit::Version { found, needed: source.major });
        }
        if source.has_tablespaces || target.has_tablespaces {
            return Err(Unfit::Tablespaces);
        }
    }
    let needed = source.bytes + AIR;
    if target.movable && needed <= target.free_bytes {
        Ok(Room::SetAside)
    } else if needed <= target.free_bytes + old_bytes {
        Ok(Room::Delete)
    } else {
        Err(Unfit::NoRoom { needed: needed >> 20, free: (target.free_bytes + old_bytes) >> 20 })
    }
}

/// Done and total bytes from a line of pg_basebackup's `--progress`, such as `  1024/23456 kB (4%), 0/1 tablespace`.
pub fn progress(line: &str) -> Option<(u64, u64)> {
    let (numbers, _) = line.trim_start().split_once(" kB")?;
    let (done, total) = numbers.split_once('/')?;
    Some((done.trim().parse::<u64>().ok()? << 10, total.trim().parse::<u64>().ok()? << 10))
}

/// Whether a standby gets anywhere. Positions are LSNs of the source.
#[derive(Debug)]
pub struct CatchUp {
    replayed: u64,
    since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chase {
    /// Little enough is left to be replayed while commits wait.
    Near,
    Behind,
    /// Nothing was replayed for too long although there is something.
    Stuck,
}

impl CatchUp {
    const NEAR: u64 = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(60);

    pub fn new(now: Duration) -> Self {
        Self { replayed: 0, since: now }
    }

    /// `now` is counted from any fixed moment. `None`: the standby cannot say yet.
    pub fn observe(&mut self, replayed: Option<u64>, written: u64, now: Duration) -> Chase {
        if let Some(replayed) = replayed.filter(|replayed| *replayed > self.replayed) {
            (self.replayed, self.since) = (replayed, now);
        }
        match replayed {
            Some(replayed) if written.saturating_sub(replayed) <= Self::NEAR => Chase::Near,
            _ if now.saturating_sub(self.since) > Self::PATIENCE => Chase::Stuck,
            _ => Chase::Behind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source { bytes: 1 << 30, major: 15, has_tablespaces: false };

    fn target() -> Target {
        Target {
            contents: Contents::Data,
            running: Some(5502),
            movable: true,
            free_bytes: 2 << 30,
            has_tablespaces: false,
            programs: Some(15),
        }
    }

    #[test]
    fn old_data_is_kept_until_the_end_where_there_is_room_for_both() {
        assert_eq!(fit(&target(), SOURCE, 5502, 1 << 30, false), Ok(Room::SetAside));
        let full = Target { free_bytes: 1 << 29, ..target() };
        assert_eq!(fit(&full, SOURCE, 5502, 1 << 30, false), Ok(Room::Delete));
        assert!(matches!(fit(&full, SOURCE, 5502, 1 << 20, false), Err(Unfit::NoRoom { .. })));
        let mount = Target { movable: false, ..target() };
        assert_eq!(fit(&mount, SOURCE, 5502, 1 << 30, false), Ok(Room::Delete));
    }

    #[test]
    fn what_is_not_the_targets_data_is_left_alone() {
        let foreign = Target { contents: Contents::Foreign, ..target() };
        assert_eq!(fit(&foreign, SOURCE, 5502, 0, false), Err(Unfit::Foreign));
        let leaders = Target { running: Some(5501), ..target() };
        assert!(matches!(fit(&leaders, SOURCE, 5502, 0, false), Err(Unfit::AnotherServer { found: 5501, .. })));
    }

    #[test]
    fn other_versions_and_tablespaces_need_a_command_of_the_operators_own() {
        let older = Target { programs: Some(14), ..target() };
        assert!(matches!(fit(&older, SOURCE, 5502, 0, false), Err(Unfit::Version { .. })));
        let spread = Source { has_tablespaces: true, ..SOURCE };
        assert_eq!(fit(&target(), spread, 5502, 0, false), Err(Unfit::Tablespaces));
        assert_eq!(fit(&target(), spread, 5502, 0, true), Ok(Room::SetAside));
    }

    const RAN: Before = Before { ran: true, room: Room::SetAside };
    const STOOD: Before = Before { ran: false, ..RAN };
    const OVERWRITTEN: Before = Before { room: Room::Delete, ..RAN };

    #[test]
    fn nothing_is_undone_that_was_not_begun() {
        assert_eq!(undo(Step::Prove, RAN), []);
        assert_eq!(undo(Step::Stop, STOOD), []);
        assert_eq!(undo(Step::Clear, STOOD), [Undo::PutDataBack]);
        assert_eq!(undo(Step::Promote, STOOD), [Undo::StopTarget, Undo::PutDataBack, Undo::DropSlot]);
        assert_eq!(undo(Step::CleanUp, RAN), [], "the node is active by then");
    }

    #[test]
    fn a_server_that_ran_before_is_started_again_where_it_has_its_data_still() {
        assert_eq!(undo(Step::Stop, RAN), [Undo::StartAgain]);
        assert_eq!(undo(Step::Backup, RAN), [Undo::PutDataBack, Undo::StartAgain, Undo::DropSlot]);
        assert_eq!(undo(Step::Stop, OVERWRITTEN), [Undo::StartAgain]);
        assert_eq!(undo(Step::Backup, OVERWRITTEN), [Undo::PutDataBack, Undo::DropSlot]);
    }

    #[test]
    fn it_is_said_how_the_target_is_left() {
        assert_eq!(RAN.left(Step::Prove), None);
        assert!(RAN.left(Step::Backup).unwrap().contains("runs on it again"));
        assert!(STOOD.left(Step::Backup).unwrap().contains("as before"));
        assert!(OVERWRITTEN.left(Step::Backup).unwrap().contains("is gone"));
    }

    #[test]
    fn steps_are_ordered_as_they_are_done() {
        assert!(Step::ALL.is_sorted());
    }

    #[test]
    fn progress_is_read_from_pg_basebackups_lines() {
        assert_eq!(progress("    0/23456 kB (0%), 0/1 tablespace"), Some((0, 23456 << 10)));
        assert_eq!(progress("23457/23457 kB (100%), 1/1 tablespace"), Some((23457 << 10, 23457 << 10)));
        assert_eq!(progress("waiting for checkpoint"), None);
    }

    #[test]
    fn a_standby_that_replays_nothing_for_a_minute_is_stuck() {
        let at = Duration::from_secs;
        let mut chase = CatchUp::new(at(0));
        assert_eq!(chase.observe(None, 9 << 20, at(10)), Chase::Behind);
        assert_eq!(chase.observe(Some(1 << 20), 9 << 20, at(50)), Chase::Behind);
        assert_eq!(chase.observe(Some(2 << 20), 12 << 20, at(100)), Chase::Behind);
        assert_eq!(chase.observe(Some(2 << 20), 14 << 20, at(161)), Chase::Stuck);
        assert_eq!(chase.observe(Some(14 << 20), 14 << 20, at(162)), Chase::Near);
    }
}
