//! INSERT ... VALUES, and UPDATE and DELETE of one row by its key.

use super::Do::{Fails, Sql, With};
use super::{Case, replicated};

const ACCOUNT: &str =
    "CREATE TABLE account (id int PRIMARY KEY, owner text UNIQUE, balance numeric DEFAULT 0, note text);
    INSERT INTO account SELECT n, 'owner ' || n, n * 100 FROM generate_series(1, 10) n;";

#[test]
fn one_row_at_a_time() {
    replicated("keyed", CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "an insert",
        given: ACCOUNT,
        when: &[
            Sql("INSERT INTO account VALUES (11, 'ann', 1.10, NULL)"),
            With("INSERT INTO account (owner, id) VALUES ($1, $2)", &["bob", "12"]),
            Sql("INSERT INTO account VALUES (13, 'c', 1, 'x'), (14, 'd', 2, NULL), (15, 'e', DEFAULT, 'it''s')"),
        ],
        then: ("SELECT count(*) || ' ' || sum(balance) FROM account", "15 5504.10"),
    },
    Case {
        name: "an update by the primary key",
        given: ACCOUNT,
        when: &[
            Sql("UPDATE account SET balance = balance + 1 WHERE id = 3"),
            With("UPDATE account SET balance = balance * $1, note = $2 WHERE id = $3", &["2", "doubled", "3"]),
            Sql("UPDATE account AS a SET note = a.owner || a.note WHERE a.id = 3"),
        ],
        then: ("SELECT balance || note FROM account WHERE id = 3", "602owner 3doubled"),
    },
    Case {
        name: "an update of nothing",
        given: ACCOUNT,
        when: &[
            Sql("UPDATE account SET balance = 0 WHERE id = 99"),
            Sql("UPDATE account SET balance = 0 WHERE id = NULL"),
            Sql("DELETE FROM account WHERE id = 99"),
        ],
        then: ("SELECT sum(balance) FROM account", "5500"),
    },
    Case {
        name: "an update under a further condition",
        given: ACCOUNT,
        when: &[
            With("UPDATE account SET balance = balance - $1 WHERE id = $2 AND balance >= $1", &["150", "1"]),
            With("UPDATE account SET balance = balance - $1 WHERE id = $2 AND balance >= $1", &["150", "2"]),
        ],
        then: ("SELECT string_agg(balance::text, ' ' ORDER BY id) FROM account WHERE id < 3", "100 50"),
    },
    Case {
        name: "an update by another unique column",
        given: ACCOUNT,
        when: &[With("UPDATE account SET balance = 7 WHERE owner = $1", &["owner 4"])],
        then: ("SELECT balance FROM account WHERE id = 4", "7"),
    },
    Case {
        name: "a delete",
        given: ACCOUNT,
        when: &[Sql("DELETE FROM account WHERE id = 1"), With("DELETE FROM account WHERE id = $1", &["2"])],
        then: ("SELECT min(id) FROM account", "3"),
    },
    Case {
        name: "a key that is deleted and inserted again",
        given: ACCOUNT,
        when: &[
            Sql("BEGIN"),
            Sql("DELETE FROM account WHERE id = 1"),
            Sql("INSERT INTO account VALUES (1, 'owner 1', 5, 'new')"),
            Sql("UPDATE account SET balance = 6 WHERE id = 1"),
            Sql("COMMIT"),
        ],
        then: ("SELECT balance || note FROM account WHERE id = 1", "6new"),
    },
    Case {
        name: "rows that the client wants back",
        given: ACCOUNT,
        when: &[
            Sql("INSERT INTO account VALUES (11, 'ann') RETURNING *"),
            Sql("UPDATE account SET balance = balance + 1 WHERE id = 11 RETURNING balance, upper(owner)"),
            Sql("DELETE FROM account WHERE id = 1 RETURNING id"),
        ],
        then: ("SELECT count(*) || ' ' || max(balance) FROM account", "10 1000"),
    },
    Case {
        name: "a write that fails",
        given: ACCOUNT,
        when: &[
            Fails("INSERT INTO account VALUES (1, 'again')", "23505"),
            Fails("UPDATE account SET owner = 'owner 2' WHERE id = 1", "23505"),
            Fails("INSERT INTO account VALUES (11, 'ok'), (1, 'not')", "23505"),
            Sql("INSERT INTO account VALUES (12, 'fine')"),
        ],
        then: ("SELECT count(*) FROM account", "11"),
    },
    Case {
        name: "a key of several columns and several types",
        given: "CREATE TABLE seat (hall text, place uuid, day date, taken bool, PRIMARY KEY (day, hall, place));",
        when: &[
            With(
                "INSERT INTO seat VALUES ($1, $2, $3, false)",
                &["a", "5cf5b1a4-0b35-4f0c-9bd1-2b4a3f7f0a01", "2024-02-29"],
            ),
            With(
                "UPDATE seat SET taken = true WHERE place = $1 AND hall = $2 AND day = $3",
                &["5cf5b1a4-0b35-4f0c-9bd1-2b4a3f7f0a01", "a", "2024-02-29"],
            ),
        ],
        then: ("SELECT hall || taken FROM seat", "atrue"),
    },
    Case {
        name: "names that need quotes, and tables named with their schema",
        given: r#"CREATE TABLE "Or""der" ("Id" int PRIMARY KEY, "select" text, "ä ö" text DEFAULT 'x"y');"#,
        when: &[
            Sql(r#"INSERT INTO "Or""der" ("Id", "select") VALUES (1, 'a')"#),
            With(r#"UPDATE "Or""der" SET "select" = $1 WHERE "Id" = 1"#, &["b"]),
            Sql(r#"INSERT INTO "Or""der" VALUES (2, NULL, '\')"#),
            Sql(r#"DELETE FROM "Or""der" WHERE "Id" = 2"#),
        ],
        then: (r#"SELECT "select" || "ä ö" FROM "Or""der""#, "bx\"y"),
    },
    Case {
        name: "columns that the server generates",
        given: "CREATE TABLE box (id int PRIMARY KEY, w int, h int, area int GENERATED ALWAYS AS (w * h) STORED);",
        when: &[
            Sql("INSERT INTO box VALUES (1, 2, 3)"),
            Sql("INSERT INTO box (id, w, h, area) VALUES (2, 5, 5, DEFAULT)"),
            Sql("UPDATE box SET w = 10 WHERE id = 1 RETURNING area"),
        ],
        then: ("SELECT sum(area) FROM box", "55"),
    },
    Case {
        name: "a row that is wider than a page",
        given: ACCOUNT,
        when: &[
            Sql("INSERT INTO account VALUES (11, 'long', 1, repeat('word ', 100000))"),
            Sql("UPDATE account SET balance = 2 WHERE id = 11"),
        ],
        then: ("SELECT length(note) FROM account WHERE id = 11", "500000"),
    },
    Case {
        name: "a table of a hundred columns",
        given: "DO $$ BEGIN EXECUTE 'CREATE TABLE wide (id int PRIMARY KEY, '
            || (SELECT string_agg('c' || n || ' int DEFAULT ' || n, ', ') FROM generate_series(1, 100) n) || ')'; END $$;",
        when: &[Sql("INSERT INTO wide (id) VALUES (1)"), Sql("UPDATE wide SET c50 = -1, c99 = NULL WHERE id = 1")],
        then: ("SELECT c50 + c100 FROM wide WHERE c99 IS NULL", "99"),
    },
    Case {
        name: "a key that tells apart what the column's collation does not",
        given: "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            CREATE TABLE person (name text COLLATE ci NOT NULL, v int); CREATE UNIQUE INDEX ON person (name COLLATE \"C\");
            INSERT INTO person VALUES ('a', 0), ('A', 0), ('b', 0), ('B', 0);",
        when: &[
            With("UPDATE person SET v = 1 WHERE name COLLATE \"C\" = $1", &["a"]),
            Sql("DELETE FROM person WHERE name COLLATE \"C\" = 'b'"),
        ],
        then: ("SELECT string_agg(name || v, ' ' ORDER BY name COLLATE \"C\") FROM person", "A0 B0 a1"),
    },
];
