//! Somebody works on a follower past the proxy and holds a lock there: a commit waits for it, but not for ever, and nobody
//! else does.

use std::time::{Duration, Instant};

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::{Builder, Cluster};
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);

fn start(builder: Builder) -> Cluster {
    let cluster = builder.proxy_setting("health", "lock_timeout = \"1s\"").start();
    cluster.create_database("shop");
    cluster.connect("shop").query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)");
    cluster
}

/// Writes the locked row while another session writes others, and is told that it is done.
fn write_against_a_lock(cluster: &Cluster) {
    let mut held = cluster.connect("shop");
    held.put(|out| frontend::query(out, b"UPDATE t SET v = 1 WHERE id = 1")).flush();
    let mut observer = cluster.nodes[1].connect("postgres");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND wait_event_type = 'Lock'";
    wait::until(SOON, "the commit waits for the lock", || (observer.value(waits) == "1").then_some(()));
    let start = Instant::now();
    let mut other = cluster.connect("shop");
    for n in 0..20 {
        other.query(&format!("UPDATE t SET v = {n} WHERE id = 2"));
    }
    assert!(start.elapsed() < Duration::from_secs(1), "others waited for {:?}", start.elapsed());
    assert_eq!(held.answer().expect("the write is done").tags, ["UPDATE 1"]);
}

fn locks_the_row(cluster: &Cluster) -> Client {
    let mut stranger = cluster.nodes[1].connect("shop");
    stranger.query("SET application_name = 'the night shift'; BEGIN; SELECT 1 FROM t WHERE id = 1 FOR UPDATE");
    stranger
}

#[test]
fn who_holds_up_a_commit_is_named_and_their_session_ended() {
    let cluster = start(Cluster::builder(2));
    let mut stranger = locks_the_row(&cluster);
    write_against_a_lock(&cluster);
    assert_eq!(stranger.try_query("SELECT 1").expect_err("their session was ended").state(), "57P01");
    let log = cluster.proxy.log();
    assert!(log.contains("ending a session that holds up a commit") && log.contains("the night shift"), "{log}");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
    assert_identical_database(&cluster.nodes, "shop");
}

/// Longer than a connection is kept of which nothing is heard: a server that waits reads nothing.
#[test]
fn a_large_commit_waits_for_a_lock_on_a_follower_as_long_as_a_small_one() {
    let cluster = Cluster::builder(2).proxy_setting("health", "lock_timeout = \"10min\"").start();
    cluster.create_database("shop");
    let mut client = cluster.connect("shop");
    client.query("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, '')");
    let mut stranger = locks_the_row(&cluster);
    let large = "BEGIN; UPDATE t SET v = 'x' WHERE id = 1; \
                 INSERT INTO t SELECT n, repeat(md5(n::text), 600) FROM generate_series(2, 2000) n; COMMIT";
    client.put(|out| frontend::query(out, large.as_bytes())).flush();
    let mut observer = cluster.nodes[1].connect("postgres");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND wait_event_type = 'Lock'";
    wait::until(SOON, "the commit waits for the lock", || (observer.value(waits) == "1").then_some(()));
    assert!(cluster.connect("shop").is_silent_for(Duration::from_secs(14)));
    stranger.query("ROLLBACK");
    assert_eq!(client.answer().expect("it is committed").tags.last().map(String::as_str), Some("COMMIT"));
    assert_eq!(cluster.proxy.degradations(), [""; 0]);
    assert_identical_database(&cluster.nodes, "shop");
}

#[test]
fn the_follower_goes_instead_if_the_operator_wants_it_so() {
    let cluster = start(Cluster::builder(2).proxy_setting("health", "strangers = \"degrade\""));
    let mut stranger = locks_the_row(&cluster);
    write_against_a_lock(&cluster);
    assert_eq!(stranger.value("SELECT 1"), "1", "nobody ended their session");
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"]);
    let told = cluster.proxy.degradations();
    assert!(told.len() == 1 && told[0].contains("the night shift"), "{told:?}");
}

#[test]
fn a_prepared_transaction_cannot_be_ended_and_costs_the_follower() {
    let cluster = start(Cluster::builder(2).server_setting("max_prepared_transactions", "5"));
    let mut stranger = locks_the_row(&cluster);
    stranger.query("PREPARE TRANSACTION 'left'");
    write_against_a_lock(&cluster);
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"]);
    let told = cluster.proxy.degradations();
    assert!(told.len() == 1 && told[0].contains("prepared transaction"), "{told:?}");
}

/// A follower may be slower with it than the leader, on which the table is free again by then.
#[test]
fn a_command_of_ours_that_a_follower_takes_its_time_with_is_waited_for_and_costs_no_node() {
    let cluster = start(Cluster::builder(2));
    let slow =
        "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'; CREATE INDEX ON t (slow(v))";
    cluster.connect("shop").query(slow);
    let slower = "CREATE OR REPLACE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \
                  'BEGIN PERFORM pg_sleep(3); RETURN $1; END'";
    cluster.nodes[1].connect("shop").query(slower);
    let mut command = cluster.connect("shop");
    command.put(|out| frontend::query(out, b"VACUUM FULL t")).flush();
    let mut observer = cluster.nodes[1].connect("shop");
    wait::until(SOON, "the follower is at it", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'VACUUM FULL%' AND wait_event = 'PgSleep'";
        (observer.value(sql) == "1").then_some(())
    });
    // Not of the index.
    cluster.connect("shop").query("DELETE FROM t WHERE id = 2");
    command.answer().expect("the end of the command");
    assert_eq!(cluster.proxy.degradations(), [""; 0]);
    assert_eq!(observer.value("SELECT count(*) FROM t"), "1");
}
