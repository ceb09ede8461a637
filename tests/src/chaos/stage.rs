//! Two servers behind relays, the proxy before them, clients at work; accidents, and the way back.

use std::process::Output;
use std::time::{Duration, Instant};

use super::event::{Event, Lasting, Role};
use super::load::{Crew, Load, ROWS, SCHEMA};
use super::{DATABASE, audit};
use crate::chance::Chance;
use crate::cluster::{Builder, Cluster};
use crate::postgres::Server;
use crate::relay::Relay;
use crate::{process, wait};

/// So long may a hang take to be found; a postmaster that lets nobody in takes longest.
const FOUND: Duration = Duration::from_secs(40);

/// So long may it take until all nodes are active again.
const BACK: Duration = Duration::from_secs(150);

/// A recovery that fails is given again so often: each failure is told all the same.
const ATTEMPTS: usize = 3;

pub struct Stage {
    pub load: Load,
    pub cluster: Cluster,
    /// Who led when the proxy could be asked last.
    leader: usize,
    /// Nodes whose wire is silent.
    silenced: Vec<usize>,
    /// Ids before this one have been looked at.
    audited: u64,
    /// What went wrong without stopping anything.
    pub complaints: Vec<String>,
}

impl Stage {
    pub fn set(builder: Builder, crew: Crew) -> Self {
        let cluster = builder.start();
        cluster.create_database(DATABASE);
        [SCHEMA, ROWS].iter().for_each(|sql| drop(cluster.connect(DATABASE).query(sql)));
        let load = Load::start(cluster.proxy.port(), crew);
        Self { load, cluster, leader: 0, silenced: Vec::new(), audited: 0, complaints: Vec::new() }
    }

    /// Name, role and state of each node; nothing while the proxy cannot be asked, or compares nodes.
    fn nodes(&mut self) -> Vec<[String; 3]> {
        let Some(status) = self.cluster.proxy.status().filter(|status| status["comparing"].is_null()) else {
            return Vec::new();
        };
        let text = |node: &serde_json::Value, key: &str| node[key].as_str().unwrap_or("").to_owned();
        let nodes: Vec<_> = status["nodes"].as_array().into_iter().flatten().collect();
        let nodes: Vec<_> =
            nodes.into_iter().map(|node| ["name", "role", "state"].map(|key| text(node, key))).collect();
        self.leader = nodes.iter().position(|[_, role, _]| role == "leader").unwrap_or(self.leader);
        nodes
    }

    pub fn all_active(&mut self) -> bool {
        let nodes = self.nodes();
        !nodes.is_empty() && nodes.iter().all(|[_, _, state]| state == "active")
    }

    /// The position of who has that role; to be asked before anything happens.
    pub fn who_is(&mut self, role: Role) -> usize {
        self.nodes();
        if role == Role::Leader { self.leader } else { 1 - self.leader }
    }

    /// Lets it happen. What lasts, lasts until [`Stage::outlast`] or [`Stage::mend`].
    pub fn strike(&mut self, event: Event, node: usize, chance: &mut Chance) {
        match event {
            Event::Kill(_) => self.cluster.nodes[node].kill9(),
            Event::Stop(..) => self.cluster.nodes[node].pause(),
            Event::StopPostmaster(..) => self.cluster.nodes[node].pause_postmaster(),
            Event::Partition(..) => {
                self.cluster.relays[node].hang();
                self.silenced.push(node);
            }
            Event::EndBackend(_) => self.end_backend(node, chance),
            Event::Detach(_) => self.detach(node),
            Event::KillProxy => {
                self.cluster.proxy.kill9();
                self.cluster.proxy.launch();
            }
        }
    }

    fn end_backend(&self, node: usize, chance: &mut Chance) {
        let turn = chance.below(1_000);
        let sql = format!(
            "WITH others AS (SELECT pid, row_number() OVER (ORDER BY pid) - 1 AS turn, count(*) OVER () AS count
                 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())
             SELECT pg_terminate_backend(pid) FROM others WHERE turn = {turn} % count"
        );
        self.cluster.nodes[node].connect("postgres").query(&sql);
    }

    fn detach(&mut self, node: usize) {
        let name = format!("node{node}");
        let done = wait::within(FOUND, || self.cluster.proxy.run(&["detach", &name]).status.success().then_some(()));
        if done.is_none() {
            self.complaints.push(format!("{name} could not be detached for {FOUND:?}"));
        }
    }

    /// Waits until what lasts has lasted long enough.
    pub fn outlast(&mut self, event: Event, node: usize) -> Result<(), String> {
        let lasting = match event {
            Event::Stop(_, lasting) | Event::StopPostmaster(_, lasting) | Event::Partition(_, lasting) => lasting,
            Event::Kill(_) => Lasting::UntilFound,
            Event::EndBackend(_) | Event::Detach(_) | Event::KillProxy => return Ok(()),
        };
        match lasting {
            Lasting::Short(time) => {
                std::thread::sleep(time);
                self.cluster.nodes[node].resume();
                self.cluster.relays.iter().for_each(Relay::mend);
                Ok(())
            }
            Lasting::UntilFound => {
                let found = wait::within(FOUND, || {
                    let nodes = self.nodes();
                    nodes.get(node).filter(|[_, _, state]| state != "active").map(|_| ())
                });
                found.ok_or_else(|| format!("{FOUND:?} after {event} node{node} is still active"))
            }
        }
    }

    /// What was stopped goes on; a wire that was silent carries again, with or without what it had swallowed.
    pub fn mend(&mut self, chance: &mut Chance) {
        self.cluster.nodes.iter().for_each(Server::resume);
        for node in self.silenced.drain(..) {
            if chance.one_in(2) {
                self.cluster.relays[node].reset_connections();
            }
            self.cluster.relays[node].mend();
        }
    }

    /// Does what an operator would until every node is active, while clients are at work.
    pub fn bring_back(&mut self) -> Result<(), String> {
        let start = Instant::now();
        let mut attempts = 0;
        while start.elapsed() < BACK {
            let nodes = self.nodes();
            let Some(node) = nodes.iter().position(|[_, _, state]| state != "active") else {
                if nodes.is_empty() {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                return Ok(());
            };
            let [name, _, state] = &nodes[node];
            match state.as_str() {
                "detached" if self.run(&["attach", name]).status.success() => {}
                "detached" | "degraded" | "new" => {
                    let said = self.run(&["recover", name]);
                    if !said.status.success() {
                        attempts += 1;
                        self.complaints.push(format!("recover {name} (it was {state}): {}", process::said(&said)));
                        if attempts == ATTEMPTS {
                            return Err(format!("{name} could not be recovered"));
                        }
                    }
                }
                _ if !self.cluster.nodes[node].is_running() => self.cluster.nodes[node].start(),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        Err(format!("after {BACK:?} the nodes are {:?}", self.cluster.proxy.node_states()))
    }

    /// A command of the program. A server that it ends is a child of ours, and we are to let go of it.
    pub fn run(&mut self, arguments: &[&str]) -> Output {
        let mut command = self.cluster.proxy.command(arguments);
        let running = std::thread::spawn(move || command.output().expect("run lockstep"));
        while !running.is_finished() {
            self.cluster.nodes.iter_mut().for_each(Server::reap);
            std::thread::sleep(Duration::from_millis(5));
        }
        running.join().expect("the command ends")
    }

    /// Everybody rests, and the active nodes are held against what the clients know; `all`: from the beginning.
    pub fn audit(&mut self, all: bool) -> Vec<String> {
        if let Err(why) = self.load.rest() {
            return vec![why];
        }
        let first = if all { 0 } else { self.audited };
        let next = self.load.ledger().ids_so_far();
        let states = self.cluster.proxy.node_states();
        let active = self.cluster.nodes.iter().zip(&states).filter(|(_, state)| *state == "active");
        let nodes: Vec<_> = active.map(|(node, _)| node).collect();
        let mut found = match nodes.is_empty() {
            true => vec![format!("no node is active: {states:?}")],
            false => audit::audit(&nodes, self.load.ledger(), first),
        };
        found.append(&mut self.load.ledger().entries().wrong);
        self.audited = next;
        self.load.go_on();
        found
    }
}
