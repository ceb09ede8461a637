//! What other tests take for granted: servers die and come back, wires delay and break.

use std::time::{Duration, Instant};

use lockstep_tests::postgres::Server;
use lockstep_tests::raw::Client;
use lockstep_tests::relay::Relay;
use lockstep_tests::users::{self, SUPERUSER};

#[test]
fn a_killed_server_comes_back_on_its_port_with_what_it_had_committed() {
    let mut server = Server::builder().durable().start();
    server.connect("postgres").query("CREATE TABLE t (id int); INSERT INTO t VALUES (7)");
    server.kill9();
    assert!(!server.is_running());
    server.start();
    assert_eq!(server.connect("postgres").value("SELECT id FROM t"), "7");
}

#[test]
fn a_stopped_server_comes_back_too() {
    let mut server = Server::start_new();
    let mut open = server.connect("postgres");
    server.stop();
    assert_eq!(open.try_query("SELECT 1").unwrap_err().state(), "57P01");
    server.start();
    assert_eq!(server.connect("postgres").value("SELECT 1"), "1");
}

#[test]
fn a_paused_server_answers_nothing_until_it_is_resumed() {
    let server = Server::start_new();
    let mut client = server.connect("postgres");
    server.pause();
    client.put(|out| lockstep_core::wire::frontend::query(out, b"SELECT 1")).flush();
    assert!(client.is_silent_for(Duration::from_millis(300)));
    server.resume();
    assert_eq!(client.until(b'Z').len(), 4);
}

#[test]
fn everybody_logs_in_by_the_method_that_is_theirs() {
    let server = Server::start_new();
    for user in users::ALL {
        assert_eq!(server.connect_as(&user, "postgres").value("SELECT current_user"), user.name);
    }
}

#[test]
fn a_relay_delays_each_way_and_keeps_the_order() {
    let server = Server::start_new();
    let relay = Relay::to(server.address());
    let mut client = Client::connect(&relay.address(), &SUPERUSER, "postgres");
    relay.set_delay(Duration::from_millis(50));
    let start = Instant::now();
    assert_eq!(client.rows("SELECT generate_series(1, 100000)").len(), 100_000);
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_hung_relay_is_silent_and_a_cut_one_closes() {
    let server = Server::start_new();
    let relay = Relay::to(server.address());
    let mut client = Client::connect(&relay.address(), &SUPERUSER, "postgres");
    relay.hang();
    client.put(|out| lockstep_core::wire::frontend::query(out, b"SELECT 1")).flush();
    assert!(client.is_silent_for(Duration::from_millis(300)));
    relay.mend();
    assert_eq!(client.until(b'Z').len(), 4);
    relay.cut();
    assert_eq!(client.try_query("SELECT 1").unwrap_err().state(), "08006");
    assert!(Client::try_connect(&relay.address(), &SUPERUSER, "postgres", &[]).is_err());
    relay.mend();
    assert_eq!(Client::connect(&relay.address(), &SUPERUSER, "postgres").value("SELECT 1"), "1");
}
