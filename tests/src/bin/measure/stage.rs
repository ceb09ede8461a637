//! Servers, proxy, PgBouncer, and pgbench's tables.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use lockstep_tests::cluster::{Cluster, create_database};
use lockstep_tests::compare::{differences_in, until_quiet};
use lockstep_tests::process::{self, Process};
use lockstep_tests::raw::Client;
use lockstep_tests::scratch::Scratch;
use lockstep_tests::users::APP;
use lockstep_tests::{port, wait};

use crate::args::{Args, Part};
use crate::load;
use crate::table::Table;

/// What is written through the proxy, and is equal on both nodes.
pub const REPLICATED: &str = "bench";

/// The same tables for what goes past the proxy.
pub const DIRECT: &str = "direct";

pub struct Stage {
    pub cluster: Cluster,
    bouncer: Option<Bouncer>,
}

impl Stage {
    pub fn set(args: &Args) -> Self {
        eprintln!("starting two servers and the proxy, filling pgbench's tables …");
        let connections = (args.clients + 100).to_string();
        let cluster = Cluster::builder(2)
            .durable()
            .server_setting("max_connections", &connections)
            .server_setting("shared_buffers", "256MB")
            // No checkpoint falls into one run and not into the next.
            .server_setting("max_wal_size", "16GB")
            .server_setting("checkpoint_timeout", "1d")
            .proxy_setting("listen", &format!("max_clients = {connections}"))
            .start();
        cluster.create_database(REPLICATED);
        load::initialize(cluster.proxy.port(), REPLICATED, args.scale);
        if [Part::Writes, Part::Bulk, Part::Queue].iter().any(|part| args.wants(*part)) {
            for node in &cluster.nodes {
                create_database(node, DIRECT);
                load::initialize(node.port(), DIRECT, args.scale);
            }
        }
        let bouncer = args.wants(Part::Reads).then(|| Bouncer::start(cluster.nodes[0].port()));
        Self { cluster, bouncer }
    }

    pub fn bouncer_port(&self) -> u16 {
        self.bouncer.as_ref().expect("a stage that was set for reads").port
    }

    /// A figure is worth nothing if the nodes have come apart, or one was given up.
    pub fn still_whole(&self, table: &mut Table) {
        table.heading("Afterwards", "");
        let active = self.cluster.proxy.node_states() == ["active"; 2];
        table.line("both nodes are active", &self.cluster.proxy.degradations().join(" "), "", active);
        let nodes: Vec<_> = self.cluster.nodes.iter().collect();
        let differ = until_quiet(|| differences_in(&nodes, REPLICATED));
        table.line("they hold the same", &differ.first().cloned().unwrap_or_default(), "", differ.is_empty());
    }
}

/// Where Debian puts it is not in everybody's PATH.
pub fn find_bouncer() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    directories.map(|directory| directory.join("pgbouncer")).find(|file| file.is_file())
}

/// PgBouncer in session pooling before one server.
struct Bouncer {
    port: u16,
    _process: Process,
    _scratch: Scratch,
}

impl Bouncer {
    fn start(server: u16) -> Self {
        let scratch = Scratch::new("pgbouncer");
        let port = port::free();
        let users = scratch.path().join("users");
        let configuration = scratch.path().join("pgbouncer.ini");
        std::fs::write(&users, format!("\"{}\" \"{}\"\n", APP.name, APP.password)).expect("write PgBouncer's users");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = session\n\
             default_pool_size = 50\nlog_connections = 0\nlog_disconnections = 0\n",
            users.display()
        );
        std::fs::write(&configuration, text).expect("write PgBouncer's configuration");
        let log = std::fs::File::create(scratch.path().join("log")).expect("open PgBouncer's log");
        let mut command = process::as_server_user(find_bouncer().expect("PgBouncer"));
        command.current_dir(scratch.path()).arg(&configuration);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = Process::spawn(&mut command);
        let look = || Client::try_connect(&format!("127.0.0.1:{port}"), &APP, "postgres", &[]).ok();
        drop(wait::until(Duration::from_secs(10), "PgBouncer lets somebody in", look));
        Self { port, _process: process, _scratch: scratch }
    }
}
