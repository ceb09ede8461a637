//! What cannot be replicated exactly is refused with its reason, and has changed nothing anywhere.

use super::Do::{Copy, Sql};
use super::{Case, refused, replicated_or_refused};
use lockstep_tests::cluster::Cluster;
use lockstep_tests::users::SUPERUSER;

#[test]
fn with_0a000() {
    refused("refused", REFUSED);
}

#[test]
fn or_replicated_but_never_unequal() {
    replicated_or_refused("either", EITHER);
}

const AUDITED: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE log (id serial PRIMARY KEY, t int, at timestamptz);
    INSERT INTO t VALUES (1, 1), (2, 2);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log (t, at) VALUES (coalesce(new.id, old.id), now()); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();";

const FILLED: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);";

const REFUSED: &[Case] = &[Case {
    name: "the proxy's own schema",
    given: "",
    when: &[Sql("CREATE TABLE lockstep.mine (id int)")],
    then: ("SELECT 1", "1"),
}];

/// A superuser may, past the proxy.
#[test]
fn what_a_superuser_writes_to_the_systems_own_tables_is_refused_for_just_that() {
    let cluster = Cluster::start(2);
    cluster.create_database("system");
    let mut client = cluster.proxy.connect_as(&SUPERUSER, "system");
    for (sql, why) in [
        (
            "UPDATE pg_database SET datconnlimit = 7 WHERE datname = 'system'",
            "pg_database, one of the system's own tables",
        ),
        (
            "UPDATE pg_catalog.pg_database SET datconnlimit = 7 WHERE datname = 'system'",
            "pg_database, one of the system's own tables",
        ),
        ("DELETE FROM information_schema.sql_parts", "one of the system's own tables"),
        ("DO $$ BEGIN UPDATE pg_database SET datconnlimit = 7 WHERE datname = 'system'; END $$", "has the word"),
        ("DO $$ BEGIN DELETE FROM information_schema.sql_parts; END $$", "has the word"),
    ] {
        for refused in [client.try_query(sql).unwrap_err(), client.try_execute(sql, &[]).unwrap_err()] {
            assert_eq!(refused.state(), "0A000", "{sql}: {refused}");
            assert!(refused.to_string().contains(why), "{sql}: {refused}");
        }
    }
    assert_eq!(client.try_query("INSERT INTO pg_nothing VALUES (1)").unwrap_err().state(), "42P01");
    let question = "SELECT (SELECT datconnlimit FROM pg_database WHERE datname = 'system') || ' ' || \
        (SELECT count(*) > 0 FROM information_schema.sql_parts)";
    for node in &cluster.nodes {
        assert_eq!(node.connect("system").value(question), "-1 true");
    }
}

const EITHER: &[Case] = &[
    Case {
        name: "MERGE",
        given: FILLED,
        when: &[Sql(
            "MERGE INTO t USING (VALUES (1, 10), (9, 90)) s (id, v) ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v
             WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)",
        )],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "a rule",
        given: "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY, at timestamptz DEFAULT now());
            CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO u (id) VALUES (new.id);",
        when: &[Sql("INSERT INTO t VALUES (1)")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "a view that can be written to",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int, at timestamptz DEFAULT clock_timestamp());
            CREATE VIEW w AS SELECT id, v FROM t WHERE v > 0;",
        when: &[
            Sql("INSERT INTO w VALUES (1, 1), (2, 2)"),
            Sql("UPDATE w SET v = v + random() WHERE id = 1"),
            Sql("DELETE FROM w WHERE v = 2"),
        ],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "inheritance",
        given: "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (w int) INHERITS (a);
            INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1, 1), (1, 2, 2);",
        when: &[Sql("UPDATE a SET v = 5 WHERE id = 1"), Sql("DELETE FROM ONLY a"), Sql("DELETE FROM a WHERE v = 5")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "row security",
        given: "CREATE TABLE t (id int PRIMARY KEY, owner text DEFAULT current_user); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
            ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (owner = current_user);",
        when: &[Sql("INSERT INTO t VALUES (1)"), Sql("UPDATE t SET id = 2"), Sql("DELETE FROM t")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "a trigger on a view, and one on a statement",
        given: "CREATE TABLE t (id int PRIMARY KEY); CREATE VIEW w AS SELECT * FROM t;
            CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO t VALUES ((random() * 1e6)::int); RETURN new; END $$;
            CREATE TRIGGER tr INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION f();",
        when: &[Sql("INSERT INTO w VALUES (1)")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "a key that is partial, an expression, or null",
        given: "CREATE TABLE t (a int, b text, v int); CREATE UNIQUE INDEX ON t (a) WHERE v > 0;
            CREATE UNIQUE INDEX ON t (lower(b)); INSERT INTO t VALUES (1, 'x', 1), (1, 'y', -1);
            CREATE TABLE u (a int UNIQUE, v int); INSERT INTO u VALUES (NULL, 1), (NULL, 1), (1, 1);",
        when: &[Sql("UPDATE t SET v = 5 WHERE a = 1 AND v > 0"), Sql("UPDATE u SET v = v + 1"), Sql("DELETE FROM u WHERE v = 2")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "tables made from queries, materialized views",
        given: FILLED,
        when: &[
            Sql("CREATE TABLE a AS SELECT * FROM t"),
            Sql("SELECT id, now() AS at INTO b FROM t"),
            Sql("CREATE MATERIALIZED VIEW m AS SELECT id, clock_timestamp() AS at FROM t"),
            Sql("REFRESH MATERIALIZED VIEW m"),
        ],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "unlogged tables",
        given: "",
        when: &[
            Sql("CREATE UNLOGGED TABLE a (id int PRIMARY KEY)"),
            Sql("INSERT INTO a VALUES (1), (2)"),
            Sql("UPDATE a SET id = id + 5"),
        ],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "a DO block with DDL, as migration tools write it",
        given: "",
        when: &[
            Sql("DO $$ BEGIN CREATE TYPE mood AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN NULL; END $$"),
            Sql("CREATE TABLE t (id int PRIMARY KEY, m mood)"),
            Sql("INSERT INTO t VALUES (1, 'a')"),
        ],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "EXPLAIN ANALYZE of a write",
        given: FILLED,
        when: &[Sql("EXPLAIN ANALYZE UPDATE t SET v = 0"), Sql("EXPLAIN (ANALYZE) DELETE FROM t WHERE id = 1")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "COPY FROM into a table with a trigger, and from a program",
        given: AUDITED,
        when: &[Copy("COPY t FROM STDIN", "5\t5\n")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "a function marked immutable that is not",
        given: "CREATE TABLE t (id int PRIMARY KEY, at timestamptz);
            CREATE FUNCTION clock() RETURNS timestamptz IMMUTABLE LANGUAGE sql AS 'SELECT clock_timestamp()';",
        when: &[Sql("INSERT INTO t VALUES (1, clock())"), Sql("UPDATE t SET at = clock() WHERE id = 1")],
        then: ("SELECT 1", "1"),
    },
    Case {
        name: "settings that silence triggers",
        given: AUDITED,
        when: &[Sql("ALTER TABLE t DISABLE TRIGGER note"), Sql("INSERT INTO t VALUES (5, 5)")],
        then: ("SELECT 1", "1"),
    },
];
