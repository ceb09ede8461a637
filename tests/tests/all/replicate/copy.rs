//! COPY FROM STDIN.

use std::thread;
use std::time::Duration;

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::{APP_MD5, SUPERUSER};
use lockstep_tests::wait;

use super::Do::{Copy, FailingCopy, Sql};
use super::{Case, copy as copy_in, replicated};

/// Much more than all buffers on the way hold, from a client that is quicker than its server.
const ROWS: u32 = 400_000;

#[test]
fn more_of_it_than_buffers_hold_comes_to_its_end() {
    let cluster = Cluster::shared();
    cluster.create_database("long_copy");
    let mut client = cluster.connect("long_copy");
    client.query("CREATE TABLE t (id int PRIMARY KEY, v text)");
    client.put(|out| frontend::query(out, b"COPY t FROM STDIN")).flush();
    client.until(lockstep_core::wire::backend::COPY_IN_RESPONSE);
    for row in 0..ROWS {
        let line = format!("{row}\t{row:060}\n");
        client.put(|out| frontend::message(out, frontend::COPY_DATA, |body| body.extend_from_slice(line.as_bytes())));
        if row % 500 == 499 {
            client.flush();
        }
    }
    client.put(|out| frontend::message(out, frontend::COPY_DONE, |_| ())).flush();
    assert_eq!(client.answer().expect("the end of the COPY").tags, [format!("COPY {ROWS}")]);
    assert_identical_database(&cluster.nodes, "long_copy");
}

#[test]
fn from_the_client() {
    replicated("copied", CASES);
}

/// More than a unit's log keeps in memory, for the leader to complete.
#[test]
fn of_megabytes_whose_rows_the_leader_completes() {
    const ROWS: usize = 20_000;
    let (cluster, mut client) = stage("copied_much", "CREATE TABLE t (id serial PRIMARY KEY, v text, n int DEFAULT 7)");
    let data: String = (0..ROWS).map(|n| format!("{n} {}\n", "x".repeat(100))).collect();
    client.query("BEGIN");
    copy_in(&mut client, "COPY t (v) FROM STDIN", &data).expect("a COPY");
    client.query("SAVEPOINT s");
    copy_in(&mut client, "COPY t (v) FROM STDIN", &data).expect("a COPY");
    client.query("ROLLBACK TO s");
    client.query("COMMIT");
    assert_eq!(cluster.nodes[1].connect("copied_much").value("SELECT count(*) FROM t WHERE n = 7"), ROWS.to_string());
    assert_identical_database(&cluster.nodes, "copied_much");
}

#[test]
fn that_waits_for_ddl_of_its_table_fills_the_new_table() {
    let (cluster, mut client) = stage("copied_late", "CREATE TABLE t (id serial PRIMARY KEY, v text)");
    client.query("SELECT count(*) FROM t; INSERT INTO t (v) VALUES ('first')");
    let mut ddl = cluster.connect("copied_late");
    ddl.query("BEGIN; ALTER TABLE t ADD COLUMN made timestamptz, ALTER COLUMN made SET DEFAULT clock_timestamp()");
    let copying = thread::spawn(move || copy_in(&mut client, "COPY t (v) FROM STDIN", "second\n").map(drop));
    let mut observer = cluster.nodes[0].connect("postgres");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'copied_late' AND wait_event_type = 'Lock'";
    wait::until(SOON, "the COPY waits for a lock", || (observer.value(waits) == "1").then_some(()));
    ddl.query("COMMIT");
    copying.join().expect("the thread of a COPY").expect("a COPY");
    assert_eq!(cluster.nodes[1].connect("copied_late").value("SELECT count(made) FROM t"), "1");
    assert_identical_database(&cluster.nodes, "copied_late");
}

#[test]
fn into_a_table_that_is_not_known_is_refused_when_it_exists() {
    let (cluster, mut client) = stage("copied_unknown", "CREATE TABLE t (id serial PRIMARY KEY, v text)");
    client.query("INSERT INTO t (v) VALUES ('the schema is known now')");
    for node in &cluster.nodes {
        node.connect("copied_unknown").query("CREATE TABLE behind (id int); GRANT ALL ON behind TO app");
    }
    for sql in ["COPY behind FROM STDIN", "SELECT 1; COPY behind FROM STDIN; SELECT 2"] {
        let failure = copy_in(&mut client, sql, "1\n").expect_err("what is not known");
        assert_eq!(failure.state(), "0A000", "{failure}");
    }
    let failure = client.try_execute("COPY behind FROM STDIN", &[]).expect_err("what is not known");
    assert_eq!(failure.state(), "0A000", "{failure}");
    assert_eq!(client.value("SELECT count(*) FROM behind"), "0");
    assert_identical_database(&cluster.nodes, "copied_unknown");
}

/// The file is on the leader alone.
#[test]
fn from_a_file_of_the_server() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'none', n serial); CREATE TABLE seen (id int);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (new.id); RETURN new; END';
        CREATE TABLE watched (id int PRIMARY KEY);
        CREATE TRIGGER see BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION see()";
    let (cluster, _owner) = stage("copied_file", schema);
    let file = cluster.nodes[0].data_dir().join("rows");
    std::fs::write(&file, "1\n2\n30\n").expect("write a file for the leader");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("let the leader read it");
    let file = file.display();
    let mut client = Client::connect(&cluster.proxy.address(), &SUPERUSER, "copied_file");
    let answer = client.query(&format!("COPY t (id) FROM '{file}' WHERE id < 10"));
    assert_eq!(answer.tags, ["COPY 2"]);
    let answer = client.query(&format!("SELECT 1; COPY watched FROM '{file}'; SELECT 2"));
    assert_eq!(answer.tags, ["SELECT 1", "COPY 3", "SELECT 1"]);
    client.try_execute(&format!("COPY t (id) FROM '{file}' WHERE id > 10"), &[]).expect("a COPY with Execute");
    let failure = client.try_query(&format!("COPY t (id) FROM '{file}'")).expect_err("keys that are there");
    assert_eq!(failure.state(), "23505", "{failure}");
    let failure = client.try_query(&format!("COPY t (id, v) FROM '{file}'")).expect_err("a line too short");
    assert_eq!(failure.state(), "22P04", "{failure}");
    let failure = client.try_query("COPY t FROM '/nothing'").expect_err("no file");
    assert_eq!(failure.state(), "58P01", "{failure}");
    let follower = &cluster.nodes[1];
    assert_eq!(
        follower.connect("copied_file").value("SELECT string_agg(id || v || n, ' ') FROM t"),
        "1none1 2none2 30none3"
    );
    assert_eq!(follower.connect("copied_file").value("SELECT sum(id) FROM seen"), "33");
    assert_identical_database(&cluster.nodes, "copied_file");
}

#[test]
fn by_a_role_that_may_not_make_temporary_tables_tells_what_is_missing() {
    let (cluster, mut owner) = stage("copied_poorly", "CREATE TABLE t (id serial PRIMARY KEY, v text)");
    owner.query("REVOKE TEMPORARY ON DATABASE copied_poorly FROM PUBLIC");
    owner.query("GRANT SELECT, INSERT ON t TO app_md5; GRANT USAGE ON t_id_seq TO app_md5");
    let mut client = Client::connect(&cluster.proxy.address(), &APP_MD5, "copied_poorly");
    let failure = copy_in(&mut client, "COPY t (v) FROM STDIN", "a\n").expect_err("no right to temporary tables");
    assert_eq!(failure.state(), "42501", "{failure}");
    copy_in(&mut client, "COPY t FROM STDIN", "1\ta\n").expect("a COPY that needs none");
    assert_identical_database(&cluster.nodes, "copied_poorly");
}

fn stage(database: &str, schema: &str) -> (std::sync::Arc<Cluster>, Client) {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    let mut client = cluster.connect(database);
    client.query(schema);
    (cluster, client)
}

const SOON: Duration = Duration::from_secs(20);

const CASES: &[Case] = &[
    Case {
        name: "into a temporary table first",
        given: "CREATE TABLE t (id int PRIMARY KEY);",
        when: &[
            Sql("CREATE TEMP TABLE x (id int)"),
            Copy("COPY x FROM STDIN", "1\n2\n"),
            Sql("INSERT INTO t SELECT id FROM x"),
            FailingCopy("COPY x FROM STDIN", "no number\n", "22P02"),
            Sql("INSERT INTO t VALUES (3)"),
        ],
        then: ("SELECT sum(id) FROM t", "6"),
    },
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
    Case {
        name: "times, and words that mean one in columns that hold none",
        given: "CREATE TYPE span AS (what text, since timestamptz);
            CREATE TABLE t (word text PRIMARY KEY, at timestamptz, spans span[]);",
        when: &[
            Sql("SET DateStyle = 'German'"),
            Sql("SET TimeZone = 'America/New_York'"),
            Copy("COPY t FROM STDIN", "now\t01.02.2024 10:00\t{\"(a,01.02.2024 11:00)\"}\ntoday\tinfinity\t\\N\n"),
            FailingCopy("COPY t FROM STDIN", "x\tnow\t\\N\n", "0A000"),
            FailingCopy("COPY t FROM STDIN (FORMAT csv, HEADER)", "word,at,spans\ny,today 04:05,\n", "0A000"),
        ],
        then: (
            "SELECT string_agg(word, ' ' ORDER BY word) || (SELECT at AT TIME ZONE 'UTC' FROM t WHERE word = 'now') FROM t",
            "now today2024-02-01 15:00:00",
        ),
    },
    Case {
        name: "text that each server reads by its own settings",
        given: "CREATE TABLE t (id int PRIMARY KEY, amount money, who regrole);",
        when: &[Copy("COPY t FROM STDIN", "1\t$1.50\tapp\n2\t2.50\tpostgres\n")],
        then: ("SELECT sum(amount)::numeric || min(who::text) FROM t", "4.00app"),
    },
];
