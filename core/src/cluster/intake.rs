//! Whether clients may begin something: not while an operator holds them, nor while the service is elsewhere, nor when the
//! proxy stops.
//!
//! Invariant: a pause is in force from the moment that it is asked for, or it is taken back; whoever asked for it is told
//! that it holds only when nothing is under way any more. It is kept in memory alone, so a restart ends it.

use crate::fault::{Fault, SqlState};

/// One for each time that clients are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PauseId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Pause {
    #[default]
    None,
    /// Nothing new begins; what is under way goes on to its end.
    Coming(PauseId),
    /// Nothing is under way.
    Held { id: PauseId, since: u64 },
}

const NOT_KNOWN_YET: &str = "it is not known yet whether the service's name points here";

/// Where the service is, as far as [`super::guard`] knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// Or nobody asks.
    #[default]
    Here,
    /// It has not been found out yet.
    Unknown,
    /// Why clients are not served.
    Elsewhere(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intake {
    pause: Pause,
    pauses: u64,
    stopping: bool,
    place: Place,
}

/// What becomes of a client that has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Open,
    /// Until the intake is another.
    Waits,
    Refused(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PauseRefusal {
    #[error("clients are held already")]
    Already,
    #[error("another pause waits for transactions to end")]
    Coming,
}

impl Intake {
    /// From here on nothing new begins.
    pub fn pause(&mut self) -> Result<PauseId, PauseRefusal> {
        match self.pause {
            Pause::Held { .. } => return Err(PauseRefusal::Already),
            Pause::Coming(_) => return Err(PauseRefusal::Coming),
            Pause::None => {}
        }
        self.pauses += 1;
        let id = PauseId(self.pauses);
        self.pause = Pause::Coming(id);
        Ok(id)
    }

    /// Nothing is under way any more. False: the pause has been ended meanwhile.
    pub fn settle(&mut self, id: PauseId, now: u64) -> bool {
        let coming = self.pause == Pause::Coming(id);
        if coming {
            self.pause = Pause::Held { id, since: now };
        }
        coming
    }

    /// Whoever asked for the pause does not wait for it any more.
    pub fn take_back(&mut self, id: PauseId) {
        if self.pause == Pause::Coming(id) {
            self.pause = Pause::None;
        }
    }

    /// Clients go on. False: they were not held.
    pub fn resume(&mut self) -> bool {
        std::mem::take(&mut self.pause) != Pause::None
    }

    /// Nobody comes in any more.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    pub fn is_at(&mut self, place: Place) {
        self.place = place;
    }

    /// Why clients are not served here.
    pub fn elsewhere(&self) -> Option<&str> {
        match &self.place {
            Place::Elsewhere(why) => Some(why),
            Place::Unknown => Some(NOT_KNOWN_YET),
            Place::Here => None,
        }
    }

    /// The pause that is in force, whether or not something is still under way.
    pub fn pausing(&self) -> Option<PauseId> {
        match self.pause {
            Pause::None => None,
            Pause::Coming(id) | Pause::Held { id, .. } => Some(id),
        }
    }

    /// Since when nothing has been under way.
    pub fn held_since(&self) -> Option<u64> {
        match self.pause {
            Pause::Held { since, .. } => Some(since),
            Pause::None | Pause::Coming(_) => None,
        }
    }

    pub fn entry(&self) -> Entry {
        let refused = |message| Fault::fatal(SqlState::CANNOT_CONNECT_NOW, message);
        match &self.place {
            _ if self.stopping => Entry::Refused(refused("the database system is shutting down")),
            Place::Elsewhere(why) => Entry::Refused(refused("this proxy does not serve now").with_detail(why.clone())),
            Place::Unknown => Entry::Waits,
            Place::Here if self.pausing().is_some() => Entry::Waits,
            Place::Here => Entry::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_from_the_moment_that_a_pause_is_asked_for() {
        let mut intake = Intake::default();
        assert_eq!(intake.entry(), Entry::Open);
        let id = intake.pause().unwrap();
        assert_eq!((intake.pausing(), intake.held_since(), intake.entry()), (Some(id), None, Entry::Waits));
        assert!(intake.settle(id, 9));
        assert_eq!((intake.pausing(), intake.held_since()), (Some(id), Some(9)));
        assert!(intake.resume() && !intake.resume());
        assert_eq!((intake.pausing(), intake.entry()), (None, Entry::Open));
    }

    #[test]
    fn one_pause_at_a_time() {
        let mut intake = Intake::default();
        let id = intake.pause().unwrap();
        assert_eq!(intake.pause(), Err(PauseRefusal::Coming));
        intake.settle(id, 9);
        assert_eq!(intake.pause(), Err(PauseRefusal::Already));
    }

    #[test]
    fn a_pause_that_was_ended_meanwhile_neither_holds_nor_ends_the_next_one() {
        let mut intake = Intake::default();
        let first = intake.pause().unwrap();
        intake.resume();
        let second = intake.pause().unwrap();
        assert_ne!(first, second);
        intake.take_back(first);
        assert!(!intake.settle(first, 9));
        assert_eq!(intake.pausing(), Some(second));
    }

    #[test]
    fn a_pause_that_holds_is_not_taken_back_by_whoever_waited_for_it() {
        let mut intake = Intake::default();
        let id = intake.pause().unwrap();
        intake.settle(id, 9);
        intake.take_back(id);
        assert_eq!(intake.pausing(), Some(id));
    }

    #[test]
    fn who_comes_while_the_service_is_elsewhere_is_told_so_and_waits_while_that_is_not_known() {
        let mut intake = Intake::default();
        intake.is_at(Place::Unknown);
        assert_eq!((intake.entry(), intake.elsewhere()), (Entry::Waits, Some(NOT_KNOWN_YET)));
        intake.is_at(Place::Elsewhere("db points to 192.0.2.2".into()));
        assert!(matches!(intake.entry(), Entry::Refused(fault) if fault.state == SqlState::CANNOT_CONNECT_NOW));
        assert_eq!(intake.elsewhere(), Some("db points to 192.0.2.2"));
        intake.is_at(Place::Here);
        assert_eq!((intake.entry(), intake.elsewhere()), (Entry::Open, None));
    }

    #[test]
    fn a_stop_turns_away_who_waits() {
        let mut intake = Intake::default();
        intake.pause().unwrap();
        intake.stop();
        assert!(matches!(intake.entry(), Entry::Refused(fault) if fault.state == SqlState::CANNOT_CONNECT_NOW));
    }
}
