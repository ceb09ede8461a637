//! Simple queries: one statement, several, and transactions around them.

use super::agree;
use super::script::Step::{Ask, Query};

#[test]
fn one_statement_at_a_time() {
    agree(
        "simple",
        &[
            (
                "reads of several types",
                &[
                    Query("SELECT id, name, price, note FROM item ORDER BY id"),
                    Query(
                        "SELECT 1 AS a, NULL AS b, '' AS c, 1.5::float8 AS d, '\\x00ff'::bytea AS e, ARRAY[1,2] AS f",
                    ),
                    Query("SELECT FROM item"),
                    Query("SELECT * FROM item WHERE false"),
                    Query("VALUES (1, 'a'), (2, 'b')"),
                    Query("TABLE item"),
                    Query("SELECT 'sad'::mood, '{a,\"b c\"}'::text[]"),
                ],
            ),
            (
                "an empty string, blanks, comments, lone semicolons",
                &[
                    Query(""),
                    Query("   \n\t "),
                    Query("-- nothing"),
                    Query("/* nothing /* at all */ */"),
                    Query(";"),
                    Query(";;  ; -- x"),
                    Query("; SELECT 1 ;; SELECT 2;"),
                ],
            ),
            (
                "writes and their tags",
                &[
                    Query("INSERT INTO item VALUES (10, 'ten', 1, NULL)"),
                    Query("INSERT INTO item VALUES (11, 'eleven', 1, NULL), (12, 'twelve', 2, NULL)"),
                    Query("UPDATE item SET price = price + 1 WHERE id = 10"),
                    Query("UPDATE item SET price = price + 1"),
                    Query("UPDATE item SET price = 0 WHERE id = 999"),
                    Query("DELETE FROM item WHERE id = 11"),
                    Query("DELETE FROM item WHERE price > 40"),
                    Query("SELECT * FROM item ORDER BY id"),
                    Query("TRUNCATE counted"),
                    Query("SELECT * INTO TEMP copy FROM item"),
                ],
            ),
            (
                "defaults and sequences",
                &[
                    Query("INSERT INTO counted (v) VALUES (1), (2), (3)"),
                    Query("INSERT INTO counted DEFAULT VALUES RETURNING *"),
                    Query("INSERT INTO counted (id, v) VALUES (DEFAULT, 5) RETURNING id + 1, v"),
                    Query("SELECT currval('counted_id_seq'), lastval()"),
                    Query("SELECT nextval('counted_id_seq')"),
                    Query("SELECT * FROM counted ORDER BY id"),
                ],
            ),
            (
                "RETURNING in all its forms",
                &[
                    Query("INSERT INTO item (id, name) VALUES (20, 'x') RETURNING *"),
                    Query(
                        "INSERT INTO item AS i (id, name) VALUES (21, 'y') RETURNING i.id, upper(name) AS loud, price * 2",
                    ),
                    Query("UPDATE item SET name = name || '!' WHERE id IN (1, 2) RETURNING id, name"),
                    Query("UPDATE item SET name = 'none' WHERE id = -1 RETURNING *"),
                    Query("DELETE FROM item WHERE id = 20 RETURNING item.*, 'gone'"),
                ],
            ),
            (
                "ON CONFLICT",
                &[
                    Query("INSERT INTO item VALUES (1, 'again', 0, 'z') ON CONFLICT DO NOTHING"),
                    Query("INSERT INTO item VALUES (1, 'again', 0, 'z') ON CONFLICT (id) DO NOTHING RETURNING id"),
                    Query(
                        "INSERT INTO item VALUES (1, 'again', 0, 'z') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                    ),
                    Query(
                        "INSERT INTO item VALUES (1, 'b', 0, 'q'), (30, 'c', 0, 'r') ON CONFLICT (id)
                     DO UPDATE SET name = item.name || excluded.name WHERE item.price > 0 RETURNING *",
                    ),
                    Query(
                        "INSERT INTO item VALUES (1, 'x', 0, 'a'), (1, 'y', 0, 'b') ON CONFLICT (id) DO UPDATE SET price = 1",
                    ),
                ],
            ),
            (
                "errors of each phase",
                &[
                    Query("SELEC 1"),
                    Query("SELECT * FROM missing"),
                    Query("SELECT missing FROM item"),
                    Query("SELECT 1/0"),
                    Query("SELECT 'a'::int"),
                    Query("SELECT 1 +"),
                    Query("SELECT 'unterminated"),
                    Query("INSERT INTO item VALUES (1, 'dup', 0, NULL)"),
                    Query("INSERT INTO item (id) VALUES (50)"),
                    Query("INSERT INTO child VALUES (9, 99)"),
                    Query("UPDATE item SET note = 'note 2' WHERE id = 1"),
                    Query("UPDATE item SET price = 123456789012 WHERE id = 1"),
                    Query("DELETE FROM missing"),
                    Query("INSERT INTO item (id, nme) VALUES (51, 'x')"),
                    Query("CREATE TABLE item (id int)"),
                    Query("DROP TABLE missing"),
                    Query("SELECT id/(id - 3) FROM generate_series(1, 5) id"),
                ],
            ),
            (
                "positions of errors in text that is not ASCII",
                &[
                    Query("SELECT 'äöü', missing FROM item"),
                    Query("INSERT INTO item (id, nme) VALUES (51, '漢字')"),
                    Query("UPDATE item SET name = 'ß', nme = 1"),
                ],
            ),
            (
                "notices",
                &[
                    Query("SELECT shout('hello')"),
                    Query("DROP TABLE IF EXISTS missing"),
                    Query("CREATE TABLE IF NOT EXISTS item (id int)"),
                    Query("ROLLBACK"),
                    Query("COMMIT"),
                ],
            ),
            (
                "DDL",
                &[
                    Query("CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'x')"),
                    Query("CREATE INDEX ON t (v)"),
                    Query("INSERT INTO t (id) VALUES (1)"),
                    Query("ALTER TABLE t ADD COLUMN n int DEFAULT 7"),
                    Query("SELECT * FROM t"),
                    Query("ALTER TABLE t RENAME COLUMN v TO w"),
                    Query("CREATE VIEW seen AS SELECT id, w FROM t"),
                    Query("SELECT * FROM seen"),
                    Query("COMMENT ON TABLE t IS 'tea'"),
                    Query("GRANT SELECT ON t TO app_md5"),
                    Query("DROP VIEW seen"),
                    Query("DROP TABLE t"),
                    Query("CREATE SCHEMA s CREATE TABLE s.t (id int PRIMARY KEY)"),
                    Query("SET search_path = s, public"),
                    Query("INSERT INTO t VALUES (1)"),
                    Query("SELECT * FROM s.t"),
                ],
            ),
            (
                "EXPLAIN, SHOW and their kin",
                &[
                    Query("EXPLAIN (COSTS OFF) SELECT * FROM item WHERE id = 1"),
                    Query("SHOW search_path"),
                    Query("SHOW missing"),
                    Query("EXPLAIN (COSTS OFF) UPDATE item SET price = 1 WHERE id = 1"),
                ],
            ),
            (
                "a large result",
                &[
                    Query("SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n"),
                    Query("SELECT repeat('y', 3000000)"),
                ],
            ),
        ],
    );
}

#[test]
fn several_statements_in_one_string() {
    agree(
        "string",
        &[
            ("reads", &[Query("SELECT 1; SELECT 'two'; SELECT 3.0")]),
            (
                "writes are one transaction",
                &[
                    Query(
                        "INSERT INTO parent VALUES (10); INSERT INTO parent VALUES (11); SELECT count(*) FROM parent",
                    ),
                    Query(
                        "INSERT INTO parent VALUES (12); INSERT INTO parent VALUES (1); INSERT INTO parent VALUES (13)",
                    ),
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "an error in the middle ends the string",
                &[
                    Query("SELECT 1; SELECT 1/0; SELECT 2"),
                    Query("UPDATE item SET price = 0; SELECT 1/0; UPDATE item SET price = 1"),
                    Query("SELECT DISTINCT price > 1 FROM item"),
                ],
            ),
            (
                "a syntax error anywhere means that nothing runs",
                &[Query("INSERT INTO parent VALUES (20); SELEC 1"), Query("SELECT id FROM parent ORDER BY id")],
            ),
            (
                "BEGIN and COMMIT inside",
                &[
                    Query("BEGIN; INSERT INTO parent VALUES (30); COMMIT; INSERT INTO parent VALUES (31); SELECT 1/0"),
                    Query("SELECT id FROM parent ORDER BY id"),
                    Query("INSERT INTO parent VALUES (32); COMMIT; INSERT INTO parent VALUES (33)"),
                    Query("INSERT INTO parent VALUES (34); ROLLBACK; INSERT INTO parent VALUES (35)"),
                    Query("SELECT id FROM parent ORDER BY id"),
                    Query("BEGIN; INSERT INTO parent VALUES (36)"),
                    Query("SELECT count(*) FROM parent; COMMIT; SELECT 'done'"),
                    Query("INSERT INTO parent VALUES (37); BEGIN; INSERT INTO parent VALUES (38)"),
                    Query("ROLLBACK"),
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            (
                "an error after BEGIN leaves a failed transaction",
                &[
                    Query("BEGIN; INSERT INTO parent VALUES (40); SELECT 1/0; SELECT 2"),
                    Query("SELECT 1"),
                    Query("SELECT 1; ROLLBACK; SELECT 2"),
                    Query("COMMIT; INSERT INTO parent VALUES (41); SELECT count(*) FROM parent"),
                ],
            ),
            (
                "what needs a block finds one, what the client should have begun does not",
                &[
                    Query(
                        "INSERT INTO parent VALUES (50); SET LOCAL work_mem = '1MB'; LOCK TABLE parent;
                         DECLARE c CURSOR FOR SELECT 1; FETCH c; ROLLBACK; INSERT INTO parent VALUES (51)",
                    ),
                    Query("INSERT INTO parent VALUES (52); COMMIT AND CHAIN; SELECT 1"),
                    Query("INSERT INTO parent VALUES (53); ROLLBACK AND CHAIN; SELECT 1"),
                    Query("INSERT INTO parent VALUES (54); RELEASE a"),
                    Query("INSERT INTO parent VALUES (55); ROLLBACK TO a"),
                    Query("INSERT INTO parent VALUES (56); BEGIN; BEGIN; COMMIT; COMMIT"),
                    Query("INSERT INTO parent VALUES (57); BEGIN ISOLATION LEVEL SERIALIZABLE; COMMIT"),
                    Query("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO parent VALUES (58); COMMIT"),
                    Query("SELECT id FROM parent ORDER BY id"),
                ],
            ),
            ("empty statements between others", &[Query("SELECT 1;; ;SELECT 2; -- end")]),
            (
                "savepoints in a string",
                &[
                    Query("SAVEPOINT a; INSERT INTO parent VALUES (50)"),
                    Query(
                        "BEGIN; SAVEPOINT a; INSERT INTO parent VALUES (51); ROLLBACK TO a; COMMIT; SELECT max(id) FROM parent",
                    ),
                ],
            ),
            (
                "statements that may not be in a transaction",
                &[Query("VACUUM item; SELECT 1"), Query("SELECT 1; VACUUM item"), Query("VACUUM item")],
            ),
            (
                "rules of a string of DDL and rows",
                &[
                    Query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); SELECT * FROM t"),
                    Query(
                        "DROP TABLE t; CREATE TABLE t (name text PRIMARY KEY); INSERT INTO t VALUES ('x') RETURNING *",
                    ),
                    Query("CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1), (1)"),
                    Query("SELECT * FROM u"),
                ],
            ),
            ("notices between results", &[Query("SELECT 1; SELECT shout('a'); SELECT 2; SELECT shout('b')")]),
            (
                "answers to queries sent before the first was answered",
                &[
                    Ask("SELECT 1"),
                    Ask("INSERT INTO parent VALUES (60)"),
                    Ask("SELECT 1/0"),
                    Ask(""),
                    Ask("SELECT count(*) FROM parent"),
                ],
            ),
        ],
    );
}
