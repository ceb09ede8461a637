//! Units of several statements: savepoints, rollbacks, errors, and what of them reaches the followers.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;

use super::Do::{Fails, Sql, With};
use super::{Case, replicated};

const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 5) n;";

#[test]
fn as_units() {
    replicated("units", CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "indexes of temporary tables are the leader's",
        given: TABLE,
        when: &[
            Sql("CREATE TEMP TABLE x (id int)"),
            Sql("CREATE INDEX of_x ON x (id)"),
            Sql("CREATE INDEX also_of_x ON x (id)"),
            Sql("ALTER INDEX of_x RENAME TO of_x_too"),
            Sql("COMMENT ON INDEX of_x_too IS 'x'"),
            Sql("REINDEX INDEX of_x_too"),
            Sql("DROP INDEX of_x_too, also_of_x"),
            Sql("INSERT INTO t VALUES (6, 1)"),
        ],
        then: ("SELECT count(*) FROM t", "6"),
    },
    Case {
        name: "functions whose bodies name temporary tables",
        given: TABLE,
        when: &[
            Sql("CREATE TEMP TABLE x (id int)"),
            Sql("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'INSERT INTO x VALUES (1)'"),
            Fails("CREATE FUNCTION g() RETURNS void LANGUAGE sql AS 'INSERT INTO y VALUES (1)'", "42P01"),
        ],
        then: ("SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace", "1"),
    },
    Case {
        name: "writes of a session whose temporary tables are gone",
        given: TABLE,
        when: &[
            Sql("CREATE TEMP TABLE x (id int)"),
            Sql("INSERT INTO x VALUES (1)"),
            Sql("DROP TABLE x"),
            Sql("INSERT INTO t VALUES (6, 1)"),
            Sql("DISCARD TEMP"),
            Sql("INSERT INTO t VALUES (7, 1)"),
        ],
        then: ("SELECT count(*) FROM t", "7"),
    },
    Case {
        name: "a commit",
        given: TABLE,
        when: &[
            Sql("BEGIN"),
            Sql("INSERT INTO t VALUES (6, 1)"),
            With("UPDATE t SET v = v + $1 WHERE id = $2", &["5", "6"]),
            Sql("DELETE FROM t WHERE v = 0 AND id < 3"),
            Sql("COMMIT"),
        ],
        then: ("SELECT sum(v) || ' ' || count(*) FROM t", "6 4"),
    },
    Case {
        name: "a rollback",
        given: TABLE,
        when: &[Sql("BEGIN"), Sql("UPDATE t SET v = 9"), Sql("ROLLBACK"), Sql("UPDATE t SET v = 1 WHERE id = 1")],
        then: ("SELECT sum(v) FROM t", "1"),
    },
    Case {
        name: "an error, and COMMIT after it",
        given: TABLE,
        when: &[
            Sql("BEGIN"),
            Sql("UPDATE t SET v = 9"),
            Fails("INSERT INTO t VALUES (1, 1)", "23505"),
            Fails("UPDATE t SET v = 10", "25P02"),
            Sql("COMMIT"),
        ],
        then: ("SELECT sum(v) FROM t", "0"),
    },
    Case {
        name: "savepoints within savepoints",
        given: TABLE,
        when: &[
            Sql("BEGIN"),
            Sql("UPDATE t SET v = 1 WHERE id = 1"),
            Sql("SAVEPOINT a"),
            Sql("UPDATE t SET v = 1 WHERE id = 2"),
            Sql("SAVEPOINT b"),
            Sql("UPDATE t SET v = 1 WHERE id = 3"),
            Fails("SELECT 1/0", "22012"),
            Sql("ROLLBACK TO b"),
            Sql("UPDATE t SET v = 10 WHERE id = 4"),
            Sql("RELEASE b"),
            Sql("SAVEPOINT a"),
            Sql("UPDATE t SET v = 100 WHERE id = 5"),
            Sql("ROLLBACK TO SAVEPOINT a"),
            Sql("RELEASE SAVEPOINT a"),
            Sql("ROLLBACK TO a"),
            Sql("UPDATE t SET v = 7 WHERE id = 5"),
            Sql("COMMIT"),
        ],
        then: ("SELECT string_agg(v::text, '' ORDER BY id) FROM t", "10007"),
    },
    Case {
        name: "one row changed many times",
        given: TABLE,
        when: &[
            Sql("BEGIN"),
            Sql("INSERT INTO t VALUES (10, 1)"),
            Sql("UPDATE t SET v = v + 1 WHERE id = 10"),
            Sql("DELETE FROM t WHERE id = 10"),
            Sql("INSERT INTO t VALUES (11, 5)"),
            Sql("UPDATE t SET v = v * 2"),
            Sql("COMMIT"),
        ],
        then: ("SELECT v FROM t WHERE id = 11", "10"),
    },
    Case {
        name: "isolation levels",
        given: TABLE,
        when: &[
            Sql("BEGIN ISOLATION LEVEL REPEATABLE READ"),
            Sql("SELECT count(*) FROM t"),
            Sql("UPDATE t SET v = 1"),
            Sql("COMMIT"),
            Sql("BEGIN ISOLATION LEVEL SERIALIZABLE"),
            Sql("INSERT INTO t SELECT max(id) + 1, sum(v) FROM t"),
            Sql("COMMIT"),
            Sql("BEGIN"),
            Sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
            Sql("DELETE FROM t WHERE v = (SELECT min(v) FROM t) AND id = 1"),
            Sql("COMMIT AND CHAIN"),
            Sql("UPDATE t SET v = v + 1 WHERE id = 6"),
            Sql("COMMIT"),
        ],
        then: ("SELECT sum(v) FROM t", "10"),
    },
    Case {
        name: "settings inside",
        given: TABLE,
        when: &[
            Sql("BEGIN"),
            Sql("SET LOCAL timezone = 'Asia/Tokyo'"),
            Sql("CREATE TABLE at (id int PRIMARY KEY, t timestamptz)"),
            Sql("INSERT INTO at VALUES (1, '2024-01-01 09:00')"),
            Sql("COMMIT"),
        ],
        then: ("SELECT t = '2024-01-01 00:00+00' FROM at", "t"),
    },
    Case {
        name: "SQL's own prepared statements",
        given: TABLE,
        when: &[
            Sql("PREPARE w (int, int) AS UPDATE t SET v = $2 WHERE id = $1"),
            Sql("EXECUTE w (1, 10)"),
            Sql("BEGIN"),
            Sql("EXECUTE w (2, 20)"),
            Sql("PREPARE i AS INSERT INTO t VALUES ($1, (random() * 0)::int) RETURNING *"),
            Sql("EXECUTE i (100)"),
            Sql("COMMIT"),
            Sql("DEALLOCATE w"),
            Fails("EXECUTE w (3, 30)", "26000"),
        ],
        then: ("SELECT sum(v) || ' ' || count(*) FROM t", "30 6"),
    },
    Case {
        name: "a cursor to update by",
        given: TABLE,
        when: &[
            Sql("BEGIN"),
            Sql("DECLARE c CURSOR FOR SELECT * FROM t ORDER BY id FOR UPDATE"),
            Sql("FETCH 2 FROM c"),
            Sql("UPDATE t SET v = 5 WHERE CURRENT OF c"),
            Sql("FETCH c"),
            Sql("DELETE FROM t WHERE CURRENT OF c"),
            Sql("COMMIT"),
        ],
        then: ("SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM t", "1=0 2=5 4=0 5=0"),
    },
    Case {
        name: "ten thousand rows and more than fits in memory",
        given: "CREATE TABLE t (id int PRIMARY KEY, v text);",
        when: &[
            Sql("BEGIN"),
            Sql("INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 10000) n"),
            Sql("UPDATE t SET v = v || id WHERE id % 2 = 0"),
            Sql("SAVEPOINT s"),
            Sql("DELETE FROM t"),
            Sql("ROLLBACK TO s"),
            Sql("DELETE FROM t WHERE id % 5 = 0"),
            Sql("COMMIT"),
        ],
        then: ("SELECT count(*) FROM t", "8000"),
    },
];

/// What the proxy asks a leader for itself is under the session's time-outs too.
#[test]
fn a_question_of_ours_that_fails_is_that_statements_error_and_not_the_sessions_end() {
    let cluster = Cluster::shared();
    cluster.create_database("hasty");
    let mut client = cluster.connect("hasty");
    client.query("CREATE TABLE t (id serial PRIMARY KEY)");
    let mut failed = 0;
    for n in 0..10 {
        // Somebody else changes the schema, so that it is read again.
        cluster.connect("hasty").query(&format!("CREATE TABLE other_{n} ()"));
        client.query("SET statement_timeout = 1");
        if let Err(failure) = client.try_query("INSERT INTO t DEFAULT VALUES") {
            assert_eq!(failure.state(), "57014", "{failure}");
            failed += 1;
        }
        // A server may find only in the next statement that the time of this one was over.
        while ["SET statement_timeout = 0", "SELECT 1"].iter().any(|sql| client.try_query(sql).is_err()) {}
        client.query("INSERT INTO t DEFAULT VALUES");
    }
    assert!(failed > 0, "no question was slow enough to fail");
}

/// What ends a failed transaction and what comes after it arrive together, so that no ReadyForQuery stands between them.
#[test]
fn what_follows_the_end_of_a_failed_transaction_in_one_string_is_replicated() {
    let cluster = Cluster::shared();
    cluster.create_database("recovered");
    let mut client = cluster.connect("recovered");
    client.query("CREATE TABLE t (id int PRIMARY KEY)");
    for (n, end) in ["COMMIT", "ROLLBACK", "ROLLBACK TO s; RELEASE s", "ROLLBACK AND CHAIN"].iter().enumerate() {
        for (way, rest) in
            ["INSERT INTO t VALUES ({}); COMMIT", "COMMIT; BEGIN; INSERT INTO t VALUES ({}); COMMIT"].iter().enumerate()
        {
            client.query("BEGIN; SAVEPOINT s");
            assert_eq!(client.try_query("SELECT 1 / 0").expect_err("a division by zero").state(), "22012");
            client.query(&format!("{end}; {}", rest.replace("{}", &(10 * n + way).to_string())));
        }
    }
    assert_eq!(cluster.nodes[0].connect("recovered").value("SELECT count(*) FROM t"), "8");
    assert_identical_database(&cluster.nodes, "recovered");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
}

/// The leader alone can judge such a transaction, whoever has said that it is one.
#[test]
fn serializable_by_default_is_judged_before_followers_commit() {
    let cluster = Cluster::start(2);
    cluster.create_database("skew");
    let mut owner = cluster.connect("skew");
    owner.query("CREATE TABLE duty (id int PRIMARY KEY, here bool); INSERT INTO duty VALUES (1, true), (2, true)");
    for node in &cluster.nodes {
        node.connect("postgres").query("ALTER ROLE app SET default_transaction_isolation = 'serializable'");
    }
    for round in ["of the role", "after a SET that was undone"] {
        let mut clients: Vec<_> = (0..2).map(|_| cluster.connect("skew")).collect();
        for client in &mut clients {
            if round != "of the role" {
                client.query("BEGIN; SET default_transaction_isolation = 'read committed'; ROLLBACK");
            }
            client.query("BEGIN");
            client.query("SELECT count(*) FROM duty WHERE here");
        }
        for (id, client) in clients.iter_mut().enumerate() {
            client.query(&format!("UPDATE duty SET here = false WHERE id = {}", id + 1));
        }
        let outcomes: Vec<_> = clients.iter_mut().map(|client| client.try_query("COMMIT")).collect();
        let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert!(matches!(&failed[..], [failure] if failure.state() == "40001"), "{round}: {failed:?}");
        assert!(cluster.proxy.degradations().is_empty(), "{round}");
        owner.query("UPDATE duty SET here = true");
    }
    assert_identical_database(&cluster.nodes, "skew");
}
