//! Statements that wait while DDL of another session commits.

use std::thread;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);

fn stage(database: &str) -> std::sync::Arc<Cluster> {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    cluster.connect(database).query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    cluster
}

/// Runs `sql` in a session that waits for a lock of `holder`, does `meanwhile`, and returns the waiting session.
fn waits_for(
    cluster: &Cluster,
    database: &str,
    mut waiting: Client,
    run: impl FnOnce(&mut Client) + Send + 'static,
    meanwhile: impl FnOnce(),
) -> Client {
    let blocked =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'");
    let statement = thread::spawn(move || {
        run(&mut waiting);
        waiting
    });
    let mut observer = cluster.nodes[0].connect("postgres");
    wait::until(SOON, "the statement waits for a lock", || (observer.value(&blocked) == "1").then_some(()));
    meanwhile();
    statement.join().expect("the statement that waited")
}

#[test]
fn a_write_that_waits_for_ddl_of_its_table_runs_on_the_new_table() {
    let cluster = stage("overtaken");
    let runs: [fn(&mut Client); 3] = [
        |client| drop(client.query("INSERT INTO t (id, v) VALUES (10, 1)")),
        |client| drop(client.query("INSERT INTO t (id, v) VALUES (11, 1); UPDATE t SET v = v + 1 WHERE id = 11")),
        |client| drop(client.try_execute("INSERT INTO t (id, v) VALUES (12, 1)", &[]).expect("an insert")),
    ];
    for (n, run) in runs.into_iter().enumerate() {
        let mut ddl = cluster.connect("overtaken");
        ddl.query("BEGIN");
        ddl.query(&format!("ALTER TABLE t ADD COLUMN c{n} int DEFAULT {n}"));
        let client = cluster.connect("overtaken");
        waits_for(&cluster, "overtaken", client, run, || drop(ddl.query("COMMIT")));
    }
    assert_eq!(
        cluster.connect("overtaken").value("SELECT string_agg(t::text, ' ' ORDER BY id) FROM t WHERE id > 1"),
        "(10,1,0,1,2) (11,2,0,1,2) (12,1,0,1,2)"
    );
    assert_identical_database(&cluster.nodes, "overtaken");
}

#[test]
fn ddl_elsewhere_does_not_concern_a_transaction_that_waits() {
    let cluster = stage("elsewhere");
    let mut holder = cluster.connect("elsewhere");
    holder.query("BEGIN; UPDATE t SET v = 2 WHERE id = 1");
    let mut client = cluster.connect("elsewhere");
    client.query("BEGIN");
    let run = |client: &mut Client| drop(client.query("UPDATE t SET v = v + 1 WHERE id = 1"));
    let mut client = waits_for(&cluster, "elsewhere", client, run, || {
        cluster.connect("elsewhere").query("CREATE TABLE other (id int PRIMARY KEY)");
        holder.query("COMMIT");
    });
    client.query("COMMIT");
    assert_eq!(client.value("SELECT v FROM t"), "3");
    assert_identical_database(&cluster.nodes, "elsewhere");
}

#[test]
fn a_snapshot_that_is_older_than_the_schema_does_not_plan_writes() {
    let cluster = stage("snapshot");
    let mut client = cluster.connect("snapshot");
    client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    client.query("SELECT 1");
    cluster.connect("snapshot").query("ALTER TABLE t ADD COLUMN c int DEFAULT 1");
    client.query("INSERT INTO t (id, v) VALUES (10, 1)");
    assert_eq!(client.try_query("COMMIT").expect_err("the catalog cannot be read").state(), "40001");
    client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    client.query("SELECT 1");
    cluster.connect("snapshot").query("ALTER TABLE t ADD COLUMN d int");
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    client.query("COMMIT");
    assert_identical_database(&cluster.nodes, "snapshot");
}

#[test]
fn a_transaction_whose_table_became_another_under_its_statement_is_to_be_repeated() {
    let cluster = stage("another");
    let mut ddl = cluster.connect("another");
    ddl.query("BEGIN; ALTER TABLE t ADD COLUMN c int DEFAULT 1");
    let mut client = cluster.connect("another");
    client.query("BEGIN");
    let run = |client: &mut Client| drop(client.query("INSERT INTO t (id, v) VALUES (10, 1)"));
    let mut client = waits_for(&cluster, "another", client, run, || drop(ddl.query("COMMIT")));
    assert_eq!(client.try_query("COMMIT").expect_err("the plan is not that of the table").state(), "40001");
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    assert_identical_database(&cluster.nodes, "another");
}

/// Such a session reads the schema by itself, its own tables included, and keeps it.
#[test]
fn a_session_with_temporary_tables_does_not_keep_what_an_old_snapshot_has_shown() {
    let cluster = stage("kept");
    let mut client = cluster.connect("kept");
    client.query("CREATE TEMP TABLE mine (id int); INSERT INTO mine VALUES (1)");
    client.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    cluster.connect("kept").query("ALTER TABLE t ADD COLUMN mark uuid DEFAULT gen_random_uuid()");
    client.query("INSERT INTO t (id, v) VALUES (2, 2)");
    assert_eq!(client.try_query("COMMIT").expect_err("the catalog cannot be read").state(), "40001");
    client.query("INSERT INTO t (id, v) VALUES (3, 3)");
    assert_identical_database(&cluster.nodes, "kept");
}
