//! The operator's doors: the control socket and HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lockstep_runtime::door::protocol::{Reply, Request};

use crate::servers::{Pair, free_port, start_with, until};

fn say(socket: &std::path::Path, line: &str) -> Vec<Reply> {
    let mut stream = UnixStream::connect(socket).expect("connect to the control socket");
    stream.write_all(format!("{line}\n").as_bytes()).expect("send a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read the replies");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect by HTTP");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("ask");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read the answer");
    text
}

#[actix::test]
async fn both_doors_say_how_the_cluster_is() {
    let pair = Pair::start();
    let mut config = pair.config();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    config.control.http = Some(address);
    let socket = config.control.socket.clone();
    let running = start_with(config).await;
    assert_eq!(std::fs::metadata(&socket).expect("the socket is there").permissions().mode() & 0o777, 0o600);

    let request = serde_json::to_string(&Request::Status).expect("a request as JSON");
    match &say(&socket, &request)[..] {
        [Reply::Status(status)] => {
            let roles: Vec<_> = status.nodes.iter().map(|node| (node.name.as_str(), node.role.as_str())).collect();
            assert_eq!(roles, [("a", "leader"), ("b", "follower")]);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(&say(&socket, "{}")[..], [Reply::Failed { .. }]));
    let mut endless = UnixStream::connect(&socket).expect("connect to the control socket");
    assert!(endless.write_all(&vec![b'x'; 1 << 20]).is_err(), "it reads no more than a request can be long");
    assert!(matches!(&say(&socket, &request)[..], [Reply::Status(_)]));

    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/status").contains(r#""role":"leader""#));
    pair.servers.iter().for_each(|server| server.kill());
    until("nobody serves", async || get(address, "/healthz").starts_with("HTTP/1.1 503")).await;
    running.stop().await;
}

#[actix::test]
async fn who_connects_by_http_and_does_not_ask_is_sent_away_and_shuts_nobody_out() {
    let pair = Pair::start();
    let mut config = pair.config();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    config.control.http = Some(address);
    let running = start_with(config).await;
    let connect = || TcpStream::connect(address).expect("connect by HTTP");
    let mut silent: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    let mut slow = connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost:").expect("begin to ask");
    let asked = tokio::task::spawn_blocking(move || get(address, "/healthz"));
    assert!(asked.await.expect("an answer").starts_with("HTTP/1.1 200"));
    silent.push(slow);
    let ended = tokio::task::spawn_blocking(move || {
        silent.iter_mut().all(|stream| {
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
            stream.read_to_end(&mut Vec::new()).is_ok()
        })
    });
    assert!(ended.await.expect("they end"), "each is closed within the deadline");
    running.stop().await;
}
