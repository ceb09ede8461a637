//! `[replication] unsafe` and `capture`: what is carried out though it is not exact, and what is captured.

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::SUPERUSER;

/// What `put` writes cannot be known: it runs text.
const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (id int PRIMARY KEY);
    CREATE FUNCTION put(place text) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'INSERT INTO ' || place || ' VALUES (1)'; RETURN 1; END $$;
    CREATE FUNCTION make(name text) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'CREATE TABLE ' || name || ' (id int PRIMARY KEY)'; END $$;
    CREATE PROCEDURE halves() LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'INSERT INTO t VALUES (7)'; COMMIT; END $$;";

fn cluster(database: &str, settings: &[&str]) -> Cluster {
    let builder = settings.iter().fold(Cluster::builder(2), |b, line| b.proxy_setting("replication", line));
    let cluster = builder.start();
    cluster.create_database(database);
    cluster.connect(database).query(SCHEMA);
    cluster
}

fn let_through(cluster: &Cluster) -> u64 {
    cluster.proxy.status().expect("a status")["unsafe_statements"].as_u64().expect("a number")
}

fn metrics(cluster: &Cluster) -> String {
    cluster.proxy.http("/metrics")
}

fn count(cluster: &Cluster, node: usize, database: &str, table: &str) -> String {
    cluster.nodes[node].connect_as(&SUPERUSER, database).value(&format!("SELECT count(*) FROM {table}"))
}

fn refused(client: &mut Client, sql: &str) -> String {
    let failure = client.try_query(sql).expect_err(sql);
    assert_eq!(failure.state(), "0A000", "{sql}: {failure}");
    failure.to_string()
}

#[test]
fn what_is_refused_runs_on_the_leader_with_a_warning_and_is_counted() {
    let cluster = cluster("warned", &["unsafe = \"warn\""]);
    let mut client = cluster.connect("warned");
    let answer = client.query("SELECT put('u')");
    assert_eq!((answer.rows.len(), &answer.tags[..]), (1, &["SELECT 1".to_owned()][..]));
    assert!(answer.notices[0].contains("runs text by EXECUTE"), "{:?}", answer.notices);
    let prepared = client.try_execute("SELECT put($1)", &[Some("t (id)")]).expect("by the extended protocol");
    assert!(prepared.notices[0].contains("one server"), "{:?}", prepared.notices);
    assert_eq!(let_through(&cluster), 2);
    assert!(metrics(&cluster).contains("\nlockstep_unsafe_statements_total 2\n"), "{}", metrics(&cluster));
    let seen = [0, 1].map(|node| (count(&cluster, node, "warned", "t"), count(&cluster, node, "warned", "u")));
    assert_eq!(seen, [("1".into(), "1".into()), ("0".into(), "0".into())]);
    client.query("BEGIN");
    client.query("SELECT put('t (v, id) SELECT 5, 5; DELETE FROM u --')");
    client.query("ROLLBACK");
    assert_eq!((count(&cluster, 0, "warned", "u"), let_through(&cluster)), ("1".into(), 3));
    assert_eq!(cluster.proxy.node_states(), ["active"; 2]);
}

#[test]
fn rows_of_captured_tables_reach_everybody_all_the_same() {
    let cluster = cluster("seen", &["unsafe = \"allow\"", "capture = \"all\""]);
    let mut client = cluster.connect("seen");
    for sql in [
        "SELECT put('u')",
        "BEGIN",
        "SELECT put('t (id)')",
        "UPDATE t SET v = 2",
        "SAVEPOINT a",
        "SELECT put('t (v, id) SELECT 5, 5 UNION ALL SELECT 6, 6 --')",
        "ROLLBACK TO a",
        "SELECT put('t (v, id) SELECT (random() * 1e6)::int, 3 --')",
        "COMMIT",
        "DO $$ BEGIN EXECUTE 'DELETE FROM ' || 'u'; END $$",
    ] {
        assert_eq!(client.query(sql).notices, Vec::<String>::new(), "{sql}");
    }
    assert_identical_database(&cluster.nodes, "seen");
    assert_eq!((count(&cluster, 1, "seen", "t"), count(&cluster, 1, "seen", "u")), ("2".into(), "0".into()));
    assert_eq!((let_through(&cluster), cluster.proxy.degradations()), (5, Vec::new()));
}

#[test]
fn a_table_that_was_made_unseen_is_known_at_once_to_every_session() {
    let cluster = cluster("made", &["unsafe = \"allow\""]);
    let (mut maker, mut other) = (cluster.connect("made"), cluster.connect("made"));
    other.query("INSERT INTO t VALUES (1, 1)");
    maker.query("BEGIN; SELECT make('w'); SELECT count(*) FROM w; COMMIT");
    other.query("SELECT count(*) FROM w");
    // The other server does not have it.
    other.query("INSERT INTO w VALUES (1)");
    assert_eq!(cluster.proxy.degradations().len(), 1, "it is out with its reason");
    assert_eq!(count(&cluster, 0, "made", "w"), "1");
}

#[test]
fn definitions_go_to_every_server_as_text() {
    let cluster = cluster("defined", &["unsafe = \"warn\""]);
    let mut client = cluster.connect("defined");
    client.query("INSERT INTO t VALUES (1, 1)");
    let made = client.query("CREATE MATERIALIZED VIEW m AS SELECT id, now() AS at FROM t");
    assert!(made.notices[0].starts_with("each server runs this statement by itself"), "{:?}", made.notices);
    assert_eq!((count(&cluster, 1, "defined", "m"), let_through(&cluster)), ("1".into(), 1));
    assert_eq!(cluster.proxy.node_states(), ["active"; 2]);
}

#[test]
fn what_the_proxy_could_not_follow_is_refused_whatever_is_allowed() {
    let cluster = cluster("firm", &["unsafe = \"allow\""]);
    let mut client = cluster.connect("firm");
    for sql in [
        "CREATE TABLE lockstep.mine (id int)",
        "SET session_replication_role = replica",
        "SELECT set_config('session_replication_' || 'role', 'replica', false)",
        "BEGIN; INSERT INTO t VALUES (9, 9); PREPARE TRANSACTION 'x'",
        "PREPARE p AS SELECT put('u')",
        "BEGIN; DECLARE c CURSOR FOR SELECT put('u')",
        "ALTER DATABASE firm RENAME TO soft",
    ] {
        refused(&mut client, sql);
        client.query("ROLLBACK");
    }
    let ended = client.try_query("CALL halves()").expect_err("it must not end the transaction");
    assert_eq!(ended.state(), "2D000", "{ended}");
    let ended = client.try_execute("CALL halves()", &[]).expect_err("it must not end the transaction");
    assert_eq!(ended.state(), "2D000", "{ended}");
    assert_eq!(let_through(&cluster), 0);
    assert_identical_database(&cluster.nodes, "firm");
}

#[test]
fn by_default_the_refusal_names_the_setting() {
    let cluster = cluster("rejected", &[]);
    refused(&mut cluster.connect("rejected"), "CALL halves()");
    let (hint, explained) = ("[replication] unsafe = \"warn\"", ["explain", "CALL halves()", "--database", "rejected"]);
    let text = String::from_utf8_lossy(&cluster.proxy.run(&explained).stdout).into_owned();
    assert!(text.contains(hint), "{text}");
}

const AUDITED: &str = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO u VALUES (new.id); RETURN new; END $$;
    CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()";

#[test]
fn without_capture_what_needs_it_is_refused_with_the_setting() {
    let cluster = cluster("off", &["capture = \"off\""]);
    let mut client = cluster.connect("off");
    client.query("INSERT INTO t VALUES (1, 1)");
    client.query(AUDITED);
    let why = refused(&mut client, "INSERT INTO t VALUES (2, 2)");
    assert!(why.contains("capture is \"off\""), "{why}");
    client.query("INSERT INTO u VALUES (5)");
    let triggers = "pg_trigger WHERE tgname = 'lockstep_capture'";
    assert_eq!(count(&cluster, 0, "off", triggers), "0");
    assert_identical_database(&cluster.nodes, "off");
}

#[test]
fn with_capture_of_all_every_table_that_is_written_to_has_the_trigger() {
    let cluster = cluster("every", &["capture = \"all\""]);
    let mut client = cluster.connect("every");
    client.query("INSERT INTO t VALUES (1, 1)");
    client.query("BEGIN; CREATE TABLE made (id int PRIMARY KEY); INSERT INTO made VALUES (1); COMMIT");
    client.query("UPDATE made SET id = 2 WHERE id = 1");
    let triggers = "pg_trigger WHERE tgname = 'lockstep_capture' AND tgrelid IN ('t'::regclass, 'made'::regclass)";
    assert_eq!(
        (count(&cluster, 0, "every", triggers), count(&cluster, 1, "every", triggers)),
        ("2".into(), "2".into())
    );
    assert_identical_database(&cluster.nodes, "every");
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
}
