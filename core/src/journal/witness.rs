//! Whether a follower has committed a unit whose answer was lost on the way.
//!
//! The unit is open on the leader still, or its commit is: nobody else changes its rows until it is over, on any node. And
//! the backend that was sent the batch is gone before its rows are looked at. So a row that the unit makes or takes away
//! tells of the whole unit. One that only sets rows to values needs no witness: it may come twice.

use bytes::{Bytes, BytesMut};

use super::{Touch, Touched};
use crate::effect::capture::all_have_keys;
use crate::effect::{Change, FoundBy};
use crate::unit::commit::Fate;
use crate::wire::cursor::Cursor;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    NotNeeded,
    /// One row by its key, that is there after the unit and not before, or the other way round.
    Row {
        row: Touch,
        there_after: bool,
    },
}

impl Witness {
    /// `None`: nothing tells. A row tells nothing that may be made and taken away again, be it by an upsert (which counts as
    /// [`Change::Updated`]) or by ways that cannot be compared.
    pub fn of(touched: &Touched) -> Option<Self> {
        let Touched::Rows(touches) = touched else { return None };
        let made = |touch: &Touch| matches!(touch, Touch::ByKey { finder, .. } if finder.change == Change::Inserted);
        let taken = |touch: &Touch| matches!(touch, Touch::ByKey { finder, .. } if finder.change == Change::Deleted);
        let captured = |touch: &Touch| matches!(touch, Touch::Captured(_));
        if touches.iter().all(may_come_twice) {
            Some(Self::NotNeeded)
        } else if touches.iter().all(taken) {
            row(touches, taken, false)
        } else if !touches.iter().any(|touch| taken(touch) || captured(touch)) {
            row(touches, made, true)
        } else {
            None
        }
    }

    /// What it says, when the row was looked for.
    pub fn fate(there: bool, there_after: bool) -> Fate {
        if there == there_after { Fate::Committed } else { Fate::NotThere }
    }
}

fn may_come_twice(touch: &Touch) -> bool {
    match touch {
        Touch::ByKey { finder, .. } => matches!(finder.change, Change::Updated(_)),
        Touch::Captured(rows) => all_have_keys(rows),
    }
}

fn row(touches: &[Touch], which: impl Fn(&Touch) -> bool, there_after: bool) -> Option<Witness> {
    let row = touches.iter().filter(|touch| which(touch)).find_map(first_by_key)?;
    Some(Witness::Row { row, there_after })
}

fn first_by_key(touch: &Touch) -> Option<Touch> {
    let Touch::ByKey { finder, keys } = touch else { return None };
    let FoundBy::Key(_) = finder.by else { return None };
    let mut cursor = Cursor::new(Bytes::copy_from_slice(keys));
    let mut length = 0;
    for _ in &finder.parameters {
        length += 4 + cursor.value().ok()?.map_or(0, |value| value.len());
    }
    Some(Touch::ByKey { finder: finder.clone(), keys: BytesMut::from(keys.get(..length)?) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Unknown;
    use super::*;
    use crate::effect::Finder;
    use crate::wire::frontend::Format;

    const ONE: &[u8] = b"\0\0\0\x01a\0\0\0\x02bc";

    fn touch(change: Change, by_key: bool) -> Touch {
        let text = "x.id OPERATOR(pg_catalog.=) $1".to_owned();
        let by = if by_key { FoundBy::Key(text) } else { FoundBy::Image(text) };
        let parameters = vec![(0, Format::Text), (1, Format::Text)];
        let finder = Finder { table: "t".into(), by, parameters, width: 2, change };
        Touch::ByKey { finder: Arc::new(finder), keys: BytesMut::from(&[ONE, ONE].concat()[..]) }
    }

    fn witness(touches: &[Touch]) -> Option<Witness> {
        Witness::of(&Touched::Rows(touches.to_vec()))
    }

    #[test]
    fn what_only_sets_values_may_come_twice() {
        let captured = |text: &'static str| Touch::Captured(Bytes::from_static(text.as_bytes()));
        let updated = touch(Change::Updated(vec!["v".into()]), true);
        // {=,public.t,(1)} and {x,public.t,(2)}; then {+,public.t,(3)}, which has no key.
        let (keyed, keyless) =
            (captured("ez0scHVibGljLnQsKDEpfQ==,e3gscHVibGljLnQsKDIpfQ=="), captured("eysscHVibGljLnQsKDMpfQ=="));
        assert_eq!(witness(&[updated.clone(), keyed.clone()]), Some(Witness::NotNeeded));
        assert_eq!(witness(&[updated, keyless]), None);
        assert_eq!(witness(&[keyed, touch(Change::Inserted, true)]), None);
    }

    #[test]
    fn one_row_that_comes_or_goes_tells_of_all() {
        let updated = touch(Change::Updated(vec!["v".into()]), true);
        let (made, taken) = (touch(Change::Inserted, true), touch(Change::Deleted, true));
        let keyless = touch(Change::Inserted, false);
        for (touches, there_after) in
            [(vec![updated.clone(), keyless.clone(), made.clone()], true), (vec![taken.clone(), taken.clone()], false)]
        {
            let Some(Witness::Row { row: Touch::ByKey { keys, .. }, there_after: told }) = witness(&touches) else {
                panic!("{touches:?}")
            };
            assert_eq!((&keys[..], told), (ONE, there_after));
        }
        assert_eq!(witness(&[made, taken.clone()]), None, "it may be the same row");
        assert_eq!(witness(&[updated, taken]), None, "an upsert may have made the row");
        assert_eq!(witness(&[keyless]), None);
        assert_eq!(Witness::of(&Touched::Unknown(Unknown::NoKey)), None);
        assert_eq!([Witness::fate(true, true), Witness::fate(false, false)], [Fate::Committed, Fate::Committed]);
        assert_eq!([Witness::fate(false, true), Witness::fate(true, false)], [Fate::NotThere, Fate::NotThere]);
    }
}
