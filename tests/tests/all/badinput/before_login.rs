//! What comes before anybody has logged in, when memory must be bounded above all.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use lockstep_core::wire::startup::{Version, write_cancel};
use lockstep_core::wire::{backend, frontend};
use lockstep_tests::cluster::Cluster;
use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;

use super::{Bystander, states_until_closed};

const SSL: u32 = (1234 << 16) | 5679;
const GSSENC: u32 = (1234 << 16) | 5680;

/// Ways to begin, with the SQLSTATE that the server ends it with; none where it just closes.
fn beginnings() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    vec![
        ("a length of nothing", packet(0, &[]), Some("08P01")),
        ("a length that leaves no room for a code", packet(7, &[0, 3, 0]), Some("08P01")),
        ("a length beyond any startup packet", packet(10_001, &[0; 100]), Some("08P01")),
        ("the longest length there is", packet(u32::MAX, &[0; 100]), Some("08P01")),
        ("a request of the web", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), Some("08P01")),
        ("protocol 2.0", packet(8, &(2_u32 << 16).to_be_bytes()), Some("0A000")),
        ("protocol 4.0", packet(9, &[0, 4, 0, 0, 0]), Some("0A000")),
        ("no user", session(&[("database", "postgres")]), Some("28000")),
        ("an empty user", session(&[("user", "")]), Some("28000")),
        ("a parameter without its value", packet(13, b"\0\x03\0\0user\0"), Some("08P01")),
        ("bytes after the end", packet(20, b"\0\x03\0\0user\0ann\0\0xx"), Some("08P01")),
        ("a cancel request without a key", packet(8, &[0x04, 0xd2, 0x16, 0x2e]), None),
        ("a cancel request with a key of nobody", cancel(4_000_000, &[9; 4]), None),
    ]
}

fn packet(length: u32, rest: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes(), rest].concat()
}

fn session(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    packet(4 + body.len() as u32, &body)
}

fn cancel(pid: u32, key: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    write_cancel(&mut out, pid, key);
    out.to_vec()
}

#[test]
fn a_wrong_beginning_is_told_so_and_closed() {
    let cluster = Cluster::shared();
    let bystander = Bystander::at(&cluster.proxy.address());
    for (what, bytes, state) in beginnings() {
        let mut client = Client::dial(&cluster.proxy.address()).expect("connect");
        client.put(|out| out.put_slice(&bytes)).flush();
        assert_eq!(states_until_closed(&mut client), state.into_iter().collect::<Vec<_>>(), "{what}");
    }
    bystander.noticed_nothing();
}

#[test]
fn encryption_is_declined_with_one_byte_and_the_session_goes_on() {
    let cluster = Cluster::shared();
    let mut client = Client::dial(&cluster.proxy.address()).expect("connect");
    for request in [GSSENC, SSL] {
        client.put(|out| out.put_slice(&packet(8, &request.to_be_bytes()))).flush();
        assert_eq!(client.read_byte().expect("an answer"), b'N');
    }
    client.start(Version::V3_0, APP.name, "postgres", &[]);
    client.log_in(&APP).expect("log in");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_newer_minor_version_and_unknown_options_are_negotiated() {
    let cluster = Cluster::shared();
    let mut client = Client::dial(&cluster.proxy.address()).expect("connect");
    client.start(Version { major: 3, minor: 9 }, APP.name, "postgres", &[("_pq_.future", "1")]);
    let frame = client.read();
    assert_eq!(frame.tag, backend::NEGOTIATE_PROTOCOL_VERSION);
    assert!(frame.body().ends_with(b"\0\0\0\x01_pq_.future\0"), "{frame:?}");
    client.log_in(&APP).expect("log in");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_wrong_answer_to_the_request_for_a_password_is_told_so_and_closed() {
    let cluster = Cluster::shared();
    let bystander = Bystander::at(&cluster.proxy.address());
    let answers: [(&str, &[u8], &[&str]); 6] = [
        ("a query before the password", b"Q\0\0\0\x0dSELECT 1\0", &["08P01"]),
        ("a message of a type that nobody has", b"\x01\0\0\0\x04", &["08P01"]),
        ("a password message of a gigabyte", b"p\x3f\xff\xff\xffSCRAM", &["08P01"]),
        ("a password message shorter than its length", b"p\0\0\0\x02", &["08P01"]),
        ("a mechanism that does not exist", b"p\0\0\0\x0dNONE\0\0\0\0\0", &["08P01"]),
        ("a SCRAM message that is none", b"p\0\0\0\x1bSCRAM-SHA-256\0\0\0\0\x05hello", &["08P01"]),
    ];
    for (what, bytes, states) in answers {
        let mut client = Client::dial(&cluster.proxy.address()).expect("connect");
        client.start(Version::V3_0, APP.name, "postgres", &[]);
        assert_eq!(client.read().tag, backend::AUTHENTICATION, "{what}");
        client.put(|out| out.put_slice(bytes)).flush();
        assert_eq!(states_until_closed(&mut client), states, "{what}");
    }
    bystander.noticed_nothing();
}

/// Clients that send much and never log in.
#[test]
fn memory_is_bounded_before_login() {
    let cluster = Cluster::start(1);
    drop(Client::connect(&cluster.proxy.address(), &APP, "postgres"));
    let before = cluster.proxy.memory();

    let mut garbage = Client::dial(&cluster.proxy.address()).expect("connect");
    garbage.put(|out| out.put_bytes(0x55, 10 << 20));
    // The server closes long before it has read all of this, and a write then fails.
    let _ = garbage.try_flush();
    garbage.until_closed();

    let almost = packet(10_000, &[0, 3, 0, 0]);
    let waiting: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = Client::dial(&cluster.proxy.address()).expect("connect");
            client.put(|out| out.put_slice(&almost)).put(|out| out.put_bytes(b'x', 9_000)).flush();
            client
        })
        .collect();
    let mut asked = Client::connect(&cluster.proxy.address(), &APP, "postgres");
    assert_eq!(asked.value("SELECT 1"), "1");

    let grown = cluster.proxy.memory().saturating_sub(before);
    assert!(grown < 20 << 20, "{} clients that have not logged in cost {grown} bytes", waiting.len());
}

#[test]
fn who_says_nothing_is_sent_away() {
    let cluster = Cluster::builder(1).proxy_setting("listen", "authentication_timeout = \"1s\"").start();
    let start = Instant::now();
    let mut silent = Client::dial(&cluster.proxy.address()).expect("connect");
    let mut half = Client::dial(&cluster.proxy.address()).expect("connect");
    half.put(|out| out.put_slice(&packet(100, &[0, 3]))).flush();
    let mut without_password = Client::dial(&cluster.proxy.address()).expect("connect");
    without_password.start(Version::V3_0, APP.name, "postgres", &[]);
    for client in [&mut silent, &mut half, &mut without_password] {
        client.until_closed();
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "too soon: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10), "too late: {:?}", start.elapsed());
    let mut slow = Client::connect(&cluster.proxy.address(), &APP, "postgres");
    assert!(slow.is_silent_for(Duration::from_millis(1500)), "the time-out is for the login only");
    slow.put(|out| frontend::query(out, b"SELECT 1")).flush();
    assert_eq!(slow.until(backend::READY_FOR_QUERY).len(), 4);
}
