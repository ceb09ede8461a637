//! Cursors and portals whose queries write: what FETCH and MOVE, and functions that fetch, have them change.

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::SUPERUSER;

use super::{Case, captured, make};

#[test]
fn what_a_cursor_writes_that_a_function_has_opened_is_on_every_node() {
    captured(CURSORS);
}

const OPENER: &str = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE plain (id int PRIMARY KEY);
    CREATE FUNCTION add(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES ($1); RETURN $1; END $$;
    CREATE FUNCTION op() RETURNS refcursor LANGUAGE plpgsql AS
        $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT add(g) FROM generate_series(1, 3) g; RETURN c; END $$;
    CREATE FUNCTION one(c refcursor) RETURNS int LANGUAGE plpgsql AS $$ DECLARE n int; BEGIN FETCH c INTO n; RETURN n; END $$;";

const ROWS: &str = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t";

const CURSORS: &[Case] = &[
    Case {
        name: "fetched",
        given: OPENER,
        when: &["BEGIN", "SELECT op()", "FETCH ALL FROM c", "COMMIT"],
        then: (ROWS, "1 2 3"),
    },
    Case {
        name: "moved",
        given: OPENER,
        when: &["BEGIN", "SELECT op()", "MOVE 2 FROM c", "CLOSE c", "COMMIT"],
        then: (ROWS, "1 2"),
    },
    Case {
        name: "fetched by a function",
        given: OPENER,
        when: &["BEGIN", "SELECT op()", "SELECT one('c')", "INSERT INTO plain VALUES (one('c'))", "COMMIT"],
        then: ("SELECT (SELECT count(*) FROM t) || ' ' || (SELECT id FROM plain)", "2 2"),
    },
    Case {
        name: "fetched by a block",
        given: OPENER,
        when: &[
            "BEGIN",
            "DO $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT add(g) FROM generate_series(1, 3) g; END $$",
            "DO $$ DECLARE c refcursor := 'c'; n int; BEGIN FETCH c INTO n; FETCH c INTO n; END $$",
            "COMMIT",
        ],
        then: (ROWS, "1 2"),
    },
    Case {
        name: "fetched around savepoints",
        given: OPENER,
        when: &[
            "BEGIN",
            "SELECT op()",
            "FETCH 1 FROM c",
            "SAVEPOINT a",
            "SELECT add(10)",
            "FETCH 1 FROM c",
            "ROLLBACK TO a",
            "COMMIT",
        ],
        then: (ROWS, "1"),
    },
    Case {
        name: "fetched and rolled back",
        given: OPENER,
        when: &["BEGIN", "SELECT op()", "FETCH ALL FROM c", "ROLLBACK", "SELECT add(7)"],
        then: (ROWS, "7"),
    },
    Case {
        name: "moved in a chain",
        given: OPENER,
        when: &["BEGIN", "SELECT op()", "MOVE ALL FROM c", "COMMIT AND CHAIN", "SELECT add(9)", "COMMIT"],
        then: (ROWS, "1 2 3 9"),
    },
];

/// A portal of the extended protocol in an open block, of which this many rows are asked for.
fn suspended(client: &mut Client, sql: &str, rows: i32) {
    client.query("BEGIN");
    client.put(|out| frontend::parse(out, b"", sql.as_bytes(), &[]));
    client.put(|out| frontend::bind(out, b"p", b"", frontend::NO_PARAMETERS, &[]));
    if rows > 0 {
        client.put(|out| frontend::execute(out, b"p", rows));
    }
    client.put(frontend::sync).flush();
    client.answer().expect("a portal");
}

fn ids(cluster: &Cluster, database: &str) -> Vec<String> {
    cluster.nodes.iter().map(|node| node.connect_as(&SUPERUSER, database).value(ROWS)).collect()
}

#[test]
fn what_a_portal_writes_that_is_fetched_from_by_sql_is_on_every_node() {
    let cluster = Cluster::start(2);
    for (database, rows, fetch) in
        [("begun", 1, "FETCH ALL FROM p"), ("never_run", 0, "FETCH ALL FROM p"), ("moved_on", 1, "MOVE ALL FROM p")]
    {
        make(&cluster, database, OPENER);
        let mut client = cluster.connect(database);
        suspended(&mut client, "SELECT add(g) FROM generate_series(1, 3) g", rows);
        client.query(fetch);
        client.query("COMMIT");
        assert_eq!(ids(&cluster, database), ["1 2 3", "1 2 3"], "{database}");
        assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
        assert_identical_database(&cluster.nodes, database);
    }
}

/// Execute of a cursor that Bind has not made.
#[test]
fn what_a_cursor_writes_that_is_executed_as_a_portal_is_on_every_node() {
    let cluster = Cluster::start(2);
    make(&cluster, "executed", OPENER);
    let mut client = cluster.connect("executed");
    client.query("BEGIN");
    client.query("SELECT op()");
    client.put(|out| frontend::execute(out, b"c", 2)).put(frontend::sync).flush();
    client.answer().expect("rows of a cursor");
    client.query("COMMIT");
    assert_eq!(ids(&cluster, "executed"), ["1 2", "1 2"]);
    assert_identical_database(&cluster.nodes, "executed");
}

/// Text may change a table that has no trigger yet: that is found out behind the FETCH.
#[test]
fn text_that_a_portal_runs_when_it_is_fetched_from_is_watched() {
    let cluster = Cluster::start(2);
    let given = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE x1 (id int PRIMARY KEY); CREATE TABLE x2 (id int PRIMARY KEY);
        CREATE FUNCTION put(int) RETURNS int LANGUAGE plpgsql AS
            $$ BEGIN EXECUTE format('INSERT INTO x%s VALUES (%s)', $1, $1); RETURN $1; END $$;";
    make(&cluster, "text", given);
    let mut client = cluster.connect("text");
    client.query("DO $$ BEGIN PERFORM put(1); DELETE FROM x1; END $$");
    suspended(&mut client, "SELECT put(g) FROM generate_series(1, 2) g", 1);
    assert_eq!(client.try_query("FETCH ALL FROM p").unwrap_err().state(), "40001");
    client.query("ROLLBACK");
    suspended(&mut client, "SELECT put(g) FROM generate_series(1, 2) g", 1);
    client.query("FETCH ALL FROM p");
    client.query("COMMIT");
    for node in &cluster.nodes {
        let rows = "SELECT (SELECT count(*) FROM x1) || ' ' || (SELECT count(*) FROM x2)";
        assert_eq!(node.connect_as(&SUPERUSER, "text").value(rows), "1 1");
    }
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "text");
}

#[test]
fn cursors_over_what_writes_are_refused() {
    let cluster = Cluster::start(2);
    make(&cluster, "declared", OPENER);
    let mut client = cluster.connect("declared");
    for sql in [
        "DECLARE d CURSOR FOR SELECT add(1)",
        "DECLARE d CURSOR WITH HOLD FOR SELECT add(1)",
        "EXPLAIN ANALYZE SELECT add(1)",
        "EXPLAIN ANALYZE DECLARE d CURSOR FOR SELECT add(1)",
    ] {
        client.query("BEGIN");
        assert_eq!(client.try_query(sql).unwrap_err().state(), "0A000", "{sql}");
        client.query("ROLLBACK");
    }
    assert_identical_database(&cluster.nodes, "declared");
}

/// A function that is not VOLATILE may be called to make the plan, and cannot write itself, but all that it calls.
#[test]
fn what_explain_would_call_and_that_writes_is_refused() {
    let cluster = Cluster::start(2);
    make(&cluster, "explained", OPENER);
    let mut client = cluster.connect("explained");
    client.query("CREATE FUNCTION same(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN add($1); END $$");
    assert_eq!(client.try_query("EXPLAIN SELECT same(1)").unwrap_err().state(), "0A000");
    client.query("EXPLAIN SELECT add(1)");
    client.query("EXPLAIN INSERT INTO t VALUES (1)");
    assert_identical_database(&cluster.nodes, "explained");
}

/// A cursor WITH HOLD is run to its end by COMMIT, with the function as it is then.
const HELD: &str = "CREATE TABLE t (id int PRIMARY KEY);
    CREATE FUNCTION add(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES ($1); RETURN $1; END $$;
    CREATE FUNCTION rd(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN $1; END $$;";
const DECLARED: &str = "DECLARE d CURSOR WITH HOLD FOR SELECT rd(g) FROM generate_series(1, 3) g";
const REPLACED: &str =
    "CREATE OR REPLACE FUNCTION rd(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN add($1); END $$";

#[test]
fn whoever_lacks_rows_that_the_leaders_commit_has_made_is_put_out() {
    for by_another in [false, true] {
        let cluster = Cluster::start(2);
        make(&cluster, "held", HELD);
        let mut client = cluster.connect("held");
        client.query("SELECT add(7)");
        client.query("BEGIN");
        client.query(DECLARED);
        if by_another {
            cluster.connect("held").query(REPLACED);
            // A server hears of what others have defined when it takes a lock.
            client.query("TABLE t");
        } else {
            client.query(REPLACED);
        }
        client.query("COMMIT");
        assert_eq!(cluster.nodes[0].connect_as(&SUPERUSER, "held").value(ROWS), "1 2 3 7");
        cluster.proxy.wait_for_states(&["active", "degraded"], std::time::Duration::from_secs(10));
        let why = cluster.proxy.degradations().join("\n");
        assert!(why.contains("on the leader alone"), "{why}");
    }
}
