//! Nodes that answer nonsense.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Server;
use lockstep_tests::proxy::{NodeEntry, Proxy, Settings};
use lockstep_tests::scratch::Scratch;
use lockstep_tests::users::APP;
use lockstep_tests::wait;

/// A program that says something else than PostgreSQL would, to everybody who connects.
fn impostor(greeting: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(greeting);
        }
    });
    address
}

#[test]
fn a_node_that_is_no_postgresql_is_no_node() {
    let greetings: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"R\0\0\0\x08\0\0\0\x63",
        b"R\x7f\xff\xff\xff",
        b"E\0\0\0\x04Z\0\0\0\x05I",
    ];
    for greeting in greetings {
        let node = Server::start_new();
        let place = Scratch::new("impostor");
        let entry =
            |name: &str, address, data: &Path| NodeEntry { name: name.into(), address, data_directory: data.into() };
        let nodes =
            vec![entry("real", node.address(), node.data_dir()), entry("impostor", impostor(greeting), place.path())];
        let proxy = Proxy::start(nodes, Settings::default());
        let mut client = proxy.connect_as(&APP, "postgres");
        assert_eq!(client.value("SELECT 1"), "1", "beside {}", greeting.escape_ascii());
        assert_ne!(proxy.node_states()[1], "active");
    }
}

#[test]
fn a_follower_that_turns_to_nonsense_costs_no_client_an_error() {
    let cluster = Cluster::builder(2).relayed().start();
    cluster.create_database("noise");
    cluster
        .nodes
        .iter()
        .for_each(|node| drop(node.connect_as(&APP, "noise").query("CREATE TABLE t (id int PRIMARY KEY)")));
    let mut client = cluster.connect("noise");
    client.query("INSERT INTO t VALUES (0)");
    cluster.relays[1].garble();
    for n in 1..20 {
        client.query(&format!("INSERT INTO t VALUES ({n})"));
    }
    wait::until(Duration::from_secs(20), "the follower is degraded", || {
        (cluster.proxy.node_states()[1] != "active").then_some(())
    });
    assert_eq!(client.value("SELECT count(*) FROM t"), "20");
}

#[test]
fn a_follower_that_mumbles_once_is_asked_again_and_stays_equal() {
    let cluster = Cluster::builder(2).relayed().start();
    cluster.create_database("mumble");
    cluster
        .nodes
        .iter()
        .for_each(|node| drop(node.connect_as(&APP, "mumble").query("CREATE TABLE t (id int PRIMARY KEY)")));
    let mut client = cluster.connect("mumble");
    client.query("INSERT INTO t VALUES (0)");
    cluster.relays[1].reset_connections();
    client.query("INSERT INTO t VALUES (1)");
    client.query("INSERT INTO t VALUES (2)");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
    assert_identical(&cluster.nodes);
}
