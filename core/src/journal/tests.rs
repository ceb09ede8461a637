use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::cluster::{Member, MemberState, Membership};
use crate::effect::capture::APPLY;
use crate::effect::{Change, EffectColumn, Finder, FoundBy, RowEffect, RowKind, Rows};
use crate::id::{Epoch, NodeId};
use crate::unit::Log;
use crate::wire::frontend::Format;

const SIZE: usize = 4096;

fn origin() -> Origin {
    Origin { cluster: "c".into(), boot: "b".into(), outlives: Outlives::Process }
}

fn finder(table: &str) -> Arc<Finder> {
    let parameters = vec![(0, Format::Binary), (2, Format::Text)];
    let change = Change::Updated(vec!["v".into()]);
    let by = FoundBy::Key("x.id OPERATOR(pg_catalog.=) $1".into());
    Arc::new(Finder { table: table.into(), by, parameters, width: 3, change })
}

fn rows(table: &str, key: &[u8]) -> Touched {
    let by_key = Touch::ByKey { finder: finder(table), keys: BytesMut::from(key) };
    Touched::Rows(vec![by_key, Touch::Captured(Bytes::from_static(b"eA=="))])
}

fn file(segment: &mut Segment) -> Vec<u8> {
    let mut bytes = segment.take().to_vec();
    bytes.resize(SIZE, 0);
    bytes
}

fn written() -> Vec<u8> {
    let mut segment = Segment::new(&origin());
    segment.note("midna", Epoch(3), "now");
    segment.open(UnitNumber(1), "app", &rows("t", b"k1"));
    segment.open(UnitNumber(2), "app", &Touched::Unknown(Unknown::NoKey));
    segment.close(UnitNumber(1));
    segment.open(UnitNumber(3), "other", &rows("t", b"k3"));
    file(&mut segment)
}

#[test]
fn what_was_written_is_read() {
    let contents = read(&written().into(), SIZE).unwrap();
    assert_eq!(contents.origin, origin());
    assert_eq!(contents.notes["midna"], Note { epoch: Epoch(3), start: "now".into() });
    let open: Vec<_> = contents.open.keys().copied().collect();
    assert_eq!(open, [UnitNumber(2), UnitNumber(3)]);
    let third = &contents.open[&UnitNumber(3)];
    assert_eq!(*third, OpenUnit { database: "other".into(), touched: rows("t", b"k3") });
}

#[test]
fn a_file_that_was_cut_off_or_goes_on_is_not_believed() {
    let whole = written();
    for length in 0..whole.len() {
        assert!(read(&whole[..length].to_vec().into(), SIZE).is_err(), "cut at {length}");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(matches!(read(&longer.into(), SIZE), Err(Damage::Length { .. })));
}

#[test]
fn a_record_that_is_there_twice_or_not_at_all_is_noticed() {
    let mut segment = Segment::new(&origin());
    let head = segment.take();
    let record = |segment: &mut Segment, number| {
        segment.open(UnitNumber(number), "app", &Touched::Unknown(Unknown::NoKey));
        segment.take()
    };
    let (first, second) = (record(&mut segment, 1), record(&mut segment, 2));
    let joined = |parts: &[&BytesMut]| {
        let mut bytes = parts.iter().flat_map(|part| part.to_vec()).collect::<Vec<_>>();
        bytes.resize(SIZE, 0);
        read(&bytes.into(), SIZE).map(|contents| contents.open.len())
    };
    assert_eq!(joined(&[&head, &first, &second]), Ok(2));
    for wrong in [vec![&head, &second], vec![&head, &first, &first], vec![&head, &second, &first]] {
        assert!(matches!(joined(&wrong), Err(Damage::Record(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// But for a bit of what was never written: that is noticed too.
    #[test]
    fn a_flipped_bit_is_noticed(at in 0..SIZE * 8) {
        let mut bytes = written();
        bytes[at / 8] ^= 1 << (at % 8);
        prop_assert!(read(&bytes.into(), SIZE).is_err());
    }

    /// A page that never came to the disk, or nonsense in its place.
    #[test]
    fn lost_bytes_are_noticed(from in 0..400_usize, length in 1..400_usize, with in any::<u8>()) {
        let whole = written();
        let mut bytes = whole.clone();
        bytes[from..from + length].fill(with);
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        let same_but_a_tail = with == 0 && from + length > end;
        prop_assume!(bytes != whole && !same_but_a_tail);
        prop_assert!(read(&bytes.into(), SIZE).is_err());
    }

    #[test]
    fn nonsense_is_never_believed(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut file = MAGIC.to_vec();
        file.extend(bytes);
        file.resize(SIZE, 0);
        prop_assert!(read(&file.into(), SIZE).is_err());
    }
}

fn contents(change: impl FnOnce(&mut Segment)) -> Contents {
    contents_of(&origin(), change)
}

fn contents_of(origin: &Origin, change: impl FnOnce(&mut Segment)) -> Contents {
    let mut segment = Segment::new(origin);
    segment.note("a", Epoch(5), "monday");
    segment.note("b", Epoch(5), "tuesday");
    change(&mut segment);
    read(&file(&mut segment).into(), SIZE).unwrap()
}

fn present() -> [Present; 2] {
    [("a", "monday"), ("b", "tuesday")].map(|(name, start)| Present { name: name.into(), start: Some(start.into()) })
}

#[test]
fn only_what_is_certain_is_settled() {
    let judged = |contents, boot: &str, epoch, nodes: &[Present]| {
        judge(contents, &Origin { boot: boot.into(), ..origin() }, epoch, nodes).map(|units| units.len())
    };
    let one = |segment: &mut Segment| segment.open(UnitNumber(7), "app", &rows("t", b"k"));
    assert_eq!(judged(contents(|_| ()), "b", Epoch(5), &present()), Ok(0));
    assert_eq!(judged(contents(one), "b", Epoch(5), &present()), Ok(1));
    assert_eq!(judged(contents(one), "later", Epoch(5), &present()), Err(Doubt::Boot));
    let forced = contents_of(&Origin { outlives: Outlives::Machine, ..origin() }, one);
    assert_eq!(judged(forced, "later", Epoch(5), &present()), Ok(1), "it was on disk");
    assert!(matches!(judged(contents(one), "b", Epoch(6), &present()), Err(Doubt::Epoch { .. })));
    for start in [None, Some("wednesday".into())] {
        let again = [Present { name: "a".into(), start }];
        assert!(matches!(judged(contents(one), "b", Epoch(5), &again), Err(Doubt::Restarted { .. })));
    }
    let unknown = |segment: &mut Segment| segment.open(UnitNumber(7), "app", &Touched::Unknown(Unknown::Statement));
    assert!(matches!(judged(contents(unknown), "b", Epoch(5), &present()), Err(Doubt::Unknown { .. })));
    let stranger = judge(contents(one), &Origin { cluster: "x".into(), ..origin() }, Epoch(5), &present());
    assert_eq!(stranger, Err(Doubt::Cluster));
}

#[test]
fn the_former_leader_is_right_where_it_is_there_and_else_the_next() {
    let member = |name: &str| Member {
        name: name.into(),
        address: String::new(),
        weight: 1,
        state: MemberState::Active,
        reason: String::new(),
        since: 0,
    };
    let members = vec![member("a"), member("b"), member("c")];
    let known = |leading| Membership { epoch: Epoch(5), members: members.clone(), leading };
    let [a, b, c] = [NodeId(0), NodeId(1), NodeId(2)];
    let settled = |leading| {
        let open = |segment: &mut Segment| {
            segment.open(UnitNumber(7), "app", &rows("t", b"k"));
            segment.open(UnitNumber(8), "app", &rows("u", b"l"));
        };
        settle(contents(open), &origin(), &known(leading), (a, &[b]), &present()).unwrap()
    };
    let Settlement { right, others, units, touches } = settled(Some(b));
    assert_eq!((right, others, units), (b, vec![a], 2));
    assert_eq!((touches.len(), touches["app"].len()), (1, 4));
    for leading in [None, Some(a), Some(c)] {
        assert_eq!((settled(leading).right, settled(leading).others), (a, vec![b]), "{leading:?}");
    }
}

fn effect(kind: RowKind, key: Option<&str>) -> RowEffect {
    let column = |name: &str| EffectColumn {
        name: name.into(),
        type_name: "\"pg_catalog\".\"int4\"".into(),
        format: Format::Binary,
        equality: (key == Some(name)).then(|| "OPERATOR(\"pg_catalog\".=)".into()),
        as_bytes: None,
        fixed: false,
    };
    let key = key.map(|name| (name.to_owned(), "OPERATOR(\"pg_catalog\".=)".to_owned()));
    RowEffect::new(Rows {
        table: "\"s\".\"t\"".into(),
        kind,
        columns: vec![column("v"), column("id")],
        whole: false,
        chunkable: true,
        overriding: false,
        key: key.into_iter().collect(),
    })
}

/// Two rows of two values each.
const VALUES: &[u8] = &[0, 0, 0, 1, 7, 0, 0, 0, 1, 1, 0, 0, 0, 1, 8, 0, 0, 0, 1, 2];

#[test]
fn a_batch_tells_the_keys_of_its_rows_and_nothing_else_of_them() {
    let effect = effect(RowKind::Update, Some("id"));
    let mut log = Log::default();
    log.execute(&effect.multi(2), &[Format::Binary], 4, VALUES);
    log.role("x");
    log.execute(&effect.single, &[Format::Binary], 2, &VALUES[..10]);
    log.execute(&APPLY, &[Format::Text], 2, &[0, 0, 0, 2, b'e', b'A', 0, 0, 0, 1, b's']);
    let Touched::Rows(touches) = Touched::of(&log.take_batch()) else { panic!("it has rows only") };
    let [Touch::ByKey { finder, keys }, Touch::Captured(rows)] = &touches[..] else { panic!("{touches:?}") };
    let by = "x.\"id\" OPERATOR(\"pg_catalog\".=) $1::\"pg_catalog\".\"int4\"";
    assert_eq!(finder.by, FoundBy::Key(by.into()));
    assert_eq!((finder.change.clone(), finder.width), (Change::Updated(vec!["v".into()]), 2));
    assert_eq!(keys[..], [0, 0, 0, 1, 1, 0, 0, 0, 1, 2, 0, 0, 0, 1, 1]);
    assert_eq!(rows[..], *b"eA");
}

#[test]
fn rows_meet_when_they_may_be_the_same_one() {
    let row = |kind: RowKind, key: &str, value: u8| {
        let mut log = Log::default();
        let parameters = [0, 0, 0, 1, value, 0, 0, 0, 1, value];
        log.execute(&effect(kind, Some(key)).single, &[Format::Binary], 2, &parameters);
        Touched::of(&log.take_batch())
    };
    let one = row(RowKind::Update, "id", 1);
    assert!(one.may_meet(&row(RowKind::Update, "id", 1)) && one.may_meet(&row(RowKind::Delete, "id", 1)));
    assert!(!one.may_meet(&row(RowKind::Update, "id", 2)));
    assert!(one.may_meet(&row(RowKind::Update, "v", 2)), "found by another key");
    assert!(!one.may_meet(&row(RowKind::Insert, "id", 1)), "what was there cannot be inserted");
    assert!(one.may_meet(&Touched::Unknown(Unknown::TooMany)));
    assert!(!Touched::Rows(Vec::new()).may_meet(&Touched::Unknown(Unknown::TooMany)));
}

#[test]
fn a_new_row_without_a_key_is_found_by_itself() {
    let effect = effect(RowKind::Insert, None);
    let mut log = Log::default();
    log.execute(&effect.single, &[Format::Binary], 2, &[0, 0, 0, 1, 7, 255, 255, 255, 255]);
    let Touched::Rows(touches) = Touched::of(&log.take_batch()) else { panic!("it has rows only") };
    let [Touch::ByKey { finder, keys }] = &touches[..] else { panic!("{touches:?}") };
    let row = "ROW($1::\"pg_catalog\".\"int4\",$2::\"pg_catalog\".\"int4\")";
    assert_eq!(finder.by, FoundBy::Image(row.into()));
    assert_eq!(keys[..], [0, 0, 0, 1, 7, 255, 255, 255, 255]);
}

#[test]
fn what_is_not_rows_by_key_is_said_to_be_so() {
    let touched = |fill: &dyn Fn(&mut Log)| {
        let mut log = Log::default();
        fill(&mut log);
        Touched::of(&log.take_batch())
    };
    let keyless = effect(RowKind::Delete, None);
    let insert = |log: &mut Log| log.execute(&keyless.single, &[Format::Binary], 2, &VALUES[..10]);
    assert_eq!(touched(&insert), Touched::Unknown(Unknown::NoKey));
    assert_eq!(touched(&|log| log.schema_change("CREATE TABLE t ()")), Touched::Unknown(Unknown::Statement));
    assert_eq!(touched(&|log| log.copy_begin("SELECT 1", "COPY t FROM STDIN")), Touched::Unknown(Unknown::Statement));
    let spilled = |log: &mut Log| {
        (0..crate::limits::LOG_IN_MEMORY / 60).for_each(|_| insert(log));
        assert!(log.take_spill().is_some());
    };
    assert_eq!(touched(&spilled), Touched::Unknown(Unknown::TooMany));
    let effect = effect(RowKind::Update, Some("id"));
    let many = |log: &mut Log| {
        (0..crate::limits::JOURNALLED / 4)
            .for_each(|_| log.execute(&effect.single, &[Format::Binary], 2, &VALUES[..10]));
    };
    assert_eq!(touched(&many), Touched::Unknown(Unknown::TooMany));
}
