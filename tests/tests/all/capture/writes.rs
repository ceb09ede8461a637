//! Writes of which RETURNING does not show all.

use lockstep_core::wire::backend::COPY_IN_RESPONSE;
use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::{APP, SUPERUSER};

use super::{Case, captured, make, wrong_answers};

#[test]
fn what_returning_does_not_show_is_on_every_node() {
    captured(WRITES);
}

const FILLED: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);";

const ALL: (&str, &str) = ("SELECT string_agg(id || '-' || v, ' ' ORDER BY id) FROM t", "");

const WRITES: &[Case] = &[
    Case {
        name: "merge",
        given: FILLED,
        when: &["MERGE INTO t USING (VALUES (1, 10), (2, 0), (9, 90)) s (id, v) ON t.id = s.id \
            WHEN MATCHED AND s.v = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v \
            WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)"],
        then: (ALL.0, "1-10 3-3 9-90"),
    },
    Case {
        name: "within a query",
        given: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2);
            CREATE TABLE archive (id int PRIMARY KEY, v int, at timestamptz DEFAULT clock_timestamp());",
        when: &[
            "WITH gone AS (DELETE FROM t WHERE id = 1 RETURNING *) INSERT INTO archive SELECT * FROM gone",
            "WITH new AS (INSERT INTO t VALUES (5, 5) RETURNING id) SELECT * FROM new",
        ],
        then: (
            "SELECT (SELECT string_agg(id::text, ' ' ORDER BY id) FROM t) || ', ' || (SELECT id FROM archive)",
            "2 5, 1",
        ),
    },
    Case {
        name: "no key",
        given: "CREATE TABLE t (v int, w text); INSERT INTO t VALUES (1, 'a'), (1, 'a'), (2, NULL), (2, NULL);",
        when: &[
            "UPDATE t SET w = 'c' WHERE ctid = (SELECT min(ctid) FROM t)",
            "DELETE FROM t WHERE ctid = (SELECT max(ctid) FROM t WHERE w IS NULL)",
            "INSERT INTO t VALUES (7, 'x'), (7, 'x'), (7, 'x')",
            "BEGIN",
            "INSERT INTO t VALUES (8, 'y')",
            "UPDATE t SET v = v + 1 WHERE v >= 7",
            "DELETE FROM t WHERE v = 9",
            "COMMIT",
        ],
        then: ("SELECT string_agg(concat_ws('-', v, w), ' ' ORDER BY v, w) FROM t", "1-a 1-c 2 8-x 8-x 8-x"),
    },
    Case {
        name: "another key",
        given:
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);
            CREATE FUNCTION swap() RETURNS void LANGUAGE sql AS
                'UPDATE t SET id = 0 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 3; UPDATE t SET id = 3 WHERE id = 0';",
        when: &["UPDATE t SET id = id + 10 WHERE id = 1", "SELECT swap()", "UPDATE t SET id = id + 1 WHERE id = 3"],
        then: (ALL.0, "2-3 4-2 11-1"),
    },
    Case {
        name: "swapped unique values",
        given:
            "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE DEFERRABLE); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);
            CREATE TABLE u (id int PRIMARY KEY, v int UNIQUE); INSERT INTO u VALUES (1, 1), (2, 2);
            CREATE FUNCTION swap() RETURNS void LANGUAGE sql AS
                'UPDATE u SET v = 0 WHERE id = 1; UPDATE u SET v = 1 WHERE id = 2; UPDATE u SET v = 2 WHERE id = 1';",
        when: &["UPDATE t SET v = v % 3 + 1", "UPDATE t SET v = 4 - v", "SELECT swap()"],
        then: (
            "SELECT (SELECT string_agg(id || '-' || v, ' ' ORDER BY id) FROM t) || ', ' \
                || (SELECT string_agg(id || '-' || v, ' ' ORDER BY id) FROM u)",
            "1-2 2-1 3-3, 1-2 2-1",
        ),
    },
    Case {
        name: "identity and generated",
        given: "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, a int, b int GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (a));",
        when: &[
            "WITH x AS (INSERT INTO t (a) VALUES (1), (2) RETURNING *) SELECT * FROM x",
            "UPDATE t SET id = DEFAULT, a = 5 WHERE a = 1",
            "UPDATE t SET id = DEFAULT WHERE a = 2",
        ],
        then: ("SELECT string_agg(concat_ws('-', id, a, b), ' ' ORDER BY a) FROM t", "4-2-4 3-5-10"),
    },
];

const AUDITED: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, f float8, at timestamptz, i interval, b bytea);
    CREATE TABLE log (v text, f float8, at timestamptz, i interval, b bytea);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN INSERT INTO log SELECT new.v, new.f, new.at, new.i, new.b; RETURN new; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();";

#[test]
fn what_copy_sets_off_is_on_every_node() {
    let cluster = Cluster::start(2);
    make(&cluster, "copied", AUDITED);
    let mut client = cluster.connect("copied");
    for block in [false, true] {
        if block {
            client.query("BEGIN");
        }
        client.put(|out| frontend::query(out, b"COPY t (id, v) FROM STDIN")).flush();
        client.until_any(&[COPY_IN_RESPONSE]).expect("the COPY begins");
        let first = if block { 10 } else { 1 };
        for id in first..first + 3 {
            client.put(|out| frontend::copy_data(out, format!("{id}\tx\n").as_bytes()));
        }
        client.put(frontend::copy_done).flush();
        client.answer().expect("the COPY ends");
        if block {
            client.query("COMMIT");
        }
    }
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "copied");
    assert_eq!(cluster.nodes[1].connect_as(&SUPERUSER, "copied").value("SELECT count(*)::text FROM log"), "6");
}

/// Whatever the settings of the client, rows are the same.
#[test]
fn settings_and_encodings_of_the_client_do_not_matter() {
    let cluster = Cluster::start(2);
    make(&cluster, "odd", AUDITED);
    let odd = [
        ("client_encoding", "LATIN1"),
        ("DateStyle", "SQL, DMY"),
        ("TimeZone", "Asia/Kolkata"),
        ("extra_float_digits", "-5"),
        ("IntervalStyle", "iso_8601"),
        ("bytea_output", "escape"),
        ("client_min_messages", "error"),
    ];
    let address = cluster.proxy.address();
    let mut client = Client::try_connect(&address, &APP, "odd", &odd).expect("connect");
    let insert = "INSERT INTO t VALUES (1, U&'\\20AC\\4E2D', 0.1::float8 + 0.2, '2024-02-01 13:14:15.123456+00', '1 mon -2 days', '\\x00ff')";
    client.query(insert);
    client.query("UPDATE t SET f = f / 3, v = v || chr(8364) || E'\\t\"''\\\\,()'");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "odd");
    let rows = cluster.nodes[1].connect_as(&SUPERUSER, "odd").value("SELECT count(*)::text FROM log");
    assert_eq!(rows, "2");
}

/// Its rows differ in nothing, and it may have the name of what functions write to.
#[test]
fn a_table_without_columns_is_in_nobodys_way_and_its_rows_are_captured() {
    let cluster = Cluster::start(2);
    make(
        &cluster,
        "bare",
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (); CREATE TABLE part (id int) INHERITS (log);
         CREATE TABLE computed (v int GENERATED ALWAYS AS (1) STORED);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO log DEFAULT VALUES; INSERT INTO computed DEFAULT VALUES; RETURN NULL; END $$;
         CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();",
    );
    let mut client = cluster.connect("bare");
    client.query("INSERT INTO t VALUES (1), (2), (3)");
    client.query("INSERT INTO log DEFAULT VALUES");
    client.query("BEGIN; INSERT INTO log DEFAULT VALUES; DELETE FROM ONLY log; ROLLBACK");
    client.query("DELETE FROM ONLY log WHERE ctid = (SELECT max(ctid) FROM ONLY log)");
    client.query("CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; TRUNCATE bare");
    client.query("ALTER TABLE bare ADD COLUMN id int; INSERT INTO bare VALUES (1)");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    let question =
        "SELECT concat_ws(' ', (SELECT count(*) FROM log), (SELECT sum(v) FROM computed), (SELECT sum(id) FROM bare))";
    assert_eq!(wrong_answers(&cluster, "bare", (question, "3 3 1")), [""; 0]);
    assert_identical_database(&cluster.nodes, "bare");
}

#[test]
fn a_large_row_and_many_rows_are_captured() {
    let cluster = Cluster::start(2);
    make(&cluster, "large", AUDITED);
    let mut client = cluster.connect("large");
    client.query("INSERT INTO t (id, v) SELECT 0, repeat('0123456789', 500000)");
    client.query("INSERT INTO t (id, v) SELECT g, g FROM generate_series(1, 3000) g");
    client.query("UPDATE t SET v = v || 'x' WHERE id > 0");
    client.query("DELETE FROM log WHERE v NOT LIKE '%x'");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, "large");
    assert_eq!(cluster.nodes[1].connect_as(&SUPERUSER, "large").value("SELECT count(*)::text FROM log"), "3000");
}

/// A row that another session has deleted since is in the snapshot still, beside the one with the same key that took its
/// place.
#[test]
fn what_an_old_snapshot_shows_is_not_taken_for_what_is_there() {
    let cluster = Cluster::start(2);
    make(
        &cluster,
        "snapshots",
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v := NEW.v || ''!''; RETURN NEW; END';
         CREATE DOMAIN word AS text;
         CREATE TABLE plain (id int PRIMARY KEY, v text);
         CREATE TABLE other (id int PRIMARY KEY, v word);
         CREATE TRIGGER touch BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION touch();
         CREATE TRIGGER touch BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION touch();",
    );
    let (mut early, mut late) = (cluster.connect("snapshots"), cluster.connect("snapshots"));
    let courses = [
        ("INSERT INTO t VALUES (1, 'new')", "1:new!"),
        ("SAVEPOINT s; INSERT INTO t VALUES (1, 'new'); RELEASE s", "1:new!"),
        ("INSERT INTO t VALUES (1, 'new'); DELETE FROM t WHERE v = 'new!'", ""),
        ("INSERT INTO t VALUES (1, 'new'); UPDATE t SET id = 7 WHERE v = 'new!'", "7:new!"),
        ("INSERT INTO t VALUES (1, 'new'); UPDATE t SET v = 'newer' WHERE v = 'new!'", "1:newer"),
    ];
    for table in ["plain", "other"] {
        for level in ["REPEATABLE READ", "SERIALIZABLE"] {
            for (course, expected) in courses {
                let on_table = |sql: &str| sql.replace(" t ", &format!(" {table} "));
                late.query(&on_table("DELETE FROM t WHERE true; INSERT INTO t VALUES (1, 'old')"));
                early.query(&format!("BEGIN ISOLATION LEVEL {level}"));
                early.query("SELECT count(*) FROM pg_class");
                late.query(&on_table("DELETE FROM t WHERE id = 1"));
                course.split("; ").for_each(|sql| drop(early.query(&on_table(sql))));
                early.query("COMMIT");
                let question = on_table("SELECT coalesce(string_agg(id || ':' || v, ' '), '') FROM t ");
                assert_eq!(wrong_answers(&cluster, "snapshots", (&question, expected)), [""; 0], "{level}: {course}");
            }
        }
    }
    assert_identical_database(&cluster.nodes, "snapshots");
}
