-- The database of the plan tests and of the fuzz target.
CREATE EXTENSION pgcrypto;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN stamped AS timestamptz DEFAULT now();
CREATE SCHEMA shop;

CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION computes(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION shop.audit() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE AGGREGATE writing_sum (int) (SFUNC = int4pl, STYPE = int, FINALFUNC = computes);
CREATE FUNCTION plus_writes(mood, mood) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE OPERATOR |+| (LEFTARG = mood, RIGHTARG = mood, FUNCTION = plus_writes);

CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL UNIQUE, mood mood, created timestamptz DEFAULT now(),
    tags text[] DEFAULT '{}', place pair, "Odd ""Name" int);
CREATE FUNCTION writes_row(users) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
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
CREATE TABLE calls_check (id int PRIMARY KEY, v int CHECK (computes(v) > 0));
CREATE TABLE calls_generated (id int PRIMARY KEY, v int, w int GENERATED ALWAYS AS (computes(v)) STORED);
CREATE TABLE ring_a (id int PRIMARY KEY, b int);
CREATE TABLE ring_b (id int PRIMARY KEY, a int REFERENCES ring_a ON DELETE CASCADE);
ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b ON DELETE CASCADE;
CREATE TABLE moods (mood mood PRIMARY KEY, moods mood[]);

CREATE VIEW v AS SELECT id, name FROM users;
CREATE VIEW writing_view AS SELECT writes();
CREATE VIEW view_of_writing_view AS SELECT * FROM writing_view;
CREATE MATERIALIZED VIEW mv AS SELECT id FROM users;
CREATE SEQUENCE counter;
