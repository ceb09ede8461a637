//! A change of the schema takes followers as long as it took the leader: nobody waits for that who has nothing to do with it.
//! A follower is kept busy by a stranger, who reads the table that is to be changed.

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::raw::Client;
use lockstep_tests::wait;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const CHANGE: &str = "ALTER TABLE changing ADD COLUMN more serial";

/// Nobody ends the stranger.
fn stage(nodes: usize, database: &str) -> Cluster {
    let cluster = Cluster::builder(nodes).proxy_setting("health", "lock_timeout = \"10min\"").start();
    cluster.create_database(database);
    let schema = "CREATE TABLE changing (id int PRIMARY KEY); INSERT INTO changing VALUES (1), (2); \
                  CREATE TABLE other (id int PRIMARY KEY, v int); INSERT INTO other VALUES (1, 0)";
    cluster.connect(database).query(schema);
    cluster
}

fn reads_on_the_follower(cluster: &Cluster, database: &str) -> Client {
    let mut stranger = cluster.nodes[1].connect(database);
    stranger.query("BEGIN; SELECT count(*) FROM changing");
    stranger
}

fn asks_for_the_change(cluster: &Cluster, database: &str) -> Client {
    let mut client = cluster.connect(database);
    client.put(|out| frontend::query(out, CHANGE.as_bytes())).flush();
    let mut observer = cluster.nodes[1].connect("postgres");
    wait::until(SOON, "the follower waits for the stranger", || waits(&mut observer, database).then_some(()));
    client
}

fn waits(observer: &mut Client, database: &str) -> bool {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = ";
    observer.value(&format!("{waiting}'{database}'")) == "1"
}

#[track_caller]
fn equal(cluster: &Cluster, database: &str) {
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    assert_identical_database(&cluster.nodes, database);
}

#[test]
fn others_commit_while_a_follower_is_at_a_change_of_the_schema() {
    let cluster = stage(2, "ahead");
    let mut stranger = reads_on_the_follower(&cluster, "ahead");
    let mut changing = asks_for_the_change(&cluster, "ahead");
    let mut other = cluster.connect("ahead");
    other.query("UPDATE other SET v = 1 WHERE id = 1");
    other.query("BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE other SET v = v + 1 WHERE id = 1; COMMIT");
    other.query("CREATE TABLE third (id serial PRIMARY KEY); INSERT INTO third DEFAULT VALUES");
    assert!(waits(&mut cluster.nodes[1].connect("postgres"), "ahead"), "the change still waits");
    assert!(changing.is_silent_for(Duration::from_millis(50)));
    stranger.query("ROLLBACK");
    assert_eq!(changing.answer().expect("the change is done").tags, ["ALTER TABLE"]);
    changing.query("INSERT INTO changing VALUES (3)");
    equal(&cluster, "ahead");
}

#[test]
fn a_command_that_may_come_to_something_else_by_then_is_run_again_unseen() {
    let cluster = stage(2, "ahead_again");
    let mut stranger = cluster.nodes[1].connect("ahead_again");
    stranger.query("BEGIN; LOCK TABLE changing");
    let mut making = cluster.connect("ahead_again");
    let making_it = b"CREATE TABLE IF NOT EXISTS second (LIKE changing)";
    making.put(|out| frontend::query(out, making_it)).flush();
    let mut observer = cluster.nodes[1].connect("postgres");
    wait::until(SOON, "the follower waits", || waits(&mut observer, "ahead_again").then_some(()));
    cluster.connect("ahead_again").query("CREATE TABLE third (id serial PRIMARY KEY)");
    stranger.query("ROLLBACK");
    assert_eq!(making.answer().expect("it is made").tags, ["CREATE TABLE"]);
    equal(&cluster, "ahead_again");
}

#[test]
fn a_change_that_is_cancelled_while_a_follower_is_at_it_leaves_no_lock_there() {
    let cluster = stage(2, "ahead_cancelled");
    let mut stranger = reads_on_the_follower(&cluster, "ahead_cancelled");
    let mut changing = asks_for_the_change(&cluster, "ahead_cancelled");
    changing.cancel();
    assert_eq!(changing.answer().expect_err("it is cancelled").state(), "57014");
    let mut observer = cluster.nodes[1].connect("postgres");
    wait::until(SOON, "it is cancelled on the follower", || (!waits(&mut observer, "ahead_cancelled")).then_some(()));
    changing.query("INSERT INTO changing VALUES (3)");
    stranger.query("ROLLBACK");
    changing.query(CHANGE);
    equal(&cluster, "ahead_cancelled");
}

#[test]
fn a_follower_whose_connection_is_ended_while_it_is_at_a_change_gets_it_all_the_same() {
    let cluster = stage(2, "ahead_ended");
    let mut stranger = reads_on_the_follower(&cluster, "ahead_ended");
    let mut changing = asks_for_the_change(&cluster, "ahead_ended");
    let waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = 'ahead_ended'";
    cluster.nodes[1].connect("postgres").query(waiting);
    stranger.query("ROLLBACK");
    assert_eq!(changing.answer().expect("the change is done").tags, ["ALTER TABLE"]);
    equal(&cluster, "ahead_ended");
}

#[test]
fn a_follower_that_dies_while_it_is_at_a_change_holds_it_up_no_longer() {
    let mut cluster = stage(3, "ahead_dead");
    let _stranger = reads_on_the_follower(&cluster, "ahead_dead");
    let mut changing = asks_for_the_change(&cluster, "ahead_dead");
    cluster.nodes[1].kill9();
    assert_eq!(changing.answer().expect("the change is done").tags, ["ALTER TABLE"]);
    changing.query("INSERT INTO changing VALUES (3)");
    for node in [&cluster.nodes[0], &cluster.nodes[2]] {
        assert_eq!(node.connect("ahead_dead").value("SELECT count(more) FROM changing"), "3");
    }
}

#[test]
fn what_was_played_for_a_leader_that_dies_is_in_nobodys_way_on_the_next() {
    let mut cluster = stage(2, "ahead_led");
    let mut stranger = reads_on_the_follower(&cluster, "ahead_led");
    let mut changing = asks_for_the_change(&cluster, "ahead_led");
    cluster.nodes[0].kill9();
    assert_eq!(changing.answer().expect_err("its leader has died").state(), "40001");
    stranger.query("ROLLBACK");
    changing.query("INSERT INTO changing VALUES (3)");
    changing.query(CHANGE);
    assert_eq!(changing.value("SELECT count(more) FROM changing"), "3");
}
