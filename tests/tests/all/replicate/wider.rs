//! What the proxy may refuse for now. Where it does not, the follower holds it.

use super::Do::{Copy, Sql, With};
use super::{Case, replicated_or_refused};

#[test]
fn or_refused() {
    replicated_or_refused("wider", CASES);
}

const FILLED: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);";

const CASES: &[Case] = &[
    Case {
        name: "an update of the key itself",
        given: FILLED,
        when: &[
            Sql("UPDATE t SET id = 100 WHERE id = 1"),
            With("UPDATE t SET id = id + $1, v = 77 WHERE id = $2", &["1", "100"]),
        ],
        then: ("SELECT v FROM t WHERE id = 101", "77"),
    },
    Case {
        name: "common table expressions that write",
        given: super::rows::STOCK,
        when: &[
            Sql("WITH gone AS (DELETE FROM stock WHERE amount < 4 RETURNING *)
                 INSERT INTO report SELECT id, kind, price FROM gone"),
            Sql("WITH new (id, kind) AS (VALUES (50, 'new'), (51, 'new')) INSERT INTO stock (id, kind, amount)
                 SELECT id, kind, id FROM new"),
            Sql("WITH u AS (UPDATE stock SET price = 0 WHERE id = 50 RETURNING id) SELECT * FROM u"),
        ],
        then: ("SELECT (SELECT count(*) FROM report) || ' ' || (SELECT count(*) FROM stock WHERE kind = 'new')", "3 2"),
    },
    Case {
        name: "primary keys that move onto each other's places",
        given: "CREATE TABLE slot (id int PRIMARY KEY DEFERRABLE INITIALLY IMMEDIATE, name text);
            ALTER TABLE slot ADD COLUMN k int UNIQUE NOT NULL;
            CREATE TABLE line (id int PRIMARY KEY, name text);
            INSERT INTO line SELECT n, 'line ' || n FROM generate_series(1, 5) n;",
        when: &[Sql("UPDATE line SET id = id + 5"), Sql("UPDATE line SET id = id - 5 WHERE id < 8")],
        then: ("SELECT string_agg(id || name, ',' ORDER BY id) FROM line", "1line 1,2line 2,8line 3,9line 4,10line 5"),
    },
    Case {
        name: "unique values that change places",
        given: "CREATE TABLE slot (id int PRIMARY KEY, place int UNIQUE DEFERRABLE, name text);
            INSERT INTO slot SELECT n, n, 'slot ' || n FROM generate_series(1, 9) n;",
        when: &[
            Sql("UPDATE slot SET place = 10 - place"),
            Sql("UPDATE slot SET place = place + 1"),
            Sql("UPDATE slot SET place = place - 1 WHERE id > 2"),
        ],
        then: ("SELECT string_agg(place::text, '' ORDER BY id) FROM slot WHERE id > 2", "7654321"),
    },
    Case {
        name: "an update that cascades",
        given: "CREATE TABLE customer (id int PRIMARY KEY); INSERT INTO customer VALUES (1), (2);
            CREATE TABLE bill (id int PRIMARY KEY, customer int REFERENCES customer ON UPDATE CASCADE);
            INSERT INTO bill VALUES (1, 1), (2, 1), (3, 2);",
        when: &[Sql("UPDATE customer SET id = 10 WHERE id = 1"), Sql("UPDATE customer SET id = id + 100 WHERE id > 1")],
        then: ("SELECT string_agg(customer::text, ' ' ORDER BY id) FROM bill", "110 110 102"),
    },
    Case {
        name: "columns that the server fills in",
        given: "CREATE TABLE t (id serial PRIMARY KEY, v int, made timestamptz DEFAULT clock_timestamp(), u uuid DEFAULT gen_random_uuid(),
            twice int GENERATED ALWAYS AS (v * 2) STORED);",
        when: &[
            Copy("COPY t (v) FROM STDIN", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"),
            Copy("COPY t (id, v) FROM STDIN", "100\t11\n"),
            Sql("INSERT INTO t (v) VALUES (12)"),
        ],
        then: ("SELECT max(id) || ' ' || sum(twice) || ' ' || count(DISTINCT u) FROM t", "100 156 12"),
    },
    Case {
        name: "words for the time in its fields",
        given: "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d date);",
        when: &[Copy("COPY t FROM STDIN", "1\tnow\ttoday\n2\tinfinity\ttomorrow\n")],
        then: ("SELECT count(*) FROM t", "2"),
    },
    Case {
        name: "a row that moves to another partition",
        given: "CREATE TABLE event (day date, id int, text text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
            CREATE TABLE event_23 PARTITION OF event FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
            CREATE TABLE event_24 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
            INSERT INTO event VALUES ('2023-05-05', 1, 'a'), ('2024-05-05', 2, 'b');",
        when: &[Sql("UPDATE event SET day = '2024-01-01' WHERE id = 1")],
        then: ("SELECT count(*) FROM event_24", "2"),
    },
    Case {
        name: "a foreign key that sets a default",
        given: "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1), (3);
            CREATE TABLE b (id int PRIMARY KEY, a int DEFAULT 3 REFERENCES a ON DELETE SET DEFAULT); INSERT INTO b VALUES (1, 1);",
        when: &[Sql("DELETE FROM a WHERE id = 1")],
        then: ("SELECT a FROM b", "3"),
    },
    Case {
        name: "a key that ON CONFLICT changes",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE); INSERT INTO t VALUES (1, 1);",
        when: &[Sql("INSERT INTO t VALUES (5, 1) ON CONFLICT (v) DO UPDATE SET id = excluded.id")],
        then: ("SELECT id FROM t", "5"),
    },
    Case {
        name: "types that name things of the catalog",
        given: "CREATE TABLE r (id int PRIMARY KEY, a regclass, b regtype, c regproc, d regrole);",
        when: &[
            Sql("INSERT INTO r VALUES (1, 'r', 'integer', 'now', 'app')"),
            Sql("UPDATE r SET a = 'r_pkey'::regclass WHERE id = 1"),
        ],
        then: ("SELECT a FROM r", "r_pkey"),
    },
];
