//! Tables that a transaction has made, or locked, before something in it has to be captured there: it makes the triggers
//! itself.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::users::APP;

use super::{Case, captured};

#[test]
fn what_is_captured_in_tables_of_the_same_transaction_is_on_every_node() {
    captured(OWN);
}

const OWN: &[Case] = &[
    Case {
        name: "made here",
        given: "",
        when: &[
            "BEGIN",
            "CREATE TABLE t (id int PRIMARY KEY, v int, at timestamptz)",
            "CREATE TABLE log (id serial PRIMARY KEY, t int, at timestamptz DEFAULT clock_timestamp())",
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO log (t) VALUES (new.id); new.at := clock_timestamp(); RETURN new; END $$",
            "CREATE TRIGGER note BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
            "DO $$ BEGIN UPDATE t SET v = v + 1; END $$",
            "COMMIT",
            "UPDATE t SET v = v + 1",
        ],
        then: ("SELECT (SELECT sum(v) FROM t) || ' ' || (SELECT count(*) FROM log)", "7 6"),
    },
    Case {
        name: "locked by ddl",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);
            CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN new.v := new.v + (extract(epoch FROM clock_timestamp()) * 0)::int + 1; RETURN new; END $$",
        when: &[
            "BEGIN",
            "ALTER TABLE t ADD COLUMN w int DEFAULT 5",
            "CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()",
            "UPDATE t SET w = 6",
            "COMMIT",
        ],
        then: ("SELECT v || ' ' || w FROM t", "2 6"),
    },
    Case {
        name: "locked by rows",
        given: "CREATE TABLE pair (a int, b int)",
        when: &[
            "BEGIN",
            "INSERT INTO pair VALUES (1, 1), (1, 1), (1, 2)",
            "DELETE FROM pair WHERE b = 2",
            "INSERT INTO pair VALUES (1, 3)",
            "COMMIT",
            "UPDATE pair SET b = 4 WHERE b = 3",
        ],
        then: ("SELECT string_agg(a || '-' || b, ' ' ORDER BY a, b) FROM pair", "1-1 1-1 1-4"),
    },
    Case {
        name: "taken back",
        given: "CREATE TABLE pair (a int, b int); INSERT INTO pair VALUES (1, 1)",
        when: &[
            "BEGIN",
            "INSERT INTO pair VALUES (2, 2)",
            "SAVEPOINT a",
            "DELETE FROM pair WHERE b = 2",
            "ROLLBACK TO a",
            "UPDATE pair SET b = 3 WHERE a = 2",
            "COMMIT",
            "BEGIN",
            "CREATE TABLE gone (a int)",
            "INSERT INTO gone VALUES (1)",
            "DELETE FROM gone",
            "ROLLBACK",
            "DELETE FROM pair WHERE a = 1",
        ],
        then: ("SELECT string_agg(a || '-' || b, ' ') FROM pair", "2-3"),
    },
    Case {
        name: "all immediate",
        given: "CREATE TABLE pair (a int, b int)",
        when: &[
            "BEGIN",
            "INSERT INTO pair VALUES (1, 1), (2, 2)",
            "SET CONSTRAINTS ALL IMMEDIATE",
            "DELETE FROM pair WHERE a = 1",
            "COMMIT",
        ],
        then: ("SELECT a || '-' || b FROM pair", "2-2"),
    },
    Case {
        name: "a partition",
        given: "CREATE TABLE pair (a int, b int) PARTITION BY LIST (a); CREATE TABLE pair_1 PARTITION OF pair FOR VALUES IN (1)",
        when: &["BEGIN", "INSERT INTO pair_1 VALUES (1, 1), (1, 2)", "DELETE FROM pair_1 WHERE b = 1", "COMMIT"],
        then: ("SELECT a || '-' || b FROM pair", "1-2"),
    },
    Case {
        name: "switched off",
        given: "CREATE TABLE pair (a int, b int); INSERT INTO pair VALUES (1, 1), (2, 2), (3, 3)",
        when: &[
            "DELETE FROM pair WHERE a = 1",
            "BEGIN",
            "ALTER TABLE pair DISABLE TRIGGER USER",
            "DELETE FROM pair WHERE a = 2",
            "COMMIT",
        ],
        then: ("SELECT a || '-' || b FROM pair", "3-3"),
    },
    Case {
        name: "of another role",
        given: "CREATE SCHEMA \"Ä's\"; CREATE TABLE \"Ä's\".\"x\"\"y\" (a text); SET client_encoding = 'UTF8'",
        when: &[
            "BEGIN",
            "INSERT INTO \"Ä's\".\"x\"\"y\" VALUES ('1'), ('2')",
            "SET LOCAL search_path = \"Ä's\"",
            "DELETE FROM \"x\"\"y\" WHERE a = '1'",
            "COMMIT",
        ],
        then: ("SELECT a FROM \"Ä's\".\"x\"\"y\"", "2"),
    },
];

#[test]
fn so_it_is_when_all_is_in_one_message() {
    let cluster = Cluster::start(2);
    cluster.create_database("one");
    let mut client = cluster.connect("one");
    client.query(
        "CREATE TABLE pair (a int, b int); INSERT INTO pair VALUES (1, 1), (2, 2); DELETE FROM pair WHERE a = 1;
        UPDATE pair SET b = 5",
    );
    assert_eq!(client.value("SELECT a || '-' || b FROM pair"), "2-5");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "one");
}

#[test]
fn a_statement_that_was_prepared_in_a_transaction_that_was_rolled_back_is_captured_all_the_same() {
    let cluster = Cluster::start(2);
    cluster.create_database("back");
    let mut client = cluster.connect("back");
    client.query("CREATE TABLE pair (a int, b int); CREATE TABLE other (a int)");
    client.query("DELETE FROM other");
    client.query("BEGIN; INSERT INTO pair VALUES (1, 1)");
    client.try_prepare("s", "DELETE FROM pair WHERE a = $1").expect("a statement");
    client.query("ROLLBACK");
    client.query("INSERT INTO pair VALUES (1, 1), (2, 2)");
    client.try_execute_prepared("s", &[Some("1")]).expect("a write");
    assert_identical_database(&cluster.nodes, "back");
    assert_eq!(client.value("SELECT a FROM pair"), "2");
}

#[test]
fn so_it_is_in_a_database_that_was_dropped_and_made_again() {
    let cluster = Cluster::start(2);
    for _ in 0..2 {
        cluster.create_database("again");
        let mut client = cluster.connect("again");
        client.query("BEGIN; CREATE TABLE pair (a int, b int); INSERT INTO pair VALUES (1, 1), (2, 2)");
        client.query("DELETE FROM pair WHERE a = 1; COMMIT");
        assert_identical_database(&cluster.nodes, "again");
        drop(client);
        for node in &cluster.nodes {
            node.connect("postgres").query("DROP DATABASE again WITH (FORCE)");
        }
    }
}

#[test]
fn text_that_functions_run_on_such_a_table_is_refused_and_what_comes_next_is_not() {
    let cluster = Cluster::start(2);
    cluster.create_database("text");
    let mut client = cluster.connect("text");
    client.query(
        "CREATE TABLE pair (a int, b int); CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'DELETE FROM pa' || 'ir WHERE a = 1'; END $$",
    );
    let [first, second] = [(); 2].map(|()| {
        client.query("BEGIN; INSERT INTO pair VALUES (1, 1)");
        let refused = client.try_query("SELECT f()").unwrap_err();
        client.query("ROLLBACK");
        refused.to_string()
    });
    assert!(
        first.starts_with("40001") && second.contains("has made, changed or truncated a table"),
        "{first}\n{second}"
    );
    client.query("INSERT INTO pair VALUES (1, 1), (2, 2)");
    client.query("DELETE FROM pair WHERE a = 1");
    assert_eq!(client.value("SELECT a FROM pair"), "2");
    assert_identical_database(&cluster.nodes, "text");
}

#[test]
fn only_the_proxy_has_triggers_made_by_a_transaction() {
    let cluster = Cluster::start(2);
    cluster.create_database("own");
    let mut client = cluster.connect("own");
    client.query("CREATE TABLE pair (a int, b int); CREATE TABLE other (a int)");
    client.query("BEGIN; INSERT INTO pair VALUES (1, 1); DELETE FROM pair; COMMIT");
    for sql in [
        "SELECT lockstep.capture_here('public.other', '', '0')",
        "DO $$ BEGIN PERFORM lockstep.capture_here('public.other', '', '0'); END $$",
    ] {
        assert_eq!(client.try_query(sql).unwrap_err().state(), "0A000", "{sql}");
    }
    let mut direct = cluster.nodes[0].connect_as(&APP, "own");
    for sql in [
        "SELECT lockstep.capture_here('public.other', repeat('0', 64), '0')",
        "SELECT lockstep.capture_here('public.other', NULL, '0')",
        "SELECT lockstep.believe('', '')",
    ] {
        assert_eq!(direct.try_query(sql).unwrap_err().state(), "42501", "{sql}");
    }
    assert_identical_database(&cluster.nodes, "own");
}

#[test]
fn a_table_that_its_transaction_drops_again_takes_its_trigger_along() {
    let cluster = Cluster::start(2);
    for (n, last) in ["DROP TABLE pair", "DROP TABLE pair; SELECT 1", "ROLLBACK TO s"].into_iter().enumerate() {
        let database = format!("dropped{n}");
        cluster.create_database(&database);
        let mut client = cluster.connect(&database);
        client.query("CREATE TABLE t (id int PRIMARY KEY)");
        client.query("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s");
        client.query("CREATE TABLE pair (a int, b int)");
        client.query("INSERT INTO pair VALUES (1, 1)");
        client.query("UPDATE pair SET b = 2");
        client.query(last);
        client.query("INSERT INTO t VALUES (2)");
        client.query("COMMIT");
        assert_eq!(cluster.nodes[1].connect(&database).value("SELECT count(*) FROM t"), "2", "{last}");
        assert_identical_database(&cluster.nodes, &database);
    }
}

/// Its snapshot does not show by what the proxy is known.
#[test]
fn a_transaction_that_is_older_than_capture_is_to_run_again() {
    let cluster = Cluster::start(2);
    cluster.create_database("older");
    let mut client = cluster.connect("older");
    client.query("CREATE TABLE pair (a int, b int)");
    client.query("BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE pair; INSERT INTO pair VALUES (1, 1)");
    let failure = client.try_query("UPDATE pair SET b = 2").unwrap_err();
    assert_eq!(failure.state(), "40001", "{failure}");
    client.query("ROLLBACK");
    client.query("BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE pair; INSERT INTO pair VALUES (1, 1)");
    client.query("UPDATE pair SET b = 2");
    client.query("COMMIT");
    assert_identical_database(&cluster.nodes, "older");
}
