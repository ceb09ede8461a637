//! What functions do, through whatever calls them: nothing that one server alone would have, unnoticed.

use super::Do::Sql;
use super::{Case, refused, replicated};

#[test]
fn that_hide_a_write_are_refused() {
    refused("hidden", HIDDEN);
}

#[test]
fn that_only_compute_are_no_obstacle() {
    replicated("computing", COMPUTING);
}

const WRITER: &str = "CREATE TABLE log (id serial PRIMARY KEY, v int);
    CREATE FUNCTION note(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log (v) VALUES ($1) RETURNING v';
    CREATE FUNCTION quiet(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN note($1); END';";

const NOTHING_NOTED: (&str, &str) = ("SELECT count(*) FROM log", "0");

macro_rules! given {
    ($more:literal) => {
        concat!(
            "CREATE TABLE log (id serial PRIMARY KEY, v int);
            CREATE FUNCTION note(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log (v) VALUES ($1) RETURNING v';
            CREATE FUNCTION quiet(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN note($1); END';",
            $more
        )
    };
}

const HIDDEN: &[Case] = &[
    Case { name: "called by one that says IMMUTABLE", given: WRITER, when: &[Sql("SELECT quiet(1)")], then: NOTHING_NOTED },
    Case {
        name: "in a body whose strings end elsewhere under a setting of the function",
        given: given!("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET standard_conforming_strings = off AS
            $$SELECT length('\\''); INSERT INTO log (v) VALUES (1) RETURNING v --'$$;"),
        when: &[Sql("SELECT f()")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "in the default of a temporary table",
        given: WRITER,
        when: &[Sql("CREATE TEMP TABLE t (id int, v int DEFAULT note(1))"), Sql("INSERT INTO t (id) VALUES (1)")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "in the check of a temporary table that is like another",
        given: given!("CREATE TABLE model (id int, v int CHECK (quiet(v) > 0))"),
        when: &[Sql("CREATE TEMP TABLE t (LIKE model INCLUDING ALL)"), Sql("INSERT INTO t VALUES (1, 2)")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "in an index of a temporary table",
        given: WRITER,
        when: &[
            Sql("CREATE TEMP TABLE t AS SELECT 1 AS v"),
            Sql("CREATE INDEX ON t (quiet(v))"),
        ],
        then: NOTHING_NOTED,
    },
    Case {
        name: "behind an operator in a check",
        given: given!("CREATE OPERATOR |-| (RIGHTARG = int, FUNCTION = quiet);
            CREATE TABLE t (id int PRIMARY KEY, v int CHECK ((|-| v) > 0))"),
        when: &[Sql("INSERT INTO t VALUES (1, 2)")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "behind an operator in a view",
        given: given!("CREATE OPERATOR |-| (RIGHTARG = int, FUNCTION = quiet); CREATE VIEW w AS SELECT |-| 1 AS n"),
        when: &[Sql("SELECT * FROM w")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "behind a cast",
        given: given!("CREATE TYPE pair AS (a int); CREATE FUNCTION cast_it(pair) RETURNS int STABLE LANGUAGE sql AS 'SELECT note(1)';
            CREATE CAST (pair AS int) WITH FUNCTION cast_it(pair)"),
        when: &[Sql("SELECT ROW(1)::pair::int")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "in the default of a domain",
        given: given!("CREATE DOMAIN noted AS int DEFAULT note(1); CREATE TABLE t (id int PRIMARY KEY, v noted)"),
        when: &[Sql("INSERT INTO t (id) VALUES (1)")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "in a policy",
        given: given!("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
            ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (quiet(id) > 0)"),
        when: &[Sql("SELECT * FROM t")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "as text that a function runs",
        given: given!("CREATE FUNCTION run(text) RETURNS int STABLE LANGUAGE plpgsql AS
            'DECLARE n int; BEGIN EXECUTE $1 INTO n; RETURN n; END'"),
        when: &[Sql("SELECT run('SELECT note(1)')")],
        then: NOTHING_NOTED,
    },
    Case {
        name: "of a large object, in a view",
        given: "CREATE VIEW w AS SELECT lo_create(0) AS made",
        when: &[Sql("SELECT * FROM w")],
        then: ("SELECT count(*) FROM pg_largeobject_metadata", "0"),
    },
    Case {
        name: "in a check that asks for the time of day",
        given: "CREATE TABLE t (id int PRIMARY KEY, at timestamptz CHECK (at <= now()))",
        when: &[Sql("INSERT INTO t VALUES (1, now())")],
        then: ("SELECT count(*) FROM t", "0"),
    },
    Case {
        name: "in a check that depends on the time zone",
        given: "CREATE TABLE t (id int PRIMARY KEY, at timestamptz CHECK (extract(hour FROM at) < 12))",
        when: &[Sql("SET timezone = 'Asia/Tokyo'"), Sql("INSERT INTO t VALUES (1, '2024-01-01 02:00')")],
        then: ("SELECT count(*) FROM t", "0"),
    },
];

const COMPUTING: &[Case] = &[
    Case {
        name: "VOLATILE by default, and only reading",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);
            CREATE FUNCTION highest() RETURNS int LANGUAGE plpgsql AS
                $$ DECLARE n int; BEGIN SELECT max(id) INTO n FROM t; RETURN CASE WHEN n > 0 THEN n ELSE 0 END; END $$;",
        when: &[Sql("SELECT highest()"), Sql("INSERT INTO t SELECT highest() + 1, highest()")],
        then: ("SELECT v FROM t WHERE id = 2", "1"),
    },
    Case {
        name: "giving numbers from a sequence",
        given: "CREATE SEQUENCE ticket; CREATE FUNCTION next_ticket() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('ticket') $$;
            CREATE TABLE t (id bigint PRIMARY KEY DEFAULT next_ticket(), v int); CREATE VIEW w AS SELECT nextval('ticket') AS n;",
        when: &[
            Sql("INSERT INTO t (v) VALUES (1), (2)"),
            Sql("SELECT next_ticket()"),
            Sql("SELECT * FROM w"),
        ],
        then: ("SELECT last_value FROM ticket", "4"),
    },
    Case {
        name: "a serial column that is set to its default",
        given: "CREATE TABLE t (id int PRIMARY KEY, n serial); INSERT INTO t VALUES (1, 100), (2, 200);",
        when: &[Sql("UPDATE t SET n = DEFAULT")],
        then: ("SELECT sum(n) || ' ' || (SELECT last_value FROM t_n_seq) FROM t", "3 2"),
    },
    Case {
        name: "in a check and an index",
        given: "CREATE FUNCTION is_mail(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 LIKE '%@%' $$;
            CREATE FUNCTION domain_of(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
                $$ BEGIN RETURN lower(split_part($1, '@', 2)); END $$;
            CREATE TABLE t (id int PRIMARY KEY, mail text CHECK (is_mail(mail)), host text GENERATED ALWAYS AS (domain_of(mail)) STORED);
            CREATE UNIQUE INDEX ON t (domain_of(mail));",
        when: &[Sql("INSERT INTO t VALUES (1, 'a@B'), (2, 'a@c')"), Sql("UPDATE t SET mail = 'x@D' WHERE id = 2")],
        then: ("SELECT string_agg(host, ' ' ORDER BY id) FROM t", "b d"),
    },
];
