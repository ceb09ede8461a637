//! The proxy is killed, and the next one finds out by its journal what was under way: nothing acknowledged is lost, and
//! all nodes serve at once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Disk;
use lockstep_tests::raw::Client;
use lockstep_tests::relay::Relay;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);
const SETTLED: &str = "the journal has settled";
const NOT_SETTLED: &str = "cannot be settled by the journal";

fn rounds() -> usize {
    std::env::var("LOCKSTEP_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

fn furnish_for_load(cluster: &Cluster) {
    cluster.create_database("load");
    cluster.connect("load").query(
        "CREATE TABLE told (id bigint PRIMARY KEY, at timestamptz DEFAULT clock_timestamp());
         CREATE TABLE history (id bigint, at timestamptz DEFAULT clock_timestamp(), filler text);
         CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL, changed timestamptz);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed := clock_timestamp(); RETURN NEW; END';
         CREATE TRIGGER note BEFORE UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION note()",
    );
    cluster.connect("load").query("INSERT INTO counter SELECT n, 0 FROM generate_series(1, 3) n");
}

type Told = Mutex<BTreeSet<u64>>;

/// Writers, and an accident when they are well under way.
fn under_load(cluster: &mut Cluster, round: usize, told: &Told, accident: impl FnOnce(&mut Cluster)) {
    let over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let client = cluster.connect("load");
            scope.spawn(move || write_until_cut_off(client, (round * 6 + number) as u64, told, over));
        }
        let wanted = (round + 1) * 150;
        wait::until(SOON, "the load has begun", || (told.lock().expect("ids").len() > wanted).then_some(()));
        accident(cluster);
        over.store(true, Ordering::Relaxed);
    });
}

fn assert_nothing_is_lost(cluster: &Cluster, told: Told) {
    let told: Vec<String> = told.into_inner().expect("ids").into_iter().map(|id| id.to_string()).collect();
    for node in &cluster.nodes {
        let there: BTreeSet<String> =
            node.connect("load").rows("SELECT id FROM told").into_iter().filter_map(|row| row[0].clone()).collect();
        let lost: Vec<_> = told.iter().filter(|id| !there.contains(*id)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
    assert_identical(&cluster.nodes);
    assert_eq!(cluster.proxy.degradations(), Vec::<String>::new());
    println!("{} rounds, {} ids", rounds(), told.len());
}

#[test]
fn kill_9_of_the_proxy_under_load_loses_nothing_and_costs_no_node() {
    kill_9_under_load(Cluster::start(2));
}

#[test]
fn nor_does_it_when_the_journal_is_forced_to_disk() {
    kill_9_under_load(Cluster::builder(2).proxy_setting("journal", "sync = \"commit\"").start());
}

fn kill_9_under_load(mut cluster: Cluster) {
    furnish_for_load(&cluster);
    let told = Told::default();
    let mut slowest = Duration::ZERO;
    for round in 0..rounds() {
        let before = cluster.proxy.log().len();
        under_load(&mut cluster, round, &told, |cluster| cluster.proxy.kill9());
        let begun = Instant::now();
        cluster.proxy.restart();
        slowest = slowest.max(begun.elapsed());
        assert_eq!(cluster.proxy.node_states(), ["active"; 2], "round {round}");
        let log = cluster.proxy.log()[before..].to_owned();
        assert!(log.contains(SETTLED), "round {round}: {log}");
        log.lines()
            .filter(|line| line.contains(SETTLED) || line.contains("one state"))
            .for_each(|line| println!("{line}"));
    }
    assert_nothing_is_lost(&cluster, told);
    println!("in service again after {slowest:?} at most");
}

#[test]
fn when_all_nodes_are_cut_off_under_load_and_come_back_they_serve_at_once() {
    let mut cluster = Cluster::builder(2).relayed().start();
    furnish_for_load(&cluster);
    let told = Told::default();
    for round in 0..rounds() {
        let before = cluster.proxy.log().len();
        under_load(&mut cluster, round, &told, |cluster| {
            // They are all silent. Cut off, one would be seen gone before the other.
            cluster.relays.iter().for_each(Relay::hang);
            cluster.proxy.wait_for_states(&["unreachable"; 2], SOON);
            cluster.relays.iter().for_each(Relay::reset_connections);
            cluster.relays.iter().for_each(Relay::mend);
        });
        cluster.proxy.wait_for_states(&["active"; 2], SOON);
        let log = cluster.proxy.log()[before..].to_owned();
        assert!(log.contains(SETTLED) && !log.contains(NOT_SETTLED), "round {round}: {log}");
    }
    assert_nothing_is_lost(&cluster, told);
}

/// Or until the accident is over. Every other unit is a captured one.
fn write_until_cut_off(mut client: Client, number: u64, told: &Told, over: &AtomicBool) {
    for n in 0.. {
        let id = number * 1_000_000 + n;
        let row = 1 + id % 3;
        let sql = match n % 2 {
            0 => format!("BEGIN; INSERT INTO told (id) VALUES ({id}); INSERT INTO history (id) VALUES ({id}); COMMIT"),
            _ => format!(
                "BEGIN; INSERT INTO told (id) VALUES ({id}); UPDATE counter SET n = n + 1 WHERE id = {row}; COMMIT"
            ),
        };
        if over.load(Ordering::Relaxed) || client.try_query(&sql).is_err() {
            return;
        }
        told.lock().expect("ids").insert(id);
    }
}

/// Two nodes behind relays, and a table with values that are not easily copied.
fn stage() -> Cluster {
    let cluster = Cluster::builder(2).relayed().start();
    cluster.create_database("app");
    cluster.connect("app").query(
        "CREATE TYPE mood AS ENUM ('sad', 'a \"b\" \\c');
         CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail text UNIQUE, v float8, at timestamptz,
             feels mood[], raw bytea, doc json, twice float8 GENERATED ALWAYS AS (v * 2) STORED);
         INSERT INTO t (mail, v, at, feels, raw, doc) VALUES
             ('a', 0.1, now(), ARRAY['sad', NULL]::mood[], '\\x00ff', '{\"a\":  1}'), ('b', 'NaN', 'infinity', NULL, NULL, NULL),
             ('c', 1, NULL, ARRAY['a \"b\" \\c']::mood[], '', '{}')",
    );
    cluster
}

const CHANGES: &str = "UPDATE t SET v = -v, mail = 'x, (y) \"z\" \\' WHERE id = 1; DELETE FROM t WHERE id = 2;
    INSERT INTO t (mail, v, at, feels) VALUES ('d', 1e300, now(), ARRAY['a \"b\" \\c', 'sad']::mood[])";

/// Has the proxy killed when `begin … COMMIT` has come to the node `reached`, and nothing comes from the other any more.
fn kill_in_commit(cluster: &mut Cluster, begin: &str, changes: &str, reached: usize, seen: &str) {
    let mut client = cluster.connect("app");
    // There is a connection to the follower from now on.
    client.query("UPDATE t SET v = v WHERE id = 3");
    client.query(&format!("{begin}; {changes}"));
    cluster.relays[1 - reached].hang();
    let committing = std::thread::spawn(move || client.try_query("COMMIT").is_ok());
    let mut observer = cluster.nodes[reached].connect("app");
    wait::until(SOON, "one node has committed", || (observer.value(seen) == "t").then_some(()));
    cluster.proxy.kill9();
    assert!(!committing.join().expect("a client"), "the client was told that it is committed");
    cluster.relays[1 - reached].reset_connections();
    cluster.relays[1 - reached].mend();
    cluster.proxy.restart();
}

const HAS_D: &str = "SELECT EXISTS (SELECT FROM t WHERE mail = 'd')";

fn journal(cluster: &Cluster) -> PathBuf {
    cluster.proxy.config_path().with_file_name("state").join("journal")
}

#[test]
fn a_unit_that_only_the_follower_has_is_taken_back_there() {
    let mut cluster = stage();
    kill_in_commit(&mut cluster, "BEGIN", CHANGES, 1, HAS_D);
    assert_eq!(cluster.proxy.node_states(), ["active"; 2]);
    assert!(cluster.proxy.log().contains(SETTLED) && !cluster.proxy.log().contains(NOT_SETTLED));
    assert_eq!(cluster.connect("app").value(HAS_D), "f");
    assert_identical(&cluster.nodes);
    cluster.connect("app").query(CHANGES);
    assert_identical(&cluster.nodes);
}

#[test]
fn a_unit_that_only_the_leader_has_comes_to_the_follower() {
    let mut cluster = stage();
    kill_in_commit(&mut cluster, "BEGIN ISOLATION LEVEL SERIALIZABLE", CHANGES, 0, HAS_D);
    assert_eq!(cluster.proxy.node_states(), ["active"; 2]);
    assert!(cluster.proxy.log().contains(SETTLED));
    assert_eq!(cluster.connect("app").value(HAS_D), "t");
    assert_identical(&cluster.nodes);
}

#[test]
fn captured_rows_are_made_equal_too() {
    let mut cluster = stage();
    cluster.connect("app").query(
        "CREATE TABLE log (id serial PRIMARY KEY, what text);
         CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO log (what) VALUES (NEW.mail || clock_timestamp()); NEW.at := clock_timestamp(); RETURN NEW; END';
         CREATE TRIGGER log BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION log()",
    );
    cluster.connect("app").query("UPDATE t SET v = 7");
    let changes = "UPDATE t SET mail = mail || '!'; INSERT INTO t (mail) VALUES ('d')";
    kill_in_commit(&mut cluster, "BEGIN", changes, 1, HAS_D);
    assert_eq!(cluster.proxy.node_states(), ["active"; 2]);
    assert!(cluster.proxy.log().contains(SETTLED));
    assert_identical(&cluster.nodes);
}

#[test]
fn a_row_without_a_key_is_there_as_often_as_on_the_leader() {
    let mut cluster = stage();
    cluster.connect("app").query("CREATE TABLE bag (a int, b text)");
    cluster.connect("app").query("INSERT INTO bag VALUES (1, NULL), (1, NULL), (2, 'x')");
    let changes = "INSERT INTO bag VALUES (1, NULL), (3, 'y'), (3, 'y')";
    kill_in_commit(&mut cluster, "BEGIN", changes, 1, "SELECT count(*) = 6 FROM bag");
    assert_eq!(cluster.proxy.node_states(), ["active"; 2]);
    assert!(cluster.proxy.log().contains(SETTLED) && !cluster.proxy.log().contains(NOT_SETTLED));
    assert_eq!(cluster.nodes[1].connect("app").value("SELECT count(*) FROM bag"), "3");
    assert_identical(&cluster.nodes);
}

#[test]
fn what_the_journal_does_not_settle_is_compared_and_a_different_node_stays_out() {
    let mut cluster = stage();
    let there = "SELECT to_regclass('half') IS NOT NULL";
    kill_in_commit(&mut cluster, "BEGIN ISOLATION LEVEL SERIALIZABLE", "CREATE TABLE half (id int)", 0, there);
    assert!(cluster.proxy.log().contains(NOT_SETTLED));
    wait::until(SOON, "the nodes were compared", || {
        let status = cluster.proxy.status()?;
        status["nodes"][1]["reason"].as_str()?.contains("half").then_some(())
    });
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"]);
}

#[test]
fn rows_that_others_follow_are_left_to_the_comparison() {
    let mut cluster = stage();
    cluster.connect("app").query(
        "CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE); INSERT INTO child VALUES (1, 2)",
    );
    kill_in_commit(&mut cluster, "BEGIN", CHANGES, 1, HAS_D);
    assert!(cluster.proxy.log().contains(NOT_SETTLED));
    wait::until(SOON, "the nodes were compared", || {
        cluster.proxy.status()?["nodes"][1]["reason"].as_str()?.contains("differs").then_some(())
    });
    assert_eq!(cluster.proxy.node_states(), ["active", "degraded"]);
}

#[test]
fn a_proxy_that_is_killed_while_it_reaches_no_server_leaves_a_journal_that_settles_them() {
    let mut cluster = stage();
    cluster.connect("app").query(CHANGES);
    cluster.relays.iter().for_each(Relay::cut);
    cluster.proxy.wait_for_states(&["unreachable"; 2], SOON);
    let log = kill_and_restart(&mut cluster, |cluster| cluster.relays.iter().for_each(Relay::mend));
    assert!(log.contains(SETTLED) && !log.contains(NOT_SETTLED), "{log}");
    assert_identical(&cluster.nodes);
}

/// Kills the proxy, lets something happen, and starts it again; the nodes are equal, so they are active in the end.
fn kill_and_restart(cluster: &mut Cluster, meanwhile: impl FnOnce(&mut Cluster)) -> String {
    cluster.proxy.kill9();
    let before = cluster.proxy.log().len();
    meanwhile(cluster);
    cluster.proxy.restart();
    cluster.proxy.wait_for_states(&["active"; 2], SOON);
    cluster.proxy.log()[before..].to_owned()
}

#[test]
fn a_journal_that_is_damaged_or_gone_or_not_about_these_servers_is_not_believed() {
    let mut cluster = Cluster::start(2);
    cluster.create_database("app");
    cluster.connect("app").query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let log = kill_and_restart(&mut cluster, |_| ());
    assert!(log.contains(SETTLED), "{log}");

    let change = |cluster: &mut Cluster, how: &dyn Fn(&mut Vec<u8>)| {
        let path = journal(cluster);
        let mut bytes = std::fs::read(&path).expect("read the journal");
        how(&mut bytes);
        std::fs::write(path, bytes).expect("write the journal");
    };
    let log = kill_and_restart(&mut cluster, |cluster| change(cluster, &|bytes| bytes[60] ^= 1));
    assert!(log.contains(NOT_SETTLED) && log.contains("record 0 is damaged"), "{log}");
    let log = kill_and_restart(&mut cluster, |cluster| change(cluster, &|bytes| bytes.truncate(1000)));
    assert!(log.contains(NOT_SETTLED) && log.contains("bytes long"), "{log}");
    let log = kill_and_restart(&mut cluster, |cluster| std::fs::remove_file(journal(cluster)).expect("remove it"));
    assert!(log.contains(NOT_SETTLED), "{log}");
    let log = kill_and_restart(&mut cluster, |cluster| {
        cluster.nodes[1].stop();
        cluster.nodes[1].start();
    });
    assert!(log.contains(NOT_SETTLED) && log.contains("node1 has been started again"), "{log}");
    let log = kill_and_restart(&mut cluster, |_| ());
    assert!(log.contains(SETTLED), "{log}");
}

#[test]
fn a_leader_that_answers_a_new_proxy_and_then_lets_nobody_in_does_not_lead() {
    let mut cluster = stage();
    cluster.proxy.kill9();
    // The first connection is the proxy's look at it; the next one is to see what the former proxy has left.
    cluster.relays[0].let_in(1);
    cluster.proxy.restart();
    assert_eq!(cluster.proxy.node_states(), ["degraded", "active"]);
    cluster.connect("app").query(CHANGES);
}

/// Its commit may yet come about there, and nowhere else.
#[test]
fn a_node_on_which_the_former_proxys_commit_hangs_is_not_let_in() {
    let disks = [Disk::new(), Disk::new()];
    let mut cluster = Cluster::builder(2).disks(&disks).proxy_setting("health", "disk_timeout = \"60s\"").start();
    cluster.create_database("app");
    cluster.connect("app").query("CREATE TABLE t (id int PRIMARY KEY)");
    disks[1].stands_still();
    let mut client = cluster.connect("app");
    client.put(|out| frontend::query(out, b"INSERT INTO t VALUES (1)")).flush();
    let mut node = cluster.nodes[1].connect("app");
    let hangs =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lockstep follower' AND wait_event = 'WALSync'";
    wait::until(SOON, "the follower hangs in its commit", || (node.value(hangs) != "0").then_some(()));
    cluster.proxy.kill9();
    cluster.proxy.restart();
    cluster.proxy.wait_for_states(&["active", "degraded"], SOON);
    let status = cluster.proxy.status().expect("a status");
    assert!(status.to_string().contains("statements of the former proxy may still run on it"), "{status}");
    assert_eq!(cluster.connect("app").value("SELECT count(*) FROM t"), "0");
}
