//! Nodes that come into the configuration and go out of it while clients are served, by `lockstep reload`.

use std::net::TcpListener;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Server;
use lockstep_tests::process;
use lockstep_tests::proxy::{NodeEntry, Proxy, Settings};
use lockstep_tests::raw::Client;
use lockstep_tests::users::{APP, SUPERUSER};
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(60);
const CLIENTS: usize = 3;

fn entry(name: &str, server: &Server) -> NodeEntry {
    NodeEntry { name: name.into(), address: server.address(), data_directory: server.data_dir().to_owned() }
}

fn entries(nodes: &[(&str, &Server)]) -> Vec<NodeEntry> {
    nodes.iter().map(|(name, server)| entry(name, server)).collect()
}

fn reload(cluster: &mut Cluster, nodes: Vec<NodeEntry>) -> Output {
    cluster.proxy.configure(nodes);
    cluster.proxy.run(&["reload"])
}

fn assert_taken(reloaded: &Output) {
    assert!(reloaded.status.success(), "{}", process::said(reloaded));
}

fn names_and_states(cluster: &Cluster) -> Vec<(String, String)> {
    let status = cluster.proxy.status().expect("a status");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    status["nodes"].as_array().expect("nodes").iter().map(|node| (text(&node["name"]), text(&node["state"]))).collect()
}

fn assert_nodes(cluster: &Cluster, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect();
    assert_eq!(names_and_states(cluster), expected);
}

/// Of the proxy, in whatever part.
fn connections(server: &Server) -> String {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    server.connect_as(&SUPERUSER, "postgres").value(sql)
}

fn lineage(server: &Server) -> String {
    let sql = "SELECT array_to_string(active, ' ') FROM lockstep.lineage";
    server.connect_as(&SUPERUSER, "postgres").value(sql)
}

struct Writers {
    over: AtomicBool,
    written: [AtomicU32; CLIENTS],
}

impl Writers {
    fn write(&self, mut client: Client, number: usize) {
        while !self.over.load(Ordering::Acquire) {
            let next = self.written[number].load(Ordering::Acquire);
            match next % 2 {
                0 => drop(client.query(&format!("INSERT INTO t VALUES ({number}, {next})"))),
                _ => {
                    client.query("BEGIN");
                    client.query(&format!("INSERT INTO t VALUES ({number}, {next})"));
                    client.query("COMMIT");
                }
            }
            self.written[number].store(next + 1, Ordering::Release);
        }
    }

    /// All of them have gone on since.
    fn go_on(&self) {
        let before = self.counts();
        let gone_on = || self.counts().iter().zip(&before).all(|(now, before)| *now > before + 5).then_some(());
        wait::until(SOON, "all clients go on", gone_on);
    }

    fn counts(&self) -> Vec<u32> {
        self.written.iter().map(|count| count.load(Ordering::Acquire)).collect()
    }
}

/// Runs `what` while clients write, none of which may be told of an error; gives how much they have written.
fn under_load(cluster: &mut Cluster, what: impl FnOnce(&mut Cluster, &Writers)) -> u32 {
    let writers = Writers { over: AtomicBool::new(false), written: Default::default() };
    let clients: Vec<Client> = (0..CLIENTS).map(|_| cluster.connect("shop")).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(number, client)| {
                let writers = &writers;
                scope.spawn(move || writers.write(client, number))
            })
            .collect();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| what(cluster, &writers)));
        writers.over.store(true, Ordering::Release);
        let unhurt = threads.into_iter().map(|thread| thread.join().is_ok()).collect::<Vec<_>>();
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        assert_eq!(unhurt, [true; CLIENTS], "no client was told of an error");
    });
    writers.counts().iter().sum()
}

fn stage(nodes: usize) -> Cluster {
    let cluster = Cluster::start(nodes);
    cluster.create_database("shop");
    cluster.connect("shop").query("CREATE TABLE t (client int, n int, PRIMARY KEY (client, n))");
    cluster
}

#[test]
fn a_node_comes_and_the_leader_goes_while_clients_write_and_nobody_notices() {
    let mut cluster = stage(2);
    let third = Server::start_new();
    let [first, second] = [0, 1].map(|position| entry(&format!("node{position}"), &cluster.nodes[position]));
    let written = under_load(&mut cluster, |cluster, writers| {
        let nodes = vec![first.clone(), entry("node2", &third), second.clone()];
        assert_taken(&reload(cluster, nodes));
        assert_nodes(cluster, &[("node0", "active"), ("node1", "active"), ("node2", "new")]);
        writers.go_on();
        let recovered = cluster.proxy.run(&["recover", "node2"]);
        assert!(recovered.status.success(), "{}", process::said(&recovered));
        assert_nodes(cluster, &[("node0", "active"), ("node1", "active"), ("node2", "active")]);
        writers.go_on();
        assert_eq!(lineage(&third), "node0 node1 node2");

        assert_taken(&reload(cluster, vec![second.clone(), entry("node2", &third)]));
        assert_nodes(cluster, &[("node1", "active"), ("node2", "active")]);
        writers.go_on();
    });
    assert_eq!(cluster.connect("shop").value("SELECT count(*) FROM t"), written.to_string());
    let removed = cluster.nodes.remove(0);
    cluster.nodes.push(third);
    assert_identical(&cluster.nodes);
    assert_eq!([lineage(&removed), lineage(&cluster.nodes[0])], ["node0 node1 node2", "node1 node2"]);
    wait::until(SOON, "nothing is open on the node that has gone", || (connections(&removed) == "0").then_some(()));

    assert!(cluster.proxy.terminate().success());
    cluster.proxy.restart();
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
    assert!(!cluster.proxy.log().contains("panicked"), "{}", cluster.proxy.log());
}

#[test]
fn a_node_that_has_gone_comes_back_as_one_that_is_not_known_and_by_recovery() {
    let mut cluster = stage(2);
    let [first, second] = [0, 1].map(|position| entry(&format!("node{position}"), &cluster.nodes[position]));
    assert_taken(&reload(&mut cluster, vec![first.clone()]));
    assert_nodes(&cluster, &[("node0", "active")]);
    cluster.connect("shop").query("INSERT INTO t VALUES (1, 1)");
    let unknown = cluster.proxy.run(&["attach", "node1"]);
    let said = process::said(&unknown);
    assert!(said.contains("there is no node `node1`") && said.contains("the running proxy has node0"), "{said}");

    assert_taken(&reload(&mut cluster, vec![first, second]));
    assert_nodes(&cluster, &[("node0", "active"), ("node1", "new")]);
    let differs = cluster.proxy.run(&["attach", "node1"]);
    assert!(!differs.status.success() && process::said(&differs).contains("differs"), "{}", process::said(&differs));
    let recovered = cluster.proxy.run(&["recover", "node1"]);
    assert!(recovered.status.success(), "{}", process::said(&recovered));
    cluster.connect("shop").query("INSERT INTO t VALUES (1, 2)");
    assert_identical(&cluster.nodes);
    let pools = cluster.proxy.connect_as(&APP, "shop").rows("SHOW pool_nodes");
    assert_eq!(pools.len(), 2, "{pools:?}");
}

#[test]
fn a_node_that_is_lost_is_taken_out_and_one_that_is_not_there_yet_is_put_in() {
    let mut cluster = stage(2);
    let first = entry("node0", &cluster.nodes[0]);
    cluster.nodes[1].kill9();
    cluster.proxy.wait_for_states(&["active", "degraded"], SOON);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let absent = NodeEntry { name: "later".into(), address: nobody.to_string(), data_directory: "/nowhere".into() };
    assert_taken(&reload(&mut cluster, vec![first.clone(), absent]));
    assert_nodes(&cluster, &[("node0", "active"), ("later", "new")]);
    cluster.connect("shop").query("INSERT INTO t VALUES (1, 1)");
    assert_taken(&reload(&mut cluster, vec![first]));
    assert_nodes(&cluster, &[("node0", "active")]);
    cluster.connect("shop").query("INSERT INTO t VALUES (1, 2)");
    assert!(cluster.proxy.run(&["status"]).status.success());
}

#[test]
fn nodes_that_cannot_come_or_go_leave_all_as_it_was() {
    let mut cluster = stage(2);
    let other = Server::start_new();
    let nodes = [0, 1].map(|position| entry(&format!("node{position}"), &cluster.nodes[position]));
    let [first, second] = nodes.clone();
    let refused = |cluster: &mut Cluster, nodes: Vec<NodeEntry>, why: &str| {
        let before = cluster.proxy.status().expect("a status")["nodes"].clone();
        // Who could log in if it were taken on.
        cluster.proxy.write_users(&[format!("{}:{}", SUPERUSER.name, SUPERUSER.password)]);
        let reloaded = reload(cluster, nodes);
        let said = process::said(&reloaded);
        assert!(reloaded.status.code() == Some(1) && said.contains(why), "{said}");
        assert_eq!(cluster.proxy.status().expect("a status")["nodes"], before);
        cluster.proxy.connect_as(&APP, "shop").query("SELECT 1");
    };
    let moved = NodeEntry { address: other.address(), ..second.clone() };
    refused(&mut cluster, vec![first.clone(), moved], "what has changed of [[node]] node1 needs a restart");
    let renamed = NodeEntry { name: "another".into(), ..second.clone() };
    refused(&mut cluster, vec![first.clone(), renamed], "which is that of node1");
    refused(&mut cluster, entries(&[("other", &other)]), "node1 is the last node that holds everything");

    let foreign = Proxy::start(entries(&[("theirs", &other)]), Settings::default());
    let with_foreign = vec![first.clone(), second.clone(), entry("other", &other)];
    refused(&mut cluster, with_foreign.clone(), "another proxy serves node other");
    drop(foreign);

    cluster.nodes[1].kill9();
    cluster.proxy.wait_for_states(&["active", "degraded"], SOON);
    refused(&mut cluster, vec![second], "node0 is the last node that holds everything");
    let taken = || reload(&mut cluster, with_foreign.clone()).status.success().then_some(());
    wait::until(SOON, "the other proxy is missed", taken);
    assert_nodes(&cluster, &[("node0", "active"), ("node1", "degraded"), ("other", "new")]);
}
