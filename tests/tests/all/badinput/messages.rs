//! Broken messages of a client that has logged in.

use bytes::{BufMut, BytesMut};
use lockstep_core::wire::{backend, frontend};
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::postgres::Server;
use lockstep_tests::raw::{Client, Failure, transcript};
use lockstep_tests::users::APP;

use super::{Bystander, states_until_closed};

/// The stream is out of step: told so, and closed.
const FATAL: &[(&str, &[u8])] = &[
    ("a type that does not exist", b"\x01\0\0\0\x04"),
    ("a type of the server's", b"Z\0\0\0\x05I"),
    ("a password after the login", b"p\0\0\0\x08abc\0"),
    ("a length smaller than itself", b"Q\0\0\0\x03"),
    ("a negative length", b"Q\xff\xff\xff\xffSELECT 1\0"),
    ("a length of two gigabytes", b"Q\x7f\xff\xff\xffSELECT 1\0"),
];

/// The frame is whole and its inside is not: an error, and the session may go on or be closed.
const BROKEN: &[(&str, &[u8])] = &[
    ("a query without its NUL", b"Q\0\0\0\x0cSELECT 1"),
    ("a query with a NUL inside", b"Q\0\0\0\x0fSELECT\0 1\0"),
    ("an empty Query message", b"Q\0\0\0\x04"),
    ("a Parse without a text", b"P\0\0\0\x06s\0"),
    ("a Parse that claims more types than it holds", b"P\0\0\0\x10\0SELECT 1\0\0\x05"),
    ("a Bind that is too short", b"B\0\0\0\x06\0\0"),
    ("a Bind with a value longer than the message", b"B\0\0\0\x10\0\0\0\0\0\x01\0\0\x03\xe8ab"),
    ("a Bind with a value of negative length", b"B\0\0\0\x0e\0\0\0\0\0\x01\xff\xff\xff\xf0"),
    ("a Describe of neither a statement nor a portal", b"D\0\0\0\x06X\0"),
    ("a Close of neither", b"C\0\0\0\x06X\0"),
    ("a Close without a name", b"C\0\0\0\x05S"),
    ("an Execute without its limit", b"E\0\0\0\x05\0"),
    ("an Execute with bytes after its end", b"E\0\0\0\x0b\0\0\0\0\0\0\0"),
    ("a FunctionCall without anything", b"F\0\0\0\x04"),
];

#[test]
fn a_stream_out_of_step_is_told_so_and_closed() {
    let cluster = Cluster::shared();
    let bystander = Bystander::at(&cluster.proxy.address());
    for (what, bytes) in FATAL {
        let mut client = cluster.connect("postgres");
        client.put(|out| out.put_slice(bytes)).flush();
        assert_eq!(states_until_closed(&mut client), ["08P01"], "{what}");
    }
    bystander.noticed_nothing();
}

#[test]
fn a_broken_message_is_an_error_of_the_protocol() {
    let cluster = Cluster::shared();
    let bystander = Bystander::at(&cluster.proxy.address());
    for (what, bytes) in BROKEN {
        let mut client = cluster.connect("postgres");
        client.put(|out| out.put_slice(bytes)).put(frontend::sync).flush();
        let error = client.until_any(&[backend::ERROR_RESPONSE]).unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert_eq!(Failure::of_frame(&error).state(), "08P01", "{what}");
    }
    bystander.noticed_nothing();
}

#[test]
fn text_that_is_not_in_the_clients_encoding_is_an_error_and_no_more() {
    let cluster = Cluster::shared();
    let mut client = cluster.connect("postgres");
    client.put(|out| frontend::query(out, b"SELECT '\xff\xfe'")).flush();
    assert_eq!(client.answer().unwrap_err().state(), "22021");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn copy_messages_outside_a_copy_are_ignored() {
    let cluster = Cluster::shared();
    let mut client = cluster.connect("postgres");
    client.put(|out| frontend::copy_data(out, b"1\n")).put(frontend::copy_done);
    client.put(|out| frontend::copy_fail(out, "why not"));
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_message_in_the_middle_of_a_copy_is_answered_as_postgresql_does() {
    let cluster = Cluster::shared();
    cluster.create_database("intruded");
    let alone = Server::start_new();
    lockstep_tests::cluster::create_database(&alone, "intruded");
    for server in cluster.nodes.iter().chain([&alone]) {
        server.connect_as(&APP, "intruded").query("CREATE TABLE t (id int PRIMARY KEY)");
    }
    let copies: [fn(&mut BytesMut); 3] = [
        |out| frontend::query(out, b"COPY t FROM STDIN"),
        |out| frontend::query(out, b"COPY t FROM STDIN; SELECT 1"),
        |out| {
            frontend::parse(out, b"", b"COPY t FROM STDIN", &[]);
            frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]);
            frontend::execute(out, b"", 0);
            frontend::flush(out);
        },
    ];
    let intruders: [fn(&mut BytesMut); 4] = [
        |out| frontend::query(out, b"INSERT INTO t VALUES (2)"),
        |out| frontend::parse(out, b"", b"INSERT INTO t VALUES (3)", &[]),
        |out| frontend::execute(out, b"", 0),
        |out| frontend::message(out, frontend::FUNCTION_CALL, |body| body.put_u32(177)),
    ];
    for (copy, intruder, row) in copies.iter().flat_map(|copy| {
        intruders.iter().flat_map(move |intruder| [&b"1\n"[..], b"not a number\n"].map(|row| (copy, intruder, row)))
    }) {
        let play = |mut client: Client| {
            client.put(copy).flush();
            client.until(backend::COPY_IN_RESPONSE);
            client.put(|out| frontend::copy_data(out, row)).put(intruder).put(frontend::sync).put(frontend::terminate);
            client.flush();
            transcript::lines(&client.until_closed())
        };
        assert_eq!(play(cluster.connect("intruded")), play(alone.connect_as(&APP, "intruded")));
    }
    let rows = "SELECT count(*) FROM t";
    assert_eq!(cluster.connect("intruded").value(rows), alone.connect_as(&APP, "intruded").value(rows));
    assert_identical_database(&cluster.nodes, "intruded");
}

#[test]
fn a_query_in_the_middle_of_a_copy_ends_it_with_an_error() {
    let cluster = Cluster::shared();
    cluster.create_database("midcopy");
    cluster
        .nodes
        .iter()
        .for_each(|node| drop(node.connect_as(&APP, "midcopy").query("CREATE TABLE t (id int PRIMARY KEY)")));
    let mut client = cluster.connect("midcopy");
    client.put(|out| frontend::query(out, b"COPY t FROM STDIN")).flush();
    client.until(backend::COPY_IN_RESPONSE);
    client.put(|out| frontend::copy_data(out, b"1\n"));
    assert_eq!(client.try_query("SELECT 1").unwrap_err().state(), "08P01");
    assert_eq!(cluster.connect("midcopy").value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_a_message_leaves_nothing_behind() {
    let cluster = Cluster::shared();
    cluster.create_database("vanished");
    for bytes in [&b"Q"[..], b"Q\0\0", b"Q\0\0\x10\0SELECT", b"P\0\0\0\x20half"] {
        let mut client = cluster.connect("vanished");
        client.query("BEGIN");
        client.put(|out| out.put_slice(bytes)).flush();
    }
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'vanished' AND state LIKE 'idle in%'";
    let mut observer = cluster.nodes[0].connect("postgres");
    lockstep_tests::wait::until(std::time::Duration::from_secs(10), "no transaction of a vanished client", || {
        (observer.value(backends) == "0").then_some(())
    });
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_and_costs_little() {
    let cluster = Cluster::start(1);
    let mut client = Client::connect(&cluster.proxy.address(), &APP, "postgres");
    let before = cluster.proxy.memory();
    client.put(|out| frontend::query(out, b"SELECT repeat('x', 1000) FROM generate_series(1, 200000)")).flush();
    let mut other = cluster.connect("postgres");
    // Long enough for a proxy without back-pressure to take in all of the 200 MB.
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(2) {
        assert_eq!(other.value("SELECT 1"), "1");
    }
    let grown = cluster.proxy.memory().saturating_sub(before);
    // A catalog and the allocator's own reserves come to a few megabytes.
    assert!(grown < 32 << 20, "a client that does not read costs {grown} bytes");
    assert_eq!(client.answer().expect("all rows in the end").rows.len(), 200_000);
}
