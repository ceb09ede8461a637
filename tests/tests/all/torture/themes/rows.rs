//! A few rows, many ways to change them.

use super::{Shape, Theme};

pub const THEME: Theme = Theme { name: "rows", given: GIVEN, rows: ROWS, rare: RARE, ..Theme::NONE };

const GIVEN: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, name text UNIQUE, balance numeric NOT NULL DEFAULT 0 CHECK (balance > -500));
    CREATE TABLE bill (id serial PRIMARY KEY, customer int REFERENCES customer ON DELETE CASCADE ON UPDATE CASCADE,
        total float8 DEFAULT random(), made timestamptz DEFAULT clock_timestamp(), mark uuid DEFAULT gen_random_uuid());
    CREATE TABLE line (bill int REFERENCES bill ON DELETE CASCADE, n int, amount numeric, note text, PRIMARY KEY (bill, n));
    CREATE TABLE job (id int PRIMARY KEY, state text NOT NULL DEFAULT 'queued', tries int DEFAULT 0, at timestamp);
    CREATE TABLE hits (page text PRIMARY KEY, count bigint DEFAULT 1, seen timestamptz DEFAULT now());
    CREATE TABLE event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text, body jsonb,
        size int GENERATED ALWAYS AS (length(kind)) STORED);
    CREATE TABLE part (region int, id int, v float8, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1, 2);
    CREATE TABLE part_3 PARTITION OF part DEFAULT;
    CREATE TABLE swap (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    CREATE SEQUENCE number CACHE 3;
    INSERT INTO customer SELECT n, 'c' || n FROM generate_series(1, 6) n;
    INSERT INTO bill (customer) SELECT 1 + n % 6 FROM generate_series(1, 30) n;
    INSERT INTO line SELECT b, n, b * n FROM generate_series(1, 30) b, generate_series(1, 2) n;
    INSERT INTO job SELECT n FROM generate_series(1, 12) n;
    INSERT INTO part SELECT 1 + n % 4, n, n FROM generate_series(1, 40) n;
    INSERT INTO swap SELECT n, n FROM generate_series(1, 8) n";

const ROWS: &[Shape] = &[
    ("INSERT INTO bill (customer) VALUES ($1)", &[8]),
    ("INSERT INTO bill (customer, total) VALUES ($1, DEFAULT) RETURNING id, made", &[6]),
    (
        "INSERT INTO line SELECT id, $1, total * random(), 'x' FROM bill WHERE customer = $2 ON CONFLICT DO NOTHING",
        &[9, 6],
    ),
    ("UPDATE customer SET balance = balance + $2 - 50 WHERE id = $1", &[6, 100]),
    ("UPDATE customer SET name = 'n' || $2 WHERE id = $1", &[6, 9]),
    ("UPDATE customer SET id = $2 WHERE id = $1", &[8, 8]),
    ("UPDATE bill SET total = (SELECT sum(amount) FROM line WHERE bill = bill.id) WHERE customer = $1", &[6]),
    ("UPDATE bill b SET total = l.amount FROM line l WHERE l.bill = b.id AND b.customer = $1", &[6]),
    (
        "UPDATE bill SET made = now(), mark = gen_random_uuid() WHERE id = (SELECT max(id) FROM bill WHERE customer = $1)",
        &[6],
    ),
    ("DELETE FROM line WHERE bill IN (SELECT id FROM bill WHERE customer = $1 ORDER BY random() LIMIT 2)", &[6]),
    ("DELETE FROM bill USING customer c WHERE c.id = bill.customer AND c.id = $1 AND bill.total < random()", &[6]),
    ("DELETE FROM customer WHERE id = $1", &[8]),
    (
        "INSERT INTO customer (id, name) VALUES ($1, 'again' || $1::int) ON CONFLICT (id) DO UPDATE SET balance = 0",
        &[8],
    ),
    (
        "UPDATE job SET state = 'running', tries = tries + 1, at = localtimestamp WHERE id = $1 AND state = 'queued'",
        &[12],
    ),
    ("UPDATE job SET state = 'queued' WHERE id = $1 AND state = 'running' RETURNING *", &[12]),
    (
        "UPDATE job SET tries = tries + 1 WHERE id = (SELECT id FROM job WHERE state = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)",
        &[],
    ),
    (
        "INSERT INTO hits (page) VALUES ('/' || $1::int) ON CONFLICT (page) DO UPDATE SET count = hits.count + 1, seen = now()",
        &[5],
    ),
    ("DELETE FROM hits WHERE page = '/' || $1::int", &[5]),
    (
        "INSERT INTO event (kind, body) SELECT 'k' || n, json_build_object('n', n, 'r', random()) FROM generate_series(1, $1::int) n",
        &[4],
    ),
    (
        "WITH gone AS (DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT $1::int) RETURNING kind) INSERT INTO hits (page) SELECT DISTINCT kind FROM gone ON CONFLICT (page) DO NOTHING",
        &[3],
    ),
    ("UPDATE event SET body = body || jsonb_build_object('at', clock_timestamp()) WHERE id % $1::int = 0", &[9]),
    ("UPDATE part SET region = $2 WHERE id = $1", &[40, 5]),
    ("UPDATE part SET v = v * random() WHERE region = $1", &[5]),
    ("INSERT INTO part VALUES ($1, $2, random()) ON CONFLICT DO NOTHING", &[5, 50]),
    ("DELETE FROM part WHERE id = $1", &[50]),
    (
        "UPDATE swap SET place = CASE id WHEN $1 THEN (SELECT place FROM swap WHERE id = $2) ELSE (SELECT place FROM swap WHERE id = $1) END WHERE id IN ($1, $2)",
        &[8, 8],
    ),
    (
        "MERGE INTO hits h USING (SELECT '/' || $1::int AS page) s ON h.page = s.page WHEN MATCHED THEN UPDATE SET count = h.count + 1 WHEN NOT MATCHED THEN INSERT (page) VALUES (s.page)",
        &[5],
    ),
    ("SELECT nextval('number'), $1::int", &[3]),
    ("SELECT setval('number', $1)", &[100]),
    ("SELECT * FROM customer WHERE id = $1 FOR UPDATE", &[6]),
    ("SELECT count(*), sum(total) FROM bill WHERE customer = $1", &[6]),
    ("SELECT pg_advisory_xact_lock($1)", &[3]),
];

/// Rarer, for each stops everybody for a moment.
const RARE: &[Shape] = &[
    ("CREATE INDEX bill_made ON bill (made)", &[]),
    ("DROP INDEX bill_made", &[]),
    ("ALTER TABLE hits ADD COLUMN extra int DEFAULT 7", &[]),
    ("ALTER TABLE hits DROP COLUMN extra", &[]),
    ("CREATE TABLE passing (id serial PRIMARY KEY, v text DEFAULT 'v')", &[]),
    ("INSERT INTO passing DEFAULT VALUES", &[]),
    ("DROP TABLE passing", &[]),
    ("TRUNCATE event RESTART IDENTITY", &[]),
    ("ALTER SEQUENCE number RESTART WITH 5", &[]),
    ("ALTER TABLE job ALTER COLUMN tries SET DEFAULT 1", &[]),
];
