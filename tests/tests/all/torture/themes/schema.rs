//! DDL among the writes: tables that come and go, columns with values of their own, views, indexes, commands outside
//! transactions.

use super::{Shape, Theme};

pub const THEME: Theme =
    Theme { name: "schema", given: GIVEN, rows: ROWS, scripts: SCRIPTS, rare: RARE, ..Theme::NONE };

const GIVEN: &str = "
    CREATE TABLE grown (id serial PRIMARY KEY, v int DEFAULT 0);
    CREATE TABLE growing (id int PRIMARY KEY, up int REFERENCES grown ON DELETE SET NULL, name text);
    CREATE TABLE sale (id serial PRIMARY KEY, region int, amount int, tax numeric);
    CREATE MATERIALIZED VIEW by_region AS SELECT region, count(*) AS n, sum(amount) AS total, sum(tax) AS tax FROM sale GROUP BY region;
    CREATE UNIQUE INDEX by_region_key ON by_region (region);
    CREATE VIEW sold AS SELECT region, amount FROM sale;
    INSERT INTO grown (v) SELECT n FROM generate_series(1, 12) n;
    INSERT INTO sale (region, amount, tax) SELECT n % 4, n, n / 10.0 FROM generate_series(1, 20) n";

const ROWS: &[Shape] = &[
    ("INSERT INTO grown (v) VALUES ($1)", &[9]),
    ("UPDATE grown SET v = v + $1 WHERE id = $2", &[9, 15]),
    ("UPDATE grown SET v = $1 WHERE v > random() * 20", &[9]),
    ("DELETE FROM grown WHERE id = $1", &[40]),
    ("INSERT INTO growing VALUES ($1, $2, 'g') ON CONFLICT (id) DO UPDATE SET name = growing.name || 'h'", &[20, 12]),
    ("DELETE FROM growing WHERE up = $1", &[12]),
    ("INSERT INTO sale (region, amount, tax) VALUES ($1, $2, random())", &[5, 99]),
    ("UPDATE sold SET amount = amount + 1 WHERE region = $1", &[5]),
    ("DELETE FROM sale WHERE amount = $1", &[99]),
    ("SELECT * FROM by_region WHERE region = $1", &[5]),
];

const SCRIPTS: &[&[Shape]] = &[
    &[
        ("CREATE TABLE own_$1 (id serial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), v int)", &[4]),
        ("INSERT INTO own_$1 (v) SELECT n FROM generate_series(1, 5) n", &[4]),
        ("UPDATE own_$1 SET v = v * 2 WHERE v > 2", &[4]),
        ("CREATE INDEX ON own_$1 (v)", &[4]),
    ],
    &[
        ("CREATE TABLE made AS SELECT id, v, random() AS r FROM grown", &[]),
        ("UPDATE made SET r = r + 1", &[]),
        ("DROP TABLE made", &[]),
    ],
    &[
        ("ALTER TABLE grown ADD COLUMN IF NOT EXISTS c$1 uuid DEFAULT gen_random_uuid()", &[3]),
        ("UPDATE grown SET c$1 = gen_random_uuid() WHERE v < 5", &[3]),
    ],
    &[("INSERT INTO sale (region, amount) VALUES ($1, 5)", &[5]), ("REFRESH MATERIALIZED VIEW by_region", &[])],
    &[
        (
            "CREATE TABLE IF NOT EXISTS noted (id int GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME noted_number) PRIMARY KEY, what text)",
            &[],
        ),
        (
            "CREATE OR REPLACE FUNCTION noting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noted (what) VALUES ('n' || new.id); RETURN new; END $$",
            &[],
        ),
        ("CREATE OR REPLACE TRIGGER noting AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION noting()", &[]),
        ("INSERT INTO sale (region, amount) VALUES ($1, 6)", &[5]),
    ],
];

const RARE: &[Shape] = &[
    ("DROP TABLE IF EXISTS own_$1", &[4]),
    ("DROP TABLE own_$1 CASCADE", &[4]),
    ("ALTER TABLE own_$1 RENAME TO own_$2", &[4, 4]),
    ("CREATE TABLE IF NOT EXISTS own_$1 (LIKE grown INCLUDING ALL)", &[4]),
    ("INSERT INTO own_$1 (v) VALUES (1)", &[4]),
    ("ALTER TABLE grown ADD COLUMN c$1 timestamptz DEFAULT clock_timestamp()", &[3]),
    ("ALTER TABLE grown ADD COLUMN c$1 serial", &[3]),
    ("ALTER TABLE grown DROP COLUMN IF EXISTS c$1", &[3]),
    ("ALTER TABLE grown ALTER COLUMN v TYPE bigint USING v + 1", &[]),
    ("ALTER TABLE grown ALTER COLUMN v TYPE int", &[]),
    ("ALTER TABLE growing ALTER COLUMN name SET DEFAULT now()::text", &[]),
    ("ALTER TABLE growing ADD COLUMN extra int GENERATED ALWAYS AS IDENTITY", &[]),
    ("ALTER TABLE growing DROP COLUMN extra", &[]),
    ("ALTER TABLE growing ADD CONSTRAINT short CHECK (length(name) < 9) NOT VALID", &[]),
    ("ALTER TABLE growing DROP CONSTRAINT short", &[]),
    ("REFRESH MATERIALIZED VIEW by_region", &[]),
    ("REFRESH MATERIALIZED VIEW CONCURRENTLY by_region", &[]),
    ("CREATE OR REPLACE VIEW sold AS SELECT region, amount FROM sale WHERE amount > $1", &[9]),
    ("DROP TRIGGER IF EXISTS noting ON sale", &[]),
    ("CREATE INDEX CONCURRENTLY IF NOT EXISTS sale_amount ON sale (amount)", &[]),
    ("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS sale_unique ON sale (amount)", &[]),
    ("DROP INDEX CONCURRENTLY IF EXISTS sale_amount", &[]),
    ("DROP INDEX IF EXISTS sale_unique", &[]),
    ("VACUUM sale", &[]),
    ("ANALYZE grown", &[]),
    ("CLUSTER grown USING grown_pkey", &[]),
    ("REINDEX TABLE sale", &[]),
    ("TRUNCATE sale RESTART IDENTITY", &[]),
    ("SELECT id, v INTO TABLE chosen FROM grown WHERE v < $1", &[9]),
    ("DROP TABLE chosen", &[]),
    ("CREATE TYPE feeling AS ENUM ('a', 'b')", &[]),
    ("DROP TYPE feeling", &[]),
    ("DO $$ BEGIN CREATE TYPE feeling AS ENUM ('a', 'b'); EXCEPTION WHEN duplicate_object THEN NULL; END $$", &[]),
    ("COMMENT ON TABLE sale IS 'comment $1'", &[9]),
    ("GRANT SELECT (amount) ON sale TO PUBLIC", &[]),
    ("LOCK TABLE sale IN SHARE ROW EXCLUSIVE MODE", &[]),
    ("CREATE SCHEMA IF NOT EXISTS aside CREATE TABLE aside.t (id int PRIMARY KEY, at timestamptz DEFAULT now())", &[]),
    ("INSERT INTO aside.t VALUES ($1)", &[9]),
    ("DROP SCHEMA aside CASCADE", &[]),
];
