//! Two machines, a proxy on each: one stands by, or takes over when the other machine is gone.

use std::time::Duration;

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::proxy::{NodeEntry, Proxy};
use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;
use lockstep_tests::{port, process, wait};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(30);

fn stage(database: &str) -> (Cluster, Proxy) {
    let cluster = Cluster::start(2);
    cluster.create_database(database);
    let mut client = cluster.connect(database);
    client.query("CREATE TABLE t (id serial PRIMARY KEY, note text)");
    client.query("INSERT INTO t (note) VALUES ('first')");
    let twin = cluster.proxy.twin();
    (cluster, twin)
}

fn wait_for_log(proxy: &Proxy, text: &str) {
    wait::until(SOON, text, || proxy.log().contains(text).then_some(()));
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.value(sql).parse().expect("a number")
}

#[test]
fn the_other_machine_takes_over_and_the_lost_one_comes_back_through_recovery_alone() {
    let (mut cluster, mut twin) = stage("night");
    cluster.proxy.kill9();
    cluster.nodes[0].kill9();

    let unasked = twin.run(&["takeover"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", process::said(&unasked));
    let story = process::said(&unasked);
    assert!(
        story.contains("node1") && story.contains("active in epoch") && story.contains("node0 does not answer"),
        "{story}"
    );
    let taken = twin.run(&["takeover", "--yes", "--exit"]);
    assert!(taken.status.success(), "{}", process::said(&taken));

    twin.launch();
    twin.wait_until_it_serves();
    let mut client = twin.connect_as(&APP, "night");
    client.query("INSERT INTO t (note) VALUES ('second')");
    assert!(number(&mut client, "SELECT max(id) FROM t") > 2, "a value may have been given out that never came here");
    twin.wait_for_states(&["degraded", "active"], SOON);

    cluster.nodes[0].start();
    cluster.proxy.launch();
    assert_eq!(cluster.proxy.wait_for_end().code(), Some(1), "two proxies would part the nodes");
    assert!(cluster.proxy.log().contains("another proxy serves node"), "{}", cluster.proxy.log());
    twin.wait_for_states(&["degraded", "active"], SOON);
    let recovered = twin.run(&["recover", "node0"]);
    assert!(recovered.status.success(), "{}", process::said(&recovered));
    twin.wait_for_states(&["active", "active"], SOON);
    assert_identical(&cluster.nodes);

    twin.terminate();
    cluster.proxy.launch();
    assert_eq!(cluster.proxy.wait_for_end().code(), Some(1));
    assert!(cluster.proxy.log().contains("another proxy has served since"), "{}", cluster.proxy.log());
}

/// More at once than sequences are moved past at random, and no time for them to be levelled.
#[test]
fn rows_that_were_inserted_in_bulk_are_not_in_the_way_of_the_next_leaders_sequences() {
    let (mut cluster, mut twin) = stage("bulk");
    let mut client = cluster.connect("bulk");
    client.query("CREATE TABLE down (id int GENERATED ALWAYS AS IDENTITY (INCREMENT -2) PRIMARY KEY, note text)");
    client.query("INSERT INTO t (note) SELECT n::text FROM generate_series(1, 5000) n");
    client.query("INSERT INTO down (note) SELECT n::text FROM generate_series(1, 5000) n");
    cluster.nodes[0].kill9();
    cluster.proxy.kill9();
    let taken = twin.run(&["takeover", "--yes", "--exit"]);
    assert!(taken.status.success(), "{}", process::said(&taken));
    twin.launch();
    twin.wait_until_it_serves();
    let mut client = twin.connect_as(&APP, "bulk");
    client.query("INSERT INTO t (note) VALUES ('next')");
    client.query("INSERT INTO down (note) VALUES ('next')");
    assert_eq!(client.value("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM down)"), "5002");
    assert_eq!(client.value("SELECT note FROM down ORDER BY id LIMIT 1"), "next");
}

#[test]
fn a_takeover_is_refused_while_another_proxy_serves_and_where_writes_are_known_to_be_missing() {
    let (mut cluster, twin) = stage("careful");
    let refused = twin.run(&["takeover", "--yes", "--exit"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(process::said(&refused).contains("another proxy serves node"), "{}", process::said(&refused));

    let detached = cluster.proxy.run(&["detach", "node1"]);
    assert!(detached.status.success(), "{}", process::said(&detached));
    cluster.proxy.connect_as(&APP, "careful").query("INSERT INTO t (note) VALUES ('on node0 alone')");
    cluster.proxy.kill9();
    let known = cluster.proxy.run(&["takeover", "--node", "node1", "--yes", "--exit"]);
    assert_eq!(known.status.code(), Some(1));
    let story = process::said(&known);
    assert!(story.contains("went on without node1") && story.contains("--accept-loss"), "{story}");
    let nothing = cluster.proxy.run(&["takeover", "--yes", "--exit"]);
    assert!(process::said(&nothing).contains("`lockstep run` serves"), "{}", process::said(&nothing));
    let accepted = cluster.proxy.run(&["takeover", "--node", "node1", "--accept-loss", "--yes", "--exit"]);
    assert!(accepted.status.success(), "{}", process::said(&accepted));
    cluster.proxy.restart();
    cluster.proxy.wait_for_states(&["degraded", "active"], SOON);
    assert_eq!(cluster.proxy.connect_as(&APP, "careful").value("SELECT count(*) FROM t"), "1");
}

/// The first machine's proxy has gone on alone, and so has the other one's.
#[test]
fn a_recovery_does_not_destroy_what_another_proxy_serves_or_has_served_since() {
    let cluster = Cluster::builder(2).relayed().start();
    cluster.create_database("split");
    cluster.connect("split").query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    cluster.relays[1].cut();
    cluster.proxy.wait_for_states(&["active", "degraded"], SOON);
    let mut twin = cluster.proxy.twin();
    let entry = |node: usize, address: String| NodeEntry {
        name: format!("node{node}"),
        address,
        data_directory: cluster.nodes[node].data_dir().to_owned(),
    };
    let nobody = format!("127.0.0.1:{}", port::free());
    twin.configure(vec![entry(0, nobody), entry(1, cluster.nodes[1].address())]);
    let taken = twin.run(&["takeover", "--node", "node1", "--yes", "--exit"]);
    assert!(taken.status.success(), "{}", process::said(&taken));
    twin.launch();
    twin.wait_until_it_serves();
    twin.connect_as(&APP, "split").query("INSERT INTO t VALUES (2)");

    cluster.relays[1].mend();
    for (meanwhile, reason) in
        [("serves", "another proxy serves node1"), ("is gone", "another proxy has served node1 since")]
    {
        if meanwhile == "is gone" {
            twin.kill9();
        }
        let refused = cluster.proxy.run(&["recover", "node1"]);
        assert_eq!(refused.status.code(), Some(1), "{}", process::said(&refused));
        assert!(process::said(&refused).contains(reason), "{}", process::said(&refused));
    }
    assert_eq!(cluster.nodes[1].connect("split").value("SELECT count(*) FROM t"), "2");
    cluster.proxy.wait_for_states(&["active", "degraded"], SOON);
}

/// A proxy that was given nothing but the nodes.
#[test]
fn two_nodes_that_have_both_gone_on_alone_are_a_split_brain_and_neither_is_overwritten() {
    for more_of_the_second in [false, true] {
        let cluster = Cluster::builder(2).relayed().start();
        cluster.create_database("split");
        cluster.connect("split").query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
        let (mut first, mut second) = (&cluster.proxy, cluster.proxy.twin());
        first.wait_for_states(&["active", "active"], SOON);
        cluster.relays[1].cut();
        first.wait_for_states(&["active", "degraded"], SOON);
        first.connect_as(&APP, "split").query("INSERT INTO t VALUES (2)");
        let entry = |node: usize, address: String| NodeEntry {
            name: format!("node{node}"),
            address,
            data_directory: cluster.nodes[node].data_dir().to_owned(),
        };
        let nobody = format!("127.0.0.1:{}", port::free());
        second.configure(vec![entry(0, nobody), entry(1, cluster.nodes[1].address())]);
        let taken = second.run(&["takeover", "--node", "node1", "--accept-loss", "--yes", "--exit"]);
        assert!(taken.status.success(), "{}", process::said(&taken));
        for _ in 0..=usize::from(more_of_the_second) {
            second.launch();
            second.wait_until_it_serves();
            second.connect_as(&APP, "split").query("INSERT INTO t SELECT max(id) + 2 FROM t");
            second.kill9();
        }
        first = &cluster.proxy;
        first.signal(Signal::SIGKILL);
        let mut third = first.twin();
        third.configure(vec![entry(0, cluster.nodes[0].address()), entry(1, cluster.nodes[1].address())]);
        third.launch();
        assert_eq!(third.wait_for_end().code(), Some(1));
        let told = third.log();
        assert!(
            told.contains("split brain") && told.contains("with [node0]") && told.contains("with [node1]"),
            "{told}"
        );
        let asked = third.run(&["takeover", "--yes", "--exit"]);
        let story = process::said(&asked);
        assert_eq!(asked.status.code(), Some(1), "{story}");
        assert!(story.contains("split brain") && story.contains("[node0]") && story.contains("[node1]"), "{story}");
        let known = third.run(&["takeover", "--node", "node1", "--yes", "--exit"]);
        assert!(
            process::said(&known).contains("split brain: node0 went on without node1"),
            "{}",
            process::said(&known)
        );
        let counts = [0, 1].map(|node| cluster.nodes[node].connect("split").value("SELECT count(*) FROM t"));
        assert_eq!(counts, ["2", if more_of_the_second { "3" } else { "2" }], "nothing has been overwritten");
        let taken = third.run(&["takeover", "--node", "node0", "--accept-loss", "--yes", "--exit"]);
        assert!(taken.status.success(), "{}", process::said(&taken));
        third.launch();
        third.wait_until_it_serves();
        third.wait_for_states(&["active", "degraded"], SOON);
        assert_eq!(third.connect_as(&APP, "split").value("SELECT max(id) FROM t"), "2");
        let recovered = third.run(&["recover", "node1"]);
        assert!(recovered.status.success(), "{}", process::said(&recovered));
        assert_identical(&cluster.nodes);
    }
}

#[test]
fn a_proxy_that_stands_by_serves_within_seconds_when_the_first_is_gone() {
    let (mut cluster, mut twin) = stage("relief");
    twin.launch_with(&["--standby"]);
    wait_for_log(&twin, "standing by");
    assert!(Client::try_connect(&twin.address(), &APP, "relief", &[]).is_err());
    cluster.connect("relief").query("INSERT INTO t (note) VALUES ('seen by the first')");

    cluster.proxy.kill9();
    twin.wait_until_it_serves();
    let mut client = twin.connect_as(&APP, "relief");
    assert_eq!(client.value("SELECT count(*) FROM t"), "2");
    let keepalive = ["idle", "interval", "count"].map(|of| client.value(&format!("SHOW tcp_keepalives_{of}")));
    assert_eq!(keepalive, ["5", "2", "3"], "a machine without power is missed within seconds");
    twin.wait_for_states(&["active", "active"], SOON);
    client.query("INSERT INTO t (note) VALUES ('seen by the second')");

    cluster.proxy.launch_with(&["--standby"]);
    wait_for_log(&cluster.proxy, "standing by");
    assert!(twin.terminate().success());
    cluster.proxy.wait_until_it_serves();
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
    assert_eq!(cluster.connect("relief").value("SELECT count(*) FROM t"), "3");
    assert_identical(&cluster.nodes);
}

/// The nodes lose sight of it by an operator's hand, for the kernel of a process that stands still answers them as ever.
#[test]
fn a_proxy_that_stood_still_while_another_took_over_stops_when_it_goes_on() {
    let (cluster, mut twin) = stage("frozen");
    twin.launch_with(&["--standby"]);
    wait_for_log(&twin, "standing by");
    let (mut idle, mut open) = (cluster.connect("frozen"), cluster.connect("frozen"));
    open.query("BEGIN; INSERT INTO t (note) VALUES ('never')");
    cluster.proxy.signal(Signal::SIGSTOP);
    idle.put(|out| frontend::query(out, b"INSERT INTO t (note) VALUES ('perhaps')")).flush();
    open.put(|out| frontend::query(out, b"COMMIT")).flush();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_stat_activity USING (pid) \
               WHERE locktype = 'advisory' AND application_name LIKE 'lockstep %'";
    cluster.nodes.iter().for_each(|node| assert_eq!(node.connect("postgres").value(end), "1"));
    twin.wait_until_it_serves();
    twin.wait_for_states(&["active", "active"], SOON);
    twin.connect_as(&APP, "frozen").query("INSERT INTO t (note) VALUES ('by the second')");

    cluster.proxy.signal(Signal::SIGCONT);
    wait_for_log(&cluster.proxy, "another proxy uses this node");
    open.answer().expect_err("its transaction was ended before the other served");
    let acknowledged = idle.answer().is_ok();
    let refused = || Client::try_connect(&cluster.proxy.address(), &APP, "frozen", &[]).is_err().then_some(());
    wait::until(SOON, "the first serves nobody any more", refused);
    let count =
        |note: &str| twin.connect_as(&APP, "frozen").value(&format!("SELECT count(*) FROM t WHERE note = '{note}'"));
    assert_eq!((count("by the second"), count("never")), ("1".into(), "0".into()));
    assert!(!acknowledged || count("perhaps") == "1", "what is acknowledged is there");
    twin.wait_for_states(&["active", "active"], SOON);
    assert_identical(&cluster.nodes);
}
