//! The DNS guard: clients are served only while the service's name points here.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use lockstep_tests::cluster::{Builder, Cluster};
use lockstep_tests::compare::assert_identical;
use lockstep_tests::dns::{NameServer, Says};
use lockstep_tests::process;
use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(30);
const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

fn guarded(server: &NameServer, failures: u32) -> Builder {
    let lines = [
        "name = \"db.example.com\"".to_owned(),
        format!("addresses = [\"{HERE}\"]"),
        format!("servers = [\"{}\"]", server.address()),
        "interval = \"200ms\"".into(),
        format!("failures = {failures}"),
    ];
    lines.iter().fold(Cluster::builder(2), |builder, line| builder.proxy_setting("guard", line))
}

fn tries(cluster: &Cluster) -> Result<Client, String> {
    Client::try_connect(&cluster.proxy.address(), &APP, "shop", &[]).map_err(|failure| failure.state().to_owned())
}

/// Why clients are not served, as `status` has it.
fn wait_until_elsewhere(cluster: &Cluster) -> String {
    wait::until(SOON, "the proxy has given the service up", || {
        cluster.proxy.status()?["elsewhere"].as_str().map(str::to_owned)
    })
}

fn wait_until_served(cluster: &Cluster) -> Client {
    wait::until(SOON, "clients are served", || tries(cluster).ok())
}

#[test]
fn a_name_that_goes_elsewhere_takes_the_clients_with_it_and_brings_them_back() {
    let names = NameServer::start(Says::Addresses(vec![HERE]));
    let cluster = guarded(&names, 1000).start();
    cluster.create_database("shop");
    let mut client = wait_until_served(&cluster);
    client.query("CREATE TABLE t (id int PRIMARY KEY)");
    let mut open = wait_until_served(&cluster);
    open.query("BEGIN; INSERT INTO t VALUES (1)");

    names.says(Says::Addresses(vec![THERE]));
    let ended = client.answer().expect_err("it is ended");
    assert_eq!((ended.state(), open.answer().expect_err("it is ended").state()), ("57P01", "57P01"));
    assert_eq!(wait_until_elsewhere(&cluster), "db.example.com points to 192.0.2.2, which is not here");
    assert_eq!(tries(&cluster).err().as_deref(), Some("57P03"));
    let shown = cluster.proxy.run(&["status"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(process::said(&shown).contains("clients are not served here"), "{}", process::said(&shown));
    assert!(cluster.proxy.log().contains("the service is not known to be here"));
    let health = cluster.proxy.http("/healthz");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("points to 192.0.2.2"), "{health}");
    let advice = process::said(&cluster.proxy.run(&["check"]));
    assert!(advice.contains("guard: db.example.com points to 192.0.2.2, which is not here"), "{advice}");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);

    names.says(Says::Addresses(vec![HERE]));
    assert_eq!(wait_until_served(&cluster).value("SELECT count(*) FROM t"), "0", "what was open was rolled back");
    assert!(cluster.proxy.status().expect("a status")["elsewhere"].is_null());
    assert!(cluster.proxy.http("/healthz").starts_with("HTTP/1.1 200"));
    let good = process::said(&cluster.proxy.run(&["check"]));
    assert!(good.contains("guard: db.example.com points here"), "{good}");
    assert_identical(&cluster.nodes);
}

#[test]
fn a_name_server_that_is_silent_for_a_while_disturbs_nobody_and_for_too_long_ends_the_service() {
    let names = NameServer::start(Says::Addresses(vec![HERE]));
    let cluster = guarded(&names, 2).start();
    cluster.create_database("shop");
    let mut client = wait_until_served(&cluster);
    names.says(Says::Nothing);
    assert_eq!(client.value("SELECT 1"), "1", "one answer that does not come says nothing");
    let why = wait_until_elsewhere(&cluster);
    assert!(why.starts_with("db.example.com could not be looked up, 2 times in a row"), "{why}");
    assert_eq!(client.answer().expect_err("it is ended").state(), "57P01");
    assert_eq!(tries(&cluster).err().as_deref(), Some("57P03"));
    names.says(Says::Addresses(vec![HERE]));
    wait_until_served(&cluster);
    names.says(Says::Failure);
    let why = wait_until_elsewhere(&cluster);
    assert!(why.starts_with("db.example.com could not be looked up, 2 times in a row"), "{why}");
    names.says(Says::Addresses(vec![HERE]));
    wait_until_served(&cluster);
    names.says(Says::Addresses(Vec::new()));
    assert_eq!(wait_until_elsewhere(&cluster), "db.example.com has no address any more");
}

#[test]
fn a_proxy_that_starts_where_the_name_does_not_point_serves_nobody_until_it_does() {
    let names = NameServer::start(Says::Addresses(vec![HERE]));
    let mut cluster = guarded(&names, 3).start();
    cluster.create_database("shop");
    assert!(cluster.proxy.terminate().success());
    names.says(Says::Addresses(vec![THERE, HERE]));
    cluster.proxy.launch();
    wait_until_elsewhere(&cluster);
    assert_eq!(tries(&cluster).err().as_deref(), Some("57P03"));
    names.says(Says::Addresses(vec![HERE]));
    assert_eq!(wait_until_served(&cluster).value("SELECT 1"), "1");
}

#[test]
fn nonsense_from_a_name_server_is_no_answer_and_hurts_nobody() {
    let names = NameServer::start(Says::Addresses(vec![HERE]));
    let cluster = guarded(&names, 1).start();
    cluster.create_database("shop");
    wait_until_served(&cluster);
    names.says(Says::Nonsense);
    wait_until_elsewhere(&cluster);
    let before = names.asked();
    wait::until(SOON, "it goes on asking", || (names.asked() > before + 20).then_some(()));
    assert_eq!(tries(&cluster).err().as_deref(), Some("57P03"));
    names.says(Says::Addresses(vec![HERE]));
    assert_eq!(wait_until_served(&cluster).value("SELECT 1"), "1");
    assert!(!cluster.proxy.log().contains("panicked"), "{}", cluster.proxy.log());
}

#[test]
fn a_name_server_that_is_gone_ends_the_service_until_it_is_back() {
    let names = NameServer::start(Says::Addresses(vec![HERE]));
    let address = names.address();
    let cluster = guarded(&names, 2).start();
    cluster.create_database("shop");
    wait_until_served(&cluster);
    drop(names);
    let why = wait_until_elsewhere(&cluster);
    assert!(why.starts_with("db.example.com could not be looked up, 2 times in a row"), "{why}");
    assert_eq!(tries(&cluster).err().as_deref(), Some("57P03"));
    let socket = UdpSocket::bind(address).expect("the same port again");
    let _names = NameServer::on(socket, Says::Addresses(vec![HERE]));
    assert_eq!(wait_until_served(&cluster).value("SELECT 1"), "1");
}
