//! Values that each server would choose for itself: time, chance, identity. Every node has the leader's.

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::users::APP;

use super::Do::{Sql, With};
use super::{Case, replicated};

#[test]
fn in_encodings_whose_letters_hide_quotes() {
    let cluster = Cluster::start(2);
    cluster.create_database("letters");
    let mut client = cluster.proxy.connect_as(&APP, "letters");
    client.query("CREATE TABLE word (id int PRIMARY KEY, t text); SET client_encoding = 'SJIS'");
    // Both letters end with a byte that is a backslash in ASCII; the first stands before the quote of an E literal.
    let texts: [&[u8]; 4] = [
        b"INSERT INTO word VALUES (1, E'\x95\x5c'), (2, '\x83\x5c')",
        b"UPDATE word SET t = t || E'\x95\x5c\\n' WHERE t = '\x83\x5c'",
        b"INSERT INTO word VALUES (3, '\xb1'';x'); DELETE FROM word WHERE t = '\x95\x5c' -- \x95\x5c",
        b"INSERT INTO word SELECT id + 10, t || chr(8364) FROM word",
    ];
    for text in texts {
        client.put(|out| frontend::query(out, text)).try_flush().unwrap();
        client.answer().unwrap_or_else(|failure| panic!("{}: {failure}", text.escape_ascii()));
    }
    let rows =
        cluster.nodes[1].connect_as(&APP, "letters").rows("SELECT string_agg(id || t, ' ' ORDER BY id) FROM word");
    assert_eq!(rows[0][0].as_deref(), Some("2ソ表\n 3ｱ';x 12ソ表\n€ 13ｱ';x€"));
    assert_identical_database(&cluster.nodes, "letters");
}

const EVENT: &str = "CREATE TABLE event (id int PRIMARY KEY, at timestamptz, r float8, u uuid, t text);
    INSERT INTO event (id) SELECT generate_series(1, 20);";

/// A role's own settings are those of followers' sessions, too.
#[test]
fn are_read_by_followers_as_the_leader_has_written_them_whatever_the_role_sets() {
    let cluster = Cluster::start(2);
    cluster.create_database("read");
    for node in &cluster.nodes {
        node.connect("postgres")
            .query("ALTER ROLE app SET xmloption = 'document'; ALTER ROLE app SET array_nulls = off");
    }
    let mut client = cluster.connect("read");
    client.query("CREATE TABLE t (id int PRIMARY KEY, x xml, words text[])");
    client.query("SET xmloption = 'content'");
    client.query("INSERT INTO t VALUES (1, 'a<b/>', ARRAY['one', NULL])");
    assert!(cluster.proxy.degradations().is_empty(), "{:?}", cluster.proxy.degradations());
    assert_identical_database(&cluster.nodes, "read");
}

#[test]
fn in_statements() {
    replicated("chosen", STATEMENTS);
}

#[test]
fn in_defaults() {
    replicated("defaults", DEFAULTS);
}

const STATEMENTS: &[Case] = &[
    Case {
        name: "the time",
        given: EVENT,
        when: &[
            Sql("INSERT INTO event (id, at) VALUES (21, now())"),
            Sql("INSERT INTO event (id, at) VALUES (22, clock_timestamp() + '1 hour')"),
            Sql("UPDATE event SET at = current_timestamp WHERE id = 1"),
            Sql("UPDATE event SET at = statement_timestamp(), t = timeofday() WHERE id = 2"),
            Sql(
                "UPDATE event SET at = localtimestamp, t = current_date::text || current_time || localtime WHERE id = 3",
            ),
            Sql("UPDATE event SET t = age(at)::text WHERE id < 4"),
            Sql("DELETE FROM event WHERE at > now() + '30 minutes'"),
            Sql("UPDATE event SET at = transaction_timestamp() WHERE id > 10"),
        ],
        then: ("SELECT count(at) || ' ' || count(t) FROM event", "14 3"),
    },
    Case {
        name: "the time as a literal or a parameter",
        given: EVENT,
        when: &[
            Sql("INSERT INTO event (id, at) VALUES (21, 'now')"),
            With("INSERT INTO event (id, at) VALUES ($1, $2)", &["22", "now"]),
            Sql("UPDATE event SET at = 'today' WHERE id = 1"),
            With("UPDATE event SET at = $1 WHERE id = 2", &["tomorrow"]),
            Sql("UPDATE event SET at = ' NOW ' WHERE id > 10"),
            Sql("UPDATE event SET at = timestamp 'now' WHERE id = 3"),
        ],
        then: ("SELECT count(at) FROM event", "15"),
    },
    Case {
        name: "chance, another for each row",
        given: EVENT,
        when: &[
            Sql("UPDATE event SET r = random(), u = gen_random_uuid()"),
            Sql("INSERT INTO event (id, r, u) SELECT n, random(), gen_random_uuid() FROM generate_series(21, 30) n"),
            Sql(
                "INSERT INTO event (id, r, u) VALUES (31, random(), gen_random_uuid()), (32, random(), gen_random_uuid())",
            ),
            Sql("UPDATE event SET t = md5(random()::text) WHERE id = 1"),
        ],
        then: ("SELECT count(DISTINCT r) || ' ' || count(DISTINCT u) FROM event", "32 32"),
    },
    Case {
        name: "who and where one is",
        given: EVENT,
        when: &[
            Sql("UPDATE event SET t = current_user || session_user || current_schema WHERE id = 1"),
            Sql("UPDATE event SET t = pg_backend_pid()::text WHERE id = 2"),
            Sql("UPDATE event SET t = inet_server_port()::text || inet_client_port() WHERE id = 3"),
            Sql("UPDATE event SET t = current_setting('application_name') || version() WHERE id = 4"),
            Sql("UPDATE event SET t = pg_current_xact_id()::text WHERE id = 5"),
            Sql("UPDATE event SET t = 'event'::regclass::oid::text WHERE id = 6"),
            Sql("UPDATE event SET t = ctid::text || xmin::text || tableoid::text WHERE id = 7"),
        ],
        then: ("SELECT count(t) FROM event", "7"),
    },
    Case {
        name: "settings that change how a value is read and written",
        given: EVENT,
        when: &[
            Sql("SET timezone = 'Asia/Kolkata'"),
            Sql("SET datestyle = 'SQL, DMY'"),
            Sql("SET extra_float_digits = 0"),
            Sql("SET intervalstyle = 'iso_8601'"),
            With("INSERT INTO event (id, at, r) VALUES ($1, $2, $3)", &["21", "01/02/2024 03:00", "0.1"]),
            Sql("UPDATE event SET r = 0.1::float8 + 0.2::float8, at = now(), t = at::text || now()::text WHERE id = 1"),
            Sql("INSERT INTO event (id, at, t) VALUES (22, '03/04/2024', ('1 day'::interval)::text)"),
        ],
        then: (
            "SELECT (SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') FROM event WHERE id = 21)
             || (SELECT r = 0.1::float8 + 0.2::float8 FROM event WHERE id = 1)",
            "2024-01-31 21:30true",
        ),
    },
    Case {
        name: "a client whose encoding has few letters",
        given: "CREATE TABLE word (id int PRIMARY KEY, t text); INSERT INTO word VALUES (1, '漢字 €');",
        when: &[
            Sql("SET client_encoding = 'LATIN1'"),
            Sql("UPDATE word SET t = t || '!' WHERE id = 1"),
            Sql("INSERT INTO word SELECT id + 1, t || t FROM word"),
            Sql("UPDATE word SET t = t || chr(8364)"),
        ],
        then: ("SELECT string_agg(t, ',' ORDER BY id) FROM word", "漢字 €!€,漢字 €!漢字 €!€"),
    },
    Case {
        name: "an encoding for one transaction",
        given: "CREATE TABLE word (id int PRIMARY KEY, t text); INSERT INTO word VALUES (1, '漢é');",
        when: &[
            Sql("BEGIN"),
            Sql("SET LOCAL client_encoding = 'LATIN1'"),
            Sql("UPDATE word SET t = t || chr(8364)"),
            Sql("COMMIT"),
            Sql("UPDATE word SET t = t || 'é'"),
            Sql("BEGIN"),
            Sql("SET client_encoding = 'LATIN1'"),
            Sql("UPDATE word SET t = t || chr(8364)"),
            Sql("ROLLBACK"),
            Sql("UPDATE word SET t = t || 'ü€'"),
        ],
        then: ("SELECT t FROM word", "漢é€éü€"),
    },
    Case {
        name: "every type with letters, for such a client",
        given: "CREATE TYPE mood AS ENUM ('漢'); CREATE DOMAIN code AS char(4); CREATE TYPE pair AS (a int, b text);
            CREATE TABLE l (id text PRIMARY KEY, a bpchar, b char(5), c varchar, d name, e json, f jsonb, g xml, h tsvector,
                i mood, j mood[], k text[], l code, m pair, n \"char\", o code[], at timestamptz);
            CREATE TABLE model (LIKE l);
            INSERT INTO model SELECT id, '漢 ', '漢 ', '漢 ', '漢', '{\"漢\":  1}', '{\"漢\": 1}', '<漢/>', to_tsvector('simple', '漢'),
                '漢', '{漢}', '{漢,NULL,\"a b\"}', '漢 ', '(1,漢 )', 'x', '{漢}', '2024-01-01' FROM unnest('{漢,b,c}'::text[]) id",
        when: &[
            Sql("SET client_encoding = 'LATIN1'"),
            Sql("INSERT INTO l SELECT * FROM model WHERE id = chr(28450)"),
            Sql("INSERT INTO l SELECT * FROM model WHERE id < 'd'"),
            Sql("UPDATE l SET c = c || c, b = a, at = now() WHERE id = chr(28450)"),
            Sql("INSERT INTO l SELECT * FROM model WHERE id = 'b' ON CONFLICT (id) DO UPDATE SET a = EXCLUDED.a, d = 'x'"),
            Sql("DELETE FROM l WHERE id = 'c'"),
        ],
        then: ("SELECT string_agg(octet_length(a) || c, ',' ORDER BY id) FROM l", "4漢 ,4漢 漢 "),
    },
];

const DEFAULTS: &[Case] = &[
    Case {
        name: "defaults that are volatile",
        given: "CREATE TABLE thing (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), made timestamptz DEFAULT now(),
            seen timestamptz DEFAULT clock_timestamp(), r float8 DEFAULT random(), who text DEFAULT current_user, n int);",
        when: &[
            Sql("INSERT INTO thing DEFAULT VALUES"),
            Sql("INSERT INTO thing (n) VALUES (1), (2), (3)"),
            With("INSERT INTO thing (n, made) VALUES ($1, DEFAULT)", &["4"]),
            Sql("INSERT INTO thing (n) SELECT generate_series(10, 19)"),
            Sql("INSERT INTO thing (n) VALUES (5) RETURNING id, made"),
            Sql("UPDATE thing SET r = DEFAULT, seen = DEFAULT WHERE n = 1"),
        ],
        then: ("SELECT count(DISTINCT id) || ' ' || count(DISTINCT r) || min(who) FROM thing", "16 16app"),
    },
    Case {
        name: "a default that says now as a word, and one made at CREATE TABLE",
        given: "CREATE TABLE thing (id int PRIMARY KEY, d date DEFAULT current_date, t timestamptz DEFAULT 'now'::text::timestamptz);",
        when: &[Sql("INSERT INTO thing (id) VALUES (1)"), Sql("INSERT INTO thing (id) VALUES (2), (3)")],
        then: ("SELECT count(d) || ' ' || count(t) FROM thing", "3 3"),
    },
    Case {
        name: "serial and identity",
        given: "CREATE TABLE a (id serial PRIMARY KEY, v int); CREATE TABLE b (id bigint GENERATED ALWAYS AS IDENTITY
            PRIMARY KEY, v int); CREATE TABLE c (id int GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 100 START 100 INCREMENT -5) PRIMARY KEY, v int);",
        when: &[
            Sql("INSERT INTO a (v) VALUES (1), (2)"),
            With("INSERT INTO a (v) VALUES ($1) RETURNING id", &["3"]),
            Sql("INSERT INTO b (v) SELECT generate_series(1, 10)"),
            Sql("INSERT INTO b OVERRIDING SYSTEM VALUE VALUES (1000, 1)"),
            Sql("INSERT INTO c (v) VALUES (1), (2), (3)"),
            Sql("INSERT INTO c VALUES (7, 7)"),
        ],
        then: ("SELECT (SELECT sum(id) FROM a) || ' ' || (SELECT sum(id) FROM b) || ' ' || (SELECT sum(id) FROM c)", "6 1055 292"),
    },
    Case {
        name: "a domain with a default and a sequence shared by two tables",
        given: "CREATE SEQUENCE shared; CREATE DOMAIN stamp AS timestamptz DEFAULT now();
            CREATE TABLE a (id int PRIMARY KEY DEFAULT nextval('shared'), s stamp);
            CREATE TABLE b (id int PRIMARY KEY DEFAULT nextval('shared') * 10, s stamp);",
        when: &[
            Sql("INSERT INTO a DEFAULT VALUES"),
            Sql("INSERT INTO b DEFAULT VALUES"),
            Sql("INSERT INTO a (id) VALUES (nextval('shared') + 100)"),
        ],
        then: ("SELECT (SELECT sum(id) FROM a) + (SELECT sum(id) FROM b)", "124"),
    },
];
