//! Rows of which one statement makes several versions: what is told is what they are in the end.

use super::{Case, captured};

#[test]
fn what_a_row_is_in_the_end_is_on_every_node() {
    captured(AGAIN);
}

#[test]
fn keys_that_change_and_keys_that_are_hard_to_see_are_on_every_node() {
    captured(KEYS);
}

const AGAIN: &[Case] = &[
    Case {
        name: "a neighbour changed before its turn and after it",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 5) n;
            CREATE FUNCTION push() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF pg_trigger_depth() = 1 AND new.id > 1 THEN UPDATE t SET v = v + 100 WHERE id = new.id - 1; END IF;
                RETURN new; END $$;
            CREATE TRIGGER push BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION push();",
        when: &["UPDATE t SET v = v + 1 WHERE id > 0"],
        then: ("SELECT string_agg(v::text, ' ' ORDER BY id) FROM t", "101 101 101 101 1"),
    },
    Case {
        name: "changed by itself until it is content",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n FROM generate_series(1, 300) n;
            CREATE FUNCTION round() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF new.v % 4 <> 0 THEN UPDATE t SET v = v + 1 WHERE id = new.id; END IF; RETURN NULL; END $$;
            CREATE TRIGGER round AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION round();",
        when: &["UPDATE t SET v = v + 1", "INSERT INTO t VALUES (301, 1), (302, 3)"],
        then: ("SELECT sum(v)::text || ' ' || count(*) FILTER (WHERE v % 4 = 0) FROM t", "45908 302"),
    },
    Case {
        name: "come gone and come again",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4);
            CREATE FUNCTION stir() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 10);
                UPDATE t SET v = 20 WHERE id = 2; DELETE FROM t WHERE id = 2;
                INSERT INTO t VALUES (5, 5); DELETE FROM t WHERE id = 5;
                INSERT INTO t VALUES (6, 6); DELETE FROM t WHERE id = 6; INSERT INTO t VALUES (6, 60);
                DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (3, 30); UPDATE t SET v = 31 WHERE id = 3;
                UPDATE t SET id = 7 WHERE id = 4; INSERT INTO t VALUES (4, 40); END $$;",
        when: &["SELECT stir()"],
        then: ("SELECT string_agg(id || ':' || v, ' ' ORDER BY id) FROM t", "1:10 3:31 4:40 6:60 7:4"),
    },
    Case {
        name: "taken back in parts",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 200) n;
            CREATE FUNCTION try() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                FOR n IN 1 .. 200 LOOP
                    UPDATE t SET v = 1 WHERE id = n;
                    BEGIN
                        UPDATE t SET v = 2 WHERE id = n;
                        DELETE FROM t WHERE id = 201 - n;
                        IF n % 3 <> 0 THEN RAISE division_by_zero; END IF;
                    EXCEPTION WHEN division_by_zero THEN NULL;
                    END;
                END LOOP; END $$;",
        when: &["SELECT try()", "BEGIN", "UPDATE t SET v = v + 10", "SELECT try()", "ROLLBACK", "SELECT try()"],
        then: ("SELECT count(*) || ' ' || sum(v) FROM t", "134 134"),
    },
    Case {
        name: "many rows of several tables in turn",
        given: "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (x text, y int, PRIMARY KEY (y, x));
            CREATE TABLE c (v int); INSERT INTO a SELECT n, 'o' FROM generate_series(1, 900) n;
            CREATE FUNCTION spread() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO b VALUES (new.v, new.id % 7) ON CONFLICT (x, y) DO UPDATE SET x = excluded.x;
                INSERT INTO c VALUES (new.id);
                IF new.id % 5 = 0 THEN DELETE FROM b WHERE y = new.id % 7; DELETE FROM c WHERE v = new.id; END IF;
                RETURN NULL; END $$;
            CREATE TRIGGER spread AFTER UPDATE ON a FOR EACH ROW EXECUTE FUNCTION spread();",
        when: &["UPDATE a SET v = repeat(chr(97 + id % 26), id % 50)", "DELETE FROM a WHERE id % 2 = 0"],
        then: ("SELECT (SELECT count(*) FROM a) || ' ' || (SELECT count(*) FROM c)", "450 720"),
    },
];

const KEYS: &[Case] = &[
    Case {
        name: "keys with commas and quotes",
        given: r#"CREATE TABLE t (k text PRIMARY KEY, v int);
            INSERT INTO t VALUES ('a,b', 1), ('"', 2), ('', 3), (' ', 4), ('a"",b', 5), ('\', 6), ('(x)', 7), ('a', 8);"#,
        when: &[
            "DO $$ BEGIN UPDATE t SET v = v + 10; END $$",
            "DO $$ BEGIN UPDATE t SET k = k || ',c' WHERE v > 13; END $$",
            "DO $$ BEGIN UPDATE t SET k = 'a,b,c' WHERE k = 'a,b'; DELETE FROM t WHERE k = '\"'; END $$",
        ],
        then: (
            "SELECT string_agg(k || '=' || v, ' ' ORDER BY v) FROM t",
            "a,b,c=11 =13  ,c=14 a\"\",b,c=15 \\,c=16 (x),c=17 a,c=18",
        ),
    },
    Case {
        name: "a key behind many fields",
        given: "CREATE TABLE t (a int, b text, c int, d int, e int, f int, g int, h int, i int, gone int,
                id int PRIMARY KEY, z text);
            ALTER TABLE t DROP COLUMN gone; INSERT INTO t SELECT n, 'x,', 1, 1, 1, 1, 1, 1, 1, n FROM generate_series(1, 50) n;",
        when: &[
            "DO $$ BEGIN UPDATE t SET z = 'new' WHERE id < 30; UPDATE t SET id = id + 100 WHERE id < 10; END $$",
            "DO $$ BEGIN DELETE FROM t WHERE id > 105; END $$",
        ],
        then: ("SELECT count(*) || ' ' || sum(id) || ' ' || count(z) FROM t", "46 1745 25"),
    },
    Case {
        name: "keys of fields around a dropped one",
        given: "CREATE TABLE t (gone int, a int, also int, b text, v int, PRIMARY KEY (b, a));
            ALTER TABLE t DROP COLUMN gone; ALTER TABLE t DROP COLUMN also;
            INSERT INTO t SELECT n % 5, 'k' || n / 5, n FROM generate_series(0, 24) n;",
        when: &[
            "DO $$ BEGIN UPDATE t SET v = v * 2; UPDATE t SET b = 'm' WHERE b = 'k1'; UPDATE t SET a = a + 5 WHERE b = 'k2'; END $$",
        ],
        then: ("SELECT count(DISTINCT (a, b)) || ' ' || sum(v) || ' ' || sum(a) FROM t", "25 600 75"),
    },
    Case {
        name: "keys and values of own types",
        given: "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN small AS int CHECK (value < 100);
            CREATE TYPE pair AS (x int, y text);
            CREATE TABLE t (k small PRIMARY KEY, m mood, p pair); CREATE TABLE u (m mood PRIMARY KEY, v int);
            INSERT INTO t SELECT n, 'sad', (n, 'a,\"b')::pair FROM generate_series(1, 20) n; INSERT INTO u VALUES ('sad', 1), ('glad', 2);",
        when: &[
            "DO $$ BEGIN UPDATE t SET m = 'glad' WHERE k < 10; DELETE FROM t WHERE k > 15; UPDATE t SET k = k + 50 WHERE k < 5; END $$",
            "DO $$ BEGIN DELETE FROM u WHERE m = 'sad'; UPDATE u SET m = 'sad' WHERE m = 'glad'; END $$",
        ],
        then: ("SELECT count(*) || ' ' || sum(k) || ' ' || (SELECT string_agg(m::text || v, '') FROM u) FROM t", "15 320 sad2"),
    },
    Case {
        name: "a key that two texts stand for",
        given: "CREATE TABLE t (n numeric PRIMARY KEY, v int); INSERT INTO t VALUES (1.0, 1), (2, 2), (3.50, 3);",
        when: &["DO $$ BEGIN UPDATE t SET n = n + 0.000, v = v + 1; UPDATE t SET n = 1 WHERE n = 1; END $$"],
        then: ("SELECT string_agg(n || '=' || v, ' ' ORDER BY n) FROM t", "1=2 2.000=3 3.500=4"),
    },
    Case {
        name: "a row that moves between parts",
        given: "CREATE TABLE t (id int, part int, v int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
            CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 (v int, part int NOT NULL, id int NOT NULL);
            ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2); INSERT INTO t SELECT n, 1, n FROM generate_series(1, 9) n;",
        when: &["DO $$ BEGIN UPDATE t SET part = 2, v = v + 1 WHERE id > 4; UPDATE t SET v = v * 10; UPDATE t SET part = 1 WHERE id = 9; END $$"],
        then: ("SELECT (SELECT sum(v) FROM t1) || ' ' || (SELECT sum(v) FROM t2)", "200 300"),
    },
];
