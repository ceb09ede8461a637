//! Triggers, rules and views.

use super::{Case, captured};

#[test]
fn what_triggers_do_is_on_every_node() {
    captured(TRIGGERS);
}

#[test]
fn what_rules_and_views_do_is_on_every_node() {
    captured(REWRITTEN);
}

const AUDITED: &str = "CREATE TABLE t (id int PRIMARY KEY, v int, updated_at timestamptz);
    CREATE TABLE log (id serial PRIMARY KEY, t int, op text, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN new.updated_at := clock_timestamp(); RETURN new; END $$;
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log (t, op) VALUES (coalesce(new.id, old.id), tg_op); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();";

const TRIGGERS: &[Case] = &[
    Case {
        name: "audited",
        given: AUDITED,
        when: &[
            "INSERT INTO t VALUES (1, 1), (2, 2)",
            "UPDATE t SET v = v + 1 WHERE id = 1",
            "INSERT INTO t VALUES (2, 5) ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING v",
            "DELETE FROM t WHERE id = 2",
            "BEGIN",
            "INSERT INTO t VALUES (3, 3)",
            "SAVEPOINT a",
            "INSERT INTO t VALUES (4, 4)",
            "ROLLBACK TO a",
            "UPDATE t SET v = 9 WHERE id = 3",
            "COMMIT",
            "BEGIN",
            "INSERT INTO t VALUES (5, 5)",
            "ROLLBACK",
        ],
        then: (
            "SELECT (SELECT string_agg(id || '-' || v, ' ' ORDER BY id) FROM t) || ', ' \
                || (SELECT string_agg(left(op, 1) || t, ' ' ORDER BY id) FROM log)",
            "1-2 3-9, I1 I2 U1 U2 D2 I3 U3",
        ),
    },
    Case {
        name: "counter in a parent",
        given: "CREATE TABLE parent (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO parent VALUES (1), (2);
            CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent);
            CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN UPDATE parent SET n = n + 1 WHERE id = new.p; RETURN new; END $$;
            CREATE TRIGGER count_up AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION count_up();",
        when: &["INSERT INTO child SELECT g, 1 + g % 2 FROM generate_series(1, 9) g", "UPDATE parent SET n = n * 10"],
        then: ("SELECT string_agg(n::text, ' ' ORDER BY id) FROM parent", "40 50"),
    },
    Case {
        name: "a subtransaction that is rolled back",
        given: "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE side (id int PRIMARY KEY, what text);
            CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                BEGIN
                    INSERT INTO side VALUES (new.id, 'undone');
                    RAISE division_by_zero;
                EXCEPTION WHEN division_by_zero THEN
                    INSERT INTO side VALUES (new.id, 'kept');
                END;
                RETURN new; END $$;
            CREATE TRIGGER try AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION try();",
        when: &["INSERT INTO t VALUES (1), (2)"],
        then: ("SELECT string_agg(what, ' ' ORDER BY id) FROM side", "kept kept"),
    },
    Case {
        name: "a trigger that changes its own table",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int, n int DEFAULT 0);
            CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                UPDATE t SET n = n + 1 WHERE id = new.id;
                DELETE FROM t WHERE id = new.id - 10;
                RETURN NULL; END $$;
            CREATE TRIGGER again AFTER INSERT OR UPDATE OF v ON t FOR EACH ROW EXECUTE FUNCTION again();",
        when: &["INSERT INTO t VALUES (1, 1), (2, 2)", "UPDATE t SET v = v * 2", "INSERT INTO t VALUES (11, 1)"],
        then: ("SELECT string_agg(concat_ws('-', id, v, n), ' ' ORDER BY id) FROM t", "2-4-2 11-1-1"),
    },
    Case {
        name: "a cascade to a table with triggers",
        given: "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2);
            CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
            INSERT INTO t VALUES (1, 1), (2, 1), (3, 2);
            CREATE TABLE leaf (id int PRIMARY KEY, t int REFERENCES t ON DELETE SET NULL); INSERT INTO leaf VALUES (7, 2);
            CREATE TABLE log (id int PRIMARY KEY);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO log VALUES (old.id); RETURN old; END $$;
            CREATE TRIGGER note BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();",
        when: &["DELETE FROM parent WHERE id = 1", "UPDATE parent SET id = 5 WHERE id = 2"],
        then: (
            "SELECT (SELECT string_agg(id || '-' || p, ' ') FROM t) || ', ' || (SELECT string_agg(id::text, ' ' ORDER BY id) \
                FROM log) || ', ' || (SELECT count(*) FROM leaf WHERE t IS NULL)",
            "3-5, 1 2, 1",
        ),
    },
    Case {
        name: "a trigger of partitions",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
            CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10);
            CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20);
            CREATE TABLE log (id serial PRIMARY KEY, t int, op text);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO log (t, op) VALUES (coalesce(new.id, old.id), tg_op); RETURN NULL; END $$;
            CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();",
        when: &[
            "INSERT INTO t VALUES (1, 1), (2, 2), (12, 3)",
            "UPDATE t SET id = id + 10 WHERE id = 1",
            "UPDATE low SET v = 7",
            "CREATE TABLE higher PARTITION OF t FOR VALUES FROM (20) TO (30)",
            "UPDATE t SET id = 25 WHERE id = 12",
        ],
        then: ("SELECT string_agg(concat_ws('-', tableoid::regclass, id, v), ' ' ORDER BY id) FROM t", "low-2-7 high-11-1 higher-25-3"),
    },
    Case {
        name: "triggers of statements and deferred ones",
        given: "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (id serial PRIMARY KEY, n bigint);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO log (n) SELECT count(*) FROM t; RETURN NULL; END $$;
            CREATE TRIGGER note AFTER INSERT OR DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION note();
            CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION note();",
        when: &["INSERT INTO t VALUES (1), (2)", "BEGIN", "INSERT INTO t VALUES (3)", "DELETE FROM t WHERE id = 1", "COMMIT"],
        then: ("SELECT string_agg(n::text, ' ' ORDER BY id) FROM log", "2 2 2 3 2 2"),
    },
];

const REWRITTEN: &[Case] = &[
    Case {
        name: "transition tables",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE day (n int PRIMARY KEY, came int, went int, rose float8);
            INSERT INTO day VALUES (1, 0, 0, 0);
            CREATE FUNCTION sums() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF tg_op = 'INSERT' THEN UPDATE day SET came = came + (SELECT sum(v) FROM fresh);
                ELSIF tg_op = 'DELETE' THEN UPDATE day SET went = went + (SELECT sum(v) FROM past);
                ELSE UPDATE day SET rose = rose + (SELECT sum(f.v - p.v) FROM fresh f JOIN past p USING (id)); END IF;
                RETURN NULL; END $$;
            CREATE TRIGGER i AFTER INSERT ON t REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION sums();
            CREATE TRIGGER u AFTER UPDATE ON t REFERENCING NEW TABLE AS fresh OLD TABLE AS past FOR EACH STATEMENT
                EXECUTE FUNCTION sums();
            CREATE TRIGGER d AFTER DELETE ON t REFERENCING OLD TABLE AS past FOR EACH STATEMENT EXECUTE FUNCTION sums();",
        when: &[
            "INSERT INTO t SELECT n, n FROM generate_series(1, 5) n",
            "UPDATE t SET v = v * 2 WHERE id > 3",
            "UPDATE t SET v = 7 WHERE id = 1",
            "DELETE FROM t WHERE id = 2",
            "INSERT INTO t VALUES (3, 1), (6, 6) ON CONFLICT (id) DO UPDATE SET v = t.v + excluded.v",
        ],
        then: ("SELECT concat_ws(' ', came, went, rose) FROM day", "21 2 16"),
    },
    Case {
        name: "instead of an update and a delete",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (t int PRIMARY KEY REFERENCES t ON DELETE CASCADE, w int);
            INSERT INTO t VALUES (1, 1), (2, 2), (3, 3); INSERT INTO u VALUES (1, 10), (2, 20), (3, 30);
            CREATE VIEW pairs AS SELECT t.id, t.v, u.w FROM t JOIN u ON u.t = t.id;
            CREATE FUNCTION through() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF tg_op = 'DELETE' THEN DELETE FROM t WHERE id = old.id; RETURN old; END IF;
                UPDATE t SET v = new.v WHERE id = old.id; UPDATE u SET w = new.w WHERE u.t = old.id;
                RETURN new; END $$;
            CREATE TRIGGER through INSTEAD OF UPDATE OR DELETE ON pairs FOR EACH ROW EXECUTE FUNCTION through();",
        when: &["UPDATE pairs SET v = v + 5, w = w + id WHERE id < 3 RETURNING w", "DELETE FROM pairs WHERE w = 30"],
        then: ("SELECT string_agg(concat_ws('-', id, v, w), ' ' ORDER BY id) FROM pairs", "1-6-11 2-7-22"),
    },
    Case {
        name: "instead of a view",
        given: "CREATE TABLE t (id int PRIMARY KEY, made timestamptz); CREATE VIEW w AS SELECT id FROM t;
            CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO t VALUES (new.id * 2, clock_timestamp()); RETURN new; END $$;
            CREATE TRIGGER tr INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION f();",
        when: &["INSERT INTO w VALUES (1), (2)"],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "2 4"),
    },
    Case {
        name: "a rule",
        given: "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY, at timestamptz DEFAULT now());
            CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO u (id) VALUES (new.id);",
        when: &["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"],
        then: ("SELECT count(*)::text FROM t NATURAL JOIN u", "2"),
    },
    Case {
        name: "a view that can be written to",
        given: "CREATE TABLE t (id int PRIMARY KEY, v float, at timestamptz DEFAULT clock_timestamp());
            CREATE VIEW w AS SELECT id, v FROM t WHERE v > 0;",
        when: &[
            "INSERT INTO w VALUES (1, 1), (2, 2)",
            "UPDATE w SET v = v + random() WHERE id = 1",
            "DELETE FROM w WHERE v = 2",
        ],
        then: ("SELECT count(*)::text FROM t", "1"),
    },
    Case {
        name: "heirs",
        given: "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (w int) INHERITS (a);
            INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1, 1), (1, 2, 2);",
        when: &["UPDATE a SET v = 5 WHERE id = 1", "DELETE FROM ONLY a", "DELETE FROM a WHERE v = 5 AND id = 2"],
        then: ("SELECT string_agg(concat_ws('-', id, v, w), ' ' ORDER BY w) FROM b", "1-5-1 1-5-2"),
    },
    Case {
        name: "row security",
        given: "CREATE TABLE t (id int PRIMARY KEY, owner text DEFAULT current_user); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
            ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (owner = current_user);",
        when: &["INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "INSERT INTO t VALUES (3)"],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "2 3"),
    },
    Case {
        name: "a key under another collation",
        given: "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            CREATE TABLE t (name text COLLATE ci NOT NULL, v int); CREATE UNIQUE INDEX ON t (name COLLATE \"C\");
            INSERT INTO t VALUES ('a', 0), ('A', 0), ('b', 0), ('B', 0);
            CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.v := new.v + 1; RETURN new; END';
            CREATE TRIGGER count_up BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION count_up();",
        when: &[
            "UPDATE t SET v = 1 WHERE name COLLATE \"C\" = 'a'",
            "DELETE FROM t WHERE name COLLATE \"C\" = 'b'",
        ],
        then: ("SELECT string_agg(name || v, ' ' ORDER BY name COLLATE \"C\") FROM t", "A0 B0 a2"),
    },
];
