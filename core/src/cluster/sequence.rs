//! Where sequences stand, and where they are to be put on other nodes.
//!
//! Sequences are not transactional: values are given out that no effect ever carries. So their *state* is copied while a
//! leader lives, and a new leader jumps past what the old one may have given out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// `last_value` and `is_called` of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub last: i64,
    pub called: bool,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.called { write!(f, "{}", self.last) } else { write!(f, "{} (not yet given out)", self.last) }
    }
}

/// How a sequence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counting {
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    pub cycle: bool,
}

/// Positions by the sequence's qualified name.
pub type Positions = BTreeMap<String, Position>;

/// What has to be set on a follower. What the follower lacks is told by [`Lacking`].
///
/// `before` and `now` are two readings of the leader; between them units may have moved the follower past `now`. So a
/// follower that is ahead is put back only when the leader has stood still.
pub fn steps(
    before: &Positions,
    now: &Positions,
    follower: &Positions,
    counting: &BTreeMap<String, Counting>,
) -> Positions {
    let needed = |name: &str, position: Position| match follower.get(name) {
        None => false,
        Some(there) if *there == position => false,
        Some(there) => {
            let descending = counting.get(name).is_some_and(|counting| counting.increment < 0);
            before.get(name) == Some(&position) || is_behind(*there, position, descending)
        }
    };
    now.iter()
        .filter(|(name, position)| needed(name, **position))
        .map(|(name, position)| (name.clone(), *position))
        .collect()
}

/// Sequences of the leader that one follower does not have.
#[derive(Debug, Default)]
pub struct Lacking {
    seen: BTreeSet<String>,
    told: BTreeSet<String>,
}

impl Lacking {
    /// Which are to be told of: each once, and when it was lacking at the last look, too. For followers commit first: one
    /// that is being dropped is on the leader alone for a moment.
    pub fn look(&mut self, leader: &Positions, follower: &Positions) -> Vec<String> {
        let now: BTreeSet<_> = leader.keys().filter(|name| !follower.contains_key(*name)).cloned().collect();
        self.told.retain(|name| now.contains(name));
        let new: Vec<_> =
            now.iter().filter(|name| self.seen.contains(*name) && !self.told.contains(*name)).cloned().collect();
        self.told.extend(new.iter().cloned());
        self.seen = now;
        new
    }

    /// Whether it takes another look to know.
    pub fn is_in_doubt(&self) -> bool {
        self.seen != self.told
    }
}

/// Sequences of a follower that stand where the design does not let them: `there` was read after a levelling that began
/// after `before`, and before `now`, both of the leader. One that has stood still must be level; one that is being drawn
/// from may lie between the two; of one that cycles or was set back meanwhile nothing can be said.
pub fn astray(
    before: &Positions,
    there: &Positions,
    now: &Positions,
    counting: &BTreeMap<String, Counting>,
) -> Vec<String> {
    let wrong = |name: &String, there: Position| {
        let (Some(before), Some(now)) = (before.get(name), now.get(name)) else { return false };
        let Some(counting) = counting.get(name) else { return false };
        let descending = counting.increment < 0;
        if before == now {
            return there != *now;
        }
        if counting.cycle || is_behind(*now, *before, descending) {
            return false;
        }
        is_behind(there, *before, descending) || is_behind(*now, there, descending)
    };
    there.iter().filter(|(name, there)| wrong(name, **there)).map(|(name, _)| name.clone()).collect()
}

fn is_behind(there: Position, here: Position, descending: bool) -> bool {
    let key = |position: Position| {
        (if descending { -i128::from(position.last) } else { position.last.into() }, position.called)
    };
    key(there) < key(here)
}

/// Where a sequence of a new leader goes on, `gap` values past where it stands. Near its end it takes only half of what
/// is left, so that a takeover never exhausts it; a cycling sequence may repeat values anyway and starts over.
pub fn jump(from: Position, counting: Counting, gap: u64) -> Position {
    let Counting { increment, min, max, cycle } = counting;
    let step = i128::from(increment);
    let last = i128::from(from.last);
    let room = if step > 0 { (i128::from(max) - last) / step } else { (last - i128::from(min)) / -step };
    let wanted = i128::from(gap);
    let steps = match () {
        () if wanted <= room / 2 => wanted,
        () if cycle && wanted > room => {
            return Position { last: if step > 0 { min } else { max }, called: false };
        }
        () => (room / 2).max(0),
    };
    let last = i64::try_from(last + steps * step).unwrap_or(from.last);
    Position { last, called: from.called || steps > 0 }
}

/// Where a sequence counts on from when a column that it serves holds `value`, the farthest in its direction. It keeps to
/// the values that it would give out. One that would have none left stays: such a value was put in by hand, and a
/// sequence that has come to its end is worse than one value given out twice. One that cycles may repeat values anyway.
pub fn past(from: Position, value: i64, counting: Counting) -> Position {
    let Counting { increment, min, max, cycle } = counting;
    let step = i128::from(increment);
    let ahead = (i128::from(value) - i128::from(from.last)) * step.signum();
    if cycle || ahead < 0 || step == 0 {
        return from;
    }
    let size = step.abs();
    let steps = (ahead + size - 1) / size;
    let last = i128::from(from.last) + steps * step;
    let next = last + step;
    if next < i128::from(min) || next > i128::from(max) {
        return from;
    }
    Position { last: i64::try_from(last).unwrap_or(from.last), called: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Counting = Counting { increment: 1, min: 1, max: i64::MAX, cycle: false };
    const DOWN: Counting = Counting { increment: -2, min: i64::MIN, max: -1, cycle: false };

    fn at(last: i64) -> Position {
        Position { last, called: true }
    }

    fn one(position: Position) -> Positions {
        [("s".to_owned(), position)].into()
    }

    fn counting(how: Counting) -> BTreeMap<String, Counting> {
        [("s".to_owned(), how)].into()
    }

    #[test]
    fn a_follower_that_is_behind_is_moved_at_once() {
        assert_eq!(steps(&one(at(3)), &one(at(5)), &one(at(4)), &counting(UP)), one(at(5)));
        assert_eq!(steps(&one(at(-1)), &one(at(-5)), &one(at(-3)), &counting(DOWN)), one(at(-5)));
        let unused = Position { last: 1, called: false };
        assert_eq!(steps(&Positions::new(), &one(at(1)), &one(unused), &counting(UP)), one(at(1)));
    }

    #[test]
    fn a_follower_that_is_ahead_is_put_back_only_when_the_leader_stands_still() {
        assert_eq!(steps(&one(at(3)), &one(at(5)), &one(at(6)), &counting(UP)), Positions::new());
        assert_eq!(steps(&one(at(5)), &one(at(5)), &one(at(6)), &counting(UP)), one(at(5)));
    }

    #[test]
    fn what_is_level_or_missing_is_left_alone() {
        assert_eq!(steps(&one(at(5)), &one(at(5)), &one(at(5)), &counting(UP)), Positions::new());
        assert_eq!(steps(&one(at(5)), &one(at(5)), &Positions::new(), &counting(UP)), Positions::new());
    }

    #[test]
    fn a_sequence_that_a_follower_lacks_is_told_once_when_it_is_not_just_being_dropped() {
        let (has, has_not, mut lacking) = (one(at(5)), Positions::new(), Lacking::default());
        for expected in [&[][..], &["s"], &[], &[]] {
            assert_eq!(lacking.look(&has, &has_not), expected);
            assert_eq!(lacking.is_in_doubt(), !lacking.told.contains("s"));
        }
        assert_eq!(lacking.look(&has, &has), [""; 0]);
        assert!(!lacking.is_in_doubt());
        assert_eq!(lacking.look(&has, &has_not), [""; 0], "it may be dropped");
        assert_eq!(lacking.look(&has_not, &has_not), [""; 0], "it was");
        assert_eq!([lacking.look(&has, &has_not), lacking.look(&has, &has_not)], [vec![], vec!["s".to_owned()]]);
    }

    #[test]
    fn a_follower_may_lag_only_behind_a_leader_that_moves_and_never_be_ahead() {
        let astray = |before, there, now| !astray(&one(before), &one(there), &one(now), &counting(UP)).is_empty();
        assert!(!astray(at(5), at(5), at(5)));
        assert!(astray(at(5), at(4), at(5)) && astray(at(5), at(6), at(5)), "it stands still");
        assert!(!astray(at(5), at(6), at(9)));
        assert!(astray(at(5), at(4), at(9)), "it was levelled after 5 had been given out");
        assert!(astray(at(5), at(10), at(9)));
        assert!(!astray(at(9), at(9), at(3)), "it was set back meanwhile");
    }

    #[test]
    fn a_jump_goes_in_the_sequences_own_direction() {
        assert_eq!(jump(at(10), UP, 1000), at(1010));
        assert_eq!(jump(at(-10), DOWN, 1000), at(-2010));
        assert_eq!(jump(Position { last: 1, called: false }, UP, 1000), at(1001));
    }

    #[test]
    fn a_jump_never_exhausts_a_sequence() {
        let small = Counting { max: 100, ..UP };
        assert_eq!(jump(at(90), small, 1000), at(95));
        assert_eq!(jump(at(100), small, 1000), at(100));
        let top = Counting { increment: i64::MAX, ..UP };
        assert_eq!(jump(at(1), top, u64::MAX), at(1));
    }

    #[test]
    fn a_cycling_sequence_starts_over() {
        let ring = Counting { max: 100, cycle: true, ..UP };
        assert_eq!(jump(at(90), ring, 1000), Position { last: 1, called: false });
    }

    #[test]
    fn a_sequence_counts_on_past_what_its_column_holds() {
        assert_eq!(past(at(1), 5000, UP), at(5000));
        assert_eq!(past(at(-1), -10, DOWN), at(-11), "it keeps to its own values");
        assert_eq!(past(Position { last: 1, called: false }, 1, UP), at(1));
        assert_eq!(past(at(10), 5, UP), at(10), "it is past that");
    }

    #[test]
    fn a_value_at_the_end_of_a_sequence_does_not_exhaust_it() {
        let small = Counting { max: 100, ..UP };
        assert_eq!(past(at(10), 100, small), at(10));
        assert_eq!(past(at(10), i64::MAX, small), at(10));
        assert_eq!(past(at(10), 99, small), at(99));
        assert_eq!(past(at(10), 50, Counting { cycle: true, ..small }), at(10));
    }
}
