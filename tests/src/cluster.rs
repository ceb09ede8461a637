//! Some servers and the proxy in front of them.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::postgres::{self, Disk, Server};
use crate::proxy::{NodeEntry, Proxy, Settings};
use crate::raw::Client;
use crate::relay::Relay;
use crate::tap::Tap;
use crate::users::{APP, User};

/// So long may a first start take, the comparison of all nodes included.
const READY: Duration = Duration::from_secs(60);

/// What a cluster is to be like.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: usize,
    relayed: bool,
    leader_is_direct: bool,
    tap: Option<Tap>,
    durable: bool,
    disks: Vec<Disk>,
    server_settings: Vec<(String, String)>,
    settings: Settings,
}

impl Builder {
    /// Puts a relay before every node.
    pub fn relayed(mut self) -> Self {
        self.relayed = true;
        self
    }

    /// Puts a relay before every node, and leaves that of the first one out: what its connections say keeps its order, as
    /// on one machine.
    pub fn followers_relayed(mut self) -> Self {
        self.leader_is_direct = true;
        self.relayed()
    }

    /// Puts a relay before every node, and listens to what goes over it.
    pub fn tapped(mut self, tap: Tap) -> Self {
        self.tap = Some(tap);
        self.relayed()
    }

    /// What the proxy logs.
    pub fn log_level(mut self, level: &str) -> Self {
        self.settings.log_level = level.into();
        self
    }

    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// The disks of the nodes, to make them stand still.
    pub fn disks(mut self, disks: &[Disk]) -> Self {
        self.disks = disks.to_vec();
        self
    }

    /// A line of every node's `postgresql.conf`.
    pub fn server_setting(mut self, name: &str, value: &str) -> Self {
        self.server_settings.push((name.into(), value.into()));
        self
    }

    /// A line of the proxy's configuration under a heading.
    pub fn proxy_setting(mut self, heading: &str, line: &str) -> Self {
        self.settings.lines.push((heading.into(), line.into()));
        self
    }

    /// So many files the proxy may have open.
    pub fn open_files(mut self, files: u32) -> Self {
        self.settings.open_files = Some(files);
        self
    }

    /// Health as the program sets it by itself, which is less hasty than the harness.
    pub fn health_as_shipped(mut self) -> Self {
        self.settings.lines.retain(|(heading, _)| heading != "health");
        self
    }

    /// The lines of the users file, instead of everybody's password.
    pub fn users(mut self, lines: Vec<String>) -> Self {
        self.settings.users = lines;
        self
    }

    /// Starts everything and waits until every node is active.
    pub fn start(self) -> Cluster {
        let cluster = self.start_without_waiting();
        cluster.proxy.wait_for_states(&vec!["active"; cluster.nodes.len()], READY);
        cluster
    }

    /// Starts everything and waits only until the proxy lets somebody in.
    pub fn start_without_waiting(self) -> Cluster {
        let nodes: Vec<Server> = (0..self.nodes).map(|position| self.server(position)).collect();
        let relays: Vec<Relay> = if self.relayed { self.relays(&nodes) } else { Vec::new() };
        let entries = nodes.iter().enumerate().map(|(position, node)| NodeEntry {
            name: format!("node{position}"),
            address: relays
                .get(position)
                .filter(|_| position > 0 || !self.leader_is_direct)
                .map_or_else(|| node.address(), Relay::address),
            data_directory: node.data_dir().to_owned(),
        });
        let proxy = Proxy::start(entries.collect(), self.settings);
        Cluster { proxy, relays, nodes }
    }

    fn relays(&self, nodes: &[Server]) -> Vec<Relay> {
        let relay = |(position, node): (usize, &Server)| match &self.tap {
            Some(tap) => Relay::tapped(node.address(), tap.clone(), position),
            None => Relay::to(node.address()),
        };
        nodes.iter().enumerate().map(relay).collect()
    }

    /// Nodes count their OIDs from different numbers, as they do in real life.
    fn server(&self, position: usize) -> Server {
        let mut server = Server::builder().next_oid(20_000 + 10_000 * position as u32);
        if self.durable {
            server = server.durable();
        }
        if let Some(disk) = self.disks.get(position) {
            server = server.disk(disk.clone());
        }
        for (name, value) in &self.server_settings {
            server = server.setting(name, value);
        }
        server.start()
    }
}

/// The proxy goes before its nodes do.
#[derive(Debug)]
pub struct Cluster {
    pub proxy: Proxy,
    /// One for each node, where the builder was asked for them.
    pub relays: Vec<Relay>,
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub fn builder(nodes: usize) -> Builder {
        Builder { nodes, ..Builder::default() }
    }

    pub fn start(nodes: usize) -> Self {
        Self::builder(nodes).start()
    }

    /// A cluster of two nodes that tests use together, each in databases of its own; it must be left as it was found.
    /// It lives as long as somebody uses it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        // A test that panicked while it started the cluster has left nothing in here.
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // One whose follower a failing test has cost it is of no use to the next test.
        if let Some(cluster) = shared.upgrade().filter(|cluster| cluster.proxy.degradations().is_empty()) {
            return cluster;
        }
        let cluster = Arc::new(Self::start(2));
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    /// Makes a database of the application's on every node, past the proxy.
    pub fn create_database(&self, name: &str) {
        self.nodes.iter().for_each(|node| create_database(node, name));
    }

    /// The application's session through the proxy.
    pub fn connect(&self, database: &str) -> Client {
        self.proxy.connect_as(&APP, database)
    }

    /// The same by tokio-postgres, its connection driven by a task of the current runtime.
    pub async fn connect_async(&self, database: &str) -> tokio_postgres::Client {
        connect_async(self.proxy.port(), &APP, database).await
    }
}

/// Makes a database of the application's.
pub fn create_database(server: &Server, name: &str) {
    server.connect("postgres").query(&format!("CREATE DATABASE {name} OWNER {}", APP.name));
}

pub async fn connect_async(port: u16, user: &User, database: &str) -> tokio_postgres::Client {
    let conninfo = postgres::conninfo(port, user, database);
    let (client, connection) =
        tokio_postgres::connect(&conninfo, tokio_postgres::NoTls).await.expect("connect with tokio-postgres");
    tokio::spawn(connection);
    client
}
