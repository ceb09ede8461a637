//! COPY FROM STDIN.

use super::Do::{Copy, FailingCopy, Sql};
use super::{Case, replicated};

#[test]
fn from_the_client() {
    replicated("copied", CASES);
}

const CASES: &[Case] = &[
    Case {
        name: "rows as they are",
        given: "CREATE TABLE t (id int PRIMARY KEY, v text, d date);",
        when: &[
            Copy("COPY t FROM STDIN", "1\tone\t2024-01-01\n2\t\\N\t\\N\n3\tta\\tb\\\\\\nx\t2024-02-29\n"),
            Copy("COPY t (v, id) FROM STDIN (FORMAT csv, HEADER, NULL 'null')", "v,id\n\"a, \"\"b\"\"\",4\nnull,5\n"),
            Copy("COPY t FROM STDIN (DELIMITER '|')", "6|six|2024-01-01\n"),
        ],
        then: ("SELECT count(*) || ' ' || count(v) || ' ' || count(d) FROM t", "6 4 3"),
    },
    Case {
        name: "in a transaction with other writes, and rolled back to a savepoint",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int);",
        when: &[
            Sql("BEGIN"),
            Sql("INSERT INTO t VALUES (1, 1)"),
            Copy("COPY t FROM STDIN", "2\t2\n3\t3\n"),
            Sql("UPDATE t SET v = v * 10"),
            Sql("SAVEPOINT s"),
            Copy("COPY t FROM STDIN", "4\t4\n"),
            Sql("ROLLBACK TO s"),
            Copy("COPY t FROM STDIN", "5\t5\n"),
            Sql("COMMIT"),
        ],
        then: ("SELECT string_agg(v::text, ' ' ORDER BY id) FROM t", "10 20 30 5"),
    },
    Case {
        name: "into partitions",
        given: "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
            CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);",
        when: &[Copy("COPY t FROM STDIN", "1\ta\n2\tb\n3\tc\n4\td\n"), Copy("COPY t0 (id) FROM STDIN", "")],
        then: ("SELECT count(*) FROM t", "4"),
    },
    Case {
        name: "into a table without a key",
        given: "CREATE TABLE t (v text);",
        when: &[Copy("COPY t FROM STDIN", "same\nsame\nother\n")],
        then: ("SELECT count(*) FROM t", "3"),
    },
    Case {
        name: "what the data leaves out is the leader's to choose",
        given: "CREATE TABLE t (id serial PRIMARY KEY, v text, made timestamptz DEFAULT clock_timestamp(),
                token uuid DEFAULT gen_random_uuid(), twice text GENERATED ALWAYS AS (v || v) STORED);",
        when: &[
            Copy("COPY t (v) FROM STDIN", "a\nb\n\\N\n"),
            Sql("BEGIN"),
            Copy("COPY t (v) FROM STDIN (FORMAT csv)", "\"c, d\"\n"),
            Copy("COPY t (v, made) FROM STDIN", "e\tnow\n"),
            Sql("COMMIT"),
            Sql("INSERT INTO t (v) VALUES ('f')"),
        ],
        then: ("SELECT string_agg(id || coalesce(twice, '-'), ' ' ORDER BY id) FROM t", "1aa 2bb 3- 4c, dc, d 5ee 6ff"),
    },
    Case {
        name: "identity columns, given or not",
        given: "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, at date DEFAULT now());",
        when: &[Copy("COPY t (v) FROM STDIN", "1\n2\n"), Copy("COPY t (id, v) FROM STDIN", "70\t7\n")],
        then: ("SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM t", "1=1 2=2 70=7"),
    },
    Case {
        name: "a domain with a default that each server would evaluate",
        given: "CREATE DOMAIN stamp AS timestamptz DEFAULT clock_timestamp(); CREATE TABLE t (id int PRIMARY KEY, at stamp);",
        when: &[Copy("COPY t (id) FROM STDIN", "1\n2\n")],
        then: ("SELECT count(at) FROM t", "2"),
    },
    Case {
        name: "rows that WHERE leaves out",
        given: "CREATE TABLE t (id int PRIMARY KEY, v text);",
        when: &[
            Copy("COPY t FROM STDIN WHERE random() < 0.5 OR id = 0", "0\ta\n1\tb\n2\tc\n3\td\n4\te\n5\tf\n"),
            Copy("COPY t (id) FROM STDIN (DELIMITER ',') WHERE id > 10", "9\n10\n11\n12\n"),
            Sql("DELETE FROM t WHERE id BETWEEN 1 AND 5"),
        ],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "0 11 12"),
    },
    Case {
        name: "a transaction that goes back to a savepoint from a COPY that has failed",
        given: "CREATE TABLE t (id serial PRIMARY KEY, v int UNIQUE);",
        when: &[
            Sql("BEGIN"),
            Copy("COPY t (v) FROM STDIN", "1\n"),
            Sql("SAVEPOINT s"),
            FailingCopy("COPY t (v) FROM STDIN", "2\n1\n", "23505"),
            Sql("ROLLBACK TO s"),
            FailingCopy("COPY t (v) FROM STDIN", "two\n", "22P02"),
            Sql("ROLLBACK TO s"),
            Copy("COPY t (v) FROM STDIN", "3\n"),
            Sql("SAVEPOINT u"),
            Copy("COPY t (v) FROM STDIN", "4\n"),
            Sql("ROLLBACK TO u"),
            Sql("COMMIT"),
            FailingCopy("COPY t (v) FROM STDIN", "3\n", "23505"),
        ],
        then: ("SELECT string_agg(v::text, ' ' ORDER BY v) FROM t", "1 3"),
    },
    Case {
        name: "into partitions by a default, and rows that refer to each other",
        given: "CREATE TABLE t (id serial, v int, PRIMARY KEY (id, v)) PARTITION BY RANGE (v);
            CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (10);
            CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (10) TO (20);
            CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree, n serial);",
        when: &[
            Copy("COPY t (v) FROM STDIN", "1\n11\n2\n"),
            Copy("COPY t1 (v) FROM STDIN", "12\n"),
            Copy("COPY tree (id, parent) FROM STDIN", "1\t2\n2\t1\n3\t3\n"),
            FailingCopy("COPY t (v) FROM STDIN", "30\n", "23514"),
        ],
        then: ("SELECT string_agg(v::text, ' ' ORDER BY v) || (SELECT sum(n) FROM tree) FROM t", "1 2 11 126"),
    },
];
