use crate::{assert_leader, assert_refused, plan};
use lockstep_core::plan::{Action, Marks};

fn assert_written(sql: &str) {
    assert!(matches!(plan(sql).action, Action::Write(_)), "{sql}: {:?}", plan(sql).action);
}

#[test]
fn what_a_function_says_of_itself_is_not_believed() {
    for (sql, why) in [
        ("SELECT says_stable()", "uses writes"),
        ("SELECT says_immutable(1)", "uses says_stable"),
        ("SELECT runs_text('SELECT 1')", "EXECUTE"),
        ("SELECT makes_object()", "uses lo_create"),
        ("SELECT any_setting('a')", "set_config"),
        ("SELECT hidden_sum(id) FROM users", "hidden_sum"),
        ("SELECT |-| 1", "|-|"),
        ("INSERT INTO heap VALUES (says_immutable(1))", "public.says_immutable"),
        ("CREATE TEMP TABLE t AS SELECT says_stable()", "public.says_stable"),
    ] {
        assert_refused(sql, why);
    }
}

#[test]
fn a_volatile_function_that_only_reads_is_let_through() {
    assert_leader("SELECT reads()");
    assert_written("INSERT INTO heap SELECT reads()");
    assert_leader("SELECT is_email('a'), is_long_email('b'), looks_up(1)");
}

#[test]
fn what_a_function_moves_is_noted() {
    let marks = |sql: &str| plan(sql).marks;
    for sql in ["SELECT next_ticket()", "SELECT another_name('ticket')", "SELECT * FROM ticket_view"] {
        assert_leader(sql);
        assert_eq!(marks(sql), Marks { sequences: true, ..Marks::default() }, "{sql}");
    }
    assert_leader("SELECT tenant('a')");
    assert_eq!(marks("SELECT tenant('a')"), Marks::default());
    assert_leader("SELECT tenant_path('a')");
    assert_eq!(marks("SELECT tenant_path('a')"), Marks { settings: true, ..Marks::default() });
    for sql in [
        "INSERT INTO tickets (v) VALUES (1)",
        "UPDATE numbered SET n = DEFAULT",
        "UPDATE two_keys SET v = next_ticket()",
        "DELETE FROM tickets WHERE id = next_ticket()",
        "SELECT place::bigint FROM users",
        "INSERT INTO tree SELECT nextval FROM ticket_view",
    ] {
        assert!(marks(sql).sequences, "{sql}");
    }
    assert!(!marks("UPDATE tickets SET v = 1").sequences);
}

#[test]
fn definitions_that_write_are_refused_where_they_are_evaluated() {
    for (sql, why) in [
        ("SELECT * FROM object_view", "lo_create"),
        ("SELECT * FROM operator_view", "public.says_immutable"),
        ("INSERT INTO by_default (id) VALUES (1)", "lo_create"),
        ("INSERT INTO by_domain (id) VALUES (1)", "public.writes"),
        ("UPDATE by_domain SET v = DEFAULT", "public.writes"),
        ("INSERT INTO by_operator VALUES (1, 2)", "CHECK"),
        ("INSERT INTO by_index VALUES (1, 2)", "an index"),
        ("INSERT INTO by_partition VALUES (1)", "partition key"),
        ("CREATE INDEX ON users (says_immutable(id))", "public.says_immutable"),
        ("REINDEX TABLE by_index", "public.says_immutable"),
        ("ALTER TABLE by_operator ADD COLUMN x int", "public.says_immutable"),
    ] {
        assert_refused(sql, why);
    }
    assert_written("UPDATE by_domain SET v = 1");
}

#[test]
fn checks_that_each_server_would_judge_by_itself_are_refused() {
    for (sql, why) in [
        ("INSERT INTO by_clock VALUES (1, '2000-01-01')", "CURRENT_DATE"),
        ("INSERT INTO by_zone VALUES (1, now())", "depends on date"),
        ("INSERT INTO by_text VALUES (1, 1)", "text of a time or a fraction"),
        ("INSERT INTO checks_looks_up VALUES (1, 1)", "public.looks_up"),
        ("INSERT INTO checks_by_path VALUES (1, 'a')", "public.by_path"),
        ("INSERT INTO checks_of_a_time VALUES (1, now())", "public.of_a_time"),
        ("INSERT INTO checks_of_today VALUES (1, 'a')", "public.of_today"),
    ] {
        assert_refused(sql, why);
    }
    assert_written("DELETE FROM by_clock");
}

#[test]
fn what_runs_text_or_writes_past_tables_is_refused() {
    for call in [
        "table_to_xml('users', true, false, '')",
        "schema_to_xml('public', true, false, '')",
        "database_to_xml(true, false, '')",
        "query_to_xml('SELECT 1', true, false, '')",
        "query_to_xml_and_xmlschema('SELECT 1', true, false, '')",
        "ts_rewrite('a'::tsquery, 'SELECT 1')",
        "ts_stat('SELECT 1')",
        "lo_import('a')",
        "lo_export(1, 'a')",
        "pg_logical_emit_message(true, 'a', 'b')",
        "pg_replication_origin_create('a')",
        "pg_create_physical_replication_slot('a')",
        "pg_file_write('a', 'b', true)",
        "pg_catalog.pg_promote()",
    ] {
        let name = call.trim_start_matches("pg_catalog.").split('(').next().unwrap();
        assert_refused(&format!("SELECT {call}"), name);
        assert_refused(&format!("INSERT INTO heap SELECT 1 FROM {call}"), name);
    }
    assert_leader("SELECT pg_notify('a', 'b'), cursor_to_xml('c', 1, true, false, ''), lo_get(1)");
}

#[test]
fn functions_that_give_the_same_everywhere_may_stand_in_definitions() {
    assert_written("INSERT INTO mails VALUES (1, 'a@b', 'c@d', 'e@f')");
    assert_written("UPDATE mails SET a = 'b@c'");
    assert_written("INSERT INTO grown VALUES (1, '')");
    assert_leader("SELECT counts_log()");
}
