//! Sequences are level when nothing moves, however they were moved.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;
use lockstep_tests::wait;

use super::Do::{Fails, Sql};
use super::{Case, REST, replicated};

#[test]
fn are_level_at_rest() {
    replicated("sequences", CASES);
}

/// Whoever is told 1000 may take it that 999 is never given out again, and whoever is told 5 that 6 comes next: a new leader
/// could not tell either from its rows.
#[test]
fn a_setval_is_on_every_node_when_the_client_is_told() {
    let cluster = Cluster::start(2);
    cluster.create_database("put");
    let mut client = cluster.connect("put");
    client.query("CREATE SEQUENCE s");
    let mut follower = Client::connect(&cluster.nodes[1].address(), &APP, "put");
    let mut is_there = |last: &str| assert_eq!(follower.value("SELECT last_value FROM s"), last);
    client.query("SELECT setval('s', 1000)");
    is_there("1000");
    client.query("SELECT setval('s', 5)");
    is_there("5");
    client.query("SELECT nextval('s'); SELECT setval('s', 2000), setval('s', 2001)");
    is_there("2001");
    client.query("BEGIN; SELECT setval('s', 3000)");
    is_there("3000");
    client.query("SELECT setval('s', n) FROM generate_series(4000, 5000) n");
    is_there("5000");
    client.query("ROLLBACK");
    is_there("5000");
}

/// Nothing would take its values there, and nobody would know before the next takeover.
#[test]
fn that_a_follower_does_not_have_are_told_of() {
    let cluster = Cluster::start(2);
    cluster.create_database("lacking");
    let mut client = cluster.connect("lacking");
    client.query("CREATE SEQUENCE here; CREATE SEQUENCE gone");
    cluster.nodes[1].connect("lacking").query("DROP SEQUENCE gone");
    client.query("SELECT nextval('here')");
    let told = || cluster.proxy.log().lines().filter(|line| line.contains("lacks a sequence")).count();
    wait::until(REST, "the log tells of it", || (told() > 0).then_some(()));
    client.query("SELECT setval('here', 10)");
    client.query("SELECT setval('here', 20)");
    assert_eq!(told(), 1, "{}", cluster.proxy.log());
    assert!(cluster.proxy.log().contains("public.gone"));
}

const CASES: &[Case] = &[
    Case {
        name: "nextval and setval by themselves",
        given: "CREATE SEQUENCE s; CREATE SEQUENCE cyclic MAXVALUE 3 CYCLE; CREATE SEQUENCE down INCREMENT -2;",
        when: &[
            Sql("SELECT nextval('s'), nextval('s')"),
            Sql("SELECT nextval('s') FROM generate_series(1, 50)"),
            Sql("SELECT nextval('cyclic') FROM generate_series(1, 5)"),
            Sql("SELECT nextval('down'), nextval('down')"),
            Sql("SELECT setval('s', 10), setval('down', -100, false)"),
            Sql("SELECT nextval('s')"),
        ],
        then: ("SELECT last_value FROM s", "11"),
    },
    Case {
        name: "values that are burnt by what fails and what is rolled back",
        given: "CREATE TABLE t (id serial PRIMARY KEY, v int CHECK (v > 0));",
        when: &[
            Fails("INSERT INTO t (v) VALUES (-1)", "23514"),
            Sql("BEGIN"),
            Sql("INSERT INTO t (v) VALUES (1), (2), (3)"),
            Sql("ROLLBACK"),
            Sql("INSERT INTO t (v) VALUES (5) RETURNING id"),
        ],
        then: ("SELECT id FROM t", "5"),
    },
    Case {
        name: "a sequence that is changed",
        given: "CREATE SEQUENCE s; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'));",
        when: &[
            Sql("INSERT INTO t DEFAULT VALUES"),
            Sql("ALTER SEQUENCE s RESTART WITH 100 INCREMENT 10"),
            Sql("INSERT INTO t DEFAULT VALUES"),
            Sql("INSERT INTO t DEFAULT VALUES"),
            Sql("BEGIN"),
            Sql("ALTER SEQUENCE s RESTART 7"),
            Sql("INSERT INTO t DEFAULT VALUES"),
            Sql("COMMIT"),
        ],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "1 7 100 110"),
    },
    Case {
        name: "a sequence made, used and dropped in one transaction",
        given: "",
        when: &[
            Sql("BEGIN"),
            Sql("CREATE TABLE t (id serial PRIMARY KEY, v int)"),
            Sql("INSERT INTO t (v) VALUES (1), (2)"),
            Sql("SELECT nextval('t_id_seq')"),
            Sql("CREATE SEQUENCE gone"),
            Sql("SELECT nextval('gone')"),
            Sql("DROP SEQUENCE gone"),
            Sql("COMMIT"),
            Sql("INSERT INTO t (v) VALUES (3)"),
        ],
        then: ("SELECT max(id) FROM t", "4"),
    },
];
