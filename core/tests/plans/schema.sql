-- The database of the plan tests and of the fuzz target.
CREATE EXTENSION pgcrypto;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN stamped AS timestamptz DEFAULT now();
CREATE SCHEMA shop;

CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO heap VALUES (1); RETURN 1; END';
CREATE FUNCTION computes(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION depends(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + extract(day FROM now())::int';
CREATE FUNCTION shop.audit() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO heap VALUES (1); RETURN 1; END';
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE AGGREGATE writing_sum (int) (SFUNC = int4pl, STYPE = int, FINALFUNC = computes);
CREATE FUNCTION plus_writes(mood, mood) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO heap VALUES (1); RETURN 1; END';
CREATE OPERATOR |+| (LEFTARG = mood, RIGHTARG = mood, FUNCTION = plus_writes);

CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL UNIQUE, mood mood, created timestamptz DEFAULT now(),
    tags text[] DEFAULT '{}', place pair, "Odd ""Name" int);
CREATE FUNCTION writes_row(users) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO heap VALUES (1); RETURN 1; END';
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE,
    total numeric(10,2) DEFAULT 0, twice numeric GENERATED ALWAYS AS (total * 2) STORED);
CREATE TABLE lines (order_id bigint REFERENCES orders ON DELETE CASCADE, n int, amount positive, PRIMARY KEY (order_id, n));
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree, title text);
CREATE TABLE tree_codes (id int PRIMARY KEY, code text UNIQUE NOT NULL, parent text REFERENCES tree_codes (code));
CREATE TABLE heap (a int, b text);
CREATE TABLE two_keys (id int PRIMARY KEY, email text NOT NULL UNIQUE, v int);
CREATE TABLE partial_key (id int NOT NULL, v int);
CREATE UNIQUE INDEX ON partial_key (id) WHERE v > 0;
CREATE TABLE deferred_key (id int UNIQUE DEFERRABLE NOT NULL, v int);
CREATE TABLE shop.item (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), price numeric);
CREATE TABLE named (id int PRIMARY KEY, v int, what regclass);
CREATE TABLE events (id int, at date, v int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2040-01-01');
CREATE TABLE guarded_events (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE guarded_events_1 PARTITION OF guarded_events FOR VALUES FROM (0) TO (1000);
CREATE TRIGGER watch BEFORE INSERT ON guarded_events_1 FOR EACH ROW EXECUTE FUNCTION trg();
CREATE TABLE triggered (id int PRIMARY KEY, v int);
CREATE TRIGGER watch BEFORE UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION trg();
CREATE TABLE quiet (id int PRIMARY KEY, v int);
CREATE TRIGGER watch BEFORE UPDATE ON quiet FOR EACH ROW EXECUTE FUNCTION trg();
ALTER TABLE quiet DISABLE TRIGGER watch;
CREATE TABLE child_of_triggered (id int PRIMARY KEY, t int REFERENCES triggered ON UPDATE CASCADE ON DELETE SET NULL);
CREATE TABLE parent_of_triggered (id int PRIMARY KEY);
CREATE TABLE triggered_child (id int PRIMARY KEY, p int REFERENCES parent_of_triggered ON DELETE CASCADE);
CREATE TRIGGER watch AFTER DELETE ON triggered_child FOR EACH ROW EXECUTE FUNCTION trg();
CREATE TABLE ruled (id int PRIMARY KEY, v int);
CREATE RULE nothing AS ON DELETE TO ruled DO INSTEAD NOTHING;
CREATE TABLE secured (id int PRIMARY KEY, v int);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE TABLE base (id int PRIMARY KEY, v int);
CREATE TABLE heir (extra int, PRIMARY KEY (id)) INHERITS (base);
CREATE TABLE calls_default (id int PRIMARY KEY, v int DEFAULT writes());
CREATE TABLE calls_check (id int PRIMARY KEY, v int CHECK (depends(v) > 0));
CREATE TABLE calls_generated (id int PRIMARY KEY, v int, w int GENERATED ALWAYS AS (depends(v)) STORED);
CREATE TABLE ring_a (id int PRIMARY KEY, b int);
CREATE TABLE ring_b (id int PRIMARY KEY, a int REFERENCES ring_a ON DELETE CASCADE);
ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b ON DELETE CASCADE;
CREATE TABLE moods (mood mood PRIMARY KEY, moods mood[]);

-- What a function says of itself is one thing, what it calls another.
CREATE FUNCTION reads() RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM users FOR UPDATE; RETURN 1; END';
CREATE FUNCTION says_stable() RETURNS int STABLE LANGUAGE sql AS 'SELECT reads() + writes()';
CREATE FUNCTION says_immutable(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.says_stable(); END';
CREATE FUNCTION runs_text(text) RETURNS int STABLE LANGUAGE plpgsql AS 'DECLARE n int; BEGIN EXECUTE $1 INTO n; RETURN n; END';
CREATE FUNCTION makes_object() RETURNS oid LANGUAGE sql AS 'SELECT lo_create(0)';
CREATE FUNCTION atomic() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT writes(); END;
CREATE FUNCTION another_name(regclass) RETURNS bigint LANGUAGE internal AS 'nextval_oid';
CREATE FUNCTION tenant(text) RETURNS text LANGUAGE sql AS 'SELECT set_config(''app.tenant'', $1, false)';
CREATE FUNCTION tenant_path(text) RETURNS text LANGUAGE sql AS 'SELECT set_config(''search_path'', $1, true)';
CREATE FUNCTION any_setting(text) RETURNS text LANGUAGE sql AS 'SELECT set_config($1, $1, false)';
CREATE SEQUENCE ticket;
CREATE FUNCTION next_ticket() RETURNS bigint LANGUAGE sql AS 'SELECT nextval(''ticket'')';
CREATE AGGREGATE hidden_sum (int) (SFUNC = int4pl, STYPE = int, FINALFUNC = says_immutable);
CREATE OPERATOR |-| (RIGHTARG = int, FUNCTION = says_immutable);
CREATE TABLE tickets (id bigint PRIMARY KEY DEFAULT next_ticket(), v int);
CREATE TABLE by_operator (id int PRIMARY KEY, v int CHECK ((|-| v) > 0));
CREATE TABLE by_default (id int PRIMARY KEY, v oid DEFAULT lo_create(0));
CREATE DOMAIN written AS int DEFAULT writes();
CREATE TABLE by_domain (id int PRIMARY KEY, v written);
CREATE TABLE by_index (id int PRIMARY KEY, v int);
CREATE INDEX ON by_index (says_immutable(v));
CREATE TABLE by_partition (id int) PARTITION BY LIST (says_immutable(id));
CREATE TABLE by_clock (id int PRIMARY KEY, born date CHECK (born <= CURRENT_DATE));
CREATE TABLE by_zone (id int PRIMARY KEY, at timestamptz CHECK (at::date > '2000-01-01'));
CREATE TABLE by_text (id int PRIMARY KEY, f float8 CHECK (f::text <> 'x'));
CREATE VIEW ticket_view AS SELECT nextval('ticket');
CREATE VIEW object_view AS SELECT lo_create(0);
CREATE VIEW operator_view AS SELECT |-| 1 AS n;

-- Functions that followers may evaluate, and some that they may not.
CREATE FUNCTION is_email(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 ~ '^[^@]+@[^@]+$' $$;
CREATE FUNCTION is_long_email(text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS
    $$ DECLARE n int := length($1); BEGIN IF n > 10 THEN RETURN public.is_email(lower($1)); END IF; RETURN false; END $$;
CREATE FUNCTION looks_up(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM tree WHERE id = $1)';
CREATE FUNCTION by_path(text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT is_email($1)';
CREATE FUNCTION fixed_path(text) RETURNS bool IMMUTABLE LANGUAGE sql SET search_path = public AS 'SELECT is_email($1)';
CREATE FUNCTION of_a_time(timestamptz) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1::text';
CREATE FUNCTION of_today(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 <> 'today'::date::text $$;
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO heap VALUES (1); RETURN NULL; END';
CREATE FUNCTION of_age(age int, log text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT age > length(log)';
CREATE FUNCTION counts_log() RETURNS int LANGUAGE sql AS 'SELECT count(log)::int FROM (SELECT 1 AS log) writes';
CREATE TABLE grown (id int PRIMARY KEY, v text CHECK (of_age(id, v)));
CREATE TABLE mails (id int PRIMARY KEY, a text CHECK (is_email(a)), b text CHECK (is_long_email(b)), c text CHECK (fixed_path(c)));
CREATE INDEX ON mails (is_email(a));
CREATE TABLE checks_looks_up (id int PRIMARY KEY, v int CHECK (looks_up(v)));
CREATE TABLE checks_by_path (id int PRIMARY KEY, v text CHECK (by_path(v)));
CREATE TABLE checks_of_a_time (id int PRIMARY KEY, v timestamptz CHECK (of_a_time(v) <> ''));
CREATE TABLE checks_of_today (id int PRIMARY KEY, v text CHECK (of_today(v)));

CREATE VIEW v AS SELECT id, name FROM users;
CREATE VIEW writing_view AS SELECT writes();
CREATE VIEW view_of_writing_view AS SELECT * FROM writing_view;
CREATE MATERIALIZED VIEW mv AS SELECT id FROM users;
CREATE SEQUENCE counter;

CREATE TABLE waits (id int PRIMARY KEY, w int REFERENCES two_keys DEFERRABLE);
CREATE TABLE numbered (id int PRIMARY KEY, n serial, word text, at timestamptz);
CREATE FUNCTION chance(int, int) RETURNS int LANGUAGE sql AS 'SELECT ($1 * $2 * random())::int';
CREATE OPERATOR *? (LEFTARG = int, RIGHTARG = int, FUNCTION = chance);
CREATE FUNCTION odd_pair(int) RETURNS pair LANGUAGE sql AS 'SELECT ROW(random() * $1, '''')::pair';
CREATE CAST (int AS pair) WITH FUNCTION odd_pair(int) AS ASSIGNMENT;
CREATE FUNCTION ticket_pair(pair) RETURNS bigint LANGUAGE sql AS 'SELECT nextval(''ticket'')';
CREATE CAST (pair AS bigint) WITH FUNCTION ticket_pair(pair);
-- As the proxy makes it.
CREATE SCHEMA lockstep;
CREATE TABLE lockstep.members (id int PRIMARY KEY);
