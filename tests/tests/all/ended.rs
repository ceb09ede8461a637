//! Somebody ends sessions on the leader while they write: what was acknowledged is not lost to those who waited for their
//! rows and go on from what was there before.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Server;
use lockstep_tests::raw::Client;
use lockstep_tests::{process, wait};

const SOON: Duration = Duration::from_secs(30);
const DATABASE: &str = "ended";

/// Followers are sent the new value and not the addition, because the row is not named by its key.
const ADD: &str = "UPDATE t SET v = v + 1 WHERE v >= 0";

const END_WHO_IS_WAITED_FOR: &str = "SELECT count(pg_terminate_backend(holder)) FROM \
    (SELECT DISTINCT unnest(pg_blocking_pids(pid)) AS holder FROM pg_stat_activity \
     WHERE wait_event_type = 'Lock' AND datname = 'ended') AS waits";

fn furnish(cluster: &Cluster) {
    cluster.create_database(DATABASE);
    cluster.connect(DATABASE).query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
}

fn value(node: &Server) -> u32 {
    node.connect(DATABASE).value("SELECT v FROM t").parse().expect("a number")
}

fn wait_for_a_waiter(leader: &Server) {
    let mut observer = leader.connect(DATABASE);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'ended'";
    wait::until(SOON, "somebody waits for the row", || (observer.value(waits) != "0").then_some(()));
}

/// Every node that is active has all that was acknowledged, and nothing that nobody asked for.
fn assert_sum(cluster: &Cluster, sum: &RangeInclusive<u32>) {
    let states = cluster.proxy.node_states();
    let values: Vec<u32> = cluster.nodes.iter().map(value).collect();
    let wrong = states.iter().zip(&values).any(|(state, value)| state == "active" && !sum.contains(value));
    assert!(!wrong, "nodes are {states:?} and hold {values:?}; {sum:?} were acknowledged or may be there");
}

/// The follower's answers are slow, though not too slow for its health, so that there is time for the second between the first's batch and its COMMIT.
#[test]
fn one_who_waited_for_a_row_whose_owner_was_ended_in_commit_does_not_undo_what_was_acknowledged() {
    let cluster = Cluster::builder(2).followers_relayed().start();
    furnish(&cluster);
    let mut clients = [cluster.connect(DATABASE), cluster.connect(DATABASE)];
    // Every session has its connection to the follower.
    clients.iter_mut().for_each(|client| drop(client.query(ADD)));
    let [mut first, mut second] = clients;
    first.query("BEGIN");
    first.query(ADD);
    let told = thread::scope(|scope| {
        let second = scope.spawn(|| second.try_query(ADD));
        wait_for_a_waiter(&cluster.nodes[0]);
        let none = Duration::ZERO..=Duration::ZERO;
        let slow = Duration::from_millis(600);
        cluster.relays[1].set_delays(none, slow..=slow);
        let first = scope.spawn(|| first.try_query("COMMIT"));
        let mut follower = cluster.nodes[1].connect(DATABASE);
        wait::until(SOON, "the follower has committed", || (follower.value("SELECT v FROM t") == "3").then_some(()));
        cluster.nodes[0].connect(DATABASE).query(END_WHO_IS_WAITED_FOR);
        let told = [first, second].map(|client| client.join().expect("a client"));
        cluster.relays[1].set_delay(Duration::ZERO);
        told
    });
    assert!(told[0].is_ok(), "the follower has it: {:?}", told[0].as_ref().err().map(ToString::to_string));
    let sum = 2 + told.iter().filter(|told| told.is_ok()).count() as u32;
    wait::until(SOON, "the leader is out", || (cluster.proxy.node_states() == ["degraded", "active"]).then_some(()));
    assert_sum(&cluster, &(sum..=sum));
}

/// Dropped, also by a panic: the clients stop.
struct Over<'a>(&'a Tally);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Tally {
    told: AtomicU32,
    /// The answer was that the session has ended.
    unknown: AtomicU32,
    done: AtomicBool,
}

impl Tally {
    fn told(&self) -> u32 {
        self.told.load(Ordering::SeqCst)
    }

    fn add_until_done(&self, cluster: &Cluster, in_blocks: bool) {
        let mut client = cluster.connect(DATABASE);
        while !self.done.load(Ordering::SeqCst) {
            match add(&mut client, in_blocks) {
                Ok(()) => drop(self.told.fetch_add(1, Ordering::SeqCst)),
                Err(state) if state == "40001" => drop(client.try_query("ROLLBACK")),
                Err(state) => {
                    assert!(["57P01", "08006"].contains(&state.as_str()), "{state}");
                    self.unknown.fetch_add(1, Ordering::SeqCst);
                    client = cluster.connect(DATABASE);
                }
            }
        }
    }
}

fn add(client: &mut Client, in_block: bool) -> Result<(), String> {
    let texts: &[&str] = if in_block { &["BEGIN", ADD, "COMMIT"] } else { &[ADD] };
    for text in texts {
        let answer = client.try_query(text).map_err(|failure| failure.state().to_owned())?;
        // A block that was lost before its COMMIT was asked for is rolled back by it.
        if answer.tags == ["ROLLBACK"] {
            return Err("40001".into());
        }
    }
    Ok(())
}

/// Ends sessions for which others wait until that has cost the leader its place, or often enough.
fn end_sessions(cluster: &Cluster, tally: &Tally) {
    const ENDS: u32 = 300;
    let mut lines: Vec<Client> = cluster.nodes.iter().map(|node| node.connect(DATABASE)).collect();
    let mut ended = 0;
    while ended < ENDS && cluster.proxy.node_states() == ["active", "active"] {
        let before = tally.told();
        ended +=
            lines.iter_mut().map(|line| line.value(END_WHO_IS_WAITED_FOR).parse::<u32>().unwrap_or(0)).sum::<u32>();
        wait::until(SOON, "work goes on", || (tally.told() > before + 3).then_some(()));
    }
    println!("{ended} sessions ended, {} acknowledged", tally.told());
}

#[test]
fn sessions_that_are_ended_while_they_add_to_one_row_lose_nothing_that_was_acknowledged() {
    let cluster = Cluster::start(2);
    furnish(&cluster);
    let tally = Tally::default();
    for _ in 0..4 {
        tally.done.store(false, Ordering::SeqCst);
        thread::scope(|scope| {
            let (cluster, tally) = (&cluster, &tally);
            (0..8).for_each(|number| drop(scope.spawn(move || tally.add_until_done(cluster, number % 2 == 0))));
            let _over = Over(tally);
            end_sessions(cluster, tally);
        });
        let told = tally.told();
        assert_sum(&cluster, &(told..=told + tally.unknown.load(Ordering::SeqCst)));
        let states = cluster.proxy.node_states();
        if let Some(out) = states.iter().position(|state| state != "active") {
            let recovered = cluster.proxy.run(&["recover", &format!("node{out}")]);
            assert!(recovered.status.success(), "{}", process::said(&recovered));
            cluster.proxy.wait_for_states(&["active"; 2], SOON);
        }
    }
    assert_identical(&cluster.nodes);
}
