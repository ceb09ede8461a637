//! A follower's batch that waits: for whom, and what is done about it.
//!
//! A unit's locks are held on the leader until its followers have committed, so a batch never waits for another unit (R1).
//! It may wait for a command of ours outside transactions, which each node does in its own time. And for a stranger's lock:
//! somebody who works on the follower past the proxy, an administrator or a dump. All that time the unit holds its locks, and
//! everybody who wants them waits too. So the stranger is named, given some time, and then ended, or the follower is given
//! up, as the operator has chosen.

use std::fmt;
use std::time::Duration;

/// How long a batch may wait before anybody asks for what, and how long it is until that is asked again.
pub const LOOK: Duration = Duration::from_secs(2);

/// Who holds the lock that a batch waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Of its server process.
    pub pid: u32,
    pub kind: BlockerKind,
    /// As a log names it.
    pub who: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockerKind {
    /// Another batch of ours, which cannot be.
    Ours,
    /// A command of ours that runs outside transactions, such as VACUUM FULL: on the leader it has come to its end, and
    /// nobody waits for it there any more.
    Command,
    Stranger,
    /// A transaction prepared past the proxy: it has no process that could be ended.
    Prepared,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            BlockerKind::Command => write!(f, "a command of the proxy's own ({})", self.who),
            BlockerKind::Ours => write!(f, "another unit of the proxy's own ({})", self.who),
            BlockerKind::Stranger => f.write_str(&self.who),
            BlockerKind::Prepared => f.write_str("a prepared transaction"),
        }
    }
}

/// What becomes of strangers who hold up a commit for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// Their sessions on the follower are ended.
    End,
    /// They stay, and the follower is degraded.
    Degrade,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nobody blocks it: it is at work.
    Wait,
    /// Say for whom it waits, and go on waiting.
    Name(String),
    /// End these processes.
    End(Vec<u32>),
    /// The follower cannot be waited for any longer, for this reason.
    GiveUp(String),
}

/// What is to be done about a batch that has waited for `waited` and is blocked by these.
pub fn judge(blockers: &[Blocker], waited: Duration, patience: Duration, strangers: Strangers) -> Step {
    let Some(first) = blockers.first() else { return Step::Wait };
    // It comes to its end; who holds it up is looked for by its own watch.
    if let Some(command) = blockers.iter().find(|blocker| blocker.kind == BlockerKind::Command) {
        return Step::Name(command.to_string());
    }
    if waited < patience {
        return Step::Name(first.to_string());
    }
    let is_stranger = |blocker: &&Blocker| blocker.kind == BlockerKind::Stranger;
    match strangers {
        Strangers::End if blockers.iter().all(|blocker| is_stranger(&blocker)) => {
            Step::End(blockers.iter().map(|blocker| blocker.pid).collect())
        }
        _ => {
            let in_the_way = blockers.iter().find(|blocker| strangers == Strangers::Degrade || !is_stranger(blocker));
            Step::GiveUp(format!("a commit waited there for a lock of {}", in_the_way.unwrap_or(first)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn blocker(kind: BlockerKind) -> Blocker {
        Blocker { pid: 7, kind, who: "psql".into() }
    }

    fn late(blockers: &[Blocker], strangers: Strangers) -> Step {
        judge(blockers, PATIENCE, PATIENCE, strangers)
    }

    #[test]
    fn a_batch_that_nobody_blocks_is_at_work_however_long_it_takes() {
        assert_eq!(late(&[], Strangers::End), Step::Wait);
        assert_eq!(late(&[], Strangers::Degrade), Step::Wait);
    }

    #[test]
    fn whoever_blocks_it_is_named_first() {
        let soon = judge(&[blocker(BlockerKind::Stranger)], LOOK, PATIENCE, Strangers::Degrade);
        assert_eq!(soon, Step::Name("psql".into()));
    }

    #[test]
    fn a_stranger_is_ended_or_the_follower_given_up_as_the_operator_says() {
        let stranger = [blocker(BlockerKind::Stranger)];
        assert_eq!(late(&stranger, Strangers::End), Step::End(vec![7]));
        assert!(matches!(late(&stranger, Strangers::Degrade), Step::GiveUp(why) if why.contains("psql")));
    }

    #[test]
    fn a_command_of_ours_is_waited_for_until_it_ends() {
        for kind in [BlockerKind::Stranger, BlockerKind::Prepared, BlockerKind::Ours] {
            let both = [blocker(kind), blocker(BlockerKind::Command)];
            for strangers in [Strangers::End, Strangers::Degrade] {
                assert!(matches!(late(&both, strangers), Step::Name(who) if who.contains("a command")), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_unit_of_ours_and_a_prepared_transaction_are_never_ended() {
        for kind in [BlockerKind::Ours, BlockerKind::Prepared] {
            let both = [blocker(BlockerKind::Stranger), blocker(kind)];
            assert!(matches!(late(&both, Strangers::End), Step::GiveUp(why) if !why.ends_with("psql")), "{kind:?}");
        }
    }
}
