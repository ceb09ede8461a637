//! DDL that computes rows: followers hold the leader's, though theirs lie in another order on disk.

use super::Do::{Fails, Sql};
use super::{Case, refused, replicated};

#[test]
fn of_tables_made_from_queries() {
    replicated("made", MADE);
}

#[test]
fn of_tables_that_are_altered() {
    replicated("altered", ALTERED);
}

#[test]
fn of_materialized_views_whose_rows_are_the_same_everywhere() {
    replicated("views", VIEWS);
}

#[test]
fn of_do_blocks_with_what_took_effect() {
    replicated("blocks", BLOCKS);
}

#[test]
fn or_refused() {
    refused("no_image", REFUSED);
}

/// On every server in an order of its own.
const SHUFFLED: &str = "CREATE TABLE t (id int PRIMARY KEY, v int, w text);
    INSERT INTO t SELECT n, n * 10, 'w' || n FROM generate_series(1, 300) n
        ORDER BY hashtext(n || current_setting('port'));";

const KEYLESS: &str = "CREATE TABLE t (v int, w text);
    INSERT INTO t SELECT n / 2, 'w' || n FROM generate_series(1, 300) n ORDER BY hashtext(n || current_setting('port'));";

const MADE: &[Case] = &[
    Case {
        name: "a query that is volatile",
        given: SHUFFLED,
        when: &[
            Sql("CREATE TABLE made AS SELECT id, random() AS r, clock_timestamp() AS at, gen_random_uuid() AS u FROM t"),
            Sql("CREATE TABLE few AS SELECT * FROM t LIMIT 5"),
            Sql("CREATE TABLE numbered AS SELECT row_number() OVER () AS n, w FROM t"),
            Sql("INSERT INTO made (id) VALUES (1000)"),
        ],
        then: ("SELECT (SELECT count(r) FROM made) || ' ' || (SELECT count(*) FROM few)", "300 5"),
    },
    Case {
        name: "SELECT INTO",
        given: SHUFFLED,
        when: &[
            Sql("SELECT id, now() AS at INTO made FROM t"),
            Sql("SELECT id, random() AS r INTO UNLOGGED other FROM t WHERE id < 10"),
        ],
        then: ("SELECT (SELECT count(at) FROM made) || ' ' || (SELECT count(*) FROM other)", "300 9"),
    },
    Case {
        name: "types of every kind, of users too",
        given: "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN small AS int CHECK (value < 100);
            CREATE TYPE pair AS (a int, b text); CREATE COLLATION german FROM \"C\";
            CREATE TABLE t (a varchar(10), b numeric(10, 2), c timestamp(3), d interval, e mood, f mood[], g small, h pair,
                i text COLLATE german, j bit(3), k char(5), l int4range, m jsonb, n bytea, o text[], p interval(2));
            INSERT INTO t VALUES ('a', 1.25, '2020-01-01 10:00:00.123', '1 mon 2 days', 'sad', '{sad,happy}', 5, '(1,x)', 'i', '101', 'k',
                '[1,5)', '{\"a\": 1}', '\\x00ff', '{NULL,\"a,b\"}', '1.234 s'); INSERT INTO t (a) VALUES (NULL);",
        when: &[
            Sql("CREATE TABLE made AS SELECT * FROM t"),
            Sql("CREATE TABLE renamed (\"A\", \"b b\") AS SELECT a, b, random() AS r FROM t"),
            Sql("INSERT INTO made (g) VALUES (7)"),
        ],
        then: ("SELECT count(*) || ' ' || (SELECT count(r) FROM renamed) FROM made", "3 2"),
    },
    Case {
        name: "with options, names in quotes, in another schema, and again",
        given: SHUFFLED,
        when: &[
            Sql("CREATE TABLE \"Made \"\"it\" WITH (fillfactor = 70, autovacuum_enabled = off) AS SELECT * FROM t"),
            Sql("CREATE UNLOGGED TABLE u (a, b) USING heap WITH (fillfactor = 80) AS SELECT id, v AS c FROM t"),
            Sql("CREATE SCHEMA IF NOT EXISTS elsewhere"),
            Sql("DROP TABLE IF EXISTS elsewhere.made"),
            Sql("CREATE TABLE elsewhere.made AS TABLE t"),
            Sql("CREATE TABLE IF NOT EXISTS elsewhere.made AS SELECT 1 AS other"),
            Sql("CREATE TABLE IF NOT EXISTS fresh AS VALUES (1, random()), (2, random())"),
            Fails("CREATE TABLE u AS SELECT 1", "42P07"),
            Fails("CREATE TABLE x AS SELECT 1 / (id - 7) FROM t", "22012"),
        ],
        then: ("SELECT count(*) || ' ' || (SELECT sum(a) FROM u) FROM elsewhere.made", "300 45150"),
    },
    Case {
        name: "in a transaction with other statements, savepoints, and rolled back",
        given: SHUFFLED,
        when: &[
            Sql("BEGIN"),
            Sql("UPDATE t SET v = 0 WHERE id < 100"),
            Sql("CREATE TABLE a AS SELECT *, random() AS r FROM t WHERE v = 0"),
            Sql("ALTER TABLE a ADD PRIMARY KEY (id)"),
            Sql("DELETE FROM a WHERE id = 1"),
            Sql("SAVEPOINT s"),
            Sql("CREATE TABLE b AS SELECT * FROM a"),
            Sql("INSERT INTO a (id) VALUES (1000)"),
            Sql("ROLLBACK TO s"),
            Sql("CREATE TABLE b AS SELECT id FROM a WHERE id < 5"),
            Sql("COMMIT"),
            Sql("BEGIN"),
            Sql("CREATE TABLE c AS SELECT * FROM a"),
            Sql("ROLLBACK"),
        ],
        then: ("SELECT (SELECT count(*) FROM a) || ' ' || (SELECT count(*) FROM b)", "98 3"),
    },
    Case {
        name: "from temporary tables and prepared statements",
        given: SHUFFLED,
        when: &[
            Sql("CREATE TEMP TABLE mine AS SELECT id, random() AS r FROM t"),
            Sql("CREATE TABLE made AS SELECT * FROM mine"),
            Sql("PREPARE p AS SELECT id, random() AS r FROM t WHERE id > 10"),
            Sql("CREATE TABLE other AS EXECUTE p"),
            Fails("CREATE TABLE another (LIKE mine)", "0A000"),
            Fails("CREATE TABLE another AS SELECT * FROM mine WITH NO DATA", "0A000"),
        ],
        then: ("SELECT count(*) || ' ' || (SELECT count(*) FROM other) FROM made", "300 290"),
    },
    Case {
        name: "a sequence is drawn from",
        given: SHUFFLED,
        when: &[Sql("CREATE SEQUENCE q"), Sql("CREATE TABLE made AS SELECT nextval('q') AS n, id FROM t")],
        then: ("SELECT max(n) FROM made", "300"),
    },
    Case {
        name: "many rows",
        given: "CREATE TABLE t (id int PRIMARY KEY, w text);
            INSERT INTO t SELECT n, repeat('x', 50) FROM generate_series(1, 50000) n;",
        when: &[Sql("CREATE TABLE made AS SELECT *, random() AS r FROM t")],
        then: ("SELECT count(*) FROM made", "50000"),
    },
];

const ALTERED: &[Case] = &[
    Case {
        name: "a new column with a volatile default",
        given: SHUFFLED,
        when: &[
            Sql("ALTER TABLE t ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid()"),
            Sql(
                "ALTER TABLE t ADD r float8 DEFAULT random() CHECK (r < 2), ADD at uuid DEFAULT gen_random_uuid() UNIQUE",
            ),
            Sql("INSERT INTO t (id) VALUES (1000)"),
        ],
        then: ("SELECT count(u) || ' ' || count(r) || ' ' || count(at) FROM t", "301 301 301"),
    },
    Case {
        name: "a new column with the time of the transaction",
        given: SHUFFLED,
        when: &[
            Sql("ALTER TABLE t ADD COLUMN made timestamptz NOT NULL DEFAULT now()"),
            Sql("ALTER TABLE t ADD COLUMN day date DEFAULT CURRENT_DATE, ADD who text DEFAULT current_user"),
            Sql("INSERT INTO t (id) VALUES (1000)"),
        ],
        then: ("SELECT count(made) || ' ' || count(day) || ' ' || count(who) FROM t", "301 301 301"),
    },
    Case {
        name: "a serial or identity column",
        given: SHUFFLED,
        when: &[
            Sql("ALTER TABLE t ADD COLUMN n serial"),
            Sql("ALTER TABLE t ADD COLUMN i bigint GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 2)"),
            Sql("INSERT INTO t (id) VALUES (1000)"),
        ],
        then: ("SELECT max(n) || ' ' || max(i) FROM t", "301 605"),
    },
    Case {
        name: "a key for a table that has none",
        given: KEYLESS,
        when: &[
            Sql("ALTER TABLE t ADD COLUMN id bigserial PRIMARY KEY"),
            Sql("UPDATE t SET w = 'x' WHERE id = 5"),
            Sql("INSERT INTO t (v) VALUES (1000)"),
        ],
        then: ("SELECT max(id) || ' ' || count(*) FILTER (WHERE w = 'x') FROM t", "301 1"),
    },
    Case {
        name: "another type by an expression",
        given: SHUFFLED,
        when: &[
            Sql("CREATE INDEX ON t (v)"),
            Sql("ALTER TABLE t ALTER v TYPE float8 USING v + random()"),
            Sql("ALTER TABLE t ALTER w TYPE timestamptz USING now() + v * interval '1 s', ALTER w SET DEFAULT now()"),
            Sql("INSERT INTO t (id) VALUES (1000)"),
        ],
        then: ("SELECT count(w) || ' ' || count(v) FROM t", "301 300"),
    },
    Case {
        name: "a table with foreign keys, identity, generated columns and indexes",
        given: "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 9);
            CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, p int REFERENCES p, v int,
                twice int GENERATED ALWAYS AS (v * 2) STORED, gone int, UNIQUE (p, v));
            ALTER TABLE t DROP COLUMN gone; CREATE INDEX ON t (twice);
            INSERT INTO t (p, v) SELECT n % 9 + 1, n FROM generate_series(1, 200) n;
            CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree);
            INSERT INTO tree SELECT n, nullif(n - 1, 0) FROM generate_series(1, 50) n;",
        when: &[
            Sql("ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()"),
            Sql("ALTER TABLE tree ADD COLUMN u uuid DEFAULT gen_random_uuid()"),
            Sql("INSERT INTO t (p, v) VALUES (1, 1000)"),
        ],
        then: ("SELECT count(u) || ' ' || max(id) FROM t", "201 201"),
    },
    Case {
        name: "a table to which others refer, in the ways of frameworks",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int, w text);
            INSERT INTO t SELECT n, n, n FROM generate_series(1, 300) n ORDER BY hashtext(n || current_setting('port'));
            CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE,
                d int REFERENCES t DEFERRABLE INITIALLY DEFERRED);
            INSERT INTO child SELECT n, n, n FROM generate_series(1, 300) n
                ORDER BY hashtext(n || current_setting('port'));",
        when: &[
            Sql("ALTER TABLE t ADD COLUMN made timestamptz DEFAULT (statement_timestamp()) NOT NULL"),
            Sql(
                "ALTER TABLE t ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid(), ALTER v TYPE text USING v::text || random()",
            ),
            Sql("ALTER TABLE t ADD COLUMN n serial"),
            Sql("CREATE UNIQUE INDEX ON t (u)"),
            Sql("ALTER TABLE child ADD COLUMN n bigserial"),
            Sql("ALTER TABLE child ALTER n TYPE float8 USING n + random()"),
            Fails("ALTER TABLE t ADD COLUMN k serial UNIQUE", "0A000"),
            Fails("ALTER TABLE t ADD COLUMN i int GENERATED ALWAYS AS IDENTITY", "0A000"),
            Sql("INSERT INTO t (id) VALUES (1000)"),
            Sql("DELETE FROM t WHERE id = 1"),
        ],
        then: ("SELECT count(made) || ' ' || count(u) || ' ' || (SELECT count(n) FROM child) FROM t", "300 300 299"),
    },
    Case {
        name: "a partitioned table",
        given: "CREATE TABLE t (id int, v int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
            CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
            CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (1000);
            INSERT INTO t SELECT n, n FROM generate_series(1, 300) n ORDER BY hashtext(n || current_setting('port'));",
        when: &[
            Sql("ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()"),
            Sql("INSERT INTO t (id) VALUES (500)"),
        ],
        then: ("SELECT count(u) || ' ' || (SELECT count(u) FROM t1) FROM t", "301 99"),
    },
    Case {
        name: "in a transaction with other statements, savepoints, and rolled back",
        given: SHUFFLED,
        when: &[
            Sql("BEGIN"),
            Sql("UPDATE t SET v = 5 WHERE id < 100"),
            Sql("ALTER TABLE t ADD COLUMN r float8 DEFAULT random()"),
            Sql("UPDATE t SET v = 6 WHERE r < 0.5"),
            Sql("SAVEPOINT s"),
            Sql("ALTER TABLE t ADD COLUMN n serial"),
            Sql("ROLLBACK TO s"),
            Sql("DELETE FROM t WHERE id = 1"),
            Fails("ALTER TABLE t ADD COLUMN n serial CHECK (n < 5)", "23514"),
            Sql("ROLLBACK TO s"),
            Sql("ALTER TABLE t ADD COLUMN n serial"),
            Sql("COMMIT"),
            Sql("BEGIN"),
            Sql("ALTER TABLE t ADD COLUMN lost serial"),
            Sql("ROLLBACK"),
        ],
        then: ("SELECT count(r) || ' ' || count(n) FROM t", "300 300"),
    },
    Case {
        name: "that fails, or has nothing to do",
        given: SHUFFLED,
        when: &[
            Fails("ALTER TABLE t ADD COLUMN v uuid DEFAULT gen_random_uuid()", "42701"),
            Fails("ALTER TABLE t ADD r float8 DEFAULT random() CHECK (r > 2)", "23514"),
            Fails("ALTER TABLE missing ADD COLUMN v uuid DEFAULT gen_random_uuid()", "42P01"),
            Sql("ALTER TABLE IF EXISTS missing ADD COLUMN v uuid DEFAULT gen_random_uuid()"),
            Sql("ALTER TABLE t ADD COLUMN IF NOT EXISTS v uuid DEFAULT gen_random_uuid()"),
        ],
        then: ("SELECT sum(v) FROM t", "451500"),
    },
    Case {
        name: "an empty table, and settings of the session",
        given: "CREATE TABLE t (id int PRIMARY KEY);",
        when: &[
            Sql("SET TimeZone = 'Asia/Kolkata'"),
            Sql("SET DateStyle = 'SQL, DMY'"),
            Sql("SET extra_float_digits = 0"),
            Sql("ALTER TABLE t ADD COLUMN at timestamptz DEFAULT clock_timestamp()"),
            Sql("INSERT INTO t VALUES (1)"),
            Sql("ALTER TABLE t ADD COLUMN r float8 DEFAULT random(), ADD d timestamptz DEFAULT now()"),
            Sql("CREATE TABLE made AS SELECT at, r, d, now() - at AS i, 0.1::float8 + 0.2 AS f FROM t"),
        ],
        then: ("SELECT count(r) FROM made", "1"),
    },
];

/// As [`SHUFFLED`], with values whose sums and texts depend on their order.
const MEASURED: &str = "CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE t (id int PRIMARY KEY, v int, w text, f float8, n numeric, m mood, at timestamptz);
    INSERT INTO t SELECT n, n % 7, 'w' || n % 5, n * 0.1, trim_scale(n / 2.0), 'sad', '2020-01-01'::timestamptz + n * '1 h'::interval
        FROM generate_series(1, 300) n ORDER BY hashtext(n || current_setting('port'));";

const VIEWS: &[Case] = &[
    Case {
        name: "made, filled again, renamed and dropped",
        given: MEASURED,
        when: &[
            Sql("CREATE MATERIALIZED VIEW x AS SELECT w, m, count(*) AS c, sum(v) AS s, avg(n) AS a, max(at) AS at,
                min(lower(w)) AS l FROM t WHERE v > 1 AND f < 25 GROUP BY w, m HAVING count(*) > 2"),
            Sql("CREATE UNIQUE INDEX ON x (w)"),
            Sql(
                "CREATE MATERIALIZED VIEW y AS SELECT a.id, a.v * 2 AS v, b.c, coalesce(a.w, 'none') AS w, a.f * 2 AS f
                FROM t a JOIN x b USING (w) WHERE EXISTS (SELECT 1 FROM t c WHERE c.id = a.id + 1)
                UNION ALL SELECT 0, 0, 0, CASE WHEN true THEN 'zero' END, 0 ORDER BY 1",
            ),
            Sql("CREATE MATERIALIZED VIEW IF NOT EXISTS y AS SELECT random()"),
            Sql("INSERT INTO t (id, v, w, f) VALUES (1000, 5, 'w3', 1.5)"),
            Sql("REFRESH MATERIALIZED VIEW x"),
            Sql("BEGIN"),
            Sql("UPDATE t SET w = 'w1' WHERE v = 2"),
            Sql("REFRESH MATERIALIZED VIEW CONCURRENTLY x"),
            Sql("COMMIT"),
            Sql("REFRESH MATERIALIZED VIEW y"),
            Sql("ALTER MATERIALIZED VIEW y RENAME TO z"),
            Sql("DROP MATERIALIZED VIEW z"),
        ],
        then: ("SELECT sum(c) FROM x", "178"),
    },
    Case {
        name: "refused where servers might differ",
        given: MEASURED,
        when: &[
            Fails("CREATE MATERIALIZED VIEW x AS SELECT random() AS r FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT now() AS r", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT current_date AS r", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT current_user AS r", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT sum(f) AS s FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT string_agg(w, ',') AS s FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT array_agg(id) AS s FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT row_number() OVER (ORDER BY v) AS s, id FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT id FROM t LIMIT 5", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT id FROM t OFFSET 5", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT DISTINCT ON (v) id FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT DISTINCT n FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT at::text AS a FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT ctid AS c FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT tableoid::int8 AS c FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT 't'::regclass::oid::int8 AS c FROM t", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT relname FROM pg_class", "0A000"),
            Fails("CREATE MATERIALIZED VIEW x AS SELECT id FROM t TABLESAMPLE bernoulli (50)", "0A000"),
            Fails(
                "CREATE MATERIALIZED VIEW x AS SELECT (SELECT id FROM t u WHERE u.v = t.v LIMIT 1) AS s FROM t",
                "0A000",
            ),
            Sql("CREATE MATERIALIZED VIEW x AS SELECT f + random() AS r FROM t WITH NO DATA"),
            Fails("REFRESH MATERIALIZED VIEW x", "0A000"),
            Fails("REFRESH MATERIALIZED VIEW missing", "42P01"),
            Sql("CREATE MATERIALIZED VIEW y AS SELECT id FROM t"),
        ],
        then: ("SELECT count(*) FROM y", "300"),
    },
];

const BLOCKS: &[Case] = &[
    Case {
        name: "as Prisma and Drizzle write them",
        given: "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int);
            INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1);",
        when: &[
            Sql(
                "DO $$ BEGIN CREATE TYPE mood AS ENUM ('sad', 'happy'); EXCEPTION WHEN duplicate_object THEN null; END $$",
            ),
            Sql("DO $$ BEGIN
 CREATE TYPE \"mood\" AS ENUM ('other');
EXCEPTION
 WHEN duplicate_object THEN NULL;
END $$;"),
            Sql("DO $do$ BEGIN
                ALTER TABLE b ADD CONSTRAINT b_a FOREIGN KEY (a) REFERENCES a(id) ON DELETE no action;
            EXCEPTION WHEN duplicate_object OR SQLSTATE '42P07' THEN RAISE NOTICE 'there already'; END $do$"),
            Sql("ALTER TABLE a ADD COLUMN m mood DEFAULT 'sad'"),
            Sql("INSERT INTO a (id) VALUES (2)"),
        ],
        then: ("SELECT string_agg(m::text, ' ' ORDER BY id) FROM a", "sad sad"),
    },
    Case {
        name: "with conditions, parts that are undone, and in a transaction",
        given: "CREATE TABLE a (id int PRIMARY KEY);",
        when: &[
            Sql("BEGIN"),
            Sql("DO LANGUAGE plpgsql $$ BEGIN
                IF NOT EXISTS (SELECT 1 FROM pg_class WHERE relname = 'a' AND relnamespace = 'pg_catalog'::regnamespace)
                    AND random() < 2 THEN
                    CREATE TABLE x (id serial PRIMARY KEY, v text DEFAULT 'a;b');
                ELSIF true THEN
                    CREATE TABLE never (id int);
                ELSE
                    NULL;
                END IF;
                BEGIN
                    CREATE TABLE undone (id int);
                    ALTER TABLE missing ADD COLUMN c int;
                EXCEPTION WHEN undefined_table THEN
                    CREATE INDEX by_v ON x (v);
                END;
                COMMENT ON TABLE x IS 'made';
            END $$"),
            Sql("INSERT INTO x (v) VALUES ('b')"),
            Sql("COMMIT"),
            Fails("DO $$ BEGIN CREATE TABLE x (id int); END $$", "42P07"),
            Sql("DO $$ BEGIN IF false THEN CREATE TABLE never (id int); END IF; END $$"),
        ],
        then: ("SELECT count(*) || obj_description('x'::regclass) FROM x", "1made"),
    },
    Case {
        name: "refused where they do more",
        given: "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
            CREATE FUNCTION add() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (9) RETURNING id';",
        when: &[
            Fails("DO $$ BEGIN CREATE TABLE x (id int); INSERT INTO t VALUES (2); END $$", "0A000"),
            Fails("DO $$ BEGIN EXECUTE 'CREATE TABLE x (id int)'; END $$", "0A000"),
            Fails("DO $$ BEGIN IF add() > 1 THEN CREATE TABLE x (id int); END IF; END $$", "0A000"),
            Fails("DO $$ DECLARE x int := add(); BEGIN CREATE TABLE x (id int); END $$", "0A000"),
            Fails("DO $$ BEGIN FOR i IN 1..3 LOOP CREATE TABLE x (id int); END LOOP; END $$", "0A000"),
            Fails("DO $$ BEGIN CREATE TABLE x AS SELECT random(); END $$", "0A000"),
            Fails("DO $$ BEGIN CREATE TEMP TABLE x (id int); END $$", "0A000"),
            Fails("DO $$ BEGIN ALTER TABLE t ADD COLUMN r float8 DEFAULT random(); END $$", "0A000"),
            Fails("DO $$ BEGIN CREATE TABLE x (id int); COMMIT; END $$", "0A000"),
            Fails("DO 'BEGIN CREATE TABLE x (id int); END'", "0A000"),
        ],
        then: ("SELECT count(*) FROM t", "1"),
    },
];

const REFUSED: &[Case] = &[
    Case {
        name: "a write within the query",
        given: SHUFFLED,
        when: &[Sql("CREATE TABLE made AS WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d")],
        then: ("SELECT count(*) FROM t", "300"),
    },
    Case {
        name: "a word that means the time is kept as a default",
        given: SHUFFLED,
        when: &[Sql("ALTER TABLE t ADD COLUMN at timestamptz DEFAULT 'now'")],
        then: ("SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema", "3"),
    },
    Case {
        name: "a column of names that search_path makes short",
        given: SHUFFLED,
        when: &[Sql("BEGIN"), Sql("CREATE TABLE made AS SELECT 't'::regclass AS r")],
        then: ("SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema", "3"),
    },
    Case {
        name: "a table whose trigger would fire for the rows",
        given: "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
            CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
            CREATE TRIGGER f BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();",
        when: &[Sql("ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()")],
        then: ("SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema", "1"),
    },
    Case {
        name: "a snapshot that may be older than the rows",
        given: SHUFFLED,
        when: &[
            Sql("BEGIN ISOLATION LEVEL REPEATABLE READ"),
            Sql("ALTER TABLE t ADD COLUMN at timestamptz DEFAULT now()"),
        ],
        then: ("SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema", "3"),
    },
    Case {
        name: "rows that a constraint was never asked about",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, -1);
            ALTER TABLE t ADD CONSTRAINT positive CHECK (v > 0) NOT VALID;",
        when: &[Sql("ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()")],
        then: ("SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema", "2"),
    },
    Case {
        name: "a null in a domain that has none",
        given: "CREATE DOMAIN whole AS int NOT NULL; CREATE TABLE t (id int PRIMARY KEY, v whole); INSERT INTO t VALUES (1, 1);",
        when: &[Sql("CREATE TABLE made AS SELECT b.v FROM t a LEFT JOIN t b ON a.id = b.id + 1")],
        then: ("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema", "1"),
    },
    Case {
        name: "a table from which others inherit",
        given: "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b () INHERITS (a); INSERT INTO b VALUES (1);",
        when: &[Sql("ALTER TABLE a ADD COLUMN u uuid DEFAULT gen_random_uuid()")],
        then: ("SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema", "2"),
    },
];
