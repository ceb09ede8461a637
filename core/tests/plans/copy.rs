use std::sync::Arc;

use lockstep_core::plan::landing::Texts;
use lockstep_core::plan::{Action, CopyRows, Quoting};

use crate::{assert_refused, plan};

fn rows(sql: &str) -> Arc<CopyRows> {
    match &plan(sql).action {
        Action::CopyRows(copy) => copy.clone(),
        other => panic!("{sql}: {other:?}"),
    }
}

fn texts(sql: &str) -> Texts {
    rows(sql).texts(sql.as_bytes(), sql).unwrap()
}

#[test]
fn copy_in_names_its_table_and_columns() {
    let copy = |sql: &str| match &plan(sql).action {
        Action::CopyIn(copy) => copy.clone(),
        other => panic!("{sql}: {other:?}"),
    };
    let csv = copy("COPY tree FROM STDIN WITH (FORMAT csv, HEADER, FREEZE, NULL 'x''y', FORCE_NOT_NULL (title))");
    assert_eq!(
        csv.follower_sql,
        "COPY \"public\".\"tree\" (\"id\", \"parent\", \"title\") FROM STDIN \
         WITH (\"format\" 'csv', \"header\", \"null\" 'x''y', \"force_not_null\" (\"title\"))"
    );
    assert_eq!(csv.times, None);
    let times = |sql: &str| copy(sql).times.clone().unwrap();
    assert_eq!(times("COPY events FROM STDIN").columns, [false, true, false]);
    let csv = times("COPY events (at, id) FROM STDIN (FORMAT csv, HEADER off, DELIMITER E'\\t', ESCAPE '!')");
    assert_eq!((csv.columns, csv.delimiter, csv.header), (vec![true, false], b'\t', false));
    assert_eq!(csv.quoting, Some(Quoting { quote: b'"', escape: b'!' }));
    assert_eq!(copy("COPY events FROM STDIN (FORMAT binary)").times, None);
    assert_eq!(
        copy("COPY tree (title, id) FROM STDIN DELIMITER ','").follower_sql,
        "COPY \"public\".\"tree\" (\"title\", \"id\") FROM STDIN WITH (\"delimiter\" ',')"
    );
    assert!(copy("COPY lines FROM STDIN (FORMAT binary)").follower_sql.ends_with("WITH (\"format\" 'binary')"));
}

#[test]
fn what_a_server_chooses_goes_through_a_landing_table() {
    let sql = "copy /* é */ users (name, \"Odd \"\"Name\") from stdin (format csv)";
    assert_eq!(
        rows(sql).create,
        "CREATE TEMPORARY TABLE lockstep_landing AS SELECT \"name\", \"Odd \"\"Name\" FROM \"public\".\"users\" \
         WITH NO DATA"
    );
    let texts = texts(sql);
    assert_eq!(
        texts.copy,
        "copy /* é */ pg_temp.lockstep_landing (\"name\", \"Odd \"\"Name\") from stdin (format csv)"
    );
    assert!(texts.insert.starts_with(
        b"INSERT INTO \"public\".\"users\" (\"name\", \"Odd \"\"Name\") OVERRIDING SYSTEM VALUE SELECT \"name\", \
          \"Odd \"\"Name\" FROM pg_temp.lockstep_landing  RETURNING \"users\".\"id\", "
    ));
    assert_eq!(texts.insert_shift, None);
    assert!(plan(sql).marks.sequences);
    for sql in [
        "COPY moods FROM STDIN (FORMAT binary)",
        "COPY tree FROM STDIN (ON_ERROR ignore)",
        "COPY BINARY shop.item (price) FROM STDIN",
        "COPY orders (user_id) FROM STDIN",
    ] {
        rows(sql);
    }
}

#[test]
fn a_where_moves_from_copy_to_insert_and_its_places_can_be_found_again() {
    let sql = "COPY tree (id, title) FROM STDIN (NULL 'where') /* é */ WHERE id > 1 AND title <> 'from'";
    let texts = texts(sql);
    let at = |text: &[u8], what: &str| {
        let text = std::str::from_utf8(text).unwrap();
        text[..text.find(what).unwrap()].chars().count() as i64
    };
    assert_eq!(at(&texts.copy, "(NULL") + texts.copy_shift, at(sql.as_bytes(), "(NULL"));
    assert_eq!(at(&texts.insert, "title <>") + texts.insert_shift.unwrap(), at(sql.as_bytes(), "title <>"));
    assert!(texts.copy.ends_with("/* é */ ".as_bytes()));
    assert!(texts.insert.ends_with(
        b"WHERE id > 1 AND title <> 'from' RETURNING \"tree\".\"id\", \"tree\".\"parent\", \"tree\".\"title\""
    ));
}

#[test]
fn the_same_plan_serves_a_text_with_other_blanks_and_bytes_that_are_not_utf_8() {
    let copy = rows("COPY tree FROM STDIN WHERE title = 'a'");
    let text = b"COPY  tree\nFROM STDIN  WHERE title = '\xe9'";
    let texts = copy.texts(text, "COPY  tree\nFROM STDIN  WHERE title = '?'").unwrap();
    assert!(texts.copy.starts_with(b"COPY  pg_temp.lockstep_landing (") && texts.copy.ends_with(b"FROM STDIN  "));
    assert!(texts.insert.windows(3).any(|w| w == b"'\xe9'"));
    assert_eq!(copy.texts(b"COPY", "COPY"), None);
}

#[test]
fn what_only_the_leader_can_read_goes_through_a_landing_table() {
    let copy = rows("COPY tree FROM '/x' (FORMAT csv) WHERE id > 1");
    assert!(copy.of_file && !rows("COPY users (name) FROM STDIN").of_file);
    let texts = texts("COPY tree FROM '/x' (FORMAT csv) WHERE id > 1");
    assert_eq!(texts.copy, "COPY pg_temp.lockstep_landing (\"id\", \"parent\", \"title\") FROM '/x' (FORMAT csv) ");
    let captured = &plan("COPY triggered FROM '/x'").action;
    assert!(matches!(captured, Action::Capture(_) | Action::Captured(_)), "{captured:?}");
}

#[test]
fn copy_that_cannot_be_carried_out_exactly_is_refused() {
    for (sql, why) in [
        ("COPY tree (id) FROM STDIN WHERE parent > 1", "parent"),
        ("COPY tree FROM STDIN WHERE tree.id > 1", "tree"),
        ("COPY tree FROM STDIN WHERE tree IS NOT NULL", "tree"),
        ("COPY users (name) FROM STDIN WHERE writes() = 1", "writes"),
        ("COPY users FROM STDIN (DEFAULT 'x')", "DEFAULT"),
        ("COPY named FROM STDIN WHERE id > 1", "settings"),
        ("COPY calls_default (id) FROM STDIN", "writes"),
        ("COPY tree FROM PROGRAM 'cat'", "program"),
        ("COPY tree TO '/x'", "file"),
        ("COPY nothing FROM '/x'", "not known"),
        ("COPY pg_class FROM '/x'", "not known"),
    ] {
        assert_refused(sql, why);
    }
}

#[test]
fn what_the_catalog_does_not_know_is_left_to_the_leader() {
    for sql in [
        "COPY nothing FROM STDIN",
        "COPY tree (nothing) FROM STDIN",
        "COPY orders (twice) FROM STDIN",
        "COPY pg_class FROM STDIN",
        "COPY tree FROM STDIN WHERE nothing > 1",
        "COPY tree FROM STDIN WHERE id IN (SELECT 1)",
    ] {
        assert!(matches!(plan(sql).action, Action::CopyUnknown(_)), "{sql}: {:?}", plan(sql).action);
    }
}
