use lockstep_core::plan::{Action, Answer, Context, PlanCache, Policy};

use crate::{assert_captured, assert_leader, assert_refused, plan};

#[test]
fn reads_run_on_the_leader() {
    for sql in [
        "SELECT * FROM users WHERE id = $1 FOR UPDATE",
        "TABLE users",
        "VALUES (1), (2)",
        "SELECT now(), random(), gen_random_bytes(8)",
        "SELECT * FROM v JOIN mv USING (id)",
        "DECLARE c CURSOR FOR SELECT * FROM users",
        "FETCH 10 FROM c",
        "CLOSE c",
        "EXPLAIN UPDATE triggered SET v = 1",
        "EXPLAIN ANALYZE SELECT * FROM users",
        "COPY users TO STDOUT",
        "COPY (SELECT * FROM users) TO STDOUT WITH (FORMAT csv)",
        "LOCK TABLE users",
        "SELECT pg_advisory_lock(1), pg_notify('a', 'b')",
        "SELECT shop.computes(1)",
        "SELECT audit()",
    ] {
        assert_leader(sql);
    }
}

#[test]
fn rows_that_a_read_changes_are_captured() {
    for sql in [
        "SELECT writes()",
        "SELECT 1 WHERE EXISTS (SELECT FROM users ORDER BY public.writes())",
        "SELECT shop.audit()",
        "WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d",
    ] {
        assert_captured(sql);
    }
}

#[test]
fn what_may_write_within_a_read_is_refused() {
    for (sql, why) in [
        ("SELECT u.writes_row FROM users u", "public.writes_row"),
        ("SELECT (u).writes_row FROM users u", "public.writes_row"),
        ("SELECT mood |+| mood FROM users", "|+|"),
        ("SELECT * FROM writing_view", "public.writes"),
        ("SELECT * FROM view_of_writing_view", "public.writes"),
        ("EXPLAIN ANALYZE DELETE FROM users", "executes"),
        ("EXPLAIN ANALYZE SELECT writes()", "executes"),
        ("COPY (DELETE FROM users RETURNING *) TO STDOUT", "writes"),
        ("COPY users TO '/tmp/x'", "file"),
        ("COPY users FROM PROGRAM 'cat'", "program"),
        ("SELECT lo_import('x')", "lo_import"),
        ("SELECT query_to_xml('SELECT writes()', true, true, '')", "query_to_xml"),
        ("DECLARE c CURSOR FOR SELECT writes()", "public.writes"),
        ("SELECT * FROM lockstep.members", "lockstep"),
        ("SELECT * FROM \"lockstep\".members", "lockstep"),
        ("DO 'BEGIN END'", "DO"),
    ] {
        assert_refused(sql, why);
    }
}

#[test]
fn what_needs_no_catalog_asks_for_none() {
    let nothing = Context { catalog: None, search_path: None, converts: Some(false), policy: Policy::default() };
    let mut plans = PlanCache::new(1 << 20);
    for sql in
        ["", "BEGIN", "COMMIT", "SELECT 1", "SELECT $1::int", "SHOW timezone", "SET x.y = 'z'", "ROLLBACK; SELECT 1"]
    {
        assert!(matches!(plans.script(sql, &nothing), Answer::Ready(_)), "{sql}");
    }
    for sql in
        ["SELECT now()", "SELECT * FROM users", "SELECT 1 + 1", "INSERT INTO users DEFAULT VALUES", "CREATE TABLE t ()"]
    {
        assert!(matches!(plans.script(sql, &nothing), Answer::NeedCatalog), "{sql}");
    }
}

#[test]
fn a_cursor_that_outlives_its_transaction_is_noted() {
    assert!(plan("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM users").marks.holdable);
    assert!(!plan("DECLARE c CURSOR FOR SELECT * FROM users").marks.holdable);
}

#[test]
fn deep_texts_are_refused_in_postgresqls_own_words() {
    for deep in [format!("SELECT {}1", "(".repeat(100_000)), format!("SELECT 1{}", "+1".repeat(64 << 10))] {
        match &plan(&deep).action {
            Action::Refuse(fault) => assert_eq!(fault.state.0, "54001"),
            other => panic!("{other:?}"),
        }
    }
    match &plan(&" ".repeat(33 << 20)).action {
        Action::Refuse(fault) => assert_eq!(fault.state.0, "54000"),
        other => panic!("{other:?}"),
    }
}
