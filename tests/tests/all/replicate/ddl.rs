//! Commands that change the schema, and TRUNCATE.

use super::Do::{Fails, Sql};
use super::{Case, replicated};

#[test]
fn of_every_kind() {
    replicated("ddl", CASES);
}

const FILLED: &str =
    "CREATE TABLE t (id serial PRIMARY KEY, v int, w text); INSERT INTO t (v) SELECT generate_series(1, 10);";

const CASES: &[Case] = &[
    Case {
        name: "a table is made, used, changed and dropped",
        given: "",
        when: &[
            Sql("CREATE TABLE a (id serial PRIMARY KEY, v int NOT NULL DEFAULT 7, t timestamptz DEFAULT now())"),
            Sql("INSERT INTO a DEFAULT VALUES"),
            Sql("ALTER TABLE a ADD COLUMN w text DEFAULT 'constant', ADD CONSTRAINT positive CHECK (v > 0)"),
            Sql("INSERT INTO a (w) VALUES ('own')"),
            Sql("ALTER TABLE a RENAME COLUMN w TO x"),
            Sql("ALTER TABLE a RENAME TO b"),
            Sql("UPDATE b SET x = x || v WHERE id = 1"),
            Sql("ALTER TABLE b DROP COLUMN v"),
            Sql("INSERT INTO b (x) VALUES ('last')"),
            Sql("CREATE TABLE gone (id int)"),
            Sql("DROP TABLE gone"),
        ],
        then: ("SELECT string_agg(x, ' ' ORDER BY id) FROM b", "constant7 own last"),
    },
    Case {
        name: "in a transaction together with rows",
        given: FILLED,
        when: &[
            Sql("BEGIN"),
            Sql("CREATE TABLE a (id int PRIMARY KEY, t int REFERENCES t)"),
            Sql("INSERT INTO a VALUES (1, 1)"),
            Sql("ALTER TABLE a ADD COLUMN n int"),
            Sql("UPDATE a SET n = 5"),
            Sql("INSERT INTO t (v) VALUES (100)"),
            Sql("CREATE INDEX ON a (n)"),
            Sql("COMMIT"),
            Sql("BEGIN"),
            Sql("DROP TABLE a"),
            Sql("DELETE FROM t"),
            Sql("ROLLBACK"),
        ],
        then: ("SELECT n || ' ' || (SELECT count(*) FROM t) FROM a", "5 11"),
    },
    Case {
        name: "rolled back to a savepoint",
        given: FILLED,
        when: &[
            Sql("BEGIN"),
            Sql("ALTER TABLE t ADD COLUMN kept int"),
            Sql("SAVEPOINT s"),
            Sql("ALTER TABLE t ADD COLUMN lost int"),
            Sql("UPDATE t SET lost = 1"),
            Sql("ROLLBACK TO s"),
            Sql("UPDATE t SET kept = v"),
            Sql("COMMIT"),
        ],
        then: ("SELECT sum(kept) FROM t", "55"),
    },
    Case {
        name: "indexes, views, types, schemas, comments, grants",
        given: FILLED,
        when: &[
            Sql("CREATE UNIQUE INDEX by_v ON t (v) WHERE v > 5"),
            Sql("CREATE VIEW seen AS SELECT v FROM t WHERE v > 5"),
            Sql("CREATE TYPE mood AS ENUM ('sad')"),
            Sql("ALTER TYPE mood ADD VALUE 'happy'"),
            Sql("CREATE DOMAIN small AS int CHECK (value < 10)"),
            Sql("COMMENT ON TABLE t IS 'tea'"),
            Sql("GRANT SELECT, INSERT ON t TO app_md5"),
            Sql("REVOKE INSERT ON t FROM app_md5"),
            Sql("ALTER TABLE t ALTER v SET STATISTICS 10, ALTER w SET DEFAULT 'w', ALTER v SET NOT NULL"),
            Sql("ALTER INDEX by_v RENAME TO by_value"),
            Sql("CREATE SEQUENCE s START 5"),
            Sql("CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'"),
            Sql("CREATE INDEX ON t (twice(v))"),
            Sql("CREATE STATISTICS st ON v, w FROM t"),
        ],
        then: ("SELECT count(*) FROM seen", "5"),
    },
    Case {
        name: "that fails",
        given: FILLED,
        when: &[
            Fails("CREATE TABLE t (id int)", "42P07"),
            Fails("ALTER TABLE t ADD UNIQUE (w), ADD CHECK (v < 5)", "23514"),
            Fails("CREATE UNIQUE INDEX ON t ((v % 2))", "23505"),
            Fails("DROP TABLE missing", "42P01"),
            Sql("DROP TABLE IF EXISTS missing"),
            Sql("CREATE TABLE IF NOT EXISTS t (other int)"),
        ],
        then: ("SELECT count(*) FROM t", "10"),
    },
    Case {
        name: "TRUNCATE",
        given:
            "CREATE TABLE a (id serial PRIMARY KEY, v int); CREATE TABLE b (id serial PRIMARY KEY, a int REFERENCES a);
            INSERT INTO a (v) VALUES (1), (2); INSERT INTO b (a) VALUES (1), (2);
            CREATE TABLE c (id serial PRIMARY KEY); INSERT INTO c DEFAULT VALUES;",
        when: &[
            Fails("TRUNCATE a", "0A000"),
            Sql("TRUNCATE a, b RESTART IDENTITY"),
            Sql("INSERT INTO a (v) VALUES (3) RETURNING id"),
            Sql("TRUNCATE c"),
            Sql("INSERT INTO c DEFAULT VALUES"),
            Sql("BEGIN"),
            Sql("TRUNCATE c RESTART IDENTITY"),
            Sql("INSERT INTO c DEFAULT VALUES"),
            Sql("ROLLBACK"),
            Sql("INSERT INTO c DEFAULT VALUES"),
        ],
        then: (
            "SELECT (SELECT max(id) FROM a) || ' ' || (SELECT string_agg(id::text, ',' ORDER BY id) FROM c)",
            "1 2,3",
        ),
    },
    Case {
        name: "another default, key or type while rows are written",
        given: FILLED,
        when: &[
            Sql("INSERT INTO t (v) VALUES (11)"),
            Sql("ALTER TABLE t ALTER w SET DEFAULT 'new'"),
            Sql("INSERT INTO t (v) VALUES (12)"),
            Sql("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (v)"),
            Sql("UPDATE t SET w = 'by v' WHERE v = 12"),
            Sql("ALTER TABLE t ALTER v TYPE bigint"),
            Sql("INSERT INTO t VALUES (99, 5000000000, 'big')"),
        ],
        then: ("SELECT string_agg(w, ' ' ORDER BY v) FROM t WHERE v > 11", "by v big"),
    },
    Case {
        name: "partitions come and go",
        given: "CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);",
        when: &[
            Sql("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)"),
            Sql("INSERT INTO p VALUES (1, 1), (2, 2)"),
            Sql("CREATE TABLE p2 (id int PRIMARY KEY, v int)"),
            Sql("INSERT INTO p2 VALUES (15, 15)"),
            Sql("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)"),
            Sql("ALTER TABLE p DETACH PARTITION p1"),
            Sql("UPDATE p SET v = v + 1"),
            Sql("UPDATE p1 SET v = 0"),
        ],
        then: ("SELECT (SELECT sum(v) FROM p) || ' ' || (SELECT sum(v) FROM p1)", "16 0"),
    },
    Case {
        name: "an index that cannot be made outside a transaction leaves nothing",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n % 5 FROM generate_series(1, 20) n;",
        when: &[
            Fails("CREATE UNIQUE INDEX CONCURRENTLY by_v ON t (v)", "23505"),
            Fails("CREATE UNIQUE INDEX CONCURRENTLY ON t (v)", "23505"),
            Fails("DROP INDEX by_v", "42704"),
            Sql("CREATE INDEX CONCURRENTLY by_v ON t (v)"),
            Fails("CREATE UNIQUE INDEX CONCURRENTLY by_v ON t (v)", "42P07"),
            Fails("CREATE INDEX CONCURRENTLY by_missing ON t (missing)", "42703"),
            Sql("REINDEX INDEX CONCURRENTLY by_v"),
            Sql("DROP INDEX CONCURRENTLY by_v"),
            Sql("INSERT INTO t VALUES (100, 1)"),
        ],
        then: ("SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema", "1"),
    },
    Case {
        name: "what depends on a temporary table's rows, and what belongs to it",
        given: "CREATE TABLE t (a int PRIMARY KEY);",
        when: &[
            Sql("CREATE TEMP TABLE mine (a int)"),
            Fails("CREATE FUNCTION f() RETURNS SETOF mine LANGUAGE sql AS 'TABLE mine'", "0A000"),
            Fails("CREATE DOMAIN many AS mine[]", "0A000"),
            Sql("CREATE RULE r AS ON DELETE TO mine DO INSTEAD NOTHING"),
            Sql("COMMENT ON RULE r ON mine IS 'mine'"),
            Sql("COMMENT ON COLUMN mine.a IS 'mine'"),
            Sql("DROP RULE r ON mine"),
            Sql(
                "CREATE TRIGGER u BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            ),
            Sql("DROP TRIGGER u ON mine"),
            Sql("COMMENT ON COLUMN t.a IS 'everybody''s'"),
        ],
        then: ("SELECT col_description('t'::regclass, 1)", "everybody's"),
    },
    Case {
        name: "rows that no server reads back",
        given: "CREATE TABLE t (a int PRIMARY KEY DEFAULT 7);",
        when: &[
            Fails("CREATE TABLE u AS SELECT adrelid::int AS id, adbin FROM pg_attrdef", "0A000"),
            Sql("CREATE TABLE u AS SELECT adbin::text IS NOT NULL AS known FROM pg_attrdef LIMIT 1"),
        ],
        then: ("SELECT known FROM u", "t"),
    },
    Case {
        name: "partitions that were tables with a trigger of the proxy's own",
        given: "CREATE TABLE log (id serial PRIMARY KEY, v int); \
                CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
                    $$ BEGIN INSERT INTO log (v) VALUES (NEW.id); RETURN NULL; END $$; \
                CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); \
                CREATE TABLE p1 (id int PRIMARY KEY); CREATE TABLE p2 (id int PRIMARY KEY); \
                CREATE TRIGGER note AFTER INSERT ON p1 FOR EACH ROW EXECUTE FUNCTION note(); \
                CREATE TRIGGER note AFTER INSERT ON p2 FOR EACH ROW EXECUTE FUNCTION note();",
        when: &[
            Sql("INSERT INTO p1 VALUES (1)"),
            Sql("ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)"),
            Sql("INSERT INTO p VALUES (2)"),
            Sql("INSERT INTO p2 VALUES (11)"),
            Fails("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)", "42710"),
            Sql("DROP TRIGGER lockstep_capture ON p2"),
            Sql("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)"),
            Sql("INSERT INTO p VALUES (3), (12)"),
        ],
        then: ("SELECT string_agg(v::text, ' ' ORDER BY v) FROM log", "1 2 3 11 12"),
    },
    Case {
        name: "partitions one after the other",
        given: "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); \
                CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1), (2);",
        when: &[
            Sql("REINDEX TABLE p"),
            Sql("REINDEX INDEX p_pkey"),
            Sql("CLUSTER p USING p_pkey"),
            Sql("ANALYZE p"),
            Sql("BEGIN"),
            Fails("REINDEX TABLE p", "25001"),
            Sql("ROLLBACK"),
            Sql("BEGIN"),
            Fails("REINDEX INDEX p_pkey", "25001"),
            Sql("ROLLBACK"),
            Sql("DELETE FROM p WHERE id = 2"),
        ],
        then: ("SELECT count(*) FROM p", "1"),
    },
    Case {
        name: "outside a transaction",
        given: FILLED,
        when: &[
            Sql("VACUUM t"),
            Sql("ANALYZE t"),
            Sql("CREATE INDEX CONCURRENTLY by_w ON t (w)"),
            Sql("REINDEX TABLE t"),
            Sql("DROP INDEX CONCURRENTLY by_w"),
        ],
        then: ("SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema", "1"),
    },
];
