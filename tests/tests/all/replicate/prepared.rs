//! What a statement meant when it was prepared, it need not mean when it is run.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::users::APP;

use super::Do::{Sql, With};
use super::{Case, replicated, replicated_or_refused};

#[test]
fn a_statement_prepared_by_the_protocol_follows_the_search_path() {
    let cluster = Cluster::start(2);
    cluster.create_database("follows");
    let mut client = cluster.proxy.connect_as(&APP, "follows");
    client.query("CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (id int PRIMARY KEY, v int)");
    client.query("CREATE TABLE b.t (id int PRIMARY KEY, w text, x int DEFAULT 5); SET search_path = a");
    client.try_prepare("insert", "INSERT INTO t VALUES ($1)").unwrap();
    client.try_execute_prepared("insert", &[Some("1")]).unwrap();
    client.query("SET search_path = b");
    client.try_execute_prepared("insert", &[Some("2")]).unwrap();
    client.query("BEGIN; SET LOCAL search_path = a");
    client.try_execute_prepared("insert", &[Some("3")]).unwrap();
    client.query("COMMIT");
    client.try_execute_prepared("insert", &[Some("4")]).unwrap();
    for node in &cluster.nodes {
        let mut node = node.connect_as(&APP, "follows");
        assert_eq!(node.rows("SELECT count(*) FROM a.t")[0][0].as_deref(), Some("2"));
        assert_eq!(node.rows("SELECT sum(x) FROM b.t")[0][0].as_deref(), Some("10"));
    }
    assert_identical_database(&cluster.nodes, "follows");
}

#[test]
fn names_mean_what_the_search_path_of_the_moment_says() {
    replicated("paths", PATHS);
}

#[test]
fn prepared_statements_are_run_as_the_schema_is_now() {
    replicated_or_refused("renewed", RENEWED);
}

#[test]
fn a_script_goes_on_with_the_schema_that_it_has_committed() {
    let cluster = Cluster::start(2);
    cluster.create_database("goes_on");
    let mut client = cluster.proxy.connect_as(&APP, "goes_on");
    client.query(
        "BEGIN; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2);
         BEGIN; ALTER TABLE t ADD v int DEFAULT 7; COMMIT; INSERT INTO t VALUES (3); UPDATE t SET v = id",
    );
    client.query("PREPARE p AS INSERT INTO t VALUES ($1, $2); EXECUTE p(4, 4); ALTER TABLE t ADD w int DEFAULT 1");
    client.query("EXECUTE p(5, 5)");
    let sum = cluster.nodes[1].connect_as(&APP, "goes_on").rows("SELECT sum(v) || ' ' || sum(w) FROM t");
    assert_eq!(sum[0][0].as_deref(), Some("15 5"));
    assert_identical_database(&cluster.nodes, "goes_on");
}

/// The case's own schema is on the path when a client connects; `other` is a temporary detour.
const TWO: &str = "CREATE TABLE t (id int PRIMARY KEY, v int);
    DO $$ BEGIN EXECUTE format('CREATE SCHEMA %I', 'other_' || current_schema);
    EXECUTE format('CREATE TABLE %I.t (id int PRIMARY KEY, w text)', 'other_' || current_schema); END $$;";

const PATHS: &[Case] = &[
    Case {
        name: "a path for one transaction",
        given: TWO,
        when: &[
            Sql("INSERT INTO t VALUES (1, 1)"),
            Sql("BEGIN"),
            Sql("SELECT set_config('search_path', 'other_' || current_schema, true)"),
            Sql("INSERT INTO t VALUES (1, 'other')"),
            Sql("COMMIT"),
            Sql("INSERT INTO t VALUES (2, 2)"),
        ],
        then: ("SELECT sum(v) FROM t", "3"),
    },
    Case {
        name: "a path that is rolled back",
        given: TWO,
        when: &[
            Sql("BEGIN"),
            Sql("SELECT set_config('search_path', 'other_' || current_schema, false)"),
            Sql("INSERT INTO t VALUES (1, 'other')"),
            Sql("ROLLBACK"),
            Sql("INSERT INTO t VALUES (2, 2)"),
        ],
        then: ("SELECT sum(v) FROM t", "2"),
    },
    Case {
        name: "a path that a function sets",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int);
            DO $$ BEGIN EXECUTE format('CREATE SCHEMA %I', 'other_' || current_schema);
            EXECUTE format('CREATE TABLE %I.t (id int PRIMARY KEY, w text)', 'other_' || current_schema); END $$;
            CREATE FUNCTION go() RETURNS text LANGUAGE sql AS
                $$ SELECT set_config('search_path', 'other_' || current_schema, false) $$;",
        when: &[
            Sql("INSERT INTO t VALUES (1, 1)"),
            Sql("SELECT go()"),
            Sql("INSERT INTO t VALUES (2, 'other')"),
            Sql("RESET search_path"),
            Sql("INSERT INTO t VALUES (3, 3)"),
        ],
        then: ("SELECT sum(v) FROM t", "4"),
    },
];

const RENEWED: &[Case] = &[
    Case {
        name: "EXECUTE under another path",
        given: TWO,
        when: &[
            Sql("PREPARE p AS INSERT INTO t VALUES ($1)"),
            Sql("EXECUTE p(1)"),
            Sql("SELECT set_config('search_path', 'other_' || current_schema, false)"),
            Sql("EXECUTE p(2)"),
        ],
        then: ("SELECT count(*) FROM t", "1"),
    },
    Case {
        name: "EXECUTE of a table that has got another column",
        given: "CREATE TABLE t (id int PRIMARY KEY);",
        when: &[
            Sql("PREPARE p AS INSERT INTO t VALUES ($1)"),
            Sql("EXECUTE p(1)"),
            Sql("ALTER TABLE t ADD COLUMN v int DEFAULT 5"),
            Sql("ALTER TABLE t ALTER COLUMN v SET DEFAULT 7"),
            Sql("EXECUTE p(2)"),
        ],
        then: ("SELECT sum(v) FROM t", "12"),
    },
    Case {
        name: "EXECUTE of a query whose function has come to write",
        given: "CREATE TABLE t (id int PRIMARY KEY);
            CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';",
        when: &[
            Sql("PREPARE p AS SELECT f()"),
            Sql("EXECUTE p"),
            Sql("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING id'"),
            Sql("EXECUTE p"),
        ],
        then: ("SELECT count(*) FROM t", "1"),
    },
    Case {
        name: "EXECUTE of a table that has got a trigger",
        given: "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (id serial PRIMARY KEY);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO log DEFAULT VALUES; RETURN NULL; END $$;",
        when: &[
            With("PREPARE p AS INSERT INTO t VALUES (7)", &[]),
            Sql("CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()"),
            Sql("EXECUTE p"),
        ],
        then: ("SELECT count(*) FROM log", "1"),
    },
];
