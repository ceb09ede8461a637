//! Functions, procedures and DO blocks that write.

use super::{Case, captured};

#[test]
fn what_functions_write_is_on_every_node() {
    captured(FUNCTIONS);
}

const WRITER: &str = "CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION add(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES ($1); RETURN $1; END $$;
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT add($1) + add($1 + 1)';
    CREATE PROCEDURE store(int) LANGUAGE plpgsql AS $$ BEGIN PERFORM twice($1); UPDATE t SET id = id + 100 WHERE id = $1; END $$;";

const FUNCTIONS: &[Case] = &[
    Case {
        name: "by SELECT",
        given: WRITER,
        when: &[
            "SELECT add(1)",
            "SELECT n FROM generate_series(2, 3) n WHERE add(n) > 0 ORDER BY 1",
            "SELECT twice(5)",
        ],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "1 2 3 5 6"),
    },
    Case {
        name: "by CALL and DO",
        given: WRITER,
        when: &[
            "CALL store(1)",
            "DO $$ BEGIN INSERT INTO t VALUES (9); PERFORM add(10); DELETE FROM t WHERE id = 2; END $$",
            "BEGIN",
            "CALL store(20)",
            "ROLLBACK",
        ],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "9 10 101"),
    },
    Case {
        name: "within a write",
        given: "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
            CREATE FUNCTION add(int) RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES ($1) RETURNING id';",
        when: &["INSERT INTO u VALUES (add(1))", "UPDATE u SET id = add(2) + 5"],
        then: ("SELECT (SELECT count(*) FROM t) || ' ' || (SELECT id FROM u)", "2 7"),
    },
    Case {
        name: "prepared",
        given: WRITER,
        when: &["PREPARE a AS SELECT add($1)", "EXECUTE a(1)", "EXECUTE a(2)", "BEGIN", "EXECUTE a(3)", "COMMIT"],
        then: ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", "1 2 3"),
    },
];
