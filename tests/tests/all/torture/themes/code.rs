//! Triggers, views, rules, functions, procedures and DO blocks, with exceptions that take things back.

use super::{Shape, Theme};

pub const THEME: Theme =
    Theme { name: "code", given: GIVEN, rows: ROWS, texts: TEXTS, copies: COPIES, rare: RARE, ..Theme::NONE };

const GIVEN: &str = "
    CREATE TABLE owner (id int PRIMARY KEY, items int NOT NULL DEFAULT 0, worth bigint NOT NULL DEFAULT 0);
    CREATE TABLE item (id serial PRIMARY KEY, owner int REFERENCES owner ON DELETE CASCADE, v int NOT NULL DEFAULT 0 CHECK (v >= 0),
        first bool DEFAULT false, code text UNIQUE, version int DEFAULT 1, made timestamptz DEFAULT now(), updated_at timestamptz);
    CREATE TABLE audit (id bigserial PRIMARY KEY, what text, op text, key int, was jsonb, becomes jsonb,
        at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE tally (day date PRIMARY KEY DEFAULT current_date, inserts int DEFAULT 0, deletes int DEFAULT 0);
    CREATE TABLE archive (id int, note text, at timestamptz DEFAULT now());
    CREATE TABLE checked (id int PRIMARY KEY, seen int);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        new.updated_at := clock_timestamp();
        IF tg_op = 'UPDATE' THEN new.version := old.version + 1; END IF;
        RETURN new; END $$;
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit (what, op, key, was, becomes)
            VALUES (tg_table_name, tg_op, coalesce(new.id, old.id), to_jsonb(old), to_jsonb(new));
        RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note();
    CREATE FUNCTION count_items() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF tg_op <> 'INSERT' THEN UPDATE owner SET items = items - 1, worth = worth - old.v WHERE id = old.owner; END IF;
        IF tg_op <> 'DELETE' THEN UPDATE owner SET items = items + 1, worth = worth + new.v WHERE id = new.owner; END IF;
        RETURN NULL; END $$;
    CREATE TRIGGER count_items AFTER INSERT OR DELETE OR UPDATE OF owner, v ON item FOR EACH ROW EXECUTE FUNCTION count_items();
    CREATE FUNCTION only_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE item SET first = false WHERE owner = new.owner AND id <> new.id AND first;
        RETURN NULL; END $$;
    CREATE TRIGGER only_one AFTER INSERT OR UPDATE OF first ON item FOR EACH ROW WHEN (new.first) EXECUTE FUNCTION only_one();
    CREATE FUNCTION sum_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO tally (inserts) SELECT count(*) FROM gained ON CONFLICT (day) DO UPDATE SET inserts = tally.inserts + excluded.inserts;
        RETURN NULL; END $$;
    CREATE TRIGGER sum_up AFTER INSERT ON item REFERENCING NEW TABLE AS gained FOR EACH STATEMENT EXECUTE FUNCTION sum_up();
    CREATE FUNCTION sum_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE tally SET deletes = deletes + (SELECT count(*) FROM lost) WHERE day = current_date;
        RETURN NULL; END $$;
    CREATE TRIGGER sum_down AFTER DELETE ON item REFERENCING OLD TABLE AS lost FOR EACH STATEMENT EXECUTE FUNCTION sum_down();
    CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO checked VALUES (new.id, 1) ON CONFLICT (id) DO UPDATE SET seen = checked.seen + 1;
        IF new.v = 13 THEN RAISE check_violation USING message = 'unlucky'; END IF;
        RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON item DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
    CREATE VIEW shown AS SELECT id, owner, v, code FROM item WHERE v < 1000 WITH CHECK OPTION;
    CREATE VIEW wares AS SELECT i.id, i.v, o.id AS owner, o.items FROM item i JOIN owner o ON o.id = i.owner;
    CREATE FUNCTION through() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF tg_op = 'INSERT' THEN
            INSERT INTO owner (id) VALUES (new.owner) ON CONFLICT DO NOTHING;
            INSERT INTO item (owner, v) VALUES (new.owner, new.v) RETURNING id INTO new.id;
        ELSIF tg_op = 'UPDATE' THEN
            UPDATE item SET v = new.v, owner = new.owner WHERE id = old.id;
        ELSE
            DELETE FROM item WHERE id = old.id; RETURN old;
        END IF;
        RETURN new; END $$;
    CREATE TRIGGER through INSTEAD OF INSERT OR UPDATE OR DELETE ON wares FOR EACH ROW EXECUTE FUNCTION through();
    CREATE RULE keep AS ON DELETE TO archive DO ALSO INSERT INTO audit (what, op, key) VALUES ('archive', 'rule', old.id);
    CREATE FUNCTION put(o int, c text, n int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit (what, key) VALUES ('try', o);
        INSERT INTO item (owner, code, v) VALUES (o, c, n);
        RETURN 'new';
    EXCEPTION
        WHEN unique_violation THEN UPDATE item SET v = v + n, owner = o WHERE code = c; RETURN 'old';
        WHEN foreign_key_violation THEN INSERT INTO owner (id) VALUES (o) ON CONFLICT DO NOTHING; RETURN 'none'; END $$;
    CREATE FUNCTION move(a int, b int, n int) RETURNS int LANGUAGE plpgsql AS $$ DECLARE left_over int; BEGIN
        UPDATE item SET v = v - n WHERE id = a RETURNING v INTO left_over;
        IF left_over < 5 THEN RAISE EXCEPTION 'too little'; END IF;
        UPDATE item SET v = v + n WHERE id = b;
        RETURN left_over; END $$;
    CREATE PROCEDURE tidy(o int, INOUT done int) LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN
        FOR r IN SELECT id, v FROM item WHERE owner = o ORDER BY random() LIMIT 3 LOOP
            BEGIN
                INSERT INTO archive (id, note) VALUES (r.id, 'v' || r.v);
                DELETE FROM item WHERE id = r.id;
                IF r.v % 2 = 0 THEN RAISE division_by_zero; END IF;
                done := done + 1;
            EXCEPTION WHEN division_by_zero THEN
                UPDATE item SET v = v + 1 WHERE id = r.id;
            END;
        END LOOP; END $$;
    CREATE FUNCTION raise_all(int) RETURNS SETOF item LANGUAGE sql AS
        $$ UPDATE item SET v = v + 1 WHERE owner = $1 RETURNING * $$;
    CREATE FUNCTION by_name(t text, k int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE format('UPDATE %I SET worth = worth + 1 WHERE id = $1', t) USING k; END $$;
    INSERT INTO owner SELECT generate_series(1, 5);
    INSERT INTO item (owner, v, code) SELECT 1 + n % 5, n, 'c' || n FROM generate_series(1, 20) n;
    INSERT INTO archive (id, note) SELECT n, 'old' FROM generate_series(1, 9) n";

const ROWS: &[Shape] = &[
    ("INSERT INTO item (owner, v) VALUES ($1, $2), ($1, $2)", &[6, 20]),
    (
        "INSERT INTO item (owner, code) VALUES ($1, 'c' || $2::int) ON CONFLICT (code) DO UPDATE SET v = item.v + 1 RETURNING version",
        &[5, 30],
    ),
    ("UPDATE item SET v = v + $2 WHERE id = $1", &[30, 9]),
    ("UPDATE item SET v = $2 WHERE id = $1", &[30, 20]),
    ("UPDATE item SET owner = $2, v = v * 2 % 500 WHERE owner = $1", &[5, 5]),
    ("UPDATE item SET first = true WHERE id = $1", &[30]),
    ("DELETE FROM item WHERE id IN (SELECT id FROM item WHERE owner = $1 LIMIT 1)", &[5]),
    ("DELETE FROM owner WHERE id = $1 AND items > 6", &[5]),
    ("INSERT INTO owner (id) VALUES ($1) ON CONFLICT DO NOTHING", &[6]),
    ("UPDATE owner SET worth = worth + 1 WHERE id = $1", &[5]),
    ("INSERT INTO shown (owner, v) VALUES ($1, 995 + $2)", &[5, 9]),
    ("UPDATE shown SET v = v + $2 WHERE owner = $1", &[5, 20]),
    ("INSERT INTO wares (owner, v) VALUES ($1, $2) RETURNING id", &[7, 9]),
    ("UPDATE wares SET v = v + items WHERE owner = $1", &[6]),
    ("DELETE FROM wares WHERE id = $1", &[40]),
    ("DELETE FROM archive WHERE id = $1", &[30]),
    ("INSERT INTO archive SELECT id, code FROM item WHERE owner = $1", &[5]),
    ("SELECT put($1, 'c' || $2::int, $1)", &[7, 40]),
    ("SELECT move($1, $2, $3)", &[30, 30, 9]),
    ("CALL tidy($1, 0)", &[5]),
    ("SELECT count(*) FROM raise_all($1)", &[5]),
    ("SELECT by_name('owner', $1)", &[5]),
    (
        "WITH gone AS (DELETE FROM checked WHERE id = $1 RETURNING id) INSERT INTO item (owner, code) SELECT $2, 'g' || id FROM gone ON CONFLICT DO NOTHING",
        &[9, 5],
    ),
    (
        "MERGE INTO item i USING (SELECT $1::int AS owner, 'c' || $2::int AS code) s ON i.code = s.code WHEN MATCHED AND i.v > 50 THEN DELETE WHEN MATCHED THEN UPDATE SET v = i.v + 1 WHEN NOT MATCHED THEN INSERT (owner, code) VALUES (s.owner, s.code)",
        &[5, 40],
    ),
    ("SELECT count(*), sum(v), max(version) FROM item WHERE owner = $1", &[5]),
];

const TEXTS: &[Shape] = &[
    (
        "DO $$ BEGIN
        FOR n IN 1..3 LOOP
            BEGIN
                UPDATE item SET v = v - n * 5 WHERE id = $1;
                INSERT INTO audit (what, key) VALUES ('do', n);
            EXCEPTION WHEN check_violation THEN
                INSERT INTO checked VALUES (1000 + $1, n) ON CONFLICT (id) DO NOTHING;
            END;
        END LOOP; END $$",
        &[30],
    ),
    (
        "DO $$ DECLARE c refcursor; r item; BEGIN
        OPEN c FOR SELECT * FROM item WHERE owner = $1 ORDER BY id FOR UPDATE;
        LOOP
            FETCH c INTO r; EXIT WHEN NOT FOUND;
            UPDATE item SET v = v + 1 WHERE CURRENT OF c;
        END LOOP;
        CLOSE c; END $$",
        &[5],
    ),
    ("SET CONSTRAINTS late IMMEDIATE", &[]),
    ("SET CONSTRAINTS ALL DEFERRED", &[]),
];

const COPIES: &[Shape] = &[
    ("COPY item (owner, v, code) FROM STDIN\n$1\t$2\t\\N\n$1\t3\tnew$3\n", &[5, 20, 1000]),
    ("COPY archive (id, note) FROM STDIN\n$1\tcopied\n$2\tcopied\n", &[30, 30]),
];

const RARE: &[Shape] = &[
    ("ALTER TABLE item DISABLE TRIGGER only_one", &[]),
    ("ALTER TABLE item ENABLE TRIGGER only_one", &[]),
    (
        "CREATE OR REPLACE TRIGGER touched AFTER UPDATE ON owner FOR EACH ROW WHEN (old.items > new.items) EXECUTE FUNCTION note()",
        &[],
    ),
    ("DROP TRIGGER IF EXISTS touched ON owner", &[]),
    (
        "CREATE OR REPLACE FUNCTION raise_all(int) RETURNS SETOF item LANGUAGE sql AS 'UPDATE item SET v = v + $1, updated_at = now() WHERE owner = $1 RETURNING *'",
        &[3],
    ),
    ("TRUNCATE audit RESTART IDENTITY", &[]),
    ("ALTER SEQUENCE item_id_seq RESTART WITH 1000$1", &[9]),
];
