//! Text that functions run by EXECUTE: its rows are on every node, and it does nothing else anywhere.

use lockstep_core::wire::backend::COPY_IN_RESPONSE;
use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::{APP, SUPERUSER};

use super::{Way, make, send, wrong_answers};

/// Functions that run text, as schemas have them.
const RUNNERS: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (id int PRIMARY KEY, v int);
    CREATE TABLE heap (v int); CREATE SEQUENCE s;
    CREATE TABLE history (n bigserial PRIMARY KEY, relation text, op text, row jsonb, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION run(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; RETURN 'ran'; END $$;
    CREATE FUNCTION tries(text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE $1; RAISE 'no'; EXCEPTION WHEN raise_exception THEN RETURN 'tried'; END $$;
    CREATE FUNCTION put(place regclass, id int, v int) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE format('UPDATE %s SET v = $2 WHERE id = $1', place) USING id, v; END $$;
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE format('INSERT INTO %I (relation, op, row) VALUES ($1, $2, $3)', tg_argv[0])
            USING tg_table_name, tg_op, to_jsonb(CASE WHEN tg_op = 'DELETE' THEN old ELSE new END);
        RETURN NULL; END $$;";

const AUDITED: &str =
    "CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION audit('history');
    CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON u FOR EACH ROW EXECUTE FUNCTION audit('history');";

const ROUTED: &str = "CREATE TABLE log (id int, day int); CREATE TABLE log_1 (PRIMARY KEY (id)) INHERITS (log);
    CREATE TABLE log_2 (PRIMARY KEY (id)) INHERITS (log);
    CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'INSERT INTO log_' || new.day || ' SELECT ($1).*' USING new; RETURN NULL; END $$;
    CREATE TRIGGER route BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION route();";

/// What clients send, a transaction each: one that must be run again is.
struct Case {
    name: &'static str,
    given: &'static [&'static str],
    when: &'static [&'static [&'static str]],
    then: (&'static str, &'static str),
    /// How often a client is told to run a transaction again, at most.
    again: [usize; 2],
}

const CASES: &[Case] = &[
    Case {
        name: "audit",
        given: &[RUNNERS, AUDITED],
        when: &[
            &["INSERT INTO t VALUES (1, 1), (2, 2)"],
            &["BEGIN", "UPDATE t SET v = v + 1", "SAVEPOINT a", "DELETE FROM t", "ROLLBACK TO a", "INSERT INTO u VALUES (1)", "COMMIT"],
            &["DELETE FROM u; UPDATE t SET id = id + 10 WHERE id = 2"],
        ],
        then: (
            "SELECT string_agg(relation || ' ' || op || ' ' || (row->>'id'), ',' ORDER BY n) FROM history",
            "t INSERT 1,t INSERT 2,t UPDATE 1,t UPDATE 2,u INSERT 1,u DELETE 1,t UPDATE 12",
        ),
        again: [0, 1],
    },
    Case {
        name: "dynamic update",
        given: &[RUNNERS, "INSERT INTO t VALUES (1, 1); INSERT INTO u VALUES (1, 1)"],
        when: &[
            &["SELECT put('t', 1, 5)"],
            &["BEGIN", "SELECT put('u', 1, 6)", "SELECT put('t', 1, 7)", "COMMIT"],
            &["SELECT put('t', 9, 9)"],
            &["SELECT run('INSERT INTO heap SELECT * FROM generate_series(1, 1000)')"],
            &["SELECT run('DELETE FROM heap WHERE v > 10')"],
        ],
        then: ("SELECT (SELECT v FROM t) || ' ' || (SELECT v FROM u) || ' ' || (SELECT count(*) FROM heap)", "7 6 10"),
        again: [3, 3],
    },
    Case {
        name: "loop over tables",
        given: &[RUNNERS],
        when: &[
            &["DO $$ DECLARE r text; BEGIN FOREACH r IN ARRAY '{t,u}'::text[] LOOP
                EXECUTE format('INSERT INTO %I VALUES (1, 1), (2, (random() * 1e6)::int)', r); END LOOP; END $$"],
            &["BEGIN", "DO $$ BEGIN EXECUTE current_setting('server_version') || ' is no statement'; EXCEPTION WHEN syntax_error THEN
                EXECUTE concat('DELETE FROM ', 't'); END $$", "COMMIT"],
        ],
        then: ("SELECT (SELECT count(*) FROM t) || ' ' || (SELECT count(*) FROM u)", "0 2"),
        again: [0, 1],
    },
    Case {
        name: "router",
        given: &[RUNNERS, ROUTED],
        when: &[&["INSERT INTO log VALUES (1, 1), (2, 2)"], &["INSERT INTO log VALUES (3, 2)"]],
        then: ("SELECT (SELECT count(*) FROM log_1) || ' ' || (SELECT count(*) FROM log_2)", "1 2"),
        again: [0, 1],
    },
    Case {
        name: "exceptions",
        given: &[RUNNERS],
        when: &[
            &["SELECT tries('INSERT INTO t VALUES (1, 1)')"],
            &["BEGIN", "SELECT tries('INSERT INTO u VALUES (1, 1)')", "SELECT run('INSERT INTO t VALUES (2, 2)')", "COMMIT"],
            &["BEGIN", "SELECT run('INSERT INTO t VALUES (3, 3)')", "SAVEPOINT a", "SELECT run('DELETE FROM t')", "ROLLBACK TO a", "COMMIT"],
        ],
        then: ("SELECT string_agg(id::text, ' ') || (SELECT count(*) FROM u) FROM t", "2 30"),
        again: [3, 3],
    },
    Case {
        name: "sequences",
        given: &[RUNNERS],
        when: &[
            &["SELECT run('SELECT nextval(''s'') FROM generate_series(1, 10)')"],
            &["SELECT run('INSERT INTO t SELECT nextval(''s''), 0')"],
            &["SELECT tries('SELECT setval(''s'', 500)')"],
            &["SELECT run('SELECT setval(''s'', 100)')"],
        ],
        then: ("SELECT last_value || ' ' || (SELECT count(*) FROM t) FROM s", "100 1"),
        again: [1, 1],
    },
    Case {
        name: "prepared text",
        given: &[RUNNERS, AUDITED],
        when: &[
            &["PREPARE p AS INSERT INTO t VALUES ($1, 1)", "EXECUTE p(1)", "EXECUTE p(2)"],
            &["PREPARE q AS SELECT run($1)", "EXECUTE q('DELETE FROM t WHERE id = 2')"],
            &["BEGIN ISOLATION LEVEL REPEATABLE READ", "INSERT INTO u VALUES (1, 1)", "COMMIT"],
            &["BEGIN ISOLATION LEVEL SERIALIZABLE", "INSERT INTO u VALUES (2, 2)", "COMMIT"],
        ],
        then: ("SELECT count(*) || ' ' || (SELECT sum(id) FROM u) FROM history", "5 3"),
        again: [3, 3],
    },
];

#[test]
fn rows_that_text_has_changed_are_on_every_node() {
    let cluster = Cluster::start(2);
    let mut report = Vec::new();
    for case in CASES {
        for (way, most) in [Way::Simple, Way::Extended].into_iter().zip(case.again) {
            let database = format!("{}_{way:?}", case.name.replace(' ', "_")).to_lowercase();
            make(&cluster, &database, &case.given.join(";\n"));
            let mut client = cluster.connect(&database);
            let mut again = 0;
            for transaction in case.when {
                again += until_done(&mut client, way, transaction);
            }
            report.extend((again > most).then(|| format!("{database}: run again {again} times")));
            report.extend(cluster.proxy.degradations().iter().map(|why| format!("{database} cost a follower: {why}")));
            assert!(cluster.proxy.degradations().is_empty(), "{}", report.join("\n"));
            // Sequences are level when it is quiet.
            assert_identical_database(&cluster.nodes, &database);
            report.extend(wrong_answers(&cluster, &database, case.then));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

/// How often it had to be run again.
#[track_caller]
fn until_done(client: &mut Client, way: Way, transaction: &[&str]) -> usize {
    for again in 0..5 {
        let mut at = 0;
        let failure = transaction.iter().find_map(|sql| {
            // In a script of several statements only the whole is sent again.
            let sent = if sql.contains("; ") && !sql.contains("$$") {
                send(client, Way::Simple, sql)
            } else {
                send(client, way, sql)
            };
            at += 1;
            sent.err()
        });
        match failure {
            None => return again,
            Some(failure) => {
                assert_eq!(failure.state(), "40001", "{}: {failure}", transaction[at - 1]);
                client.query("ROLLBACK");
                client.query("DEALLOCATE ALL");
            }
        }
    }
    panic!("it never ends: {transaction:?}");
}

fn attacked(database: &str) -> Cluster {
    let cluster = Cluster::start(2);
    make(&cluster, database, &[RUNNERS, AUDITED, "INSERT INTO heap VALUES (1)"].join(";\n"));
    let mut client = cluster.connect(database);
    for sql in [
        "INSERT INTO t VALUES (1, 1)",
        "SELECT run('INSERT INTO heap VALUES (2)')",
        "SELECT run('INSERT INTO heap VALUES (2)')",
    ] {
        let _ = client.try_query(sql);
    }
    cluster
}

#[track_caller]
fn unharmed(cluster: &Cluster, database: &str) {
    cluster.connect(database).query("UPDATE t SET v = v + 1");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, database);
}

const MORE_THAN_ROWS: &[&str] = &[
    "CREATE TABLE made (id int)",
    "CREATE TEMP TABLE made (id int)",
    "CREATE TABLE made AS SELECT 1 AS id",
    "CREATE FUNCTION made() RETURNS int LANGUAGE sql AS ''SELECT 1''",
    "CREATE INDEX ON t (v)",
    "DROP TABLE heap",
    "ALTER TABLE heap ADD w int",
    "ALTER TABLE t DISABLE TRIGGER ALL",
    "ALTER TABLE t RENAME v TO w",
    "ALTER SEQUENCE s RESTART WITH 70",
    "GRANT SELECT ON t TO app_md5",
    "COMMENT ON TABLE t IS ''changed''",
    "TRUNCATE heap",
    "TRUNCATE t",
    "ANALYZE t",
    "CLUSTER t USING t_pkey",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, ''x'')",
    "REINDEX TABLE t",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app_md5",
    "CREATE SCHEMA made",
    "ALTER DATABASE {database} SET work_mem = ''5MB''",
    "ALTER ROLE app SET work_mem = ''5MB''",
    "SET work_mem = ''5MB''",
    "SET LOCAL search_path = pg_catalog",
    "SET client_encoding = latin1",
    "SELECT set_config(''search_path'', ''x'', false)",
    "PREPARE sneaky AS DELETE FROM t",
    "DEALLOCATE known",
    "DEALLOCATE ALL; PREPARE known AS DELETE FROM t",
    "DECLARE sneaky CURSOR FOR SELECT run(''DELETE FROM t'')",
    "DECLARE sneaky CURSOR WITH HOLD FOR SELECT 1",
    "SET CONSTRAINTS ALL IMMEDIATE; INSERT INTO t VALUES (77, 7)",
    "SELECT lockstep.flush(''{public}'') FROM (SELECT run(''INSERT INTO t VALUES (78, 8)'')) AS x",
    "CREATE TABLE made (id int); SELECT lockstep.watch(false, ''{}'')",
    "CREATE TABLE made (id int); SELECT set_config(''lockstep.counted'', ''{}'', true)",
];

#[test]
fn text_that_changes_more_than_rows_is_refused_and_nothing_is_left_of_it() {
    let cluster = attacked("beyond");
    let mut client = cluster.connect("beyond");
    client.query("PREPARE known AS SELECT 1");
    let mut report = Vec::new();
    for sql in MORE_THAN_ROWS.iter().map(|sql| sql.replace("{database}", "beyond")) {
        let outer = sql.replace("''", "''''");
        for (way, call) in [
            (Way::Simple, format!("SELECT run('{sql}')")),
            (Way::Extended, format!("SELECT run('{sql}')")),
            (Way::Simple, format!("DO $do$ BEGIN EXECUTE concat('{sql}'); END $do$")),
            (Way::Simple, format!("SELECT run('SELECT run(''{outer}'')')")),
        ] {
            prepared_anew(&mut client);
            match send(&mut client, way, &call) {
                Err(failure) if failure.state() == "0A000" => {}
                other => report.push(format!("{call}: {other:?}")),
            }
        }
        prepared_anew(&mut client);
        client.query("BEGIN");
        client.query("INSERT INTO t VALUES (100, 1)");
        client.query("SAVEPOINT a");
        let failed = client.try_query(&format!("SELECT run('{sql}')"));
        client.query("ROLLBACK TO a");
        // What tampers with the count itself may show only at the end.
        let ended = client.try_query("COMMIT");
        let left = cluster.nodes[1].connect_as(&SUPERUSER, "beyond").value("SELECT count(*) FROM t WHERE id = 100");
        match (failed, &ended, left.as_str()) {
            (Err(failure), Ok(_), "1") if failure.state() == "0A000" => client.query("DELETE FROM t WHERE id = 100"),
            (Ok(_), Err(failure), "0") if failure.state() == "0A000" => continue,
            (failed, ..) => {
                report.push(format!("in a block, {sql}: {failed:?}, {ended:?}, {left} left"));
                client.query("DELETE FROM t WHERE id = 100")
            }
        };
    }
    assert!(report.is_empty(), "{} complaints\n{}", report.len(), report.join("\n"));
    assert_eq!(client.rows("EXECUTE known").len(), 1);
    unharmed(&cluster, "beyond");
}

/// What is prepared does not go back with a transaction: what the text before has left is not there.
fn prepared_anew(client: &mut Client) {
    client.query("EXECUTE known");
    let _ = client.try_query("DEALLOCATE sneaky");
}

/// Not even what an exception has taken back: it may have been there for a while.
#[test]
fn what_an_exception_takes_back_is_counted() {
    let cluster = attacked("taken_back");
    let mut client = cluster.connect("taken_back");
    for sql in ["CREATE TABLE made (id int)", "ALTER TABLE t DISABLE TRIGGER ALL", "TRUNCATE heap"] {
        let failure = client.try_query(&format!("SELECT tries('{sql}')")).expect_err(sql);
        assert_eq!(failure.state(), "0A000", "{sql}: {failure}");
    }
    unharmed(&cluster, "taken_back");
}

#[test]
fn text_in_a_transaction_that_has_truncated_a_table_is_refused() {
    let cluster = attacked("twice");
    let mut client = cluster.connect("twice");
    client.query("BEGIN; TRUNCATE heap; INSERT INTO heap VALUES (5)");
    assert_eq!(client.try_query("SELECT run('TRUNCATE heap')").unwrap_err().state(), "0A000");
    client.query("ROLLBACK");
    client.query("BEGIN; CREATE TABLE made (id int PRIMARY KEY)");
    assert_eq!(client.try_query("SELECT run('INSERT INTO made VALUES (1)')").unwrap_err().state(), "0A000");
    client.query("ROLLBACK");
    unharmed(&cluster, "twice");
}

/// A trigger that waits for the end of the transaction runs its text when nobody waits for a statement any more.
#[test]
fn text_that_is_deferred_to_the_commit_is_watched_there() {
    let cluster = attacked("deferred");
    let given = "CREATE TABLE orders (id int PRIMARY KEY, sql text);
        CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE new.sql; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER later AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION later();";
    let mut client = cluster.connect("deferred");
    client.query(given);
    client.query("INSERT INTO orders VALUES (1, 'INSERT INTO t VALUES (50, 5)')");
    client.query("BEGIN; INSERT INTO orders VALUES (2, 'DELETE FROM t WHERE id = 1'); UPDATE t SET v = 9; COMMIT");
    for commit in ["COMMIT", "SET CONSTRAINTS ALL IMMEDIATE"] {
        client.query("BEGIN; INSERT INTO orders VALUES (3, 'CREATE TABLE made (id int)'); UPDATE t SET v = 8");
        assert_eq!(client.try_query(commit).unwrap_err().state(), "0A000", "{commit}");
        client.query("ROLLBACK");
    }
    let follower =
        cluster.nodes[1].connect_as(&SUPERUSER, "deferred").value("SELECT string_agg(id || ' ' || v, ',') FROM t");
    assert_eq!(follower, "50 9");
    unharmed(&cluster, "deferred");
}

/// What is prepared does not go back with a transaction.
#[test]
fn text_of_a_statement_that_fails_changes_nothing_that_is_prepared() {
    let cluster = attacked("reprepared");
    let mut client = cluster.connect("reprepared");
    client.try_prepare("parsed", "SELECT 'mine'").expect("prepare");
    client.query("PREPARE made AS SELECT 'mine'");
    let sneaky = "DEALLOCATE ALL; PREPARE parsed AS DELETE FROM t RETURNING ''theirs''; \
        PREPARE made AS DELETE FROM t RETURNING ''theirs''; SELECT 1/0";
    for _ in 0..2 {
        assert_eq!(client.try_query(&format!("SELECT run('{sneaky}')")).unwrap_err().state(), "22012");
        let parsed = client.try_execute_prepared("parsed", &[]).expect("it is there");
        assert_eq!(parsed.rows[0][0].as_deref(), Some("mine"));
        assert_eq!(client.value("EXECUTE made"), "mine");
    }
    unharmed(&cluster, "reprepared");
}

#[test]
fn whoever_could_hide_something_runs_no_text() {
    let cluster = attacked("able");
    let refused = |client: &mut Client, why: &str| {
        let failure = client.try_query("SELECT run('DELETE FROM heap')").expect_err(why);
        assert!(failure.state() == "0A000" && failure.to_string().contains(why), "{why}: {failure}");
    };
    let mut able = Client::connect(&cluster.proxy.address(), &SUPERUSER, "able");
    refused(&mut able, "postgres");
    able.query("SET ROLE app");
    refused(&mut able, "postgres");
    able.query("RESET ROLE");
    let mut client = cluster.connect("able");
    client.query("SELECT run('UPDATE heap SET v = 3')");
    for (given, taken, why) in [
        (
            "GRANT pg_execute_server_program TO app",
            "REVOKE pg_execute_server_program FROM app",
            "pg_execute_server_program",
        ),
        ("ALTER ROLE app REPLICATION", "ALTER ROLE app NOREPLICATION", "app"),
        (
            "GRANT SET ON PARAMETER session_replication_role TO app_md5",
            "REVOKE SET ON PARAMETER session_replication_role FROM app_md5",
            "granted",
        ),
        (
            "GRANT EXECUTE ON FUNCTION lo_export(oid, text) TO app",
            "REVOKE EXECUTE ON FUNCTION lo_export(oid, text) FROM app",
            "granted",
        ),
        (
            "CREATE FUNCTION lends(text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE $1; END'",
            "DROP FUNCTION lends",
            "public.lends",
        ),
        ("CREATE EXTENSION dblink", "DROP EXTENSION dblink", "dblink"),
        ("CREATE EXTENSION file_fdw", "DROP EXTENSION file_fdw", "file_fdw"),
    ] {
        able.query(given);
        refused(&mut client, why);
        able.query(taken);
        client.query("SELECT run('UPDATE heap SET v = 4')");
    }
    unharmed(&cluster, "able");
}

#[test]
fn copy_sets_off_text() {
    let cluster = attacked("copied");
    let mut client = cluster.connect("copied");
    client.query("CREATE TRIGGER more AFTER INSERT ON heap FOR EACH ROW EXECUTE FUNCTION audit('missing')");
    for (data, state) in [("7\n8\n", Some("42P01")), ("", None)] {
        client.put(|out| frontend::query(out, b"COPY heap FROM STDIN")).flush();
        client.until_any(&[COPY_IN_RESPONSE]).expect("the COPY begins");
        client.put(|out| frontend::copy_data(out, data.as_bytes())).put(frontend::copy_done).flush();
        assert_eq!(client.answer().err().as_ref().map(|failure| failure.state()), state);
    }
    client.put(|out| frontend::query(out, b"BEGIN; COPY u FROM STDIN; COMMIT")).flush();
    client.until_any(&[COPY_IN_RESPONSE]).expect("the COPY begins");
    client.put(|out| frontend::copy_data(out, b"5\t6\n7\t8\n")).put(frontend::copy_done).flush();
    client.answer().expect("the COPY ends");
    let follower =
        cluster.nodes[1].connect_as(&SUPERUSER, "copied").value("SELECT count(*) FROM history WHERE relation = 'u'");
    assert_eq!(follower, "2");
    unharmed(&cluster, "copied");
}

#[test]
fn sessions_run_text_beside_each_other() {
    let cluster = attacked("beside");
    let work = |number: usize| {
        let mut client = cluster.connect("beside");
        for n in 0..20 {
            let id = number * 1000 + n;
            let way = if n % 2 == 0 { Way::Simple } else { Way::Extended };
            let insert = format!("INSERT INTO u VALUES ({id}, {n})");
            let update = "SELECT run('UPDATE t SET v = v + 1 WHERE id = 1')";
            let heap = format!("SELECT run('INSERT INTO heap VALUES ({id})')");
            until_done(&mut client, way, &[&insert]);
            until_done(&mut client, way, &["BEGIN", update, &heap, "COMMIT"]);
        }
    };
    std::thread::scope(|scope| (1..4).for_each(|number| drop(scope.spawn(move || work(number)))));
    let follower =
        cluster.nodes[1].connect_as(&APP, "beside").value("SELECT v || ' ' || (SELECT count(*) FROM u) FROM t");
    assert_eq!(follower, "61 60");
    unharmed(&cluster, "beside");
}
