//! Materialized views whose tables others write to meanwhile: each server runs the query by itself, and all are to read the
//! same rows.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::users::SUPERUSER;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);

fn stage(database: &str) -> Arc<Cluster> {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    cluster.connect(database).query(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);
         CREATE MATERIALIZED VIEW m AS SELECT v, count(*) AS n FROM t GROUP BY v; CREATE UNIQUE INDEX ON m (v)",
    );
    cluster
}

/// What is said in a transaction after which somebody else writes before it commits.
const FILLED: [&str; 3] = [
    "REFRESH MATERIALIZED VIEW m",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
    "CREATE MATERIALIZED VIEW made AS SELECT count(*) AS n FROM t",
];

#[test]
fn a_write_that_commits_before_the_refresh_does_is_seen_by_all_servers_or_by_none() {
    let cluster = stage("refreshed");
    for (n, sql) in FILLED.iter().enumerate() {
        let mut filling = cluster.connect("refreshed");
        filling.query("BEGIN");
        filling.query(sql);
        let mut writing = cluster.connect("refreshed");
        let written = thread::spawn(move || drop(writing.query(&format!("INSERT INTO t VALUES (1{n}, 1)"))));
        let mut observer = cluster.nodes[0].connect("refreshed");
        wait::until(SOON, "the write is done or waits", || (done_or_waits(&mut observer, n)).then_some(()));
        filling.query("COMMIT");
        written.join().expect("the write");
    }
    assert_identical_database(&cluster.nodes, "refreshed");
}

fn done_or_waits(observer: &mut Client, n: usize) -> bool {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'refreshed' AND wait_event_type = 'Lock'";
    observer.value(waiting) == "1" || observer.value(&format!("SELECT count(*) FROM t WHERE id = 1{n}")) == "1"
}

/// A follower would fill the first from what the second has become.
#[test]
fn a_view_that_another_one_reads_is_not_refreshed_before_that_one_is_on_every_node() {
    let cluster = stage("refreshed_below");
    cluster.connect("refreshed_below").query("CREATE MATERIALIZED VIEW above AS SELECT sum(n) AS n FROM m");
    let mut filling = cluster.connect("refreshed_below");
    filling.query("BEGIN; REFRESH MATERIALIZED VIEW above");
    let mut other = cluster.connect("refreshed_below");
    other.query("INSERT INTO t VALUES (2, 1)");
    let failure = other.try_query("REFRESH MATERIALIZED VIEW CONCURRENTLY m").unwrap_err();
    assert_eq!(failure.state(), "40001", "{failure}");
    filling.query("COMMIT");
    assert_identical_database(&cluster.nodes, "refreshed_below");
    other.query("REFRESH MATERIALIZED VIEW CONCURRENTLY m");
    other.query("REFRESH MATERIALIZED VIEW above");
    assert_eq!(cluster.nodes[1].connect("refreshed_below").value("SELECT n FROM above"), "2");
    assert_identical_database(&cluster.nodes, "refreshed_below");
}

/// Its rows may be on the followers already when the leader's query does not see them.
#[test]
fn a_refresh_waits_for_who_has_written_and_not_without_an_end() {
    let cluster = stage("refreshed_late");
    let mut writing = cluster.connect("refreshed_late");
    writing.query("BEGIN; INSERT INTO t VALUES (2, 1)");
    let mut filling = cluster.connect("refreshed_late");
    let failure = filling.try_query("REFRESH MATERIALIZED VIEW m").unwrap_err();
    assert_eq!(failure.state(), "40001", "{failure}");
    writing.query("COMMIT");
    filling.query("REFRESH MATERIALIZED VIEW m");
    assert_eq!(filling.value("SHOW lock_timeout"), "0");
    assert_eq!(cluster.nodes[1].connect("refreshed_late").value("SELECT n FROM m"), "2");
    assert_identical_database(&cluster.nodes, "refreshed_late");
}

#[test]
fn an_old_snapshot_and_a_role_that_may_not_lock_refresh_nothing() {
    let cluster = stage("refreshed_by");
    let mut client = cluster.connect("refreshed_by");
    client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(client.try_query("REFRESH MATERIALIZED VIEW m").unwrap_err().state(), "0A000");
    client.query("ROLLBACK");
    for node in &cluster.nodes {
        let mut owner = node.connect_as(&SUPERUSER, "refreshed_by");
        owner.query("CREATE TABLE read (id int PRIMARY KEY); GRANT SELECT ON read TO app; INSERT INTO read VALUES (1)");
    }
    let refused = client.try_query("CREATE MATERIALIZED VIEW r AS SELECT id FROM read").unwrap_err();
    assert_eq!(refused.state(), "0A000", "{refused}");
    assert!(refused.to_string().contains("may not lock read"), "{refused}");
    assert_identical_database(&cluster.nodes, "refreshed_by");
}
