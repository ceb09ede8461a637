//! `lockstep verify` sees the smallest difference of each kind, and says in which table it is.

use lockstep_tests::cluster::Cluster;

use crate::verify::verify;

const SCHEMA: &str = "CREATE TABLE fine (id int PRIMARY KEY, word text, fixed char(5), price numeric, ratio float8, narrow float4,
        at timestamp, moment timestamptz, day date, span interval, doc jsonb, list int[], data bytea, flag bool, bits varbit,
        pair point, reach int4range, mail inet);
    INSERT INTO fine SELECT n, 'w' || n, 'f', 1.0, 0, 0.1, '2000-01-01', '2000-01-01 UTC', '2000-01-01', '1 day',
        '{\"a\": 1.0}', '{1,2}', '\\x00', true, '0', '(0,0)', '[1,2)', '10.0.0.1' FROM generate_series(1, 3000) n;
    CREATE TABLE bag (a int, b text);
    INSERT INTO bag SELECT n, 'b' || n FROM generate_series(1, 100) n;
    INSERT INTO bag SELECT 7, 'twin' FROM generate_series(1, 2);
    CREATE TABLE strange (\"row\" text COLLATE \"C\", \"Key, one\" int, PRIMARY KEY (\"Key, one\", \"row\"), t int);
    INSERT INTO strange SELECT 'r', n, n FROM generate_series(1, 100) n;
    CREATE TABLE parted (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a');
    CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
    INSERT INTO parted SELECT n, 'a' FROM generate_series(1, 50) n;
    CREATE TABLE parent (id int PRIMARY KEY, v int);
    CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
    INSERT INTO parent SELECT n, n FROM generate_series(1, 50) n;
    CREATE FUNCTION grown(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1';
    CREATE TABLE made (id int PRIMARY KEY, more int GENERATED ALWAYS AS (grown(id)) STORED);
    INSERT INTO made SELECT n FROM generate_series(1, 50) n;
    CREATE MATERIALIZED VIEW summed AS SELECT count(*) FROM made;
    CREATE UNLOGGED TABLE brief (id int PRIMARY KEY, v int);
    INSERT INTO brief VALUES (1, 1);
    CREATE SEQUENCE fresh;
    CREATE SEQUENCE used; SELECT nextval('used');
    CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER noted BEFORE UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION noted();
    CREATE VIEW seen AS SELECT id FROM fine";

/// A value of the row `id = 1500` that a follower has, and what the leader has.
const VALUES: &[(&str, &str, &str)] = &[
    ("word", "'w1500 '", "'w1500'"),
    ("word", "'W1500'", "'w1500'"),
    ("word", "NULL", "'w1500'"),
    ("word", "''", "'w1500'"),
    ("word", "E'w1500\\u0301'", "'w1500'"),
    ("fixed", "' f'", "'f'"),
    ("price", "1.00", "1.0"),
    ("price", "'NaN'", "1.0"),
    ("price", "1.0 + 1e-40", "1.0"),
    ("ratio", "'-0'", "0"),
    ("ratio", "5e-324", "0"),
    ("ratio", "'NaN'", "0"),
    ("narrow", "0.1::float4 + 7.5e-9::float4", "0.1"),
    ("at", "'2000-01-01 00:00:00.000001'", "'2000-01-01'"),
    ("at", "'infinity'", "'2000-01-01'"),
    ("at", "'4713-01-01 BC'", "'2000-01-01'"),
    ("at", "'294276-12-31 23:59:59.999999'", "'2000-01-01'"),
    ("moment", "'2000-01-01 00:00:00.000001 UTC'", "'2000-01-01 UTC'"),
    ("day", "'5874897-12-31'", "'2000-01-01'"),
    ("span", "'24 hours'", "'1 day'"),
    ("doc", "'{\"a\": 1.00}'", "'{\"a\": 1.0}'"),
    ("doc", "'null'", "'{\"a\": 1.0}'"),
    ("list", "'[0:1]={1,2}'", "'{1,2}'"),
    ("list", "'{1,NULL}'", "'{1,2}'"),
    ("data", "'\\x0000'", "'\\x00'"),
    ("data", "''", "'\\x00'"),
    ("flag", "NULL", "true"),
    ("bits", "'00'", "'0'"),
    ("pair", "'(-0,0)'", "'(0,0)'"),
    ("reach", "'empty'", "'[1,2)'"),
    ("mail", "'10.0.0.1/31'", "'10.0.0.1'"),
];

/// What is done to a follower, how it is undone, and what must be said of it.
const SPOILED: &[(&str, &str, &str)] = &[
    (
        "UPDATE fine SET word = CASE id WHEN 10 THEN 'w20' ELSE 'w10' END WHERE id IN (10, 20)",
        "UPDATE fine SET word = CASE id WHEN 10 THEN 'w10' ELSE 'w20' END WHERE id IN (10, 20)",
        "table public.fine differs: id = 10 differs, id = 20 differs",
    ),
    (
        "UPDATE bag SET b = CASE a WHEN 10 THEN 'b20' ELSE 'b10' END WHERE a IN (10, 20)",
        "UPDATE bag SET b = CASE a WHEN 10 THEN 'b10' ELSE 'b20' END WHERE a IN (10, 20)",
        "table public.bag differs: 102 rows on node0, 102 on node1",
    ),
    // Two equal rows become two equal other ones.
    (
        "UPDATE bag SET b = 'other' WHERE b = 'twin'",
        "UPDATE bag SET b = 'twin' WHERE b = 'other'",
        "public.bag differs",
    ),
    (
        "UPDATE bag SET a = a + 1 WHERE b = 'twin'",
        "UPDATE bag SET a = a - 1 WHERE b = 'twin'",
        "(8,twin) 0 times on node0",
    ),
    (
        "INSERT INTO bag VALUES (5, 'b5')",
        "DELETE FROM bag WHERE ctid = (SELECT max(ctid) FROM bag WHERE a = 5)",
        "public.bag differs",
    ),
    (
        "UPDATE strange SET t = 0 WHERE \"Key, one\" = 17",
        "UPDATE strange SET t = 17 WHERE \"Key, one\" = 17",
        "table public.strange differs: (\"Key, one\", \"row\") = (17, r) differs",
    ),
    (
        "UPDATE parted SET region = 'b' WHERE id = 7",
        "UPDATE parted SET region = 'a' WHERE id = 7",
        "table public.parted_rest differs: ",
    ),
    (
        "WITH gone AS (DELETE FROM ONLY parent WHERE id = 7 RETURNING *) INSERT INTO child SELECT * FROM gone",
        "WITH gone AS (DELETE FROM child WHERE id = 7 RETURNING *) INSERT INTO parent SELECT * FROM gone",
        "table public.parent differs: id = 7 only on node0",
    ),
    // The definition is the same again, and no value of the row that was given is another.
    (
        "CREATE OR REPLACE FUNCTION grown(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 2'; \
         UPDATE made SET id = id WHERE id = 7; \
         CREATE OR REPLACE FUNCTION grown(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1'",
        "UPDATE made SET id = id WHERE id = 7",
        "table public.made differs: id = 7 differs",
    ),
    (
        "INSERT INTO made VALUES (999); REFRESH MATERIALIZED VIEW summed; DELETE FROM made WHERE id = 999",
        "REFRESH MATERIALIZED VIEW summed",
        "table public.summed differs",
    ),
    ("UPDATE brief SET v = 2", "UPDATE brief SET v = 1", "table public.brief differs: id = 1 differs"),
    ("SELECT lo_put(4711, 4, 'E')", "SELECT lo_put(4711, 4, 'e')", "large objects differs"),
    ("SELECT lo_put(4711, 5, ' ')", "SELECT lo_truncate(lo_open(4711, 131072), 5)", "large objects differs"),
    (
        "GRANT SELECT ON LARGE OBJECT 4711 TO app_md5",
        "REVOKE SELECT ON LARGE OBJECT 4711 FROM app_md5",
        "large object 4711",
    ),
    (
        "SELECT setval('fresh', 1, true)",
        "SELECT setval('fresh', 1, false)",
        "sequence public.fresh is at 1 (not yet given out)",
    ),
    ("SELECT setval('used', 1, false)", "SELECT setval('used', 1, true)", "at 1 (not yet given out) on node1"),
    ("ALTER SEQUENCE used CACHE 2", "ALTER SEQUENCE used CACHE 1", "public.used"),
    (
        "COMMENT ON COLUMN fine.word IS 'w'",
        "COMMENT ON COLUMN fine.word IS NULL",
        "comment on table column public.fine.word",
    ),
    (
        "ALTER TABLE fine ALTER word SET DEFAULT 'w'",
        "ALTER TABLE fine ALTER word DROP DEFAULT",
        "column public.fine.word",
    ),
    (
        "ALTER TABLE fine ALTER price TYPE numeric(30, 1)",
        "ALTER TABLE fine ALTER price TYPE numeric",
        "column public.fine.price",
    ),
    ("GRANT SELECT (word) ON fine TO app_md5", "REVOKE SELECT (word) ON fine FROM app_md5", "column public.fine.word"),
    ("ALTER TABLE fine OWNER TO app_md5", "ALTER TABLE fine OWNER TO app", "table public.fine"),
    (
        "ALTER TABLE parent DISABLE TRIGGER noted",
        "ALTER TABLE parent ENABLE TRIGGER noted",
        "trigger noted on public.parent",
    ),
    (
        "CREATE OR REPLACE VIEW seen AS SELECT id FROM fine WHERE id > 0",
        "CREATE OR REPLACE VIEW seen AS SELECT id FROM fine",
        "view public.seen",
    ),
];

/// The same of what all databases of a server share.
const SHARED: &[(&str, &str, &str)] = &[
    ("COMMENT ON DATABASE fine IS 'w'", "COMMENT ON DATABASE fine IS NULL", "comment on database fine"),
    ("ALTER ROLE app SET work_mem = '5MB'", "ALTER ROLE app RESET work_mem", "settings of role app"),
    ("ALTER ROLE app CONNECTION LIMIT 99", "ALTER ROLE app CONNECTION LIMIT -1", "role app"),
];

fn started() -> Cluster {
    let cluster = Cluster::start(2);
    cluster.create_database("fine");
    cluster.connect("fine").query(SCHEMA);
    cluster.connect("fine").query("SELECT lo_from_bytea(4711, 'large')");
    // What these leave written out that was implied is so on both nodes.
    for node in &cluster.nodes {
        let mut client = node.connect("fine");
        client.query("GRANT ALL ON LARGE OBJECT 4711 TO app");
        SPOILED.iter().filter(|(spoil, ..)| spoil.starts_with("GRANT")).for_each(|(spoil, undo, _)| {
            client.query(spoil);
            client.query(undo);
        });
    }
    cluster
}

#[test]
fn the_smallest_difference_of_a_value_is_found() {
    let cluster = started();
    let mut follower = cluster.nodes[1].connect("fine");
    for (column, there, here) in VALUES {
        follower.query(&format!("UPDATE fine SET {column} = {there} WHERE id = 1500"));
        let (code, text) = verify(&cluster, &["--table", "fine", "--rate", "none"]);
        assert_eq!(code, 1, "{column} = {there}: {text}");
        assert!(text.contains("table public.fine differs: id = 1500 differs"), "{column} = {there}: {text}");
        follower.query(&format!("UPDATE fine SET {column} = {here} WHERE id = 1500"));
    }
    let (code, text) = verify(&cluster, &["--rate", "none"]);
    assert_eq!(code, 0, "after everything was undone: {text}");
}

#[test]
fn what_no_value_of_a_row_by_itself_shows_is_found() {
    let cluster = started();
    let mut follower = cluster.nodes[1].connect("fine");
    let all = SPOILED.iter().map(|case| (case, &["--database", "fine", "--rate", "none"][..]));
    for ((spoil, undo, sentence), arguments) in all.chain(SHARED.iter().map(|case| (case, &["--rate", "none"][..]))) {
        follower.query(spoil);
        let (code, text) = verify(&cluster, arguments);
        assert_eq!(code, 1, "{spoil}: {text}");
        assert!(text.contains(sentence), "{spoil}: {text}");
        follower.query(undo);
    }
    let (code, text) = verify(&cluster, &["--rate", "none"]);
    assert_eq!(code, 0, "after everything was undone: {text}");
}
