//! A cluster behind slow wires that are listened to.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::raw::Client;
use crate::tap::{Heard, Tap};
use crate::users::APP;

/// Attempts of which the cheapest counts: what disturbs can only add.
const ATTEMPTS: usize = 5;

const DATABASE: &str = "wires";

/// The proxy, a leader and some followers, with a delay each way before every one of them.
#[derive(Debug)]
pub struct Wires {
    cluster: Cluster,
    tap: Tap,
}

impl Wires {
    pub fn start(followers: usize, delay: Duration) -> Self {
        let tap = Tap::on(APP.name);
        let builder = Cluster::builder(1 + followers).tapped(tap.clone());
        let cluster = builder.log_level("info,lockstep_core::plan=trace").start();
        cluster.create_database(DATABASE);
        cluster.connect(DATABASE).query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
        cluster.relays.iter().for_each(|relay| relay.set_delay(delay));
        Self { cluster, tap }
    }

    /// A session of the application's. What the proxy asks for each session while its client thinks has been answered.
    pub fn connect(&self) -> Client {
        let mut client = self.cluster.connect(DATABASE);
        client.query("SELECT 1");
        client
    }

    pub fn hear(&self, action: impl FnOnce()) -> Heard {
        self.tap.hear(action)
    }

    /// What `action` costs when nothing disturbs. It is done once before it counts, so that nothing in it is new.
    pub fn cost(&self, mut action: impl FnMut()) -> Heard {
        action();
        let heard = (0..ATTEMPTS).map(|_| self.tap.hear(&mut action));
        heard.min_by_key(|heard| heard.round_trips).expect("at least one attempt")
    }

    /// How many texts the proxy has parsed so far.
    pub fn parses(&self) -> usize {
        self.cluster.proxy.log().matches("a text is parsed").count()
    }
}

/// How a client sends its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Extended,
    Prepared,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Simple, Self::Extended, Self::Prepared];

    /// Sends one and waits for its answer.
    pub fn run(self, client: &mut Client, sql: &str) {
        match self {
            Self::Simple => drop(client.query(sql)),
            Self::Extended => drop(client.execute(sql, &[])),
            Self::Prepared => drop(client.try_execute_prepared(sql, &[]).expect("a statement that was prepared")),
        }
    }

    /// A transaction in which this many statements stand between BEGIN and COMMIT, each waited for.
    pub fn transaction(self, client: &mut Client, statements: usize) {
        self.run(client, "BEGIN");
        (0..statements).for_each(|_| self.run(client, UPDATE));
        self.run(client, "COMMIT");
    }
}

pub const UPDATE: &str = "UPDATE t SET v = v + 1 WHERE id = 1";

/// Prepares what [`Protocol::Prepared`] runs, each under its own text.
pub fn prepare(client: &mut Client) {
    ["BEGIN", UPDATE, "COMMIT"].iter().for_each(|sql| client.try_prepare(sql, sql).expect("prepare"));
}
