//! The DNS guard: the service belongs to whoever a name points to.
//!
//! For two machines with a proxy each, where somebody moves the service by changing a DNS record: the one that the name no
//! longer points to must not go on serving, for its clients would write where nobody looks any more.
//!
//! Invariant: the service is given up at once when the name is known to point elsewhere, and after a number of rounds in
//! which nothing could be found out; it is taken up again only when the name has been seen to point here.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// What one round has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The addresses of the name; none: it is there no more.
    Addresses(Vec<IpAddr>),
    /// No answer, or one that says nothing of the name.
    Unknown(String),
}

impl Seen {
    /// Of the two kinds of addresses, each of which is asked for on its own. Addresses are believed though nothing is known
    /// of the other kind; that there are none is believed only of both, for one lost answer must not end the service.
    pub fn both(v4: Self, v6: Self) -> Self {
        match (v4, v6) {
            (Self::Addresses(v4), Self::Addresses(v6)) => Self::Addresses([v4, v6].concat()),
            (Self::Addresses(some), Self::Unknown(_)) | (Self::Unknown(_), Self::Addresses(some))
                if !some.is_empty() =>
            {
                Self::Addresses(some)
            }
            (Self::Unknown(why), _) | (_, Self::Unknown(why)) => Self::Unknown(why),
        }
    }
}

/// Why clients are not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    /// `addresses` are those that are not here; none: the name has none at all.
    PointsTo { name: String, addresses: Vec<IpAddr> },
    /// `rounds` goes up to the number in which the service is given up.
    Unverified { name: String, rounds: u32, why: String },
}

#[derive(Debug)]
pub struct Guard {
    name: String,
    /// Where the service may be.
    ours: BTreeSet<IpAddr>,
    /// Rounds in a row without an answer in which the service is given up.
    failures: u32,
    failed: u32,
    /// A guard begins without the service: nothing has been seen yet.
    elsewhere: Option<Elsewhere>,
}

impl Guard {
    pub fn new(name: String, failures: u32) -> Self {
        let why = "it has not been asked for yet".to_owned();
        let elsewhere = Some(Elsewhere::Unverified { name: name.clone(), rounds: 0, why });
        Self { name, ours: BTreeSet::new(), failures: failures.max(1), failed: 0, elsewhere }
    }

    /// `ours` is what counts as here in this round: the addresses of a machine may change.
    pub fn observe(&mut self, ours: impl IntoIterator<Item = IpAddr>, seen: Seen) -> Option<&Elsewhere> {
        self.ours = ours.into_iter().map(|address| address.to_canonical()).collect();
        match seen {
            Seen::Addresses(addresses) => {
                self.failed = 0;
                self.elsewhere = self.judge(addresses);
            }
            Seen::Unknown(why) => {
                self.failed = self.failed.saturating_add(1).min(self.failures);
                // Who has given it up for a reason that was seen goes on to give that one.
                let told = matches!(self.elsewhere, Some(Elsewhere::PointsTo { .. }));
                if !told && (self.elsewhere.is_some() || self.failed >= self.failures) {
                    let (name, rounds) = (self.name.clone(), self.failed);
                    self.elsewhere = Some(Elsewhere::Unverified { name, rounds, why });
                }
            }
        }
        self.elsewhere.as_ref()
    }

    pub fn elsewhere(&self) -> Option<&Elsewhere> {
        self.elsewhere.as_ref()
    }

    /// A name that points here and elsewhere, too, is not ours alone.
    fn judge(&self, mut addresses: Vec<IpAddr>) -> Option<Elsewhere> {
        let points_somewhere = !addresses.is_empty();
        addresses.retain(|address| !self.ours.contains(&address.to_canonical()));
        let not_ours = addresses;
        if points_somewhere && not_ours.is_empty() {
            return None;
        }
        Some(Elsewhere::PointsTo { name: self.name.clone(), addresses: not_ours })
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PointsTo { name, addresses } if addresses.is_empty() => write!(f, "{name} has no address any more"),
            Self::PointsTo { name, addresses } => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                write!(f, "{name} points to {}, which is not here", addresses.join(" and "))
            }
            Self::Unverified { name, rounds: 0, why } => write!(f, "{name} is not known to point here: {why}"),
            Self::Unverified { name, rounds, why } => {
                write!(f, "{name} could not be looked up, {rounds} times in a row: {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";

    fn points_to(addresses: &[&str]) -> Seen {
        Seen::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }

    fn round(guard: &mut Guard, seen: Seen) -> Option<String> {
        guard.observe([HERE.parse().unwrap()], seen).map(ToString::to_string)
    }

    fn silence() -> Seen {
        Seen::Unknown("no answer".into())
    }

    #[test]
    fn the_service_is_here_while_the_name_points_here() {
        let mut guard = Guard::new("db".into(), 3);
        assert!(guard.elsewhere().is_some(), "nothing is known yet");
        assert_eq!(round(&mut guard, points_to(&[HERE])), None);
        assert_eq!(round(&mut guard, points_to(&["::ffff:192.0.2.1"])), None);
    }

    #[test]
    fn a_name_that_points_elsewhere_ends_the_service_at_once() {
        let mut guard = Guard::new("db".into(), 3);
        round(&mut guard, points_to(&[HERE]));
        let why = round(&mut guard, points_to(&[THERE])).unwrap();
        assert_eq!(why, "db points to 192.0.2.2, which is not here");
        assert_eq!(round(&mut guard, points_to(&[HERE])), None);
        assert_eq!(round(&mut guard, points_to(&[])).unwrap(), "db has no address any more");
    }

    #[test]
    fn a_name_that_points_to_two_machines_belongs_to_neither() {
        let mut guard = Guard::new("db".into(), 3);
        let why = round(&mut guard, points_to(&[HERE, THERE])).unwrap();
        assert_eq!(why, "db points to 192.0.2.2, which is not here", "what is here is not to blame");
    }

    #[test]
    fn that_a_name_is_gone_is_believed_only_of_both_kinds_of_addresses() {
        let none = || points_to(&[]);
        assert_eq!(Seen::both(points_to(&[HERE]), points_to(&["::1"])), points_to(&[HERE, "::1"]));
        assert_eq!(Seen::both(points_to(&[HERE]), silence()), points_to(&[HERE]));
        assert_eq!(Seen::both(silence(), points_to(&["::1"])), points_to(&["::1"]));
        assert_eq!(Seen::both(none(), none()), none());
        assert_eq!(Seen::both(none(), silence()), silence());
        assert_eq!(Seen::both(silence(), none()), silence());
        assert_eq!(Seen::both(silence(), silence()), silence());
    }

    #[test]
    fn silence_ends_the_service_only_after_some_rounds_in_a_row() {
        let mut guard = Guard::new("db".into(), 3);
        round(&mut guard, points_to(&[HERE]));
        for _ in 0..5 {
            assert_eq!(round(&mut guard, silence()), None);
            assert_eq!(round(&mut guard, silence()), None);
            assert_eq!(round(&mut guard, points_to(&[HERE])), None);
        }
        round(&mut guard, silence());
        round(&mut guard, silence());
        assert_eq!(round(&mut guard, silence()).unwrap(), "db could not be looked up, 3 times in a row: no answer");
        let still = round(&mut guard, silence()).unwrap();
        assert_eq!(still, "db could not be looked up, 3 times in a row: no answer", "nothing new");
        assert_eq!(round(&mut guard, points_to(&[HERE])), None);
    }

    #[test]
    fn who_does_not_know_yet_or_knows_it_elsewhere_does_not_take_silence_for_a_yes() {
        let mut guard = Guard::new("db".into(), 3);
        assert!(round(&mut guard, silence()).is_some());
        round(&mut guard, points_to(&[THERE]));
        let why = round(&mut guard, silence()).unwrap();
        assert!(why.contains("192.0.2.2"), "{why}");
    }
}
