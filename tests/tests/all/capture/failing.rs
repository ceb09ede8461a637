//! Nodes die or hang while a table is given our trigger: no statement is refused for it.

use std::time::{Duration, Instant};

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);
/// The harness's settings: interval 200 ms, time-out 1 s, 2 retries.
const STALL: Duration = Duration::from_secs(8);

/// A table that has a trigger of the application's, and none of ours yet.
fn stage() -> (Cluster, Client) {
    let cluster = Cluster::builder(2).relayed().start();
    cluster.create_database("app");
    let mut client = cluster.connect("app");
    client.query(
        "CREATE TABLE noted (id int PRIMARY KEY, changed timestamptz);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed := clock_timestamp(); RETURN NEW; END';
         CREATE TRIGGER note BEFORE INSERT ON noted FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TABLE plain (id int PRIMARY KEY)",
    );
    client.query("INSERT INTO plain VALUES (1)");
    (cluster, client)
}

#[test]
fn a_follower_that_hangs_or_dies_meanwhile_is_out_and_the_client_notices_nothing() {
    for kills in [false, true] {
        let (mut cluster, mut client) = stage();
        let begun = Instant::now();
        if kills {
            cluster.nodes[1].kill9();
        } else {
            cluster.relays[1].hang();
        }
        client.query("INSERT INTO noted VALUES (1)");
        assert!(begun.elapsed() < STALL, "the write took {:?}", begun.elapsed());
        cluster.proxy.wait_for_states(&["active", "degraded"], SOON);
        client.query("INSERT INTO noted VALUES (2)");
    }
}

#[test]
fn a_follower_whose_connection_breaks_meanwhile_stays_and_the_client_notices_nothing() {
    let (cluster, mut client) = stage();
    let mut stranger = cluster.nodes[1].connect("app");
    stranger.query("BEGIN; LOCK TABLE noted");
    client.put(|out| frontend::query(out, b"INSERT INTO noted VALUES (1)")).flush();
    let mut observer = cluster.nodes[1].connect("app");
    let ours = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'lockstep %'";
    wait::until(SOON, "the follower waits for the table", || {
        (observer.value(&format!("SELECT count(pg_terminate_backend(pid)) {ours}")) == "1").then_some(())
    });
    stranger.query("COMMIT");
    client.answer().expect("it is done on another connection");
    assert_eq!(cluster.proxy.degradations(), [""; 0]);
    assert_identical(&cluster.nodes);
}

#[test]
fn a_leader_that_hangs_or_dies_meanwhile_costs_the_client_nothing_or_40001() {
    for kills in [false, true] {
        let (mut cluster, mut client) = stage();
        let mut stranger = cluster.nodes[0].connect("app");
        stranger.query("BEGIN; LOCK TABLE noted IN ROW EXCLUSIVE MODE");
        client.put(|out| frontend::query(out, b"INSERT INTO noted VALUES (1)")).flush();
        let mut observer = cluster.nodes[0].connect("app");
        wait::until(SOON, "the proxy waits for the table", || {
            let sql =
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'";
            (observer.value(sql) == "1").then_some(())
        });
        let begun = Instant::now();
        if kills {
            cluster.nodes[0].kill9();
        } else {
            cluster.relays[0].hang();
        }
        if let Err(failure) = client.answer() {
            assert_eq!(failure.state(), "40001", "{failure}");
            client.query("INSERT INTO noted VALUES (1)");
        }
        assert!(begun.elapsed() < STALL, "the write took {:?}", begun.elapsed());
        assert_eq!(cluster.nodes[1].connect("app").value("SELECT count(*) FROM noted"), "1");
    }
}
