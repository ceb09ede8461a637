//! More is asked of the proxy, of its disk or of a server than there is: whoever asks is told, and no node is blamed.

use std::time::{Duration, Instant};

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::process;
use lockstep_tests::raw::Client;
use lockstep_tests::users::{APP, SUPERUSER};
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);

fn furnish(cluster: &Cluster) -> Client {
    cluster.create_database("shop");
    let mut client = cluster.connect("shop");
    client.query("CREATE TABLE t (id int PRIMARY KEY, v text)");
    client
}

#[test]
fn a_follower_without_room_costs_whoever_needs_it_53300_and_no_node() {
    let cluster = Cluster::builder(2).server_setting("max_connections", "12").start();
    let mut client = furnish(&cluster);
    // What the proxy keeps there is ended, so that a commit needs a connection that is not to be had.
    let mut others = Vec::new();
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop' AND pid <> pg_backend_pid()";
    cluster.nodes[1].connect("postgres").query(end);
    while let Ok(other) = Client::try_connect(&cluster.nodes[1].address(), &SUPERUSER, "postgres", &[]) {
        others.push(other);
    }
    let refused = client.try_query("INSERT INTO t VALUES (1, 'x')").expect_err("the follower has no room");
    assert_eq!(refused.state(), "53300");
    assert_eq!(client.value("SELECT count(*) FROM t"), "0", "and it is nowhere");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
    drop(others);
    wait::until(SOON, "there is room again", || client.try_query("INSERT INTO t VALUES (2, 'x')").ok());
    assert_eq!(cluster.proxy.degradations(), [""; 0]);
    assert_identical(&cluster.nodes);
}

#[test]
fn a_transaction_that_cannot_be_kept_on_disk_fails_with_53100_and_nothing_else_does() {
    let cluster = Cluster::start(2);
    let mut client = furnish(&cluster);
    let state = cluster.proxy.config_path().with_file_name("state");
    let in_the_way = state.join(format!("unit-{}-0.spill", cluster.proxy.pid()));
    std::fs::create_dir(in_the_way).expect("be in the way of the unit's file");
    let large = "INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 4000) AS n";
    let failed = client.try_query(large).expect_err("its effects have no place");
    assert_eq!(failed.state(), "53100");
    assert!(failed.to_string().contains("cannot be kept on disk"), "{failed}");
    client.query("INSERT INTO t VALUES (0, 'small')");
    client.query(large);
    assert_eq!(client.value("SELECT count(*) FROM t"), "4001");
    assert_eq!(cluster.proxy.degradations(), [""; 0]);
    assert_identical(&cluster.nodes);
}

#[test]
fn a_reload_changes_how_many_clients_there_may_be_and_disturbs_nobody() {
    let cluster = Cluster::builder(1).proxy_setting("listen", "max_clients = 1").start();
    let mut inside = wait::until(SOON, "the first gets in", || {
        Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]).ok()
    });
    let tries = || Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]);
    assert_eq!(tries().expect_err("it is full").state(), "53300");
    let path = cluster.proxy.config_path();
    let config = std::fs::read_to_string(&path).expect("the configuration");
    let reload = |limits: &str| {
        std::fs::write(&path, config.replace("max_clients = 1", limits)).expect("write the configuration");
        let taken = cluster.proxy.run(&["reload"]);
        assert!(taken.status.success(), "{}", process::said(&taken));
    };
    reload("max_clients = 2");
    let second = tries().expect("there is room");
    reload("max_clients = 1");
    assert_eq!(inside.value("SELECT 1"), "1");
    drop(second);
    assert_eq!(tries().expect_err("it is full").state(), "53300");
    reload("max_clients = 1\nidle_in_transaction_timeout = \"200ms\"");
    inside.query("BEGIN");
    assert_eq!(inside.answer().expect_err("it is left idle").state(), "25P03");
}

/// A client that has asked for much and reads nothing of it.
fn deaf(cluster: &Cluster, client: &mut Client) -> Client {
    client.query("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) AS n");
    let mut deaf = cluster.connect("shop");
    deaf.put(|out| frontend::query(out, b"SELECT * FROM t AS one, generate_series(1, 100)")).flush();
    let mut observer = cluster.nodes[0].connect("shop");
    wait::until(SOON, "the leader waits for it", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'";
        (observer.value(sql) == "1").then_some(())
    });
    deaf
}

#[test]
fn a_client_that_never_reads_keeps_its_place_and_nothing_of_anybody_elses() {
    let cluster = Cluster::start(2);
    let mut client = furnish(&cluster);
    let _deaf = deaf(&cluster, &mut client);
    let memory = cluster.proxy.memory();
    client.query("UPDATE t SET v = 'short'");
    assert_eq!(cluster.connect("shop").value("SELECT count(*) FROM t"), "20000");
    assert!(cluster.proxy.memory() < memory + (64 << 20));
}

#[test]
fn a_stop_does_not_wait_long_for_a_client_that_never_reads() {
    let mut cluster = Cluster::start(2);
    let mut client = furnish(&cluster);
    let _deaf = deaf(&cluster, &mut client);
    drop(client);
    let asked = Instant::now();
    assert!(cluster.proxy.terminate().success());
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert!(cluster.proxy.log().contains("a client that takes nothing is cut off"), "{}", cluster.proxy.log());
    cluster.proxy.restart();
    assert!(!cluster.proxy.log().contains("after an unclean stop"), "{}", cluster.proxy.log());
}

/// What is left of 160 open files for clients, of which each may take three.
const FEW: usize = 21;

#[test]
fn clients_beyond_the_limit_of_open_files_are_told_53300() {
    let cluster = Cluster::builder(1).open_files(160).start();
    assert!(cluster.proxy.log().contains("fewer clients than max_clients"), "{}", cluster.proxy.log());
    let tries = || Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]);
    let mut inside = Vec::new();
    let refused = loop {
        match tries() {
            Ok(client) => inside.push(client),
            Err(refused) => break refused,
        }
        assert!(inside.len() <= FEW, "there are no files for so many");
    };
    assert_eq!((refused.state(), inside.len()), ("53300", FEW));
    let again = [(); 40].map(|()| tries().expect_err("it is full").state().to_owned());
    assert!(again.iter().all(|state| state == "53300"), "{again:?}");
    inside.pop();
    wait::until(SOON, "there is room", || tries().ok());
    assert_eq!(inside[0].value("SELECT 1"), "1");
}
