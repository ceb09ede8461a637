use std::sync::Arc;

use lockstep_core::effect::RowKind;
use lockstep_core::plan::{Action, ClientColumns, Write};
use lockstep_core::wire::frontend::Format;

use crate::{assert_captured, assert_leader, assert_refused, plan};

fn write(sql: &str) -> Arc<Write> {
    match &plan(sql).action {
        Action::Write(write) => write.clone(),
        other => panic!("{sql}: {other:?}"),
    }
}

fn names(write: &Write) -> Vec<&str> {
    write.effect.columns.iter().map(|c| c.name.as_str()).collect()
}

#[test]
fn an_insert_returns_every_column_that_is_not_generated() {
    let write = write("INSERT INTO orders (user_id) VALUES (1)");
    assert_eq!(write.append, " RETURNING \"orders\".\"id\", \"orders\".\"user_id\", \"orders\".\"total\"");
    assert_eq!(write.client_columns, ClientColumns::None);
    assert_eq!(
        &*write.effect.single.sql,
        "INSERT INTO \"public\".\"orders\" (\"id\",\"user_id\",\"total\") OVERRIDING SYSTEM VALUE VALUES \
         ($1::\"pg_catalog\".\"int8\",$2::\"pg_catalog\".\"int4\",$3::\"pg_catalog\".\"numeric\")"
    );
}

#[test]
fn an_update_returns_its_key_and_what_it_assigns() {
    let write = write("UPDATE users AS u SET name = 'x', mood = 'sad' WHERE created < now()");
    assert_eq!(write.append, " RETURNING \"u\".\"id\", \"u\".\"mood\", \"u\".\"name\"");
    assert_eq!(
        &*write.effect.single.sql,
        "WITH w AS (UPDATE \"public\".\"users\" SET \"mood\"=$2::\"public\".\"mood\",\"name\"=$3::\"pg_catalog\".\"text\" \
         WHERE \"id\" OPERATOR(\"pg_catalog\".=) $1::\"pg_catalog\".\"int4\" RETURNING 1) \
         SELECT 1 OPERATOR(pg_catalog./) (pg_catalog.count(*) OPERATOR(pg_catalog.=) 1)::pg_catalog.int4 FROM w"
    );
    assert!(!write.effect.chunkable, "name is unique");
}

#[test]
fn a_delete_returns_its_key() {
    let write = write("DELETE FROM lines USING orders o WHERE o.id = order_id RETURNING lines.*, o.total");
    assert_eq!(write.append, ", \"lines\".\"order_id\", \"lines\".\"n\"");
    assert_eq!(write.client_columns, ClientColumns::Known(4));
    assert_eq!(write.effect.kind, RowKind::Delete);
}

#[test]
fn stars_are_counted() {
    let columns = |sql: &str| match write(sql).client_columns {
        ClientColumns::Known(n) => n,
        ClientColumns::None => 0,
    };
    assert_eq!(columns("INSERT INTO users (name) VALUES ('a') RETURNING *"), 7);
    assert_eq!(columns("INSERT INTO users AS u (name) VALUES ('a') RETURNING u.*, id, 1 + 1"), 9);
    assert_eq!(columns("UPDATE users SET name = 'a' FROM orders o WHERE o.user_id = users.id RETURNING *"), 11);
    assert_eq!(columns("UPDATE orders SET total = 1 RETURNING *"), 4);
    assert_eq!(columns("DELETE FROM users RETURNING users"), 1);
    for uncountable in [
        "UPDATE users SET name = 'a' FROM (SELECT 1 AS one) s RETURNING *",
        "UPDATE users SET name = 'a' FROM generate_series(1, 2) s RETURNING s.*",
        "DELETE FROM users RETURNING (place).*",
        "WITH orders AS (SELECT 1) DELETE FROM users USING orders RETURNING *",
    ] {
        assert_captured(uncountable);
    }
}

#[test]
fn on_conflict_goes_by_a_key_that_it_does_not_assign() {
    let upsert = write("INSERT INTO two_keys VALUES (1, 'a', 2) ON CONFLICT (email) DO UPDATE SET v = 3");
    assert_eq!(upsert.effect.kind, RowKind::Upsert);
    assert!(
        upsert
            .effect
            .single
            .sql
            .ends_with("ON CONFLICT (\"id\") DO UPDATE SET \"email\"=EXCLUDED.\"email\",\"v\"=EXCLUDED.\"v\"")
    );
    let by_email = write("INSERT INTO two_keys VALUES (1, 'a', 2) ON CONFLICT (email) DO UPDATE SET id = 3");
    assert!(by_email.effect.single.sql.contains("ON CONFLICT (\"email\")"));
    let nothing = write("INSERT INTO two_keys VALUES (1, 'a', 2) ON CONFLICT DO NOTHING");
    assert_eq!(nothing.effect.kind, RowKind::Insert);
    assert_captured("INSERT INTO heap VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 'x'");
    assert_captured("INSERT INTO tree VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2");
    // An identity column GENERATED ALWAYS stays as it is.
    let identity = write("INSERT INTO orders (user_id) VALUES (1) ON CONFLICT (id) DO UPDATE SET total = 1");
    assert!(identity.effect.single.sql.ends_with("\"user_id\"=EXCLUDED.\"user_id\",\"total\"=EXCLUDED.\"total\""));
}

#[test]
fn an_update_of_a_key_goes_by_another_or_by_capture() {
    assert_eq!(names(&write("UPDATE two_keys SET id = 2 WHERE id = 1")), ["email", "id"]);
    assert_captured("UPDATE tree SET id = 2, title = 'x' WHERE id = 1");
    assert_eq!(names(&write("UPDATE tree SET id = $1, title = $2 WHERE id = $1")), ["id", "title"]);
    assert_eq!(names(&write("UPDATE tree t SET id = 5, title = $2 WHERE t.id = 5 AND title <> ''")), ["id", "title"]);
    assert_captured("UPDATE tree SET id = $1, title = $2 WHERE id = $3");
    assert_captured("UPDATE tree SET id = $1, title = $2 WHERE id = $1 OR title = $2");
}

#[test]
fn tables_without_a_usable_key_take_inserts_by_their_rows_and_the_rest_by_capture() {
    assert_eq!(names(&write("INSERT INTO heap VALUES (1, 'a')")), ["a", "b"]);
    for table in ["heap", "partial_key", "deferred_key"] {
        assert_captured(&format!("DELETE FROM {table}"));
    }
    assert_captured("UPDATE heap SET a = 1");
}

#[test]
fn partitioned_tables_are_written_by_their_own_name() {
    let write = write("UPDATE events SET v = 1 WHERE at < '2010-01-01'");
    assert_eq!(names(&write), ["id", "at", "v"]);
    assert_eq!(write.effect.table, "\"public\".\"events\"");
    assert!(write.effect.chunkable);
    assert_captured("INSERT INTO guarded_events VALUES (1, 2)");
}

#[test]
fn a_table_that_refers_to_itself_is_applied_as_a_whole() {
    assert!(write("INSERT INTO tree VALUES (2, 1), (1, NULL)").effect.whole);
    assert!(write("DELETE FROM tree").effect.whole);
    assert!(!write("UPDATE tree SET parent = 1").effect.whole);
    assert_captured("UPDATE tree_codes SET code = 'x' WHERE id = 1");
}

#[test]
fn values_travel_in_binary_where_that_means_the_same_everywhere() {
    let formats = |sql: &str| write(sql).effect.columns.iter().map(|c| c.format).collect::<Vec<_>>();
    use Format::{Binary, Text};
    // id, name, an enum, a time, an array, a row, "Odd ""Name"
    assert_eq!(formats("INSERT INTO users DEFAULT VALUES"), [Binary; 7]);
    assert_eq!(formats("INSERT INTO moods VALUES ('sad')"), [Binary, Text]);
    assert_captured("INSERT INTO named VALUES (1)");
    write("UPDATE named SET v = 1");
    assert_eq!(formats("INSERT INTO lines VALUES (1, 2, 3)"), [Binary, Binary, Binary]);
    assert!(write("INSERT INTO users DEFAULT VALUES").append.ends_with("\"users\".\"Odd \"\"Name\""));
}

#[test]
fn sequences_that_a_default_moves_are_noted() {
    assert!(plan("INSERT INTO users (name) VALUES ('a')").marks.sequences);
    assert!(plan("INSERT INTO orders (user_id) VALUES (1)").marks.sequences);
    assert!(!plan("INSERT INTO tree VALUES (1)").marks.sequences);
    assert!(plan("UPDATE tree SET parent = nextval('counter')").marks.sequences);
    assert!(plan("SELECT nextval('counter')").marks.sequences);
}

#[test]
fn constraints_are_checked_early_only_where_one_can_be_deferred() {
    assert!(write("INSERT INTO deferred_key VALUES (1, 2)").deferrable);
    assert!(write("INSERT INTO waits VALUES (1, 2)").deferrable);
    assert!(write("DELETE FROM two_keys").deferrable, "others refer to it");
    assert!(!write("INSERT INTO users DEFAULT VALUES").deferrable);
    assert!(!write("DELETE FROM orders").deferrable);
}

#[test]
fn what_else_would_happen_is_refused() {
    for (sql, why) in [
        ("INSERT INTO calls_default VALUES (1)", "public.writes"),
        ("INSERT INTO calls_check VALUES (1)", "CHECK"),
        ("UPDATE calls_generated SET v = 1", "generated"),
        ("INSERT INTO lockstep.members VALUES (1)", "lockstep"),
        ("UPDATE pg_catalog.pg_class SET relname = 'x'", "system"),
    ] {
        assert_refused(sql, why);
    }
}

#[test]
fn what_returning_does_not_show_is_captured() {
    for sql in [
        "UPDATE triggered SET v = 1",
        "INSERT INTO triggered VALUES (1)",
        "DELETE FROM triggered",
        "INSERT INTO triggered VALUES (1) ON CONFLICT (id) DO UPDATE SET v = 1",
        "DELETE FROM parent_of_triggered",
        "DELETE FROM ruled",
        "INSERT INTO ruled VALUES (1)",
        "INSERT INTO secured VALUES (1)",
        "UPDATE base SET v = 1",
        "INSERT INTO v VALUES (1)",
        "DELETE FROM ring_a",
        "MERGE INTO users USING orders ON true WHEN MATCHED THEN DELETE",
        "WITH d AS (DELETE FROM tree RETURNING *) INSERT INTO heap SELECT id, title FROM d",
        "INSERT INTO heap SELECT writes()",
        "UPDATE users SET id = DEFAULT FROM shop.users WHERE true",
        "UPDATE orders SET id = DEFAULT",
    ] {
        assert_captured(sql);
    }
}

#[test]
fn what_does_not_happen_is_no_reason() {
    write("UPDATE quiet SET v = 1");
    write("INSERT INTO base VALUES (1)");
    write("DELETE FROM calls_generated");
    write("INSERT INTO shop.item DEFAULT VALUES");
    write("INSERT INTO heap VALUES (computes(1), gen_random_uuid()::text)");
    write("DELETE FROM child_of_triggered");
    assert_eq!(write("UPDATE ONLY base SET v = 1").effect.table, "ONLY \"public\".\"base\"");
}

#[test]
fn a_table_that_the_catalog_does_not_know_is_left_to_the_leaders_error() {
    assert_eq!(plan("INSERT INTO nowhere VALUES (1)").action, Action::Unparsed);
    assert_eq!(plan("UPDATE users SET no_such = 1").action, Action::Unparsed);
    assert_eq!(plan("SELEC 1").action, Action::Unparsed);
    assert_leader("SELECT * FROM nowhere");
}

#[test]
fn what_is_written_to_the_systems_own_tables_is_refused_where_the_leader_has_no_error_for_it() {
    for (sql, remedy) in [
        ("UPDATE pg_database SET datallowconn = false WHERE datname = 'x'", "Use ALTER DATABASE."),
        ("DELETE FROM pg_depend", "Use the statement that PostgreSQL has for it."),
        ("WITH w AS (UPDATE pg_class SET relname = 'x' RETURNING 1) SELECT * FROM w", "Use ALTER TABLE."),
        ("INSERT INTO information_schema.sql_parts SELECT * FROM information_schema.sql_parts", "Use the statement"),
        ("MERGE INTO pg_enum USING users ON true WHEN MATCHED THEN DELETE", "Use ALTER TYPE."),
        ("EXPLAIN ANALYZE DELETE FROM pg_proc", "Use ALTER FUNCTION."),
    ] {
        let planned = plan(sql);
        let Action::Unknown(fault) = &planned.action else { panic!("{sql}: {:?}", planned.action) };
        let hint = fault.hint.as_deref().unwrap_or_default();
        assert!(fault.message.contains("system's own tables") && hint.starts_with(remedy), "{sql}: {fault:?}");
    }
    crate::assert_refused("UPDATE pg_catalog.pg_database SET datallowconn = false", "system's own tables");
}

#[test]
fn text_with_what_is_appended_is_the_same_statement_with_returning() {
    for sql in [
        "INSERT INTO users (name) VALUES ('a') -- end",
        "WITH w AS (SELECT 1 AS a) INSERT INTO heap SELECT a FROM w ORDER BY 1",
        "UPDATE users SET name = 'a' WHERE id = 1 RETURNING id /* x */",
        "DELETE FROM users u WHERE EXISTS (SELECT FROM orders WHERE user_id = u.id)",
        "INSERT INTO two_keys DEFAULT VALUES ON CONFLICT DO NOTHING",
    ] {
        let planned = crate::script(sql).remove(0);
        let text = format!("{}{}", &sql[planned.span], write(sql).append);
        assert!(matches!(plan(&text).action, Action::Write(_)), "{text}");
    }
}
