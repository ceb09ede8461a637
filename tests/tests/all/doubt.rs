//! A connection to a follower breaks in the middle of a commit, without a word: the node is asked what became of it, and
//! stays.

use std::thread;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);
const ASKED: &str = "the node was asked what became of it";

/// Writes, and how it shows that a node has them.
const WRITES: [(&str, &str); 5] = [
    ("INSERT INTO t VALUES (10, 0, now()), (11, 0, now())", "SELECT count(*) = 2 FROM t WHERE id IN (10, 11)"),
    ("UPDATE t SET v = v + 1 WHERE v = 0", "SELECT bool_and(v = 1) FROM t"),
    ("DELETE FROM t WHERE id < 3", "SELECT count(*) = 0 FROM t WHERE id < 3"),
    ("INSERT INTO t VALUES (3, 7) ON CONFLICT (id) DO UPDATE SET v = 7", "SELECT v = 7 FROM t WHERE id = 3"),
    ("UPDATE noted SET v = v + 1", "SELECT v = 1 AND changed IS NOT NULL FROM noted"),
];

fn stage() -> (Cluster, Client) {
    let cluster = Cluster::builder(2).followers_relayed().start();
    cluster.create_database("app");
    let mut client = cluster.connect("app");
    client.query(
        "CREATE TABLE t (id int PRIMARY KEY, v int, at timestamptz);
         INSERT INTO t SELECT n, 0 FROM generate_series(1, 9) n;
         CREATE TABLE noted (id int PRIMARY KEY, v int, changed timestamptz);
         INSERT INTO noted VALUES (1, 0);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed := clock_timestamp(); RETURN NEW; END';
         CREATE TRIGGER note BEFORE UPDATE ON noted FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TABLE bag (v int)",
    );
    // There is a connection to the follower from now on, and what is captured is.
    client.query("UPDATE noted SET id = 1");
    (cluster, client)
}

/// Cuts the follower's connections off when it has committed, and its answer is under way.
fn write_and_lose_the_answer(cluster: &Cluster, client: &mut Client, write: &str, seen: &str) {
    let (none, slow) = (Duration::ZERO..=Duration::ZERO, Duration::from_millis(600));
    thread::scope(|scope| {
        cluster.relays[1].set_delays(none, slow..=slow);
        let writing = scope.spawn(|| client.query(write));
        let mut follower = cluster.nodes[1].connect("app");
        wait::until(SOON, "the follower has committed", || (follower.value(seen) == "t").then_some(()));
        cluster.relays[1].set_delay(Duration::ZERO);
        cluster.relays[1].reset_connections();
        writing.join().expect("no client has an error");
    });
}

#[test]
fn a_follower_that_has_committed_and_whose_answer_is_lost_stays() {
    let (cluster, mut client) = stage();
    for (write, seen) in WRITES {
        write_and_lose_the_answer(&cluster, &mut client, write, seen);
        assert_eq!(cluster.proxy.node_states(), ["active"; 2], "{write}: {}", cluster.proxy.log());
        assert_identical(&cluster.nodes);
    }
    assert_eq!(cluster.proxy.log().matches(ASKED).count(), WRITES.len());
}

/// Somebody's lock keeps the batch from its end: the backend that has it is still there when the connection is gone.
#[test]
fn a_follower_that_had_not_committed_is_sent_the_batch_again_when_nothing_of_it_is_left() {
    let (cluster, mut client) = stage();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'lockstep follower'";
    for (n, (write, seen)) in WRITES.into_iter().enumerate() {
        let mut stranger = cluster.nodes[1].connect("app");
        stranger.query("BEGIN; LOCK t, noted IN SHARE MODE");
        let mut observer = cluster.nodes[1].connect("app");
        thread::scope(|scope| {
            let writing = scope.spawn(|| client.query(write));
            wait::until(SOON, "the batch waits", || (observer.value(waits) != "0").then_some(()));
            cluster.relays[1].reset_connections();
            let asked = || (cluster.proxy.log().matches(ASKED).count() > n).then_some(());
            wait::until(SOON, "the node was asked", asked);
            stranger.query("COMMIT");
            writing.join().expect("no client has an error");
        });
        assert_eq!(cluster.proxy.node_states(), ["active"; 2], "{write}: {}", cluster.proxy.log());
        assert_eq!(observer.value(seen), "t", "{write}");
        assert_identical(&cluster.nodes);
    }
}

#[test]
fn a_follower_of_which_nothing_tells_is_degraded_and_no_client_has_an_error() {
    let (cluster, mut client) = stage();
    write_and_lose_the_answer(&cluster, &mut client, "INSERT INTO bag VALUES (1)", "SELECT count(*) = 1 FROM bag");
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"]);
    assert!(cluster.proxy.degradations()[0].contains("no row of it tells"));
}
