//! What attempts to reach a node say about it.
//!
//! Invariant: only the node's own silence or refusal counts against it. What the proxy's machine lacks (descriptors,
//! memory, ports, processor time) does not, and neither does any answer of a server that still answers.

use std::io;
use std::time::Duration;

/// What one attempt met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// A server answered, be it with an error that is not its end.
    Answered,
    /// Nobody is there, or the server says that it is going: more attempts would tell nothing new.
    Down(String),
    /// No answer, or a broken one: may be the network's hiccup.
    Silent(String),
    /// It answers on what is open, and lets nobody in for longer than is waited for.
    Shut(String),
    /// It answers and lets people in, but its disk has stood still for longer than is waited for.
    Stuck(String),
    /// It answers, and another proxy uses it.
    Taken(String),
    /// The attempt did not get as far as the node.
    Local(String),
}

impl Observation {
    /// From an error of the operating system while connecting or reading.
    pub fn from_io(error: &io::Error) -> Self {
        let text = error.to_string();
        match error.raw_os_error() {
            Some(errno::CONNECTION_REFUSED | errno::NO_ENTRY) => Self::Down(text),
            Some(code) if errno::LOCAL.contains(&code) => Self::Local(text),
            _ if error.kind() == io::ErrorKind::OutOfMemory => Self::Local(text),
            _ => Self::Silent(text),
        }
    }

    /// From an ErrorResponse. A server that is starting or stopping (57P03) is as good as gone; one that ended just our
    /// connection (57P01, 57P02) is asked again.
    pub fn from_sqlstate(code: &str, message: &str) -> Self {
        match code {
            "57P03" => Self::Down(message.to_owned()),
            "57P01" | "57P02" => Self::Silent(message.to_owned()),
            _ => Self::Answered,
        }
    }
}

/// Linux' numbers, as `std` reports them.
mod errno {
    pub const NO_ENTRY: i32 = 2;
    pub const CONNECTION_REFUSED: i32 = 111;
    /// EAGAIN (a Unix socket's queue is full), ENOMEM, EACCES, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS, EPERM.
    pub const LOCAL: [i32; 8] = [11, 12, 13, 23, 24, 99, 105, 1];
}

/// Why a node is taken for dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Death {
    /// Nobody is there, or the server itself says so.
    Gone(String),
    /// It has given no answer again and again: it, its disk, the network or this machine may stand still.
    Silent { why: String, meanwhile: Meanwhile },
    /// Its disk stands still. Another look that does not write would not see it.
    Stuck(String),
    /// It lives, for another proxy.
    Taken(String),
}

/// What others did while a node was silent to the last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    Answered,
    Unknown,
}

impl Death {
    pub fn why(self) -> String {
        match self {
            Self::Gone(why) | Self::Silent { why, .. } | Self::Stuck(why) | Self::Taken(why) => why,
        }
    }
}

/// What is known after some attempts in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    Alive,
    Dead(Death),
    /// Nothing could be shown, for want of means on the proxy's side.
    Unproved(String),
    /// Try again.
    Again,
}

/// Judges one node by consecutive attempts.
#[derive(Debug)]
pub struct Judge {
    /// Attempts that must fail in a row.
    needed: u32,
    silent: u32,
    local: u32,
}

impl Judge {
    pub fn new(retries: u32) -> Self {
        Self { needed: retries.max(1), silent: 0, local: 0 }
    }

    /// `took` is how long the attempt took, `limit` how long it was given, `meanwhile` what others did in that time.
    pub fn observe(&mut self, seen: Observation, took: Duration, limit: Duration, meanwhile: Meanwhile) -> Judgement {
        match seen {
            Observation::Answered => Judgement::Alive,
            Observation::Down(why) => Judgement::Dead(Death::Gone(why)),
            Observation::Shut(why) => Judgement::Dead(Death::Silent { why, meanwhile }),
            Observation::Stuck(why) => Judgement::Dead(Death::Stuck(why)),
            Observation::Taken(why) => Judgement::Dead(Death::Taken(why)),
            Observation::Silent(why) if overslept(took, limit) => self.unproved(why),
            Observation::Local(why) => self.unproved(why),
            Observation::Silent(why) => {
                self.silent += 1;
                if self.silent < self.needed {
                    return Judgement::Again;
                }
                Judgement::Dead(Death::Silent { why, meanwhile })
            }
        }
    }

    fn unproved(&mut self, why: String) -> Judgement {
        self.local += 1;
        if self.local > self.needed { Judgement::Unproved(why) } else { Judgement::Again }
    }
}

/// What a death means for the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Others go on without the node.
    Lost,
    /// Nobody answers: look again.
    Undecided,
    /// Nobody answers, and there is nothing to wait for; or it is another proxy's turn.
    AllLost,
}

/// Judges a death by the `others` that are active. Where none of them lives there is nobody to go on, and the fault may be
/// ours or the network's: nobody is left behind for it. A silence of all is waited out while `patient`, for all connections
/// live on in it: to clients it is one server's stall. And when it ends, who answers first says nothing against the next:
/// one of the others must have been `heard` before the last look at the node, or during it.
///
/// Where another proxy uses one of them, this one has stood still or was cut off for so long that it was relieved, and knows
/// nothing of what is on any of them: nobody goes on, until that one has gone.
pub fn find(death: &Death, others: &[Judgement], patient: bool, heard: bool) -> Finding {
    let taken = |judgement: &Judgement| matches!(judgement, Judgement::Dead(Death::Taken(_)));
    if matches!(death, Death::Taken(_)) || others.iter().any(taken) {
        return Finding::AllLost;
    }
    let silent = |judgement: &Judgement| matches!(judgement, Judgement::Dead(Death::Silent { .. } | Death::Stuck(_)));
    let (proved, stalled) = match death {
        Death::Gone(_) | Death::Taken(_) => (true, false),
        Death::Stuck(_) => (true, true),
        Death::Silent { meanwhile, .. } => (heard || *meanwhile == Meanwhile::Answered, true),
    };
    if witnessed(others) {
        if proved { Finding::Lost } else { Finding::Undecided }
    } else if patient && (stalled || others.iter().any(silent)) {
        Finding::Undecided
    } else {
        Finding::AllLost
    }
}

/// Whether any of them may live.
pub fn witnessed(others: &[Judgement]) -> bool {
    others.iter().any(|judgement| !matches!(judgement, Judgement::Dead(_)))
}

/// A timer that fired far too late means that this process did not run: the node may have answered long ago.
fn overslept(took: Duration, limit: Duration) -> bool {
    took > limit * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn silent() -> Observation {
        Observation::Silent("timed out".into())
    }

    #[test]
    fn a_refused_connection_is_death_at_once() {
        let refused = Observation::from_io(&io::Error::from_raw_os_error(errno::CONNECTION_REFUSED));
        assert!(matches!(
            Judge::new(5).observe(refused, Duration::ZERO, LIMIT, Meanwhile::Unknown),
            Judgement::Dead(_)
        ));
    }

    #[test]
    fn silence_is_death_only_when_repeated() {
        let mut judge = Judge::new(2);
        assert_eq!(judge.observe(silent(), LIMIT, LIMIT, Meanwhile::Unknown), Judgement::Again);
        assert!(matches!(judge.observe(silent(), LIMIT, LIMIT, Meanwhile::Unknown), Judgement::Dead(_)));
    }

    #[test]
    fn what_stands_still_for_long_is_dead_at_once() {
        let observe = |seen| Judge::new(5).observe(seen, LIMIT * 10, LIMIT, Meanwhile::Answered);
        assert_eq!(observe(Observation::Shut("timed out".into())), Judgement::Dead(death(Meanwhile::Answered)));
        assert_eq!(observe(Observation::Stuck("disk".into())), Judgement::Dead(Death::Stuck("disk".into())));
    }

    #[test]
    fn what_the_proxy_lacks_never_counts_against_a_node() {
        let mut judge = Judge::new(2);
        for code in errno::LOCAL {
            let seen = Observation::from_io(&io::Error::from_raw_os_error(code));
            assert!(matches!(
                judge.observe(seen, Duration::ZERO, LIMIT, Meanwhile::Unknown),
                Judgement::Again | Judgement::Unproved(_)
            ));
        }
    }

    #[test]
    fn a_timer_that_fired_late_proves_nothing() {
        let mut judge = Judge::new(1);
        assert_eq!(judge.observe(silent(), LIMIT * 3, LIMIT, Meanwhile::Unknown), Judgement::Again);
        assert!(matches!(judge.observe(silent(), LIMIT * 3, LIMIT, Meanwhile::Unknown), Judgement::Unproved(_)));
    }

    fn death(meanwhile: Meanwhile) -> Death {
        Death::Silent { why: "timed out".into(), meanwhile }
    }

    #[test]
    fn a_silence_of_all_is_waited_out_and_an_end_of_all_is_not() {
        let (gone, silence) = (Death::Gone("refused".into()), death(Meanwhile::Unknown));
        let stuck = Death::Stuck("disk".into());
        let dead = |death: &Death| Judgement::Dead(death.clone());
        for (death, others, patient, finding) in [
            (&silence, vec![dead(&silence)], true, Finding::Undecided),
            (&gone, vec![dead(&silence)], true, Finding::Undecided),
            (&silence, vec![], true, Finding::Undecided),
            (&stuck, vec![], true, Finding::Undecided),
            (&gone, vec![dead(&stuck)], true, Finding::Undecided),
            (&stuck, vec![dead(&gone)], false, Finding::AllLost),
            (&silence, vec![dead(&silence)], false, Finding::AllLost),
            (&gone, vec![dead(&gone)], true, Finding::AllLost),
            (&gone, vec![], true, Finding::AllLost),
        ] {
            assert_eq!(find(death, &others, patient, false), finding, "{death:?} {others:?}");
        }
    }

    #[test]
    fn nobody_goes_on_where_another_proxy_uses_a_node() {
        let (taken, gone) = (Death::Taken("by another".into()), Death::Gone("refused".into()));
        assert_eq!(find(&taken, &[Judgement::Alive], true, true), Finding::AllLost);
        assert_eq!(find(&gone, &[Judgement::Dead(taken)], true, true), Finding::AllLost);
    }

    #[test]
    fn who_is_silent_is_lost_when_another_was_heard_meanwhile_and_who_is_gone_at_once() {
        let gone = Death::Gone("refused".into());
        for (death, witness, heard, finding) in [
            (death(Meanwhile::Answered), Judgement::Alive, false, Finding::Lost),
            (death(Meanwhile::Unknown), Judgement::Alive, true, Finding::Lost),
            (death(Meanwhile::Unknown), Judgement::Unproved("no descriptor".into()), true, Finding::Lost),
            (death(Meanwhile::Unknown), Judgement::Alive, false, Finding::Undecided),
            (gone.clone(), Judgement::Alive, false, Finding::Lost),
            (Death::Stuck("disk".into()), Judgement::Alive, false, Finding::Lost),
        ] {
            let others = [Judgement::Dead(gone.clone()), witness];
            assert_eq!(find(&death, &others, true, heard), finding, "{death:?} {others:?}");
        }
    }

    #[test]
    fn any_answer_but_a_farewell_is_life() {
        for code in ["53300", "28P01", "3D000", "XX000"] {
            assert_eq!(Observation::from_sqlstate(code, "no"), Observation::Answered);
        }
        assert!(matches!(Observation::from_sqlstate("57P03", "starting up"), Observation::Down(_)));
        assert!(matches!(Observation::from_sqlstate("57P01", "terminated"), Observation::Silent(_)));
    }
}
